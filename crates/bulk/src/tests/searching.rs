//! What was embedded, searched: as tables and as arrays, once and by a service.

use std::os::unix::fs::FileExt as _;

use parquet::file::metadata::ColumnChunkMetaData;
use siglip2_service::{Columns, IndexError, VectorIndex as _, Wanted};

use super::*;
use crate::search::ServedIndex;

#[test]
fn arrays_and_tables_find_the_same_rows() {
    let inputs = inputs();
    let mut found = Vec::new();
    for format in ["parquet", "npy"] {
        for number in ["float32", "float16"] {
            let out = tempfile::tempdir().unwrap();
            let arguments = ["--format", format, "--number", number, "--no-normalize"];
            Run::of(&inputs, &out, &arguments).whole().unwrap();
            let index = Index::open(&[out.path()]).unwrap();
            let hits = index.search(&[0.3, -0.2, 0.9, 0.1], 20, 3).unwrap();
            found.push(
                hits.iter()
                    .map(|hit| (hit.id().to_owned(), hit.score))
                    .collect::<Vec<_>>(),
            );
        }
    }
    assert_eq!(found[0], found[2]);
    // Multiples of 1/256 are the same in half precision.
    assert_eq!(found[0], found[1]);
    assert_eq!(found[2], found[3]);
    assert!(found[0].is_sorted_by(|a, b| a.1 >= b.1));
}

#[test]
fn a_served_table_is_decoded_once() {
    let inputs = inputs();
    for number in ["float32", "float16"] {
        let out = tempfile::tempdir().unwrap();
        let arguments = ["--number", number, "--no-normalize"];
        Run::of(&inputs, &out, &arguments).whole().unwrap();
        let wanted = Wanted {
            top: 1000,
            columns: Columns::None,
            max_bytes: 1 << 20,
        };
        let search = |index: &ServedIndex| {
            let hits = index.search(&[0.3, -0.2, 0.9, 0.1], &wanted, &|| false);
            hits.map(|hits| -> Vec<_> {
                let hits = hits.into_iter();
                hits.map(|hit| (hit.row, hit.id, hit.cosine.to_bits()))
                    .collect()
            })
        };
        let mut index = ServedIndex::open(&[out.path()], false).unwrap();
        let decoded = search(&index).unwrap();
        // Rows without a vector are not found.
        assert!((1..index.about().rows).contains(&(decoded.len() as u64)));
        index.unpack();
        assert_eq!(search(&index).unwrap(), decoded);
        // The files' vectors are not looked at again.
        for path in files(out.path()).into_keys() {
            if !path.ends_with(".parquet") {
                continue;
            }
            let mut options = fs::OpenOptions::new();
            let file = options.read(true).write(true).open(out.path().join(path));
            let file = file.unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file.try_clone().unwrap());
            let metadata = Arc::clone(reader.unwrap().metadata());
            for group in metadata.row_groups() {
                let is_vector =
                    |it: &&ColumnChunkMetaData| it.column_descr().path().parts()[0] == "embedding";
                let column = group.columns().iter().find(is_vector).unwrap();
                let (start, length) = column.byte_range();
                file.write_all_at(&vec![0xff; length as usize], start)
                    .unwrap();
            }
        }
        assert_eq!(search(&index).unwrap(), decoded);
        let again = ServedIndex::open(&[out.path()], false).unwrap();
        assert!(matches!(search(&again), Err(IndexError::Unreadable(_))));
    }
}

#[test]
fn what_is_not_there_is_said_and_not_what_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["none", "none.txt", "none.npy"] {
        let said = Index::open(&[folder.path().join(name)]);
        let said = said.map(drop).unwrap_err().to_string();
        assert!(
            said.contains(name) && said.contains("No such file"),
            "{said}"
        );
    }
    let other = folder.path().join("a.txt");
    fs::write(&other, "").unwrap();
    let said = Index::open(&[other]).map(drop).unwrap_err().to_string();
    assert!(said.contains("only .parquet and .npy"), "{said}");
}
