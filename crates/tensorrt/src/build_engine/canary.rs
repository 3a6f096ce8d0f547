//! The canary: a drawn picture and texts, and their vectors from the CPU engine in FP32.

use std::error::Error;

use crate::directory::{Canary, PatchEntry};
use siglip2_engine::cpu::{CpuEngine, CpuOptions};
use siglip2_engine::{Batch, Engine, Pixels, embed};
use siglip2_image::{Processor, RgbImage};
use siglip2_model::checkpoint::Checkpoint;

/// Short and long texts in several scripts, so that attention sees few tokens and all of them.
pub(super) const TEXTS: [&str; 8] = [
    "a photo of a cat",
    "two red circles and a blue square",
    "",
    "Ein Hund läuft am Strand entlang, im Hintergrund die untergehende Sonne.",
    "雨の夜の東京",
    "صورة لجبل مغطى بالثلج",
    "An old wooden boat lies on the gravel of a mountain lake in autumn; behind it the larches \
     are yellow, the first snow lies on the ridges, and a man with a grey hat walks towards the \
     jetty with two oars over his shoulder and a small white dog in front of him.",
    "!!! 1234567890 #$%& ???",
];

/// Makes the canary of a checkpoint.
///
/// # Errors
///
/// A sentence, when the checkpoint's files do not fit each other or the CPU engine fails.
pub fn canary(
    checkpoint: &Checkpoint,
    processor: &Processor,
    patches: Option<&PatchEntry>,
) -> Result<Canary, Box<dyn Error>> {
    let tokenizer = checkpoint.files.text_tokenizer(&checkpoint.config, None)?;
    let texts = TEXTS
        .iter()
        .map(|text| tokenizer.encode(text))
        .collect::<Result<Vec<_>, _>>()?;
    let image = picture().ok_or("the canary's picture has no pixels")?;

    let options = CpuOptions::fp32(siglip2_flags::cores(), texts.len());
    let mut engine = CpuEngine::load(checkpoint, processor, options)?;
    let prepare = engine.preparer();
    let mut vector = |pixels: Pixels| -> Result<Vec<f32>, Box<dyn Error>> {
        let rows = embed(&mut engine, Batch::Images(vec![pixels]))?;
        Ok(rows.iter().flatten().copied().collect())
    };
    let mut grids = Vec::new();
    for &most in patches.iter().flat_map(|patches| &patches.buckets) {
        let image = processor.of_most(u32::try_from(most)?).resize(&image)?;
        let embedding = vector(prepare.prepare_resized(image.clone())?)?;
        grids.push((image, embedding));
    }
    let (image, image_embedding) = match grids.last() {
        Some(last) => last.clone(),
        None => {
            let embedding = vector(prepare.prepare(image.clone())?)?;
            (image, embedding)
        }
    };
    let of_texts = embed(&mut engine, Batch::Texts(texts.clone()))?;
    Ok(Canary {
        image,
        texts,
        image_embedding,
        text_embeddings: of_texts.iter().map(<[f32]>::to_vec).collect(),
        grids,
    })
}

/// A picture whose sides no model has: a sky, a disc, stripes and speckle, so that patches
/// differ, computed in whole numbers only.
pub(super) fn picture() -> Option<RgbImage> {
    const WIDTH: u32 = 331;
    const HEIGHT: u32 = 257;
    let mut pixels = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (dx, dy) = (x.abs_diff(120), y.abs_diff(110));
            let pixel = if dx * dx + dy * dy < 70 * 70 {
                [220, 40 + y / 3, 30]
            } else if y > 190 {
                let stripe = if (x / 17 + y / 23) % 2 == 0 { 40 } else { 200 };
                [stripe, 120, stripe / 2]
            } else if x > 240 {
                let speckle = (x * 7919 + y * 104_729) % 251;
                [speckle, 250 - speckle, 128]
            } else {
                [x / 2, 90 + y / 2, 255 - y / 3]
            };
            pixels.extend(pixel.map(|value| value.min(255) as u8));
        }
    }
    RgbImage::new(WIDTH, HEIGHT, pixels)
}
