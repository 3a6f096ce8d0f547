//! The items of a still picture, as its `meta` box lists them (ISO/IEC 23008-12): coded
//! pictures, grids of them, what they are for each other, and their properties.

use std::collections::BTreeMap;

use super::atoms::{Atom, Fields};
use super::{damaged, truncated};
use crate::ImageError;

/// Items that a file may list. Phones write one for each tile of 512 pixels, and some more.
const MAX_ITEMS: usize = 4096;

/// Pieces of the file that all items together may be in: their numbers can take no bytes at
/// all, so the file's size does not bound them.
const MAX_EXTENTS: usize = 16_384;

/// Properties that an item may have. The boxes that name them can name each again and again.
const MAX_PROPERTIES: usize = 256;

/// Boxes of which a second one would be added to the first, as libavif refuses them.
const UNIQUE: [&[u8; 4]; 7] = [
    b"hdlr", b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"idat",
];

/// What an item may have beside what is written there, for a decoder that must know all that
/// is marked as essential.
const KNOWN: [&[u8; 4]; 13] = [
    b"av1C", b"ispe", b"pixi", b"colr", b"auxC", b"pasp", b"clap", b"irot", b"imir", b"a1op",
    b"lsel", b"a1lx", b"clli",
];

/// One item.
#[derive(Default)]
pub(super) struct Item {
    pub(super) kind: [u8; 4],
    /// Offset and length of its pieces, in the file or in `idat`.
    extents: Vec<(u64, u64)>,
    in_idat: bool,
    /// Numbers of its properties, from 1.
    properties: Vec<u16>,
    /// Whether it has a property that must be understood and is not.
    pub(super) beyond_us: bool,
    /// What it is made of, if it is a grid.
    pub(super) parts: Vec<u32>,
    /// What it is auxiliary to, for instance as its alpha.
    pub(super) auxiliary_to: Option<u32>,
    /// The alpha that its colours were multiplied by.
    pub(super) premultiplied_by: Option<u32>,
}

/// All items of a file.
pub(super) struct Items<'a> {
    file: &'a [u8],
    idat: &'a [u8],
    pub(super) primary: u32,
    items: BTreeMap<u32, Item>,
    properties: Vec<([u8; 4], Fields<'a>)>,
}

/// The box that a `meta` box begins with, which says that it is of pictures.
fn handler(first: &Atom<'_>) -> Result<(), ImageError> {
    let mut body = first.body;
    let is_of_pictures = &first.kind == b"hdlr"
        && body.version()?.0 == 0
        // Nothing, a kind, nothing in three words, and a name that ends.
        && body.u32()? == 0
        && &body.kind()? == b"pict"
        && body.take(12).is_ok()
        && body.0.contains(&0);
    match is_of_pictures {
        true => Ok(()),
        false => Err(damaged("it does not say that it is of pictures")),
    }
}

/// Refuses a property that libavif refuses when it reads the list of them, whichever item has it.
fn check_property(property: &Atom<'_>) -> Result<(), ImageError> {
    const MARKER_AND_VERSION: u8 = 0x81;
    let mut body = property.body;
    let is_known = match &property.kind {
        b"ispe" | b"auxC" => body.version()?.0 == 0,
        b"pixi" => {
            let is_known = body.version()?.0 == 0;
            let planes = usize::from(body.u8()?);
            let depths = body.take(planes)?;
            is_known && (1..=4).contains(&planes) && depths.iter().all(|own| *own == depths[0])
        }
        b"av1C" => body.four()?[0] == MARKER_AND_VERSION,
        _ => true,
    };
    match is_known {
        true => Ok(()),
        false => Err(damaged("one of its properties is of an unknown kind")),
    }
}

impl<'a> Items<'a> {
    /// Reads a `meta` box.
    pub(super) fn read(file: &'a [u8], mut meta: Fields<'a>) -> Result<Self, ImageError> {
        if meta.version()?.0 != 0 {
            return Err(damaged("its list of items is of an unknown version"));
        }
        let mut items = Self {
            file,
            idat: &[],
            primary: 0,
            items: BTreeMap::new(),
            properties: Vec::new(),
        };
        let mut seen = [false; UNIQUE.len()];
        for (nth, atom) in meta.atoms().enumerate() {
            let atom = atom?;
            if nth == 0 {
                handler(&atom)?;
            }
            if let Some(nth) = UNIQUE.iter().position(|kind| **kind == atom.kind)
                && std::mem::replace(&mut seen[nth], true)
            {
                return Err(damaged(
                    "it has two boxes of a kind of which there may be one",
                ));
            }
            match &atom.kind {
                b"pitm" => items.primary(atom.body)?,
                b"iinf" => items.infos(atom.body)?,
                b"iloc" => items.locations(atom.body)?,
                b"iref" => items.references(atom.body)?,
                b"iprp" => items.properties(atom.body)?,
                b"idat" => items.idat = atom.body.0,
                _ => {}
            }
        }
        Ok(items)
    }

    /// An item that the file lists.
    pub(super) fn get(&self, id: u32) -> Option<&Item> {
        self.items.get(&id)
    }

    /// All of them, by their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Item)> {
        self.items.iter().map(|(id, item)| (*id, item))
    }

    /// The first property of a type that an item has.
    pub(super) fn property(&self, item: &Item, kind: &[u8; 4]) -> Option<Fields<'a>> {
        let of_item = item.properties.iter().filter_map(|number| {
            let index = usize::from(*number).checked_sub(1)?;
            self.properties.get(index)
        });
        of_item
            .into_iter()
            .find(|(property, _)| property == kind)
            .map(|(_, body)| *body)
    }

    /// The bytes of an item, in as many pieces as it was written in.
    pub(super) fn data(&self, item: &Item) -> Result<Vec<&'a [u8]>, ImageError> {
        let within = if item.in_idat { self.idat } else { self.file };
        let mut pieces = Vec::with_capacity(item.extents.len());
        for &(offset, length) in &item.extents {
            let at = usize::try_from(offset).map_err(|_| truncated())?;
            let length = usize::try_from(length).map_err(|_| truncated())?;
            let end = at.checked_add(length).ok_or_else(truncated)?;
            pieces.push(within.get(at..end).ok_or_else(truncated)?);
        }
        Ok(pieces)
    }

    fn entry(&mut self, id: u32) -> Result<&mut Item, ImageError> {
        if !self.items.contains_key(&id) && self.items.len() == MAX_ITEMS {
            return Err(damaged(format_args!("it has more than {MAX_ITEMS} items")));
        }
        Ok(self.items.entry(id).or_default())
    }

    fn primary(&mut self, mut body: Fields<'_>) -> Result<(), ImageError> {
        let (version, _) = body.version()?;
        self.primary = id(&mut body, version == 0)?;
        Ok(())
    }

    fn infos(&mut self, mut body: Fields<'_>) -> Result<(), ImageError> {
        let (version, _) = body.version()?;
        body.take(if version == 0 { 2 } else { 4 })?;
        for atom in body.atoms() {
            let atom = atom?;
            if &atom.kind != b"infe" {
                continue;
            }
            let mut info = atom.body;
            let (version, _) = info.version()?;
            if version < 2 {
                continue;
            }
            let id = id(&mut info, version == 2)?;
            info.take(2)?;
            self.entry(id)?.kind = info.kind()?;
        }
        Ok(())
    }

    fn locations(&mut self, mut body: Fields<'_>) -> Result<(), ImageError> {
        let (version, _) = body.version()?;
        let sizes = body.u16()?;
        let nibble = |shift: u16| (sizes >> shift & 15) as u8;
        let (offset_size, length_size, base_size) = (nibble(12), nibble(8), nibble(4));
        let index_size = if version == 0 { 0 } else { nibble(0) };
        let count = id(&mut body, version < 2)?;
        let mut extents = 0;
        for _ in 0..count {
            let id = id(&mut body, version < 2)?;
            let method = if version == 0 { 0 } else { body.u16()? & 15 };
            if method > 1 {
                return Err(damaged("one of its items lies within another"));
            }
            body.take(2)?;
            let base = body.sized(base_size)?;
            let pieces = usize::from(body.u16()?);
            extents += pieces;
            if extents > MAX_EXTENTS {
                return Err(damaged(format_args!(
                    "its items lie in more than {MAX_EXTENTS} pieces"
                )));
            }
            let item = self.entry(id)?;
            if !item.extents.is_empty() {
                return Err(damaged("it gives the place of an item twice"));
            }
            item.in_idat = method == 1;
            for _ in 0..pieces {
                body.sized(index_size)?;
                let offset = body.sized(offset_size)?;
                let length = body.sized(length_size)?;
                let offset = base.checked_add(offset).ok_or_else(truncated)?;
                item.extents.push((offset, length));
            }
        }
        Ok(())
    }

    fn references(&mut self, mut body: Fields<'_>) -> Result<(), ImageError> {
        let (version, _) = body.version()?;
        for atom in body.atoms() {
            let mut atom = atom?;
            let from = id(&mut atom.body, version == 0)?;
            let count = atom.body.u16()?;
            for _ in 0..count {
                let to = id(&mut atom.body, version == 0)?;
                let item = self.entry(from)?;
                match &atom.kind {
                    b"dimg" => item.parts.push(to),
                    b"auxl" => item.auxiliary_to = Some(to),
                    b"prem" => item.premultiplied_by = Some(to),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn properties(&mut self, body: Fields<'a>) -> Result<(), ImageError> {
        let container = body.find(b"ipco")?.ok_or_else(truncated)?;
        for atom in container.atoms() {
            let atom = atom?;
            check_property(&atom)?;
            self.properties.push((atom.kind, atom.body));
        }
        for atom in body.atoms() {
            let atom = atom?;
            if &atom.kind == b"ipma" {
                self.associations(atom.body)?;
            }
        }
        Ok(())
    }

    fn associations(&mut self, mut body: Fields<'_>) -> Result<(), ImageError> {
        let (version, flags) = body.version()?;
        let count = body.u32()?;
        for _ in 0..count {
            let id = id(&mut body, version == 0)?;
            let of_item = body.u8()?;
            for _ in 0..of_item {
                let (essential, number) = match flags & 1 {
                    0 => body.u8().map(|n| (n & 0x80 != 0, u16::from(n & 0x7f)))?,
                    _ => body.u16().map(|n| (n & 0x8000 != 0, n & 0x7fff))?,
                };
                let index = usize::from(number).checked_sub(1);
                let property = index.and_then(|index| self.properties.get(index));
                let known = property.is_some_and(|(kind, _)| KNOWN.contains(&kind));
                let item = self.entry(id)?;
                item.beyond_us |= essential && !known;
                if item.properties.len() == MAX_PROPERTIES {
                    return Err(damaged(format_args!(
                        "one of its items has more than {MAX_PROPERTIES} properties"
                    )));
                }
                item.properties.push(number);
            }
        }
        Ok(())
    }
}

/// A number of two or four bytes.
fn id(fields: &mut Fields<'_>, short: bool) -> Result<u32, ImageError> {
    match short {
        true => fields.u16().map(u32::from),
        false => fields.u32(),
    }
}
