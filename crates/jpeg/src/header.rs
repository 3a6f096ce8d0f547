//! What stands before the scans: which JPEGs are plain, and their tables.

use crate::codes::Codes;
use crate::tables::{DHT, DQT, DRI, SOS, Segment, Tables};

/// The largest side that libjpeg takes (`JPEG_MAX_DIMENSION`).
const LARGEST_SIDE: usize = 65_500;

/// A JPEG that says plainly what it is.
///
/// It has one frame of 8 bits, of brightness alone or of YCbCr in 4:4:4, 4:2:2 or 4:2:0, and one scan of all of that
/// (SOF0 or SOF1), or many that refine each other (SOF2). Its segments follow each other with nothing between them, and
/// their tables are sound; where there is one scan, all that it uses are there. What the scans hold has not been looked at.
pub struct Plain<'a> {
    /// Width and height in pixels.
    pub(crate) size: (usize, usize),
    /// Of the frame.
    marker: u8,
    /// Brightness, or that and two of colour.
    pub(crate) components: Vec<Component>,
    pub(crate) tables: Tables,
    /// The first scan.
    pub(crate) scan: ScanHeader,
    segments: Vec<&'a [u8]>,
    pub(crate) data: &'a [u8],
}

/// A component of the frame.
#[derive(Clone, Copy)]
pub(crate) struct Component {
    id: u8,
    /// Sampling factors: blocks of a unit.
    pub(crate) across: usize,
    pub(crate) down: usize,
    /// The table that its coefficients are multiplied by.
    pub(crate) quantization: u8,
}

/// What a scan says that it holds.
#[derive(Clone, Default)]
pub(crate) struct ScanHeader {
    pub(crate) parts: Vec<ScanPart>,
    /// The first and the last coefficient, in the order of the file.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The last bit that is known of them, and the last that is known after it; 0 of 0: all of it at once.
    pub(crate) high: u32,
    pub(crate) low: u32,
}

/// A component in a scan.
#[derive(Clone, Copy)]
pub(crate) struct ScanPart {
    /// Of those of the frame.
    pub(crate) component: usize,
    pub(crate) dc: u8,
    pub(crate) ac: u8,
}

const SOF0: u8 = 0xc0;
const SOF2: u8 = 0xc2;

impl<'a> Plain<'a> {
    /// Reads what stands before the first scan. `None`: the file is not plain.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
        let mut tables = Tables::default();
        let mut frame = None;
        let mut segments = Vec::new();
        loop {
            let (segment, behind) = Segment::read(rest)?;
            let whole = &rest[..rest.len() - behind.len()];
            rest = behind;
            match segment.marker {
                // Its last byte says which colours are meant; 1 is YCbCr.
                0xee if segment.content.starts_with(b"Adobe") => {
                    if segment.content.get(11) != Some(&1) {
                        return None;
                    }
                    continue;
                }
                // Metadata.
                0xe0..=0xef | 0xfe => continue,
                DHT | DQT | DRI => tables.read(&segment)?,
                SOF0..=SOF2 if frame.is_none() => {
                    frame = Some((read_frame(segment.content)?, segment.marker));
                }
                SOS => {
                    segments.push(whole);
                    let ((size, components), marker) = frame?;
                    let scan = ScanHeader::read(segment.content, &components)?;
                    let plain = Self {
                        size,
                        marker,
                        components,
                        tables,
                        scan,
                        segments,
                        data: rest,
                    };
                    return (plain.is_progressive() || plain.is_sequential()).then_some(plain);
                }
                _ => return None,
            }
            segments.push(whole);
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.size.0
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.size.1
    }

    /// Whether there is brightness alone.
    pub fn is_gray(&self) -> bool {
        self.components.len() == 1
    }

    /// Whether it has many scans.
    pub fn is_progressive(&self) -> bool {
        self.marker == SOF2
    }

    /// Whether any decoder takes it: one scan, tables of 8 bits, and two for each kind of code.
    pub fn is_baseline(&self) -> bool {
        self.marker == SOF0
            && self
                .scan
                .parts
                .iter()
                .all(|part| part.dc < 2 && part.ac < 2)
            && self.components.iter().all(|component| {
                let steps = self.tables.steps(component);
                steps.is_some_and(|steps| steps.iter().all(|&step| step < 256))
            })
    }

    /// The segments that decoding needs before the first scan, with their markers: tables, the frame, and the header
    /// of the scan, which is the last.
    pub fn segments(&self) -> &[&'a [u8]] {
        &self.segments
    }

    /// What follows the header of the first scan: its data, and all else to the end of the file.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Whether the scan has all of everything, and its tables are there.
    fn is_sequential(&self) -> bool {
        let scan = &self.scan;
        let whole = (scan.start, scan.end, scan.high, scan.low) == (0, 63, 0, 0);
        whole
            && scan.parts.len() == self.components.len()
            && scan.parts.iter().all(|part| {
                let ac = self.tables.ac(part.ac);
                self.tables.dc(part.dc).is_some()
                    && ac.is_some_and(Codes::is_of_one_block)
                    && self
                        .tables
                        .steps(&self.components[part.component])
                        .is_some()
            })
    }

    /// The largest sampling factors, across and down.
    pub(crate) fn largest(&self) -> (usize, usize) {
        match *self.components {
            [light, ..] => (light.across, light.down),
            [] => (1, 1),
        }
    }

    /// Units of a scan of all components, across and down.
    pub(crate) fn units(&self) -> (usize, usize) {
        let (across, down) = self.largest();
        let (width, height) = self.size;
        (width.div_ceil(8 * across), height.div_ceil(8 * down))
    }
}

impl ScanHeader {
    /// Reads the header of a scan, whose components are some of the frame's, in their order.
    pub(crate) fn read(content: &[u8], components: &[Component]) -> Option<Self> {
        let (&count, rest) = content.split_first()?;
        let (rest, &[start, end, bits]) = rest.split_last_chunk()?;
        let (each, []) = rest.as_chunks::<2>() else {
            return None;
        };
        if each.is_empty() || each.len() != usize::from(count) {
            return None;
        }
        let mut parts: Vec<ScanPart> = Vec::with_capacity(3);
        for &[id, tables] in each {
            let component = components.iter().position(|component| component.id == id)?;
            if parts.last().is_some_and(|last| last.component >= component) {
                return None;
            }
            parts.push(ScanPart {
                component,
                dc: tables >> 4,
                ac: tables & 15,
            });
        }
        Some(Self {
            parts,
            start: start.into(),
            end: end.into(),
            high: (bits >> 4).into(),
            low: (bits & 15).into(),
        })
    }
}

/// Width and height, and the components.
type Frame = ((usize, usize), Vec<Component>);

/// Reads the header of the frame.
fn read_frame(content: &[u8]) -> Option<Frame> {
    let &[8, h1, h0, w1, w0, count, ref rest @ ..] = content else {
        return None;
    };
    let side = |high, low| usize::from(u16::from_be_bytes([high, low]));
    let (width, height) = (side(w1, w0), side(h1, h0));
    let (each, []) = rest.as_chunks::<3>() else {
        return None;
    };
    let is_possible = |side| (1..=LARGEST_SIDE).contains(&side);
    if each.len() != usize::from(count) || !is_possible(width) || !is_possible(height) {
        return None;
    }
    let read = |&[id, factors, quantization]: &[u8; 3]| Component {
        id,
        across: usize::from(factors >> 4),
        down: usize::from(factors & 15),
        quantization,
    };
    let components: Vec<Component> = each.iter().map(read).collect();
    let factors = |component: &Component| (component.across, component.down);
    let plain = match &*components {
        [light] => factors(light) == (1, 1),
        [light, blue, red] => {
            [light.id, blue.id, red.id] == [1, 2, 3]
                && matches!(factors(light), (1, 1) | (2, 1) | (2, 2))
                && [blue, red].iter().all(|it| factors(it) == (1, 1))
                // libjpeg does not interpolate between two samples.
                && (light.across == 1 || width.div_ceil(2) > 2)
        }
        _ => false,
    };
    plain.then_some(((width, height), components))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::EOI;

    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len() as u16 + 2;
        [&[0xff, marker], &length.to_be_bytes()[..], content].concat()
    }

    /// A table of codes with the one code 0.
    fn codes(kind: u8, symbol: u8) -> Vec<u8> {
        let mut content = vec![kind, 1];
        content.extend([0; 15]);
        content.push(symbol);
        segment(DHT, &content)
    }

    fn frame(width: u8, components: &[[u8; 3]]) -> Vec<u8> {
        let mut content = vec![8, 0, 16, 0, width, components.len() as u8];
        content.extend(components.as_flattened());
        segment(SOF0, &content)
    }

    const YCC: [[u8; 3]; 3] = [[1, 0x22, 0], [2, 0x11, 0], [3, 0x11, 0]];
    const SCAN: [u8; 10] = [3, 1, 0, 2, 0, 3, 0, 0, 63, 0];

    fn file(segments: &[Vec<u8>]) -> Vec<u8> {
        [&[0xff, 0xd8][..], &segments.concat(), &[0, 0xff, EOI]].concat()
    }

    /// A plain file, in parts.
    fn parts() -> Vec<Vec<u8>> {
        vec![
            segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
            segment(DQT, &[&[0][..], &[1; 64]].concat()),
            codes(0x00, 2),
            codes(0x10, 0),
            frame(16, &YCC),
            segment(SOS, &SCAN),
        ]
    }

    fn is_plain(parts: &[Vec<u8>]) -> bool {
        Plain::read(&file(parts)).is_some()
    }

    #[test]
    fn a_plain_file_is_read() {
        let file = file(&parts());
        let plain = Plain::read(&file).unwrap();
        assert_eq!((plain.width(), plain.height()), (16, 16));
        assert!(plain.is_baseline() && !plain.is_progressive() && !plain.is_gray());
        assert_eq!(plain.data(), [0, 0xff, EOI]);
        // All but the metadata, to the header of the scan.
        assert_eq!(plain.segments().concat(), parts()[1..].concat());
    }

    #[test]
    fn what_says_something_unusual_is_not_plain() {
        let changed = |at: usize, part: Vec<u8>| {
            let mut parts = parts();
            parts[at] = part;
            is_plain(&parts)
        };
        // The same, to see that the others are refused for what they say.
        assert!(changed(4, frame(16, &YCC)));
        assert!(changed(4, frame(5, &YCC)) && !changed(4, frame(4, &YCC)));
        assert!(!changed(4, frame(0, &YCC)));
        for factors in [0x00, 0x02, 0x20, 0x12, 0x41, 0x44] {
            let mut components = YCC;
            components[0][1] = factors;
            assert!(!changed(4, frame(16, &components)), "{factors:x}");
            components = YCC;
            components[2][1] = factors;
            assert!(!changed(4, frame(16, &components)), "{factors:x}");
        }
        assert!(!changed(
            4,
            frame(16, &[[0, 0x22, 0], [1, 0x11, 0], [2, 0x11, 0]])
        ));
        assert!(!changed(4, frame(16, &YCC[..2])) && !changed(4, frame(16, &[])));
        for (side, plain) in [(65_500_u16, true), (65_501, false)] {
            let [high, low] = side.to_be_bytes();
            for sides in [[high, low, 0, 16], [0, 16, high, low]] {
                let content = [&[8], &sides[..], &[3], YCC.as_flattened()].concat();
                assert_eq!(changed(4, segment(SOF0, &content)), plain, "{sides:?}");
            }
        }
        // A table that is not there, has a step of 0, or is cut short; two frames; no frame.
        assert!(!changed(4, frame(16, &[[1, 0x22, 1], YCC[1], YCC[2]])));
        assert!(!changed(1, segment(DQT, &[0; 65])) && !changed(1, segment(DQT, &[0, 1])));
        assert!(!changed(0, frame(16, &YCC)) && !changed(4, Vec::new()));
        assert!(!changed(2, codes(0x01, 2)) && !changed(3, codes(0x11, 0)));
        // Codes that no baseline file has.
        assert!(!changed(2, codes(0x00, 12)) && !changed(3, codes(0x10, 0x10)));
        assert!(!changed(3, codes(0x10, 0x0b)));
        // More codes than libjpeg takes, in a table that is not used; more tables than any encoder writes.
        let mut many = [0; 17];
        (many[0], many[14], many[15]) = (0x11, 128, 128);
        let table = |counts: [u8; 17]| {
            let count = counts[1..].iter().map(|&count| usize::from(count)).sum();
            segment(DHT, &[&counts[..], &vec![1; count]].concat())
        };
        assert!(changed(0, table(many)));
        many[15] = 129;
        assert!(!changed(0, table(many)));
        assert!(changed(0, segment(DQT, &[]).repeat(100)));
        assert!(!changed(0, segment(DQT, &[]).repeat(1100)));
        assert!(!changed(0, codes(0x11, 1).repeat(600)));
        // Colours that are not YCbCr, and what is between segments.
        let adobe =
            |transform| segment(0xee, &[&b"Adobe\0\x64\0\0\0\0"[..], &[transform]].concat());
        assert!(changed(0, adobe(1)) && !changed(0, adobe(0)) && !changed(0, adobe(2)));
        assert!(!changed(0, vec![0]) && !changed(0, vec![0xff]));
        // A scan of some components, of some coefficients, or in another order.
        for scan in [
            &[1, 1, 0, 0, 63, 0][..],
            &[3, 1, 0, 2, 0, 3, 0, 0, 5, 0],
            &[3, 1, 0, 2, 0, 3, 0, 0, 63, 1],
            &[3, 2, 0, 1, 0, 3, 0, 0, 63, 0],
            &[3, 1, 0, 1, 0, 3, 0, 0, 63, 0],
            &[],
        ] {
            assert!(!changed(5, segment(SOS, scan)), "{scan:?}");
        }
    }

    #[test]
    fn files_cut_short_are_not_plain() {
        let file = file(&parts());
        for length in 0..file.len() - 3 {
            assert!(Plain::read(&file[..length]).is_none(), "{length}");
        }
    }
}
