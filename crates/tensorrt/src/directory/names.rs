//! Where the engines of a model are kept, and how their directories are named.

use std::fs;
use std::path::{Path, PathBuf};

use super::Architecture;
use siglip2_model::graph::Precision;

/// The directory of the engine of `model` for `gpu` in `precision` under `root`.
pub fn directory_of(root: &Path, model: &str, gpu: Architecture, precision: Precision) -> PathBuf {
    root.join(model_directory(model))
        .join(gpu.to_string())
        .join(precision.to_string())
}

/// The name of a model's directory: its name on the hub with `--` for the slash, the last
/// component of a path, or the name itself. Joined to a directory, it never leads out of it.
pub fn model_directory(model: &str) -> String {
    let name = model_name(model).replace(['/', '\\'], "--");
    // A leading dot would be hidden, or be the directory itself or the one above.
    let shown = name.trim_start_matches('.');
    if shown.is_empty() {
        "model".into()
    } else {
        shown.into()
    }
}

/// The name of the model given as `model`: for a path its last component.
pub fn model_name(model: &str) -> &str {
    let name = model.trim_end_matches('/');
    match name.rsplit_once('/') {
        Some((_, last)) if name.starts_with(['/', '.', '~']) => last,
        _ => name,
    }
}

/// Lists the engines under a model's directory, for people.
pub(super) fn built(model: &Path) -> String {
    let names = |directory: &Path| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    };
    let engines: Vec<String> = names(model)
        .into_iter()
        .flat_map(|gpu| {
            names(&model.join(&gpu))
                .into_iter()
                .map(move |precision| format!("{gpu} in {precision}"))
        })
        .collect();
    if engines.is_empty() {
        "there is none for this model".into()
    } else {
        format!("there are: {}", engines.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_one_directory_and_stays_inside_the_root() {
        for (model, directory) in [
            (
                "google/siglip2-base-patch16-224",
                "google--siglip2-base-patch16-224",
            ),
            ("demo", "demo"),
            ("my model", "my model"),
            ("/models/my-siglip2/", "my-siglip2"),
            ("./models/demo", "demo"),
            ("../../etc", "etc"),
            ("a/../../etc", "a--..--..--etc"),
            ("..", "model"),
            ("/", "model"),
        ] {
            assert_eq!(model_directory(model), directory);
        }
    }
}
