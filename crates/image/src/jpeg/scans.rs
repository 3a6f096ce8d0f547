//! What the scans of a JPEG cost, before a decoder walks through them. The bounds are those of both decoders, one after
//! the other: in a file in which something is wrong at its end, libjpeg begins anew. Of noise in many scans, whose bytes are
//! what costs, they took 460 ms of 500 reckoned; of a flat picture in many scans 580 of 2,000.
//!
//! Each scan is a walk over all blocks of its components, however few bytes it has: 100
//! refinements of a large picture are a few kilobytes and minutes of work.

use super::frame::Frame;
use crate::inspect::u16_be;
use crate::work::{self, MAX_WORK};
use crate::{ImageError, ImageFormat, ImageLimits};

/// Nanoseconds for each coefficient that a refinement passes by (0.63 measured).
const REFINED: u64 = 1;
/// Nanoseconds for each block in any other scan, whatever is in it.
pub(super) const BLOCK: u64 = 40;
/// Nanoseconds for each byte of the scans.
const BYTE: u64 = 32;
/// Nanoseconds for each sample that is transformed back, upsampled and converted.
const SAMPLE: u64 = 10;
/// Nanoseconds to set libjpeg up, and its tables for each scan.
const SETUP: u64 = 20_000;

/// What decoding costs at most, in nanoseconds.
///
/// # Errors
///
/// More scans than are allowed, or more work.
pub(super) fn work(bytes: &[u8], frame: &Frame, limits: &ImageLimits) -> Result<u64, ImageError> {
    let too_complex = |reason| ImageError::TooComplex {
        format: ImageFormat::Jpeg,
        reason,
    };
    let blocks = |component: &_| {
        let (across, down) = frame.blocks(component);
        across * down
    };
    let all_blocks: u64 = frame.components().iter().map(blocks).sum();
    let mut nanoseconds = SETUP + bytes.len() as u64 * BYTE + all_blocks * 64 * SAMPLE;
    let mut count = 0;
    for scan in (Scans { bytes, at: 2 }) {
        count += 1;
        if count > limits.max_jpeg_scans {
            let most = limits.max_jpeg_scans;
            return Err(too_complex(format!("it has more than {most} scans")));
        }
        let of_scan: u64 = frame
            .components()
            .iter()
            .filter(|component| scan.holds(component.id))
            .map(blocks)
            .sum();
        // A scan of components that the frame has not is an error for libjpeg, in the end.
        let of_scan = if of_scan == 0 { all_blocks } else { of_scan };
        let each = match frame.progressive {
            true => BLOCK + scan.refined() * REFINED,
            false => BLOCK,
        };
        nanoseconds += SETUP + of_scan * each;
        if nanoseconds > MAX_WORK {
            work::check(ImageFormat::Jpeg, nanoseconds, "its scans")?;
        }
    }
    work::check(ImageFormat::Jpeg, nanoseconds, "its scans")?;
    Ok(nanoseconds)
}

/// The header of a scan, as far as it is there.
struct Scan<'a> {
    segment: &'a [u8],
}

impl Scan<'_> {
    fn count(&self) -> usize {
        self.segment.first().copied().unwrap_or(0).into()
    }

    fn holds(&self, id: u8) -> bool {
        let components = self.segment.get(1..).unwrap_or_default().as_chunks::<2>().0;
        components.iter().take(self.count()).any(|c| c[0] == id)
    }

    /// Coefficients of a block that it passes by one for one: those of a refinement, but
    /// for the first of all.
    fn refined(&self) -> u64 {
        match self.segment.get(1 + 2 * self.count()..) {
            Some(&[start, end, high, ..]) if start > 0 && high >> 4 > 0 => {
                u64::from(end.min(63).saturating_sub(start)) + 1
            }
            Some(_) => 0,
            None => 63,
        }
    }
}

/// The scans of a file: wherever libjpeg could come upon one.
struct Scans<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Scans<'a> {
    type Item = Scan<'a>;

    fn next(&mut self) -> Option<Scan<'a>> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            // Within the data of a scan, the next 0xFF is what matters.
            self.at += memchr::memchr(0xff, rest)? + 1;
            let marker = *self.bytes.get(self.at)?;
            match marker {
                0xff => {}
                // Those below 0xC0 have no length: libjpeg steps over them alone where it
                // looks for a restart marker, and 64 KB of scans could hide behind one.
                0x00..=0xbf | 0xd0..=0xd8 => self.at += 1,
                0xd9 => return None,
                _ => {
                    let length = u16_be(self.bytes, self.at + 1).unwrap_or(2).max(2);
                    let from = self.at + 3;
                    self.at += 1 + usize::from(length);
                    if marker == 0xda {
                        let end = self.at.min(self.bytes.len());
                        let segment = self.bytes.get(from..end).unwrap_or_default();
                        return Some(Scan { segment });
                    }
                }
            }
        }
    }
}
