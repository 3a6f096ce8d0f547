//! How close the engines' vectors came to those of the CPU engine, and where they were farthest.

use serde::{Deserialize, Serialize};

/// The lowest cosine of each tower's canary vectors to those of the CPU engine in FP32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cosines {
    /// Of the vision tower.
    pub image: f64,
    /// Of the text tower.
    pub text: f64,
    /// Where the vision tower's was. `None` in manifests that were written before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_at: Option<Place>,
    /// Where the text tower's was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_at: Option<Place>,
    /// Those of small batches, where they have engines of their own; the others are then of larger
    /// batches alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<SmallCosines>,
    /// In FP8, the share of pairs of canaries that are ranked in FP32's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<f64>,
    /// The GPU's name.
    pub measured_on: String,
}

/// The lowest cosines of small batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmallCosines {
    /// Of the vision tower.
    pub image: f64,
    /// Of the text tower.
    pub text: f64,
    /// Where the vision tower's was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_at: Option<Place>,
    /// Where the text tower's was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_at: Option<Place>,
}

/// The place of a batch: its size, and the slot that it ran in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Rows.
    pub rows: usize,
    /// Patches of each row, where pictures are of variable resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<usize>,
    /// The slot's number, from 1.
    pub slot: usize,
}
