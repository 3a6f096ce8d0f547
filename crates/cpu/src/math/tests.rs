//! Every function on every kind of vectors against the same in f64.
//!
//! ```text
//! exp2                2e-7 of the value
//! GELU by tanh        4e-7 of |x|, the larger of its two factors
//! SiLU, quick GELU    4e-7 of |x|, likewise
//! GELU by erf         4e-7 of |x|: 7.1.26 itself is good to 1.5e-7 of it
//! ReLU                exact
//! layer norm          2e-6 of the largest result
//! ```

use super::*;
use crate::simd::Portable;
use crate::testing::Random;

/// Calls a function with each kind of vectors that this processor has.
macro_rules! for_each_simd {
    (|$simd:ident| $call:expr) => {{
        {
            let $simd = Portable;
            $call;
        }
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            if let Some($simd) = crate::simd::Avx2::detect() {
                $call;
            }
            if let Some($simd) = crate::simd::Avx512::detect() {
                $call;
            }
        }
    }};
}

/// A function of one number, in every lane.
fn each<S: Simd>(s: S, x: &[f32], f: impl Fn(S, S::Vector) -> S::Vector) -> Vec<f32> {
    let mut padded = x.to_vec();
    padded.resize(x.len().next_multiple_of(S::LANES), 0.0);
    s.vectorize(|| {
        for chunk in padded.chunks_exact_mut(S::LANES) {
            s.store(f(s, s.load(chunk)), chunk);
        }
    });
    padded.truncate(x.len());
    padded
}

/// Numbers of all sizes on both sides of zero, closest where the functions bend.
fn numbers() -> Vec<f32> {
    let steps = if cfg!(miri) { 20 } else { 6_000 };
    let even = (-steps..=steps).map(|i| i as f32 * 12.0 / steps as f32);
    let sizes = (-30..=6).map(|power| 2.0_f32.powi(power) * 1.37);
    let sizes = sizes.flat_map(|x| [x, -x]);
    even.chain(sizes).chain([0.0, -0.0]).collect()
}

/// By Simpson's rule, to about 1e-12.
fn erf(x: f64) -> f64 {
    let x = x.clamp(-6.0, 6.0);
    let pieces = if cfg!(miri) { 200 } else { 400 };
    let step = x / f64::from(pieces);
    let weight = |i| match i {
        _ if i == 0 || i == pieces => 1.0,
        _ if i % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let at = |i: i32| weight(i) * (-(f64::from(i) * step).powi(2)).exp();
    (0..=pieces).map(at).sum::<f64>() * step / 3.0 * std::f64::consts::FRAC_2_SQRT_PI
}

fn gelu_tanh_in_f64(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + u.tanh())
}

fn gated_in_f64(x: f64, factor: f64) -> f64 {
    x / (1.0 + (-factor * x).exp())
}

/// That `got` is `want(x)`, to `most` of `|x|`.
fn assert_activation(what: &str, x: &[f32], got: &[f32], most: f64, want: impl Fn(f64) -> f64) {
    let mut worst = (0.0, 0.0);
    for (&x, &got) in x.iter().zip(got) {
        let x = f64::from(x);
        let error = (f64::from(got) - want(x)).abs();
        assert!(
            error <= most * x.abs(),
            "{what} of {x}: {got}, not {}",
            want(x)
        );
        if x != 0.0 && error / x.abs() > worst.0 {
            worst = (error / x.abs(), x);
        }
    }
    println!("{what}: at most {:.1e} of |x|, at {}", worst.0, worst.1);
}

fn activations<S: Simd>(s: S) {
    let x = numbers();
    let name = std::any::type_name::<S>();
    let got = each(s, &x, gelu_tanh);
    assert_activation(
        &format!("{name} gelu_tanh"),
        &x,
        &got,
        4e-7,
        gelu_tanh_in_f64,
    );
    let got = each(s, &x, gelu_erf);
    assert_activation(&format!("{name} gelu_erf"), &x, &got, 4e-7, |x| {
        0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
    });
    for factor in [1.0, 1.702_f32] {
        let got = each(s, &x, |s, x| sigmoid_gated(s, x, factor));
        let what = format!("{name} sigmoid_gated {factor}");
        assert_activation(&what, &x, &got, 4e-7, |x| {
            gated_in_f64(x, f64::from(factor))
        });
    }
    let got = each(s, &x, relu);
    assert_activation(&format!("{name} relu"), &x, &got, 0.0, |x| x.max(0.0));
}

#[test]
fn activations_are_those_of_f64() {
    for_each_simd!(|s| activations(s));
}

fn no_number_is_invented<S: Simd>(s: S) {
    let x = [f32::NAN; 16];
    let all: [(&str, Vec<f32>); 6] = [
        ("exp2", each(s, &x, exp2)),
        ("gelu_tanh", each(s, &x, gelu_tanh)),
        ("gelu_erf", each(s, &x, gelu_erf)),
        ("silu", each(s, &x, |s, x| sigmoid_gated(s, x, 1.0))),
        ("quick_gelu", each(s, &x, |s, x| sigmoid_gated(s, x, 1.702))),
        ("relu", each(s, &x, relu)),
    ];
    for (what, got) in all {
        assert!(got.iter().all(|x| x.is_nan()), "{what} of NaN: {got:?}");
    }
    // Far out every one of them is a straight line, without an infinity on the way.
    let x = [1e4, -1e4, 1e15, -1e15];
    for got in [
        each(s, &x, |s, x| sigmoid_gated(s, x, 1.0)),
        each(s, &x, gelu_erf),
    ] {
        for (x, got) in x.iter().zip(got) {
            let want = x.max(0.0);
            assert!((got - want).abs() <= 4e-7 * x.abs(), "{x}: {got}");
        }
    }
}

#[test]
fn nan_stays_nan_and_large_numbers_stay_finite() {
    for_each_simd!(|s| no_number_is_invented(s));
}

fn powers_of_two<S: Simd>(s: S) {
    let steps = if cfg!(miri) { 30 } else { 20_000 };
    let x: Vec<f32> = (0..=steps)
        .map(|i| -126.0 + 253.0 * i as f32 / steps as f32)
        .collect();
    for (x, got) in x.iter().zip(each(s, &x, exp2)) {
        let want = f64::from(*x).exp2();
        let error = (f64::from(got) - want).abs() / want;
        // The polynomial is off by up to 1.6e-7 at the ends of a step, and roundings add up to 0.8e-7.
        assert!(error <= 2.5e-7, "2^{x}: {got}, off by {error:.1e}");
    }
    let least = f64::from(-126.0_f32).exp2() as f32;
    for got in each(s, &[-127.0, -1e9, f32::NEG_INFINITY], exp2) {
        assert_eq!(got, least);
    }
}

#[test]
fn powers_of_two_are_those_of_f64() {
    for_each_simd!(|s| powers_of_two(s));
}

fn norms<S: Simd>(s: S) {
    let mut random = Random::new(12);
    for length in [1, 2, 15, 16, 17, 63, 64, 65, 130, 768, 1152] {
        if cfg!(miri) && length > 130 {
            continue;
        }
        let mut x: Vec<f32> = (0..length).map(|_| random.normal() + 3.0).collect();
        // A channel such as the residual stream has.
        x[length / 2] = 900.0;
        let gain: Vec<f32> = (0..length).map(|_| random.normal()).collect();
        let bias: Vec<f32> = (0..length).map(|_| random.normal()).collect();
        let epsilon = 1e-6;
        let mut got = vec![f32::NAN; length];
        s.vectorize(|| layer_norm(s, &x, &gain, &bias, epsilon, &mut got));

        let count = length as f64;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let square = |&x: &f32| (f64::from(x) - mean).powi(2);
        let variance = x.iter().map(square).sum::<f64>() / count;
        let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let want: Vec<f64> = (0..length)
            .map(|i| (f64::from(x[i]) - mean) * inverse * f64::from(gain[i]) + f64::from(bias[i]))
            .collect();
        let most = want.iter().fold(1.0_f64, |most, want| most.max(want.abs()));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let error = (f64::from(*got) - want).abs() / most;
            assert!(
                error <= 2e-6,
                "{length}, {i}: {got}, not {want}: {error:.1e}"
            );
        }
    }
}

#[test]
fn layer_norms_are_those_of_f64() {
    for_each_simd!(|s| norms(s));
}

#[test]
fn a_square_of_words_is_transposed_within_its_rows() {
    fn check<S: Simd>(s: S) {
        let lanes = S::LANES;
        for (from_pitch, to_pitch) in [(lanes, lanes), (lanes + 5, 3 * lanes), (100, lanes + 1)] {
            let from: Vec<u32> = (0..).take((lanes - 1) * from_pitch + lanes).collect();
            let mut to = vec![u32::MAX; (lanes - 1) * to_pitch + lanes];
            s.vectorize(|| s.transpose(&from, from_pitch, &mut to, to_pitch));
            for (at, &word) in to.iter().enumerate() {
                let (j, i) = (at / to_pitch, at % to_pitch);
                let want = if i < lanes {
                    from[i * from_pitch + j]
                } else {
                    u32::MAX
                };
                assert_eq!(
                    word, want,
                    "{lanes} lanes, pitches {from_pitch} and {to_pitch}"
                );
            }
        }
    }
    for_each_simd!(|s| check(s));
}
