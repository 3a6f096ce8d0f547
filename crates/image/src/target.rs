//! What a picture becomes before a vision tower takes it: a square, the middle of a picture
//! resized otherwise, or a grid of patches with the picture's own aspect (NaFlex).

/// What pictures are resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All to the same square.
    Square {
        /// Its side, in pixels.
        side: u32,
    },
    /// Each to a size of its own, the middle of which is the square: as much of it as there
    /// is, with black around it where that is less.
    Middle {
        /// The size before.
        resize: Resize,
        /// Side of the square, in pixels.
        side: u32,
    },
    /// Each to whole patches, with as much of its aspect as they allow.
    Patches {
        /// Side of a patch, in pixels.
        patch: u32,
        /// Patches that a picture has at most.
        most: u32,
    },
}

impl Target {
    /// It in words that stay the same, because fingerprints are made of them.
    pub(crate) fn identity(self) -> String {
        match self {
            Self::Square { side } => format!("square {side}"),
            Self::Middle { resize, side } => {
                let resize = match resize {
                    Resize::To { width, height } => format!("{width} x {height}"),
                    Resize::ShortestEdge { shortest, longest } => {
                        format!("shortest {shortest} longest {}", longest.unwrap_or(0))
                    }
                };
                format!("middle {side} of {resize}")
            }
            Self::Patches { patch, most } => format!("patches {patch} most {most}"),
        }
    }
}

/// What a picture is resized to before its middle is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// All to this size.
    To {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Each with its aspect.
    ShortestEdge {
        /// What the shorter side becomes.
        shortest: u32,
        /// What the longer side becomes at most, if need be by making the shorter one still
        /// shorter.
        longest: Option<u32>,
    },
}

impl Resize {
    /// Width and height, in pixels, of what a picture of this size becomes; a side may have
    /// none. transformers' `get_size_with_aspect_ratio` and `get_resize_output_image_size`,
    /// with their order of operations.
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        let (shortest, longest) = match self {
            Self::To { width, height } => return (width, height),
            Self::ShortestEdge { shortest, longest } => (shortest, longest),
        };
        let (short, long) = (width.min(height).max(1), width.max(height));
        let mut shorter = shortest;
        let mut scaled = f64::from(shortest);
        if let Some(most) = longest.map(f64::from) {
            let (short, long) = (f64::from(short), f64::from(long));
            if long / short * f64::from(shortest) > most {
                scaled = most * short / long;
                shorter = scaled.round_ties_even() as u32;
            }
        }
        if short == shorter {
            return (width, height);
        }
        let longer = (scaled * f64::from(long) / f64::from(short)) as u32;
        if width <= height {
            (shorter, longer)
        } else {
            (longer, shorter)
        }
    }
}

/// Where transformers' search for a scale ends.
const EPSILON: f64 = 1e-5;

/// The largest scale that it tries.
const LARGEST_SCALE: f64 = 100.0;

impl Target {
    /// Width and height, in pixels, of what a picture of this width and height becomes.
    ///
    /// For patches this is `get_image_size_for_max_num_patches` of transformers'
    /// `Siglip2ImageProcessor`, with its order of operations: the largest scale, by
    /// bisection, at which the picture, each side rounded up to whole patches, has no more
    /// than the most patches.
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        let (patch, most) = match self {
            Self::Square { side } | Self::Middle { side, .. } => return (side, side),
            Self::Patches { patch, most } => (f64::from(patch.max(1)), f64::from(most)),
        };
        // No side is longer than LARGEST_SCALE times the longest that is decoded.
        let scaled = |scale: f64, side: u32| (f64::from(side) * scale / patch).ceil().max(1.0);
        let (mut least, mut largest) = (EPSILON / 10.0, LARGEST_SCALE);
        while largest - least >= EPSILON {
            let scale = (least + largest) / 2.0;
            if scaled(scale, height) * scaled(scale, width) <= most {
                least = scale;
            } else {
                largest = scale;
            }
        }
        let side = |side| (scaled(least, side) * patch) as u32;
        (side(width), side(height))
    }

    /// Width and height, in pixels, that the whole picture is resized to: the same as
    /// [`Target::size`] but where the middle is cut out of it.
    pub(crate) fn resized(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Middle { resize, .. } => resize.size(width, height),
            Self::Square { .. } | Self::Patches { .. } => self.size(width, height),
        }
    }

    /// Whether a picture of this size is already what it becomes.
    pub fn keeps(self, width: u32, height: u32) -> bool {
        let size = (width, height);
        self.resized(width, height) == size && self.size(width, height) == size
    }

    /// Side of a patch in pixels, and the most patches, where there are any.
    pub fn patches(self) -> Option<(u32, u32)> {
        match self {
            Self::Square { .. } | Self::Middle { .. } => None,
            Self::Patches { patch, most } => Some((patch, most)),
        }
    }

    /// The side, in pixels, of the largest square that a picture can become.
    pub fn square(self) -> u32 {
        match self {
            Self::Square { side } | Self::Middle { side, .. } => side,
            Self::Patches { patch, most } => most.isqrt() * patch,
        }
    }

    /// Bytes that making it of a picture of this size takes at most beside the picture: what
    /// is between the two passes of the resize, and what comes out.
    pub fn resize_bytes(self, width: u32, height: u32) -> (u64, u64) {
        let (across, down) = self.size(width, height);
        let between = u64::from(across) * u64::from(height) * 3;
        let resized = u64::from(across) * u64::from(down) * 3;
        match self {
            // What was cut out is there beside the square.
            Self::Middle { .. } => (between, 2 * resized),
            Self::Square { .. } | Self::Patches { .. } => (between, resized),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The truth of many more sizes is in tests/it/naflex.rs.
    #[test]
    fn a_picture_has_at_most_the_most_patches() {
        for most in [1, 2, 64, 255, 256, 1024] {
            let target = Target::Patches { patch: 16, most };
            for (width, height) in [
                (1, 1),
                (1, 65_535),
                (65_535, 1),
                (4000, 3000),
                (65_535, 65_535),
            ] {
                let (across, down) = target.size(width, height);
                assert_eq!((across % 16, down % 16), (0, 0));
                let patches = across / 16 * (down / 16);
                assert!(
                    (1..=most).contains(&patches),
                    "{width} x {height}: {patches}"
                );
            }
        }
    }

    #[test]
    fn a_square_is_a_square() {
        let target = Target::Square { side: 224 };
        assert_eq!(target.size(1, 3000), (224, 224));
        assert_eq!(target.square(), 224);
        assert_eq!(target.resize_bytes(10, 50), (224 * 50 * 3, 224 * 224 * 3));
        assert_eq!(
            Target::Patches {
                patch: 16,
                most: 300
            }
            .square(),
            272
        );
    }
}
