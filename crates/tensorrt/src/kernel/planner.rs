//! Plans a batch for the kernel: the place of each picture, the coefficients of its target
//! pixels, and the number of blocks to launch. Nothing here needs a device.
//!
//! ```text
//! [(width, height)] --Planner--> table (for the device) + Plan (for the launch)
//! ```
//!
//! The layout of the table is that of `Header`, `Picture` and `Set` in resize.cu. The table is
//! written once, from start to end, and never read, because it may lie in write-combined memory.
//! Coefficients are kept from batch to batch: a photo collection has only a few dozen widths
//! and heights.

use std::ffi::CStr;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use lru::LruCache;

use super::Element;
use super::set::{Axis, Set};
use siglip2_image::{Coefficients, Filter, Processor};

/// The longest side of a picture, in pixels: buffers on the device are as large as the longest
/// one needs them.
pub const MAX_SIDE: u32 = 65_535;

/// The alignment of every picture's offset in the source buffer, in bytes.
pub const SOURCE_ALIGN: usize = 256;

/// How far past a picture's end the kernel may read: four pixels at the end of the last row
/// begin at most 1 pixel before its end, and are read as four whole words.
const SOURCE_SLACK: usize = 16;

/// Threads of a block, of every entry point; as in resize.cu.
pub const THREADS: u32 = 256;
/// Rows of a tile of the width pass, as in resize.cu.
const TILE_ROWS: u32 = 8;

const HEADER_BYTES: usize = 16;
/// `Picture`, and its first block.
const PICTURE_BYTES: usize = 40 + 4;

/// Bytes of coefficients to keep. A set for 1920 pixels at S = 224 has 9 KB with the
/// bilinear filter, one for 65,535 pixels 260 KB.
const KEEP_BYTES: usize = 16 << 20;

/// Why a batch cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No pictures, or more than fit in a grid.
    #[error("cannot resize a batch of {0} pictures: it must have 1 to 65,535")]
    Count(usize),
    /// A side of 0, or too large.
    #[error(
        "cannot resize a picture of {width} x {height} pixels: sides must have 1 to {MAX_SIDE}"
    )]
    Side {
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// The caller's buffer is too short.
    #[error(
        "the resize table needs {needed} bytes but its buffer has {available}: use a smaller batch"
    )]
    TableFull {
        /// Bytes that the table needs.
        needed: usize,
        /// Bytes that the buffer has.
        available: usize,
    },
    /// Offsets too large for the table.
    #[error("the batch is too large for the resize kernel: {0}")]
    TooLarge(&'static str),
}

/// The most that a picture takes of each of a slot's buffers, in bytes. A batch takes the sum,
/// plus [`Planner::fixed_table_bytes`] of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of the source buffer: exact.
    pub source_bytes: usize,
    /// Of the table: less if pictures share a width or a height.
    pub table_bytes: usize,
    /// Of the scratch buffer: exact.
    pub scratch_bytes: usize,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            source_bytes: self.source_bytes + other.source_bytes,
            table_bytes: self.table_bytes + other.table_bytes,
            scratch_bytes: self.scratch_bytes + other.scratch_bytes,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// How to launch a batch; the data that the device reads is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where each picture begins in the source buffer, in bytes. Rows follow each other
    /// without padding, three bytes a pixel.
    pub offsets: Vec<usize>,
    /// Bytes of the source buffer that are read: the pictures, and the bytes between and after
    /// them, whose values do not matter.
    pub source_bytes: usize,
    /// Bytes of the table that were written and must be uploaded.
    pub table_bytes: usize,
    /// Bytes of the scratch buffer that are written and read.
    pub scratch_bytes: usize,
    /// Elements of the output: pictures x 3 x S x S.
    pub out_elements: usize,
    /// The type of the output's elements.
    pub element: Element,
    /// Blocks of the width pass; none when no picture needs one.
    width_blocks: u32,
    /// Blocks of the second launch: for one picture, and pictures.
    normalize_blocks: [u32; 2],
}

/// An entry point of resize.cu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The width pass, from source to scratch.
    Width,
    /// The height pass, and the normalization.
    Normalize(Element),
}

impl Entry {
    /// Its name in the compiled kernel.
    pub fn name(self) -> &'static CStr {
        match self {
            Self::Width => c"resize_width",
            Self::Normalize(Element::Fp16) => c"resize_normalize_fp16",
            Self::Normalize(Element::Fp32) => c"resize_normalize_fp32",
        }
    }
}

impl Plan {
    /// The launches, in order, each with its number of blocks of [`THREADS`] threads. Each
    /// entry point takes four pointers: source, table, scratch, out.
    pub fn launches(&self) -> impl Iterator<Item = (Entry, [u32; 3])> {
        let [of_one, pictures] = self.normalize_blocks;
        [
            (Entry::Width, [self.width_blocks, 1, 1]),
            (Entry::Normalize(self.element), [of_one, pictures, 1]),
        ]
        .into_iter()
        .filter(|(_, grid)| grid[0] > 0)
    }
}

/// Plans batches for the resize of one checkpoint. Used by one thread.
pub struct Planner {
    size: u32,
    filter: Filter,
    element: Element,
    /// The values of 3 x 256 bytes, encoded as in the table.
    normalization: Vec<u8>,
    sets: LruCache<(Axis, u32), Arc<Set>>,
    /// Bytes of the kept sets.
    kept: usize,
}

impl Planner {
    /// A planner for pictures processed by `processor`, into a tensor of `element`s.
    pub fn new(processor: &Processor, element: Element) -> Self {
        Self {
            size: processor.size(),
            filter: processor.filter(),
            element,
            normalization: element.encode(processor.normalization().as_flattened()),
            sets: LruCache::unbounded(),
            kept: 0,
        }
    }

    /// The cost of a picture, without computing its coefficients.
    ///
    /// # Errors
    ///
    /// [`PlanError::Side`].
    pub fn cost(&self, width: u32, height: u32) -> Result<Cost, PlanError> {
        check(width, height)?;
        let set = |axis, length| {
            if length == self.size {
                return 0;
            }
            Set::most_bytes(
                axis,
                Coefficients::longest(self.filter, length, self.size),
                self.size,
            )
        };
        Ok(Cost {
            source_bytes: source_bytes(width, height),
            table_bytes: PICTURE_BYTES + set(Axis::Across, width) + set(Axis::Down, height),
            scratch_bytes: self.scratch_bytes(width, height),
        })
    }

    /// The size of the table without any pictures, in bytes.
    pub fn fixed_table_bytes(&self) -> usize {
        HEADER_BYTES + self.normalization.len()
    }

    /// The largest size of a table for `pictures` pictures of any sizes, in bytes. A table of
    /// `largest_table_bytes(1)` holds any single picture, and many pictures of usual sizes.
    pub fn largest_table_bytes(&self, pictures: usize) -> usize {
        let set = |axis| {
            let longest = Coefficients::longest(self.filter, MAX_SIDE, self.size);
            Set::most_bytes(axis, longest, self.size)
        };
        self.fixed_table_bytes() + pictures * (PICTURE_BYTES + set(Axis::Across) + set(Axis::Down))
    }

    /// Plans a batch of pictures of these widths and heights, and writes its table to the
    /// start of `table`.
    ///
    /// # Errors
    ///
    /// [`PlanError`]; the contents of `table` are then unspecified.
    pub fn plan_into(
        &mut self,
        pictures: &[(u32, u32)],
        table: &mut [u8],
    ) -> Result<Plan, PlanError> {
        let count = u16::try_from(pictures.len())
            .ok()
            .filter(|&count| count > 0)
            .ok_or(PlanError::Count(pictures.len()))?;
        let pictures_at = self.fixed_table_bytes();
        let mut batch = Placement::new(pictures_at + pictures.len() * PICTURE_BYTES);
        let mut records = Vec::with_capacity(pictures.len());
        let mut offsets = Vec::with_capacity(pictures.len());
        for &(width, height) in pictures {
            check(width, height)?;
            let across = self.place(&mut batch, Axis::Across, width)?;
            let down = self.place(&mut batch, Axis::Down, height)?;
            let mut record = Record {
                source: batch.source_bytes as u64,
                scratch: batch.scratch_bytes as u64,
                width,
                height,
                across: 0,
                down: down.map_or(0, |(at, _)| at),
                first_block: batch.width_blocks,
                tiles: 1,
                columns: 1,
            };
            if let Some((at, set)) = across {
                record.across = at;
                record.columns = set.columns();
                record.tiles = self.size.div_ceil(record.columns);
                let blocks = height.div_ceil(TILE_ROWS) * record.tiles;
                batch.width_blocks = batch
                    .width_blocks
                    .checked_add(blocks)
                    .filter(|&blocks| blocks <= i32::MAX as u32)
                    .ok_or(PlanError::TooLarge("its width pass has 2^31 blocks"))?;
            }
            offsets.push(batch.source_bytes);
            batch.source_bytes += source_bytes(width, height);
            batch.scratch_bytes += self.scratch_bytes(width, height);
            records.push(record);
        }

        let available = table.len();
        let mut out = Writer::new(table, batch.table_bytes).ok_or(PlanError::TableFull {
            needed: batch.table_bytes,
            available,
        })?;
        let blocks_at = pictures_at + pictures.len() * (PICTURE_BYTES - 4);
        for word in [
            self.size,
            u32::from(count),
            pictures_at as u32,
            blocks_at as u32,
        ] {
            out.write(&word.to_le_bytes());
        }
        out.write(&self.normalization);
        for record in &records {
            record.write(&mut out);
        }
        for record in &records {
            out.write(&record.first_block.to_le_bytes());
        }
        for (_, _, set) in &batch.sets {
            out.write(set.bytes());
        }

        let quads = self.size.div_ceil(4);
        Ok(Plan {
            offsets,
            source_bytes: batch.source_bytes,
            table_bytes: batch.table_bytes,
            scratch_bytes: batch.scratch_bytes,
            out_elements: pictures.len() * 3 * self.size as usize * self.size as usize,
            element: self.element,
            width_blocks: batch.width_blocks,
            normalize_blocks: [(self.size * quads).div_ceil(THREADS), u32::from(count)],
        })
    }

    /// The offset in the table of a side's coefficients, if it has a pass.
    fn place(
        &mut self,
        batch: &mut Placement,
        axis: Axis,
        length: u32,
    ) -> Result<Option<(u32, Arc<Set>)>, PlanError> {
        if length == self.size {
            return Ok(None);
        }
        let key = (axis, length);
        if let Some((_, at, set)) = batch.sets.iter().find(|placed| placed.0 == key) {
            return Ok(Some((*at, Arc::clone(set))));
        }
        let set = self.set(axis, length);
        let at = u32::try_from(batch.table_bytes)
            .map_err(|_| PlanError::TooLarge("its table has more than 4 GiB"))?;
        batch.table_bytes += set.bytes().len();
        batch.sets.push((key, at, Arc::clone(&set)));
        Ok(Some((at, set)))
    }

    /// The coefficients of a side, computed if they are not kept yet.
    fn set(&mut self, axis: Axis, length: u32) -> Arc<Set> {
        if let Some(set) = self.sets.get(&(axis, length)) {
            return Arc::clone(set);
        }
        let coefficients = Coefficients::new(self.filter, length, self.size);
        let set = Arc::new(Set::new(axis, &coefficients, length));
        self.kept += set.bytes().len();
        self.sets.put((axis, length), Arc::clone(&set));
        while self.kept > KEEP_BYTES
            && let Some((_, oldest)) = self.sets.pop_lru()
        {
            self.kept -= oldest.bytes().len();
        }
        set
    }

    /// The output of the width pass: three planes of rows of whole words.
    fn scratch_bytes(&self, width: u32, height: u32) -> usize {
        if width == self.size {
            return 0;
        }
        let pitch = self.size.next_multiple_of(4);
        (3 * height as usize * pitch as usize).next_multiple_of(SOURCE_ALIGN)
    }
}

fn check(width: u32, height: u32) -> Result<(), PlanError> {
    let sides = 1..=MAX_SIDE;
    if sides.contains(&width) && sides.contains(&height) {
        return Ok(());
    }
    Err(PlanError::Side { width, height })
}

/// Bytes that a picture takes of the source buffer.
fn source_bytes(width: u32, height: u32) -> usize {
    (width as usize * height as usize * 3 + SOURCE_SLACK).next_multiple_of(SOURCE_ALIGN)
}

/// A batch being laid out.
struct Placement {
    source_bytes: usize,
    scratch_bytes: usize,
    table_bytes: usize,
    width_blocks: u32,
    /// The sets in the table, in order, and their offsets.
    sets: Vec<((Axis, u32), u32, Arc<Set>)>,
}

impl Placement {
    fn new(table_bytes: usize) -> Self {
        Self {
            source_bytes: 0,
            scratch_bytes: 0,
            table_bytes,
            width_blocks: 0,
            sets: Vec::new(),
        }
    }
}

/// `Picture` in resize.cu, and its first block of the width pass.
struct Record {
    source: u64,
    scratch: u64,
    width: u32,
    height: u32,
    across: u32,
    down: u32,
    first_block: u32,
    tiles: u32,
    columns: u32,
}

impl Record {
    fn write(&self, out: &mut Writer<'_>) {
        out.write(&self.source.to_le_bytes());
        out.write(&self.scratch.to_le_bytes());
        for word in [
            self.width,
            self.height,
            self.across,
            self.down,
            self.tiles,
            self.columns,
        ] {
            out.write(&word.to_le_bytes());
        }
    }
}

/// Writes a buffer from start to end.
struct Writer<'a> {
    left: &'a mut [u8],
}

impl<'a> Writer<'a> {
    /// Writes to the first `bytes` of `buffer`, if it is that long.
    fn new(buffer: &'a mut [u8], bytes: usize) -> Option<Self> {
        Some(Self {
            left: buffer.get_mut(..bytes)?,
        })
    }

    fn write(&mut self, bytes: &[u8]) {
        // The layout has exactly the length that is written.
        if let Some((now, left)) = std::mem::take(&mut self.left).split_at_mut_checked(bytes.len())
        {
            now.copy_from_slice(bytes);
            self.left = left;
        }
    }
}
