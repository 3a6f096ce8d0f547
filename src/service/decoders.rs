//! Where images are decoded: off the async threads, so many at a time, within so many
//! bytes, and interactive ones soon.
//!
//! ```text
//! interactive ---------------------+
//!                                  +--> slot --> room for the picture --> a blocking thread
//! bulk --> as many as there are ---+
//!          slots; the rest waits
//! ```

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Memory is counted in these: a semaphore counts to 2^29 on machines of 32 bits.
const UNIT: u64 = 64 << 10;

/// See the module.
pub(super) struct Decoders {
    /// One for each thread that may decode. Who waits gets them in order.
    slots: Arc<Semaphore>,
    /// Bulk stands here first. There are as many places as slots, so that an
    /// interactive image has no more than those before it, however many a bulk has.
    bulk: Arc<Semaphore>,
    /// What decoded pictures may take, in [`UNIT`]s. It is asked for last, by those
    /// who have a slot: a bulk that waits must not hold memory that it does not use.
    room: Arc<Semaphore>,
    units: u32,
}

impl Decoders {
    /// So many at a time, in so many bytes.
    pub(super) fn new(slots: usize, bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT)
            .unwrap_or(u32::MAX)
            .clamp(1, 1 << 28);
        let slots = slots.clamp(1, 1 << 16);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            bulk: Arc::new(Semaphore::new(slots)),
            room: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// Runs work that fills `bytes` of memory with a picture; one that is larger than
    /// all the room has it to itself. Who is dropped while it waits leaves nothing
    /// behind; work that has begun is finished and its result dropped.
    ///
    /// # Errors
    ///
    /// A sentence, when the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        interactive: bool,
        bytes: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let held = self
            .acquire(interactive, bytes)
            .await
            .map_err(|error| format!("the decoders are closed: {error}"))?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(held);
            result
        })
        .await
        .map_err(|error| format!("a decoding task failed: {error}"))
    }

    async fn acquire(
        &self,
        interactive: bool,
        bytes: u64,
    ) -> Result<(Option<OwnedSemaphorePermit>, [OwnedSemaphorePermit; 2]), AcquireError> {
        let place = match interactive {
            true => None,
            false => Some(Arc::clone(&self.bulk).acquire_owned().await?),
        };
        let slot = Arc::clone(&self.slots).acquire_owned().await?;
        let units = u32::try_from(bytes.div_ceil(UNIT)).map_or(self.units, |u| u.min(self.units));
        let room = Arc::clone(&self.room).acquire_many_owned(units).await?;
        Ok((place, [slot, room]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::{Context, Waker};

    /// Takes its place in the lines, in the order of the calls; whether it waits there.
    fn stand(future: std::pin::Pin<&mut impl Future>) -> bool {
        future
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    #[tokio::test]
    async fn an_interactive_image_waits_for_one_round_of_a_bulk_however_large_its_pictures() {
        let decoders = Decoders::new(1, 10 * UNIT);
        let order = Mutex::new(Vec::new());
        let job = |name: &'static str, interactive, units: u64| {
            let (decoders, order) = (&decoders, &order);
            async move {
                let held = decoders.acquire(interactive, units * UNIT).await.unwrap();
                order.lock().unwrap().push(name);
                tokio::task::yield_now().await;
                drop(held);
            }
        };
        let mut first = pin!(job("bulk 1", false, 4));
        let mut second = pin!(job("bulk 2", false, 4));
        let mut third = pin!(job("bulk 3", false, 4));
        let mut small = pin!(job("interactive", true, 1));
        stand(first.as_mut());
        stand(second.as_mut());
        stand(third.as_mut());
        stand(small.as_mut());
        tokio::join!(first, second, third, small);
        let order = order.lock().unwrap().clone();
        let at = order.iter().position(|name| *name == "interactive");
        assert!(
            at <= Some(2) && order.last() != Some(&"interactive"),
            "{order:?}"
        );
    }

    #[tokio::test]
    async fn pictures_share_the_room_and_too_large_a_one_has_it_alone() {
        let decoders = Decoders::new(4, 10 * UNIT);
        let first = decoders.acquire(true, 6 * UNIT).await.unwrap();
        let mut second = pin!(decoders.acquire(true, 5 * UNIT));
        assert!(stand(second.as_mut()), "11 units do not fit 10");
        drop(first);
        drop(second.await.unwrap());
        let giant = decoders.acquire(true, u64::MAX).await.unwrap();
        assert_eq!(decoders.room.available_permits(), 0);
        drop(giant);
        assert_eq!(decoders.room.available_permits(), 10);
        let panic = decoders.run(true, 1, || panic!("as ordered")).await;
        assert!(panic.is_err());
        assert_eq!(decoders.slots.available_permits(), 4);
    }
}
