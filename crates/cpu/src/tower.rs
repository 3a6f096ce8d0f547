//! The towers, written once over [`Kernel`].

mod apart;
mod attention;
mod dealing;
mod encoder;
mod feed;
mod layer;
mod linear;
mod observed;
mod pool;
mod positions;
mod space;
#[cfg(test)]
mod tests;
mod text;
mod together;
mod vision;

use std::ops::Range;

use crate::kernel::Kernel;

pub use encoder::Keep;
pub use observed::Largest;
pub(crate) use text::TextTower;
pub(crate) use vision::{Input, VisionTower};
pub use vision::{Patches, Picture};

/// Rows of a wave for each thread. A batch goes through a tower in waves: with more rows at
/// a time, what is kept between the layers would only outgrow the caches.
const WAVE: usize = 448;

/// Divides items of these lengths into waves, which are ranges of items. Items of equal
/// length are dealt out evenly; otherwise a wave takes as many as fit, and at least one.
fn waves(lengths: &[usize], threads: usize) -> Vec<Range<usize>> {
    let most = WAVE * threads;
    if lengths.windows(2).all(|pair| pair[0] == pair[1]) {
        let total: usize = lengths.iter().sum();
        let count = total.div_ceil(most).clamp(1, lengths.len().max(1));
        return crate::grid::Even::new(lengths.len(), 1, count)
            .ranges()
            .collect();
    }
    let mut waves: Vec<Range<usize>> = Vec::new();
    let mut rows = 0;
    for (item, length) in lengths.iter().enumerate() {
        match waves.last_mut() {
            Some(wave) if rows + length <= most => {
                rows += length;
                wave.end = item + 1;
            }
            _ => {
                rows = *length;
                waves.push(item..item + 1);
            }
        }
    }
    waves
}

/// Where the rows of each item are, one item after the other.
fn rows_of(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    lengths
        .iter()
        .map(|length| {
            let range = start..start + length;
            start = range.end;
            range
        })
        .collect()
}

/// The name of a kernel's type, for errors.
fn name_of<K: Kernel>() -> &'static str {
    std::any::type_name::<K>()
}
