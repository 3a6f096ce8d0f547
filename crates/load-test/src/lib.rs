//! The load test: measures a service that embeds images and texts over HTTP, as its
//! clients would see it, and checks its answers.
//!
//! ```text
//! options --> inputs --number--> request --> client --> answer --> check --> recorder
//!                 ^                 |                                            |
//!            closed loop or clock --+          table, JSON, HTML <-- report <----+
//! ```
//!
//! This is one run. `compare` runs two services in turn, and `knee` runs one service at
//! different rates. `window` defines what is counted, and how.
//!
//! The exit code is 0, or 1 if an answer was wrong or none was good, or 2 if the test
//! cannot be run, or 130 if Ctrl-C ended it early.
//!
//! ```text
//! load-test --url http://localhost:8091 --clients 8
//! ```
//!
//! The whole program is one function, so that a package can make its own binary of it:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     siglip2_load_test::main()
//! }
//! ```

#![forbid(unsafe_code)]

mod check;
mod client;
mod compare;
mod error;
mod hostile;
mod html;
mod inputs;
mod interrupt;
mod knee;
mod mix;
mod options;
mod origin;
mod output;
mod pictures;
mod plot;
mod progress;
mod random;
mod record;
mod report;
mod run;
pub mod samples;
mod schedule;
mod search;
mod service;
mod texts;
mod watch;
mod window;
mod wrong;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::inputs::Inputs;
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::options::Options;
use crate::run::{Loop, Plan};
use crate::service::Service;
use crate::watch::Look;
use crate::window::End;

const UNUSABLE: u8 = 2;

/// How long a run lasts.
const DURATION: Duration = Duration::from_secs(30);

/// The whole program.
pub fn main() -> ExitCode {
    let options: Options =
        siglip2_flags::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the client's threads cannot be started: {error}");
            return ExitCode::from(UNUSABLE);
        }
    };
    match runtime.block_on(measure(&options)) {
        Ok(Verdict::Right) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::FAILURE,
        Ok(Verdict::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(UNUSABLE)
        }
    }
}

/// The outcome of the program.
enum Verdict {
    /// Every answer was right, and some were good.
    Right,
    Wrong,
    /// The user ended it early.
    Interrupted,
}

async fn measure(options: &Options) -> Result<Verdict, Error> {
    let interrupt = Interrupt::listen();
    output::check_page(options)?;
    let right = measured(options, &interrupt).await?;
    Ok(match right {
        _ if interrupt.has_come() => Verdict::Interrupted,
        true => Verdict::Right,
        false => Verdict::Wrong,
    })
}

/// Whether every answer was right, and some were good.
async fn measured(options: &Options, interrupt: &Interrupt) -> Result<bool, Error> {
    if let Some(pid) = options.watch_pid {
        Look::at(pid, 0.0)?;
    }
    let service = Service::find(&options.url, options, interrupt).await?;
    let inputs = Arc::new(Inputs::new(options)?);
    let plan = Plan {
        mode: match options.rate {
            Some(rate) => Loop::Open(rate),
            None => Loop::Closed(options.concurrency),
        },
        arrivals: options.arrivals,
        back_off: !options.ignore_retry_after,
        warm_up: options.warm_up,
        end: match options.requests {
            Some(requests) => End::Requests(requests),
            None => End::After(options.duration.unwrap_or(DURATION)),
        },
        first: 0,
        watch: options.watch_pid,
    };
    if let Some(url) = &options.compare {
        let other = Service::find(url, options, interrupt).await?;
        compare::compare(options, &inputs, plan, [&service, &other], interrupt).await
    } else if options.search_rate {
        knee::find(options, &inputs, plan, &service, interrupt).await
    } else {
        let outcome = service.run(&inputs, plan, "measuring").await;
        let report = service.report(options, &inputs, &plan, &outcome);
        output::say(options, &report, || report.table())?;
        output::write_page(options, || html::of_one("Load test", &report))?;
        Ok(output::is_right(&report))
    }
}
