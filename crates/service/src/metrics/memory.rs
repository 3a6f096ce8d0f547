//! The memory that requests hold: see [`MemoryBudget`](crate::MemoryBudget).

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::memory::MemoryUse;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UseLabels {
    r#use: &'static str,
}

fn labels(of: MemoryUse) -> UseLabels {
    UseLabels { r#use: of.as_str() }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct MemoryMetrics {
    held: Family<UseLabels, Gauge>,
    limit: Family<UseLabels, Gauge>,
    refusals: Family<UseLabels, Counter>,
}

impl MemoryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for of in MemoryUse::ALL {
            drop(metrics.held.get_or_create(&labels(of)));
            drop(metrics.limit.get_or_create(&labels(of)));
            drop(metrics.refusals.get_or_create(&labels(of)));
        }
        registry.register(
            "memory_bytes",
            "Bytes that requests hold",
            metrics.held.clone(),
        );
        registry.register(
            "memory_limit_bytes",
            "Bytes that requests may hold together",
            metrics.limit.clone(),
        );
        registry.register(
            "memory_refusals",
            "Times that requests wanted more bytes than were free",
            metrics.refusals.clone(),
        );
        metrics
    }

    pub(crate) fn taken(&self, of: MemoryUse, bytes: u64) {
        self.held.get_or_create(&labels(of)).inc_by(signed(bytes));
    }

    pub(crate) fn given_back(&self, of: MemoryUse, bytes: u64) {
        self.held.get_or_create(&labels(of)).dec_by(signed(bytes));
    }

    pub(crate) fn limit(&self, of: MemoryUse, bytes: u64) {
        self.limit.get_or_create(&labels(of)).set(signed(bytes));
    }

    pub(crate) fn refused(&self, of: MemoryUse) {
        self.refusals.get_or_create(&labels(of)).inc();
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
