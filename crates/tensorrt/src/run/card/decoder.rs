//! nvJPEG's decoder of one slot: batches of files to pixels, on the slot's stream.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaContext, CudaStream};

use crate::error::{DeviceError, Doing, refused};
use crate::nvjpeg::{Allocator, Backend, Handle, INTERLEAVED_RGB, Image, NvJpeg, State, Status};
use crate::run::lent::Lent;
use crate::run::memory::{DeviceBuffer, PinnedBuffer};

use super::handle;

/// Memory of a slot's decoder, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::run) struct DecoderMemory {
    /// On the GPU: bytes of the files, coefficients, planes before they are RGB.
    pub(in crate::run) device: usize,
    /// In pinned memory of the host.
    pub(in crate::run) pinned: usize,
}

impl DecoderMemory {
    /// For batches of pictures that have this many bytes together when they are decoded. In 4:4:4
    /// nvJPEG's CUDA decoder has a coefficient of two bytes for each of them. A batch for which it is
    /// not enough is decoded in parts, and a picture that does not fit alone on the CPU.
    pub(in crate::run) fn of(source: usize) -> Self {
        Self {
            device: 2 * source,
            pinned: source / 2,
        }
    }
}

/// A file, its size in pixels, and where they go.
pub(in crate::run) struct ToDecode<'a> {
    pub(in crate::run) file: &'a [u8],
    pub(in crate::run) size: (u32, u32),
    pub(in crate::run) to: CUdeviceptr,
}

impl ToDecode<'_> {
    fn pixels(&self) -> u64 {
        u64::from(self.size.0) * u64::from(self.size.1)
    }
}

/// nvJPEG's decoder of one slot.
pub(in crate::run) struct CardDecoder {
    nvjpeg: &'static NvJpeg,
    backend: Backend,
    handle: Handle,
    state: State,
    /// What calls were given for the batch that is under way, in case the library looks at it later.
    given: Vec<Given>,
    /// Pixels of files that fit its memory together, as far as known.
    most: u64,
    /// Threads of the CPU that read the codes of small batches for the CUDA decoder.
    threads: c_int,
    // The rest is dropped after the handle.
    device: Box<Lent>,
    pinned: Box<Lent>,
    _allocators: [Box<Allocator>; 2],
    _memory: (DeviceBuffer, PinnedBuffer),
    context: Arc<CudaContext>,
}

struct Given {
    files: Vec<*const u8>,
    lengths: Vec<usize>,
    images: Vec<Image>,
}

// SAFETY: handle and state are used by one thread at a time, which has the context bound: the slot's
// owner, or who drops it. The pointers in `given` are not followed here.
unsafe impl Send for CardDecoder {}

impl CardDecoder {
    pub(in crate::run) fn new(
        context: &Arc<CudaContext>,
        nvjpeg: &'static NvJpeg,
        memory: DecoderMemory,
    ) -> Result<Self, DeviceError> {
        context
            .bind_to_thread()
            .doing(|| "opening nvJPEG".to_owned())?;
        let (backend, asked) = handle(nvjpeg)?;
        // SAFETY: made here, and not used again.
        unsafe { (nvjpeg.functions.destroy)(asked) };
        let on_gpu = DeviceBuffer::new(context, memory.device, "decoding pictures")?;
        let on_host = PinnedBuffer::new(context, memory.pinned, "decoding pictures")?;
        let device = Lent::new(context, on_gpu.address() as usize, on_gpu.len());
        let pinned = Lent::new(context, on_host.start() as usize, on_host.len());
        let mut allocators = [device.allocator(), pinned.allocator()];
        let [for_device, for_host] = &mut allocators;
        let doing = || format!("opening {nvjpeg:?}");
        let failed = |status: Status| refused(doing(), status.to_string());
        // SAFETY: the allocators and what they point to are boxed and dropped after the handle.
        let handle = unsafe { nvjpeg.handle_in(backend, &mut **for_device, &mut **for_host) };
        let mut decoder = Self {
            nvjpeg,
            backend,
            handle: handle.map_err(failed)?,
            state: std::ptr::null_mut(),
            given: Vec::new(),
            most: u64::MAX,
            threads: c_int::try_from(siglip2_flags::cores().div_ceil(2)).unwrap_or(1),
            device,
            pinned,
            _allocators: allocators,
            _memory: (on_gpu, on_host),
            context: Arc::clone(context),
        };
        decoder.make_state().map_err(failed)?;
        Ok(decoder)
    }

    /// What it decodes with.
    pub(in crate::run) fn backend(&self) -> Backend {
        self.backend
    }

    /// Notes that some files of a batch were decoded, or none: nvJPEG is not asked for ever.
    pub(in crate::run) fn note(&self, decoded: bool) {
        if self.nvjpeg.note(decoded) {
            tracing::error!(
                "nvJPEG decoded nothing of several batches in a row: from now on the CPU decodes"
            );
        }
    }

    fn make_state(&mut self) -> Result<(), Status> {
        let mut state = std::ptr::null_mut();
        // SAFETY: the handle is sound; the state is written if it succeeds.
        unsafe { (self.nvjpeg.functions.create_state)(self.handle, &mut state) }.ok()?;
        self.state = state;
        Ok(())
    }

    /// Begins a batch: the slot's stream has nothing to do.
    pub(in crate::run) fn begin(&mut self) {
        self.given.clear();
        self.device.settle();
        self.pinned.settle();
    }

    /// Enqueues the decoding of files. Returns the places of those that nvJPEG would not decode.
    ///
    /// # Errors
    ///
    /// When the device fails. A file that is not decoded is not an error.
    ///
    /// # Safety
    ///
    /// The files and their memory on the device live until the stream has passed this; the memory has
    /// room for three bytes a pixel.
    pub(in crate::run) unsafe fn decode(
        &mut self,
        files: &[ToDecode<'_>],
        stream: &CudaStream,
    ) -> Result<Vec<usize>, DeviceError> {
        let mut refused = Vec::new();
        // Where parts begin, and how many files they have; the last is taken first.
        let mut parts = vec![(0, files.len())];
        while let Some((first, count)) = parts.pop() {
            let Some(part) = files.get(first..first + count) else {
                continue;
            };
            let mut pixels = 0_u64;
            let fits = part.iter().take_while(|file| {
                pixels += file.pixels();
                pixels <= self.most
            });
            let most = fits.count().clamp(1, count.max(1));
            if count > most {
                parts.push((first + most, count - most));
                parts.push((first, most));
                continue;
            }
            // SAFETY: the caller's promise.
            let Err(status) = (unsafe { self.call(part, stream) }) else {
                continue;
            };
            // What it has enqueued writes nowhere but to these files' pixels, which are written again,
            // later on the same stream. A state that has failed is not used again.
            self.start_anew(stream)?;
            if count > 1 {
                if status == Status::ALLOCATOR_FAILURE {
                    self.most = part.iter().map(ToDecode::pixels).sum::<u64>() / 2;
                }
                tracing::debug!(%status, count, "decoding on the card in halves");
                let half = count / 2;
                parts.push((first + half, count - half));
                parts.push((first, half));
            } else {
                tracing::debug!(%status, "a picture is decoded on the CPU instead of the card");
                refused.push(first);
            }
        }
        Ok(refused)
    }

    /// # Safety
    ///
    /// As for [`CardDecoder::decode`].
    unsafe fn call(&mut self, files: &[ToDecode<'_>], stream: &CudaStream) -> Result<(), Status> {
        if self.state.is_null() {
            self.make_state()?;
        }
        let count = c_int::try_from(files.len()).unwrap_or(c_int::MAX);
        self.given.push(Given {
            files: files.iter().map(|file| file.file.as_ptr()).collect(),
            lengths: files.iter().map(|file| file.file.len()).collect(),
            images: files
                .iter()
                .map(|it| Image::rgb(it.to, it.size.0))
                .collect(),
        });
        let Some(given) = self.given.last_mut() else {
            return Ok(());
        };
        let nvjpeg = &self.nvjpeg.functions;
        // SAFETY: handle and state are sound and this thread's; the three lists have as many entries as
        // was announced, and stay; the caller answers for what they point to.
        unsafe {
            (nvjpeg.initialize)(
                self.handle,
                self.state,
                count,
                self.threads,
                INTERLEAVED_RGB,
            )
            .ok()?;
            (nvjpeg.decode)(
                self.handle,
                self.state,
                given.files.as_ptr(),
                given.lengths.as_ptr(),
                given.images.as_mut_ptr(),
                stream.cu_stream(),
            )
            .ok()
        }
    }

    /// After a failure: waits for what was enqueued, and takes another state.
    fn start_anew(&mut self, stream: &CudaStream) -> Result<(), DeviceError> {
        stream
            .synchronize()
            .doing(|| "waiting for nvJPEG".to_owned())?;
        self.drop_state();
        self.device.settle();
        self.pinned.settle();
        Ok(())
    }

    fn drop_state(&mut self) {
        let state = std::mem::replace(&mut self.state, std::ptr::null_mut());
        if !state.is_null() {
            // SAFETY: it is destroyed once, and nothing of it is under way.
            unsafe { (self.nvjpeg.functions.destroy_state)(state) };
        }
    }
}

impl Drop for CardDecoder {
    fn drop(&mut self) {
        // A slot is dropped when its stream has passed everything.
        if let Err(error) = self.context.bind_to_thread() {
            tracing::debug!(?error, "the GPU is gone before nvJPEG");
        }
        self.drop_state();
        // SAFETY: made in `new` and destroyed here; its allocators still live.
        unsafe { (self.nvjpeg.functions.destroy)(self.handle) };
    }
}
