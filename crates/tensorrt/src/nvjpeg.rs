//! nvJPEG, NVIDIA's decoder of JPEG files: its functions, as its header (nvjpeg.h, 12 and 13)
//! declares them, in the library that was found at run time.
//!
//! Only what is used here: batches of whole files to interleaved RGB, memory lent by the caller, and
//! the question whether it takes a file.

#![allow(unsafe_code)] // Symbols of a C library.

use std::ffi::{c_int, c_uint, c_void};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use libloading::Library;

use crate::libraries::{LibraryError, Search};

/// What a function answers: 0, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Status(c_int);

impl Status {
    /// The allocator that was given to it had no more.
    pub(crate) const ALLOCATOR_FAILURE: Self = Self(5);

    pub(crate) fn ok(self) -> Result<(), Self> {
        match self.0 {
            0 => Ok(()),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "NOT_INITIALIZED",
            2 => "INVALID_PARAMETER",
            3 => "BAD_JPEG",
            4 => "JPEG_NOT_SUPPORTED",
            5 => "ALLOCATOR_FAILURE",
            6 => "EXECUTION_FAILED",
            7 => "ARCH_MISMATCH",
            8 => "INTERNAL_ERROR",
            9 => "IMPLEMENTATION_NOT_SUPPORTED",
            10 => "INCOMPLETE_BITSTREAM",
            other => return write!(f, "nvJPEG says status {other}"),
        };
        write!(f, "nvJPEG says {name}")
    }
}

/// What decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The chip's JPEG engine, beside its multiprocessors.
    Engine,
    /// CUDA kernels. nvJPEG reads the codes of small batches on the CPU.
    Cuda,
}

impl Backend {
    /// As nvJPEG knows it.
    fn number(self) -> c_int {
        match self {
            // NVJPEG_BACKEND_HARDWARE
            Self::Engine => 3,
            // NVJPEG_BACKEND_GPU_HYBRID
            Self::Cuda => 2,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "JPEG engine",
            Self::Cuda => "CUDA decoder",
        })
    }
}

/// `nvjpegImage_t`: for interleaved RGB only the first of each is used.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Image {
    channel: [CUdeviceptr; 4],
    pitch: [usize; 4],
}

impl Image {
    /// Rows of RGB triples without padding.
    pub(crate) fn rgb(address: CUdeviceptr, width: u32) -> Self {
        Self {
            channel: [address, 0, 0, 0],
            pitch: [3 * width as usize, 0, 0, 0],
        }
    }
}

/// NVJPEG_OUTPUT_RGBI
pub(crate) const INTERLEAVED_RGB: c_int = 5;

/// Opaque objects of the library.
pub(crate) type Handle = *mut c_void;
pub(crate) type State = *mut c_void;
pub(crate) type Header = *mut c_void;

/// `nvjpegDevAllocatorV2_t` and `nvjpegPinnedAllocatorV2_t`, which are alike. The functions answer 0,
/// or an error.
#[repr(C)]
pub(crate) struct Allocator {
    pub(crate) take: unsafe extern "C" fn(*mut c_void, *mut *mut c_void, usize, CUstream) -> c_int,
    pub(crate) give: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, CUstream) -> c_int,
    pub(crate) context: *mut c_void,
}

/// Declares the functions, and how they are found in a library.
macro_rules! functions {
    ($($field:ident = $symbol:literal: fn($($argument:ty),* $(,)?);)*) => {
        /// The functions, each by the part of its name after `nvjpeg`.
        #[allow(clippy::type_complexity)]
        pub(crate) struct Functions {
            $(pub(crate) $field: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Functions {
            /// # Safety
            ///
            /// The library is nvJPEG, and stays open as long as these are used.
            unsafe fn find(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: nvjpeg.h declares the function of this name so.
                    $($field: unsafe { *library.get(concat!($symbol, "\0").as_bytes())? },)*
                })
            }
        }
    };
}

functions! {
    get_property = "nvjpegGetProperty": fn(c_int, *mut c_int);
    create = "nvjpegCreateEx": fn(c_int, *mut c_void, *mut c_void, c_uint, *mut Handle);
    create_in = "nvjpegCreateExV2":
        fn(c_int, *mut Allocator, *mut Allocator, c_uint, *mut Handle);
    destroy = "nvjpegDestroy": fn(Handle);
    hardware = "nvjpegGetHardwareDecoderInfo": fn(Handle, *mut c_uint, *mut c_uint);
    create_state = "nvjpegJpegStateCreate": fn(Handle, *mut State);
    destroy_state = "nvjpegJpegStateDestroy": fn(State);
    initialize = "nvjpegDecodeBatchedInitialize": fn(Handle, State, c_int, c_int, c_int);
    decode = "nvjpegDecodeBatched":
        fn(Handle, State, *const *const u8, *const usize, *mut Image, CUstream);
    create_header = "nvjpegJpegStreamCreate": fn(Handle, *mut Header);
    destroy_header = "nvjpegJpegStreamDestroy": fn(Header);
    parse_header = "nvjpegJpegStreamParseHeader": fn(Handle, *const u8, usize, Header);
    supported = "nvjpegDecodeBatchedSupported": fn(Handle, Header, *mut c_int);
}

/// Batches in a row of which nothing was decoded, after which it is not asked again.
const LAST_CHANCE: u32 = 3;

/// The library, open until the process ends.
pub struct NvJpeg {
    pub(crate) functions: Functions,
    path: PathBuf,
    version: String,
    /// Batches that failed as a whole, in a row.
    failed: AtomicU32,
}

impl NvJpeg {
    /// Finds and opens the library.
    ///
    /// # Errors
    ///
    /// When it is not found, cannot be loaded, or has not all of the functions.
    pub fn open(search: &Search) -> Result<&'static Self, LibraryError> {
        let (library, path) = search.nvjpeg()?;
        let unusable = |reason: String| LibraryError::Unloadable {
            kind: crate::libraries::Kind::NvJpeg,
            path: path.clone(),
            reason,
        };
        // SAFETY: it was found by nvJPEG's name, and is never closed (below).
        let functions = unsafe { Functions::find(&library) };
        let functions = functions.map_err(|error| unusable(error.to_string()))?;
        std::mem::forget(library);
        let mut version = [0; 3];
        for (which, number) in (0..).zip(&mut version) {
            // SAFETY: properties 0, 1 and 2 are the parts of the version, each an int.
            unsafe { (functions.get_property)(which, number) }
                .ok()
                .map_err(|status| unusable(status.to_string()))?;
        }
        let [major, minor, patch] = version;
        Ok(Box::leak(Box::new(Self {
            functions,
            path,
            version: format!("{major}.{minor}.{patch}"),
            failed: AtomicU32::new(0),
        })))
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A handle for questions. The current context is that of the GPU.
    pub(crate) fn handle(&self, backend: Backend) -> Result<Handle, Status> {
        let mut handle = std::ptr::null_mut();
        let null = std::ptr::null_mut();
        // SAFETY: without allocators it uses CUDA's own; the handle is written if it succeeds.
        unsafe { (self.functions.create)(backend.number(), null, null, 0, &mut handle) }.ok()?;
        Ok(handle)
    }

    /// A handle that takes all its memory from these allocators.
    ///
    /// # Safety
    ///
    /// Both live until the handle has been destroyed.
    pub(crate) unsafe fn handle_in(
        &self,
        backend: Backend,
        device: *mut Allocator,
        pinned: *mut Allocator,
    ) -> Result<Handle, Status> {
        let mut handle = std::ptr::null_mut();
        let create = self.functions.create_in;
        // SAFETY: the caller's promise; the handle is written if it succeeds.
        unsafe { create(backend.number(), device, pinned, 0, &mut handle) }.ok()?;
        Ok(handle)
    }

    /// Whether it has failed so often that files go to the CPU.
    pub(crate) fn is_given_up(&self) -> bool {
        self.failed.load(Ordering::Relaxed) >= LAST_CHANCE
    }

    /// Notes that something of a batch was decoded, or nothing; true when it is given up now.
    pub(crate) fn note(&self, decoded: bool) -> bool {
        match decoded {
            true => {
                if !self.is_given_up() {
                    self.failed.store(0, Ordering::Relaxed);
                }
                false
            }
            false => self.failed.fetch_add(1, Ordering::Relaxed) + 1 == LAST_CHANCE,
        }
    }
}

impl fmt::Debug for NvJpeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nvJPEG {} at {}", self.version, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a driver it opens and tells its version, and refuses to make a handle.
    #[test]
    #[ignore = "needs NVIDIA's library: tools/check-tensorrt runs it"]
    fn nvidias_own_library_nvjpeg_has_every_function() {
        let directory = std::env::var_os("NVJPEG_LIB_DIR").unwrap();
        let search = Search::new(None, None).with_nvjpeg(Some(directory.into()));
        let nvjpeg = NvJpeg::open(&search).unwrap();
        assert!(nvjpeg.version().starts_with("13."), "{nvjpeg:?}");
        for backend in [Backend::Engine, Backend::Cuda] {
            let refused = nvjpeg.handle(backend);
            assert!(refused.is_err(), "a handle without a GPU");
        }
    }
}
