//! Old-style JPEG (TIFF 6.0, section 22), read as libtiff reads it (`tif_ojpeg.c`).
//!
//! What a file has of a JPEG lies in one stream: first the "interchange format", if there is one,
//! then all strips or tiles one after the other. Where the stream begins with JPEG's own segments,
//! they say what it is; otherwise the tags of the directory say where its tables are. Either way a
//! new header is made, and what follows in the stream is the data of its only scan, with a restart
//! marker between two strips. So a strip cannot be decoded alone, and no strip is decoded twice:
//! rows come from top to bottom, and none of the picture is in memory but those.
//!
//! Tiles lie one below the other in it, those of all columns ([`columns`]).
//!
//! Where samples of a kind are by themselves ([`planes`]), each kind is a scan of its own, and all but the
//! last are held whole.
//!
//! libtiff takes what libjpeg gives for each component and converts it itself: colour differences
//! are not interpolated, as with the other YCbCr of TIFF ([`super::ycc`]).

mod coded;
mod columns;
mod parts;
mod planes;
mod tables;

use super::damaged;
use super::ifd::{Directory, tag};
use super::layout::{Layout, unsupported};
use super::ycc;
use crate::decode::Job;
use crate::work;
use crate::{ImageError, ImageFormat, ImageLimits, jpeg};
use coded::Coded;
use columns::Columns;
use parts::{Cursor, Parts};
use tables::{Tables, no_frame};

/// Nanoseconds for each byte of coded data.
const BYTE: u64 = 16;
/// Components of every one that is taken.
const COMPONENTS: usize = 3;
/// The longest segment of Huffman tables that is not repetition: four of each kind, in full.
const MOST_TABLES: usize = 8 * (17 + 256);

/// One JPEG of a picture, whose data go on at a place of the stream.
struct Stream<'a> {
    header: Vec<u8>,
    cursor: Cursor<'a>,
}

/// A picture of this kind, ready to be decoded: one stream, or one for each plane.
pub(super) struct OldJpeg<'a> {
    streams: Vec<Stream<'a>>,
    /// Width of the JPEG.
    width: usize,
    height: usize,
    columns: Columns,
}

impl<'a> OldJpeg<'a> {
    /// Reads the header of the stream.
    pub(super) fn new(directory: &Directory<'a>, layout: &Layout<'a>) -> Result<Self, ImageError> {
        let (width, rows) = layout.chunk;
        let columns = Columns::new(layout.chunk, (layout.width, layout.height));
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
        let lines = |frame: &tables::Frame| usize::from(frame.size.1);
        if columns.count > 1
            && tables
                .frame
                .as_ref()
                .is_none_or(|it| lines(it) < columns.lines())
        {
            // Nor does it find more than the first column's height of it.
            return unsupported(
                "TIFF with old-style JPEG in several columns of tiles, whose JPEG does not say that \
                 it is as high as all of them",
            );
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
            columns,
        })
    }

    /// Bytes that decoding takes beside the pixels.
    pub(super) fn scratch(&self) -> Result<u64, ImageError> {
        let mut bytes = 64 << 10;
        for stream in &self.streams {
            let held = (2 * stream.header.len() + 3 * self.width) as u64;
            bytes += jpeg::scratch(&stream.header)? + held;
        }
        let planes = planes::held(self.streams.len(), (self.width, self.height));
        Ok(bytes + planes + self.columns.held(COMPONENTS))
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
            (Some(whole), 0) => {
                let size = (self.width, self.columns.lines());
                let take = self.columns.joined(COMPONENTS, take);
                jpeg::read_rows(whole, size, job.stop, take)
            }
            (first, _) => planes::read(first.into_iter().chain(readers), size, job.stop, take),
        }
    }
}
