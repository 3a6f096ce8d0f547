//! The signals that a supervisor, a terminal or a person sends.
//!
//! SIGTERM, SIGINT and SIGQUIT ask for an end with a drain. SIGHUP asks to read files anew
//! that are told to be read anew. SIGUSR1, SIGUSR2 and SIGALRM would end the process without
//! a drain by default, and whoever sends one means something else: they are noted and ignored.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the service, and the one that reads files anew.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// From here on the signals do what is said above.
    ///
    /// # Errors
    ///
    /// When the system does not let them be handled.
    pub fn handle(mut hangup: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let others = [
            (signal(SignalKind::user_defined1())?, "SIGUSR1"),
            (signal(SignalKind::user_defined2())?, "SIGUSR2"),
            (signal(SignalKind::alarm())?, "SIGALRM"),
        ];
        for (mut other, name) in others {
            tokio::spawn(async move {
                while other.recv().await.is_some() {
                    tracing::warn!(signal = name, "a signal that means nothing here is ignored");
                }
            });
        }
        let mut hangups = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                hangup();
            }
        });
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits until the process is told to end.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
