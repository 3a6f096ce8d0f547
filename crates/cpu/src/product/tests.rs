//! Every kernel against sums in f64.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::half::{bf16, from_bf16};
use crate::kernel::{Fp32, Kernel};
use crate::matrix::{Operand, Packed};
use crate::simd::Portable;
use crate::testing::{Random, for_each_kernel};

/// What the kernel makes of a number on its way into a word.
fn rounded<K: Kernel>(number: f32) -> f32 {
    if K::LAYOUT.per_word == 2 {
        from_bf16(bf16(number))
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

    /// The product, over the depth in one or in chunks, in all memory that was poisoned.
    fn run<K: Kernel>(&self, kernel: K, chunk: usize) -> Vec<f32> {
        let layout = K::LAYOUT;
        let poison = f32::NAN.to_bits() | 0x7fc0_7fc0;
        let mut words = vec![poison; layout.area(self.rows, self.depth)];
        let mut left = Operand::<K>::new(&mut words, self.rows, self.depth);
        let mut row = vec![0.0; layout.padded(self.depth)];
        for i in 0..self.rows {
            row[..self.depth].copy_from_slice(&self.left[i * self.depth..][..self.depth]);
            left.put(kernel, i, 0, &row);
        }
        let mut packed = Packed::<K>::zeroed(self.depth, self.columns);
        for (columns, words) in packed.panels_mut() {
            Packed::fill(kernel, words, self.depth, columns, |column, out| {
                out.copy_from_slice(&self.right[column * self.depth..][..self.depth]);
                true
            });
        }
        let mut out = vec![0.0; self.rows * self.columns];
        let mut sums = vec![f32::NAN; scratch::<K>(self.rows)];
        let right = packed.view();
        let mut start = 0;
        while start < right.depth() {
            let end = (start + chunk.next_multiple_of(layout.step)).min(right.depth());
            let rows = left.view().at_depth(start);
            product(
                kernel,
                rows,
                0..self.rows,
                right,
                start..end,
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
            start = end;
        }
        out
    }

    /// Sums in f64, and the sums of the magnitudes.
    fn truth<K: Kernel>(&self) -> Vec<(f64, f64)> {
        let mut all = Vec::new();
        for i in 0..self.rows {
            for j in 0..self.columns {
                let (mut sum, mut size) = (0.0, 0.0);
                for k in 0..self.depth {
                    let a = f64::from(rounded::<K>(self.left[i * self.depth + k]));
                    let b = f64::from(rounded::<K>(self.right[j * self.depth + k]));
                    sum += a * b;
                    size += (a * b).abs();
                }
                all.push((sum, size));
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
            for (i, (got, (sum, size))) in case.run(kernel, chunk).iter().zip(&truth).enumerate() {
                let error = (f64::from(*got) - sum).abs();
                assert!(
                    error <= size * 4e-7 * (depth as f64).sqrt().max(4.0),
                    "{rows} x {depth} x {columns}, {i}: {got}, not {sum}"
                );
            }
        }
    }
}

fn is_exact_on_small_integers<K: Kernel>(kernel: K, small: bool) {
    let mut random = Random::new(2);
    for (rows, depth, columns) in shapes(small) {
        let case = Case::new(rows, depth, columns, || (random.below(15) as f32) - 7.0);
        for (got, (sum, _)) in case.run(kernel, depth).iter().zip(case.truth::<K>()) {
            assert_eq!(f64::from(*got), sum, "{rows} x {depth} x {columns}");
        }
    }
}

fn a_nan_touches_its_row_alone<K: Kernel>(kernel: K) {
    let mut random = Random::new(3);
    let (rows, depth, columns) = (37, 67, 35);
    let mut case = Case::new(rows, depth, columns, || random.normal());
    let clean = case.run(kernel, depth);
    for (row, number) in [(0, f32::NAN), (17, f32::INFINITY), (36, f32::NAN)] {
        case.left[row * depth + 66] = number;
    }
    for (i, (got, clean)) in case.run(kernel, depth).iter().zip(&clean).enumerate() {
        match i / columns {
            0 | 36 => assert!(got.is_nan()),
            17 => assert!(!got.is_finite()),
            _ => assert_eq!(got.to_bits(), clean.to_bits()),
        }
    }
}

/// A row does not depend on those that are computed with it.
fn a_row_is_the_same_in_any_company<K: Kernel>(kernel: K) {
    let mut random = Random::new(4);
    let (rows, depth, columns) = (45, 500, 50);
    let case = Case::new(rows, depth, columns, || random.normal());
    let all = case.run(kernel, depth);
    for row in [0, 13, 31, 44] {
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
