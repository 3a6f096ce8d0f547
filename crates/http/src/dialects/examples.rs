//! Classes that are shown by pictures of them, or by vectors of pictures: image to image.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::problem::Problem;
use crate::answer::row_error::RowError;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, Kind, wrong};
use siglip2_service::Embeddings;

/// The field with them.
const FIELD: &str = "examples";

/// A class that is shown by pictures of it. The vectors of several are averaged.
#[derive(ToSchema)]
#[schema(as = ClassifyExample)]
#[allow(dead_code, reason = "it is only described")]
pub(super) struct ClassifyExample {
    /// What the class is called in the answer.
    label: String,
    /// Pictures of it, as base64 or as data URIs.
    images: Option<Vec<String>>,
    /// Vectors of pictures of it, beside the pictures or instead of any.
    embeddings: Option<Vec<Vec<f32>>>,
}

/// A class that is shown.
pub(super) struct Example {
    /// Its place in the request.
    pub(super) index: usize,
    /// What it is called.
    pub(super) label: String,
    /// How many of the items are pictures of it.
    pub(super) images: usize,
    /// Vectors of other pictures of it.
    pub(super) given: Vec<Vec<f32>>,
}

/// Reads a list of examples; their pictures go to the reader. Returns how many there are, and the
/// good ones. One whose label is too long is bad: it is noted in `bad`, or the request is bad.
pub(super) fn examples(
    reader: &mut ItemReader,
    raw: &RawValue,
    mut bad: Option<&mut Vec<RowError>>,
) -> Result<(usize, Vec<Example>), Problem> {
    let list = json::list(FIELD, raw, reader.most())?;
    let (count, mut examples) = (list.len(), Vec::new());
    for (index, raw) in list.into_iter().enumerate() {
        let place = Place::at(FIELD, index);
        let [label, images, given] = json::fields(place, raw, ["label", "images", "embeddings"])?;
        let label = label.ok_or_else(|| wrong(format!("{place} must have a label.")))?;
        let label = json::text(place, label)?;
        if let Err(problem) = reader.room(place, label.len()) {
            match &mut bad {
                Some(bad) => bad.push(RowError::of(index, &problem)),
                None => return Err(problem),
            }
            continue;
        }
        reader.hold(label.len())?;
        let images = match images {
            Some(raw) => json::list(place, raw, reader.most_images())?,
            None => Vec::new(),
        };
        let given = given.map(|raw| vectors(reader, "embeddings", raw));
        let given = given.transpose()?.unwrap_or_default();
        if images.is_empty() && given.is_empty() {
            return Err(wrong(format!(
                "{place} must have images, as base64, or embeddings: one at least."
            )));
        }
        let count = images.len();
        for raw in images {
            reader.image(place, &json::text(place, raw)?)?;
        }
        examples.push(Example {
            index,
            label: label.into_owned(),
            images: count,
            given,
        });
    }
    Ok((count, examples))
}

/// The class of each example: the mean of the rows of its pictures, which follow each other in `rows`,
/// and of the vectors that it came with.
pub(super) fn means(examples: &mut [Example], rows: &Embeddings) -> Embeddings {
    let mut rows_of_images = rows.rows().map(<[f32]>::to_vec);
    let (mut all, mut sizes) = (Vec::new(), Vec::with_capacity(examples.len()));
    for example in examples {
        sizes.push(example.images + example.given.len());
        all.extend(rows_of_images.by_ref().take(example.images));
        all.append(&mut example.given);
    }
    // Vectors that were sent may have any length, and count as much as the others.
    Embeddings::given(rows.dimensions(), all).means_of(sizes)
}

/// Vectors that the client has, of this field.
pub(super) fn vectors(
    reader: &mut ItemReader,
    field: &'static str,
    raw: &RawValue,
) -> Result<Vec<Vec<f32>>, Problem> {
    let dimensions = reader.dimensions();
    let rows = json::list(field, raw, reader.most_images())?;
    // As they are, and normalized.
    reader.hold(2 * rows.len() * dimensions * size_of::<f32>())?;
    let rows = rows.into_iter().enumerate();
    rows.map(|(index, raw)| {
        let place = Place::at(field, index);
        let values = json::list(place, raw, dimensions)
            .map_err(|_| wrong(format!("{place} must be a list of {dimensions} numbers.")))?;
        let number = |raw: &&RawValue| {
            let value = match json::kind(raw) {
                Kind::Number => serde_json::from_str::<f32>(raw.get()).ok(),
                _ => None,
            };
            value.filter(|value| value.is_finite())
        };
        let row: Option<Vec<f32>> = values.iter().map(number).collect();
        row.filter(|row| row.len() == dimensions)
            .ok_or_else(|| wrong(format!("{place} must be a list of {dimensions} numbers.")))
    })
    .collect()
}

/// A text that is a copy for as long as the request takes.
pub(super) fn text_of(
    reader: &mut ItemReader,
    place: Place,
    raw: &RawValue,
) -> Result<String, Problem> {
    let text = json::text(place, raw)?;
    reader.room(place, text.len())?;
    reader.hold(text.len())?;
    Ok(text.into_owned())
}
