//! A service being measured, and its answer to /info.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::client::{Client, Ending, Target};
use crate::error::Error;
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::report::Report;
use crate::run::{self, Outcome, Plan};

/// A service that has answered.
pub struct Service {
    /// Its address.
    pub url: String,
    client: Arc<Client>,
    info: Info,
    checker: Checker,
    interrupt: Interrupt,
}

/// A service's description of itself. Services other than this project's have only the first
/// two.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Info {
    /// The model's name.
    pub model: String,
    /// Floats in an embedding.
    pub vision_dim: usize,
    /// The service's version.
    pub version: Option<String>,
    /// What it computes on.
    pub device: Option<String>,
    /// Its engine.
    pub engine: Option<String>,
    /// Its precision.
    pub precision: Option<String>,
    /// The vector space of its vectors.
    pub fingerprint: Option<String>,
    /// What it was built from.
    pub build: Option<Build>,
}

/// What a service was built from.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Build {
    /// The commit.
    pub commit: Option<String>,
}

impl Info {
    /// A summary in one phrase, for people.
    pub fn fact(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        let commit = self
            .build
            .as_ref()
            .and_then(|build| build.commit.as_deref());
        let commit = commit.map(|commit| format!(" ({commit})"));
        let runs = [&self.engine, &self.device, &self.precision]
            .into_iter()
            .flatten()
            .map(|part| format!(", {part}"));
        let mut fact = format!("{version}{}", commit.unwrap_or_default());
        fact.extend(runs);
        fact
    }
}

impl Service {
    /// Asks the service at a URL for its model and dimensions.
    pub async fn find(url: &str, options: &Options, interrupt: &Interrupt) -> Result<Self, Error> {
        let open = options.rate.is_some() || options.search_rate;
        let connections = if open {
            options.max_connections
        } else {
            options.concurrency
        };
        let target = Target::parse(url)?;
        let url = target.url.clone();
        let client = Client::new(
            target,
            connections,
            options.api_key.as_deref(),
            options.timeout_ms,
            options.answers,
        )?;
        let exchange = client.get("/info").await;
        match exchange.ending {
            Ending::Status(200) => {}
            Ending::Status(401) => return Err(Error::Key(url)),
            Ending::Status(status) => return Err(Error::Status { url, status }),
            Ending::Connect => return Err(Error::Connect(url)),
            _ => return Err(Error::Silent(url)),
        }
        let info: Info = match serde_json::from_slice(&exchange.body) {
            Ok(info) => info,
            Err(error) => return Err(Error::Info { url, error }),
        };
        Ok(Self {
            url,
            client: Arc::new(client),
            checker: Checker {
                dimensions: info.vision_dim,
                how: options.check,
                answers: options.answers,
            },
            info,
            interrupt: interrupt.clone(),
        })
    }

    /// Runs a plan against it.
    pub async fn run(&self, inputs: &Arc<Inputs>, plan: Plan, label: &str) -> Outcome {
        let client = Arc::clone(&self.client);
        let inputs = Arc::clone(inputs);
        run::run(client, inputs, self.checker, plan, label, &self.interrupt).await
    }

    /// Reports the outcome of a plan.
    pub fn report(
        &self,
        options: &Options,
        inputs: &Inputs,
        plan: &Plan,
        outcome: &Outcome,
    ) -> Report {
        let distinct = inputs.distinct();
        Report::of(options, plan, &self.url, &self.info, distinct, outcome)
    }
}
