//! `siglip2-embeddings embed INPUT... --out DIR-OR-FILE`: embeds folders, tars and tables.

use std::process::ExitCode;

use clap::Parser;
use siglip2_bulk::{Bulk, BulkError, EmbedOptions, Limits, Place, Remote, Summary};

use crate::exit::{ENGINE_DEAD, UNUSABLE, end};
use crate::log::{Log, last_line};
use crate::settings::Settings;
use crate::subcommand;

/// Embeds folders, tars and tables into files that vector stores read, and resumes where it
/// was stopped.
#[derive(Debug, Parser)]
#[command(
    name = "siglip2-embeddings embed",
    bin_name = "siglip2-embeddings embed",
    version
)]
pub struct Embed {
    /// What to do.
    #[command(flatten)]
    bulk: EmbedOptions,

    /// The model and what computes it.
    #[command(flatten)]
    settings: Settings,
}

impl Embed {
    /// The run, if the command line asks for one. Invalid flags end the process with a
    /// sentence.
    pub fn asked_for() -> Option<Self> {
        subcommand::asked_for("embed").map(|(embed, _)| embed)
    }

    /// Runs it.
    pub fn run(self) -> ExitCode {
        let log = Log::start(&self.settings.log);
        let strict = self.bulk.strict;
        match self.embed() {
            Ok((summary, _)) if !summary.interrupted => {
                say(&summary);
                ExitCode::from(u8::from(strict && summary.bad > 0))
            }
            Ok((summary, signal)) => {
                let done = summary.shards + summary.shards_before;
                last_line(&match summary.shards_left {
                    0 => format!(
                        "ended early: all {done} shards are done, but not joined into one file; run \
                         the same command again to join them"
                    ),
                    left => format!(
                        "ended early: {done} of {} shards are done; run the same command again to \
                         go on",
                        done + left
                    ),
                });
                // The shell's convention for signals.
                ExitCode::from(128 + signal)
            }
            Err(error) => {
                tracing::debug!(peak_memory_mib = subcommand::peak_memory(), "not done");
                last_line(&error.to_string());
                ExitCode::from(match error {
                    BulkError::Unusable(_) => UNUSABLE,
                    BulkError::Disk(_) => 1,
                    BulkError::Engine(_) => {
                        drop(log);
                        end(ENGINE_DEAD)
                    }
                })
            }
        }
    }

    /// The outcome, and the number of the signal that ended the run, if one did.
    fn embed(self) -> Result<(Summary, u8), BulkError> {
        let Self { bulk, mut settings } = self;
        settings.is_bulk = true;
        let normalized = !bulk.no_normalize;
        let runtime = subcommand::runtime()?;
        let limits = Limits {
            max_image_pixels: settings.service.max_image_pixels,
            max_jpeg_scans: settings.service.max_jpeg_scans,
            max_request_memory: settings.service.max_request_memory,
        };
        // The inputs first: errors in them are found in less time than a model takes to load.
        let (urls, key) = (bulk.url.clone(), bulk.url_key.clone());
        let job = Bulk::find(bulk)?;
        let (place, identity, limits) = if urls.is_empty() {
            let service = subcommand::load(&settings)?;
            let identity = subcommand::identity(&service, normalized)?;
            (Place::Here(service), identity, limits)
        } else {
            let version = env!("CARGO_PKG_VERSION");
            let turned = settings.service.apply_orientation;
            let found = Remote::connect(&urls, key, normalized, turned, version);
            let (remote, identity, limits) = found?;
            (Place::There(remote), identity, limits)
        };
        let done = runtime.block_on(async {
            let (stop, signal) = subcommand::until_a_signal()?;
            let summary = job.run(place, identity, limits, stop).await?;
            Ok((summary, signal.number()))
        });
        // Requests to services may be in progress; nobody waits for them any more.
        runtime.shutdown_background();
        done
    }
}

/// The last lines of a run that was not interrupted.
fn say(summary: &Summary) {
    let Summary { rows, bad, .. } = *summary;
    let seconds = summary.took.as_secs_f64();
    tracing::info!(
        rows,
        bad,
        shards = summary.shards,
        shards_before = summary.shards_before,
        duplicates = summary.duplicates,
        seconds = format_args!("{seconds:.1}"),
        rows_per_second = format_args!("{:.1}", rows as f64 / seconds.max(1e-3)),
        peak_memory_mib = subcommand::peak_memory(),
        "done"
    );
    match (summary.whole, &summary.errors) {
        (Some((rows, bad)), Some(list)) => {
            tracing::warn!(rows, bad, list, "rows without a vector are in the list");
        }
        (Some((rows, _)), None) => tracing::info!(rows, "the output is complete"),
        (None, _) => tracing::info!("other parts of the output are not done yet"),
    }
}
