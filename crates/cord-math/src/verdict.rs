//! The verdict on a response.

use serde::{Deserialize, Serialize};

use crate::announcement::{Found, Rule, Rules, find};
use crate::compare::ListOrder;
use crate::equality::{Ground, equal_within};
use crate::extraction::Start;
use crate::fuel::{Fuel, OutOfFuel};
use crate::language::Language;

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
    /// The answer part has no `\boxed{…}`, and nothing else that the rules look for.
    NoBox,
    /// The box is empty.
    EmptyBox,
    /// The gold answer is empty: a fault of the data set, not of the response.
    EmptyGold,
}

/// How a response is read and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where the response begins.
    pub start: Start,
    /// Where its answer is looked for.
    pub rules: Rules,
    /// The language of the response; gold answers are written as in English.
    pub language: Language,
    /// Whether the order of a list without brackets counts.
    pub order: ListOrder,
    /// The work that a verdict may take; see [`DEFAULT_FUEL`](crate::DEFAULT_FUEL).
    pub fuel: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: Start::Plain,
            rules: Rules::default(),
            language: Language::default(),
            order: ListOrder::default(),
            fuel: crate::DEFAULT_FUEL,
        }
    }
}

/// A verdict with what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// The verdict.
    pub verdict: Verdict,
    /// The answer that was compared, and the rule that found it, where there is one.
    pub found: Option<Found>,
    /// The units of fuel that were used.
    pub fuel: u64,
}

/// Compares the answer in `response` with `gold`, the gold answer as it would stand inside `\boxed{}`.
///
/// Gold and response are not interchangeable: an answer is pulled out of the response only, by
/// [`Rules::Announced`], and the gold answer sets precision and domain.
pub fn verify(gold: &str, response: &str, start: Start, fuel: u64) -> Verdict {
    grade(gold, response, &Settings { start, fuel, ..Settings::default() }).verdict
}

/// [`verify`] with settings, and with the grounds of the verdict.
pub fn grade(gold: &str, response: &str, settings: &Settings) -> Grade {
    let mut fuel = Fuel::new(settings.fuel);
    let mut found = None;
    let verdict = match grade_within(gold, response, settings, &mut found, &mut fuel) {
        Ok(verdict) => verdict,
        Err(OutOfFuel { .. }) => Verdict::OutOfFuel,
    };
    Grade { verdict, found, fuel: fuel.used() }
}

fn grade_within(
    gold: &str,
    response: &str,
    settings: &Settings,
    kept: &mut Option<Found>,
    fuel: &mut Fuel,
) -> Result<Verdict, OutOfFuel> {
    fuel.spend(response.len() as u64)?;
    let mut candidates = match find(response, settings.start, settings.rules, settings.language) {
        Ok(candidates) => candidates.into_iter(),
        Err(why) => return Ok(Verdict::Unparsed { why }),
    };
    if gold.trim().is_empty() {
        return Ok(Verdict::Unparsed { why: Doubt::EmptyGold });
    }
    let Some(first) = candidates.next() else { return Ok(Verdict::Unparsed { why: Doubt::NoBox }) };
    if first.answer.is_empty() {
        return Ok(Verdict::Unparsed { why: Doubt::EmptyBox });
    }
    *kept = Some(first.clone());
    for candidate in std::iter::once(first.clone()).chain(candidates) {
        let given = settings.language.plain_numbers(&candidate.answer);
        if let Some(by) = equal_within(gold, &given, settings.order, fuel)? {
            let by = if candidate.rule == Rule::BoxedTogether { Ground::Convention } else { by };
            *kept = Some(candidate);
            return Ok(Verdict::Correct { by });
        }
    }
    Ok(Verdict::Incorrect { given: first.answer })
}
