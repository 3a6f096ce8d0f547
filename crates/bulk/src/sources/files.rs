//! Lists of paths: a line each, from a file or from standard input.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::cannot_read;
use crate::error::InputError;

/// Bytes that a path may have; systems take fewer.
const LONGEST_PATH: u64 = 64 << 10;

/// Gives every path of a list to `take`; `-` is standard input.
///
/// # Errors
///
/// When the list cannot be read, and those of `take`.
pub(super) fn each_path(
    list: &str,
    take: &mut dyn FnMut(&Path) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let path = Path::new(list);
    let mut reader: Box<dyn BufRead> = if list == "-" {
        Box::new(stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(cannot_read(path))?))
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(LONGEST_PATH)
            .read_until(b'\n', &mut line)
            .map_err(cannot_read(path))?;
        if read == 0 {
            return Ok(());
        }
        if read as u64 == LONGEST_PATH && !line.ends_with(b"\n") {
            return Err(format!(
                "{list} has a line of more than {LONGEST_PATH} bytes, which is no path"
            )
            .into());
        }
        let path = line.strip_suffix(b"\n").unwrap_or(&line);
        let path = path.strip_suffix(b"\r").unwrap_or(path);
        if path.contains(&0) {
            return Err(format!(
                "{list} has a NUL byte: it must have a path in each line (find without -print0)"
            )
            .into());
        }
        if !path.is_empty() {
            take(Path::new(OsStr::from_bytes(path)))?;
        }
    }
}
