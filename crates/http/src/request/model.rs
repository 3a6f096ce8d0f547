//! Which model a request is for.
//!
//! ```text
//! path /models/NAME/... --+
//! header X-Model ---------+--> named outside of the body --+
//! path of KServe ---------+                                +--> one model, until the answer
//! field `model` of a form or of JSON ----------------------+
//! nobody says: the first; of a search the first that has an index
//! ```
//!
//! Where one model is served, the field may have any name: clients of other services send those
//! of other models, and always could. Where there are several, a name that none of them has is
//! refused, in the field too, because vectors of another model than the one that was meant look
//! like right ones. A client whose field cannot be changed names the model in the path or the
//! header. The field is then read over, unless it names another model that is served.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use hyper::HeaderMap;
use serde_json::value::RawValue;

use super::json::{self, Kind, wrong};
use crate::answer::problem::{Problem, printable};
use crate::header::parameters;
use siglip2_service::metrics::Metrics;
use siglip2_service::{Models, Service, State};

/// The header that names the model.
pub(crate) const HEADER: &str = "x-model";

/// The field of a form or of JSON that names it.
pub(crate) const FIELD: &str = "model";

/// What paths begin with that name it.
const PREFIX: &str = "/models/";

/// The longest name that is told back, in characters.
const MAX_NAME: usize = 120;

/// The longest name that is looked for in a path, in bytes as it is written there. Each slash in it may be
/// its end, and so each costs a reading of what stands before it: a path of slashes alone must not.
const MAX_NAME_IN_PATH: usize = 1024;

/// A path, without the model that it may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelPath<'a> {
    /// The name of the model, if the path has one.
    pub(crate) model: Option<String>,
    /// The path of the route.
    pub(crate) rest: &'a str,
}

impl<'a> ModelPath<'a> {
    /// What stands behind `/models/NAME`, and the name. Names may have slashes in them: the
    /// longest that is served counts, of those with a route behind them. Of a name that is not
    /// served, the route is the first that fits the end of the path.
    pub(crate) fn of(
        path: &'a str,
        is_served: impl Fn(&str) -> bool,
        is_route: impl Fn(&str) -> bool,
    ) -> Self {
        let whole = Self {
            model: None,
            rest: path,
        };
        let Some(named) = path.strip_prefix(PREFIX) else {
            return whole;
        };
        let slashes = named.match_indices('/').map(|(at, _)| at);
        let ends = slashes.chain([named.len()]);
        let ends = ends.take_while(|&at| at <= MAX_NAME_IN_PATH);
        let split = ends.filter(|&at| at > 0).map(|at| {
            let (name, rest) = named.split_at(at);
            let rest = if rest.is_empty() { "/" } else { rest };
            (parameters::path_text(name), rest)
        });
        let served = || split.clone().filter(|(name, _)| is_served(name));
        let leads = |(_, rest): &(String, &str)| is_route(rest);
        let found = served().filter(leads).last().or_else(|| served().last());
        let found = found.or_else(|| {
            let mut unknown = split.clone().filter(|(_, rest)| *rest != "/");
            unknown.find(leads)
        });
        match found {
            Some((name, rest)) => Self {
                model: Some(name),
                rest,
            },
            None => whole,
        }
    }
}

/// The model of one request. Clones are the same choice.
#[derive(Clone)]
pub(crate) struct Choice {
    models: Models,
    /// The model where nobody names one.
    unsaid: Service,
    /// What the path or a header names.
    outside: Option<Service>,
    /// Set once, when all that may name it was read.
    chosen: Arc<OnceLock<Service>>,
}

impl Choice {
    /// The model of a request that may name one, and else has this one.
    pub(crate) fn new(models: &Models, unsaid: &Service) -> Self {
        Self {
            models: models.clone(),
            unsaid: unsaid.clone(),
            outside: None,
            chosen: Arc::default(),
        }
    }

    /// Reads what the path and the headers say.
    pub(crate) fn outside_of_the_body(
        &mut self,
        path: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        if let Some(name) = path {
            self.name(name)?;
        }
        // Two of them that differ are two models.
        for value in headers.get_all(HEADER) {
            self.name(String::from_utf8_lossy(value.as_bytes()).trim())?;
        }
        Ok(())
    }

    /// The path or a header names this model.
    pub(crate) fn name(&mut self, name: &str) -> Result<(), Problem> {
        let named = self.get(name)?.clone();
        if let Some(other) = &self.outside
            && !is_same(other, &named)
        {
            return Err(two_models(other, &named));
        }
        let _ = self.chosen.set(named.clone());
        self.outside = Some(named);
        Ok(())
    }

    /// The model of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Service, Problem> {
        self.models.get(name).ok_or_else(|| {
            let shown = printable(name, MAX_NAME);
            Problem::NoSuchModel(format!(
                "There is no model \"{shown}\" here; there is {}.",
                self.models.names()
            ))
        })
    }

    /// Reads what the body says: nothing, or a name.
    pub(crate) fn by_field(&self, name: Option<&str>) -> Result<&Service, Problem> {
        let said = name.filter(|name| !name.is_empty() && !self.models.is_one());
        let chosen = match (&self.outside, said) {
            (Some(outside), None) => outside,
            (Some(outside), Some(name)) => match self.models.get(name) {
                Some(other) if !is_same(other, outside) => return Err(two_models(outside, other)),
                _ => outside,
            },
            (None, Some(name)) => self.get(name)?,
            (None, None) => &self.unsaid,
        };
        let fixed = self.chosen.get_or_init(|| chosen.clone());
        if !is_same(fixed, chosen) {
            let what = "a model was chosen before its name was read";
            return Err(Problem::Internal(what.to_owned()));
        }
        Ok(fixed)
    }

    /// The same, of a body of JSON, which is looked through only where a name counts.
    pub(crate) fn by_json(&self, body: &RawValue) -> Result<&Service, Problem> {
        if self.models.is_one() || json::kind(body) != Kind::Object {
            return self.by_field(None);
        }
        let [name] = json::fields("The body", body, [FIELD])?;
        let name = name.map(|raw| json::text(FIELD, raw)).transpose()?;
        self.by_field(name.as_deref())
    }

    /// The model. From now on it is fixed.
    pub(crate) fn model(&self) -> &Service {
        self.chosen.get_or_init(|| self.unsaid.clone())
    }

    /// What the path or a header names.
    pub(crate) fn outside(&self) -> Option<&Service> {
        self.outside.as_ref()
    }

    /// All that there are.
    pub(crate) fn models(&self) -> &Models {
        &self.models
    }

    /// Its state, or that of the model that is best off, as long as nobody has named one.
    pub(crate) fn state(&self) -> State {
        match &self.outside {
            Some(named) => named.state(),
            None => self.models.best_state(),
        }
    }

    /// Its name and what counts for it, once it is chosen, where there are several.
    pub(crate) fn told(&self) -> Option<(&str, &Arc<Metrics>)> {
        let chosen = self.chosen.get().filter(|_| !self.models.is_one())?;
        Some((&chosen.info().name, chosen.metrics()))
    }

    /// The name of another model, whose vectors have this fingerprint.
    pub(crate) fn other_with(&self, is_in: impl Fn(&Service) -> bool) -> Option<Cow<'_, str>> {
        let mut others = self.models.iter().filter(|it| !is_same(it, self.model()));
        let found = others.find(|service| is_in(service))?;
        Some(Cow::Borrowed(&found.info().name))
    }
}

/// Names are different from each other.
fn is_same(one: &Service, other: &Service) -> bool {
    one.info().name == other.info().name
}

fn two_models(one: &Service, other: &Service) -> Problem {
    wrong(format!(
        "The request names two models, \"{}\" and \"{}\"; name one, in the path, in the header \
         X-Model or in the field model.",
        one.info().name,
        other.info().name
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn split(path: &str) -> (Option<String>, String) {
        let served = ["a", "a/embed", "google/b"];
        let routes = ["/embed", "/embed/text", "/v2/models/a/infer"];
        let ModelPath { model, rest } = ModelPath::of(
            path,
            |name| served.contains(&name),
            |path| routes.contains(&path),
        );
        (model, rest.to_owned())
    }

    #[test]
    fn names_with_slashes_are_told_from_paths() {
        for (path, model, rest) in [
            ("/embed/text", None, "/embed/text"),
            ("/models/a/embed/text", Some("a"), "/embed/text"),
            ("/models/a/embed/embed", Some("a/embed"), "/embed"),
            ("/models/a/embed/nothing", Some("a/embed"), "/nothing"),
            ("/models/a/ready", Some("a"), "/ready"),
            (
                "/models/google/b/embed/text",
                Some("google/b"),
                "/embed/text",
            ),
            ("/models/google%2Fb/embed", Some("google/b"), "/embed"),
            ("/models/google/b", Some("google/b"), "/"),
            ("/models/google/b/", Some("google/b"), "/"),
            (
                "/models/a/v2/models/a/infer",
                Some("a"),
                "/v2/models/a/infer",
            ),
            // What is not served.
            ("/models/x/y/embed/text", Some("x/y"), "/embed/text"),
            ("/models/x/nothing", None, "/models/x/nothing"),
            ("/models/x", None, "/models/x"),
            ("/models/", None, "/models/"),
            ("/models//embed", None, "/models//embed"),
        ] {
            let expected = (model.map(str::to_owned), rest.to_owned());
            assert_eq!(split(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_of_slashes_is_not_looked_at_for_each_of_them() {
        let looked_at = Cell::new(0);
        let look = |piece: &str| {
            looked_at.set(looked_at.get() + piece.len().min(MAX_NAME_IN_PATH));
            false
        };
        let path = format!("{PREFIX}{}", "/".repeat(60_000));
        let found = ModelPath::of(&path, look, |_| false);
        assert_eq!((found.model, found.rest), (None, path.as_str()));
        // Twice among those that are served, and each up to the longest name.
        assert!(looked_at.get() <= 2 * MAX_NAME_IN_PATH * MAX_NAME_IN_PATH);
        // The longest name is found.
        let name = "n/".repeat(MAX_NAME_IN_PATH / 2 - 1) + "nn";
        let path = format!("{PREFIX}{name}/embed");
        let found = ModelPath::of(&path, |served| served == name, |rest| rest == "/embed");
        assert_eq!((found.model, found.rest), (Some(name.clone()), "/embed"));
    }
}
