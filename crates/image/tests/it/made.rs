//! Pictures that are made here: large ones of little content, and small ones that were built
//! to cost much.

// The tests of the whole take some of them as well.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use weezl::{BitOrder, encode::Encoder};

/// The side of the large ones, in pixels.
pub const SIDE: u32 = 4096;

fn zeros(count: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let block = vec![0; 1 << 20];
    let mut left = count;
    while left > 0 {
        let now = left.min(block.len());
        encoder.write_all(&block[..now]).unwrap();
        left -= now;
    }
    encoder.finish().unwrap()
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let mut crc = flate2::Crc::new();
    crc.update(&file[start..]);
    file.extend(crc.sum().to_be_bytes());
}

pub fn png(color: u8, depth: u8, interlaced: bool) -> Vec<u8> {
    let bits = usize::from(depth) * if color == 6 { 4 } else { 1 };
    let side = SIDE as usize;
    let row = |columns: usize| (columns * bits).div_ceil(8) + 1;
    let length = match interlaced {
        false => row(side) * side,
        true => [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)]
            .iter()
            .map(|(across, down)| row(side / across) * (side / down))
            .sum(),
    };
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let side = SIDE.to_be_bytes();
    let kind = [depth, color, 0, 0, u8::from(interlaced)];
    chunk(&mut file, b"IHDR", &[&side[..], &side, &kind].concat());
    chunk(&mut file, b"IDAT", &zeros(length));
    chunk(&mut file, b"IEND", &[]);
    file
}

/// As many pixels as any other, and behind them `more` bytes that unpack from little.
pub fn png_with_more(more: usize) -> Vec<u8> {
    let mut file = png_header(0, 1);
    let rows = (SIDE as usize / 8 + 1) * SIDE as usize;
    chunk(&mut file, b"IDAT", &zeros(rows + more));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn png_header(color: u8, depth: u8) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let side = SIDE.to_be_bytes();
    chunk(
        &mut file,
        b"IHDR",
        &[&side[..], &side, &[depth, color, 0, 0, 0]].concat(),
    );
    file
}

/// So many chunks that unpack to a mebibyte each.
pub fn png_with_texts(kind: &[u8; 4], count: usize) -> Vec<u8> {
    let packed = zeros(1 << 20);
    let before: &[u8] = match kind {
        b"iTXt" => b"a\0\x01\0\0\0",
        _ => b"a\0\0",
    };
    let text = [before, &packed].concat();
    let mut file = png_header(0, 1);
    for _ in 0..count {
        chunk(&mut file, kind, &text);
    }
    chunk(
        &mut file,
        b"IDAT",
        &zeros((SIDE as usize / 8 + 1) * SIDE as usize),
    );
    chunk(&mut file, b"IEND", &[]);
    file
}

pub fn gif(interlaced: bool) -> Vec<u8> {
    let side = (SIDE as u16).to_le_bytes();
    let pixels = vec![0; (SIDE * SIDE) as usize];
    let packed = Encoder::new(BitOrder::Lsb, 8).encode(&pixels).unwrap();
    let mut file = [&b"GIF89a"[..], &side, &side, &[0, 0, 0]].concat();
    let flags = if interlaced { 0x40 } else { 0 };
    file.extend([&b",\0\0\0\0"[..], &side, &side, &[flags, 8]].concat());
    for block in packed.chunks(255) {
        file.push(block.len() as u8);
        file.extend(block);
    }
    file.extend(b"\0;");
    file
}

pub fn bmp() -> Vec<u8> {
    let side = SIDE.to_le_bytes();
    let mut file = [
        b"BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0".as_slice(),
        &side,
        &side,
        &[1, 0, 8, 0, 1, 0, 0, 0],
        &[0; 12],
        &[2, 0, 0, 0],
        &[0; 4],
        &[10, 20, 30, 0, 40, 50, 60, 0],
    ]
    .concat();
    for _ in 0..SIDE {
        file.extend([255, 1].repeat(SIDE as usize / 255));
        file.extend([(SIDE % 255) as u8, 1, 0, 0]);
    }
    file.extend([0, 1]);
    file
}

/// Bits, the highest first, with what JPEG puts behind a byte of ones.
#[derive(Default)]
struct HighBits {
    bytes: Vec<u8>,
    value: u32,
    count: u32,
}

impl HighBits {
    fn put(&mut self, value: u32, count: u32) {
        for nth in (0..count).rev() {
            self.value = self.value << 1 | (value >> nth & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.value as u8);
                if self.value == 255 {
                    self.bytes.push(0);
                }
                (self.value, self.count) = (0, 0);
            }
        }
    }

    fn end(mut self) -> Vec<u8> {
        while self.count > 0 {
            self.put(1, 1);
        }
        self.bytes
    }
}

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker], &length[..], data].concat()
}

/// A progressive JPEG of grey or colour: a scan of the means, then `scans - 1` refinements
/// of everything else, each of which says that nothing changes.
pub fn jpeg_of(width: u16, height: u16, components: u8, scans: u32) -> Vec<u8> {
    let blocks = u32::from(width.div_ceil(8)) * u32::from(height.div_ceil(8));
    let mut file = b"\xff\xd8".to_vec();
    file.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
    let mut frame = vec![8];
    frame.extend(height.to_be_bytes());
    frame.extend(width.to_be_bytes());
    frame.push(components);
    frame.extend((1..=components).flat_map(|id| [id, 0x11, 0]));
    file.extend(segment(0xc2, &frame));
    // Means: a bit of 0 for no change.
    file.extend(segment(
        0xc4,
        &[&[0][..], &[1, 1], &[0; 14], &[0, 1]].concat(),
    ));
    // Others: runs of blocks without change, by the number of bits of their length.
    let runs: Vec<u8> = (0..15).rev().map(|bits| bits << 4).collect();
    file.extend(segment(
        0xc4,
        &[&[0x10][..], &[0, 0, 0, 15], &[0; 12], &runs].concat(),
    ));
    let mut scan = vec![components];
    scan.extend((1..=components).flat_map(|id| [id, 0]));
    scan.extend([0, 0, 0]);
    file.extend(segment(0xda, &scan));
    let mut means = HighBits::default();
    for _ in 0..blocks * u32::from(components) {
        means.put(0, 1);
    }
    file.extend(means.end());
    let mut nothing = HighBits::default();
    let mut left = blocks;
    while left > 0 {
        let bits = left.ilog2().min(14);
        let run = left.min((2 << bits) - 1);
        nothing.put(14 - bits, 4);
        nothing.put(run - (1 << bits), bits);
        left -= run;
    }
    let nothing = nothing.end();
    for _ in 1..scans {
        file.extend(segment(0xda, &[1, 1, 0, 1, 63, 0x10]));
        file.extend(&nothing);
    }
    file.extend(b"\xff\xd9");
    file
}

pub fn jpeg(components: u8, scans: u32) -> Vec<u8> {
    jpeg_of(SIDE as u16, SIDE as u16, components, scans)
}

/// Bits, the lowest first.
#[derive(Default)]
struct LowBits(Vec<bool>);

impl LowBits {
    fn put(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).map(|nth| value >> nth & 1 == 1));
    }

    /// A code of one symbol.
    fn one_symbol(&mut self, symbol: u32) {
        self.put(0b101, 3);
        self.put(symbol, 8);
    }

    /// A code of `symbols` symbols, all of them of the same `length`.
    fn equal_symbols(&mut self, length: u32) {
        // Lengths are written as themselves, in no bits: there is one.
        self.put(0, 1);
        const ORDER: [u32; 12] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8];
        let at = ORDER.iter().position(|&own| own == length).unwrap();
        let count = (at as u32 + 1).max(4);
        self.put(count - 4, 4);
        for nth in 0..count {
            self.put(u32::from(nth == at as u32), 3);
        }
        // Of the first `1 << length` symbols.
        self.put(1, 1);
        self.put(3, 3);
        self.put((1 << length) - 2, 8);
    }

    fn bytes(self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let bits = bits.iter().enumerate();
            bits.fold(0, |byte, (nth, &bit)| byte | u8::from(bit) << nth)
        };
        self.0.chunks(8).map(byte).collect()
    }
}

/// A lossless WebP of one colour. With `groups`, its pixels say in turn that they are of each
/// of `used` groups, spread over so many.
pub fn webp_lossless(side: u32, groups: u32, used: u32) -> Vec<u8> {
    let mut bits = LowBits::default();
    bits.put(0x2f, 8);
    bits.put((side - 1) | (side - 1) << 14, 28);
    bits.put(0, 4);
    bits.put(0, 1);
    bits.put(0, 1);
    bits.put(u32::from(groups > 0), 1);
    if groups > 0 {
        bits.put(0, 3);
        bits.put(0, 1);
        if used == 1 {
            let last = groups - 1;
            for symbol in [last & 255, last >> 8, 0, 255, 0] {
                bits.one_symbol(symbol);
            }
        } else {
            bits.equal_symbols(8);
            bits.equal_symbols(8);
            for symbol in [0, 255, 0] {
                bits.one_symbol(symbol);
            }
            let high_first = |value: u32| (value as u8).reverse_bits().into();
            for block in 0..side.div_ceil(4).pow(2) {
                let group = (block % used) * (groups / used);
                bits.put(high_first(group & 255), 8);
                bits.put(high_first(group >> 8), 8);
            }
        }
    }
    for _ in 0..groups.max(1) {
        match groups {
            0 => bits.one_symbol(7),
            _ => bits.equal_symbols(8),
        }
        for _ in 0..3 {
            match groups {
                0 => bits.one_symbol(9),
                _ => bits.equal_symbols(8),
            }
        }
        bits.one_symbol(9);
    }
    // Whatever the codes are, zeros mean pixels in them.
    let pixels = if groups > 0 {
        side * side * 32 + 512
    } else {
        512
    };
    bits.0.resize(bits.0.len() + pixels as usize, false);
    let mut data = bits.bytes();
    data.resize(data.len().next_multiple_of(2), 0);
    let length = |bytes: usize| (bytes as u32).to_le_bytes();
    [
        b"RIFF".as_slice(),
        &length(data.len() + 12),
        b"WEBPVP8L",
        &length(data.len()),
        &data,
    ]
    .concat()
}

/// The boolean encoder of RFC 6386, section 7.3.
struct Booleans {
    bytes: Vec<u8>,
    range: u32,
    bottom: u32,
    count: u32,
}

impl Booleans {
    fn put(&mut self, bit: bool, probability: u8) {
        let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
        let (bottom, carry) = self.bottom.overflowing_add(if bit { split } else { 0 });
        self.range = if bit { self.range - split } else { split };
        self.bottom = bottom;
        if carry {
            self.carry();
        }
        while self.range < 128 {
            self.range <<= 1;
            if self.bottom >> 31 == 1 {
                self.carry();
            }
            self.bottom <<= 1;
            self.count -= 1;
            if self.count == 0 {
                self.bytes.push((self.bottom >> 24) as u8);
                self.bottom &= 0xff_ffff;
                self.count = 8;
            }
        }
    }

    fn carry(&mut self) {
        for byte in self.bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    fn number(&mut self, value: u32, bits: u32) {
        for bit in (0..bits).rev() {
            self.put(value >> bit & 1 == 1, 128);
        }
    }
}

/// A lossy WebP of 4 x 4 blocks. With `dense`, each of their coefficients is written as the longest number
/// there is, of bits that are as likely as can be; else they have none.
pub fn webp_lossy(side: u16, dense: bool) -> Vec<u8> {
    let mut bits = Booleans {
        bytes: Vec::new(),
        range: 255,
        bottom: 0,
        count: 24,
    };
    // Colours, no segments, the filter at its strongest, one partition, the smallest factors.
    bits.number(0, 3);
    bits.number(63 << 3, 10);
    bits.number(0, 1 + 2 + 7 + 5);
    bits.put(false, 128);
    for update in updates() {
        bits.put(dense, update);
        if dense {
            // A one takes next to nothing.
            bits.number(0, 8);
        }
    }
    bits.put(false, 128);
    bits.number(0, 32);
    let macroblocks = usize::from(side).div_ceil(16).pow(2);
    let mut modes = bits.bytes;
    // Zeros are blocks of four by four, predicted by their means; ones are coefficients.
    modes.resize(modes.len() + 2 * macroblocks + 64, 0);
    let coefficients = match dense {
        true => vec![0xff; 24 * 16 * 5 * macroblocks],
        false => vec![0; 32 * macroblocks],
    };
    let tag = ((modes.len() as u32) << 5 | 1 << 4).to_le_bytes();
    let side = side.to_le_bytes();
    let frame = [
        &tag[..3],
        b"\x9d\x01\x2a",
        &side,
        &side,
        &modes,
        &coefficients,
    ]
    .concat();
    let mut file = [b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0".as_slice(), &frame].concat();
    file.resize(file.len().next_multiple_of(2), 0);
    let length = (file.len() - 8) as u32;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    file[16..20].copy_from_slice(&(frame.len() as u32).to_le_bytes());
    file
}

/// How likely each probability of coefficients is to be changed, from the decoder's own table.
fn updates() -> Vec<u8> {
    let source = include_str!("../../src/webp/lossy/updates.rs");
    let (_, numbers) = source.split_once('=').unwrap();
    let numbers = numbers.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// A TIFF of zeros, in strips of `rows` rows that all are the same bytes.
pub fn tiff(
    compression: u16,
    samples: u16,
    planar: u16,
    bits: u16,
    rows: u32,
    orientation: u16,
) -> Vec<u8> {
    let in_row = if planar == 2 { 1 } else { u32::from(samples) };
    let strip_bytes = (SIDE * in_row * u32::from(bits) / 8 * rows) as usize;
    let strip = match compression {
        5 => Encoder::with_tiff_size_switch(BitOrder::Msb, 8)
            .encode(&vec![0; strip_bytes])
            .unwrap(),
        7 => jpeg_of(SIDE as u16, rows as u16, samples as u8, 3),
        8 => zeros(strip_bytes),
        _ => [0x81, 0].repeat(strip_bytes / 128),
    };
    tiff_of(
        (SIDE, SIDE),
        (compression, samples, planar, bits),
        rows,
        orientation,
        &strip,
    )
}

/// A TIFF whose strips are all the same bytes.
pub fn tiff_of(
    (width, height): (u32, u32),
    (compression, samples, planar, bits): (u16, u16, u16, u16),
    rows: u32,
    orientation: u16,
    strip: &[u8],
) -> Vec<u8> {
    let planes = if planar == 2 { u32::from(samples) } else { 1 };
    let strips = height.div_ceil(rows) * planes;
    let photometric = if samples >= 3 { 2 } else { 1 };
    let mut lists = vec![];
    let entries = 12;
    let lists_at = 8 + 2 + entries * 12 + 4;
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((entries as u16).to_le_bytes());
    let strip_at = lists_at as u32 + u32::from(samples) * 2 + strips * 8 + 2;
    let mut put = |tag: u16, kind: u16, values: &[u32]| {
        let bytes: Vec<u8> = match kind {
            3 => values
                .iter()
                .flat_map(|&v| (v as u16).to_le_bytes())
                .collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend((values.len() as u32).to_le_bytes());
        if bytes.len() <= 4 {
            file.extend(&bytes);
            file.resize(file.len() + 4 - bytes.len(), 0);
        } else {
            file.extend((lists_at as u32 + lists.len() as u32).to_le_bytes());
            lists.extend(bytes);
        }
    };
    put(256, 4, &[width]);
    put(257, 4, &[height]);
    put(258, 3, &vec![bits.into(); samples.into()]);
    put(259, 3, &[compression.into()]);
    put(262, 3, &[photometric]);
    put(273, 4, &vec![strip_at; strips as usize]);
    put(274, 3, &[orientation.into()]);
    put(277, 3, &[samples.into()]);
    put(278, 4, &[rows]);
    put(279, 4, &vec![strip.len() as u32; strips as usize]);
    put(284, 3, &[planar.into()]);
    put(339, 3, &[1]);
    file.extend([0; 4]);
    file.extend(lists);
    file.resize(strip_at as usize, 0);
    file.extend(strip);
    file
}

/// A TIFF of black in old-style JPEG: a header, and strips of `rows` rows that all are the same bytes.
/// Zeros are blocks of one colour, two bits for each.
pub fn tiff_of_old_jpeg((width, height): (u16, u16), rows: u16, strip: &[u8]) -> Vec<u8> {
    let mut header = b"\xff\xd8".to_vec();
    header.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
    // One code of one bit: no difference to the block before, and nothing else in the block.
    for kind in [0, 0x10] {
        header.extend(segment(0xc4, &[&[kind, 1][..], &[0; 15], &[0]].concat()));
    }
    let mut frame = vec![8];
    frame.extend(height.to_be_bytes());
    frame.extend(width.to_be_bytes());
    frame.push(3);
    frame.extend([1, 2, 3].into_iter().flat_map(|id| [id, 0x11, 0]));
    header.extend(segment(0xc0, &frame));
    header.extend(segment(0xda, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]));
    let strips = u32::from(height.div_ceil(rows));
    let entries = 11u32;
    let bits_at = 8 + 2 + entries * 12 + 4;
    let header_at = bits_at + 6;
    let lists_at = header_at + header.len() as u32;
    let strip_at = lists_at + strips * 8;
    let (offsets, counts) = match strips {
        1 => (strip_at, strip.len() as u32),
        _ => (lists_at, lists_at + strips * 4),
    };
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((entries as u16).to_le_bytes());
    for (tag, kind, count, value) in [
        (256u16, 4u16, 1, u32::from(width)),
        (257, 4, 1, height.into()),
        (258, 3, 3, bits_at),
        (259, 3, 1, 6),
        (262, 3, 1, 6),
        (273, 4, strips, offsets),
        (277, 3, 1, 3),
        (278, 4, 1, rows.into()),
        (279, 4, strips, counts),
        (513, 4, 1, header_at),
        (514, 4, 1, header.len() as u32),
    ] {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend([8, 0, 8, 0, 8, 0]);
    file.extend(header);
    let list = |value: u32| value.to_le_bytes().repeat(strips as usize);
    file.extend(list(strip_at));
    file.extend(list(strip.len() as u32));
    file.extend(strip);
    file
}
