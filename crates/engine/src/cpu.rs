//! The towers on the CPU, in FP32, on rten.
//!
//! ```text
//! Config, Weights --graph--> ONNX --rten--> two models over the mapped weights
//! Pixels --table--> [batch, 3, S, S] f32 --vision--> Rows
//! token ids      --> [batch, T] i32      --text----> Rows
//! ```
//!
//! Both towers share one pool of threads, one per core. At load rten transposes
//! every weight of a product into the panels that its matrix kernels read, so those
//! pages of the mapping are read once and given back.

use std::ops::Range;
use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};

use super::{Batch, Completion, Engine, EngineError, EngineInfo, Pixels, Prepare, Rows, Tower};
use siglip2_image::{ImageError, Processor, RgbImage};
use siglip2_model::checkpoint::{Checkpoint, CheckpointError, Config, Weights};
use siglip2_model::graph::{self, Graph, Precision};

mod crew;

use crew::Crew;

/// Images that one thread runs at a time. More in one run share nothing but the packed
/// weights, and their activations are larger than the cache: on siglip2-base's shape
/// 4 at a time took 4% longer (docs/performance.md).
const IMAGES_PER_PIECE: usize = 1;

/// Texts that one thread runs at a time: as many rows in a product as an image has.
const TEXTS_PER_PIECE: usize = 4;

/// How the CPU engine is built.
#[derive(Clone, Copy, Debug)]
pub struct CpuOptions {
    /// Threads that compute.
    pub threads: usize,
    /// The largest batch.
    pub max_batch: usize,
}

/// Why there is no CPU engine.
#[derive(Debug, thiserror::Error)]
pub enum CpuEngineError {
    /// The checkpoint does not hold what its configuration calls for.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The runtime does not take the graph.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Both towers on the CPU.
pub struct CpuEngine {
    vision: Loaded,
    text: Loaded,
    crew: Crew,
    preparer: Arc<CpuPrepare>,
    image_size: usize,
    text_tokens: usize,
    info: EngineInfo,
}

impl CpuEngine {
    /// What an engine of this checkpoint will be.
    pub fn describe(config: &Config, options: CpuOptions) -> EngineInfo {
        EngineInfo {
            name: "rten",
            device: "cpu",
            precision: Precision::Fp32.name(),
            dimensions: config.dimensions(),
            max_batch: options.max_batch.max(1),
            slots: 1,
            patience: None,
        }
    }

    /// Whether the checkpoint holds every tensor that its configuration calls for, in
    /// the shape that it calls for. Takes milliseconds; [`CpuEngine::load`] takes
    /// seconds.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or misshapen.
    pub fn check(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        graph::vision(
            &checkpoint.config.vision,
            &checkpoint.weights,
            Precision::Fp32,
        )?;
        graph::text(
            &checkpoint.config.text,
            &checkpoint.weights,
            Precision::Fp32,
        )?;
        Ok(())
    }

    /// Loads both towers of a checkpoint.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or misshapen.
    pub fn load(
        checkpoint: Checkpoint,
        processor: Processor,
        options: CpuOptions,
    ) -> Result<Self, CpuEngineError> {
        let Checkpoint {
            config, weights, ..
        } = checkpoint;
        let weights = weights.into_f32();
        let vision = graph::vision(&config.vision, &weights, Precision::Fp32)?;
        let text = graph::text(&config.text, &weights, Precision::Fp32)?;
        let vision = Loaded::new(Tower::Image, &vision, &weights, config.dimensions())?;
        let text = Loaded::new(Tower::Text, &text, &weights, config.dimensions())?;
        // What was packed is not read again.
        weights.release();
        Ok(Self {
            vision,
            text,
            crew: Crew::new(options.threads),
            preparer: Arc::new(CpuPrepare { processor }),
            image_size: config.vision.image_size,
            text_tokens: config.text.positions,
            info: Self::describe(&config, options),
        })
    }
}

impl Engine for CpuEngine {
    fn info(&self) -> EngineInfo {
        self.info.clone()
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::clone(&self.preparer) as Arc<dyn Prepare>
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        done.finish(match batch {
            Batch::Images(images) => self.embed_images(&images),
            Batch::Texts(texts) => self.embed_texts(&texts),
        });
    }
}

impl CpuEngine {
    fn embed_images(&self, batch: &[Pixels]) -> Result<Rows, EngineError> {
        let side = self.image_size;
        let preparer = &self.preparer;
        self.vision
            .run(&self.crew, batch.len(), IMAGES_PER_PIECE, |rows| {
                let shape = [rows.len(), 3, side, side];
                let values = preparer.normalized(&batch[rows], side * side)?;
                Value::from_shape(&shape, values)
                    .map_err(|error| EngineError::Failed(error.to_string()))
            })
    }

    fn embed_texts(&self, batch: &[Vec<i32>]) -> Result<Rows, EngineError> {
        let tokens = self.text_tokens;
        self.text
            .run(&self.crew, batch.len(), TEXTS_PER_PIECE, |rows| {
                let shape = [rows.len(), tokens];
                Value::from_shape(&shape, batch[rows].concat())
                    .map_err(|error| EngineError::Failed(error.to_string()))
            })
    }
}

/// Resizes on any thread; the pixels stay bytes until their batch runs, a quarter
/// of the memory that floats would take in the queue.
struct CpuPrepare {
    processor: Processor,
}

impl Prepare for CpuPrepare {
    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        let size = self.processor.size();
        if (image.width(), image.height()) == (size, size) {
            return Ok(Pixels(image));
        }
        self.processor.resize(&image).map(Pixels)
    }
}

impl CpuPrepare {
    /// The batch as floats: channels apart, each value through the processor's table.
    fn normalized(&self, batch: &[Pixels], pixels: usize) -> Result<Vec<f32>, EngineError> {
        let tables = self.processor.normalization();
        let mut values = Vec::with_capacity(batch.len() * 3 * pixels);
        for image in batch {
            let bytes = image.0.pixels();
            if bytes.len() != 3 * pixels {
                return Err(EngineError::Failed(format!(
                    "an image has {} bytes, not {}",
                    bytes.len(),
                    3 * pixels
                )));
            }
            for (channel, table) in tables.iter().enumerate() {
                let channel = bytes.iter().skip(channel).step_by(3);
                values.extend(channel.map(|&value| table[usize::from(value)]));
            }
        }
        Ok(values)
    }
}

/// One tower, ready to run.
struct Loaded {
    model: Arc<Model>,
    input: NodeId,
    output: NodeId,
    dimensions: usize,
}

impl Loaded {
    fn new(
        tower: Tower,
        graph: &Graph,
        weights: &Weights,
        dimensions: usize,
    ) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::Load { tower, reason };
        let mut options = ModelOptions::default();
        options.prepack_weights(true);
        for (shard, bytes) in weights.shards().iter().enumerate() {
            options.external_data_static(&graph::external_name(shard), bytes);
        }
        let model = options
            .load(graph.encode())
            .map_err(|error| failed(error.to_string()))?;
        let (&[input], &[output]) = (model.input_ids(), model.output_ids()) else {
            return Err(failed("its graph has not one input and one output".into()));
        };
        Ok(Self {
            input,
            output,
            dimensions,
            model: Arc::new(model),
        })
    }

    /// Runs a batch, made of `rows` rows by `input(first, count)`, and gives its rows'
    /// values in order.
    fn run(
        &self,
        crew: &Crew,
        rows: usize,
        piece: usize,
        mut input: impl FnMut(Range<usize>) -> Result<Value, EngineError>,
    ) -> Result<Rows, EngineError> {
        let (apart, together) = crew.split(rows);
        let mut pieces = Vec::new();
        for share in crew.shares(apart) {
            let mut inputs = Vec::new();
            let mut first = share.start;
            while first < share.end {
                let end = (first + piece).min(share.end);
                inputs.push(input(first..end)?);
                first = end;
            }
            pieces.push(inputs);
        }
        let last = if together > 0 {
            Some(input(apart..rows)?)
        } else {
            None
        };

        let mut values = Vec::with_capacity(rows * self.dimensions);
        let model = Arc::clone(&self.model);
        let (from, to) = (self.input, self.output);
        for part in crew.apart(pieces, move |input, pool| {
            infer(&model, from, to, input, pool)
        }) {
            for output in part? {
                values.extend(output);
            }
        }
        if let Some(input) = last {
            values.extend(
                crew.together(|pool| infer(&self.model, self.input, self.output, input, pool))?,
            );
        }
        Rows::new(self.dimensions, values)
    }
}

fn infer(
    model: &Model,
    from: NodeId,
    to: NodeId,
    input: Value,
    pool: &Arc<ThreadPool>,
) -> Result<Vec<f32>, EngineError> {
    let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
    model
        .run(
            vec![(from, ValueOrView::Value(input))],
            &[to],
            Some(options),
        )
        .map_err(|error| EngineError::Failed(error.to_string()))?
        .pop()
        .and_then(Value::into_tensor::<f32>)
        .map(|output| output.into_data())
        .ok_or_else(|| EngineError::Failed("the runtime answered no floats".into()))
}
