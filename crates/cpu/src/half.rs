//! Numbers of 16 bits.

/// The nearest BF16, ties to even; NaN stays NaN. (The kernels have an instruction.)
#[cfg(test)]
pub fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    // The exponent takes a carry as it should: the largest floats become infinite.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// A BF16 as a float: exact.
#[inline(always)]
pub fn from_bf16(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// An IEEE 754 binary16 as a float: exact.
#[inline(always)]
pub fn from_f16(value: u16) -> f32 {
    let sign = u32::from(value >> 15) << 31;
    let rest = u32::from(value & 0x7fff);
    // As a float of a tiny exponent, then scaled by 2^112: right for numbers and
    // subnormals alike. Infinities and NaN get their exponent by hand.
    let magnitude = if rest >= 0x7c00 {
        0x7f80_0000 | (rest & 0x3ff) << 13
    } else {
        (f32::from_bits(rest << 13) * f32::from_bits(239 << 23)).to_bits()
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary16_is_exact_for_every_value() {
        for bits in 0..=u16::MAX {
            let exponent = i32::from(bits >> 10 & 31);
            let fraction = f64::from(bits & 0x3ff);
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let got = f64::from(from_f16(bits));
            match exponent {
                31 if fraction != 0.0 => assert!(got.is_nan()),
                31 => assert_eq!(got, sign * f64::INFINITY),
                0 => assert_eq!(got, sign * fraction * 2f64.powi(-24)),
                _ => assert_eq!(
                    got,
                    sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15)
                ),
            }
        }
    }

    #[test]
    fn bf16_is_the_nearest_and_even() {
        assert_eq!(bf16(1.0), 0x3f80);
        assert_eq!(bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(bf16(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(bf16(f32::MAX), 0x7f80);
        assert_eq!(bf16(f32::NEG_INFINITY), 0xff80);
        assert!(from_bf16(bf16(f32::from_bits(0x7f80_0001))).is_nan());
        for bits in 0..=u16::MAX {
            if !from_bf16(bits).is_nan() {
                assert_eq!(bf16(from_bf16(bits)), bits);
            }
        }
    }
}
