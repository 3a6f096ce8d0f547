//! Samples as they are foretold from those above and to the left (RFC 6386, section 12).

use super::modes::{Mode, Mode4};
use super::transform::STRIDE;

/// Where the samples of a macroblock begin in [`Samples`]: behind the row above and the column to the left.
pub(super) const ORIGIN: usize = STRIDE + 8;

/// The samples of one plane of a macroblock of `SIDE` x `SIDE`, with the row above, four samples more to
/// the right of it, and the column to the left.
pub(super) struct Samples<const LENGTH: usize>(pub(super) [u8; LENGTH]);

/// Luma, 16 x 16.
pub(super) type LumaSamples = Samples<{ STRIDE * 17 }>;

/// Chroma, 8 x 8.
pub(super) type ChromaSamples = Samples<{ STRIDE * 9 }>;

impl<const LENGTH: usize> Samples<LENGTH> {
    const SIDE: usize = if LENGTH == STRIDE * 17 { 16 } else { 8 };

    /// With what is beyond the edges of a picture.
    pub(super) fn new() -> Self {
        Self([127; LENGTH])
    }

    /// Goes to the first macroblock of a row.
    pub(super) fn begin_row(&mut self, is_first: bool) {
        for y in 0..=Self::SIDE {
            self.0[y * STRIDE + ORIGIN - STRIDE - 1] = 129;
        }
        if is_first {
            self.0[..STRIDE].fill(127);
        }
    }

    /// Goes to the next macroblock of the row.
    pub(super) fn step(&mut self) {
        for y in 0..=Self::SIDE {
            let row = y * STRIDE + ORIGIN - STRIDE;
            self.0[row - 1] = self.0[row + Self::SIDE - 1];
        }
    }

    /// Brings the row above.
    pub(super) fn set_above(&mut self, above: &[u8]) {
        let at = ORIGIN - STRIDE;
        for (to, from) in self.0[at..at + Self::SIDE].iter_mut().zip(above) {
            *to = *from;
        }
    }

    /// A row of the macroblock.
    pub(super) fn row(&self, y: usize) -> &[u8] {
        let at = ORIGIN + y * STRIDE;
        &self.0[at..at + Self::SIDE]
    }

    /// Foretells all of it. `above` and `left` say what of the picture there is.
    pub(super) fn predict(&mut self, mode: Mode, (above, left): (bool, bool)) {
        let side = Self::SIDE;
        match mode {
            Mode::Mean => {
                let mut sum = 0;
                if above {
                    let row = &self.0[ORIGIN - STRIDE..][..side];
                    sum += row.iter().map(|&sample| u32::from(sample)).sum::<u32>();
                }
                if left {
                    let column = |y: usize| u32::from(self.0[ORIGIN - 1 + y * STRIDE]);
                    sum += (0..side).map(column).sum::<u32>();
                }
                let count = side as u32 * (u32::from(above) + u32::from(left));
                let mean = (sum + count / 2).checked_div(count).unwrap_or(128);
                for y in 0..side {
                    self.0[ORIGIN + y * STRIDE..][..side].fill(mean as u8);
                }
            }
            Mode::Above => {
                for y in 0..side {
                    let from = ORIGIN - STRIDE;
                    self.0.copy_within(from..from + side, ORIGIN + y * STRIDE);
                }
            }
            Mode::Left => {
                for y in 0..side {
                    let at = ORIGIN + y * STRIDE;
                    let left = self.0[at - 1];
                    self.0[at..at + side].fill(left);
                }
            }
            Mode::Gradient => {
                for y in 0..side {
                    self.gradient(ORIGIN - STRIDE, ORIGIN + y * STRIDE, side);
                }
            }
        }
    }

    /// A row of samples at `at`: the one to the left plus those above less the corner.
    fn gradient(&mut self, above: usize, at: usize, length: usize) {
        let corner = i16::from(self.0[above - 1]);
        let left = i16::from(self.0[at - 1]);
        let (rows, row) = self.0.split_at_mut(at);
        let above = &rows[above..above + length];
        for (to, &above) in row[..length].iter_mut().zip(above) {
            *to = (left + i16::from(above) - corner).clamp(0, 255) as u8;
        }
    }
}

impl LumaSamples {
    /// Brings what is above and to the right, which all rows of blocks see beside the last of their blocks.
    pub(super) fn set_right(&mut self, right: [u8; 4]) {
        for y in [0, 4, 8, 12] {
            self.0[y * STRIDE + 8 + 16..][..4].copy_from_slice(&right);
        }
    }

    /// Foretells 4 x 4 samples from `at` on.
    pub(super) fn predict4(&mut self, mode: Mode4, at: usize) {
        let above = at - STRIDE;
        if mode == Mode4::Gradient {
            for y in 0..4 {
                self.gradient(above, at + y * STRIDE, 4);
            }
            return;
        }
        let left = |y: usize| self.0[at - 1 + y * STRIDE];
        // From below on the left, around the corner, to the right above: 4, 1 and 8 samples.
        let mut edge = [
            left(3),
            left(2),
            left(1),
            left(0),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        edge[4..].copy_from_slice(&self.0[above - 1..above + 8]);
        let e = edge.map(u16::from);
        let two = |a: usize| ((e[a] + e[a + 1] + 1) >> 1) as u8;
        let three = |a: usize| ((e[a] + 2 * e[a + 1] + e[a + 2] + 2) >> 2) as u8;
        let rows: [[u8; 4]; 4] = match mode {
            Mode4::Mean => {
                let sum: u16 = e[..4].iter().chain(&e[5..9]).sum();
                [[((sum + 4) >> 3) as u8; 4]; 4]
            }
            Mode4::Gradient => return,
            Mode4::Above => [[three(4), three(5), three(6), three(7)]; 4],
            Mode4::Left => {
                let last = ((e[1] + 3 * e[0] + 2) >> 2) as u8;
                [[three(2); 4], [three(1); 4], [three(0); 4], [last; 4]]
            }
            Mode4::LeftDown => {
                let last = ((e[11] + 3 * e[12] + 2) >> 2) as u8;
                let at = |a: usize| if a == 11 { last } else { three(a) };
                [5, 6, 7, 8].map(|a| [at(a), at(a + 1), at(a + 2), at(a + 3)])
            }
            Mode4::RightDown => {
                [3, 2, 1, 0].map(|a| [three(a), three(a + 1), three(a + 2), three(a + 3)])
            }
            Mode4::VerticalRight => [
                [two(4), two(5), two(6), two(7)],
                [three(3), three(4), three(5), three(6)],
                [three(2), two(4), two(5), two(6)],
                [three(1), three(3), three(4), three(5)],
            ],
            Mode4::VerticalLeft => [
                [two(5), two(6), two(7), two(8)],
                [three(5), three(6), three(7), three(8)],
                [two(6), two(7), two(8), three(9)],
                [three(6), three(7), three(8), three(10)],
            ],
            Mode4::HorizontalDown => [
                [two(3), three(3), three(4), three(5)],
                [two(2), three(2), two(3), three(3)],
                [two(1), three(1), two(2), three(2)],
                [two(0), three(0), two(1), three(1)],
            ],
            Mode4::HorizontalUp => {
                let last = edge[0];
                let near = ((e[1] + 3 * e[0] + 2) >> 2) as u8;
                [
                    [two(2), three(1), two(1), three(0)],
                    [two(1), three(0), two(0), near],
                    [two(0), near, last, last],
                    [last; 4],
                ]
            }
        };
        for (y, row) in rows.iter().enumerate() {
            self.0[at + y * STRIDE..][..4].copy_from_slice(row);
        }
    }
}
