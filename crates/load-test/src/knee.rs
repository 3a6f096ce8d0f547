//! The knee of a service: an open loop at one rate after another, until the highest rate
//! held is known. `search` chooses the next rate and judges the results.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::error::Error;
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::report::{Report, aligned};
use crate::run::{Loop, Outcome, Plan};
use crate::search::{Probe, Search, Seen};
use crate::service::Service;
use crate::window::End;
use crate::{html, output};

/// How long a step lasts.
const STEP: Duration = Duration::from_secs(10);

/// The first rate of a search.
const FIRST_RATE: f64 = 10.0;

/// The pause between steps, for a service that cleans up after its last answer.
const PAUSE: Duration = Duration::from_millis(500);

/// Searches for the highest rate held, and reports the run at that rate.
pub async fn find(
    options: &Options,
    inputs: &Arc<Inputs>,
    plan: Plan,
    service: &Service,
    interrupt: &Interrupt,
) -> Result<bool, Error> {
    let seconds = options
        .duration
        .unwrap_or(STEP)
        .max(Duration::from_millis(1));
    let mut search = Search::from(options.rate.unwrap_or(FIRST_RATE));
    let mut probes: Vec<Probe> = Vec::new();
    let mut best: Option<Report> = None;
    let mut last = None;
    let mut right = true;
    let settling = Duration::from_secs_f64((options.p99_ms / 1000.0).clamp(1.0, 60.0));
    let mut warm_up = plan.warm_up;
    let mut first = plan.first;
    let mut again = false;
    while let Some(rate) = search.next() {
        let plan = Plan {
            mode: Loop::Open(rate),
            warm_up,
            end: End::After(seconds),
            first,
            ..plan
        };
        let outcome = service.run(inputs, plan, &format!("{rate:.1}/s")).await;
        first += outcome.begun;
        let report = service.report(options, inputs, &plan, &outcome);
        if outcome.interrupted {
            // A rate whose run was interrupted counts neither as held nor as not held.
            last = Some(report);
            break;
        }
        let probe = Probe::judge(
            rate,
            &seen(&report, &outcome, options.p99_ms),
            options.p99_ms,
        );
        eprintln!(
            "{rate:.1}/s: goodput {:.1}/s, p99 {:.1} ms: {}",
            probe.goodput_per_s,
            probe.p99_ms,
            if probe.held { "held" } else { "not held" }
        );
        // A stall of the machine is not a limit of the service: a rate that was not held is
        // tried once more before the result is believed.
        again = !probe.held && !again;
        if !again {
            search.tell(rate, probe.held);
        }
        probes.push(probe);
        right &= report.wrong == 0;
        if probe.held && search.knee() == Some(rate) {
            best = Some(report);
        } else {
            last = Some(report);
        }
        // The load of the last step is gone; this one only needs time to start.
        warm_up = warm_up.min(settling);
        let _ = tokio::time::timeout(PAUSE, interrupt.wait()).await;
    }
    // The lowest rate that was not held determined the knee.
    let client_limited = probes
        .iter()
        .filter(|probe| !probe.held)
        .filter(|probe| search.knee().is_none_or(|knee| probe.rate_per_s > knee))
        .min_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s))
        .is_some_and(|probe| probe.client_limited);
    let mut rows = vec![
        [
            "rate/s",
            "offered/s",
            "goodput/s",
            "p99 ms",
            "unfinished",
            "held",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(probes.iter().map(|probe| {
        vec![
            format!("{:.2}", probe.rate_per_s),
            format!("{:.2}", probe.offered_per_s),
            format!("{:.2}", probe.goodput_per_s),
            format!("{:.2}", probe.p99_ms),
            probe.unfinished.to_string(),
            match (probe.held, probe.client_limited) {
                (true, _) => "yes",
                (false, true) => "client late",
                (false, false) => "no",
            }
            .to_owned(),
        ]
    }));
    let Some(report) = best.as_ref().or(last.as_ref()) else {
        return Err(Error::NoRate);
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
    output::say(options, &whole, || {
        format!("{}\n{}\n{verdict}", report.table(), aligned(&rows, 0))
    })?;
    output::write_page(options, || {
        html::of_search(&verdict, &rows, &probes, options.p99_ms, report)
    })?;
    Ok(right && search.knee().is_some())
}

/// The results of a run that the search judges, without hostile requests.
fn seen(report: &Report, outcome: &Outcome, bound_ms: f64) -> Seen {
    let recorder = &outcome.recorder;
    Seen {
        offered: recorder.begun(),
        ended: report.total.requests,
        good: report.total.good,
        carried: recorder.carried,
        unfinished: recorder.unfinished.count(),
        overdue: recorder.unfinished.longer_than(bound_ms),
        seconds: report.duration_s,
        p99_ms: report.total.latency_ms.p99,
        client_limited: report
            .open_loop
            .as_ref()
            .is_some_and(|open| open.client_limited),
    }
}
