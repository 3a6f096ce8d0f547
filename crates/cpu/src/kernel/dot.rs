//! Kernels that keep a tile of sums in vector registers: a word of the left side is
//! broadcast to all lanes and multiplied with vectors of the right side.
//!
//! ```text
//!             right, word k:   w0        w1
//! left, word k of row 0   a0  [sum 00]  [sum 01]
//!                row 1    a1  [sum 10]  [sum 11]     sum ij += a i * w j
//! ```

use super::Tile;

/// The instructions of a tile.
pub(super) trait Dot: Copy {
    /// Columns of a vector.
    const LANES: usize;
    /// A vector of words.
    type Words: Copy;
    /// A vector of sums.
    type Sums: Copy;

    /// Calls `f` in a function that is compiled for these instructions.
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R;
    fn zero(self) -> Self::Sums;
    /// # Safety
    ///
    /// A vector of words can be read there.
    unsafe fn words(self, at: *const u32) -> Self::Words;
    /// A word of the left side, times vectors of the right side, added to their sums.
    ///
    /// # Safety
    ///
    /// A word can be read there.
    unsafe fn row<const VECTORS: usize>(
        self,
        at: *const u32,
        w: [Self::Words; VECTORS],
        sums: &mut [Self::Sums; VECTORS],
    );
    /// # Safety
    ///
    /// A vector of floats can be read there.
    unsafe fn read(self, at: *const f32) -> Self::Sums;
    /// # Safety
    ///
    /// A vector of floats can be written there.
    unsafe fn write(self, sums: Self::Sums, at: *mut f32);
}

/// `ROWS` rows by `VECTORS` vectors, the sums in registers from first to last.
///
/// # Safety
///
/// `left` has `depth` words in each of `ROWS` rows `pitch` words apart; `right` has
/// `depth * VECTORS` vectors; `out` has `ROWS * VECTORS`.
#[inline(always)]
pub(super) unsafe fn sums<D: Dot, const ROWS: usize, const VECTORS: usize>(
    d: D,
    tile: &Tile<'_>,
    out: *mut f32,
) {
    let lanes = D::LANES;
    let (mut left, mut right) = (tile.left.as_ptr(), tile.right.as_ptr());
    let (pitch, depth) = (tile.pitch, tile.depth);
    let mut ahead = tile.ahead.as_ptr();
    let mut sums = [[d.zero(); VECTORS]; ROWS];
    if tile.add {
        for (i, row) in sums.iter_mut().enumerate() {
            for (j, sum) in row.iter_mut().enumerate() {
                // SAFETY: `out` has ROWS * VECTORS vectors, as the caller promises.
                *sum = unsafe { d.read(out.add((i * VECTORS + j) * lanes)) };
            }
        }
    }
    macro_rules! word {
        ($k:expr) => {
            // SAFETY: `right` has VECTORS vectors for each of `depth` words, as the caller
            // promises, and this is done `depth` times.
            let mut w = [unsafe { d.words(right) }; VECTORS];
            for (j, w) in w.iter_mut().enumerate().skip(1) {
                // SAFETY: as above.
                *w = unsafe { d.words(right.add(j * lanes)) };
            }
            // SAFETY: as above; at the end it is one past the last vector.
            right = unsafe { right.add(VECTORS * lanes) };
            for (i, row) in sums.iter_mut().enumerate() {
                // SAFETY: each of ROWS rows, `pitch` words apart, has `depth` words, as the
                // caller promises; `left` is at word k - $k of them.
                unsafe { d.row(left.add(i * pitch + $k), w, row) };
            }
        };
    }
    for _ in 0..depth / 4 {
        prefetch(ahead);
        word!(0);
        word!(1);
        prefetch(ahead.wrapping_add(16));
        word!(2);
        word!(3);
        ahead = ahead.wrapping_add(32);
        // SAFETY: at most `depth` words are passed, which the last row still has.
        left = unsafe { left.add(4) };
    }
    for k in 0..depth % 4 {
        word!(k);
    }
    for (i, row) in sums.iter().enumerate() {
        for (j, &sum) in row.iter().enumerate() {
            // SAFETY: `out` has ROWS * VECTORS vectors, as the caller promises.
            unsafe { d.write(sum, out.add((i * VECTORS + j) * lanes)) };
        }
    }
}

/// Fetches a line into the second cache. Any address will do.
#[inline(always)]
pub(super) fn prefetch(at: *const u32) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address does nothing that can be seen.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = at;
}

/// Checks the slices of a tile and calls the function for its size.
macro_rules! by_size {
    ($d:ident, $tile:ident, $out:ident, [$($vectors:literal)*], $rows:tt) => {{
        let (rows, vectors) = ($tile.rows, $tile.vectors);
        let lanes = <Self as $crate::kernel::dot::Dot>::LANES;
        assert!(rows > 0 && vectors > 0, "an empty tile");
        assert!((rows - 1) * $tile.pitch + $tile.depth <= $tile.left.len(), "the left side is too short");
        assert!($tile.depth * vectors * lanes <= $tile.right.len(), "the right side is too short");
        assert!(rows * vectors * lanes <= $out.len(), "the sums have no room");
        let out = $out.as_mut_ptr();
        match vectors {
            $($vectors => by_size!(@rows $d, $tile, out, rows, $vectors, $rows),)*
            _ => panic!("a panel of {vectors} vectors"),
        }
    }};
    (@rows $d:ident, $tile:ident, $out:ident, $count:ident, $vectors:literal, [$($rows:literal)*]) => {
        match $count {
            // SAFETY: the lengths were checked above.
            $($rows => $crate::kernel::dot::Dot::compiled($d, #[inline(always)] || unsafe { $crate::kernel::dot::sums::<_, $rows, $vectors>($d, &$tile, $out) }),)*
            _ => panic!("a tile of {} rows", $count),
        }
    };
}

pub(super) use by_size;
