//! Builds a serialized engine from an ONNX graph, for a GPU that need not be present.
//!
//! ```text
//! Staging: .onnx, weights beside it --parser--> network, strongly typed
//!     --> variable batch: profiles, each for a range of sizes
//!     --> compiled for one architecture --> the engine's bytes, and facts about it
//! ```
//!
//! Strongly typed means that every tensor has the type that the graph gives it. The graph alone
//! decides what runs in FP16 and what stays in FP32, not TensorRT's timings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trtx::builder::{Builder, network_flags};
use trtx::trtx_sys::Dims64;
use trtx::{
    BuilderConfig, DataType, LayerType, NetworkDefinition, OnnxParser, OptProfileSelector,
    ProfilingVerbosity,
};

use crate::directory::{Architecture, ElementType, LayerCounts, TensorEntry};
use crate::libraries::{Libraries, LibraryError};
use crate::logger::{listen, logger};

mod listener;
mod progress;
mod staging;

pub use staging::Staging;

use listener::BuildListener;
use progress::Progress;

/// Why an engine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A library is missing.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// This TensorRT cannot build engines for the GPU.
    #[error("{0}")]
    Unsupported(String),
    /// TensorRT fails before it has read a graph.
    #[error("TensorRT cannot start a build: {0}")]
    Begin(String),
    /// The parser rejects the graph.
    #[error("TensorRT cannot read {}: {reason}", path.display())]
    Parse {
        /// The graph.
        path: PathBuf,
        /// The parser's message, with the name of the node.
        reason: String,
    },
    /// The graph is not that of a tower.
    #[error("{} is not a tower that can be run: {reason}", path.display())]
    Graph {
        /// The graph.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// TensorRT cannot compile the network.
    #[error("TensorRT cannot build an engine from {} for {gpu}: {reason}", path.display())]
    Build {
        /// The graph.
        path: PathBuf,
        /// For which GPU.
        gpu: Architecture,
        /// TensorRT's message.
        reason: String,
    },
    /// A file of the staging directory cannot be written.
    #[error("{} cannot be written: {reason}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
}

/// A build to run.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The label of the progress bar.
    pub label: &'a str,
    /// The graph's file, with its weights at the paths it names.
    pub graph: &'a Path,
    /// The GPU.
    pub gpu: Architecture,
    /// The optimization profiles: the input's least dimensions, those to optimize for, and its
    /// most. They also replace dimensions that the graph leaves open.
    pub profiles: &'a [[Vec<usize>; 3]],
    /// The output's width.
    pub width: usize,
    /// Whether TensorRT lists the kernels, from which it is known what is computed in FP8.
    pub details: bool,
}

impl Request<'_> {
    /// The input's dimensions; `None` for those that vary.
    fn input(&self) -> Vec<Option<usize>> {
        let mut all = self.profiles.iter().flatten();
        let mut dims: Vec<Option<usize>> = match all.next() {
            Some(first) => first.iter().copied().map(Some).collect(),
            None => Vec::new(),
        };
        for other in all {
            for (dim, &other) in std::iter::zip(&mut dims, other) {
                dim.take_if(|dim| *dim != other);
            }
        }
        // A batch may have any number of rows, whatever it is built for.
        if let Some(batch) = dims.first_mut() {
            *batch = None;
        }
        dims
    }
}

/// An engine.
#[derive(Debug)]
pub struct Built {
    /// Its bytes, for a runtime of the same TensorRT.
    pub engine: Vec<u8>,
    /// Its input.
    pub input: TensorEntry,
    /// Its output.
    pub output: TensorEntry,
    /// What is known about its layers.
    pub layers: LayerCounts,
}

/// Checks that this TensorRT builds engines for a GPU. `here` lists the architectures of this
/// machine's GPUs.
///
/// # Errors
///
/// [`BuildError::Unsupported`], which says what to do instead.
pub fn check(gpu: Architecture, here: &[Architecture]) -> Result<(), BuildError> {
    target::check(gpu, here)
}

/// Builds an engine. This takes seconds.
///
/// # Errors
///
/// When the parser's library is missing, when TensorRT does not support the GPU or rejects the
/// graph, or when the graph is not that of a tower.
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
    // From here on the parser owns the network and the weights it points to.
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
    for sizes in request.profiles {
        profile(&mut builder, &mut config, &input.name, sizes).map_err(failed)?;
    }
    target::set(&mut config, gpu).map_err(failed)?;
    if request.details {
        config.set_profiling_verbosity(ProfilingVerbosity::kDETAILED);
    }
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

/// Adds an optimization profile for inputs of these dimensions: least, optimized for, most.
fn profile(
    builder: &mut Builder<'_>,
    config: &mut BuilderConfig<'_>,
    input: &str,
    sizes: &[Vec<usize>; 3],
) -> trtx::Result<()> {
    let mut profile = builder.creata_optimization_profile()?;
    let selectors = [
        OptProfileSelector::kMIN,
        OptProfileSelector::kOPT,
        OptProfileSelector::kMAX,
    ];
    for (selector, dims) in std::iter::zip(selectors, sizes) {
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
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
    let entry = |tensor: trtx::Result<trtx::Tensor<'_>>, wanted: &[Option<usize>]| {
        let described = tensor.and_then(|tensor| {
            let name = tensor.name(network)?;
            let dims = tensor.dimensions(network)?;
            Ok((name, dims, tensor.data_type(network)))
        });
        let (name, dims, data_type) = described.map_err(|error| wrong(error.to_string()))?;
        let fits = |(&dim, &wanted): (&i64, &Option<usize>)| {
            dim == -1 || wanted.is_some_and(|wanted| dim == wanted as i64)
        };
        if dims.len() != wanted.len() || !std::iter::zip(&dims, wanted).all(fits) {
            let wanted: Vec<String> = wanted
                .iter()
                .map(|dim| dim.map_or_else(|| "-1".to_owned(), |dim| dim.to_string()))
                .collect();
            return Err(wrong(format!(
                "its tensor {name:?} has shape {dims:?} (-1 is variable), but [{}] is \
                 expected; export it with a variable batch size, from the checkpoint that \
                 --model names",
                wanted.join(", ")
            )));
        }
        let element = match data_type {
            DataType::kFLOAT => ElementType::Fp32,
            DataType::kHALF => ElementType::Fp16,
            DataType::kBF16 => ElementType::Bf16,
            DataType::kINT32 => ElementType::Int32,
            DataType::kINT64 => ElementType::Int64,
            DataType::kUINT8 => ElementType::Uint8,
            other => return Err(wrong(format!("its tensor {name:?} is {other:?}"))),
        };
        Ok(TensorEntry { name, element })
    };
    let (inputs, outputs) = (network.nb_inputs(), network.nb_outputs());
    if (inputs, outputs) != (1, 1) {
        return Err(wrong(format!(
            "it has {inputs} inputs and {outputs} outputs; one of each is expected"
        )));
    }
    Ok((
        entry(network.input(0), &request.input())?,
        entry(network.output(0), &[None, Some(request.width)])?,
    ))
}

/// TensorRT for RTX compiles for every GPU it supports.
#[cfg(not(feature = "tensorrt-enterprise"))]
mod target {
    use trtx::{BuilderConfig, BuilderFlag, ComputeCapability};

    use super::BuildError;
    use crate::directory::Architecture;

    /// All values of `ComputeCapability` in NvInfer.h (1.7).
    const KNOWN: [(u32, ComputeCapability); 6] = [
        (75, ComputeCapability::kSM75),
        (80, ComputeCapability::kSM80),
        (86, ComputeCapability::kSM86),
        (89, ComputeCapability::kSM89),
        (120, ComputeCapability::kSM120),
        (121, ComputeCapability::kSM121),
    ];

    pub(super) fn check(gpu: Architecture, _: &[Architecture]) -> Result<(), BuildError> {
        if KNOWN.iter().any(|&(number, _)| number == gpu.number()) {
            return Ok(());
        }
        let known: Vec<String> = KNOWN
            .iter()
            .map(|(number, _)| format!("sm_{number}"))
            .collect();
        Err(BuildError::Unsupported(format!(
            "TensorRT for RTX cannot build for {gpu}; it supports {}. For other GPUs, such as \
             H100 and B200, build this program with standard TensorRT (cargo build --release \
             --features tensorrt-enterprise) and run it on a machine with that GPU",
            known.join(", ")
        )))
    }

    pub(super) fn set(config: &mut BuilderConfig<'_>, gpu: Architecture) -> trtx::Result<()> {
        let known = KNOWN
            .into_iter()
            .find(|&(number, _)| number == gpu.number());
        // `check` has refused all others.
        let (_, capability) = known.unwrap_or((0, ComputeCapability::kNONE));
        // Without this flag, tensors beyond some size are allocated while the engine runs, and
        // its work cannot be captured as a CUDA graph.
        config.set_flag(BuilderFlag::kREQUIRE_USER_ALLOCATION);
        config.set_nb_compute_capabilities(1)?;
        config.set_compute_capability(capability, 0)
    }
}

/// Standard TensorRT measures kernels on the GPU that the engine is for.
#[cfg(feature = "tensorrt-enterprise")]
mod target {
    use trtx::BuilderConfig;

    use super::BuildError;
    use crate::directory::Architecture;

    pub(super) fn check(gpu: Architecture, here: &[Architecture]) -> Result<(), BuildError> {
        if here.first() == Some(&gpu) {
            return Ok(());
        }
        let there = match here.first() {
            Some(first) => format!("the first GPU of this machine is {first}"),
            None => "this machine has no GPU, or no driver for it".into(),
        };
        Err(BuildError::Unsupported(format!(
            "standard TensorRT can build an engine only on the GPU it is for: --gpu is {gpu}, but \
             {there}; choose another GPU with CUDA_VISIBLE_DEVICES, or use --gpu current"
        )))
    }

    pub(super) fn set(_: &mut BuilderConfig<'_>, _: Architecture) -> trtx::Result<()> {
        Ok(())
    }
}
