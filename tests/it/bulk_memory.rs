//! What `embed` and `search` hold in memory, whatever the input: the peak is read from the system
//! at the end of each run.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use arrow_array::{
    Array as _, ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tempfile::TempDir;

use crate::common::picture::png;
use crate::common::program::command;

const MIB: u64 = 1 << 20;

/// Far more than what is held of any input.
const HUGE: u64 = 1 << 30;

/// What is read.
enum Input {
    /// Files, and flags.
    Files(Vec<PathBuf>, &'static [&'static str]),
    /// A byte so many times on standard input, and flags.
    Piped(u8, u64, &'static [&'static str]),
}

/// MiB that a run had in memory at most, and what it said.
fn run(mut command: Command, (byte, piped): (u8, u64)) -> (u64, String) {
    command
        .args(["--log-level", "siglip2_embeddings=debug"])
        // Freed pages are given back at once: what is read is what is held.
        .env("MIMALLOC_PURGE_DELAY", "0")
        .stdin(if piped > 0 {
            Stdio::piped()
        } else {
            Stdio::null()
        });
    let mut child = command.spawn().expect("it runs");
    let feeder = child.stdin.take().map(|mut input| {
        thread::spawn(move || {
            let piece = vec![byte; MIB as usize];
            // It may end before it has read everything.
            (0..piped / MIB).try_for_each(|_| input.write_all(&piece))
        })
    });
    let output = child.wait_with_output().expect("it ends");
    if let Some(feeder) = feeder {
        let _ = feeder.join().expect("the feeder ends");
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let peak = said
        .split("peak_memory_mib=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok());
    (peak.unwrap_or_else(|| panic!("{said}")), said)
}

fn embed(input: &Input, out: &Path) -> (u64, String) {
    let mut command = command(&["embed", "--model", "demo", "--out"]);
    command
        .arg(out)
        .env("TMPDIR", out.parent().expect("a folder"));
    let piped = match input {
        Input::Files(files, flags) => {
            command.args(*flags).args(files);
            (0, 0)
        }
        Input::Piped(byte, bytes, flags) => {
            command.args(*flags);
            (*byte, *bytes)
        }
    };
    run(command, piped)
}

/// A file with a beginning, and zeros up to a length, which take no room on the disk.
fn sparse(folder: &TempDir, name: &str, start: &[u8], length: u64) -> PathBuf {
    let path = folder.path().join(name);
    let mut file = File::create(&path).expect("a file");
    file.write_all(start).expect("written");
    file.set_len(length).expect("it is as long");
    path
}

/// The head of a member.
fn head(kind: u8, name: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).expect("a name");
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A tar of pictures beside which there is JSON of almost as many bytes as are read.
fn tar_of_notes(folder: &TempDir, samples: u64) -> PathBuf {
    let path = folder.path().join("notes.tar");
    let mut file = File::create(&path).expect("a file");
    let note = 4 * MIB - 512;
    let picture = png(1, 2, 3);
    for sample in 0..samples {
        let mut member = head(b'0', &format!("{sample:04}.png"), picture.len() as u64);
        member.extend_from_slice(&picture);
        member.resize(member.len().next_multiple_of(512), 0);
        member.extend(head(b'0', &format!("{sample:04}.json"), note));
        file.write_all(&member).expect("written");
        file.seek(SeekFrom::Current(note as i64))
            .expect("leapt over");
    }
    let end = file.stream_position().expect("a position");
    file.set_len(end + 1024).expect("it is as long");
    path
}

/// A tar with a member of zeros, packed.
fn packed_tar(folder: &TempDir, name: &str, bytes: u64) -> PathBuf {
    let path = folder.path().join(name);
    let mut file = GzEncoder::new(
        File::create(&path).expect("a file"),
        flate2::Compression::fast(),
    );
    file.write_all(&head(b'0', "1.json", bytes))
        .expect("written");
    let piece = vec![0; MIB as usize];
    for _ in 0..bytes / MIB {
        file.write_all(&piece).expect("written");
    }
    file.write_all(&head(b'0', "1.png", 0)).expect("written");
    file.write_all(&[0; 1024]).expect("written");
    file.finish().expect("written");
    path
}

/// A table with a page that says that it has two gigabytes. It has 128 MiB, so that its size is
/// written in as many bytes.
fn lying_table(folder: &TempDir, name: &str, column: &str, values: ArrayRef) -> PathBuf {
    let path = folder.path().join(name);
    let rows = values.len();
    let batch = RecordBatch::try_from_iter([(column, values)]).expect("a table");
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_write_batch_size(rows)
        .set_data_page_row_count_limit(rows)
        .set_data_page_size_limit(1 << 30)
        .set_compression(Compression::SNAPPY)
        .build();
    let mut file = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("written");
    // The page is behind the word at the beginning: a number, and its kind.
    assert_eq!(file[4..7], [0x15, 0, 0x15]);
    assert!(file[11] < 0x80 && file[10] >= 0x80);
    file[7..12].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
    std::fs::write(&path, file).expect("written");
    path
}

/// A picture of so many bytes, all zero.
fn lying_picture() -> ArrayRef {
    let value = vec![0_u8; 128 << 20];
    Arc::new(BinaryArray::from_vec(vec![value.as_slice()]))
}

/// Vectors of so many numbers, all zero, which have as many bytes.
fn lying_vectors(dimensions: usize) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let rows = (32 << 20) / dimensions;
    let values = Arc::new(Float32Array::from(vec![0.0; rows * dimensions]));
    let length = i32::try_from(dimensions).expect("they are few");
    Arc::new(FixedSizeListArray::try_new(item, length, values, None).expect("lists"))
}

/// A table of some kilobytes whose rows have gigabytes: all of them the same bytes.
fn repeating_table(folder: &TempDir, rows: usize) -> PathBuf {
    let path = folder.path().join("repeats.parquet");
    let value = vec![0_u8; MIB as usize];
    let rows_at_once = 50;
    let column: ArrayRef = Arc::new(BinaryArray::from_vec(vec![value.as_slice(); rows_at_once]));
    let batch = RecordBatch::try_from_iter([("jpg", column)]).expect("a table");
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(64 << 20)
        .set_compression(Compression::SNAPPY)
        .build();
    let to = File::create(&path).expect("a file");
    let mut writer = ArrowWriter::try_new(to, batch.schema(), Some(properties)).expect("a writer");
    for _ in 0..rows / rows_at_once {
        writer.write(&batch).expect("written");
    }
    writer.close().expect("written");
    assert!(path.metadata().expect("a file").len() < MIB);
    path
}

/// A table of long values that stand in its pages one behind the other, so many to a page.
fn plain_table(folder: &TempDir, name: &str, column: &ArrayRef, of_page: usize) -> PathBuf {
    let path = folder.path().join(name);
    let batch = RecordBatch::try_from_iter([("bytes", Arc::clone(column))]).expect("a table");
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_write_batch_size(of_page)
        .set_data_page_row_count_limit(of_page)
        .set_data_page_size_limit(if of_page == 1 { 1 } else { 1 << 30 })
        .set_compression(Compression::SNAPPY)
        .build();
    let to = File::create(&path).expect("a file");
    let mut writer = ArrowWriter::try_new(to, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("written");
    path
}

#[test]
fn embed_holds_no_more_than_the_bound_whatever_the_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("picture.png");
    std::fs::write(&picture, png(1, 2, 3)).expect("written");
    let alone = Input::Files(vec![picture.clone()], &[]);
    let (base, _) = embed(&alone, &folder.path().join("base"));
    let file = |path: PathBuf| Input::Files(vec![path], &[]);
    let texts = |path: PathBuf| Input::Files(vec![path], &["--texts"]);
    let sparse = |name: &str, start: &[u8]| sparse(&folder, name, start, HUGE);
    let value = vec![b'a'; 16 << 20];
    let long_files: ArrayRef = Arc::new(BinaryArray::from_vec(vec![value.as_slice(); 60]));
    let value = String::from_utf8(value).expect("text");
    let long_texts: ArrayRef = Arc::new(StringArray::from(vec![value.as_str(); 60]));
    let plain =
        |name: &str, column: &ArrayRef, of_page| plain_table(&folder, name, column, of_page);
    // The most beside what any run takes, in MiB, and what is said.
    let cases: Vec<(Input, u64, &str)> = vec![
        // A name of a gigabyte, in both of the forms that names may have.
        (
            file(sparse("long.tar", &head(b'L', "long", HUGE))),
            64,
            "bad=1",
        ),
        (
            file(sparse("pax.tar", &head(b'x', "pax", HUGE))),
            64,
            "bad=1",
        ),
        (
            file(sparse("global.tar", &head(b'g', "pax", HUGE))),
            64,
            "bad=",
        ),
        (
            file(sparse("map.tar", &head(b'K', "link", HUGE))),
            64,
            "bad=1",
        ),
        // Members of a gigabyte.
        (
            file(sparse("picture.tar", &head(b'0', "1.jpg", HUGE))),
            64,
            "bad=",
        ),
        (
            file(sparse("note.tar", &head(b'0', "1.json", HUGE))),
            64,
            "bad=",
        ),
        (
            file(packed_tar(&folder, "bomb.tar.gz", 400 * MIB)),
            64,
            "bad=1",
        ),
        (file(tar_of_notes(&folder, 300)), 900, "bad=0"),
        (file(sparse("picture.jpg", b"\xff\xd8")), 64, "bad=1"),
        // Lines, records and lists without an end.
        (texts(sparse("line.txt", b"")), 64, "bad=1"),
        (texts(sparse("line.jsonl", b"{\"text\": \"")), 64, "bad=1"),
        (
            texts(sparse("quote.csv", b"text\n\"")),
            160,
            "more than 16777216 bytes",
        ),
        (
            texts(sparse("names.csv", b"text,")),
            160,
            "more than 16777216 bytes",
        ),
        (Input::Files(vec![], &["--texts", "-"]), 64, "no texts"),
        (
            Input::Piped(b'a', 600 * MIB, &["--texts", "-"]),
            64,
            "bad=1",
        ),
        (
            Input::Piped(b'a', 600 * MIB, &["--list", "-"]),
            64,
            "no path",
        ),
        (Input::Piped(0, 600 * MIB, &["-"]), 64, "rows=0"),
        // Tables.
        (
            file(lying_table(&folder, "lies.parquet", "jpg", lying_picture())),
            64,
            "bad=1",
        ),
        (file(sparse("zeros.parquet", b"PAR1")), 64, "cannot read"),
        (file(repeating_table(&folder, 3000)), 900, "bad=3000"),
        // Values of 16 MiB one behind the other: all in one page, which is refused before it is
        // read, since it is in memory up to three times; and each in a page of its own.
        (texts(plain("text.parquet", &long_texts, 60)), 64, "bad=1"),
        (file(plain("files.parquet", &long_files, 1)), 400, "bad=60"),
        (file(plain("file.parquet", &long_files, 60)), 64, "bad=1"),
    ];
    let mut wrong = Vec::new();
    for (number, (input, most, expected)) in cases.iter().enumerate() {
        let out = tempfile::tempdir().expect("a folder");
        let (peak, said) = embed(input, &out.path().join("out"));
        println!(
            "case {number}: {} MiB over {base}",
            peak.saturating_sub(base)
        );
        if peak > base + most || !said.contains(expected) {
            wrong.push(format!(
                "case {number}: {peak} MiB, {base} without:\n{said}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn search_believes_no_array_that_says_more_than_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let array = |name: &str, version: &[u8], header: &str, length: u64| {
        let start = [&b"\x93NUMPY"[..], version, header.as_bytes()].concat();
        sparse(&folder, name, &start, length)
    };
    let shape = |rows: u64| {
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 64), }}\n")
    };
    let rows = shape(1 << 40);
    let length = u8::try_from(rows.len()).expect("it is short");
    for path in [
        array("rows.npy", &[1, 0, length, 0], &rows, 1 << 20),
        // A head of a gigabyte.
        array("head.npy", &[2, 0, 0, 0, 0, 0xc0], &rows, HUGE + 16),
    ] {
        let mut search = command(&["search", "--model", "demo", "--unchecked"]);
        search.arg(&path).arg("a query");
        let (peak, said) = run(search, (0, 0));
        assert!(peak < 160, "{}: {peak} MiB: {said}", path.display());
        assert!(said.contains(&*path.to_string_lossy()), "{said}");
    }
}

#[test]
fn search_believes_no_page_that_says_more_than_may_be_held() {
    let folder = tempfile::tempdir().expect("a folder");
    // Those of the demo model.
    let dimensions = 96;
    let vectors = lying_vectors(dimensions);
    let path = lying_table(&folder, "vectors.parquet", "embedding", vectors);
    let mut search = command(&["search", "--model", "demo", "--unchecked"]);
    search.arg(&path).arg("a query");
    let (peak, said) = run(search, (0, 0));
    assert!(peak < 160, "{peak} MiB: {said}");
    assert!(
        said.contains("the column embedding.list.item has a page"),
        "{said}"
    );
}
