//! The first directory of a TIFF: a table of tagged numbers.

use super::{damaged, truncated};
use crate::orientation::Orientation;
use crate::{ImageError, exif};

/// The tags that matter for pixels (TIFF 6.0, and 347 of TIFF Technical Note 2).
pub(super) mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTE_COUNTS: u16 = 279;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const T4_OPTIONS: u16 = 292;
    pub const PREDICTOR: u16 = 317;
    pub const COLOR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTE_COUNTS: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const JPEG_INTERCHANGE: u16 = 513;
    pub const JPEG_INTERCHANGE_LENGTH: u16 = 514;
    pub const JPEG_RESTART_INTERVAL: u16 = 515;
    pub const JPEG_Q_TABLES: u16 = 519;
    pub const JPEG_DC_TABLES: u16 = 520;
    pub const JPEG_AC_TABLES: u16 = 521;
    pub const LUMA_WEIGHTS: u16 = 529;
    pub const SUBSAMPLING: u16 = 530;
    pub const REFERENCE_LEVELS: u16 = 532;
    pub const XMP: u16 = 700;
}

/// The order of the bytes in numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    /// An unsigned number of 1, 2, 4 or 8 bytes.
    pub(crate) fn number(self, bytes: &[u8]) -> u64 {
        let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, add),
            Self::Big => bytes.iter().fold(0, add),
        }
    }

    /// Writes a number; what does not fit is cut off.
    pub(super) fn put(self, number: u64, bytes: &mut [u8]) {
        let all = number.to_le_bytes();
        match self {
            Self::Little => bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from),
            Self::Big => (bytes.iter_mut().rev().zip(all)).for_each(|(to, from)| *to = from),
        }
    }
}

/// The type of unsigned fractions.
const FRACTION: u64 = 5;

/// What the values of a tag are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Numbers,
    /// Numbers of one byte, which are not numbers to Pillow.
    Bytes,
    /// Bytes without a meaning.
    Undefined,
    /// Text and fractions.
    Other,
    /// Of a type that nobody knows: not there to Pillow, and wrong to libtiff.
    Unknown,
    /// They lie outside of the file.
    Lost,
}

/// One row of the directory.
struct Entry<'a> {
    tag: u16,
    kind: Kind,
    /// How many values it says that it has.
    count: u64,
    /// Bytes of one value.
    size: usize,
    values: &'a [u8],
}

/// The values of a tag, read from the file one by one when they are wanted. Several tags
/// may claim the whole file as bytes: lists of 64-bit numbers of it would be many times
/// its size.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    order: Order,
    size: usize,
    values: &'a [u8],
}

impl<'a> Numbers<'a> {
    /// Those of a tag that is not there.
    pub(super) const NONE: Self = Self {
        order: Order::Little,
        size: 1,
        values: &[],
    };

    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.values.len() / self.size
    }

    /// One of them.
    pub(super) fn get(self, index: usize) -> Option<u64> {
        let at = index.checked_mul(self.size)?;
        let value = self.values.get(at..at.checked_add(self.size)?)?;
        Some(self.order.number(value))
    }

    /// All of them, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = u64> + use<'a> {
        (0..self.len()).map_while(move |index| self.get(index))
    }
}

/// The first directory.
pub(super) struct Directory<'a> {
    pub(super) order: Order,
    file: &'a [u8],
    /// Whether it is one of BigTIFF, and where it starts.
    place: (bool, u64),
    entries: Vec<Entry<'a>>,
    /// Tags of fractions, and their numerators and denominators.
    fractions: Vec<(u16, &'a [u8])>,
}

impl<'a> Directory<'a> {
    /// Reads it. What needs numbers of an entry of another type, or of one whose values lie outside
    /// of the file, will miss them.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let order = match bytes.first() {
            Some(b'I') => Order::Little,
            _ => Order::Big,
        };
        let number = |at: usize, size: usize| {
            let end = at.checked_add(size)?;
            Some(order.number(bytes.get(at..end)?))
        };
        let big = number(2, 2) == Some(43);
        // Sizes of an offset, of the number of entries, and of one entry.
        let (word, counter, entry_size) = if big { (8, 8, 20) } else { (4, 2, 12) };
        let start = number(if big { 8 } else { 4 }, word)
            .and_then(|start| usize::try_from(start).ok())
            .ok_or_else(truncated)?;
        let count = number(start, counter).ok_or_else(truncated)?;
        if count == 0 || count > 65_535 {
            return Err(damaged(format_args!(
                "its first directory has {count} entries"
            )));
        }
        let (mut entries, mut fractions) = (Vec::new(), Vec::new());
        for nth in 0..count as usize {
            let at = start + counter + nth * entry_size;
            let head = number(at, 2)
                .zip(number(at + 2, 2))
                .zip(number(at + 4, word));
            let ((tag, kind), count) = head.ok_or_else(truncated)?;
            let (own, size) = match kind {
                1 => (Kind::Bytes, 1),
                7 => (Kind::Undefined, 1),
                6 => (Kind::Numbers, 1),
                3 | 8 => (Kind::Numbers, 2),
                4 | 9 | 13 => (Kind::Numbers, 4),
                16..=18 => (Kind::Numbers, 8),
                FRACTION => (Kind::Other, 8),
                2 | 10..=12 => (Kind::Other, 1),
                _ => (Kind::Unknown, 1),
            };
            let length = usize::try_from(count)
                .ok()
                .and_then(|count| count.checked_mul(size));
            let value_at = at + 4 + word;
            let values = length.and_then(|length| {
                let place = if length <= word {
                    Some(value_at as u64)
                } else {
                    number(value_at, word)
                };
                let place = usize::try_from(place?).ok()?;
                bytes.get(place..place.checked_add(length)?)
            });
            if let Some(values) = values.filter(|_| kind == FRACTION) {
                fractions.push((tag as u16, values));
            }
            entries.push(Entry {
                tag: tag as u16,
                kind: values.map_or(Kind::Lost, |_| own),
                count,
                size,
                values: values.unwrap_or_default(),
            });
        }
        Ok(Self {
            order,
            file: bytes,
            place: (big, start as u64),
            entries,
            fractions,
        })
    }

    /// The whole file.
    pub(super) fn file(&self) -> &'a [u8] {
        self.file
    }

    /// The entry of a tag that has numbers or bytes.
    fn entry(&self, tag: u16) -> Option<&Entry<'a>> {
        let has_values = |kind| matches!(kind, Kind::Numbers | Kind::Bytes | Kind::Undefined);
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.tag == tag && has_values(entry.kind))
    }

    /// What the values of a tag are, and how many.
    pub(super) fn kind(&self, tag: u16) -> Option<(Kind, u64)> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        Some((entry.kind, entry.count))
    }

    /// All values of a tag.
    pub(super) fn numbers(&self, tag: u16) -> Option<Numbers<'a>> {
        let &Entry { size, values, .. } = self.entry(tag)?;
        Some(Numbers {
            order: self.order,
            size,
            values,
        })
    }

    /// The first value of a tag.
    pub(super) fn number(&self, tag: u16) -> Option<u64> {
        self.numbers(tag)?.get(0)
    }

    /// How the picture is turned: by the orientation tag, or by the XMP data where there is none.
    pub(super) fn orientation(&self) -> Orientation {
        let (big, start) = self.place;
        let found = exif::in_directory(self.file, self.order, big, start);
        found.unwrap_or_else(|| {
            self.bytes(tag::XMP)
                .map_or(Orientation::STORED, exif::in_xmp)
        })
    }

    /// The fractions of a tag.
    pub(super) fn fractions(&self, tag: u16) -> Option<Vec<f64>> {
        let (_, values) = self.fractions.iter().find(|(own, _)| *own == tag)?;
        let number = |bytes: &[u8; 4]| self.order.number(bytes) as f64;
        let pairs = values.as_chunks::<4>().0.as_chunks::<2>().0;
        // No tag that matters has more.
        let pairs = pairs.iter().take(6);
        Some(
            pairs
                .map(|[over, under]| number(over) / number(under))
                .collect(),
        )
    }

    /// Bytes that it takes in memory, with a list that doubles as it grows.
    pub(super) fn bytes_held(&self) -> u64 {
        let fractions = self.fractions.capacity() * size_of::<(u16, &[u8])>();
        2 * (self.entries.capacity() * size_of::<Entry<'_>>() + fractions) as u64
    }

    /// The bytes of a tag's values, as they are in the file.
    pub(super) fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        self.entry(tag).map(|entry| entry.values)
    }
}
