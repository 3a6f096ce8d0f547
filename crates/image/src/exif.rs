//! The orientation that a file says of itself, found where Pillow's `Image.getexif()` finds it:
//! in its EXIF data, or else in its XMP data.

use std::borrow::Cow;

use super::orientation::Orientation;
use super::tiff::Order;
use super::{ImageFormat, avif, jpeg, png, webp};

/// The orientation tag of TIFF 6.0.
const ORIENTATION: u64 = 274;

/// What a file has beside its pixels.
#[derive(Default)]
pub(super) struct Metadata<'a> {
    /// A TIFF without a picture, perhaps behind the word that JPEG puts before it.
    pub(super) exif: Option<Cow<'a, [u8]>>,
    /// An RDF document.
    pub(super) xmp: Option<Cow<'a, [u8]>>,
}

impl Metadata<'_> {
    fn orientation(&self) -> Orientation {
        if let Some(exif) = &self.exif {
            match in_exif(exif) {
                // XMP is not asked where EXIF cannot be read at all.
                None => return Orientation::STORED,
                Some(Some(orientation)) => return orientation,
                Some(None) => {}
            }
        }
        self.xmp.as_deref().map_or(Orientation::STORED, in_xmp)
    }
}

/// How a picture is to be turned. TIFF is turned by its own decoder, whether it is asked for or
/// not, and the other formats have no metadata that Pillow reads.
pub(super) fn orientation(format: ImageFormat, bytes: &[u8]) -> Orientation {
    let metadata = match format {
        ImageFormat::Avif => return avif::orientation(bytes),
        ImageFormat::Jpeg => jpeg::metadata(bytes),
        ImageFormat::Png => png::metadata(bytes),
        ImageFormat::WebP => webp::metadata(bytes),
        ImageFormat::Gif
        | ImageFormat::Bmp
        | ImageFormat::Tiff
        | ImageFormat::Ico
        | ImageFormat::Tga
        | ImageFormat::Pnm
        | ImageFormat::Qoi
        | ImageFormat::Cur
        | ImageFormat::Icns
        | ImageFormat::Pcx
        | ImageFormat::Sun
        | ImageFormat::Sgi
        | ImageFormat::Xbm
        | ImageFormat::Xpm
        | ImageFormat::Dds => Metadata::default(),
    };
    metadata.orientation()
}

/// The orientation in EXIF data, if there is one; nothing at all for what is no EXIF data.
fn in_exif(mut exif: &[u8]) -> Option<Option<Orientation>> {
    for _ in 0..2 {
        exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    }
    if exif.is_empty() {
        return Some(None);
    }
    let order = match exif.get(..4)? {
        b"MM\0*" | b"MM*\0" => Order::Big,
        b"II*\0" | b"II\0*" => Order::Little,
        // Pillow takes the headers of BigTIFF too, and fails to find the offset behind them.
        _ => return None,
    };
    let start = order.number(exif.get(4..8)?);
    Some(in_directory(exif, order, false, start))
}

/// The orientation in the directory of a TIFF or BigTIFF that starts at an offset: of the first
/// entry that has a value of a type that Pillow knows. It is none where the type is not one of
/// numbers. What is behind an entry that is cut short is not read.
pub(super) fn in_directory(
    bytes: &[u8],
    order: Order,
    big: bool,
    start: u64,
) -> Option<Orientation> {
    let number = |at: usize, size: usize| {
        let end = at.checked_add(size)?;
        Some(order.number(bytes.get(at..end)?))
    };
    let (word, counter, entry_size) = if big { (8, 8, 20) } else { (4, 2, 12) };
    let start = usize::try_from(start).ok()?;
    let count = number(start, counter)?;
    for nth in 0..usize::try_from(count).ok()? {
        let at = start
            .checked_add(counter)?
            .checked_add(nth.checked_mul(entry_size)?)?;
        let (tag, kind, count) = (number(at, 2)?, number(at + 2, 2)?, number(at + 4, word)?);
        // The whole entry must be there, whatever its value.
        let value_at = at + 4 + word;
        number(value_at, word)?;
        let Some(size) = size_of_kind(kind) else {
            continue;
        };
        if tag != ORIENTATION || count == 0 {
            continue;
        }
        let length = count.checked_mul(size as u64)?;
        let place = match length <= word as u64 {
            true => value_at,
            false => usize::try_from(number(value_at, word)?).ok()?,
        };
        let length = usize::try_from(length).ok()?;
        let value = bytes.get(place..place.checked_add(length)?)?.get(..size)?;
        return Some(of_value(order, kind, value));
    }
    None
}

/// Bytes of a value of a type of TIFF, of those that Pillow reads.
fn size_of_kind(kind: u64) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 => Some(8),
        _ => None,
    }
}

/// The orientation that a value says. Bytes and text are no numbers to Pillow; fractions are.
fn of_value(order: Order, kind: u64, value: &[u8]) -> Orientation {
    let bits = order.number(value);
    let float = match kind {
        5 | 10 => {
            let half = |at: usize| order.number(&value[at..at + 4]);
            half(0) as f64 / half(4) as f64
        }
        11 => f64::from(f32::from_bits(bits as u32)),
        12 => f64::from_bits(bits),
        1 | 2 | 7 => return Orientation::STORED,
        // Signed numbers have the bits of the others where they mean anything here.
        _ => return Orientation::from_tag(bits),
    };
    match float.fract() == 0.0 && float > 0.0 {
        true => Orientation::from_tag(float as u64),
        false => Orientation::STORED,
    }
}

/// The orientation in XMP data: the first match of Pillow's `tiff:Orientation(="|>)([0-9])`.
pub(super) fn in_xmp(xmp: &[u8]) -> Orientation {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = xmp;
    while let Some(at) = rest.windows(NAME.len()).position(|word| word == NAME) {
        rest = &rest[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"));
        if let Some([digit @ b'0'..=b'9', ..]) = value {
            return Orientation::from_tag(u64::from(digit - b'0'));
        }
    }
    Orientation::STORED
}
