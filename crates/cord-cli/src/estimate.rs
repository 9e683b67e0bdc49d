//! What the stages of a plan that are not done yet would cost.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Context, Result};
use cord_core::Digest;
use cord_recipe::{
    DpoStage, Estimate, EvalStage, EvaluatedModel, Expected, Facts, Plan, Recipe, RunSettings, Span, StageKind,
    StageSettings, StageSpec, TrainData, TrainStage,
};
use cord_store::Store;

use crate::datasets;
use crate::plan::State;

/// The estimates of a plan's stages.
pub(crate) struct Estimates<'a> {
    run: &'a RunSettings,
    /// By key, in the plan's order, with the stage's label.
    stages: Vec<(Digest, String, Estimate)>,
    /// The labels of stages that nothing can be said of: how many problems they are about is not known here.
    unknown: Vec<String>,
}

impl<'a> Estimates<'a> {
    pub(crate) fn of(recipe: &'a Recipe, plan: &Plan, store: &Store) -> Result<Self> {
        let (mut stages, mut unknown) = (Vec::new(), Vec::new());
        let counts = Counts { run: &recipe.run, plan, store };
        for stage in &plan.stages {
            if stage.kind == StageKind::Table || State::of(store, stage)? == State::Done {
                continue;
            }
            let Some(facts) = counts.facts(stage)? else {
                unknown.push(stage.label());
                continue;
            };
            stages.extend(stage.estimate(&facts, &recipe.run).map(|estimate| (stage.key, stage.label(), estimate)));
        }
        Ok(Self { run: &recipe.run, stages, unknown })
    }

    pub(crate) fn stage(&self, key: Digest) -> Option<&Estimate> {
        self.stages.iter().find(|(known, _, _)| *known == key).map(|(_, _, estimate)| estimate)
    }

    pub(crate) fn sum(&self) -> Estimate {
        Estimate::sum(self.stages.iter().map(|(_, _, estimate)| estimate), self.run)
    }

    pub(crate) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// A table with a line for each stage, the sum, and what it goes by. Nothing where nothing is to run.
    pub(crate) fn text(&self) -> Result<String> {
        let mut text = String::new();
        if !self.stages.is_empty() {
            let sum = self.sum();
            let mut lines: Vec<(&str, &Estimate)> =
                self.stages.iter().map(|(_, label, estimate)| (label.as_str(), estimate)).collect();
            lines.push(("sum", &sum));
            text += "estimate of what is to run, expected (at most):\n";
            text += &table(&lines, &sum);
            for (what, missing) in self.without(&sum) {
                writeln!(text, "  {what} for {missing}")?;
            }
            writeln!(text, "  {}", Self::assumptions(&self.run.expected))?;
        }
        if !self.unknown.is_empty() {
            let unknown = self.unknown.join("; ");
            writeln!(text, "no estimate, for the number of problems is not known until the data is here: {unknown}")?;
        }
        Ok(text)
    }

    /// What is needed for GPU-hours and for costs, where some of it is there.
    fn without(&self, sum: &Estimate) -> Vec<(&'static str, String)> {
        let lacking = |known: BTreeSet<&String>| {
            let models = sum.models.keys().filter(|name| !known.contains(name));
            models.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let mut found = Vec::new();
        if sum.gpu_hours.is_none() && !self.run.rates.is_empty() {
            found.push(("GPU-hours need `[run.rates]` of all that is done,", lacking(self.run.rates.keys().collect())));
        }
        if sum.cost.is_none() && !self.run.prices.is_empty() {
            found.push(("a cost needs `[run.prices]` of all that is done,", lacking(self.run.prices.keys().collect())));
        }
        found.retain(|(_, models)| !models.is_empty());
        found
    }

    /// What the numbers go by, in words.
    pub(crate) fn assumptions(expected: &Expected) -> String {
        let of = |given: Option<u32>, guess: &str| given.map_or_else(|| guess.to_owned(), |tokens| tokens.to_string());
        format!(
            "expected: tokens of a question {}, a gold answer {}, a step {}, reasoning {}, an answer {}, a response {} \
             (`[run.expected]`); at most: every step as long as its budget, every beam open to the last step, every response cut off",
            of(expected.question, "200"),
            of(expected.gold, "8"),
            of(expected.step, "a quarter of its budget"),
            of(expected.reasoning, "half its budget"),
            of(expected.answer, "half its budget"),
            of(expected.response, "half its budget"),
        )
    }
}

/// Finds what a plan does not hold.
struct Counts<'a> {
    run: &'a RunSettings,
    plan: &'a Plan,
    store: &'a Store,
}

impl Counts<'_> {
    fn facts(&self, stage: &StageSpec) -> Result<Option<Facts>> {
        let problems = |of: &StageSpec| of.input(StageKind::Problems).map_or(Ok(None), |key| self.problems(key));
        let trajectories = |of: &StageSpec| {
            let generate = of.input(StageKind::Generate).and_then(|key| self.plan.stage(key));
            generate.and_then(|stage| match &stage.settings {
                StageSettings::Generate(settings) => {
                    let tokens = settings.budget.reasoning.saturating_add(settings.budget.answer);
                    Some((settings.search.select(), tokens))
                }
                _ => None,
            })
        };
        Ok(match &stage.settings {
            StageSettings::Problems(_) | StageSettings::Table(_) => Some(Facts::default()),
            StageSettings::Generate(_) => problems(stage)?.map(|problems| Facts { problems, ..Facts::default() }),
            StageSettings::Train(TrainStage { data: TrainData::Rows { source, limit }, .. }) => {
                datasets::row_count(source, *limit, &datasets::data_folder(self.run))?
                    .map(|problems| Facts { problems, ..Facts::default() })
            }
            StageSettings::Measure(_) | StageSettings::Train(_) => {
                let found = problems(stage)?.zip(trajectories(stage));
                found.map(|(problems, (trajectories, trajectory_tokens))| Facts {
                    problems,
                    trajectories,
                    trajectory_tokens,
                    ..Facts::default()
                })
            }
            StageSettings::Dpo(_) => {
                let student = self.student(stage).unwrap_or_default();
                let pairs = stage.input(StageKind::Generate).and_then(|key| self.plan.stage(key));
                let pairs = pairs.and_then(|stage| match &stage.settings {
                    StageSettings::Generate(settings) => Some(settings.most_pairs()),
                    _ => None,
                });
                let found = problems(stage)?.zip(trajectories(stage)).zip(pairs);
                found.map(|((problems, (trajectories, trajectory_tokens)), pairs)| Facts {
                    problems,
                    trajectories,
                    trajectory_tokens,
                    pairs,
                    student,
                    ..Facts::default()
                })
            }
            StageSettings::Judge(_) => {
                let eval = stage.input(StageKind::Eval).and_then(|key| self.plan.stage(key));
                eval.map_or(Ok(None), |eval| self.facts(eval))?
            }
            StageSettings::Eval(eval) => {
                let (samples, max_tokens) = self.budget(stage, eval)?;
                let student = self.student(stage).unwrap_or_default();
                problems(stage)?.map(|problems| Facts { problems, samples, max_tokens, student, ..Facts::default() })
            }
        })
    }

    fn problems(&self, key: Digest) -> Result<Option<u64>> {
        if let Some(folder) = self.store.find(StageKind::Problems.name(), key)? {
            return Ok(folder.manifest().summary["problems"].as_u64());
        }
        match self.plan.stage(key).map(|stage| &stage.settings) {
            Some(StageSettings::Problems(settings)) => {
                datasets::count(&settings.source, settings.limit, &datasets::data_folder(self.run))
            }
            _ => Ok(None),
        }
    }

    /// Samples and tokens of an evaluation: its own, or the benchmark's.
    fn budget(&self, stage: &StageSpec, eval: &EvalStage) -> Result<(u32, u32)> {
        let problems = stage.input(StageKind::Problems).and_then(|key| self.plan.stage(key));
        let benchmark = match problems.map(|stage| &stage.settings) {
            Some(StageSettings::Problems(settings)) => datasets::benchmark(&settings.source)?,
            _ => None,
        };
        let budget = benchmark.map(|benchmark| benchmark.budget);
        let samples = eval.samples.or(budget.as_ref().map(|budget| budget.samples.get()));
        let tokens = eval.max_tokens.or(budget.as_ref().map(|budget| budget.max_tokens.get()));
        samples.zip(tokens).with_context(|| format!("expected samples and tokens of `{}`, got none", eval.benchmark))
    }

    /// The model that a student began as, which stages that take the student up name its work by.
    fn student(&self, stage: &StageSpec) -> Option<String> {
        let made = stage.student().and_then(|input| self.plan.stage(input.key))?;
        match &made.settings {
            StageSettings::Train(train) => Some(train.student.name.clone()),
            StageSettings::Dpo(DpoStage { student: EvaluatedModel::Given(model), .. }) => Some(model.name.clone()),
            StageSettings::Dpo(_) => self.student(made),
            _ => None,
        }
    }
}

/// A column: its heading, and its value of an estimate.
type Show = (&'static str, fn(&Estimate) -> Option<Span>, usize);

fn table(lines: &[(&str, &Estimate)], sum: &Estimate) -> String {
    let columns: [Show; 6] = [
        ("requests", |one| Some(one.total.requests), 0),
        ("generated tokens", |one| Some(one.total.generated), 0),
        ("scored tokens", |one| Some(one.total.scored), 0),
        ("trained tokens", |one| Some(one.total.trained), 0),
        ("GPU-hours", |one| one.gpu_hours, 1),
        ("cost", |one| one.cost, 2),
    ];
    let shown: Vec<&Show> = columns.iter().filter(|(_, of, _)| of(sum).is_some_and(|span| span.most > 0.0)).collect();
    let mut rows: Vec<Vec<String>> = vec![shown.iter().map(|(heading, _, _)| (*heading).to_owned()).collect()];
    for (_, estimate) in lines {
        let cell = |(_, of, digits): &&Show| of(estimate).map_or_else(|| "–".to_owned(), |span| spanned(span, *digits));
        rows.push(shown.iter().map(cell).collect());
    }
    let first = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..shown.len()).map(|place| rows.iter().map(|row| row[place].chars().count()).max().unwrap_or(0)).collect();
    let labels = std::iter::once("").chain(lines.iter().map(|(label, _)| *label));
    let mut text = String::new();
    for (label, row) in labels.zip(&rows) {
        let mut line = format!("  {label:<first$}");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str("  ");
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            line.push_str(cell);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// `1,200 (4,800)`; one number where both are the same.
fn spanned(span: Span, digits: usize) -> String {
    let number = |value: f64| grouped(value, digits);
    let (expected, most) = (number(span.expected), number(span.most));
    if expected == most { expected } else { format!("{expected} ({most})") }
}

/// A number with thousands separators.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let check = |value: f64, digits: usize, expected: &str| assert_eq!(grouped(value, digits), expected);
        check(0.0, 0, "0");
        check(999.4, 0, "999");
        check(1234.5, 1, "1,234.5");
        check(12_345_678.0, 0, "12,345,678");
        assert_eq!(spanned(Span { expected: 10.0, most: 10.2 }, 0), "10");
        assert_eq!(spanned(Span { expected: 1500.0, most: 20_000.0 }, 0), "1,500 (20,000)");
    }
}
