//! File descriptors: each connection takes one, and the system gives a process only so many.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many are left for files, the runtime, the models, and the connections to a collector.
const KEPT: u64 = 128;

/// Raises the soft limit to the hard one, which is what it is for, and gives how many
/// connections fit: as many as are wanted, or fewer.
pub(crate) fn connections(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of file descriptors could not be raised");
            current
        }
    };
    let bound = bound(wanted, current);
    if bound < wanted {
        tracing::warn!(
            max_connections = wanted,
            descriptors = current,
            connections = bound,
            "the system allows fewer file descriptors than there may be connections, and that is now the limit; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    bound
}

/// The smaller of what is wanted and what the descriptors allow, which is all for no limit.
fn bound(wanted: usize, descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else {
        return wanted;
    };
    let fit = descriptors.saturating_sub(KEPT).max(descriptors / 2).max(1);
    wanted.min(usize::try_from(fit).unwrap_or(usize::MAX))
}

/// Whether there was no descriptor for what failed.
pub(crate) fn ran_out(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_is_the_bound() {
        assert_eq!(bound(1024, None), 1024);
        assert_eq!(bound(1024, Some(1 << 20)), 1024);
        assert_eq!(bound(1024, Some(1024)), 1024 - 128);
        assert_eq!(bound(1024, Some(100)), 50);
        assert_eq!(bound(1024, Some(0)), 1);
    }

    #[test]
    fn the_soft_limit_is_raised() {
        assert!(connections(1) >= 1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn running_out_is_told_from_other_errors() {
        assert!(ran_out(&io::Error::from_raw_os_error(24)));
        assert!(!ran_out(&io::Error::from(io::ErrorKind::ConnectionReset)));
    }
}
