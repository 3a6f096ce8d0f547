//! Arithmetic on the vectors of one request, where it holds up no other.

use crate::error::ServiceError;

/// Products of two floats that are computed where the request runs: a tenth of a millisecond.
const INLINE: usize = 1 << 18;

/// Runs work that takes so many products of two floats, on another thread if those are many.
///
/// # Errors
///
/// When the work panics there.
pub(crate) async fn aside<T: Send + 'static>(
    products: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    if products <= INLINE {
        return Ok(work());
    }
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| ServiceError::Internal(format!("computing with vectors failed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_runs_on_another_thread() {
        let here = std::thread::current().id();
        let ran = |products| aside(products, || std::thread::current().id());
        assert_eq!(ran(INLINE).await.unwrap(), here);
        assert_ne!(ran(INLINE + 1).await.unwrap(), here);
    }

    #[tokio::test]
    async fn a_panic_there_is_an_error() {
        let failed = aside(INLINE + 1, || panic!("as asked")).await;
        assert!(matches!(failed, Err::<(), _>(ServiceError::Internal(_))));
    }
}
