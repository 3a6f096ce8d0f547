//! Engine files for the stand-in: tests/stand_in/tensorrt/engine_file.hpp.

use std::fmt::Write;

use siglip2_embeddings::graph;
use siglip2_embeddings::tensorrt::directory::{BatchSize, PatchEntry, profiles, size_profiles};

use super::TENSORRT;

/// An engine of one tower.
#[derive(Clone, Debug)]
pub struct EngineFile {
    pub tower: &'static str,
    pub tensorrt: String,
    /// As `12.0`, or `any`.
    pub compute_capability: String,
    pub input: &'static str,
    /// `fp16`, `fp32`, `int32`, `int64` or `uint8`.
    pub input_type: &'static str,
    /// -1 for the dimension of patches.
    pub input_row: Vec<i64>,
    pub output: &'static str,
    pub dimensions: usize,
    /// Least, best, most: of rows, and of the patches of each if it has any.
    pub profiles: Vec<[BatchSize; 3]>,
    /// Device memory that the engine takes.
    pub weight_bytes: usize,
    /// Device memory that each of its contexts takes.
    pub context_bytes: usize,
    /// Batches whose results are wrong: rows, slot (0 is any), and by how much.
    pub wrong: Vec<(usize, usize, f32)>,
    /// Only those are wrong whose rows have so many patches; 0 is any number.
    pub wrong_patches: usize,
}

impl EngineFile {
    /// A vision tower for squares of `size` pixels, of `input_type` values.
    pub fn image(size: usize, input_type: &'static str, dimensions: usize, most: usize) -> Self {
        Self {
            tower: "image",
            input: "pixel_values",
            input_type,
            input_row: vec![3, size as i64, size as i64],
            ..Self::text(0, dimensions, most)
        }
    }

    /// A vision tower for pictures of variable resolution.
    pub fn patches(patches: &PatchEntry, dimensions: usize, most: usize) -> Self {
        Self {
            tower: "image",
            input: "patches",
            input_type: "uint8",
            input_row: vec![-1, graph::patches::bytes(patches.size) as i64],
            profiles: size_profiles(&profiles(most), most, Some(patches)),
            ..Self::text(0, dimensions, most)
        }
    }

    /// A text tower for `tokens` ids.
    pub fn text(tokens: usize, dimensions: usize, most: usize) -> Self {
        Self {
            tower: "text",
            tensorrt: TENSORRT.version.into(),
            compute_capability: "12.0".into(),
            input: "input_ids",
            input_type: "int32",
            input_row: vec![tokens as i64],
            output: "embedding",
            dimensions,
            profiles: size_profiles(&profiles(most), most, None),
            weight_bytes: 1 << 20,
            context_bytes: 1 << 16,
            wrong: Vec::new(),
            wrong_patches: 0,
        }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::from("stand-in engine 1\n");
        let mut line = |key: &str, words: &[String]| {
            writeln!(text, "{key} {}", words.join(" ")).expect("a String takes it");
        };
        line("tower", &[self.tower.into()]);
        line("tensorrt", std::slice::from_ref(&self.tensorrt));
        line(
            "compute_capability",
            std::slice::from_ref(&self.compute_capability),
        );
        let mut input = vec![self.input.to_owned(), self.input_type.to_owned()];
        input.extend(self.input_row.iter().map(i64::to_string));
        line("input", &input);
        let dimensions = self.dimensions.to_string();
        line("output", &[self.output.into(), "fp32".into(), dimensions]);
        for profile in &self.profiles {
            let rows = profile.map(|size| Some(size.rows));
            let patches = profile.map(|size| size.patches);
            let numbers = rows.into_iter().chain(patches).flatten();
            line(
                "profile",
                &numbers.map(|it| it.to_string()).collect::<Vec<_>>(),
            );
        }
        line("weight_bytes", &[self.weight_bytes.to_string()]);
        line("context_bytes", &[self.context_bytes.to_string()]);
        // As build-engine builds them.
        line("allocation", &["user".into()]);
        for (rows, slot, share) in &self.wrong {
            let patches = self.wrong_patches.to_string();
            let words = [
                rows.to_string(),
                slot.to_string(),
                share.to_string(),
                patches,
            ];
            line("wrong", &words);
        }
        let checksum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        writeln!(text, "checksum {checksum:016x}").expect("a String takes it");
        text.into_bytes()
    }
}
