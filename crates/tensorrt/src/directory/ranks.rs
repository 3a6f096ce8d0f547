//! Whether vectors rank each other as FP32's do: what cosines to FP32 do not say, because vectors
//! may be close to FP32's and still change places.

use siglip2_engine::cosine;

/// Pairs that FP32 tells apart by less than this, in cosine, may be in either order.
const APART: f64 = 0.01;

/// The share of pairs that are in FP32's order. Every vector is a query once, and ranks all others;
/// a pair is two of those, if FP32 tells them apart. 1 if there is no such pair.
pub(super) fn agreement(expected: &[&[f32]], found: &[&[f32]]) -> f64 {
    let count = expected.len().min(found.len());
    let scores = |rows: &[&[f32]], query: usize| -> Vec<f64> {
        (0..count).map(|of| cosine(rows[query], rows[of])).collect()
    };
    let (mut pairs, mut same) = (0_u32, 0_u32);
    for query in 0..count {
        let (before, after) = (scores(expected, query), scores(found, query));
        for one in (0..count).filter(|&one| one != query) {
            for other in (0..count).filter(|&other| other != query) {
                if before[one] - before[other] >= APART {
                    pairs += 1;
                    // NaN is in no order.
                    same += u32::from(after[one] > after[other]);
                }
            }
        }
    }
    match pairs {
        0 => 1.0,
        _ => f64::from(same) / f64::from(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expected: &[[f32; 2]], found: &[[f32; 2]]) -> f64 {
        let expected: Vec<&[f32]> = expected.iter().map(|row| &row[..]).collect();
        let found: Vec<&[f32]> = found.iter().map(|row| &row[..]).collect();
        agreement(&expected, &found)
    }

    #[test]
    fn orders_are_compared_and_near_ties_are_not() {
        // Each is between the two others, or beside one of them.
        let rows = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]];
        assert_eq!(of(&rows, &rows), 1.0);
        // The length of a vector changes no order.
        assert_eq!(of(&rows, &[[2.0, 0.0], [0.8, 0.6], [0.0, 9.0]]), 1.0);
        // The one between is nearer to the other end: its own order changes, of three.
        let moved = of(&rows, &[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]);
        assert!((moved - 2.0 / 3.0).abs() < 1e-9, "{moved}");
        // What FP32 hardly tells apart may change places.
        let near = [[1.0, 0.0], [0.709, 0.705], [0.0, 1.0]];
        assert_eq!(of(&near, &[[1.0, 0.0], [0.705, 0.709], [0.0, 1.0]]), 1.0);
        let nan = [[1.0, 0.0], [f32::NAN, 0.6], [0.0, 1.0]];
        assert_eq!(of(&rows, &nan), 0.0);
        assert_eq!(of(&[[1.0, 0.0]], &[[1.0, 0.0]]), 1.0);
    }
}
