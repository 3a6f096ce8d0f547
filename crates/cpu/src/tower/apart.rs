//! Products whose rows are dealt out: each thread makes the left side of its own pieces of
//! rows and multiplies them with all columns.

use std::sync::Mutex;

use super::linear::Linear;
use super::space::{Scratch, Space};
use super::together::fill;
use crate::error::Error;
use crate::grid::{Block, Grid};
use crate::kernel::Kernel;
use crate::product::{product, scratch as scratch_of};
use crate::team::Team;

/// One product, a piece of `grid`'s rows at a time: `write(row, floats)` makes each row of
/// the left side, `done(block, row, column, sums)` gets each row of each panel, and
/// `then(scratch, block)` runs when the piece is finished. Rows are those of the matrix.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "what is multiplied, where it goes, and what is done before, with and after it"
)]
pub(crate) fn apart<K: Kernel, T: Send>(
    kernel: K,
    team: &Team,
    threads: &[Mutex<Scratch>],
    linear: &Linear<K>,
    grid: &Grid<'_, T>,
    write: impl Fn(usize, &mut [f32]) + Sync,
    done: impl Fn(&mut Block<'_, T>, usize, usize, &mut [f32]) + Sync,
    then: impl Fn(&mut Scratch, &mut Block<'_, T>) + Sync,
) -> Result<(), Error> {
    let depth = linear.weights.depth();
    team.each(grid.parts(), |member, piece| {
        let scratch = &mut *Space::scratch(threads, member);
        let mut block = grid.take(piece, 0);
        let rows = block.rows();
        let left = fill(
            kernel,
            &mut scratch.left,
            &mut scratch.row,
            rows.len(),
            depth,
            #[inline(always)]
            |i, out| write(rows.start + i, out),
        );
        scratch.sums.reserve(scratch_of::<K>(rows.len()));
        let panels = linear.panels();
        product(
            kernel,
            left,
            0..rows.len(),
            panels,
            0..panels.count(),
            &mut scratch.sums,
            #[inline(always)]
            |row, column, sums| done(&mut block, rows.start + row, column, sums),
        );
        then(scratch, &mut block);
    })?;
    Ok(())
}
