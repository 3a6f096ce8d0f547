//! Lossy WebP: image-webp's VP8 decoder, then libwebp's way from YUV to RGB.
//!
//! The decoder takes a whole key frame at once, reads all of it before it decodes anything, and cannot be
//! stopped in between. So the work of a frame is bounded before it is begun ([`check_work`]). The
//! conversion behind it asks after each row.

use image_webp::vp8::{Frame, Vp8Decoder};

use super::{Out, damaged};
use crate::convert;
use crate::work::{self, STEP, Stop};
use crate::{ImageError, ImageFormat};

/// Nanoseconds for a pixel.
const PIXEL: u64 = 25;

/// Bytes that decoding takes beside the pixels: three planes in whole macroblocks, what is
/// kept of each of those, and the partitions of the frame, twice while they are read.
pub(super) fn scratch(width: u64, height: u64, packed: usize) -> u64 {
    const PLANES: u64 = 256 + 64 + 64;
    // Kept in a list that doubles as it grows.
    const STATE: u64 = 3 * 48;
    let macroblocks = width.div_ceil(16) * height.div_ceil(16);
    macroblocks * (PLANES + STATE) + 3 * packed as u64 + width * 16 + (256 << 10)
}

/// Refuses what is too much work: a frame of hundreds of megabytes, of which the decoder reads each bit.
fn check_work((width, height): (u32, u32), packed: usize) -> Result<(), ImageError> {
    /// Nanoseconds for a byte: eight bits or more, of which each takes a step of the boolean decoder.
    const BYTE: u64 = 40;
    /// A pixel has not much more than one coefficient, whose code is at most so many bytes long. Bytes
    /// behind those that are needed are copied, not decoded.
    const BYTES_OF_PIXEL: u64 = 32;
    let pixels = u64::from(width) * u64::from(height);
    let bytes = (packed as u64).min(pixels * BYTES_OF_PIXEL);
    work::check(
        ImageFormat::WebP,
        pixels * PIXEL + bytes * BYTE,
        "its frame",
    )
}

/// Decodes to the rows of `out`.
pub(super) fn decode(
    frame: &[u8],
    size: (u32, u32),
    out: &mut Out<'_>,
    stop: &Stop<'_>,
) -> Result<(), ImageError> {
    check_work(size, frame.len())?;
    // Nobody may have waited for it since it was asked last.
    stop.work(STEP)?;
    let decoded = Vp8Decoder::decode_frame(frame).map_err(damaged)?;
    if (u32::from(decoded.width), u32::from(decoded.height)) != size {
        return Err(damaged("its headers contradict each other"));
    }
    let (width, height) = (size.0 as usize, size.1 as usize);
    stop.work(width as u64 * height as u64 * PIXEL)?;
    let planes = Planes::new(&decoded, width);
    let mut chroma = [(); 2].map(|()| vec![0; width.next_multiple_of(2)]);
    for y in 0..height {
        stop.work(width as u64 * 8)?;
        let short = || damaged("its planes are too short");
        planes.upsample(y, height, &mut chroma).ok_or_else(short)?;
        let luma = planes.luma(y).ok_or_else(short)?;
        let [u, v] = &chroma;
        let pixels = luma.iter().zip(u).zip(v);
        convert::fill(out.row(y), pixels.map(|((&y, &u), &v)| to_rgb(y, u, v)));
    }
    Ok(())
}

/// The planes of a frame, at their strides of whole macroblocks.
struct Planes<'a> {
    frame: &'a Frame,
    width: usize,
    luma_stride: usize,
    chroma_stride: usize,
}

impl<'a> Planes<'a> {
    fn new(frame: &'a Frame, width: usize) -> Self {
        Self {
            frame,
            width,
            luma_stride: width.div_ceil(16) * 16,
            chroma_stride: width.div_ceil(16) * 8,
        }
    }

    fn luma(&self, y: usize) -> Option<&[u8]> {
        let at = y * self.luma_stride;
        self.frame.ybuf.get(at..at + self.width)
    }

    fn chroma(&self, y: usize) -> Option<(&[u8], &[u8])> {
        let range = y * self.chroma_stride..y * self.chroma_stride + self.width.div_ceil(2);
        Some((
            self.frame.ubuf.get(range.clone())?,
            self.frame.vbuf.get(range)?,
        ))
    }

    /// The chroma of one row of pixels, at full width or one more.
    fn upsample(&self, y: usize, height: usize, [u, v]: &mut [Vec<u8>; 2]) -> Option<()> {
        let near = y / 2;
        // Even rows look up, odd rows look down; beyond the edge there is the row itself.
        let far = match y % 2 {
            0 => near.saturating_sub(1),
            _ => (near + 1).min(height.div_ceil(2) - 1),
        };
        let (near, far) = (self.chroma(near)?, self.chroma(far)?);
        upsample(near.0, far.0, u);
        upsample(near.1, far.1, v);
        Some(())
    }
}

/// libwebp's "fancy" upsampling (src/dsp/upsampling.c): each sample is weighted 9, 3, 3
/// and 1 with its neighbours, towards the nearer row and column, in two rounded steps.
/// `out` has two samples for each of `near` and `far`.
fn upsample(near: &[u8], far: &[u8], out: &mut [u8]) {
    let mut pairs = near
        .iter()
        .zip(far)
        .map(|(&n, &f)| (u32::from(n), u32::from(f)));
    let (Some(mut left), [first, rest @ ..]) = (pairs.next(), out) else {
        return;
    };
    let edge = |(near, far): (u32, u32)| ((3 * near + far + 2) >> 2) as u8;
    *first = edge(left);
    let (two, last) = rest.as_chunks_mut::<2>();
    for (two, right) in two.iter_mut().zip(pairs) {
        let sum = left.0 + right.0 + left.1 + right.1 + 8;
        // Of the two diagonals, the one through the far left and through the far right.
        let far_left = (sum + 2 * (right.0 + left.1)) >> 3;
        let far_right = (sum + 2 * (left.0 + right.1)) >> 3;
        *two = [
            ((far_left + left.0) >> 1) as u8,
            ((far_right + right.0) >> 1) as u8,
        ];
        left = right;
    }
    if let [last] = last {
        *last = edge(left);
    }
}

/// libwebp's YUV to RGB (src/dsp/yuv.h): 14 bits behind the point, of which 8 are dropped
/// at once.
fn to_rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let high = |value: u8, factor: i32| (i32::from(value) * factor) >> 8;
    let clip = |value: i32| (value >> 6).clamp(0, 255) as u8;
    let luma = high(y, 19_077);
    [
        clip(luma + high(v, 26_149) - 14_234),
        clip(luma - high(u, 6_419) - high(v, 13_320) + 8_708),
        clip(luma + high(u, 33_050) - 17_685),
    ]
}
