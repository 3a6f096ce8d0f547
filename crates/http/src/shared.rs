//! What all requests share.

use bytes::Bytes;

use super::accepted::AcceptedCount;
use super::body::BodyBudget;
use super::settings::HttpSettings;
use super::spans::Spans;
use siglip2_service::Service;

/// See the module.
pub(super) struct Shared {
    pub(super) service: Service,
    pub(super) settings: HttpSettings,
    /// Where spans of requests go, if anywhere.
    pub(super) spans: Option<Spans>,
    pub(super) bodies: BodyBudget,
    pub(super) accepted: AcceptedCount,
    /// The answer of `/openapi.json`, which is always the same one.
    pub(super) document: Bytes,
}
