//! The ways to speak to embedding servers.

mod messages;
mod native;
mod openai;
mod tei;
mod weaviate;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::Value;

use crate::property::Picture;
use crate::target::Target;
use crate::wire::Wire;

/// How to speak to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// This service's own endpoints, and those of the service that it replaced.
    Native,
    /// `/v1/embeddings` as OpenAI has it, with pictures as data URIs among the strings.
    Openai,
    /// `/embeddings` with a field `modality`, as infinity has it.
    Infinity,
    /// `/v1/embeddings` with a picture in `messages`, as vLLM has it.
    Vllm,
    /// `/embed` of text-embeddings-inference: texts only.
    Tei,
    /// `/vectorize` of Weaviate's module container.
    Weaviate,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Openai => "openai",
            Self::Infinity => "infinity",
            Self::Vllm => "vllm",
            Self::Tei => "tei",
            Self::Weaviate => "weaviate",
        })
    }
}

/// What answers at an address, if anything does, says nothing by which its dialect is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing at {0} says which dialect is spoken there: is it running? If so, give --dialect")]
pub struct NoDialect(String);

/// A server at the other end of a connection.
pub struct Server {
    wire: Wire,
    dialect: Dialect,
    /// The model's name in requests that have one.
    model: String,
}

impl Server {
    /// Connects to a server, and finds out its dialect and the name of its model if they are not
    /// given.
    ///
    /// # Errors
    ///
    /// If the server does not answer, or none of the dialects fits.
    pub fn connect(
        url: &str,
        key: Option<&str>,
        dialect: Option<Dialect>,
        model: Option<&str>,
    ) -> Result<Self, NoDialect> {
        let wire = Wire::new(url, key);
        let dialect = match dialect {
            Some(dialect) => dialect,
            None => found(&wire).ok_or_else(|| NoDialect(url.to_owned()))?,
        };
        let model = match model {
            Some(model) => model.to_owned(),
            None => named(&wire, dialect).unwrap_or_else(|| "siglip2".to_owned()),
        };
        Ok(Self {
            wire,
            dialect,
            model,
        })
    }

    /// The dialect that is spoken.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The name by which the server knows its model, as far as it says.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The server as the target of checks.
    pub fn target(&self) -> Box<dyn Target + '_> {
        let (wire, model) = (&self.wire, self.model.as_str());
        match self.dialect {
            Dialect::Native => Box::new(native::Native { wire }),
            Dialect::Openai => Box::new(openai::OpenAi { wire, model }),
            Dialect::Infinity => Box::new(openai::Infinity { wire, model }),
            Dialect::Vllm => Box::new(messages::Messages { wire, model }),
            Dialect::Tei => Box::new(tei::Tei { wire }),
            Dialect::Weaviate => Box::new(weaviate::Weaviate { wire }),
        }
    }
}

/// The dialect that a server speaks, by what it says of itself.
fn found(wire: &Wire) -> Option<Dialect> {
    let info = wire.get("/info").unwrap_or_default();
    if info.get("vision_dim").is_some() {
        return Some(Dialect::Native);
    }
    if info.get("model_id").is_some() {
        return Some(Dialect::Tei);
    }
    if let Ok(models) = wire.get("/v1/models") {
        let owner = models.pointer("/data/0/owned_by").and_then(Value::as_str);
        return Some(match owner {
            Some("vllm") => Dialect::Vllm,
            _ => Dialect::Openai,
        });
    }
    if let Ok(models) = wire.get("/models") {
        let owner = models.pointer("/data/0/owned_by").and_then(Value::as_str);
        return Some(match owner {
            Some("infinity") => Dialect::Infinity,
            _ => Dialect::Openai,
        });
    }
    wire.get("/meta").ok().map(|_| Dialect::Weaviate)
}

/// The name of the model, where the dialect says it.
fn named(wire: &Wire, dialect: Dialect) -> Option<String> {
    let (path, place) = match dialect {
        Dialect::Native => ("/info", "/model"),
        Dialect::Tei => ("/info", "/model_id"),
        Dialect::Infinity => ("/models", "/data/0/id"),
        Dialect::Openai | Dialect::Vllm if wire.ends_with("/v1") => ("/models", "/data/0/id"),
        Dialect::Openai | Dialect::Vllm => ("/v1/models", "/data/0/id"),
        Dialect::Weaviate => return None,
    };
    let answer = wire.get(path).ok()?;
    answer.pointer(place)?.as_str().map(str::to_owned)
}

/// A picture as a data URI.
fn data_uri(picture: &Picture) -> String {
    format!("data:{};base64,{}", picture.media_type, base64(picture))
}

/// A picture as base64.
fn base64(picture: &Picture) -> String {
    STANDARD.encode(picture.bytes)
}
