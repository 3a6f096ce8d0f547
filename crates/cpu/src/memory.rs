//! Buffers for kernels: aligned to cache lines, zeroed, and on huge pages if they are large.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
#[cfg(target_os = "linux")]
use std::sync::{Arc, Mutex, PoisonError};

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

/// A slice that starts on a cache line: on the heap, in a mapping of its own if it is large, or in
/// one with others.
pub struct Buffer<T: Plain> {
    start: NonNull<T>,
    len: usize,
    place: Place,
}

/// Where a buffer is, and what gives it back.
enum Place {
    Heap(Layout),
    #[cfg(target_os = "linux")]
    Own {
        _mapping: Mapping,
    },
    #[cfg(target_os = "linux")]
    Shared {
        _mapping: Arc<Mapping>,
    },
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
            let Some(mapping) = Mapping::new(bytes) else {
                handle_alloc_error(layout)
            };
            return Self {
                start: mapping.start.cast(),
                len,
                place: Place::Own { _mapping: mapping },
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

    /// `len` zeros that are kept about as long as others that are asked for at the same time, as the
    /// weights of a tower are. Those that are not large share mappings, so that they are on huge
    /// pages too.
    pub fn zeroed_beside_others(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        {
            let bytes = len.saturating_mul(size_of::<T>());
            if (SHARED / 512..=SHARED / 2).contains(&bytes)
                && !cfg!(miri)
                && let Some((mapping, at)) = beside_others(bytes)
            {
                return Self {
                    // SAFETY: the mapping has `bytes` bytes from there on.
                    start: unsafe { mapping.start.byte_add(at) }.cast(),
                    len,
                    place: Place::Shared { _mapping: mapping },
                };
            }
        }
        Self::zeroed(len)
    }

    /// Makes it at least `len` long. If it grows, its content is lost.
    pub fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeroed(0);
            *self = Self::zeroed(len);
        }
    }
}

/// Zeros that start on a huge page.
///
/// The first touch of a page decides its size, so it must come after the advice. An allocator cannot
/// promise that: mimalloc, for one, writes to the start of a block before it hands it out, and the
/// first huge page of each weight was 512 small ones. Only whole huge pages are advised: the rest of
/// the last one would be memory for nothing.
#[cfg(target_os = "linux")]
struct Mapping {
    start: NonNull<u8>,
    /// Of address space.
    bytes: usize,
}

// SAFETY: it owns its pages, and lends none itself.
#[cfg(target_os = "linux")]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[cfg(target_os = "linux")]
unsafe impl Sync for Mapping {}

#[cfg(target_os = "linux")]
impl Mapping {
    /// None if the system has no room for it.
    fn new(bytes: usize) -> Option<Self> {
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
        let start = NonNull::new(aligned.cast())?;
        Some(Self {
            start,
            bytes: mapped,
        })
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and lent to nobody any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The size of a mapping that is shared. What is not touched of the last one is no memory.
#[cfg(target_os = "linux")]
const SHARED: usize = 32 << 20;

/// A part of a shared mapping that nobody else has had, and where it starts. The mapping is given
/// back with the last of its parts.
#[cfg(target_os = "linux")]
fn beside_others(bytes: usize) -> Option<(Arc<Mapping>, usize)> {
    /// The mapping that is being dealt out, and where its rest starts.
    static CURRENT: Mutex<Option<(std::sync::Weak<Mapping>, usize)>> = Mutex::new(None);

    let bytes = bytes.checked_next_multiple_of(LINE)?;
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((mapping, rest)) = current.as_mut()
        && let Some(mapping) = mapping.upgrade()
        && mapping.bytes - *rest >= bytes
    {
        let at = *rest;
        *rest += bytes;
        return Some((mapping, at));
    }
    let mapping = Arc::new(Mapping::new(SHARED)?);
    *current = Some((Arc::downgrade(&mapping), bytes));
    Some((mapping, 0))
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        match self.place {
            // SAFETY: allocated in `zeroed` with this layout.
            Place::Heap(layout) => unsafe { dealloc(self.start.as_ptr().cast(), layout) },
            // A mapping is given back where it is dropped.
            #[cfg(target_os = "linux")]
            Place::Own { .. } | Place::Shared { .. } => {}
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

    /// Those that share a mapping are zeros and apart, in whatever order they come and go.
    #[test]
    fn buffers_beside_others_are_apart() {
        let mut kept: Vec<(u32, Buffer<u32>)> = Vec::new();
        let sizes = [0, 1, 50_000, 300_000, 600_001, 3 << 20, 6 << 20];
        for round in 0..40_u32 {
            let len = sizes[round as usize % sizes.len()];
            if cfg!(miri) && len > 1 {
                continue;
            }
            let mut buffer = Buffer::<u32>::zeroed_beside_others(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&value| value == 0));
            assert!((buffer.as_ptr() as usize).is_multiple_of(LINE));
            buffer.fill(round + 1);
            kept.push((round + 1, buffer));
            if round % 3 == 2 {
                kept.remove((round as usize * 7) % kept.len());
            }
            for (value, buffer) in &kept {
                assert!(buffer.iter().all(|other| other == value));
            }
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
