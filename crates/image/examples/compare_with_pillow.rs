//! Holds the decoders to what Pillow makes of the files that tools/draw_pictures.py drew, and
//! prints, for each format, how many are equal: pixels where both decode, and refusals. Where
//! Pillow's pixels lie beside a file (`.rgb`), those that differ by two levels at most are
//! counted as well.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};
use siglip2_image::{ImageLimits, decode};

/// What became of the files of a format.
#[derive(Default)]
struct Counts {
    equal_pixels: u32,
    within_two: u32,
    equal_refusals: u32,
    other_pixels: u32,
    only_pillow: u32,
    only_here: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("say in which folder the drawn files are")?;
    let tell = arguments.next().is_some();
    let folder = Path::new(&folder);
    let truth = std::fs::read_to_string(folder.join("expected.jsonl"))?;
    let mut all: BTreeMap<String, Counts> = BTreeMap::new();
    for line in truth.lines() {
        let row: Value = serde_json::from_str(line)?;
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        let ours = decode(
            &std::fs::read(folder.join(text("file")))?,
            &ImageLimits::default(),
        );
        let whole = text("damage") == "whole";
        let name = format!(
            "{}, {}",
            text("format"),
            if whole { "whole" } else { "damaged" }
        );
        let counts = all.entry(name).or_default();
        let pillow = row["sha256"].as_str();
        let (count, equal) = match (&ours, pillow) {
            (Ok(image), Some(sha256)) => {
                let digest = format!("{:x}", Sha256::digest(image.pixels()));
                let theirs = folder.join(format!("{}.rgb", text("file")));
                if digest == sha256 && row["width"].as_u64() == Some(image.width().into()) {
                    (&mut counts.equal_pixels, true)
                } else if std::fs::read(theirs).is_ok_and(|rgb| close(image.pixels(), &rgb)) {
                    (&mut counts.within_two, false)
                } else {
                    (&mut counts.other_pixels, false)
                }
            }
            (Err(_), None) => (&mut counts.equal_refusals, true),
            (Err(_), Some(_)) => (&mut counts.only_pillow, false),
            (Ok(_), None) => (&mut counts.only_here, false),
        };
        *count += 1;
        if tell && !equal {
            let said = ours.map_or_else(|error| error.to_string(), |image| format!("{image:?}"));
            println!("{said}\n    {line}");
        }
    }
    println!(
        "| format | equal pixels | within 2 levels | equal refusals | other pixels | only Pillow decodes | only we decode |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, counts) in &all {
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            counts.equal_pixels,
            counts.within_two,
            counts.equal_refusals,
            counts.other_pixels,
            counts.only_pillow,
            counts.only_here
        );
    }
    Ok(())
}

/// Whether pixels differ by two levels at most.
fn close(ours: &[u8], theirs: &[u8]) -> bool {
    let mut pairs = ours.iter().zip(theirs);
    ours.len() == theirs.len() && pairs.all(|(a, b)| a.abs_diff(*b) <= 2)
}
