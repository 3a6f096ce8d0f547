//! JPEG files decoded on the card, into the source buffer of the resize kernel.
//!
//! ```text
//! decode thread: file --IntactJpeg--> --Judge--> pinned memory, as it is    (else: decoded here)
//! owner thread:  files of a part of a batch --CardDecoder--> pixels, on the slot's stream
//!                   |-- refused: halves, and halves of those, until the file is found
//!                   `-- that file: on the CPU
//! ```
#![allow(unsafe_code)]

mod decoder;

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::CudaContext;

use super::feed::ImageFeed;
use super::{Gpu, device};
use crate::error::{DeviceError, Doing, refused};
use crate::nvjpeg::{Backend, Handle, Header, NvJpeg};
use siglip2_engine::CodedImage;
use siglip2_image::{ImageLimits, PixelMemory};

pub(super) use decoder::{CardDecoder, DecoderMemory, ToDecode};

/// What nvJPEG decodes with on a GPU: its JPEG engine, else CUDA.
///
/// # Errors
///
/// When it cannot be used there at all.
pub fn card_backend(gpu: &Gpu, nvjpeg: &NvJpeg) -> Result<Backend, DeviceError> {
    let context = device::context(gpu)?;
    context.bind_to_thread().doing(|| format!("using {gpu}"))?;
    let (backend, handle) = handle(nvjpeg)?;
    // SAFETY: it was just made, and nothing else has it.
    unsafe { (nvjpeg.functions.destroy)(handle) };
    Ok(backend)
}

/// A handle in the current context, and what it decodes with.
fn handle(nvjpeg: &NvJpeg) -> Result<(Backend, Handle), DeviceError> {
    if let Ok(handle) = nvjpeg.handle(Backend::Engine) {
        let (mut engines, mut cores) = (0, 0);
        // SAFETY: the handle is sound, and both are written if it succeeds.
        let asked = unsafe { (nvjpeg.functions.hardware)(handle, &mut engines, &mut cores) };
        if asked.ok().is_ok() && engines > 0 {
            return Ok((Backend::Engine, handle));
        }
        // SAFETY: as above; it is not used again.
        unsafe { (nvjpeg.functions.destroy)(handle) };
    }
    let handle = nvjpeg
        .handle(Backend::Cuda)
        .map_err(|status| refused(format!("opening {nvjpeg:?}"), status.to_string()))?;
    Ok((Backend::Cuda, handle))
}

/// Asks nvJPEG whether it takes a file, on any thread.
pub(super) struct Judge {
    nvjpeg: &'static NvJpeg,
    handle: Handle,
    /// Objects that headers are read into, none of them in use.
    headers: Mutex<Vec<HeaderObject>>,
    context: Arc<CudaContext>,
}

struct HeaderObject(Header);

// SAFETY: an object of the library's, used by one thread at a time.
unsafe impl Send for HeaderObject {}
// SAFETY: nvJPEG's handle may be shared by threads (its documentation, "Thread Safety"); the rest is
// behind a lock.
unsafe impl Send for Judge {}
// SAFETY: as above.
unsafe impl Sync for Judge {}

impl Judge {
    pub(super) fn new(
        context: &Arc<CudaContext>,
        nvjpeg: &'static NvJpeg,
    ) -> Result<Self, DeviceError> {
        context
            .bind_to_thread()
            .doing(|| "opening nvJPEG".to_owned())?;
        let (_, handle) = handle(nvjpeg)?;
        Ok(Self {
            nvjpeg,
            handle,
            headers: Mutex::new(Vec::new()),
            context: Arc::clone(context),
        })
    }

    /// Whether any file is taken at all.
    pub(super) fn takes_files(&self) -> bool {
        !self.nvjpeg.is_given_up()
    }

    /// Whether the decoder of a slot takes this file.
    pub(super) fn takes(&self, file: &[u8]) -> bool {
        let Some(header) = self.header() else {
            return false;
        };
        let mut unsupported = 1;
        let nvjpeg = &self.nvjpeg.functions;
        // SAFETY: handle and header are sound, the header is this thread's, and the file has this many
        // bytes.
        let asked = unsafe {
            (nvjpeg.parse_header)(self.handle, file.as_ptr(), file.len(), header.0)
                .ok()
                .and_then(|()| (nvjpeg.supported)(self.handle, header.0, &mut unsupported).ok())
        };
        self.headers().push(header);
        asked.is_ok() && unsupported == 0
    }

    fn header(&self) -> Option<HeaderObject> {
        let free = self.headers().pop();
        free.or_else(|| {
            self.context.bind_to_thread().ok()?;
            let mut header = std::ptr::null_mut();
            // SAFETY: the handle is sound; the header is written if it succeeds.
            unsafe { (self.nvjpeg.functions.create_header)(self.handle, &mut header) }
                .ok()
                .ok()?;
            Some(HeaderObject(header))
        })
    }

    fn headers(&self) -> std::sync::MutexGuard<'_, Vec<HeaderObject>> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let bound = self.context.bind_to_thread();
        let nvjpeg = &self.nvjpeg.functions;
        // SAFETY: each is destroyed once, the headers before their handle; nothing uses them any more.
        unsafe {
            for header in std::mem::take(&mut *self.headers()) {
                (nvjpeg.destroy_header)(header.0);
            }
            (nvjpeg.destroy)(self.handle);
        }
        if let Err(error) = bound {
            tracing::debug!(?error, "the GPU is gone before nvJPEG");
        }
    }
}

/// A picture that is decoded at the start: smooth colours, in 4:2:0.
const CANARY: (&[u8], u32, u32) = (include_bytes!("card/canary.jpg"), 320, 240);

/// How far its pixels may be from the CPU's, in levels of brightness, on average. Decoders differ by
/// less than one (0.1 to 0.8 on photos, docs/precision.md); a wrong conversion of colours, or rows that
/// are not where they belong, are tens.
const FARTHEST: f64 = 3.0;

/// Decodes a picture with a slot's decoder, if it has one, and compares it with the CPU's.
///
/// # Errors
///
/// When the card does not decode it, or not to the same picture.
pub(super) fn check(context: &Arc<CudaContext>, feed: &mut ImageFeed) -> Result<(), DeviceError> {
    let doing = || "trying nvJPEG".to_owned();
    let stream = context.new_stream().doing(doing)?;
    let (file, width, height) = CANARY;
    let canary = CodedImage::new(
        width,
        height,
        Box::new(Own(file.to_vec())),
        ImageLimits::default(),
    );
    let Some((apart, backend)) = feed.try_decoder(&canary, &stream)? else {
        return Ok(());
    };
    tracing::debug!(apart, %backend, "the card's pixels were compared with the CPU's");
    if apart > FARTHEST {
        let why = format!(
            "its pixels differ from the CPU's by {apart:.1} levels on average; decode on the CPU, with \
             --decode cpu (DECODE), or install another version"
        );
        return Err(refused(doing(), why));
    }
    Ok(())
}

/// A file in memory of the process.
pub(super) struct Own(pub(super) Vec<u8>);

impl PixelMemory for Own {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
