//! Running a recipe: plan, stages in order, table.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cord_recipe::{Identities, Plan, Recipe, StageKind, StageSettings, StageSpec};
use cord_store::{Program, StageWriter, Store, Timings};

use crate::models::{Models, identity};
use crate::progress::{Progress, StageProgress};
use crate::stages::{Bench, Failure};
use crate::{datasets, machine, stages, table};

/// Set by Ctrl-C; stages look at it where they can stop without loss.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

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

/// The recipe's stages, with models and data sets named by their content.
pub(crate) fn plan(recipe: &Recipe) -> Result<Plan> {
    let needs = recipe.needs();
    let mut known = Identities::default();
    for (label, source) in &needs.models {
        known.models.insert(label.clone(), identity(source)?);
    }
    for (label, source) in &needs.datasets {
        known.datasets.insert(label.clone(), datasets::digest(source)?);
    }
    Ok(recipe.plan(&known)?)
}

/// The recipe's results.
pub(crate) fn store(recipe: &Recipe) -> Result<Store> {
    let program = Program { version: env!("CARGO_PKG_VERSION").to_owned(), commit: machine::commit() };
    Ok(Store::open(&recipe.run.out, &recipe.name, program)?)
}

/// Runs every stage that is not there yet, then makes the table.
pub(crate) fn run(recipe: &Recipe) -> Result<(Summary, Store, Plan)> {
    let plan = plan(recipe)?;
    let store = store(recipe)?;
    let models = Models::new(&recipe.run)?;
    let bench = Bench { store: &store, models: &models, run: &recipe.run, interrupted: &INTERRUPTED };
    let work: Vec<&StageSpec> = plan.stages.iter().filter(|stage| stage.kind != StageKind::Table).collect();
    let progress = Progress::new(work.len());
    for (index, stage) in work.iter().enumerate() {
        let name = stage.kind.name();
        if store.find(name, stage.key)?.is_some() {
            progress.cached(index, &stage.label());
        } else {
            if INTERRUPTED.load(Ordering::Relaxed) {
                bail!("stopped before `{}`; run again to go on from there", stage.label());
            }
            one_stage(&bench, index, stage, &progress).with_context(|| stage.label())?;
        }
    }
    Ok((Summary { failures: failures(&store, &work)? }, store, plan))
}

/// Every failed item of finished stages.
fn failures(store: &Store, stages: &[&StageSpec]) -> Result<Vec<(String, Failure)>> {
    let mut found = Vec::new();
    for stage in stages {
        let Some(folder) = store.find(stage.kind.name(), stage.key)? else { continue };
        let failed: Vec<Failure> =
            serde_json::from_value(folder.manifest().summary["failed"].clone()).unwrap_or_default();
        found.extend(failed.into_iter().map(|failure| (stage.label(), failure)));
    }
    Ok(found)
}

fn one_stage(bench: &Bench<'_>, index: usize, stage: &StageSpec, progress: &Progress) -> Result<()> {
    let settings = serde_json::to_value(&stage.settings).context("a stage's settings are JSON")?;
    let mut writer = bench.store.begin(stage.kind.name(), stage.key, settings, stage.input_keys())?;
    let begun = Instant::now();
    let made = make(bench, &mut writer, index, stage, progress);
    // Seconds are in no digest. Those of attempts that were stopped or failed are added up; a killed one's are lost.
    let mut timings: Timings = writer.timings()?;
    *timings.entry("seconds".to_owned()).or_insert(0.0) += begun.elapsed().as_secs_f64();
    writer.write_timings(&timings)?;
    let (summary, message, shown) = made?;
    writer.finish(summary)?;
    shown.finish(&message);
    Ok(())
}

/// Makes a stage's files. Gives its summary, what to say of it, and its progress.
fn make(
    bench: &Bench<'_>,
    writer: &mut StageWriter,
    index: usize,
    stage: &StageSpec,
    progress: &Progress,
) -> Result<(serde_json::Value, String, StageProgress)> {
    let count = |key| bench.problems(key).map(|problems| problems.len() as u64);
    let input = stage.input(StageKind::Problems);
    let bar = |total, unit: &str| -> StageProgress { progress.stage(index, &stage.label(), total, unit) };
    Ok(match &stage.settings {
        StageSettings::Problems(settings) => {
            let shown = bar(1, "set");
            let summary = stages::problems(writer, settings)?;
            let message = format!("{} problems", summary["problems"]);
            (summary, message, shown)
        }
        StageSettings::Generate(settings) => {
            let shown = bar(input.map_or(Ok(0), count)?, "problems");
            let (summary, failures) = stages::generate(bench, writer, stage, settings, &shown)?;
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
        StageSettings::Train(settings) => {
            let shown = bar(1, "steps");
            let summary = stages::train_student(bench, writer, stage, settings, &shown)?;
            let message = format!(
                "{} steps on {} examples, loss {:.4}",
                summary["steps"],
                summary["examples"],
                summary["last-loss"].as_f64().unwrap_or(f64::NAN)
            );
            (summary, message, shown)
        }
        StageSettings::Eval(settings) => {
            let total = input.map_or(Ok(0), count)? * u64::from(settings.samples);
            let shown = bar(total, "samples");
            let (summary, failures) = stages::evaluate(bench, writer, stage, settings, &shown)?;
            let tally = &summary["tally"];
            let message = format!("{} of {} samples right, {}", tally["correct"], tally["samples"], failed(&failures));
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
pub(crate) fn seconds(store: &Store, kind: StageKind, key: cord_core::Digest) -> Result<Option<f64>> {
    let Some(folder) = store.find(kind.name(), key)? else { return Ok(None) };
    Ok(folder.timings()?.get("seconds").copied())
}

/// Makes the table of finished stages and writes it into the run's folder.
pub(crate) fn make_table(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<cord_report::Table> {
    let table = table::of(recipe, plan, store)?;
    let files: BTreeMap<&str, String> = [
        ("table.md", table.markdown()),
        ("table.csv", table.csv()),
        ("table.json", table.json()),
        ("metrics.json", table::without_seconds(&table)?.json()),
    ]
    .into();
    for (name, text) in files {
        store.publish(name, text.as_bytes())?;
    }
    Ok(table)
}
