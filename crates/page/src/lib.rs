//! The page that browsers are served, and the viewer of the OpenAPI document: HTML, CSS and
//! modules of JavaScript as they lie under `assets/`, in the binary. Nothing is built or loaded
//! from elsewhere; what a file says is what the browser runs.
//!
//! ```text
//! assets/index.html   the page: pictures and sentences (js/try), the service's state (js/status)
//! assets/docs.html    the viewer (js/docs)
//! assets/js           what both share: requests, errors, the key, elements
//! assets/samples      drawn shapes, which the demo model knows (tools/draw_samples.py)
//! ```
//!
//! All links are relative, so that the page works behind a proxy that serves it under a prefix.
//!
//! ```
//! let page = siglip2_page::asset("index.html").unwrap();
//! assert_eq!(page.media_type, "text/html; charset=utf-8");
//! assert!(page.gzip.is_some_and(|packed| packed.len() < page.bytes.len()));
//! assert!(siglip2_page::asset("../Cargo.toml").is_none());
//! ```

#![forbid(unsafe_code)]

/// A file that is served.
#[derive(Debug)]
pub struct Asset {
    /// Its path under `assets/`, with slashes.
    pub path: &'static str,
    /// Its content type.
    pub media_type: &'static str,
    /// Its entity tag. It is weak: it is the same for the bytes and for them compressed.
    pub etag: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
    /// The same compressed by gzip, where that makes it smaller.
    pub gzip: Option<&'static [u8]>,
}

/// All files, in the order of their paths.
pub fn assets() -> &'static [Asset] {
    ASSETS
}

/// The file of that path under `assets/`.
pub fn asset(path: &str) -> Option<&'static Asset> {
    let at = ASSETS.binary_search_by(|asset| asset.path.cmp(path));
    ASSETS.get(at.ok()?)
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_and_no_two_share_a_tag() {
        for (at, this) in assets().iter().enumerate() {
            assert_eq!(asset(this.path).map(|found| found.path), Some(this.path));
            let same = assets()[at + 1..].iter().find(|it| it.etag == this.etag);
            assert!(same.is_none(), "{} and {same:?}", this.path);
        }
        for path in ["", "/", "index", "INDEX.HTML", "index.html/", "js"] {
            assert!(asset(path).is_none(), "{path:?}");
        }
    }
}
