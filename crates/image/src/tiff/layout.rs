//! What the samples of a TIFF are and where they lie.

use super::damaged;
use super::fax::Coding;
use super::ifd::{Directory, Numbers, Order, tag};
use super::{strict, ycc};
use crate::ImageError;

/// How strips and tiles are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
    Jpeg,
    /// A JPEG that is spread over the file: see [`super::old_jpeg`].
    OldJpeg,
    Fax(Coding),
    Zstd,
    /// An XZ stream.
    Lzma,
}

/// What samples were predicted by, to be packed smaller (TIFF 6.0, section 14, and Adobe's technical
/// note 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prediction {
    None,
    /// The left neighbour: they are differences to it.
    Left,
    /// The byte to the left, in rows that have the first bytes of all floats, then the second ones,
    /// and so on.
    Float,
}

/// What samples mean: Pillow's modes, as far as RGB needs to tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Black is zero, or white is.
    Grey { inverted: bool },
    /// Numbers of 16 or 32 bits that are clipped to 0..=255.
    Clipped { signed: bool },
    /// 32-bit floats, clipped and cut to whole numbers.
    Float,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue and alpha that was multiplied in.
    Premultiplied,
    /// Cyan, magenta, yellow, black.
    Cmyk,
    /// Luma and two differences, converted by Pillow's arithmetic or, where they are compressed,
    /// by libtiff's.
    Ycc(Option<Box<ycc::Tables>>),
    /// CIE L*a*b*, of which `a` and `b` are signed.
    Lab,
    /// Indices into 256 colours.
    Palette(Box<[[u8; 3]; 256]>),
}

/// The layout of the first page.
pub(super) struct Layout<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) order: Order,
    pub(super) compression: Compression,
    pub(super) colour: Colour,
    /// Bits of each sample: 1, 2, 4, 8, 12, 16 or 32.
    pub(super) bits: usize,
    /// Samples of a pixel, those without meaning here included.
    pub(super) samples: usize,
    /// Each sample of all pixels on its own, one behind the other.
    pub(super) planar: bool,
    /// Bits are to be read from the least significant on.
    pub(super) reversed: bool,
    /// What samples were predicted by.
    pub(super) predicted: Prediction,
    /// Pixels across and down that share their differences of colour, where they are not each on
    /// their own: YCbCr that is subsampled, in units of so many lumas and the two differences.
    pub(super) ycc_units: Option<(usize, usize)>,
    /// Size of a strip or tile in pixels.
    pub(super) chunk: (usize, usize),
    pub(super) offsets: Numbers<'a>,
    pub(super) counts: Option<Numbers<'a>>,
    pub(super) jpeg_tables: Option<&'a [u8]>,
    /// Whether JPEG data is YCbCr to be converted.
    pub(super) jpeg_ycc: bool,
}

pub(super) fn unsupported<T>(format: &'static str) -> Result<T, ImageError> {
    Err(ImageError::Unsupported { format })
}

impl<'a> Layout<'a> {
    /// Reads it from the first directory; `width` and `height` are the size before the
    /// orientation tag.
    pub(super) fn read(
        directory: &Directory<'a>,
        width: u32,
        height: u32,
    ) -> Result<Self, ImageError> {
        let (width, height) = (width as usize, height as usize);
        let number = |tag, default| directory.number(tag).unwrap_or(default);
        let compression = match number(tag::COMPRESSION, 1) {
            1 => Compression::None,
            2 => Compression::Fax(Coding::Modified),
            3 => Compression::Fax(Coding::Group3 {
                two_dimensional: number(tag::T4_OPTIONS, 0) & 1 == 1,
            }),
            4 => Compression::Fax(Coding::Group4),
            5 => Compression::Lzw,
            6 => Compression::OldJpeg,
            7 => Compression::Jpeg,
            8 | 32946 => Compression::Deflate,
            32773 => Compression::PackBits,
            34925 => Compression::Lzma,
            50000 => Compression::Zstd,
            50001 => return unsupported("TIFF with WebP compression"),
            other => return Err(damaged(format_args!("it has unknown compression {other}"))),
        };
        strict::check(directory, compression != Compression::None)?;
        let is_old_jpeg = compression == Compression::OldJpeg;
        let samples = number(tag::SAMPLES_PER_PIXEL, if is_old_jpeg { 3 } else { 1 });
        let all_bits = directory.numbers(tag::BITS_PER_SAMPLE);
        let bits = number(tag::BITS_PER_SAMPLE, 1);
        let differ = all_bits.is_some_and(|all| all.iter().take(8).any(|other| other != bits));
        if !(1..=6).contains(&samples) || differ {
            return Err(damaged("its samples are too many or of different sizes"));
        }
        if is_old_jpeg && samples != 3 {
            return Err(damaged("its old-style JPEG is of other colours than YCbCr"));
        }
        let photometric = match (is_old_jpeg, number(tag::PHOTOMETRIC, 0)) {
            // The samples are luma and differences of colour, whatever the file says; without a word
            // about it as well.
            (true, 2) => 6,
            (true, 0) if directory.number(tag::PHOTOMETRIC).is_none() => 6,
            (true, other) if other != 6 => {
                return Err(damaged("its old-style JPEG is of other colours than YCbCr"));
            }
            (_, own) => own,
        };
        if matches!(compression, Compression::Fax(_)) && (samples, bits) != (1, 1) {
            return Err(damaged("it is a fax of more than black and white"));
        }
        // No more than `colour` can tell apart.
        let extra = directory.numbers(tag::EXTRA_SAMPLES);
        let extra: Vec<u64> = extra.map_or(vec![], |extra| extra.iter().take(4).collect());
        let Some(colour) = colour(directory, photometric, bits, samples, &extra, compression)?
        else {
            return unsupported("TIFF with an unusual kind of samples");
        };

        let tiled = directory.number(tag::TILE_OFFSETS).is_some();
        let chunk = if tiled {
            (number(tag::TILE_WIDTH, 0), number(tag::TILE_LENGTH, 0))
        } else {
            let rows = number(tag::ROWS_PER_STRIP, height as u64);
            (width as u64, rows.min(height as u64))
        };
        // A tile is larger than the image only by its rounding up to 16 or so: more is
        // a bomb.
        let fits = |side: u64, image: usize| side > 0 && side <= image as u64 + 4096;
        if !fits(chunk.0, width) || !fits(chunk.1, height) {
            return Err(damaged("its strips or tiles have an impossible size"));
        }
        if tiled && chunk.0 * bits % 8 != 0 {
            return unsupported("TIFF with tiles that end within a byte");
        }
        let (offsets, counts) = if tiled {
            (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS)
        } else {
            (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS)
        };
        let one_of_each = [offsets, counts].map(|tag| directory.numbers(tag).map(Numbers::len));
        let planar = number(tag::PLANAR_CONFIGURATION, 1) == 2
            && samples > 1
            // libtiff has found no such file in which that was true.
            && !(is_old_jpeg && one_of_each == [Some(1); 2]);
        if is_old_jpeg && number(tag::FILL_ORDER, 1) != 1 {
            return unsupported("TIFF with old-style JPEG of reversed bits");
        }
        if is_old_jpeg && planar && tiled {
            return unsupported("TIFF with old-style JPEG in tiles of planes");
        }
        if planar && bits < 8 {
            return unsupported("TIFF with planes of less than 8 bits");
        }
        let predictable = matches!(
            compression,
            Compression::Lzw | Compression::Deflate | Compression::Zstd | Compression::Lzma
        );
        let planes = if planar { samples as usize } else { 1 };
        let chunks = width.div_ceil(chunk.0 as usize) * height.div_ceil(chunk.1 as usize) * planes;
        if compression != Compression::None {
            // A file without counts has one strip, or one for each plane.
            let is_counted = directory.numbers(counts).is_some() || is_old_jpeg;
            let uncounted = (!is_counted).then_some(chunks / planes);
            strict::check_packed(directory, predictable, uncounted)?;
        } else if one_of_each[0].is_some_and(|there| there > chunks) {
            // Pillow reads these in place of the first.
            return Err(damaged("it has more strips or tiles than its rows need"));
        }
        let predicted = match number(tag::PREDICTOR, 1) {
            2 if predictable => Prediction::Left,
            3 if predictable && colour == Colour::Float => Prediction::Float,
            3 if predictable => {
                return Err(damaged("it predicts floats, and its samples are none"));
            }
            _ => Prediction::None,
        };
        let ycc_units = match &colour {
            Colour::Ycc(Some(_)) if !is_old_jpeg => ycc::units(directory, (width, height), planar)?,
            _ => None,
        };
        if ycc_units.is_some() && predicted != Prediction::None {
            return unsupported("TIFF with a predictor and subsampled YCbCr");
        }
        Ok(Self {
            width,
            height,
            order: directory.order,
            compression,
            colour,
            bits: bits as usize,
            samples: samples as usize,
            planar,
            reversed: number(tag::FILL_ORDER, 1) == 2,
            predicted,
            ycc_units,
            chunk: (chunk.0 as usize, chunk.1 as usize),
            offsets: match directory.numbers(offsets) {
                Some(offsets) => offsets,
                // All of it may be in one piece elsewhere.
                None if is_old_jpeg && chunk.1 >= height as u64 => Numbers::NONE,
                None => return Err(damaged("it does not say where its pixels are")),
            },
            counts: directory.numbers(counts),
            jpeg_tables: directory.bytes(tag::JPEG_TABLES),
            jpeg_ycc: photometric == 6,
        })
    }

    /// Bytes of `pixels` samples or pixels in a row, padded to whole bytes.
    pub(super) fn row_bytes(&self, pixels: usize) -> usize {
        let samples = if self.planar { 1 } else { self.samples };
        (pixels * samples * self.bits).div_ceil(8)
    }

    /// How many times the pixels are gone through: once, or for each sample.
    pub(super) fn planes(&self) -> usize {
        if self.planar { self.samples } else { 1 }
    }
}

/// The meaning of samples, by the keys of Pillow's `TiffImagePlugin.OPEN_INFO`; `None`
/// for what is not in that table or cannot be converted to RGB there.
fn colour(
    directory: &Directory<'_>,
    photometric: u64,
    bits: u64,
    samples: u64,
    extra: &[u64],
    compression: Compression,
) -> Result<Option<Colour>, ImageError> {
    const UNSIGNED: u64 = 1;
    const SIGNED: u64 = 2;
    const FLOAT: u64 = 3;
    let format = directory.number(tag::SAMPLE_FORMAT).unwrap_or(UNSIGNED);
    let little = directory.order == Order::Little;
    let colour = match (photometric, bits, format) {
        (0 | 1, 1 | 2 | 4 | 8, UNSIGNED) if samples == 1 => Colour::Grey {
            inverted: photometric == 0,
        },
        (1, 8, SIGNED) if samples == 1 => Colour::Grey { inverted: false },
        (1, 8, UNSIGNED) if samples == 2 && matches!(extra, [0 | 2]) => {
            Colour::Grey { inverted: false }
        }
        // Pillow knows this one for little-endian files, whose bits are packed all the same.
        (1, 12, UNSIGNED) if samples == 1 && little => Colour::Clipped { signed: false },
        (1, 16, UNSIGNED) if samples == 1 => Colour::Clipped { signed: false },
        // Pillow knows this one for little-endian files, and does not invert it.
        (0, 16, UNSIGNED) if samples == 1 && little => Colour::Clipped { signed: false },
        (1, 16 | 32, SIGNED) if samples == 1 => Colour::Clipped { signed: true },
        (1, 32, UNSIGNED) if samples == 1 && little => Colour::Clipped { signed: true },
        (0 | 1, 32, FLOAT) if samples == 1 => Colour::Float,
        (2, 8 | 16, UNSIGNED) => match (samples, extra) {
            (3, []) | (4, [] | [0 | 2]) => Colour::Rgb,
            (4, [999]) | (5, [0 | 2, 0]) | (6, [0 | 2, 0, 0]) if bits == 8 => Colour::Rgb,
            (4, [1]) => Colour::Premultiplied,
            (5, [1, 0]) | (6, [1, 0, 0]) if bits == 8 => Colour::Premultiplied,
            _ => return Ok(None),
        },
        (3, 1 | 2 | 4 | 8, UNSIGNED) if samples == 1 || (bits == 8 && samples == 2) => {
            Colour::Palette(palette(directory, bits)?)
        }
        (5, 8 | 16, UNSIGNED) if samples == 4 && extra.is_empty() => Colour::Cmyk,
        (5, 8, UNSIGNED) if matches!((samples, extra), (5, [0]) | (6, [0, 0])) => Colour::Cmyk,
        (6, 8, UNSIGNED) if samples == 3 => {
            let planar = directory.number(tag::PLANAR_CONFIGURATION) == Some(2);
            match compression {
                // libjpeg converts them.
                Compression::Jpeg if !planar => Colour::Rgb,
                // Pillow reads them whatever their tags say.
                Compression::None if !planar => Colour::Ycc(None),
                Compression::None => return Ok(None),
                _ => Colour::Ycc(Some(Box::new(ycc::Tables::new(directory)?))),
            }
        }
        (8, 8, UNSIGNED) if samples == 3 && extra.is_empty() => Colour::Lab,
        (6, 8, UNSIGNED) if samples == 1 => Colour::Grey { inverted: false },
        _ => return Ok(None),
    };
    Ok(Some(colour))
}

/// The colour map: all reds, all greens, all blues, in 16 bits of which Pillow takes
/// the upper 8.
fn palette(directory: &Directory<'_>, bits: u64) -> Result<Box<[[u8; 3]; 256]>, ImageError> {
    let map = directory
        .numbers(tag::COLOR_MAP)
        .ok_or_else(|| damaged("it has no colour map"))?;
    let count = map.len() / 3;
    if count > 256 || bits > 8 {
        return Err(damaged(format_args!("its colour map has {count} colours")));
    }
    let map: Vec<u64> = map.iter().collect();
    let mut colours = Box::new([[0; 3]; 256]);
    for (nth, colour) in colours.iter_mut().take(count).enumerate() {
        *colour = [0, 1, 2].map(|channel| (map[channel * count + nth] / 256) as u8);
    }
    Ok(colours)
}
