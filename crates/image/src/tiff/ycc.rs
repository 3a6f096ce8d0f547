//! YCbCr as libtiff converts it (`tif_color.c`) and as it unpacks it where it is subsampled
//! (`tif_getimage.c`): each pixel has the differences of its unit, which are not interpolated.

use super::damaged;
use super::ifd::{Directory, tag};
use super::layout::Layout;
use super::packed::{SAMPLE_BYTE, Unpacker};
use crate::ImageError;
use crate::work::Stop;

/// Bits of the factors behind the point.
const SHIFT: u32 = 16;

/// What luma and the two differences add to the colours, for the weights and levels of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    luma: [i32; 256],
    cr_red: [i32; 256],
    cb_blue: [i32; 256],
    /// Not yet shifted.
    cr_green: [i32; 256],
    cb_green: [i32; 256],
}

impl Tables {
    /// Reads weights and levels from the directory.
    pub(super) fn new(directory: &Directory<'_>) -> Result<Self, ImageError> {
        let fractions = |tag, default: &[f64]| -> Vec<f32> {
            let found = directory.fractions(tag);
            let found = found.filter(|found| found.len() >= default.len());
            let all = found.as_deref().unwrap_or(default).iter();
            all.map(|&number| number as f32).collect()
        };
        let weights = fractions(tag::LUMA_WEIGHTS, &[0.299, 0.587, 0.114]);
        let levels = fractions(
            tag::REFERENCE_LEVELS,
            &[0.0, 255.0, 128.0, 255.0, 128.0, 255.0],
        );
        let ([red, green, blue], [black, white, cb_black, cb_white, cr_black, cr_white]) =
            (weights.as_slice(), levels.as_slice())
        else {
            return Err(damaged("its YCbCr weights or levels are too few"));
        };
        let broken = |weight: &f32| !weight.is_finite();
        if weights.iter().chain(&levels).any(broken) || *green == 0.0 {
            return Err(damaged("its YCbCr weights or levels are not numbers"));
        }
        let factor = |factor: f32| {
            let factor = f64::from(factor.clamp(0.0, 2.0));
            (factor * f64::from(1 << SHIFT) + 0.5) as i32
        };
        let from_red = 2.0 - 2.0 * red;
        let from_blue = 2.0 - 2.0 * blue;
        let cr_to_red = factor(from_red);
        let cr_to_green = -factor(red * from_red / green);
        let cb_to_blue = factor(from_blue);
        let cb_to_green = -factor(blue * from_blue / green);
        let half = 1 << (SHIFT - 1);
        let table = |of: &dyn Fn(i32) -> i32| std::array::from_fn(|code| of(code as i32));
        let cr = |code: i32| level(code - 128, cr_black - 128.0, cr_white - 128.0, 127.0);
        let cb = |code: i32| level(code - 128, cb_black - 128.0, cb_white - 128.0, 127.0);
        Ok(Self {
            luma: table(&|code| level(code, *black, *white, 255.0)),
            cr_red: table(&|code| (cr_to_red * cr(code) + half) >> SHIFT),
            cb_blue: table(&|code| (cb_to_blue * cb(code) + half) >> SHIFT),
            cr_green: table(&|code| cr_to_green * cr(code)),
            cb_green: table(&|code| cb_to_green * cb(code) + half),
        })
    }

    /// The colour of a pixel.
    pub(super) fn rgb(&self, pixel: [u8; 3]) -> [u8; 3] {
        let [y, cb, cr] = pixel.map(usize::from);
        let luma = self.luma[y];
        [
            luma + self.cr_red[cr],
            luma + ((self.cb_green[cb] + self.cr_green[cr]) >> SHIFT),
            luma + self.cb_blue[cb],
        ]
        .map(|value| value.clamp(0, 255) as u8)
    }
}

/// What a code stands for between the codes of black and white: `Code2V`.
fn level(code: i32, black: f32, white: f32, range: f32) -> i32 {
    const MOST: f32 = 128.0 * 32.0;
    let span = if white == black { 1.0 } else { white - black };
    // A cast cuts what is behind the point, and saturates.
    ((code.wrapping_sub(black as i32)) as f32 * range / span).clamp(-MOST, MOST) as i32
}

/// The units of a picture that is subsampled.
///
/// # Errors
///
/// Those that libtiff does not convert, and a picture that is smaller than a unit.
pub(super) fn units(
    directory: &Directory<'_>,
    size: (usize, usize),
    planar: bool,
) -> Result<Option<(usize, usize)>, ImageError> {
    let found = directory.numbers(tag::SUBSAMPLING);
    let side = |nth| found.and_then(|all| all.get(nth)).unwrap_or(2);
    match (side(0), side(1)) {
        (1, 1) => Ok(None),
        _ if planar => Err(damaged("its planes are of different sizes")),
        units @ ((4, 4 | 2 | 1) | (2, 2 | 1) | (1, 2)) => {
            let units = (units.0 as usize, units.1 as usize);
            fits(size, units)?;
            Ok(Some(units))
        }
        _ => Err(damaged("its YCbCr subsampling is an unusual one")),
    }
}

/// Refuses a picture that is smaller than one of its units, as libtiff does.
pub(super) fn fits(
    (width, height): (usize, usize),
    (across, down): (usize, usize),
) -> Result<(), ImageError> {
    if width < across || height < down {
        return Err(damaged(
            "it is smaller than a unit of its YCbCr subsampling",
        ));
    }
    Ok(())
}

/// Bytes of a row of units of a strip or tile; none where it has no units.
pub(super) fn unit_row_bytes(layout: &Layout<'_>) -> usize {
    let (across, down) = layout.ycc_units.unwrap_or((0, 0));
    match across {
        0 => 0,
        _ => layout.chunk.0.div_ceil(across) * (across * down + 2),
    }
}

/// Unpacks a strip or tile of so many rows to samples, three of each pixel side by side.
pub(super) fn samples(
    unpacker: &mut Unpacker<'_>,
    layout: &Layout<'_>,
    (across, down): (usize, usize),
    rows: usize,
    stop: &Stop<'_>,
) -> Result<Vec<u8>, ImageError> {
    let row = layout.chunk.0 * 3;
    let mut samples = vec![0; row * rows];
    let mut units = vec![0; unit_row_bytes(layout)];
    for band in samples.chunks_mut(row * down) {
        stop.work(band.len() as u64 * SAMPLE_BYTE)?;
        unpacker.read(&mut units)?;
        for (x, unit) in units.chunks_exact(across * down + 2).enumerate() {
            let (lumas, differences) = unit.split_at(across * down);
            for (row, lumas) in band.chunks_mut(row).zip(lumas.chunks_exact(across)) {
                let pixels = row.as_chunks_mut::<3>().0.iter_mut().skip(x * across);
                for (pixel, &luma) in pixels.zip(lumas) {
                    *pixel = [luma, differences[0], differences[1]];
                }
            }
        }
    }
    Ok(samples)
}
