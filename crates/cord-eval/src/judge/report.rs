//! What a run of judges shows: counts, agreement, biases.

use std::collections::BTreeMap;
use std::fmt::Write;

use cord_core::{ProblemId, Seed};
use serde::{Deserialize, Serialize};

use super::agreement::{cohen_kappa, fleiss_kappa, krippendorff_alpha};
use super::bias::{self, Bias, Measured};
use super::panel::{Comparison, Judgement, Vote};
use super::rubric::{Mark, Preference, Word};
use crate::interval::{Estimate, Range, mean};
use crate::scores::Scores;

/// What is known of a judged response beside the judges' words; by problem and sample.
pub type Known<T> = BTreeMap<(ProblemId, u32), T>;

/// A coefficient with the number of items that it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Agreement {
    /// The coefficient; absent where there is no variation to agree on.
    pub value: Option<f64>,
    /// Items.
    pub n: u64,
}

/// One judge's column, or the panel's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JudgeColumn {
    /// The judge, or `panel`.
    pub judge: String,
    /// How many of each verdict.
    pub counts: BTreeMap<String, u64>,
    /// Items without a verdict. They are in no share.
    pub unscored: u64,
    /// Of a reference rubric the share of `correct` among verdicts; of a pairwise one the first model's share of wins, ties
    /// counting half.
    pub score: Option<Estimate>,
    /// Cohen's kappa with the verifier: `correct` against anything else.
    pub with_verifier: Option<Agreement>,
    /// Cohen's kappa with people's labels.
    pub with_people: Option<Agreement>,
    /// See [`bias`].
    pub position_bias: Option<Bias>,
    /// See [`bias`].
    pub length_bias: Option<Bias>,
}

/// What a run of judges shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JudgeReport {
    /// The rubric, as `name/version`.
    pub rubric: String,
    /// Items.
    pub items: u64,
    /// Each judge's column, and the panel's where there is more than one.
    pub columns: Vec<JudgeColumn>,
    /// Fleiss' kappa between all judges, over items that all of them scored.
    pub fleiss_kappa: Option<Agreement>,
    /// Krippendorff's alpha between all judges, over items that two of them scored.
    pub krippendorff_alpha: Option<Agreement>,
    /// Cohen's kappa of every two judges, as `first, second`.
    pub cohen_kappa: BTreeMap<String, Agreement>,
}

/// The report of judging beside references. `verified` is the verifier's word, `lengths` those of the responses in characters,
/// `people` labels by people.
pub fn of_judgements(
    rubric: &str,
    judges: &[String],
    judgements: &[Judgement],
    lengths: &Known<usize>,
    verified: &Known<bool>,
    people: &Known<Mark>,
    seed: Seed,
) -> JudgeReport {
    let key = |judgement: &Judgement| (judgement.problem.clone(), judgement.sample);
    let votes = |place: Option<usize>| -> Vec<Vote<Mark>> {
        judgements.iter().map(|j| place.map_or_else(|| j.panel.clone(), |place| j.votes[place].clone())).collect()
    };
    let columns = places(judges).map(|(judge, place)| {
        let votes = votes(place);
        let mut scores = Scores::default();
        let (mut with_verifier, mut with_people, mut measured) = (Vec::new(), Vec::new(), Vec::new());
        for (judgement, vote) in judgements.iter().zip(&votes) {
            let key = key(judgement);
            measured.extend(lengths.get(&key).map(|length| Measured {
                problem: judgement.problem.clone(),
                length: *length,
                verified: verified.get(&key).copied(),
                vote: vote.clone(),
            }));
            let Some(mark) = vote.said() else { continue };
            scores.push(judgement.problem.as_str(), f64::from(u8::from(mark == Mark::Correct)));
            with_verifier.extend(verified.get(&key).map(|right| (mark == Mark::Correct, *right)));
            with_people.extend(people.get(&key).map(|label| (mark, *label)));
        }
        JudgeColumn {
            judge,
            counts: counts(&votes),
            unscored: votes.iter().filter(|vote| vote.said().is_none()).count() as u64,
            score: mean(&[scores], Range::Unit).ok(),
            with_verifier: kappa(&with_verifier),
            with_people: kappa(&with_people),
            position_bias: None,
            length_bias: bias::reference_length(&measured, seed.named("judge")),
        }
    });
    let columns: Vec<JudgeColumn> = columns.collect();
    let rows: Vec<Vec<Option<Mark>>> = judgements.iter().map(|j| j.votes.iter().map(Vote::said).collect()).collect();
    finished(rubric, judges, columns, &rows)
}

/// The report of comparing two models. `alike` says whether the verifier calls both responses the same.
pub fn of_comparisons(
    rubric: &str,
    judges: &[String],
    comparisons: &[Comparison],
    lengths: &Known<[usize; 2]>,
    alike: &Known<bool>,
    people: &Known<Preference>,
) -> JudgeReport {
    let columns = places(judges).map(|(judge, place)| {
        let votes: Vec<Vote<Preference>> =
            comparisons.iter().map(|c| place.map_or_else(|| c.panel.clone(), |place| c.votes[place].clone())).collect();
        let mut scores = Scores::default();
        let mut with_people = Vec::new();
        for (comparison, vote) in comparisons.iter().zip(&votes) {
            let Some(word) = vote.said() else { continue };
            let value = match word {
                Preference::First => 1.0,
                Preference::Tie => 0.5,
                Preference::Second => 0.0,
            };
            scores.push(comparison.problem.as_str(), value);
            with_people
                .extend(people.get(&(comparison.problem.clone(), comparison.sample)).map(|label| (word, *label)));
        }
        let of = |problem: &str, sample: u32| (problem.to_owned(), sample);
        let lengths = |problem: &str, sample| lengths.get(&of(problem, sample)).copied();
        let alike = |problem: &str, sample| alike.get(&of(problem, sample)).copied();
        JudgeColumn {
            judge,
            counts: counts(&votes),
            unscored: votes.iter().filter(|vote| vote.said().is_none()).count() as u64,
            score: mean(&[scores], Range::Unit).ok(),
            with_verifier: None,
            with_people: kappa(&with_people),
            // A panel is asked nothing, so that it has no order.
            position_bias: place.and_then(|place| bias::position(comparisons, place)),
            length_bias: place.and_then(|place| bias::pair_length(comparisons, place, &lengths, &alike)),
        }
    });
    let columns: Vec<JudgeColumn> = columns.collect();
    let rows: Vec<Vec<Option<Preference>>> =
        comparisons.iter().map(|c| c.votes.iter().map(Vote::said).collect()).collect();
    finished(rubric, judges, columns, &rows)
}

/// Every judge with its place, and the panel where there is more than one.
fn places(judges: &[String]) -> impl Iterator<Item = (String, Option<usize>)> {
    let panel = (judges.len() > 1).then(|| ("panel".to_owned(), None));
    judges.iter().enumerate().map(|(place, name)| (name.clone(), Some(place))).chain(panel)
}

fn finished<L: Ord + Copy>(
    rubric: &str,
    judges: &[String],
    columns: Vec<JudgeColumn>,
    rows: &[Vec<Option<L>>],
) -> JudgeReport {
    let several = judges.len() > 1;
    let scored_by = |least: usize| rows.iter().filter(|row| row.iter().flatten().count() >= least).count() as u64;
    let mut pairs = BTreeMap::new();
    for (a, first) in judges.iter().enumerate() {
        for (b, second) in judges.iter().enumerate().skip(a + 1) {
            let both: Vec<(L, L)> = rows.iter().filter_map(|row| Some((row[a]?, row[b]?))).collect();
            pairs.insert(format!("{first}, {second}"), Agreement { value: cohen_kappa(&both), n: both.len() as u64 });
        }
    }
    let fleiss = || Agreement { value: fleiss_kappa(rows), n: scored_by(judges.len()) };
    let alpha = || Agreement { value: krippendorff_alpha(rows), n: scored_by(2) };
    JudgeReport {
        rubric: rubric.to_owned(),
        items: rows.len() as u64,
        columns,
        fleiss_kappa: several.then(fleiss),
        krippendorff_alpha: several.then(alpha),
        cohen_kappa: pairs,
    }
}

fn counts<W: Word>(votes: &[Vote<W>]) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = W::ALL.iter().map(|(_, name)| ((*name).to_owned(), 0)).collect();
    for word in votes.iter().filter_map(Vote::said) {
        *counts.entry(word.name().to_owned()).or_default() += 1;
    }
    counts
}

fn kappa<L: Ord + Copy>(pairs: &[(L, L)]) -> Option<Agreement> {
    (!pairs.is_empty()).then(|| Agreement { value: cohen_kappa(pairs), n: pairs.len() as u64 })
}

impl JudgeReport {
    /// The report as lines of text, shares in percent.
    pub fn text(&self) -> String {
        let mut text = format!("rubric {}: {} items", self.rubric, self.items);
        let percent = |e: &Estimate| format!("{:.1} [{:.1}, {:.1}]", 100.0 * e.value, 100.0 * e.low, 100.0 * e.high);
        let agreement = |a: &Agreement| {
            let value = a.value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
            format!("{value} (n = {})", a.n)
        };
        let mut row =
            |name: &str, value: String| write!(text, "\n  {name:<28} {value}").expect("text takes everything");
        for column in &self.columns {
            row(&column.judge, String::new());
            let counts: Vec<String> = column.counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            row("  verdicts", format!("{}, {} unscored", counts.join(", "), column.unscored));
            if let Some(score) = &column.score {
                row("  score", percent(score));
            }
            for (name, value) in
                [("  kappa with verifier", &column.with_verifier), ("  kappa with people", &column.with_people)]
            {
                if let Some(value) = value {
                    row(name, agreement(value));
                }
            }
            for (name, value) in [("  position bias", &column.position_bias), ("  length bias", &column.length_bias)] {
                if let Some(value) = value {
                    let found = if value.found { "FOUND" } else { "not found" };
                    row(name, format!("{found}: {} (50 without it)", percent(&value.share)));
                }
            }
        }
        for (pair, value) in &self.cohen_kappa {
            row(&format!("kappa of {pair}"), agreement(value));
        }
        for (name, value) in [("Fleiss' kappa", &self.fleiss_kappa), ("Krippendorff's alpha", &self.krippendorff_alpha)]
        {
            if let Some(value) = value {
                row(name, agreement(value));
            }
        }
        text
    }
}
