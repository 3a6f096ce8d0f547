//! The resize of transformers' default image processor: torchvision's antialiased
//! resize on 8-bit pixels, byte for byte.
//!
//! torchvision works on the width first and then on the height, and rounds to 8 bits
//! between them. `fast_image_resize` has the same fixed-point arithmetic but, in one
//! call, takes the height first; hence two calls.

mod coefficients;
mod far;

use std::cell::RefCell;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::processor::Filter;
use super::{ImageError, RgbImage};
use coefficients::nearest_source;
pub use coefficients::{Coefficients, Window};

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

/// Resizes to `size` x `size` pixels.
pub(super) fn resize(image: &RgbImage, size: u32, filter: Filter) -> Result<RgbImage, ImageError> {
    if (image.width(), image.height()) == (size, size) {
        return Ok(image.clone());
    }
    let square = RgbImage::new(size, size, resized(image, size, filter)?);
    square.ok_or_else(|| unlikely("the square has another size"))
}

/// No size that was checked before leads here.
fn unlikely(reason: impl std::fmt::Display) -> ImageError {
    ImageError::NotResized {
        reason: reason.to_string(),
    }
}

fn resized(image: &RgbImage, size: u32, filter: Filter) -> Result<Vec<u8>, ImageError> {
    let (is_far, own) = (|length| far::is_far(filter, length, size), filter);
    let filter = match filter {
        Filter::Nearest => return Ok(nearest(image, size)),
        _ if is_far(image.width()) || is_far(image.height()) => {
            return Ok(far_resized(image, size, own));
        }
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    let mut out = vec![0; size as usize * size as usize * 3];
    SCRATCH
        .with_borrow_mut(|scratch| convolve(image, size, filter, scratch, &mut out))
        .map_err(unlikely)?;
    Ok(out)
}

/// Both passes where one of them takes more source pixels to a target pixel than
/// `fast_image_resize` can weigh.
fn far_resized(image: &RgbImage, size: u32, filter: Filter) -> Vec<u8> {
    let (width, height) = (image.width(), image.height());
    let bytes = |height: u32| vec![0; size as usize * height as usize * 3];
    let narrowed;
    let rows = if width == size {
        image.pixels()
    } else {
        let mut rows = bytes(height);
        far::along_rows(filter, image.pixels(), width, size, &mut rows);
        narrowed = rows;
        &narrowed
    };
    if height == size {
        return rows.to_vec();
    }
    let mut out = bytes(size);
    far::along_columns(filter, rows, (size, height), size, &mut out);
    out
}

/// Both passes, each only where it changes something.
fn convolve(
    image: &RgbImage,
    size: u32,
    filter: FilterType,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .use_alpha(false);
    let Scratch { resizer, between } = scratch;
    let (width, height) = (image.width(), image.height());
    let mut target = TypedImage::<U8x3>::from_buffer(size, size, out)?;
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, image.pixels())?;
    if width == size || height == size {
        resizer.resize_typed(&source, &mut target, &options)?;
        return Ok(());
    }
    let bytes = size as usize * height as usize * 3;
    // Never shrunk: what is beyond `bytes` is not looked at.
    if between.len() < bytes {
        between.resize(bytes, 0);
    }
    let mut narrowed = TypedImage::<U8x3>::from_buffer(size, height, &mut between[..bytes])?;
    resizer.resize_typed(&source, &mut narrowed, &options)?;
    let narrowed = TypedImageRef::<U8x3>::from_buffer(size, height, &between[..bytes])?;
    resizer.resize_typed(&narrowed, &mut target, &options)?;
    if bytes > KEEP_BYTES {
        *between = Vec::new();
    }
    Ok(())
}

/// torchvision's `nearest-exact`.
fn nearest(image: &RgbImage, size: u32) -> Vec<u8> {
    let sources = |length| (0..size).map(move |at| nearest_source(at, length, size) as usize);
    let row_bytes = image.width() as usize * 3;
    let mut out = Vec::with_capacity(size as usize * size as usize * 3);
    for y in sources(image.height()) {
        let row = image.pixels()[y * row_bytes..][..row_bytes]
            .as_chunks::<3>()
            .0;
        out.extend(sources(image.width()).flat_map(|x| row[x]));
    }
    out
}
