//! AVIF: the primary picture, or the first one of an animation; alpha dropped.
//!
//! ```text
//! bytes --layout--> bitstreams of AV1: one, or a grid of tiles; size, matrix, alpha
//!       --obu-----> what each says of itself, before anything is decoded
//!       --av1-----> planes of luma and chroma
//!       --colour--> RGB, in libavif's and libyuv's arithmetic
//! ```
//!
//! As in Pillow, a picture is not cropped (`clap`), and not turned (`irot`, `imir`) unless it is
//! asked for. Its alpha is not looked at, unless its colours were multiplied by it: they
//! are divided by it then, as Pillow's `convert("RGB")` of its RGBA picture has them.

mod atoms;
mod av1;
mod colour;
mod items;
mod layout;
mod obu;
mod planes;
mod tracks;

use super::decode::Job;
use super::work::{self, Stop};
use super::{ImageError, ImageFormat, Orientation};
use av1::Av1;
use colour::Alpha;
pub(crate) use layout::is_avif;
use layout::{Coded, Layout};
use obu::Sequence;
use planes::Planes;

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Avif, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    Layout::read(bytes).map(|layout| (layout.width, layout.height))
}

/// Width and height of the largest picture that has to be decoded for it: a tile may reach beyond the
/// grid that it is cut off by.
pub(super) fn coded_size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let layout = Layout::read(bytes)?;
    let of = |coded: &Coded<'_>| coded.tile;
    let (width, height) = of(&layout.colour);
    let (beside, below) = multiplied(&layout).map_or((0, 0), of);
    Ok((width.max(beside), height.max(below)))
}

/// How it is to be turned, if it is asked for: Pillow makes an orientation tag of its boxes,
/// which goes before that of its EXIF data.
pub(super) fn orientation(bytes: &[u8]) -> Orientation {
    Layout::read(bytes).map_or(Orientation::STORED, |layout| {
        Orientation::from_tag(layout.orientation)
    })
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    /// The decoder's threads and tables.
    const DECODER: u64 = 4 << 20;
    let layout = Layout::read(bytes)?;
    let size = (layout.width, layout.height);
    let mut scratch = DECODER + layout.colour.scratch(size)?;
    if let Some(alpha) = multiplied(&layout) {
        scratch += DECODER + alpha.scratch(size)?;
    }
    Ok(scratch)
}

/// How many bitstreams a file has that is not too much work.
#[cfg(fuzzing)]
pub(super) fn bitstreams(bytes: &[u8]) -> Result<usize, ImageError> {
    let layout = Layout::read(bytes)?;
    check_work(bytes)?;
    let alpha = multiplied(&layout).map_or(0, |alpha| alpha.tiles.len());
    Ok(layout.colour.tiles.len() + alpha)
}

/// The alpha, if it has to be decoded.
fn multiplied<'l, 'a>(layout: &'l Layout<'a>) -> Option<&'l Coded<'a>> {
    layout.alpha.as_ref().filter(|_| layout.premultiplied)
}

/// Decodes a file that has passed [`check_work`] to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let layout = Layout::read(job.bytes)?;
    let (planes, sequence) = planes_of(&layout, &layout.colour, job.stop)?;
    let alpha = match multiplied(&layout) {
        Some(coded) => {
            let (alpha, sequence) = planes_of(&layout, coded, job.stop)?;
            Some(Alpha::new(alpha, sequence.full_range, &planes)?)
        }
        None => None,
    };
    colour::convert(
        &planes,
        layout.cicp(&sequence),
        layout.alpha.is_some(),
        alpha.as_ref(),
        rgb,
        job.stop,
    )
}

/// Nanoseconds for a pixel of a frame: noise in small blocks, of which next to no bytes are needed, took 155
/// with chroma of half the width and height, 195 with all of it (EPYC, Zen 4, on cores that were shared).
/// Flat pictures take a fifth of it, but nothing in a file says that it is one.
fn pixel_work(depth: u8, monochrome: bool, halved: (bool, bool)) -> u64 {
    /// For luma, and for each sample of chroma.
    const LUMA: u64 = 130;
    const CHROMA: u64 = 50;
    let chroma = match monochrome {
        true => 0,
        false => (2 * CHROMA) >> (u32::from(halved.0) + u32::from(halved.1)),
    };
    let eight_bits = LUMA + chroma;
    match depth {
        8 => eight_bits,
        // Not measured: vectors hold half as many.
        _ => eight_bits * 5 / 4,
    }
}

/// Refuses what is too much work.
pub(super) fn check_work(bytes: &[u8]) -> Result<(), ImageError> {
    /// Nanoseconds for a byte of a bitstream.
    const BYTE: u64 = 40;
    let layout = Layout::read(bytes)?;
    let mut work = 0u64;
    for coded in [Some(&layout.colour), multiplied(&layout)]
        .into_iter()
        .flatten()
    {
        let pixels = u64::from(coded.tile.0) * u64::from(coded.tile.1);
        for tile in &coded.tiles {
            let (bytes, scan) = tile.scan()?;
            layout::check_size(&scan.sequence, coded.tile)?;
            let sequence = &scan.sequence;
            let of_pixel = pixel_work(sequence.depth, sequence.monochrome, sequence.halved);
            let of_frame = pixels.saturating_mul(of_pixel);
            let of_tile = of_frame.saturating_mul(scan.frames.into());
            work = work
                .saturating_add(of_tile)
                .saturating_add(bytes.len() as u64 * BYTE);
        }
    }
    work::check(ImageFormat::Avif, work, "its AV1")
}

/// Decodes the planes of a picture, which are put together from those of its tiles.
fn planes_of(
    layout: &Layout<'_>,
    coded: &Coded<'_>,
    stop: &Stop<'_>,
) -> Result<(Planes, Sequence), ImageError> {
    let point = coded.tiles.first().map_or(0, |tile| tile.point());
    let mut decoder = Av1::new(coded.tile, point)?;
    let mut whole: Option<(Planes, Sequence)> = None;
    for (nth, tile) in coded.tiles.iter().enumerate() {
        let (bytes, scan) = tile.scan()?;
        if tile.point() != point
            || whole
                .as_ref()
                .is_some_and(|(_, first)| *first != scan.sequence)
        {
            return Err(damaged("the tiles of its grid differ"));
        }
        let picture = decoder.decode(bytes, stop)?;
        let planes = Planes::of(&picture, &scan.sequence, coded.tile)?;
        let size = (layout.width, layout.height);
        if coded.tiles.len() == 1 && coded.tile == size {
            return Ok((planes, scan.sequence));
        }
        let (whole, _) =
            whole.get_or_insert_with(|| (Planes::empty(&scan.sequence, size), scan.sequence));
        let nth = nth as u32;
        let (column, row) = (nth % coded.columns, nth / coded.columns);
        let place = (column * coded.tile.0, row * coded.tile.1);
        whole.put(&planes, (place.0 as usize, place.1 as usize))?;
    }
    let whole = whole.ok_or_else(truncated)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_WORK;

    /// A frame cannot be stopped midway, so its size is limited by the slowest content.
    #[test]
    fn a_frame_has_as_many_pixels_as_the_worst_of_eight_seconds() {
        let megapixels = |depth, monochrome, halved| {
            MAX_WORK / pixel_work(depth, monochrome, halved) / 1_000_000
        };
        assert_eq!(megapixels(8, false, (true, true)), 51);
        assert_eq!(megapixels(8, false, (true, false)), 44);
        assert_eq!(megapixels(8, false, (false, false)), 34);
        assert_eq!(megapixels(10, false, (true, true)), 41);
        assert_eq!(megapixels(8, true, (true, true)), 61);
    }
}
