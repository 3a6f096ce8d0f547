//! NVRTC, NVIDIA's CUDA C++ compiler as a library: from source to machine code for one
//! architecture (a cubin), so that the driver compiles nothing when the service starts. Needs
//! neither a GPU nor a driver.
//!
//! ```text
//! libnvrtc --Compiler::open--> Compiler --compile(source, "sm_120")--> Compiled { cubin, log }
//! ```
//!
//! The library is opened here and not by cudarc, which looks for libnvrtc under its own list of
//! names and panics without it. Here the user can say which library to open.

#![allow(unsafe_code)] // A C library that is opened at run time.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

/// The names tried, in order, when no path is given: those of CUDA 13 and 12, and the symbolic
/// link that a toolkit installs.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// Why something could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NvrtcError {
    /// The library cannot be opened.
    #[error(
        "NVRTC could not be opened ({}): {reason}; it comes with the CUDA toolkit or with \
         `pip install nvidia-cuda-nvrtc`", tried.join(", ")
    )]
    Open {
        /// The names or the path that were tried.
        tried: Vec<String>,
        /// The loader's message about the last one.
        reason: String,
    },
    /// It is a library, but not NVRTC.
    #[error("{library} is not a usable NVRTC: it has no {symbol}")]
    Symbol {
        /// What was opened.
        library: String,
        /// The missing function.
        symbol: &'static str,
    },
    /// The source or the architecture is rejected.
    #[error("NVRTC {version} could not compile {name} for {architecture}: {reason}\n{log}")]
    Compile {
        /// The library's version: major.minor.
        version: String,
        /// The source's name.
        name: String,
        /// The architecture, such as `sm_120`.
        architecture: String,
        /// NVRTC's name for the error.
        reason: String,
        /// The compiler's output.
        log: String,
    },
    /// A string contains a zero byte.
    #[error("the {0} for NVRTC contains a zero byte")]
    Text(&'static str),
}

/// Compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Machine code in an ELF file that the driver can load.
    pub cubin: Vec<u8>,
    /// The compiler's output: warnings and, for each entry point, registers, shared memory
    /// and spills.
    pub log: String,
}

/// `nvrtcProgram` of nvrtc.h.
type Handle = *mut c_void;
/// `nvrtcResult` of nvrtc.h. A plain number, because later versions add results.
type Outcome = c_int;
const SUCCESS: Outcome = 0;

type Create = unsafe extern "C" fn(
    *mut Handle,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Outcome;
type Compile = unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> Outcome;
type Destroy = unsafe extern "C" fn(*mut Handle) -> Outcome;
type Bytes = unsafe extern "C" fn(Handle, *mut usize) -> Outcome;
type Copy = unsafe extern "C" fn(Handle, *mut c_char) -> Outcome;
type Say = unsafe extern "C" fn(Outcome) -> *const c_char;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> Outcome;

/// The library and the functions used from it.
pub struct Compiler {
    create: Create,
    compile: Compile,
    destroy: Destroy,
    cubin_bytes: Bytes,
    cubin: Copy,
    log_bytes: Bytes,
    log: Copy,
    say: Say,
    version: String,
    /// The libraries that hold the functions and that compiling opens; closed last.
    _libraries: (Library, Option<Library>),
}

impl Compiler {
    /// Opens the library at `path`, or the one that the loader finds under its usual names.
    ///
    /// # Errors
    ///
    /// [`NvrtcError::Open`], [`NvrtcError::Symbol`].
    pub fn open(path: Option<&Path>) -> Result<Self, NvrtcError> {
        let names = match path {
            Some(path) => vec![path.as_os_str().to_owned()],
            None => NAMES.map(Into::into).to_vec(),
        };
        let mut reason = String::new();
        for name in &names {
            // SAFETY: opening a library runs its initializers. The caller or the file name says
            // that it is NVRTC; any other library lacks the functions below.
            match unsafe { Library::new(name) } {
                Ok(library) => return Self::over(library, Path::new(name)),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(NvrtcError::Open {
            tried: names
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
            reason,
        })
    }

    fn over(library: Library, path: &Path) -> Result<Self, NvrtcError> {
        let name = &path.to_string_lossy();
        /// Looks a function up; the type is that of the header nvrtc.h.
        ///
        /// # Safety
        ///
        /// `F` is the type of the function of that name.
        unsafe fn find<F: std::marker::Copy>(
            library: &Library,
            name: &str,
            symbol: &'static str,
        ) -> Result<F, NvrtcError> {
            // SAFETY: the caller's promise.
            unsafe { library.get::<F>(symbol) }
                .map(|function| *function)
                .map_err(|_| NvrtcError::Symbol {
                    library: name.to_owned(),
                    symbol,
                })
        }
        // SAFETY: the types are those of nvrtc.h, which have not changed since CUDA 11.1.
        // They are called only while `_libraries` is open.
        unsafe {
            let version: Version = find(&library, name, "nvrtcVersion")?;
            let (mut major, mut minor) = (0, 0);
            version(&raw mut major, &raw mut minor);
            // The library opens its builtins by their bare name. The loader does not search the
            // library's directory for it, but does find a library that is already open.
            let builtins = format!("libnvrtc-builtins.so.{major}.{minor}");
            let builtins = Library::new(path.with_file_name(builtins)).ok();
            Ok(Self {
                create: find(&library, name, "nvrtcCreateProgram")?,
                compile: find(&library, name, "nvrtcCompileProgram")?,
                destroy: find(&library, name, "nvrtcDestroyProgram")?,
                cubin_bytes: find(&library, name, "nvrtcGetCUBINSize")?,
                cubin: find(&library, name, "nvrtcGetCUBIN")?,
                log_bytes: find(&library, name, "nvrtcGetProgramLogSize")?,
                log: find(&library, name, "nvrtcGetProgramLog")?,
                say: find(&library, name, "nvrtcGetErrorString")?,
                version: format!("{major}.{minor}"),
                _libraries: (library, builtins),
            })
        }
    }

    /// The version of the library: major.minor.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Compiles `source`, called `name` in messages, for an architecture such as `sm_120`.
    ///
    /// # Errors
    ///
    /// [`NvrtcError::Compile`] with the compiler's output.
    pub fn compile(
        &self,
        source: &str,
        name: &str,
        architecture: &str,
    ) -> Result<Compiled, NvrtcError> {
        let text = |text: &str, what| CString::new(text).map_err(|_| NvrtcError::Text(what));
        let source = text(source, "source")?;
        let c_name = text(name, "name of the source")?;
        let options = [
            text(
                &format!("--gpu-architecture={architecture}"),
                "architecture",
            )?,
            c"--std=c++17".to_owned(),
            c"--restrict".to_owned(),
            c"--ptxas-options=-v".to_owned(),
        ];
        let failed = |result: Outcome, log: String| NvrtcError::Compile {
            version: self.version.clone(),
            name: name.to_owned(),
            architecture: architecture.to_owned(),
            reason: self.sentence(result),
            log,
        };

        let mut program = std::ptr::null_mut();
        // SAFETY: two zero-terminated strings, and no headers.
        let created = unsafe {
            (self.create)(
                &raw mut program,
                source.as_ptr(),
                c_name.as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        if created != SUCCESS {
            return Err(failed(created, String::new()));
        }
        let program = Program {
            compiler: self,
            handle: program,
        };
        let pointers = options.each_ref().map(|option| option.as_ptr());
        // SAFETY: the program is alive, and so are the strings that `pointers` point to.
        let compiled =
            unsafe { (self.compile)(program.handle, pointers.len() as c_int, pointers.as_ptr()) };
        let log = program
            .bytes(self.log_bytes, self.log)
            .map(|log| {
                String::from_utf8_lossy(&log)
                    .trim_end_matches('\0')
                    .to_owned()
            })
            .unwrap_or_default();
        if compiled != SUCCESS {
            return Err(failed(compiled, log));
        }
        match program.bytes(self.cubin_bytes, self.cubin) {
            Ok(cubin) => Ok(Compiled { cubin, log }),
            Err(result) => Err(failed(result, log)),
        }
    }

    /// NVRTC's name for a result.
    fn sentence(&self, result: Outcome) -> String {
        // SAFETY: for any result it returns a string that lives as long as the library.
        unsafe {
            let text = (self.say)(result);
            if text.is_null() {
                return format!("result {result}");
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

/// An NVRTC program; destroyed when dropped.
struct Program<'a> {
    compiler: &'a Compiler,
    handle: Handle,
}

impl Program<'_> {
    /// Reads an output of the program that has a length.
    fn bytes(&self, length: Bytes, copy: Copy) -> Result<Vec<u8>, Outcome> {
        let check = |result| match result {
            SUCCESS => Ok(()),
            other => Err(other),
        };
        let mut bytes = 0;
        // SAFETY: the program is alive.
        check(unsafe { length(self.handle, &raw mut bytes) })?;
        let mut buffer = vec![0_u8; bytes];
        // SAFETY: it writes exactly the number of bytes that the previous call returned.
        check(unsafe { copy(self.handle, buffer.as_mut_ptr().cast::<c_char>()) })?;
        Ok(buffer)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: it was created by this library and is destroyed only here.
        unsafe { (self.compiler.destroy)(&raw mut self.handle) };
    }
}
