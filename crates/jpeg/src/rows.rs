//! From samples to rows of RGB: a row of units at a time, as libjpeg does it.
//!
//! ```text
//! data --planes--> samples of a row of units --upsample, colour--> rows of RGB
//!                  (4:2:0: the last row waits for the colours below it)
//! ```

use crate::colour;
use crate::header::Plain;
use crate::kernel::Kernel;
use crate::planes::{Plane, Source};
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

/// Decodes all of it into `sink`; `None` if that ended it, or something is wrong in the data. Compiled for what it is
/// inlined into.
#[inline(always)]
pub(crate) fn decode(plain: &Plain<'_>, kernel: impl Kernel, sink: &mut Sink<'_>) -> Option<()> {
    let mut source = Source::new(plain, sink)?;
    let (across, down) = plain.units();
    let components = plain.components.iter();
    let mut planes: Vec<Plane> = components
        .map(|component| Plane::new((component.across, component.down), across))
        .collect();
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
        let narrow = width.div_ceil(factors.0);
        Self {
            factors,
            width,
            sums: Sums::new(narrow),
            wide: std::array::from_fn(|_| vec![0; narrow * factors.0]),
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
        // Samples of a row of blue and red.
        let narrow = self.width.div_ceil(self.factors.0);
        let [blue, red] = colours;
        if self.factors == (2, 2) && !part.is_first {
            let out = sink.row()?;
            for (wide, (above, plane)) in
                (self.wide.iter_mut()).zip(self.waiting[1..].iter().zip(colours))
            {
                upsample::both(kernel, above, &plane.row(0)[..narrow], &mut self.sums, wide);
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
                        upsample::across(kernel, &plane.row(y)[..narrow], &mut self.sums, wide);
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
                let row = &plane.row(here)[..narrow];
                upsample::both(kernel, row, &beyond[..narrow], &mut self.sums, wide);
            }
            kernel.ycc_to_rgb(light, &self.wide[0], &self.wide[1], out);
        }
        if self.factors == (2, 2) && !part.is_last {
            let last = [(light, self.width), (blue, narrow), (red, narrow)];
            for (waiting, (plane, length)) in self.waiting.iter_mut().zip(last) {
                waiting.clear();
                waiting.extend_from_slice(&plane.row(plane.down * 8 - 1)[..length]);
            }
        }
        Some(())
    }
}
