//! JPEG, through mozjpeg's libjpeg: the same decoder as Pillow's libjpeg-turbo, and
//! bit-equal to it (accurate integer IDCT, smooth chroma upsampling). What is plain is decoded by `siglip2_jpeg`,
//! which is bit-equal too, and faster.
//!
//! ```text
//! bytes --frame::read--> width, height   (walks the header segments, as Pillow's plugin does)
//!       --scans::work--> refuses what takes too much time
//!       --siglip2_jpeg-> RGB of a plain file; what is wrong in it is for libjpeg
//!       --libjpeg------> RGB, or CMYK and then Pillow's formula
//! ```
//!
//! libjpeg leaves by unwinding when a file is broken; it is caught here. Unlike
//! Pillow, libjpeg pads a truncated file with grey and only warns; reading behind the end
//! is an error here. The end marker is asked for only where libjpeg needs it to know that
//! it has seen all scans, again as in Pillow.

mod frame;
mod intact;
mod plain;
mod scans;

use std::cell::Cell;
use std::io::{self, BufRead};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, ColorSpaceExt, Decompress};
use siglip2_jpeg::Vectors;
use siglip2_libjpeg::{Transform, error_manager};

use super::decode::{Job, Rows};
use super::exif::Metadata;
use super::reader::{Pieces, Watch};
use super::work::{STEP, Stop};
use super::{ImageError, ImageFormat, ImageLimits, convert};

pub use intact::IntactJpeg;
use plain::{Decoded, RowsBehind};

#[cfg(panic = "abort")]
compile_error!("libjpeg reports a damaged file by unwinding: build with panic = \"unwind\"");

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Jpeg, reason)
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    frame::read(bytes).map(|frame| (frame.width, frame.height))
}

/// Width, height and number of components.
pub(super) fn shape(bytes: &[u8]) -> Result<(u32, u32, usize), ImageError> {
    let frame = frame::read(bytes)?;
    Ok((frame.width, frame.height, frame.components().len()))
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    frame::read(bytes).map(|frame| frame.scratch())
}

/// The EXIF data of all segments together, and the XMP data of the last.
pub(super) fn metadata(bytes: &[u8]) -> Metadata<'_> {
    const APP1: u8 = 0xe1;
    let mut found = Metadata::default();
    // What is wrong with the file is found when it is decoded.
    let _ = frame::walk(bytes, |marker, segment| {
        if marker != APP1 {
            return;
        }
        if segment.starts_with(b"Exif\0\0") {
            match &mut found.exif {
                Some(exif) => exif.to_mut().extend_from_slice(&segment[6..]),
                None => found.exif = Some(segment.into()),
            }
        } else if let Some(xmp) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            found.xmp = Some(xmp.into());
        }
    });
    found
}

/// What decoding costs at most, in nanoseconds; an error when it is too much.
pub(super) fn work(bytes: &[u8], limits: &ImageLimits) -> Result<u64, ImageError> {
    scans::work(bytes, &frame::read(bytes)?, limits)
}

/// Who decodes what.
#[derive(Clone, Copy)]
struct Decoders {
    /// For plain files; `None`: libjpeg.
    plain: Option<Vectors>,
    /// Within libjpeg.
    transform: Transform,
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rows: &mut dyn Rows) -> Result<(), ImageError> {
    let fastest = Decoders {
        // Without AVX2 the vector code of libjpeg is faster, where it was built.
        plain: match siglip2_jpeg::has_avx2() || !siglip2_libjpeg::has_vector_code() {
            true => Some(Vectors::Detected),
            false => None,
        },
        transform: Transform::Fastest,
    };
    decode_by(job, rows, fastest)
}

fn decode_by(job: &Job<'_>, rows: &mut dyn Rows, decoders: Decoders) -> Result<(), ImageError> {
    let frame = frame::read(job.bytes)?;
    scans::work(job.bytes, &frame, job.limits)?;
    let Some(vectors) = decoders.plain else {
        return decode_by_libjpeg(job, rows, decoders.transform);
    };
    match plain::decode(job, rows, vectors)? {
        Decoded::Whole => Ok(()),
        // These rows are the same.
        Decoded::Rows(done) => {
            let mut rest = RowsBehind::new(job, rows, done);
            decode_by_libjpeg(job, &mut rest, decoders.transform)
        }
    }
}

/// For a fuzz target: by libjpeg alone, and by all decoders.
#[cfg(fuzzing)]
pub(super) fn decode_twice(bytes: &[u8]) -> Option<[Result<Vec<u8>, ImageError>; 2]> {
    use crate::decode::decode_whole;

    const MOST_BYTES: u64 = 1 << 20;
    let limits = ImageLimits::default();
    let header = crate::inspect(bytes, &limits).ok()?;
    if header.format != ImageFormat::Jpeg || header.pixel_bytes() > MOST_BYTES {
        return None;
    }
    let by_libjpeg = decode_whole(bytes, &limits, |job, rows| {
        scans::work(job.bytes, &frame::read(job.bytes)?, job.limits)?;
        decode_by_libjpeg(job, rows, Transform::Fastest)
    });
    Some([by_libjpeg, decode_whole(bytes, &limits, decode)])
}

/// Decodes a file whose work was checked.
fn decode_by_libjpeg(
    job: &Job<'_>,
    rows: &mut dyn Rows,
    transform: Transform,
) -> Result<(), ImageError> {
    let frame = frame::read(job.bytes)?;
    let watch = Watch::new();
    let all_rows = Cell::new(false);
    let read = guarded(job.bytes, frame.buffered, job.stop, &watch, |reader| {
        read_pixels(reader, job, rows, transform, &all_rows)
    });
    match read {
        // What is behind the pixels may be junk that ends nowhere, but not a wrong marker.
        Err(_) if all_rows.get() && watch.ran_out.get() => Ok(()),
        read => read,
    }
}

/// The samples of a JPEG within another format (TIFF): as they are coded, but YCbCr
/// converted to RGB if `ycc`. The caller has looked at its [`size`] and [`work`].
pub(super) fn decode_samples(
    bytes: &[u8],
    ycc: bool,
    stop: &Stop<'_>,
) -> Result<Vec<u8>, ImageError> {
    let frame = frame::read(bytes)?;
    guarded(bytes, frame.buffered, stop, &Watch::new(), |reader| {
        let decompress = opened(reader, Transform::Fastest)?;
        // Asking for the colours that it has means no conversion.
        let colours = match decompress.color_space() {
            ColorSpace::JCS_YCbCr if ycc => ColorSpace::JCS_RGB,
            other => other,
        };
        let (width, height) = decompress.size();
        let mut started = decompress.to_colorspace(colours)?;
        let row = width * started.color_space().num_components();
        let mut samples = vec![0; row * height];
        for row in samples.chunks_exact_mut(row) {
            note_row(stop, width).map_err(io::Error::other)?;
            started.read_scanlines_into(row)?;
        }
        started.finish()?;
        Ok(samples)
    })
}

/// The first rows of a JPEG within another format (TIFF), from top to bottom: the samples as they
/// are coded, and differences of colour not interpolated. The caller has looked at the
/// [`shape`] and the [`work`] of its header.
pub(super) fn read_rows(
    reader: impl BufRead,
    (width, height): (usize, usize),
    stop: &Stop<'_>,
    mut take: impl FnMut(usize, &[Vec<u8>]),
) -> Result<(), ImageError> {
    let read = || -> io::Result<()> {
        let mut decompress = opened(reader, Transform::Fastest)?;
        decompress.do_fancy_upsampling(false);
        let colours = decompress.color_space();
        let mut started = decompress.to_colorspace(colours)?;
        let mut row = [vec![0; width * started.color_space().num_components()]];
        for y in 0..height {
            note_row(stop, width).map_err(io::Error::other)?;
            started.read_scanlines_into(&mut row[0])?;
            take(y, &row);
        }
        Ok(())
    };
    caught(stop, &Watch::new(), catch_unwind(AssertUnwindSafe(read)))
}

/// Runs libjpeg over `bytes` and makes errors of its unwinding.
fn guarded<T>(
    bytes: &[u8],
    buffered: bool,
    stop: &Stop<'_>,
    watch: &Watch,
    read: impl FnOnce(Pieces<'_>) -> io::Result<T>,
) -> Result<T, ImageError> {
    // A progressive file is read to its end before the first row comes out, and 32 bytes of
    // it may be work on millions of blocks that stay as they are: asked at each of them.
    let piece = if buffered {
        (32, STEP)
    } else {
        (4096, 64 * 4096)
    };
    let reader = Pieces::new(bytes, piece, stop, watch, true);
    // libjpeg unwinds without calling the panic hook, so nothing is printed.
    caught(stop, watch, catch_unwind(AssertUnwindSafe(|| read(reader))))
}

/// What came of a call of libjpeg.
fn caught<T>(
    stop: &Stop<'_>,
    watch: &Watch,
    read: std::thread::Result<io::Result<T>>,
) -> Result<T, ImageError> {
    match read {
        _ if stop.was_stopped() => Err(ImageError::Stopped),
        _ if watch.ran_out.get() => Err(damaged("the file is cut short")),
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(damaged(error)),
        Err(panic) => Err(damaged(match panic.downcast_ref::<String>() {
            Some(message) => message,
            None => "libjpeg gave up",
        })),
    }
}

/// A decoder that has read the headers.
fn opened<R: BufRead>(reader: R, transform: Transform) -> io::Result<Decompress<R>> {
    Decompress::builder()
        .with_err(error_manager(transform))
        .from_reader(reader)
}

/// Notes the work of one row.
fn note_row(stop: &Stop<'_>, width: usize) -> Result<(), ImageError> {
    stop.work(width as u64 * 10)
}

/// The part that may unwind.
fn read_pixels(
    reader: Pieces<'_>,
    job: &Job<'_>,
    rows: &mut dyn Rows,
    transform: Transform,
    all_rows: &Cell<bool>,
) -> io::Result<()> {
    let mut decompress = opened(reader, transform)?;
    let (width, height) = job.size();
    let reduction = usize::from(job.header.reduction);
    let whole = decompress.size();
    if (whole.0.div_ceil(reduction), whole.1.div_ceil(reduction)) != (width, height) {
        return Err(io::Error::other("its frame headers contradict each other"));
    }
    // In eighths. The inverse transform leaves the rest out.
    decompress.scale(8 / job.header.reduction.clamp(1, 8));
    if decompress.components().len() != 4 {
        let mut started = decompress.rgb()?;
        for _ in 0..height {
            note_row(job.stop, width).map_err(io::Error::other)?;
            let row = rows.next_row().map_err(io::Error::other)?;
            started.read_scanlines_into(row)?;
        }
        all_rows.set(true);
        return started.finish();
    }
    let mut started = decompress.to_colorspace(ColorSpace::JCS_CMYK)?;
    let mut cmyk = vec![0u8; width * 4];
    for _ in 0..height {
        note_row(job.stop, width).map_err(io::Error::other)?;
        let rgb = rows.next_row().map_err(io::Error::other)?;
        let cmyk = started.read_scanlines_into(&mut cmyk)?;
        // Inverted with or without an Adobe marker: Pillow assumes Adobe's polarity.
        convert::inverted_cmyk_to_rgb(cmyk, rgb);
    }
    all_rows.set(true);
    started.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode_whole;

    /// The fixtures of this format, by name.
    fn fixtures() -> impl Iterator<Item = (String, Vec<u8>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/images");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        files.filter_map(|file| {
            let name = file.file_name().into_string().unwrap();
            name.starts_with("jpeg_")
                .then(|| (name, std::fs::read(file.path()).unwrap()))
        })
    }

    /// Whether a fixture has restart markers, or scans that refine each other.
    fn has_parts(name: &str) -> bool {
        name.contains("restart") || name.contains("progressive")
    }

    /// Fixtures with bytes changed at random behind their first half, where the coefficients are; those with parts
    /// more often, and everywhere.
    fn damaged_files() -> impl Iterator<Item = Vec<u8>> {
        fixtures().flat_map(|(name, whole)| {
            let (tries, from) = match has_parts(&name) {
                true => (200, 2),
                false => (12, whole.len() / 2),
            };
            (0..tries).map(move |seed| {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut bytes = whole.clone();
                for _ in 0..seed % 12 {
                    let at = random.usize(from..bytes.len());
                    bytes[at] = random.u8(..);
                }
                bytes
            })
        })
    }

    /// Fixtures with parts, whose markers and headers of scans are changed one by one.
    fn files_with_other_parts() -> impl Iterator<Item = Vec<u8>> {
        let files = fixtures().filter(|(name, _)| has_parts(name));
        files.flat_map(|(_, whole)| {
            let mut files = Vec::new();
            let marked = whole.windows(2).enumerate();
            let marked = marked.filter(|(_, pair)| pair[0] == 0xff && pair[1] >= 0xd0);
            for (at, pair) in marked {
                let mut change = |from: usize, to: usize, by: &[u8]| {
                    files.push([&whole[..at + from], by, &whole[at + to..]].concat());
                };
                match pair[1] {
                    // Those that stand alone: another, none, twice, and bytes before or behind it.
                    0xd0..=0xd7 | 0xd9 => {
                        for marker in 0xd0..=0xda {
                            change(1, 2, &[marker]);
                        }
                        change(0, 2, &[]);
                        change(0, 0, pair);
                        for byte in [0x00, 0x5a, 0xff] {
                            change(0, 0, &[byte]);
                            change(2, 2, &[byte]);
                        }
                    }
                    // The first and the last coefficient, and the bits of them.
                    0xda => {
                        let end = 2 + usize::from(whole[at + 3]);
                        for value in [
                            0, 1, 2, 5, 6, 16, 20, 63, 64, 0x10, 0x12, 0x20, 0x21, 0x31, 0x32,
                        ] {
                            for field in end - 3..end {
                                change(field, field + 1, &[value]);
                            }
                        }
                    }
                    _ => {}
                }
            }
            files
        })
    }

    const LIBJPEG: Decoders = Decoders {
        plain: None,
        transform: Transform::Fastest,
    };

    /// All that a decoder may be made of, but [`LIBJPEG`].
    const OTHERS: [Decoders; 4] = [
        Decoders {
            transform: Transform::Portable,
            ..LIBJPEG
        },
        Decoders {
            plain: Some(Vectors::Detected),
            ..LIBJPEG
        },
        Decoders {
            plain: Some(Vectors::Baseline),
            ..LIBJPEG
        },
        Decoders {
            plain: Some(Vectors::Baseline),
            transform: Transform::Portable,
        },
    ];

    fn decoded_by(bytes: &[u8], decoders: Decoders) -> Result<Vec<u8>, ImageError> {
        decode_whole(bytes, &ImageLimits::default(), |job, rows| {
            decode_by(job, rows, decoders)
        })
    }

    /// How far the decoder of plain files comes.
    fn plainly_decoded(bytes: &[u8]) -> Option<Decoded> {
        let mut decoded = None;
        let _ = decode_whole(bytes, &ImageLimits::default(), |job, rows| {
            decoded = plain::decode(job, rows, Vectors::Detected).ok();
            Ok(())
        });
        decoded
    }

    /// Where libjpeg has its vector code, that is what the others are held to, for coefficients that
    /// overflow, too. Where it has not, the tests of Pillow's pixels do it.
    #[test]
    fn all_decoders_give_the_same_pixels_for_damaged_files() {
        let (mut decoded, mut whole, mut begun) = (0, 0, 0);
        for bytes in damaged_files() {
            let by_libjpeg = decoded_by(&bytes, LIBJPEG);
            for decoders in OTHERS {
                assert!(by_libjpeg == decoded_by(&bytes, decoders));
            }
            decoded += usize::from(by_libjpeg.is_ok());
            match plainly_decoded(&bytes) {
                Some(Decoded::Whole) => whole += 1,
                Some(Decoded::Rows(1..)) => begun += 1,
                _ => {}
            }
        }
        assert!(decoded > 300, "{decoded}");
        assert!(whole > 50 && begun > 50, "{whole} {begun}");
    }

    #[test]
    fn all_decoders_give_the_same_pixels_where_parts_are_not_in_order() {
        let mut files = 0;
        for bytes in files_with_other_parts() {
            let by_libjpeg = decoded_by(&bytes, LIBJPEG);
            assert!(by_libjpeg == decoded_by(&bytes, OTHERS[1]));
            files += 1;
        }
        assert!(files > 1000, "{files}");
    }

    /// Where this project's decoder gives up, libjpeg decodes the file, and no other test notices.
    #[test]
    fn plain_fixtures_are_not_left_to_libjpeg() {
        let mut whole: Vec<String> = fixtures()
            .filter(|(_, bytes)| plainly_decoded(bytes) == Some(Decoded::Whole))
            .map(|(name, _)| name.replace("jpeg_", "").replace(".jpg", ""))
            .collect();
        whole.sort_unstable();
        let sides = [
            "15x17", "16x16", "17x15", "33x31", "40x1", "7x9", "8x8", "9x7",
        ];
        let mut expected: Vec<String> = [
            "420",
            "422",
            "444",
            "420_progressive",
            "444_progressive",
            "420_restart_1",
            "444_1x1",
            "444_1x40",
            "444_2x2",
            "exif_rotated",
            "extended",
            "grey",
            "grey_progressive",
            "twice",
            "many_comments",
            "optimized",
            "quality_1",
            "quality_98",
            "restart",
            "restart_progressive",
            "thumbnail_in_app",
            "trailing_garbage",
            "ycc_adobe",
        ]
        .map(str::to_owned)
        .to_vec();
        for sampling in ["420", "444"] {
            expected.extend(sides.map(|side| format!("{sampling}_{side}")));
        }
        expected.sort_unstable();
        assert_eq!(whole, expected);
    }

    /// The first row of a progressive file comes after all its scans, which take most of the time.
    #[test]
    fn scans_are_ended_before_there_are_rows() {
        struct Counting<'a> {
            asked: &'a Cell<u32>,
            before_rows: Option<u32>,
            row: Vec<u8>,
        }
        impl Rows for Counting<'_> {
            fn next_row(&mut self) -> Result<&mut [u8], ImageError> {
                self.before_rows.get_or_insert(self.asked.get());
                Ok(&mut self.row)
            }
        }
        const SIDE: usize = 3200;
        let mut encoder = mozjpeg::Compress::new(ColorSpace::JCS_GRAYSCALE);
        encoder.set_size(SIDE, SIDE);
        encoder.set_progressive_mode();
        let mut started = encoder.start_compress(Vec::new()).unwrap();
        started.write_scanlines(&[90; SIDE * SIDE]).unwrap();
        let bytes = started.finish().unwrap();
        let limits = ImageLimits::default();
        let header = crate::inspect(&bytes, &limits).unwrap();
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            false
        };
        let job = Job {
            bytes: &bytes,
            header: &header,
            limits: &limits,
            stop: &Stop::when(&ask),
        };
        let mut rows = Counting {
            asked: &asked,
            before_rows: None,
            row: vec![0; SIDE * 3],
        };
        let decoded = plain::decode(&job, &mut rows, Vectors::Detected);
        assert_eq!(decoded, Ok(Decoded::Whole));
        assert!(rows.before_rows >= Some(1), "{:?}", rows.before_rows);
    }

    /// A grey picture 8 wide and 32 high, whose codes may end in ones: the means have the code 0, coefficients 00 and a
    /// bit, the end of a block 01.
    fn ends_in_ones(data: &[u8]) -> Vec<u8> {
        let codes = |kind: u8, counts: [u8; 2], symbols: &[u8]| {
            let length = 19 + symbols.len() as u8;
            let head = [&[0xff, 0xc4, 0, length, kind][..], &counts, &[0; 14]].concat();
            [&head, symbols].concat()
        };
        let quantization = [&[0xff, 0xdb, 0, 67, 0][..], &[16; 64]].concat();
        [
            &[0xff, 0xd8][..],
            &quantization,
            &codes(0x00, [1, 0], &[0]),
            &codes(0x10, [0, 2], &[1, 0]),
            &[0xff, 0xc0, 0, 11, 8, 0, 32, 0, 8, 1, 1, 0x11, 0],
            &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0],
            data,
            &[0xff, 0xd9],
        ]
        .concat()
    }

    /// libjpeg goes on with zeros, and this decoder with ones until it notices.
    #[test]
    fn rows_of_blocks_that_end_early_are_not_given() {
        let compare = |bytes: &[u8]| {
            let by_libjpeg = decoded_by(bytes, LIBJPEG);
            for decoders in OTHERS {
                assert!(by_libjpeg == decoded_by(bytes, decoders), "{bytes:x?}");
            }
            by_libjpeg.is_ok()
        };
        // 0, 00 0, 00 0, and of 01 the first.
        assert!(compare(&ends_in_ones(&[0])));
        let mut random = fastrand::Rng::with_seed(3);
        let mut decoded = 0;
        for length in 0..40 {
            for _ in 0..20 {
                let data: Vec<u8> = (0..length).map(|_| random.u8(..0xff)).collect();
                decoded += usize::from(compare(&ends_in_ones(&data)));
            }
        }
        assert!(decoded > 500, "{decoded}");
        for (name, whole) in fixtures().filter(|(_, bytes)| bytes.len() < 1500) {
            let from = whole.len() / 2;
            for end in from..whole.len() {
                let bytes = [&whole[..end], &[0xff, 0xd9]].concat();
                let by_libjpeg = decoded_by(&bytes, LIBJPEG);
                assert!(by_libjpeg == decoded_by(&bytes, OTHERS[1]), "{name} {end}");
            }
        }
    }

    /// A picture of areas that are flat, that rise, and of noise, by libjpeg's encoder.
    fn encoded(random: &mut fastrand::Rng) -> Vec<u8> {
        let (width, height) = (random.usize(1..100), random.usize(1..70));
        let colours = if random.u8(..8) == 0 { 1 } else { 3 };
        let (tile, noise) = (random.usize(1..40), random.bool());
        let mut tiles = vec![[0_i32; 3]; (width / tile + 1) * (height / tile + 1)];
        tiles.fill_with(|| [(); 3].map(|()| random.i32(0..256)));
        let mut pixels = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let colour = tiles[y / tile * (width / tile + 1) + x / tile];
            pixels.extend(colour[..colours].iter().map(|&value| {
                let noise = if noise { random.i32(-60..60) } else { 0 };
                (value + (x % tile) as i32 * 3 + noise).clamp(0, 255) as u8
            }));
        }
        let (space, sampling) = match colours {
            1 => (ColorSpace::JCS_GRAYSCALE, (1, 1)),
            _ => (
                ColorSpace::JCS_RGB,
                [(1, 1), (2, 1), (2, 2)][random.usize(..3)],
            ),
        };
        let mut encoder = mozjpeg::Compress::new(space);
        encoder.set_size(width, height);
        // Otherwise progressive, with scans as it sees fit.
        if random.u8(..3) > 0 {
            encoder.set_fastest_defaults();
        }
        encoder.set_quality(random.u8(1..=100).into());
        encoder.set_optimize_coding(random.bool());
        if colours == 3 {
            encoder.set_chroma_sampling_pixel_sizes(sampling, sampling);
        }
        let mut started = encoder.start_compress(Vec::new()).unwrap();
        started.write_scanlines(&pixels).unwrap();
        started.finish().unwrap()
    }

    #[test]
    fn plain_files_are_decoded_as_libjpeg_does_it() {
        const FILES: usize = 1500;
        let mut random = fastrand::Rng::with_seed(7);
        let mut whole = 0;
        for _ in 0..FILES {
            let bytes = encoded(&mut random);
            let by_libjpeg = decoded_by(&bytes, LIBJPEG).unwrap();
            for decoders in OTHERS {
                assert!(by_libjpeg == decoded_by(&bytes, decoders).unwrap());
            }
            // All but some that are very narrow.
            if siglip2_jpeg::Plain::read(&bytes).is_some() {
                assert_eq!(plainly_decoded(&bytes), Some(Decoded::Whole));
                whole += 1;
            }
            // Cut short, and damaged within.
            let cut = &bytes[..random.usize(bytes.len() / 2..bytes.len())];
            assert!(decoded_by(cut, LIBJPEG) == decoded_by(cut, OTHERS[1]));
            for _ in 0..4 {
                let mut damaged = bytes.clone();
                let at = random.usize(bytes.len() / 4..bytes.len());
                damaged[at] = random.u8(..);
                let by_libjpeg = decoded_by(&damaged, LIBJPEG);
                assert!(by_libjpeg == decoded_by(&damaged, OTHERS[1]));
            }
        }
        assert!(whole > FILES * 9 / 10, "{whole}");
    }

    /// Blocks that are reduced have fewer samples than the portable transform writes.
    #[test]
    fn reduced_blocks_are_left_to_libjpeg() {
        let limits = ImageLimits {
            reduce_for: Some(crate::Target::Square { side: 4 }),
            ..ImageLimits::default()
        };
        let mut reduced = 0;
        for bytes in damaged_files() {
            let by = |decoders| {
                decode_whole(&bytes, &limits, |job, rows| {
                    reduced += usize::from(job.header.reduction > 1);
                    decode_by(job, rows, decoders)
                })
            };
            let [by_libjpeg, portable, plain] = [LIBJPEG, OTHERS[0], OTHERS[1]].map(by);
            assert_eq!(by_libjpeg.is_ok(), portable.is_ok());
            assert!(by_libjpeg == plain);
        }
        assert!(reduced > 450, "{reduced}");
    }
}
