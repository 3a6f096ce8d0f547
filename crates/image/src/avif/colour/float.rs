//! libavif's own conversion to RGB, in single precision and in its order of operations
//! (`avifImageYUVAnyToRGBAnySlow` in src/reformat.c; its quicker variants compute the same).

use super::super::layout::Cicp;
use super::super::planes::Planes;
use super::matrix;
use super::upsample::{Sample, Sampling};
use crate::ImageError;

/// What the three planes are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Luma alone.
    Grey,
    /// Luma and differences, weighted by the shares of red and blue in the luma.
    Weighted { red: f32, blue: f32 },
    /// Green, blue and red.
    Identity,
    /// Luma and the differences to green and orange.
    YCgCo,
}

/// See the module.
pub(super) struct Float {
    kind: Kind,
    /// Luma, and chroma, of every sample there can be.
    luma: Vec<f32>,
    chroma: Vec<f32>,
    /// Rows of chroma, as they are stored.
    rows: std::cell::RefCell<[Vec<u16>; 4]>,
}

/// Whether libavif converts such a picture at all.
pub(super) fn can(cicp: Cicp, planes: &Planes) -> bool {
    let subsampled = !planes.monochrome() && planes.halved != (false, false);
    match cicp.matrix {
        matrix::IDENTITY => !subsampled,
        matrix::YCGCO => cicp.full_range,
        3 | 10 | 11 | 13 | 14 | 16.. => false,
        _ => true,
    }
}

impl Float {
    pub(super) fn new(cicp: Cicp, planes: &Planes) -> Self {
        let weighted = |red, blue| Kind::Weighted { red, blue };
        let kind = match cicp.matrix {
            _ if planes.monochrome() => Kind::Grey,
            matrix::IDENTITY => Kind::Identity,
            matrix::YCGCO => Kind::YCgCo,
            matrix::FCC => weighted(0.30, 0.11),
            matrix::SMPTE_240 => weighted(0.212, 0.087),
            matrix::FROM_PRIMARIES => {
                let [red, blue] = weights_of(cicp.primaries);
                weighted(red, blue)
            }
            _ => weighted(0.299, 0.114),
        };
        let depth = u32::from(planes.depth);
        let most = ((1u32 << depth) - 1) as f32;
        let scale = (1u32 << (depth - 8)) as f32;
        let (bias, range, chroma_range) = match cicp.full_range {
            true => (0.0, most, most),
            false => (16.0 * scale, 219.0 * scale, 224.0 * scale),
        };
        let table = |bias: f32, range: f32| {
            (0..1u32 << depth)
                .map(|sample| (sample as f32 - bias) / range)
                .collect::<Vec<_>>()
        };
        let luma = table(bias, range);
        Self {
            kind,
            chroma: match kind {
                Kind::Identity => luma.clone(),
                _ => table((1u32 << (depth - 1)) as f32, chroma_range),
            },
            luma,
            rows: Default::default(),
        }
    }

    /// Converts a row of pixels.
    pub(super) fn row<T: Sample>(
        &self,
        sampling: &mut Sampling<'_>,
        y: usize,
        luma: &[T],
        pixels: &mut [[u8; 3]],
    ) -> Result<(), ImageError> {
        let lumas = luma.iter().map(|y| self.luma[y.wide() as usize]);
        if self.kind == Kind::Grey {
            for (out, y) in pixels.iter_mut().zip(lumas) {
                *out = [level(y); 3];
            }
            return Ok(());
        }
        let (halved, _) = sampling.planes.halved;
        let columns = luma.len().div_ceil(1 + usize::from(halved));
        let (near, far) = sampling.between(y);
        let mut rows = self.rows.borrow_mut();
        for (nth, row) in rows.iter_mut().enumerate() {
            row.resize(columns, 0);
            let (plane, y) = (1 + nth / 2, if nth % 2 == 0 { near } else { far });
            sampling.stored(plane, y, row)?;
        }
        let value = |sample: u16| self.chroma[usize::from(sample)];
        let subsampled = sampling.planes.halved != (false, false);
        let width = luma.len();
        for (x, (out, y)) in pixels.iter_mut().zip(lumas).enumerate() {
            let chroma = |plane: usize| {
                let (near, far) = (&rows[2 * plane], &rows[2 * plane + 1]);
                if !subsampled {
                    return value(near[x]);
                }
                // The nearest column, and the one beyond it.
                let close = x / 2;
                let beside = match x % 2 {
                    _ if x == 0 || (x == width - 1 && x % 2 == 1) => close,
                    0 => close - 1,
                    _ => close + 1,
                };
                value(near[close]) * (9.0 / 16.0)
                    + value(near[beside]) * (3.0 / 16.0)
                    + value(far[close]) * (3.0 / 16.0)
                    + value(far[beside]) * (1.0 / 16.0)
            };
            *out = self.pixel(y, chroma(0), chroma(1)).map(level);
        }
        Ok(())
    }

    fn pixel(&self, y: f32, cb: f32, cr: f32) -> [f32; 3] {
        match self.kind {
            Kind::Grey => [y; 3],
            Kind::Identity => [cr, y, cb],
            Kind::YCgCo => {
                let rest = y - cb;
                [rest + cr, y + cb, rest - cr]
            }
            Kind::Weighted { red, blue } => {
                let green = 1.0 - red - blue;
                [
                    y + (2.0 * (1.0 - red)) * cr,
                    y - (2.0 * (red * (1.0 - red) * cr + blue * (1.0 - blue) * cb)) / green,
                    y + (2.0 * (1.0 - blue)) * cb,
                ]
            }
        }
    }
}

/// A level of 8 bits, rounded.
fn level(value: f32) -> u8 {
    (0.5 + value.clamp(0.0, 1.0) * 255.0) as u8
}

/// How much red and blue are in luma that is derived from the primaries (H.273, equations 39 and
/// 40), with the chromaticities of libavif's table.
fn weights_of(primaries: u16) -> [f32; 2] {
    const D65: [f32; 2] = [0.3127, 0.329];
    const C: [f32; 2] = [0.31, 0.316];
    let ([red_x, red_y], [green_x, green_y], [blue_x, blue_y], [white_x, white_y]) = match primaries
    {
        4 => ([0.67, 0.33], [0.21, 0.71], [0.14, 0.08], C),
        5 => ([0.64, 0.33], [0.29, 0.6], [0.15, 0.06], D65),
        6 | 7 => ([0.63, 0.34], [0.31, 0.595], [0.155, 0.07], D65),
        8 => ([0.681, 0.319], [0.243, 0.692], [0.145, 0.049], C),
        9 => ([0.708, 0.292], [0.17, 0.797], [0.131, 0.046], D65),
        10 => ([1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.3333, 0.3333]),
        11 => ([0.68, 0.32], [0.265, 0.69], [0.15, 0.06], [0.314, 0.351]),
        12 => ([0.68, 0.32], [0.265, 0.69], [0.15, 0.06], D65),
        22 => ([0.63, 0.34], [0.295, 0.605], [0.155, 0.077], D65),
        _ => ([0.64, 0.33], [0.3, 0.6], [0.15, 0.06], D65),
    };
    let [red_z, green_z, blue_z, white_z] = [
        1.0 - (red_x + red_y),
        1.0 - (green_x + green_y),
        1.0 - (blue_x + blue_y),
        1.0 - (white_x + white_y),
    ];
    let whole = white_y
        * (red_x * (green_y * blue_z - blue_y * green_z)
            + green_x * (blue_y * red_z - red_y * blue_z)
            + blue_x * (red_y * green_z - green_y * red_z));
    let red = red_y
        * (white_x * (green_y * blue_z - blue_y * green_z)
            + white_y * (blue_x * green_z - green_x * blue_z)
            + white_z * (green_x * blue_y - blue_x * green_y));
    let blue = blue_y
        * (white_x * (red_y * green_z - green_y * red_z)
            + white_y * (green_x * red_z - red_x * green_z)
            + white_z * (red_x * green_y - green_x * red_y));
    [red / whole, blue / whole]
}
