//! Several images in one body that is no form: each behind its length, or a tar archive.

use std::io::Cursor;

use bytes::{Buf as _, Bytes};
use tar::{Archive, EntryType};

use super::form::File;
use super::json::wrong;
use crate::answer::problem::Problem;

/// The content type of a tar archive.
pub(crate) const TAR: &str = "application/x-tar";

/// Files that each stand behind their length, which is four bytes in little-endian order.
pub(crate) fn length_prefixed(mut body: Bytes, most: usize) -> Result<Vec<Bytes>, Problem> {
    let mut files = Vec::new();
    while !body.is_empty() {
        if files.len() == most {
            return Err(too_many(most));
        }
        let broken = |index: usize| {
            wrong(format!(
                "The body ends within image {index}: each image must follow its length in four bytes, little-endian."
            ))
        };
        let (length, rest) = body
            .split_first_chunk::<4>()
            .ok_or_else(|| broken(files.len()))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() {
            return Err(broken(files.len()));
        }
        body.advance(4);
        files.push(body.split_to(length));
    }
    Ok(files)
}

/// The files of a tar archive, in their order; folders and what only describes files are passed
/// over. Nothing is copied but the names, which are cut to what a header holds of them.
pub(crate) fn tar(body: &Bytes, most: usize) -> Result<Vec<File>, Problem> {
    let broken = |files: &[File], error: std::io::Error| {
        wrong(format!(
            "The body is not a valid tar archive after {} files: {error}.",
            files.len()
        ))
    };
    let mut archive = Archive::new(Cursor::new(body.as_ref()));
    let mut files = Vec::new();
    // As they are stored: long names and attributes are entries of their own then.
    let entries = archive.entries().map_err(|error| broken(&files, error))?;
    for entry in entries.raw(true) {
        let entry = entry.map_err(|error| broken(&files, error))?;
        let header = entry.header();
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Link | EntryType::Symlink | EntryType::GNUSparse => {
                return Err(wrong(format!(
                    "The tar archive has a link or a sparse file after {} files; it may have regular files only.",
                    files.len()
                )));
            }
            _ => continue,
        }
        if files.len() == most {
            return Err(too_many(most));
        }
        let begin = entry.raw_file_position();
        let end = begin.checked_add(entry.size());
        let range = usize::try_from(begin)
            .ok()
            .zip(end.and_then(|end| usize::try_from(end).ok()));
        let Some((begin, end)) = range.filter(|(_, end)| *end <= body.len()) else {
            let cut = std::io::Error::other("it ends early");
            return Err(broken(&files, cut));
        };
        files.push(File {
            filename: name,
            bytes: body.slice(begin..end),
        });
    }
    Ok(files)
}

fn too_many(most: usize) -> Problem {
    Problem::TooLarge(format!(
        "The request has more images than the limit of {most}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let long = "long/".repeat(40) + "c.png";
        for (name, bytes) in [
            ("a.png", b"one".as_slice()),
            ("b/b.png", b""),
            (&long, b"three"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes).unwrap();
        }
        let mut folder = tar::Header::new_gnu();
        folder.set_entry_type(EntryType::Directory);
        folder.set_size(0);
        builder
            .append_data(&mut folder, "b/", b"".as_slice())
            .unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn the_files_of_an_archive_are_slices_of_it() {
        let body = Bytes::from(archive());
        let files = tar(&body, 3).unwrap();
        let found: Vec<&[u8]> = files.iter().map(|file| file.bytes.as_ref()).collect();
        assert_eq!(found, [b"one".as_slice(), b"", b"three"]);
        assert_eq!(files[0].filename, "a.png");
        assert!(matches!(tar(&body, 2), Err(Problem::TooLarge(_))));
        assert!(tar(&Bytes::new(), 2).unwrap().is_empty());
    }

    #[test]
    fn a_broken_archive_or_a_link_is_refused() {
        let whole = archive();
        for cut in [100, 513, 700] {
            let body = Bytes::copy_from_slice(&whole[..cut]);
            assert!(
                matches!(tar(&body, 9), Err(Problem::BadRequest(_))),
                "{cut}"
            );
        }
        let noise = Bytes::from(vec![b'x'; 2048]);
        assert!(matches!(tar(&noise, 9), Err(Problem::BadRequest(_))));
        let mut builder = tar::Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "a", "/etc/passwd").unwrap();
        let body = Bytes::from(builder.into_inner().unwrap());
        assert!(matches!(tar(&body, 9), Err(Problem::BadRequest(_))));
    }
}
