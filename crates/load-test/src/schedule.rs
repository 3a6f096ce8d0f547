//! When the requests of an open loop arrive: on a clock that no answer moves.
//!
//! Independent people make a Poisson process: gaps between arrivals are exponential,
//! and requests come in clumps, which is what queues are made of. Evenly spaced arrivals
//! never queue below capacity and flatter a service; they are there to see it alone.

use std::time::Duration;

use clap::ValueEnum;

use crate::random::Random;

/// Keeps gaps apart from whatever else is derived from the seed and the number.
const GAPS: u64 = 0x6172_7269_7661_6c73;

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// At random, as independent clients arrive: exponential gaps.
    Poisson,
    /// Each so long after the last.
    Even,
}

impl Arrivals {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poisson => "Poisson",
            Self::Even => "even",
        }
    }
}

/// Arrivals without end, each as the time from the start of the run.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate: f64,
    arrivals: Arrivals,
    seed: u64,
    number: u64,
    since: u64,
    at_s: f64,
}

impl Schedule {
    /// So many requests a second. The gaps come from the seed and the requests' numbers,
    /// of which `first` is the first: the same on every run and against every service.
    pub fn new(rate: f64, arrivals: Arrivals, seed: u64, first: u64) -> Self {
        Self {
            rate,
            arrivals,
            seed: seed ^ GAPS,
            number: first,
            since: 0,
            at_s: 0.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        match self.arrivals {
            // From its number and not from the one before, so that no error adds up.
            Arrivals::Even => self.at_s = self.since as f64 / self.rate,
            Arrivals::Poisson => {
                let unit = Random::new(self.seed, self.number).unit();
                self.at_s -= (1.0 - unit).ln() / self.rate;
            }
        }
        self.number += 1;
        self.since += 1;
        Some(Duration::from_secs_f64(self.at_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(schedule: Schedule, number: usize) -> Vec<f64> {
        let at: Vec<f64> = schedule.take(number).map(|at| at.as_secs_f64()).collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn even_arrivals_keep_the_rate_without_drift() {
        let schedule = Schedule::new(3.0, Arrivals::Even, 1, 77);
        let hour = Duration::from_secs(3600);
        assert_eq!(schedule.clone().take_while(|at| *at < hour).count(), 10_800);
        assert_eq!(schedule.clone().nth(9_000), Some(Duration::from_secs(3000)));
    }

    #[test]
    fn poisson_arrivals_have_exponential_gaps() {
        let gaps = gaps(Schedule::new(50.0, Arrivals::Poisson, 1, 0), 100_000);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((0.0196..0.0204).contains(&mean), "{mean}");
        // Of an exponential law the deviation is the mean, and a share of 1/e is longer.
        let square = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
        let deviation = (square / gaps.len() as f64).sqrt();
        assert!((0.98..1.02).contains(&(deviation / mean)), "{deviation}");
        let longer = gaps.iter().filter(|gap| **gap > mean).count() as f64;
        let share = longer / gaps.len() as f64;
        assert!((0.362..0.374).contains(&share), "{share}");
        // One gap says nothing of the next.
        let together: f64 = gaps.windows(2).map(|g| (g[0] - mean) * (g[1] - mean)).sum();
        assert!((together / square).abs() < 0.02);
    }

    #[test]
    fn the_seed_and_the_number_are_the_arrival() {
        let poisson = |seed, first| gaps(Schedule::new(9.0, Arrivals::Poisson, seed, first), 50);
        assert_eq!(poisson(5, 0), poisson(5, 0));
        assert_ne!(poisson(5, 0), poisson(6, 0));
        let (all, later) = (poisson(5, 0), poisson(5, 10));
        assert!((all[20] - later[10]).abs() < 1e-8);
    }
}
