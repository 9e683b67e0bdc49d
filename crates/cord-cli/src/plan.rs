//! A plan in words: what would run, what is done, where everything is.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use cord_recipe::{ModelSource, Plan, Recipe, StageKind, StageSpec};
use cord_store::Store;
use serde::Serialize;
use serde_json::json;

use crate::datasets;
use crate::estimate::Estimates;
use crate::served::Memory;

/// What a recipe would run.
pub(crate) fn describe(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<String> {
    let mut text = format!("{} (recipe {}), device {}\n", recipe.name, plan.digest.short(), recipe.run.device);
    let needs = recipe.needs();
    let memory = Memory::read(store)?;
    for (label, source) in &needs.models {
        let asked = !matches!(source, ModelSource::Served { .. }) || memory.identity(label).is_some();
        let note = if asked { "" } else { " (never asked yet: its stages get their keys when it answers)" };
        writeln!(text, "  needs the model {label}{note}")?;
    }
    let data = datasets::data_folder(&recipe.run);
    for (label, source) in &needs.datasets {
        let here = datasets::is_here(source, &data)?;
        let note = if here { "" } else { " (not here yet: its stages get their keys when it is)" };
        writeln!(text, "  needs the data set {label}{note}")?;
    }
    for stage in plan.stages.iter().filter(|stage| stage.kind != StageKind::Table) {
        let state = State::of(store, stage)?.words();
        writeln!(text, "{state:<7} {}-{}  {}", stage.kind.name(), stage.key.short(), stage.label())?;
    }
    writeln!(text, "results in {}", store.folder().display())?;
    text += &Estimates::of(recipe, plan, store)?.text()?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// The same as JSON.
pub(crate) fn json(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<String> {
    let estimates = Estimates::of(recipe, plan, store)?;
    let mut stages = Vec::new();
    for stage in plan.stages.iter().filter(|stage| stage.kind != StageKind::Table) {
        stages.push(json!({
            "kind": stage.kind,
            "key": stage.key,
            "label": stage.label(),
            "arms": stage.arms,
            "seed": stage.seed,
            "state": State::of(store, stage)?,
            "estimate": estimates.stage(stage.key),
        }));
    }
    let plan = json!({
        "recipe": recipe.name,
        "digest": plan.digest,
        "stages": stages,
        "sum": estimates.sum(),
        "unknown": estimates.unknown(),
        "expected": recipe.run.expected,
        "assumptions": Estimates::assumptions(&recipe.run.expected),
    });
    serde_json::to_string_pretty(&plan).context("a plan is JSON")
}

/// How far a stage is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Done,
    Begun,
    ToRun,
}

impl State {
    pub(crate) fn of(store: &Store, stage: &StageSpec) -> Result<Self> {
        let name = stage.kind.name();
        Ok(if store.find(name, stage.key)?.is_some() {
            Self::Done
        } else if store.partial_path(name, stage.key).exists() {
            Self::Begun
        } else {
            Self::ToRun
        })
    }

    fn words(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Begun => "begun",
            Self::ToRun => "to run",
        }
    }
}

/// Refuses where a stage is missing, naming every one.
pub(crate) fn require_finished(plan: &Plan, store: &Store) -> Result<()> {
    let mut missing = Vec::new();
    for stage in plan.stages.iter().filter(|stage| stage.kind != StageKind::Table) {
        if store.find(stage.kind.name(), stage.key)?.is_none() {
            missing.push(stage.label());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("expected finished stages, {} are missing: {}; run the recipe first", missing.len(), missing.join("; "))
}

/// Where a finished run's results are.
pub(crate) fn whereabouts(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<String> {
    let mut files = vec!["table.md", "table.csv", "table.json"];
    if recipe.table.figure.is_some() {
        files.extend(["figure.svg", "figure.csv", "figure.json"]);
    }
    let files: Vec<String> = files.into_iter().map(|name| recipe.file(name)).collect();
    let (files, metrics) = (files.join(", "), recipe.file("metrics.json"));
    let mut text = format!("{files} and {metrics} are in {}\n", store.folder().display());
    for stage in plan.stages.iter().filter(|stage| stage.kind != StageKind::Table) {
        let path = store.stage_path(stage.kind.name(), stage.key);
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        writeln!(text, "  {name}  {}", stage.label())?;
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}
