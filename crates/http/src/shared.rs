//! What all requests share.

use bytes::Bytes;

use super::accepted::AcceptedCount;
use super::clients::Clients;
use super::settings::HttpSettings;
use super::spans::Spans;
use siglip2_service::Models;

/// See the module.
pub(super) struct Shared {
    pub(super) models: Models,
    pub(super) settings: HttpSettings,
    /// Where spans of requests go, if anywhere.
    pub(super) spans: Option<Spans>,
    pub(super) accepted: AcceptedCount,
    pub(super) clients: Clients,
    /// The answer of `/openapi.json`, which is always the same one.
    pub(super) document: Bytes,
}
