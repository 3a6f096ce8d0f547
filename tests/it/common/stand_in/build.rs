//! Compiles the stand-in with the C++ compiler of the machine, once for all tests that run
//! at the same time, and again only when a source has changed; for each of the two TensorRTs in
//! a directory of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};
use std::thread;

use sha2::{Digest, Sha256};

use super::TENSORRT;

/// The compiled libraries and the self-test, in one directory.
pub struct Libraries {
    directory: PathBuf,
}

impl Libraries {
    /// For `LD_LIBRARY_PATH`: `libcuda.so.1` and TensorRT's runtime lie there, under all of
    /// their names.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The stand-in for TensorRT's runtime.
    pub fn tensorrt(&self) -> PathBuf {
        self.directory.join(TENSORRT.file())
    }

    /// The stand-in for nvJPEG.
    pub fn nvjpeg(&self) -> PathBuf {
        self.directory.join(NVJPEG)
    }

    /// The directory of the one that runs on a real driver as well: alone, so that no stand-in
    /// for the driver is taken with it.
    pub fn on_driver(&self) -> PathBuf {
        self.directory.join(ON_DRIVER)
    }

    /// The program that tests the libraries themselves.
    pub fn selftest(&self) -> PathBuf {
        self.directory.join("selftest")
    }
}

/// The libraries for the sources as they are now.
pub fn libraries() -> &'static Libraries {
    static BUILT: OnceLock<Libraries> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// What all sources are compiled with. `-ffp-contract=off` keeps the products and sums of
/// the engines' functions apart, as Rust does.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-O1",
    "-g",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-DRESIZE_HOST",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-Wno-deprecated-declarations",
];

/// The sources, and the library, that bring TensorRT's stand-in to a real driver.
const ON_DRIVER: &str = "on_driver";

/// The stand-in for nvJPEG.
const NVJPEG: &str = "libnvjpeg.so.13";

const KERNEL: &str = "crates/tensorrt/src/kernel/resize.cu";

fn build() -> Libraries {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let sources = sources(root);
    // Of one TensorRT: tests of the other may run at the same time, in the same place.
    let name = format!("stand-in-{}", TENSORRT.library);
    let directory = place.join(format!("{name}-{}", digest(root, &sources)));

    let lock = File::create(place.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("the lock");
    if !directory.is_dir() {
        remove_old(place, &format!("{name}-"));
        let part = place.join(format!("{name}-part"));
        compile(root, &sources, &part);
        fs::rename(&part, &directory).expect("the libraries move into their place");
    }
    Libraries { directory }
}

/// All files below `tests/stand_in`, and the project's kernel, from the root of the project.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(KERNEL)];
    let mut open = vec![PathBuf::from("tests/stand_in")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory)).expect("the sources") {
            let entry = entry.expect("a source");
            let path = directory.join(entry.file_name());
            if entry.file_type().expect("its type").is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn digest(root: &Path, sources: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for source in sources {
        add(source.as_os_str().as_encoded_bytes());
        add(&fs::read(root.join(source)).expect("a source"));
    }
    add(FLAGS.join(" ").as_bytes());
    add(TENSORRT.headers.as_bytes());
    add(&run(Command::new(compiler()).arg("--version")).stdout);
    // What TensorRT's headers say comes with the crate's version.
    add(&fs::read(root.join("Cargo.lock")).expect("Cargo.lock"));
    let digest = hash.finalize();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Drops what was compiled from sources that are no more: directories whose names begin so.
fn remove_old(place: &Path, prefix: &str) {
    for entry in fs::read_dir(place).expect("the test directory").flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn compile(root: &Path, sources: &[PathBuf], into: &Path) {
    fs::create_dir_all(into).expect("a directory");
    let headers = tensorrt_headers(root);
    let units: Vec<&PathBuf> = sources
        .iter()
        .filter(|source| source.extension().is_some_and(|e| e == "cpp" || e == "cu"))
        .collect();

    let waiting = Mutex::new(units.iter());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(source) = waiting.lock().expect("no panic").next() else {
                        return;
                    };
                    run(Command::new(compiler())
                        .current_dir(root)
                        .args(FLAGS)
                        .arg("-isystem")
                        .arg(headers.join(TENSORRT.headers))
                        .arg("-isystem")
                        .arg(&headers)
                        .args(["-x", "c++", "-c"])
                        .arg(source)
                        .arg("-o")
                        .arg(into.join(object(source))));
                }
            });
        }
    });

    let of = |room: &str| -> Vec<String> {
        let room = Path::new("tests/stand_in").join(room);
        units
            .iter()
            .filter(|source| source.starts_with(&room))
            .map(|source| object(source))
            .collect()
    };
    let mut cuda = of("cuda");
    cuda.push(object(Path::new(KERNEL)));
    link_library(into, "libcuda.so.1", &cuda, &[]);
    let runtime = TENSORRT.file();
    link_library(into, &runtime, &of("tensorrt"), &["-l:libcuda.so.1"]);
    // What the driver's stand-in has for itself.
    let faults = ["faults", "errors", "spec"]
        .map(|name| object(&PathBuf::from(format!("tests/stand_in/cuda/{name}.cpp"))));
    let nvjpeg = [of("nvjpeg"), faults.to_vec()].concat();
    link_library(into, NVJPEG, &nvjpeg, &["-l:libcuda.so.1"]);
    fs::create_dir(into.join(ON_DRIVER)).expect("a directory");
    let on_driver = [of("tensorrt"), of(ON_DRIVER), faults.to_vec()].concat();
    // How an inference comes into a stream is said once in each library.
    let enqueue = object(Path::new("tests/stand_in/tensorrt/enqueue.cpp"));
    let on_driver: Vec<String> = on_driver.into_iter().filter(|it| *it != enqueue).collect();
    run(Command::new(compiler())
        .current_dir(into)
        .args(["-shared", "-o", &format!("{ON_DRIVER}/{runtime}")])
        .arg(format!("-Wl,-soname,{runtime}"))
        .args(["-Wl,-z,nodelete", "-Wl,-z,defs", "-static-libstdc++", "-L."])
        .args(on_driver)
        .args(["-l:libcuda.so.1", "-pthread", "-ldl"]));
    let whole = format!("{}.so.{}", TENSORRT.library, TENSORRT.version);
    for (name, of) in [
        ("libcuda.so", "libcuda.so.1"),
        (&format!("{}.so", TENSORRT.library), &runtime),
        (&whole, &runtime),
    ] {
        std::os::unix::fs::symlink(of, into.join(name)).expect("a link");
    }
    run(Command::new(compiler())
        .current_dir(into)
        .args(["-o", "selftest"])
        .args(of("selftest"))
        // What the engines compute, which the library keeps to itself.
        .arg(object(Path::new("tests/stand_in/tensorrt/function.cpp")))
        .args(["-Wl,-rpath,$ORIGIN", "-L."])
        .arg(format!("-l:{runtime}"))
        .args(["-l:libcuda.so.1", "-pthread"]));
}

/// The name of the object file of a source.
fn object(source: &Path) -> String {
    format!("{}.o", source.to_string_lossy().replace('/', "_"))
}

/// `nodelete`: streams' threads outlive a program's last use of the driver, which a program
/// may open only to see whether it is there.
fn link_library(directory: &Path, name: &str, objects: &[String], libraries: &[&str]) {
    run(Command::new(compiler())
        .current_dir(directory)
        .args(["-shared", "-o", name])
        .args([format!("-Wl,-soname,{name}"), "-Wl,-rpath,$ORIGIN".into()])
        .args(["-Wl,-z,nodelete", "-Wl,-z,defs", "-L."])
        .args(objects)
        .args(libraries)
        .args(["-pthread", "-ldl"]));
}

/// TensorRT's headers, which come with the crate that binds it.
fn tensorrt_headers(root: &Path) -> PathBuf {
    let output = run(Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--features", "tensorrt", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH)));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo answers with JSON");
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| {
            packages
                .iter()
                .find(|package| package["name"] == "trtx-sys")
        })
        .and_then(|package| package["manifest_path"].as_str())
        .expect("trtx-sys is among the packages");
    Path::new(manifest).with_file_name("TensorRT-Headers")
}

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".into())
}

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
