//! Where weights come from.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::error::Error;

/// How the numbers of a tensor are stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
}

impl Dtype {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// A tensor as a checkpoint has it.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: &'a [usize],
    /// Its numbers, the last dimension fastest.
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// Reads as many numbers as `out` has, from the number `first` on.
    ///
    /// # Panics
    ///
    /// When the tensor has fewer.
    pub fn read(&self, first: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        let bytes = &self.bytes[first * size..][..out.len() * size];
        let pairs = bytes.as_chunks::<2>().0.iter();
        match self.dtype {
            Dtype::F32 => {
                for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(bytes);
                }
            }
            Dtype::F16 => {
                // Many at a time: what the processor has for it is looked up once for all.
                let mut halves = [f16::ZERO; 64];
                for (out, pairs) in out.chunks_mut(64).zip(pairs.as_slice().chunks(64)) {
                    for (half, &bytes) in halves.iter_mut().zip(pairs) {
                        *half = f16::from_le_bytes(bytes);
                    }
                    halves[..out.len()].convert_to_f32_slice(out);
                }
            }
            Dtype::BF16 => {
                for (out, &bytes) in out.iter_mut().zip(pairs) {
                    *out = bf16::from_le_bytes(bytes).to_f32();
                }
            }
        }
    }

    /// All numbers.
    pub fn floats(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.shape.iter().product()];
        self.read(0, &mut out);
        out
    }
}

/// The tensors of a checkpoint, by the names that transformers gives them.
pub trait Source: Send + Sync {
    /// The tensor `name`, if there is one.
    fn tensor(&self, name: &str) -> Option<Tensor<'_>>;

    /// Says that what was read so far will not be read again soon, so that the pages of a
    /// mapped file can be given back to the operating system.
    fn release(&self) {}
}

/// The tensor `name`, which must have this shape, and as many bytes as that calls for.
///
/// # Errors
///
/// When there is no such tensor, or it has another shape or length.
pub fn fetch<'a>(source: &'a dyn Source, name: &str, shape: &[usize]) -> Result<Tensor<'a>, Error> {
    let tensor = source
        .tensor(name)
        .ok_or_else(|| Error::Missing(name.to_owned()))?;
    if tensor.shape != shape {
        return Err(Error::Misshapen {
            name: name.to_owned(),
            found: tensor.shape.to_owned(),
            expected: shape.to_owned(),
        });
    }
    let numbers: usize = shape.iter().product();
    if tensor.bytes.len() != numbers * tensor.dtype.size() {
        return Err(Error::Short(name.to_owned()));
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind_are_read_exactly_from_any_place() {
        let read = |dtype, words: &[u16]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let numbers = bytes.len() / Dtype::size(dtype);
            let tensor = Tensor {
                dtype,
                shape: &[numbers],
                bytes: &bytes,
            };
            let mut behind_the_first = vec![0.0; numbers - 1];
            tensor.read(1, &mut behind_the_first);
            assert_eq!(tensor.floats()[1..], behind_the_first);
            tensor.floats()
        };
        // One, the least above it, the least of all, the largest, infinity.
        let halves = read(Dtype::F16, &[0x3c00, 0x3c01, 0x8001, 0x7bff, 0xfc00]);
        let tiny = -2f32.powi(-24);
        assert_eq!(
            halves,
            [1.0, 1.0 + 2f32.powi(-10), tiny, 65_504.0, f32::NEG_INFINITY]
        );
        let brains = read(Dtype::BF16, &[0x3f80, 0x3f81, 0x8001, 0x7f80]);
        let tiny = -f32::from_bits(1 << 16);
        assert_eq!(brains, [1.0, 1.0 + 2f32.powi(-7), tiny, f32::INFINITY]);
        let floats = read(Dtype::F32, &[0, 0x3f80, 1, 0x3f80]);
        assert_eq!(floats, [1.0, 1.0 + f32::EPSILON]);
    }
}
