//! The accurate inverse transform of libjpeg (Loeffler, Ligtenberg and Moschytz), in the number
//! widths of its vector code on x86: what overflows gives the same samples as there.
//!
//! Coefficients are multiplied and added in 16 bits, which wrap around; products are 32 bits wide;
//! each of the two passes ends in 16 bits, and the samples in 8, which saturate.

/// Coefficients of 8 x 8 samples, row by row.
pub type Block = [i16; 64];

/// 8 rows of 8 samples.
pub type Samples = [[u8; 8]; 8];

/// A row of 8 numbers, which are computed side by side.
type Row = [i16; 8];

/// The same in 32 bits.
type Wide = [i32; 8];

/// Bits of the constants behind the point.
pub(crate) const CONST_BITS: u32 = 13;
/// Bits that the first pass leaves behind the point.
pub(crate) const PASS1_BITS: u32 = 2;

/// The samples of a block: `coefficients` times `table`, transformed, and 128 added.
pub fn samples(coefficients: &Block, table: &[u16; 64]) -> Samples {
    let mut products = [0; 64];
    for ((product, &coefficient), &step) in products.iter_mut().zip(coefficients).zip(table) {
        *product = coefficient.wrapping_mul(step as i16);
    }
    // Tested before the multiplication, as there.
    let one_row = coefficients[8..]
        .iter()
        .all(|&coefficient| coefficient == 0);
    transform(&products, one_row)
}

/// The samples of a block of coefficients that are multiplied. `one_row`: all below the first row were zero
/// before that.
#[inline(always)]
pub(crate) fn transform(block: &Block, one_row: bool) -> Samples {
    let rows: &[Row; 8] = block.as_chunks().0.as_array().unwrap_or(&[[0; 8]; 8]);
    let rows = if one_row {
        [zipped(&rows[0], &rows[0], |value, _| {
            value.wrapping_shl(PASS1_BITS)
        }); 8]
    } else {
        pass::<{ CONST_BITS - PASS1_BITS }>(rows)
    };
    let columns = pass::<{ CONST_BITS + PASS1_BITS + 3 }>(&transposed(&rows));
    let rows = transposed(&columns);
    let mut samples = [[0; 8]; 8];
    for (samples, row) in samples.iter_mut().zip(&rows) {
        *samples = zipped(row, row, |value, _| sample(value));
    }
    samples
}

/// The sample of all places of a block that has nothing but its mean.
#[inline(always)]
pub(crate) fn flat(mean: i16) -> u8 {
    let value = i32::from(mean.wrapping_shl(PASS1_BITS)) << CONST_BITS;
    sample(descale::<{ CONST_BITS + PASS1_BITS + 3 }>(value))
}

#[inline(always)]
fn sample(value: i16) -> u8 {
    (value.clamp(i8::MIN.into(), i8::MAX.into()) as i8 as u8).wrapping_add(128)
}

#[inline(always)]
fn transposed(rows: &[Row; 8]) -> [Row; 8] {
    let mut columns = [[0; 8]; 8];
    for (y, row) in rows.iter().enumerate() {
        for (x, &value) in row.iter().enumerate() {
            columns[x][y] = value;
        }
    }
    columns
}

/// Numbers of two rows, one by one. A loop, which the compiler makes vectors of, where `map` may
/// be a call.
#[inline(always)]
fn zipped<T: Copy, U: Copy + Default>(a: &[T; 8], b: &[T; 8], of: impl Fn(T, T) -> U) -> [U; 8] {
    let mut out = [U::default(); 8];
    for x in 0..8 {
        out[x] = of(a[x], b[x]);
    }
    out
}

#[inline(always)]
fn wide(row: &Row) -> Wide {
    zipped(row, row, |value, _| value.into())
}

/// `a` times one number and `b` times another, added.
#[inline(always)]
fn products(a: &Wide, by_a: i32, b: &Wide, by_b: i32) -> Wide {
    zipped(a, b, |a, b| a * by_a + b * by_b)
}

#[inline(always)]
fn sum(a: &Wide, b: &Wide) -> Wide {
    zipped(a, b, i32::wrapping_add)
}

#[inline(always)]
fn difference(a: &Wide, b: &Wide) -> Wide {
    zipped(a, b, i32::wrapping_sub)
}

/// One pass down the columns; what comes out is rounded by `DESCALE` bits.
#[inline(always)]
fn pass<const DESCALE: u32>(rows: &[Row; 8]) -> [Row; 8] {
    let [in0, in1, in2, in3, in4, in5, in6, in7] = rows;

    // Constants of the even part: sums of 0.541196100, 0.765366865 and -1.847759065.
    let (wide2, wide6) = (wide(in2), wide(in6));
    let tmp2 = products(&wide2, 4433, &wide6, 4433 - 15137);
    let tmp3 = products(&wide2, 4433 + 6270, &wide6, 4433);
    let raised = |value: i16| i32::from(value) << CONST_BITS;
    let tmp0 = zipped(in0, in4, |a, b| raised(a.wrapping_add(b)));
    let tmp1 = zipped(in0, in4, |a, b| raised(a.wrapping_sub(b)));
    let even = [
        sum(&tmp0, &tmp3),
        sum(&tmp1, &tmp2),
        difference(&tmp1, &tmp2),
        difference(&tmp0, &tmp3),
    ];

    let z3 = zipped(in7, in3, |a, b| i32::from(a.wrapping_add(b)));
    let z4 = zipped(in5, in1, |a, b| i32::from(a.wrapping_add(b)));
    let (wide1, wide3, wide5, wide7) = (wide(in1), wide(in3), wide(in5), wide(in7));
    // 1.175875602, -1.961570560 and -0.390180644.
    let sum3 = products(&z3, 9633 - 16069, &z4, 9633);
    let sum4 = products(&z3, 9633, &z4, 9633 - 3196);
    // 0.298631336, 2.053119869, 3.072711026, 1.501321110, -0.899976223 and -2.562915447.
    let tmp0 = sum(&products(&wide7, 2446 - 7373, &wide1, -7373), &sum3);
    let tmp1 = sum(&products(&wide5, 16819 - 20995, &wide3, -20995), &sum4);
    let tmp2 = sum(&products(&wide5, -20995, &wide3, 25172 - 20995), &sum3);
    let tmp3 = sum(&products(&wide7, -7373, &wide1, 12299 - 7373), &sum4);

    let mut out = [[0; 8]; 8];
    for (nth, (even, odd)) in even.iter().zip([&tmp3, &tmp2, &tmp1, &tmp0]).enumerate() {
        out[nth] = zipped(even, odd, |a, b| descale::<DESCALE>(a.wrapping_add(b)));
        out[7 - nth] = zipped(even, odd, |a, b| descale::<DESCALE>(a.wrapping_sub(b)));
    }
    out
}

/// Rounds away `BITS` bits, and saturates to 16.
#[inline(always)]
fn descale<const BITS: u32>(number: i32) -> i16 {
    let rounded = number.wrapping_add(1 << (BITS - 1)) >> BITS;
    rounded.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_block_has_one_colour() {
        let mut block = [0; 64];
        block[0] = 8;
        assert_eq!(samples(&block, &[10; 64]), [[138; 8]; 8]);
    }

    /// The vector code shifts 16 bits, so this one comes out as black and not as white.
    #[test]
    fn the_first_coefficient_wraps_around() {
        let mut block = [0; 64];
        block[0] = 8192;
        assert_eq!(samples(&block, &[1; 64]), [[0; 8]; 8]);
        block[0] = 8191;
        assert_eq!(samples(&block, &[1; 64]), [[255; 8]; 8]);
    }

    #[test]
    fn a_mean_alone_is_what_the_transform_makes_of_it() {
        for mean in i16::MIN..=i16::MAX {
            let mut block = [0; 64];
            block[0] = mean;
            assert_eq!(transform(&block, true), [[flat(mean); 8]; 8]);
        }
    }
}
