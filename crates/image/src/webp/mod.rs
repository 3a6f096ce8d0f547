//! WebP: the first frame, alpha dropped.
//!
//! ```text
//! bytes --container--> the first frame: place, size, coded pixels
//!       --lossless---> RGB         (VP8L, decoded here)
//!       --lossy------> YUV -> RGB  (VP8, decoded here)
//! ```
//!
//! Both are decoded here because what a picture costs cannot be told from its size, and must be bounded and
//! ended. One lossless pixel may call for 65,536 groups of prefix codes. Groups that no pixel refers to are
//! read and not built, as in libwebp, and those that are built may take so many bytes and
//! no more.

mod container;
mod lossless;
mod lossy;

use super::decode::Job;
use super::exif::Metadata;
use super::{ImageError, ImageFormat};
use container::Coded;

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::WebP, reason)
}

/// Width and height of the canvas, from the first chunk.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    container::size(bytes)
}

/// What the file has beside its pixels.
pub(super) fn metadata(bytes: &[u8]) -> Metadata<'_> {
    container::metadata(bytes)
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch(bytes: &[u8], _canvas: (u32, u32)) -> Result<u64, ImageError> {
    let frame = container::first_frame(bytes)?;
    let (width, height) = (u64::from(frame.width), u64::from(frame.height));
    Ok(match frame.coded {
        Coded::Lossless(packed) => lossless::scratch(width, height, packed.len()),
        Coded::Lossy { alpha, .. } => {
            // One after the other.
            let alpha = alpha.map_or(0, |alpha| lossless::scratch(width, height, alpha.len()));
            lossy::scratch(width).max(alpha)
        }
    })
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let frame = container::first_frame(job.bytes)?;
    let (width, height) = job.size();
    let [left, top, frame_width, frame_height] =
        [frame.left, frame.top, frame.width, frame.height].map(|side| side as usize);
    if (frame_width, frame_height) != (width, height) {
        rgb.fill(0);
    }
    let mut out = Out {
        rgb,
        stride: width * 3,
        at: top * width * 3 + left * 3,
        length: frame_width * 3,
    };
    let size = (frame.width, frame.height);
    match frame.coded {
        Coded::Lossless(packed) => lossless::decode(packed, size, &mut out, job.stop),
        Coded::Lossy { frame, alpha } => {
            if let Some(alpha) = alpha {
                lossless::check_alpha(alpha, size, job.stop)?;
            }
            lossy::decode(frame, size, &mut out, job.stop)
        }
    }
}

/// Where the rows of the frame go.
struct Out<'a> {
    rgb: &'a mut [u8],
    stride: usize,
    at: usize,
    length: usize,
}

impl Out<'_> {
    /// The pixels of a row.
    fn row(&mut self, y: usize) -> &mut [u8] {
        let at = self.at + y * self.stride;
        self.rgb.get_mut(at..at + self.length).unwrap_or_default()
    }
}
