//! Who is asked for the addresses of a host.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// Knows the addresses of hosts.
pub(super) trait Resolve: Send + Sync {
    /// The addresses of a host, for connections to a port. It may take as long as it likes.
    ///
    /// # Errors
    ///
    /// When the host is not found.
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of the system.
pub(super) struct System;

impl Resolve for System {
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (host, port).to_socket_addrs().map(Vec::from_iter)
    }
}
