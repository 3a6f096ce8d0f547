//! JSON with many floats in it, written fast.
//!
//! serde_json writes each float into a buffer of its own and copies it out by a call, which costs
//! as much as finding its digits. Here a float between 2^-17 and 1, as nearly all of an embedding
//! are, takes a few operations on whole numbers; every other one is written by `zmij`, as
//! serde_json does. The digits are the same: the fewest that read back as the same f32.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// What a float takes at most here, with room to write eight digits at a time.
const ROOM: usize = 24;

/// A value as compact JSON that is likely to take so many bytes.
///
/// # Errors
///
/// When a map has keys that are not strings.
pub(crate) fn to_vec(value: &impl Serialize, bytes: usize) -> serde_json::Result<Vec<u8>> {
    let mut buffer = Buffer(Vec::with_capacity(bytes));
    value.serialize(&mut Serializer::with_formatter(&mut buffer, Floats))?;
    Ok(buffer.0)
}

/// A buffer to which short pieces are added without a call.
struct Buffer(Vec<u8>);

impl io::Write for Buffer {
    #[inline]
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.write_all(piece)?;
        Ok(piece.len())
    }

    #[inline]
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        match (piece.first_chunk::<8>(), piece.last_chunk::<8>()) {
            // Two halves that may overlap. The compiler knows the length of each, so that
            // neither is a call.
            (Some(first), Some(last)) if piece.len() <= 16 => {
                let begin = self.0.len();
                self.0.extend_from_slice(first);
                self.0.truncate(begin + piece.len() - 8);
                self.0.extend_from_slice(last);
            }
            _ => self.0.extend_from_slice(piece),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compact JSON, as serde_json writes it.
struct Floats;

impl Formatter for Floats {
    #[inline]
    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        let mut text = [0; ROOM];
        match short(value, &mut text) {
            Some(length) => writer.write_all(&text[..length.min(ROOM)]),
            None => writer.write_all(zmij::Buffer::new().format_finite(value).as_bytes()),
        }
    }
}

/// The biased exponent of 2^-17, the least one that [`short`] takes.
const LEAST: usize = 110;

/// By the exponent, from [`LEAST`] to that of 1/2: the `p` for which 10^p is less than ten and at
/// least one time the reciprocal of the weight of a float's last bit, less one place.
const PLACES: [usize; 17] = {
    let mut places = [0; 17];
    let mut at = 0;
    while at < places.len() {
        // The last bit weighs 2^-bits, and 1233 / 4096 is log10(2), for numbers as small as these.
        let bits = 150 - LEAST - at;
        places[at] = (bits * 1233).div_ceil(4096) - 1;
        at += 1;
    }
    places
};

const POWERS_OF_TEN: [u64; 16] = {
    let mut powers = [1; 16];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = 10 * powers[at - 1];
        at += 1;
    }
    powers
};

/// Writes the fewest digits that read back as this float, if it is between 2^-17 and 1 and no
/// power of two; gives their number.
///
/// A float is `m / 2^b`, with `m` of 24 bits, and everything within half of `1 / 2^b` reads back as
/// it. That interval is narrower than a unit of the `p`-th decimal place, so one whole number of
/// units is in it at most; and where there is none, one more digit is enough, for it is wider than a
/// tenth of a unit (Giulietti 2020, "The Schubfach way to render doubles"). Nothing is rounded on
/// the way, since `m * 10^p` has less than 64 bits.
#[inline]
fn short(value: f32, text: &mut [u8; ROOM]) -> Option<usize> {
    let bits = value.to_bits();
    let (sign, exponent) = ((bits >> 31) as usize, (bits >> 23) as usize & 0xff);
    let fraction = bits & 0x7f_ffff;
    let places = *PLACES.get(exponent.wrapping_sub(LEAST))?;
    if fraction == 0 {
        // Floats below a power of two are closer to it than those above.
        return None;
    }
    let weight = 150 - exponent as u32;
    // The last bit, and the float, as multiples of a unit divided by 2^weight.
    let last_bit = POWERS_OF_TEN[places % POWERS_OF_TEN.len()];
    let scaled = u64::from(fraction | 1 << 23) * last_bit;
    let (units, rest) = (scaled >> weight, scaled & ((1 << weight) - 1));
    // The ends of the interval belong to it where the last bit is 0: ties go to even.
    let half = last_bit / 2 + u64::from(fraction & 1 == 0);
    let is_above = rest + half > 1 << weight;
    let is_below = rest < half;
    let digits = eight_digits(units + u64::from(is_above));

    text[0] = b'-';
    let begin = sign + 2 + places - 8;
    text[sign..sign + 8].copy_from_slice(b"0.000000");
    text[begin..begin + 8].copy_from_slice(&(digits | 0x3030_3030_3030_3030).to_le_bytes());
    // With 7 places the first digit is a 0 that fell upon the point.
    text[sign + 1] = b'.';
    if is_above || is_below {
        let zeros = digits.leading_zeros() as usize / 8;
        return Some(begin + 8 - zeros);
    }
    let digit = (10 * rest + (1 << (weight - 1))) >> weight;
    // 2.5 becomes 2, since ties go to even. 7.5 is 8 already, and there is no other tie.
    let is_tie = rest == 1 << (weight - 2);
    text[begin + 8] = b'0' + digit as u8 - u8::from(is_tie);
    Some(begin + 9)
}

/// The digits of a number below 10^8, one in a byte, the first one in the lowest: each half of the
/// digits is split in both halves of a word at once.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    // 10486 / 2^20 is 1 / 100, and 103 / 2^10 is 1 / 10, for numbers as small as these.
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f32) -> String {
        String::from_utf8(to_vec(&value, 0).unwrap()).unwrap()
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
