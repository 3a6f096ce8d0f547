//! The accurate inverse transform of libjpeg (Loeffler, Ligtenberg and Moschytz), in the number
//! widths of its vector code on x86: what overflows gives the same samples as there.
//!
//! Coefficients are multiplied and added in 16 bits, which wrap around; products are 32 bits wide;
//! each of the two passes ends in 16 bits, and the samples in 8, which saturate.

/// Coefficients of 8 x 8 samples, row by row.
pub type Block = [i16; 64];

/// A row of 8 numbers, which are computed side by side.
type Row = [i16; 8];

/// Bits of the constants behind the point.
const CONST_BITS: u32 = 13;
/// Bits that the first pass leaves behind the point.
const PASS1_BITS: u32 = 2;

/// The samples of a block: `coefficients` times `table`, transformed, and 128 added.
pub fn samples(coefficients: &Block, table: &[u16; 64]) -> [[u8; 8]; 8] {
    let mut rows = [[0i16; 8]; 8];
    for (row, (coefficients, table)) in rows
        .iter_mut()
        .zip((coefficients.as_chunks::<8>().0.iter()).zip(table.as_chunks::<8>().0))
    {
        for ((to, &coefficient), &step) in row.iter_mut().zip(coefficients).zip(table) {
            *to = coefficient.wrapping_mul(step as i16);
        }
    }
    // Tested before the multiplication, as there.
    if coefficients[8..]
        .iter()
        .all(|&coefficient| coefficient == 0)
    {
        let row = rows[0].map(|value| value.wrapping_shl(PASS1_BITS));
        rows = [row; 8];
    } else {
        rows = pass::<{ CONST_BITS - PASS1_BITS }>(&rows);
    }
    let columns = pass::<{ CONST_BITS + PASS1_BITS + 3 }>(&transposed(&rows));
    transposed(&columns).map(|row| {
        row.map(|value| (value.clamp(i8::MIN.into(), i8::MAX.into()) as i8 as u8).wrapping_add(128))
    })
}

fn transposed(rows: &[Row; 8]) -> [Row; 8] {
    std::array::from_fn(|x| std::array::from_fn(|y| rows[y][x]))
}

/// One pass down the columns; what comes out is rounded by `DESCALE` bits.
#[inline(always)]
fn pass<const DESCALE: u32>(rows: &[Row; 8]) -> [Row; 8] {
    let mut out = [[0i16; 8]; 8];
    for x in 0..8 {
        let [in0, in1, in2, in3, in4, in5, in6, in7] = rows.map(|row| row[x]);
        let wide = |number: i16| i32::from(number);

        // Constants of the even part: sums of 0.541196100, 0.765366865 and -1.847759065.
        let [in2, in6] = [wide(in2), wide(in6)];
        let tmp2 = in2 * 4433 + in6 * (4433 - 15137);
        let tmp3 = in2 * (4433 + 6270) + in6 * 4433;
        let tmp0 = wide(in0.wrapping_add(in4)) << CONST_BITS;
        let tmp1 = wide(in0.wrapping_sub(in4)) << CONST_BITS;
        let even = [
            tmp0.wrapping_add(tmp3),
            tmp1.wrapping_add(tmp2),
            tmp1.wrapping_sub(tmp2),
            tmp0.wrapping_sub(tmp3),
        ];

        let z3 = wide(in7.wrapping_add(in3));
        let z4 = wide(in5.wrapping_add(in1));
        let [in1, in3, in5, in7] = [in1, in3, in5, in7].map(wide);
        // 1.175875602, -1.961570560 and -0.390180644.
        let sum3 = z3 * (9633 - 16069) + z4 * 9633;
        let sum4 = z3 * 9633 + z4 * (9633 - 3196);
        // 0.298631336, 2.053119869, 3.072711026, 1.501321110, -0.899976223 and -2.562915447.
        let tmp0 = (in7 * (2446 - 7373) + in1 * -7373).wrapping_add(sum3);
        let tmp1 = (in5 * (16819 - 20995) + in3 * -20995).wrapping_add(sum4);
        let tmp2 = (in5 * -20995 + in3 * (25172 - 20995)).wrapping_add(sum3);
        let tmp3 = (in7 * -7373 + in1 * (12299 - 7373)).wrapping_add(sum4);

        for (nth, (even, odd)) in even.into_iter().zip([tmp3, tmp2, tmp1, tmp0]).enumerate() {
            out[nth][x] = descale::<DESCALE>(even.wrapping_add(odd));
            out[7 - nth][x] = descale::<DESCALE>(even.wrapping_sub(odd));
        }
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
}
