//! How rows and products are dealt out to threads.

use crate::grid::Even;
use crate::kernel::Kernel;

/// The most rows of a piece: with their hidden numbers they fit the second cache.
pub(crate) const ROWS: usize = 112;

/// With fewer rows than this for each thread, threads share each product.
///
/// Threads that go apart read all weights each, which a single text of 64 tokens does not pay for:
/// with two threads on Zen 4 it takes 10% less time when they share. Tiles of AMX lose more by being
/// filled in part.
const fn least_apart<K: Kernel>() -> usize {
    if K::LAYOUT.group > 1 { 28 } else { 48 }
}

/// How rows are dealt out to threads; both ways give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Apart,
    Together,
}

/// The faster way for this many rows.
pub(crate) fn way<K: Kernel>(rows: usize, threads: usize) -> Way {
    if rows >= threads * least_apart::<K>() {
        Way::Apart
    } else {
        Way::Together
    }
}

/// Rows in pieces, a multiple of the number of threads.
pub(crate) fn pieces<K: Kernel>(rows: usize, threads: usize) -> Even {
    let parts = rows.div_ceil(ROWS * threads) * threads;
    Even::new(rows, K::LAYOUT.group, parts)
}

/// One product that threads share: pieces of rows by pieces of panels.
pub(crate) fn shared<K: Kernel>(rows: usize, panels: usize, threads: usize) -> (Even, Even) {
    let by_rows = Even::new(
        rows,
        K::LAYOUT.group.max(K::LAYOUT.rows),
        rows.div_ceil(ROWS),
    );
    let wanted = if threads == 1 { 1 } else { threads * 3 };
    let by_panels = Even::new(panels, 1, wanted.div_ceil(by_rows.parts()));
    (by_rows, by_panels)
}
