//! The verdict on a response.

use serde::{Deserialize, Serialize};

use crate::equality::{Ground, equal_within};
use crate::extraction::{Extraction, Start, extract};
use crate::fuel::{Fuel, OutOfFuel};

/// Is the response's answer the gold answer?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It is.
    Correct {
        /// What the verdict rests on.
        by: Ground,
    },
    /// An answer was given, and it is not equal as far as this crate can tell.
    Incorrect {
        /// The answer as it was written.
        given: String,
    },
    /// No answer could be read.
    Unparsed {
        /// Why not.
        why: Doubt,
    },
    /// The comparison was not finished, so nothing is known.
    OutOfFuel,
}

impl Verdict {
    /// Was the answer found equal to the gold answer?
    pub fn is_correct(&self) -> bool {
        matches!(self, Self::Correct { .. })
    }
}

/// Why no answer could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// The reasoning block never closes.
    UnclosedThink,
    /// The last `\boxed{` never closes.
    UnclosedBox,
    /// The answer part has no `\boxed{…}`.
    NoBox,
    /// The box is empty.
    EmptyBox,
    /// The gold answer is empty: a fault of the data set, not of the response.
    EmptyGold,
}

/// Compares the answer in `response` with `gold`, the gold answer as it would stand inside `\boxed{}`.
///
/// Gold and response are not interchangeable: an answer is pulled out of the response only.
pub fn verify(gold: &str, response: &str, start: Start, fuel: u64) -> Verdict {
    let mut fuel = Fuel::new(fuel);
    match verify_within(gold, response, start, &mut fuel) {
        Ok(verdict) => verdict,
        Err(OutOfFuel { .. }) => Verdict::OutOfFuel,
    }
}

fn verify_within(gold: &str, response: &str, start: Start, fuel: &mut Fuel) -> Result<Verdict, OutOfFuel> {
    fuel.spend(response.len() as u64)?;
    let given = match extract(response, start) {
        Extraction::Boxed(given) => given,
        Extraction::UnclosedThink => return Ok(Verdict::Unparsed { why: Doubt::UnclosedThink }),
        Extraction::UnclosedBox => return Ok(Verdict::Unparsed { why: Doubt::UnclosedBox }),
        Extraction::Missing => return Ok(Verdict::Unparsed { why: Doubt::NoBox }),
    };
    if gold.trim().is_empty() {
        return Ok(Verdict::Unparsed { why: Doubt::EmptyGold });
    }
    if given.is_empty() {
        return Ok(Verdict::Unparsed { why: Doubt::EmptyBox });
    }
    Ok(match equal_within(gold, &given, fuel)? {
        Some(by) => Verdict::Correct { by },
        None => Verdict::Incorrect { given },
    })
}
