//! Directories that Pillow or libtiff refuse for the form of an entry, whatever its value.
//!
//! Pillow reads bytes and text as such, and knows no picture of which a number is text. What is
//! compressed is read by libtiff, which reads the directory anew and wants some entries in order.

use super::damaged;
use super::ifd::{Directory, Kind, tag};
use crate::ImageError;

/// What Pillow looks up in its table of pictures.
const LOOKED_UP: [u16; 9] = [
    tag::WIDTH,
    tag::HEIGHT,
    tag::BITS_PER_SAMPLE,
    tag::COMPRESSION,
    tag::PHOTOMETRIC,
    tag::FILL_ORDER,
    tag::SAMPLES_PER_PIXEL,
    tag::EXTRA_SAMPLES,
    tag::SAMPLE_FORMAT,
];

/// What libtiff wants to be one number.
const SINGLE: [u16; 7] = [
    tag::WIDTH,
    tag::HEIGHT,
    tag::SAMPLES_PER_PIXEL,
    tag::PLANAR_CONFIGURATION,
    tag::ROWS_PER_STRIP,
    tag::TILE_WIDTH,
    tag::TILE_LENGTH,
];

/// Lists of which it wants every value.
const LISTS: [u16; 6] = [
    tag::BITS_PER_SAMPLE,
    tag::SAMPLE_FORMAT,
    tag::STRIP_OFFSETS,
    tag::STRIP_BYTE_COUNTS,
    tag::TILE_OFFSETS,
    tag::TILE_BYTE_COUNTS,
];

/// What Pillow cuts what is not compressed by.
const CUT_BY: [u16; 3] = [tag::ROWS_PER_STRIP, tag::TILE_WIDTH, tag::TILE_LENGTH];

/// What is wrong with the entries of a directory that Pillow reads; `packed` says that libtiff reads
/// the pixels.
pub(super) fn check(directory: &Directory<'_>, packed: bool) -> Result<(), ImageError> {
    let cut_by = CUT_BY.iter().filter(|_| !packed);
    for &tag in LOOKED_UP.iter().chain(cut_by) {
        match directory.kind(tag) {
            // A list of ones is as good as none.
            Some((Kind::Bytes, 2..)) if tag == tag::SAMPLE_FORMAT => {}
            Some((Kind::Numbers, 2..)) if tag == tag::PHOTOMETRIC => return Err(of_type(tag)),
            Some((Kind::Bytes | Kind::Undefined | Kind::Other, _)) => return Err(of_type(tag)),
            _ => {}
        }
    }
    Ok(())
}

/// The same of what libtiff reads. `predicted` says that its samples may be predicted, `chunks` how
/// many strips or tiles there are without a count of their bytes.
pub(super) fn check_packed(
    directory: &Directory<'_>,
    predicted: bool,
    chunks: Option<usize>,
) -> Result<(), ImageError> {
    for tag in SINGLE {
        match directory.kind(tag) {
            None | Some((Kind::Numbers | Kind::Bytes, 1)) => {}
            Some((Kind::Undefined | Kind::Other | Kind::Unknown, _)) => return Err(of_type(tag)),
            Some((_, count)) => {
                return Err(damaged(format_args!("its tag {tag} has {count} values")));
            }
        }
    }
    for tag in LISTS {
        if let Some((Kind::Unknown, _)) = directory.kind(tag) {
            return Err(of_type(tag));
        }
        if let Some((Kind::Lost, _)) = directory.kind(tag) {
            return Err(damaged(format_args!(
                "the values of its tag {tag} lie outside of the file"
            )));
        }
    }
    let differs = |all: super::ifd::Numbers<'_>| all.iter().any(|one| Some(one) != all.get(0));
    if directory.numbers(tag::COMPRESSION).is_some_and(differs) {
        return Err(damaged("it has several compressions"));
    }
    let number = |tag| directory.number(tag);
    if !matches!(number(tag::PLANAR_CONFIGURATION), None | Some(1 | 2)) {
        return Err(damaged("its samples are in no known order"));
    }
    if number(tag::ROWS_PER_STRIP) == Some(0) {
        return Err(damaged("its strips have no rows"));
    }
    if predicted && !matches!(number(tag::PREDICTOR), None | Some(1..=3)) {
        return Err(damaged("its samples are predicted in no known way"));
    }
    if chunks.is_some_and(|chunks| chunks > 1) {
        return Err(damaged("it does not say how long its strips or tiles are"));
    }
    Ok(())
}

fn of_type(tag: u16) -> ImageError {
    damaged(format_args!("its tag {tag} is no number"))
}
