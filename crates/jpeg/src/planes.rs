//! The samples of a row of units, and where their blocks come from.
//!
//! ```text
//! data --scan---------> blocks --transform--> samples
//!      --progressive--> all blocks of the file, then a row of units of them
//! ```

use crate::codes::Codes;
use crate::header::Plain;
use crate::kernel::Kernel;
use crate::progressive::{self, Kept};
use crate::rows::Sink;
use crate::scan::{EOI, Scan, Steps, Used};
use crate::transform::{self, Block};

/// Samples of a component in a row of units.
pub(crate) struct Plane {
    /// Blocks of a unit.
    across: usize,
    pub(crate) down: usize,
    /// Samples from row to row, in whole units.
    stride: usize,
    samples: Vec<u8>,
}

impl Plane {
    /// For a component of these sampling factors, in a row of so many units.
    pub(crate) fn new((across, down): (usize, usize), units: usize) -> Self {
        let stride = units * across * 8;
        Self {
            across,
            down,
            stride,
            samples: vec![0; stride * down * 8],
        }
    }

    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.stride..][..self.stride]
    }

    /// Puts the samples of a block, of coefficients that are multiplied, into their place.
    #[inline(always)]
    fn put(
        &mut self,
        kernel: impl Kernel,
        (across, down): (usize, usize),
        block: &Block,
        used: Used,
    ) -> Option<()> {
        let start = down * 8 * self.stride + across * 8;
        let place = self.samples.get_mut(start..start + 7 * self.stride + 8)?;
        let samples = match used.is_flat() {
            true => [[transform::flat(block[0]); 8]; 8],
            false => kernel.transform(block, used.is_one_row()),
        };
        for (row, samples) in samples.iter().enumerate() {
            place[row * self.stride..][..8].copy_from_slice(samples);
        }
        Some(())
    }
}

/// What the blocks of a component are read with.
pub(crate) struct Reader<'a> {
    codes: (&'a Codes, &'a Codes),
    steps: Steps,
    /// The mean of the last block.
    mean: i32,
}

/// Where blocks come from.
pub(crate) enum Source<'a> {
    /// The only scan.
    Scan(Scan<'a>, Vec<Reader<'a>>),
    /// All scans, which were read.
    Kept(Vec<Kept>),
}

impl<'a> Source<'a> {
    pub(crate) fn new(plain: &'a Plain<'a>, sink: &mut Sink<'_>) -> Option<Self> {
        if plain.is_progressive() {
            return Some(Self::Kept(progressive::read(plain, sink)?));
        }
        let mut readers = Vec::with_capacity(plain.components.len());
        for (part, component) in plain.scan.parts.iter().zip(&plain.components) {
            readers.push(Reader {
                codes: (plain.tables.dc(part.dc)?, plain.tables.ac(part.ac)?),
                steps: Steps::new(plain.tables.steps(component)?),
                mean: 0,
            });
        }
        let scan = Scan::new(plain.data, plain.tables.interval);
        Some(Self::Scan(scan, readers))
    }

    /// Reads a row of units. `None` if something is wrong in it.
    #[inline(always)]
    pub(crate) fn read_units(
        &mut self,
        kernel: impl Kernel,
        row: usize,
        planes: &mut [Plane],
        units: usize,
    ) -> Option<()> {
        match self {
            Self::Scan(scan, readers) => {
                for unit in 0..units {
                    if scan.begin_unit()? {
                        readers.iter_mut().for_each(|reader| reader.mean = 0);
                    }
                    for (plane, reader) in planes.iter_mut().zip(&mut *readers) {
                        read_unit(kernel, scan, reader, plane, unit)?;
                    }
                }
                // The rows of these units are the next to be given.
                if scan.ran_out() {
                    return None;
                }
            }
            Self::Kept(kept) => {
                for (plane, kept) in planes.iter_mut().zip(kept) {
                    let first = row * plane.down * kept.across;
                    let blocks = kept.blocks.get(first..)?.chunks_exact(kept.across);
                    let nonzero = kept.nonzero.get(first..)?.chunks_exact(kept.across);
                    let rows = blocks.zip(nonzero).take(plane.down).enumerate();
                    for (down, (blocks, nonzero)) in rows {
                        let blocks = blocks.iter().zip(nonzero).enumerate();
                        for (across, (block, &nonzero)) in blocks {
                            let used = Used::of(nonzero);
                            let mut products = [0; 64];
                            for ((product, &value), &step) in
                                products.iter_mut().zip(block).zip(&kept.steps)
                            {
                                *product = value.wrapping_mul(step);
                            }
                            plane.put(kernel, (across, down), &products, used)?;
                        }
                    }
                }
            }
        }
        Some(())
    }

    /// Whether nothing is wrong behind the last row.
    pub(crate) fn ends_well(self) -> bool {
        match self {
            Self::Scan(scan, _) => scan.end().is_some_and(|(marker, _)| marker == EOI),
            Self::Kept(_) => true,
        }
    }
}

/// Reads the blocks of a component in one unit, `unit` of its row.
#[inline(always)]
fn read_unit(
    kernel: impl Kernel,
    scan: &mut Scan<'_>,
    reader: &mut Reader<'_>,
    plane: &mut Plane,
    unit: usize,
) -> Option<()> {
    for down in 0..plane.down {
        for across in 0..plane.across {
            let mut block = [0; 64];
            let used = scan.block(reader.codes, &reader.steps, &mut reader.mean, &mut block)?;
            plane.put(kernel, (unit * plane.across + across, down), &block, used)?;
        }
    }
    Some(())
}
