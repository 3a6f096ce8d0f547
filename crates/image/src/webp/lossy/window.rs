//! The samples of two rows of macroblocks, in which edges are filtered and out of which pixels are made.

use super::colour::{to_rgb, upsample};
use super::filter::{self, Lines};
use super::header::{Filter, Strength};
use super::predict::{ChromaSamples, LumaSamples};
use crate::convert;
use crate::webp::Out;

/// Rows at the bottom of a row of macroblocks that wait for the one below: its filter changes three rows of
/// chroma, which are six of luma, and one more is needed for what lies between.
const LATE: usize = 7;

/// See the module.
pub(super) struct Window {
    width: usize,
    height: usize,
    filter: Filter,
    luma: Plane<16>,
    chroma: [Plane<8>; 2],
    /// Two rows of chroma at full width.
    between: [Vec<u8>; 2],
    /// Rows that were given out.
    given: usize,
}

/// The samples of a plane, of macroblocks of `SIDE` x `SIDE`: those above, and those that are being decoded.
struct Plane<const SIDE: usize> {
    stride: usize,
    samples: Vec<u8>,
}

impl<const SIDE: usize> Plane<SIDE> {
    fn new(across: usize) -> Self {
        Self {
            stride: across * SIDE,
            samples: vec![0; across * SIDE * SIDE * 2],
        }
    }

    /// The place of the first sample of a macroblock.
    fn place(&self, x: usize) -> usize {
        SIDE * self.stride + x * SIDE
    }

    /// Makes room for a row of macroblocks.
    fn step(&mut self) {
        self.samples.copy_within(SIDE * self.stride.., 0);
    }

    /// Row `y` of the plane, while the row of macroblocks `row` is the lower one.
    fn row(&self, y: usize, row: usize, length: usize) -> &[u8] {
        let at = (y + SIDE).saturating_sub(row * SIDE) * self.stride;
        self.samples.get(at..at + length).unwrap_or_default()
    }

    /// `LANES` places of eight lines below each other, around a horizontal edge at `at`.
    fn load_across(&self, at: usize, lines: &mut Lines, lane: usize) {
        for (nth, line) in lines.iter_mut().enumerate() {
            let from = at + nth * self.stride - 4 * self.stride;
            line[lane..lane + SIDE].copy_from_slice(&self.samples[from..from + SIDE]);
        }
    }

    fn store_across(&mut self, at: usize, lines: &Lines, lane: usize) {
        for (nth, line) in lines.iter().enumerate().take(7).skip(1) {
            let to = at + nth * self.stride - 4 * self.stride;
            self.samples[to..to + SIDE].copy_from_slice(&line[lane..lane + SIDE]);
        }
    }

    /// The same around a vertical edge.
    fn load_down(&self, at: usize, lines: &mut Lines, lane: usize) {
        for nth in 0..SIDE {
            let from = at + nth * self.stride - 4;
            let row: &[u8; 8] = self.samples[from..].first_chunk().unwrap_or(&[0; 8]);
            for (line, sample) in lines.iter_mut().zip(row) {
                line[lane + nth] = *sample;
            }
        }
    }

    fn store_down(&mut self, at: usize, lines: &Lines, lane: usize) {
        for nth in 0..SIDE {
            let to = at + nth * self.stride - 4;
            for (sample, line) in self.samples[to..to + 8].iter_mut().zip(lines) {
                *sample = line[lane + nth];
            }
        }
    }
}

impl Window {
    pub(super) fn new((width, height): (usize, usize), filter: Filter) -> Self {
        let across = width.div_ceil(16);
        Self {
            width,
            height,
            filter,
            luma: Plane::new(across),
            chroma: [Plane::new(across), Plane::new(across)],
            between: [(); 2].map(|()| vec![0; width.next_multiple_of(2)]),
            given: 0,
        }
    }

    /// Takes the samples of a macroblock.
    pub(super) fn put(&mut self, x: usize, luma: &LumaSamples, chroma: &[ChromaSamples; 2]) {
        let at = self.luma.place(x);
        for y in 0..16 {
            let at = at + y * self.luma.stride;
            self.luma.samples[at..at + 16].copy_from_slice(luma.row(y));
        }
        for (plane, samples) in self.chroma.iter_mut().zip(chroma) {
            let at = plane.place(x);
            for y in 0..8 {
                let at = at + y * plane.stride;
                plane.samples[at..at + 8].copy_from_slice(samples.row(y));
            }
        }
    }

    /// Filters the edges of a macroblock to the left and above, and with `inner` those within.
    pub(super) fn filter(&mut self, (x, y): (usize, usize), strength: Strength, inner: bool) {
        if strength.limit == 0 || self.filter == Filter::None {
            return;
        }
        let simple = self.filter == Filter::Simple;
        let mut lines = [[0; 16]; 8];
        let luma = &mut self.luma;
        let within: &[usize] = if inner { &[4, 8, 12] } else { &[] };
        let edges = |outer: bool| outer.then_some(&0).into_iter().chain(within);
        let apply = |lines: &mut Lines, place: usize| match (simple, place) {
            (true, 0) => filter::simple(lines, strength.limit + 4),
            (true, _) => filter::simple(lines, strength.limit),
            (false, 0) => filter::outer(lines, strength),
            (false, _) => filter::inner(lines, strength),
        };
        let at = luma.place(x);
        for &place in edges(x > 0) {
            luma.load_down(at + place, &mut lines, 0);
            apply(&mut lines, place);
            luma.store_down(at + place, &lines, 0);
        }
        for &place in edges(y > 0) {
            let at = at + place * luma.stride;
            luma.load_across(at, &mut lines, 0);
            apply(&mut lines, place);
            luma.store_across(at, &lines, 0);
        }
        if simple {
            return;
        }
        let [u, v] = &mut self.chroma;
        let at = u.place(x);
        let within: &[usize] = if inner { &[4] } else { &[] };
        let edges = |outer: bool| outer.then_some(&0).into_iter().chain(within);
        for &place in edges(x > 0) {
            u.load_down(at + place, &mut lines, 0);
            v.load_down(at + place, &mut lines, 8);
            apply(&mut lines, place);
            u.store_down(at + place, &lines, 0);
            v.store_down(at + place, &lines, 8);
        }
        for &place in edges(y > 0) {
            let at = at + place * u.stride;
            u.load_across(at, &mut lines, 0);
            v.load_across(at, &mut lines, 8);
            apply(&mut lines, place);
            u.store_across(at, &lines, 0);
            v.store_across(at, &lines, 8);
        }
    }

    /// Gives out the rows of pixels that are done with the row of macroblocks `row`, and makes room for the
    /// next.
    pub(super) fn row_done(&mut self, row: usize, out: &mut Out<'_>) {
        let below = (row + 1) * 16;
        let done = if below >= self.height {
            self.height
        } else {
            below - LATE
        };
        for y in self.given..done {
            self.give(y, row, out);
        }
        self.given = done;
        self.luma.step();
        self.chroma.iter_mut().for_each(Plane::step);
    }

    fn give(&mut self, y: usize, row: usize, out: &mut Out<'_>) {
        let (half_width, half_height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let near = y / 2;
        // Even rows look up, odd rows look down; beyond the edge there is the row itself.
        let far = match y % 2 {
            0 => near.saturating_sub(1),
            _ => (near + 1).min(half_height - 1),
        };
        for (plane, between) in self.chroma.iter().zip(&mut self.between) {
            let of = |y| plane.row(y, row, half_width);
            upsample(of(near), of(far), between);
        }
        let luma = self.luma.row(y, row, self.width);
        let [u, v] = &self.between;
        let pixels = luma.iter().zip(u).zip(v);
        convert::fill(out.row(y), pixels.map(|((&y, &u), &v)| to_rgb(y, u, v)));
    }
}
