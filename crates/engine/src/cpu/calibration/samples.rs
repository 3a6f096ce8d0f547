//! The pictures and texts that a calibration looks at.

use std::path::{Path, PathBuf};
use std::{fs, io};

use siglip2_image::{ImageError, ImageLimits, RgbImage, decode};

use super::CalibrationError;
use crate::{Pixels, Prepare};

/// Pictures and texts that are looked at, of more that are there. What is largest is found early,
/// and the CPU takes a tenth of a second for each picture of a base model.
const MOST: usize = 512;

/// What to calibrate with.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    /// A folder of pictures, in files of its own and of folders in it. Of more than some hundred,
    /// as many are taken from the whole list.
    pub folder: &'a Path,
    /// A file of texts, one on each line; likewise.
    pub texts: &'a Path,
    /// Pictures besides.
    pub pictures: Vec<RgbImage>,
    /// Texts besides.
    pub more_texts: &'a [&'a str],
}

/// Why a file is left out of a calibration.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct SampleError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub error: FaultySample,
}

/// What is wrong with a file of a calibration.
#[derive(Debug, thiserror::Error)]
pub enum FaultySample {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not a picture.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Reads a picture and prepares it for the engine.
pub(super) fn picture(path: PathBuf, prepare: &dyn Prepare) -> Result<Pixels, SampleError> {
    let read = || -> Result<Pixels, FaultySample> {
        let picture = decode(&fs::read(&path)?, &ImageLimits::default())?;
        Ok(prepare.prepare(picture)?)
    };
    read().map_err(|error| SampleError { path, error })
}

impl Samples<'_> {
    /// The files that are looked at.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, CalibrationError> {
        files(self.folder).map(spread)
    }

    /// The texts that are looked at.
    pub(super) fn lines(&self) -> Result<Vec<String>, CalibrationError> {
        let more = self.more_texts.iter().map(|&text| text.to_owned());
        Ok(texts(self.texts)?.into_iter().chain(more).collect())
    }
}

/// The files of a folder and of those in it, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, CalibrationError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error| unreadable(&folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A link to a folder is not followed: it may lead back.
            match entry.file_type().map_err(failed)?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The lines of a file that are not empty.
fn texts(file: &Path) -> Result<Vec<String>, CalibrationError> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, error))?;
    let text = String::from_utf8(bytes).map_err(|_| CalibrationError::NotUtf8(file.to_owned()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    match lines.is_empty() {
        true => Err(CalibrationError::NoTexts(file.to_owned())),
        false => Ok(spread(lines)),
    }
}

fn unreadable(path: &Path, error: io::Error) -> CalibrationError {
    CalibrationError::Unreadable {
        path: path.to_owned(),
        error,
    }
}

/// At most [`MOST`] of them, from the whole list at equal distances.
fn spread<T>(items: Vec<T>) -> Vec<T> {
    let count = items.len();
    let taken = |index: usize| index * MOST / count != (index + 1) * MOST / count;
    match count <= MOST {
        true => items,
        false => {
            let numbered = items.into_iter().enumerate();
            let chosen = numbered.filter(|&(index, _)| taken(index));
            chosen.map(|(_, item)| item).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_texts_are_taken_from_the_whole_list() {
        assert_eq!(spread(vec![1, 2, 3]), [1, 2, 3]);
        let many = spread((0..10_000).collect());
        assert_eq!(many.len(), MOST);
        assert!(many.is_sorted() && many[0] < 20 && many[MOST - 1] > 9_980);

        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["b/1.png", "a.png", "c.png"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let found = files(folder.path()).unwrap();
        let names = ["a.png", "b/1.png", "c.png"].map(|name| folder.path().join(name));
        assert_eq!(found, names);

        let file = folder.path().join("texts.txt");
        fs::write(&file, "one\n\n  \ntwo\n").unwrap();
        assert_eq!(texts(&file).unwrap(), ["one", "two"]);
        fs::write(&file, "\n").unwrap();
        let said = |file: &Path| texts(file).unwrap_err().to_string();
        assert!(said(&file).contains("no texts"));
        fs::write(&file, [0xff]).unwrap();
        assert!(said(&file).contains("not UTF-8"));
        let said = said(&folder.path().join("none"));
        assert!(said.contains("cannot be read"), "{said}");
    }
}
