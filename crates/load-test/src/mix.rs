//! Which endpoints get requests, and how often each.

use std::fmt;
use std::str::FromStr;

use crate::random::Random;

/// The endpoint of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `/embed/text`
    Text,
    /// `/embed/image`
    Image,
    /// `/embed/images`
    Images,
    /// `/similarity`
    Similarity,
    /// `/rank`
    Rank,
    /// Any of them, for requests that must be refused.
    Hostile,
}

impl Endpoint {
    /// The endpoints that a mix may name.
    pub const MIXED: [Self; 5] = [
        Self::Text,
        Self::Image,
        Self::Images,
        Self::Similarity,
        Self::Rank,
    ];

    /// The name in a mix and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Images => "images",
            Self::Similarity => "similarity",
            Self::Rank => "rank",
            Self::Hostile => "hostile",
        }
    }

    /// The path of its requests.
    pub fn path(self) -> &'static str {
        match self {
            Self::Text => "/embed/text",
            Self::Image => "/embed/image",
            Self::Images => "/embed/images",
            Self::Similarity => "/similarity",
            Self::Rank => "/rank",
            Self::Hostile => "*",
        }
    }
}

/// Weights of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    weights: Vec<(Endpoint, u32)>,
    total: u64,
}

impl Mix {
    /// The endpoint of one request.
    pub fn choose(&self, random: &mut Random) -> Endpoint {
        let mut left = random.below(self.total);
        for (endpoint, weight) in &self.weights {
            if left < u64::from(*weight) {
                return *endpoint;
            }
            left -= u64::from(*weight);
        }
        Endpoint::Image
    }

    /// Whether requests to these may occur.
    pub fn has(&self, endpoints: &[Endpoint]) -> bool {
        self.weights
            .iter()
            .any(|(known, _)| endpoints.contains(known))
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights: Vec<(Endpoint, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let name = name.trim();
            let endpoint = Endpoint::MIXED
                .into_iter()
                .find(|endpoint| endpoint.name() == name)
                .ok_or_else(|| match name.split_once(':') {
                    Some((name, weight)) => {
                        format!("`{name}:{weight}`: write a weight as {name}={weight}")
                    }
                    None => format!(
                        "`{name}` is not an endpoint: use text, image, images, similarity or \
                             rank"
                    ),
                })?;
            let weight = weight
                .trim()
                .parse::<u32>()
                .map_err(|_| format!("the weight of {name} must be a whole number"))?;
            if weights.iter().any(|(known, _)| *known == endpoint) {
                return Err(format!("{name} is given twice"));
            }
            weights.push((endpoint, weight));
        }
        weights.retain(|(_, weight)| *weight > 0);
        let total = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if total == 0 {
            return Err("at least one weight must be above 0".to_owned());
        }
        Ok(Self { weights, total })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (endpoint, weight)) in self.weights.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}={weight}", endpoint.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_written() {
        let mix: Mix = "text=8, image=1,rank".parse().expect("a mix");
        assert_eq!(mix.to_string(), "text=8,image=1,rank=1");
        assert!(mix.has(&[Endpoint::Rank]) && !mix.has(&[Endpoint::Images]));
    }

    #[test]
    fn a_wrong_mix_is_named() {
        for (mix, word) in [
            ("txt=1", "txt"),
            ("text=x", "text"),
            ("text=0", "above 0"),
            ("text=1,text=2", "twice"),
            ("hostile=1", "hostile"),
            ("text:4", "text=4"),
            ("", "not an endpoint"),
        ] {
            let error = mix.parse::<Mix>().expect_err(mix);
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn weights_are_the_shares() {
        let mix: Mix = "text=3,image=1,images=0".parse().expect("a mix");
        let texts = (0..10_000)
            .filter(|n| mix.choose(&mut Random::new(1, *n)) == Endpoint::Text)
            .count();
        assert!((7_300..7_700).contains(&texts), "{texts}");
    }
}
