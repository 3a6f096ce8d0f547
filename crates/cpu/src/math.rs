//! Functions of vectors: powers of two, GELU, layer norm.

use crate::simd::Simd;

#[cfg(test)]
mod tests;

/// `2^x`, to 2.5e-7 of itself, for `x` up to 127. What is below -126 becomes
/// 2^-126, and NaN stays NaN.
#[inline(always)]
pub fn exp2<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let x = s.max(s.splat(-126.0), x);
    let n = s.round(x);
    let f = s.sub(x, n);
    // Taylor's coefficients, ln(2)^k / k!, the last one nudged for |f| <= 1/2.
    let p = s.mul_add(f, s.splat(1.540_353e-4), s.splat(1.333_355_8e-3));
    let p = s.mul_add(p, f, s.splat(9.618_129e-3));
    let p = s.mul_add(p, f, s.splat(5.550_411e-2));
    let p = s.mul_add(p, f, s.splat(0.240_226_5));
    let p = s.mul_add(p, f, s.splat(std::f32::consts::LN_2));
    let p = s.mul_add(p, f, s.splat(1.0));
    s.scale(p, n)
}

/// GELU by its tanh approximation (torch's `gelu(x, approximate="tanh")`):
/// `x/2 (1 + tanh u) = x / (1 + exp(-2u))` with `u = sqrt(2/pi) (x + 0.044715 x^3)`.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    const C: f32 = -2.0 * 0.797_884_6 * std::f32::consts::LOG2_E;
    let square = s.mul(x, x);
    let t = s.mul(x, s.mul_add(square, s.splat(C * 0.044_715), s.splat(C)));
    let e = exp2(s, s.min(s.splat(120.0), t));
    s.mul(x, s.reciprocal(s.add(e, s.splat(1.0))))
}

/// `x * sigmoid(factor * x)`: SiLU with a factor of 1, the quick GELU with 1.702.
#[inline(always)]
pub fn sigmoid_gated<S: Simd>(s: S, x: S::Vector, factor: f32) -> S::Vector {
    let t = s.mul(x, s.splat(-factor * std::f32::consts::LOG2_E));
    let e = exp2(s, s.min(s.splat(120.0), t));
    s.mul(x, s.reciprocal(s.add(e, s.splat(1.0))))
}

/// `max(x, 0)`; NaN stays NaN.
#[inline(always)]
pub fn relu<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    s.max(s.splat(0.0), x)
}

/// GELU by the error function (torch's `gelu(x)`): `x/2 (1 + erf(x / sqrt 2))`.
/// The error function is Abramowitz and Stegun's 7.1.26, to 1.5e-7.
#[inline(always)]
pub fn gelu_erf<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let z = s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let magnitude = s.copy_sign(z, s.splat(1.0));
    let t = s.reciprocal(s.mul_add(magnitude, s.splat(0.327_591_1), s.splat(1.0)));
    let p = s.mul_add(t, s.splat(1.061_405_4), s.splat(-1.453_152));
    let p = s.mul_add(p, t, s.splat(1.421_413_7));
    let p = s.mul_add(p, t, s.splat(-0.284_496_74));
    let p = s.mul_add(p, t, s.splat(0.254_829_6));
    let p = s.mul(p, t);
    let square = s.mul(magnitude, magnitude);
    let e = exp2(s, s.mul(square, s.splat(-std::f32::consts::LOG2_E)));
    let erf = s.sub(s.splat(1.0), s.mul(p, e));
    let erf = s.copy_sign(erf, z);
    let half = s.mul(x, s.splat(0.5));
    s.mul_add(half, erf, half)
}

/// `out[i] = (x[i] - mean) / sqrt(variance + epsilon) * gain[i] + bias[i]`.
///
/// All slices have the same length, which can be any. The mean comes first, and the
/// variance is that of the differences from it, as in torch: a few channels of the residual
/// stream are thousands of times larger than the rest, and a difference of squares would
/// lose the rest.
#[inline(always)]
pub fn layer_norm<S: Simd>(
    s: S,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    let n = x.len();
    assert!(gain.len() == n && bias.len() == n && out.len() == n);
    let whole = n - n % (4 * S::LANES);
    let zero = s.splat(0.0);
    let mut sums = [zero; 4];
    for x in x[..whole].chunks_exact(4 * S::LANES) {
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = s.add(*sum, s.load(&x[j * S::LANES..]));
        }
    }
    let total = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
    let rest: f32 = x[whole..].iter().sum();
    let mean = (s.sum(total) + rest) / n as f32;

    let m = s.splat(mean);
    let mut sums = [zero; 4];
    for x in x[..whole].chunks_exact(4 * S::LANES) {
        for (j, sum) in sums.iter_mut().enumerate() {
            let d = s.sub(s.load(&x[j * S::LANES..]), m);
            *sum = s.mul_add(d, d, *sum);
        }
    }
    let total = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
    let rest: f32 = x[whole..].iter().map(|x| (x - mean) * (x - mean)).sum();
    let variance = (s.sum(total) + rest) / n as f32;
    let inverse = 1.0 / (variance + epsilon).sqrt();

    let r = s.splat(inverse);
    let whole = n - n % S::LANES;
    for (((x, g), b), o) in x[..whole]
        .chunks_exact(S::LANES)
        .zip(gain[..whole].chunks_exact(S::LANES))
        .zip(bias[..whole].chunks_exact(S::LANES))
        .zip(out[..whole].chunks_exact_mut(S::LANES))
    {
        let d = s.mul(s.sub(s.load(x), m), r);
        s.store(s.mul_add(d, s.load(g), s.load(b)), o);
    }
    for i in whole..n {
        out[i] = (x[i] - mean) * inverse * gain[i] + bias[i];
    }
}
