//! How fast one core of this machine decodes and resizes images.
//!
//! ```text
//! cargo bench --bench preprocess -- photo.jpg other.png ...
//! ```
//!
//! Without files it takes a few of the fixtures, which are tiny: their numbers show the
//! cost per image, not per pixel. For JPEGs also what libjpeg takes, in turn with this project's decoder
//! (`crates/jpeg`), what a walk through their codes costs (`--decode gpu`), and decoding at a part of their size
//! (`--decode-reduced`). Times are medians of the runs of about a second. libjpeg is much faster where nasm was
//! installed when it was built.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use siglip2_embeddings::image::{ImageLimits, IntactJpeg, Processor, RgbImage, decode};

const SIZE: u32 = 224;

/// The median time of one run, of as many as fit into about a second.
fn median(run: impl FnMut()) -> Duration {
    medians(run, || {}).0
}

/// The median times of two things that are run in turn.
fn medians(mut one: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    let timed = |run: &mut dyn FnMut()| {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    let once = timed(&mut one).max(Duration::from_nanos(100));
    let runs = (1_000_000_000 / once.as_nanos()).clamp(5, 2_000) as usize;
    let times = (0..runs).map(|_| (timed(&mut one), timed(&mut other)));
    let (mut ones, mut others): (Vec<_>, Vec<_>) = times.unzip();
    ones.sort_unstable();
    others.sort_unstable();
    (ones[runs / 2], others[runs / 2])
}

/// Decodes a JPEG of one or three components by libjpeg alone, without the checks that come before.
fn decode_by_libjpeg(bytes: &[u8]) -> Option<Vec<[u8; 3]>> {
    let mut decoder = mozjpeg::Decompress::new_mem(bytes).ok()?.rgb().ok()?;
    let pixels = decoder.read_scanlines().ok()?;
    decoder.finish().ok()?;
    Some(pixels)
}

fn main() {
    // Cargo adds --bench to the arguments.
    let mut files: Vec<PathBuf> = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .map(PathBuf::from)
        .collect();
    if files.is_empty() {
        let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
        let names = ["jpeg_420.jpg", "png_rgb_8.png", "webp_lossy_90_61x43.webp"];
        files.extend(names.map(|name| fixtures.join(name)));
    }
    let config = format!(r#"{{"size": {{"height": {SIZE}, "width": {SIZE}}}, "resample": 2}}"#);
    let processor = Processor::from_json(config.as_bytes(), SIZE).unwrap();
    let limits = ImageLimits::default();
    let reducing = ImageLimits {
        reduce_for: Some(processor.target()),
        ..limits
    };
    println!(
        "{:<40} {:>13} {:>10} {:>10} {:>10} {:>10} {:>10} {:>20}",
        "file",
        "pixels",
        "decode ms",
        "libjpeg ms",
        "resize ms",
        "images/s",
        "walk ms",
        "reduced: images/s"
    );
    for file in files {
        let bytes = std::fs::read(&file).expect("the file can be read");
        let image: RgbImage = decode(&bytes, &limits).expect("the file is an image");
        let by_libjpeg = bytes.starts_with(b"\xff\xd8") && decode_by_libjpeg(&bytes).is_some();
        let (decoding, libjpeg) = medians(
            || {
                black_box(decode(black_box(&bytes), &limits).unwrap());
            },
            || {
                if by_libjpeg {
                    black_box(decode_by_libjpeg(black_box(&bytes)));
                }
            },
        );
        let milliseconds = |it: Duration| format!("{:.3}", it.as_secs_f64() * 1e3);
        let libjpeg = if by_libjpeg {
            milliseconds(libjpeg)
        } else {
            "-".to_owned()
        };
        let resizing = median(|| {
            black_box(processor.resize(black_box(&image)).unwrap());
        });
        let reduced = decode(&bytes, &reducing).expect("the file is an image");
        let reducing_all = median(|| {
            let image = decode(black_box(&bytes), &reducing).unwrap();
            black_box(processor.resize(&image).unwrap());
        });
        let walk = IntactJpeg::read(&bytes, &limits).map(|_| {
            median(|| {
                black_box(IntactJpeg::read(black_box(&bytes), &limits));
            })
        });
        let walk = walk.map_or("-".to_owned(), milliseconds);
        let by = image.width().div_ceil(reduced.width());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "{name:<40} {:>13} {:>10.3} {libjpeg:>10} {:>10.3} {:>10.0} {walk:>10} {:>20}",
            format!("{} x {}", image.width(), image.height()),
            decoding.as_secs_f64() * 1e3,
            resizing.as_secs_f64() * 1e3,
            1.0 / (decoding + resizing).as_secs_f64(),
            format!("1/{by}: {:.0}", 1.0 / reducing_all.as_secs_f64()),
        );
    }
}
