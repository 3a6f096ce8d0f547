//! Images: from the bytes of a file to the pixels that a vision tower eats.
//!
//! ```text
//! bytes --inspect--> Header        (format and size; refuses before anything is decoded)
//!       --decode---> RgbImage      (first frame, 8-bit RGB, as Pillow gives it)
//!       --Processor-> S x S RGB u8 (the checkpoint's resize, byte for byte transformers')
//! ```
//!
//! The format is read from the bytes, never from a name or a content type. The
//! orientation tag is not applied and alpha is dropped, not blended, because
//! `Image.open(f).convert("RGB")` does neither and the vectors must be those of
//! the service that this one replaces.
