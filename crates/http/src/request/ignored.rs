//! What a request brought that its endpoint does not read. FastAPI reads over it in silence,
//! and so must we; but a client that misspelt a field is told in the header `X-Ignored`.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};

use crate::answer::problem::printable;

/// The header that tells of it.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-ignored");

/// So many names of a kind are told.
const MOST: usize = 8;

/// The longest name that is told, in characters.
const MAX_NAME: usize = 40;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    fields: Vec<String>,
    repeated: Vec<&'static str>,
    parameters: Vec<String>,
}

impl Ignored {
    /// A field of a form that the endpoint does not have.
    pub(crate) fn field(&mut self, name: &str) {
        add(&mut self.fields, name);
    }

    /// A field that came again, so that what it held before does not count.
    pub(crate) fn repeated(&mut self, name: &'static str) {
        if !self.repeated.contains(&name) {
            self.repeated.push(name);
        }
    }

    /// The query of the path: nothing is read there.
    pub(crate) fn query(&mut self, query: Option<&str>) {
        for (name, _) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()).take(MOST) {
            add(&mut self.parameters, &name);
        }
    }

    /// A parameter of the query that is read after all.
    pub(crate) fn is_read(&mut self, name: &str) {
        self.parameters.retain(|known| known != name);
    }

    /// What a form brought, in addition to what is known.
    pub(crate) fn extend(&mut self, other: Self) {
        self.fields.extend(other.fields);
        self.repeated.extend(other.repeated);
    }

    /// The names of fields that are not read, for a sentence; none if there are none.
    pub(crate) fn fields(&self) -> Option<String> {
        let quoted = self.fields.iter().map(|name| format!("\"{name}\""));
        (!self.fields.is_empty()).then(|| quoted.collect::<Vec<_>>().join(", "))
    }

    /// The header's value, if there is anything to tell.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let told = self.to_string();
        if told.is_empty() {
            return None;
        }
        let plain: String = told
            .chars()
            .flat_map(|c| {
                let escaped = !c.is_ascii();
                let escape = escaped.then(|| c.escape_unicode());
                let plain = (!escaped).then_some(c);
                escape.into_iter().flatten().chain(plain)
            })
            .collect();
        HeaderValue::from_str(&plain).ok()
    }
}

fn add(names: &mut Vec<String>, name: &str) {
    if names.len() < MOST {
        names.push(printable(name, MAX_NAME));
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.iter().map(|name| ("field", name.as_str(), ""));
        let repeated = self
            .repeated
            .iter()
            .map(|name| ("field", *name, " but the last"));
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|name| ("query parameter", name.as_str(), ""));
        for (at, (kind, name, more)) in fields.chain(repeated).chain(parameters).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{kind} {name}{more}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_fits_a_header() {
        let mut ignored = Ignored::default();
        assert_eq!(ignored.header(), None);
        assert_eq!(ignored.fields(), None);
        ignored.field("ima\r\nge");
        ignored.field("b\u{e4}ld");
        ignored.repeated("file");
        ignored.repeated("file");
        ignored.query(Some("normalize=false&x"));
        assert_eq!(
            ignored.header().unwrap(),
            "field ima\\u{d}\\u{a}ge, field b\\u{e4}ld, field file but the last, \
             query parameter normalize, query parameter x"
        );
        for at in 0..1000 {
            ignored.field(&format!("{at}{}", "x".repeat(1000)));
        }
        assert!(ignored.header().unwrap().len() < 1000);
    }
}
