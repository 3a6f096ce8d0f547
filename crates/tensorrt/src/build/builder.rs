//! An ONNX graph to a serialized engine, for a GPU that need not be there.
//!
//! ```text
//! Staging: .onnx, weights beside it --parser--> network, strongly typed
//!     --> the batch may vary: one profile for a lone row, one for all sizes
//!     --> compiled for one architecture --> the engine's bytes, and what is known of it
//! ```
//!
//! Strongly typed means that every tensor has the type that the graph gives it: where
//! products are in FP16 and what stays in FP32 is decided by the graph alone, and not by
//! what TensorRT finds fast.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trtx::builder::{Builder, network_flags};
use trtx::trtx_sys::Dims64;
use trtx::{BuilderConfig, DataType, LayerType, NetworkDefinition, OnnxParser, OptProfileSelector};

use crate::directory::{Architecture, ElementType, LayerCounts, TensorEntry, profiles};
use crate::libraries::{Libraries, LibraryError};
use crate::logger::{listen, logger};

mod listener;
mod progress;
mod staging;

pub use staging::Staging;

use listener::BuildListener;
use progress::Progress;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A library is missing.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// This TensorRT builds no engines for the GPU.
    #[error("{0}")]
    Unsupported(String),
    /// TensorRT refuses before it has seen a graph.
    #[error("TensorRT cannot begin to build: {0}")]
    Begin(String),
    /// The parser does not take the graph.
    #[error("TensorRT cannot read {}: {reason}", path.display())]
    Parse {
        /// The graph.
        path: PathBuf,
        /// What the parser said, with the name of the node.
        reason: String,
    },
    /// The graph is none of a tower.
    #[error("{} is no tower that can be run: {reason}", path.display())]
    Graph {
        /// The graph.
        path: PathBuf,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// TensorRT does not compile the network.
    #[error("TensorRT cannot build an engine from {} for {gpu}: {reason}", path.display())]
    Build {
        /// The graph.
        path: PathBuf,
        /// For which GPU.
        gpu: Architecture,
        /// What it said.
        reason: String,
    },
    /// A file of the staging directory cannot be written.
    #[error("{} cannot be written: {reason}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

/// What is to be built.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What progress is called.
    pub label: &'a str,
    /// The graph's file, with its weights where it says they are.
    pub graph: &'a Path,
    /// The GPU.
    pub gpu: Architecture,
    /// The input's dimensions behind the batch. A graph that leaves one open gets these.
    pub input: &'a [usize],
    /// The output's width.
    pub width: usize,
    /// The largest batch.
    pub max_batch: usize,
}

/// An engine.
#[derive(Debug)]
pub struct Built {
    /// Its bytes, as a runtime of the same TensorRT reads them.
    pub engine: Vec<u8>,
    /// What it eats.
    pub input: TensorEntry,
    /// What it gives.
    pub output: TensorEntry,
    /// What is known of its layers.
    pub layers: LayerCounts,
}

/// Whether this TensorRT builds engines for a GPU. `here` are the architectures of the
/// GPUs of this machine.
///
/// # Errors
///
/// [`BuildError::Unsupported`], which says what to do instead.
pub fn check(gpu: Architecture, here: &[Architecture]) -> Result<(), BuildError> {
    target::check(gpu, here).map_err(BuildError::Unsupported)
}

/// Builds an engine. This takes seconds.
///
/// # Errors
///
/// When the parser's library is missing, when TensorRT does not know the GPU, or does not
/// take the graph, or when the graph is not one of a tower.
pub fn build(libraries: &Libraries, request: Request<'_>) -> Result<Built, BuildError> {
    libraries.open_parser()?;
    let Request { graph, gpu, .. } = request;
    let heard = Arc::new(BuildListener::default());
    let _listening = listen(heard.clone());
    let begin = |error: trtx::Error| BuildError::Begin(heard.complaints_or(&error));
    let failed = |error: trtx::Error| BuildError::Build {
        path: graph.to_owned(),
        gpu,
        reason: heard.complaints_or(&error),
    };

    let logger = logger().map_err(begin)?;
    let mut builder = Builder::new(logger).map_err(begin)?;
    let network = builder
        .create_network(network_flags::EXPLICIT_BATCH)
        .map_err(begin)?;
    // From here on the parser holds the network, and the weights that it points at.
    let mut parser = OnnxParser::new(network, logger).map_err(begin)?;
    parser
        .parse_from_file(&graph.to_string_lossy(), VERBOSE)
        .map_err(|error| BuildError::Parse {
            path: graph.to_owned(),
            reason: heard.complaints_or(&error),
        })?;
    let network = parser.network_mut();
    let (input, output) = tensors(network, request)?;
    let layers = network.nb_layers().unsigned_abs() as usize;
    let attentions = attentions(network);

    let mut config = builder.create_config().map_err(failed)?;
    for batches in profiles(request.max_batch) {
        profile(
            &mut builder,
            &mut config,
            &input.name,
            request.input,
            batches,
        )
        .map_err(failed)?;
    }
    target::set(&mut config, gpu).map_err(failed)?;
    config
        .set_progress_monitor(Box::new(Progress::new(request.label)))
        .map_err(failed)?;
    let engine = builder
        .build_serialized_network(network, &mut config)
        .map_err(failed)?;
    Ok(Built {
        engine: engine.to_vec(),
        input,
        output,
        layers: heard.layers(layers, &attentions),
    })
}

/// `ILogger::Severity::kVERBOSE`, as the parser counts it.
const VERBOSE: i32 = 4;

/// Adds an optimization profile for batches of `[least, optimized for, most]`.
fn profile(
    builder: &mut Builder<'_>,
    config: &mut BuilderConfig<'_>,
    input: &str,
    behind: &[usize],
    [min, opt, max]: [usize; 3],
) -> trtx::Result<()> {
    let mut profile = builder.creata_optimization_profile()?;
    for (selector, batch) in [
        (OptProfileSelector::kMIN, min),
        (OptProfileSelector::kOPT, opt),
        (OptProfileSelector::kMAX, max),
    ] {
        let dims: Vec<i64> = std::iter::once(&batch)
            .chain(behind)
            .map(|&dim| dim as i64)
            .collect();
        profile.set_dimensions(input, selector, &Dims64::from_slice(&dims))?;
    }
    config.add_optimization_profile(&mut profile)?;
    Ok(())
}

/// The names of the softmaxes: one for each attention of a SigLIP tower.
fn attentions(network: &NetworkDefinition<'_>) -> Vec<String> {
    network
        .layers()
        .filter(|layer| layer.layer_type_dynamic() == LayerType::kSOFTMAX)
        .map(|layer| layer.name(network))
        .collect()
}

/// The network's one input and one output, checked.
fn tensors(
    network: &NetworkDefinition<'_>,
    request: Request<'_>,
) -> Result<(TensorEntry, TensorEntry), BuildError> {
    let wrong = |reason: String| BuildError::Graph {
        path: request.graph.to_owned(),
        reason,
    };
    let entry = |tensor: trtx::Result<trtx::Tensor<'_>>, behind: &[usize]| {
        let described = tensor.and_then(|tensor| {
            let name = tensor.name(network)?;
            let dims = tensor.dimensions(network)?;
            Ok((name, dims, tensor.data_type(network)))
        });
        let (name, dims, data_type) = described.map_err(|error| wrong(error.to_string()))?;
        let fits = dims.split_first().is_some_and(|(&batch, rest)| {
            let fits = |(&dim, &wanted): (&i64, &usize)| dim == -1 || dim == wanted as i64;
            batch == -1 && rest.len() == behind.len() && std::iter::zip(rest, behind).all(fits)
        });
        if !fits {
            let behind: Vec<String> = behind.iter().map(ToString::to_string).collect();
            return Err(wrong(format!(
                "its tensor {name:?} has shape {dims:?}, where -1 may vary, and [-1, {}] is \
                 expected; export it with a batch that may vary, from the checkpoint that \
                 --model names",
                behind.join(", ")
            )));
        }
        let element = match data_type {
            DataType::kFLOAT => ElementType::Fp32,
            DataType::kHALF => ElementType::Fp16,
            DataType::kBF16 => ElementType::Bf16,
            DataType::kINT32 => ElementType::Int32,
            DataType::kINT64 => ElementType::Int64,
            other => return Err(wrong(format!("its tensor {name:?} is {other:?}"))),
        };
        Ok(TensorEntry { name, element })
    };
    let (inputs, outputs) = (network.nb_inputs(), network.nb_outputs());
    if (inputs, outputs) != (1, 1) {
        return Err(wrong(format!(
            "it has {inputs} inputs and {outputs} outputs, and one of each is expected"
        )));
    }
    Ok((
        entry(network.input(0), request.input)?,
        entry(network.output(0), &[request.width])?,
    ))
}

/// TensorRT for RTX compiles for any GPU that it knows.
#[cfg(not(feature = "tensorrt-enterprise"))]
mod target {
    use trtx::{BuilderConfig, BuilderFlag, ComputeCapability};

    use crate::directory::Architecture;

    /// All that `ComputeCapability` of NvInfer.h (1.7) names.
    const KNOWN: [(u32, ComputeCapability); 6] = [
        (75, ComputeCapability::kSM75),
        (80, ComputeCapability::kSM80),
        (86, ComputeCapability::kSM86),
        (89, ComputeCapability::kSM89),
        (120, ComputeCapability::kSM120),
        (121, ComputeCapability::kSM121),
    ];

    pub(super) fn check(gpu: Architecture, _: &[Architecture]) -> Result<(), String> {
        if KNOWN.iter().any(|&(number, _)| number == gpu.number()) {
            return Ok(());
        }
        let known: Vec<String> = KNOWN
            .iter()
            .map(|(number, _)| format!("sm_{number}"))
            .collect();
        Err(format!(
            "TensorRT for RTX builds no engines for {gpu}; it knows {}. For other GPUs, such as \
             H100 and B200, build this program with standard TensorRT (cargo build --release \
             --features tensorrt-enterprise) and run it on a machine with that GPU",
            known.join(", ")
        ))
    }

    pub(super) fn set(config: &mut BuilderConfig<'_>, gpu: Architecture) -> trtx::Result<()> {
        let known = KNOWN
            .into_iter()
            .find(|&(number, _)| number == gpu.number());
        // `check` has refused what is not known.
        let (_, capability) = known.unwrap_or((0, ComputeCapability::kNONE));
        // Without it a tensor beyond some size is allocated while the engine runs, and then
        // nothing can be captured as a CUDA graph.
        config.set_flag(BuilderFlag::kREQUIRE_USER_ALLOCATION);
        config.set_nb_compute_capabilities(1)?;
        config.set_compute_capability(capability, 0)
    }
}

/// Standard TensorRT measures kernels on the GPU that the engine is for.
#[cfg(feature = "tensorrt-enterprise")]
mod target {
    use trtx::BuilderConfig;

    use crate::directory::Architecture;

    pub(super) fn check(gpu: Architecture, here: &[Architecture]) -> Result<(), String> {
        if here.first() == Some(&gpu) {
            return Ok(());
        }
        let there = match here.first() {
            Some(first) => format!("the first GPU of this machine is {first}"),
            None => "this machine has no GPU, or no driver for it".into(),
        };
        Err(format!(
            "standard TensorRT builds engines on the GPU that they are for: {gpu} is asked for, \
             and {there} (CUDA_VISIBLE_DEVICES chooses it); --gpu current takes it"
        ))
    }

    pub(super) fn set(_: &mut BuilderConfig<'_>, _: Architecture) -> trtx::Result<()> {
        Ok(())
    }
}
