//! ICNS, the icons of macOS, read as Pillow's `IcnsImagePlugin` reads them: the largest one, which
//! is a PNG, or three planes with runs. JPEG 2000 is refused. Masks are dropped, but have to be
//! there as a whole.

use super::decode::Job;
use super::inspect::{array, u32_be};
use super::{Header, ImageError, ImageFormat, png};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Icns, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// The pictures of a size: its side in points and pixels a point, a picture as a file, three
/// planes, a mask.
struct Kind {
    side: u32,
    scale: u32,
    file: Option<[u8; 4]>,
    planes: Option<([u8; 4], [u8; 4])>,
}

const fn kind(side: u32, scale: u32, file: &[u8; 4]) -> Kind {
    let file = Some(*file);
    Kind {
        side,
        scale,
        file,
        planes: None,
    }
}

const fn old(side: u32, file: Option<[u8; 4]>, planes: &[u8; 4], mask: &[u8; 4]) -> Kind {
    Kind {
        side,
        scale: 1,
        file,
        planes: Some((*planes, *mask)),
    }
}

/// The largest first.
const KINDS: [Kind; 12] = [
    kind(512, 2, b"ic10"),
    kind(512, 1, b"ic09"),
    kind(256, 2, b"ic14"),
    kind(256, 1, b"ic08"),
    kind(128, 2, b"ic13"),
    old(128, Some(*b"ic07"), b"it32", b"t8mk"),
    kind(64, 1, b"icp6"),
    old(48, None, b"ih32", b"h8mk"),
    kind(32, 2, b"ic12"),
    old(32, Some(*b"icp5"), b"il32", b"l8mk"),
    kind(16, 2, b"ic11"),
    old(16, Some(*b"icp4"), b"is32", b"s8mk"),
];

/// What is in a file, from the first byte of each on, and how long it is said to be.
struct Icons<'a> {
    bytes: &'a [u8],
    found: Vec<([u8; 4], usize, usize)>,
}

impl<'a> Icons<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let end = u32_be(bytes, 4).ok_or_else(truncated)? as usize;
        let mut found: Vec<([u8; 4], usize, usize)> = Vec::new();
        let mut at = 8usize;
        while at < end {
            let head = array::<4>(bytes, at).zip(u32_be(bytes, at + 4));
            let (name, length) = head.ok_or_else(truncated)?;
            let Some(length) = (length as usize).checked_sub(8) else {
                return Err(damaged("one of its parts is shorter than its head"));
            };
            if KINDS.iter().any(|kind| kind.names().any(|own| own == name)) {
                // Of two with one name, the second counts.
                found.retain(|(other, ..)| *other != name);
                found.push((name, at + 8, length));
            }
            at = at.saturating_add(8 + length);
        }
        Ok(Self { bytes, found })
    }

    fn get(&self, name: [u8; 4]) -> Option<(&'a [u8], usize)> {
        let &(_, at, length) = self.found.iter().find(|(own, ..)| *own == name)?;
        Some((self.bytes.get(at..).unwrap_or_default(), length))
    }

    fn has(&self, kind: &Kind) -> bool {
        kind.names().any(|name| self.get(name).is_some())
    }

    fn picture(&self) -> Result<Picture<'a>, ImageError> {
        let kind = KINDS.iter().find(|kind| self.has(kind));
        let kind = kind.ok_or_else(|| damaged("it has no icon of a known kind"))?;
        let side = kind.side * kind.scale;
        if let Some((data, _)) = kind.file.and_then(|name| self.get(name)) {
            if !data.starts_with(b"\x89PNG\r\n\x1a\n") {
                return Err(match data {
                    [0xff, 0x4f, 0xff, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', ..] => {
                        ImageError::Unsupported {
                            format: "ICNS with JPEG 2000 in it",
                        }
                    }
                    _ => damaged("its icon is neither PNG nor JPEG 2000"),
                });
            }
            let size = png::size(data)?;
            if !self.allows(size) {
                return Err(damaged(format_args!(
                    "its icon of {side} x {side} pixels is {} x {}",
                    size.0, size.1
                )));
            }
            return Ok(Picture::Png(data, size));
        }
        let planes = kind.planes;
        let Some((planes, mask)) = planes.and_then(|(planes, mask)| {
            let planes = self.get(planes)?;
            Some((planes, self.get(mask)))
        }) else {
            return Err(damaged("it has a mask without an icon"));
        };
        if mask.is_some_and(|(mask, _)| mask.len() < (side * side) as usize) {
            return Err(truncated());
        }
        let (mut data, mut length) = planes;
        if kind.side == 128 {
            data = data
                .strip_prefix(&[0; 4])
                .ok_or_else(|| damaged("its icon does not begin with four zeros"))?;
            length = length.wrapping_sub(4);
        }
        Ok(Picture::Planes {
            data,
            plain: length == (side * side * 3) as usize,
            side,
        })
    }

    /// Whether Pillow lets a PNG be of this size: a size that the file has is so many times as
    /// large.
    fn allows(&self, (width, height): (u32, u32)) -> bool {
        (KINDS.iter().filter(|kind| self.has(kind))).any(|kind| {
            let side = kind.side * kind.scale;
            (width, height) != (0, 0)
                && height > 0
                && width > 0
                && side % height == 0
                && side / height == side / width
        })
    }
}

impl Kind {
    fn names(&self) -> impl Iterator<Item = [u8; 4]> {
        let planes = self.planes.map(|(planes, mask)| [planes, mask]);
        self.file.into_iter().chain(planes.into_iter().flatten())
    }
}

/// The picture that counts.
enum Picture<'a> {
    Png(&'a [u8], (u32, u32)),
    Planes {
        data: &'a [u8],
        /// RGB without runs.
        plain: bool,
        side: u32,
    },
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    Ok(match Icons::read(bytes)?.picture()? {
        Picture::Png(_, size) => size,
        Picture::Planes { side, .. } => (side, side),
    })
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    Ok(match Icons::read(bytes)?.picture()? {
        Picture::Png(data, (width, _)) => png::scratch(data, width),
        Picture::Planes { .. } => 0,
    } + (4 << 10))
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    match Icons::read(job.bytes)?.picture()? {
        Picture::Png(data, _) => {
            let header = Header {
                format: ImageFormat::Png,
                ..*job.header
            };
            let job = Job {
                bytes: data,
                header: &header,
                limits: job.limits,
                stop: job.stop,
            };
            png::decode(&job, rgb)
        }
        Picture::Planes {
            data, plain: true, ..
        } => {
            rgb.copy_from_slice(data.get(..rgb.len()).ok_or_else(truncated)?);
            Ok(())
        }
        Picture::Planes { mut data, .. } => {
            job.stop.work(rgb.len() as u64 * 4)?;
            for plane in 0..3 {
                let mut pixels = rgb.as_chunks_mut::<3>().0.iter_mut();
                while pixels.len() > 0 {
                    let (&head, rest) = data.split_first().ok_or_else(truncated)?;
                    let (values, count) = match head {
                        0x80.. => (rest.get(..1), usize::from(head) - 125),
                        _ => {
                            let count = usize::from(head) + 1;
                            (rest.get(..count), count)
                        }
                    };
                    let values = values.ok_or_else(truncated)?;
                    if count > pixels.len() {
                        return Err(damaged("a run goes beyond its plane"));
                    }
                    for (pixel, value) in pixels.by_ref().take(count).zip(values.iter().cycle()) {
                        pixel[plane] = *value;
                    }
                    data = &rest[values.len()..];
                }
            }
            Ok(())
        }
    }
}
