//! Every kernel against sums in f64.

#![allow(clippy::unwrap_used)]

use half::bf16;

use super::*;
use crate::kernel::Fp32;
use crate::matrix::{Operand, Packed};
use crate::simd::Portable;
use crate::testing::{Random, for_each_kernel};

/// What the kernel makes of a number on its way into a word.
fn rounded<K: Kernel>(number: f32) -> f32 {
    if K::LAYOUT.per_word == 2 {
        bf16::from_f32(number).to_f32()
    } else {
        number
    }
}

struct Case {
    rows: usize,
    depth: usize,
    columns: usize,
    left: Vec<f32>,
    right: Vec<f32>,
}

impl Case {
    fn new(rows: usize, depth: usize, columns: usize, mut number: impl FnMut() -> f32) -> Self {
        Self {
            rows,
            depth,
            columns,
            left: (0..rows * depth).map(|_| number()).collect(),
            right: (0..depth * columns).map(|_| number()).collect(),
        }
    }

    /// The product, over the depth in one or in chunks, in memory that was poisoned.
    fn run<K: Kernel>(&self, kernel: K, chunk: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.columns];
        let whole = self.left(kernel, 0..self.depth);
        let unit = K::LAYOUT.step * K::LAYOUT.per_word;
        let mut start = 0;
        while start < self.depth {
            let range = start..(start + chunk.next_multiple_of(unit)).min(self.depth);
            start = range.end;
            if K::QUANTIZED {
                // A chunk has ranges of its own.
                let words = self.left(kernel, range.clone());
                let rows = Rows::new(&words, self.rows, range.len());
                self.add(kernel, rows, range, &mut out);
            } else {
                let rows = Rows::new(&whole, self.rows, self.depth);
                let rows = rows.at_depth(range.start / K::LAYOUT.per_word);
                self.add(kernel, rows, range, &mut out);
            }
        }
        out
    }

    /// The left side at this depth.
    fn left<K: Kernel>(&self, kernel: K, depth: Range<usize>) -> Vec<u32> {
        let layout = K::LAYOUT;
        let poison = f32::NAN.to_bits() | 0x7fc0_7fc0;
        let mut words = vec![poison; layout.area(self.rows, depth.len())];
        let mut left = Operand::<K>::new(&mut words, self.rows, depth.len());
        let mut row = vec![0.0; layout.padded(depth.len())];
        for i in 0..self.rows {
            let numbers = &self.left[i * self.depth..][depth.clone()];
            row[..depth.len()].copy_from_slice(numbers);
            left.put_row(kernel, i, &row);
        }
        words
    }

    /// Adds the product of rows with the right side at this depth.
    fn add<K: Kernel>(&self, kernel: K, rows: Rows<'_, K>, depth: Range<usize>, out: &mut [f32]) {
        let mut packed = Packed::<K>::zeroed(depth.len(), self.columns);
        for panel in packed.panels_mut() {
            panel.fill(kernel, |column, out| {
                out.copy_from_slice(&self.right[column * self.depth..][depth.clone()]);
                true
            });
        }
        let right = packed.view();
        let mut sums = vec![f32::NAN; scratch::<K>(self.rows)];
        product(
            kernel,
            rows,
            0..self.rows,
            right,
            0..right.count(),
            &mut sums,
            |row, column, sums| {
                for (i, sum) in sums.iter().enumerate() {
                    if column + i < self.columns {
                        out[row * self.columns + column + i] += sum;
                    } else if sums.iter().all(|sum| sum.is_finite()) {
                        assert_eq!(*sum, 0.0, "padding is zeros");
                    }
                }
            },
        );
    }

    /// Sums in f64, and how far from them a kernel may be.
    fn truth<K: Kernel>(&self) -> Vec<(f64, f64)> {
        let mut all = Vec::new();
        for i in 0..self.rows {
            let row = &self.left[i * self.depth..][..self.depth];
            let fold = |f: fn(f32, f32) -> f32, from| row.iter().copied().fold(from, f);
            let range = fold(f32::max, f32::NEG_INFINITY) - fold(f32::min, f32::INFINITY);
            let step = f64::from(range) / 255.0;
            for j in 0..self.columns {
                let column = &self.right[j * self.depth..][..self.depth];
                let most = column.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
                let scale = f64::from(most) / 127.0;
                let (mut sum, mut size, mut steps) = (0.0, 0.0, 0.0);
                for (&a, &b) in row.iter().zip(column) {
                    let a = f64::from(rounded::<K>(a));
                    let b = f64::from(rounded::<K>(b));
                    sum += a * b;
                    size += (a * b).abs();
                    // Half a step of each, and of both.
                    steps += (a.abs() * scale + b.abs() * step) * 0.5 + step * scale * 0.25;
                }
                let sums = size * 4e-7 * (self.depth as f64).sqrt().max(4.0);
                let steps = if K::QUANTIZED { steps * 1.01 } else { 0.0 };
                all.push((sum, sums + steps));
            }
        }
        all
    }
}

/// Rows, depth and columns: odd and even, below, at and above every tile, panel and
/// piece of depth.
fn shapes(small: bool) -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![
        (1, 1, 1),
        (1, 2, 17),
        (2, 3, 16),
        (3, 31, 15),
        (5, 32, 33),
        (6, 33, 47),
        (7, 64, 48),
        (8, 65, 49),
        (9, 5, 97),
    ];
    if cfg!(miri) {
        // Three minutes for each test all the same.
        shapes.retain(|(rows, depth, columns)| rows * depth * columns < 10_000);
    } else {
        // Deep enough for a second piece of depth on every kernel: it is added to the first one's
        // sums, on AMX by loading them into tiles.
        shapes.push((33, 1600, 35));
    }
    if !small {
        shapes.extend([
            (13, 191, 31),
            (14, 192, 32),
            (15, 193, 64),
            (16, 385, 7),
            (17, 129, 50),
            (31, 256, 3),
            (32, 400, 95),
            (33, 70, 96),
            (48, 777, 40),
            (98, 96, 34),
            (112, 40, 20),
            (197, 66, 19),
            (800, 50, 35),
        ]);
    }
    shapes
}

fn matches_sums_in_f64<K: Kernel>(kernel: K, small: bool) {
    let mut random = Random::new(1);
    for (rows, depth, columns) in shapes(small) {
        let case = Case::new(rows, depth, columns, || random.normal());
        let truth = case.truth::<K>();
        for chunk in [depth, 96] {
            for (i, (got, (sum, most))) in case.run(kernel, chunk).iter().zip(&truth).enumerate() {
                let error = (f64::from(*got) - sum).abs();
                assert!(
                    error <= *most,
                    "{rows} x {depth} x {columns}, {i}: {got}, not {sum}"
                );
            }
        }
    }
}

fn is_exact_on_small_integers<K: Kernel>(kernel: K, small: bool) {
    let mut random = Random::new(2);
    for (rows, depth, columns) in shapes(small) {
        let mut case = Case::new(rows, depth, columns, || (random.below(15) as f32) - 7.0);
        if K::QUANTIZED {
            // With these, a byte of a row is a step of 1, and so is one of a column.
            for row in case.left.chunks_mut(depth) {
                row[0] = -120.0;
                row[depth - 1] = 135.0;
            }
            case.right
                .chunks_mut(depth)
                .for_each(|column| column[0] = 127.0);
        }
        for (got, (sum, _)) in case.run(kernel, depth).iter().zip(case.truth::<K>()) {
            assert_eq!(f64::from(*got), sum, "{rows} x {depth} x {columns}");
        }
    }
}

fn a_nan_touches_its_row_alone<K: Kernel>(kernel: K) {
    let mut random = Random::new(3);
    let (rows, depth, columns) = if cfg!(miri) {
        (13, 9, 19)
    } else {
        (37, 67, 35)
    };
    let (middle, last) = (rows / 2 - 1, rows - 1);
    let mut case = Case::new(rows, depth, columns, || random.normal());
    let clean = case.run(kernel, depth);
    for (row, number) in [(0, f32::NAN), (middle, f32::INFINITY), (last, f32::NAN)] {
        case.left[(row + 1) * depth - 1] = number;
    }
    for (i, (got, clean)) in case.run(kernel, depth).iter().zip(&clean).enumerate() {
        match i / columns {
            row if row == 0 || row == last => assert!(got.is_nan()),
            row if row == middle => assert!(!got.is_finite()),
            _ => assert_eq!(got.to_bits(), clean.to_bits()),
        }
    }
}

/// A row does not depend on those that are computed with it.
fn a_row_is_the_same_in_any_company<K: Kernel>(kernel: K) {
    let mut random = Random::new(4);
    let (rows, depth, columns) = if cfg!(miri) {
        (13, 40, 19)
    } else {
        (45, 500, 50)
    };
    let case = Case::new(rows, depth, columns, || random.normal());
    let all = case.run(kernel, depth);
    for row in [0, rows * 3 / 10, rows * 7 / 10, rows - 1] {
        let alone = Case {
            rows: 1,
            left: case.left[row * depth..(row + 1) * depth].to_vec(),
            right: case.right.clone(),
            ..case
        };
        assert_eq!(
            alone.run(kernel, depth),
            all[row * columns..(row + 1) * columns]
        );
    }
}

/// The sums of bytes themselves, as the instructions make them, against plain integers.
fn sums_of_bytes_are_exact<K: Kernel>(kernel: K) {
    if !K::QUANTIZED {
        return;
    }
    let layout = K::LAYOUT;
    let mut random = Random::new(5);
    let (rows, vectors, depth) = (layout.rows, layout.vectors, 5 * layout.step);
    let mut words = |count: usize, extreme: bool| -> Vec<u32> {
        let mut byte = || random.below(256) as u8;
        let word = |_| match extreme {
            // 255 times -128 and the like, which saturates sixteen bits.
            true => u32::MAX,
            false => u32::from_le_bytes(std::array::from_fn(|_| byte())),
        };
        (0..count).map(word).collect()
    };
    let pitch = layout.pitch(4 * depth);
    for extreme in [false, true] {
        let left = words(rows.div_ceil(layout.group) * pitch, extreme);
        let mut right = words(depth * vectors * layout.lanes, false);
        if extreme {
            right.fill(0x8080_8080);
        }
        let mut out = vec![0.0; rows * vectors * layout.lanes];
        for add in [false, true] {
            let tile = Tile {
                left: &left,
                pitch,
                rows,
                right: &right,
                vectors,
                depth,
                add,
                ahead: &[],
            };
            kernel.tile(tile, &mut out);
        }
        for row in 0..rows {
            for column in 0..vectors * layout.lanes {
                let mut sum = 0;
                for word in 0..depth {
                    let a = left[Rows::<K>::new(&left, rows, 4 * depth).at(row, word)];
                    let at = crate::matrix::place_in_panel(layout, vectors, column, word);
                    let pairs = a.to_le_bytes().into_iter().zip(right[at].to_le_bytes());
                    let products = pairs.map(|(a, w)| i32::from(a) * i32::from(w as i8));
                    sum += 2 * products.sum::<i32>();
                }
                let got = out[row * vectors * layout.lanes + column];
                assert_eq!(
                    got.to_bits().cast_signed(),
                    sum,
                    "row {row}, column {column}"
                );
            }
        }
    }
}

#[test]
fn sums_of_bytes_are_those_of_integers() {
    for_each_kernel!(|kernel, _small| sums_of_bytes_are_exact(kernel));
}

#[test]
fn every_kernel_matches_sums_in_f64() {
    for_each_kernel!(|kernel, small| matches_sums_in_f64(kernel, small));
}

#[test]
fn every_kernel_is_exact_on_small_integers() {
    for_each_kernel!(|kernel, small| is_exact_on_small_integers(kernel, small));
}

#[test]
fn a_nan_touches_its_own_row() {
    for_each_kernel!(|kernel, _small| a_nan_touches_its_row_alone(kernel));
}

#[test]
fn rows_are_the_same_in_any_company() {
    for_each_kernel!(|kernel, _small| a_row_is_the_same_in_any_company(kernel));
}

#[test]
#[should_panic(expected = "too short")]
fn a_tile_beyond_its_words_is_refused() {
    let kernel = Fp32::new(Portable);
    let tile = Tile {
        left: &[0; 7],
        pitch: 4,
        rows: 2,
        right: &[0; 32],
        vectors: 1,
        depth: 4,
        add: false,
        ahead: &[],
    };
    kernel.tile(tile, &mut [0.0; 16]);
}
