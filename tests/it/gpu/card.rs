//! Photos decoded on the card: tests that run in a separate process with the stand-in's libraries, each
//! started by the test of the same name in coded.rs.
// The stand-in's library is asked for its pixels.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::path::PathBuf;

use libloading::Library;
use siglip2_embeddings::engine::{Batch, Engine, Pixels, Prepare};
use siglip2_embeddings::image::{ImageLimits, RgbImage, decode};
use siglip2_embeddings::tensorrt::libraries::Search;
use siglip2_embeddings::tensorrt::nvjpeg::NvJpeg;
use siglip2_embeddings::tensorrt::run::TensorRtOptions;

use crate::common::jpegs::{baseline, grey, progressive, waves};
use crate::common::noise::noise;
use crate::gpu::inside::{Waiting, check, load, pinned, small, submit};
use crate::gpu::model::Recipe;

/// The directory of the stand-in, which has nvJPEG's as well.
fn libraries() -> PathBuf {
    std::env::var_os("TENSORRT_LIB_DIR")
        .map(PathBuf::from)
        .unwrap()
}

fn options() -> TensorRtOptions {
    let search = Search::new(None, None).with_nvjpeg(Some(libraries()));
    TensorRtOptions {
        nvjpeg: Some(NvJpeg::open(&search).unwrap()),
        // The decoder of a slot has twice as much.
        source_bytes: 512 << 10,
        ..small()
    }
}

/// The pixels that the stand-in for nvJPEG makes of a file.
struct Decoder(Library);

impl Decoder {
    fn open() -> Self {
        // SAFETY: the stand-in's library, whose constructors do nothing.
        Self(unsafe { Library::new(libraries().join("libnvjpeg.so.13")) }.unwrap())
    }

    fn decode(&self, file: &[u8], (width, height): (u32, u32)) -> RgbImage {
        let mut pixels = vec![0_u8; 3 * width as usize * height as usize];
        // SAFETY: its signature in tests/stand_in/nvjpeg/library.cpp; there is room for the pixels.
        let decoded = unsafe {
            let decode: libloading::Symbol<
                '_,
                unsafe extern "C" fn(*const u8, usize, *mut u8) -> bool,
            > = self.0.get(b"stand_in_decode\0").unwrap();
            decode(file.as_ptr(), file.len(), pixels.as_mut_ptr())
        };
        assert!(decoded);
        RgbImage::new(width, height, pixels).unwrap()
    }
}

/// A picture, and what the row of it is.
struct Photo {
    file: Vec<u8>,
    size: (u32, u32),
    /// Whether the card is to get it.
    coded: bool,
    /// Its row when the card decodes it, and when the CPU does.
    rows: [Vec<f32>; 2],
}

/// Files of all kinds.
fn album(recipe: &Recipe) -> Vec<Photo> {
    let decoder = Decoder::open();
    let sizes = [
        (256, 256),
        (320, 240),
        (333, 257),
        (700, 100),
        (500, 400),
        (263, 300),
    ];
    let sharings = [(1, 1), (2, 1), (2, 2)];
    let mut photos = Vec::new();
    for (number, size) in (0_u32..).zip(sizes) {
        let image = waves(size.0, size.1, number);
        let coded = baseline(&image, sharings[number as usize % 3]);
        for (file, coded) in [
            (coded, true),
            (progressive(&image), false),
            (grey(&image), false),
        ] {
            let on_cpu = recipe.image_row(&decode(&file, &ImageLimits::default()).unwrap());
            let on_card = match coded {
                true => recipe.image_row(&decoder.decode(&file, size)),
                false => on_cpu.clone(),
            };
            photos.push(Photo {
                file,
                size,
                coded,
                rows: [on_card, on_cpu],
            });
        }
    }
    // The card's pixels are others, or these tests could not tell who decoded.
    let coded = photos.iter().filter(|photo| photo.coded);
    assert!(coded.clone().all(|photo| photo.rows[0] != photo.rows[1]));
    photos
}

/// As a decode thread makes it ready.
fn ready(prepare: &dyn Prepare, photo: &Photo) -> Pixels {
    let limits = small().limits;
    match prepare.take_coded(&photo.file, &limits).unwrap() {
        Some(coded) => Pixels::Coded(coded),
        None => pinned(prepare, &decode(&photo.file, &limits).unwrap()),
    }
}

/// Random batches of files of all kinds, of pixels and of texts; `expect` says which of a photo's rows
/// comes, by its width.
fn random_batches(batches: usize, arena: usize, expect: impl Fn(u32) -> usize) {
    let recipe = Recipe::default();
    let photos = album(&recipe);
    let (mut engine, prepare) = load(options(), arena).unwrap();
    let other = noise(65, 64, 3);
    let other_row = recipe.image_row(&other);
    let slots = engine.info().slots;
    let mut under_way: VecDeque<Waiting> = VecDeque::new();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut coded, mut decoded) = (0, 0);
    for _ in 0..batches {
        if under_way.len() == slots {
            check(under_way.pop_front().unwrap());
        }
        let (mut images, mut rows) = (Vec::new(), Vec::new());
        for _ in 0..1 + random(engine.info().max_batch) {
            if random(5) == 0 {
                images.push(pinned(prepare.as_ref(), &other));
                rows.push(other_row.clone());
                continue;
            }
            let photo = &photos[random(photos.len())];
            let pixels = ready(prepare.as_ref(), photo);
            match &pixels {
                Pixels::Coded(file) => {
                    assert!(photo.coded);
                    assert_eq!((file.width(), file.height()), photo.size);
                    coded += 1;
                    rows.push(photo.rows[expect(photo.size.0)].clone());
                }
                Pixels::Decoded(_) => {
                    decoded += 1;
                    rows.push(photo.rows[1].clone());
                }
            }
            images.push(pixels);
        }
        under_way.push_back((submit(&mut engine, Batch::Images(images)), rows));
    }
    under_way.into_iter().for_each(check);
    drop(engine);
    println!("CODED {coded} DECODED {decoded}");
}

#[test]
#[ignore = "run on the stand-in by another test"]
fn files_and_pixels_share_batches() {
    random_batches(300, 4 << 20, |_| 0);
}

/// A file that nvJPEG fails on, of width 333, is decoded on the CPU, and the rest of its batch is not.
#[test]
#[ignore = "run on the stand-in by another test"]
fn a_file_that_fails_is_decoded_on_the_cpu() {
    random_batches(120, 4 << 20, |width| usize::from(width == 333));
}

/// It needs so much memory that only few pictures fit at once, and the largest, of width 500, not alone.
#[test]
#[ignore = "run on the stand-in by another test"]
fn what_does_not_fit_its_memory_is_decoded_in_parts() {
    random_batches(120, 4 << 20, |width| usize::from(width == 500));
}

/// Batches one after the other, each of three files; prints who decoded each.
#[test]
#[ignore = "run on the stand-in by another test"]
fn batches_and_who_decoded() {
    let recipe = Recipe::default();
    let photos: Vec<_> = album(&recipe)
        .into_iter()
        .filter(|it| it.coded)
        .take(3)
        .collect();
    let (mut engine, prepare) = load(options(), 4 << 20).unwrap();
    let engine: &mut dyn Engine = &mut engine;
    for _ in 0..8 {
        let images: Vec<_> = photos
            .iter()
            .map(|it| ready(prepare.as_ref(), it))
            .collect();
        let coded = images.iter().all(|image| matches!(image, Pixels::Coded(_)));
        let rows = submit(engine, Batch::Images(images))
            .recv()
            .unwrap()
            .unwrap();
        let who: Vec<_> = rows
            .iter()
            .zip(&photos)
            .map(
                |(row, photo)| match photo.rows.iter().position(|it| it == row) {
                    Some(0) => "card",
                    Some(_) => "cpu",
                    None => "WRONG",
                },
            )
            .collect();
        println!("BATCH coded={coded} {}", who.join(" "));
    }
}

/// What the decoders of two slots take is in the sum: twice the memory for pictures each.
#[test]
#[ignore = "run on the stand-in by another test"]
fn its_memory_is_computed_before_it_is_taken() {
    let without = TensorRtOptions {
        nvjpeg: None,
        ..options()
    };
    let needs = |options| load(options, 1 << 20).unwrap().0.needs();
    let (with, without) = (needs(options()), needs(without));
    assert_eq!(with.bytes() - without.bytes(), 2 * (2 * (512 << 10)));
}

/// Loads an engine, and prints the result.
#[test]
#[ignore = "run on the stand-in by another test"]
fn load_and_tell() {
    match load(options(), 1 << 20) {
        Ok(_) => println!("LOADED"),
        Err(error) => println!("REFUSED {error}"),
    }
}
