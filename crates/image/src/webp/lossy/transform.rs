//! From coefficients to differences of samples (RFC 6386, section 14), in the widths of libwebp's code for
//! x86: what passes 16 bits, as in files that no encoder writes, wraps around as it does there.

/// Bytes from one row of a block's samples to the next.
pub(super) const STRIDE: usize = 32;

/// Coefficients of a block, or its differences, row by row.
pub(super) type Block = [i16; 16];

/// Four numbers that are computed at once.
type Four = [i16; 4];

#[inline(always)]
fn each(a: Four, b: Four, of: impl Fn(i16, i16) -> i16) -> Four {
    [
        of(a[0], b[0]),
        of(a[1], b[1]),
        of(a[2], b[2]),
        of(a[3], b[3]),
    ]
}

#[inline(always)]
fn add(a: Four, b: Four) -> Four {
    each(a, b, i16::wrapping_add)
}

#[inline(always)]
fn sub(a: Four, b: Four) -> Four {
    each(a, b, i16::wrapping_sub)
}

/// `a * factor / 65536`.
#[inline(always)]
fn high(a: Four, factor: i32) -> Four {
    a.map(|a| ((i32::from(a) * factor) >> 16) as i16)
}

/// The square roots of 2 times the cosine and the sine of pi / 8, less 1, in 65536ths.
const COSINE: i32 = 20_091;
const SINE: i32 = 35_468 - 65_536;

/// One direction of the transform, of four columns at once.
#[inline(always)]
fn pass([in0, in1, in2, in3]: [Four; 4]) -> [Four; 4] {
    let a = add(in0, in2);
    let b = sub(in0, in2);
    let c = add(sub(in1, in3), sub(high(in1, SINE), high(in3, COSINE)));
    let d = add(add(in1, in3), add(high(in1, COSINE), high(in3, SINE)));
    [add(a, d), add(b, c), sub(b, c), sub(a, d)]
}

#[inline(always)]
fn transposed(rows: [Four; 4]) -> [Four; 4] {
    let column = |x: usize| [rows[0][x], rows[1][x], rows[2][x], rows[3][x]];
    [column(0), column(1), column(2), column(3)]
}

/// Adds differences to a row of samples.
#[inline(always)]
fn put(samples: &mut [u8], differences: Four) {
    for (sample, difference) in samples.iter_mut().zip(differences) {
        *sample = i16::from(*sample).wrapping_add(difference).clamp(0, 255) as u8;
    }
}

/// The four rows of a block whose first sample is at `at`.
#[inline(always)]
fn rows_of(samples: &mut [u8], at: usize) -> impl Iterator<Item = &mut [u8]> {
    let rows = samples.get_mut(at..).unwrap_or_default();
    rows.chunks_mut(STRIDE)
        .take(4)
        .map(|row| row.get_mut(..4).unwrap_or_default())
}

/// Adds what the coefficients say to the samples of 4 x 4 from `at` on.
pub(super) fn whole(coefficients: &Block, samples: &mut [u8], at: usize) {
    let four = coefficients.as_chunks::<4>().0;
    let rows = [four[0], four[1], four[2], four[3]];
    let mut columns = transposed(pass(rows));
    columns[0] = columns[0].map(|first| first.wrapping_add(4));
    let rows = transposed(pass(columns).map(|row| row.map(|value| value >> 3)));
    for (samples, row) in rows_of(samples, at).zip(rows) {
        put(samples, row);
    }
}

/// The same where only the first coefficient is not zero.
pub(super) fn first_only(first: i16, samples: &mut [u8], at: usize) {
    let difference = ((i32::from(first) + 4) >> 3) as i16;
    for samples in rows_of(samples, at) {
        put(samples, [difference; 4]);
    }
}

/// The same where there are no more than the first three by frequency: in 32 bits, as libwebp does it.
pub(super) fn three(coefficients: &Block, samples: &mut [u8], at: usize) {
    let cosine = |value: i16| ((i32::from(value) * COSINE) >> 16) + i32::from(value);
    let sine = |value: i16| (i32::from(value) * 35_468) >> 16;
    let (first, right, below) = (coefficients[0], coefficients[1], coefficients[4]);
    let (c, d) = (sine(right), cosine(right));
    let down = [cosine(below), sine(below), -sine(below), -cosine(below)];
    for (samples, down) in rows_of(samples, at).zip(down) {
        let start = i32::from(first) + 4 + down;
        let row = [start + d, start + c, start - c, start - d];
        for (sample, value) in samples.iter_mut().zip(row) {
            *sample = (i32::from(*sample) + (value >> 3)).clamp(0, 255) as u8;
        }
    }
}

/// The first coefficients of the 16 blocks of luma, from the block that they are in.
pub(super) fn of_first(coefficients: &Block) -> Block {
    let at = |place: usize| i32::from(coefficients[place]);
    let mut between = [0; 16];
    for x in 0..4 {
        let (a, d) = (at(x) + at(12 + x), at(x) - at(12 + x));
        let (b, c) = (at(4 + x) + at(8 + x), at(4 + x) - at(8 + x));
        between[x] = a + b;
        between[4 + x] = d + c;
        between[8 + x] = a - b;
        between[12 + x] = d - c;
    }
    let mut out = [0; 16];
    for (out, row) in out
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(between.as_chunks::<4>().0)
    {
        let first = row[0] + 3;
        let (a, d) = (first + row[3], first - row[3]);
        let (b, c) = (row[1] + row[2], row[1] - row[2]);
        *out = [a + b, d + c, a - b, d - c].map(|value| (value >> 3) as i16);
    }
    out
}
