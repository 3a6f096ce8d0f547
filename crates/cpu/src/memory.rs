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

/// A slice that starts on a cache line: on the heap, or in a mapping of its own if it is large.
pub struct Buffer<T: Plain> {
    start: NonNull<T>,
    len: usize,
    place: Place,
}

/// Where a buffer is, and what gives it back.
enum Place {
    Heap(Layout),
    /// So many bytes of address space.
    #[cfg(target_os = "linux")]
    Mapping(usize),
}

// SAFETY: it owns its numbers, as a Vec does.
unsafe impl<T: Plain> Send for Buffer<T> {}
// SAFETY: shared, it only lends them for reading.
unsafe impl<T: Plain> Sync for Buffer<T> {}

impl<T: Plain> Buffer<T> {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>()).max(LINE);
        let Ok(layout) = Layout::from_size_align(bytes, LINE) else {
            handle_alloc_error(Layout::new::<T>())
        };
        #[cfg(target_os = "linux")]
        if bytes >= HUGE && !cfg!(miri) {
            let Some((start, mapped)) = map(bytes) else {
                handle_alloc_error(layout)
            };
            return Self {
                start: start.cast(),
                len,
                place: Place::Mapping(mapped),
            };
        }
        // SAFETY: the layout is at least a line long.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the block is `bytes` long.
        unsafe { start.write_bytes(0, bytes) };
        Self {
            start: start.cast(),
            len,
            place: Place::Heap(layout),
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

/// Zeros in a mapping that starts on a huge page, and the bytes of address space that it takes.
///
/// The first touch of a page decides its size, so it must come after the advice. An allocator cannot
/// promise that: mimalloc, for one, writes to the start of a block before it hands it out, and the
/// first huge page of each weight was 512 small ones. Only whole huge pages are advised: the rest of
/// the last one would be memory for nothing.
#[cfg(target_os = "linux")]
fn map(bytes: usize) -> Option<(NonNull<u8>, usize)> {
    let mapped = bytes.checked_next_multiple_of(HUGE)?;
    let more = mapped.checked_add(HUGE)?;
    // SAFETY: a new mapping, at an address that the system chooses.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            more,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    let before = start.addr().next_multiple_of(HUGE) - start.addr();
    let aligned = start.wrapping_byte_add(before);
    // SAFETY: all of it lies inside the new mapping, which nobody uses yet. What is given back
    // starts and ends on a page: the mapping does, and a huge page is made of whole ones.
    unsafe {
        if before > 0 {
            libc::munmap(start, before);
        }
        libc::munmap(aligned.wrapping_byte_add(mapped), HUGE - before);
        libc::madvise(aligned, bytes / HUGE * HUGE, libc::MADV_HUGEPAGE);
    }
    NonNull::new(aligned.cast()).map(|start| (start, mapped))
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        match self.place {
            // SAFETY: allocated in `zeroed` with this layout.
            Place::Heap(layout) => unsafe { dealloc(self.start.as_ptr().cast(), layout) },
            #[cfg(target_os = "linux")]
            Place::Mapping(bytes) => {
                // SAFETY: mapped in `map` with this length, and lent to nobody any more.
                unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
            }
        }
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
    #![allow(clippy::unwrap_used)]

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

    /// Nothing touches a large buffer before it has been advised to use huge pages. Whether the
    /// system has any at the time is its own affair.
    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn a_large_buffer_is_untouched_and_advised() {
        let buffer = Buffer::<u32>::zeroed((5 * HUGE / 2) / 4);
        let at = buffer.as_ptr() as usize;
        assert!(at.is_multiple_of(HUGE));
        let mut resident = vec![0_u8; 5 * HUGE / 2 / 4096];
        // SAFETY: the pages are mapped, and there is a byte for each: none is smaller than this.
        let told =
            unsafe { libc::mincore(at as *mut libc::c_void, 2 * HUGE, resident.as_mut_ptr()) };
        assert_eq!(told, 0);
        assert!(resident.iter().all(|page| page & 1 == 0));

        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let flags = maps.lines().find_map(|line| {
            if let Some((from, to)) = line.split(' ').next().unwrap().split_once('-') {
                let number = |hex| usize::from_str_radix(hex, 16).unwrap();
                inside = (number(from)..number(to)).contains(&at);
            }
            line.strip_prefix("VmFlags:").filter(|_| inside)
        });
        let has = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        let advised = flags.unwrap().split(' ').any(|flag| flag == "hg");
        assert_eq!(advised, has);
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
