//! The rate of `search`, and the share of the memory's bandwidth that it uses.
//!
//! ```text
//! cargo bench --bench search -- [--rows N] [--dimensions D] [--rounds N] [--parquet]
//! cargo bench --bench search -- --rows 2000000     6 GB, in the folder that TMPDIR names
//! cargo bench --bench search -- --index OUT        what embed wrote
//! ```
//!
//! Vectors are drawn, written as `embed --format npy` writes them, and mapped; with `--parquet`
//! as `embed` writes Parquet, which a search decodes. A search and a plain read of the same
//! vectors as an array, by as many threads, take turns, so that both have the same machine; the
//! table has the median of each. The file should fit into memory, and be larger than the last
//! cache.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use clap::Parser;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use siglip2_embeddings::bulk::options::Number;
use siglip2_embeddings::bulk::search::Index;
use siglip2_embeddings::bulk::vector_properties;
use siglip2_mapping::Mapping;

#[derive(Parser)]
struct Arguments {
    /// Vectors that are drawn.
    #[arg(long, default_value_t = 300_000)]
    rows: usize,
    /// Numbers of each.
    #[arg(long, default_value_t = 768)]
    dimensions: usize,
    /// Write Parquet, not an array.
    #[arg(long, conflicts_with = "index")]
    parquet: bool,
    /// Search this instead, which embed wrote.
    #[arg(long)]
    index: Option<PathBuf>,
    /// Searches and reads.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Threads; all cores if left out.
    #[arg(long)]
    threads: Option<usize>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => thread::available_parallelism()?.get(),
    };
    let folder = tempfile::tempdir()?;
    let (index, read) = match &arguments.index {
        Some(path) => (path.clone(), None),
        None => {
            let array = draw(folder.path(), arguments.rows, arguments.dimensions)?;
            let read = Mapping::open(&array)?;
            let index = if arguments.parquet {
                parquet(folder.path(), read.bytes(), arguments.dimensions)?
            } else {
                array
            };
            (index, Some(read))
        }
    };
    let index = Index::open(&[&index])?;
    let mut random = fastrand::Rng::with_seed(1);
    let query: Vec<f32> = (0..index.dimensions())
        .map(|_| random.f32() - 0.5)
        .collect();
    let (mut searches, mut reads) = (Vec::new(), Vec::new());
    // The first round brings the file into memory and is not counted.
    for round in 0..=arguments.rounds {
        let began = Instant::now();
        let found = index.nearest(&query, 10, threads)?;
        let took = began.elapsed().as_secs_f64();
        if found.len() != 10.min(usize::try_from(index.rows())?) {
            return Err("the search has lost rows".into());
        }
        let began = Instant::now();
        if let Some(read) = &read {
            std::hint::black_box(sum(read.bytes(), threads));
        }
        if round > 0 {
            searches.push(took);
            reads.push(began.elapsed().as_secs_f64());
        }
    }
    let (search, read_took) = (median(searches), median(reads));
    let bytes = index.bytes() as f64;
    println!(
        "{} vectors of {} numbers, {threads} threads",
        index.rows(),
        index.dimensions()
    );
    println!(
        "search  {:>8.1} ms  {:>6.2} million rows/s  {:>6.2} GB/s",
        search * 1e3,
        index.rows() as f64 / search / 1e6,
        bytes / search / 1e9
    );
    if read.is_some() {
        println!(
            "read    {:>8.1} ms  {:>31.2} GB/s; the search has {:.0}% of it",
            read_took * 1e3,
            bytes / read_took / 1e9,
            100.0 * read_took / search
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Reads every byte once.
fn sum(bytes: &[u8], threads: usize) -> u64 {
    let part = bytes.len().div_ceil(threads);
    thread::scope(|scope| {
        let parts: Vec<_> = bytes
            .chunks(part)
            .map(|part| scope.spawn(|| sum_part(part)))
            .collect();
        let sums = parts.into_iter().map(|part| part.join().unwrap_or(0));
        sums.fold(0, u64::wrapping_add)
    })
}

fn sum_part(bytes: &[u8]) -> u64 {
    const LANES: usize = 16;
    let mut sums = [0_u64; LANES];
    for words in bytes.as_chunks::<8>().0.as_chunks::<LANES>().0 {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// The same vectors as Parquet.
fn parquet(folder: &Path, array: &[u8], dimensions: usize) -> Result<PathBuf, Box<dyn Error>> {
    let path = folder.join("part-00000.parquet");
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let length = i32::try_from(dimensions)?;
    let list = DataType::FixedSizeList(Arc::clone(&item), length);
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("embedding", list, true),
    ]));
    let properties = vector_properties(Number::Float32)?
        .set_key_value_metadata(Some(made().to_vec()))
        .build();
    let file = File::create(&path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
    let mut row = 0;
    for rows in array[HEADER..].chunks(4096 * dimensions * 4) {
        let values = rows.as_chunks::<4>().0.iter();
        let values = Float32Array::from_iter_values(values.map(|it| f32::from_le_bytes(*it)));
        let vectors =
            FixedSizeListArray::try_new(Arc::clone(&item), length, Arc::new(values), None)?;
        let ids = (row..row + vectors.len()).map(|row| row.to_string());
        row += vectors.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(ids)),
            Arc::new(vectors),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(path)
}

/// What files of vectors have to say.
fn made() -> [KeyValue; 3] {
    let metadata = [
        ("siglip2.fingerprint", "0000000000000000"),
        ("siglip2.model", "drawn"),
        ("siglip2.normalized", "true"),
    ];
    metadata.map(|(name, value)| KeyValue::new(name.to_owned(), value.to_owned()))
}

/// Bytes of an array's header.
const HEADER: usize = 128;

/// An array of vectors of length one, with a table that says so.
fn draw(folder: &Path, rows: usize, dimensions: usize) -> Result<PathBuf, Box<dyn Error>> {
    fs::create_dir_all(folder.join("img_emb"))?;
    fs::create_dir_all(folder.join("metadata"))?;
    let path = folder.join("img_emb/img_emb_0.npy");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    file.write_all(b"\x93NUMPY\x01\x00\x76\x00")?;
    file.write_all(header.as_bytes())?;
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..rows {
        let vector: Vec<f32> = (0..dimensions).map(|_| random.f32() - 0.5).collect();
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        for value in vector {
            file.write_all(&(value / length).to_le_bytes())?;
        }
    }
    file.flush()?;
    let none: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
    let table = RecordBatch::try_from_iter([("image_path", none)])?;
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(made().to_vec()))
        .build();
    let file = File::create(folder.join("metadata/metadata_0.parquet"))?;
    let mut writer = ArrowWriter::try_new(file, table.schema(), Some(properties))?;
    writer.write(&table)?;
    writer.close()?;
    Ok(path)
}
