//! Two services, run in turn with the same inputs, and their ratios.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::Error;
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::report::{Report, aligned};
use crate::run::{Outcome, Plan};
use crate::service::Service;
use crate::{html, output};

/// A B A B, so that changes on the machine affect both.
pub async fn compare(
    options: &Options,
    inputs: &Arc<Inputs>,
    plan: Plan,
    services: [&Service; 2],
    interrupt: &Interrupt,
) -> Result<bool, Error> {
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
    'rounds: for round in 1..=options.rounds {
        // Both get the same inputs, and each round gets different ones: a service that
        // caches texts must not see those of its last round again.
        let mut begun = 0;
        for (n, service) in services.into_iter().enumerate() {
            let label = format!("round {round}, {}", names[n]);
            let plan = Plan { first, ..plans[n] };
            let outcome = service.run(inputs, plan, &label).await;
            begun = begun.max(outcome.begun);
            let report = service.report(options, inputs, &plan, &outcome);
            rounds.push(json!({
                "service": names[n],
                "round": round,
                "requests_per_s": report.total.requests_per_s,
                "rows_per_s": report.total.rows_per_s,
                "latency_ms": report.total.latency_ms,
            }));
            merged[n].merge(&outcome);
            if interrupt.has_come() {
                break 'rounds;
            }
        }
        first += begun;
    }
    let [a, b] = [0, 1].map(|n| services[n].report(options, inputs, &plans[n], &merged[n]));
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
    let mut rows = vec![["measure", "A", "B", "B / A"].map(str::to_owned).to_vec()];
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
    output::say(options, &whole, || {
        format!(
            "A\n{}\nB\n{}\n{} rounds each, in turn\n{}",
            a.table(),
            b.table(),
            options.rounds,
            aligned(&rows, 1)
        )
    })?;
    output::write_page(options, || html::of_two(&rows, [&a, &b]))?;
    let right = [output::is_right(&a), output::is_right(&b)];
    Ok(right == [true, true])
}
