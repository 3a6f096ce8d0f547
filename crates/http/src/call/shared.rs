//! What all requests share.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::accepted::AcceptedCount;
use super::spans::Spans;
use crate::connection::bell::Bell;
use crate::connection::clients::Clients;
use crate::request::awaited::AwaitedBytes;
use crate::request::fetch::Fetcher;
use crate::settings::HttpSettings;
use siglip2_service::Models;

/// See the module.
pub(crate) struct Shared {
    pub(crate) models: Models,
    pub(crate) settings: HttpSettings,
    /// What fetches pictures, if any are to be fetched.
    pub(crate) fetcher: Option<Fetcher>,
    /// Where spans of requests go, if anywhere.
    pub(crate) spans: Option<Spans>,
    pub(crate) accepted: AcceptedCount,
    /// Those of them whose bodies are awaited.
    pub(crate) awaited: AwaitedBytes,
    /// Rung when there is no memory for an answer: whoever does not read his makes room.
    pub(crate) unread: Arc<Bell>,
    pub(crate) clients: Clients,
    /// Requests over HTTP/2, of which a connection has many at a time: as many together as there
    /// may be connections, and as many of one client as it may have connections.
    pub(crate) streams: Arc<Semaphore>,
    /// See `streams`.
    pub(crate) clients_streams: Clients,
    /// The answer of `/openapi.json`, which is always the same one.
    pub(crate) document: Bytes,
}
