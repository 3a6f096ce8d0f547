//! What is right: the vectors of this project's own engine.

use std::error::Error;

use bytes::Bytes;
use siglip2_service::{Context, Embeddings, Service, ServiceError};
use tokio::runtime::Handle;

use crate::property::Picture;
use crate::target::Rows;

/// There is nothing to compare with: what makes the right vectors failed on a case.
#[derive(Debug, thiserror::Error)]
#[error("the engine failed on a case: {0}")]
pub struct NoTruth(#[source] pub Box<dyn Error + Send + Sync>);

/// What makes the right vectors, L2-normalized or not.
pub trait Truth {
    /// A vector for each text.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    fn texts(&self, texts: &[&str]) -> Result<Rows, NoTruth>;

    /// A vector for each picture.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, NoTruth>;

    /// The probability that a text and a picture with this cosine belong together.
    fn probability(&self, cosine: f32) -> f32;
}

/// A service in this process. It should compute in FP32 on the CPU.
pub struct ServiceTruth {
    service: Service,
    runtime: Handle,
}

impl ServiceTruth {
    /// The service's vectors, computed on this runtime. Must not be used on one of its threads.
    pub fn new(service: Service, runtime: Handle) -> Self {
        Self { service, runtime }
    }
}

impl Truth for ServiceTruth {
    fn texts(&self, texts: &[&str]) -> Result<Rows, NoTruth> {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        let request = self.service.request(Context::default());
        let embedded = self.runtime.block_on(request.embed_texts(texts, true));
        rows(embedded.map(|embedded| embedded.embeddings))
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, NoTruth> {
        let files = pictures
            .iter()
            .map(|picture| Bytes::from_static(picture.bytes))
            .collect();
        let request = self.service.request(Context::default());
        rows(self.runtime.block_on(request.embed_images(files, true)))
    }

    fn probability(&self, cosine: f32) -> f32 {
        let (scale, bias) = self.service.logit_scale_and_bias();
        let logit = f64::from(scale).exp() * f64::from(cosine) + f64::from(bias);
        (1.0 / (1.0 + (-logit).exp())) as f32
    }
}

fn rows(embedded: Result<Embeddings, ServiceError>) -> Result<Rows, NoTruth> {
    let embedded = embedded.map_err(|error| NoTruth(error.into()))?;
    Ok(embedded.rows().map(<[f32]>::to_vec).collect())
}
