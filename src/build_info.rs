//! Facts about this binary for `--version`, `/info` and the log, collected by `build.rs`.

use std::sync::OnceLock;

use siglip2_service::BuildInfo;

/// Facts about this binary.
pub fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        commit: some(env!("SIGLIP2_BUILD_COMMIT")),
        target: env!("SIGLIP2_BUILD_TARGET"),
        features: env!("SIGLIP2_BUILD_FEATURES")
            .split(',')
            .filter(|feature| !feature.is_empty())
            .collect(),
        jpeg_vector_code: env!("SIGLIP2_BUILD_JPEG_VECTOR_CODE") == "1",
    }
}

/// What `--version` prints after the name.
pub fn long_version() -> &'static str {
    static SAID: OnceLock<String> = OnceLock::new();
    SAID.get_or_init(said)
}

fn said() -> String {
    let BuildInfo {
        version,
        commit,
        target,
        features,
        jpeg_vector_code,
    } = build_info();
    let features = match features.is_empty() {
        true => "none".to_owned(),
        false => features.join(", "),
    };
    format!(
        "{version}\ncommit: {}\ntarget: {target}\nfeatures: {features}\nJPEG vector code: {}",
        commit.unwrap_or("unknown"),
        if jpeg_vector_code { "yes" } else { "no" },
    )
}

fn some(value: &'static str) -> Option<&'static str> {
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_first_and_the_target_is_known() {
        let said = long_version();
        assert!(said.starts_with(env!("CARGO_PKG_VERSION")), "{said}");
        assert!(build_info().target.contains('-'), "{said}");
    }
}
