//! Collects facts about the binary: the commit, the target, the features, and whether libjpeg
//! has its vector code. `src/build_info.rs` reads them.
//!
//! Nothing here can fail a build: a source archive has no git repository, and a machine may
//! not have nasm.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PATH");
    tell("COMMIT", &commit(Path::new(&root)).unwrap_or_default());
    tell("TARGET", &env::var("TARGET").unwrap_or_default());
    tell("FEATURES", &features());

    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    // On other targets its vector code is C with intrinsics and needs no assembler.
    let vector_code = !x86_64 || has_nasm();
    tell("JPEG_VECTOR_CODE", if vector_code { "1" } else { "0" });
    if !vector_code {
        println!(
            "cargo:warning=nasm is not installed, so libjpeg is built without its vector code: \
             JPEGs that it decodes (unusual ones such as CMYK, reduced ones, and all of them on a \
             processor without AVX2) take about three times as long; install nasm (apt install nasm, dnf install nasm, \
             brew install nasm), then `cargo clean -p mozjpeg-sys` and build again"
        );
    }
}

fn tell(name: &str, value: &str) {
    println!("cargo:rustc-env=SIGLIP2_BUILD_{name}={value}");
}

/// The commit that is checked out, and whether the sources differ from it; none without git, or
/// if these sources merely lie inside another repository.
fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(root)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // Both change with every commit and checkout.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={}", root.join(path).display());
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The enabled features of this crate, separated by commas.
fn features() -> String {
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_").map(str::to_owned))
        .map(|name| name.to_ascii_lowercase().replace('_', "-"))
        .collect();
    features.sort();
    features.join(",")
}

fn has_nasm() -> bool {
    let output = Command::new("nasm").arg("-v").output();
    output.is_ok_and(|output| output.status.success())
}
