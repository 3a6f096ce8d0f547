//! The shapes of the towers.

/// The function between the two products of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU by its tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
}

/// The transformer encoder that either tower has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderShape {
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward layer.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Between the feed-forward products.
    pub activation: Activation,
    /// Added to the variance in every layer norm.
    pub epsilon: f32,
}

impl EncoderShape {
    /// Width of a head.
    pub fn head(&self) -> usize {
        self.width / self.heads
    }
}

/// How the vision tower knows where a patch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Every picture is a square with this side, in pixels, and each place has its own
    /// vector. Pixels at the right and the bottom that do not fill a patch are ignored.
    Square {
        /// Side of the picture.
        side: usize,
    },
    /// Pictures have grids of any size (NaFlex). The vectors are those of a square with this
    /// side, in patches, and are resized to the grid.
    Resized {
        /// Side of the square of vectors.
        side: usize,
    },
}

/// The shape of a vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionShape {
    /// Its layers.
    pub encoder: EncoderShape,
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Its positions.
    pub positions: Positions,
    /// The number for each value of each channel: `(value / 255 - mean) / deviation`.
    pub normalization: [[f32; 256]; 3],
}

/// The shape of a text tower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextShape {
    /// Its layers.
    pub encoder: EncoderShape,
    /// Token ids are below this.
    pub vocabulary: usize,
    /// Tokens of a text; the last one becomes the embedding.
    pub positions: usize,
    /// Rows of the table of positions, of which the first `positions` are used.
    pub stored_positions: usize,
    /// Floats of an embedding.
    pub projection: usize,
}

/// The values of a channel of 8 bits after a processor with this mean and deviation.
pub fn normalization(mean: [f32; 3], deviation: [f32; 3]) -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|value| (value as f32 / 255.0 - mean[channel]) / deviation[channel])
    })
}
