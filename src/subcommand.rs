//! What the subcommands have in common: recognizing them, making a service without HTTP, and
//! ending on a signal.

use std::env::args_os;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command, CommandFactory, FromArgMatches, Parser};
use siglip2_bulk::{BulkError, Identity};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::{ENGINE_DEAD, end};
use crate::log::last_line;
use crate::service::Service;
use crate::settings::Settings;
use crate::startup::{LoadError, prepare};

/// Settings of the service that have no effect without HTTP, besides those under this heading.
const OF_THE_SERVICE: [&str; 8] = [
    "also",
    "host",
    "port",
    "served_index",
    "index_unchecked",
    "otlp_endpoint",
    "otel_exporter_otlp_endpoint",
    "otlp_service_name",
];
const HTTP_HEADING: &str = "HTTP";

/// What the command line says besides the settings themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    /// Whether a model was named.
    pub(crate) model: bool,
}

/// The settings of the subcommand with this name, if the command line asks for it. Invalid
/// flags end the process with a sentence.
pub(crate) fn asked_for<P: Parser>(name: &str) -> Option<(P, Given)> {
    let mut arguments = args_os().skip(1).peekable();
    if arguments.peek()? != name {
        return None;
    }
    Some(parse(arguments).unwrap_or_else(|error| error.exit()))
}

/// Parses settings without those of HTTP: they are not shown, their variables are not read,
/// and giving one is an error.
fn parse<P: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<(P, Given), clap::Error> {
    let command = without_http(P::command());
    let hidden: Vec<(String, String)> = command
        .get_arguments()
        .filter(|argument| means_nothing(argument))
        .filter_map(|argument| Some((argument.get_id().to_string(), argument.get_long()?.into())))
        .collect();
    let mut said = Given::default();
    let settings = siglip2_flags::try_parse_command(command, arguments, |command, matches| {
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        said.model = matches.value_source("model") != Some(ValueSource::DefaultValue);
        match hidden.iter().find(|(id, _)| given(id)) {
            None => Ok(()),
            Some((_, flag)) => Err(command.error(
                ErrorKind::UnknownArgument,
                format!("--{flag} is a setting of the service, and means nothing here"),
            )),
        }
    })?;
    Ok((settings, said))
}

/// A command whose settings of HTTP are not shown, and their variables not read.
pub(crate) fn without_http(command: Command) -> Command {
    command.mut_args(|argument| match means_nothing(&argument) {
        true => argument.hide(true).env(None),
        false => argument,
    })
}

fn means_nothing(argument: &Arg) -> bool {
    argument.get_help_heading() == Some(HTTP_HEADING)
        || OF_THE_SERVICE.contains(&argument.get_id().as_str())
}

/// Why a subcommand cannot begin its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubcommandError {
    /// The system refuses threads.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
    /// The system refuses handlers of signals.
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
    /// There is no engine.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine was built before fingerprints were kept.
    #[error(
        "the engine does not know the fingerprint of its model, by which vectors are told apart: \
         build it anew with build-engine"
    )]
    NoFingerprint,
}

impl From<SubcommandError> for BulkError {
    fn from(error: SubcommandError) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// A runtime.
pub(crate) fn runtime() -> Result<Runtime, SubcommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(SubcommandError::Threads)
}

/// The service that the settings describe, with its engine loaded. If the device hangs or is lost
/// meanwhile, the process ends here: only another one may have it again.
pub(crate) fn load(settings: &Settings) -> Result<Service, SubcommandError> {
    let unusable = |error| match error {
        unusable @ LoadError::Unusable(_) => unusable,
        gone @ LoadError::DeviceGone(_) => {
            last_line(&gone.to_string());
            end(ENGINE_DEAD)
        }
    };
    let prepared = prepare(settings).map_err(|error| unusable(LoadError::of(error)))?;
    let service = prepared.service().clone();
    tracing::info!(
        model = %service.info().name,
        compute = prepared.compute(),
        "loading the model"
    );
    prepared.load().map_err(unusable)?;
    Ok(service)
}

/// What identifies the service's vectors.
pub(crate) fn identity(service: &Service, normalized: bool) -> Result<Identity, SubcommandError> {
    let info = service.info();
    let fingerprints = service.fingerprints();
    let fingerprints = fingerprints.ok_or(SubcommandError::NoFingerprint)?;
    Ok(Identity {
        fingerprint: fingerprints.of(normalized),
        model: info.source.clone(),
        precision: info.precision.to_owned(),
        dimensions: info.dimensions,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// MiB that this process had in memory at most, where Linux says so.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes >> 10)
}

/// The number of the signal that ended a run; 0 if none did.
#[derive(Clone, Default)]
pub(crate) struct Ended(Arc<AtomicU8>);

impl Ended {
    pub(crate) fn number(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Completes at the first signal that ends the process; a second one ends it at once. Must be
/// called in a runtime.
pub(crate) fn until_a_signal() -> Result<(impl Future<Output = ()>, Ended), SubcommandError> {
    let failed = SubcommandError::Signals;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let ended = Ended::default();
    let (first, told) = oneshot::channel::<()>();
    let number = ended.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            }
        };
        let number_of = |kind: SignalKind| u8::try_from(kind.as_raw_value()).unwrap_or(0);
        number.0.store(number_of(next().await), Ordering::Relaxed);
        // Gone if the run has ended by itself.
        let _ = first.send(());
        let code = 128 + i32::from(number_of(next().await));
        std::process::exit(code);
    });
    let until = async move {
        if told.await.is_err() {
            std::future::pending().await
        }
    };
    Ok((until, ended))
}
