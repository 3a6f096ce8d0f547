//! What all requests share.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::accepted::AcceptedCount;
use super::clients::Clients;
use super::fetch::Fetcher;
use super::settings::HttpSettings;
use super::spans::Spans;
use siglip2_service::Models;

/// See the module.
pub(super) struct Shared {
    pub(super) models: Models,
    pub(super) settings: HttpSettings,
    /// What fetches pictures, if any are to be fetched.
    pub(super) fetcher: Option<Fetcher>,
    /// Where spans of requests go, if anywhere.
    pub(super) spans: Option<Spans>,
    pub(super) accepted: AcceptedCount,
    pub(super) clients: Clients,
    /// Requests over HTTP/2, of which a connection has many at a time: as many together as there
    /// may be connections, and as many of one client as it may have connections.
    pub(super) streams: Arc<Semaphore>,
    /// See `streams`.
    pub(super) clients_streams: Clients,
    /// The answer of `/openapi.json`, which is always the same one.
    pub(super) document: Bytes,
}
