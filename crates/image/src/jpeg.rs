//! JPEG, through mozjpeg's libjpeg: the same decoder as Pillow's libjpeg-turbo, and
//! bit-equal to it (accurate integer IDCT, smooth chroma upsampling).
//!
//! ```text
//! bytes --size------> width, height   (walks the header segments, as Pillow's plugin does)
//!       --check_scans-> refuses what takes too much time or memory
//!       --libjpeg---> RGB, or CMYK and then Pillow's formula
//! ```
//!
//! libjpeg leaves by unwinding when a file is broken; it is caught here. Unlike
//! Pillow, libjpeg pads a truncated file with grey and only warns; [`Complete`]
//! makes it an error.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

use super::inspect::u16_be;
use super::{Header, ImageError, ImageFormat, ImageLimits, convert};

#[cfg(panic = "abort")]
compile_error!("libjpeg reports a damaged file by unwinding: build with panic = \"unwind\"");

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Jpeg, reason)
}

/// What the frame header says.
struct Frame {
    width: u32,
    height: u32,
    components: u8,
    /// Whether libjpeg keeps the coefficients of the whole picture: a progressive file,
    /// or a first scan without all components.
    buffered: bool,
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    frame(bytes).map(|frame| (frame.width, frame.height))
}

/// The last frame header before the first scan.
///
/// Follows Pillow's own marker walk, which decides what a JPEG is before libjpeg sees
/// it: junk between segments is skipped, 8 bits and 1, 3 or 4 components are asked for.
fn frame(bytes: &[u8]) -> Result<Frame, ImageError> {
    let truncated = || damaged("it ends within its header");
    let mut frame = None;
    let mut at = 2;
    loop {
        // Anything that is not 0xFF is junk between segments; 0xFF may be repeated.
        while *bytes.get(at).ok_or_else(truncated)? != 0xff {
            at += 1;
        }
        while *bytes.get(at).ok_or_else(truncated)? == 0xff {
            at += 1;
        }
        let marker = bytes[at];
        at += 1;
        match marker {
            // A stuffed byte, or a marker that stands alone.
            0x00 | 0xd0..=0xd9 | 0xc8 | 0xf0..=0xfd => continue,
            0x01..=0xbf => return Err(damaged(format_args!("unknown marker 0xFF{marker:02X}"))),
            _ => {}
        }
        let length = usize::from(u16_be(bytes, at).ok_or_else(truncated)?);
        let segment = bytes
            .get(at + 2..at + length.max(2))
            .ok_or_else(truncated)?;
        at += length.max(2);
        match marker {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xde => {
                let &[bits, h1, h0, w1, w0, components, ..] = segment else {
                    return Err(damaged("its frame header is too short"));
                };
                if let Some(format) = unsupported(marker, bits) {
                    return Err(ImageError::Unsupported { format });
                }
                if !matches!(components, 1 | 3 | 4) {
                    return Err(damaged(format_args!(
                        "it has {components} colour components"
                    )));
                }
                frame = Some(Frame {
                    width: u32::from(u16::from_be_bytes([w1, w0])),
                    height: u32::from(u16::from_be_bytes([h1, h0])),
                    components,
                    buffered: marker == 0xc2,
                });
            }
            0xda => {
                let mut frame =
                    frame.ok_or_else(|| damaged("its first scan comes before its frame header"))?;
                frame.buffered |= segment.first() != Some(&frame.components);
                return Ok(frame);
            }
            _ => {}
        }
    }
}

/// The kinds of JPEG that libjpeg does not decode, by frame marker and sample depth.
fn unsupported(marker: u8, bits: u8) -> Option<&'static str> {
    match (marker, bits) {
        (0xc3, _) => Some("lossless JPEG"),
        (0xc5..=0xc7 | 0xcd..=0xcf | 0xde, _) => Some("hierarchical JPEG"),
        (0xc9..=0xcb, _) => Some("arithmetic-coded JPEG"),
        (_, 8) => None,
        (_, 12) => Some("12-bit JPEG"),
        _ => Some("JPEG with an unusual sample depth"),
    }
}

/// Scans that are always allowed, whatever the size: progressive files have about 10.
const USUAL_SCANS: u64 = 20;

/// Pixels times scans that are allowed beyond [`USUAL_SCANS`]; about 3 s of work.
const MAX_SCANNED_PIXELS: u64 = 1_000_000_000;

/// Refuses a file with so many scans that it would take too long (each costs a walk over
/// all blocks, however few bytes it has), or whose coefficients take too much memory
/// (where libjpeg keeps them all: two bytes each).
fn check_scans(bytes: &[u8], limits: &ImageLimits) -> Result<(), ImageError> {
    let frame = frame(bytes)?;
    let too_complex = |reason| {
        Err(ImageError::TooComplex {
            format: ImageFormat::Jpeg,
            reason,
        })
    };
    let pixels = u64::from(frame.width) * u64::from(frame.height);
    let by_size = (MAX_SCANNED_PIXELS / pixels.max(1)).max(USUAL_SCANS);
    let max = by_size.min(u64::from(limits.max_jpeg_scans));
    let scans = count_scans(bytes, max);
    if scans > max {
        return too_complex(format!("it has more than {max} scans"));
    }
    let coefficients = pixels * u64::from(frame.components) * 2;
    if (frame.buffered || scans > 1) && coefficients > limits.max_decoder_bytes {
        return too_complex(format!("its coefficients need {coefficients} bytes"));
    }
    Ok(())
}

/// Counts the scans, up to one more than `max`.
fn count_scans(bytes: &[u8], max: u64) -> u64 {
    let mut scans = 0;
    let mut at = 2;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte != 0xff {
            // Within the data of a scan: the next 0xFF is what matters.
            match bytes[at..].iter().position(|&byte| byte == 0xff) {
                Some(next) => at += next,
                None => break,
            }
            continue;
        }
        let Some(&marker) = bytes.get(at) else { break };
        match marker {
            0xff => continue,
            // Those below 0xC0 have no length: libjpeg steps over them alone where it
            // looks for a restart marker, and 64 KB of scans could hide behind one.
            0x00..=0xbf | 0xd0..=0xd8 => at += 1,
            0xd9 => break,
            _ => {
                if marker == 0xda {
                    scans += 1;
                    if scans > max {
                        break;
                    }
                }
                at += 1 + usize::from(u16_be(bytes, at + 1).unwrap_or(2).max(2));
            }
        }
    }
    scans
}

/// A reader over the whole file for which asking for more is an error: what Pillow
/// calls "image file is truncated".
struct Complete<'a> {
    rest: &'a [u8],
    ran_out: &'a Cell<bool>,
}

impl Read for Complete<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl BufRead for Complete<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            self.ran_out.set(true);
            return Err(io::Error::other("the file is truncated"));
        }
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        self.rest = self.rest.get(amount..).unwrap_or_default();
    }
}

/// Decodes to RGB.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let mut rgb = vec![0; header.width as usize * header.height as usize * 3];
    decode_into(bytes, header, limits, &mut rgb)?;
    Ok(rgb)
}

/// Decodes to RGB, into `rgb`, which must have room for all pixels and no more.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
    rgb: &mut [u8],
) -> Result<(), ImageError> {
    check_scans(bytes, limits)?;
    guarded(bytes, |reader| read_pixels(reader, header, rgb))
}

/// The samples of a JPEG within another format (TIFF): as they are coded, but YCbCr
/// converted to RGB if `ycc`. The caller has looked at its [`size`].
pub(super) fn decode_samples(
    bytes: &[u8],
    ycc: bool,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    check_scans(bytes, limits)?;
    guarded(bytes, |reader| {
        let decompress = Decompress::new_reader(reader)?;
        // Asking for the colours that it has means no conversion.
        let colours = match decompress.color_space() {
            ColorSpace::JCS_YCbCr if ycc => ColorSpace::JCS_RGB,
            other => other,
        };
        let mut started = decompress.to_colorspace(colours)?;
        let samples = started.read_scanlines::<u8>()?;
        started.finish()?;
        Ok(samples)
    })
}

/// Runs libjpeg over `bytes` and makes errors of its unwinding.
fn guarded<T>(
    bytes: &[u8],
    read: impl FnOnce(Complete<'_>) -> io::Result<T>,
) -> Result<T, ImageError> {
    let ran_out = Cell::new(false);
    let reader = Complete {
        rest: bytes,
        ran_out: &ran_out,
    };
    // libjpeg unwinds without calling the panic hook, so nothing is printed.
    match catch_unwind(AssertUnwindSafe(|| read(reader))) {
        _ if ran_out.get() => Err(damaged("the file is truncated")),
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(damaged(error)),
        Err(panic) => Err(damaged(match panic.downcast_ref::<String>() {
            Some(message) => message.trim_start_matches("libjpeg fatal error: "),
            None => "libjpeg gave up",
        })),
    }
}

/// The part that may unwind.
fn read_pixels(reader: Complete<'_>, header: &Header, rgb: &mut [u8]) -> io::Result<()> {
    let decompress = Decompress::new_reader(reader)?;
    let (width, height) = (header.width as usize, header.height as usize);
    if decompress.size() != (width, height) || rgb.len() != width * height * 3 {
        return Err(io::Error::other("its frame headers contradict each other"));
    }
    let cmyk = decompress.components().len() == 4;
    if !cmyk {
        let mut started = decompress.rgb()?;
        started.read_scanlines_into(rgb)?;
        // Asks for the end marker: Pillow refuses a file without it.
        return started.finish();
    }
    let mut started = decompress.to_colorspace(ColorSpace::JCS_CMYK)?;
    let mut row = vec![0u8; width * 4];
    for rgb in rgb.chunks_exact_mut(width * 3) {
        let row = started.read_scanlines_into(&mut row)?;
        // Inverted with or without an Adobe marker: Pillow assumes Adobe's polarity.
        convert::inverted_cmyk_to_rgb(row, rgb);
    }
    started.finish()
}
