//! Rows as plain bytes: what a number is, and numpy's format.

use half::f16;

use super::quantized::{bits, int8};
use siglip2_service::Embeddings;

/// What a number is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dtype {
    /// 4 bytes.
    #[default]
    Float32,
    /// 2 bytes, rounded to the nearest.
    Float16,
    /// 1 byte, at the scale of its row.
    Int8,
    /// 1 bit: whether it is above 0.
    Binary,
}

impl Dtype {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Float32, Self::Float16, Self::Int8, Self::Binary];

    /// The type of this name.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|dtype| dtype.name().as_bytes() == name)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Int8 => "int8",
            Self::Binary => "binary",
        }
    }

    /// Numbers that a row of so many values is written in.
    pub(crate) fn width(self, dimensions: usize) -> usize {
        match self {
            Self::Binary => dimensions.div_ceil(8),
            _ => dimensions,
        }
    }

    /// Bytes of a number.
    fn size(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
            Self::Int8 | Self::Binary => 1,
        }
    }

    /// As numpy names it.
    fn descr(self) -> &'static str {
        match self {
            Self::Float32 => "<f4",
            Self::Float16 => "<f2",
            Self::Int8 => "|i1",
            Self::Binary => "|u1",
        }
    }
}

/// Row after row, little-endian. A row that there is not is no vector, and nobody takes it for
/// one: it is NaN, or zeros where a number cannot say that.
pub(crate) fn rows(rows: &Embeddings, dtype: Dtype) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes(rows, dtype));
    append(&mut body, rows, dtype);
    body
}

/// The same behind numpy's header.
pub(crate) fn npy(rows: &Embeddings, dtype: Dtype) -> Vec<u8> {
    let mut body = Vec::with_capacity(128 + bytes(rows, dtype));
    npy_head(&mut body, dtype, rows.len(), dtype.width(rows.dimensions()));
    append(&mut body, rows, dtype);
    body
}

fn bytes(rows: &Embeddings, dtype: Dtype) -> usize {
    dtype.size() * dtype.width(rows.dimensions()) * rows.len()
}

fn append(body: &mut Vec<u8>, rows: &Embeddings, dtype: Dtype) {
    let of_row = dtype.size() * dtype.width(rows.dimensions());
    for row in rows.rows() {
        let begin = body.len();
        match dtype {
            Dtype::Float32 if row.is_empty() => fill(body, of_row, &f32::NAN.to_le_bytes()),
            Dtype::Float16 if row.is_empty() => fill(body, of_row, &f16::NAN.to_le_bytes()),
            Dtype::Int8 | Dtype::Binary if row.is_empty() => fill(body, of_row, &[0]),
            Dtype::Float32 => {
                // Of a length that is known, so that it is copied and not collected.
                body.resize(begin + of_row, 0);
                let (numbers, _) = body[begin..].as_chunks_mut::<4>();
                for (number, value) in numbers.iter_mut().zip(row) {
                    *number = value.to_le_bytes();
                }
            }
            Dtype::Float16 => {
                body.resize(begin + of_row, 0);
                let (numbers, _) = body[begin..].as_chunks_mut::<2>();
                for (number, &value) in numbers.iter_mut().zip(row) {
                    *number = f16::from_f32(value).to_le_bytes();
                }
            }
            Dtype::Int8 => body.extend(int8(row).map(i8::cast_unsigned)),
            Dtype::Binary => body.extend(bits(row)),
        }
    }
}

fn fill(body: &mut Vec<u8>, bytes: usize, number: &[u8]) {
    body.extend(number.iter().cycle().take(bytes));
}

/// Version 1.0 of numpy's format: a magic word, the length of what follows, and a literal of
/// Python, filled up so that the numbers begin at a multiple of 64.
fn npy_head(body: &mut Vec<u8>, dtype: Dtype, count: usize, width: usize) {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let descr = dtype.descr();
    let head =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count}, {width}), }}");
    let whole = (MAGIC.len() + 2 + head.len() + 1).next_multiple_of(64);
    let length = whole - MAGIC.len() - 2;
    body.extend_from_slice(MAGIC);
    body.extend((length as u16).to_le_bytes());
    body.extend_from_slice(head.as_bytes());
    body.resize(whole - 1, b' ');
    body.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_as_numpy_writes_them() {
        let given = Embeddings::given(2, vec![vec![3.0, 4.0], vec![0.0, -1.0]]);
        let written = npy(&given, Dtype::Float16);
        let (head, numbers) = written.split_at(128);
        // np.save of np.array([[0.6, 0.8], [0, -1]], "<f2").
        let text = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }";
        assert_eq!(&head[..10], b"\x93NUMPY\x01\x00v\x00");
        assert_eq!(&head[10..10 + text.len()], text.as_bytes());
        assert!(head.ends_with(b" \n"));
        assert_eq!(numbers, b"\xcd\x38\x66\x3a\0\0\0\xbc");
        assert_eq!(rows(&given, Dtype::Float32).len(), 16);
        assert_eq!(rows(&given, Dtype::Int8), [95, 127, 0, 129]);
        assert_eq!(rows(&given, Dtype::Binary), [0b1100_0000, 0]);
        assert_eq!(npy(&given, Dtype::Binary).len(), 130);
        for dtype in Dtype::ALL {
            assert_eq!(rows(&given, dtype).len(), bytes(&given, dtype));
            assert_eq!(Dtype::of(dtype.name().as_bytes()), Some(dtype));
        }
    }

    #[test]
    fn a_row_that_there_is_not_is_no_vector() {
        let given = Embeddings::given(2, vec![vec![], vec![0.0, -1.0]]);
        let written = rows(&given, Dtype::Float32);
        let (numbers, _) = written.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|x| f32::from_le_bytes(*x)).collect();
        assert!(numbers[0].is_nan() && numbers[1].is_nan());
        assert_eq!(numbers[2..], [0.0, -1.0]);
        let halves = rows(&given, Dtype::Float16);
        assert!(f16::from_le_bytes([halves[0], halves[1]]).is_nan());
        assert_eq!(rows(&given, Dtype::Int8), [0, 0, 0, 129]);
        assert_eq!(rows(&given, Dtype::Binary), [0, 0]);
    }
}
