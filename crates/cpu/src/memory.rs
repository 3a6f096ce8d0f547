//! Buffers for kernels: aligned to cache lines, zeroed, and on huge pages if they are large.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The size of a huge page. Buffers of at least this size use huge pages: a product reads
/// its weights once from end to end, and with pages of 4 KiB it spends a tenth of its time
/// on address translation.
const HUGE: usize = 2 << 20;

/// A cache line.
const LINE: usize = 64;

/// Numbers for which any bytes are a valid value.
pub trait Plain: Copy + Send + Sync + 'static + private::Sealed {}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u32 {}
}

impl Plain for f32 {}
impl Plain for u32 {}

/// A slice on the heap that starts on a cache line.
pub struct Buffer<T: Plain> {
    start: NonNull<T>,
    len: usize,
    layout: Layout,
}

// SAFETY: it owns its numbers, as a Vec does.
unsafe impl<T: Plain> Send for Buffer<T> {}
// SAFETY: shared, it only lends them for reading.
unsafe impl<T: Plain> Sync for Buffer<T> {}

impl<T: Plain> Buffer<T> {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>()).max(LINE);
        let align = if bytes >= HUGE { HUGE } else { LINE };
        let Ok(layout) = Layout::from_size_align(bytes, align) else {
            handle_alloc_error(Layout::new::<T>())
        };
        // SAFETY: the layout is at least a line long.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        #[cfg(target_os = "linux")]
        if align == HUGE && !cfg!(miri) {
            // This must come before the first touch, which decides the size of the pages. So
            // `alloc_zeroed` will not do: it touches blocks with a larger alignment than
            // malloc's own. Only whole huge pages are advised: other blocks may share the
            // last one.
            // SAFETY: the range lies inside the block, and the advice changes no content.
            unsafe {
                libc::madvise(
                    start.as_ptr().cast(),
                    bytes / HUGE * HUGE,
                    libc::MADV_HUGEPAGE,
                );
            }
        }
        // SAFETY: the block is `bytes` long.
        unsafe { start.write_bytes(0, bytes) };
        Self {
            start: start.cast(),
            len,
            layout,
        }
    }

    /// Makes it at least `len` long. If it grows, its content is lost.
    pub fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeroed(0);
            *self = Self::zeroed(len);
        }
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) }
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` numbers were allocated and zeroed, and zero bytes are a value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_and_aligned() {
        for len in [0, 1, 17, 1 << 10, 3 << 20] {
            if cfg!(miri) && len > 1 << 10 {
                continue;
            }
            let mut buffer = Buffer::<u32>::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&value| value == 0));
            assert!((buffer.as_ptr() as usize).is_multiple_of(LINE));
            buffer.fill(7);
        }
    }

    #[test]
    fn a_buffer_grows_and_never_shrinks() {
        let mut buffer = Buffer::<f32>::zeroed(4);
        buffer.reserve(100);
        assert_eq!(buffer.len(), 100);
        buffer.reserve(5);
        assert_eq!(buffer.len(), 100);
    }
}
