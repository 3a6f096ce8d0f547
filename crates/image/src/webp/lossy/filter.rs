//! The loop filter, which smooths the edges of blocks (RFC 6386, section 15): sixteen places along an edge
//! at once, across which it looks at up to four samples on both sides.

use super::header::Strength;

/// A sample at each of the places, as a number of 16 bits: what is computed fits.
type Lanes = [i16; 16];

/// Lines along an edge, of which the fourth and the fifth touch it.
pub(super) type Lines = [[u8; 16]; 8];

#[inline(always)]
fn lanes(of: impl Fn(usize) -> i16) -> Lanes {
    let mut lanes = [0; 16];
    for (nth, lane) in lanes.iter_mut().enumerate() {
        *lane = of(nth);
    }
    lanes
}

#[inline(always)]
fn wide(line: &[u8; 16]) -> Lanes {
    lanes(|nth| i16::from(line[nth]))
}

#[inline(always)]
fn signed(value: i16) -> i16 {
    value.clamp(-128, 127)
}

/// Adds to a line of samples.
#[inline(always)]
fn change(line: &mut [u8; 16], by: impl Fn(usize) -> i16) {
    for (nth, sample) in line.iter_mut().enumerate() {
        *sample = (i16::from(*sample) + by(nth)).clamp(0, 255) as u8;
    }
}

/// Changes the two samples at the edge by as much as `a` says, in eighths: the one before it rounds down
/// (+3), the one behind it up (+4). Returns what was taken off the samples behind the edge.
#[inline(always)]
fn change_two(lines: &mut Lines, a: &Lanes) -> Lanes {
    let behind = lanes(|nth| signed(a[nth] + 4) >> 3);
    let before = lanes(|nth| signed(a[nth] + 3) >> 3);
    change(&mut lines[3], |nth| before[nth]);
    change(&mut lines[4], |nth| -behind[nth]);
    behind
}

/// What the filters are reckoned from: the differences at the edge, and those beyond it.
struct Edge {
    /// Three times the difference across the edge.
    step: Lanes,
    /// The difference of the samples next to those at the edge, in 8 bits.
    outer: Lanes,
    /// All bits, where the edge is weak enough to be filtered; else none.
    weak: Lanes,
}

impl Edge {
    #[inline(always)]
    fn new(lines: &Lines, limit: i16) -> Self {
        let [p1, p0, q0, q1] = [2, 3, 4, 5].map(|nth: usize| wide(&lines[nth]));
        let across = |nth: usize| 4 * (p0[nth] - q0[nth]).abs() + (p1[nth] - q1[nth]).abs();
        Self {
            step: lanes(|nth| 3 * (q0[nth] - p0[nth])),
            outer: lanes(|nth| signed(p1[nth] - q1[nth])),
            weak: lanes(|nth| -i16::from(across(nth) <= 2 * limit + 1)),
        }
    }

    /// Leaves alone where neighbours differ by more than this, too.
    #[inline(always)]
    fn limited(self, lines: &Lines, limit: i16) -> Self {
        let differ =
            |nth: usize, a: usize| (i16::from(lines[a][nth]) - i16::from(lines[a + 1][nth])).abs();
        let most = |nth: usize| {
            let before = differ(nth, 0).max(differ(nth, 1)).max(differ(nth, 2));
            let behind = differ(nth, 4).max(differ(nth, 5)).max(differ(nth, 6));
            before.max(behind)
        };
        Self {
            weak: lanes(|nth| self.weak[nth] & -i16::from(most(nth) <= limit)),
            ..self
        }
    }
}

/// All bits, where the samples on one side differ by more than `contrast`.
#[inline(always)]
fn contrasts(lines: &Lines, contrast: i16) -> Lanes {
    let differ = |nth: usize, a: usize| {
        (i16::from(lines[a][nth]) - i16::from(lines[a + 1][nth])).abs() > contrast
    };
    lanes(|nth| -i16::from(differ(nth, 2) | differ(nth, 4)))
}

/// The simple filter of any edge.
#[inline]
pub(super) fn simple(lines: &mut Lines, limit: i16) {
    let edge = Edge::new(lines, limit);
    let a = lanes(|nth| signed(edge.step[nth] + edge.outer[nth]) & edge.weak[nth]);
    let behind = lanes(|nth| (signed(a[nth] + 4) >> 3) & edge.weak[nth]);
    let before = lanes(|nth| (signed(a[nth] + 3) >> 3) & edge.weak[nth]);
    change(&mut lines[3], |nth| before[nth]);
    change(&mut lines[4], |nth| -behind[nth]);
}

/// The filter of an edge between macroblocks.
#[inline]
pub(super) fn outer(lines: &mut Lines, strength: Strength) {
    let edge = Edge::new(lines, strength.limit + 4).limited(lines, strength.inner_limit);
    let contrast = contrasts(lines, strength.contrast);
    let a = lanes(|nth| signed(edge.step[nth] + edge.outer[nth]) & edge.weak[nth]);
    let sharp = lanes(|nth| a[nth] & contrast[nth]);
    let smooth = lanes(|nth| a[nth] & !contrast[nth]);
    change_two(lines, &sharp);
    // The samples at the edge were changed by either, not by both: the other is 0, and so is what it adds.
    for (line, factor) in [(0, 9), (1, 18), (2, 27)] {
        let by = lanes(|nth| (factor * smooth[nth] + 63) >> 7);
        change(&mut lines[line + 1], |nth| by[nth]);
        change(&mut lines[6 - line], |nth| -by[nth]);
    }
}

/// The filter of an edge within a macroblock.
#[inline]
pub(super) fn inner(lines: &mut Lines, strength: Strength) {
    let edge = Edge::new(lines, strength.limit).limited(lines, strength.inner_limit);
    let contrast = contrasts(lines, strength.contrast);
    // Where there is contrast, the samples beyond count, and are not changed.
    let a = lanes(|nth| {
        let outer = edge.outer[nth] & contrast[nth];
        signed(edge.step[nth] + outer) & edge.weak[nth]
    });
    let behind = change_two(lines, &a);
    let by = lanes(|nth| ((behind[nth] + 1) >> 1) & !contrast[nth]);
    change(&mut lines[2], |nth| by[nth]);
    change(&mut lines[5], |nth| -by[nth]);
}
