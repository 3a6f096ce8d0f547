//! The signals that a supervisor, a terminal or a user sends.
//!
//! SIGTERM, SIGINT and SIGQUIT start a drain and then end the process. SIGHUP reloads the files
//! that can be reloaded. SIGUSR1, SIGUSR2 and SIGALRM would end the process without a drain by
//! default, which is not what their sender wants: they are logged and ignored.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the service, and the one that reloads files.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Installs the handlers described above.
    ///
    /// # Errors
    ///
    /// When the system does not allow it.
    pub fn handle(mut hangup: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let others = [
            (signal(SignalKind::user_defined1())?, "SIGUSR1"),
            (signal(SignalKind::user_defined2())?, "SIGUSR2"),
            (signal(SignalKind::alarm())?, "SIGALRM"),
        ];
        for (mut other, name) in others {
            tokio::spawn(async move {
                while other.recv().await.is_some() {
                    tracing::warn!(
                        signal = name,
                        "ignored a signal that has no meaning for this service"
                    );
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

    /// Waits for a signal that ends the process.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
