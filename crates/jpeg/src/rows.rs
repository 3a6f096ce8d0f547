//! From the scan to rows of RGB: a row of units at a time, as libjpeg does it.
//!
//! ```text
//! data --scan--> blocks --transform--> samples of a row of units --upsample, colour--> rows of RGB
//!                                      (4:2:0: the last row waits for the colours below it)
//! ```

use crate::codes::Codes;
use crate::colour;
use crate::header::Plain;
use crate::kernel::Kernel;
use crate::progressive::{self, Kept};
use crate::scan::{EOI, Scan, Steps, Used};
use crate::transform::{self, Block};
use crate::upsample::{self, Sums};

/// Takes the rows. Not a generic, so that all of this is compiled, and optimized, in this crate.
pub(crate) type Sink<'a> = dyn NextRow + 'a;

/// See [`Sink`].
pub(crate) trait NextRow {
    /// The next row, or none if decoding is to end.
    fn row(&mut self) -> Option<&mut [u8]>;

    /// Notes that so many blocks were read that make no rows yet; none if decoding is to end.
    fn worked(&mut self, blocks: usize) -> Option<()>;
}

/// Samples of a component in a row of units.
struct Plane {
    /// Blocks of a unit.
    across: usize,
    down: usize,
    /// Samples from row to row, in whole units.
    stride: usize,
    samples: Vec<u8>,
}

impl Plane {
    fn row(&self, row: usize) -> &[u8] {
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
struct Reader<'a> {
    codes: (&'a Codes, &'a Codes),
    steps: Steps,
    /// The mean of the last block.
    mean: i32,
}

/// Where blocks come from.
enum Source<'a> {
    /// The only scan.
    Scan(Scan<'a>, Vec<Reader<'a>>),
    /// All scans, which were read.
    Kept(Vec<Kept>),
}

impl<'a> Source<'a> {
    fn new(plain: &'a Plain<'a>, sink: &mut Sink<'_>) -> Option<Self> {
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
    fn read_units(
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
    fn ends_well(self) -> bool {
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

/// Decodes all of it into `sink`; `None` if that ended it, or something is wrong in the data. Compiled for what it is
/// inlined into.
#[inline(always)]
pub(crate) fn decode(plain: &Plain<'_>, kernel: impl Kernel, sink: &mut Sink<'_>) -> Option<()> {
    let mut source = Source::new(plain, sink)?;
    let (across, down) = plain.units();
    let mut planes = Vec::with_capacity(plain.components.len());
    for component in &plain.components {
        let stride = across * component.across * 8;
        planes.push(Plane {
            across: component.across,
            down: component.down,
            stride,
            samples: vec![0; stride * component.down * 8],
        });
    }
    let (width, height) = plain.size;
    let mut colours = Colours::new(plain.largest(), width);
    for row in 0..down {
        source.read_units(kernel, row, &mut planes, across)?;
        let light = planes.first()?.down * 8;
        let rows = light.min(height - row * light);
        let part = Part {
            rows,
            is_first: row == 0,
            is_last: row + 1 == down,
        };
        match &*planes {
            [light, blue, red] => colours.give(kernel, &part, light, [blue, red], sink)?,
            [light, ..] => {
                for y in 0..rows {
                    colour::gray_to_rgb(light.row(y), sink.row()?);
                }
            }
            [] => return None,
        }
    }
    source.ends_well().then_some(())
}

/// A row of units, from the top.
struct Part {
    /// Rows of the picture in it.
    rows: usize,
    is_first: bool,
    is_last: bool,
}

/// Makes rows of RGB of the samples.
struct Colours {
    /// Sampling factors of the brightness.
    factors: (usize, usize),
    width: usize,
    sums: Sums,
    /// Blue and red, interpolated to the whole width.
    wide: [Vec<u8>; 2],
    /// In 4:2:0 the last rows of the units before: brightness, blue and red.
    waiting: [Vec<u8>; 3],
}

impl Colours {
    fn new(factors: (usize, usize), width: usize) -> Self {
        let own = width.div_ceil(factors.0);
        Self {
            factors,
            width,
            sums: Sums::new(own),
            wide: std::array::from_fn(|_| vec![0; own * factors.0]),
            waiting: std::array::from_fn(|_| Vec::new()),
        }
    }

    /// Gives the rows that all is known of, in their order.
    #[inline(always)]
    fn give(
        &mut self,
        kernel: impl Kernel,
        part: &Part,
        light: &Plane,
        colours: [&Plane; 2],
        sink: &mut Sink<'_>,
    ) -> Option<()> {
        let own = self.width.div_ceil(self.factors.0);
        let [blue, red] = colours;
        if self.factors == (2, 2) && !part.is_first {
            let out = sink.row()?;
            for (wide, (above, plane)) in
                (self.wide.iter_mut()).zip(self.waiting[1..].iter().zip(colours))
            {
                upsample::both(kernel, above, &plane.row(0)[..own], &mut self.sums, wide);
            }
            kernel.ycc_to_rgb(&self.waiting[0], &self.wide[0], &self.wide[1], out);
        }
        for y in 0..part.rows {
            let light = &light.row(y)[..self.width];
            if self.factors.1 == 1 {
                let out = sink.row()?;
                if self.factors.0 == 1 {
                    kernel.ycc_to_rgb(light, blue.row(y), red.row(y), out);
                } else {
                    for (wide, plane) in self.wide.iter_mut().zip(colours) {
                        upsample::across(kernel, &plane.row(y)[..own], &mut self.sums, wide);
                    }
                    kernel.ycc_to_rgb(light, &self.wide[0], &self.wide[1], out);
                }
                continue;
            }
            let (here, rows) = (y / 2, part.rows.div_ceil(2));
            let is_lower = y % 2 == 1;
            if is_lower && here + 1 == rows && !part.is_last {
                break;
            }
            let out = sink.row()?;
            for (nth, (wide, plane)) in self.wide.iter_mut().zip(colours).enumerate() {
                let beyond = match is_lower {
                    true => plane.row((here + 1).min(rows - 1)),
                    false if here > 0 => plane.row(here - 1),
                    false if part.is_first => plane.row(0),
                    false => &self.waiting[nth + 1],
                };
                let row = &plane.row(here)[..own];
                upsample::both(kernel, row, &beyond[..own], &mut self.sums, wide);
            }
            kernel.ycc_to_rgb(light, &self.wide[0], &self.wide[1], out);
        }
        if self.factors == (2, 2) && !part.is_last {
            let last = [(light, self.width), (blue, own), (red, own)];
            for (waiting, (plane, length)) in self.waiting.iter_mut().zip(last) {
                waiting.clear();
                waiting.extend_from_slice(&plane.row(plane.down * 8 - 1)[..length]);
            }
        }
        Some(())
    }
}
