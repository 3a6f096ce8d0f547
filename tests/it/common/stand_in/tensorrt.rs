//! The TensorRT that the tests are compiled for, and that the stand-in therefore is: no other
//! place names its version.

use siglip2_embeddings::tensorrt::directory::Flavour;

/// One of the two products.
pub struct TensorRt {
    pub flavour: Flavour,
    /// The other product, whose engines this one refuses.
    pub other: Flavour,
    /// The version of the headers that come with the crate `trtx-sys`.
    pub version: &'static str,
    /// One whose library this program takes, and which refuses engines of `version`.
    pub newer: &'static str,
    /// Ones whose libraries this program refuses: with an older interface, or another.
    pub unknown: [&'static str; 2],
    /// The directory of the headers.
    pub(super) headers: &'static str,
    /// The file of the runtime, without what comes behind `.so`.
    pub(super) library: &'static str,
}

/// See [`TensorRt`].
pub const TENSORRT: TensorRt = if cfg!(feature = "tensorrt-enterprise") {
    TensorRt {
        flavour: Flavour::Enterprise,
        other: Flavour::Rtx,
        version: "11.4.0",
        newer: "11.5.0",
        unknown: ["11.3.0", "12.9.0"],
        headers: "TRT-Enterprise-11.4",
        library: "libnvinfer",
    }
} else {
    TensorRt {
        flavour: Flavour::Rtx,
        other: Flavour::Enterprise,
        version: "1.7.1",
        newer: "1.8.0",
        unknown: ["1.6.0", "2.9.0"],
        headers: "TRT-RTX-1.7",
        library: "libtensorrt_rtx",
    }
};

impl TensorRt {
    /// Whether the engine captures its towers as CUDA graphs by itself. TensorRT for RTX does
    /// so within, where the stand-in does not follow it.
    pub fn captures(&self) -> bool {
        self.flavour == Flavour::Enterprise
    }

    /// Whether it compiles kernels at run time, and keeps them in a cache.
    pub fn compiles(&self) -> bool {
        self.flavour == Flavour::Rtx
    }

    /// The runtime's file: `libnvinfer.so.11`.
    pub(super) fn file(&self) -> String {
        let major = self.version.split('.').next().unwrap_or_default();
        format!("{}.so.{major}", self.library)
    }
}
