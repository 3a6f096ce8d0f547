//! Position vectors of a square, resized to another grid of patches.

use std::ops::Range;

/// The vectors of a `side` by `side` square, `width` floats each, as those of a grid of
/// `height` by `across` patches: torch's
/// `interpolate(mode="bilinear", align_corners=False, antialias=True)`, which
/// transformers calls for NaFlex.
pub(crate) fn resized(
    square: &[f32],
    side: usize,
    width: usize,
    height: usize,
    across: usize,
) -> Vec<f32> {
    // Across first, then down, as torch does.
    let mut half = vec![0.0; side * across * width];
    for (x, (sources, weights)) in taps(side, across).iter().enumerate() {
        for y in 0..side {
            let out = &mut half[(y * across + x) * width..][..width];
            for (source, weight) in sources.clone().zip(weights) {
                let from = &square[(y * side + source) * width..][..width];
                out.iter_mut().zip(from).for_each(|(o, v)| *o += weight * v);
            }
        }
    }
    let mut all = vec![0.0; height * across * width];
    for (y, (sources, weights)) in taps(side, height).iter().enumerate() {
        let row = across * width;
        let out = &mut all[y * row..(y + 1) * row];
        for (source, weight) in sources.clone().zip(weights) {
            let from = &half[source * row..(source + 1) * row];
            out.iter_mut().zip(from).for_each(|(o, v)| *o += weight * v);
        }
    }
    all
}

/// For each of `to` places, the places among `from` that it is made of, and how much of
/// each: a triangle as wide as a place of the coarser grid on either side.
fn taps(from: usize, to: usize) -> Vec<(Range<usize>, Vec<f32>)> {
    let scale = from as f32 / to as f32;
    let support = scale.max(1.0);
    (0..to)
        .map(|place| {
            let centre = scale * (place as f32 + 0.5);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let mut weights: Vec<f32> = (first..end)
                .map(|source| {
                    let distance = (source as f32 - centre + 0.5) / support;
                    (1.0 - distance.abs()).max(0.0)
                })
                .collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            (first..end, weights)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_same() {
        let square: Vec<f32> = (0..5 * 5 * 3).map(|i| (i * i % 17) as f32).collect();
        assert_eq!(resized(&square, 5, 3, 5, 5), square);
    }

    #[test]
    fn half_the_size_is_torchs() {
        // torch 2: interpolate(arange(16).view(1, 1, 4, 4), (2, 2), mode="bilinear",
        // antialias=True). Weights 1/7 * (3, 3, 1) at the edge, from the triangle's
        // values 0.75, 0.75, 0.25 at distances 0.5, 0.5, 1.5 of a support of 2.
        let square: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let edge = [3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0];
        let low: f32 = edge.iter().enumerate().map(|(i, w)| i as f32 * w).sum();
        let high = 3.0 - low;
        let want = [low * 5.0, low * 4.0 + high, high * 4.0 + low, high * 5.0];
        let got = resized(&square, 4, 1, 2, 2);
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "{got}, not {want}");
        }
    }

    #[test]
    fn larger_is_between_neighbours() {
        // Without shrinking there is no antialiasing: 0.25 and 0.75 of two neighbours.
        let got = resized(&[0.0, 1.0, 0.0, 1.0], 2, 1, 2, 4);
        assert_eq!(got[..4], [0.0, 0.25, 0.75, 1.0]);
    }
}
