//! What a manifest of the arithmetic world can have wrong.

use crate::{Kind, PerKind};

/// Why a set or a corpus could not be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MiniError {
    /// The settings are at fault; every fault is listed.
    #[error("{} in the arithmetic world's settings: {}", count(.0.len()), .0.join("; "))]
    Invalid(Vec<String>),
    /// There are not enough different problems.
    #[error("`count`: expected at most about {found} different problems of these lengths and kinds, got `{wanted}`")]
    Exhausted {
        /// How many were asked for.
        wanted: usize,
        /// How many were found before the search was given up.
        found: usize,
    },
}

fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}

/// Gathers faults, so that all are reported at once.
#[derive(Default)]
pub(crate) struct Faults(Vec<String>);

impl Faults {
    pub(crate) fn check(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.0.push(fault());
        }
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.check(count > 0, || format!("`count`: expected at least 1, got `{count}`"));
    }

    pub(crate) fn operations(&mut self, [fewest, most]: [u32; 2], [least, longest]: [u32; 2]) {
        self.check(least <= fewest && fewest <= most && most <= longest, || {
            format!("`operations`: expected a fewest and a most from {least} to {longest}, got `[{fewest}, {most}]`")
        });
    }

    pub(crate) fn share(&mut self, key: &str, share: f64) {
        self.check((0.0..=1.0).contains(&share), || format!("`{key}`: expected a share from 0 to 1, got `{share}`"));
    }

    pub(crate) fn reliability(&mut self, key: &str, reliability: &PerKind) {
        for kind in Kind::ALL {
            self.share(&format!("{key}.{}", kind.name()), reliability.of(kind));
        }
    }

    pub(crate) fn weights(&mut self, key: &str, weights: &[f64]) {
        let usable = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
        // An infinite sum would draw nothing but the last.
        let sum = weights.iter().sum::<f64>();
        self.check(usable && sum > 0.0 && sum.is_finite(), || {
            format!("`{key}`: expected finite weights of at least 0, not all 0, got `{weights:?}`")
        });
    }

    pub(crate) fn finish(self) -> Result<(), MiniError> {
        if self.0.is_empty() { Ok(()) } else { Err(MiniError::Invalid(self.0)) }
    }
}
