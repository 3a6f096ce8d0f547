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
//! pages of the mapping are read once and never again.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};

use super::{Engine, EngineError, EngineInfo, Pixels, Prepare, Rows, Tower};
use crate::checkpoint::{Checkpoint, CheckpointError, Config, Weights};
use crate::graph::{self, Graph};
use crate::image::{ImageError, Processor, RgbImage};

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
            precision: "fp32",
            dimensions: config.dimensions(),
            max_batch: options.max_batch.max(1),
        }
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
        let threads = Arc::new(ThreadPool::with_num_threads(options.threads.max(1)));
        let vision = graph::vision(&config.vision, &weights)?;
        let text = graph::text(&config.text, &weights)?;
        Ok(Self {
            vision: Loaded::new(Tower::Image, &vision, &weights, &threads)?,
            text: Loaded::new(Tower::Text, &text, &weights, &threads)?,
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

    fn embed_images(&mut self, batch: &[&Pixels]) -> Result<Rows, EngineError> {
        let side = self.image_size;
        let values = self.preparer.normalized(batch, side * side)?;
        let input = Value::from_shape(&[batch.len(), 3, side, side], values)
            .map_err(|error| EngineError::Failed(error.to_string()))?;
        self.vision.run(input, self.info.dimensions)
    }

    fn embed_texts(&mut self, batch: &[&[i32]]) -> Result<Rows, EngineError> {
        let input = Value::from_shape(&[batch.len(), self.text_tokens], batch.concat())
            .map_err(|error| EngineError::Failed(error.to_string()))?;
        self.text.run(input, self.info.dimensions)
    }
}

/// Resizes on any thread; the pixels stay bytes until their batch runs, a quarter
/// of the memory that floats would take in the queue.
struct CpuPrepare {
    processor: Processor,
}

impl Prepare for CpuPrepare {
    fn prepare(&self, image: &RgbImage) -> Result<Pixels, ImageError> {
        self.processor.resize(image).map(Pixels)
    }
}

impl CpuPrepare {
    /// The batch as floats: channels apart, each value through the processor's table.
    fn normalized(&self, batch: &[&Pixels], pixels: usize) -> Result<Vec<f32>, EngineError> {
        let tables = self.processor.normalization();
        let mut values = Vec::with_capacity(batch.len() * 3 * pixels);
        for image in batch {
            if image.0.len() != 3 * pixels {
                return Err(EngineError::Failed(format!(
                    "an image has {} bytes, not {}",
                    image.0.len(),
                    3 * pixels
                )));
            }
            for (channel, table) in tables.iter().enumerate() {
                let channel = image.0.iter().skip(channel).step_by(3);
                values.extend(channel.map(|&value| table[usize::from(value)]));
            }
        }
        Ok(values)
    }
}

/// One tower, ready to run.
struct Loaded {
    model: Model,
    input: NodeId,
    output: NodeId,
    threads: Arc<ThreadPool>,
}

impl Loaded {
    fn new(
        tower: Tower,
        graph: &Graph,
        weights: &Weights,
        threads: &Arc<ThreadPool>,
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
            model,
            threads: Arc::clone(threads),
        })
    }

    fn run(&self, input: Value, dimensions: usize) -> Result<Rows, EngineError> {
        let failed = |reason: String| EngineError::Failed(reason);
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.threads)));
        let output = self
            .model
            .run(
                vec![(self.input, ValueOrView::Value(input))],
                &[self.output],
                Some(options),
            )
            .map_err(|error| failed(error.to_string()))?
            .pop()
            .and_then(Value::into_tensor::<f32>)
            .ok_or_else(|| failed("it answered no floats".into()))?;
        Rows::new(dimensions, output.into_data())
    }
}
