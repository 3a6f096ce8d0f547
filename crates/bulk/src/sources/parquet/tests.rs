//! Tables whose pages, dictionaries and lists take more than they look like.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::NamedTempFile;

use super::*;
use crate::table::{head, head_of_nulls};
use bytes::Bytes;

const PLAIN: i64 = 0;
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const RLE_DICTIONARY: i64 = 8;

/// A column chunk of pages: heads with what is behind them.
struct Chunk<'a> {
    pages: &'a [(Vec<u8>, Vec<u8>)],
    has_dictionary: bool,
    values: i64,
    packed: Compression,
}

/// A table of one row group.
fn table(schema: &str, rows: u64, chunks: &[Chunk<'_>]) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".parquet").unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file.reopen().unwrap(), schema, properties).unwrap();
    let descriptor = writer.schema_descr().clone();
    let mut group = writer.next_row_group().unwrap();
    for (index, chunk) in chunks.iter().enumerate() {
        let bytes: Vec<u8> = chunk
            .pages
            .iter()
            .flat_map(|(head, page)| [&head[..], page].concat())
            .collect();
        let length = bytes.len() as i64;
        let metadata = ColumnChunkMetaData::builder(descriptor.column(index))
            .set_compression(chunk.packed)
            .set_num_values(chunk.values)
            .set_data_page_offset(0)
            .set_dictionary_page_offset(chunk.has_dictionary.then_some(0))
            .set_total_compressed_size(length)
            .set_total_uncompressed_size(length)
            .build()
            .unwrap();
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        group.append_column(&Bytes::from(bytes), closed).unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    file
}

/// The rows of a table, with so many bytes for its columns, and the largest number of rows that came
/// at a time.
fn rows(file: &NamedTempFile, most: u64, kind: Kind) -> (Vec<Content>, usize) {
    let reading = Reading {
        kind,
        ..Reading::default()
    };
    let table = Table::open(file.path(), &reading).unwrap().holding(most);
    let (mut contents, mut at_once) = (Vec::new(), 0);
    for cut in table.cuts() {
        table.read(cut, &mut |chunk| {
            at_once = at_once.max(chunk.contents.len());
            contents.extend(chunk.contents);
            true
        });
    }
    (contents, at_once)
}

/// What the only row says.
fn said(file: &NamedTempFile, most: u64, kind: Kind) -> String {
    match &rows(file, most, kind).0[..] {
        [Content::Bad(why)] => why.clone(),
        other => panic!("{} rows", other.len()),
    }
}

fn binary(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u32).to_le_bytes()[..], value].concat()
}

const PICTURES: &str = "message table { required binary jpg; }";

#[test]
fn a_page_that_says_two_gigabytes_is_refused_before_any_is_taken() {
    let page = binary(b"picture");
    let length = page.len() as i64;
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
    for packed in [Compression::SNAPPY, zstd] {
        let lies = (head(DATA, 0x7fff_ffff, length, 1, PLAIN), page.clone());
        let chunk = Chunk {
            pages: &[lies],
            has_dictionary: false,
            values: 1,
            packed,
        };
        let file = table(PICTURES, 1, &[chunk]);
        let why = said(&file, MOST, Kind::Pictures);
        for part in [
            "the column jpg has a page that takes 4294967305 bytes",
            "more than the 1073741824",
            "smaller pages",
            "--columns",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
    // Where nothing is compressed, what is in the file is all there is.
    let page = (head(DATA, 0x7fff_ffff, length, 1, PLAIN), page);
    let chunk = Chunk {
        pages: &[page],
        has_dictionary: false,
        values: 1,
        packed: Compression::UNCOMPRESSED,
    };
    let (contents, _) = rows(&table(PICTURES, 1, &[chunk]), MOST, Kind::Pictures);
    assert_eq!(contents, [Content::Picture(Bytes::from_static(b"picture"))]);
}

#[test]
fn a_page_that_has_more_than_it_says_is_refused_before_it_is_unpacked() {
    let gzip = Compression::GZIP(GzipLevel::default());
    let page = binary(&vec![1; 1 << 20]);
    let length = page.len() as i64;
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&page).unwrap();
    let packed = encoder.finish().unwrap();
    for (said_length, is_read) in [(length, true), (length - 1, false), (10, false)] {
        let head = head(DATA, said_length, packed.len() as i64, 1, PLAIN);
        let chunk = Chunk {
            pages: &[(head, packed.clone())],
            has_dictionary: false,
            values: 1,
            packed: gzip,
        };
        let (contents, _) = rows(&table(PICTURES, 1, &[chunk]), MOST, Kind::Pictures);
        match (&contents[..], is_read) {
            ([Content::Picture(picture)], true) => assert_eq!(picture[..], page[4..]),
            ([Content::Bad(why)], false) => assert!(why.contains("damaged"), "{why}"),
            (other, _) => panic!("{said_length}: {} rows", other.len()),
        }
    }
}

#[test]
fn a_page_without_values_has_nothing_that_is_packed() {
    // Levels stand apart: two nulls as a run.
    let chunk = Chunk {
        pages: &[(head_of_nulls(2, 2), vec![4, 0])],
        has_dictionary: false,
        values: 2,
        packed: Compression::GZIP(GzipLevel::default()),
    };
    let schema = "message table { optional binary jpg; }";
    let (contents, _) = rows(&table(schema, 2, &[chunk]), MOST, Kind::Pictures);
    assert_eq!(contents.len(), 2);
    for content in contents {
        match content {
            Content::Bad(why) => assert!(!why.contains("cannot be read on"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_compression_that_is_not_read_is_said_with_those_that_are() {
    let page = binary(b"picture");
    let length = page.len() as i64;
    for packed in [Compression::LZ4_RAW, Compression::LZ4] {
        let chunk = Chunk {
            pages: &[(head(DATA, length, length, 1, PLAIN), page.clone())],
            has_dictionary: false,
            values: 1,
            packed,
        };
        let why = said(&table(PICTURES, 1, &[chunk]), MOST, Kind::Pictures);
        for part in [
            "the column jpg is compressed with LZ4",
            "gzip, snappy and zstd",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}

#[test]
fn pages_of_all_columns_are_counted_together() {
    let page = binary(&vec![1; 1 << 20]);
    let length = page.len() as i64;
    let pages = [(head(DATA, length, length, 1, PLAIN), page)];
    let chunk = || Chunk {
        pages: &pages,
        has_dictionary: false,
        values: 1,
        packed: Compression::UNCOMPRESSED,
    };
    let schema = "message table { required binary jpg; required binary a; required binary b; }";
    let file = table(schema, 1, &[chunk(), chunk(), chunk()]);
    // Each page, and what it becomes.
    assert_eq!(rows(&file, 7 << 20, Kind::Pictures).0.len(), 1);
    let why = said(&file, 5 << 20, Kind::Pictures);
    assert!(why.contains("the column b has a page"), "{why}");
}

#[test]
fn a_value_that_many_rows_repeat_is_decoded_for_few_of_them_at_a_time() {
    let value = vec![7; 1 << 20];
    let dictionary = binary(&value);
    let length = dictionary.len() as i64;
    // A thousand times the first value: of one bit, a run.
    let page = vec![1, 0xd0, 0x0f, 0];
    let pages = [
        (head(DICTIONARY, length, length, 1, PLAIN), dictionary),
        (head(DATA, 4, 4, 1000, RLE_DICTIONARY), page),
    ];
    let chunk = Chunk {
        pages: &pages,
        has_dictionary: true,
        values: 1000,
        packed: Compression::UNCOMPRESSED,
    };
    let file = table(PICTURES, 1000, &[chunk]);
    for (most, expected) in [(128, 64), (12, 8), (5, 1)] {
        let (contents, at_once) = rows(&file, most << 20, Kind::Pictures);
        assert_eq!((contents.len(), at_once), (1000, expected), "{most} MiB");
        let same = Content::Picture(value.clone().into());
        assert!(contents.iter().all(|content| *content == same));
    }
    let why = said(&file, 3 << 20, Kind::Pictures);
    assert!(why.contains("the column jpg has a dictionary"), "{why}");
}

#[test]
fn a_dictionary_of_no_words_that_has_bytes_is_damaged() {
    let word = binary(b"a file");
    let length = word.len() as i64;
    let table_of = |words: i64| {
        let pages = [
            (head(DICTIONARY, length, length, words, PLAIN), word.clone()),
            // Three times the first word.
            (head(DATA, 3, 3, 3, RLE_DICTIONARY), vec![1, 3 << 1, 0]),
        ];
        let chunk = Chunk {
            pages: &pages,
            has_dictionary: true,
            values: 3,
            packed: Compression::UNCOMPRESSED,
        };
        table(PICTURES, 3, &[chunk])
    };
    let (right, _) = rows(&table_of(1), 1 << 20, Kind::Pictures);
    let expected = Content::Picture(b"a file"[..].into());
    assert_eq!(right, vec![expected; 3]);
    let why = said(&table_of(0), 1 << 20, Kind::Pictures);
    assert!(why.contains("the head of a page is damaged"), "{why}");
}

#[test]
fn a_list_of_a_million_items_in_some_bytes_is_counted_before_it_is_decoded() {
    let schema = "message table { required binary text (UTF8); optional group tags (LIST) { \
                  repeated group list { optional int32 element; } } }";
    // One row: levels as two runs, and one value of a dictionary for all items.
    let list = |items: u64| {
        let run = |count: u64, value: u8| {
            let (mut run, mut head) = (Vec::new(), count << 1);
            while head > 0x7f {
                run.push(head as u8 | 0x80);
                head >>= 7;
            }
            run.extend([head as u8, value]);
            run
        };
        let levels = |levels: Vec<u8>| [&(levels.len() as u32).to_le_bytes()[..], &levels].concat();
        let repetition = levels([run(1, 0), run(items - 1, 1)].concat());
        let definition = levels(run(items, 3));
        let page = [repetition, definition, vec![1], run(items, 0)].concat();
        let length = page.len() as i64;
        [
            (head(DICTIONARY, 4, 4, 1, PLAIN), vec![9, 0, 0, 0]),
            (
                head(DATA, length, length, items as i64, RLE_DICTIONARY),
                page,
            ),
        ]
    };
    let text = binary(b"a text");
    let length = text.len() as i64;
    let text = [(head(DATA, length, length, 1, PLAIN), text)];
    let file = |items: u64| {
        let chunk = |pages, has_dictionary, values| Chunk {
            pages,
            has_dictionary,
            values,
            packed: Compression::UNCOMPRESSED,
        };
        let list = list(items);
        let chunks = [
            chunk(&text[..], false, 1),
            chunk(&list[..], true, items as i64),
        ];
        table(schema, 1, &chunks)
    };
    let (contents, _) = rows(&file(1_000_000), MOST, Kind::Texts);
    assert_eq!(contents, [Content::Text("a text".to_owned())]);
    let why = said(&file(1_000_000), 16 << 20, Kind::Texts);
    assert!(
        why.contains("the column tags.list.element has a list"),
        "{why}"
    );
    // Two milliards of items would take fifty gigabytes.
    let why = said(&file(0x7fff_fff0), MOST, Kind::Texts);
    assert!(
        why.contains("the column tags.list.element has a list"),
        "{why}"
    );
}

#[test]
fn rows_without_bytes_take_no_memory_either() {
    let page = (head(DATA, 4, 4, 1, PLAIN), vec![0; 4]);
    let chunk = Chunk {
        pages: &[page],
        has_dictionary: false,
        values: 1,
        packed: Compression::UNCOMPRESSED,
    };
    let file = table(PICTURES, 1 << 60, &[chunk]);
    let reading = Reading {
        kind: Kind::Pictures,
        ..Reading::default()
    };
    let error = Table::open(file.path(), &reading).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("says that it has 1152921504606846976 rows"),
        "{error}"
    );
}

#[test]
fn lengths_that_are_more_than_the_values_are_damaged() {
    // As many lengths as it says, all of which are 0: blocks of 2^30 with nothing in them.
    let lies = [
        vec![0x80, 0x80, 0x80, 0x80, 4, 1, 0x80, 0x80, 0x80, 0x80, 4, 0],
        vec![0, 0, 0],
    ]
    .concat();
    let length = lies.len() as i64;
    for encoding in [6, 7] {
        let pages = [(head(DATA, length, length, 1, encoding), lies.clone())];
        let chunk = Chunk {
            pages: &pages,
            has_dictionary: false,
            values: 1,
            packed: Compression::UNCOMPRESSED,
        };
        let why = said(&table(PICTURES, 1, &[chunk]), MOST, Kind::Pictures);
        assert!(why.contains("damaged"), "{why}");
    }
}

/// Every encoding and both forms of pages, with nulls and lists.
#[test]
fn tables_that_are_as_they_should_be_are_read_whole() {
    let count = 3000;
    let texts = || (0..count).map(|row| (row % 7 != 3).then(|| format!("text {:04}", row % 900)));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..count {
        for item in 0..row % 5 {
            lists.values().append_value(format!("tag {item}"));
        }
        lists.append(row % 11 != 5);
    }
    let batch = RecordBatch::try_from_iter([
        (
            "text",
            Arc::new(StringArray::from_iter(texts())) as ArrayRef,
        ),
        ("tags", Arc::new(lists.finish()) as ArrayRef),
        ("raw", Arc::new(BinaryArray::from_iter(texts())) as ArrayRef),
    ])
    .unwrap();
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
    let gzip = Compression::GZIP(GzipLevel::default());
    let forms = [
        parquet::file::properties::WriterVersion::PARQUET_1_0,
        parquet::file::properties::WriterVersion::PARQUET_2_0,
    ];
    let encodings = [
        None,
        Some(Encoding::PLAIN),
        Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
        Some(Encoding::DELTA_BYTE_ARRAY),
    ];
    for form in forms {
        for encoding in encodings {
            for packed in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd, gzip] {
                let properties = WriterProperties::builder()
                    .set_writer_version(form)
                    .set_compression(packed)
                    .set_dictionary_enabled(encoding.is_none())
                    .set_data_page_size_limit(2000)
                    .set_write_batch_size(64);
                let properties = match encoding {
                    Some(encoding) => properties.set_encoding(encoding),
                    None => properties,
                };
                let file = NamedTempFile::with_suffix(".parquet").unwrap();
                let to: File = file.reopen().unwrap();
                let properties = Some(properties.build());
                let mut writer = ArrowWriter::try_new(to, batch.schema(), properties).unwrap();
                writer.write(&batch).unwrap();
                writer.close().unwrap();
                let reading = Reading {
                    shard_size: 700,
                    column: Some("text".to_owned()),
                    ..Reading::default()
                };
                let table = Table::open(file.path(), &reading).unwrap();
                let (mut found, mut columns) = (Vec::new(), Vec::new());
                for cut in table.cuts() {
                    table.read(cut, &mut |chunk| {
                        found.extend(chunk.contents);
                        columns.push(chunk.columns.project(&[2, 3]).unwrap());
                        true
                    });
                }
                let missing = || Content::Bad("the row has nothing in this column".to_owned());
                let expected = texts().map(|text| text.map_or_else(missing, Content::Text));
                assert!(
                    found == expected.collect::<Vec<_>>(),
                    "{form:?} {encoding:?}"
                );
                let mut first = 0;
                for part in columns {
                    let same = batch.slice(first, part.num_rows());
                    assert_eq!(part.columns(), &same.columns()[1..]);
                    first += part.num_rows();
                }
                assert_eq!(first, count as usize);
            }
        }
    }
}
