//! Ctrl-C ends the measurement early, and what was measured so far is still reported.

use tokio::sync::watch;

/// The exit code of a program ended by Ctrl-C, by the shell's convention.
pub const INTERRUPTED: u8 = 130;

/// Whether the user asked to stop.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts to listen. A second Ctrl-C ends the program at once.
    pub fn listen() -> Self {
        let (asked, interrupt) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            eprintln!("interrupted: reporting what was measured; Ctrl-C again ends at once");
            asked.send_replace(true);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(INTERRUPTED.into());
            }
        });
        Self(interrupt)
    }

    /// Whether the user has asked to stop.
    pub fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the user asks to stop.
    pub async fn wait(&self) {
        let come = self.0.clone().wait_for(|come| *come).await.is_ok();
        if !come {
            // Nobody listens any more.
            std::future::pending::<()>().await;
        }
    }
}
