//! Embeds folders, tars and tables into files, goes on after a kill, and searches the result.
//!
//! ```text
//! inputs --sources--> rows --embedder--> vectors --shard--> part-00000.parquet ...
//!    |                                                              |
//!    +--plan: what is to be done, and with what                     +--search: top rows
//! ```
//!
//! * [`options`]: the settings; [`Partition`]: which shards are whose.
//! * `table`: Parquet in bounded memory, for sources and for searches.
//! * `sources`: pictures, tars, Parquet, CSV, lines, and how they are cut into shards.
//! * [`Embedder`]: the service in this process, or running ones over HTTP.
//! * `shard`, `output`, `disk`: files that are there whole or not at all.
//! * `target`, `join`: what `--out` names, and one file of all shards.
//! * [`search`]: the rows nearest to a query.
//! * `run`: all of it at the same time, in bounded memory.
//!
//! A shard is what is done or not done. Its rows and their order depend on the inputs and the
//! settings alone, so a run that was killed and goes on ends with the bytes that it would have
//! ended with.
//!
//! What is written is searched, and so is an array of NumPy's:
//!
//! ```
//! use siglip2_bulk::search::Index;
//!
//! let folder = tempfile::tempdir()?;
//! let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
//! let mut array = b"\x93NUMPY\x01\x00".to_vec();
//! array.extend((head.len() as u16).to_le_bytes());
//! array.extend(head.as_bytes());
//! for number in [1.0_f32, 0.0, 0.0, 0.0, 0.6, 0.8] {
//!     array.extend(number.to_le_bytes());
//! }
//! let file = folder.path().join("vectors.npy");
//! std::fs::write(&file, array)?;
//!
//! // The two best for a query of any length, on one thread.
//! let found = Index::open(&[file])?.search(&[0.0, 3.0, 4.0], 2, 1)?;
//! assert!(found[0].id().ends_with("vectors.npy#1"));
//! assert!((found[0].score - 1.0).abs() < 1e-6);
//! assert_eq!(found[1].score, 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod archive;
mod columns;
mod dedup;
mod disk;
mod embedder;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identity;
mod join;
pub mod options;
mod output;
mod partition;
mod plan;
mod progress;
mod remote;
mod row;
mod run;
pub mod search;
mod shard;
mod sources;
mod table;
mod target;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use disk::Disk;
pub use embedder::{Embedder, Place};
pub use error::{BulkError, InputError};
pub use identity::Identity;
pub use options::EmbedOptions;
use options::Format;
use output::Output;
pub use partition::{Partition, PartitionError};
pub use plan::Limits;
use plan::Plan;
pub use remote::Remote;
pub use run::Summary;
use shard::Form;
pub use shard::vector_properties;
use sources::Sources;
use target::Target;

/// What is to be done, before it is known with what: the inputs were found.
pub struct Bulk {
    options: EmbedOptions,
    partition: Partition,
    target: Target,
    sources: Sources,
    /// The columns of all shards, where they must have the same.
    columns: Option<SchemaRef>,
}

impl Bulk {
    /// Finds the inputs.
    ///
    /// # Errors
    ///
    /// [`BulkError::Unusable`], when something is missing or cannot be understood.
    pub fn find(options: EmbedOptions) -> Result<Self, BulkError> {
        let partition = Partition::of(&options.partition)
            .map_err(|error| BulkError::Unusable(error.to_string()))?;
        let target = Target::of(&options, partition)?;
        let sources = Sources::open(&options.reading())?;
        if sources.passed_over > 0 {
            let files = sources.passed_over;
            tracing::info!(
                files,
                "passed over files in folders that are not to be embedded"
            );
        }
        let one_schema = target.file.is_some() && target.format != Format::Jsonl;
        let columns =
            one_schema.then(|| columns::union(sources.list.iter().map(|it| it.columns())));
        Ok(Self {
            columns: columns.transpose()?,
            options,
            partition,
            target,
            sources,
        })
    }

    /// Embeds what is not done yet, until `stop` ends.
    ///
    /// # Errors
    ///
    /// See [`BulkError`]: another plan was begun in the output, or it cannot be written, or
    /// the engine is gone.
    pub async fn run(
        self,
        place: Place,
        identity: Identity,
        limits: Limits,
        stop: impl Future<Output = ()>,
    ) -> Result<Summary, BulkError> {
        self.run_on(Disk::default(), place, identity, limits, stop)
            .await
    }

    async fn run_on(
        self,
        disk: Disk,
        place: Place,
        identity: Identity,
        limits: Limits,
        stop: impl Future<Output = ()>,
    ) -> Result<Summary, BulkError> {
        let Self {
            options,
            partition,
            target,
            sources,
            columns,
        } = self;
        let shards = sources.list.iter().map(|source| source.cuts().len()).sum();
        let mut form = Form {
            identity: identity.clone(),
            normalized: !options.no_normalize,
            number: options.number,
            kind: options.kind(),
            columns,
        };
        let dimensions = identity.dimensions;
        let inputs = sources.digest();
        let plan = Plan::new(&options, target.format, identity, limits, inputs, shards);
        let output = Output::open(&target, plan, partition, disk)?;
        // One model may have several names; all files have the one that was begun with.
        let begun = &output.plan.identity;
        form.identity.model.clone_from(&begun.model);
        form.identity.precision.clone_from(&begun.precision);
        let embedder = Embedder::new(place, !options.no_normalize, options.dedup, dimensions)?;
        run::run(output, sources, form, partition, Arc::new(embedder), stop).await
    }
}
