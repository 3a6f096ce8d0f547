//! Numbers that look random and are the same on every run.
//!
//! Each request derives its own generator from the seed and its number, so that what
//! is sent does not depend on which client sends it, or when.

use fastrand::Rng;

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(Rng);

impl Random {
    /// The generator of one thing, by the seed of the run and the thing's number.
    pub fn new(seed: u64, number: u64) -> Self {
        // An odd factor: other numbers are other seeds.
        Self(Rng::with_seed(
            seed ^ number.wrapping_mul(0xd134_2543_de82_ef95),
        ))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(..bound.max(1))
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}
