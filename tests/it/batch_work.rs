//! Batches of images that are not all the same work: by their pixels, where the engine counts
//! them, and never more rows than it takes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use siglip2_embeddings::engine::{Batch, Completion, Engine, EngineInfo, Pixels, Prepare, Rows};
use siglip2_embeddings::image::{ImageError, RgbImage};
use siglip2_embeddings::service::batcher::{Batcher, Item, Permits, Ticket, Worker};
use siglip2_embeddings::service::metrics::Metrics;

struct NoPrepare;

impl Prepare for NoPrepare {
    fn prepare(&self, _: RgbImage) -> Result<Pixels, ImageError> {
        Err(ImageError::Empty)
    }
}

/// Takes 4 rows and 100 pixels. The first batch waits until it is let go, so that a test
/// decides what has arrived by then; every batch is noted by its images' pixels.
struct Counting {
    begun: Sender<()>,
    go: Option<Receiver<()>>,
    batches: Arc<Mutex<Vec<Vec<u64>>>>,
    limit: Option<u64>,
}

impl Engine for Counting {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "counting",
            device: "cpu",
            precision: "fp32",
            agreement: None,
            dimensions: 1,
            max_batch: 4,
            slots: 1,
            device_timeout: None,
        }
    }

    fn max_batch_pixels(&self) -> Option<u64> {
        self.limit
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(NoPrepare)
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        if let Some(go) = self.go.take() {
            self.begun.send(()).unwrap();
            go.recv().unwrap();
        } else {
            let pixels = match &batch {
                Batch::Images(images) => images.iter().map(Pixels::count).collect(),
                Batch::Texts(texts) => vec![0; texts.len()],
            };
            self.batches.lock().unwrap().push(pixels);
        }
        done.finish(Rows::new(1, vec![0.0; batch.len()]));
    }
}

/// Puts images of so many pixels into the queue while the engine is busy, interactive ones by
/// themselves and those of a bulk request together, and says which batches they made.
fn batches(limit: Option<u64>, interactive: &[u32], bulk: &[u32]) -> Vec<Vec<u64>> {
    let image = |pixels: u32| {
        let bytes = vec![0; pixels as usize * 3];
        Item::Image(Pixels::Decoded(RgbImage::new(pixels, 1, bytes).unwrap()))
    };
    let (begun, begins) = channel();
    let (go, wait) = channel();
    let batches = Arc::default();
    let engine = Counting {
        begun,
        go: Some(wait),
        batches: Arc::clone(&batches),
        limit,
    };
    let workers = vec![Worker {
        engine: Box::new(engine),
        rebuild: None,
    }];
    let batcher = Batcher::start(workers, 1000, Metrics::new()).unwrap();
    let put = |permits: &mut Permits, pixels: u32| -> Ticket {
        permits.one().unwrap().submit(image(pixels)).unwrap()
    };
    let mut tickets = vec![put(&mut batcher.reserve(1).unwrap(), 1)];
    begins.recv().unwrap();
    // A request of many rows is bulk; those that it does not use go back.
    let mut permits = batcher.reserve(40).unwrap();
    tickets.extend(bulk.iter().map(|&pixels| put(&mut permits, pixels)));
    for &pixels in interactive {
        tickets.push(put(&mut batcher.reserve(1).unwrap(), pixels));
    }
    go.send(()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for ticket in tickets {
        runtime.block_on(ticket.row()).unwrap();
    }
    drop(batcher);
    let batches = batches.lock().unwrap();
    batches.clone()
}

#[test]
fn a_batch_has_no_more_pixels_than_the_engine_takes() {
    let made = batches(Some(100), &[60, 30, 20, 50, 50, 1, 1, 1, 1, 1], &[]);
    assert_eq!(
        made,
        [vec![60, 30], vec![20, 50], vec![50, 1, 1, 1], vec![1, 1]]
    );
}

#[test]
fn an_image_beyond_that_is_a_batch_of_its_own() {
    let made = batches(Some(100), &[10, 500, 300, 90, 10], &[]);
    assert_eq!(made, [vec![10], vec![500], vec![300], vec![90, 10]]);
}

#[test]
fn rows_alone_count_where_the_engine_counts_no_pixels() {
    let made = batches(None, &[60, 500, 20, 50, 50], &[]);
    assert_eq!(made, [vec![60, 500, 20, 50], vec![50]]);
}

/// However large its images are, as long as two of them fit.
#[test]
fn a_bulk_has_its_part_of_every_batch() {
    let made = batches(Some(100), &[50, 50, 50, 50], &[50, 50]);
    assert_eq!(made, [vec![50, 50], vec![50, 50], vec![50, 50]]);
    let made = batches(Some(100), &[40, 41, 42, 43], &[51, 52]);
    assert_eq!(made, [vec![40, 51], vec![41, 52], vec![42, 43]]);
    // A quarter of the work is bulk's.
    let made = batches(Some(100), &[40, 30, 30, 30], &[25, 26]);
    assert_eq!(made, [vec![40, 30, 25], vec![30, 30, 26]]);
}
