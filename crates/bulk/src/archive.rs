//! Tars whose heads are bounded.
//!
//! The reader of tars puts together what stands before a member: long names (GNU's records L and
//! K, the attributes of POSIX) and maps of holes. It believes their lengths, which are up to 8
//! GiB. So between two members it gets no more bytes than these may have.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use tar::{Archive, Entry};

/// Bytes between the end of one member and the beginning of the next: paths have at most some
/// thousand bytes.
const MOST_HEAD: u64 = 1 << 20;

/// What a tar is read through.
struct Bounded<R> {
    inner: R,
    /// Bytes that may still be read, where they are counted.
    left: Rc<Cell<Option<u64>>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get() else {
            return self.inner.read(buffer);
        };
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!(
                "a member's name and attributes have more than the {MOST_HEAD} bytes that are read"
            )));
        }
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(Some(left - read as u64));
        Ok(read)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// A tar whose next head is bounded, and what is left of that bound.
fn bounded<R: Read>(tar: R) -> (Archive<Bounded<R>>, Rc<Cell<Option<u64>>>) {
    let left = Rc::new(Cell::new(Some(MOST_HEAD)));
    let bounded = Bounded {
        inner: tar,
        left: Rc::clone(&left),
    };
    (Archive::new(bounded), left)
}

/// Visits the members of a tar one after another, until `visit` wants no more.
pub(crate) fn members(
    tar: impl Read,
    mut visit: impl FnMut(&mut dyn Member) -> io::Result<bool>,
) -> io::Result<()> {
    let (mut archive, left) = bounded(tar);
    for member in archive.entries()? {
        let mut member = member?;
        left.set(None);
        let wanted = visit(&mut member)?;
        if !wanted {
            return Ok(());
        }
        // What was not read of it is no part of the next one's head.
        io::copy(&mut member, &mut io::sink())?;
        left.set(Some(MOST_HEAD));
    }
    Ok(())
}

/// The same in a file, where members that are not read are leapt over.
pub(crate) fn members_of_file(
    tar: impl Read + Seek,
    mut visit: impl FnMut(&mut dyn Member) -> io::Result<bool>,
) -> io::Result<()> {
    let (mut archive, left) = bounded(tar);
    for member in archive.entries_with_seek()? {
        let mut member = member?;
        left.set(None);
        if !visit(&mut member)? {
            return Ok(());
        }
        left.set(Some(MOST_HEAD));
    }
    Ok(())
}

/// A member, whatever its tar is read through.
pub(crate) trait Member: Read {
    /// Whether it is a file.
    fn is_file(&self) -> bool;

    /// Its path, as it is written there.
    fn name(&self) -> Vec<u8>;

    /// Its bytes, as its head says.
    fn size(&self) -> u64;
}

impl<R: Read> Member for Entry<'_, R> {
    fn is_file(&self) -> bool {
        self.header().entry_type().is_file()
    }

    fn name(&self) -> Vec<u8> {
        self.path_bytes().into_owned()
    }

    fn size(&self) -> u64 {
        Entry::size(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a kind with contents, as tar writes them.
    fn record(kind: u8, name: &str, contents: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(contents.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn names(tar: &[u8]) -> (Vec<String>, io::Result<()>) {
        let mut names = Vec::new();
        let read = members(tar, |member| {
            names.push(String::from_utf8(member.name()).unwrap());
            Ok(true)
        });
        let mut again = Vec::new();
        let by_seeking = members_of_file(io::Cursor::new(tar), |member| {
            again.push(String::from_utf8(member.name()).unwrap());
            Ok(true)
        });
        assert_eq!(names, again);
        assert_eq!(read.is_ok(), by_seeking.is_ok());
        (names, read)
    }

    #[test]
    fn long_names_are_read_and_those_without_end_are_not() {
        let long = "a/".repeat(2000) + "b.jpg";
        // A member larger than a head may be, before and behind it.
        let large = record(b'0', "large", &vec![1; 3 << 20]);
        let end = vec![0; 1024];
        let attributes = |value: &str| {
            let rest = format!(" path={value}\n");
            let length = rest.len() + (rest.len() + 7).to_string().len();
            format!("{length}{rest}").into_bytes()
        };
        for (kind, contents) in [
            (b'L', [long.as_bytes(), &[0]].concat()),
            (b'x', attributes(&long)),
        ] {
            let name = record(kind, "././@LongLink", &contents);
            let file = record(b'0', "short", b"x");
            let tar = [&large[..], &name, &file, &large, &end].concat();
            let (found, read) = names(&tar);
            assert!(read.is_ok(), "{read:?}");
            assert_eq!(found, ["large", &long, "large"]);
            // As many bytes as its head says, and they are all there.
            let endless = record(kind, "././@LongLink", &vec![b'a'; 5 << 20]);
            let tar = [&large[..], &endless, &file, &end].concat();
            let (found, read) = names(&tar);
            assert_eq!(found, ["large"]);
            let error = read.unwrap_err().to_string();
            assert!(error.contains("name and attributes"), "{error}");
        }
    }
}
