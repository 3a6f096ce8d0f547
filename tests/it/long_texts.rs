//! Texts of more tokens than the model reads, and texts that take long to tokenize.

// The lock that holds the decoders up is taken by their threads alone, not by a task.
#![allow(clippy::await_holding_lock)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use siglip2_embeddings::service::metrics::Timings;
use siglip2_embeddings::service::{Context, LongTexts, ServiceError, TextError, TokenUsage};

use crate::common::engine::with_cache;
use crate::common::picture::png;

/// As many tokens as characters, of which the model reads 64.
fn texts(lengths: &[usize]) -> Vec<String> {
    lengths.iter().map(|&length| "x".repeat(length)).collect()
}

#[tokio::test]
async fn it_is_told_how_many_tokens_were_read_and_which_texts_were_cut() {
    let (service, orders) = with_cache(100, 0);
    let timings = Arc::new(Timings::default());
    let request = service.request(Context {
        timings: Arc::clone(&timings),
        ..Context::default()
    });
    // The last two are tokenized off the async threads.
    let lengths = [0, 1, 63, 64, 65, 1000, 70_000];
    let answer = request.embed_texts(texts(&lengths), false).await.unwrap();
    let expected = lengths.map(|length| TokenUsage {
        tokens: length.min(64),
        is_cut: length > 64,
    });
    assert_eq!(answer.usage, expected);
    assert_eq!(timings.cut_texts(), 3);
    let metrics = service.metrics().text();
    assert!(metrics.contains("siglip2_cut_texts_total 3\n"), "{metrics}");
    // Those that are cut are all the same text, and so is the one of exactly as many tokens.
    assert_eq!(orders.rows.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_request_that_wants_no_text_cut_is_refused_and_nothing_of_it_is_computed() {
    let (service, orders) = with_cache(100, 0);
    for lengths in [&[1, 64, 65][..], &[1, 64, 5000]] {
        let request = service.request(Context {
            long_texts: LongTexts::Refuse,
            ..Context::default()
        });
        let refused = request.embed_texts(texts(lengths), false).await;
        match refused {
            Err(ServiceError::Text { index: 2, error }) => {
                assert_eq!(error, TextError::TooManyTokens { max_tokens: 64 });
                assert!(error.is_too_long());
            }
            other => panic!("{other:?}"),
        }
        let similarity = request.similarity(vec![png(1, 1, 1).into()], texts(lengths));
        assert!(matches!(
            similarity.await,
            Err(ServiceError::Text { index: 2, .. })
        ));
        let fits = request.embed_texts(texts(&[0]), false).await.unwrap();
        assert_eq!(fits.usage.len(), 1);
    }
    assert_eq!(orders.rows.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn texts_and_images_do_not_wait_for_each_others_threads() {
    let (service, orders) = with_cache(100, 0);
    let held = orders.prepare_gate.lock().unwrap();
    // As many as there are decoders, and more; none of them comes out.
    let images: Vec<Bytes> = (0..8).map(|number| png(number, 1, 1).into()).collect();
    let pictures = {
        let service = service.clone();
        tokio::spawn(async move {
            let request = service.request(Context::default());
            request.embed_images(images, false).await
        })
    };
    let looked_up = "siglip2_image_cache_total{result=\"miss\"} 8\n";
    while !service.metrics().text().contains(looked_up) {
        tokio::task::yield_now().await;
    }
    let request = service.request(Context::default());
    let rows = request.embed_texts(texts(&[100_000, 5000]), false).await;
    assert_eq!(rows.unwrap().embeddings.len(), 2);
    drop(held);
    assert_eq!(pictures.await.unwrap().unwrap().len(), 8);
}
