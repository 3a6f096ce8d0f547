//! The models that a process serves: one, or several beside each other, each with its name.
//!
//! ```text
//! Models --get(name)--> Service of a model --> engine, permits, caches, index
//!    |                       |
//!    +-- state, readiness: of all together
//!    +-- memory, metrics of the process, threads that decode and tokenize: shared
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::select_all;

use crate::common::Common;
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::not_ready::NotReady;
use crate::search::VectorIndex;
use crate::service::{Model, Service, State};
use crate::settings::ServiceSettings;
use crate::unfit_index::UnfitIndex;
use siglip2_image::ImageError;

/// See the module. Cheap to clone; there is always at least one model.
#[derive(Clone)]
pub struct Models {
    first: Service,
    others: Arc<[Service]>,
    metrics: Arc<Metrics>,
}

/// Two models have one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "two models are named {0:?}, and requests could not tell them apart: give one of them a name \
     of its own, as in --also {0}=other"
)]
pub struct SameName(pub String);

impl From<Service> for Models {
    fn from(service: Service) -> Self {
        Self {
            metrics: Arc::clone(service.metrics()),
            first: service,
            others: Arc::default(),
        }
    }
}

impl Models {
    /// The services of these models, which have no engines yet. Requests that name no model are
    /// for the first.
    ///
    /// # Errors
    ///
    /// When two have the same name.
    pub fn new(
        first: Model,
        others: Vec<Model>,
        settings: ServiceSettings,
    ) -> Result<Self, SameName> {
        let models = std::iter::once(&first).chain(&others);
        let names: Vec<String> = models.map(|model| model.info.name.clone()).collect();
        let mut known = BTreeSet::new();
        if let Some(twice) = names.iter().find(|&name| !known.insert(name)) {
            return Err(SameName(twice.clone()));
        }
        let (process, of_models) = Metrics::of_models(&names);
        let common = Arc::new(Common::new(settings, Arc::clone(&process), names.len()));
        let mut metrics = of_models.into_iter();
        let mut service = |model| {
            // There is a view for each name.
            let metrics = metrics.next().unwrap_or_else(|| Arc::clone(&process));
            Service::beside(model, Arc::clone(&common), metrics)
        };
        Ok(Self {
            first: service(first),
            others: others.into_iter().map(service).collect(),
            metrics: Arc::clone(common.metrics()),
        })
    }

    /// The model of requests that name none.
    pub fn first(&self) -> &Service {
        &self.first
    }

    /// All, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        std::iter::once(&self.first).chain(self.others.iter())
    }

    /// Whether there is one model, so that no request needs to name it.
    pub fn is_one(&self) -> bool {
        self.others.is_empty()
    }

    /// The model of this name.
    pub fn get(&self, name: &str) -> Option<&Service> {
        self.iter().find(|service| service.info().name == name)
    }

    /// The names, each in quotes, for a sentence.
    pub fn names(&self) -> String {
        let quoted = self
            .iter()
            .map(|service| format!("\"{}\"", service.info().name));
        quoted.collect::<Vec<_>>().join(", ")
    }

    /// The model for searches that name none: the first that has an index.
    pub fn first_with_index(&self) -> &Service {
        let found = self.iter().find(|service| service.index().is_some());
        found.unwrap_or(&self.first)
    }

    /// Whether all can embed; if not, the state of the one that is worst off.
    pub fn state(&self) -> State {
        let states = self.iter().map(Service::state);
        states
            .max_by_key(|&state| badness(state))
            .unwrap_or(State::Starting)
    }

    /// Whether at least one can embed; if not, the state of the one that is best off.
    pub fn best_state(&self) -> State {
        let states = self.iter().map(Service::state);
        states
            .min_by_key(|&state| badness(state))
            .unwrap_or(State::Starting)
    }

    /// Checks all, as [`Service::check_readiness`] does.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which model.
    pub async fn check_readiness(&self) -> Result<(), NotReady> {
        for service in self.iter() {
            let named = |error| match self.is_one() {
                true => error,
                false => NotReady::OfModel {
                    name: service.info().name.clone(),
                    error: Box::new(error),
                },
            };
            let state = service.state();
            if state != State::Ready {
                return Err(named(NotReady::State(state)));
            }
            service.check_readiness().await.map_err(named)?;
        }
        Ok(())
    }

    /// Which models cannot embed, and their states, where there are several.
    pub fn not_ready(&self) -> Option<String> {
        let states = self.iter().map(|service| (service, service.state()));
        let bad = states.filter(|(_, state)| *state != State::Ready);
        let told = bad.map(|(it, state)| self.of_model(it, state.as_str()));
        let told: Vec<String> = told.collect();
        (!self.is_one() && !told.is_empty()).then(|| told.join("; "))
    }

    /// Waits until the engine of one has failed for good, and returns why.
    pub async fn engine_failure(&self) -> String {
        let failures = self.iter().map(|service| {
            Box::pin(async {
                let reason = service.engine_failure().await;
                self.of_model(service, &reason)
            })
        });
        select_all(failures).await.0
    }

    /// From now on nothing new is accepted; what was accepted is finished.
    pub fn drain(&self) {
        self.first.drain();
    }

    /// The counters of the process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The memory that requests hold, and its limits.
    pub fn memory(&self) -> &MemoryBudget {
        self.first.memory()
    }

    /// The limits in force.
    pub fn settings(&self) -> &ServiceSettings {
        self.first.settings()
    }

    /// Reads an image's header, so that one is refused before it is decoded that no model
    /// takes.
    ///
    /// # Errors
    ///
    /// What the first model says, if all refuse it.
    pub fn inspect_image(&self, bytes: &[u8]) -> Result<(), ImageError> {
        let refused = self.first.inspect_image(bytes);
        match refused.is_err() && self.others.iter().any(|it| it.inspect_image(bytes).is_ok()) {
            true => Ok(()),
            false => refused,
        }
    }

    /// Gives an index to the model whose vectors are in it, once all are loaded. One that does
    /// not say what made it goes to the first model with vectors of that length and no index.
    ///
    /// # Errors
    ///
    /// When no model made it, or its model has an index already.
    pub fn give_index(&self, index: Arc<dyn VectorIndex>) -> Result<(), UnfitIndex> {
        let about = index.about();
        let is_of = |service: &&Service| match about.fingerprint {
            Some(theirs) => service
                .fingerprints()
                .is_some_and(|own| own.of(about.normalized) == theirs),
            None => service.info().dimensions == about.dimensions && service.index().is_none(),
        };
        match self.iter().find(is_of) {
            Some(service) => {
                service
                    .give_index(Arc::clone(&index))
                    .map_err(|error| match self.is_one() {
                        true => error,
                        false => UnfitIndex::OfModel {
                            name: service.info().name.clone(),
                            error: Box::new(error),
                        },
                    })
            }
            None => Err(self.of_no_model(&*index)),
        }
    }

    /// Says that no model made the vectors of an index.
    fn of_no_model(&self, index: &dyn VectorIndex) -> UnfitIndex {
        let about = index.about();
        let own = self.iter().map(|service| {
            let own = service.fingerprints().map(|own| own.of(about.normalized));
            let own = own.map_or("fingerprint unknown".to_owned(), |own| own.to_string());
            let info = service.info();
            format!("{} ({own}, {} numbers)", info.name, info.dimensions)
        });
        let made = match (about.fingerprint, about.model.as_deref()) {
            (Some(theirs), Some(model)) => format!("were made by {model} (fingerprint {theirs})"),
            (Some(theirs), None) => format!("have the fingerprint {theirs}"),
            (None, _) => format!("have {} numbers", about.dimensions),
        };
        UnfitIndex::NoModel {
            files: about.files.join(", "),
            made,
            models: own.collect::<Vec<_>>().join(", "),
        }
    }

    /// A sentence about a model, with its name where there are several.
    fn of_model(&self, service: &Service, what: &str) -> String {
        match self.is_one() {
            true => what.to_owned(),
            false => format!("model {:?}: {what}", service.info().name),
        }
    }
}

/// How far a state is from embedding.
fn badness(state: State) -> u8 {
    match state {
        State::Ready => 0,
        State::Restarting => 1,
        State::Starting => 2,
        State::Draining => 3,
        State::Failed => 4,
    }
}
