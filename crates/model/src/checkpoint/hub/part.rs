//! A file that is being downloaded, and whether a file is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::cache::failed;
use super::error::HubFailure;

/// Bytes per read.
const BLOCK: usize = 256 << 10;

/// What a comparison with the hash that was announced says.
pub(super) enum Outcome {
    Whole,
    Damaged { found: String, expected: String },
}

/// How much of a file is there, and its hash so far.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    pub length: u64,
    sha256: Sha256,
}

impl Part {
    /// Opens what an earlier download left, if anything.
    pub fn open(path: &Path) -> Result<Self, HubFailure> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed(path))?;
        let mut part = Self {
            path: path.to_owned(),
            file,
            length: 0,
            sha256: Sha256::new(),
        };
        part.length = io::copy(&mut part.file, &mut part.sha256).map_err(failed(path))?;
        Ok(part)
    }

    pub fn begin_again(&mut self) -> Result<(), HubFailure> {
        self.length = 0;
        self.sha256 = Sha256::new();
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map(|_| ())
            .map_err(failed(&self.path))
    }

    /// Appends a body until it ends or exceeds `most`. The inner result is that of reading, the
    /// outer one that of writing.
    pub fn take(
        &mut self,
        mut body: impl Read,
        most: u64,
        mut at: impl FnMut(u64),
    ) -> Result<io::Result<()>, HubFailure> {
        let mut block = vec![0; BLOCK];
        at(self.length);
        while self.length <= most {
            let read = match body.read(&mut block) {
                Ok(0) => return Ok(Ok(())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error)),
            };
            let bytes = &block[..read];
            self.file.write_all(bytes).map_err(failed(&self.path))?;
            self.sha256.update(bytes);
            self.length += read as u64;
            at(self.length);
        }
        Ok(Ok(()))
    }

    /// Compares the hash with the blob's name, if the name is a hash.
    pub fn check(&mut self, blob: Option<&str>) -> Result<Outcome, HubFailure> {
        match blob.map_or(Named::Otherwise, Named::of) {
            Named::Sha256(expected) => {
                let found = hex(&self.sha256.clone().finalize());
                Ok(compare(&[found], expected))
            }
            Named::Sha1(expected) => {
                let found = self
                    .file
                    .seek(SeekFrom::Start(0))
                    .and_then(|_| sha1_both(&mut self.file, self.length))
                    .map_err(failed(&self.path))?;
                Ok(compare(&found, expected))
            }
            Named::Otherwise => Ok(Outcome::Whole),
        }
    }

    /// Writes to the disk what the system still holds.
    pub fn sync(&self) -> Result<(), HubFailure> {
        self.file.sync_all().map_err(failed(&self.path))
    }
}

/// Whether the file at `path` is the whole blob of this name, as far as can be told: by its size,
/// if that is known, and by its hash, if the name is one.
pub(super) fn is_whole(path: &Path, blob: &str, size: Option<u64>) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if size.is_some_and(|size| size != length) {
        return Ok(false);
    }
    let outcome = match Named::of(blob) {
        Named::Sha256(expected) => {
            let mut sha256 = Sha256::new();
            io::copy(&mut file, &mut sha256)?;
            compare(&[hex(&sha256.finalize())], expected)
        }
        Named::Sha1(expected) => compare(&sha1_both(&mut file, length)?, expected),
        Named::Otherwise => Outcome::Whole,
    };
    Ok(matches!(outcome, Outcome::Whole))
}

/// What a blob's name says about its content.
enum Named<'a> {
    /// The SHA-256 of large files.
    Sha256(&'a str),
    /// Git's SHA-1 of the object, for small files, or the SHA-1 of the bytes alone on some mirrors.
    Sha1(&'a str),
    /// Nothing.
    Otherwise,
}

impl<'a> Named<'a> {
    fn of(blob: &'a str) -> Self {
        match blob.len() {
            _ if !blob.bytes().all(|b| b.is_ascii_hexdigit()) => Named::Otherwise,
            64 => Named::Sha256(blob),
            40 => Named::Sha1(blob),
            _ => Named::Otherwise,
        }
    }
}

/// Git's SHA-1 of a blob of `length` bytes, and the SHA-1 of its bytes alone.
fn sha1_both(file: &mut File, length: u64) -> io::Result<[String; 2]> {
    let mut plain = Sha1::new();
    let mut object = Sha1::new();
    object.update(format!("blob {length}\0"));
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(read) => {
                plain.update(&block[..read]);
                object.update(&block[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok([hex(&object.finalize()), hex(&plain.finalize())])
}

fn compare(found: &[String], expected: &str) -> Outcome {
    if found
        .iter()
        .any(|found| found.eq_ignore_ascii_case(expected))
    {
        return Outcome::Whole;
    }
    Outcome::Damaged {
        found: found.first().cloned().unwrap_or_default(),
        expected: expected.to_owned(),
    }
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
