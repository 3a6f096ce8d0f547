//! The signals that a supervisor, a terminal or a user sends.
//!
//! SIGTERM, SIGINT and SIGQUIT start a drain and then end the process. SIGHUP reloads the files
//! that can be reloaded, on a thread of its own: they may be somewhere that does not answer. SIGUSR1,
//! SIGUSR2 and SIGALRM would end the process without a drain by default, which is not what their
//! sender wants: they are logged and ignored.

use std::sync::mpsc::{TrySendError, sync_channel};
use std::thread;

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
        // Whatever comes while the files are read is one more time to read them.
        let (ask, asked) = sync_channel(1);
        thread::Builder::new()
            .name("reload".into())
            .spawn(move || asked.iter().for_each(|()| hangup()))?;
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                match ask.try_send(()) {
                    Ok(()) => {}
                    Err(TrySendError::Full(())) => tracing::warn!(
                        "SIGHUP: files are still being read, and will be read once more after that"
                    ),
                    Err(TrySendError::Disconnected(())) => tracing::error!(
                        "SIGHUP: the thread that reads files has ended; restart the service"
                    ),
                }
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
