//! What the header of a stream, or the tags of the directory, say of a JPEG, and the header that is made
//! of it.

use std::ops::Range;

use super::super::damaged;
use super::super::ifd::{Directory, tag};
use super::super::layout::unsupported;
use super::COMPONENTS;
use super::parts::{Cursor, slice};
use crate::ImageError;

/// What the new header is made of.
#[derive(Default)]
pub(super) struct Tables {
    /// Segments of quantization, and of Huffman tables for the first and the other coefficients,
    /// without marker and length.
    pub(super) tables: [[Option<Vec<u8>>; 4]; 3],
    pub(super) restart: Option<u16>,
    pub(super) frame: Option<Frame>,
    /// Selectors of a component and of its tables.
    pub(super) scan: [[u8; 2]; COMPONENTS],
}

pub(super) fn no_frame() -> ImageError {
    damaged("its JPEG has no frame header")
}

#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) marker: u8,
    pub(super) size: (u16, u16),
    /// Number, factors and quantization table of each component.
    pub(super) components: [[u8; 3]; COMPONENTS],
}

/// Marker of quantization tables, of those of the first and of the other coefficients.
pub(super) const TABLES: [u8; 3] = [0xdb, 0xc4, 0xc4];

impl Tables {
    /// Reads JPEG's own segments, as far as there are any, up to a scan of so many components.
    pub(super) fn read(cursor: &mut Cursor<'_>, in_scan: usize) -> Result<Self, ImageError> {
        let mut tables = Self::default();
        while cursor.peek()? == 0xff {
            let mut marker = cursor.byte()?;
            while marker == 0xff {
                marker = cursor.byte()?;
            }
            match marker {
                0xd8 => {}
                0xe0..=0xef | 0xfe => {
                    let length = cursor.length()?;
                    cursor.skip(length);
                }
                0xdd => {
                    if cursor.length()? != 2 {
                        return Err(damaged("the restart interval of its JPEG has no length"));
                    }
                    tables.restart = Some(cursor.word()?);
                }
                0xdb => tables.quantization(cursor)?,
                0xc4 => tables.huffman(cursor)?,
                0xc0 | 0xc1 => tables.frame(marker, cursor)?,
                0xc3 => return unsupported("TIFF with old-style lossless JPEG"),
                0xda => {
                    tables.scan(cursor, 0..in_scan)?;
                    return Ok(tables);
                }
                _ => {
                    return Err(damaged(format_args!(
                        "its JPEG has the marker 0xFF{marker:02X} in its header"
                    )));
                }
            }
        }
        Ok(tables)
    }

    pub(super) fn quantization(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ImageError> {
        let length = cursor.length()?;
        if length == 0 || length % 65 != 0 {
            return Err(damaged("its quantization tables have an unusual length"));
        }
        for _ in 0..length / 65 {
            let table = cursor.bytes(65)?;
            self.put(0, usize::from(table[0] & 15), table)?;
        }
        Ok(())
    }

    /// All tables of a segment count as one, as in libtiff: they are written as they were read.
    pub(super) fn huffman(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ImageError> {
        let length = cursor.length()?;
        if !(1..=super::MOST_TABLES).contains(&length) {
            return Err(damaged("its Huffman tables have an unusual length"));
        }
        let table = cursor.bytes(length)?;
        match (table[0] >> 4, usize::from(table[0] & 15)) {
            (kind @ (0 | 1), nth) => self.put(usize::from(kind) + 1, nth, table),
            _ => Err(damaged("its Huffman tables are of no known kind")),
        }
    }

    pub(super) fn put(
        &mut self,
        kind: usize,
        nth: usize,
        table: Vec<u8>,
    ) -> Result<(), ImageError> {
        let place = self.tables.get_mut(kind).and_then(|all| all.get_mut(nth));
        *place.ok_or_else(|| damaged("it has more than four JPEG tables of a kind"))? = Some(table);
        Ok(())
    }

    pub(super) fn frame(&mut self, marker: u8, cursor: &mut Cursor<'_>) -> Result<(), ImageError> {
        let length = cursor.length()?;
        let head = cursor.bytes(6)?;
        let components = head.get(5).copied().unwrap_or(0);
        let is_known = self.frame.is_none() && head.first() == Some(&8);
        if !is_known || length != 6 + 3 * COMPONENTS || usize::from(components) != COMPONENTS {
            return Err(damaged("its JPEG has an unusual frame header"));
        }
        let mut frame = Frame {
            marker,
            size: (
                u16::from_be_bytes([head[3], head[4]]),
                u16::from_be_bytes([head[1], head[2]]),
            ),
            components: [[0; 3]; COMPONENTS],
        };
        for component in &mut frame.components {
            for byte in component {
                *byte = cursor.byte()?;
            }
        }
        self.frame = Some(frame);
        Ok(())
    }

    /// The header of a scan of these components.
    pub(super) fn scan(
        &mut self,
        cursor: &mut Cursor<'_>,
        of: Range<usize>,
    ) -> Result<(), ImageError> {
        let length = cursor.length()?;
        let components = cursor.byte()?;
        let is_of_them = length == 4 + 2 * of.len() && usize::from(components) == of.len();
        if !is_of_them || self.frame.is_none() {
            return Err(damaged(
                "a scan of its JPEG is not one of all colours, or of the one whose plane it is",
            ));
        }
        for component in self.scan.get_mut(of).unwrap_or_default() {
            *component = [cursor.byte()?, cursor.byte()?];
        }
        cursor.skip(3);
        Ok(())
    }

    /// What tags say where the stream begins with coded data: three tables of a kind at most, and
    /// one that is at the same place as the one before is the same.
    pub(super) fn complete(
        &mut self,
        directory: &Directory<'_>,
        size: (usize, usize),
        (across, down): (u8, u8),
    ) -> Result<(), ImageError> {
        let mut selected = [[0u8; COMPONENTS]; 3];
        let tags = [tag::JPEG_Q_TABLES, tag::JPEG_DC_TABLES, tag::JPEG_AC_TABLES];
        for (kind, tag) in tags.into_iter().enumerate() {
            let places = directory.numbers(tag);
            let places = places.filter(|places| places.len() <= COMPONENTS);
            let place = |nth| places.and_then(|places| places.get(nth)).unwrap_or(0);
            for nth in 0..COMPONENTS {
                let same = nth > 0 && (place(nth) == 0 || place(nth) == place(nth - 1));
                if same {
                    selected[kind][nth] = selected[kind][nth - 1];
                    continue;
                }
                if place(nth) == 0 || (nth == 2 && place(2) == place(0)) {
                    return Err(damaged("it does not say where its JPEG tables are"));
                }
                let table = stored_table(directory.file(), kind, nth as u8, place(nth))?;
                self.put(kind, nth, table)?;
                selected[kind][nth] = nth as u8;
            }
        }
        let side = |side: usize| u16::try_from(side).map_err(|_| damaged("it is too large"));
        let factors = [across << 4 | down, 0x11, 0x11];
        self.frame = Some(Frame {
            marker: 0xc0,
            size: (side(size.0)?, side(size.1)?),
            components: [0, 1, 2].map(|nth| [nth as u8, factors[nth], selected[0][nth]]),
        });
        self.scan = [0, 1, 2].map(|nth| [nth as u8, selected[1][nth] << 4 | selected[2][nth]]);
        Ok(())
    }

    /// The header of a JPEG of these components, up to where the coded data begin.
    pub(super) fn header(&self, frame: &Frame, restart: u16, of: Range<usize>) -> Vec<u8> {
        let mut header = vec![0xff, 0xd8];
        let mut segment = |marker: u8, bytes: &[u8]| {
            let length = (bytes.len() as u16 + 2).to_be_bytes();
            header.extend([0xff, marker]);
            header.extend(length);
            header.extend(bytes);
        };
        for (marker, tables) in TABLES.into_iter().zip(&self.tables) {
            for table in tables.iter().flatten() {
                segment(marker, table);
            }
        }
        if restart != 0 {
            segment(0xdd, &restart.to_be_bytes());
        }
        let (width, height) = frame.size;
        let mut bytes = vec![8];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.push(of.len() as u8);
        let components = frame.components.get(of.clone()).unwrap_or_default();
        bytes.extend(components.as_flattened());
        segment(frame.marker, &bytes);
        let mut bytes = vec![of.len() as u8];
        bytes.extend(self.scan.get(of).unwrap_or_default().as_flattened());
        bytes.extend([0, 63, 0]);
        segment(0xda, &bytes);
        header
    }
}

/// A table that stands in the file by itself: 64 numbers, or how many codes there are of each of
/// 16 lengths and what they stand for.
pub(super) fn stored_table(
    file: &[u8],
    kind: usize,
    nth: u8,
    place: u64,
) -> Result<Vec<u8>, ImageError> {
    let rest = slice(file, place, 0);
    let (class, length) = match kind {
        0 => (0, 64),
        _ => {
            let codes = rest.get(..16).unwrap_or_default().iter();
            let codes: usize = codes.map(|&count| usize::from(count)).sum();
            (((kind as u8) - 1) << 4, 16 + codes)
        }
    };
    let table = rest.get(..length).filter(|_| length <= 16 + 256);
    let table = table.ok_or_else(|| damaged("one of its JPEG tables is cut short"))?;
    Ok([&[class | nth], table].concat())
}
