//! A service that is measured, and what it says of itself.

use std::sync::Arc;

use serde::Deserialize;

use crate::check::Checker;
use crate::client::{Client, Ending, Target};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::report::Report;
use crate::run::{self, Outcome, Plan};

/// A service that has answered.
pub struct Service {
    /// Where it is.
    pub url: String,
    client: Arc<Client>,
    model: String,
    checker: Checker,
}

#[derive(Deserialize)]
struct Info {
    model: String,
    vision_dim: usize,
}

impl Service {
    /// Asks the service at a URL for its model and dimensions.
    pub async fn find(url: &str, options: &Options) -> Result<Self, String> {
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
        )?;
        let exchange = client.get("/info").await;
        match exchange.ending {
            Ending::Status(200) => {}
            Ending::Status(401) => {
                return Err(format!("{url} wants an API key: give it with --api-key"));
            }
            Ending::Status(status) => {
                return Err(format!(
                    "{url}/info answered {status}; is that the service to measure?"
                ));
            }
            Ending::Connect => {
                return Err(format!("{url} cannot be connected to; is it running?"));
            }
            _ => return Err(format!("{url}/info was not answered")),
        }
        let info: Info = serde_json::from_slice(&exchange.body).map_err(|error| {
            format!("{url}/info does not say the model and its dimensions: {error}")
        })?;
        Ok(Self {
            url,
            client: Arc::new(client),
            model: info.model,
            checker: Checker {
                dimensions: info.vision_dim,
                how: options.check,
            },
        })
    }

    /// Runs a plan against it.
    pub async fn run(&self, inputs: &Arc<Inputs>, plan: Plan, label: &str) -> Outcome {
        let client = Arc::clone(&self.client);
        run::run(client, Arc::clone(inputs), self.checker, plan, label).await
    }

    /// Reports what came of a plan.
    pub fn report(
        &self,
        options: &Options,
        inputs: &Inputs,
        plan: &Plan,
        outcome: &Outcome,
    ) -> Report {
        let distinct = inputs.distinct();
        Report::of(options, plan, &self.url, &self.model, distinct, outcome)
    }
}
