//! Identical files are computed once: the vectors of those that were seen, on disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files and texts that were seen in this run. Each takes some 40 bytes of memory, and its
/// vector space in a file that has no name.
pub(crate) struct Seen {
    places: Mutex<Places>,
    vectors: File,
    bytes: usize,
    duplicates: AtomicU64,
}

#[derive(Default)]
struct Places {
    /// By the first half of the hash; none while the first of its kind is being computed.
    of: HashMap<[u8; 16], Option<u64>>,
    next: u64,
}

impl Seen {
    pub(crate) fn new(dimensions: usize) -> io::Result<Self> {
        Ok(Self {
            places: Mutex::default(),
            vectors: tempfile::tempfile()?,
            bytes: dimensions * 4,
            duplicates: AtomicU64::new(0),
        })
    }

    /// Files that were there before.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// The vector of such a file, if it is known; counts it if it was seen.
    pub(crate) fn find(&self, key: [u8; 16]) -> io::Result<Option<Vec<f32>>> {
        let place = {
            let mut places = self.places();
            match places.of.get(&key) {
                Some(place) => *place,
                None => {
                    places.of.insert(key, None);
                    return Ok(None);
                }
            }
        };
        self.duplicates.fetch_add(1, Ordering::Relaxed);
        let Some(place) = place else {
            // The service computes those that are under way at the same time once.
            return Ok(None);
        };
        let mut bytes = vec![0; self.bytes];
        self.vectors
            .read_exact_at(&mut bytes, place * self.bytes as u64)?;
        let floats = bytes.as_chunks::<4>().0.iter().copied();
        Ok(Some(floats.map(f32::from_le_bytes).collect()))
    }

    /// Keeps a vector.
    pub(crate) fn keep(&self, key: [u8; 16], vector: &[f32]) -> io::Result<()> {
        let place = {
            let mut places = self.places();
            if !matches!(places.of.get(&key), Some(None)) {
                return Ok(());
            }
            places.next += 1;
            places.next - 1
        };
        let bytes: Vec<u8> = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.vectors
            .write_all_at(&bytes, place * self.bytes as u64)?;
        self.places().of.insert(key, Some(place));
        Ok(())
    }

    /// An insertion cannot be left half done.
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a file or text.
pub(crate) fn key(bytes: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    key
}
