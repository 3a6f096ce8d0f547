//! An entropy-coded image of a VP8L stream: the picture itself, or one of those that say
//! how it is to be read.

use super::super::damaged;
use super::bits::Bits;
use super::blocks;
use super::codes::{Group, Tables, read_groups};
use crate::ImageError;
use crate::work::Stop;

/// The stream, and what reading it may cost.
pub(super) struct Reader<'a> {
    pub(super) bits: Bits<'a>,
    pub(super) stop: &'a Stop<'a>,
    pub(super) most_tables: u64,
}

/// Reads an image of a size into the first of `pixels`. Only the picture itself may have
/// several groups of codes.
pub(super) fn read_image(
    reader: &mut Reader<'_>,
    (width, height): (usize, usize),
    is_picture: bool,
    pixels: &mut [u32],
) -> Result<(), ImageError> {
    let mut cache = Cache::read(&mut reader.bits)?;
    let mut map = match is_picture && reader.bits.flag() {
        true => Some(Map::read(reader, width, height)?),
        false => None,
    };
    let used = map.as_ref().map_or_else(|| vec![true], Map::used);
    let cache_size = cache.as_ref().map_or(0, |cache| cache.colours.len());
    let (bits, stop) = (&mut reader.bits, reader.stop);
    let (tables, groups) = read_groups(bits, cache_size, &used, reader.most_tables, stop)?;
    if let Some(map) = &mut map {
        map.renumber(&used);
    }
    let count = width * height;
    let pixels = pixels
        .get_mut(..count)
        .ok_or_else(|| damaged("it is larger than it says"))?;
    let mut image = Image {
        pixels,
        width,
        at: 0,
    };
    let group = |x, y| {
        let number = map.as_ref().map_or(0, |map| map.group(x, y));
        groups.get(number).copied().unwrap_or_default()
    };
    read_pixels(
        bits,
        stop,
        &tables,
        group,
        map.as_ref(),
        cache.as_mut(),
        &mut image,
    )
}

/// Which group of codes is for which block of the picture.
struct Map {
    groups: Vec<u16>,
    bits: u32,
    stride: usize,
}

impl Map {
    fn read(reader: &mut Reader<'_>, width: usize, height: usize) -> Result<Self, ImageError> {
        let bits = reader.bits.number(3) + 2;
        let size = (blocks(width, bits), blocks(height, bits));
        let mut pixels = vec![0; size.0 * size.1];
        read_image(reader, size, false, &mut pixels)?;
        Ok(Self {
            groups: pixels.iter().map(|argb| (argb >> 8) as u16).collect(),
            bits,
            stride: size.0,
        })
    }

    /// Of all groups up to the last that a block refers to, which are referred to.
    fn used(&self) -> Vec<bool> {
        let last = self.groups.iter().copied().max().unwrap_or(0);
        let mut used = vec![false; usize::from(last) + 1];
        for &group in &self.groups {
            used[usize::from(group)] = true;
        }
        used
    }

    /// Numbers the groups that are used one after the other.
    fn renumber(&mut self, used: &[bool]) {
        let mut next = 0u16;
        let numbers: Vec<u16> = used
            .iter()
            .map(|&used| {
                let number = next;
                next = next.wrapping_add(u16::from(used));
                number
            })
            .collect();
        for group in &mut self.groups {
            *group = numbers.get(usize::from(*group)).copied().unwrap_or(0);
        }
    }

    #[inline]
    fn group(&self, x: usize, y: usize) -> usize {
        let at = (y >> self.bits) * self.stride + (x >> self.bits);
        self.groups.get(at).copied().unwrap_or(0).into()
    }
}

/// Colours that came, each where its hash says.
struct Cache {
    colours: Vec<u32>,
    shift: u32,
}

impl Cache {
    fn read(bits: &mut Bits<'_>) -> Result<Option<Self>, ImageError> {
        if !bits.flag() {
            return Ok(None);
        }
        let size = bits.number(4);
        if !(1..=11).contains(&size) {
            return Err(damaged("its cache of colours has an impossible size"));
        }
        Ok(Some(Self {
            colours: vec![0; 1 << size],
            shift: 32 - size,
        }))
    }

    #[inline]
    fn insert(&mut self, argb: u32) {
        let at = argb.wrapping_mul(0x1e35_a7bd) >> self.shift;
        if let Some(colour) = self.colours.get_mut(at as usize) {
            *colour = argb;
        }
    }
}

/// The pixels that there are, and where the next one goes.
struct Image<'a> {
    pixels: &'a mut [u32],
    width: usize,
    at: usize,
}

fn read_pixels(
    bits: &mut Bits<'_>,
    stop: &Stop<'_>,
    tables: &Tables,
    group_at: impl Fn(usize, usize) -> Group,
    map: Option<&Map>,
    mut cache: Option<&mut Cache>,
    image: &mut Image<'_>,
) -> Result<(), ImageError> {
    const LITERALS: u32 = 256;
    const LENGTHS: u32 = 24;
    let (mut x, mut y) = (0, 0);
    let mask = map.map_or(usize::MAX, |map| (1 << map.bits) - 1);
    let mut group = group_at(0, 0);
    // The pixels before this one are in the cache.
    let mut cached = 0;
    while image.at < image.pixels.len() {
        if x & mask == 0 {
            group = group_at(x, y);
        }
        bits.fill();
        let green = tables.symbol(group[0], bits);
        if green < LITERALS {
            let red = tables.symbol(group[1], bits);
            let blue = tables.symbol(group[2], bits);
            bits.fill();
            let alpha = tables.symbol(group[3], bits);
            image.pixels[image.at] = alpha << 24 | red << 16 | green << 8 | blue;
            image.at += 1;
            x += 1;
        } else if green < LITERALS + LENGTHS {
            let length = prefixed(green - LITERALS, bits) as usize;
            bits.fill();
            let symbol = tables.symbol(group[4], bits);
            let distance = distance(prefixed(symbol, bits), image.width);
            let end = image.at + length;
            if distance > image.at || end > image.pixels.len() {
                bits.check()?;
                return Err(damaged("it refers to pixels that are not there"));
            }
            copy(image.pixels, image.at, distance, length);
            image.at = end;
            x += length;
            if x < image.width && map.is_some() {
                group = group_at(x, y);
            }
        } else {
            let cache = cache.as_deref_mut();
            let Some(cache) = cache else {
                return Err(damaged("it refers to a cache that is not there"));
            };
            for &argb in &image.pixels[cached..image.at] {
                cache.insert(argb);
            }
            cached = image.at;
            let colour = cache.colours.get((green - LITERALS - LENGTHS) as usize);
            image.pixels[image.at] = *colour.unwrap_or(&0);
            image.at += 1;
            x += 1;
        }
        if x >= image.width {
            bits.check()?;
            stop.work(image.width as u64 * 12 * (x / image.width) as u64)?;
            y += x / image.width;
            x %= image.width;
            if map.is_some() && image.at < image.pixels.len() {
                group = group_at(x, y);
            }
            if let Some(cache) = &mut cache {
                for &argb in &image.pixels[cached..image.at] {
                    cache.insert(argb);
                }
                cached = image.at;
            }
        }
    }
    bits.check()
}

/// Repeats pixels from `distance` back, which may overlap with those that are written.
fn copy(pixels: &mut [u32], at: usize, distance: usize, length: usize) {
    if distance >= length {
        pixels.copy_within(at - distance..at - distance + length, at);
    } else {
        for to in at..at + length {
            pixels[to] = pixels[to - distance];
        }
    }
}

/// A length or distance: its prefix, and the bits that follow.
fn prefixed(prefix: u32, bits: &mut Bits<'_>) -> u32 {
    if prefix < 4 {
        return prefix + 1;
    }
    let extra = (prefix - 2) >> 1;
    ((2 + (prefix & 1)) << extra) + bits.number(extra) + 1
}

/// How many pixels back a distance code means: the first 120 are neighbours.
fn distance(code: u32, width: usize) -> usize {
    let Some(&(left, up)) = NEIGHBOURS.get(code as usize - 1) else {
        return code as usize - NEIGHBOURS.len();
    };
    let back = i64::from(up) * width as i64 + i64::from(left);
    usize::try_from(back.max(1)).unwrap_or(1)
}

/// Columns to the left (negative: to the right) and rows up (RFC 9649, section 3.5.3.1).
const NEIGHBOURS: [(i8, i8); 120] = [
    (0, 1),
    (1, 0),
    (1, 1),
    (-1, 1),
    (0, 2),
    (2, 0),
    (1, 2),
    (-1, 2),
    (2, 1),
    (-2, 1),
    (2, 2),
    (-2, 2),
    (0, 3),
    (3, 0),
    (1, 3),
    (-1, 3),
    (3, 1),
    (-3, 1),
    (2, 3),
    (-2, 3),
    (3, 2),
    (-3, 2),
    (0, 4),
    (4, 0),
    (1, 4),
    (-1, 4),
    (4, 1),
    (-4, 1),
    (3, 3),
    (-3, 3),
    (2, 4),
    (-2, 4),
    (4, 2),
    (-4, 2),
    (0, 5),
    (3, 4),
    (-3, 4),
    (4, 3),
    (-4, 3),
    (5, 0),
    (1, 5),
    (-1, 5),
    (5, 1),
    (-5, 1),
    (2, 5),
    (-2, 5),
    (5, 2),
    (-5, 2),
    (4, 4),
    (-4, 4),
    (3, 5),
    (-3, 5),
    (5, 3),
    (-5, 3),
    (0, 6),
    (6, 0),
    (1, 6),
    (-1, 6),
    (6, 1),
    (-6, 1),
    (2, 6),
    (-2, 6),
    (6, 2),
    (-6, 2),
    (4, 5),
    (-4, 5),
    (5, 4),
    (-5, 4),
    (3, 6),
    (-3, 6),
    (6, 3),
    (-6, 3),
    (0, 7),
    (7, 0),
    (1, 7),
    (-1, 7),
    (5, 5),
    (-5, 5),
    (7, 1),
    (-7, 1),
    (4, 6),
    (-4, 6),
    (6, 4),
    (-6, 4),
    (2, 7),
    (-2, 7),
    (7, 2),
    (-7, 2),
    (3, 7),
    (-3, 7),
    (7, 3),
    (-7, 3),
    (5, 6),
    (-5, 6),
    (6, 5),
    (-6, 5),
    (8, 0),
    (4, 7),
    (-4, 7),
    (7, 4),
    (-7, 4),
    (8, 1),
    (8, 2),
    (6, 6),
    (-6, 6),
    (8, 3),
    (5, 7),
    (-5, 7),
    (7, 5),
    (-7, 5),
    (8, 4),
    (6, 7),
    (-6, 7),
    (7, 6),
    (-7, 6),
    (8, 5),
    (7, 7),
    (-7, 7),
    (8, 6),
    (8, 7),
];
