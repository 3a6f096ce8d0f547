//! The labels of the series, each with the model that is served beside it.

use prometheus_client::encoding::EncodeLabelSet;

use siglip2_model::Tower;

use super::model_label::ModelLabel;
use super::{Metrics, Stage};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    #[prometheus(flatten)]
    model: ModelLabel,
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndpointLabels {
    #[prometheus(flatten)]
    model: ModelLabel,
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabels {
    #[prometheus(flatten)]
    model: ModelLabel,
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TowerLabels {
    #[prometheus(flatten)]
    model: ModelLabel,
    tower: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EngineLabels {
    #[prometheus(flatten)]
    model: ModelLabel,
    engine: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    #[prometheus(flatten)]
    model: ModelLabel,
    result: &'static str,
}

/// The labels of what this view of the metrics writes.
impl Metrics {
    pub(super) fn of_stage(&self, stage: Stage) -> StageLabels {
        StageLabels {
            model: self.model.clone(),
            stage: stage.as_str(),
        }
    }

    pub(super) fn of_tower(&self, tower: Tower) -> TowerLabels {
        TowerLabels {
            model: self.model.clone(),
            tower: tower.as_str(),
        }
    }

    pub(super) fn of_result(&self, result: &'static str) -> ResultLabels {
        ResultLabels {
            model: self.model.clone(),
            result,
        }
    }

    pub(super) fn of_request(&self, endpoint: &'static str, status: u16) -> RequestLabels {
        RequestLabels {
            model: self.model.clone(),
            endpoint,
            status,
        }
    }

    pub(super) fn of_endpoint(&self, endpoint: &'static str) -> EndpointLabels {
        EndpointLabels {
            model: self.model.clone(),
            endpoint,
        }
    }

    pub(super) fn of_engine(&self, engine: usize) -> EngineLabels {
        EngineLabels {
            model: self.model.clone(),
            engine: engine as u64,
        }
    }
}

/// Labels of what belongs to no model.
pub(super) fn of_process(result: &'static str) -> ResultLabels {
    ResultLabels {
        model: ModelLabel::default(),
        result,
    }
}
