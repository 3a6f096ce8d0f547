//! From the samples of a PNG's row to RGB, as Pillow's unpackers and converters do it.

use png::{BitDepth, ColorType};

use crate::convert;

/// What the samples of a file are.
pub(super) struct Samples {
    pub(super) color: ColorType,
    pub(super) depth: BitDepth,
    /// RGB triples, for indexed colour.
    pub(super) palette: Vec<u8>,
}

impl Samples {
    /// Bits of a pixel.
    pub(super) fn bits(&self) -> usize {
        self.color.samples() * self.depth as usize
    }

    /// The colour of a pixel whose samples are all 0.
    pub(super) fn nothing(&self) -> [u8; 3] {
        let mut pixel = [0; 3];
        // No pixel has more bytes.
        self.to_rgb(&[0; 8], &mut pixel);
        pixel
    }

    /// Converts as many samples as `rgb` has triples.
    ///
    /// Pillow's conversions that differ from the obvious: 16-bit grey is clipped, not
    /// scaled (mode `I;16`: everything above 255 is white); other 16-bit samples lose
    /// their low byte; alpha and tRNS are ignored.
    pub(super) fn to_rgb(&self, row: &[u8], rgb: &mut [u8]) {
        let sixteen = self.depth == BitDepth::Sixteen;
        match self.color {
            ColorType::Rgb if sixteen => {
                let pixels = row.as_chunks::<6>().0.iter();
                convert::fill(rgb, pixels.map(|p| [p[0], p[2], p[4]]));
            }
            ColorType::Rgb => {
                let length = rgb.len().min(row.len());
                rgb[..length].copy_from_slice(&row[..length]);
            }
            ColorType::Rgba if sixteen => {
                let pixels = row.as_chunks::<8>().0.iter();
                convert::fill(rgb, pixels.map(|p| [p[0], p[2], p[4]]));
            }
            ColorType::Rgba => convert::drop_extra::<4>(row, rgb),
            ColorType::Grayscale if sixteen => {
                let samples = row.as_chunks::<2>().0.iter();
                let clipped = samples.map(|&sample| u16::from_be_bytes(sample).min(255) as u8);
                convert::grey_to_rgb(clipped, rgb);
            }
            ColorType::GrayscaleAlpha => {
                let step = if sixteen { 4 } else { 2 };
                convert::grey_to_rgb(row.iter().step_by(step).copied(), rgb);
            }
            ColorType::Grayscale => {
                let bits = self.depth as u8;
                // 255, 85, 17 or 1: the sample's full range becomes 0..=255.
                let scale = 255 / ((1u16 << bits) - 1) as u8;
                convert::grey_to_rgb(unpacked(row, bits).map(|sample| sample * scale), rgb);
            }
            ColorType::Indexed => {
                let (colours, _) = self.palette.as_chunks::<3>();
                let colour = |index| colours.get(usize::from(index)).copied().unwrap_or_default();
                convert::fill(rgb, unpacked(row, self.depth as u8).map(colour));
            }
        }
    }
}

/// Samples of 1, 2, 4 or 8 bits, most significant bits first; those of the padding at the
/// end of a row included.
fn unpacked(row: &[u8], bits: u8) -> impl Iterator<Item = u8> {
    let mask = (((1u16 << bits) - 1) & 0xff) as u8;
    let per_byte = 8 / bits;
    row.iter()
        .flat_map(move |&byte| (1..=per_byte).map(move |nth| (byte >> (8 - nth * bits)) & mask))
}
