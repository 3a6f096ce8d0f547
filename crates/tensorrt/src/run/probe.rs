//! Runs the parts of the GPU path one by one, for `gpu-check`. The service does not use this.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};

use super::TensorRtOptions;
use super::device::{self, Gpu};
use super::feed::{Feed, ImageFeed};
use super::memory::{DeviceBuffer, PinnedBuffer};
use super::parts::Part;
use crate::directory::BatchSize;
use crate::error::{DeviceError, Doing, refused};
use crate::kernel::{Element, Planner, ResizeKernel};
use siglip2_engine::{Batch, Pixels};
use siglip2_image::Processor;

/// The resize kernel and the copies of one GPU.
pub struct Probe {
    feed: Feed,
    input: DeviceBuffer,
    output: PinnedBuffer,
    row: usize,
    before: CudaEvent,
    after: CudaEvent,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

/// Bytes of a GPU's memory in use, by this program and by others.
///
/// # Errors
///
/// When the driver cannot say.
pub fn memory_taken(gpu: &Gpu) -> Result<usize, DeviceError> {
    let doing = || format!("asking for the free memory of {gpu}");
    device::context(gpu)?.bind_to_thread().doing(doing)?;
    let (free, total) = result::mem_get_info().doing(doing)?;
    Ok(total.saturating_sub(free))
}

impl Probe {
    /// For batches of up to `max_batch` pictures.
    ///
    /// # Errors
    ///
    /// When the kernel is for another GPU, or there is not enough memory.
    pub fn new(
        gpu: &Gpu,
        cubin: &[u8],
        processor: &Processor,
        element: Element,
        max_batch: usize,
    ) -> Result<Self, DeviceError> {
        let context = device::context(gpu)?;
        let doing = || "making a probe".to_owned();
        let kernel = Arc::new(ResizeKernel::load(cubin, element).doing(doing)?);
        let planner = Planner::new(processor, element);
        let side = processor.size() as usize;
        let row = 3 * side * side * element.bytes();
        let options = TensorRtOptions::default();
        let feed = ImageFeed::new(&context, kernel, planner, &options, row)?;
        let timing = || {
            context
                .new_event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC))
                .doing(doing)
        };
        Ok(Self {
            feed: Feed::Images(Box::new(feed)),
            input: DeviceBuffer::new(&context, max_batch * row, "tensors")?,
            output: PinnedBuffer::new(&context, max_batch * row, "tensors")?,
            row,
            before: timing()?,
            after: timing()?,
            stream: context.new_stream().doing(doing)?,
            context,
        })
    }

    /// The kernel's output for some pictures: the tower's input, `[B, 3, S, S]`, as bytes; and
    /// how long upload and kernel took together on the device.
    ///
    /// # Errors
    ///
    /// When the device fails, or there are too many pictures.
    pub fn resize(&mut self, pictures: &Batch) -> Result<(Vec<u8>, Duration), DeviceError> {
        let doing = || format!("resizing {} pictures", pictures.len());
        let bytes = pictures.len() * self.row;
        if bytes > self.output.len() {
            return Err(refused(
                doing(),
                "there are more than the probe was made for",
            ));
        }
        let size = BatchSize {
            rows: pictures.len(),
            patches: None,
        };
        let part = Part::whole(size, pictures.len());
        self.context.bind_to_thread().doing(doing)?;
        self.before.record(&self.stream).doing(doing)?;
        // SAFETY: the stream is waited for below, even when this fails, before anything it uses
        // is released; the input is as large as the output.
        let uploaded = unsafe { self.feed.upload(pictures, &part, &self.input, &self.stream) };
        let recorded = self.after.record(&self.stream).doing(doing);
        self.stream.synchronize().doing(doing)?;
        uploaded.and(recorded)?;
        // SAFETY: both have `bytes` bytes, and nothing is in flight; the copy is waited for.
        unsafe {
            result::memcpy_dtoh_sync(&mut self.output.bytes_mut()[..bytes], self.input.address())
        }
        .doing(doing)?;
        let took = self.before.elapsed_ms(&self.after).doing(doing)?;
        Ok((
            self.output.bytes()[..bytes].to_vec(),
            Duration::from_secs_f32(took / 1e3),
        ))
    }

    /// Bytes per second from pinned memory to the device, measured with copies as large as a
    /// tensor of the largest batch.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn upload_rate(&mut self, copies: usize) -> Result<f64, DeviceError> {
        let doing = || "measuring uploads".to_owned();
        self.context.bind_to_thread().doing(doing)?;
        self.before.record(&self.stream).doing(doing)?;
        for _ in 0..copies {
            // SAFETY: both buffers have this length, live until the stream is waited for,
            // and nothing else uses them.
            unsafe {
                result::memcpy_htod_async(
                    self.input.address(),
                    self.output.bytes(),
                    self.stream.cu_stream(),
                )
            }
            .doing(doing)?;
        }
        self.after.record(&self.stream).doing(doing)?;
        self.stream.synchronize().doing(doing)?;
        let seconds = f64::from(self.before.elapsed_ms(&self.after).doing(doing)?) / 1e3;
        Ok((copies * self.output.len()) as f64 / seconds)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The kernel is unloaded, and memory freed, in the current context.
        if let Err(error) = self.stream.synchronize() {
            tracing::debug!(?error, "waiting for a probe failed");
        }
    }
}

/// Pictures in a batch, as they are.
pub fn pictures(images: Vec<siglip2_image::RgbImage>) -> Batch {
    Batch::Images(images.into_iter().map(Pixels::Decoded).collect())
}
