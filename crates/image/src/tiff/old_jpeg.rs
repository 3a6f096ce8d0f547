//! Old-style JPEG (TIFF 6.0, section 22), read as libtiff reads it (`tif_ojpeg.c`).
//!
//! What a file has of a JPEG lies in one stream: first the "interchange format", if there is one,
//! then all strips or tiles one after the other. Where the stream begins with JPEG's own segments,
//! they say what it is; otherwise the tags of the directory say where its tables are. Either way a
//! new header is made, and what follows in the stream is the data of its only scan, with a restart
//! marker between two strips. So a strip cannot be decoded alone, and no strip is decoded twice:
//! rows come from top to bottom, and none of the picture is in memory but those.
//!
//! Where samples of a kind are by themselves ([`planes`]), each kind is a scan of its own.
//!
//! libtiff takes what libjpeg gives for each component and converts it itself: colour differences
//! are not interpolated, as with the other YCbCr of TIFF ([`super::ycc`]).

mod planes;

use std::io::{self, BufRead, Read};
use std::ops::Range;

use super::damaged;
use super::ifd::{Directory, Numbers, tag};
use super::layout::{Layout, unsupported};
use super::ycc;
use crate::decode::Job;
use crate::work::{self, Stop};
use crate::{ImageError, ImageFormat, ImageLimits, jpeg};

/// Nanoseconds for each byte of coded data.
const BYTE: u64 = 16;
/// Components of every one that is taken.
const COMPONENTS: usize = 3;
/// The longest segment of Huffman tables that is not repetition: four of each kind, in full.
const MOST_TABLES: usize = 8 * (17 + 256);

/// The data of a file in the order in which libtiff reads it.
#[derive(Clone, Copy)]
struct Parts<'a> {
    file: &'a [u8],
    interchange: &'a [u8],
    offsets: Numbers<'a>,
    counts: Option<Numbers<'a>>,
    /// Strips or tiles.
    strips: usize,
}

impl<'a> Parts<'a> {
    fn of(directory: &Directory<'a>, layout: &Layout<'a>) -> Self {
        let file = directory.file();
        let number = |tag| directory.number(tag).unwrap_or(0);
        let strips = layout.height.div_ceil(layout.chunk.1) * layout.planes();
        Self {
            file,
            interchange: slice(
                file,
                number(tag::JPEG_INTERCHANGE),
                number(tag::JPEG_INTERCHANGE_LENGTH),
            ),
            offsets: layout.offsets,
            counts: layout.counts,
            strips: strips.min(layout.offsets.len()),
        }
    }

    /// The interchange format is the first, and the strips follow; none where they end.
    fn get(&self, part: usize) -> Option<&'a [u8]> {
        let Some(strip) = part.checked_sub(1) else {
            return Some(self.interchange);
        };
        if strip >= self.strips {
            return None;
        }
        let count = self.counts.and_then(|counts| counts.get(strip));
        Some(slice(
            self.file,
            self.offsets.get(strip)?,
            count.unwrap_or(0),
        ))
    }
}

/// A piece of the file, up to its end where it would go beyond or has no length. It is empty if it
/// begins nowhere.
fn slice(file: &[u8], start: u64, length: u64) -> &[u8] {
    let rest = usize::try_from(start)
        .ok()
        .filter(|&start| start > 0)
        .and_then(|start| file.get(start..))
        .unwrap_or_default();
    match usize::try_from(length) {
        Ok(length) if length > 0 => rest.get(..length).unwrap_or(rest),
        _ => rest,
    }
}

/// A place in the parts.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    parts: Parts<'a>,
    part: usize,
    rest: &'a [u8],
    /// Bytes that may still be read.
    left: usize,
}

impl<'a> Cursor<'a> {
    fn new(parts: Parts<'a>) -> Self {
        Self {
            parts,
            part: 0,
            rest: parts.interchange,
            // Strips that are the same bytes again and again could be a header without end.
            left: parts.file.len(),
        }
    }

    fn peek(&mut self) -> Result<u8, ImageError> {
        loop {
            if let Some(&byte) = self.rest.first() {
                return Ok(byte);
            }
            self.part += 1;
            let part = self.parts.get(self.part);
            self.rest = part.ok_or_else(|| damaged("its JPEG ends within its header"))?;
        }
    }

    fn byte(&mut self) -> Result<u8, ImageError> {
        let byte = self.peek()?;
        self.rest = self.rest.get(1..).unwrap_or_default();
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| damaged("the header of its JPEG does not end"))?;
        Ok(byte)
    }

    /// The length of a segment without the two bytes that it is written in.
    fn length(&mut self) -> Result<usize, ImageError> {
        let length = self.word()?;
        let length = usize::from(length).checked_sub(2);
        length.ok_or_else(|| damaged("a segment of its JPEG is too short"))
    }

    fn word(&mut self) -> Result<u16, ImageError> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, ImageError> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// As in libtiff, no further than to the end of the part.
    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }
}

/// What the new header is made of.
#[derive(Default)]
struct Tables {
    /// Segments of quantization, and of Huffman tables for the first and the other coefficients,
    /// without marker and length.
    tables: [[Option<Vec<u8>>; 4]; 3],
    restart: Option<u16>,
    frame: Option<Frame>,
    /// Selectors of a component and of its tables.
    scan: [[u8; 2]; COMPONENTS],
}

fn no_frame() -> ImageError {
    damaged("its JPEG has no frame header")
}

#[derive(Clone, Copy)]
struct Frame {
    marker: u8,
    size: (u16, u16),
    /// Number, factors and quantization table of each component.
    components: [[u8; 3]; COMPONENTS],
}

/// Marker of quantization tables, of those of the first and of the other coefficients.
const TABLES: [u8; 3] = [0xdb, 0xc4, 0xc4];

impl Tables {
    /// Reads JPEG's own segments, as far as there are any, up to a scan of so many components.
    fn read(cursor: &mut Cursor<'_>, in_scan: usize) -> Result<Self, ImageError> {
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

    fn quantization(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ImageError> {
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
    fn huffman(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ImageError> {
        let length = cursor.length()?;
        if !(1..=MOST_TABLES).contains(&length) {
            return Err(damaged("its Huffman tables have an unusual length"));
        }
        let table = cursor.bytes(length)?;
        match (table[0] >> 4, usize::from(table[0] & 15)) {
            (kind @ (0 | 1), nth) => self.put(usize::from(kind) + 1, nth, table),
            _ => Err(damaged("its Huffman tables are of no known kind")),
        }
    }

    fn put(&mut self, kind: usize, nth: usize, table: Vec<u8>) -> Result<(), ImageError> {
        let place = self.tables.get_mut(kind).and_then(|all| all.get_mut(nth));
        *place.ok_or_else(|| damaged("it has more than four JPEG tables of a kind"))? = Some(table);
        Ok(())
    }

    fn frame(&mut self, marker: u8, cursor: &mut Cursor<'_>) -> Result<(), ImageError> {
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
    fn scan(&mut self, cursor: &mut Cursor<'_>, of: Range<usize>) -> Result<(), ImageError> {
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
    fn complete(
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
    fn header(&self, frame: &Frame, restart: u16, of: Range<usize>) -> Vec<u8> {
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
fn stored_table(file: &[u8], kind: usize, nth: u8, place: u64) -> Result<Vec<u8>, ImageError> {
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

/// One JPEG of a picture, whose data go on at a place of the stream.
struct Stream<'a> {
    header: Vec<u8>,
    cursor: Cursor<'a>,
}

/// A picture of this kind, ready to be decoded: one stream, or one for each plane.
pub(super) struct OldJpeg<'a> {
    streams: Vec<Stream<'a>>,
    width: usize,
    height: usize,
}

impl<'a> OldJpeg<'a> {
    /// Reads the header of the stream.
    pub(super) fn new(directory: &Directory<'a>, layout: &Layout<'a>) -> Result<Self, ImageError> {
        let (width, rows) = layout.chunk;
        if width < layout.width {
            return unsupported("TIFF with old-style JPEG in several columns of tiles");
        }
        let mut cursor = Cursor::new(Parts::of(directory, layout));
        let in_scan = if layout.planar { 1 } else { COMPONENTS };
        let mut tables = Tables::read(&mut cursor, in_scan)?;
        let tiled = directory.number(tag::TILE_OFFSETS).is_some();
        let height = match tiled {
            true => layout.height.next_multiple_of(rows),
            false => layout.height,
        };
        if tables.frame.is_none() && layout.planar {
            // libtiff makes noise of it.
            return unsupported("TIFF with old-style JPEG in planes without a header");
        }
        if tables.frame.is_none() {
            let said = directory.numbers(tag::SUBSAMPLING);
            let side = |nth| said.and_then(|all| all.get(nth)).unwrap_or(2);
            let factors = (side(0).min(15) as u8, side(1).min(15) as u8);
            tables.complete(directory, (width, height), factors)?;
        }
        let frame = tables.frame.as_ref().ok_or_else(no_frame)?;
        let [[_, luma, _], [_, blue, _], [_, red, _]] = frame.components;
        let (across, down) = (usize::from(luma >> 4), usize::from(luma & 15));
        let taken = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)];
        if !taken.contains(&(across, down)) || (blue, red) != (0x11, 0x11) {
            return Err(damaged("its YCbCr subsampling is an unusual one"));
        }
        if layout.planar && (across, down) != (1, 1) {
            return Err(damaged("its planes are subsampled"));
        }
        ycc::fits((layout.width, layout.height), (across, down))?;
        if usize::from(frame.size.0) != width || usize::from(frame.size.1) < layout.height {
            return Err(damaged("the JPEG within it has another size"));
        }
        let told = directory.number(tag::JPEG_RESTART_INTERVAL).unwrap_or(0) as u16;
        let restart = if rows < layout.height {
            if rows % (8 * down) != 0 {
                return Err(damaged("its strips end within a unit of its JPEG"));
            }
            // Strips are what lies between two restart markers.
            (width.div_ceil(8 * across) * (rows / (8 * down))) as u16
        } else {
            told
        };
        let restart = tables.restart.unwrap_or(restart);
        let streams = if layout.planar {
            planes::streams(tables, cursor, restart)?
        } else {
            let header = tables.header(frame, restart, 0..COMPONENTS);
            vec![Stream { header, cursor }]
        };
        Ok(Self {
            streams,
            width,
            height: layout.height,
        })
    }

    /// Bytes that decoding takes beside the pixels.
    pub(super) fn scratch(&self) -> Result<u64, ImageError> {
        let mut bytes = 64 << 10;
        for stream in &self.streams {
            let held = (2 * stream.header.len() + 3 * self.width) as u64;
            bytes += jpeg::scratch(&stream.header)? + held;
        }
        Ok(bytes + planes::held(self.streams.len(), (self.width, self.height)))
    }

    /// All of the coded data are gone through once at most, for each plane.
    pub(super) fn check_work(&self, limits: &ImageLimits) -> Result<(), ImageError> {
        let mut nanoseconds = 0u64;
        for Stream { header, cursor } in &self.streams {
            let parts = cursor.parts;
            let later = (cursor.part + 1..=parts.strips).map_while(|part| parts.get(part));
            let later: u64 = later.map(|part| part.len() as u64).sum();
            let bytes = later.saturating_add(cursor.rest.len() as u64);
            nanoseconds = nanoseconds
                .saturating_add(jpeg::work(header, limits)?)
                .saturating_add(bytes.saturating_mul(BYTE))
                .saturating_add(100 * parts.strips as u64);
        }
        work::check(ImageFormat::Tiff, nanoseconds, "its old-style JPEG")
    }

    /// Gives the rows of a picture that has passed [`check_work`](Self::check_work) to `take`, with the three samples of each pixel side by side, or each in a row of
    /// its own if the layout says so.
    pub(super) fn read(
        self,
        job: &Job<'_>,
        take: impl FnMut(usize, &[Vec<u8>]),
    ) -> Result<(), ImageError> {
        let size = (self.width, self.height);
        let mut readers = self
            .streams
            .into_iter()
            .map(|stream| Coded::new(stream.header, stream.cursor, job.stop));
        match (readers.next(), readers.len()) {
            (Some(whole), 0) => jpeg::read_rows(whole, size, job.stop, take),
            (first, _) => planes::read(first.into_iter().chain(readers), size, job.stop, take),
        }
    }
}

/// What a piece of the stream is.
enum Piece<'a> {
    Header,
    File(&'a [u8]),
    Marker([u8; 2]),
}

/// The stream as libjpeg is to see it: the new header, the data of all parts, and a marker of the
/// end however often it is asked for.
struct Coded<'a> {
    header: Vec<u8>,
    cursor: Cursor<'a>,
    piece: Piece<'a>,
    at: usize,
    /// Restart markers so far, and whether the strip that is being read is followed by one.
    restarts: u8,
    restart: bool,
    stop: &'a Stop<'a>,
}

impl<'a> Coded<'a> {
    /// Between two pieces is asked whether anybody still waits.
    const PIECE: usize = 4096;

    fn new(header: Vec<u8>, cursor: Cursor<'a>, stop: &'a Stop<'a>) -> Self {
        let is_strip = (1..cursor.parts.strips).contains(&cursor.part);
        Self {
            header,
            restart: is_strip && !cursor.rest.is_empty(),
            cursor,
            // libjpeg's source asks for the first piece before it moves this to where it stays: a
            // header is on the heap, and does not move with it.
            piece: Piece::Header,
            at: 0,
            restarts: 0,
            stop,
        }
    }

    fn piece(&self) -> &[u8] {
        match &self.piece {
            Piece::Header => &self.header,
            Piece::File(bytes) => bytes,
            Piece::Marker(bytes) => bytes,
        }
    }

    fn next(&mut self) {
        self.at = 0;
        let cursor = &mut self.cursor;
        if cursor.rest.is_empty() {
            if std::mem::take(&mut self.restart) {
                self.piece = Piece::Marker([0xff, 0xd0 + self.restarts % 8]);
                self.restarts = self.restarts.wrapping_add(1);
                return;
            }
            while cursor.rest.is_empty() {
                cursor.part += 1;
                let Some(rest) = cursor.parts.get(cursor.part) else {
                    self.piece = Piece::Marker([0xff, 0xd9]);
                    return;
                };
                cursor.rest = rest;
            }
            self.restart = cursor.part < cursor.parts.strips;
        }
        let (now, later) = cursor.rest.split_at(cursor.rest.len().min(Self::PIECE));
        cursor.rest = later;
        self.piece = Piece::File(now);
    }
}

impl BufRead for Coded<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.piece().len() {
            self.next();
            let work = self.piece().len() as u64 * 4 * BYTE;
            self.stop.work(work).map_err(io::Error::other)?;
        }
        Ok(self.piece().get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Coded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.fill_buf()?;
        let read = rest.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
