//! The coefficients of a block, out of the tokens that they are written as (RFC 6386, section 13).

use super::bits::Bits;

/// By kind of block, band of frequencies, and how many of the blocks above and to the left have
/// coefficients or how large the last one was.
pub(super) type Probabilities = [[[[u8; 11]; 3]; 8]; 4];

/// Those of one kind of block by place instead of band, with one more behind the last.
pub(super) type Places = [[[u8; 11]; 3]; 17];

/// Kinds of blocks: luma whose first coefficient is in a block of its own, those first ones, chroma, and
/// luma as a whole.
pub(super) const LUMA_REST: usize = 0;
pub(super) const LUMA_FIRST: usize = 1;
pub(super) const CHROMA: usize = 2;
pub(super) const LUMA: usize = 3;

/// The band of each place.
const BANDS: [usize; 17] = [0, 1, 2, 3, 6, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 0];

/// Where the coefficients of a block lie, by frequency.
const ZIGZAG: [usize; 16] = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15];

/// Probabilities of the bits of numbers from 11, 19, 35 and 67 on.
const LARGE: [&[u8]; 4] = [
    &[173, 148, 140],
    &[176, 155, 140, 135],
    &[180, 157, 141, 134, 130],
    &[254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129],
];

pub(super) fn by_place(probabilities: &Probabilities) -> [Places; 4] {
    let of_kind =
        |bands: &[[[u8; 11]; 3]; 8]| BANDS.map(|band| bands.get(band).copied().unwrap_or_default());
    probabilities.each_ref().map(of_kind)
}

/// Coefficients that were read, and what that took.
pub(super) struct Reader<'b, 'a> {
    pub(super) bits: &'b mut Bits<'a>,
    /// Bits that were decoded, at most.
    pub(super) decoded: u32,
}

impl Reader<'_, '_> {
    /// Reads the coefficients of a block from the place `first` on, and multiplies them with the factors of
    /// the first and of the others. Returns the place behind the last.
    #[inline]
    pub(super) fn block(
        &mut self,
        places: &Places,
        context: usize,
        factors: [i32; 2],
        first: usize,
        out: &mut [i16; 16],
    ) -> usize {
        let bits = &mut *self.bits;
        let mut decoded = 0;
        let mut place = first;
        let mut likely = &places[place][context];
        let end = loop {
            if place == 16 {
                break 16;
            }
            // Whether it goes on, whether it is zero, whether it is one, its sign.
            decoded += 4;
            if !bits.get(likely[0]) {
                break place;
            }
            while !bits.get(likely[1]) {
                place += 1;
                decoded += 1;
                likely = &places[place][0];
                if place == 16 {
                    self.decoded += decoded;
                    return 16;
                }
            }
            let next = &places[place + 1];
            let value = if !bits.get(likely[2]) {
                likely = &next[1];
                1
            } else {
                let (value, of_value) = large(bits, likely);
                decoded += of_value;
                likely = &next[2];
                value
            };
            let product = bits.signed(value) * factors[usize::from(place > 0)];
            // What does not fit is cut off, as in libwebp.
            out[ZIGZAG[place]] = product as i16;
            place += 1;
        };
        self.decoded += decoded;
        end
    }
}

/// A number from 2 on, and how many bits it took.
fn large(bits: &mut Bits<'_>, likely: &[u8; 11]) -> (i32, u32) {
    let bit = |bits: &mut Bits<'_>, probability| i32::from(bits.get(probability));
    if !bits.get(likely[3]) {
        if !bits.get(likely[4]) {
            return (2, 2);
        }
        return (3 + bit(bits, likely[5]), 3);
    }
    if !bits.get(likely[6]) {
        if !bits.get(likely[7]) {
            return (5 + bit(bits, 159), 4);
        }
        let high = 2 * bit(bits, 165);
        return (7 + high + bit(bits, 145), 5);
    }
    let high = usize::from(bits.get(likely[8]));
    let category = 2 * high + usize::from(bits.get(likely[9 + high]));
    let coded = LARGE[category];
    let value = coded
        .iter()
        .fold(0, |value, &probability| 2 * value + bit(bits, probability));
    (value + 3 + (8 << category), 4 + coded.len() as u32)
}
