//! Images: from the bytes of a file to the pixels that a vision tower takes as input.
//!
//! ```text
//! bytes --inspect--> Header        (format and size; refuses before anything is decoded)
//!       --decode---> RgbImage      (first frame, 8-bit RGB, as Pillow gives it)
//!       --Processor-> a square, or a grid of patches, RGB u8
//!                                  (the checkpoint's resize, byte for byte transformers')
//! ```
//!
//! The format is read from the bytes, never from a name or a content type. Unless it is asked
//! for ([`ImageLimits::apply_orientation`]), the orientation tag is not applied (but TIFF's is,
//! because Pillow applies that one), and alpha is dropped, not blended: `Image.open(f)
//! .convert("RGB")` does so, and the vectors must be those of the service that this one
//! replaces.
//!
//! * `inspect`: recognizes the format and reads the size from the header.
//! * `names`: what else it may be, for the answer that it is not decoded.
//! * `decode`: checks the limits, then hands the bytes to `jpeg`, `png`, `gif`,
//!   `webp`, `bmp`, `tiff`, `avif`, `ico`, `cur`, `icns`, `tga`, `pnm`, `qoi`, `pcx`, `sun`,
//!   `sgi`, `xbm`, `xpm` or `dds`, each of which knows one format and Pillow's habits with it.
//!   `convert` has the colour arithmetic they share, `text` reads lines of words, `work` bounds what
//!   they may cost and lets them end early, and `reader` feeds files to the decoders of other crates.
//! * `exif` finds the orientation in a file's metadata, `orientation` turns the pixels.
//! * `pixels`: pixels in memory, and whose memory that is.
//! * `processor`: what preprocessor_config.json says; `target` computes sizes, `resize` makes
//!   them, and `coefficients` has its numbers for those that do it on a device.
//!
//! ```
//! use siglip2_image::{ImageLimits, decode, inspect};
//!
//! // A GIF of one red pixel.
//! let file = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\x00\x00\x00\x00\x00\
//!              ,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
//! let limits = ImageLimits::default();
//! assert_eq!(inspect(file, &limits)?.width, 1);
//! assert_eq!(decode(file, &limits)?.pixels(), [255, 0, 0]);
//! # Ok::<(), siglip2_image::ImageError>(())
//! ```
//!
//! # How equal the pixels are to Pillow's
//!
//! Measured by `tests/it/decode.rs` against Pillow 13.0.0 (libjpeg-turbo 3.2, libwebp
//! 1.6, libtiff 4.7) on 1,022 files and 1,650 damaged versions: byte for byte, for every
//! file that both decode, of every format, lossy ones included, but one that libtiff garbles and
//! CIE Lab in TIFF, which is within one level. docs/formats.md counts thousands more, and says what
//! is not decoded and where refusals differ.

#![forbid(unsafe_code)]

mod avif;
mod bmp;
mod convert;
mod cur;
mod dds;
mod decode;
mod exif;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gif;
mod icns;
mod ico;
mod inspect;
mod jpeg;
mod names;
mod orientation;
mod pcx;
mod pixels;
mod png;
mod pnm;
mod processor;
mod qoi;
mod reader;
mod resize;
mod sgi;
mod sun;
mod target;
mod text;
mod tga;
mod tiff;
mod webp;
mod work;
mod xbm;
mod xpm;

pub use decode::{decode, decode_into, decode_rows};
pub use inspect::inspect;
pub use jpeg::IntactJpeg;
pub use orientation::Orientation;
pub use pixels::{PixelMemory, RgbImage};
pub use processor::{Filter, Processor, ProcessorError};
pub use resize::{Coefficients, Narrowed, Window};
pub use target::{Resize, Target};
pub use work::{MAX_WORK, Stop};

use std::fmt;

/// The longest side that an image may have, in pixels, regardless of [`ImageLimits`].
///
/// The weights of the resize are computed for whole sides, some 60 bytes a pixel. What the
/// picture takes between the two passes of the resize, `height x size x 3` bytes, is not bounded
/// by this alone: see [`Target::resize_bytes`].
pub const MAX_SIDE: u32 = 1 << 20;

/// What an image may cost before it is refused, and whether it is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Width times height. Checked against the header, before anything is decoded.
    pub max_pixels: u64,
    /// Scans that a JPEG may have. Each scan walks over the whole picture, so 2,000
    /// empty ones in 156 KB keep a decoder busy for 46 seconds; encoders write 1 to
    /// about 12. Large images may have fewer: what the scans cost together is bounded by
    /// [`MAX_WORK`].
    pub max_jpeg_scans: u32,
    /// Bytes that decoding a picture may take beside the file: its RGB pixels, and what
    /// the decoder needs beside them ([`Header::scratch_bytes`]): rows and frames at the
    /// file's own depth, tables, the coefficients of a progressive JPEG.
    pub max_picture_bytes: u64,
    /// Whether pictures are turned as the orientation tag of their EXIF or XMP data says, as
    /// Pillow's `ImageOps.exif_transpose` turns them. TIFF is always turned.
    pub apply_orientation: bool,
    /// What pictures are resized to, where a JPEG that is much larger may be decoded at 1/2, 1/4 or 1/8
    /// of its size, as Pillow's `Image.draft` does it: see [`Header::reduction`].
    pub reduce_for: Option<Target>,
}

impl Default for ImageLimits {
    /// * `max_pixels`: 178,956,970, twice Pillow's `MAX_IMAGE_PIXELS`: Pillow warns of a
    ///   decompression bomb above the half of it, and refuses what has more.
    /// * `max_jpeg_scans`: 100, many times what encoders write.
    /// * `max_picture_bytes`: 1 GiB, enough for most formats at `max_pixels`. Lossless WebP
    ///   takes more from 138 megapixels on.
    fn default() -> Self {
        Self {
            max_pixels: 178_956_970,
            max_jpeg_scans: 100,
            max_picture_bytes: 1 << 30,
            apply_orientation: false,
            reduce_for: None,
        }
    }
}

/// The formats that are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Baseline, extended and progressive JPEG of 8 bits, Huffman coded.
    Jpeg,
    /// PNG, and the first frame of an animated PNG.
    Png,
    /// GIF, first frame.
    Gif,
    /// WebP, lossy and lossless, first frame.
    WebP,
    /// Windows and OS/2 bitmaps.
    Bmp,
    /// TIFF and BigTIFF, first page.
    Tiff,
    /// AVIF, a still picture or the first one of an animation.
    Avif,
    /// Windows icons: the largest picture.
    Ico,
    /// Truevision TGA.
    Tga,
    /// Bitmaps, greymaps and pixmaps of Netpbm, and PFM in grey.
    Pnm,
    /// The "Quite OK Image" format.
    Qoi,
    /// Windows cursors: the largest picture.
    Cur,
    /// Icons of macOS: the largest picture, unless it is JPEG 2000.
    Icns,
    /// ZSoft's PCX.
    Pcx,
    /// Sun raster files.
    Sun,
    /// Silicon Graphics' images.
    Sgi,
    /// Bitmaps of X11, as C.
    Xbm,
    /// Pixmaps of X11, as C.
    Xpm,
    /// Textures of DirectX: the first surface.
    Dds,
}

impl ImageFormat {
    /// The format's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Avif => "AVIF",
            Self::Ico => "ICO",
            Self::Tga => "TGA",
            Self::Pnm => "PNM",
            Self::Qoi => "QOI",
            Self::Cur => "CUR",
            Self::Icns => "ICNS",
            Self::Pcx => "PCX",
            Self::Sun => "Sun raster",
            Self::Sgi => "SGI",
            Self::Xbm => "XBM",
            Self::Xpm => "XPM",
            Self::Dds => "DDS",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the header of an image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format, read from the bytes.
    pub format: ImageFormat,
    /// Width in pixels of what [`decode()`] will return.
    pub width: u32,
    /// Height in pixels of what [`decode()`] will return.
    pub height: u32,
    /// How the stored picture is turned for it, if it is: always
    /// [`STORED`](Orientation::STORED) without [`ImageLimits::apply_orientation`], and for TIFF,
    /// which is turned while it is decoded.
    pub orientation: Orientation,
    /// What the sides of a JPEG are divided by while it is decoded, rounded up: 1, 2, 4 or 8. It is
    /// the largest that leaves both sides at least twice as long as what they are resized to; always 1
    /// without [`ImageLimits::reduce_for`].
    pub reduction: u8,
    /// Bytes that decoding takes beside the file and the RGB pixels, at most: computed
    /// from the header, before anything is decoded. Turning is not included.
    pub scratch_bytes: u64,
}

impl Header {
    /// Bytes of the RGB pixels.
    pub fn pixel_bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * 3
    }

    /// Bytes that [`decode()`] takes: the pixels, what the decoder needs beside them, and the
    /// picture as it is stored where that cannot be turned where it lies.
    pub fn whole_bytes(&self) -> u64 {
        let copies = if self.orientation.swaps() { 2 } else { 1 };
        (copies * self.pixel_bytes()).saturating_add(self.scratch_bytes)
    }

    /// Bytes that [`decode_rows`] and [`Narrowed::finish`] take together.
    pub fn rows_bytes(&self, target: Target) -> u64 {
        let stored = self.stored();
        let size = (stored.width, stored.height);
        let resize = resize::strips_bytes(target, size, self.orientation);
        resize.saturating_add(self.scratch_bytes)
    }

    /// Whether the picture is one for [`decode_rows`]: its rows come from top to bottom, and are
    /// too many for a single strip.
    pub fn comes_by_rows(&self, target: Target) -> bool {
        let (width, height) = (self.width, self.height);
        self.format == ImageFormat::Jpeg
            && self.pixel_bytes() > resize::STRIP_BYTES as u64
            // Enlarged, the sums of all columns would be there at once.
            && (!self.orientation.swaps() || target.resized(width, height).0 <= width)
    }

    /// The picture as decoders know it.
    fn stored(&self) -> Self {
        let (width, height) = self.orientation.size((self.width, self.height));
        Self {
            width,
            height,
            orientation: Orientation::STORED,
            ..*self
        }
    }

    /// Refuses what takes more bytes than are allowed.
    fn check(&self, bytes: u64, limits: &ImageLimits) -> Result<(), ImageError> {
        if bytes <= limits.max_picture_bytes {
            return Ok(());
        }
        Err(ImageError::TooComplex {
            format: self.format,
            reason: format!(
                "decoding it needs {bytes} bytes; at most {} are allowed",
                limits.max_picture_bytes
            ),
        })
    }
}

/// Why an image was refused. Each prints as one sentence without a full stop, to be
/// put behind the name of the part that it came in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image is empty (0 bytes)")]
    Empty,
    /// Not the beginning of any image format that is known here.
    #[error("this is not an image: the bytes are not {SUPPORTED}")]
    NotAnImage,
    /// Recognized, but not decoded here.
    #[error("{}", unsupported(format))]
    Unsupported {
        /// What it is, for instance `HEIC` or `lossless JPEG`.
        format: &'static str,
    },
    /// More pixels than allowed.
    #[error(
        "the image is {width} x {height} = {} pixels; at most {max_pixels} are allowed",
        u64::from(*.width) * u64::from(*.height)
    )]
    TooLarge {
        /// Width in pixels, from the header.
        width: u32,
        /// Height in pixels, from the header.
        height: u32,
        /// The limit that was in force.
        max_pixels: u64,
    },
    /// A longer side than allowed.
    #[error("the image is {width} x {height} pixels; no side may be longer than {max_side}")]
    TooLong {
        /// Width in pixels, from the header.
        width: u32,
        /// Height in pixels, from the header.
        height: u32,
        /// The longest side, in pixels, that was allowed.
        max_side: u32,
    },
    /// Small, but built to take long or to need much memory.
    #[error("the {format} image takes too much work to decode: {reason}")]
    TooComplex {
        /// Its format.
        format: ImageFormat,
        /// Which limit it passes, in words.
        reason: String,
    },
    /// Nobody waits for it any more.
    #[error("decoding was stopped because nobody waits for the image any more")]
    Stopped,
    /// Decoded, but not made into the model's square.
    #[error("the image cannot be resized: {reason}")]
    NotResized {
        /// What the resizer said.
        reason: String,
    },
    /// It says that it is of this format, but cannot be decoded as such.
    #[error("the {format} image is damaged: {reason}")]
    Damaged {
        /// The format that its first bytes claim.
        format: ImageFormat,
        /// What is wrong, in words.
        reason: String,
    },
}

impl ImageError {
    /// [`ImageError::Damaged`] in fewer words.
    fn damaged(format: ImageFormat, reason: impl fmt::Display) -> Self {
        Self::Damaged {
            format,
            reason: reason.to_string(),
        }
    }
}

/// The formats that are decoded, for messages.
const SUPPORTED: &str = "JPEG, PNG, GIF, WebP, AVIF, BMP, TIFF, ICO, CUR, ICNS, TGA, PNM, QOI, PCX, SGI, Sun raster, \
     XBM, XPM or DDS";

/// The sentence of [`ImageError::Unsupported`].
fn unsupported(format: &str) -> String {
    match format {
        // What phones send; people have it in albums and need a way out.
        "HEIC" => "HEIC is not supported; convert it to JPEG first, for instance with \
                   `heif-convert photo.heic photo.jpg`, or set the phone to take JPEG"
            .to_owned(),
        _ => format!("{format} is not supported; send {SUPPORTED}"),
    }
}
