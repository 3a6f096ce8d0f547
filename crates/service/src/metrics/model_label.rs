//! The label `model`, which series have where several models are served.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The name of a model, or no label at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ModelLabel(Option<Arc<str>>);

impl ModelLabel {
    /// The label of this model.
    pub(super) fn of(name: &str) -> Self {
        Self(Some(name.into()))
    }
}

impl EncodeLabelSet for ModelLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        match &self.0 {
            Some(name) => [("model", &**name)].encode(encoder),
            None => Ok(()),
        }
    }
}

/// A metric of each model. A family would write empty braces where there is no label, and
/// would look the metric up each time that it is written.
#[derive(Clone, Debug)]
pub(super) struct PerModel<M>(Arc<Mutex<Vec<(ModelLabel, M)>>>);

impl<M> Default for PerModel<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M: Clone> PerModel<M> {
    /// Adds the metric of a model, which shares its value with `metric`.
    pub(super) fn add(&self, model: &ModelLabel, metric: &M) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((model.clone(), metric.clone()));
    }
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for PerModel<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let [(ModelLabel(None), metric)] = &**all {
            return metric.encode(encoder);
        }
        for (model, metric) in all.iter() {
            metric.encode(encoder.encode_family(model)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
