//! webdataset's tars: members that follow each other and have the same name up to the first
//! dot are one sample (`00012.jpg`, `00012.txt`, `00012.json`).

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::SchemaRef;
use blake3::Hasher;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::spool::ReadFrom;
use super::{Cut, PICTURES, STANDARD_INPUT, Source, cannot_read, digest_file};
use crate::archive::{self, Member};
use crate::error::InputError;
use crate::options::{Kind, Reading};
use crate::row::{
    CHUNK_BYTES, CHUNK_ROWS, Chunk, Content, MAX_FILE, TEXT, batch, text_columns, too_large,
};

/// Bytes that a caption or the JSON of a sample may have.
const LONGEST_NOTE: u64 = 4 << 20;

/// Columns beside the name: the sample's key, its caption, and its JSON as it is.
const KEY: &str = "key";
const JSON: &str = "json";

/// Where a tar is.
enum Place {
    Path(PathBuf),
    /// It came through a pipe, and was kept.
    Kept(Arc<File>, blake3::Hash),
}

/// One tar, which is one shard.
pub(super) struct Tar {
    place: Place,
    is_packed: bool,
    kind: Kind,
    columns: SchemaRef,
    cut: [Cut; 1],
}

impl Tar {
    pub(super) fn open(path: &Path, reading: &Reading) -> Result<Self, InputError> {
        let file = File::open(path).map_err(cannot_read(path))?;
        let bytes = file.metadata().map_err(cannot_read(path))?.len();
        let is_packed = path
            .extension()
            .is_some_and(|extension| !extension.eq_ignore_ascii_case("tar"));
        Ok(Self::of(
            Place::Path(path.into()),
            bytes,
            is_packed,
            reading,
        ))
    }

    /// One of standard input.
    pub(super) fn kept(
        file: Arc<File>,
        hash: blake3::Hash,
        bytes: u64,
        is_packed: bool,
        reading: &Reading,
    ) -> Self {
        Self::of(Place::Kept(file, hash), bytes, is_packed, reading)
    }

    fn of(place: Place, bytes: u64, is_packed: bool, reading: &Reading) -> Self {
        Self {
            place,
            is_packed,
            kind: reading.kind,
            columns: text_columns(&[KEY, TEXT, JSON]),
            cut: [Cut {
                first: 0,
                rows: None,
                at: 0,
                line: 0,
                bytes,
            }],
        }
    }

    /// What its rows are named after.
    fn name(&self) -> Cow<'_, str> {
        match &self.place {
            Place::Path(path) => path.to_string_lossy(),
            Place::Kept(..) => STANDARD_INPUT.into(),
        }
    }

    fn samples(&self, samples: &mut Samples<'_>) -> io::Result<()> {
        let file = match &self.place {
            Place::Path(path) => Arc::new(File::open(path)?),
            Place::Kept(file, _) => Arc::clone(file),
        };
        let file = BufReader::with_capacity(1 << 20, ReadFrom { file, at: 0 });
        let reader: Box<dyn Read> = if self.is_packed {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        archive::members(reader, |member| {
            if !member.is_file() {
                return Ok(true);
            }
            let name = String::from_utf8_lossy(&member.name()).into_owned();
            let Some((key, extension)) = split(&name) else {
                return Ok(true);
            };
            let size = member.size();
            samples.take(&name, key, &extension, size, member)
        })
    }
}

impl Source for Tar {
    fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    fn cuts(&self) -> &[Cut] {
        &self.cut
    }

    fn digest(&self, hasher: &mut Hasher) {
        let bytes = self.cut[0].bytes;
        match &self.place {
            Place::Path(path) => digest_file(hasher, "tar", path, bytes),
            Place::Kept(_, hash) => {
                digest_file(hasher, "tar", Path::new(STANDARD_INPUT), bytes);
                hasher.update(hash.as_bytes());
            }
        }
    }

    fn read(&self, _: &Cut, emit: &mut dyn FnMut(Chunk) -> bool) {
        let tar = self.name();
        let mut samples = Samples {
            tar: &tar,
            kind: self.kind,
            columns: &self.columns,
            sample: None,
            rows: Vec::new(),
            bytes: 0,
            wanted: true,
            emit,
        };
        let read = self.samples(&mut samples);
        if samples.wanted {
            samples.end_sample();
            samples.end_chunk();
        }
        if let (Err(error), true) = (read, samples.wanted) {
            let error = format!("the tar cannot be read on: {error}");
            (samples.emit)(Chunk::bad(&self.columns, &tar, error));
        }
    }
}

/// A member's key and its extension, in lower case. What has no extension or is hidden
/// belongs to no sample.
fn split(name: &str) -> Option<(&str, String)> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.')?;
    if dot == start {
        return None;
    }
    Some((&name[..dot], name[dot + 1..].to_ascii_lowercase()))
}

#[derive(Default)]
struct Sample {
    key: String,
    /// The picture's or, where texts are embedded, the text's member.
    name: Option<String>,
    content: Option<Content>,
    text: Option<String>,
    json: Option<String>,
    /// What is wrong with a caption or with JSON.
    fault: Option<String>,
}

/// Members on their way to samples, and samples to chunks.
struct Samples<'a> {
    tar: &'a str,
    kind: Kind,
    columns: &'a SchemaRef,
    sample: Option<Sample>,
    rows: Vec<Sample>,
    bytes: u64,
    /// Whether whoever takes the chunks wants more.
    wanted: bool,
    emit: &'a mut dyn FnMut(Chunk) -> bool,
}

impl Samples<'_> {
    /// Whether more is wanted.
    fn take(
        &mut self,
        name: &str,
        key: &str,
        extension: &str,
        size: u64,
        member: &mut dyn Member,
    ) -> io::Result<bool> {
        if self.sample.as_ref().is_some_and(|sample| sample.key != key) {
            self.end_sample();
        }
        let is_picture = PICTURES.contains(&extension);
        if is_picture && self.kind == Kind::Pictures && self.bytes + size > CHUNK_BYTES {
            self.end_chunk();
        }
        // It is kept in the row's name, and without its ending as the key.
        self.bytes += 2 * name.len() as u64;
        let sample = self.sample.get_or_insert_with(|| Sample {
            key: key.to_owned(),
            ..Sample::default()
        });
        match (self.kind, extension) {
            (Kind::Pictures, _) if is_picture && sample.content.is_none() => {
                sample.name = Some(name.to_owned());
                sample.content = Some(if size > MAX_FILE {
                    Content::Bad(too_large(size))
                } else {
                    // Not reserved: what a header says is not what is there.
                    let mut bytes = Vec::new();
                    member.read_to_end(&mut bytes)?;
                    if bytes.len() as u64 != size {
                        sample.fault = Some("the tar ends within the file".to_owned());
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.bytes += bytes.len() as u64;
                    Content::Picture(Bytes::from(bytes))
                });
            }
            (_, "txt" | "caption") => {
                sample.text = note(size, member, &mut sample.fault)?;
                self.bytes += sample.text.as_ref().map_or(0, String::len) as u64;
                if self.kind == Kind::Texts {
                    sample.name = Some(name.to_owned());
                }
            }
            (_, "json") => {
                sample.json = note(size, member, &mut sample.fault)?;
                self.bytes += sample.json.as_ref().map_or(0, String::len) as u64;
            }
            _ => {}
        }
        Ok(self.wanted)
    }

    fn end_sample(&mut self) {
        if let Some(sample) = self.sample.take() {
            self.rows.push(sample);
        }
        if self.rows.len() == CHUNK_ROWS || self.bytes > CHUNK_BYTES {
            self.end_chunk();
        }
    }

    fn end_chunk(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let id = |row: &Sample| {
            let name = row.name.as_ref().unwrap_or(&row.key);
            Some(format!("{}/{name}", self.tar))
        };
        let column = |of: &dyn Fn(&Sample) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let columns = vec![
            column(&id),
            column(&|row| Some(row.key.clone())),
            column(&|row| row.text.clone()),
            column(&|row| row.json.clone()),
        ];
        let columns = batch(self.columns, columns);
        let kind = self.kind;
        let contents = rows.into_iter().map(|row| content(row, kind)).collect();
        self.wanted = (self.emit)(Chunk::new(columns, contents));
    }
}

fn content(row: Sample, kind: Kind) -> Content {
    if let Some(fault) = row.fault {
        return Content::Bad(fault);
    }
    match (kind, row.content, row.text) {
        (Kind::Pictures, Some(content), _) => content,
        (Kind::Pictures, None, _) => Content::Bad("the sample has no picture".to_owned()),
        (Kind::Texts, _, Some(text)) => Content::Text(text),
        (Kind::Texts, _, None) => Content::Bad("the sample has no text".to_owned()),
    }
}

/// A caption or JSON.
fn note(
    size: u64,
    member: &mut dyn Member,
    fault: &mut Option<String>,
) -> io::Result<Option<String>> {
    if size > LONGEST_NOTE {
        *fault = Some(format!(
            "the sample's text or JSON has {size} bytes; at most {LONGEST_NOTE} are read"
        ));
        return Ok(None);
    }
    let mut bytes = Vec::new();
    member.read_to_end(&mut bytes)?;
    if bytes.len() as u64 != size {
        *fault = Some("the tar ends within the sample's text or JSON".to_owned());
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tar: &Path, kind: Kind) -> Vec<(Vec<String>, Vec<Content>)> {
        let reading = Reading {
            kind,
            ..Reading::default()
        };
        let tar = Tar::open(tar, &reading).unwrap();
        let mut chunks = Vec::new();
        tar.read(&tar.cuts()[0], &mut |chunk| {
            let ids = chunk.columns.column(0).as_any();
            let ids = ids.downcast_ref::<StringArray>().unwrap();
            let ids = ids.iter().map(|id| id.unwrap().to_owned()).collect();
            chunks.push((ids, chunk.contents));
            true
        });
        chunks
    }

    fn member(builder: &mut ::tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    }

    #[test]
    fn members_with_a_key_in_common_are_one_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.tar");
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, bytes) in [
            ("a/1.txt", &b"one"[..]),
            ("a/1.JPG", b"first"),
            ("a/1.json", b"{}"),
            ("a/2.seg.png", b"second"),
            ("a/2.jpg", b"third"),
            ("3.txt", b"three"),
            ("README", b""),
        ] {
            member(&mut builder, name, bytes);
        }
        std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
        let name = |member: &str| format!("{}/{member}", path.display());
        let picture = |bytes: &'static [u8]| Content::Picture(Bytes::from_static(bytes));
        let no = |what: &str| Content::Bad(format!("the sample has no {what}"));
        assert_eq!(
            read(&path, Kind::Pictures),
            [(
                vec![name("a/1.JPG"), name("a/2.jpg"), name("3")],
                vec![picture(b"first"), picture(b"third"), no("picture")],
            )]
        );
        assert_eq!(
            read(&path, Kind::Texts),
            [(
                vec![name("a/1.txt"), name("a/2"), name("3.txt")],
                vec![
                    Content::Text("one".into()),
                    no("text"),
                    Content::Text("three".into())
                ],
            )]
        );
    }

    #[test]
    fn a_tar_that_is_cut_short_keeps_its_rows_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.tar");
        let mut builder = ::tar::Builder::new(Vec::new());
        member(&mut builder, "1.jpg", b"whole");
        member(&mut builder, "2.jpg", &[7; 4096]);
        let bytes = builder.into_inner().unwrap();
        std::fs::write(&path, &bytes[..1024 + 512 + 1000]).unwrap();
        let chunks = read(&path, Kind::Pictures);
        assert_eq!(
            chunks[0].1[0],
            Content::Picture(Bytes::from_static(b"whole"))
        );
        let last = chunks.last().unwrap().1.last().unwrap();
        assert!(matches!(last, Content::Bad(why) if why.contains("cannot be read on")));
    }

    #[test]
    fn a_member_that_is_cut_short_is_not_taken_for_whole() {
        let mut builder = ::tar::Builder::new(Vec::new());
        member(&mut builder, "1.txt", &[b'a'; 600]);
        member(&mut builder, "2.txt", &[b'b'; 2000]);
        let whole = builder.into_inner().unwrap();
        let file = tempfile::NamedTempFile::with_suffix(".tar").unwrap();
        // In the middle of the second member.
        std::fs::write(file.path(), &whole[..512 + 1024 + 512 + 900]).unwrap();
        let chunks = read(file.path(), Kind::Texts);
        let contents: Vec<Content> = chunks.into_iter().flat_map(|(_, it)| it).collect();
        assert_eq!(contents[0], Content::Text("a".repeat(600)));
        let rest = &contents[1..];
        assert!(!rest.is_empty() && rest.iter().all(|it| matches!(it, Content::Bad(_))));
    }
}
