//! The first picture of an animation: the first sample of its colour track, and of the alpha
//! track that belongs to it (ISO/IEC 14496-12).

use super::atoms::Fields;
use super::{damaged, truncated};
use crate::ImageError;

/// Tracks that are looked at: an animation has one or two.
const MAX_TRACKS: usize = 16;

/// A track of AV1 pictures.
pub(super) struct Track<'a> {
    id: u32,
    /// What it is auxiliary to.
    auxiliary_to: Option<u32>,
    /// The track of the alpha that its colours were multiplied by.
    premultiplied_by: Option<u32>,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The boxes of its sample entry: `av1C`, `colr` and others.
    pub(super) properties: Fields<'a>,
    /// Its first picture.
    pub(super) sample: &'a [u8],
}

impl Track<'_> {
    /// Whether the colours were multiplied by the alpha of this track.
    pub(super) fn is_multiplied_by(&self, alpha: &Track<'_>) -> bool {
        self.premultiplied_by == Some(alpha.id)
    }
}

/// The colour track of a `moov` box and its alpha track.
pub(super) fn read<'a>(
    file: &'a [u8],
    moov: Fields<'a>,
) -> Result<(Track<'a>, Option<Track<'a>>), ImageError> {
    let mut tracks = Vec::new();
    for atom in moov.atoms() {
        let atom = atom?;
        if &atom.kind == b"trak" && tracks.len() < MAX_TRACKS {
            tracks.extend(track(file, atom.body)?);
        }
    }
    let colour = tracks.iter().position(|track| track.auxiliary_to.is_none());
    let colour = colour.ok_or_else(|| damaged("it has no track of AV1 pictures"))?;
    let colour = tracks.swap_remove(colour);
    let alpha = tracks
        .into_iter()
        .find(|track| track.auxiliary_to == Some(colour.id));
    Ok((colour, alpha))
}

/// A `trak` box, if there are AV1 pictures in it.
fn track<'a>(file: &'a [u8], trak: Fields<'a>) -> Result<Option<Track<'a>>, ImageError> {
    let (Some(header), Some(media)) = (trak.find(b"tkhd")?, trak.find(b"mdia")?) else {
        return Ok(None);
    };
    let Some(information) = media.find(b"minf")? else {
        return Ok(None);
    };
    let Some(table) = information.find(b"stbl")? else {
        return Ok(None);
    };
    let (id, width, height) = track_header(header)?;
    let mut properties = None;
    let mut sizes = None;
    let mut offset = None;
    for atom in table.atoms() {
        let mut atom = atom?;
        match &atom.kind {
            b"stsd" => properties = av1_entry(atom.body)?,
            b"stsz" => {
                atom.body.version()?;
                let (all, count) = (atom.body.u32()?, atom.body.u32()?);
                sizes = match (all, count) {
                    (_, 0) => None,
                    (0, _) => Some(atom.body.u32()?),
                    (all, _) => Some(all),
                };
            }
            b"stco" | b"co64" => {
                atom.body.version()?;
                let count = atom.body.u32()?;
                let bytes = if &atom.kind == b"stco" { 4 } else { 8 };
                offset = match count {
                    0 => None,
                    _ => Some(atom.body.sized(bytes)?),
                };
            }
            _ => {}
        }
    }
    let (Some(properties), Some(size), Some(offset)) = (properties, sizes, offset) else {
        return Ok(None);
    };
    let at = usize::try_from(offset).map_err(|_| truncated())?;
    let end = at.checked_add(size as usize).ok_or_else(truncated)?;
    let (mut auxiliary_to, mut premultiplied_by) = (None, None);
    if let Some(references) = trak.find(b"tref")? {
        for atom in references.atoms() {
            let mut atom = atom?;
            match &atom.kind {
                b"auxl" => auxiliary_to = Some(atom.body.u32()?),
                b"prem" => premultiplied_by = Some(atom.body.u32()?),
                _ => {}
            }
        }
    }
    Ok(Some(Track {
        id,
        auxiliary_to,
        premultiplied_by,
        width,
        height,
        properties,
        sample: file.get(at..end).ok_or_else(truncated)?,
    }))
}

/// Number, width and height from a `tkhd` box.
fn track_header(mut header: Fields<'_>) -> Result<(u32, u32, u32), ImageError> {
    let (version, _) = header.version()?;
    let long = version == 1;
    // When it was made and changed.
    header.take(if long { 16 } else { 8 })?;
    let id = header.u32()?;
    // Its duration, and then layer, group, volume and the matrix.
    header.take(if long { 12 } else { 8 })?;
    header.take(8 + 4 * 2 + 36)?;
    Ok((id, header.u32()? >> 16, header.u32()? >> 16))
}

/// The boxes of the first sample entry that is AV1.
fn av1_entry(mut body: Fields<'_>) -> Result<Option<Fields<'_>>, ImageError> {
    // What is fixed in the entry of a track that is seen, before its boxes.
    const FIXED: usize = 78;
    body.version()?;
    body.u32()?;
    let Some(mut entry) = body.find(b"av01")? else {
        return Ok(None);
    };
    entry.take(FIXED)?;
    Ok(Some(entry))
}
