//! How large the numbers become that enter the products of each layer. Formats whose range is
//! narrow, such as FP8, are given a scale for each; see [`crate::Vision::observe`].

use std::sync::{Mutex, PoisonError};

use super::layer::stride;
use super::space::Space;
use crate::error::Error;
use crate::kernel::Kernel;

/// The largest magnitudes of what enters the products of a layer. Not finite if one of the
/// numbers was not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Largest {
    /// The normalized stream, which enters the projections to queries, keys and values.
    pub projections: f32,
    /// The queries, divided by the square root of a head's width.
    pub queries: f32,
    /// The keys.
    pub keys: f32,
    /// The values.
    pub values: f32,
    /// What attention gives, which enters the output projection.
    pub out: f32,
    /// The normalized stream, which enters the feed-forward network.
    pub up: f32,
    /// The hidden numbers after the activation, which enter its second product.
    pub down: f32,
}

/// What an encoder has seen of each layer.
#[derive(Debug)]
pub(super) struct Observed {
    layers: Mutex<Vec<Largest>>,
    width: usize,
    hidden: usize,
}

impl Observed {
    /// Of an encoder of so many layers, on a kernel whose words are floats.
    pub(super) fn new<K: Kernel>(
        layers: usize,
        width: usize,
        hidden: usize,
    ) -> Result<Self, Error> {
        if K::LAYOUT.per_word != 1 || K::LAYOUT.group != 1 {
            return Err(Error::Unsupported {
                kernel: super::name_of::<K>(),
                reason: "only FP32 is observed".to_owned(),
            });
        }
        Ok(Self {
            layers: Mutex::new(vec![Largest::default(); layers]),
            width,
            hidden,
        })
    }

    /// What has been seen so far, layer by layer.
    pub(super) fn largest(&self) -> Vec<Largest> {
        let layers = self.layers.lock();
        layers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, layer: usize, note: impl FnOnce(&mut Largest)) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(largest) = layers.get_mut(layer) {
            note(largest);
        }
    }

    /// After the projections of `rows` rows: the left side that they were made of, and their
    /// results.
    pub(super) fn projected<K: Kernel>(&self, layer: usize, space: &Space, rows: usize) {
        let (width, part) = (self.width, stride(self.width));
        let of = |first| largest(&space.projected[first..], rows, 3 * part, width);
        self.note(layer, |it| {
            let left = largest(&space.left, rows, K::LAYOUT.pitch(width), width);
            raise(&mut it.projections, left);
            // Attention raises two, not e, to the scores, so the queries have this factor more.
            raise(&mut it.queries, of(0) / std::f32::consts::LOG2_E);
            raise(&mut it.keys, of(part));
            raise(&mut it.values, of(2 * part));
        });
    }

    /// After attention, and after all that follows it.
    pub(super) fn mixed<K: Kernel>(&self, layer: usize, space: &Space, rows: usize) {
        let pitch = |depth| K::LAYOUT.pitch(depth);
        let mixed = (0..rows)
            .flat_map(|row| &space.mixed[row * stride(self.width)..][..self.width])
            .fold(0, |most, number| most.max(number.abs().to_bits()));
        self.note(layer, |it| {
            raise(&mut it.out, f32::from_bits(mixed));
            let (width, hidden) = (self.width, self.hidden);
            raise(&mut it.up, largest(&space.left, rows, pitch(width), width));
            let down = largest(&space.hidden, rows, pitch(hidden), hidden);
            raise(&mut it.down, down);
        });
    }
}

/// The largest magnitude of `rows` rows of `width` floats, which are `pitch` words apart. The
/// bits of magnitudes are in the order of the magnitudes, with infinity and NaN above them.
fn largest(words: &[u32], rows: usize, pitch: usize, width: usize) -> f32 {
    let bits = (0..rows)
        .flat_map(|row| &words[row * pitch..][..width])
        .fold(0, |most, word| most.max(word & 0x7fff_ffff));
    f32::from_bits(bits)
}

/// Raises `most` to `found`; NaN stays.
fn raise(most: &mut f32, found: f32) {
    if found.is_nan() || found > *most {
        *most = found;
    }
}
