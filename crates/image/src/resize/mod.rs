//! The resize of transformers' default image processor: torchvision's antialiased
//! resize on 8-bit pixels, byte for byte.
//!
//! torchvision works on the width first and then on the height, and rounds to 8 bits
//! between them. `fast_image_resize` has the same fixed-point arithmetic but, in one
//! call, takes the height first; hence two calls.

mod coefficients;
mod middle;
mod passes;
mod strips;
mod turned;

use std::cell::RefCell;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::processor::Filter;
use super::{ImageError, RgbImage};
use coefficients::nearest_source;
pub use coefficients::{Coefficients, Window};
pub(super) use middle::middle;
use passes::{Pass, is_far};
pub use strips::Narrowed;
pub(super) use strips::{STRIP_BYTES, bytes as strips_bytes};

/// What a thread keeps from one image to the next, so that it allocates only what it
/// hands out: the resizer's tables and the image between the two passes.
#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    between: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The largest image between the passes that a thread keeps, in bytes: enough for
/// 14,000 rows at 384 pixels.
const KEEP_BYTES: usize = 16 << 20;

/// Resizes to `size`, width and height in pixels.
pub(super) fn resize(
    image: &RgbImage,
    size: (u32, u32),
    filter: Filter,
) -> Result<RgbImage, ImageError> {
    if (image.width(), image.height()) == size {
        return Ok(image.clone());
    }
    let resized = RgbImage::new(size.0, size.1, resized(image, size, filter)?);
    resized.ok_or_else(|| unlikely("the picture has another size"))
}

/// No size that was checked before leads here.
fn unlikely(reason: impl std::fmt::Display) -> ImageError {
    ImageError::NotResized {
        reason: reason.to_string(),
    }
}

/// Bytes of an RGB picture.
fn bytes((width, height): (u32, u32)) -> usize {
    width as usize * height as usize * 3
}

fn resized(image: &RgbImage, size: (u32, u32), filter: Filter) -> Result<Vec<u8>, ImageError> {
    let far = is_far(filter, image.width(), size.0) || is_far(filter, image.height(), size.1);
    let Some(options) = options(filter) else {
        return Ok(nearest(image, size));
    };
    if far {
        return Ok(far_resized(image, size, filter));
    }
    let mut out = vec![0; bytes(size)];
    SCRATCH
        .with_borrow_mut(|scratch| convolve(image, size, &options, scratch, &mut out))
        .map_err(unlikely)?;
    Ok(out)
}

/// What fast_image_resize is told to do; nothing for a filter that it has not.
fn options(filter: Filter) -> Option<ResizeOptions> {
    let filter = match filter {
        Filter::Nearest => return None,
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    let convolution = ResizeAlg::Convolution(filter);
    Some(
        ResizeOptions::new()
            .resize_alg(convolution)
            .use_alpha(false),
    )
}

/// The first pass alone: rows of this width and number to rows of `size` pixels.
fn across(
    rows: &[u8],
    (width, height): (u32, u32),
    filter: Filter,
    size: u32,
    out: &mut [u8],
) -> Result<(), ImageError> {
    one_pass(rows, (width, height), filter, (size, height), out)
}

/// The second pass alone: columns of this number and height to columns of `size` pixels.
fn down(
    rows: &[u8],
    (width, height): (u32, u32),
    filter: Filter,
    size: u32,
    out: &mut [u8],
) -> Result<(), ImageError> {
    one_pass(rows, (width, height), filter, (width, size), out)
}

fn one_pass(
    rows: &[u8],
    from: (u32, u32),
    filter: Filter,
    to: (u32, u32),
    out: &mut [u8],
) -> Result<(), ImageError> {
    if from == to {
        out.copy_from_slice(rows);
        return Ok(());
    }
    let options = options(filter).ok_or_else(|| unlikely("the filter has no windows"))?;
    let source = TypedImageRef::<U8x3>::from_buffer(from.0, from.1, rows).map_err(unlikely)?;
    let mut target = TypedImage::<U8x3>::from_buffer(to.0, to.1, out).map_err(unlikely)?;
    SCRATCH
        .with_borrow_mut(|scratch| {
            let resizer = &mut scratch.resizer;
            resizer.resize_typed(&source, &mut target, &options)
        })
        .map_err(unlikely)
}

/// Both passes where one of them takes more source pixels to a target pixel than
/// `fast_image_resize` can weigh.
fn far_resized(image: &RgbImage, size: (u32, u32), filter: Filter) -> Vec<u8> {
    let (width, height) = (image.width(), image.height());
    let narrowed;
    let rows = if width == size.0 {
        image.pixels()
    } else {
        let mut rows = vec![0; bytes((size.0, height))];
        Pass::whole(filter, width, size.0).along_rows(image.pixels(), &mut rows);
        narrowed = rows;
        &narrowed
    };
    if height == size.1 {
        return rows.to_vec();
    }
    let mut out = vec![0; bytes(size)];
    Pass::whole(filter, height, size.1).along_columns(rows, size.0, &mut out);
    out
}

/// Both passes, each only where it changes something.
fn convolve(
    image: &RgbImage,
    size: (u32, u32),
    options: &ResizeOptions,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let Scratch { resizer, between } = scratch;
    let (width, height) = (image.width(), image.height());
    let mut target = TypedImage::<U8x3>::from_buffer(size.0, size.1, out)?;
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, image.pixels())?;
    if width == size.0 || height == size.1 {
        resizer.resize_typed(&source, &mut target, options)?;
        return Ok(());
    }
    let bytes = bytes((size.0, height));
    // Never shrunk: what is beyond `bytes` is not looked at.
    if between.len() < bytes {
        between.resize(bytes, 0);
    }
    let mut narrowed = TypedImage::<U8x3>::from_buffer(size.0, height, &mut between[..bytes])?;
    resizer.resize_typed(&source, &mut narrowed, options)?;
    let narrowed = TypedImageRef::<U8x3>::from_buffer(size.0, height, &between[..bytes])?;
    resizer.resize_typed(&narrowed, &mut target, options)?;
    if bytes > KEEP_BYTES {
        *between = Vec::new();
    }
    Ok(())
}

/// torchvision's `nearest-exact`.
fn nearest(image: &RgbImage, (width, height): (u32, u32)) -> Vec<u8> {
    let sources = |length, size| (0..size).map(move |at| nearest_source(at, length, size) as usize);
    let row_bytes = image.width() as usize * 3;
    let mut out = Vec::with_capacity(bytes((width, height)));
    for y in sources(image.height(), height) {
        let row = image.pixels()[y * row_bytes..][..row_bytes]
            .as_chunks::<3>()
            .0;
        out.extend(sources(image.width(), width).flat_map(|x| row[x]));
    }
    out
}
