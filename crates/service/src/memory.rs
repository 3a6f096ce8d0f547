//! One budget, in bytes, for everything that requests hold.
//!
//! ```text
//! total --+-- bodies:   bodies as they arrive, and what is decoded out of them   (3/8)
//!         +-- pictures: a decoder's scratch and pixels, until the engine has them (1/2)
//!         +-- answers:  an answer, until its client has taken it                  (1/8)
//! ```
//!
//! The parts are fixed, because a request holds one while it waits for the next: if bodies
//! could take what pictures need, a process full of bodies could decode none of them. Whatever
//! does not fit is refused (bodies, answers) or waits in line (pictures). Memory is never
//! allocated first and counted later.
//!
//! Memory is held by a [`Lease`], and returned when the lease is dropped. What is freed stays with the
//! allocator for a moment, for the next request, unless half of the budget is held or more, so that what
//! is held and what is kept hardly exceed the budget together.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::metrics::Metrics;
use crate::pressure::Pressure;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryUse {
    /// Bodies, and what is decoded from them: form fields, base64, JSON.
    Bodies,
    /// Pictures, from decoding until the engine no longer needs their pixels.
    Pictures,
    /// Answers being written, or waiting for their client to read.
    Answers,
}

impl MemoryUse {
    /// All uses.
    pub const ALL: [Self; 3] = [Self::Bodies, Self::Pictures, Self::Answers];

    /// Its name, as in `/metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bodies => "bodies",
            Self::Pictures => "pictures",
            Self::Answers => "answers",
        }
    }

    /// Its part of this total, in bytes.
    pub fn part_of(self, total: u64) -> u64 {
        let (pictures, answers) = (total / 2, total / 8);
        match self {
            Self::Bodies => total - pictures - answers,
            Self::Pictures => pictures,
            Self::Answers => answers,
        }
    }
}

impl fmt::Display for MemoryUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The budget has no more for this use at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes are wanted, and too much of the {limit} bytes for {for_use} is in use")]
pub struct OutOfMemory {
    /// What the memory was wanted for.
    pub for_use: MemoryUse,
    /// Bytes that would be held if the request had been granted.
    pub wanted: u64,
    /// Bytes that this use may hold, over all requests.
    pub limit: u64,
}

impl OutOfMemory {
    /// Whether trying again is pointless: it would not fit even if nothing else were held.
    pub fn is_final(&self) -> bool {
        self.wanted > self.limit
    }

    /// The same for a caller that already holds this many bytes by another lease.
    #[must_use]
    pub fn beside(self, bytes: u64) -> Self {
        Self {
            wanted: self.wanted.saturating_add(bytes),
            ..self
        }
    }
}

/// See the module documentation. Cheap to clone; all clones are the same budget.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Shared>);

struct Shared {
    total: u64,
    /// By [`MemoryUse`].
    held: [AtomicU64; MemoryUse::ALL.len()],
    pressure: Pressure,
    metrics: Arc<Metrics>,
}

impl MemoryBudget {
    /// A budget of this many bytes.
    ///
    /// ```
    /// use siglip2_service::metrics::Metrics;
    /// use siglip2_service::{MemoryBudget, MemoryUse};
    ///
    /// let budget = MemoryBudget::new(8 << 20, Metrics::new());
    /// let mut answer = budget.take(MemoryUse::Answers, 1 << 20)?;
    /// // An eighth of the whole is for answers, and it is taken.
    /// assert!(budget.take(MemoryUse::Answers, 1).is_err());
    /// assert!(budget.take(MemoryUse::Pictures, 4 << 20).is_ok());
    /// answer.shrink_to(1000);
    /// assert_eq!(budget.held(MemoryUse::Answers), 1000);
    /// drop(answer);
    /// assert_eq!(budget.held(MemoryUse::Answers), 0);
    /// # Ok::<(), siglip2_service::OutOfMemory>(())
    /// ```
    pub fn new(total: u64, metrics: Arc<Metrics>) -> Self {
        for of in MemoryUse::ALL {
            metrics.memory().limit(of, of.part_of(total));
        }
        Self(Arc::new(Shared {
            total,
            held: Default::default(),
            pressure: Pressure::new(total, siglip2_allocator::memory_is_short),
            metrics,
        }))
    }

    /// Bytes that all uses together may hold.
    pub fn total(&self) -> u64 {
        self.0.total
    }

    /// Bytes that this use may hold.
    pub fn limit(&self, for_use: MemoryUse) -> u64 {
        for_use.part_of(self.0.total)
    }

    /// Bytes that this use holds.
    pub fn held(&self, for_use: MemoryUse) -> u64 {
        self.0.held[for_use as usize].load(Ordering::Relaxed)
    }

    /// A lease of nothing yet, for memory that grows piece by piece.
    pub fn empty(&self, for_use: MemoryUse) -> Lease {
        Lease {
            budget: self.clone(),
            for_use,
            bytes: 0,
        }
    }

    /// A lease of this many bytes, all of them or none.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if fewer are free.
    pub fn take(&self, for_use: MemoryUse, bytes: u64) -> Result<Lease, OutOfMemory> {
        let mut lease = self.empty(for_use);
        lease.grow(bytes)?;
        Ok(lease)
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBudget({} bytes)", self.0.total)
    }
}

/// Bytes of the budget, returned when this is dropped.
#[derive(Debug)]
pub struct Lease {
    budget: MemoryBudget,
    for_use: MemoryUse,
    bytes: u64,
}

impl Lease {
    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes this many more bytes, all of them or none. Call it before allocating them.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if fewer are free. Refuse the request then instead of waiting: those
    /// that hold the rest may themselves want more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        let limit = self.budget.limit(self.for_use);
        let metrics = self.budget.0.metrics.memory();
        let taken = self
            .held()
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|&held| held <= limit)
            });
        if taken.is_err() {
            metrics.refused(self.for_use);
            return Err(OutOfMemory {
                for_use: self.for_use,
                wanted: self.bytes.saturating_add(bytes),
                limit,
            });
        }
        self.bytes += bytes;
        self.budget.0.pressure.taken(bytes);
        metrics.taken(self.for_use, bytes);
        Ok(())
    }

    /// Returns everything beyond this many bytes.
    pub fn shrink_to(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.held().fetch_sub(back, Ordering::Relaxed);
        self.budget.0.pressure.given_back(back);
        self.budget
            .0
            .metrics
            .memory()
            .given_back(self.for_use, back);
    }

    /// Takes over what another lease of the same budget holds for the same use.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert_eq!(
            self.for_use, other.for_use,
            "what is held would be given back wrongly"
        );
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Keeps the lease as long as these bytes and every slice of them exist: a decoder may
    /// still read a file whose request has ended.
    pub fn keep_with(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Kept {
            bytes,
            _lease: self,
        })
    }

    fn held(&self) -> &AtomicU64 {
        &self.budget.0.held[self.for_use as usize]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

struct Kept<T> {
    bytes: T,
    _lease: Lease,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        for total in [0, 1, 7, 1000, 2 << 30, u64::MAX] {
            let parts = MemoryUse::ALL.map(|of| of.part_of(total));
            assert_eq!(parts.iter().sum::<u64>(), total);
        }
    }

    #[test]
    fn what_does_not_fit_takes_nothing_and_says_whether_it_ever_would() {
        let budget = MemoryBudget::new(80, Metrics::new());
        let mut first = budget.take(MemoryUse::Bodies, 20).unwrap();
        let mut second = budget.empty(MemoryUse::Bodies);
        let error = second.grow(11).unwrap_err();
        assert!(!error.is_final());
        assert_eq!(budget.held(MemoryUse::Bodies), 20);
        assert!(second.grow(31).unwrap_err().is_final());
        assert!(first.grow(11).unwrap_err().is_final());
        assert!(second.grow(11).unwrap_err().beside(20).is_final());
        assert!(second.grow(u64::MAX).is_err());
        second.grow(10).unwrap();
        first.shrink_to(30);
        assert_eq!(first.bytes(), 20);
        first.shrink_to(1);
        assert_eq!(budget.held(MemoryUse::Bodies), 11);
        first.absorb(second);
        assert_eq!((first.bytes(), budget.held(MemoryUse::Bodies)), (11, 11));
        drop(first);
        assert_eq!(budget.held(MemoryUse::Bodies), 0);
    }

    #[test]
    fn a_lease_lasts_as_long_as_the_last_slice_of_its_bytes() {
        let budget = MemoryBudget::new(80, Metrics::new());
        let bytes = budget
            .take(MemoryUse::Bodies, 4)
            .unwrap()
            .keep_with(vec![1, 2, 3, 4]);
        let slice = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(budget.held(MemoryUse::Bodies), 4);
        assert_eq!(slice, [2, 3][..]);
        drop(slice);
        assert_eq!(budget.held(MemoryUse::Bodies), 0);
    }

    #[test]
    fn what_is_held_stands_in_the_metrics() {
        let metrics = Metrics::new();
        let budget = MemoryBudget::new(80, Arc::clone(&metrics));
        let _lease = budget.take(MemoryUse::Pictures, 30).unwrap();
        assert!(budget.take(MemoryUse::Pictures, 30).is_err());
        let text = metrics.text();
        for series in [
            "siglip2_memory_bytes{use=\"pictures\"} 30",
            "siglip2_memory_limit_bytes{use=\"pictures\"} 40",
            "siglip2_memory_refusals_total{use=\"pictures\"} 1",
            "siglip2_memory_bytes{use=\"answers\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }
}
