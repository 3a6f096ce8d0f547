//! The rows of the service's index that are nearest to a text or an image.

use hyper::Response;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::messages::SearchAnswer;
use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::request::bodies::SearchForm;
use crate::request::body::off_thread;
use crate::request::item_reader::{ItemReader, Items, Place};
use crate::request::json::{self, Kind, wrong};
use siglip2_service::{Columns, Item, Wanted};

/// Rows that are answered where the request does not say how many, and at most.
const TOP: usize = 10;
const MOST: usize = 1000;

/// Names of columns that a request may have.
const MOST_COLUMNS: usize = 256;

/// Bytes that the names of rows and their columns may take in an answer: so much for each row,
/// a name or a name and its columns, and never more than the last.
const NAME_BYTES: usize = 4 << 10;
const COLUMNS_BYTES: usize = 64 << 10;
const MAX_TOLD: usize = 8 << 20;

/// Bytes of a result besides its name and its columns.
const RESULT_BYTES: usize = 160;

/// A text or an image, and how many rows of the index are wanted.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct SearchRequest {
    /// The text to search by.
    #[schema(nullable = false, example = "three blue stars")]
    query: Option<String>,
    /// The image to search by, as base64 or as a data URI; instead of a text.
    #[schema(nullable = false)]
    image_base64: Option<String>,
    /// How many rows.
    #[schema(required = false, default = 10, minimum = 1, maximum = 1000)]
    top: usize,
    /// The columns of the rows that are told: their names, or `*` for all.
    #[schema(nullable = false, example = json!(["text"]))]
    columns: Option<Vec<String>>,
    /// Whether a query of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    truncate: bool,
    /// Where several models are served, the name of one that has an index; the first that has one
    /// is the default.
    #[schema(nullable = false)]
    model: Option<String>,
}

/// What a request says besides its query.
struct Told {
    top: usize,
    columns: Columns,
    truncate: bool,
}

/// `POST /search`
pub(crate) async fn search(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    if call.shared.models.first_with_index().index().is_none() {
        return Err(Problem::NoIndex);
    }
    let kind = call.content_type().unwrap_or_default();
    let is_form = kind.starts_with("multipart/") || kind == "application/x-www-form-urlencoded";
    let (told, items) = match is_form {
        true => form(call).await?,
        false => call.items(read).await?,
    };
    let index = call.model().index().ok_or_else(|| no_index(call))?;
    let normalized = index.normalized;
    let Items {
        items,
        places,
        memory: query_memory,
        ..
    } = items;
    let Some(query) = single(items) else {
        return Err(wrong(
            "The request must have one query: a text in \"query\", or an image in \"file\" (of a \
             form) or \"image_base64\".",
        ));
    };
    let Told {
        top,
        columns,
        truncate,
    } = told;
    let each = match columns {
        Columns::None => NAME_BYTES,
        _ => COLUMNS_BYTES,
    };
    let max_bytes = (top * each).min(MAX_TOLD);
    // Once in the rows, and once as the answer that is made of them.
    let bytes = max_bytes + RESULT_BYTES * top + 256;
    let mut memory = call.answer_bytes(max_bytes + bytes)?;
    let service = call.request_with_texts(normalized, truncate)?;
    let wanted = Wanted {
        top,
        columns,
        max_bytes,
    };
    let hits = call
        .rows(service.search(query, wanted), |item| {
            Items::name(&places, item.index())
        })
        .await?;
    drop(query_memory);
    let truncated = call.cut_texts();
    let service = call.model().clone();
    let body = off_thread(bytes, move || {
        let answer = SearchAnswer::of(&hits, &service, truncated)?;
        Ok(answer::json(&answer))
    })
    .await?;
    memory.shrink_to(body.len() as u64);
    Ok(answer::held_text(body, memory))
}

/// Says which models can be searched, where this one cannot.
fn no_index(call: &Call<'_>) -> Problem {
    let models = call.shared.models.iter();
    let with_index = models.filter(|model| model.index().is_some());
    let names: Vec<String> = with_index
        .map(|model| format!("\"{}\"", model.info().name))
        .collect();
    Problem::NoSuchModel(format!(
        "The model \"{}\" has no index to search; there is one of {}.",
        call.model().info().name,
        names.join(", ")
    ))
}

/// The only item of a list.
fn single(items: Vec<Item>) -> Option<Item> {
    let mut items = items.into_iter();
    let item = items.next()?;
    items.next().is_none().then_some(item)
}

/// What a form says.
async fn form(call: &mut Call<'_>) -> Result<(Told, Items), Problem> {
    let form: SearchForm = call.form().await?;
    let mut reader = call.reader(0);
    let columns = match form.columns.as_deref().map(str::trim) {
        None => Columns::None,
        Some("*") => Columns::All,
        Some(list) => {
            let list = json::whole(list)
                .map_err(|_| wrong("columns must be a JSON array of names, or *."))?;
            columns(Some(list), |place, bytes| taken(&mut reader, place, bytes))?
        }
    };
    let top = match &form.top {
        None => None,
        Some(top) => Some(top.trim().parse().map_err(|_| not_so_many())?),
    };
    let told = Told {
        top: bounded(top)?,
        columns,
        truncate: form.truncate,
    };
    let encoded = form.image_base64;
    if let Some(file) = form.file {
        reader.file(Place::of("file"), file.bytes)?;
    }
    if let Some(text) = form.query {
        reader.text(Place::of("query"), text.into())?;
    }
    let items = match encoded {
        None => reader.finish(),
        Some(encoded) => {
            off_thread(encoded.len(), move || {
                reader.image(Place::of("image_base64"), &encoded)?;
                Ok(reader.finish())
            })
            .await?
        }
    };
    Ok((told, items))
}

/// What JSON says.
fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Told, Problem> {
    let [query, image, top, names, truncate] = json::fields(
        "The body",
        raw,
        ["query", "image_base64", "top", "columns", "truncate"],
    )?;
    let told = Told {
        top: bounded(json::count("top", top)?)?,
        columns: columns(names, |place, bytes| taken(reader, place, bytes))?,
        truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
    };
    if let Some(query) = query {
        let place = Place::of("query");
        reader.text(place, json::text(place, query)?)?;
    }
    if let Some(image) = image {
        let place = Place::of("image_base64");
        reader.image(place, &json::text(place, image)?)?;
    }
    Ok(told)
}

fn bounded(top: Option<u64>) -> Result<usize, Problem> {
    let top = top.map_or(Ok(TOP), usize::try_from);
    match top {
        Ok(top) if (1..=MOST).contains(&top) => Ok(top),
        _ => Err(not_so_many()),
    }
}

fn not_so_many() -> Problem {
    wrong(format!("top must be a whole number from 1 to {MOST}."))
}

/// Takes the memory of a name, which is a copy for as long as the search takes; it may be as long as a text.
fn taken(reader: &mut ItemReader, place: Place, bytes: usize) -> Result<(), Problem> {
    reader.room(place, bytes)?;
    reader.hold(bytes)
}

/// The columns that are asked for: a list of names, or a star. `take` is told of each name before it is
/// copied.
fn columns(
    raw: Option<&RawValue>,
    mut take: impl FnMut(Place, usize) -> Result<(), Problem>,
) -> Result<Columns, Problem> {
    let Some(raw) = raw else {
        return Ok(Columns::None);
    };
    let listed = match json::kind(raw) {
        Kind::Text => vec![raw],
        _ => json::list("columns", raw, MOST_COLUMNS)?,
    };
    let mut names = Vec::with_capacity(listed.len());
    for (index, raw) in listed.into_iter().enumerate() {
        let place = Place::at("columns", index);
        let name = json::text(place, raw)?;
        take(place, name.len())?;
        names.push(name.into_owned());
    }
    Ok(match names.iter().any(|name| name == "*") {
        true => Columns::All,
        false if names.is_empty() => Columns::None,
        false => Columns::Named(names),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Result<Columns, String> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        columns(Some(&raw), |_, _| Ok(())).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_memory_of_a_name_is_taken_before_it_is_copied() {
        let raw: Box<RawValue> = serde_json::from_str(r#"["a", "bc", "d\u00e9"]"#).unwrap();
        let mut taken = Vec::new();
        let refused = columns(Some(&raw), |place, bytes| {
            taken.push((place.to_string(), bytes));
            match bytes > 2 {
                true => Err(wrong("it is too long")),
                false => Ok(()),
            }
        });
        assert!(refused.is_err());
        let expected = [("columns[0]", 1), ("columns[1]", 2), ("columns[2]", 3)];
        assert_eq!(
            taken,
            expected.map(|(place, bytes)| (place.to_owned(), bytes))
        );
    }

    #[test]
    fn columns_are_names_or_a_star() {
        assert!(matches!(columns(None, |_, _| Ok(())), Ok(Columns::None)));
        assert_eq!(asked("[]"), Ok(Columns::None));
        assert_eq!(asked("\"*\""), Ok(Columns::All));
        let named = Columns::Named(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(asked("[\"a\", \"b\"]"), Ok(named));
        assert!(asked("[1]").unwrap_err().contains("columns[0]"));
        assert!(asked("{}").is_err());
    }

    #[test]
    fn so_many_rows_and_no_more() {
        assert_eq!(bounded(None).ok(), Some(TOP));
        assert_eq!(bounded(Some(1000)).ok(), Some(1000));
        for wrong in [0, 1001, u64::MAX] {
            let problem = bounded(Some(wrong)).unwrap_err();
            assert!(problem.to_string().contains("from 1 to 1000"));
        }
    }
}
