//! Progressive JPEGs (ITU-T T.81, annex G): many scans, each of which tells some coefficients of all blocks, or one
//! more bit of them. All are kept until the last has been read.
//!
//! ```text
//! a scan   the means of one or more components, unit by unit: their upper bits, or one bit more
//!          or some coefficients of one component, block by block: their upper bits (a run may
//!          end many blocks at once), or one bit more of those known and some that become known
//! ```
//!
//! Only files whose scans tell every bit of every coefficient, and none before those above it, are decoded: where
//! something is missing, libjpeg smooths over it.

use crate::codes::Codes;
use crate::header::{Plain, ScanHeader, ScanPart};
use crate::rows::Sink;
use crate::scan::{EOI, PLACES, Scan};
use crate::tables::{SOS, Segment, Tables};
use crate::transform::Block;

/// All blocks of a component.
pub(crate) struct Kept {
    /// Row by row, in whole units.
    pub(crate) blocks: Vec<Block>,
    /// For each of them: which coefficients are not zero, a bit for each in the order of the file.
    pub(crate) nonzero: Vec<u64>,
    /// Blocks of a row.
    pub(crate) across: usize,
    /// What they are multiplied by, row by row.
    pub(crate) steps: Block,
    /// Blocks of a row, and rows, in a scan of this component alone, which leaves out what is in no pixel.
    alone: (usize, usize),
    /// Of a unit.
    factors: (usize, usize),
    /// For each coefficient in the order of the file: the last bit that is known; `None`: not any.
    known: [Option<u32>; 64],
}

impl Kept {
    /// Notes what a scan tells of this component. `None` if it is not what comes next.
    fn note(&mut self, scan: &ScanHeader) -> Option<()> {
        let expected = match scan.high {
            0 => None,
            high => Some(high),
        };
        let follows = scan.high == 0 || scan.high == scan.low + 1;
        if !follows || scan.low > 13 || scan.start > scan.end {
            return None;
        }
        for known in self.known.get_mut(scan.start..=scan.end)? {
            if *known != expected {
                return None;
            }
            *known = Some(scan.low);
        }
        Some(())
    }
}

/// Reads all scans. `None` if the sink ended it, or anything is wrong in them.
pub(crate) fn read(plain: &Plain<'_>, sink: &mut Sink<'_>) -> Option<Vec<Kept>> {
    let (units_across, units_down) = plain.units();
    let (most_across, most_down) = plain.largest();
    let mut kept = Vec::with_capacity(plain.components.len());
    for component in &plain.components {
        let (across, down) = (units_across * component.across, units_down * component.down);
        let alone = |side: usize, own: usize, most: usize| (side * own).div_ceil(most).div_ceil(8);
        kept.push(Kept {
            blocks: vec![[0; 64]; across * down],
            nonzero: vec![0; across * down],
            across,
            steps: [0; 64],
            alone: (
                alone(plain.size.0, component.across, most_across),
                alone(plain.size.1, component.down, most_down),
            ),
            factors: (component.across, component.down),
            known: [None; 64],
        });
    }
    let mut tables = plain.tables.clone();
    let (mut header, mut data) = (plain.scan.clone(), plain.data);
    loop {
        for part in &header.parts {
            // The table is that of its first scan.
            if kept[part.component].known == [None; 64] {
                let steps = tables.steps(&plain.components[part.component])?;
                for (&step, place) in steps.iter().zip(PLACES) {
                    kept[part.component].steps[usize::from(place)] = step as i16;
                }
            }
            kept[part.component].note(&header)?;
        }
        let scan = Scan::new(data, tables.interval);
        let (mut marker, mut rest) = read_scan(plain, &header, &tables, scan, &mut kept, sink)?;
        loop {
            if marker == EOI {
                let whole = |kept: &Kept| kept.known == [Some(0); 64];
                return kept.iter().all(whole).then_some(kept);
            }
            let (segment, behind) = Segment::behind(marker, rest)?;
            if segment.marker == SOS {
                header = ScanHeader::read(segment.content, &plain.components)?;
                data = behind;
                break;
            }
            tables.read(&segment)?;
            let &[0xff, next, ref behind @ ..] = behind else {
                return None;
            };
            (marker, rest) = (next, behind);
        }
    }
}

/// Reads a scan: the marker that follows, and all behind it.
fn read_scan<'a>(
    plain: &Plain<'a>,
    header: &ScanHeader,
    tables: &Tables,
    mut scan: Scan<'a>,
    kept: &mut [Kept],
    sink: &mut Sink<'_>,
) -> Option<(u8, &'a [u8])> {
    if header.start == 0 {
        if header.end != 0 {
            return None;
        }
        read_means(plain, header, tables, &mut scan, kept, sink)?;
        return scan.end();
    }
    let &[part] = &*header.parts else {
        return None;
    };
    let kept = kept.get_mut(part.component)?;
    // Means come first.
    kept.known[0]?;
    let codes = tables.ac(part.ac)?;
    let (across, down) = kept.alone;
    let mut band = Band {
        codes,
        start: header.start,
        end: header.end,
        low: header.low,
        run: 0,
    };
    let rows = kept.blocks.chunks_exact_mut(kept.across);
    let rows = rows.zip(kept.nonzero.chunks_exact_mut(kept.across));
    for (blocks, nonzero) in rows.take(down) {
        sink.worked(across)?;
        let mut blocks = blocks.iter_mut().zip(nonzero).take(across);
        while let Some((block, nonzero)) = blocks.next() {
            if scan.begin_unit()? && band.run > 0 {
                return None;
            }
            if header.high > 0 {
                band.refine(&mut scan, block, nonzero)?;
            } else if band.run == 0 {
                band.read_first(&mut scan, block, nonzero)?;
            } else {
                // This one is empty, and so are others.
                let more = (band.run as usize - 1).min(blocks.len());
                let more = scan.skip_units(more);
                band.run -= 1 + more as u32;
                if more > 0 {
                    blocks.nth(more - 1);
                }
            }
        }
    }
    if band.run > 0 {
        return None;
    }
    scan.end()
}

/// Reads a scan of means.
fn read_means(
    plain: &Plain<'_>,
    header: &ScanHeader,
    tables: &Tables,
    scan: &mut Scan<'_>,
    kept: &mut [Kept],
    sink: &mut Sink<'_>,
) -> Option<()> {
    let mut means = [0_i32; 3];
    let mut codes = Vec::with_capacity(3);
    for part in &header.parts {
        // Single bits need no table.
        codes.push(match header.high {
            0 => Some(tables.dc(part.dc)?),
            _ => None,
        });
    }
    // A component alone comes block by block.
    let ((across, down), is_alone) = match *header.parts {
        [ScanPart { component, .. }] => (kept.get(component)?.alone, true),
        _ => (plain.units(), false),
    };
    for y in 0..down {
        sink.worked(across * header.parts.len())?;
        for x in 0..across {
            if scan.begin_unit()? {
                means = [0; 3];
            }
            for ((part, codes), mean) in header.parts.iter().zip(&codes).zip(&mut means) {
                let kept = &mut kept[part.component];
                let factors = if is_alone { (1, 1) } else { kept.factors };
                for v in 0..factors.1 {
                    for h in 0..factors.0 {
                        let at = (y * factors.1 + v) * kept.across + x * factors.0 + h;
                        let block = kept.blocks.get_mut(at)?;
                        match codes {
                            Some(codes) => {
                                scan.bits.fill();
                                let difference = scan.bits.take(codes)?.value();
                                *mean = mean.checked_add(difference.into())?;
                                block[0] = (*mean << header.low) as i16;
                            }
                            None => block[0] |= (scan.bits.get(1) << header.low) as i16,
                        }
                    }
                }
            }
        }
    }
    Some(())
}

/// Coefficients of the blocks of one component, as a scan tells them.
struct Band<'a> {
    codes: &'a Codes,
    start: usize,
    end: usize,
    /// The bit that is told.
    low: u32,
    /// How many more blocks end before they begin.
    run: u32,
}

impl Band<'_> {
    /// The upper bits of a block's.
    #[inline(always)]
    fn read_first(
        &mut self,
        scan: &mut Scan<'_>,
        block: &mut Block,
        nonzero: &mut u64,
    ) -> Option<()> {
        let mut next = self.start;
        while next <= self.end {
            scan.bits.fill();
            let symbol = scan.bits.take(self.codes)?;
            let zeros = symbol.zeros();
            match symbol.value() {
                0 if zeros == 15 => next += 16,
                0 => {
                    // This block ends here, and so many others are empty.
                    self.run = (1 << zeros) - 1 + scan.bits.get(zeros as u32);
                    return Some(());
                }
                value => {
                    next += zeros;
                    if next > self.end {
                        return None;
                    }
                    // Those that overflow would be zero, or of the other sign, for what refines them.
                    let upper = i32::from(value) << self.low;
                    if upper.abs() > i16::MAX.into() {
                        return None;
                    }
                    block[usize::from(PLACES[next])] = upper as i16;
                    *nonzero |= 1 << next;
                    next += 1;
                }
            }
        }
        (next == self.end + 1).then_some(())
    }

    /// One more bit of a block's.
    #[inline(always)]
    fn refine(&mut self, scan: &mut Scan<'_>, block: &mut Block, nonzero: &mut u64) -> Option<()> {
        let bit = 1_i16 << self.low;
        // Those from the next one to the last, and of them those that are known.
        let mut left = (u64::MAX << self.start) & (u64::MAX >> (63 - self.end));
        let known = *nonzero;
        while self.run == 0 && left != 0 {
            scan.bits.fill();
            let symbol = scan.bits.take(self.codes)?;
            let zeros = symbol.zeros();
            let value = symbol.value();
            if value == 0 && zeros < 15 {
                self.run = (1 << zeros) + scan.bits.get(zeros as u32);
                break;
            }
            // One that becomes known has one bit.
            if value.abs() > 1 {
                return None;
            }
            // Passes those that are known, and `zeros` that are not.
            let mut unknown = left & !known;
            for _ in 0..zeros {
                unknown &= unknown.wrapping_sub(1);
            }
            if unknown == 0 {
                return None;
            }
            let place = unknown.trailing_zeros();
            let passed = left & ((1 << place) - 1);
            correct(block, passed & known, bit, scan);
            left &= !passed & !(1 << place);
            if value != 0 {
                block[usize::from(PLACES[place as usize])] = value * bit;
                *nonzero |= 1 << place;
            }
        }
        if self.run > 0 {
            correct(block, left & known, bit, scan);
            self.run -= 1;
        }
        Some(())
    }
}

/// One more bit of each of these coefficients, which are known to the bit above it.
#[inline(always)]
fn correct(block: &mut Block, mut which: u64, bit: i16, scan: &mut Scan<'_>) {
    while which != 0 {
        let count = which.count_ones().min(16);
        // From the first on, at the top.
        let mut bits = scan.bits.get(count) << (32 - count);
        for _ in 0..count {
            let place = PLACES[which.trailing_zeros() as usize];
            which &= which - 1;
            let coefficient = &mut block[usize::from(place & 63)];
            // All ones where it grows, all ones where it is below zero.
            let (grows, below) = ((bits as i32 >> 31) as i16, *coefficient >> 15);
            *coefficient += ((bit ^ below) - below) & grows;
            bits <<= 1;
        }
    }
}
