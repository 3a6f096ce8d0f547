//! AV1, through re_rav1d: dav1d in Rust, and the decoder of its family whose interface is
//! safe to call.
//!
//! It decodes a frame in one go and on our thread. On threads of its own a frame could be
//! ended in the middle, but its interface does not tell when the frame is done: whoever asks
//! for the picture waits until it is there, and it drops the data only with the next frame.

use re_rav1d::dav1d::{Decoder, Error, Picture, Settings};

use super::damaged;
use super::obu::MAX_FRAMES;
use crate::ImageError;
use crate::work::{STEP, Stop};

/// A decoder for pictures of one size.
pub(super) struct Av1(Decoder);

fn broken(error: Error) -> ImageError {
    damaged(match error {
        Error::NotEnoughMemory => "its AV1 asks for more memory than there is",
        Error::UnsupportedBitstream => "its AV1 is of an unknown kind",
        _ => "its AV1 cannot be decoded",
    })
}

impl Av1 {
    /// A decoder that refuses frames of more pixels than this, before it makes room for them.
    pub(super) fn new((width, height): (u32, u32), point: u8) -> Result<Self, ImageError> {
        let pixels = u64::from(width) * u64::from(height);
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_all_layers(false);
        settings.set_operating_point(point.into());
        settings.set_frame_size_limit(u32::try_from(pixels).unwrap_or(u32::MAX));
        Decoder::with_settings(&settings).map(Self).map_err(broken)
    }

    /// The picture of a bitstream that was looked at by [`super::obu::scan`].
    pub(super) fn decode(
        &mut self,
        bytes: Vec<u8>,
        stop: &Stop<'_>,
    ) -> Result<Picture, ImageError> {
        stop.work(STEP)?;
        let mut sent = self.0.send_data(bytes, None, None, None);
        for _ in 0..=MAX_FRAMES {
            match self.0.get_picture() {
                Ok(picture) => return Ok(picture),
                Err(Error::Again) => {}
                Err(error) => return Err(broken(error)),
            }
            match sent {
                Ok(()) => break,
                // There are more frames in the bitstream, of which there are a few at most.
                Err(Error::Again) => {}
                Err(error) => return Err(broken(error)),
            }
            stop.work(STEP)?;
            sent = self.0.send_pending_data();
        }
        Err(damaged("its AV1 holds no picture"))
    }
}
