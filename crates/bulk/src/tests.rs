//! Whole runs over files of every kind, ended at every step and gone on with.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::disk::{Disk, Watch};
use crate::plan::tests::{LIMITS, identity, options};
use crate::search::Index;
use crate::{Bulk, BulkError, Place, Summary};

mod searching;

/// The files of a folder by their names, without locks.
type Files = BTreeMap<String, Vec<u8>>;

fn files(folder: &Path) -> Files {
    fn add(folder: &Path, root: &Path, files: &mut Files) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                add(&path, root, files);
            } else if !name.starts_with("_embed/lock-") {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = Files::new();
    add(folder, folder, &mut found);
    found
}

/// Inputs of every kind: pictures, a tar, tables.
fn inputs() -> TempDir {
    let inputs = tempfile::tempdir().unwrap();
    let path = |name: &str| inputs.path().join(name);
    fs::create_dir_all(path("pictures/below")).unwrap();
    for number in 0..13 {
        let folder = if number % 3 == 0 {
            "pictures/below"
        } else {
            "pictures"
        };
        let what = if number % 5 == 4 { "bad" } else { "good" };
        let file = path(&format!("{folder}/{number:02}.jpg"));
        fs::write(&file, format!("{what} {}", number % 6)).unwrap();
        fs::write(file.with_extension("txt"), format!("the {number}th\n")).unwrap();
    }
    for tar in 0..2 {
        let mut builder = tar::Builder::new(fs::File::create(path(&format!("{tar}.tar"))).unwrap());
        for number in 0..150 {
            let bytes = format!(
                "{} {tar} {number}",
                if number == 70 { "bad" } else { "good" }
            );
            for (name, bytes) in [
                ("jpg", bytes.as_bytes()),
                ("txt", b"a text"),
                ("json", b"{}"),
            ] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                let name = format!("{number:03}.{name}");
                builder.append_data(&mut header, name, bytes).unwrap();
            }
        }
        builder.finish().unwrap();
    }
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter(
        (0..90).map(|row| (row % 10 != 3).then(|| format!("good {row}"))),
    ));
    let paths: ArrayRef =
        Arc::new(StringArray::from_iter((0..90).map(|row| {
            (row % 20 == 3).then(|| path("pictures/01.jpg").display().to_string())
        })));
    let images = StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
        (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
    ]);
    let labels = Int64Array::from_iter_values(0..90);
    let texts = StringArray::from_iter_values((0..90).map(|row| format!("text {row}")));
    let table = RecordBatch::try_from_iter([
        ("image", Arc::new(images) as ArrayRef),
        ("label", Arc::new(labels)),
        ("text", Arc::new(texts)),
    ])
    .unwrap();
    let file = fs::File::create(path("table.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, table.schema(), None).unwrap();
    // Row groups that shards do not coincide with.
    for start in [0, 40, 80] {
        writer
            .write(&table.slice(start, 40.min(90 - start)))
            .unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    fs::write(path("texts.csv"), "text,label\none,1\ntwo,2\nthree,3\n").unwrap();
    inputs
}

struct Run<'a> {
    inputs: &'a Path,
    out: PathBuf,
    arguments: &'a [&'a str],
}

impl<'a> Run<'a> {
    fn of(inputs: &'a TempDir, out: &TempDir, arguments: &'a [&'a str]) -> Self {
        Self {
            inputs: inputs.path(),
            out: out.path().to_owned(),
            arguments,
        }
    }

    fn with(
        &self,
        watch: Option<Watch>,
        stop: impl Future<Output = ()>,
    ) -> Result<Summary, BulkError> {
        let name = |name: &str| self.inputs.join(name).display().to_string();
        let texts = self.arguments.contains(&"--texts");
        let names = if texts {
            vec![name("texts.csv"), name("{0..1}.tar"), name("table.parquet")]
        } else {
            vec![name("pictures"), name("[01].tar"), name("table.parquet")]
        };
        let mut arguments: Vec<&str> = names.iter().map(String::as_str).collect();
        let out = self.out.display().to_string();
        arguments.extend(["--out", &out, "--shard-size", "40"]);
        arguments.extend(self.arguments);
        let bulk = Bulk::find(options(&arguments))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let run = bulk.run_on(Disk { watch }, Place::Nowhere, identity(), LIMITS, stop);
        runtime.block_on(run)
    }

    fn whole(&self) -> Result<Summary, BulkError> {
        self.with(Some(Arc::new(|_, _| Ok(()))), std::future::pending())
    }

    /// Ends without ceremony before the step of this number. Whether it came to that.
    fn ended_at(&self, step: usize) -> bool {
        let steps = AtomicUsize::new(0);
        let watch: Watch = Arc::new(move |_, _| {
            if steps.fetch_add(1, Ordering::Relaxed) >= step {
                return Err(io::Error::other("ended by the test"));
            }
            Ok(())
        });
        match self.with(Some(watch), std::future::pending()) {
            Ok(_) => false,
            Err(BulkError::Disk(error)) => {
                assert!(error.contains("ended by the test"), "{error}");
                true
            }
            Err(error) => panic!("{error}"),
        }
    }
}

const KINDS: [&[&str]; 5] = [
    &["--captions"],
    &["--format", "npy", "--number", "float16"],
    &["--format", "jsonl", "--columns", "text,label"],
    &["--texts", "--column", "text"],
    &["--dedup", "--no-normalize"],
];

/// Names of `--out` below a folder, for each of the kinds: the folder itself, or a file in it.
const NAMES: [&[&str]; 5] = [
    &["", "one.parquet"],
    &["", "one.npy"],
    &["", "one.jsonl"],
    &[""],
    &[""],
];

#[test]
fn a_run_that_is_ended_at_any_step_ends_with_the_same_bytes() {
    let inputs = inputs();
    let cases = KINDS.into_iter().zip(NAMES).enumerate();
    let cases = cases.flat_map(|(kind, (arguments, names))| {
        names.iter().map(move |name| (kind, arguments, *name))
    });
    for (kind, arguments, name) in cases {
        let run = |folder: &TempDir| Run {
            out: folder.path().join(name),
            ..Run::of(&inputs, folder, arguments)
        };
        let undisturbed = tempfile::tempdir().unwrap();
        let summary = run(&undisturbed).whole().unwrap();
        assert_eq!(summary.whole, Some((summary.rows, summary.bad)));
        let expected = files(undisturbed.path());
        assert!(expected.keys().all(|name| !name.ends_with(".tmp")));
        // At every step, each in a new folder; the disk does the same for all kinds, so of some
        // fewer are enough ...
        let mut step = 0;
        loop {
            let out = tempfile::tempdir().unwrap();
            if !run(&out).ended_at(step) {
                break;
            }
            let went_on = run(&out).whole().unwrap();
            assert_eq!(went_on.whole, summary.whole);
            assert!(
                files(out.path()) == expected,
                "{arguments:?} {name}, ended at step {step}"
            );
            step += if kind < 2 { 1 } else { 5 };
        }
        assert!(step > 30, "{step}");
        // ... and again and again in one.
        let out = tempfile::tempdir().unwrap();
        let mut random = fastrand::Rng::with_seed(11);
        while run(&out).ended_at(random.usize(2..40)) {}
        assert!(files(out.path()) == expected, "{arguments:?} {name}");
    }
}

#[test]
fn parts_make_the_same_whole_and_a_signal_leaves_nothing_half_done() {
    let inputs = inputs();
    let whole = tempfile::tempdir().unwrap();
    Run::of(&inputs, &whole, &[]).whole().unwrap();
    let parts = tempfile::tempdir().unwrap();
    for (part, complete) in [("2/3", false), ("0/3", false), ("1/3", true)] {
        let arguments = ["--shard", part];
        let summary = Run::of(&inputs, &parts, &arguments).whole().unwrap();
        assert_eq!(summary.whole.is_some(), complete);
    }
    assert!(files(whole.path()) == files(parts.path()));

    let stopped = tempfile::tempdir().unwrap();
    let run = Run::of(&inputs, &stopped, &[]);
    let summary = run.with(None, std::future::ready(())).unwrap();
    assert!(summary.interrupted && summary.shards_left > 0);
    let left = files(stopped.path());
    assert!(left.keys().all(|name| !name.ends_with(".tmp")), "{left:?}");
    assert!(!run.whole().unwrap().interrupted);
    assert!(files(whole.path()) == files(stopped.path()));
}

#[test]
fn the_result_has_all_rows_in_order_and_says_what_is_wrong() {
    let inputs = inputs();
    let out = tempfile::tempdir().unwrap();
    let run = Run::of(&inputs, &out, &["--dedup", "--no-normalize"]);
    let summary = run.whole().unwrap();
    // 13 pictures, 2 tars of 150, a table of 90; 2 bad pictures, 1 in each tar, and of the
    // table the rows without bytes or path.
    assert_eq!(summary.rows, 13 + 300 + 90);
    assert_eq!(summary.bad, 2 + 2 + 4);
    // Pictures 6, 7, 8, 11 and 12 are as others before; so are rows 0, 1, 2, 4 and 5 of the
    // table, and its five paths.
    assert_eq!(summary.duplicates, Some(15));
    let list = fs::read_to_string(summary.errors.unwrap()).unwrap();
    assert_eq!(list.lines().count(), 8);
    assert!(list.contains("04.jpg") && list.contains("the row has no picture"));

    let read = |name: &str| -> Vec<RecordBatch> {
        let file = fs::File::open(out.path().join(name)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        reader.build().unwrap().map(Result::unwrap).collect()
    };
    let batch = &read("part-00004.parquet")[0];
    let names: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|it| it.name().clone())
        .collect();
    assert_eq!(names, ["id", "label", "text", "embedding", "error"]);
    let ids = batch.column(0).as_string::<i32>();
    assert!(ids.value(0).ends_with("table.parquet#40"));
    let vectors = batch.column(3).as_fixed_size_list();
    for row in 0..batch.num_rows() {
        let error = batch.column(4).is_null(row);
        assert_eq!(vectors.is_valid(row), error, "row {row}");
    }
    let hash = blake3::hash(b"good 40");
    let expected: Vec<f32> = hash.as_bytes()[..4]
        .iter()
        .map(|&it| f32::from(it) / 256.0)
        .collect();
    let first = vectors.value(0);
    assert_eq!(
        first.as_primitive::<Float32Type>().values().as_ref(),
        expected
    );

    // The same row is found by its vector.
    let index = Index::open(&[out.path()]).unwrap();
    assert_eq!(index.rows(), summary.rows);
    assert!(!index.is_incomplete());
    let hits = index.search(&expected, 3, 2).unwrap();
    assert!(hits[0].id().ends_with("table.parquet#40"), "{hits:?}");
    assert_eq!(hits[0].columns["label"], 40);
    assert!(index.search(&expected[..3], 3, 2).is_err());
}

/// The rows of a Parquet file: names, labels, vectors and errors.
fn rows_of(path: &Path) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap().map(Result::unwrap) {
        for row in 0..batch.num_rows() {
            let cell = |name: &str| {
                let column = batch.column_by_name(name)?.slice(row, 1);
                Some(format!("{column:?}"))
            };
            rows.push(format!(
                "{:?} {:?} {:?} {:?}",
                cell("id").or(cell("image_path")),
                cell("label").filter(|it| !it.contains("null")),
                cell("embedding"),
                cell("error")
            ));
        }
    }
    rows
}

/// The metadata that says what made the vectors of a Parquet file.
fn made_by(path: &Path) -> BTreeMap<String, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let about = reader.metadata().file_metadata().key_value_metadata();
    about
        .unwrap()
        .iter()
        .filter(|entry| entry.key.starts_with("siglip2."))
        .map(|entry| (entry.key.clone(), entry.value.clone().unwrap()))
        .collect()
}

#[test]
fn one_file_has_all_rows_of_the_shards_and_is_written_once() {
    let inputs = inputs();
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, arguments: &'static [&'static str]| {
        let out = folder.path().join(name);
        let run = Run {
            out: out.clone(),
            ..Run::of(&inputs, &folder, arguments)
        };
        let summary = run.whole().unwrap();
        assert!(summary.whole.is_some());
        (out, summary)
    };
    let of_all = |out: &Path, prefix: &str| -> Vec<PathBuf> {
        let mut parts: Vec<PathBuf> = fs::read_dir(out)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(prefix)
            })
            .collect();
        parts.sort();
        parts
    };
    let (parts, _) = run("parts", &[]);
    let (file, summary) = run("one.parquet", &[]);
    let expected: Vec<String> = of_all(&parts, "part-")
        .iter()
        .flat_map(|it| rows_of(it))
        .collect();
    assert_eq!(rows_of(&file), expected);
    assert_eq!(made_by(&file), made_by(&parts.join("part-00000.parquet")));
    let list = fs::read(summary.errors.unwrap()).unwrap();
    assert_eq!(list, fs::read(parts.join("_errors.jsonl")).unwrap());
    // The shards are gone, and are not done again.
    let hidden = folder.path().join(".one.parquet.embed");
    assert!(of_all(&hidden, "part-").is_empty());
    let bytes = fs::read(&file).unwrap();
    let (_, again) = run("one.parquet", &[]);
    assert_eq!((again.shards, again.whole), (0, summary.whole));
    assert!(fs::read(&file).unwrap() == bytes);
    // Whoever takes it away gets it again, also with other settings.
    fs::remove_file(&file).unwrap();
    assert_eq!(run("one.parquet", &[]).1.shards, summary.shards);
    assert!(fs::read(&file).unwrap() == bytes);
    fs::remove_file(&file).unwrap();
    assert_eq!(
        run("one.parquet", &["--dedup", "--number", "float16"])
            .1
            .rows,
        summary.rows
    );

    let (parts, _) = run("lines", &["--format", "jsonl"]);
    let (file, _) = run("one.jsonl", &[]);
    let parts: Vec<u8> = of_all(&parts, "part-")
        .iter()
        .flat_map(|it| fs::read(it).unwrap())
        .collect();
    assert!(fs::read(file).unwrap() == parts);

    let (parts, _) = run("arrays", &["--format", "npy"]);
    let (file, _) = run("one.npy", &[]);
    let table = folder.path().join("one.metadata.parquet");
    let metadata: Vec<String> = of_all(&parts.join("metadata"), "metadata_")
        .iter()
        .flat_map(|it| rows_of(it))
        .collect();
    assert_eq!(rows_of(&table), metadata);
    let (one, many) = (
        Index::open(&[file]).unwrap(),
        Index::open(&[parts]).unwrap(),
    );
    assert_eq!((one.rows(), one.made()), (many.rows(), many.made()));
    let hits = |index: &Index| index.search(&[0.3, -0.2, 0.9, 0.1], 500, 2).unwrap();
    let ids = |index: &Index| -> Vec<(String, f32)> {
        let hits = hits(index).into_iter();
        hits.map(|hit| (hit.id().to_owned(), hit.score)).collect()
    };
    assert_eq!(ids(&one), ids(&many));

    // A file of somebody else's stays.
    fs::write(folder.path().join("mine.parquet"), "mine").unwrap();
    let foreign = Run {
        out: folder.path().join("mine.parquet"),
        ..Run::of(&inputs, &folder, &[])
    };
    match foreign.whole() {
        Err(BulkError::Unusable(error)) => assert!(error.contains("there already"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        fs::read(folder.path().join("mine.parquet")).unwrap(),
        b"mine"
    );
    assert!(!folder.path().join(".mine.parquet.embed").exists());
}

/// Between any two pieces: what is there then is joined by the next run.
#[test]
fn a_joining_that_is_stopped_leaves_nothing_half_done_and_is_done_again() {
    let inputs = inputs();
    for (arguments, name) in [
        (&[][..], "one.parquet"),
        (&["--number", "float16"], "one.npy"),
        (&[], "one.jsonl"),
    ] {
        let run = |folder: &TempDir| Run {
            out: folder.path().join(name),
            ..Run::of(&inputs, folder, arguments)
        };
        let undisturbed = tempfile::tempdir().unwrap();
        let whole = run(&undisturbed).whole().unwrap();
        let expected = files(undisturbed.path());
        let mut stops = 0;
        loop {
            let out = tempfile::tempdir().unwrap();
            let (joining, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let watch: Watch = Arc::new(move |step, path| {
                if path.ends_with("joined.tmp") && step == "create" {
                    joining.store(1, Ordering::Relaxed);
                }
                if path.ends_with("joined.json") {
                    joining.store(0, Ordering::Relaxed);
                }
                let is_piece = step == "write" && joining.load(Ordering::Relaxed) == 1;
                // As a signal does it.
                if is_piece && seen.fetch_add(1, Ordering::Relaxed) == stops {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(())
            });
            let summary = run(&out).with(Some(watch), std::future::pending()).unwrap();
            if !summary.interrupted {
                break;
            }
            assert_eq!((summary.shards_left, &summary.whole), (0, &None));
            let left = files(out.path());
            assert!(
                left.keys().all(|name| !name.ends_with(".tmp")),
                "{:?}",
                left.keys()
            );
            assert!(!left.contains_key(name));
            let went_on = run(&out).whole().unwrap();
            assert_eq!((went_on.shards, went_on.whole), (0, whole.whole));
            assert!(
                files(out.path()) == expected,
                "{name}, stopped at piece {stops}"
            );
            stops += 1;
        }
        assert!(stops >= whole.shards, "{stops}");
    }
    // A signal that comes when all shards are done and nothing is joined yet.
    let out = tempfile::tempdir().unwrap();
    let run = Run {
        out: out.path().join("one.parquet"),
        ..Run::of(&inputs, &out, &[])
    };
    let (told, stop) = tokio::sync::oneshot::channel::<()>();
    let told = std::sync::Mutex::new(Some(told));
    let watch: Watch = Arc::new(move |_, path| {
        if path.ends_with("done/00000.json") {
            drop(told.lock().unwrap().take());
        }
        Ok(())
    });
    let stop = async { stop.await.unwrap_or_default() };
    assert!(run.with(Some(watch), stop).unwrap().interrupted);
    assert!(!out.path().join("one.parquet").exists());
    assert!(run.whole().unwrap().whole.is_some());
}

/// Also where a run of that name was begun before, and where it comes while one goes on.
#[test]
fn files_of_others_in_the_place_of_a_result_stay() {
    let inputs = inputs();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("late.npy");
    let run = Run {
        out: out.clone(),
        ..Run::of(&inputs, &folder, &[])
    };
    assert!(run.ended_at(20));
    for name in ["late.npy", "late.metadata.parquet", "late.npy.errors.jsonl"] {
        let theirs = folder.path().join(name);
        fs::write(&theirs, "theirs").unwrap();
        match run.whole() {
            Err(BulkError::Unusable(error)) => {
                assert!(
                    error.contains(name) && error.contains("is there already"),
                    "{error}"
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
        fs::remove_file(&theirs).unwrap();
    }
    // After the first shard that this run does.
    let theirs = out.clone();
    let watch: Watch = Arc::new(move |step, path| {
        if step == "rename" && path.to_string_lossy().contains("done") {
            fs::write(&theirs, "theirs")?;
        }
        Ok(())
    });
    match run.with(Some(watch), std::future::pending()) {
        Err(BulkError::Disk(error)) => assert!(error.contains("is there already"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&out).unwrap(), b"theirs");
    fs::remove_file(&out).unwrap();
    assert!(run.whole().unwrap().whole.is_some());
    assert!(Index::open(&[out]).unwrap().rows() > 0);
}

#[test]
fn files_say_what_made_their_vectors() {
    let inputs = inputs();
    let expected = BTreeMap::from(
        [
            ("siglip2.fingerprint", "0123456789abcdef"),
            ("siglip2.model", "demo"),
            ("siglip2.precision", "fp32"),
            ("siglip2.normalized", "true"),
            ("siglip2.version", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for (format, folder) in [("parquet", ""), ("npy", "metadata")] {
        let out = tempfile::tempdir().unwrap();
        let arguments = ["--format", format];
        Run::of(&inputs, &out, &arguments).whole().unwrap();
        let paths = fs::read_dir(out.path().join(folder)).unwrap();
        let mut seen = 0;
        for path in paths.map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|it| it == "parquet") {
                assert_eq!(made_by(&path), expected, "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 3, "{seen} files of {format}");
    }
    // Lines have no place for it: it is in the plan beside them.
    for (name, plan) in [("", "_embed"), ("one.jsonl", ".one.jsonl.embed/_embed")] {
        let out = tempfile::tempdir().unwrap();
        let run = Run {
            out: out.path().join(name),
            ..Run::of(&inputs, &out, &["--format", "jsonl"])
        };
        run.whole().unwrap();
        let plan = fs::read(out.path().join(plan).join("plan.json")).unwrap();
        let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
        assert_eq!(plan["identity"]["fingerprint"], "0123456789abcdef");
        assert_eq!(plan["identity"]["model"], "demo");
        assert_eq!(plan["identity"]["precision"], "fp32");
        assert_eq!(plan["identity"]["version"], "0");
        assert_eq!(plan["normalized"], true);
    }
}

/// The columns of a table that img2dataset writes (`output_format=parquet`).
#[test]
fn a_table_of_img2dataset_is_embedded_with_its_captions_and_keys() {
    let inputs = tempfile::tempdir().unwrap();
    let rows = 0..20_usize;
    let texts = |text: &str| -> ArrayRef {
        let texts = rows.clone().map(|row| Some(format!("{text}{row:09}")));
        Arc::new(StringArray::from_iter(texts))
    };
    // What could not be downloaded has null in place of the picture.
    let pictures = rows
        .clone()
        .map(|row| (row % 7 != 3).then(|| format!("good {row}")));
    let sizes: ArrayRef = Arc::new(Int64Array::from_iter(
        rows.clone().map(|row| (row % 7 != 3).then_some(256_i64)),
    ));
    let table = RecordBatch::try_from_iter([
        ("url", texts("https://example.org/")),
        ("key", texts("")),
        ("status", texts("success")),
        (
            "error_message",
            Arc::new(StringArray::from(vec![None::<&str>; 20])) as ArrayRef,
        ),
        ("width", sizes),
        ("caption", texts("caption ")),
        ("exif", texts("{}")),
        ("sha256", texts("ab")),
        ("jpg", Arc::new(BinaryArray::from_iter(pictures))),
    ])
    .unwrap();
    let path = inputs.path().join("table.parquet");
    let mut writer =
        ArrowWriter::try_new(fs::File::create(&path).unwrap(), table.schema(), None).unwrap();
    writer.write(&table).unwrap();
    writer.close().unwrap();
    fs::create_dir(inputs.path().join("pictures")).unwrap();
    let name = path.display().to_string();
    for (arguments, first) in [
        (&[][..], format!("{name}#0")),
        (&["--id-column", "key"], "000000000".to_owned()),
    ] {
        let out = inputs
            .path()
            .join(format!("out{}.parquet", arguments.len()));
        let out_name = out.display().to_string();
        let all = [
            &[name.as_str(), "--out", &out_name, "--no-normalize"],
            arguments,
        ]
        .concat();
        let bulk = Bulk::find(options(&all)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let stop = std::future::pending();
        let run = bulk.run(Place::Nowhere, identity(), LIMITS, stop);
        let summary = runtime.block_on(run).unwrap();
        assert_eq!((summary.rows, summary.bad), (20, 3));
        let hash = blake3::hash(b"good 5");
        let query: Vec<f32> = hash.as_bytes()[..4]
            .iter()
            .map(|&it| f32::from(it) / 256.0)
            .collect();
        let index = Index::open(&[out]).unwrap();
        let best = &index.search(&query, 1, 1).unwrap()[0];
        assert_eq!(
            best.id(),
            first.replace("#0", "#5").replace("000000000", "000000005")
        );
        assert_eq!(best.columns["caption"], "caption 000000005");
        assert_eq!(best.columns["width"], 256);
        // The pictures are not copied into the result.
        assert!(!best.columns.contains_key("jpg"));
    }
}

#[test]
fn what_does_not_fit_what_was_begun_is_refused() {
    let inputs = inputs();
    let out = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| match Run::of(&inputs, &out, arguments).whole() {
        Err(BulkError::Unusable(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(
        Run::of(&inputs, &out, &[])
            .with(None, std::future::ready(()))
            .unwrap()
            .interrupted
    );
    assert!(refused(&["--format", "npy"]).contains("--format"));
    let lock = fs::File::open(out.path().join("_embed/lock-0-of-1")).unwrap();
    lock.lock().unwrap();
    assert!(refused(&[]).contains("another process"));
    assert!(refused(&["--shard", "0/2"]).contains("another number of parts"));
    drop(lock);
    fs::write(inputs.path().join("pictures/new.jpg"), "new").unwrap();
    assert!(refused(&[]).contains("inputs"));
    fs::remove_file(inputs.path().join("pictures/new.jpg")).unwrap();
    Run::of(&inputs, &out, &[]).whole().unwrap();
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("mine"), "").unwrap();
    let run = Run::of(&inputs, &foreign, &[]);
    assert!(matches!(run.whole(), Err(BulkError::Unusable(_))));
}
