//! An index without files, which finds one row whatever it is asked for.

use siglip2_embeddings::service::{Hit, IndexError, IndexInfo, VectorIndex, Wanted};

use super::engine::DIMENSIONS;

pub struct OneRow(IndexInfo);

impl Default for OneRow {
    fn default() -> Self {
        Self(about())
    }
}

/// What there is to say of an index of one row of the fake engine's vectors.
pub fn about() -> IndexInfo {
    IndexInfo {
        rows: 1,
        dimensions: DIMENSIONS,
        files: vec!["none".to_owned()],
        fingerprint: None,
        model: None,
        normalized: true,
        columns: Vec::new(),
    }
}

impl VectorIndex for OneRow {
    fn about(&self) -> &IndexInfo {
        &self.0
    }

    fn search(
        &self,
        _: &[f32],
        _: &Wanted,
        _: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Hit>, IndexError> {
        Ok(vec![Hit {
            row: 0,
            id: "the row".to_owned(),
            cosine: 1.0,
            columns: Some("{}".to_owned()),
        }])
    }
}
