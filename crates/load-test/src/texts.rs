//! Texts like those that people search with, as many different ones as wanted.

use crate::random::Random;

const COUNTS: [&str; 10] = [
    "a", "two", "three", "four", "five", "some", "many", "several", "no", "one",
];
const LOOKS: [&str; 16] = [
    "red", "blue", "small", "old", "wooden", "shiny", "green", "tall", "broken", "quiet", "yellow",
    "striped", "wet", "black", "white", "bright",
];
const THINGS: [&str; 20] = [
    "dogs",
    "bicycles",
    "houses",
    "boats",
    "chairs",
    "birds",
    "mountains",
    "flowers",
    "cars",
    "books",
    "bridges",
    "children",
    "stars",
    "cups",
    "trees",
    "windows",
    "horses",
    "shoes",
    "clouds",
    "trains",
];
const PLACES: [&str; 16] = [
    "on a beach",
    "in the snow",
    "at night",
    "in a kitchen",
    "under a bridge",
    "near the sea",
    "in a museum",
    "on a table",
    "in the rain",
    "at sunset",
    "in a city",
    "behind a fence",
    "on a hill",
    "in a garden",
    "from above",
    "in a studio",
];
const TAILS: [&str; 12] = [
    "black and white photograph",
    "with people in the background",
    "close up",
    "oil painting",
    "seen through a window",
    "high resolution",
    "soft light",
    "with a long shadow",
    "product photo on white",
    "taken with an old camera",
    "for a travel magazine",
    "out of focus",
];

fn take<'w>(rest: &mut u64, words: &[&'w str]) -> &'w str {
    let n = words.len().max(1) as u64;
    let word = words.get((*rest % n) as usize).copied().unwrap_or("");
    *rest /= n;
    word
}

/// The text of this number. The first words spell the number, so that two numbers never
/// give the same text; they begin elsewhere for each seed, so that another run sends
/// other texts. The tail makes lengths differ as those of people do.
pub fn text(number: u64, seed: u64) -> String {
    let mut rest = Random::new(seed, 0).below(1 << 32).wrapping_add(number);
    let mut text = format!(
        "{} {} {} {}",
        take(&mut rest, &COUNTS),
        take(&mut rest, &LOOKS),
        take(&mut rest, &THINGS),
        take(&mut rest, &PLACES)
    );
    if rest > 0 {
        text.push_str(&format!(" no. {rest}"));
    }
    let mut random = Random::new(seed, number);
    for _ in 0..random.below(5) {
        text.push_str(", ");
        text.push_str(TAILS[random.below(TAILS.len() as u64) as usize]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_texts_are_the_same() {
        let mut texts: Vec<String> = (0..120_000).map(|n| text(n, 3)).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 120_000);
        let of_another_seed = |n| texts.binary_search(&text(n, 4)).is_ok();
        assert!(!(0..1000).any(of_another_seed));
    }
}
