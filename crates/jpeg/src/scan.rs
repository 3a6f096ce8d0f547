//! The data of a scan: blocks of units, units of a restart interval, its marker, ... the marker behind it.
//!
//! ITU-T T.81: blocks (F.2.2), restart intervals (E.2.4). It is stricter than libjpeg, which pads and
//! goes on with what is wrong here.

use crate::bits::Bits;
use crate::codes::{Codes, Symbol};
use crate::header::Plain;
use crate::transform::Block;

/// The end of the file.
pub(crate) const EOI: u8 = 0xd9;
const RST0: u8 = 0xd0;

/// For each coefficient in the order of the file: its place in a block, row by row (figure A.6).
pub(crate) const PLACES: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// For each coefficient in the order of the file: its place in a block, and what it is multiplied by. The upper half is for
/// coefficients beyond the 63rd: [`Scan::block`] puts them anywhere, and then refuses the block.
pub(crate) struct Steps([(u8, i16); 128]);

impl Steps {
    pub(crate) fn new(steps: &[u16; 64]) -> Self {
        let mut all = [(0, 0); 128];
        for ((to, place), &step) in all.iter_mut().zip(PLACES).zip(steps) {
            *to = (place, step as i16);
        }
        Self(all)
    }
}

/// Which coefficients of a block are not zero: 0, none but the mean; below 8, none below the first row.
#[derive(Clone, Copy)]
pub(crate) struct Used(u8);

impl Used {
    /// From a bit for each in the order of the file.
    #[inline(always)]
    pub(crate) fn of(nonzero: u64) -> Self {
        const FIRST_ROW: u64 = {
            let (mut row, mut nth) = (0, 0);
            while nth < 64 {
                if PLACES[nth] < 8 {
                    row |= 1 << nth;
                }
                nth += 1;
            }
            row
        };
        Self(match nonzero & !1 {
            0 => 0,
            within if within & !FIRST_ROW == 0 => 1,
            _ => 8,
        })
    }

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
    pub(crate) bits: Bits<'a>,
    interval: u64,
    /// Units until the next restart marker, and its number.
    left: u64,
    restarts: u8,
}

impl<'a> Scan<'a> {
    /// Over data with a restart marker after each `interval` units; 0: there are none.
    pub(crate) fn new(data: &'a [u8], interval: u64) -> Self {
        Self {
            bits: Bits::new(data),
            interval,
            left: interval,
            restarts: 0,
        }
    }

    /// Whether bits were used that are not there: what was read last is no part of the file.
    pub(crate) fn ran_out(&self) -> bool {
        self.bits.ran_out()
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
        let (marker, _) = self.bits.marker()?;
        (marker == expected).then_some(true)
    }

    /// Begins up to `units` units about which nothing is said: how many, as restart markers may lie between.
    pub(crate) fn skip_units(&mut self, units: usize) -> usize {
        if self.interval == 0 {
            return units;
        }
        let units = self.left.min(units as u64);
        self.left -= units;
        units as usize
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
        let mut put = |symbol: Symbol| -> bool {
            let value = symbol.value();
            if value == 0 {
                if symbol.ends_block() {
                    return false;
                }
                // 16 zeros: a table of this kind has no other symbol without a value.
                next += 16;
                return next < 64;
            }
            next += symbol.zeros();
            let (place, step) = steps.0[next & 127];
            block[usize::from(place & 63)] = value.wrapping_mul(step);
            used |= place;
            next += 1;
            next < 64
        };
        while put(self.bits.take(ac)?) {
            self.bits.fill();
            if !put(self.bits.take(ac)?) {
                break;
            }
        }
        (next <= 64).then_some(Used(used))
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

    /// Ends the scan after its last unit: the marker that follows, and all behind it.
    pub(crate) fn end(mut self) -> Option<(u8, &'a [u8])> {
        if self.bits.ran_out() {
            return None;
        }
        self.bits.marker()
    }
}

/// Walks through the only scan, code by code: how many bytes it has, with the end marker. `None` if anything
/// is wrong in it.
pub(crate) fn walk(plain: &Plain<'_>) -> Option<usize> {
    if plain.is_progressive() {
        return None;
    }
    let mut blocks = Vec::new();
    for part in &plain.scan.parts {
        let codes = (plain.tables.dc(part.dc)?, plain.tables.ac(part.ac)?);
        let component = &plain.components[part.component];
        blocks.extend((0..component.across * component.down).map(|_| codes));
    }
    let (across, down) = plain.units();
    let mut scan = Scan::new(plain.data, plain.tables.interval);
    for _ in 0..across * down {
        scan.begin_unit()?;
        for &codes in &blocks {
            scan.pass_block(codes)?;
        }
    }
    let (marker, rest) = scan.end()?;
    (marker == EOI).then_some(plain.data.len() - rest.len())
}
