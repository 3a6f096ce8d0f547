//! Files of a batch: decoded on the card to where the resize kernel reads them, or on the CPU where the
//! card does not.
#![allow(unsafe_code)]

use cudarc::driver::{CudaStream, result};

use super::{ImageFeed, copy};
use crate::error::{DeviceError, Doing, refused};
use crate::nvjpeg::Backend;
use crate::run::card::ToDecode;
use siglip2_engine::CodedImage;
use siglip2_image::ImageError;

impl ImageFeed {
    /// Decodes files to their places in the source buffer: on the card, and what it does not decode
    /// on the CPU.
    ///
    /// # Safety
    ///
    /// As for [`Feed::upload`]; the offsets are those of a plan for these sizes.
    pub(super) unsafe fn decode(
        &mut self,
        files: &[(&CodedImage, usize)],
        stream: &CudaStream,
    ) -> Result<(), DeviceError> {
        let refused: Vec<usize> = match &mut self.decoder {
            None => (0..files.len()).collect(),
            Some(decoder) => {
                let mut to_decode = Vec::with_capacity(files.len());
                for (image, offset) in files {
                    let size = (image.width(), image.height());
                    let bytes = 3 * size.0 as usize * size.1 as usize;
                    if offset + bytes > self.source.len() {
                        return Err(refused("decoding pictures", "they do not fit their buffer"));
                    }
                    to_decode.push(ToDecode {
                        file: image.file(),
                        size,
                        to: self.source.address() + *offset as u64,
                    });
                }
                // SAFETY: the caller keeps the files, and the buffer has room for their pixels.
                let refused = unsafe { decoder.decode(&to_decode, stream)? };
                decoder.note(refused.len() < files.len());
                refused
            }
        };
        for place in refused {
            let (image, offset) = files[place];
            let doing = || "decoding a picture that the card did not".to_owned();
            let decoded = image
                .decode()
                .map_err(|error| refused_by(doing(), &error))?;
            // SAFETY: the copy is waited for, because the pixels are released here; if waiting fails
            // they never are.
            let copied = unsafe { copy(decoded.pixels(), &self.source, offset, stream) };
            let waited = stream.synchronize().doing(doing);
            if waited.is_err() {
                std::mem::forget(decoded);
            }
            copied.and(waited)?;
        }
        Ok(())
    }

    /// Decodes a picture on the card and on the CPU. Returns how far apart they are, in levels of
    /// brightness, on average, and what it was decoded with; `None` where nothing decodes files.
    ///
    /// # Errors
    ///
    /// When the device fails, or the card does not decode it.
    pub(in crate::run) fn try_decoder(
        &mut self,
        file: &CodedImage,
        stream: &CudaStream,
    ) -> Result<Option<(f64, Backend)>, DeviceError> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(None);
        };
        let doing = || "decoding a picture on the card to try it".to_owned();
        let right = file.decode().map_err(|error| refused_by(doing(), &error))?;
        let bytes = right.pixels().len();
        if bytes > self.source.len() {
            return Err(refused(doing(), "it does not fit the buffer"));
        }
        let backend = decoder.backend();
        decoder.begin();
        let to_decode = ToDecode {
            file: file.file(),
            size: (file.width(), file.height()),
            to: self.source.address(),
        };
        // SAFETY: the stream is waited for before anything of it is released, and the buffer has room.
        let tried = unsafe { decoder.decode(&[to_decode], stream) };
        stream.synchronize().doing(doing)?;
        if !tried?.is_empty() {
            return Err(refused(doing(), "nvJPEG does not decode it"));
        }
        let mut found = vec![0_u8; bytes];
        // SAFETY: the buffer has as many bytes, and nothing is under way.
        unsafe { result::memcpy_dtoh_sync(&mut found, self.source.address()) }.doing(doing)?;
        let apart = right.pixels().iter().zip(&found);
        let apart: u64 = apart.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        Ok(Some((apart as f64 / bytes as f64, backend)))
    }
}

fn refused_by(doing: String, error: &ImageError) -> DeviceError {
    refused(doing, error.to_string())
}
