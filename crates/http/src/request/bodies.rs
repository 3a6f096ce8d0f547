//! The bodies of the endpoints, as types: which fields each has, what is in them, and how they are
//! described.
//!
//! * `fields`: describes and reads the fields of a form, and of the JSON that says the same.
//! * `typed_form`: what all forms are. `images`: lists of images in JSON.
//! * `embed`, `compare`, `sentences`, `search`, `classify`, `predict`: the bodies, by what is asked for.

mod classify;
mod compare;
mod embed;
mod fields;
mod images;
mod predict;
mod search;
mod sentences;
mod typed_form;

pub(crate) use classify::ClassifyForm;
pub(crate) use compare::{RankForm, RankRequest, SimilarityBody, SimilarityForm};
pub(crate) use embed::{ImageForm, ImageRequest, ImagesForm, ImagesRequest};
pub(crate) use predict::PredictForm;
pub(crate) use search::SearchForm;
pub(crate) use sentences::SentencesRequest;
pub(crate) use typed_form::TypedForm;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use utoipa::ToSchema;

    /// The names in a schema, and those that it requires.
    fn described<T: ToSchema>() -> (Vec<String>, Vec<String>) {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let names = schema["properties"].as_object().unwrap().keys();
        let required = schema["required"].as_array();
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        (
            names.cloned().collect(),
            required.map(str::to_owned).collect(),
        )
    }

    fn holds<T: TypedForm>(required: &[&str]) {
        let (mut named, wanted) = described::<T>();
        let texts = T::FIELDS.texts.iter();
        let mut read: Vec<_> = texts
            .chain([&T::FIELDS.image])
            .map(|name| (*name).to_owned())
            .collect();
        named.sort();
        read.sort();
        assert_eq!(named, read);
        assert_eq!(wanted, required);
    }

    #[test]
    fn what_is_described_is_what_is_read() {
        holds::<ImageForm>(&[]);
        holds::<ImagesForm>(&["files"]);
        holds::<SimilarityForm>(&["files", "texts"]);
        holds::<RankForm>(&["files", "query"]);
        holds::<ClassifyForm>(&["files"]);
        holds::<SearchForm>(&[]);
        holds::<PredictForm>(&["entries"]);
    }
}
