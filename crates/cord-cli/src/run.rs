//! Running a recipe: plan, stages in order, table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cord_core::Digest;
use cord_recipe::{DataSource, Figure, Identities, ModelSource, Plan, Recipe, StageKind, StageSettings, StageSpec};
use cord_store::{Journal, Program, Remote, StageWriter, Store, StoreError, Timings};

use crate::models::{Models, known_identity};
use crate::progress::{Progress, StageProgress};
use crate::served::{Memory, unasked};
use crate::shards::Part;
use crate::stages::{Bench, Failure};
use crate::{datasets, dpo, figure, judge, machine, measure, shards, stages, table, view};

/// Set by Ctrl-C; stages look at it where they can stop without loss.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a process looks whether another one has let go of a stage.
const WAIT_FOR_LOCK: Duration = Duration::from_millis(100);

/// What a run left behind.
pub(crate) struct Summary {
    /// Every failure, with its stage's label.
    pub(crate) failures: Vec<(String, Failure)>,
}

/// Reads a recipe with its overrides.
pub(crate) fn read_recipe(path: &Path, overrides: &[String]) -> Result<Recipe> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read the recipe `{}`", path.display()))?;
    Ok(Recipe::read(&text, path, overrides, &|path| path.exists())?)
}

/// The recipe's stages, with models and data sets named by their content. No server is asked: stages of those that
/// this run never asked, and of data that is not here and whose manifest has no digest, have keys of their own for now.
pub(crate) fn plan(recipe: &Recipe) -> Result<Plan> {
    let memory = Memory::read(&store(recipe)?)?;
    let data = datasets::data_folder(&recipe.run);
    let dataset = |label: &str, source: &DataSource| {
        if datasets::is_here(source, &data)? { datasets::digest(source, &data) } else { Ok(unasked(label)) }
    };
    plan_with(recipe, &|label, source| known_identity(label, source, &memory), &dataset)
}

fn plan_with(
    recipe: &Recipe,
    identity: &dyn Fn(&str, &ModelSource) -> Result<Digest>,
    dataset: &dyn Fn(&str, &DataSource) -> Result<Digest>,
) -> Result<Plan> {
    let needs = recipe.needs();
    let mut known = Identities::default();
    for (label, source) in &needs.models {
        known.models.insert(label.clone(), identity(label, source)?);
    }
    for (label, source) in &needs.datasets {
        known.datasets.insert(label.clone(), dataset(label, source)?);
    }
    Ok(recipe.plan(&known)?)
}

/// The recipe's results.
pub(crate) fn store(recipe: &Recipe) -> Result<Store> {
    let program = Program { version: env!("CARGO_PKG_VERSION").to_owned(), commit: machine::commit() };
    Ok(Store::open(&recipe.run.out, recipe.folder(), program)?)
}

/// Runs every stage of a part of the work that is not there yet.
///
/// Stages that do not wait for each other run side by side, as many as there are threads: a small model keeps one core
/// busy, not two. No result depends on it.
pub(crate) fn run(recipe: &Recipe, part: Part) -> Result<(Summary, Store, Plan)> {
    run_with(recipe, part, None)
}

/// The same for a whole recipe whose generations share their replies: what one has asked the others find.
pub(crate) fn run_sharing(recipe: &Recipe, replies: &Arc<Journal>) -> Result<(Summary, Store, Plan)> {
    run_with(recipe, Part::Whole, Some(replies))
}

fn run_with(recipe: &Recipe, part: Part, replies: Option<&Arc<Journal>>) -> Result<(Summary, Store, Plan)> {
    let store = store(recipe)?;
    let models = Models::new(&recipe.run, &store)?;
    let data = datasets::data_folder(&recipe.run);
    let dataset = |_: &str, source: &DataSource| datasets::digest(source, &data);
    let plan = plan_with(recipe, &|label, source| models.identity(label, source), &dataset)?;
    // Not by shards: they begin at once on one folder, and what runs or merges the whole comes after them.
    if !matches!(part, Part::Shard(..)) {
        view::publish_arms(recipe, &plan, &store)?;
    }
    let interrupted = &INTERRUPTED;
    let bench = Bench { store: &store, models: &models, run: &recipe.run, interrupted, part, replies };
    let work: Vec<&StageSpec> = plan.stages.iter().filter(|stage| part.does(stage, &plan.stages)).collect();
    let progress = Progress::new(work.len());
    let mut schedule = Schedule::default();
    for (index, stage) in work.iter().enumerate() {
        // A shard has nothing to do where the whole is there.
        let whole = store.find(stage.kind.name(), stage.key)?.is_some();
        if whole || store.find(&part.stage_name(stage), stage.key)?.is_some() {
            progress.cached(index, &part.label(stage));
            schedule.done.insert(stage.key);
        } else {
            schedule.waiting.push(index);
        }
    }
    let (schedule, changed) = (Mutex::new(schedule), Condvar::new());
    let worker = || {
        let _leaving = Leaving { schedule: &schedule, changed: &changed };
        while let Some((index, threads)) = next(&schedule, &changed, &work, bench.threads()) {
            let stage = work[index];
            let result = one_stage(&bench, index, stage, threads, &progress).with_context(|| part.label(stage));
            let mut schedule = schedule.lock().expect("no stage panicked");
            schedule.running -= 1;
            match result {
                Ok(()) => {
                    schedule.done.insert(stage.key);
                }
                Err(error) => schedule.errors.push((index, error)),
            }
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..bench.threads() {
            scope.spawn(worker);
        }
        worker();
    });
    if let Some(said) = models.servers.publish_costs()? {
        progress.say(&said);
    }
    let mut schedule = schedule.into_inner().expect("no stage panicked");
    schedule.errors.sort_by_key(|(index, _)| *index);
    if let Some((_, error)) = schedule.errors.into_iter().next() {
        return Err(error);
    }
    if let Some(index) = schedule.waiting.first() {
        bail!("stopped before `{}`; run again to go on from there", part.label(work[*index]));
    }
    let failures = failures(&store, &work, part)?;
    Ok((Summary { failures }, store, plan))
}

/// What the workers of a run share.
#[derive(Default)]
struct Schedule {
    /// Stages not begun, by their place in the plan.
    waiting: Vec<usize>,
    running: usize,
    done: BTreeSet<Digest>,
    errors: Vec<(usize, anyhow::Error)>,
    /// Did a stage panic?
    broken: bool,
}

/// Tells the other workers where a stage panics: they would wait for it for ever, and the panic would never be seen.
struct Leaving<'a> {
    schedule: &'a Mutex<Schedule>,
    changed: &'a Condvar,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.schedule.lock().unwrap_or_else(PoisonError::into_inner).broken = true;
            self.changed.notify_all();
        }
    }
}

/// The first stage of the plan whose inputs are there, with its share of the threads; waits while there is none yet. Nothing
/// once all are begun, one failed or the run is to stop.
fn next(schedule: &Mutex<Schedule>, changed: &Condvar, work: &[&StageSpec], threads: usize) -> Option<(usize, usize)> {
    let mut schedule = schedule.lock().expect("no stage panicked");
    loop {
        if schedule.broken
            || schedule.waiting.is_empty()
            || !schedule.errors.is_empty()
            || INTERRUPTED.load(Ordering::Relaxed)
        {
            return None;
        }
        let is_ready = |index: &usize| work[*index].inputs.iter().all(|input| schedule.done.contains(&input.key));
        let ready: Vec<usize> = schedule.waiting.iter().copied().filter(is_ready).collect();
        if let Some(first) = ready.first().copied() {
            let side_by_side = (schedule.running + ready.len()).min(threads);
            schedule.waiting.retain(|index| *index != first);
            schedule.running += 1;
            return Some((first, (threads / side_by_side).max(1)));
        }
        schedule = changed.wait(schedule).expect("no stage panicked");
    }
}

/// Every failed item of finished stages.
fn failures(store: &Store, stages: &[&StageSpec], part: Part) -> Result<Vec<(String, Failure)>> {
    let mut found = Vec::new();
    for stage in stages {
        let Some(folder) = store.find(&part.stage_name(stage), stage.key)? else { continue };
        let failed: Vec<Failure> =
            serde_json::from_value(folder.manifest().summary["failed"].clone()).unwrap_or_default();
        found.extend(failed.into_iter().map(|failure| (part.label(stage), failure)));
    }
    Ok(found)
}

fn one_stage(bench: &Bench<'_>, index: usize, stage: &StageSpec, threads: usize, progress: &Progress) -> Result<()> {
    let settings = serde_json::to_value(&stage.settings).context("a stage's settings are JSON")?;
    let name = bench.part.stage_name(stage);
    let mut writer = loop {
        match bench.store.begin(&name, stage.key, settings.clone(), stage.input_keys()) {
            Ok(writer) => break writer,
            // Another process has made it since this one looked.
            Err(StoreError::Finished { .. }) => return Ok(()),
            // Shards that start together all want the problems, which one of them gathers in a moment.
            Err(StoreError::Locked { .. })
                if stage.kind == StageKind::Problems
                    && bench.part != Part::Whole
                    && !INTERRUPTED.load(Ordering::Relaxed) =>
            {
                std::thread::sleep(WAIT_FOR_LOCK);
            }
            Err(error) => return Err(error.into()),
        }
    };
    let begun = Instant::now();
    let made = make(bench, &mut writer, index, stage, threads, progress);
    // Seconds are in no digest. Those of attempts that were stopped or failed are added up; a killed one's are lost.
    let mut timings: Timings = writer.timings()?;
    *timings.entry("seconds".to_owned()).or_insert(0.0) += begun.elapsed().as_secs_f64();
    writer.write_timings(&timings)?;
    let (summary, message, shown) = made?;
    let folder = writer.finish(summary)?;
    if let (Part::Shard(..), StageKind::Generate, Some(url)) = (bench.part, stage.kind, &bench.run.remote) {
        Remote::open(url)?.push(bench.store, &folder)?;
    }
    shown.finish(&message);
    Ok(())
}

/// Makes a stage's files. Gives its summary, what to say of it, and its progress.
fn make(
    bench: &Bench<'_>,
    writer: &mut StageWriter,
    index: usize,
    stage: &StageSpec,
    threads: usize,
    progress: &Progress,
) -> Result<(serde_json::Value, String, StageProgress)> {
    let count = |key| bench.problems(key).map(|problems| problems.len() as u64);
    let input = stage.input(StageKind::Problems);
    let bar = |total, unit: &str| -> StageProgress { progress.stage(index, &bench.part.label(stage), total, unit) };
    Ok(match &stage.settings {
        StageSettings::Problems(settings) => {
            let shown = bar(1, "set");
            let summary = stages::problems(bench, writer, settings)?;
            let message = format!("{} problems", summary["problems"]);
            (summary, message, shown)
        }
        StageSettings::Generate(settings) => {
            let shown = bar(input.map_or(Ok(0), count)?, "problems");
            let of = match bench.part {
                Part::Whole => shards::complete(bench.store, stage)?,
                Part::Shard(..) => None,
                Part::Merge(count) => Some(count),
            };
            let (summary, failures) = match of {
                Some(count) => shards::merge(bench, writer, stage, count)?,
                None => stages::generate(bench, writer, stage, settings, &shown)?,
            };
            let usage = &summary["usage"];
            let message = format!(
                "{} trajectories, {} tokens generated, {} scored, {}",
                summary["trajectories"],
                usage["generated_tokens"],
                usage["scored_tokens"],
                failed(&failures)
            );
            (summary, message, shown)
        }
        StageSettings::Measure(settings) => {
            let shown = bar(0, "trajectories");
            let (summary, failures) = measure::measure(bench, writer, stage, settings, &shown)?;
            let message = format!("{} trajectories measured, {}", summary["measures"], failed(&failures));
            (summary, message, shown)
        }
        StageSettings::Train(settings) => {
            let shown = bar(0, "steps");
            let summary = stages::train_student(bench, writer, stage, settings, threads, &shown)?;
            let message = format!(
                "{} steps on {} examples, loss {:.4}",
                summary["steps"],
                summary["examples"],
                summary["last-loss"].as_f64().unwrap_or(f64::NAN)
            );
            (summary, message, shown)
        }
        StageSettings::Dpo(settings) => {
            let shown = bar(0, "steps");
            let summary = dpo::stage(bench, writer, stage, settings, threads, &shown)?;
            let number = |key: &str| summary[key].as_f64().unwrap_or(f64::NAN);
            let message = format!(
                "{} steps on {} pairs, loss {:.4}, {:.0} % preferred",
                summary["steps"],
                summary["pairs"],
                number("last-loss"),
                100.0 * number("last-accuracy")
            );
            (summary, message, shown)
        }
        StageSettings::Eval(settings) => {
            let shown = bar(0, "samples");
            let (summary, failures) = stages::evaluate(bench, writer, stage, settings, &shown)?;
            let tally = &summary["tally"];
            let message = format!("{} of {} samples right, {}", tally["correct"], tally["samples"], failed(&failures));
            (summary, message, shown)
        }
        StageSettings::Judge(settings) => {
            let shown = bar(0, "responses");
            let (summary, failures) = judge::stage(bench, writer, stage, settings, &shown)?;
            let message = format!(
                "{} of {} responses right, {} without a verdict, {}",
                summary["correct"],
                summary["responses"],
                summary["unscored"],
                failed(&failures)
            );
            (summary, message, shown)
        }
        StageSettings::Table(_) => bail!("the table is made of finished stages, not as one"),
    })
}

/// How many items failed, and the first one's reason: a stage that fails for want of them comes before the full list.
fn failed(failures: &[Failure]) -> String {
    let first = failures.first().map(|(id, reason)| format!(" (`{id}`: {reason})"));
    format!("{} failed{}", failures.len(), first.unwrap_or_default())
}

/// Seconds of a finished stage; nothing where its timings were lost.
pub(crate) fn seconds(store: &Store, kind: StageKind, key: Digest) -> Result<Option<f64>> {
    let Some(folder) = store.find(kind.name(), key)? else { return Ok(None) };
    Ok(folder.timings()?.get("seconds").copied())
}

/// Makes the table of finished stages and writes it into the run's folder.
pub(crate) fn make_table(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<cord_report::Table> {
    let figure = match recipe.table.figure {
        Some(Figure::Collaboration) => Some(figure::of(recipe, plan, store)?),
        None => None,
    };
    let table = table::of(recipe, plan, store, figure.as_ref())?;
    let files: BTreeMap<&str, String> = [
        ("table.md", table.markdown()),
        ("table.csv", table.csv()),
        ("table.json", table.json()),
        ("metrics.json", table::without_seconds(&table)?.json()),
    ]
    .into();
    for (name, text) in files {
        store.publish(&recipe.file(name), text.as_bytes())?;
    }
    if let Some(figure) = &figure {
        figure::publish(figure, recipe, store)?;
    }
    Ok(table)
}
