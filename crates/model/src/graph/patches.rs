//! A picture of variable resolution as the vision tower takes it: rows of bytes, one for each
//! patch.
//!
//! ```text
//! a picture of whole patches --pack--> pixels of patch 0 | its place
//!                                      pixels of patch 1 | its place
//!                                      ...
//!                                      zeros                           (padding, in a batch)
//!
//! pixels: 3 * side * side bytes: rows of the patch, of RGB triples
//! place:  9 bytes: the lower halves of row, column, height and width, then their upper halves,
//!         then a 1
//! ```
//!
//! Row and column are those of the patch, and height and width those of the picture, counted in
//! patches. The 1 tells a patch from padding. So a row of the batch says all that the tower needs
//! to know about its picture, in memory that is made once, where the picture is decoded, and
//! copied as it is.
//!
//! The length of a row is a multiple of 3: a packed picture is also an RGB image, of
//! [`width`] pixels across and a line for each patch.

/// Bytes of a patch's place.
pub(super) const PLACE: usize = 9;

/// The most patches from one side of a picture to the other.
pub const MOST: usize = u16::MAX as usize;

/// Bytes of a patch whose side is `side` pixels.
pub const fn bytes(side: usize) -> usize {
    3 * side * side + PLACE
}

/// The same in RGB pixels of three bytes.
pub const fn width(side: usize) -> usize {
    bytes(side) / 3
}

/// Packs a picture of `height` by `across` patches. `pixels` are its RGB bytes, row by row; `out`
/// has [`bytes`] for each patch. Returns whether both are as long as that calls for, and the
/// picture has patches, and no more than [`MOST`] along a side; if not, nothing is written.
pub fn pack(pixels: &[u8], side: usize, height: usize, across: usize, out: &mut [u8]) -> bool {
    let row = bytes(side);
    let line = 3 * side;
    let is_whole = (1..=MOST).contains(&height)
        && (1..=MOST).contains(&across)
        && side > 0
        && pixels.len() == height * across * line * side
        && out.len() == height * across * row;
    if !is_whole {
        return false;
    }
    let strips = pixels.chunks_exact(across * line * side);
    for (y, (strip, patches)) in strips.zip(out.chunks_exact_mut(across * row)).enumerate() {
        for (x, patch) in patches.chunks_exact_mut(row).enumerate() {
            let (to, place) = patch.split_at_mut(line * side);
            let lines = strip.chunks_exact(across * line);
            for (to, from) in to.chunks_exact_mut(line).zip(lines) {
                to.copy_from_slice(&from[x * line..][..line]);
            }
            let numbers = [y, x, height, across].map(|number| (number as u16).to_le_bytes());
            for (at, [low, high]) in numbers.into_iter().enumerate() {
                place[at] = low;
                place[at + numbers.len()] = high;
            }
            place[PLACE - 1] = 1;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_rows_and_know_their_places() {
        // Two patches down, three across, of 2 by 2 pixels; every pixel has its own number.
        let pixels: Vec<u8> = (0..4 * 6).flat_map(|at| [at, 100 + at, 200 + at]).collect();
        let mut out = vec![0; 6 * bytes(2)];
        assert!(pack(&pixels, 2, 2, 3, &mut out));
        assert_eq!((bytes(2), width(2)), (21, 7));
        let patch = &out[4 * bytes(2)..][..bytes(2)];
        let reds: Vec<u8> = patch[..12].iter().copied().step_by(3).collect();
        assert_eq!(reds, [14, 15, 20, 21]);
        assert_eq!(patch[12..], [1, 1, 2, 3, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn long_sides_take_two_bytes_and_other_lengths_are_refused() {
        let (side, across) = (1, 700);
        let mut out = vec![0; across * bytes(side)];
        assert!(pack(&vec![9; 3 * across], side, 1, across, &mut out));
        let last = &out[699 * bytes(side)..];
        assert_eq!(last[3..], [0, 187, 1, 188, 0, 2, 0, 2, 1]);

        assert!(!pack(&[9; 3], side, 1, across, &mut out));
        assert!(!pack(&vec![9; 3 * across], side, 1, across, &mut out[1..]));
        assert!(!pack(&[], side, 0, 0, &mut []));
    }
}
