//! What `--also` says of a model: where it is from, what requests call it, and in what it differs
//! from the first.

use std::path::Path;

use clap::ValueEnum;
use siglip2_flags::text;
use siglip2_model::checkpoint::Source;

use super::{Precision, SettingsError, named};

/// A model beside the first, written `MODEL[@REVISION][:PRECISION][=NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Also {
    /// The model, and its name behind an equals sign if it has one, as `--model` has them.
    pub model: String,
    /// Its branch, tag or commit on the hub; without one it is the hub's default.
    pub revision: Option<String>,
    /// The precision of its products; without one it is that of `--precision`.
    pub precision: Option<Precision>,
}

impl Also {
    /// Reads it. As far as there is a directory of that name, the signs are parts of the name.
    ///
    /// # Errors
    ///
    /// A sentence for a precision that does not exist.
    pub fn parse(value: &str) -> Result<Self, String> {
        let value = text(value)?;
        let (mut source, name) = named(&value);
        let name = (name != value).then_some(name);
        let (mut revision, mut precision) = (None, None);
        if !Path::new(source).is_dir()
            && let Some((rest, word)) = source.rsplit_once(':')
        {
            precision = Some(Precision::from_str(word, true).map_err(|_| unknown(word))?);
            source = rest;
        }
        if !Path::new(source).is_dir()
            && let Some((rest, word)) = source.rsplit_once('@')
        {
            revision = Some(text(word).map_err(|_| "there is no revision after the @".to_owned())?);
            source = rest;
        }
        let model = match name {
            Some(name) => format!("{source}={name}"),
            None => source.to_owned(),
        };
        Ok(Self {
            model,
            revision,
            precision,
        })
    }

    /// Checks what reading it alone does not show.
    ///
    /// # Errors
    ///
    /// For a model with a revision that is not on the hub.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let source = named(&self.model).0;
        match &self.revision {
            Some(revision) if !matches!(Source::of(source), Ok(Source::Hub(_))) => {
                Err(SettingsError::Revision {
                    model: source.to_owned(),
                    revision: revision.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// The sentence for a word that is not a precision.
fn unknown(word: &str) -> String {
    let values = Precision::value_variants().iter();
    let names: Vec<_> = values
        .filter_map(Precision::to_possible_value)
        .map(|value| value.get_name().to_owned())
        .collect();
    format!(
        "{word:?} after the colon is not a precision; it can be one of {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_have_a_revision_a_precision_and_a_name() {
        let read = |value| {
            let also = Also::parse(value).unwrap();
            (also.model, also.revision, also.precision)
        };
        let own = |model: &str, revision: Option<&str>, precision| {
            (model.to_owned(), revision.map(str::to_owned), precision)
        };
        let fp32 = Some(Precision::Fp32);
        for (value, expected) in [
            ("demo", own("demo", None, None)),
            ("demo:FP32=new", own("demo=new", None, fp32)),
            ("a/b@v1", own("a/b", Some("v1"), None)),
            (" a/b@x/y:fp32 ", own("a/b", Some("x/y"), fp32)),
            (
                "a/b@v1:bf16=b",
                own("a/b=b", Some("v1"), Some(Precision::Bf16)),
            ),
            ("a/b=b:fp32", own("a/b=b:fp32", None, None)),
            ("a/b=b@v1", own("a/b=b@v1", None, None)),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[test]
    fn signs_in_the_names_of_directories_are_theirs() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a@b", "a:fp32", "a=b", "a@b:fp32=c"] {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            let path = path.to_str().unwrap();
            let also = Also::parse(path).unwrap();
            assert_eq!((also.model.as_str(), also.precision), (path, None));
            assert_eq!(also.revision, None);
        }
        let path = folder.path().join("a@b:int8=x");
        let also = Also::parse(path.to_str().unwrap()).unwrap();
        assert_eq!(also.precision, Some(Precision::Int8));
        assert!(also.model.ends_with("a@b=x") && also.revision.is_none());
    }

    #[test]
    fn what_is_neither_is_refused() {
        let error = Also::parse("a/b:fp33").unwrap_err();
        assert!(
            error.contains("auto, fp32, fp16, bf16, int8, fp8"),
            "{error}"
        );
        assert!(Also::parse("a/b@").is_err());
        for value in ["demo@main", "src@main"] {
            let error = Also::parse(value).unwrap().check().unwrap_err();
            let said = error.to_string();
            assert!(said.contains("only a model of the hub"), "{said}");
        }
        assert_eq!(Also::parse("a/b@main").unwrap().check(), Ok(()));
    }
}
