//! Which shards are whose: every N-th one.

use std::fmt;
use std::str::FromStr;

use crate::options::PartitionOptions;

/// Why there is no such part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// It is not written as one.
    #[error("it must be a part and a number of parts, such as 0/4")]
    Unwritten,
    /// There are fewer parts.
    #[error("there is no part {index} of {count}: the first is 0")]
    Missing {
        /// The part.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// It is not said how many parts there are.
    #[error(
        "--shard-index (JOB_COMPLETION_INDEX) says which part to do, but not of how many: give \
         --shard-count (JOB_COMPLETIONS), the job's completions"
    )]
    NoCount,
    /// It is not said which part is to be done.
    #[error(
        "--shard-count (JOB_COMPLETIONS) says how many parts there are, but not which to do: give \
         --shard-index (JOB_COMPLETION_INDEX)"
    )]
    NoIndex,
}

/// Part `index` of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 0.
    pub index: u64,
    /// At least 1.
    pub count: u64,
}

impl Partition {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The part that the settings say.
    ///
    /// # Errors
    ///
    /// When they say half of it.
    pub fn of(options: &PartitionOptions) -> Result<Self, PartitionError> {
        match (options.shard, options.shard_index, options.shard_count) {
            (Some(partition), _, _) => Ok(partition),
            (None, None, None | Some(1)) => Ok(Self::WHOLE),
            (None, Some(index), Some(count)) => Self { index, count }.checked(),
            (None, Some(_), None) => Err(PartitionError::NoCount),
            (None, None, Some(_)) => Err(PartitionError::NoIndex),
        }
    }

    /// Whether a shard is in it.
    pub fn has(self, shard: usize) -> bool {
        shard as u64 % self.count == self.index
    }

    fn checked(self) -> Result<Self, PartitionError> {
        let Self { index, count } = self;
        if index < count {
            Ok(self)
        } else {
            Err(PartitionError::Missing { index, count })
        }
    }
}

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        let parts = text.trim().split_once('/');
        parts
            .and_then(|(index, count)| {
                let (index, count) = (index.parse().ok()?, count.parse().ok()?);
                Some(Self { index, count })
            })
            .ok_or(PartitionError::Unwritten)?
            .checked()
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_in_one_part() {
        let parts: Vec<Partition> = ["0/3", "1/3", "2/3"].map(|it| it.parse().unwrap()).into();
        for shard in 0..10 {
            assert_eq!(parts.iter().filter(|part| part.has(shard)).count(), 1);
        }
        for wrong in ["3/3", "0/0", "1", "a/b", "-1/2", ""] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn half_of_what_a_job_says_is_refused() {
        let of = |shard_index, shard_count| {
            Partition::of(&PartitionOptions {
                shard: None,
                shard_index,
                shard_count,
            })
        };
        assert_eq!(of(None, None), Ok(Partition::WHOLE));
        assert_eq!(of(Some(1), Some(2)).unwrap().to_string(), "1/2");
        let error = of(Some(1), None).unwrap_err();
        assert_eq!(error, PartitionError::NoCount);
        assert!(error.to_string().contains("JOB_COMPLETIONS"));
        assert_eq!(of(None, Some(2)), Err(PartitionError::NoIndex));
        let missing = PartitionError::Missing { index: 2, count: 2 };
        assert_eq!(of(Some(2), Some(2)), Err(missing));
    }
}
