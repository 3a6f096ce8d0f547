//! `/predict` and `/ping`, as immich's server calls its machine learning service: one image or one
//! text, whose vector is answered as JSON inside a string.

use hyper::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::json_writer::Numbers;
use crate::answer::messages::finite;
use crate::answer::problem::{Problem, printable};
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::call::embed::Embed;
use crate::request::bodies::PredictForm;
use crate::request::item_reader::Place;
use crate::request::json::{self, wrong};

/// The vector of an image or a text.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImmichPrediction)]
pub(crate) struct ImmichAnswer {
    /// An L2-normalized vector, as JSON inside a string.
    clip: String,
    /// For an image: its height in pixels, after it was rotated, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    image_height: Option<u32>,
    /// For an image: its width in pixels, after it was rotated, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    image_width: Option<u32>,
}

/// `POST /predict`
pub(crate) async fn immich_predict(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: PredictForm = call.form().await?;
    call.hold(4 * form.entries.len())?;
    let mut reader = call.reader(form.entries.len());
    let mut sides = None;
    match task(&form.entries)? {
        Task::Visual => {
            let file = form.image.ok_or_else(|| {
                wrong("entries asks for clip.visual, and the form has no file in image.")
            })?;
            let place = Place::of("image");
            let turned = call.turned()?;
            let inspected = call.model().image_sides(&file.bytes, turned);
            sides = Some(inspected.map_err(|error| Problem::image("image", &error))?);
            reader.file(place, file.bytes)?;
        }
        Task::Textual => {
            // FastAPI takes an empty field for a missing one, but an empty text is still a text.
            let text = form.text.unwrap_or_default();
            reader.text(Place::of("text"), text.into())?;
        }
    }
    let how = Embed {
        normalize: true,
        truncate: true,
    };
    let bytes = 2 * answer::json_bytes(call.model().info().dimensions);
    let (embedded, memory) = call.embed(reader.finish(), how, bytes).await?;
    let row = embedded.embeddings.rows().next().unwrap_or_default();
    finite(row)?;
    let clip = answer::sized(&Numbers(row), answer::json_bytes(row.len()));
    let clip = String::from_utf8(clip).map_err(|error| Problem::Internal(error.to_string()))?;
    let body = answer::json(&ImmichAnswer {
        clip,
        image_height: sides.map(|(_, height)| height),
        image_width: sides.map(|(width, _)| width),
    });
    Ok(answer::held(body, memory))
}

enum Task {
    Visual,
    Textual,
}

/// Which task `entries` asks for.
fn task(entries: &str) -> Result<Task, Problem> {
    let raw: &RawValue = serde_json::from_str(entries)
        .map_err(|error| wrong(format!("entries is not valid JSON: {error}.")))?;
    let [clip] = json::fields("entries", raw, ["clip"])?;
    let Some(clip) = clip else {
        return Err(wrong(format!(
            "entries must have clip; this service has no other task, such as facial-recognition, \
             and entries is {}.",
            printable(entries, 120)
        )));
    };
    let [visual, textual] = json::fields("entries.clip", clip, ["visual", "textual"])?;
    match (visual, textual) {
        (Some(_), None) => Ok(Task::Visual),
        (None, Some(_)) => Ok(Task::Textual),
        _ => Err(wrong("entries.clip must have one of: visual, textual.")),
    }
}

/// `GET /ping`
pub(crate) async fn immich_ping(_: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    Ok(answer::typed("pong", answer::TEXT))
}
