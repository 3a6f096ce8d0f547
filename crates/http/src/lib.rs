//! The endpoints: HTTP in, HTTP out; knows nothing of engines.
//!
//! ```text
//! server      accepts connections, takes each request to its endpoint, records it
//!   openapi     the document that clients are generated from
//!     routes      the table of paths
//!       endpoints, dialects    what each path reads, asks of the service, and answers
//!         call        one request on its way through an endpoint
//!           request     what comes in: body, forms, JSON, pictures that are fetched
//!             connection  what is below HTTP: sockets, HTTP/1, HTTP/2
//!               settings    what is allowed, and for how long
//!                 answer      what goes out: answers and refusals
//!                   header, content    headers; the words of the document
//! ```
//!
//! A module uses those below it in this list and none above it; a test of this file holds them to
//! it. Each folder's own file says what is in it.
//!
//! The way of a request:
//!
//! ```text
//! listener -> server -> connection::wire (socket) -> hyper -> server::app -> routes -> endpoints -> Service
//! ```
//!
//! What a client may send is bounded before it is read: by its Content-Length where
//! there is one, else piece by piece. Nothing of a request is decoded here; images
//! are looked at (their header only) as soon as they are complete.
//!
//! ```
//! use siglip2_http::HttpSettings;
//!
//! // What is in force where nobody says anything.
//! let settings = HttpSettings::default();
//! assert_eq!(settings.payload_limit, 256 << 20);
//! ```

#![forbid(unsafe_code)]

mod answer;
mod call;
mod connection;
mod content;
mod dialects;
mod endpoints;
#[cfg(fuzzing)]
pub mod fuzzing;
mod header;
mod openapi;
mod request;
mod routes;
mod server;
mod settings;

pub use call::spans::{Spans, UnusableCollector};
pub use server::{ServeError, serve};
pub use settings::HttpSettings;
pub use settings::api_key::{ApiKey, ApiKeysFile};
pub use settings::cors::Origins;
pub use settings::error::{BadKey, FileError};
pub use settings::networks::Networks;
pub use settings::picture_url::PictureHosts;
pub use settings::pictures::PictureUrlSettings;
pub use settings::tls::TlsFiles;

/// What answers.
const PROGRAM: &str = "siglip2-embeddings";

/// The document that `/openapi.json` answers.
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    openapi::document()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    /// The rooms of this crate: each uses those before it alone.
    const ROOMS: [&str; 12] = [
        "content",
        "header",
        "answer",
        "settings",
        "connection",
        "request",
        "call",
        "endpoints",
        "dialects",
        "routes",
        "openapi",
        "server",
    ];

    /// The modules of this crate, as paths such as `request::body`, and which others each uses:
    /// the lines that begin with `use crate::` or `use super::`, and what a module lets others
    /// have of those inside it.
    fn uses() -> BTreeMap<String, BTreeSet<String>> {
        let mut files = BTreeMap::new();
        read_folder(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            "",
            &mut files,
        );
        files.retain(|name, _| name != "lib" && name != "fuzzing");
        // The longest part of a path that is a module: what follows is a thing in it.
        let module = |path: &str| {
            let mut path = path;
            while !files.contains_key(path) {
                path = path.rsplit_once("::")?.0;
            }
            Some(path.to_owned())
        };
        let uses_of = |name: &str, text: &str| {
            let outer = name.rsplit_once("::").map_or("", |(outer, _)| outer);
            let lines = text.lines().filter_map(|line| {
                let path = if let Some(path) = line.strip_prefix("use crate::") {
                    path.to_owned()
                } else if let Some(path) = line.strip_prefix("use super::") {
                    format!("{outer}::{path}")
                } else {
                    let inner = line.strip_prefix("pub(crate) use ");
                    format!("{name}::{}", inner.or(line.strip_prefix("use "))?)
                };
                let end = path.find(|c: char| c != '_' && c != ':' && !c.is_alphanumeric());
                module(&path[..end.unwrap_or(path.len())])
            });
            let mut used: BTreeSet<String> = lines.collect();
            used.remove(name);
            used
        };
        let uses = files.iter();
        uses.map(|(name, text)| (name.clone(), uses_of(name, text)))
            .collect()
    }

    fn read_folder(folder: &Path, outer: &str, files: &mut BTreeMap<String, String>) {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap();
            let name = match outer {
                "" => name.to_owned(),
                outer => format!("{outer}::{name}"),
            };
            if path.is_dir() {
                read_folder(&path, &name, files);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn a_room_uses_those_before_it_alone() {
        let place = |module: &str| {
            let room = module.split("::").next().unwrap();
            let place = ROOMS.iter().position(|name| *name == room);
            place.unwrap_or_else(|| panic!("{room} has no place in ROOMS"))
        };
        for (name, used) in uses() {
            for other in used {
                assert!(place(&other) <= place(&name), "{name} uses {other}");
            }
        }
    }

    #[test]
    fn no_module_uses_one_that_uses_it() {
        let mut uses = uses();
        assert!(
            uses.len() > 70 && uses["routes"].contains("endpoints"),
            "{uses:?}"
        );
        // Those that use no other that is left, again and again.
        loop {
            let left: BTreeSet<String> = uses.keys().cloned().collect();
            let before = uses.len();
            uses.retain(|_, used| used.iter().any(|name| left.contains(name)));
            if uses.len() == before {
                break;
            }
        }
        assert!(uses.is_empty(), "in a circle, or behind one: {uses:?}");
    }
}
