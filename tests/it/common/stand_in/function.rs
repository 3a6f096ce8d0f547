//! What the stand-in's engines compute, from their definition in
//! tests/stand_in/tensorrt/function.hpp.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The row of an image engine for these values, [3, S, S] in their order, as they are in the
/// engine's input: for an FP16 engine rounded to FP16.
pub fn image_embedding(values: impl IntoIterator<Item = f32>, dimensions: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dimensions];
    for (i, value) in (1..).zip(values) {
        let h = mix(i);
        let magnitude = (1.0 + (h & 0x7f_ffff) as f32 / 8_388_608.0) / 2.0;
        let weight = if h >> 23 & 1 == 1 {
            -magnitude
        } else {
            magnitude
        };
        sums[((h >> 32) % dimensions as u64) as usize] += f64::from(weight) * f64::from(value);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// The row of a text engine for these ids.
pub fn text_embedding(ids: &[i32], dimensions: usize) -> Vec<f32> {
    let h = (1..).zip(ids).fold(0, |h: u64, (i, &id)| {
        mix(h ^ (i64::from(id) as u64).wrapping_add(STEP.wrapping_mul(i)))
    });
    (1..=dimensions as u64)
        .map(|d| {
            let k = mix(h.wrapping_add(STEP.wrapping_mul(d))) >> 40;
            k as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// The FP32 number that an FP16 one is.
pub fn widen(half: u16) -> f32 {
    let exponent = i32::from(half >> 10 & 31);
    let fraction = f32::from(half & 1023);
    let magnitude = match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    };
    if half & 0x8000 == 0 {
        magnitude
    } else {
        -magnitude
    }
}
