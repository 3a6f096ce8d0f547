//! Finds and opens NVIDIA's shared libraries.
//!
//! ```text
//! Search: --tensorrt-lib, --nvrtc-lib | LD_LIBRARY_PATH | Python packages | usual places
//!     --> the first file with a known name --> opened, its version checked --> Libraries
//! ```
//!
//! If a directory is named, only that one is searched: a user who names one does not want
//! another library to be used silently. Otherwise an active Python environment comes before the
//! system, as it does for Python itself.
//!
//! CUDA's driver library is not searched for: it belongs to the driver's kernel module, and
//! cudarc opens it by name.

// Opening a shared library runs its constructors, and calling into it trusts its symbols.
#![allow(unsafe_code)]

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::directory::{Flavour, TensorRtVersion};

/// The flavour of TensorRT that this binary was built for.
pub const FLAVOUR: Flavour = if cfg!(feature = "tensorrt-enterprise") {
    Flavour::Enterprise
} else {
    Flavour::Rtx
};

/// One of NVIDIA's libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TensorRT itself.
    Runtime,
    /// TensorRT's reader of ONNX files.
    Parser,
    /// The compiler of CUDA's kernels.
    Nvrtc,
    /// The decoder of JPEG files.
    NvJpeg,
}

impl Kind {
    /// The name of its file, without `.so` and a version.
    fn stem(self) -> &'static str {
        match (self, FLAVOUR) {
            (Kind::Runtime, Flavour::Rtx) => "libtensorrt_rtx",
            (Kind::Runtime, Flavour::Enterprise) => "libnvinfer",
            (Kind::Parser, Flavour::Rtx) => "libtensorrt_onnxparser_rtx",
            (Kind::Parser, Flavour::Enterprise) => "libnvonnxparser",
            (Kind::Nvrtc, _) => "libnvrtc",
            (Kind::NvJpeg, _) => "libnvjpeg",
        }
    }

    /// Supported major versions, the best first.
    fn majors(self) -> &'static [u32] {
        match (self, FLAVOUR) {
            (Kind::Nvrtc | Kind::NvJpeg, _) => &[13, 12],
            (_, Flavour::Rtx) => &[1],
            (_, Flavour::Enterprise) => &[11],
        }
    }

    /// Its directory in Python packages, below `site-packages`.
    fn packages(self) -> &'static [&'static str] {
        match (self, FLAVOUR) {
            (Kind::Nvrtc, _) => &["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"],
            (Kind::NvJpeg, _) => &["nvidia/cu13/lib", "nvidia/nvjpeg/lib"],
            (_, Flavour::Rtx) => &["tensorrt_rtx_libs"],
            (_, Flavour::Enterprise) => &["tensorrt_libs"],
        }
    }

    fn names(self) -> Vec<String> {
        let name = |major| format!("{}.so.{major}", self.stem());
        self.majors().iter().map(name).collect()
    }

    fn flag(self) -> &'static str {
        match self {
            Kind::Runtime | Kind::Parser => "--tensorrt-lib (TENSORRT_LIB_DIR)",
            Kind::Nvrtc => "--nvrtc-lib (NVRTC_LIB_DIR)",
            Kind::NvJpeg => "--nvjpeg-lib (NVJPEG_LIB_DIR)",
        }
    }

    fn install(self) -> &'static str {
        match (self, FLAVOUR) {
            (Kind::Nvrtc, _) => "pip install nvidia-cuda-nvrtc==13.0.88",
            (Kind::NvJpeg, _) => "pip install nvidia-nvjpeg==13.0.4.44",
            (_, Flavour::Rtx) => "pip install tensorrt-rtx-cu13-libs",
            (_, Flavour::Enterprise) => {
                "it is in NVIDIA's packages libnvinfer11 and libnvonnxparsers11"
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Runtime => write!(f, "{FLAVOUR}"),
            Kind::Parser => write!(f, "the ONNX parser of {FLAVOUR}"),
            Kind::Nvrtc => f.write_str("NVRTC"),
            Kind::NvJpeg => f.write_str("nvJPEG"),
        }
    }
}

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It was not found.
    #[error("{kind} was not found: no {} in {}; install it ({}) or name its directory with {}",
            names.join(" or "), places(searched), kind.install(), kind.flag())]
    Missing {
        /// Which.
        kind: Kind,
        /// The file names that would be accepted.
        names: Vec<String>,
        /// The directories that were searched.
        searched: Vec<PathBuf>,
    },
    /// The system cannot load the file.
    #[error("{kind} at {} cannot be loaded: {reason}", path.display())]
    Unloadable {
        /// Which.
        kind: Kind,
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// It is too old, or has another major version.
    #[error("{kind} at {} has version {found}, but this program was built for {wanted}; \
             install that one ({}) or name its directory with {}",
            path.display(), kind.install(), kind.flag())]
    Version {
        /// Which.
        kind: Kind,
        /// The file.
        path: PathBuf,
        /// The version it reports.
        found: String,
        /// The required version.
        wanted: String,
    },
}

fn places(searched: &[PathBuf]) -> String {
    if searched.is_empty() {
        return "any directory".into();
    }
    let names: Vec<String> = searched.iter().map(|it| it.display().to_string()).collect();
    names.join(", ")
}

/// Where to search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The directory of TensorRT's libraries, if one was named.
    pub tensorrt: Option<PathBuf>,
    /// The directory of NVRTC, if one was named.
    pub nvrtc: Option<PathBuf>,
    /// The directory of nvJPEG, if one was named.
    pub nvjpeg: Option<PathBuf>,
    /// Directories to search for a library whose directory was not named.
    pub directories: Vec<PathBuf>,
    /// Python's package directories, searched before those.
    pub site_packages: Vec<PathBuf>,
}

impl Search {
    /// Searches the named directories; if none is named, those of this process's environment
    /// and the usual ones.
    pub fn new(tensorrt: Option<PathBuf>, nvrtc: Option<PathBuf>) -> Self {
        let list = |name: &str| -> Vec<PathBuf> {
            env::var_os(name)
                .map(|value| env::split_paths(&value).collect())
                .unwrap_or_default()
        };
        let variable = |name: &str| env::var_os(name).map(PathBuf::from);
        let mut roots: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
            .into_iter()
            .filter_map(variable)
            .collect();
        roots.extend(variable("HOME").map(|home| home.join(".local")));
        roots.extend(["/usr/local", "/usr"].map(PathBuf::from));

        let mut site_packages = list("PYTHONPATH");
        for root in roots {
            let pythons = matching(&root.join("lib"), "python3", "");
            for python in pythons {
                site_packages.push(python.join("site-packages"));
                site_packages.push(python.join("dist-packages"));
            }
        }

        let mut directories = list("LD_LIBRARY_PATH");
        for above in ["/usr/local", "/opt", "/opt/nvidia"].map(Path::new) {
            directories.extend(matching(above, "tensorrt", "lib"));
            directories.extend(matching(above, "TensorRT", "lib"));
            directories.extend(matching(above, "cuda", "lib64"));
        }
        directories.extend(loader_directories());
        let existing = |mut paths: Vec<PathBuf>| {
            paths.retain(|path| path.is_dir());
            let mut seen = std::collections::HashSet::new();
            paths.retain(|path| seen.insert(path.clone()));
            paths
        };
        Self {
            tensorrt: tensorrt.filter(|path| !path.as_os_str().is_empty()),
            nvrtc: nvrtc.filter(|path| !path.as_os_str().is_empty()),
            nvjpeg: None,
            directories: existing(directories),
            site_packages: existing(site_packages),
        }
    }

    /// Searches nvJPEG in a directory, if one is named.
    #[must_use]
    pub fn with_nvjpeg(mut self, directory: Option<PathBuf>) -> Self {
        self.nvjpeg = directory.filter(|path| !path.as_os_str().is_empty());
        self
    }

    /// nvJPEG, opened, and its file.
    pub(crate) fn nvjpeg(&self) -> Result<(Library, PathBuf), LibraryError> {
        let path = self.find(Kind::NvJpeg)?;
        Ok((load(Kind::NvJpeg, &path)?, path))
    }

    /// NVRTC's file, which is only needed for building.
    ///
    /// # Errors
    ///
    /// When it is not found.
    pub fn nvrtc(&self) -> Result<PathBuf, LibraryError> {
        self.find(Kind::Nvrtc)
    }

    /// The library's file.
    fn find(&self, kind: Kind) -> Result<PathBuf, LibraryError> {
        let named = match kind {
            Kind::Runtime | Kind::Parser => &self.tensorrt,
            Kind::Nvrtc => &self.nvrtc,
            Kind::NvJpeg => &self.nvjpeg,
        };
        let directories = match named {
            Some(directory) => vec![directory.clone()],
            None => {
                let packages = self.site_packages.iter().flat_map(|site| {
                    let below = |package| site.join(package);
                    kind.packages().iter().map(below)
                });
                packages
                    .filter(|path| path.is_dir())
                    .chain(self.directories.iter().cloned())
                    .collect()
            }
        };
        for directory in &directories {
            for name in kind.names() {
                if let Some(path) = file_of(directory, &name) {
                    return Ok(path);
                }
            }
        }
        Err(LibraryError::Missing {
            kind,
            names: kind.names(),
            searched: directories,
        })
    }
}

/// The directories of the dynamic loader: those in its configuration, and its defaults.
fn loader_directories() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    files.extend(matching(Path::new("/etc/ld.so.conf.d"), "", ""));
    let mut directories: Vec<PathBuf> = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| {
            let lines = text.lines().map(str::trim);
            let absolute = lines.filter(|line| line.starts_with('/'));
            absolute.map(PathBuf::from).collect::<Vec<_>>()
        })
        .collect();
    let triple = format!("{}-linux-gnu", env::consts::ARCH);
    directories.extend(
        [
            "/usr/local/lib".to_owned(),
            format!("/usr/lib/{triple}"),
            format!("/lib/{triple}"),
            "/usr/lib64".into(),
            "/usr/lib".into(),
        ]
        .map(PathBuf::from),
    );
    directories
}

/// `below` in each entry of `above` whose name begins with `prefix`, newest name first.
fn matching(above: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(above)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            name.to_str()?.starts_with(prefix).then(|| entry.path())
        })
        .collect();
    found.sort();
    found.reverse();
    if !below.is_empty() {
        found.iter_mut().for_each(|path| path.push(below));
    }
    found
}

/// The file `name` in a directory, or one with a longer version suffix.
fn file_of(directory: &Path, name: &str) -> Option<PathBuf> {
    let exact = directory.join(name);
    if exact.is_file() {
        return Some(exact);
    }
    matching(directory, &format!("{name}."), "")
        .into_iter()
        .find(|path| path.is_file())
}

/// Open libraries. They stay open until the process ends, because threads they started and
/// objects made with them still need their code.
#[derive(Clone, Debug)]
pub struct Libraries {
    /// TensorRT's file.
    pub runtime: PathBuf,
    /// Its version.
    pub version: TensorRtVersion,
    search: Search,
}

impl Libraries {
    /// Opens TensorRT and checks its version.
    ///
    /// # Errors
    ///
    /// When it is not found, cannot be loaded, or its version does not match the interface that
    /// this program was built against.
    pub fn open(search: &Search) -> Result<Self, LibraryError> {
        let runtime = search.find(Kind::Runtime)?;
        let library = load(Kind::Runtime, &runtime)?;
        let version = tensorrt_version(&library, &runtime)?;
        trtx::dynamically_load_tensorrt(Some(&runtime))
            .map_err(|error| unloadable(Kind::Runtime, &runtime, &error))?;
        std::mem::forget(library);
        Ok(Self {
            runtime,
            version: TensorRtVersion {
                flavour: FLAVOUR,
                version,
            },
            search: search.clone(),
        })
    }

    /// Opens the ONNX parser, which is only needed for building.
    ///
    /// # Errors
    ///
    /// When it is not found or cannot be loaded.
    pub fn open_parser(&self) -> Result<PathBuf, LibraryError> {
        // It belongs to one TensorRT and lies beside it, even if that was found by searching.
        let beside = Search {
            tensorrt: self.runtime.parent().map(Path::to_owned),
            ..self.search.clone()
        };
        let path = beside
            .find(Kind::Parser)
            .or_else(|_| self.search.find(Kind::Parser))?;
        trtx::dynamically_load_tensorrt_onnxparser(Some(&path))
            .map_err(|error| unloadable(Kind::Parser, &path, &error))?;
        Ok(path)
    }
}

fn load(kind: Kind, path: &Path) -> Result<Library, LibraryError> {
    // SAFETY: the library's constructors run. It is NVIDIA's, found by its name in a
    // directory that the user or the system vouches for, and its constructors require
    // nothing of the process that loads it.
    unsafe { Library::new(path) }.map_err(|error| unloadable(kind, path, &error))
}

fn unloadable(kind: Kind, path: &Path, error: &dyn fmt::Display) -> LibraryError {
    LibraryError::Unloadable {
        kind,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Asks TensorRT for its version, and compares it with the headers that trtx was built with. It
/// must have the same major version and be at least as new, because virtual functions are only
/// ever added.
fn tensorrt_version(library: &Library, path: &Path) -> Result<String, LibraryError> {
    let ask = |symbol: &[u8]| -> Result<u32, LibraryError> {
        // SAFETY: these functions of NvInferRuntime.h take nothing and return an int32_t.
        let value = unsafe {
            library
                .get::<unsafe extern "C" fn() -> i32>(symbol)
                .map_err(|error| unloadable(Kind::Runtime, path, &error))?()
        };
        Ok(value.unsigned_abs())
    };
    let found = (
        ask(b"getInferLibMajorVersion\0")?,
        ask(b"getInferLibMinorVersion\0")?,
        ask(b"getInferLibPatchVersion\0")?,
    );
    // SAFETY: these return constants that were compiled into this program.
    let wanted = unsafe {
        (
            trtx::trtx_sys::get_tensorrt_major_version(),
            trtx::trtx_sys::get_tensorrt_minor_version(),
        )
    };
    let version = format!("{}.{}.{}", found.0, found.1, found.2);
    if found.0 != wanted.0 || found.1 < wanted.1 {
        return Err(LibraryError::Version {
            kind: Kind::Runtime,
            path: path.to_owned(),
            found: version,
            wanted: format!("{}.{} or later {}.x", wanted.0, wanted.1, wanted.0),
        });
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory below `root` with files of these names.
    fn directory(root: &Path, name: &str, files: &[String]) -> PathBuf {
        let path = root.join(name);
        fs::create_dir_all(&path).unwrap();
        for file in files {
            fs::write(path.join(file), "").unwrap();
        }
        path
    }

    #[test]
    fn a_directory_that_is_named_is_the_only_one_that_is_looked_into() {
        let root = tempfile::tempdir().unwrap();
        let full = directory(root.path(), "full", &Kind::Runtime.names());
        let empty = directory(root.path(), "empty", &[]);
        let mut search = Search {
            directories: vec![full.clone()],
            ..Search::default()
        };
        let found = search.find(Kind::Runtime).unwrap();
        assert_eq!(found.parent(), Some(full.as_path()));
        search.tensorrt = Some(empty.clone());
        let error = search.find(Kind::Runtime).unwrap_err().to_string();
        assert!(error.contains(&empty.display().to_string()), "{error}");
        assert!(!error.contains(&full.display().to_string()), "{error}");
    }

    #[test]
    fn python_packages_go_before_the_system_and_the_newest_nvrtc_before_others() {
        let root = tempfile::tempdir().unwrap();
        let package = format!("site/{}", Kind::Nvrtc.packages()[0]);
        let old = [
            "libnvrtc.so.12".to_owned(),
            "libnvrtc-builtins.so.13.0".to_owned(),
        ];
        let system = directory(root.path(), "system", &old);
        let mut search = Search {
            directories: vec![system.clone()],
            site_packages: vec![root.path().join("site")],
            ..Search::default()
        };
        assert_eq!(search.nvrtc().unwrap(), system.join("libnvrtc.so.12"));
        let full_version = [
            "libnvrtc.so.13.0.88".to_owned(),
            "libnvrtc.so.12".to_owned(),
        ];
        let package = directory(root.path(), &package, &full_version);
        assert_eq!(search.nvrtc().unwrap(), package.join("libnvrtc.so.13.0.88"));
        search.nvrtc = Some(system.clone());
        assert_eq!(search.nvrtc().unwrap(), system.join("libnvrtc.so.12"));
    }
}
