//! The segments of a file, and the tables that they set.

use std::sync::Arc;

use crate::codes::Codes;
use crate::header::Component;

/// The most tables, and segments of them, that a file may have: each takes some microseconds and some kilobytes. Encoders
/// write at most a few for each scan.
const MOST_TABLES: usize = 1024;

/// Markers of segments.
pub(crate) const DHT: u8 = 0xc4;
pub(crate) const DQT: u8 = 0xdb;
pub(crate) const DRI: u8 = 0xdd;
pub(crate) const SOS: u8 = 0xda;

/// A segment of the file.
pub(crate) struct Segment<'a> {
    pub(crate) marker: u8,
    pub(crate) content: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The next one, and all behind it.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &[0xff, marker, ref behind @ ..] = bytes else {
            return None;
        };
        Self::behind(marker, behind)
    }

    /// As [`Segment::read`], of what follows a marker.
    pub(crate) fn behind(marker: u8, bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
        let (length_and_content, rest) = bytes.split_at_checked(length)?;
        let content = length_and_content.get(2..)?;
        Some((Self { marker, content }, rest))
    }
}

/// What segments before a scan set, by the identifiers of the file.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Arc<Codes>>; 4],
    ac: [Option<Arc<Codes>>; 4],
    /// Units between two restart markers; 0: there are none.
    pub(crate) interval: u64,
    /// How many tables and segments of them were read.
    read: usize,
}

impl Tables {
    /// Takes a segment of tables, or of the restart interval.
    pub(crate) fn read(&mut self, segment: &Segment<'_>) -> Option<()> {
        let content = segment.content;
        self.count_table()?;
        match segment.marker {
            DQT => self.read_quantization(content),
            DHT => self.read_codes(content),
            DRI => {
                let interval: &[u8; 2] = content.try_into().ok()?;
                self.interval = u16::from_be_bytes(*interval).into();
                Some(())
            }
            _ => None,
        }
    }

    /// `None` if there are too many.
    fn count_table(&mut self) -> Option<()> {
        self.read += 1;
        (self.read <= MOST_TABLES).then_some(())
    }

    fn read_quantization(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let (steps, rest) = match kind >> 4 {
                0 => {
                    let (steps, rest) = rest.split_first_chunk::<64>()?;
                    (steps.map(u16::from), rest)
                }
                1 => {
                    let (steps, rest) = rest.split_first_chunk::<128>()?;
                    let steps: &[[u8; 2]; 64] = steps.as_chunks().0.as_array()?;
                    (steps.map(u16::from_be_bytes), rest)
                }
                _ => return None,
            };
            if steps.contains(&0) {
                return None;
            }
            *self.quantization.get_mut(usize::from(kind & 15))? = Some(steps);
            content = rest;
        }
        Some(())
    }

    fn read_codes(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let count: usize = counts.iter().map(|&count| usize::from(count)).sum();
            // libjpeg refuses a file with such a table.
            if count > 256 {
                return None;
            }
            self.count_table()?;
            let (symbols, rest) = rest.split_at_checked(count)?;
            let tables = match kind >> 4 {
                0 if symbols.iter().all(|&size| size <= 11) => &mut self.dc,
                1 if symbols.iter().all(|&symbol| symbol & 15 <= 10) => &mut self.ac,
                _ => return None,
            };
            let codes = Codes::new(counts, symbols)?;
            *tables.get_mut(usize::from(kind & 15))? = Some(Arc::new(codes));
            content = rest;
        }
        Some(())
    }

    pub(crate) fn dc(&self, id: u8) -> Option<&Codes> {
        self.dc.get(usize::from(id))?.as_deref()
    }

    pub(crate) fn ac(&self, id: u8) -> Option<&Codes> {
        self.ac.get(usize::from(id))?.as_deref()
    }

    /// What the coefficients of a component are multiplied by, in the order of the file.
    pub(crate) fn steps(&self, component: &Component) -> Option<&[u16; 64]> {
        let table = self.quantization.get(usize::from(component.quantization))?;
        table.as_ref()
    }
}
