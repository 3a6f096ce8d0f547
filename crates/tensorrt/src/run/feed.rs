//! How the items of a batch get to their tower's input.
//!
//! ```text
//! images: pinned pixels --upload--> source --resize kernel--> pixel_values   [B, 3, S, S]
//! JPEGs:  pinned files  --decode on the card---^   (card.rs)
//! patches: see `patches`                                                      [B, P, W]
//! texts:  ids --copy--> pinned ids --upload--> input_ids                      [B, T]
//! ```
//!
//! Pictures are uploaded as they were decoded, of any size, and resized and normalized on
//! the device. A batch whose pictures do not all fit in the source buffer is uploaded in
//! parts, one after the other on the same stream; the tower still runs on the whole batch.
#![allow(unsafe_code)]

mod coded;

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, result};

use super::TensorRtOptions;
use super::card::{CardDecoder, DecoderMemory};
use super::memory::{DeviceBuffer, PinnedBuffer};
use super::parts::Part;
use super::patches::PatchFeed;
use crate::directory::ElementType;
use crate::error::{DeviceError, Doing, refused};
use crate::kernel::{Cost, MAX_SIDE, PlanError, Planner, ResizeKernel, SOURCE_ALIGN};
use siglip2_engine::{Batch, Pixels};

/// The buffers with which one slot fills its tower's input.
pub(super) enum Feed {
    Images(Box<ImageFeed>),
    Patches(PatchFeed),
    Texts(TextFeed),
}

impl Feed {
    /// Writes the items of a part of a batch to a tower's input, on `stream`. Only batches of
    /// patches have more parts than one.
    ///
    /// # Safety
    ///
    /// The batch, `self` and `input` must live until the stream has passed all of this work,
    /// even if this fails; `input` must be large enough for the batch.
    pub(super) unsafe fn upload(
        &mut self,
        batch: &Batch,
        part: &Part,
        input: &DeviceBuffer,
        stream: &CudaStream,
    ) -> Result<(), DeviceError> {
        match (self, batch) {
            // SAFETY: the caller's promise.
            (Feed::Patches(feed), Batch::Images(images)) => unsafe {
                feed.upload(images, part, input, stream)
            },
            // SAFETY: the caller's promise.
            (Feed::Images(feed), Batch::Images(images)) => unsafe {
                feed.upload(images, input, stream)
            },
            // SAFETY: the caller's promise.
            (Feed::Texts(feed), Batch::Texts(texts)) => unsafe {
                feed.upload(texts, input, stream)
            },
            _ => Err(refused(
                "uploading a batch",
                "the batch is for the other tower",
            )),
        }
    }
}

/// Copies host bytes to a place in a device buffer.
///
/// # Safety
///
/// `bytes` and `to` must live until the stream has passed the copy.
pub(super) unsafe fn copy(
    bytes: &[u8],
    to: &DeviceBuffer,
    at: usize,
    stream: &CudaStream,
) -> Result<(), DeviceError> {
    let doing = || format!("uploading {} bytes", bytes.len());
    let fits = at
        .checked_add(bytes.len())
        .is_some_and(|end| end <= to.len());
    if !fits {
        let why = format!("they do not fit {} bytes at {at}", to.len());
        return Err(refused(doing(), why));
    }
    // SAFETY: the range lies within the buffer; the caller keeps both ends.
    unsafe { result::memcpy_htod_async(to.address() + at as u64, bytes, stream.cu_stream()) }
        .doing(doing)
}

/// Texts: token ids go through a pinned buffer that belongs to the slot.
pub(super) struct TextFeed {
    ids: PinnedBuffer,
    element: ElementType,
}

impl TextFeed {
    pub(super) fn new(
        context: &Arc<CudaContext>,
        max_batch: usize,
        tokens: usize,
        element: ElementType,
    ) -> Result<Self, DeviceError> {
        let bytes = max_batch * tokens * id_bytes(element);
        Ok(Self {
            ids: PinnedBuffer::new(context, bytes, "token ids")?,
            element,
        })
    }

    /// # Safety
    ///
    /// As for [`Feed::upload`].
    unsafe fn upload(
        &mut self,
        texts: &[Vec<i32>],
        input: &DeviceBuffer,
        stream: &CudaStream,
    ) -> Result<(), DeviceError> {
        let mut end = 0;
        for &id in texts.iter().flatten() {
            let next = match self.element {
                ElementType::Int64 => {
                    write(self.ids.bytes_mut(), end, &i64::from(id).to_ne_bytes())
                }
                _ => write(self.ids.bytes_mut(), end, &id.to_ne_bytes()),
            };
            end = next.ok_or_else(|| refused("writing token ids", "there are too many"))?;
        }
        // SAFETY: the caller promises not to fill this slot again before that.
        unsafe { copy(&self.ids.bytes()[..end], input, 0, stream) }
    }
}

/// Bytes of one token id.
pub(super) fn id_bytes(element: ElementType) -> usize {
    match element {
        ElementType::Int64 => 8,
        _ => 4,
    }
}

/// Writes `bytes` at `at`, and returns where they end.
fn write(buffer: &mut [u8], at: usize, bytes: &[u8]) -> Option<usize> {
    let end = at + bytes.len();
    buffer.get_mut(at..end)?.copy_from_slice(bytes);
    Some(end)
}

/// Images: pixels are uploaded from where they were decoded.
pub(super) struct ImageFeed {
    kernel: Arc<ResizeKernel>,
    planner: Planner,
    /// The kernel's tables. Each part of a batch has its own, one after the other, because the
    /// device may not have read the first when the second is written.
    tables: PinnedBuffer,
    device_tables: DeviceBuffer,
    source: DeviceBuffer,
    scratch: DeviceBuffer,
    /// Bytes of one row of the tower's input.
    row: usize,
    /// What decodes files, if anything.
    decoder: Option<CardDecoder>,
}

/// The sizes of the buffers for pictures that a slot has, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PictureBuffers {
    /// Pictures as they were decoded.
    pub(super) source: usize,
    /// Pictures of which one side has been resized.
    pub(super) scratch: usize,
    /// The kernel's tables, on both sides.
    pub(super) tables: usize,
    /// What decodes files, if anything does.
    pub(super) decoder: DecoderMemory,
}

/// No memory holds the largest picture that the settings allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureTooLarge {
    /// It has too many pixels.
    #[error("--max-image-pixels is too large")]
    Pixels,
    /// Its resize cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl PictureBuffers {
    /// Any picture within the limits fits in them.
    pub(super) fn of(
        planner: &Planner,
        options: &TensorRtOptions,
    ) -> Result<Self, PictureTooLarge> {
        // A bound on the scratch memory of any picture: the greatest height and width.
        let extreme = planner.cost(MAX_SIDE, MAX_SIDE)?;
        let largest = usize::try_from(options.limits.max_pixels)
            .ok()
            .and_then(|pixels| pixels.checked_mul(3)?.checked_add(2 * SOURCE_ALIGN))
            .ok_or(PictureTooLarge::Pixels)?;
        let source = largest.max(options.source_bytes);
        Ok(Self {
            source,
            scratch: extreme.scratch_bytes.max(options.source_bytes / 4),
            tables: TABLE_PARTS * planner.largest_table_bytes(1).max(TABLE_BYTES),
            decoder: match options.nvjpeg {
                Some(_) => DecoderMemory::of(options.source_bytes),
                None => DecoderMemory::default(),
            },
        })
    }

    /// What they take on the GPU.
    pub(super) fn on_gpu(&self) -> usize {
        self.source
            .saturating_add(self.scratch)
            .saturating_add(self.tables)
            .saturating_add(self.decoder.device)
    }
}

impl ImageFeed {
    /// Buffers for parts of batches: any picture within the limits fits.
    pub(super) fn new(
        context: &Arc<CudaContext>,
        kernel: Arc<ResizeKernel>,
        planner: Planner,
        options: &TensorRtOptions,
        row: usize,
    ) -> Result<Self, DeviceError> {
        let PictureBuffers {
            source,
            scratch,
            tables,
            decoder,
        } = PictureBuffers::of(&planner, options)
            .map_err(|why| refused("making buffers for pictures", why.to_string()))?;
        let decoder = options
            .nvjpeg
            .map(|nvjpeg| CardDecoder::new(context, nvjpeg, decoder))
            .transpose()?;
        Ok(Self {
            kernel,
            planner,
            decoder,
            tables: PinnedBuffer::new(context, tables, "resize tables")?,
            device_tables: DeviceBuffer::new(context, tables, "resize tables")?,
            source: DeviceBuffer::new(context, source, "pictures")?,
            scratch: DeviceBuffer::new(context, scratch, "half-resized pictures")?,
            row,
        })
    }

    /// # Safety
    ///
    /// As for [`Feed::upload`].
    unsafe fn upload(
        &mut self,
        images: &[Pixels],
        input: &DeviceBuffer,
        stream: &CudaStream,
    ) -> Result<(), DeviceError> {
        if let Some(decoder) = &mut self.decoder {
            decoder.begin();
        }
        let mut first = 0;
        let mut table = 0;
        while first < images.len() {
            let mut count = self.fitting(&images[first..], self.tables.len() - table)?;
            if count == 0 && table > 0 {
                // No table space is left: wait until the device has read the tables.
                stream
                    .synchronize()
                    .doing(|| "waiting for the first part of a batch".to_owned())?;
                table = 0;
                count = self.fitting(&images[first..], self.tables.len())?;
            }
            if count == 0 {
                let (width, height) = images[first].size();
                let why = format!("a picture of {width} x {height} does not fit the buffers");
                return Err(refused("uploading pictures", why));
            }
            let part = &images[first..first + count];
            // SAFETY: the caller's promise, and the part fits the buffers.
            table += unsafe { self.part(part, table, input, first * self.row, stream)? };
            first += count;
        }
        Ok(())
    }

    /// How many images, counted from the first, fit in the buffers together.
    fn fitting(&self, images: &[Pixels], tables: usize) -> Result<usize, DeviceError> {
        let mut all = Cost {
            table_bytes: self.planner.fixed_table_bytes(),
            ..Cost::default()
        };
        for (count, image) in images.iter().enumerate() {
            let (width, height) = image.size();
            all += self
                .planner
                .cost(width, height)
                .doing(|| "uploading pictures".to_owned())?;
            if all.source_bytes > self.source.len()
                || all.table_bytes > tables
                || all.scratch_bytes > self.scratch.len()
            {
                return Ok(count);
            }
        }
        Ok(images.len())
    }

    /// Uploads and resizes one part; returns how many bytes of table it used.
    ///
    /// # Safety
    ///
    /// As for [`Feed::upload`]; the part must fit in the buffers.
    unsafe fn part(
        &mut self,
        images: &[Pixels],
        table: usize,
        input: &DeviceBuffer,
        at: usize,
        stream: &CudaStream,
    ) -> Result<usize, DeviceError> {
        let sizes: Vec<(u32, u32)> = images.iter().map(Pixels::size).collect();
        let doing = || format!("resizing {} pictures", images.len());
        let plan = self
            .planner
            .plan_into(&sizes, &mut self.tables.bytes_mut()[table..])
            .doing(doing)?;
        let mut coded = Vec::new();
        for (image, &offset) in images.iter().zip(&plan.offsets) {
            match image {
                // SAFETY: the caller keeps the pictures until the stream is past the copy. The
                // part before this one has been resized before that, in stream order.
                Pixels::Decoded(image) => unsafe {
                    copy(image.pixels(), &self.source, offset, stream)?
                },
                Pixels::Coded(image) => coded.push((image, offset)),
            }
        }
        if !coded.is_empty() {
            // SAFETY: as for the copies; the plan has room for the pixels of each.
            unsafe { self.decode(&coded, stream)? };
        }
        let end = table + plan.table_bytes;
        // SAFETY: this part of the tables is not written again before the stream is past it.
        unsafe {
            copy(
                &self.tables.bytes()[table..end],
                &self.device_tables,
                table,
                stream,
            )?
        };
        if at + images.len() * self.row > input.len() {
            return Err(refused(doing(), "there are more than in the largest batch"));
        }
        // SAFETY: source and table hold what the plan says, the scratch is as large as it
        // asks for (`fitting`), and the output has room for its rows.
        unsafe {
            self.kernel.launch(
                stream.cu_stream(),
                &plan,
                self.source.address(),
                self.device_tables.address() + table as u64,
                self.scratch.address(),
                input.address() + at as u64,
            )
        }
        .doing(doing)?;
        Ok(plan.table_bytes.next_multiple_of(TABLE_ALIGN))
    }
}

/// Tables of 64 pictures whose sides are all different take some 20 KB each.
const TABLE_BYTES: usize = 2 << 20;

/// The number of parts of a batch whose tables fit before the host must wait.
const TABLE_PARTS: usize = 4;

/// Where the table of a part may begin.
const TABLE_ALIGN: usize = 256;
