//! When the requests of an open loop arrive: on a clock that no answer moves.

use std::time::Duration;

/// Evenly spaced arrivals.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: f64,
    warm_up: Duration,
    end: End,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// So long after the warm-up.
    After(Duration),
    /// With so many requests that count.
    Requests(u64),
}

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// From the start of the run, the warm-up included.
    pub at: Duration,
    /// Whether the warm-up was over.
    pub counted: bool,
}

impl Schedule {
    /// The arrivals of one run.
    pub fn new(rate: f64, warm_up: Duration, end: End) -> Self {
        Self { rate, warm_up, end }
    }

    /// The arrival of request `n`, or none when the run is over. Each is computed from
    /// its number, never from the one before it, so that no error adds up.
    pub fn arrival(&self, n: u64) -> Option<Arrival> {
        let at = Duration::from_secs_f64(n as f64 / self.rate);
        let counted = at >= self.warm_up;
        let over = match self.end {
            End::After(duration) => at >= self.warm_up + duration,
            End::Requests(requests) => n >= self.first_counted() + requests,
        };
        (!over).then_some(Arrival { at, counted })
    }

    fn first_counted(&self) -> u64 {
        let mut first = (self.warm_up.as_secs_f64() * self.rate).floor() as u64;
        while Duration::from_secs_f64(first as f64 / self.rate) < self.warm_up {
            first += 1;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(schedule: Schedule) -> (u64, u64) {
        let all: Vec<Arrival> = (0..).map_while(|n| schedule.arrival(n)).collect();
        let counted = all.iter().filter(|arrival| arrival.counted).count();
        (all.len() as u64, counted as u64)
    }

    #[test]
    fn the_rate_is_kept_without_drift() {
        let schedule = Schedule::new(3.0, Duration::ZERO, End::After(Duration::from_secs(3600)));
        assert_eq!(counted(schedule), (10_800, 10_800));
        let at = schedule.arrival(9_000).expect("an arrival").at;
        assert_eq!(at, Duration::from_secs(3000));
    }

    #[test]
    fn the_warm_up_comes_on_top() {
        let warm_up = Duration::from_secs(3);
        let by_time = Schedule::new(7.0, warm_up, End::After(Duration::from_secs(10)));
        assert_eq!(counted(by_time), (91, 70));
        for rate in [0.3, 1.0, 7.0, 333.3, 10_000.0] {
            let by_number = Schedule::new(rate, warm_up, End::Requests(40));
            assert_eq!(counted(by_number).1, 40, "{rate}");
        }
    }
}
