//! GPUs by architecture: what CUDA calls their compute capability, and which products
//! have it.

use std::fmt;
use std::str::FromStr;

/// A GPU architecture: its CUDA compute capability. Written `sm_120` for 12.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture {
    /// The number before the dot.
    pub major: u32,
    /// The number after the dot, one digit.
    pub minor: u32,
}

/// Products by the names that `--gpu` takes, and their architectures: NVIDIA's list at
/// <https://developer.nvidia.com/cuda-gpus> and its legacy page.
pub const PRODUCTS: &[(&str, Architecture)] = &[
    ("t4", sm(7, 5)),
    ("rtx-2060", sm(7, 5)),
    ("rtx-2070", sm(7, 5)),
    ("rtx-2080", sm(7, 5)),
    ("rtx-2080-ti", sm(7, 5)),
    ("quadro-rtx-6000", sm(7, 5)),
    ("quadro-rtx-8000", sm(7, 5)),
    ("a100", sm(8, 0)),
    ("a30", sm(8, 0)),
    ("a2", sm(8, 6)),
    ("a10", sm(8, 6)),
    ("a10g", sm(8, 6)),
    ("a16", sm(8, 6)),
    ("a40", sm(8, 6)),
    ("rtx-3050", sm(8, 6)),
    ("rtx-3060", sm(8, 6)),
    ("rtx-3060-ti", sm(8, 6)),
    ("rtx-3070", sm(8, 6)),
    ("rtx-3070-ti", sm(8, 6)),
    ("rtx-3080", sm(8, 6)),
    ("rtx-3080-ti", sm(8, 6)),
    ("rtx-3090", sm(8, 6)),
    ("rtx-3090-ti", sm(8, 6)),
    ("rtx-a2000", sm(8, 6)),
    ("rtx-a4000", sm(8, 6)),
    ("rtx-a4500", sm(8, 6)),
    ("rtx-a5000", sm(8, 6)),
    ("rtx-a6000", sm(8, 6)),
    ("l4", sm(8, 9)),
    ("l40", sm(8, 9)),
    ("l40s", sm(8, 9)),
    ("rtx-4060", sm(8, 9)),
    ("rtx-4060-ti", sm(8, 9)),
    ("rtx-4070", sm(8, 9)),
    ("rtx-4070-ti", sm(8, 9)),
    ("rtx-4080", sm(8, 9)),
    ("rtx-4090", sm(8, 9)),
    ("rtx-2000-ada", sm(8, 9)),
    ("rtx-4000-ada", sm(8, 9)),
    ("rtx-5000-ada", sm(8, 9)),
    ("rtx-6000-ada", sm(8, 9)),
    ("h100", sm(9, 0)),
    ("h200", sm(9, 0)),
    ("gh200", sm(9, 0)),
    ("b200", sm(10, 0)),
    ("gb200", sm(10, 0)),
    ("b300", sm(10, 3)),
    ("gb300", sm(10, 3)),
    ("rtx-5060", sm(12, 0)),
    ("rtx-5060-ti", sm(12, 0)),
    ("rtx-5070", sm(12, 0)),
    ("rtx-5070-ti", sm(12, 0)),
    ("rtx-5080", sm(12, 0)),
    ("rtx-5090", sm(12, 0)),
    ("rtx-pro-4000", sm(12, 0)),
    ("rtx-pro-4500", sm(12, 0)),
    ("rtx-pro-5000", sm(12, 0)),
    ("rtx-pro-6000", sm(12, 0)),
    ("gb10", sm(12, 1)),
    ("dgx-spark", sm(12, 1)),
];

const fn sm(major: u32, minor: u32) -> Architecture {
    Architecture { major, minor }
}

impl Architecture {
    /// The architecture with compute capability `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// As one number, `120` for 12.0.
    pub const fn number(self) -> u32 {
        self.major * 10 + self.minor
    }

    /// `12.0`.
    pub fn compute_capability(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.major, self.minor)
    }
}

/// A name is neither an architecture's nor a product's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a known GPU; name its architecture, such as sm_120 or sm_89 (nvidia-smi \
     --query-gpu=compute_cap --format=csv prints 12.0 or 8.9), or a product such as rtx-5090, l4 \
     or h100, or current"
)]
pub struct UnknownGpu(String);

impl FromStr for Architecture {
    type Err = UnknownGpu;

    /// Parses `sm_120` or a product's name. Case does not matter, `NVIDIA` and `GeForce` may be
    /// left out, and hyphens may be spaces, underscores or nothing.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let squeeze = |name: &str| -> String {
            name.to_ascii_lowercase()
                .replace("nvidia", "")
                .replace("geforce", "")
                .replace([' ', '-', '_'], "")
        };
        let wanted = squeeze(name);
        let unknown = || UnknownGpu(name.to_owned());
        if let Some(number) = wanted.strip_prefix("sm") {
            let number: u32 = number.parse().map_err(|_| unknown())?;
            return if (50..1000).contains(&number) {
                Ok(Self::new(number / 10, number % 10))
            } else {
                Err(unknown())
            };
        }
        PRODUCTS
            .iter()
            .find(|(product, _)| squeeze(product) == wanted)
            .map(|&(_, architecture)| architecture)
            .ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_named_as_nvcc_names_them_or_by_their_products() {
        for (name, architecture) in [
            ("sm_120", "sm_120"),
            ("SM_89", "sm_89"),
            ("sm120", "sm_120"),
            ("rtx-5090", "sm_120"),
            ("RTX 5090", "sm_120"),
            ("NVIDIA GeForce RTX 4090", "sm_89"),
            ("l4", "sm_89"),
            ("L40S", "sm_89"),
            ("h100", "sm_90"),
            ("H200", "sm_90"),
            ("a100", "sm_80"),
            ("t4", "sm_75"),
            ("b200", "sm_100"),
        ] {
            let parsed: Architecture = name.parse().unwrap();
            assert_eq!(parsed.to_string(), architecture, "{name}");
        }
        assert_eq!(Architecture::new(12, 0).compute_capability(), "12.0");
        assert_eq!(Architecture::new(8, 9).number(), 89);
    }

    #[test]
    fn what_is_no_gpu_is_refused_with_examples() {
        for name in ["", "sm_", "sm_7", "sm_12x", "rtx", "radeon"] {
            let error = name.parse::<Architecture>().unwrap_err().to_string();
            assert!(
                error.contains("sm_120") && error.contains("nvidia-smi"),
                "{error}"
            );
        }
    }

    #[test]
    fn every_product_is_found_by_its_own_name() {
        for (product, architecture) in PRODUCTS {
            assert_eq!(product.parse(), Ok(*architecture));
        }
    }
}
