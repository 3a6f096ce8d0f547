//! Progressive files, written symbol by symbol, with what no encoder writes: runs over restart markers and beyond the
//! end, refinements of several bits, coefficients that overflow.

use super::*;

/// Blocks of the grey picture, side by side.
const BLOCKS: usize = 12;

/// The symbols of the table, each with a code of four bits that is its place.
const SYMBOLS: [u8; 14] = [
    0x00, 0x01, 0x11, 0x31, 0x02, 0x13, 0x05, 0x0a, 0xf0, 0xf1, 0x10, 0x20, 0x21, 0x30,
];

/// Writes the data of a scan.
struct Writer<'a> {
    random: &'a mut fastrand::Rng,
    bytes: Vec<u8>,
    bits: u32,
    count: u32,
    /// Whether what no encoder writes may come.
    is_odd: bool,
    /// Whether scans refine.
    refines: bool,
}

impl Writer<'_> {
    /// Whether something odd is to come, once in so many times.
    fn strays(&mut self, once_in: u8) -> bool {
        self.is_odd && self.random.u8(..once_in) == 0
    }

    fn put(&mut self, value: u32, count: u32) {
        for nth in (0..count).rev() {
            self.bits = self.bits << 1 | value >> nth & 1;
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.bits as u8);
                if self.bits as u8 == 0xff {
                    self.bytes.push(0);
                }
                self.count = 0;
            }
        }
    }

    fn put_random(&mut self, count: u32) {
        for _ in 0..count {
            let bit = self.random.bool();
            self.put(bit.into(), 1);
        }
    }

    fn fill_byte(&mut self) {
        while self.count > 0 {
            self.put(1, 1);
        }
    }

    /// Coefficients from `start` to `end`, of which those that are `known` get one more bit.
    fn band(&mut self, start: usize, end: usize, known: &mut [[bool; 64]], interval: usize) {
        let mut run = 0;
        let mut restarts = 0;
        for (nth, block) in known.iter_mut().enumerate() {
            if interval > 0 && nth > 0 && nth % interval == 0 {
                self.fill_byte();
                self.bytes.extend([0xff, 0xd0 + restarts % 8]);
                restarts += 1;
                // That a run goes on is what the decoder has to forget.
                if !self.strays(2) {
                    run = 0;
                }
            }
            let was = *block;
            let mut next = start;
            while run == 0 && next <= end {
                let code = self.random.usize(..SYMBOLS.len());
                let (zeros, size) = (usize::from(SYMBOLS[code] >> 4), SYMBOLS[code] & 15);
                let ends = size == 0 && zeros < 15;
                if self.refines && size > 1 && !self.strays(30) {
                    continue;
                }
                let left = match interval {
                    0 => BLOCKS - nth,
                    _ => (BLOCKS - nth).min(interval - nth % interval),
                };
                if ends && 1 << zeros > left && !self.strays(10) {
                    continue;
                }
                // Where it goes if it fits, past those that are known.
                let mut unknown = (next..=end).filter(|&at| !was[at]);
                let place = unknown.nth(zeros);
                if !ends && place.is_none() {
                    continue;
                }
                self.put(code as u32, 4);
                if ends {
                    let mut more = self.random.usize(..1 << zeros);
                    if !self.strays(10) {
                        more = more.min(left.saturating_sub(1 << zeros));
                    }
                    self.put(more as u32, zeros as u32);
                    run = (1 << zeros) + more;
                    break;
                }
                let place = place.unwrap_or(end);
                self.put_random(size.into());
                let passed = (next..place).filter(|&at| was[at]).count();
                self.put_random(passed as u32);
                block[place] |= size > 0;
                next = place + 1;
            }
            if run > 0 {
                let left = (next..=end).filter(|&at| was[at]).count();
                self.put_random(left as u32);
                run -= 1;
            }
        }
        self.fill_byte();
    }
}

/// A file of a scan of means, one of upper bits, and refinements to the last bit, and whether there is something odd in it.
fn file(random: &mut fastrand::Rng) -> (Vec<u8>, bool) {
    let interval = [0, 0, 5, 1][random.usize(..4)];
    let is_odd = random.bool();
    let low = random.u8(1..4) + if is_odd && random.bool() { 5 } else { 0 };
    let width = (BLOCKS * 8) as u8;
    let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    file.extend([3; 64]);
    file.extend([0xff, 0xc2, 0, 11, 8, 0, 8, 0, width, 1, 1, 0x11, 0]);
    file.extend([0xff, 0xdd, 0, 4, 0, interval as u8]);
    // Means: the code 0 for no difference, and 10 for one of 3 bits.
    file.extend([0xff, 0xc4, 0, 21, 0, 1, 1]);
    file.extend([0; 14]);
    file.extend([0, 3]);
    file.extend([0xff, 0xc4, 0, 19 + SYMBOLS.len() as u8, 0x10, 0, 0, 0]);
    file.push(SYMBOLS.len() as u8);
    file.extend([0; 12]);
    file.extend(SYMBOLS);
    let mut known = [[false; 64]; BLOCKS];
    let mut scan = |start: u8, end: u8, bits: u8, random: &mut fastrand::Rng| {
        file.extend([0xff, 0xda, 0, 8, 1, 1, 0, start, end, bits]);
        let mut writer = Writer {
            random,
            bytes: Vec::new(),
            bits: 0,
            count: 0,
            is_odd,
            refines: bits >= 16,
        };
        if start == 0 {
            for nth in 0..BLOCKS {
                if interval > 0 && nth > 0 && nth % interval == 0 {
                    writer.fill_byte();
                    let restarts = (nth / interval - 1) as u8;
                    writer.bytes.extend([0xff, 0xd0 + restarts % 8]);
                }
                writer.put(2, 2);
                writer.put_random(3);
            }
            writer.fill_byte();
        } else {
            writer.band(start.into(), end.into(), &mut known, interval);
        }
        file.extend(writer.bytes);
    };
    scan(0, 0, 0, random);
    scan(1, 63, low, random);
    for high in (1..=low).rev() {
        scan(1, 63, high << 4 | (high - 1), random);
    }
    file.extend([0xff, 0xd9]);
    (file, is_odd)
}

#[test]
fn scans_with_what_no_encoder_writes_are_decoded_as_libjpeg_does_it() {
    const FILES: usize = 3000;
    let mut random = fastrand::Rng::with_seed(5);
    let mut whole = 0;
    for nth in 0..FILES {
        let (bytes, is_odd) = file(&mut random);
        let by_libjpeg = decoded_by(&bytes, LIBJPEG);
        assert!(by_libjpeg == decoded_by(&bytes, OTHERS[1]), "{nth}");
        let is_whole = plainly_decoded(&bytes) == Some(Decoded::Whole);
        assert!(is_odd || is_whole, "{nth}");
        whole += usize::from(is_whole);
    }
    assert!(whole < FILES * 3 / 4, "{whole}");
}
