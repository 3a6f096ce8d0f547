//! One request on its way through an endpoint: what it brought, until when it is
//! wanted, and what its stages took.

pub(crate) mod accepted;
pub(crate) mod embed;
pub(crate) mod shared;
pub(crate) mod spans;

use std::future::Future;
use std::net::IpAddr;
use std::num::IntErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header;
use hyper::http::request::Parts;
use serde_json::value::RawValue;

use crate::answer::encoding::Encoding;
use crate::answer::json_bytes;
use crate::answer::problem::{Named, Problem, part_name, printable};
use crate::answer::validation::bool_word;
use crate::header::parameters::{self, Parameters};
use crate::request::bodies::TypedForm;
use crate::request::body::{Body, off_thread};
use crate::request::fingerprint;
use crate::request::form::reader::FormKind;
use crate::request::form::{APPLY_ORIENTATION, Form};
use crate::request::ignored::Ignored;
use crate::request::item_reader::{ItemReader, Items};
use crate::request::json;
use crate::request::json_text;
use crate::request::model::Choice;
use shared::Shared;

use siglip2_service::metrics::{Stage, StageTiming, Timings};
use siglip2_service::{
    Context, Fingerprint, Item, Lease, LongTexts, MemoryBudget, MemoryUse, Request, Service,
    ServiceError,
};

/// The header in which a client says how long it will wait, in milliseconds from the
/// arrival of the request's head.
pub(crate) const TIMEOUT: &str = "x-request-timeout-ms";

/// What an answer tells in headers of its own.
#[derive(Default)]
pub(crate) struct Told {
    /// What the request brought that is not read.
    pub(crate) ignored: Ignored,
    /// The space that the vectors are in, or that scores were computed in.
    pub(crate) space: Option<Fingerprint>,
}

/// See the module.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    /// The model that it is for.
    pub(crate) choice: Choice,
    /// Whose it is.
    client: IpAddr,
    /// The headers that came with it.
    pub(crate) headers: &'a HeaderMap,
    /// What stands in the path where it has a name in braces, as it was written.
    pub(crate) path_value: Option<&'a str>,
    query: Option<&'a str>,
    body: &'a mut Body,
    began: Instant,
    deadline: Instant,
    timings: Arc<Timings>,
    /// Whether its form says that images are turned as their orientation tag says.
    apply_orientation: Option<bool>,
    /// What the request brought that is not read.
    pub(crate) ignored: &'a mut Ignored,
    /// The space that its vectors are in, once it is known.
    space: &'a mut Option<Fingerprint>,
}

impl<'a> Call<'a> {
    /// A call that began when its head was read.
    pub(crate) fn new(
        shared: &'a Shared,
        choice: Choice,
        (head, client): (&'a Parts, IpAddr),
        body: &'a mut Body,
        timings: Arc<Timings>,
        began: Instant,
        told: &'a mut Told,
    ) -> Result<Self, Problem> {
        let headers = &head.headers;
        let settings = &shared.settings;
        let most = settings.body_timeout + settings.request_timeout;
        let deadline = began + most.min(asked_for(headers)?.unwrap_or(most));
        Ok(Self {
            shared,
            choice,
            client,
            headers,
            path_value: None,
            query: head.uri.query(),
            body,
            began,
            deadline,
            timings,
            apply_orientation: None,
            ignored: &mut told.ignored,
            space: &mut told.space,
        })
    }

    /// The same, at a path with this in it.
    pub(crate) fn on(mut self, path_value: Option<&'a str>) -> Self {
        self.path_value = path_value;
        self
    }

    /// The model that the request is for: what it said of it was read, and it is fixed.
    pub(crate) fn model(&self) -> &Service {
        self.choice.model()
    }

    /// The whole body, which must be JSON by its content type.
    pub(crate) async fn json_body(&mut self) -> Result<Bytes, Problem> {
        takes_json(self.headers)?;
        self.body
            .limit(self.shared.settings.max_text_body_bytes as u64)?;
        let bytes = self.body.whole().await?;
        self.received();
        Ok(bytes)
    }

    /// The body as JSON in which texts and images may stand, so that it may be as large as a
    /// form, and the items in it. `read` runs where a large body holds up nobody.
    pub(crate) async fn items<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&RawValue, &mut ItemReader) -> Result<T, Problem> + Send + 'static,
    ) -> Result<(T, Items), Problem> {
        takes_json(self.headers)?;
        let bytes = self.bytes().await?;
        let mut reader = self.reader(bytes.len());
        self.hold(json_text::decoded_bytes(&bytes))?;
        let memory = self.shared.models.memory().clone();
        let choice = self.choice.clone();
        let (told, turned, mut items) = off_thread(bytes.len(), move || {
            let _reading = reading(&memory, &bytes)?;
            let body = json_text::decode(&bytes).map_err(json::invalid)?;
            if body.trim_ascii().is_empty() {
                return Err(json::wrong("The body is empty; it must be JSON."));
            }
            let body = json::whole(&body)?;
            choice.by_json(body)?;
            let [turned] = match json::kind(body) {
                json::Kind::Object => json::fields("The body", body, [APPLY_ORIENTATION])?,
                _ => [None],
            };
            let turned = json::boolean(APPLY_ORIENTATION, turned)?;
            let told = read(body, &mut reader)?;
            Ok((told, turned, reader.finish()))
        })
        .await?;
        self.apply_orientation = turned;
        self.fetch(&mut items).await?;
        Ok((told, items))
    }

    /// Fetches the images that are named by their URLs, and looks at the headers of those that are
    /// not for themselves. With the body they have no more bytes than a body may.
    pub(crate) async fn fetch(&self, items: &mut Items) -> Result<(), Problem> {
        let wanted = std::mem::take(&mut items.wanted);
        let Some(fetcher) = self.shared.fetcher.as_ref().filter(|_| !wanted.is_empty()) else {
            return Ok(());
        };
        let most = self.shared.settings.payload_limit;
        let most = most.saturating_sub(self.body.read());
        let memory = self.shared.models.memory();
        let from = items.for_itself_from;
        let is_for_itself = |index, problem: &Problem| index >= from && problem.is_of_an_image();
        let deadline = self.deadline.into();
        let files = fetcher.fetch(self.client, wanted, most, memory, deadline, is_for_itself);
        for (index, file) in files.await? {
            let file = match file {
                Ok(file) => file,
                Err(problem) => {
                    items.refuse(index, problem)?;
                    continue;
                }
            };
            if index < from {
                self.inspect(&Items::name(&items.places, index), &file)?;
            }
            if let Some(item) = items.items.get_mut(index) {
                *item = Item::Image(file);
            }
        }
        Ok(())
    }

    /// The whole body, which may be as large as a form.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, Problem> {
        self.body.limit(self.shared.settings.payload_limit)?;
        let bytes = self.body.whole().await?;
        self.received();
        Ok(bytes)
    }

    /// A reader of items for a body of so many bytes.
    pub(crate) fn reader(&self, body: usize) -> ItemReader {
        ItemReader::new(&self.choice, &self.shared.settings, body as u64)
    }

    /// The content type without its parameters, in lower case.
    pub(crate) fn content_type(&self) -> Option<String> {
        let value = self.headers.get(header::CONTENT_TYPE)?;
        Some(Parameters::parse(value.as_bytes()).value)
    }

    /// The name that stands in the path, percent-decoded.
    pub(crate) fn path_name(&self) -> String {
        parameters::path_text(self.path_value.unwrap_or_default())
    }

    /// A boolean in the query of the path: where the body is a file, options have no other place.
    pub(crate) fn option(&mut self, name: &str, unsaid: bool) -> Result<bool, Problem> {
        Ok(self.said(name)?.unwrap_or(unsaid))
    }

    /// The same, where it matters whether it was said.
    fn said(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        self.ignored.is_read(name);
        let query = self.query.unwrap_or_default().as_bytes();
        let said = form_urlencoded::parse(query).filter(|(key, _)| key == name);
        let Some((_, word)) = said.last() else {
            return Ok(None);
        };
        let word = bool_word(&word).ok_or_else(|| {
            json::wrong(format!(
                "The parameter {name} of the path must be true or false."
            ))
        })?;
        Ok(Some(word))
    }

    /// What the client would have its rows as.
    pub(crate) fn encoding(&self) -> Result<Encoding, Problem> {
        Encoding::wanted(self.headers)
    }

    /// A header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a form. An image that may come with others is looked at as soon as it
    /// is here, so that a bad one ends the reading.
    pub(crate) async fn form<F: TypedForm>(&mut self) -> Result<F, Problem> {
        let kind = FormKind::of(self.headers, self.body)?;
        let settings = &self.shared.settings;
        self.body.limit(settings.payload_limit)?;
        // The field that names the model may stand behind the images.
        let (named, models) = (self.choice.outside(), self.choice.models());
        let inspect = |index: usize, filename: &str, bytes: &[u8]| {
            let inspected = match named {
                Some(model) => model.inspect_image(bytes),
                None => models.inspect_image(bytes),
            };
            inspected.map_err(|error| {
                Problem::image(&part_name(F::FIELDS.image, Some(index), filename), &error)
            })
        };
        let mut form = Form::read(self.body, kind, F::FIELDS, settings, &inspect).await?;
        self.ignored.extend(std::mem::take(&mut form.ignored));
        self.received();
        let form = F::from_form(form)?;
        self.choice.by_field(form.model().as_deref())?;
        self.apply_orientation = form.apply_orientation();
        Ok(form)
    }

    /// Takes so many bytes, for what is decoded out of the body.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        self.body.hold(bytes)
    }

    /// Takes the memory for an answer with so many floats, before anything of it is computed:
    /// as JSON, and in the rows that it is made of.
    pub(crate) fn answer_memory(&self, floats: usize) -> Result<Lease, Problem> {
        self.answer_bytes(json_bytes(floats) + 2 * size_of::<f32>() * floats)
    }

    /// Takes the memory for an answer of so many bytes at most.
    pub(crate) fn answer_bytes(&self, bytes: usize) -> Result<Lease, Problem> {
        let memory = self.shared.models.memory();
        let taken = memory.take(MemoryUse::Answers, bytes as u64);
        Ok(taken.inspect_err(|error| {
            if !error.is_final() {
                self.shared.unread.ring();
            }
        })?)
    }

    /// Reads an image's header, so that a bad one is refused before anything is begun.
    pub(crate) fn inspect(&self, part: &str, bytes: &[u8]) -> Result<(), Problem> {
        self.model()
            .inspect_image(bytes)
            .map_err(|error| Problem::image(part, &error))
    }

    /// Whether the request says that images are turned, or are not: the body counts before the query.
    fn asked_to_turn(&mut self) -> Result<Option<bool>, Problem> {
        let in_query = self.said(APPLY_ORIENTATION)?;
        Ok(self.apply_orientation.or(in_query))
    }

    /// Whether images of this request, whose body is here, are turned.
    pub(super) fn turned(&mut self) -> Result<bool, Problem> {
        let by_default = self.model().settings().apply_orientation;
        Ok(self.asked_to_turn()?.unwrap_or(by_default))
    }

    /// The service, working for this request, whose body is here. The request is refused if
    /// its client has vectors of another space than those that it would get, which are
    /// normalized or not.
    pub(crate) fn request(&mut self, normalized: bool) -> Result<Request, Problem> {
        self.request_with_texts(normalized, true)
    }

    /// The same, where texts that the model does not read to their end are refused, unless they
    /// may be cut.
    pub(crate) fn request_with_texts(
        &mut self,
        normalized: bool,
        truncate: bool,
    ) -> Result<Request, Problem> {
        let apply_orientation = self.asked_to_turn()?;
        let turned = self.turned()?;
        let service = self.choice.model();
        *self.space = fingerprint::agreed(self.headers, &self.choice, turned, normalized)?;
        let most = Instant::now() + self.shared.settings.request_timeout;
        Ok(service.request(Context {
            apply_orientation,
            deadline: Some(self.deadline.min(most)),
            timings: Arc::clone(&self.timings),
            long_texts: match truncate {
                true => LongTexts::Cut,
                false => LongTexts::Refuse,
            },
        }))
    }

    /// Texts of the request whose end was cut off.
    pub(crate) fn cut_texts(&self) -> u64 {
        self.timings.cut_texts()
    }

    /// Waits for the service; `name` says what the client calls an item.
    pub(crate) async fn rows<T>(
        &self,
        work: impl Future<Output = Result<T, ServiceError>>,
        name: impl FnOnce(Named) -> String,
    ) -> Result<T, Problem> {
        let result = work.await;
        if !matches!(result, Err(ServiceError::Expired)) {
            self.timings.computed();
        }
        result.map_err(|error| Problem::service(error, name))
    }

    /// The body is here.
    fn received(&self) {
        let receive = StageTiming::since(Stage::Receive, self.began);
        self.timings.note(receive);
    }
}

/// The memory for reading JSON: for undoing its escapes, where it has any, because the longest
/// string may be all of it, and is unescaped in a buffer that grows, and copied out of it; and
/// for what nesting takes.
pub(crate) fn reading(memory: &MemoryBudget, json: &[u8]) -> Result<Lease, Problem> {
    let is_escaped = memchr::memchr(b'\\', json).is_some();
    let escapes = if is_escaped { 3 * json.len() } else { 0 };
    let bytes = (escapes + json::nesting_bytes(json)) as u64;
    Ok(memory
        .take(MemoryUse::Bodies, bytes)
        .map_err(|error| error.beside(json.len() as u64))?)
}

/// How long the client says that it will wait.
fn asked_for(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let digits = value.to_str().unwrap_or_default().trim();
    let millis = match digits.parse::<u64>() {
        // Longer than anybody waits; the service's own timeout counts.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(u64::MAX),
        parsed => parsed.ok(),
    };
    match millis {
        Some(millis) if millis > 0 => Ok(Some(Duration::from_millis(millis))),
        _ => {
            let shown = printable(&String::from_utf8_lossy(value.as_bytes()), 40);
            Err(Problem::BadRequest(
                format!("X-Request-Timeout-Ms must be a whole number above 0, and is {shown:?}.")
                    .into(),
            ))
        }
    }
}

/// JSON, by any of its names; nothing at all is taken for JSON, as FastAPI long did.
fn takes_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let content_type = Parameters::parse(content_type.as_bytes()).value;
    match content_type.strip_prefix("application/") {
        Some(subtype) if subtype == "json" || subtype.ends_with("+json") => Ok(()),
        _ => Err(Problem::Unsupported(format!(
            "This endpoint takes application/json; the Content-Type is {}.",
            printable(&content_type, 80)
        ))),
    }
}
