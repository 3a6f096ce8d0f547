//! JSON with rows of floats in it, written fast.
//!
//! serde_json writes each float into a buffer of its own and copies it out by a call, which costs
//! as much as finding its digits. Here a row is one value, whose floats are written behind each other into
//! a buffer. A float between 2^-17 and 1, as nearly all of an embedding are, takes a few operations on
//! whole numbers, and no branch that depends on its digits; every other one is written by `zmij`, as
//! serde_json does. The digits are the same: the fewest that read back as the same f32.

use std::hint::select_unpredictable;
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// A row of floats.
///
/// To serde it is its bytes in the order of this machine, since serde knows no rows of floats. [`to_vec`] makes an
/// array of numbers of them, and null of what is none; nothing else does.
pub(crate) struct Numbers<'a>(pub(crate) &'a [f32]);

impl Serialize for Numbers<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytemuck::cast_slice(self.0))
    }
}

/// A value as compact JSON that is likely to take so many bytes. What serde calls bytes is [`Numbers`].
///
/// # Errors
///
/// When a map has keys that are not strings.
pub(crate) fn to_vec(value: &impl Serialize, bytes: usize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(bytes);
    value.serialize(&mut Serializer::with_formatter(&mut json, Rows))?;
    Ok(json)
}

/// Compact JSON, as serde_json writes it, but for bytes.
struct Rows;

impl Formatter for Rows {
    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        bytes: &[u8],
    ) -> io::Result<()> {
        /// Floats that are copied out together.
        const TOGETHER: usize = 32;
        let mut text = [0; TOGETHER * ROOM];
        let (floats, rest) = bytes.as_chunks();
        debug_assert!(rest.is_empty(), "these bytes are not those of a row");
        writer.write_all(b"[")?;
        // Each brings a comma with it, but the first is not written.
        let mut begin = 1;
        for together in floats.chunks(TOGETHER) {
            let mut end = 0;
            for &float in together {
                let Some(room) = text[end..].first_chunk_mut() else {
                    return Err(io::Error::other("a float is longer than any is"));
                };
                end += write(f32::from_ne_bytes(float), room);
            }
            writer.write_all(&text[begin..end])?;
            begin = 0;
        }
        writer.write_all(b"]")
    }
}

/// What a float takes at most, with a comma, and room to write eight digits at a time.
const ROOM: usize = 24;

/// Writes a comma and a float, or null where it is no number; gives their length.
#[inline(always)]
fn write(value: f32, text: &mut [u8; ROOM]) -> usize {
    match short(value, text) {
        Some(length) => length,
        None => any(value, text),
    }
}

/// The same for every float.
#[cold]
#[inline(never)]
fn any(value: f32, text: &mut [u8; ROOM]) -> usize {
    let mut buffer = zmij::Buffer::new();
    let digits = match value.is_finite() {
        true => buffer.format_finite(value),
        false => "null",
    };
    text[0] = b',';
    text[1..=digits.len()].copy_from_slice(digits.as_bytes());
    1 + digits.len()
}

/// The biased exponent of 2^-17, the least one that [`short`] takes.
const LEAST: usize = 110;

/// What the floats of one exponent, whose last bit weighs 2^-weight, are multiplied by.
#[derive(Clone, Copy)]
struct Scale {
    /// A last bit in units of the `p`-th decimal place, times 2^64: `10^p * 2^(64 - weight)`. Here 10^p is less
    /// than ten and at least one time 2^weight, less one place.
    last_bit: u64,
    /// In the same measure, how far from a float others read back as it: less than so far. That is half of the last
    /// bit; and where that is 0, this distance itself too, as ties go to even. All distances are multiples
    /// of the same step, so one of those more includes it.
    reach: u64,
    /// Where the first of eight digits stands, behind the comma of a positive float.
    digits: usize,
}

/// By the exponent, from [`LEAST`] to that of 1/2, and by the last bit.
const SCALES: [Scale; 34] = {
    let none = Scale {
        last_bit: 0,
        reach: 0,
        digits: 0,
    };
    let mut scales = [none; 34];
    let mut at = 0;
    while at < scales.len() {
        let weight = 150 - LEAST - at / 2;
        // 1233 / 4096 is log10(2), for numbers as small as these.
        let places = (weight * 1233).div_ceil(4096) - 1;
        let step = 1 << (64 - weight);
        let last_bit = 10_u64.pow(places as u32) * step;
        scales[at] = Scale {
            last_bit,
            reach: last_bit / 2 + if at % 2 == 0 { step } else { 0 },
            // Behind the comma, `0.`, and all places but these eight.
            digits: 3 + places - 8,
        };
        at += 1;
    }
    scales
};

/// Writes a comma and the fewest digits that read back as this float, if it is between 2^-17 and 1 and no
/// power of two; gives their length.
///
/// A float is `m / 2^weight`, with `m` of 24 bits, and everything within half of `1 / 2^weight` reads back as
/// it. That interval is narrower than a unit of the `p`-th decimal place, so one whole number of
/// units is in it at most; and where there is none, one more digit is enough, for it is wider than a
/// tenth of a unit (Giulietti 2020, "The Schubfach way to render doubles"). Nothing is rounded on
/// the way: in units, `m * 10^p / 2^weight` has 64 bits behind the point at most.
#[inline(always)]
fn short(value: f32, text: &mut [u8; ROOM]) -> Option<usize> {
    const HEADS: [&[u8; 8]; 2] = [b",0.00000", b",-0.0000"];
    let bits = value.to_bits();
    let sign = (bits >> 31) as usize;
    let fraction = bits & 0x7f_ffff;
    let exponent = (bits >> 23) as usize & 0xff;
    let scale = SCALES.get(exponent.wrapping_sub(LEAST) << 1 | bits as usize & 1)?;
    if fraction == 0 {
        // Floats below a power of two are closer to it than those above.
        return None;
    }
    // Units, and what is left of one, times 2^64.
    let scaled = u128::from(scale.last_bit) * u128::from(fraction | 1 << 23);
    let (units, rest) = ((scaled >> 64) as u64, scaled as u64);
    // Whether the next whole number is less than the reach away, and whether the last one is.
    let is_above = rest.checked_add(scale.reach - 1).is_none();
    let is_below = rest < scale.reach;
    let digits = eight_digits(units + u64::from(is_above));
    let one_more = (10 * u128::from(rest) + (1 << 63)) >> 64;
    // 2.5 becomes 2, since ties go to even. 7.5 is 8 already, and there is no other tie.
    let is_tie = rest == 1 << 62;

    let begin = (scale.digits + sign) & 15;
    text[..8].copy_from_slice(HEADS[sign]);
    text[begin..begin + 8].copy_from_slice(&(digits | 0x3030_3030_3030_3030).to_le_bytes());
    // With 7 places the first digit is a 0 that fell upon the point.
    text[sign + 2] = b'.';
    text[begin + 8] = b'0' + one_more as u8 - u8::from(is_tie);
    let zeros = digits.leading_zeros() as usize / 8;
    // As good as random, so a branch would be foretold wrongly as often as not.
    let written = select_unpredictable(is_above | is_below, 8 - zeros, 9);
    Some(begin + written)
}

/// The digits of a number below 10^8, one in a byte, the first one in the lowest: each half of the
/// digits is split in both halves of a word at once.
#[inline(always)]
fn eight_digits(number: u64) -> u64 {
    let thousands = number / 10_000;
    let fours = (number << 32) - thousands * ((10_000 << 32) - 1);
    // 10486 / 2^20 is 1 / 100, and 103 / 2^10 is 1 / 10, for numbers as small as these.
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = (fours << 16) - hundreds * ((100 << 16) - 1);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    (twos << 8) - tens * ((10 << 8) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> String {
        String::from_utf8(to_vec(&Numbers(values), 0).unwrap()).unwrap()
    }

    fn written(value: f32) -> String {
        let row = row(&[value]);
        row.strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap()
            .to_owned()
    }

    /// What serde_json itself writes.
    fn expected(value: f32) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn floats_are_written_as_serde_json_writes_them() {
        // Around every power of two, and a step through all others that divides nothing.
        let edges = (0..=0xfe_u32).flat_map(|exponent| {
            let power = exponent << 23;
            (power.saturating_sub(40)..=power + 40).chain([power | 0x40_0000, power | 0x20_0000])
        });
        let steps = (0..0x7f80_0000_u32).step_by(10_007);
        let mut count = 0;
        for bits in edges.chain(steps) {
            for value in [f32::from_bits(bits), -f32::from_bits(bits)] {
                if value.is_finite() {
                    assert_eq!(written(value), expected(value), "{bits:#x}");
                    count += usize::from(short(value, &mut [0; ROOM]).is_some());
                }
            }
        }
        assert!(count > 20_000, "{count}");
        for value in [
            0.0,
            -0.0,
            0.1,
            0.25,
            0.75,
            0.5,
            1.0,
            1e-5,
            0.3,
            0.999_999_94,
            7.6e-6,
        ] {
            assert_eq!(written(value), expected(value));
        }
    }

    #[test]
    fn rows_of_every_length_are_as_serde_json_writes_them() {
        let values: Vec<f32> = (0..300).map(|at| (at as f32 * 0.7).sin() / 8.0).collect();
        for length in [0, 1, 2, 31, 32, 33, 64, 65, 300] {
            let expected = serde_json::to_string(&values[..length]).unwrap();
            assert_eq!(row(&values[..length]), expected);
        }
        // The longest there are, as many as are copied out together.
        let longest = [-1.175_494_4e-38, -7.629_394_5e-6, -1.234_567_9e-5];
        let longest: Vec<f32> = longest.into_iter().cycle().take(96).collect();
        assert_eq!(row(&longest), serde_json::to_string(&longest).unwrap());
    }

    /// `cargo test --release -p siglip2-http every_float -- --ignored --nocapture`
    #[test]
    #[ignore = "takes half a minute when optimized"]
    fn every_float_that_is_written_here_is_as_serde_json_writes_it() {
        let (first, end) = (2_f32.powi(-18).to_bits(), 1.01_f32.to_bits());
        let mut count = 0;
        for begin in (first..end).step_by(4096) {
            let all = (begin..end.min(begin + 4096)).map(f32::from_bits);
            let values: Vec<f32> = all.flat_map(|value| [value, -value]).collect();
            assert!(row(&values) == serde_json::to_string(&values).unwrap());
            count += values.len();
        }
        println!("{count} floats are the same");
    }

    #[test]
    fn what_is_no_number_is_null() {
        let values = [0.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.5];
        assert_eq!(row(&values), "[0.5,null,null,null,-0.5]");
    }

    #[test]
    fn digits_stand_in_their_order() {
        for number in [0, 7, 10, 99, 12_345_678, 99_999_999, 10_000_000, 90_807_060] {
            let digits = eight_digits(number) | 0x3030_3030_3030_3030;
            let expected = format!("{number:08}");
            assert_eq!(digits.to_le_bytes(), expected.as_bytes());
        }
    }

    #[test]
    fn all_else_is_as_serde_json_writes_it() {
        let value = serde_json::json!({
            "floats": [0.1_f64, 1e300, -2.5], "text": "a \"b\" \u{1}\u{e9}", "none": null,
            "long": "more than sixteen bytes of text", "list": [[], {}, [1, true]],
        });
        let written = to_vec(&value, 0).unwrap();
        assert_eq!(written, serde_json::to_vec(&value).unwrap());
    }
}
