//! `siglip2-embeddings conformance URL`: checks whether a running server returns the right
//! vectors.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use siglip2_conformance::check::check;
use siglip2_conformance::dialect::Server;
use siglip2_conformance::options::ConformanceOptions;
use siglip2_conformance::report::{Report, lines};
use siglip2_conformance::truth::ServiceTruth;

use crate::exit::UNUSABLE;
use crate::log::{Log, last_line};
use crate::settings::{Device, Precision, Settings};
use crate::subcommand::{self, Given};

/// Checks whether a running server returns the vectors of a SigLIP 2 checkpoint: texts,
/// pictures, batches, scores. The truth comes from this program's own engine, on the CPU and in
/// FP32 unless told otherwise.
///
/// The exit code is 0 if no property fails, 1 if one does, and 2 if the server cannot be
/// checked.
#[derive(Debug, Parser)]
#[command(
    name = "siglip2-embeddings conformance",
    bin_name = "siglip2-embeddings conformance",
    version
)]
pub struct Conformance {
    /// What to check, and how to report.
    #[command(flatten)]
    options: ConformanceOptions,

    /// The model and its device; by default the model that the server names.
    #[command(flatten)]
    settings: Settings,

    #[arg(skip)]
    given: Given,
}

impl Conformance {
    /// The check, if the command line asks for one. Invalid flags end the process with a
    /// sentence.
    pub fn asked_for() -> Option<Self> {
        let (check, given) = subcommand::asked_for("conformance")?;
        Some(Self { given, ..check })
    }

    /// Runs it.
    pub fn run(self) -> ExitCode {
        let _log = Log::start(&self.settings.log);
        match self.check() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                last_line(&error.to_string());
                ExitCode::from(UNUSABLE)
            }
        }
    }

    /// Whether no property failed.
    fn check(self) -> Result<bool, Box<dyn Error>> {
        let Self {
            options,
            mut settings,
            given,
        } = self;
        let server = Server::connect(
            &options.url,
            options.key.as_deref(),
            options.dialect,
            options.model_name.as_deref(),
        )?;
        if !given.model {
            server.model().clone_into(&mut settings.model);
        }
        if settings.device == Device::Auto {
            settings.device = Device::Cpu;
        }
        if settings.precision == Precision::Auto {
            settings.precision = Precision::Fp32;
        }
        let service = subcommand::load(&settings)?;
        let info = service.info().clone();
        let runtime = subcommand::runtime()?;
        let truth = ServiceTruth::new(service, runtime.handle().clone());
        let outcomes = check(&*server.target(), &truth, options.least_cosine, |outcome| {
            if !options.json {
                println!("{}", lines(outcome));
            }
        })?;
        let report = Report {
            url: options.url,
            dialect: server.dialect().to_string(),
            server_model: server.model().to_owned(),
            model: info.name,
            precision: info.precision.to_owned(),
            least_cosine: options.least_cosine,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            outcomes,
        };
        if let Some(path) = &options.markdown {
            std::fs::write(path, report.markdown())
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        if options.json {
            let json = serde_json::to_string_pretty(&report)
                .map_err(|error| format!("cannot write the result: {error}"))?;
            println!("{json}");
        } else {
            println!("{}", report.summary());
        }
        Ok(report.holds())
    }
}
