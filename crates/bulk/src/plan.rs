//! What a run is to do, as it is kept beside the result: who goes on with it must do the same.

use serde::{Deserialize, Serialize};
use siglip2_service::ServiceSettings;

use crate::error::Difference;
use crate::identity::Identity;
use crate::options::{EmbedOptions, Format, Number, Reading};

/// The form of this file.
const FORM: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    form: u32,
    /// What makes the vectors.
    pub identity: Identity,
    /// Whether vectors have length one.
    pub normalized: bool,
    /// What is written.
    pub format: Format,
    /// The type of the vectors' numbers.
    pub number: Number,
    /// How inputs are read.
    pub reading: Reading,
    /// What pictures are refused.
    pub limits: Limits,
    /// A hash over the names of all inputs.
    pub inputs: String,
    /// Shards in all.
    pub shards: usize,
}

/// What pictures may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Pixels.
    pub max_image_pixels: usize,
    /// Scans of a JPEG.
    pub max_jpeg_scans: usize,
    /// Bytes of memory for all of them, half of which one may take. Plans from before this was
    /// kept were mostly made with the default.
    #[serde(default = "default_request_memory")]
    pub max_request_memory: u64,
}

fn default_request_memory() -> u64 {
    ServiceSettings::default().max_request_memory
}

impl Plan {
    pub(crate) fn new(
        options: &EmbedOptions,
        format: Format,
        identity: Identity,
        limits: Limits,
        inputs: String,
        shards: usize,
    ) -> Self {
        Self {
            form: FORM,
            identity,
            normalized: !options.no_normalize,
            format,
            number: options.number,
            reading: options.reading(),
            limits,
            inputs,
            shards,
        }
    }

    /// Checks that this plan is the one that was begun.
    ///
    /// # Errors
    ///
    /// What differs, as the end of a sentence.
    pub(crate) fn same_as(&self, begun: &Self) -> Result<(), Difference> {
        let (new, old) = (&self.identity, &begun.identity);
        if new.fingerprint != old.fingerprint || new.dimensions != old.dimensions {
            return Err(Difference(format!(
                "with the model {} in {} (fingerprint {}), and now it is {} in {} ({})",
                old.model,
                old.precision,
                old.fingerprint,
                new.model,
                new.precision,
                new.fingerprint
            )));
        }
        let json = |value: &dyn erased::Json| value.json();
        for (what, new, old) in [
            ("form", json(&self.form), json(&begun.form)),
            (
                "normalization",
                json(&self.normalized),
                json(&begun.normalized),
            ),
            ("--format", json(&self.format), json(&begun.format)),
            ("--number", json(&self.number), json(&begun.number)),
            (
                "--shard-size",
                json(&self.reading.shard_size),
                json(&begun.reading.shard_size),
            ),
            (
                "--column",
                json(&self.reading.column),
                json(&begun.reading.column),
            ),
            (
                "--id-column",
                json(&self.reading.id_column),
                json(&begun.reading.id_column),
            ),
            (
                "--columns",
                json(&self.reading.columns),
                json(&begun.reading.columns),
            ),
            (
                "--captions",
                json(&self.reading.captions),
                json(&begun.reading.captions),
            ),
            (
                "kind of rows",
                json(&self.reading.kind),
                json(&begun.reading.kind),
            ),
            (
                "--max-image-pixels",
                json(&self.limits.max_image_pixels),
                json(&begun.limits.max_image_pixels),
            ),
            (
                "--max-jpeg-scans",
                json(&self.limits.max_jpeg_scans),
                json(&begun.limits.max_jpeg_scans),
            ),
            (
                "--max-request-memory",
                json(&self.limits.max_request_memory),
                json(&begun.limits.max_request_memory),
            ),
        ] {
            if new != old {
                let what = format!("with the {what} {old}, and now it is {new}");
                return Err(Difference(what));
            }
        }
        if self.inputs != begun.inputs || self.shards != begun.shards {
            return Err(Difference(
                "with other inputs: files were added, removed or renamed, or others are named"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

mod erased {
    /// A value as it is shown.
    pub trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap_or_default()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: EmbedOptions,
    }

    pub(crate) fn options(arguments: &[&str]) -> EmbedOptions {
        let arguments = std::iter::once(&"embed").chain(arguments);
        siglip2_flags::try_parse_flags::<Command>(arguments)
            .unwrap()
            .options
    }

    pub(crate) fn identity() -> Identity {
        Identity {
            fingerprint: "0123456789abcdef".parse().unwrap(),
            model: "demo".into(),
            precision: "fp32".into(),
            dimensions: 4,
            version: "0".into(),
        }
    }

    pub(crate) const LIMITS: Limits = Limits {
        max_image_pixels: 1000,
        max_jpeg_scans: 100,
        max_request_memory: 2 << 30,
    };

    #[test]
    fn whatever_changes_the_result_is_named() {
        let plan = |arguments: &[&str]| {
            let arguments = [&["photos", "--out", "out"], arguments].concat();
            let options = options(&arguments);
            let format = options.format.unwrap_or(Format::Parquet);
            Plan::new(&options, format, identity(), LIMITS, "a".into(), 3)
        };
        let begun = plan(&[]);
        let said_of = |other: &Plan| other.same_as(&begun).unwrap_err().0;
        assert_eq!(
            plan(&["--strict", "--shard", "1/2"]).same_as(&begun),
            Ok(())
        );
        for (arguments, said) in [
            (
                &["--shard-size", "7"][..],
                "--shard-size 10000, and now it is 7",
            ),
            (&["--number", "float16"], "--number"),
            (&["--format", "npy"], "--format"),
            (&["--columns", "a,b"], "--columns"),
            (&["--captions"], "--captions"),
            (&["--no-normalize"], "normalization"),
            (&["--column", "x"], "--column"),
            (&["--id-column", "x"], "--id-column"),
            (&["--texts"], "kind of rows"),
        ] {
            let error = said_of(&plan(arguments));
            assert!(error.contains(said), "{error}");
        }
        let mut other = begun.clone();
        other.inputs = "b".into();
        assert!(said_of(&other).contains("inputs"));
        let mut other = begun.clone();
        other.identity.fingerprint = "0000000000000000".parse().unwrap();
        assert!(said_of(&other).contains("fingerprint"));
        let mut other = begun.clone();
        other.limits.max_request_memory = 64 << 20;
        let error = said_of(&other);
        assert!(error.contains("--max-request-memory 2147483648, and now it is 67108864"));
        let mut other = begun.clone();
        other.limits.max_image_pixels = 1;
        assert!(said_of(&other).contains("--max-image-pixels"));
        let mut other = begun.clone();
        other.limits.max_jpeg_scans = 1;
        assert!(said_of(&other).contains("--max-jpeg-scans"));
        let mut other = begun.clone();
        other.shards = 4;
        assert!(said_of(&other).contains("inputs"));
        // As it was written before.
        let mut json = serde_json::to_value(&begun).unwrap();
        let limits = json["limits"].as_object_mut().unwrap();
        limits.remove("max_request_memory").unwrap();
        assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), begun);
    }
}
