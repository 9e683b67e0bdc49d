//! The report of one model on one benchmark.

use std::collections::BTreeMap;

use cord_core::{Outcome, Problem, Seed};
use serde::{Deserialize, Serialize};

use crate::benchmark::Benchmark;
use crate::error::StatsError;
use crate::interval::{Estimate, Range, mean};
use crate::label::{Labelled, macro_f1_interval};
use crate::majority::majority;
use crate::power::{independent_variance, problems_needed};
use crate::sample::{Sample, SampleState};
use crate::scores::Scores;
use crate::tally::Tally;
use crate::verifier::Verifier;

/// The difference that [`BenchmarkReport::problems_for_two_points`] is about.
const TWO_POINTS: f64 = 0.02;

/// Generated tokens of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenLengths {
    /// The mean.
    pub mean: f64,
    /// Half of the samples have at most this many.
    pub median: u64,
    /// 95 % of the samples have at most this many.
    pub p95: u64,
    /// The longest.
    pub most: u64,
}

/// What a benchmark's samples show. Every share and score is in `[0, 1]`, with its 95 % interval clustered by problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BenchmarkReport {
    /// The benchmark.
    pub benchmark: String,
    /// Its version.
    pub version: u32,
    /// Problems with a sample.
    pub problems: u64,
    /// What became of the samples.
    pub tally: Tally,
    /// pass@1: the mean over problems of the share of right samples. Absent where every sample failed.
    pub accuracy: Option<Estimate>,
    /// The unbiased pass@k, for every power of two up to the least number of samples of a problem, and that number.
    pub pass_at: BTreeMap<u32, Estimate>,
    /// The share of problems whose most frequent answer is right; with three samples and more.
    pub majority: Option<Estimate>,
    /// The verifier's further measures.
    pub marks: BTreeMap<String, Estimate>,
    /// The macro-averaged F1, where answers are labels.
    pub macro_f1: Option<Estimate>,
    /// Generated tokens.
    pub tokens: TokenLengths,
    /// How many problems it takes to see two points between two such models that err independently, at 5 % with 80 % power.
    /// Absent where all problems have one score: no variance says how much there is.
    pub problems_for_two_points: Option<u64>,
}

/// Makes the report. `problems` are those that were asked; `seed` draws the intervals that have no closed form.
pub fn report(
    benchmark: &Benchmark,
    problems: &[Problem],
    outcomes: &[Outcome<Sample>],
    fuel: u64,
    seed: Seed,
) -> Result<BenchmarkReport, StatsError> {
    let samples: Vec<&Sample> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Done(sample) => Some(sample),
            Outcome::Failed { .. } => None,
        })
        .collect();
    let scores = Scores::correct(outcomes);
    let estimate = |scores: &Scores| match mean(std::slice::from_ref(scores), Range::Unit) {
        Ok(estimate) => Ok(Some(estimate)),
        Err(StatsError::TooFewProblems { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let fewest = scores.fewest();
    let mut pass_at = BTreeMap::new();
    let powers = std::iter::successors(Some(1u32), |k| k.checked_mul(2)).take_while(|k| *k <= fewest);
    for k in powers.chain((fewest > 0).then_some(fewest)) {
        pass_at.extend(estimate(&scores.pass_at(k)?)?.map(|estimate| (k, estimate)));
    }
    let mut marks: BTreeMap<&str, Scores> = BTreeMap::new();
    for sample in &samples {
        // What a sample that ran out of tokens says is no answer, for this measure no more than for another.
        let counts = sample.finish != cord_core::Finish::Length;
        for (name, value) in &sample.marks {
            marks.entry(name).or_default().push(sample.problem.as_str(), if counts { *value } else { 0.0 });
        }
    }
    // A sample whose text could not be looked at has no marks: it counts as 0 beside those that have.
    for scores in marks.values_mut() {
        for sample in samples.iter().filter(|sample| sample.marks.is_empty()) {
            scores.push(sample.problem.as_str(), 0.0);
        }
    }
    let marks: Vec<(String, Option<Estimate>)> = marks
        .into_iter()
        .map(|(name, scores)| Ok((name.to_owned(), estimate(&scores)?)))
        .collect::<Result<_, StatsError>>()?;
    let majority_score = if fewest >= 3 { estimate(&majority(outcomes, fuel))? } else { None };
    Ok(BenchmarkReport {
        benchmark: benchmark.name.clone(),
        version: benchmark.version.get(),
        problems: scores.problems() as u64,
        tally: outcomes.iter().collect(),
        accuracy: estimate(&scores)?,
        pass_at,
        majority: majority_score,
        marks: marks.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        macro_f1: labels(benchmark, problems, &samples, seed),
        tokens: lengths(&samples),
        problems_for_two_points: independent_variance(&scores)
            .ok()
            .filter(|variance| *variance > 0.0)
            .map(|variance| problems_needed(variance, TWO_POINTS)),
    })
}

fn labels(benchmark: &Benchmark, problems: &[Problem], samples: &[&Sample], seed: Seed) -> Option<Estimate> {
    let Verifier::Label { .. } = benchmark.verifier else { return None };
    let gold: BTreeMap<&str, &str> = problems.iter().map(|p| (p.id.as_str(), p.answer.as_str())).collect();
    let answer = |sample: &&'_ Sample| matches!(sample.state(), SampleState::Correct | SampleState::Incorrect);
    let answers: Vec<Labelled<'_>> = samples
        .iter()
        .filter_map(|sample| {
            let given = if answer(sample) { sample.extracted.as_deref() } else { None };
            Some((sample.problem.as_str(), *gold.get(sample.problem.as_str())?, given))
        })
        .collect();
    macro_f1_interval(&answers, seed)
}

fn lengths(samples: &[&Sample]) -> TokenLengths {
    let mut tokens: Vec<u64> = samples.iter().map(|sample| sample.usage.generated_tokens).collect();
    tokens.sort_unstable();
    let Some(most) = tokens.last().copied() else { return TokenLengths::default() };
    // The least number that so large a share does not exceed.
    let at = |share: f64| tokens[((share * tokens.len() as f64).ceil() as usize).max(1) - 1];
    TokenLengths { mean: tokens.iter().sum::<u64>() as f64 / tokens.len() as f64, median: at(0.5), p95: at(0.95), most }
}

impl BenchmarkReport {
    /// The report as lines of text, shares in percent.
    pub fn text(&self) -> String {
        let percent = |e: &Estimate| format!("{:.1} [{:.1}, {:.1}]", 100.0 * e.value, 100.0 * e.low, 100.0 * e.high);
        let mut lines = vec![format!(
            "{} (version {}): {} problems, {} samples",
            self.benchmark, self.version, self.problems, self.tally.samples
        )];
        let mut row = |name: &str, value: String| lines.push(format!("  {name:<24} {value}"));
        match &self.accuracy {
            Some(accuracy) => row("pass@1", percent(accuracy)),
            None => row("pass@1", "– (every sample failed)".to_owned()),
        }
        for (k, estimate) in self.pass_at.iter().filter(|(k, _)| **k > 1) {
            row(&format!("pass@{k}"), percent(estimate));
        }
        if let Some(estimate) = &self.majority {
            row(&format!("majority@{}", self.pass_at.keys().next_back().copied().unwrap_or(1)), percent(estimate));
        }
        for (name, estimate) in
            self.marks.iter().map(|(n, e)| (n.as_str(), e)).chain(self.macro_f1.iter().map(|e| ("macro-f1", e)))
        {
            row(name, percent(estimate));
        }
        for (name, state) in [
            ("truncated", SampleState::Truncated),
            ("unclosed-think", SampleState::UnclosedThink),
            ("unparsed", SampleState::Unparsed),
            ("out-of-fuel", SampleState::OutOfFuel),
        ] {
            row(name, format!("{:.1}", 100.0 * self.tally.share(state).unwrap_or(0.0)));
        }
        row("unscored (failed)", format!("{} of {}", self.tally.failed, self.tally.failed + self.tally.samples));
        let TokenLengths { mean, median, p95, most } = self.tokens;
        row("tokens", format!("mean {mean:.0}, median {median}, p95 {p95}, most {most}"));
        if let Some(needed) = self.problems_for_two_points {
            row("to see 2 points", format!("{needed} problems, if two such models err independently"));
        }
        lines.join("\n")
    }
}
