//! BC7 (BPTC): eight modes, in which a block has one to three pairs of colours, and each pixel lies
//! between the two of one pair. Tables and rules are those of the Khronos Data Format
//! Specification, section "BPTC".

use super::blocks::Block;

/// What a mode has.
struct Mode {
    pairs: usize,
    /// Bits of: which pixel has which pair, which channel alpha was swapped with, and which of the two
    /// sets of indices is that of alpha.
    partition: u32,
    rotation: u32,
    selection: u32,
    /// Bits of a colour's channel, and of its alpha.
    colour: u32,
    alpha: u32,
    /// The lowest bit of all channels: one for each colour, or for both of a pair.
    shared: Shared,
    /// Bits of an index, and of the second set's.
    index: u32,
    second: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    No,
    PerColour,
    PerPair,
}

const MODES: [Mode; 8] = {
    use Shared::{No, PerColour, PerPair};
    const fn mode(
        [pairs, partition, rotation, selection]: [u32; 4],
        [colour, alpha]: [u32; 2],
        shared: Shared,
        [index, second]: [u32; 2],
    ) -> Mode {
        Mode {
            pairs: pairs as usize,
            partition,
            rotation,
            selection,
            colour,
            alpha,
            shared,
            index,
            second,
        }
    }
    [
        mode([3, 4, 0, 0], [4, 0], PerColour, [3, 0]),
        mode([2, 6, 0, 0], [6, 0], PerPair, [3, 0]),
        mode([3, 6, 0, 0], [5, 0], No, [2, 0]),
        mode([2, 6, 0, 0], [7, 0], PerColour, [2, 0]),
        mode([1, 0, 2, 1], [5, 6], No, [2, 3]),
        mode([1, 0, 2, 0], [7, 8], No, [2, 2]),
        mode([1, 0, 0, 0], [7, 7], PerColour, [4, 0]),
        mode([2, 6, 0, 0], [5, 5], PerColour, [2, 0]),
    ]
};

/// Which of two pairs each pixel has, a bit for each.
const OF_TWO: [u16; 64] = [
    0xcccc, 0x8888, 0xeeee, 0xecc8, 0xc880, 0xfeec, 0xfec8, 0xec80, 0xc800, 0xffec, 0xfe80, 0xe800,
    0xffe8, 0xff00, 0xfff0, 0xf000, 0xf710, 0x008e, 0x7100, 0x08ce, 0x008c, 0x7310, 0x3100, 0x8cce,
    0x088c, 0x3110, 0x6666, 0x366c, 0x17e8, 0x0ff0, 0x718e, 0x399c, 0xaaaa, 0xf0f0, 0x5a5a, 0x33cc,
    0x3c3c, 0x55aa, 0x9696, 0xa55a, 0x73ce, 0x13c8, 0x324c, 0x3bdc, 0x6996, 0xc33c, 0x9966, 0x0660,
    0x0272, 0x04e4, 0x4e40, 0x2720, 0xc936, 0x936c, 0x39c6, 0x639c, 0x9336, 0x9cc6, 0x817e, 0xe718,
    0xccf0, 0x0fcc, 0x7744, 0xee22,
];

/// Which of three, two bits for each.
const OF_THREE: [u32; 64] = [
    0xaa68_5050,
    0x6a5a_5040,
    0x5a5a_4200,
    0x5450_a0a8,
    0xa5a5_0000,
    0xa0a0_5050,
    0x5555_a0a0,
    0x5a5a_5050,
    0xaa55_0000,
    0xaa55_5500,
    0xaaaa_5500,
    0x9090_9090,
    0x9494_9494,
    0xa4a4_a4a4,
    0xa9a5_9450,
    0x2a0a_4250,
    0xa594_5040,
    0x0a42_5054,
    0xa5a5_a500,
    0x55a0_a0a0,
    0xa8a8_5454,
    0x6a6a_4040,
    0xa4a4_5000,
    0x1a1a_0500,
    0x0050_a4a4,
    0xaaa5_9090,
    0x1469_6914,
    0x6969_1400,
    0xa085_85a0,
    0xaa82_1414,
    0x50a4_a450,
    0x6a5a_0200,
    0xa9a5_8000,
    0x5090_a0a8,
    0xa8a0_9050,
    0x2424_2424,
    0x00aa_5500,
    0x2492_4924,
    0x2449_9224,
    0x50a5_0a50,
    0x500a_a550,
    0xaaaa_4444,
    0x6666_0000,
    0xa5a0_a5a0,
    0x50a0_50a0,
    0x6928_6928,
    0x44aa_aa44,
    0x6666_6600,
    0xaa44_4444,
    0x54a8_54a8,
    0x9580_9580,
    0x9696_9600,
    0xa854_54a8,
    0x8095_9580,
    0xaa14_1414,
    0x9696_0000,
    0xaaaa_1414,
    0xa050_50a0,
    0xa0a5_a5a0,
    0x9600_0000,
    0x4080_4080,
    0xa9a8_a9a8,
    0xaaaa_aa44,
    0x2a4a_5254,
];

/// The pixel of the second of two pairs whose index has a bit less.
const ANCHOR_OF_TWO: [u8; 64] = [
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 2, 8, 2, 2, 8, 8, 15, 2, 8,
    2, 2, 8, 8, 2, 2, 15, 15, 6, 8, 2, 8, 15, 15, 2, 8, 2, 2, 2, 15, 15, 6, 6, 2, 6, 8, 15, 15, 2,
    2, 15, 15, 15, 15, 15, 2, 2, 15,
];

/// Those of the second and the third of three.
const ANCHORS_OF_THREE: [[u8; 64]; 2] = [
    [
        3, 3, 15, 15, 8, 3, 15, 15, 8, 8, 6, 6, 6, 5, 3, 3, 3, 3, 8, 15, 3, 3, 6, 10, 5, 8, 8, 6,
        8, 5, 15, 15, 8, 15, 3, 5, 6, 10, 8, 15, 15, 3, 15, 5, 15, 15, 15, 15, 3, 15, 5, 5, 5, 8,
        5, 10, 5, 10, 8, 13, 15, 12, 3, 3,
    ],
    [
        15, 8, 8, 3, 15, 15, 3, 8, 15, 15, 15, 15, 15, 15, 15, 8, 15, 8, 15, 3, 15, 8, 15, 8, 3,
        15, 6, 10, 15, 15, 10, 8, 15, 3, 15, 10, 10, 8, 9, 10, 6, 15, 8, 15, 3, 6, 6, 8, 15, 3, 15,
        15, 15, 15, 15, 15, 15, 15, 15, 15, 3, 15, 15, 8,
    ],
];

/// How much of the second colour an index of so many bits means, in 64ths.
fn weight(bits: u32, index: usize) -> u32 {
    const OF_2: [u32; 4] = [0, 21, 43, 64];
    const OF_3: [u32; 8] = [0, 9, 18, 27, 37, 46, 55, 64];
    const OF_4: [u32; 16] = [0, 4, 9, 13, 17, 21, 26, 30, 34, 38, 43, 47, 51, 55, 60, 64];
    let of: &[u32] = match bits {
        2 => &OF_2,
        3 => &OF_3,
        _ => &OF_4,
    };
    of.get(index).copied().unwrap_or(0)
}

/// Bits of a block, the lowest first.
struct Bits(u128);

impl Bits {
    fn take(&mut self, count: u32) -> usize {
        let value = self.0 & ((1 << count) - 1);
        self.0 >>= count;
        value as usize
    }
}

/// The pixels of a block.
pub(super) fn pixels(block: [u8; 16]) -> Block {
    let mut bits = Bits(u128::from_le_bytes(block));
    let Some(mode) = MODES.get(block[0].trailing_zeros() as usize) else {
        return [[0; 3]; 16];
    };
    bits.take(block[0].trailing_zeros() + 1);
    let partition = bits.take(mode.partition);
    let rotation = bits.take(mode.rotation);
    let swapped = bits.take(mode.selection) == 1;
    let colours = colours(mode, &mut bits);
    let pair = |pixel: usize| match mode.pairs {
        2 => usize::from(OF_TWO[partition & 63] >> pixel & 1),
        3 => (OF_THREE[partition & 63] >> (2 * pixel) & 3) as usize,
        _ => 0,
    };
    let is_anchor = |pixel: usize| {
        let anchor = |of: &[u8; 64]| usize::from(of[partition & 63]) == pixel;
        pixel == 0
            || match mode.pairs {
                2 => anchor(&ANCHOR_OF_TWO),
                3 => ANCHORS_OF_THREE.iter().any(anchor),
                _ => false,
            }
    };
    let first: [usize; 16] =
        std::array::from_fn(|pixel| bits.take(mode.index - u32::from(is_anchor(pixel))));
    let second: [usize; 16] = match mode.second {
        0 => first,
        count => std::array::from_fn(|pixel| bits.take(count - u32::from(pixel == 0))),
    };
    std::array::from_fn(|pixel| {
        let own = weight(mode.index, first[pixel]);
        let other = match mode.second {
            0 => own,
            count => weight(count, second[pixel]),
        };
        let (colour, alpha) = if swapped { (other, own) } else { (own, other) };
        let [a, b] = colours[pair(pixel).min(2)];
        let mut mixed: [u8; 4] = std::array::from_fn(|channel| {
            let weight = if channel == 3 { alpha } else { colour };
            let (a, b) = (u32::from(a[channel]), u32::from(b[channel]));
            (((64 - weight) * a + weight * b + 32) >> 6) as u8
        });
        if let Some(channel) = rotation.checked_sub(1) {
            mixed.swap(channel, 3);
        }
        [mixed[0], mixed[1], mixed[2]]
    })
}

/// The pairs of colours, in 8 bits.
fn colours(mode: &Mode, bits: &mut Bits) -> [[[u8; 4]; 2]; 3] {
    let mut colours = [[[255u8; 4]; 2]; 3];
    let used = mode.pairs.min(3);
    for channel in 0..4 {
        let count = if channel == 3 {
            mode.alpha
        } else {
            mode.colour
        };
        if count == 0 {
            continue;
        }
        for colour in colours[..used].as_flattened_mut() {
            colour[channel] = bits.take(count) as u8;
        }
    }
    let shared: [[usize; 2]; 3] = std::array::from_fn(|pair| match mode.shared {
        Shared::PerColour if pair < used => [bits.take(1), bits.take(1)],
        Shared::PerPair if pair < used => [bits.take(1); 2],
        _ => [0; 2],
    });
    let more = u32::from(mode.shared != Shared::No);
    for (pair, shared) in colours.iter_mut().zip(shared).take(used) {
        for (colour, shared) in pair.iter_mut().zip(shared) {
            for (channel, value) in colour.iter_mut().enumerate() {
                let count = if channel == 3 {
                    mode.alpha
                } else {
                    mode.colour
                };
                if count == 0 {
                    continue;
                }
                let all = count + more;
                let whole = u32::from(*value) << more | (shared as u32 & more);
                let high = whole << (8 - all);
                *value = (high | high >> all) as u8;
            }
        }
    }
    colours
}
