//! Settings that cannot be used together, or not here.

use std::path::PathBuf;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The largest request never fits the queue.
    #[error(
        "--max-queued-rows (MAX_QUEUED_ROWS) is {rows}, an eighth of which is reserved for small \
         requests, but one request may have {largest} images and texts (--max-images-per-request, \
         --max-texts-per-request): such a request could never be served"
    )]
    Queue {
        /// The rows of the queue.
        rows: usize,
        /// The rows of the largest request.
        largest: usize,
    },
    /// The largest body never fits the memory for bodies.
    #[error(
        "--max-request-memory (MAX_REQUEST_MEMORY) is {memory}, of which bodies have {bodies} \
         bytes, and one body may have {body} (--payload-limit), for which twice as much is needed \
         while it is put together: such a body could never be taken"
    )]
    Bodies {
        /// The memory of all requests.
        memory: u64,
        /// The part of it that is for bodies.
        bodies: u64,
        /// The largest body.
        body: u64,
    },
    /// One engine directory is given for several models.
    #[error(
        "--engine-dir (ENGINE_DIR) is {}, which has the engine of one model, and --also \
         (ALSO_MODELS) names another: give --engines (ENGINES), where build-engine puts the \
         engines of each", .0.display()
    )]
    OneEngine(PathBuf),
    /// No request could send this name of a model in a header or a path.
    #[error(
        "{0:?} cannot be the name of a model (--model, --also): requests send it in headers and \
         paths"
    )]
    Name(String),
    /// A model that is not on the hub is given a revision.
    #[error(
        "--also (ALSO_MODELS) has {model}@{revision}, but only a model of the hub has revisions, \
         and {model} is none"
    )]
    Revision {
        /// The model.
        model: String,
        /// The revision.
        revision: String,
    },
    /// Both a GPU and the CPU are asked for.
    #[error("--device cuda (DEVICE) and FORCE_CPU contradict each other; unset one")]
    BothDevices,
    /// A GPU is to decode, and the CPU computes.
    #[error(
        "--decode gpu (DECODE) asks for a GPU that decodes, but the service computes on the CPU: \
         use --decode auto or cpu"
    )]
    DecodeOnCpu,
    /// CPUs do not compute in this precision.
    #[error("--precision {0} (PRECISION) is for GPUs; on the CPU take auto, fp32, bf16 or int8")]
    PrecisionOfGpus(&'static str),
    /// GPUs do not compute in INT8.
    #[error(
        "--precision int8 (PRECISION) is for CPUs; on a GPU use auto, fp16, bf16, fp32 or fp8, or \
         --device cpu with int8"
    )]
    PrecisionOfCpus,
}
