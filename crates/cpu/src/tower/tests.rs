//! Whole towers, on every kernel.

#![allow(clippy::unwrap_used)]

mod bits;
mod made;
mod observed;
mod plain;
mod refusals;
mod truth;

use super::{WAVE, waves};

#[test]
fn waves_cover_all_items_in_order() {
    for (count, length, threads) in [
        (1, 196, 2),
        (8, 196, 2),
        (32, 64, 1),
        (3, 4000, 2),
        (0, 5, 2),
    ] {
        let mut next = 0;
        for wave in waves(&vec![length; count], threads) {
            assert_eq!(wave.start, next);
            assert!(wave.len() <= (2 * WAVE * threads / length).max(1));
            next = wave.end;
        }
        assert_eq!(next, count);
    }
}

#[test]
fn waves_of_unequal_items_are_no_larger_than_waves_or_one_item() {
    let lengths = [1024, 3, 256, 256, 600, 900, 1, 1, 5000, 4, 4];
    for threads in [1, 2, 4] {
        let mut next = 0;
        for wave in waves(&lengths, threads) {
            assert_eq!(wave.start, next);
            let rows: usize = lengths[wave.clone()].iter().sum();
            assert!(
                wave.len() == 1 || rows <= WAVE * threads,
                "{wave:?}: {rows}"
            );
            next = wave.end;
        }
        assert_eq!(next, lengths.len());
    }
    assert_eq!(waves(&[1000, 1, 2], 1), [0..1, 1..3]);
}
