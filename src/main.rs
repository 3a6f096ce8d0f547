//! The service: settings -> model -> engine -> server. The whole start is in this file.
//!
//! ```text
//! settings --locate--> checkpoint --check--> graph, tokenizer, processor   exit 2 if wrong
//!     listen (/health says "starting") --load--> engine --attach--> serving
//!     SIGTERM or SIGINT --> draining --> exit 0          (a second one: exit 1 at once)
//!     SIGTERM or SIGINT before the model is loaded --> exit 0, without waiting for what loads it
//!     engine failed, and failed again after a rebuild; GPU lost, or hangs (also while its
//!     engine is loaded) --> exit 3
//! ```
//!
//! User errors are found before the socket is opened.

use std::env::args_os;
use std::error::Error;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use siglip2_allocator::MiMalloc;
use siglip2_embeddings::build_info::build_info;
use siglip2_embeddings::checkpoint::explain_truncation;
use siglip2_embeddings::conformance::Conformance;
use siglip2_embeddings::download::Download;
use siglip2_embeddings::embed::Embed;
use siglip2_embeddings::exit::{ENGINE_DEAD, UNUSABLE, end};
use siglip2_embeddings::generate::Generate;
use siglip2_embeddings::http::{self, ApiKeysFile, TlsFiles};
use siglip2_embeddings::log::{Log, last_line, tell_panics};
use siglip2_embeddings::priority::give_way;
use siglip2_embeddings::search::Search;
use siglip2_embeddings::settings::Settings;
use siglip2_embeddings::signals::Signals;
use siglip2_embeddings::startup::{LoadError, Prepared, prepare};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long to wait for the answers that report this to be sent.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long to wait for threads that wait for somebody else when all has been answered.
const LAST_WORK: Duration = Duration::from_secs(1);

/// How long to wait for a collector to accept the last spans.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Told to end before the model is loaded. What loads it may hang, and so may the exit handlers of
/// the libraries that it is in: nothing is waited for. The end was asked for, so it is a success.
fn end_unloaded(log: Log) -> ! {
    tracing::info!("told to end before the model was loaded: exiting at once");
    drop(log);
    end(0)
}

/// On a second signal nothing is waited for, not even the runtime's threads.
fn end_at_once() -> ! {
    tracing::warn!("second signal: exiting at once");
    end(1)
}

fn main() -> ExitCode {
    if let Err(error) = siglip2_allocator::return_freed_memory() {
        last_line(&format!("cannot start a thread: {error}"));
        return ExitCode::FAILURE;
    }
    if let Some(download) = Download::asked_for() {
        let _log = Log::start(&download.log);
        return match download.run() {
            Ok(directory) => {
                println!("{}", directory.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                last_line(&error.to_string());
                ExitCode::from(UNUSABLE)
            }
        };
    }
    if let Some(embed) = Embed::asked_for() {
        return embed.run();
    }
    if let Some(search) = Search::asked_for() {
        return search.run();
    }
    if let Some(conformance) = Conformance::asked_for() {
        return conformance.run();
    }
    if let Some(generate) = Generate::asked_for() {
        return match generate.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                last_line(&format!("cannot write to standard output: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    // `serve` may be said, as the other commands are.
    let mut arguments: Vec<OsString> = args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "serve") {
        arguments.remove(1);
    }
    let mut settings: Settings =
        siglip2_flags::try_parse_from(arguments).unwrap_or_else(|error| error.exit());
    let log = Log::start(&settings.log);
    tell_panics();
    if let Err(error) = explain_truncation(ENGINE_DEAD) {
        tracing::debug!(%error, "no handler for files that are cut short");
    }
    if let Err(error) = settings.http.open_files() {
        last_line(&error.to_string());
        return ExitCode::from(UNUSABLE);
    }
    match run(settings, log) {
        Ok(code) => code,
        Err(error) => {
            last_line(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Prepares on a thread of its own, whose priority those that it starts have too. A download or a
/// driver may hang there.
async fn prepared(settings: &Settings) -> Result<Prepared, LoadError> {
    let settings = settings.clone();
    let (done, prepared) = oneshot::channel();
    thread::Builder::new()
        .name("prepare".into())
        .spawn(move || {
            give_way(settings.http.compute_nice);
            // The receiver is gone only when the process is ending anyway.
            let _ = done.send(prepare(&settings).map_err(LoadError::of));
        })
        .map_err(LoadError::unusable)?;
    // The message of a panic has been printed.
    let panicked = |_| Err(LoadError::unusable("preparing the model panicked"));
    prepared.await.unwrap_or_else(panicked)
}

fn run(settings: Settings, log: Log) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = settings.http.runtime()?;
    let ended = runtime.block_on(start(settings, log));
    // By itself it would wait for whoever looks up a name or reads a file, for as long as that takes.
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

/// Prepares and serves, unless told to end meanwhile: the first process of a container would
/// otherwise not even notice.
async fn start(settings: Settings, log: Log) -> Result<ExitCode, Box<dyn Error>> {
    let keys = settings.http.api_keys_file.clone();
    let tls = settings.http.tls.clone();
    let mut signals = Signals::handle(move || read_again(keys.as_ref(), tls.as_ref()))?;
    tracing::debug!("preparing the model");
    let prepared = tokio::select! {
        prepared = prepared(&settings) => prepared,
        () = signals.end() => end_unloaded(log),
    };
    match prepared {
        Ok(prepared) => serve(settings, prepared, signals, log).await,
        Err(error) => {
            let code = exit_code(&error);
            last_line(&error.to_string());
            drop(log);
            end(code)
        }
    }
}

/// The code of a process that has no engine for this reason.
fn exit_code(error: &LoadError) -> u8 {
    match error {
        LoadError::Unusable(_) => UNUSABLE,
        LoadError::DeviceGone(_) => ENGINE_DEAD,
    }
}

/// What SIGHUP asks for.
fn read_again(keys: Option<&ApiKeysFile>, tls: Option<&TlsFiles>) {
    match keys.map(ApiKeysFile::reload) {
        Some(Ok(keys)) => tracing::info!(keys, "SIGHUP: read the file of API keys again"),
        Some(Err(error)) => {
            tracing::error!(%error, "SIGHUP: the API keys stay as they were");
        }
        None => {}
    }
    match tls.map(TlsFiles::reload) {
        Some(Ok(())) => tracing::info!("SIGHUP: read the TLS certificate again"),
        Some(Err(error)) => {
            tracing::error!(%error, "SIGHUP: the TLS certificate stays as it was");
        }
        None => {}
    }
    if keys.is_none() && tls.is_none() {
        tracing::info!("SIGHUP: there is no file to read again");
    }
}

async fn serve(
    settings: Settings,
    prepared: Prepared,
    mut signals: Signals,
    log: Log,
) -> Result<ExitCode, Box<dyn Error>> {
    let started = Instant::now();
    let address = SocketAddr::new(settings.host, settings.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address} (--host API_HOST, --port API_PORT): {error}")
    })?;
    let address = listener.local_addr()?;

    let models = prepared.models().clone();
    let spans = prepared.spans().cloned();
    let metrics = Arc::clone(models.metrics());
    tokio::spawn(log.watch(Arc::new(move |lines| metrics.dropped_log_lines(lines))));
    let build = build_info();
    tracing::info!(
        version = build.version,
        commit = build.commit.unwrap_or("unknown"),
        features = build.features.join(","),
        jpeg_vector_code = build.jpeg_vector_code,
        asks_for_keys = settings.http.asks_for_keys(),
        tls = settings.http.tls.is_some(),
        "siglip2-embeddings"
    );
    let names: Vec<&str> = models.iter().map(|it| it.info().name.as_str()).collect();
    tracing::info!(
        %address,
        model = names.join(", "),
        compute = prepared.compute(),
        "listening; loading the model"
    );
    let (loaded, outcome) = oneshot::channel();
    // What feeds a GPU waits for it, and must then be there at once.
    let nice = match prepared.is_on_cpu() {
        true => settings.http.compute_nice,
        false => 0,
    };
    let loading = thread::Builder::new().name("load".into()).spawn(move || {
        give_way(nice);
        let result = prepared.load();
        if result.is_ok() {
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(%address, seconds, "ready");
        }
        // The receiver is gone only when the process is ending anyway.
        let _ = loaded.send(result);
    })?;
    let engine_failure = async {
        match outcome.await {
            Ok(Ok(())) => {
                let reason = models.engine_failure().await;
                (ENGINE_DEAD, format!("the engine is dead: {reason}"))
            }
            Ok(Err(error)) => (exit_code(&error), error.to_string()),
            Err(_) => (
                UNUSABLE,
                "loading the model panicked; the message above says where".to_owned(),
            ),
        }
    };

    // The message of a panic has been printed.
    let panicked = |_| "serving panicked; the message above says where";
    let (stop, stopped) = oneshot::channel::<()>();
    // Connections are accepted by a thread that answers: this one would have to wait for a core first, and
    // then wake that one, which would wait again.
    let mut serving = tokio::spawn(http::serve(
        listener,
        models.clone(),
        settings.http,
        spans.clone(),
        async {
            let _ = stopped.await;
        },
    ));
    tokio::select! {
        served = &mut serving => { served.map_err(panicked)??; return Ok(ExitCode::SUCCESS); }
        (code, error) = engine_failure => {
            last_line(&error.to_string());
            // By then the requests that the engine held have been answered 503.
            tokio::time::sleep(LAST_WORDS).await;
            end(code);
        }
        () = signals.end() => {}
    }
    tracing::info!("draining: answering accepted requests, refusing new ones");
    drop(stop);
    let mut cut_short = false;
    tokio::select! {
        served = &mut serving => if let Err(error) = served.map_err(panicked)? {
            tracing::warn!(%error, "the drain was cut short");
            cut_short = true;
        },
        () = signals.end() => end_at_once(),
    }
    if let Some(spans) = spans {
        // Not on the thread that handles a second signal.
        let flushing = tokio::task::spawn_blocking(move || spans.flush(LAST_SPANS));
        tokio::select! {
            _ = flushing => {}
            () = signals.end() => end_at_once(),
        }
    }
    if !loading.is_finished() {
        end_unloaded(log);
    }
    if let Some(reason) = models.engine_failure().now_or_never() {
        last_line(&format!("the engine is dead: {reason}"));
        end(ENGINE_DEAD);
    }
    tracing::info!("ended");
    if cut_short {
        // Nothing waits for the engine's batches any more, and they may never finish.
        end(0);
    }
    Ok(ExitCode::SUCCESS)
}
