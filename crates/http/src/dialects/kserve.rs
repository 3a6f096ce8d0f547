//! KServe's protocol, version 2, over HTTP, with Triton's binary extension: each model takes
//! `texts` and `images`, and returns `text_embeddings` and `image_embeddings`.

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use serde_json::value::RawValue;

use super::kserve_messages::{
    BinarySize, Flat, KServeAnswer, KServeLive, KServeModel, KServeReady, KServeServer,
    OutputTensor, TensorInfo,
};
use super::kserve_tensor::{Element, SHARED_MEMORY, Tensor, no_shared_memory};
use crate::answer::messages::finite;
use crate::answer::problem::{Problem, printable};
use crate::answer::{self, Answer};
use crate::call::embed::Embed;
use crate::call::{Call, reading};
use crate::request::body::off_thread;
use crate::request::item_reader::{ItemReader, Items, Place};
use crate::request::json::{self, wrong};
use siglip2_service::{Embeddings, Service, State};

/// A second name for the first model, because its own may contain slashes.
const NAME: &str = "siglip2";

/// The length of the JSON in bytes; the binary data begins after it.
pub(crate) const JSON_LENGTH: &str = "inference-header-content-length";

/// The longest `id` that is sent back, in bytes.
const MAX_ID: usize = 1024;

/// `GET /v2`
pub(crate) async fn kserve_server(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let server = KServeServer {
        name: crate::PROGRAM,
        version: call.shared.models.first().info().build.version,
        extensions: ["binary_tensor_data"],
    };
    Ok(answer::respond(StatusCode::OK, answer::json(&server)))
}

/// `GET /v2/health/live`
pub(crate) async fn kserve_live(_: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let body = answer::json(&KServeLive { live: true });
    Ok(answer::respond(StatusCode::OK, body))
}

/// `GET /v2/health/ready`: whether it can embed, without asking the device.
pub(crate) async fn kserve_ready(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    match call
        .choice
        .outside()
        .map_or_else(|| call.shared.models.state(), Service::state)
    {
        State::Ready => Ok(answer::respond(
            StatusCode::OK,
            answer::json(&KServeReady { ready: true }),
        )),
        state => Err(Problem::Unavailable(state)),
    }
}

/// `GET /v2/models/{model}/ready`
pub(crate) async fn kserve_model_ready(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    model_name(call)?;
    kserve_ready(call).await
}

/// `GET /v2/models/{model}`
pub(crate) async fn kserve_model(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let name = model_name(call)?;
    let dimensions = i64::try_from(call.model().info().dimensions).unwrap_or(-1);
    let tensor = |name, datatype, shape| TensorInfo {
        name,
        datatype,
        shape,
    };
    let model = KServeModel {
        name: &name,
        versions: ["1"],
        platform: crate::PROGRAM,
        inputs: [
            tensor("texts", "BYTES", vec![-1]),
            tensor("images", "BYTES", vec![-1]),
        ],
        outputs: [
            tensor("text_embeddings", "FP32", vec![-1, dimensions]),
            tensor("image_embeddings", "FP32", vec![-1, dimensions]),
        ],
    };
    Ok(answer::respond(StatusCode::OK, answer::json(&model)))
}

/// The name in the path, if it is a model's own name, or `siglip2` for the first model. The path may
/// also name the model's only version.
fn model_name(call: &mut Call<'_>) -> Result<String, Problem> {
    let name = call.path_name();
    let name = name.strip_suffix("/versions/1").unwrap_or(&name);
    if name == NAME {
        call.choice.by_field(None)?;
        return Ok(name.to_owned());
    }
    match call.choice.name(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(Problem::NoSuchModel(_)) => {
            let shown = printable(name, 120);
            let others = call.shared.models.names();
            Err(Problem::NoSuchModel(format!(
                "There is no model \"{shown}\" here; there is {others}, and \"{NAME}\" is \
                 another name of the first."
            )))
        }
        Err(other) => Err(other),
    }
}

/// Everything in a request except its items.
struct Told {
    id: Option<String>,
    how: Embed,
    /// How many of the items are texts; they come first.
    texts: usize,
    /// The outputs of the answer, and whether each follows the JSON as binary data.
    outputs: Vec<(Output, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Texts,
    Images,
}

const OUTPUTS: [(&str, Output); 2] = [
    ("text_embeddings", Output::Texts),
    ("image_embeddings", Output::Images),
];

/// `POST /v2/models/{model}/infer`
pub(crate) async fn kserve_infer(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let name = model_name(call)?;
    let length = json_length(call)?;
    let body = call.bytes().await?;
    let mut reader = call.reader(body.len());
    let json = length.map_or(body.len(), |length| length.min(body.len()));
    let memory = call.shared.models.memory().clone();
    let (told, mut items): (Told, Items) = off_thread(body.len(), move || {
        let _reading = reading(&memory, &body[..json])?;
        let told = read(&body, length, &mut reader)?;
        Ok((told, reader.finish()))
    })
    .await?;
    call.fetch(&mut items).await?;
    let dimensions = call.model().info().dimensions;
    let floats = items.items.len() * dimensions;
    let asked = told.outputs.len().max(1);
    let bytes = (answer::json_bytes(floats) + size_of::<f32>() * floats) * asked
        + 6 * (name.len() + told.id.as_ref().map_or(0, String::len));
    let (embedded, memory) = call.embed(items, told.how, bytes).await?;
    let (body, json_length) = off_thread(bytes, move || {
        let mut texts = embedded.embeddings;
        texts.rows().try_for_each(finite)?;
        let images = texts.split_off(told.texts);
        written(&name, &told, &texts, &images, bytes)
    })
    .await?;
    let mut response = answer::held(body, memory);
    if let Some(length) = json_length {
        let headers = response.headers_mut();
        headers.insert(JSON_LENGTH, HeaderValue::from(length));
        headers.insert("content-type", HeaderValue::from_static(answer::BYTES));
    }
    Ok(response)
}

/// The answer, and the length of its JSON where binary data follows it.
fn written(
    name: &str,
    told: &Told,
    texts: &Embeddings,
    images: &Embeddings,
    bytes: usize,
) -> Result<(Vec<u8>, Option<usize>), Problem> {
    let of = |output| match output {
        Output::Texts => texts,
        Output::Images => images,
    };
    let outputs = told.outputs.iter().map(|&(output, is_binary)| {
        let rows = of(output);
        let shape = [rows.len(), rows.dimensions()];
        OutputTensor {
            name: OUTPUTS
                .iter()
                .find(|it| it.1 == output)
                .map_or("", |it| it.0),
            datatype: "FP32",
            shape,
            parameters: is_binary.then(|| BinarySize {
                binary_data_size: shape[0] * shape[1] * size_of::<f32>(),
            }),
            data: (!is_binary).then_some(Flat(rows)),
        }
    });
    let answer = KServeAnswer {
        model_name: name,
        model_version: "1",
        id: told.id.as_deref(),
        outputs: outputs.collect(),
    };
    let mut body = answer::sized(&answer, bytes);
    let length = body.len();
    let binary = told.outputs.iter().filter(|(_, is_binary)| *is_binary);
    for &(output, _) in binary.clone() {
        for row in of(output).rows() {
            body.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    Ok((body, (binary.count() > 0).then_some(length)))
}

/// The length of the JSON, if the client gives it.
fn json_length(call: &Call<'_>) -> Result<Option<usize>, Problem> {
    let Some(said) = call.header(JSON_LENGTH) else {
        return Ok(None);
    };
    let length = said.trim().parse();
    length.map(Some).map_err(|_| {
        let shown = printable(said, 40);
        wrong(format!(
            "Inference-Header-Content-Length must be a whole number, and is \"{shown}\"."
        ))
    })
}

fn read(body: &Bytes, length: Option<usize>, reader: &mut ItemReader) -> Result<Told, Problem> {
    let length = length.unwrap_or(body.len());
    if length > body.len() {
        return Err(wrong(format!(
            "Inference-Header-Content-Length is {length}, and the body has {} bytes.",
            body.len()
        )));
    }
    let text = std::str::from_utf8(&body[..length])
        .map_err(|_| wrong("The JSON of the body is not UTF-8."))?;
    let mut binary = body.slice(length..);
    let names = ["id", "parameters", "inputs", "outputs"];
    let [id, parameters, inputs, outputs] = json::fields("The body", json::whole(text)?, names)?;
    let names = ["normalize", "truncate", "binary_data_output"];
    let [normalize, truncate, binary_output] = match parameters {
        Some(raw) => json::fields("parameters", raw, names)?,
        None => [None; 3],
    };
    let inputs = inputs.ok_or_else(|| wrong("The body must have inputs: a list of tensors."))?;
    let (mut texts, mut images) = (None, None);
    for (index, raw) in json::list("inputs", inputs, 2)?.into_iter().enumerate() {
        let tensor = Tensor::read(Place::at("inputs", index), raw, &mut binary)?;
        let field = match tensor.name.as_ref() {
            "texts" => &mut texts,
            "images" => &mut images,
            other => {
                let other = printable(other, 80);
                return Err(wrong(format!(
                    "inputs[{index}] is called \"{other}\"; there are \"texts\" and \"images\"."
                )));
            }
        };
        if field.replace(tensor).is_some() {
            return Err(wrong(format!("inputs[{index}] repeats an earlier input.")));
        }
    }
    if !binary.is_empty() {
        return Err(wrong(format!(
            "The body has {} bytes after the JSON that no input claims with its binary_data_size.",
            binary.len()
        )));
    }
    let has = |output| match output {
        Output::Texts => texts.is_some(),
        Output::Images => images.is_some(),
    };
    let is_binary = json::boolean("binary_data_output", binary_output)?.unwrap_or(false);
    let outputs = match outputs {
        Some(raw) => wanted(raw, is_binary, has)?,
        None => OUTPUTS
            .iter()
            .filter(|(_, output)| has(*output))
            .map(|(_, output)| (*output, is_binary))
            .collect(),
    };
    let id = id.map(|raw| json::text("id", raw)).transpose()?;
    if id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
        return Err(wrong(format!("id has more than {MAX_ID} bytes.")));
    }
    let most = reader.most();
    let told = Told {
        id: id.map(std::borrow::Cow::into_owned),
        how: Embed {
            normalize: json::boolean("normalize", normalize)?.unwrap_or(true),
            truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
        },
        texts: texts.as_ref().map_or(0, |tensor| tensor.count),
        outputs,
    };
    for (index, element) in elements(texts.as_ref(), most)?.into_iter().enumerate() {
        let place = Place::at("texts", index);
        match element {
            Element::Json(raw) => reader.text(place, json::text(place, raw)?)?,
            Element::Bytes(bytes) => {
                let text = std::str::from_utf8(&bytes);
                let text = text.map_err(|_| wrong(format!("{place} is not UTF-8.")))?;
                reader.text(place, text.into())?;
            }
        }
    }
    for (index, element) in elements(images.as_ref(), most)?.into_iter().enumerate() {
        let place = Place::at("images", index);
        match element {
            Element::Json(raw) => reader.image(place, &json::text(place, raw)?)?,
            Element::Bytes(file) => reader.file(place, file)?,
        }
    }
    Ok(told)
}

fn elements<'a>(tensor: Option<&Tensor<'a>>, most: usize) -> Result<Vec<Element<'a>>, Problem> {
    tensor.map_or_else(|| Ok(Vec::new()), |tensor| tensor.elements(most))
}

/// The elements of all tensors in a body whose first `json` bytes are JSON; see [`crate::fuzzing`].
#[cfg(fuzzing)]
pub(crate) fn tensors(body: &Bytes, length: usize, most: usize) -> Result<Vec<Vec<u8>>, Problem> {
    let length = length.min(body.len());
    let text = std::str::from_utf8(&body[..length])
        .map_err(|_| wrong("The JSON of the body is not UTF-8."))?;
    let mut binary = body.slice(length..);
    let [inputs] = json::fields("The body", json::whole(text)?, ["inputs"])?;
    let inputs = inputs.ok_or_else(|| wrong("The body must have inputs."))?;
    let mut all = Vec::new();
    for (index, raw) in json::list("inputs", inputs, 2)?.into_iter().enumerate() {
        let tensor = Tensor::read(Place::at("inputs", index), raw, &mut binary)?;
        for element in tensor.elements(most)? {
            all.push(match element {
                Element::Json(raw) => raw.get().as_bytes().to_vec(),
                Element::Bytes(bytes) => bytes.to_vec(),
            });
        }
    }
    Ok(all)
}

/// The outputs that are asked for, each once.
fn wanted(
    raw: &RawValue,
    is_binary: bool,
    has: impl Fn(Output) -> bool,
) -> Result<Vec<(Output, bool)>, Problem> {
    let mut outputs: Vec<(Output, bool)> = Vec::new();
    for (index, raw) in json::list("outputs", raw, 2)?.into_iter().enumerate() {
        let place = Place::at("outputs", index);
        let [name, parameters] = json::fields(place, raw, ["name", "parameters"])?;
        let output = json::word(format!("{place}.name"), name, &OUTPUTS)?
            .ok_or_else(|| wrong(format!("{place} has no name.")))?;
        if !has(output) {
            return Err(wrong(format!(
                "{place} cannot be made from the inputs: text_embeddings is made from texts, and image_embeddings from images."
            )));
        }
        if outputs.iter().any(|(other, _)| *other == output) {
            return Err(wrong(format!("{place} comes twice.")));
        }
        let said = match parameters {
            Some(raw) => {
                let names = ["binary_data", "classification", SHARED_MEMORY];
                let [said, classes, region] =
                    json::fields(format!("{place}.parameters"), raw, names)?;
                if classes.is_some_and(|classes| classes.get() != "0") {
                    return Err(wrong(format!(
                        "{place} asks for a classification; an embedding has no classes (/classify scores labels)."
                    )));
                }
                no_shared_memory(place, region)?;
                json::boolean("binary_data", said)?
            }
            None => None,
        };
        outputs.push((output, said.unwrap_or(is_binary)));
    }
    Ok(outputs)
}
