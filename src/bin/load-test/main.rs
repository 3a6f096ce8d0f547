//! The load test: measures a service that embeds images and texts over HTTP, as its
//! clients would see it, and checks what it answers.
//!
//! ```text
//! options --> inputs --number--> request --> client --> answer --> check --> recorder
//!                 ^                 |                                            |
//!            closed loop or clock --+          table, JSON, HTML <-- report <----+
//! ```
//!
//! It ends with 0, with 1 if an answer was wrong or none was good, and with 2 if what
//! was asked for cannot be run.

mod check;
mod client;
mod hostile;
mod html;
mod inputs;
mod mix;
mod options;
mod pictures;
mod progress;
mod random;
mod record;
mod report;
mod run;
mod schedule;
mod search;
mod texts;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::check::Checker;
use crate::client::{Client, Ending, Target};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::report::{Report, aligned};
use crate::run::{Loop, Outcome, Plan};
use crate::schedule::End;
use crate::search::{Probe, Search};

const UNUSABLE: u8 = 2;

/// How long a run lasts, and a step of a search.
const DURATION: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_secs(10);

/// Where a search begins.
const FIRST_RATE: f64 = 10.0;

/// Between the steps of a search: what was queued is answered by then.
const PAUSE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let options = Options::parse();
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
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(UNUSABLE)
        }
    }
}

/// A service, and what it says of itself.
struct Service {
    url: String,
    client: Arc<Client>,
    model: String,
    checker: Checker,
}

#[derive(Deserialize)]
struct Info {
    model: String,
    vision_dim: usize,
}

impl Service {
    async fn find(url: &str, options: &Options) -> Result<Self, String> {
        let open = options.rate.is_some() || options.search_rate;
        let connections = if open {
            options.max_connections
        } else {
            options.concurrency
        };
        let target = Target::parse(url)?;
        let url = target.url.clone();
        let client = Client::new(
            target,
            connections,
            options.api_key.as_deref(),
            options.timeout_ms,
        )?;
        let exchange = client.get("/info").await;
        match exchange.ending {
            Ending::Status(200) => {}
            Ending::Status(401) => {
                return Err(format!("{url} wants an API key: give it with --api-key"));
            }
            Ending::Status(status) => {
                return Err(format!(
                    "{url}/info answered {status}; is that the service to measure?"
                ));
            }
            Ending::Connect => {
                return Err(format!("{url} cannot be connected to; is it running?"));
            }
            _ => return Err(format!("{url}/info was not answered")),
        }
        let info: Info = serde_json::from_slice(&exchange.body).map_err(|error| {
            format!("{url}/info does not say the model and its dimensions: {error}")
        })?;
        Ok(Self {
            url,
            client: Arc::new(client),
            model: info.model,
            checker: Checker {
                dimensions: info.vision_dim,
                how: options.check,
            },
        })
    }

    async fn run(&self, inputs: &Arc<Inputs>, plan: Plan, label: &str) -> Outcome {
        let client = Arc::clone(&self.client);
        run::run(client, Arc::clone(inputs), self.checker, plan, label).await
    }
}

/// Whether every answer was right, and some were good.
async fn measure(options: &Options) -> Result<bool, String> {
    if let Some(pid) = options.watch {
        watch::look(pid, 0.0)?;
    }
    let service = Service::find(&options.url, options).await?;
    let inputs = Arc::new(Inputs::new(options)?);
    let plan = Plan {
        mode: match options.rate {
            Some(rate) => Loop::Open(rate),
            None => Loop::Closed(options.concurrency),
        },
        warm_up: options.warm_up,
        end: match options.requests {
            Some(requests) => End::Requests(requests),
            None => End::After(options.duration.unwrap_or(DURATION)),
        },
        first: 0,
        watch: options.watch,
    };
    if let Some(url) = &options.compare {
        let other = Service::find(url, options).await?;
        compare(options, &inputs, plan, [&service, &other]).await
    } else if options.search_rate {
        find_rate(options, &inputs, plan, &service).await
    } else {
        let outcome = service.run(&inputs, plan, "measuring").await;
        let report = reported(options, &inputs, &plan, &service, &outcome);
        say(options, &report, || report.table())?;
        write_page(options, "Load test", &[], &[(String::new(), &report)])?;
        Ok(is_right(&report))
    }
}

fn reported(
    options: &Options,
    inputs: &Inputs,
    plan: &Plan,
    service: &Service,
    outcome: &Outcome,
) -> Report {
    Report::of(
        options,
        plan,
        &service.url,
        &service.model,
        inputs.distinct(),
        outcome,
    )
}

fn is_right(report: &Report) -> bool {
    if report.wrong == 0 && report.total.good == 0 && report.hostile_percent < 100.0 {
        eprintln!("error: no request was answered with success");
    }
    report.wrong == 0 && (report.total.good > 0 || report.hostile_percent >= 100.0)
}

fn say(
    options: &Options,
    report: &impl serde::Serialize,
    table: impl Fn() -> String,
) -> Result<(), String> {
    use std::io::Write;
    let text = if options.json {
        serde_json::to_string_pretty(report)
            .map_err(|error| format!("the report cannot be written as JSON: {error}"))?
    } else {
        table()
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())
        .map_err(|error| format!("the report cannot be printed: {error}"))
}

fn write_page(
    options: &Options,
    title: &str,
    tables: &[(String, Vec<Vec<String>>)],
    runs: &[(String, &Report)],
) -> Result<(), String> {
    let Some(path) = &options.html else {
        return Ok(());
    };
    std::fs::write(path, html::page(title, tables, runs))
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// A B A B, so that what changes on the machine meanwhile meets both.
async fn compare(
    options: &Options,
    inputs: &Arc<Inputs>,
    plan: Plan,
    services: [&Service; 2],
) -> Result<bool, String> {
    let plans = [
        plan,
        Plan {
            watch: None,
            ..plan
        },
    ];
    let names = ["A", "B"];
    let mut merged = [Outcome::default(), Outcome::default()];
    let mut rounds = Vec::new();
    let mut first = 0;
    for round in 1..=options.rounds {
        // Both get the same inputs, and each round others: a service that remembers
        // texts must not meet those of its last round again.
        let mut begun = 0;
        for (n, service) in services.into_iter().enumerate() {
            let label = format!("round {round}, {}", names[n]);
            let plan = Plan { first, ..plans[n] };
            let outcome = service.run(inputs, plan, &label).await;
            begun = begun.max(outcome.begun);
            let report = reported(options, inputs, &plans[n], service, &outcome);
            rounds.push(json!({
                "service": names[n],
                "round": round,
                "requests_per_s": report.total.requests_per_s,
                "rows_per_s": report.total.rows_per_s,
                "latency_ms": report.total.latency_ms,
            }));
            merged[n].merge(&outcome);
        }
        first += begun;
    }
    let [a, b] = [0, 1].map(|n| reported(options, inputs, &plans[n], services[n], &merged[n]));
    let measures = |report: &Report| {
        let latency = &report.total.latency_ms;
        [
            ("requests_per_s", report.total.requests_per_s),
            ("rows_per_s", report.total.rows_per_s),
            ("p50_ms", latency.p50),
            ("p95_ms", latency.p95),
            ("p99_ms", latency.p99),
        ]
    };
    let mut rows = vec![["measure", "A", "B", "B/A"].map(str::to_owned).to_vec()];
    let mut ratios = serde_json::Map::new();
    for ((name, of_a), (_, of_b)) in measures(&a).into_iter().zip(measures(&b)) {
        let ratio = (of_a > 0.0).then(|| of_b / of_a);
        ratios.insert(name.to_owned(), json!(ratio));
        rows.push(vec![
            name.to_owned(),
            format!("{of_a:.2}"),
            format!("{of_b:.2}"),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
        ]);
    }
    let whole: Value = json!({
        "mode": "compare", "a": a, "b": b, "ratios_b_to_a": ratios, "rounds": rounds,
    });
    say(options, &whole, || {
        format!(
            "A\n{}\nB\n{}\n{} rounds each, in turn\n{}",
            a.table(),
            b.table(),
            options.rounds,
            aligned(&rows, 1)
        )
    })?;
    let runs = [(format!("A: {}", a.url), &a), (format!("B: {}", b.url), &b)];
    let tables = [("B against A".to_owned(), rows.clone())];
    write_page(options, "Load test: two services", &tables, &runs)?;
    let right = [is_right(&a), is_right(&b)];
    Ok(right == [true, true])
}

async fn find_rate(
    options: &Options,
    inputs: &Arc<Inputs>,
    plan: Plan,
    service: &Service,
) -> Result<bool, String> {
    let seconds = options
        .duration
        .unwrap_or(STEP)
        .max(Duration::from_millis(1));
    let mut search = Search::from(options.rate.unwrap_or(FIRST_RATE));
    let mut probes: Vec<Probe> = Vec::new();
    let mut best: Option<Report> = None;
    let mut last = None;
    let mut right = true;
    let mut warm_up = plan.warm_up;
    let mut first = plan.first;
    while let Some(rate) = search.next() {
        let plan = Plan {
            mode: Loop::Open(rate),
            warm_up,
            end: End::After(seconds),
            first,
            watch: plan.watch,
        };
        let outcome = service.run(inputs, plan, &format!("{rate:.1}/s")).await;
        first += outcome.begun;
        let report = reported(options, inputs, &plan, service, &outcome);
        let probe = Probe::judge(
            rate,
            (seconds.as_secs_f64(), report.duration_s),
            (report.total.requests, report.total.good),
            report.total.latency_ms.p99,
            options.p99_ms,
            report
                .open_loop
                .as_ref()
                .is_some_and(|open| open.client_limited),
        );
        eprintln!(
            "{rate:.1}/s: goodput {:.1}/s, p99 {:.1} ms: {}",
            probe.goodput_per_s,
            probe.p99_ms,
            if probe.held { "held" } else { "not held" }
        );
        search.tell(rate, probe.held);
        probes.push(probe);
        right &= report.wrong == 0;
        if probe.held && search.knee() == Some(rate) {
            best = Some(report);
        } else {
            last = Some(report);
        }
        warm_up = warm_up.min(Duration::from_secs(1));
        tokio::time::sleep(PAUSE).await;
    }
    // The client being late may be why the next rate up was not held.
    let client_limited = probes.iter().any(|probe| {
        probe.client_limited && search.knee().is_none_or(|knee| probe.offered_per_s > knee)
    });
    let mut rows = vec![
        ["offered/s", "goodput/s", "p99 ms", "held"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(probes.iter().map(|probe| {
        vec![
            format!("{:.2}", probe.offered_per_s),
            format!("{:.2}", probe.goodput_per_s),
            format!("{:.2}", probe.p99_ms),
            match (probe.held, probe.client_limited) {
                (true, _) => "yes",
                (false, true) => "client late",
                (false, false) => "no",
            }
            .to_owned(),
        ]
    }));
    let Some(report) = best.as_ref().or(last.as_ref()) else {
        return Err("no rate was tried: begin with a --rate from 0.05 to 1000000".to_owned());
    };
    let verdict = match search.knee() {
        Some(knee) if client_limited => format!(
            "at least {knee:.1} requests/s are held (p99 <= {} ms); beyond that the CLIENT may \
             be the limit",
            options.p99_ms
        ),
        Some(knee) => format!(
            "{knee:.1} requests/s is the highest rate held (p99 <= {} ms)",
            options.p99_ms
        ),
        None => format!("no rate was held (p99 <= {} ms)", options.p99_ms),
    };
    let whole = json!({
        "mode": "search", "highest_rate_held_per_s": search.knee(), "p99_bound_ms": options.p99_ms,
        "client_limited": client_limited, "probes": probes, "report": report,
    });
    say(options, &whole, || {
        format!("{}\n{}\n{verdict}", report.table(), aligned(&rows, 0))
    })?;
    let tables = [(verdict.clone(), rows.clone())];
    write_page(
        options,
        "Load test: the highest rate held",
        &tables,
        &[(String::new(), report)],
    )?;
    Ok(right && search.knee().is_some())
}
