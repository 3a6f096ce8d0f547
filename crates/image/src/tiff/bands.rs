//! The strips or tiles of a TIFF that lie side by side, row for row.
//!
//! Nothing but the rows that are being read and the states of their decompressors is in
//! memory, or the samples where those are fewer; strips and tiles that are JPEGs are there as
//! a whole.

use super::fax::{Coding, Fax};
use super::ifd::Order;
use super::layout::{Colour, Compression, Layout, Prediction};
use super::packed::{
    FAX_BYTE, LAB_BYTE, LZMA_BYTE, PACKED_BYTE, SAMPLE_BYTE, STATE, Unpacker, window,
};
use super::ycc;
use super::{damaged, truncated};
use crate::decode::Job;
use crate::work::{self, MAX_WORK, Stop};
use crate::{ImageError, ImageFormat, ImageLimits, jpeg};

/// How the strips or tiles of an image lie.
#[derive(Clone, Copy)]
struct Grid {
    across: usize,
    down: usize,
    planes: usize,
}

impl Grid {
    fn new(layout: &Layout<'_>) -> Self {
        Self {
            across: layout.width.div_ceil(layout.chunk.0),
            down: layout.height.div_ceil(layout.chunk.1),
            planes: layout.planes(),
        }
    }

    fn count(&self) -> usize {
        self.across * self.down * self.planes
    }
}

/// Rows of a strip or tile at this height of the grid: a tile is there as a whole, a last
/// strip may be short.
fn rows(layout: &Layout<'_>, grid: &Grid, down: usize) -> usize {
    match grid.across {
        1 => layout.chunk.1.min(layout.height - down * layout.chunk.1),
        _ => layout.chunk.1,
    }
}

/// Bytes of a decompressor that unpacks one of the strips or tiles, at most.
fn state(bytes: &[u8], layout: &Layout<'_>, grid: &Grid) -> usize {
    let chunk = layout.row_bytes(layout.chunk.0) * layout.chunk.1;
    let windows = match layout.compression {
        // There may be fewer than the grid has: this is asked before anything is checked.
        Compression::Zstd => grid.count().min(layout.offsets.len()),
        _ => 1,
    };
    let windows = (0..windows).map(|index| {
        let packed = packed(bytes, layout, index).unwrap_or_default();
        window(packed, layout, chunk)
    });
    windows.max().unwrap_or(0).saturating_add(STATE)
}

/// Whether strips or tiles of `chunk` bytes are unpacked as a whole: where that is less than what
/// is needed to go on with each of those that lie side by side.
fn as_a_whole(layout: &Layout<'_>, grid: &Grid, chunk: usize, state: usize) -> bool {
    match layout.compression {
        // Rows of a fax are read one by one.
        Compression::None | Compression::Fax(_) => false,
        Compression::Jpeg => true,
        _ if layout.ycc_units.is_some() => true,
        _ if grid.across * grid.planes == 1 => chunk <= STATE,
        _ => chunk <= state,
    }
}

/// Bytes that are in memory at a time, at most.
pub(super) fn scratch(bytes: &[u8], layout: &Layout<'_>) -> u64 {
    let grid = Grid::new(layout);
    let row = layout.row_bytes(layout.chunk.0) as u64;
    let chunk = row * layout.chunk.1 as u64;
    let sources = (grid.across * grid.planes) as u64;
    let state = state(bytes, layout, &grid);
    let whole = as_a_whole(layout, &grid, chunk as usize, state);
    let each = match layout.compression {
        Compression::None => 2 * 4096,
        Compression::Fax(_) => 4096 + Fax::bytes(layout.chunk.0),
        _ if whole => chunk + 4096,
        _ => state as u64 + 4096,
    };
    // While one is unpacked: all coefficients, in whole units of at most 4 x 4 blocks.
    let one = match layout.compression {
        Compression::Jpeg => {
            let samples = if layout.planar {
                1
            } else {
                layout.samples as u64
            };
            let side = |side: usize| side.next_multiple_of(32) as u64;
            2 * side(layout.chunk.0) * side(layout.chunk.1) * samples
                + side(layout.chunk.0) * samples * 128
                + layout.jpeg_tables.map_or(0, <[u8]>::len) as u64
        }
        _ if whole => state as u64 + ycc::unit_row_bytes(layout) as u64,
        _ => 0,
    };
    sources * (each + 128) + one + row * (grid.planes as u64 + 3) + (64 << 10)
}

/// What decoding costs at most, in nanoseconds: refused where strips or tiles are the same
/// bytes again and again, or of hardly a pixel each, or JPEGs of many scans. A file of 19 KB
/// could ask for minutes, one of 1 MB for hours.
pub(super) fn check_work(job: &Job<'_>, layout: &Layout<'_>) -> Result<(), ImageError> {
    /// To set a decompressor up.
    const SETUP: u64 = 10_000;
    /// To find a piece of the file.
    const LOOK: u64 = 100;
    let chunk = layout.row_bytes(layout.chunk.0) as u64 * layout.chunk.1 as u64;
    let count = Grid::new(layout).count();
    if layout.offsets.len() < count {
        return Err(damaged("it has too few strips or tiles"));
    }
    let what = format!("its {count} strips or tiles, which overlap or are too many,");
    let mut nanoseconds = 0u64;
    // The same strip again costs the same again, and is not looked at anew.
    let mut last = (&[][..], 0);
    for index in 0..count {
        let packed = packed(job.bytes, layout, index).unwrap_or_default();
        nanoseconds += match layout.compression {
            Compression::None => LOOK,
            Compression::Jpeg => {
                if last.0.as_ptr() != packed.as_ptr() || last.0.len() != packed.len() {
                    let tables = layout.jpeg_tables.map_or(0, <[u8]>::len);
                    // Looking at it takes time as well.
                    job.stop.work((packed.len() + tables) as u64)?;
                    // One that is no JPEG ends it here: looking at tens of thousands of them is
                    // what a file of a megabyte could ask for.
                    last = (packed, jpeg::work(&jpeg_file(packed, layout), job.limits)?);
                }
                last.1
            }
            // It may have to be read twice.
            Compression::Fax(Coding::Group3 { .. }) => SETUP + 2 * packed.len() as u64 * FAX_BYTE,
            Compression::Fax(_) => SETUP + packed.len() as u64 * FAX_BYTE,
            _ => SETUP + packed.len() as u64 * PACKED_BYTE,
        };
        nanoseconds += chunk * sample_byte(layout);
        if nanoseconds > MAX_WORK {
            break;
        }
    }
    work::check(ImageFormat::Tiff, nanoseconds, &what)
}

/// Nanoseconds for each byte of samples.
fn sample_byte(layout: &Layout<'_>) -> u64 {
    match (layout.compression, &layout.colour) {
        (Compression::Lzma, _) => LZMA_BYTE,
        (_, Colour::Lab) => LAB_BYTE,
        _ => SAMPLE_BYTE,
    }
}

/// The bytes of a strip or tile from its offset on, as many as the file says that it has.
fn packed<'a>(bytes: &'a [u8], layout: &Layout<'_>, index: usize) -> Option<&'a [u8]> {
    let start = usize::try_from(layout.offsets.get(index)?).ok()?;
    let rest = bytes.get(start..)?;
    match layout.counts.and_then(|counts| counts.get(index)) {
        // Pillow reads uncompressed samples whatever the count says.
        Some(count) if layout.compression != Compression::None => {
            rest.get(..usize::try_from(count).ok()?)
        }
        _ => Some(rest),
    }
}

/// Reads all rows of a picture that has passed [`check_work`], and gives them to `take`: the number of a row, and its samples, each plane
/// on its own.
pub(super) fn read(
    job: &Job<'_>,
    layout: &Layout<'_>,
    mut take: impl FnMut(usize, &[Vec<u8>]),
) -> Result<(), ImageError> {
    let grid = Grid::new(layout);
    let state = state(job.bytes, layout, &grid);
    let chunk = layout.row_bytes(layout.chunk.0) * layout.chunk.1;
    let whole = as_a_whole(layout, &grid, chunk, state);
    let chunk_row = layout.row_bytes(layout.chunk.0);
    let row_bytes = layout.row_bytes(layout.width);
    let mut planes = vec![vec![0; row_bytes]; grid.planes];
    let mut part = vec![0; chunk_row];
    let mut spare = Vec::new();
    for down in 0..grid.down {
        let top = down * layout.chunk.1;
        let rows = rows(layout, &grid, down);
        let used = rows.min(layout.height - top);
        let mut sources = Vec::with_capacity(grid.across * grid.planes);
        for plane in 0..grid.planes {
            for across in 0..grid.across {
                let index = (plane * grid.down + down) * grid.across + across;
                sources.push(source(job, layout, index, (rows, used), whole)?);
            }
        }
        for y in top..top + used {
            job.stop
                .work((row_bytes * grid.planes) as u64 * sample_byte(layout))?;
            for (row, sources) in planes.iter_mut().zip(sources.chunks_mut(grid.across)) {
                for (to, source) in row.chunks_mut(chunk_row).zip(sources) {
                    source.read(&mut part)?;
                    match layout.predicted {
                        Prediction::None => {}
                        Prediction::Left => undo_prediction(&mut part, layout)?,
                        Prediction::Float => undo_float_prediction(&mut part, &mut spare, layout),
                    }
                    to.copy_from_slice(&part[..to.len()]);
                }
            }
            take(y, &planes);
        }
    }
    Ok(())
}

/// A strip or tile, ready to be read; all of it is unpacked here if it is to be there as a `whole`.
fn source<'a>(
    job: &'a Job<'_>,
    layout: &Layout<'_>,
    index: usize,
    (rows, used): (usize, usize),
    whole: bool,
) -> Result<Unpacker<'a>, ImageError> {
    /// Between two of them is asked whether anybody still waits.
    const PIECE: usize = 64 << 10;
    let packed = packed(job.bytes, layout, index).ok_or_else(truncated)?;
    if layout.compression == Compression::Jpeg {
        let samples = jpeg_samples(packed, layout, used, job.limits, job.stop)?;
        return Ok(Unpacker::Whole(samples, 0));
    }
    let mut unpacker = Unpacker::new(packed, layout, job.stop)?;
    if !whole {
        return Ok(unpacker);
    }
    if let Some(units) = layout.ycc_units {
        let samples = ycc::samples(&mut unpacker, layout, units, rows, job.stop)?;
        return Ok(Unpacker::Whole(samples, 0));
    }
    let mut samples = vec![0; layout.row_bytes(layout.chunk.0) * rows];
    for piece in samples.chunks_mut(PIECE) {
        job.stop.work(piece.len() as u64 * sample_byte(layout))?;
        unpacker.read(piece)?;
    }
    Ok(Unpacker::Whole(samples, 0))
}

/// A strip or tile with the tables that stand in the directory, as a file.
fn jpeg_file(packed: &[u8], layout: &Layout<'_>) -> Vec<u8> {
    let tables = layout
        .jpeg_tables
        .and_then(|tables| tables.strip_suffix(b"\xff\xd9"));
    let body = packed.strip_prefix(b"\xff\xd8").unwrap_or(packed);
    [tables.unwrap_or(b"\xff\xd8"), body].concat()
}

/// The samples of a strip or tile that is a JPEG.
fn jpeg_samples(
    packed: &[u8],
    layout: &Layout<'_>,
    rows: usize,
    limits: &ImageLimits,
    stop: &Stop<'_>,
) -> Result<Vec<u8>, ImageError> {
    let file = jpeg_file(packed, layout);
    // Before it is decoded: the size in there is another claim than the one that was
    // checked against the limits.
    let (width, height, components) = jpeg::shape(&file)?;
    let heights = rows..=layout.chunk.1;
    if width as usize != layout.chunk.0 || !heights.contains(&(height as usize)) {
        return Err(damaged("a JPEG within it has another size"));
    }
    if components != if layout.planar { 1 } else { layout.samples } {
        return Err(damaged("a JPEG within it has another number of components"));
    }
    jpeg::work(&file, limits)?;
    jpeg::decode_samples(&file, layout.jpeg_ycc, stop)
}

/// Adds the left neighbour to each sample (TIFF 6.0, section 14).
fn undo_prediction(row: &mut [u8], layout: &Layout<'_>) -> Result<(), ImageError> {
    let size = layout.bits / 8;
    let samples = if layout.planar { 1 } else { layout.samples };
    match layout.bits {
        8 => {
            for at in samples..row.len() {
                row[at] = row[at].wrapping_add(row[at - samples]);
            }
        }
        16 | 32 => {
            let order = layout.order;
            let step = samples * size;
            for at in (step..row.len()).step_by(size) {
                let left = order.number(&row[at - step..][..size]);
                let sum = order.number(&row[at..][..size]).wrapping_add(left);
                order.put(sum, &mut row[at..][..size]);
            }
        }
        bits => {
            return Err(damaged(format_args!("it predicts samples of {bits} bits")));
        }
    }
    Ok(())
}

/// Adds the byte to the left to each, and puts those of each float side by side again, the most
/// significant of which comes first.
fn undo_float_prediction(row: &mut [u8], spare: &mut Vec<u8>, layout: &Layout<'_>) {
    let samples = if layout.planar { 1 } else { layout.samples };
    for at in samples..row.len() {
        row[at] = row[at].wrapping_add(row[at - samples]);
    }
    spare.clear();
    spare.extend_from_slice(row);
    let floats = row.len() / 4;
    for (nth, float) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let bytes = [0, 1, 2, 3].map(|byte| spare[byte * floats + nth]);
        *float = match layout.order {
            Order::Big => bytes,
            Order::Little => u32::from_be_bytes(bytes).to_le_bytes(),
        };
    }
}
