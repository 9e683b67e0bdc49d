//! A recipe's finished stages to a table.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use cord_core::{Digest, Finish, Problem, Seed, Trajectory, TrajectoryEnd};
use cord_eval::judge::Mark;
use cord_eval::{
    BenchmarkReport, Collaboration, Estimate, Range, Scores, StatsError, TrajectoryMeasures, mean, paired_difference,
};
use cord_math::DEFAULT_FUEL;
use cord_recipe::{
    BenchmarkStage, Column as Wanted, EvalMetric, Normalise, Plan, Recipe, Scorer, StageKind, StageSettings, TableRow,
    TrajectoryMetric,
};
use cord_report::{
    CollaborationFigure, Column, Draft, Expectation, Format, Metric, Pair, Paper, PaperMap, Row, Table, judge_orders,
};
use cord_store::{SampleRow, Store, read_jsonl, samples_from_parquet, trajectories_from_parquet};

use crate::accounts::money;
use crate::eval::REPORT;
use crate::judge::{self, JUDGEMENTS};
use crate::measure::Measure;
use crate::{machine, run};

/// One arm under one seed: values for each problem by column, and sums.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) scores: BTreeMap<String, Scores>,
    numbers: BTreeMap<String, f64>,
}

/// An arm's values, one for each seed.
pub(crate) type ByArm = BTreeMap<String, Vec<Measured>>;

/// The table of a plan whose stages are all finished.
pub(crate) fn of(recipe: &Recipe, plan: &Plan, store: &Store, figure: Option<&CollaborationFigure>) -> Result<Table> {
    let arms = measured(recipe, plan, store)?;
    let mut draft = Draft {
        title: recipe.table.title.clone(),
        recipe: cord_report::Recipe { name: recipe.name.clone(), digest: plan.digest },
        commit: machine::commit().unwrap_or_else(|| "unknown".to_owned()),
        machine: machine::describe(),
        paper: None,
        subject: None,
        columns: recipe.table.columns.iter().map(column).collect(),
        rows: Vec::new(),
        orders: Vec::new(),
        notes: notes(recipe, figure),
    };
    for arm in &recipe.arms {
        draft.rows.push(Row { arm: arm.name.clone(), metrics: metrics(&arms[arm.name.as_str()])?, ..Row::default() });
    }
    let expectations: Vec<Expectation> = recipe
        .table
        .orders
        .iter()
        .map(|order| Expectation { metric: order.metric.to_string(), order: order.order.clone() })
        .collect();
    let mut paired = BTreeMap::new();
    for pair in expectations.iter().flat_map(Expectation::pairs) {
        if let Some(difference) = difference(&arms, &pair)? {
            paired.insert(pair, difference);
        }
    }
    draft.orders = judge_orders(&expectations, &draft.rows, &paired);
    if let Some(id) = &recipe.table.paper {
        let settings = &recipe.table;
        let map = PaperMap { rows: settings.paper_rows.clone(), columns: settings.paper_columns.clone() };
        Paper::published().put_beside(id, &mut draft, &map)?;
    }
    Ok(draft.finish()?)
}

/// The stages of each arm under each seed.
pub(crate) fn rows(plan: &Plan) -> &[TableRow] {
    let rows = plan.stages.iter().find_map(|stage| match &stage.settings {
        StageSettings::Table(table) => Some(table.rows.as_slice()),
        _ => None,
    });
    rows.unwrap_or_default()
}

/// What the finished stages of a plan say of each arm.
pub(crate) fn measured(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<ByArm> {
    let mut arms = ByArm::new();
    for row in rows(plan) {
        arms.entry(row.arm.clone()).or_default().push(measure(recipe, plan, store, row)?);
    }
    Ok(arms)
}

/// The same table without what depends on the clock or on prices: equal bytes from equal runs.
pub(crate) fn without_seconds(table: &Table) -> Result<Table> {
    let mut draft = table.clone().into_draft();
    // A cost may be one of seconds, and depends on a price that is in no key.
    let costs = [Wanted::Cost, Wanted::CostPerTrajectory].map(|column| column.to_string());
    let timed =
        |key: &str| key.starts_with("seconds") || key.ends_with(".seconds") || costs.iter().any(|cost| cost == key);
    draft.columns.retain(|column| !timed(&column.key));
    draft.rows.iter_mut().for_each(|row| row.metrics.retain(|key, _| !timed(key)));
    Ok(draft.finish()?)
}

fn notes(recipe: &Recipe, figure: Option<&CollaborationFigure>) -> Vec<String> {
    let seeds: Vec<String> = recipe.seeds.iter().map(ToString::to_string).collect();
    let mut notes = vec![format!(
        "Brackets are 95 % intervals, clustered by problem; seeds {}. Tokens and seconds are means over seeds.",
        seeds.join(", ")
    )];
    notes.extend(figure.iter().flat_map(|figure| figure.lines()));
    notes.extend(recipe.table.notes.iter().cloned());
    notes
}

/// A column with its heading.
pub(crate) fn column(wanted: &Wanted) -> Column {
    let key = wanted.to_string();
    let (label, format) = match wanted {
        Wanted::Trajectories(metric) => match metric {
            TrajectoryMetric::Accuracy => ("answer accuracy".to_owned(), Format::Percent),
            TrajectoryMetric::AccuracyOfAll => ("accuracy of all returned".to_owned(), Format::Percent),
            TrajectoryMetric::ProcessAccuracy => ("process accuracy".to_owned(), Format::Percent),
            TrajectoryMetric::Perplexity => ("perplexity score".to_owned(), Format::Decimal),
            TrajectoryMetric::Truncated => ("truncated".to_owned(), Format::Percent),
            TrajectoryMetric::Forced => ("closed by force".to_owned(), Format::Percent),
            TrajectoryMetric::Kept => ("trained on".to_owned(), Format::Count),
            TrajectoryMetric::Pairs => ("pairs".to_owned(), Format::Count),
            TrajectoryMetric::Preferred => ("pairs preferred".to_owned(), Format::Percent),
            TrajectoryMetric::Failed => ("failed".to_owned(), Format::Count),
            TrajectoryMetric::GeneratedTokens => ("generated tokens".to_owned(), Format::Count),
            TrajectoryMetric::ScoredTokens => ("scored tokens".to_owned(), Format::Count),
            TrajectoryMetric::TokensPerTrajectory => ("tokens per trajectory".to_owned(), Format::Count),
        },
        Wanted::Eval { benchmark, metric } => match metric {
            EvalMetric::PassAt1 => (format!("{benchmark} pass@1"), Format::Percent),
            EvalMetric::Truncated => (format!("{benchmark} truncated"), Format::Percent),
            EvalMetric::Unparsed => (format!("{benchmark} unparsed"), Format::Percent),
            EvalMetric::GeneratedTokens => (format!("{benchmark} tokens"), Format::Count),
            EvalMetric::Judge => (format!("{benchmark} by judges"), Format::Percent),
            EvalMetric::Unscored => (format!("{benchmark} unscored"), Format::Percent),
            EvalMetric::Majority => (format!("{benchmark} majority"), Format::Percent),
            EvalMetric::MacroF1 => (format!("{benchmark} macro-F1"), Format::Percent),
            EvalMetric::F1 => (format!("{benchmark} F1"), Format::Percent),
        },
        Wanted::Share { teacher } => (format!("written by {teacher}"), Format::Percent),
        Wanted::SecondsPerProblem => ("seconds per problem".to_owned(), Format::Decimal),
        Wanted::Seconds => ("seconds".to_owned(), Format::Seconds),
        Wanted::Cost => ("cost".to_owned(), Format::Decimal),
        Wanted::CostPerTrajectory => ("cost per trajectory".to_owned(), Format::Decimal),
    };
    Column { key, label, format }
}

/// What the finished stages of an arm under a seed are worth.
pub(crate) fn measure(recipe: &Recipe, plan: &Plan, store: &Store, row: &TableRow) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut stages: BTreeSet<(StageKind, Digest)> = BTreeSet::new();
    if let (Some(generate), Some(problems)) = (row.generate, row.problems) {
        let score = match row.measure {
            Some(key) => {
                let folder = store.find(StageKind::Measure.name(), key)?.context("a finished measuring stage")?;
                measured_scores(&crate::measure::read(&folder)?)
            }
            // Only this scorer's scores are what the column says.
            None if is_chosen_by_perplexity(plan, generate) => own_scores(store, generate)?,
            None => Scores::default(),
        };
        if score.problems() > 0 {
            measured.scores.insert(TrajectoryMetric::Perplexity.word().to_owned(), score);
        }
        trajectories(recipe, store, generate, problems, &mut measured)?;
        stages.insert((StageKind::Generate, generate));
    }
    if let Some(train) = row.train {
        let folder = store.find(StageKind::Train.name(), train)?.context("a finished training stage")?;
        if row.generate.is_some() {
            let kept = folder.manifest().summary["examples"].as_f64().unwrap_or(0.0);
            measured.numbers.insert(TrajectoryMetric::Kept.word().to_owned(), kept);
        }
        stages.insert((StageKind::Train, train));
    }
    if let Some(dpo) = row.dpo {
        let folder = store.find(StageKind::Dpo.name(), dpo)?.context("a finished stage of preference optimisation")?;
        for (metric, key) in [(TrajectoryMetric::Pairs, "pairs"), (TrajectoryMetric::Preferred, "last-accuracy")] {
            let value = folder.manifest().summary[key].as_f64().unwrap_or(0.0);
            measured.numbers.insert(metric.word().to_owned(), value);
        }
        stages.insert((StageKind::Dpo, dpo));
    }
    for eval in &row.evals {
        samples(recipe, store, eval, &mut measured)?;
        stages.insert((StageKind::Eval, eval.eval));
        stages.extend(eval.judge.map(|judge| (StageKind::Judge, judge)));
    }
    let mut seconds = 0.0;
    for (kind, key) in stages {
        seconds += run::seconds(store, kind, key)?.unwrap_or(0.0);
    }
    measured.numbers.insert("seconds".to_owned(), seconds);
    Ok(measured)
}

fn trajectories(
    recipe: &Recipe,
    store: &Store,
    generate: Digest,
    problems: Digest,
    measured: &mut Measured,
) -> Result<()> {
    let folder = store.find(StageKind::Generate.name(), generate)?.context("a finished generation stage")?;
    let found: Vec<Trajectory> = trajectories_from_parquet(folder.read_bytes("trajectories.parquet")?)?;
    let accepted = found.iter().filter(|trajectory| trajectory.end == TrajectoryEnd::Complete).count();
    let problems = store.find(StageKind::Problems.name(), problems)?.context("a finished problems stage")?;
    let problems: Vec<Problem> = read_jsonl(&problems.read_bytes("problems.jsonl")?, &problems.file("problems.jsonl"))?;
    let mut by_problem: BTreeMap<&str, Vec<Trajectory>> = BTreeMap::new();
    let (mut measures, mut of_all) = (TrajectoryMeasures::default(), TrajectoryMeasures::default());
    let wants_all = recipe.table.columns.contains(&Wanted::Trajectories(TrajectoryMetric::AccuracyOfAll));
    let best: Vec<Trajectory> = found.iter().filter(|trajectory| trajectory.index == 0).cloned().collect();
    // The best one of each problem is the pipeline's; what else was asked for is training data.
    for trajectory in found {
        by_problem.entry(problem_id(&problems, &trajectory)).or_default().push(trajectory);
    }
    for problem in &problems {
        if let Some(found) = by_problem.get(problem.id.as_str()) {
            measures.add(problem, &found[..1], DEFAULT_FUEL);
            if wants_all {
                of_all.add(problem, found, DEFAULT_FUEL);
            }
        }
    }
    let word = |metric: TrajectoryMetric| metric.word().to_owned();
    measured.scores.insert(word(TrajectoryMetric::Accuracy), measures.accuracy);
    if wants_all {
        measured.scores.insert(word(TrajectoryMetric::AccuracyOfAll), of_all.accuracy);
    }
    if measures.process.problems() > 0 {
        measured.scores.insert(word(TrajectoryMetric::ProcessAccuracy), measures.process);
    }
    let cut = (measures.truncated + measures.unclosed) as f64 / measures.trajectories.max(1) as f64;
    measured.numbers.insert(word(TrajectoryMetric::Truncated), cut);
    let failed = problems.len() as f64 - by_problem.len() as f64;
    measured.numbers.insert(word(TrajectoryMetric::Failed), failed);
    measured.numbers.insert(word(TrajectoryMetric::GeneratedTokens), measures.usage.generated_tokens as f64);
    measured.numbers.insert(word(TrajectoryMetric::ScoredTokens), measures.usage.scored_tokens as f64);
    // Only where it is asked for: a table that was made before this metric existed stays as it was.
    let per_trajectory = Wanted::Trajectories(TrajectoryMetric::TokensPerTrajectory);
    if accepted > 0 && recipe.table.columns.contains(&per_trajectory) {
        let tokens = measures.usage.generated_tokens as f64 / accepted as f64;
        measured.numbers.insert(per_trajectory.to_string(), tokens);
    }
    let forced = Wanted::Trajectories(TrajectoryMetric::Forced);
    if recipe.table.columns.contains(&forced) {
        let closed = best.iter().filter(|trajectory| cord_generate::closed_by_force(trajectory)).count();
        measured.numbers.insert(forced.to_string(), closed as f64 / best.len().max(1) as f64);
    }
    // Where a price is unknown the cell stays empty.
    if let Some(money) = folder.costs()?.and_then(|costs| money(&costs, &recipe.run.prices)) {
        measured.numbers.insert(Wanted::Cost.to_string(), money);
        if accepted > 0 {
            measured.numbers.insert(Wanted::CostPerTrajectory.to_string(), money / accepted as f64);
        }
    }
    let seconds = run::seconds(store, StageKind::Generate, generate)?.unwrap_or(0.0);
    measured.numbers.insert("generate.seconds".to_owned(), seconds);
    // Only where they are asked for, as above.
    if recipe.table.columns.contains(&Wanted::SecondsPerProblem) {
        measured.numbers.insert(Wanted::SecondsPerProblem.to_string(), seconds / problems.len().max(1) as f64);
    }
    let shares = recipe.table.columns.iter().filter(|column| matches!(column, Wanted::Share { .. }));
    let collaboration: Collaboration = best.iter().fold(Collaboration::default(), |mut all, trajectory| {
        all.add(trajectory);
        all
    });
    for column in shares {
        let Wanted::Share { teacher } = column else { continue };
        measured.scores.insert(column.to_string(), collaboration.shares(teacher));
    }
    Ok(())
}

/// Is the generation's own score predictive perplexity, as the paper defines it?
fn is_chosen_by_perplexity(plan: &Plan, generate: Digest) -> bool {
    let Some(StageSettings::Generate(stage)) = plan.stage(generate).map(|stage| &stage.settings) else { return false };
    match &stage.scorer {
        Some(Scorer::PredictivePerplexity { answer, .. }) => answer.normalise == Normalise::GeometricMean,
        _ => false,
    }
}

/// The scores that the search gave its best trajectories.
fn own_scores(store: &Store, generate: Digest) -> Result<Scores> {
    let best = best_trajectories(store, generate)?;
    Ok(best.into_iter().filter_map(|one| Some((one.problem, one.score?))).collect())
}

/// The best trajectory of each problem, in the order of their names.
pub(crate) fn best_trajectories(store: &Store, generate: Digest) -> Result<Vec<Trajectory>> {
    let folder = store.find(StageKind::Generate.name(), generate)?.context("a finished generation stage")?;
    let mut found = trajectories_from_parquet(folder.read_bytes("trajectories.parquet")?)?;
    found.retain(|trajectory| trajectory.index == 0);
    Ok(found)
}

fn measured_scores(measures: &[Measure]) -> Scores {
    let best = measures.iter().filter(|one| one.index == 0);
    best.filter_map(|one| Some((one.problem.clone(), one.value?))).collect()
}

fn problem_id<'a>(problems: &'a [Problem], trajectory: &Trajectory) -> &'a str {
    problems.iter().find(|problem| problem.id == trajectory.problem).map_or("", |problem| &problem.id)
}

fn samples(recipe: &Recipe, store: &Store, stage: &BenchmarkStage, measured: &mut Measured) -> Result<()> {
    let benchmark = &stage.benchmark;
    let folder = store.find(StageKind::Eval.name(), stage.eval)?.context("a finished evaluation stage")?;
    let rows: Vec<SampleRow> = samples_from_parquet(folder.read_bytes("samples.parquet")?)?;
    let mut scores = Scores::default();
    for row in &rows {
        scores.push(row.problem.clone(), f64::from(u8::from(row.correct)));
    }
    let key = |metric| Wanted::Eval { benchmark: benchmark.to_owned(), metric }.to_string();
    measured.scores.insert(key(EvalMetric::PassAt1), scores);
    let share = |verdicts: &[&str]| {
        rows.iter().filter(|row| verdicts.contains(&row.verdict.as_str())).count() as f64 / rows.len().max(1) as f64
    };
    measured.numbers.insert(key(EvalMetric::Truncated), share(&["truncated"]));
    measured.numbers.insert(key(EvalMetric::Unparsed), share(&["unparsed", "unclosed-think", "out-of-fuel"]));
    let tokens: u64 = rows.iter().map(|row| row.usage.generated_tokens).sum();
    measured.numbers.insert(key(EvalMetric::GeneratedTokens), tokens as f64);
    // Only where they are asked for: a table that was made before these metrics existed stays as it was.
    let asked = |metric| recipe.table.columns.contains(&Wanted::Eval { benchmark: benchmark.clone(), metric });
    if asked(EvalMetric::F1) {
        // What was cut off is no answer, for this measure no more than for another.
        let f1 = |row: &SampleRow| row.marks.get("f1").copied().filter(|_| row.finish != Finish::Length).unwrap_or(0.0);
        if rows.iter().any(|row| row.marks.contains_key("f1")) {
            let scores = rows.iter().map(|row| (row.problem.clone(), f1(row))).collect();
            measured.scores.insert(key(EvalMetric::F1), scores);
        }
    }
    if asked(EvalMetric::Majority) || asked(EvalMetric::MacroF1) {
        let report: BenchmarkReport = folder.read_json(REPORT)?;
        let found = [(EvalMetric::Majority, report.majority), (EvalMetric::MacroF1, report.macro_f1)];
        for (metric, estimate) in found.into_iter().filter(|(metric, _)| asked(*metric)) {
            measured.numbers.extend(estimate.map(|estimate| (key(metric), estimate.value)));
        }
    }
    if let Some(judge) = stage.judge.filter(|_| asked(EvalMetric::Judge) || asked(EvalMetric::Unscored)) {
        let folder = store.find(StageKind::Judge.name(), judge)?.context("a finished judging stage")?;
        let said: Vec<judge::Row> = read_jsonl(&folder.read_bytes(JUDGEMENTS)?, &folder.file(JUDGEMENTS))?;
        let said: BTreeMap<_, _> = said.iter().map(|row| ((&row.problem, row.sample), row.judge.said())).collect();
        // What said nothing was not shown to judges, and does not agree with its reference.
        let mark = |row: &SampleRow| said.get(&(&row.problem, row.sample)).copied().unwrap_or(Some(Mark::Incorrect));
        let scored = rows.iter().filter_map(|row| Some((row, mark(row)?)));
        let scores: Scores =
            scored.map(|(row, mark)| (row.problem.clone(), f64::from(u8::from(mark == Mark::Correct)))).collect();
        measured.scores.insert(key(EvalMetric::Judge), scores);
        let unscored = rows.iter().filter(|row| mark(row).is_none()).count();
        measured.numbers.insert(key(EvalMetric::Unscored), unscored as f64 / rows.len().max(1) as f64);
    }
    Ok(())
}

/// An arm's metrics over its seeds.
pub(crate) fn metrics(seeds: &[Measured]) -> Result<BTreeMap<String, Metric>> {
    let mut metrics = BTreeMap::new();
    let keys: BTreeSet<&String> = seeds.iter().flat_map(|seed| seed.scores.keys()).collect();
    for key in keys {
        let replicates: Vec<Scores> = seeds.iter().filter_map(|seed| seed.scores.get(key).cloned()).collect();
        let estimate: Estimate = match mean(&replicates, Range::Unit) {
            Ok(estimate) => estimate,
            // Everything failed under some seed: the cell stays empty, and the failures are listed.
            Err(StatsError::TooFewProblems { .. }) => continue,
            Err(error) => return Err(error).with_context(|| format!("the metric `{key}`")),
        };
        metrics.insert(key.clone(), Metric::Estimate(estimate));
    }
    let keys: BTreeSet<&String> = seeds.iter().flat_map(|seed| seed.numbers.keys()).collect();
    for key in keys {
        let values: Vec<f64> = seeds.iter().filter_map(|seed| seed.numbers.get(key).copied()).collect();
        let value = values.iter().sum::<f64>() / values.len() as f64;
        let counted = ["tokens", "kept", "failed"].iter().any(|word| key.ends_with(word));
        let metric = if counted { Metric::Count { value: value.round() as u64 } } else { Metric::Number { value } };
        metrics.insert(key.clone(), metric);
    }
    Ok(metrics)
}

/// The paired difference of two arms; nothing where one lacks the metric, or they share too few problems.
pub(crate) fn difference(arms: &ByArm, pair: &Pair) -> Result<Option<cord_eval::PairedDifference>> {
    let scores = |arm: &str| -> Vec<Scores> {
        let seeds = arms.get(arm).map_or(&[][..], Vec::as_slice);
        seeds.iter().filter_map(|seed| seed.scores.get(&pair.metric).cloned()).collect()
    };
    let (above, below) = (scores(&pair.above), scores(&pair.below));
    if above.is_empty() || below.is_empty() {
        return Ok(None);
    }
    let seed = Seed::root(0).named("paired").named(&pair.metric).named(&pair.above).named(&pair.below);
    match paired_difference(&above, &below, seed) {
        Ok(found) => Ok(Some(found)),
        Err(StatsError::TooFewProblems { .. }) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("`{}` of `{}` and `{}`", pair.metric, pair.above, pair.below)),
    }
}
