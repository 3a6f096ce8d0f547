//! The data of a scan: blocks of units, units of a restart interval, its marker, ... the end marker.
//!
//! ITU-T T.81: blocks (F.2.2), restart intervals (E.2.4). It is stricter than libjpeg, which pads and
//! goes on with what is wrong here.

use crate::bits::Bits;
use crate::codes::{Codes, Symbol};
use crate::header::Plain;
use crate::transform::Block;

const EOI: u8 = 0xd9;
const RST0: u8 = 0xd0;

/// For each coefficient in the order of the file: its place in a block, row by row (figure A.6).
const PLACES: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// For each coefficient in the order of the file: its place in a block, and what it is multiplied by.
pub(crate) struct Steps([(u8, i16); 64]);

impl Steps {
    pub(crate) fn new(steps: &[u8; 64]) -> Self {
        Self(std::array::from_fn(|nth| (PLACES[nth], steps[nth].into())))
    }
}

/// Which coefficients of a block are not zero.
#[derive(Clone, Copy)]
pub(crate) struct Used(u8);

impl Used {
    /// Not any but the first, which is the mean.
    #[inline(always)]
    pub(crate) fn is_flat(self) -> bool {
        self.0 == 0
    }

    /// Not any below the first row.
    #[inline(always)]
    pub(crate) fn is_one_row(self) -> bool {
        self.0 < 8
    }
}

/// Where in a scan a reader is.
pub(crate) struct Scan<'a> {
    bits: Bits<'a>,
    interval: u64,
    /// Units until the next restart marker, and its number.
    left: u64,
    restarts: u8,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(plain: &Plain<'a>) -> Self {
        Self {
            bits: Bits::new(plain.data),
            interval: plain.interval,
            left: plain.interval,
            restarts: 0,
        }
    }

    /// Begins a unit. Whether a new interval begins, whose means are differences to zero; `None` if the
    /// marker before it is not there, or the data ended early.
    #[inline(always)]
    pub(crate) fn begin_unit(&mut self) -> Option<bool> {
        if self.bits.ran_out() {
            return None;
        }
        if self.interval == 0 {
            return Some(false);
        }
        if self.left > 0 {
            self.left -= 1;
            return Some(false);
        }
        self.left = self.interval - 1;
        let expected = RST0 + self.restarts;
        self.restarts = (self.restarts + 1) % 8;
        (self.bits.marker()? == expected).then_some(true)
    }

    /// Reads a block: coefficients times their steps, in 16 bits that wrap around as in libjpeg's
    /// vector code. `block` is all zeros, `mean` the first coefficient of the block before. `None` if a code
    /// is none, or there are too many coefficients.
    #[inline(always)]
    pub(crate) fn block(
        &mut self,
        (dc, ac): (&Codes, &Codes),
        steps: &Steps,
        mean: &mut i32,
        block: &mut Block,
    ) -> Option<Used> {
        self.bits.fill();
        let difference = self.bits.take(dc)?.value();
        *mean = mean.checked_add(difference.into())?;
        block[0] = (*mean as i16).wrapping_mul(steps.0[0].1);
        let mut used = 0;
        let mut next = 1;
        // Puts a coefficient into its place; whether there may be more.
        let mut put = |symbol: Symbol| -> Option<bool> {
            let value = symbol.value();
            if value == 0 {
                if symbol.ends_block() {
                    return Some(false);
                }
                next += 16;
                return (next <= 64).then_some(next < 64);
            }
            next += symbol.zeros();
            let &(place, step) = steps.0.get(next)?;
            block[usize::from(place & 63)] = value.wrapping_mul(step);
            used |= place;
            next += 1;
            Some(next < 64)
        };
        loop {
            if !put(self.bits.take(ac)?)? {
                break;
            }
            self.bits.fill();
            if !put(self.bits.take(ac)?)? {
                break;
            }
        }
        Some(Used(used))
    }

    /// As [`Scan::block`], and keeps nothing.
    #[inline(always)]
    fn pass_block(&mut self, (dc, ac): (&Codes, &Codes)) -> Option<()> {
        self.bits.fill();
        self.bits.take(dc)?;
        let mut next = 1;
        while next < 64 {
            self.bits.fill();
            let symbol = self.bits.take(ac)?;
            if symbol.ends_block() {
                return Some(());
            }
            next += symbol.zeros() + 1;
        }
        (next == 64).then_some(())
    }

    /// Ends the scan after its last unit, if the end marker follows: what is behind that.
    pub(crate) fn end(mut self) -> Option<&'a [u8]> {
        if self.bits.ran_out() {
            return None;
        }
        (self.bits.marker()? == EOI).then_some(self.bits.rest())
    }
}

/// Walks through the scan, code by code: how many bytes it has, with the end marker. `None` if anything
/// is wrong in it.
pub(crate) fn walk(plain: &Plain<'_>) -> Option<usize> {
    let mut blocks = Vec::new();
    for component in &plain.components {
        let codes = plain.codes(component)?;
        blocks.extend((0..component.across * component.down).map(|_| codes));
    }
    let (across, down) = plain.units();
    let mut scan = Scan::new(plain);
    for _ in 0..across * down {
        scan.begin_unit()?;
        for &codes in &blocks {
            scan.pass_block(codes)?;
        }
    }
    Some(plain.data.len() - scan.end()?.len())
}
