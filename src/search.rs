//! `siglip2-embeddings search FILE-OR-DIR... QUERY`: the rows written by `embed` that are nearest
//! to a text or a picture.

use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::{Value, json};
use siglip2_bulk::search::{Hit, Index, SearchOptions, sheet};

use crate::exit::UNUSABLE;
use crate::log::{Log, last_line};
use crate::service::{Context, Service};
use crate::settings::Settings;
use crate::subcommand::{self, Given};

/// Shows the rows written by embed that are nearest to a text or a picture.
#[derive(Debug, Parser)]
#[command(
    name = "siglip2-embeddings search",
    bin_name = "siglip2-embeddings search",
    version
)]
pub struct Search {
    /// What to look for, and where.
    #[command(flatten)]
    search: SearchOptions,

    /// The model and its device; by default the model that made the vectors.
    #[command(flatten)]
    settings: Settings,

    #[arg(skip)]
    given: Given,
}

impl Search {
    /// The search, if the command line asks for one. Invalid flags end the process with a
    /// sentence.
    pub fn asked_for() -> Option<Self> {
        let (search, given) = subcommand::asked_for("search")?;
        Some(Self { given, ..search })
    }

    /// Runs it.
    pub fn run(self) -> ExitCode {
        let _log = Log::start(&self.settings.log);
        let outcome = self.search();
        tracing::debug!(peak_memory_mib = subcommand::peak_memory(), "ended");
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                last_line(&error.to_string());
                ExitCode::from(UNUSABLE)
            }
        }
    }

    fn search(self) -> Result<(), Box<dyn Error>> {
        let Self {
            search,
            mut settings,
            given,
        } = self;
        let (index, asked) = search.asked().map_err(|error| error.to_string())?;
        let index = Index::open(index).map_err(|error| error.to_string())?;
        if let Some(made) = index.made()
            && !given.model
        {
            settings.model.clone_from(&made.model);
        }
        if index.is_incomplete() {
            tracing::warn!("the run that writes these files is not done: some rows are missing");
        }
        let service = subcommand::load(&settings)?;
        check(&index, &service, search.unchecked)?;
        let query = subcommand::runtime()?.block_on(query(&service, asked, search.image))?;
        let began = Instant::now();
        let hits = index
            .search(&query, search.top, siglip2_flags::cores())
            .map_err(|error| error.to_string())?;
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(
            rows = index.rows(),
            milliseconds = format_args!("{:.1}", seconds * 1e3),
            "searched"
        );
        if let Some(path) = &search.html {
            std::fs::write(path, sheet(asked, &hits))
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(print(&hits, search.json)
            .map_err(|error| format!("cannot write the answer: {error}"))?)
    }
}

/// Refuses vectors from another vector space than the model's.
fn check(index: &Index, service: &Service, unchecked: bool) -> Result<(), Box<dyn Error>> {
    let model = service.info();
    let Some(made) = index.made() else {
        if unchecked {
            return Ok(());
        }
        return Err(
            "the files do not say which model made their vectors: --unchecked searches them all \
             the same"
                .into(),
        );
    };
    let own = subcommand::identity(service, made.normalized)?;
    if made.fingerprint == own.fingerprint {
        return Ok(());
    }
    Err(format!(
        "the vectors were made by {} (fingerprint {}), and the model is {} ({}): they cannot be \
         compared; give the --model and --precision that made them",
        made.model, made.fingerprint, model.name, own.fingerprint
    )
    .into())
}

async fn query(service: &Service, asked: &str, is_path: bool) -> Result<Vec<f32>, Box<dyn Error>> {
    let request = service.request(Context::default());
    let embedded = if is_path {
        let bytes =
            std::fs::read(asked).map_err(|error| format!("cannot read {asked}: {error}"))?;
        request.embed_images(vec![bytes.into()], true).await
    } else {
        let found = request.embed_texts(vec![asked.to_owned()], true).await;
        found.map(|found| found.embeddings)
    };
    let embedded = embedded.map_err(|error| format!("the query cannot be embedded: {error}"))?;
    let mut rows = embedded.rows();
    let row = rows.next().ok_or("the query has no vector")?;
    Ok(row.to_vec())
}

fn print(hits: &[Hit], as_json: bool) -> std::io::Result<()> {
    let mut out = stdout().lock();
    if as_json {
        let hits = hits.iter().enumerate().map(|(rank, hit)| {
            let mut columns = hit.columns.clone();
            columns.insert("rank".to_owned(), json!(rank + 1));
            columns.insert("score".to_owned(), json!(hit.score));
            Value::Object(columns)
        });
        return writeln!(out, "{:#}", Value::Array(hits.collect()));
    }
    for hit in hits {
        let text = hit.columns.get("text").or(hit.columns.get("caption"));
        let text = text.and_then(Value::as_str).unwrap_or_default();
        let (id, text) = (in_a_line(hit.id()), in_a_line(text));
        writeln!(out, "{:.4}  {id}  {text}", hit.score)?;
    }
    Ok(())
}
/// Replaces characters that would end the line or move a terminal's cursor.
fn in_a_line(text: &str) -> String {
    let plain = text.chars();
    plain
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect()
}
