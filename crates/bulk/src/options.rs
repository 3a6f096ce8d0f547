//! The settings of `embed`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use siglip2_flags::{count, number, path, text};

use crate::error::InputError;
use crate::partition::Partition;
use crate::row::{EMBEDDING, ERROR, ID};

/// What is embedded, where to, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Bulk")]
pub struct EmbedOptions {
    /// What to embed: folders, pictures, tars (webdataset), Parquet files; globs and ranges
    /// such as {00000..00099}.tar. With --texts also .csv, .tsv, .jsonl and plain lines. -
    /// is standard input: a tar, or with --texts also lines.
    #[arg(value_name = "INPUT", required_unless_present = "list", value_parser = text)]
    pub inputs: Vec<String>,

    /// A file with a path of a picture in each line; - is standard input.
    #[arg(long, value_name = "FILE", value_parser = text)]
    pub list: Option<String>,

    /// The folder to write to, or one file: NAME.parquet, NAME.npy or NAME.jsonl. A run that
    /// was ended goes on in the same one.
    #[arg(long, value_name = "DIR-OR-FILE", value_parser = path)]
    pub out: PathBuf,

    /// Embed texts, not pictures.
    #[arg(long, conflicts_with_all = ["list", "captions"])]
    pub texts: bool,

    /// What to write; by default what the name of a file says, and Parquet into a folder.
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// The type of the vectors' numbers.
    #[arg(long, value_enum, default_value_t = Number::Float32)]
    pub number: Number,

    /// Rows of a shard, which is one file of the result, and what a run that was ended
    /// computes again. A tar is always one shard.
    #[arg(long, default_value_t = 10_000, value_parser = count)]
    pub shard_size: usize,

    /// The column (of JSON lines: the field) to embed; by default found by its type and name.
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub column: Option<String>,

    /// The column that names the rows; by default `id`, else rows are named FILE#ROW.
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub id_column: Option<String>,

    /// The other columns that go through to the result, separated by commas; by default all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Option<Vec<String>>,

    /// Take the text beside a picture (a.txt for a.jpg) as the column `text`.
    #[arg(long)]
    pub captions: bool,

    /// Write the pooled outputs as they are: vectors of any length.
    #[arg(long)]
    pub no_normalize: bool,

    /// Compute identical files once, and say how many there were.
    #[arg(long)]
    pub dedup: bool,

    /// End with code 1 if a row has an error.
    #[arg(long)]
    pub strict: bool,

    /// Compute on these running services, separated by commas, not in this process.
    #[arg(long, value_name = "URLS", value_delimiter = ',', value_parser = text)]
    pub url: Vec<String>,

    /// The key that those services ask for.
    #[arg(long, env = "SERVICE_API_KEY", hide_env_values = true, value_name = "KEY", value_parser = text)]
    pub url_key: Option<String>,

    /// Which shards to do, so that several machines share one output.
    #[command(flatten)]
    pub partition: PartitionOptions,
}

/// Which shards are this process's.
#[derive(Args, Clone, Debug, Default)]
pub struct PartitionOptions {
    /// Do part I of N parts, from 0: every N-th shard.
    #[arg(long, value_name = "I/N", conflicts_with_all = ["shard_index", "shard_count"])]
    pub shard: Option<Partition>,

    /// The number of the part to do, from 0; an Indexed Job of Kubernetes sets it.
    #[arg(long, env = "JOB_COMPLETION_INDEX", value_name = "I", value_parser = number::<u64>)]
    pub shard_index: Option<u64>,

    /// How many parts there are: the `completions` of an Indexed Job.
    #[arg(long, env = "JOB_COMPLETIONS", value_name = "N", value_parser = number::<u64>)]
    pub shard_count: Option<u64>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet files with the vectors as lists of fixed size.
    Parquet,
    /// NumPy arrays with Parquet files of metadata, as clip-retrieval lays them out.
    Npy,
    /// JSON objects, one a line.
    Jsonl,
}

/// The type of the vectors' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// Single precision.
    Float32,
    /// Half precision: half the bytes.
    Float16,
}

/// What rows are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Pictures.
    Pictures,
    /// Texts.
    #[default]
    Texts,
}

/// How inputs are read: those settings that the rows depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Pictures or texts.
    pub kind: Kind,
    /// As [`EmbedOptions::inputs`].
    pub inputs: Vec<String>,
    /// As [`EmbedOptions::list`].
    pub list: Option<String>,
    /// As [`EmbedOptions::shard_size`].
    pub shard_size: usize,
    /// As [`EmbedOptions::column`].
    pub column: Option<String>,
    /// As [`EmbedOptions::id_column`].
    pub id_column: Option<String>,
    /// As [`EmbedOptions::columns`].
    pub columns: Option<Vec<String>>,
    /// As [`EmbedOptions::captions`].
    pub captions: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            inputs: Vec::new(),
            list: None,
            shard_size: 10_000,
            column: None,
            id_column: None,
            columns: None,
            captions: false,
        }
    }
}

impl EmbedOptions {
    /// How inputs are read.
    pub fn reading(&self) -> Reading {
        Reading {
            kind: self.kind(),
            inputs: self.inputs.clone(),
            list: self.list.clone(),
            shard_size: self.shard_size,
            column: self.column.clone(),
            id_column: self.id_column.clone(),
            columns: self.columns.clone(),
            captions: self.captions,
        }
    }

    /// Pictures or texts.
    pub fn kind(&self) -> Kind {
        if self.texts {
            Kind::Texts
        } else {
            Kind::Pictures
        }
    }
}

/// Whether a column of a table goes through to the result.
pub(crate) fn passed_through(
    name: &str,
    path: &Path,
    reading: &Reading,
) -> Result<bool, InputError> {
    if let Some(columns) = &reading.columns
        && !columns.iter().any(|it| it == name)
    {
        return Ok(false);
    }
    if [ID, EMBEDDING, ERROR].contains(&name) {
        return Err(format!(
            "{} has a column called {name}, as the result has: leave it out by naming the others \
             with --columns",
            path.display()
        )
        .into());
    }
    Ok(true)
}
