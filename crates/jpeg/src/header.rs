//! What stands before the scan: which JPEGs are plain, and their tables.

use crate::codes::Codes;

/// A baseline JPEG that says plainly what it is.
///
/// It has one frame of 8 bits (SOF0) and one scan: of brightness alone, or of YCbCr in 4:4:4, 4:2:2 or
/// 4:2:0. Its segments follow each other with nothing between them, and every table that is used is
/// there and sound. What the scan holds has not been looked at.
pub struct Plain<'a> {
    /// Width and height in pixels.
    pub(crate) size: (usize, usize),
    /// Brightness, or that and two of colour.
    pub(crate) components: Vec<Component<'a>>,
    /// Units between two restart markers; 0: there are none.
    pub(crate) interval: u64,
    dc: [Option<Box<Codes>>; 2],
    ac: [Option<Box<Codes>>; 2],
    segments: Vec<&'a [u8]>,
    pub(crate) data: &'a [u8],
}

/// A component of the frame.
#[derive(Clone, Copy)]
pub(crate) struct Component<'a> {
    id: u8,
    /// Sampling factors: blocks of a unit.
    pub(crate) across: usize,
    pub(crate) down: usize,
    table: u8,
    /// What coefficients are multiplied by, in the order of the file.
    pub(crate) steps: &'a [u8; 64],
    dc: u8,
    ac: u8,
}

impl<'a> Plain<'a> {
    /// Reads what stands before the scan. `None`: the file is not plain.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        Reader::default().read(bytes)
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

    /// The segments that decoding needs, with their markers: tables, the frame, and the header of the
    /// scan, which is the last.
    pub fn segments(&self) -> &[&'a [u8]] {
        &self.segments
    }

    /// What follows the header of the scan: its data, and all else to the end of the file.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The tables of a component.
    pub(crate) fn codes(&self, component: &Component<'_>) -> Option<(&Codes, &Codes)> {
        let dc = self.dc.get(usize::from(component.dc))?.as_deref()?;
        let ac = self.ac.get(usize::from(component.ac))?.as_deref()?;
        Some((dc, ac))
    }

    /// The largest sampling factors, across and down.
    pub(crate) fn largest(&self) -> (usize, usize) {
        match *self.components {
            [light, ..] => (light.across, light.down),
            [] => (1, 1),
        }
    }

    /// Units of the scan, across and down.
    pub(crate) fn units(&self) -> (usize, usize) {
        let (across, down) = self.largest();
        let (width, height) = self.size;
        (width.div_ceil(8 * across), height.div_ceil(8 * down))
    }
}

/// What has been read of a file.
#[derive(Default)]
struct Reader<'a> {
    segments: Vec<&'a [u8]>,
    quantization: [Option<&'a [u8; 64]>; 4],
    /// By identifier, 0 or 1.
    dc: [Option<Box<Codes>>; 2],
    ac: [Option<Box<Codes>>; 2],
    size: Option<(usize, usize)>,
    components: Vec<Component<'a>>,
    interval: u64,
}

fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

impl<'a> Reader<'a> {
    fn read(mut self, bytes: &'a [u8]) -> Option<Plain<'a>> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return None;
        }
        let mut at = 2;
        loop {
            let &[0xff, marker] = bytes.get(at..)?.first_chunk()? else {
                return None;
            };
            let length = usize::from(u16_be(bytes, at + 2)?);
            let whole = bytes.get(at..at + 2 + length)?;
            let segment = whole.get(4..)?;
            at += whole.len();
            match marker {
                // Its last byte says which colours are meant; 1 is YCbCr.
                0xee if segment.starts_with(b"Adobe") => {
                    if segment.get(11) != Some(&1) {
                        return None;
                    }
                }
                // Metadata.
                0xe0..=0xef | 0xfe => {}
                0xdb => self.quantization_tables(segment)?,
                0xc4 => self.codes(segment)?,
                0xc0 => self.frame(segment)?,
                0xdd => self.interval = u16_be(segment, 0).filter(|_| segment.len() == 2)?.into(),
                0xda => self.scan(segment)?,
                _ => return None,
            }
            if matches!(marker, 0xdb | 0xc4 | 0xc0 | 0xdd | 0xda) {
                self.segments.push(whole);
            }
            if marker == 0xda {
                return Some(Plain {
                    size: self.size?,
                    components: self.components,
                    interval: self.interval,
                    dc: self.dc,
                    ac: self.ac,
                    segments: self.segments,
                    data: bytes.get(at..)?,
                });
            }
        }
    }

    fn quantization_tables(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&id, rest)) = segment.split_first() {
            // 8 bits each: those of 16 have 16 in `id`.
            let (steps, rest) = rest.split_first_chunk()?;
            if steps.contains(&0) {
                return None;
            }
            *self.quantization.get_mut(usize::from(id))? = Some(steps);
            segment = rest;
        }
        Some(())
    }

    fn codes(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let count = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = rest.get(..count)?;
            let tables = match kind >> 4 {
                0 if symbols.iter().all(|&size| size <= 11) => &mut self.dc,
                // Without a value there is the end of a block, or a run of 16 zeros.
                1 if symbols.iter().all(|&symbol| match symbol & 15 {
                    0 => matches!(symbol, 0 | 0xf0),
                    size => size <= 10,
                }) =>
                {
                    &mut self.ac
                }
                _ => return None,
            };
            *tables.get_mut(usize::from(kind & 15))? = Some(Codes::new(counts, symbols)?);
            segment = &rest[count..];
        }
        Some(())
    }

    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let &[8, h1, h0, w1, w0, count, ref rest @ ..] = segment else {
            return None;
        };
        let size = |high, low| usize::from(u16::from_be_bytes([high, low]));
        let size = (size(w1, w0), size(h1, h0));
        let (each, []) = rest.as_chunks::<3>() else {
            return None;
        };
        if self.size.is_some() || each.len() != usize::from(count) || size.0 == 0 || size.1 == 0 {
            return None;
        }
        self.size = Some(size);
        self.components = each
            .iter()
            .map(|&[id, factors, table]| Component {
                id,
                across: usize::from(factors >> 4),
                down: usize::from(factors & 15),
                table,
                steps: &[0; 64],
                dc: 0,
                ac: 0,
            })
            .collect();
        let factors = |component: &Component<'_>| (component.across, component.down);
        let plain = match &*self.components {
            [light] => factors(light) == (1, 1),
            [light, blue, red] => {
                [light.id, blue.id, red.id] == [1, 2, 3]
                    && matches!(factors(light), (1, 1) | (2, 1) | (2, 2))
                    && [blue, red].iter().all(|it| factors(it) == (1, 1))
            }
            _ => false,
        };
        // libjpeg does not interpolate between two samples.
        let is_narrow = self.components.len() == 3
            && size.0.div_ceil(self.components[0].across) <= 2
            && self.components[0].across > 1;
        (plain && !is_narrow).then_some(())
    }

    fn scan(&mut self, segment: &[u8]) -> Option<()> {
        let (&count, rest) = segment.split_first()?;
        let (rest, &[0, 63, 0]) = rest.split_last_chunk()? else {
            return None;
        };
        let (each, []) = rest.as_chunks::<2>() else {
            return None;
        };
        if each.len() != usize::from(count) || each.len() != self.components.len() {
            return None;
        }
        for (component, &[id, tables]) in self.components.iter_mut().zip(each) {
            let steps = self.quantization.get(usize::from(component.table));
            component.steps = steps.copied().flatten()?;
            (component.dc, component.ac) = (tables >> 4, tables & 15);
            let there =
                |of: &[Option<_>; 2], id| of.get(usize::from(id)).is_some_and(Option::is_some);
            if component.id != id
                || !there(&self.dc, component.dc)
                || !there(&self.ac, component.ac)
            {
                return None;
            }
        }
        Some(())
    }
}
