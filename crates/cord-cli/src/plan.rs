//! A plan in words: what would run, what is done, where everything is.

use std::fmt::Write;

use anyhow::{Result, bail};
use cord_recipe::{ModelSource, Plan, Recipe, StageKind};
use cord_store::Store;

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
    for label in needs.datasets.keys() {
        writeln!(text, "  needs the data set {label}")?;
    }
    for stage in plan.stages.iter().filter(|stage| stage.kind != StageKind::Table) {
        let name = stage.kind.name();
        let state = if store.find(name, stage.key)?.is_some() {
            "done   "
        } else if store.partial_path(name, stage.key).exists() {
            "begun  "
        } else {
            "to run "
        };
        writeln!(text, "{state} {name}-{}  {}", stage.key.short(), stage.label())?;
    }
    write!(text, "results in {}", store.folder().display())?;
    Ok(text)
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
