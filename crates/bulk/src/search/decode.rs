//! Vectors of tables, decoded by several threads in bounded memory.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use arrow_array::{Array as _, FixedSizeListArray, cast::AsArray};

use crate::table::{MOST, Rows, Stopped, Table, TableError};

/// Rows that are decoded at a time: they stay in the second cache.
const DECODED: usize = 256;

/// The memory that threads take while they decode: each has its share of [`MOST`], and one that
/// needs more for a table's pages takes as much as [`MOST`] while no other does.
pub(super) struct Decoder {
    most: u64,
    share: u64,
    larger: Mutex<()>,
}

/// What is done with vectors: their first row in the table comes first. False ends the reading.
pub(super) type Take<'a, E> = &'a mut dyn FnMut(u64, &FixedSizeListArray) -> Result<bool, E>;

impl Decoder {
    /// For so many threads.
    pub(super) fn new(threads: usize) -> Self {
        Self::holding(MOST, threads)
    }

    /// With so many bytes of memory.
    pub(super) fn holding(most: u64, threads: usize) -> Self {
        Self {
            most,
            share: most / threads.max(1) as u64,
            larger: Mutex::new(()),
        }
    }

    /// Hands over vectors of `length` numbers in order.
    pub(super) fn read<R, E>(
        &self,
        table: &Table<R>,
        (column, length): (usize, usize),
        rows: &Range<u64>,
        take: Take<'_, E>,
    ) -> Result<(), Stopped<E>>
    where
        R: parquet::file::reader::ChunkReader + 'static,
    {
        let mut next = rows.start;
        let mut read = |most: u64| {
            let wanted = Rows {
                columns: vec![column],
                ranges: std::iter::once(next..rows.end).collect(),
                at_once: DECODED,
            };
            table.read(wanted, most, &mut |batch| {
                let lists = batch.column(0).as_fixed_size_list_opt();
                let lists = lists.filter(|lists| {
                    usize::try_from(lists.value_length()).is_ok_and(|it| it == length)
                });
                let lists = lists.ok_or(Stopped::Table(TableError::OtherColumns))?;
                let goes_on = take(next, lists).map_err(Stopped::Taker)?;
                next += lists.len() as u64;
                Ok(goes_on)
            })
        };
        match read(self.share) {
            Err(Stopped::Table(TableError::TooMuch(..))) => {
                let _alone = self.larger.lock().unwrap_or_else(PoisonError::into_inner);
                read(self.most)
            }
            read => read,
        }
    }
}
