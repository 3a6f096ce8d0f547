//! Where the engines of a model are kept, and what that is called.

use std::fs;
use std::path::{Path, PathBuf};

use super::Architecture;
use siglip2_model::graph::Precision;

/// Where the engine of `model` for `gpu` in `precision` is kept under `root`.
pub fn directory_of(root: &Path, model: &str, gpu: Architecture, precision: Precision) -> PathBuf {
    root.join(model_directory(model))
        .join(gpu.to_string())
        .join(precision.to_string())
}

/// What the directory of a model is called: its name on the hub with `--` for the slash,
/// the last part of what is written as a path, or the name itself. No name leads out of
/// the directory that it is joined to.
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

/// What a model is called that is given as `model`: a path by its last part.
pub fn model_name(model: &str) -> &str {
    let name = model.trim_end_matches('/');
    match name.rsplit_once('/') {
        Some((_, last)) if name.starts_with(['/', '.', '~']) => last,
        _ => name,
    }
}

/// The engines under a model's directory, for a person.
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
        "there is none of this model".into()
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
