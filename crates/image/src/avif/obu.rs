//! What an AV1 bitstream says of itself before anything of it is decoded: its sequence header,
//! and how many frames have to be decoded until one is shown (AV1 specification, section 5).

use super::{damaged, truncated};
use crate::ImageError;

/// Frames that may have to be decoded for one picture: a still picture is one, and one in
/// layers has at most four.
pub(super) const MAX_FRAMES: u32 = 8;

/// What the sequence header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The largest width and height of a frame.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bits of a sample: 8, 10 or 12.
    pub(super) depth: u8,
    pub(super) monochrome: bool,
    /// Whether there is one column, and one row, of chroma for two of luma.
    pub(super) halved: (bool, bool),
    pub(super) primaries: u8,
    pub(super) matrix: u8,
    pub(super) full_range: bool,
    /// Pictures that may be made of one frame: what is decoded, and others of the same size for
    /// superresolution and for film grain.
    pub(super) pictures: u32,
    /// Every frame is a key frame that is shown.
    reduced: bool,
    /// Whether the operating point that was asked for has more than one spatial layer.
    layered: bool,
}

/// The part of a bitstream that holds one picture.
pub(super) struct Scan {
    pub(super) sequence: Sequence,
    /// So many bytes are all that a decoder needs.
    pub(super) length: usize,
    /// So many frames are in them.
    pub(super) frames: u32,
}

/// Bits, the highest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn get(&mut self, count: usize) -> Result<u32, ImageError> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or_else(truncated)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    fn flag(&mut self) -> Result<bool, ImageError> {
        self.get(1).map(|bit| bit == 1)
    }

    /// A number with as many zeros before it as it has bits (`uvlc`); its value is not wanted.
    fn skip_variable(&mut self) -> Result<(), ImageError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        if zeros < 32 {
            self.get(zeros)?;
        }
        Ok(())
    }
}

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

/// Looks at a bitstream, of which the operating point `point` will be decoded.
pub(super) fn scan(bytes: &[u8], point: u8) -> Result<Scan, ImageError> {
    let mut sequence: Option<Sequence> = None;
    let mut frames = 0;
    let (mut shown, mut units) = (false, 0);
    let mut at = 0;
    while at < bytes.len() {
        let (kind, body, end) = unit(bytes, at)?;
        let layered = sequence.is_some_and(|sequence| sequence.layered);
        // What is behind the picture is not for us: another one, for instance.
        let another = match kind {
            TEMPORAL_DELIMITER => units > 0 || frames > 0,
            FRAME | FRAME_HEADER | SEQUENCE_HEADER => shown && !layered,
            _ => false,
        };
        if another && shown {
            break;
        }
        match kind {
            TEMPORAL_DELIMITER => units += 1,
            SEQUENCE_HEADER => {
                let read = read_sequence(body, point)?;
                if sequence.is_some_and(|before| before != read) {
                    return Err(damaged("its sequence headers contradict each other"));
                }
                sequence = Some(read);
            }
            FRAME | FRAME_HEADER => {
                let sequence = sequence.ok_or_else(|| damaged("its AV1 has no sequence header"))?;
                shown |= is_shown(body, &sequence)?;
                frames += 1;
                if frames > MAX_FRAMES {
                    return Err(damaged(format_args!(
                        "more than {MAX_FRAMES} frames would be decoded for one picture"
                    )));
                }
            }
            _ => {}
        }
        at = end;
        if kind == FRAME && shown && !layered {
            break;
        }
    }
    let sequence = sequence.ok_or_else(|| damaged("its AV1 has no sequence header"))?;
    if !shown {
        return Err(damaged("its AV1 has no frame that is shown"));
    }
    Ok(Scan {
        sequence,
        length: at,
        frames,
    })
}

/// Kind, body and end of the unit (OBU) at `at`.
fn unit(bytes: &[u8], at: usize) -> Result<(u8, &[u8], usize), ImageError> {
    let header = *bytes.get(at).ok_or_else(truncated)?;
    if header & 0x80 != 0 {
        return Err(damaged("its AV1 has a unit that begins with a wrong bit"));
    }
    let mut start = at + 1 + usize::from(header >> 2 & 1);
    let mut size = bytes.len().checked_sub(start).ok_or_else(truncated)?;
    if header & 2 != 0 {
        let mut value = 0u64;
        for nth in 0..8 {
            let byte = *bytes.get(start).ok_or_else(truncated)?;
            start += 1;
            value |= u64::from(byte & 0x7f) << (7 * nth);
            if byte & 0x80 == 0 {
                break;
            }
        }
        size = usize::try_from(value).map_err(|_| truncated())?;
    }
    let end = start.checked_add(size).ok_or_else(truncated)?;
    let body = bytes.get(start..end).ok_or_else(truncated)?;
    Ok((header >> 3 & 15, body, end))
}

/// Whether a frame is shown, or is one that was decoded before and is shown now.
fn is_shown(body: &[u8], sequence: &Sequence) -> Result<bool, ImageError> {
    if sequence.reduced {
        return Ok(true);
    }
    let mut bits = Bits { bytes: body, at: 0 };
    let show_existing = bits.flag()?;
    if show_existing {
        return Ok(true);
    }
    bits.get(2)?;
    bits.flag()
}

fn read_sequence(body: &[u8], point: u8) -> Result<Sequence, ImageError> {
    let mut bits = Bits { bytes: body, at: 0 };
    let profile = bits.get(3)?;
    // Still picture.
    bits.flag()?;
    let mut sequence = Sequence {
        reduced: bits.flag()?,
        ..Sequence::default()
    };
    if sequence.reduced {
        bits.get(5)?;
    } else {
        sequence.layered = operating_points(&mut bits, point)?;
    }
    let (width_bits, height_bits) = (bits.get(4)? as usize + 1, bits.get(4)? as usize + 1);
    sequence.width = bits.get(width_bits)? + 1;
    sequence.height = bits.get(height_bits)? + 1;
    if !sequence.reduced && bits.flag()? {
        // Lengths of frame numbers.
        bits.get(4 + 3)?;
    }
    // Superblocks of 128, filtered intra prediction, filtered intra edges.
    bits.get(3)?;
    if !sequence.reduced {
        inter_tools(&mut bits)?;
    }
    let superresolution = bits.get(1)?;
    // CDEF and loop restoration.
    bits.get(2)?;
    colours(&mut bits, profile, &mut sequence)?;
    let film_grain = bits.get(1)?;
    sequence.pictures = 1 + superresolution + film_grain;
    Ok(sequence)
}

/// Reads over timing and operating points; whether `point` has several spatial layers.
fn operating_points(bits: &mut Bits<'_>, point: u8) -> Result<bool, ImageError> {
    let mut delay_bits = 0;
    let mut model = false;
    if bits.flag()? {
        bits.get(32)?;
        bits.get(32)?;
        if bits.flag()? {
            bits.skip_variable()?;
        }
        model = bits.flag()?;
        if model {
            delay_bits = bits.get(5)? as usize + 1;
            bits.get(32)?;
            bits.get(5 + 5)?;
        }
    }
    let display_delay = bits.flag()?;
    let points = bits.get(5)? + 1;
    let mut layered = false;
    for nth in 0..points {
        let layers = bits.get(12)?;
        // The upper four bits are the spatial layers.
        layered |= nth == u32::from(point) && (layers >> 8).count_ones() > 1;
        if bits.get(5)? > 7 {
            bits.get(1)?;
        }
        if model && bits.flag()? {
            bits.get(delay_bits)?;
            bits.get(delay_bits)?;
            bits.get(1)?;
        }
        if display_delay && bits.flag()? {
            bits.get(4)?;
        }
    }
    if u32::from(point) >= points {
        return Err(damaged(
            "its AV1 lacks the operating point that it asks for",
        ));
    }
    Ok(layered)
}

/// Reads over what only matters where frames depend on others.
fn inter_tools(bits: &mut Bits<'_>) -> Result<(), ImageError> {
    bits.get(4)?;
    let order_hint = bits.flag()?;
    if order_hint {
        bits.get(2)?;
    }
    // Screen content tools: the frames choose, or it is said here.
    let screen_content = bits.flag()? || bits.flag()?;
    if screen_content && !bits.flag()? {
        bits.get(1)?;
    }
    if order_hint {
        bits.get(3)?;
    }
    Ok(())
}

fn colours(bits: &mut Bits<'_>, profile: u32, sequence: &mut Sequence) -> Result<(), ImageError> {
    const BT_709: u8 = 1;
    const SRGB: u8 = 13;
    const UNSPECIFIED: u8 = 2;
    let high = bits.flag()?;
    let twelve = profile == 2 && high && bits.flag()?;
    sequence.depth = match (high, twelve) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    sequence.monochrome = profile != 1 && bits.flag()?;
    let mut transfer = UNSPECIFIED;
    (sequence.primaries, sequence.matrix) = (UNSPECIFIED, UNSPECIFIED);
    if bits.flag()? {
        sequence.primaries = bits.get(8)? as u8;
        transfer = bits.get(8)? as u8;
        sequence.matrix = bits.get(8)? as u8;
    }
    if sequence.monochrome {
        sequence.full_range = bits.flag()?;
        sequence.halved = (true, true);
    } else if (sequence.primaries, transfer, sequence.matrix) == (BT_709, SRGB, 0) {
        sequence.full_range = true;
    } else {
        sequence.full_range = bits.flag()?;
        sequence.halved = match profile {
            0 => (true, true),
            1 => (false, false),
            _ if twelve => {
                let across = bits.flag()?;
                (across, across && bits.flag()?)
            }
            _ => (true, false),
        };
        if sequence.halved == (true, true) {
            // Where chroma lies.
            bits.get(2)?;
        }
    }
    if !sequence.monochrome {
        // Whether the two planes of chroma have quantizers of their own.
        bits.get(1)?;
    }
    Ok(())
}
