//! Whether a lower precision gives the vectors that FP32 gives: tried at the start, on a few
//! pictures and texts, the canaries.
//!
//! FP32's towers are not kept for it: each of their layers is packed when the canaries
//! come to it and dropped behind them, so the peak of memory is one layer higher.

use std::sync::Arc;

use siglip2_cpu::{Keep, Positions, Source, Team};
use siglip2_image::RgbImage;

use super::precision::Kernel;
use super::{Shapes, Towers};
use crate::{EngineError, cosine};

/// The worst cosine between these towers and FP32's, over some pictures and texts.
pub(super) fn worst(
    towers: &Towers,
    team: &Team,
    source: &Arc<dyn Source>,
    shapes: &Shapes,
) -> Result<f64, EngineError> {
    let (pictures, texts) = (pictures(shapes), texts(shapes));
    let got = embed(towers, team, &pictures, &texts)?;
    let fp32 = Towers::load(Kernel::fp32().isa(), team, source, shapes, Keep::Nothing)?;
    let want = embed(&fp32, team, &pictures, &texts)?;
    let cosines = got.iter().zip(&want).map(|(got, want)| cosine(got, want));
    // `min` would let a NaN pass.
    Ok(cosines.fold(
        1.0,
        |worst, cosine| {
            if cosine >= worst { worst } else { cosine }
        },
    ))
}

fn embed(
    towers: &Towers,
    team: &Team,
    pictures: &[RgbImage],
    texts: &[Vec<i32>],
) -> Result<Vec<Vec<f32>>, EngineError> {
    let failed = |error: siglip2_cpu::Error| EngineError::Failed(error.to_string());
    let Towers { vision, text, .. } = towers;
    let views: Vec<&RgbImage> = pictures.iter().collect();
    let mut images = vec![0.0; views.len() * vision.dimensions()];
    towers
        .images(team, &views, &mut || (), &mut images)
        .map_err(failed)?;
    let views: Vec<&[i32]> = texts.iter().map(Vec::as_slice).collect();
    let mut words = vec![0.0; views.len() * text.dimensions()];
    text.run(team, &views, &mut || (), &mut words)
        .map_err(failed)?;
    let images = images.chunks(vision.dimensions());
    let words = words.chunks(text.dimensions());
    Ok(images.chain(words).map(<[f32]>::to_vec).collect())
}

/// A smooth picture and a harsh one. Where pictures are grids of patches, the first has the
/// grid of the position vectors, the second is half as high and twice as wide.
fn pictures(shapes: &Shapes) -> Vec<RgbImage> {
    let patch = shapes.vision.patch;
    let (square, wide) = match shapes.vision.positions {
        Positions::Square { side } => ((side, side), (side, side)),
        Positions::Resized { side } => {
            let (half, twice) = (side.div_ceil(2) * patch, 2 * side * patch);
            ((side * patch, side * patch), (twice, half))
        }
    };
    type Value = fn(usize, usize, usize, usize) -> usize;
    let picture = |(width, height): (usize, usize), value: Value| {
        let value = |at: usize| value(at / 3 % width, at / 3 / width, at % 3, width) % 256;
        let pixels = (0..3 * width * height).map(|at| value(at) as u8).collect();
        // A configuration has no side beyond 2^24.
        RgbImage::new(width as u32, height as u32, pixels)
    };
    let soft = picture(square, |x, y, channel, side| {
        (x * (channel + 1) + y * (3 - channel)) * 64 / side
    });
    let harsh = picture(wide, |x, y, channel, side| {
        let stripes = if (x / 9 + y / 13) % 2 == 0 { 40 } else { 210 };
        stripes + (x * 7919 + y * 104_729 + channel * 31) % (side % 40 + 5)
    });
    soft.into_iter().chain(harsh).collect()
}

/// A long text and a short one.
fn texts(shapes: &Shapes) -> Vec<Vec<i32>> {
    let vocabulary = shapes.text.vocabulary;
    let id = |at: usize| i32::try_from((at * 7919 + 13) % vocabulary).unwrap_or(0);
    let short = |at| if at < 6 { id(at + 3) } else { 0 };
    let positions = shapes.text.positions;
    vec![
        (0..positions).map(id).collect(),
        (0..positions).map(short).collect(),
    ]
}
