//! Fuel: a count of work that is the same on every machine.

/// Fuel that is plenty for any honest answer and ends a hostile one within milliseconds.
///
/// A unit is about one byte read, one token looked at or one 64-bit limb multiplied. A response of
/// 20,000 tokens costs about 100,000.
pub const DEFAULT_FUEL: u64 = 4_000_000;

/// The fuel ran out before the answers could be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the comparison to take at most {limit} units of fuel, and it needs more")]
pub struct OutOfFuel {
    /// The fuel that was given.
    pub limit: u64,
}

/// What is left of the fuel.
#[derive(Debug)]
pub(crate) struct Fuel {
    limit: u64,
    left: u64,
}

impl Fuel {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, left: limit }
    }

    /// Pays before the work is done, so that work which can't be paid for is never begun.
    pub(crate) fn spend(&mut self, units: u64) -> Result<(), OutOfFuel> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.refuse()),
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.limit - self.left
    }

    /// The error itself, for work whose price does not even fit a `u64`.
    pub(crate) fn refuse(&mut self) -> OutOfFuel {
        self.left = 0;
        OutOfFuel { limit: self.limit }
    }
}
