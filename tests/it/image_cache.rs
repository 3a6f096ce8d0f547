//! Images that were sent before, or are being computed for another: computed once, and
//! the same rows.

// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]
#![allow(dead_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::engine::{Orders, with_cache, with_memory};
use crate::common::picture::png as picture;
use crate::common::{Form, Server, ask};
use bytes::Bytes;
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::service::{Context, MemoryUse, Service, ServiceError};

async fn embed(service: &Service, images: Vec<Vec<u8>>) -> Result<Vec<Vec<f32>>, ServiceError> {
    embed_until(service, images, None).await
}

async fn embed_until(
    service: &Service,
    images: Vec<Vec<u8>>,
    deadline: Option<Instant>,
) -> Result<Vec<Vec<f32>>, ServiceError> {
    let images = images.into_iter().map(Bytes::from).collect();
    let request = service.request(Context {
        deadline,
        ..Context::default()
    });
    let rows = request.embed_images(images, false).await?;
    Ok(rows.rows().map(<[f32]>::to_vec).collect())
}

fn pictures(numbers: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    numbers.map(|number| picture(number, 2, 3)).collect()
}

fn computed(orders: &Orders) -> usize {
    orders.rows.load(Ordering::SeqCst)
}

/// Waits until so many images were found to be this.
async fn until(service: &Service, result: &str, count: usize) {
    let series = format!("siglip2_image_cache_total{{result=\"{result}\"}} {count}\n");
    while !service.metrics().text().contains(&series) {
        tokio::task::yield_now().await;
    }
}

/// Waits until so many images were looked up, whatever they were found to be.
async fn until_looked_up(service: &Service, count: usize) {
    loop {
        let text = service.metrics().text();
        let series = text
            .lines()
            .filter(|line| line.starts_with("siglip2_image_cache_total{"));
        let sum: usize = series
            .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
            .sum();
        if sum >= count {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until so many images were prepared.
async fn until_prepared(service: &Service, count: usize) {
    let series = format!("siglip2_stage_seconds_count{{stage=\"prepare\"}} {count}\n");
    while !service.metrics().text().contains(&series) {
        tokio::task::yield_now().await;
    }
}

/// Waits until so many batches of images have begun.
async fn until_begun(service: &Service, batches: usize) {
    let series = format!("siglip2_batch_rows_count{{tower=\"image\"}} {batches}\n");
    while !service.metrics().text().contains(&series) {
        tokio::task::yield_now().await;
    }
}

type Asked = tokio::task::JoinHandle<Result<Vec<Vec<f32>>, ServiceError>>;

fn ask_for(service: &Service, images: Vec<Vec<u8>>) -> Asked {
    ask_until(service, images, None)
}

fn ask_until(service: &Service, images: Vec<Vec<u8>>, deadline: Option<Instant>) -> Asked {
    let service = service.clone();
    tokio::spawn(async move { embed_until(&service, images, deadline).await })
}

#[tokio::test]
async fn an_image_is_computed_once_and_remembered() {
    let (service, orders) = with_cache(100, 1 << 20);
    let (plain, _) = with_cache(100, 0);
    let expected = embed(&plain, pictures(0..8)).await.unwrap();
    assert_eq!(embed(&service, pictures(0..8)).await.unwrap(), expected);
    assert_eq!(embed(&service, pictures(0..8)).await.unwrap(), expected);
    assert_eq!(computed(&orders), 8);
    // A picture of a byte more is another file, though its pixels are the same.
    let mut longer = picture(0, 2, 3);
    longer.push(0);
    assert_eq!(embed(&service, vec![longer]).await.unwrap()[0], expected[0]);
    assert_eq!(computed(&orders), 9);
    until(&service, "hit", 8).await;
    until(&service, "miss", 9).await;
}

#[tokio::test]
async fn the_cache_keeps_to_its_bytes_and_forgets_the_oldest() {
    // A row takes 4 * 4 + 152 = 168 bytes.
    let (service, orders) = with_cache(100, 3 * 168);
    for picture in pictures(0..3) {
        embed(&service, vec![picture]).await.unwrap();
    }
    embed(&service, pictures(0..1)).await.unwrap();
    assert_eq!(computed(&orders), 3);
    embed(&service, pictures(3..4)).await.unwrap();
    embed(&service, pictures(0..1)).await.unwrap();
    assert_eq!(computed(&orders), 4, "picture 0 was used, and stayed");
    embed(&service, pictures(1..2)).await.unwrap();
    assert_eq!(computed(&orders), 5, "picture 1 was the oldest");
}

#[tokio::test]
async fn images_in_flight_are_shared_and_one_who_leaves_takes_nothing_away() {
    let (service, orders) = with_cache(100, 0);
    let held = orders.gate.lock().unwrap();
    let first = ask_for(&service, pictures(0..1));
    until_begun(&service, 1).await;
    let leaver = ask_for(&service, pictures(1..2));
    until(&service, "miss", 2).await;
    let sharer = ask_for(&service, vec![picture(1, 2, 3), picture(1, 2, 3)]);
    until(&service, "shared", 2).await;
    leaver.abort();
    assert!(leaver.await.is_err());
    drop(held);
    first.await.unwrap().unwrap();
    let rows = sharer.await.unwrap().unwrap();
    assert_eq!(rows[0], rows[1]);
    assert_eq!(computed(&orders), 2);
    // Nothing is kept where nothing is to be.
    embed(&service, pictures(1..2)).await.unwrap();
    assert_eq!(computed(&orders), 3);
}

#[tokio::test]
async fn what_all_have_left_is_given_up() {
    let (service, orders) = with_cache(100, 0);
    let held = orders.gate.lock().unwrap();
    let first = ask_for(&service, pictures(0..1));
    until_begun(&service, 1).await;
    let leaver = ask_for(&service, pictures(1..2));
    until(&service, "miss", 2).await;
    let sharer = ask_for(&service, pictures(1..2));
    until(&service, "shared", 1).await;
    for gone in [leaver, sharer] {
        gone.abort();
        assert!(gone.await.is_err());
    }
    drop(held);
    first.await.unwrap().unwrap();
    embed(&service, pictures(2..3)).await.unwrap();
    assert_eq!(computed(&orders), 2, "nobody waited for picture 1");
}

#[tokio::test]
async fn a_query_shares_the_picture_of_a_bulk_and_does_not_wait_in_its_line() {
    let (service, orders) = with_cache(100, 0);
    let held = orders.gate.lock().unwrap();
    let first = ask_for(&service, pictures(40..41));
    until_begun(&service, 1).await;
    let bulk = ask_for(&service, pictures(0..20));
    until(&service, "miss", 21).await;
    // It may be in the decoders' line or in the engine's by now.
    let query = ask_for(&service, pictures(19..20));
    let other_bulk = ask_for(&service, pictures(10..20));
    until(&service, "shared", 11).await;
    until_prepared(&service, 21).await;
    drop(held);
    let row = query.await.unwrap().unwrap()[0].clone();
    assert_eq!(row, bulk.await.unwrap().unwrap()[19]);
    for other in [first, other_bulk] {
        other.await.unwrap().unwrap();
    }
    assert_eq!(computed(&orders), 21, "the query and the bulks shared");
    let order = orders.order.lock().unwrap();
    let place = order.iter().position(|&first| first == row[0]).unwrap();
    assert_eq!(place, 1, "right behind the one that was held: {order:?}");
}

#[tokio::test]
async fn each_waits_for_a_shared_picture_until_its_own_deadline() {
    let hour = Duration::from_secs(3600);
    // Long enough that the others arrive meanwhile; if they did not, with longer deadlines.
    let mut short = Duration::from_millis(50);
    loop {
        let (service, orders) = with_cache(100, 0);
        let held = orders.gate.lock().unwrap();
        let first = ask_for(&service, pictures(0..1));
        until_begun(&service, 1).await;
        let deadlines =
            |length: Duration| (0..5).map(move |n| Instant::now() + length * (n + 2) / 2);
        // Those who give up first are there first: the row is made for one of them.
        let hasty: Vec<_> = deadlines(short)
            .map(|deadline| ask_until(&service, pictures(1..2), Some(deadline)))
            .collect();
        let patient: Vec<_> = deadlines(hour)
            .map(Some)
            .chain([None])
            .map(|deadline| ask_until(&service, pictures(1..2), deadline))
            .collect();
        until_looked_up(&service, 12).await;
        let shared = service
            .metrics()
            .text()
            .contains("siglip2_image_cache_total{result=\"shared\"} 10\n");
        // Each who gives up does so while the row waits, and takes nobody along.
        for asked in hasty {
            assert!(matches!(asked.await.unwrap(), Err(ServiceError::Expired)));
        }
        drop(held);
        let row = [f32::from(1_u8) / 255.0, 2.0 / 255.0, 3.0 / 255.0, 0.1];
        for asked in patient {
            assert_eq!(asked.await.unwrap().unwrap(), [row]);
        }
        first.await.unwrap().unwrap();
        if shared {
            assert_eq!(computed(&orders), 2, "all waited for one");
            break;
        }
        short *= 2;
    }
}

#[tokio::test]
async fn a_picture_whose_last_deadline_passes_is_not_computed() {
    let (service, orders) = with_cache(100, 0);
    let held = orders.gate.lock().unwrap();
    let first = ask_for(&service, pictures(0..1));
    until_begun(&service, 1).await;
    let deadline = Instant::now() + Duration::from_millis(20);
    let hasty: Vec<_> = (0..3)
        .map(|_| ask_until(&service, pictures(1..2), Some(deadline)))
        .collect();
    for asked in hasty {
        assert!(matches!(asked.await.unwrap(), Err(ServiceError::Expired)));
    }
    // It was given up, and is made anew for one who comes later.
    let late = ask_for(&service, pictures(2..3));
    drop(held);
    for asked in [first, late] {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(computed(&orders), 2);
}

#[tokio::test]
async fn a_bad_image_fails_all_who_share_it_and_each_is_told_of_its_own_part() {
    let (service, orders) = with_cache(100, 1 << 20);
    let good = picture(9, 8, 7);
    // Its header is good: it is found out by the decoder.
    let bad = good[..good.len() - 30].to_vec();
    // Two shares of one decoding in one request: the first is named.
    let many = vec![good.clone(), bad.clone(), bad.clone()];
    let asked = [
        (ask_for(&service, vec![bad.clone()]), 0),
        (ask_for(&service, many), 1),
        (
            ask_for(&service, vec![picture(1, 1, 1), picture(2, 2, 2), bad]),
            2,
        ),
    ];
    for (asked, expected) in asked {
        match asked.await.unwrap() {
            Err(ServiceError::Image { index, .. }) => assert_eq!(index, expected),
            other => panic!("{other:?}"),
        }
    }
    // A failure is not remembered, and hurts nobody else.
    assert_eq!(embed(&service, vec![good]).await.unwrap().len(), 1);
    assert!(computed(&orders) >= 1);
}

/// A flat picture of so many pixels a side.
fn large(side: u32, shade: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    let pixels = vec![shade; (side * side * 3) as usize];
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

#[tokio::test]
async fn pixels_that_wait_for_a_batch_are_bounded_in_bytes() {
    let (service, orders) = with_memory(100, 128 << 20);
    let prepared = |count: usize| {
        let series = format!("siglip2_stage_seconds_count{{stage=\"prepare\"}} {count}\n");
        service.metrics().text().contains(&series)
    };
    let held = orders.gate.lock().unwrap();
    let first = ask_for(&service, pictures(0..1));
    until_begun(&service, 1).await;
    // 27 MB each, of 64 MiB, of which a bulk has 56.
    let bulk = ask_for(&service, (0..5).map(|shade| large(3000, shade)).collect());
    while !prepared(3) {
        tokio::task::yield_now().await;
    }
    let memory = service.memory();
    assert_eq!(memory.limit(MemoryUse::Pictures), 64 << 20);
    assert!(memory.held(MemoryUse::Pictures) >= 2 * 27_000_000);
    // There is room, and a decoder, for a small one of somebody else.
    let small = ask_for(&service, pictures(1..2));
    while !prepared(4) {
        assert!(!prepared(5));
        tokio::task::yield_now().await;
    }
    assert_eq!(computed(&orders), 0);
    drop(held);
    for asked in [first, bulk, small] {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(computed(&orders), 7);
    // The engine drops the pixels after it has answered.
    while memory.held(MemoryUse::Pictures) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_picture_that_takes_more_memory_than_all_may_is_refused_by_its_header() {
    let (service, orders) = with_memory(100, 128 << 20);
    // 75 MB of pixels, of 64 MiB.
    let refused = embed(&service, vec![large(5000, 1)]).await;
    match refused {
        Err(ServiceError::Image { index: 0, error }) => {
            assert!(error.to_string().contains("67108864"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(service.inspect_image(&large(5000, 1)).is_err());
    assert_eq!(computed(&orders), 0);
}

#[tokio::test]
async fn overlapping_requests_of_two_connections_share_one_computation() {
    let server = Server::start(telling_of_the_cache()).await;
    let file = picture(1, 2, 3);
    let held = server.orders.gate.lock().unwrap();
    let mut asked = Vec::new();
    // One after the other, as each has its deadline later than the one before, and one that
    // asks for a deadline of its own.
    for timeout in [None, Some("3600000"), None] {
        let form = Form::new().file("file", "a.png", &file);
        let address = server.address;
        let request = match timeout {
            None => form.post("/embed/image"),
            Some(timeout) => form.post_with("/embed/image", &[("X-Request-Timeout-Ms", timeout)]),
        };
        asked.push(tokio::spawn(async move { ask(address, request).await }));
        until_looked_up(&server.service, asked.len()).await;
    }
    drop(held);
    let mut bodies = Vec::new();
    let mut caches = Vec::new();
    for asked in asked {
        let answer = asked.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        caches.push(answer.header("x-cache").map(str::to_owned));
        bodies.push(answer.body);
    }
    assert_eq!(computed(&server.orders), 1);
    let shared = Some("hit=0, shared=1, miss=0".to_owned());
    assert_eq!(caches, [None, shared.clone(), shared]);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

fn telling_of_the_cache() -> HttpSettings {
    HttpSettings {
        cache_header: true,
        ..HttpSettings::default()
    }
}

#[tokio::test]
async fn x_cache_tells_of_images_too() {
    let server = Server::start(telling_of_the_cache()).await;
    let (one, other) = (picture(1, 2, 3), picture(3, 2, 1));
    let form = Form::new()
        .file("files", "a", &one)
        .file("files", "b", &other)
        .file("files", "c", &one);
    // Nothing comes out before the third has been looked up.
    let held = server.orders.gate.lock().unwrap();
    let address = server.address;
    let asked = tokio::spawn(async move { ask(address, form.post("/embed/images")).await });
    until_looked_up(&server.service, 3).await;
    drop(held);
    let answer = asked.await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("x-cache"),
        Some("hit=0, shared=1, miss=2"),
        "{answer:?}"
    );
    assert_eq!(computed(&server.orders), 2);
}
