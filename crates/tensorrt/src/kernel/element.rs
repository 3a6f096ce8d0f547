//! The element type of the vision engine's input, and its encoding.

use half::f16;

use crate::directory::ElementType;

/// An element of `pixel_values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE 754 binary16.
    Fp16,
    /// IEEE 754 binary32.
    Fp32,
}

impl Element {
    /// The element for an engine whose input has this type.
    pub fn of(input: ElementType) -> Self {
        match input {
            ElementType::Fp16 => Self::Fp16,
            _ => Self::Fp32,
        }
    }

    /// Its width in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Fp16 => 2,
            Self::Fp32 => 4,
        }
    }

    /// `values` as elements, little-endian.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::Fp16 => values
                .iter()
                .flat_map(|&value| f16::from_f32(value).to_le_bytes())
                .collect(),
            Self::Fp32 => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_rounded_as_ieee_754_says() {
        // numpy.float32(value).astype(numpy.float16).view(numpy.uint16)
        for (value, bits) in [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-1.0, 0xbc00),
            (0.003_921_569, 0x1c04),
            (-0.992_156_86, 0xbbf0),
            (1.000_488_3, 0x3c00),
            (1.001_464_8, 0x3c02),
            (2049.0, 0x6800),
            (2051.0, 0x6802),
            (65504.0, 0x7bff),
            (65519.996, 0x7bff),
            (65520.0, 0x7c00),
            (1e30, 0x7c00),
            (f32::NEG_INFINITY, 0xfc00),
            (6.103_515_6e-5, 0x0400),
            (6.1e-5, 0x03ff),
            (6.103_4e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (2.980_232_6e-8, 0x0001),
            (8.940_697e-8, 0x0002),
            (1e-10, 0x0000),
        ] {
            let encoded = Element::Fp16.encode(&[value]);
            assert_eq!(encoded, u16::to_le_bytes(bits), "{value}");
        }
        let encoded = Element::Fp16.encode(&[f32::NAN]);
        assert!(f16::from_le_bytes([encoded[0], encoded[1]]).is_nan());
    }
}
