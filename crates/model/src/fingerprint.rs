//! Identifies the vector space of a model's vectors.
//!
//! Vectors can only be compared with vectors that the same weights made from texts and
//! pictures prepared in the same way. A fingerprint is a short identifier for all of that, to
//! be stored with vectors that outlive the process.
//!
//! ```text
//! tensors (name, type, shape, bytes), towers --BLAKE3--> WeightsDigest --+
//! tokenizer.json, class, special tokens, length, lower case -----+--BLAKE3--> 64 bits
//! image processor, precision, normalization ---------------------+
//! ```
//!
//! It covers all weights, because a model that differs in a single row of its vocabulary makes
//! other vectors. Reading them once takes as long as memory or disk needs, and should happen
//! while the engine loads, which reads them as well. docs/checkpoints.md has figures.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use blake3::Hasher;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::text::TextTokenizer;

/// Change this whenever the hashed data change.
const CONTEXT: &str = "siglip2-embeddings 2026-11-28 fingerprint of a vector space";

/// An identifier of 16 hexadecimal digits for a vector space.
///
/// ```
/// use siglip2_model::fingerprint::Fingerprint;
///
/// let fingerprint: Fingerprint = "0123456789abcdef".parse()?;
/// assert_eq!(fingerprint.to_string(), "0123456789abcdef");
/// # Ok::<(), siglip2_model::fingerprint::NotAFingerprint>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(u64);

/// Not 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint, which has 16 hexadecimal digits")]
pub struct NotAFingerprint(String);

/// Everything that determines a vector space.
#[derive(Clone, Copy, Debug)]
pub struct Space<'a> {
    /// The weights.
    pub weights: &'a WeightsDigest,
    /// How texts are prepared.
    pub tokenizer: &'a TextTokenizer,
    /// How pictures are prepared, written so that equal preparation gives equal bytes.
    pub image_processor: &'a [u8],
    /// The engine's precision by name, such as `fp32`, `fp16` or `fp8`.
    pub precision: &'a str,
    /// Whether vectors are L2-normalized.
    pub normalized: bool,
}

impl Fingerprint {
    /// The fingerprint of a vector space.
    pub fn of(space: Space<'_>) -> Self {
        let mut hasher = Hasher::new_derive_key(CONTEXT);
        for part in [
            &space.weights.0[..],
            space.tokenizer.digest(),
            blake3::hash(space.image_processor).as_bytes(),
            space.precision.as_bytes(),
            &[u8::from(space.normalized)],
        ] {
            sized(&mut hasher, part);
        }
        let mut short = [0; 8];
        hasher.finalize_xof().fill(&mut short);
        Self(u64::from_be_bytes(short))
    }
}

/// A hash over all tensors of a checkpoint, whichever files they are in, and over what its towers
/// compute with them: activation, heads, epsilon and the like, which no tensor tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WeightsDigest([u8; 32]);

impl WeightsDigest {
    /// Reads and hashes every tensor of a checkpoint, on this many threads.
    pub fn of(checkpoint: &Checkpoint, threads: usize) -> Self {
        let tensors = checkpoint.weights.by_name();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((_, _, bytes)) = tensors.get(index) else {
                    return done;
                };
                done.push((index, *blake3::hash(bytes).as_bytes()));
            }
        };
        let mut digests: Vec<(usize, [u8; 32])> = thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for helper in helpers {
                // Hashing does not panic. If a thread did, its tensors would be left out and
                // the digest would match no other.
                all.extend(helper.join().unwrap_or_default());
            }
            all
        });
        digests.sort_unstable();
        let mut hasher = Hasher::new_derive_key(CONTEXT);
        sized(&mut hasher, checkpoint.config.identity().as_bytes());
        for ((name, tensor, _), (_, digest)) in tensors.iter().zip(digests) {
            sized(&mut hasher, name.as_bytes());
            let form = format!("{} {:?}", tensor.dtype, tensor.shape);
            sized(&mut hasher, form.as_bytes());
            hasher.update(&digest);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl From<WeightsDigest> for String {
    fn from(digest: WeightsDigest) -> Self {
        blake3::Hash::from_bytes(digest.0).to_hex().to_string()
    }
}

impl TryFrom<String> for WeightsDigest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match blake3::Hash::from_hex(&text) {
            Ok(hash) => Ok(Self(*hash.as_bytes())),
            Err(_) => Err(NotADigest(text.chars().take(80).collect())),
        }
    }
}

/// Not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest, which has 64 hexadecimal digits")]
pub struct NotADigest(String);

/// Writes a part preceded by its length, so that no two lists of parts give the same bytes.
fn sized(hasher: &mut Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        value
            .map(Self)
            .ok_or_else(|| NotAFingerprint(text.chars().take(40).collect()))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NotAFingerprint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
