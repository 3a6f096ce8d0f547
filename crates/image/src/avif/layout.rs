//! What a file asks to be decoded: from its boxes to bitstreams, and where their pictures go.

use super::atoms::{Atoms, Fields};
use super::items::{Item, Items};
use super::obu::{self, Scan, Sequence};
use super::tracks;
use super::{damaged, truncated};
use crate::ImageError;
use crate::ImageFormat;
use crate::inspect::array;

/// How colours are coded, as `colr` boxes and sequence headers say it (ITU-T H.273).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cicp {
    pub(super) primaries: u16,
    pub(super) matrix: u16,
    pub(super) full_range: bool,
}

/// One coded picture: the bitstream, in the pieces that it lies in.
pub(super) struct Tile<'a> {
    pieces: Vec<&'a [u8]>,
    point: u8,
}

/// What is decoded to the planes of one picture.
pub(super) struct Coded<'a> {
    pub(super) tiles: Vec<Tile<'a>>,
    pub(super) columns: u32,
    pub(super) rows: u32,
    /// Width and height of each tile.
    pub(super) tile: (u32, u32),
}

/// See the module.
pub(super) struct Layout<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) colour: Coded<'a>,
    pub(super) alpha: Option<Coded<'a>>,
    /// Whether the colours were multiplied by the alpha.
    pub(super) premultiplied: bool,
    /// How its boxes say to turn it, as the value of an orientation tag.
    pub(super) orientation: u64,
    cicp: Option<Cicp>,
}

impl<'a> Tile<'a> {
    /// All of the bitstream, in one piece.
    fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub(super) fn length(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    pub(super) fn point(&self) -> u8 {
        self.point
    }

    /// The bytes that hold its picture, and what they say of it.
    pub(super) fn scan(&self) -> Result<(Vec<u8>, Scan), ImageError> {
        let mut bytes = self.bytes();
        let scan = obu::scan(&bytes, self.point)?;
        bytes.truncate(scan.length);
        Ok((bytes, scan))
    }
}

impl Coded<'_> {
    /// Bytes that decoding takes beside its pixels, reckoned from the sequence header of the
    /// first tile: those of re_rav1d's allocations, each at its largest.
    pub(super) fn scratch(&self, (width, height): (u32, u32)) -> Result<u64, ImageError> {
        let (_, scan) = self.tiles.first().ok_or_else(truncated)?.scan()?;
        let sequence = &scan.sequence;
        check_size(sequence, self.tile)?;
        let pixels = |(width, height): (u32, u32), block: u32| {
            let whole = |side: u32| u64::from(side.next_multiple_of(block));
            whole(width) * whole(height)
        };
        // Samples of four pixels.
        let samples = match (sequence.monochrome, sequence.halved) {
            (true, _) => 4,
            (false, (true, true)) => 6,
            (false, (true, false)) => 8,
            (false, _) => 12,
        };
        let sample_bytes = if sequence.depth > 8 { 2 } else { 1 };
        // Frames are padded to blocks of 128. They are no larger than the sequence header says and
        // have no more pixels than the boxes say, but may be as narrow as they like.
        let tile = match (sequence.width, sequence.height) == self.tile {
            true => pixels(self.tile, 128),
            false => {
                let sides = u64::from(sequence.width) + u64::from(sequence.height);
                pixels(self.tile, 1) + 127 * sides + 127 * 127
            }
        };
        let picture = tile * samples / 4 * sample_bytes;
        // Levels of the loop filter, masks, lines between the filters.
        let frame = tile * 2;
        let (frames, pictures) = (u64::from(scan.frames), u64::from(sequence.pictures));
        let grid = match self.tiles.len() {
            1 => 0,
            _ => pixels((width, height), 2) * samples / 4 * sample_bytes,
        };
        let longest = self.tiles.iter().map(Tile::length).max().unwrap_or(0);
        Ok(picture * (frames + pictures - 1)
            + frame
            + grid
            + 2 * longest as u64
            + u64::from(width) * 32)
    }
}

impl<'a> Layout<'a> {
    /// Reads the boxes of a file.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, ImageError> {
        let (mut meta, mut movie) = (None, None);
        for atom in top(file) {
            let atom = atom?;
            match &atom.kind {
                b"meta" if meta.is_none() => meta = Some(atom.body),
                b"moov" if movie.is_none() => movie = Some(atom.body),
                _ => {}
            }
        }
        // Where libavif finds neither of what the file says to be, it refuses the other too.
        if brands(file).any(|brand| brand == b"avif") && meta.is_none() {
            return Err(damaged("it has no picture"));
        }
        if brands(file).any(|brand| brand == b"avis") && movie.is_none() {
            return Err(damaged("it has no animation"));
        }
        let items = meta.map(|meta| Items::read(file, meta)).transpose()?;
        // As in libavif: what the file says to be in the first place, or else the animation.
        let animated = match file.get(8..12) {
            Some(b"avis") => true,
            Some(b"avif") => false,
            _ => movie.is_some(),
        };
        let layout = match animated {
            true => {
                let movie = movie.ok_or_else(|| damaged("it has no animation"))?;
                Self::of_tracks(file, movie)?
            }
            false => Self::of_items(&items.ok_or_else(|| damaged("it has no picture"))?)?,
        };
        // Tiles that are all the same bytes would be work that the file does not pay for.
        let coded = [Some(&layout.colour), layout.alpha.as_ref()];
        let tiles = coded.into_iter().flatten().flat_map(|coded| &coded.tiles);
        if tiles.map(Tile::length).sum::<usize>() > file.len() {
            return Err(damaged("its pictures lie over each other"));
        }
        Ok(layout)
    }

    /// The colours' matrix and range: what the file says, or else the bitstream.
    pub(super) fn cicp(&self, sequence: &Sequence) -> Cicp {
        self.cicp.unwrap_or(Cicp {
            primaries: sequence.primaries.into(),
            matrix: sequence.matrix.into(),
            full_range: sequence.full_range,
        })
    }

    fn of_tracks(file: &'a [u8], movie: Fields<'a>) -> Result<Self, ImageError> {
        let (colour, alpha) = tracks::read(file, movie)?;
        let whole = |sample: &'a [u8]| Coded {
            tiles: vec![Tile {
                pieces: vec![sample],
                point: 0,
            }],
            columns: 1,
            rows: 1,
            tile: (colour.width, colour.height),
        };
        let mut cicp = None;
        for atom in colour.properties.atoms() {
            let atom = atom?;
            if &atom.kind == b"colr" && cicp.is_none() {
                cicp = nclx(atom.body)?;
            }
        }
        Ok(Self {
            width: colour.width,
            height: colour.height,
            colour: whole(colour.sample),
            premultiplied: alpha
                .as_ref()
                .is_some_and(|alpha| colour.is_multiplied_by(alpha)),
            alpha: alpha.map(|alpha| whole(alpha.sample)),
            orientation: orientation(
                colour.properties.find(b"irot")?,
                colour.properties.find(b"imir")?,
            ),
            cicp,
        })
    }

    fn of_items(items: &Items<'a>) -> Result<Self, ImageError> {
        let primary = items.get(items.primary);
        let primary = primary.ok_or_else(|| damaged("it has no primary item"))?;
        let (width, height) = size(items, primary)?.ok_or_else(|| damaged("it has no size"))?;
        let colour = coded(items, primary, (width, height))?;
        let alpha = alpha_of(items, items.primary);
        let premultiplied = alpha.is_some_and(|(id, _)| primary.premultiplied_by == Some(id));
        let alpha = match alpha {
            Some((_, alpha)) => Some(coded(items, alpha, (width, height))?),
            None => alpha_of_tiles(items, primary, &colour)?,
        };
        let mut cicp = None;
        // A grid may leave it to its tiles.
        let first = primary.parts.first().and_then(|id| items.get(*id));
        for item in [Some(primary), first].into_iter().flatten() {
            if let (Some(colr), None) = (items.property(item, b"colr"), cicp) {
                cicp = nclx(colr)?;
            }
        }
        Ok(Self {
            width,
            height,
            colour,
            alpha,
            premultiplied,
            orientation: orientation(
                items.property(primary, b"irot"),
                items.property(primary, b"imir"),
            ),
            cicp,
        })
    }
}

/// The boxes of a file. The last one may be cut off: whether that matters shows where its
/// bytes are asked for.
fn top(file: &[u8]) -> impl Iterator<Item = Result<super::atoms::Atom<'_>, ImageError>> {
    let mut atoms: Atoms<'_> = Fields(file).atoms();
    let mut seen = false;
    std::iter::from_fn(move || match atoms.next()? {
        Err(_) if seen => None,
        atom => {
            seen = true;
            Some(atom)
        }
    })
}

/// Matrix and range from a `colr` box, if it is one that says them.
fn nclx(mut colr: Fields<'_>) -> Result<Option<Cicp>, ImageError> {
    if &colr.kind()? != b"nclx" {
        return Ok(None);
    }
    let primaries = colr.u16()?;
    colr.u16()?;
    Ok(Some(Cicp {
        primaries,
        matrix: colr.u16()?,
        full_range: colr.u8()? & 0x80 != 0,
    }))
}

/// The orientation tag that Pillow makes of `irot` (quarter turns against the clock) and `imir`
/// (and then swapped, top and bottom or left and right).
fn orientation(irot: Option<Fields<'_>>, imir: Option<Fields<'_>>) -> u64 {
    let byte = |fields: Option<Fields<'_>>| fields.and_then(|mut fields| fields.u8().ok());
    let angle = byte(irot).map_or(0, |angle| angle & 3);
    match (angle, byte(imir).map(|axis| axis & 1)) {
        (1, None) => 8,
        (2, None) => 3,
        (3, None) => 6,
        (1, Some(1)) | (3, Some(0)) => 7,
        (1, Some(_)) | (3, Some(_)) => 5,
        (0, Some(0)) | (2, Some(1)) => 4,
        (_, Some(_)) => 2,
        _ => 1,
    }
}

/// Width and height from an `ispe` property.
fn size(items: &Items<'_>, item: &Item) -> Result<Option<(u32, u32)>, ImageError> {
    let Some(mut ispe) = items.property(item, b"ispe") else {
        return Ok(None);
    };
    ispe.version()?;
    Ok(Some((ispe.u32()?, ispe.u32()?)))
}

/// The alpha of an item, if there is one.
fn alpha_of<'i>(items: &'i Items<'_>, id: u32) -> Option<(u32, &'i Item)> {
    items.iter().find(|(_, item)| {
        item.auxiliary_to == Some(id)
            && !item.beyond_us
            && items.property(item, b"auxC").is_some_and(is_alpha)
    })
}

/// Whether an `auxC` property says alpha.
fn is_alpha(mut auxiliary: Fields<'_>) -> bool {
    const NAMES: [&[u8]; 2] = [
        b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
        b"urn:mpeg:hevc:2015:auxid:1",
    ];
    let versioned = auxiliary.version().is_ok();
    let name = auxiliary.0.split(|byte| *byte == 0).next();
    versioned && name.is_some_and(|name| NAMES.contains(&name))
}

/// What an item decodes to, which must be of a size.
fn coded<'a>(
    items: &Items<'a>,
    item: &Item,
    (width, height): (u32, u32),
) -> Result<Coded<'a>, ImageError> {
    if item.beyond_us {
        return Err(ImageError::Unsupported {
            format: "AVIF with an unknown property that it calls essential",
        });
    }
    match &item.kind {
        b"av01" => Ok(Coded {
            tiles: vec![tile(items, item)?],
            columns: 1,
            rows: 1,
            tile: (width, height),
        }),
        b"grid" => grid(items, item, (width, height)),
        _ => Err(ImageError::Unsupported {
            format: "AVIF with another codec than AV1",
        }),
    }
}

fn tile<'a>(items: &Items<'a>, item: &Item) -> Result<Tile<'a>, ImageError> {
    /// What `lsel` says where all layers are wanted.
    const ALL_LAYERS: u16 = 0xffff;
    let layer = items.property(item, b"lsel").map(|mut lsel| lsel.u16());
    if layer.transpose()?.is_some_and(|layer| layer != ALL_LAYERS) {
        return Err(ImageError::Unsupported {
            format: "AVIF that selects a layer",
        });
    }
    let configuration = items.property(item, b"av1C");
    let configuration =
        configuration.ok_or_else(|| damaged("one of its coded items has no AV1 configuration"))?;
    let depth = configured_depth(configuration)?;
    if let Some(pixels) = items.property(item, b"pixi") {
        check_depths(pixels, depth)?;
    }
    let point = items.property(item, b"a1op").map(|mut a1op| a1op.u8());
    let pieces = items.data(item)?;
    if pieces.iter().all(|piece| piece.is_empty()) {
        return Err(damaged("one of its coded items is empty"));
    }
    Ok(Tile {
        pieces,
        point: point.transpose()?.unwrap_or(0),
    })
}

/// Bits of each sample by an AV1 configuration (AV1-ISOBMFF, section 2.3).
fn configured_depth(mut configuration: Fields<'_>) -> Result<u8, ImageError> {
    const HIGH: u8 = 0x40;
    const TWELVE: u8 = 0x20;
    let [_, _, third, _] = configuration.four()?;
    Ok(match (third & HIGH, third & TWELVE) {
        (0, _) => 8,
        (_, 0) => 10,
        _ => 12,
    })
}

/// Checks what a list of bits per sample says.
fn check_depths(mut pixels: Fields<'_>, depth: u8) -> Result<(), ImageError> {
    pixels.version()?;
    let planes = usize::from(pixels.u8()?);
    let depths = pixels.take(planes)?;
    match depths.iter().all(|&own| own == depth) {
        true => Ok(()),
        false => Err(damaged("its boxes say another number of bits than its AV1")),
    }
}

/// A grid of tiles of one size, which are cut off at the right and at the bottom.
fn grid<'a>(
    items: &Items<'a>,
    item: &Item,
    (width, height): (u32, u32),
) -> Result<Coded<'a>, ImageError> {
    /// Bytes of a grid with sides of four bytes.
    const LONGEST: usize = 12;
    let pieces = items.data(item)?;
    // Its pieces may each be all of the file.
    let length = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
    if length > LONGEST as u64 {
        return Err(damaged("its grid has more bytes than a grid has"));
    }
    let data = pieces.concat();
    let mut fields = Fields(&data);
    if fields.u8()? != 0 {
        return Err(damaged("its grid is of an unknown version"));
    }
    let long = fields.u8()? & 1 != 0;
    let rows = u32::from(fields.u8()?) + 1;
    let columns = u32::from(fields.u8()?) + 1;
    let mut side = || match long {
        true => fields.u32(),
        false => fields.u16().map(u32::from),
    };
    if (side()?, side()?) != (width, height) {
        return Err(damaged("its grid and its size contradict each other"));
    }
    if (rows * columns) as usize != item.parts.len() {
        return Err(damaged("its grid does not have as many tiles as it says"));
    }
    // There are only so many items, so that there are only so many tiles.
    let mut named = std::collections::BTreeSet::new();
    let mut tiles = Vec::new();
    let mut of_first = None;
    for id in &item.parts {
        if !named.insert(*id) {
            return Err(damaged("a tile of its grid is in two places"));
        }
        let part = items.get(*id).filter(|part| &part.kind == b"av01");
        let part = part.ok_or_else(|| damaged("its grid has a tile that is not AV1"))?;
        let of_tile = size(items, part)?.ok_or_else(|| damaged("one of its tiles has no size"))?;
        if part.beyond_us || *of_first.get_or_insert(of_tile) != of_tile {
            return Err(damaged("the tiles of its grid differ"));
        }
        tiles.push(tile(items, part)?);
    }
    let tile = of_first.ok_or_else(truncated)?;
    let covers = |tile: u32, count: u32, side: u32| {
        let (tile, count) = (u64::from(tile), u64::from(count));
        tile >= 64 && tile * count >= u64::from(side) && tile * (count - 1) < u64::from(side)
    };
    if !covers(tile.0, columns, width) || !covers(tile.1, rows, height) {
        return Err(damaged("the tiles of its grid do not cover it"));
    }
    Ok(Coded {
        tiles,
        columns,
        rows,
        tile,
    })
}

/// The alpha of a grid each of whose tiles has one of its own.
fn alpha_of_tiles<'a>(
    items: &Items<'a>,
    grid: &Item,
    colour: &Coded<'a>,
) -> Result<Option<Coded<'a>>, ImageError> {
    if &grid.kind != b"grid" {
        return Ok(None);
    }
    let alphas: std::collections::BTreeMap<u32, &Item> = items
        .iter()
        .filter(|(_, item)| items.property(item, b"auxC").is_some_and(is_alpha))
        .filter_map(|(_, item)| Some((item.auxiliary_to?, item)))
        .collect();
    let mut tiles = Vec::with_capacity(grid.parts.len());
    for id in &grid.parts {
        let Some(alpha) = alphas.get(id) else {
            return Ok(None);
        };
        tiles.push(tile(items, alpha)?);
    }
    Ok(Some(Coded {
        tiles,
        columns: colour.columns,
        rows: colour.rows,
        tile: colour.tile,
    }))
}

/// Whether the file type box at the front says AVIF, by its own brand or, in the containers
/// of still pictures that Pillow takes for AVIF, by one that it is compatible with.
pub(crate) fn is_avif(bytes: &[u8]) -> bool {
    const AVIF: [&[u8; 4]; 2] = [b"avif", b"avis"];
    const CONTAINERS: [&[u8; 4]; 2] = [b"mif1", b"msf1"];
    if bytes.get(4..8) != Some(b"ftyp") {
        return false;
    }
    let mut brands = brands(bytes);
    let Some(major) = brands.next() else {
        return false;
    };
    AVIF.contains(&major) || CONTAINERS.contains(&major) && brands.any(|it| AVIF.contains(&it))
}

/// The brands of the file type box at the front: its own, and those that it is compatible with.
fn brands(bytes: &[u8]) -> impl Iterator<Item = &[u8; 4]> {
    let length = array(bytes, 0).map_or(0, u32::from_be_bytes) as usize;
    let part = |from, to: usize| bytes.get(from..to.min(bytes.len())).unwrap_or_default();
    let (own, compatible) = (part(8, 12), part(16, length));
    let (own, compatible) = (own.as_chunks::<4>().0, compatible.as_chunks::<4>().0);
    own.iter().chain(compatible.iter().take(64))
}

/// Says how much is wrong if the bitstream is not of the size that the boxes promised.
pub(super) fn check_size(
    sequence: &Sequence,
    (width, height): (u32, u32),
) -> Result<(), ImageError> {
    if sequence.width < width || sequence.height < height {
        return Err(ImageError::damaged(
            ImageFormat::Avif,
            format_args!(
                "its boxes say {width} x {height} pixels, its AV1 at most {} x {}",
                sequence.width, sequence.height
            ),
        ));
    }
    Ok(())
}
