//! One run as it is looked at: from a recipe, or from the folder of its results.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cord_core::Digest;
use cord_report::Table;
use cord_report::view::{Stage, StageState};
use cord_store::{Costs, Store, read_curve};

use super::arms::{ARMS, PlannedStage, RunArms};
use crate::{RecipeArgs, plan, run, table};

/// A run.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) store: Store,
    pub(super) arms: Vec<RunArms>,
    pub(super) tables: Vec<Table>,
    /// Its folder's [`version`], before anything was read.
    pub(super) version: String,
}

impl Run {
    /// The run of a recipe or of a folder.
    pub(super) fn open(path: &Path, recipe: &RecipeArgs) -> Result<Self> {
        if path.is_dir() { Self::of_folder(path, recipe) } else { Self::of_recipe(path, recipe) }
    }

    fn of_recipe(path: &Path, args: &RecipeArgs) -> Result<Self> {
        let recipe = RecipeArgs { recipe: path.to_path_buf(), ..args.clone() }.read()?;
        let folder = recipe.run.out.join(recipe.folder());
        if !folder.is_dir() {
            bail!(
                "expected a run of `{}` in `{}`, got none: run it first with `cord run {}`",
                recipe.name,
                folder.display(),
                path.display()
            );
        }
        let store = run::store(&recipe)?;
        let version = version(store.folder())?;
        let found = run::plan(&recipe)?;
        let written = read_table(&store.folder().join(recipe.file("table.json")))?;
        let table = match written.filter(|table| table.parts().recipe.digest == found.digest) {
            Some(table) => Some(table),
            // Written by another recipe of this name, or not at all.
            None if plan::require_finished(&found, &store).is_ok() => Some(table::of(&recipe, &found, &store, None)?),
            None => None,
        };
        Ok(Self {
            name: recipe.name.clone(),
            store,
            arms: vec![RunArms::of_plan(&found)],
            tables: table.into_iter().collect(),
            version,
        })
    }

    fn of_folder(path: &Path, args: &RecipeArgs) -> Result<Self> {
        if !args.overrides.is_empty() || args.out.is_some() {
            bail!(
                "expected a recipe with `--set` or `--out`, got the folder `{}`: its results are as they are",
                path.display()
            );
        }
        let path = path.canonicalize().with_context(|| format!("can't open `{}`", path.display()))?;
        let (root, name) = path
            .parent()
            .zip(path.file_name().and_then(|name| name.to_str()))
            .with_context(|| format!("expected a run's folder with a plain name, got `{}`", path.display()))?;
        let program = cord_store::Program { version: env!("CARGO_PKG_VERSION").to_owned(), commit: None };
        let store = Store::open(root, name, program)?;
        let version = version(&path)?;
        let files = names(&path)?;
        let mut arms = Vec::new();
        for file in files.iter().filter(|file| *file == ARMS || file.ends_with(&format!(".{ARMS}"))) {
            let path = path.join(file);
            let bytes = std::fs::read(&path).with_context(|| format!("can't read `{}`", path.display()))?;
            let read: RunArms = serde_json::from_slice(&bytes).with_context(|| {
                format!("`{}`: expected the arms of a run, as `cord run` wrote them", path.display())
            })?;
            arms.push(read);
        }
        if arms.is_empty() {
            arms.push(RunArms::of_manifests(name, &store)?);
        }
        if arms.iter().all(|arms| arms.stages.is_empty()) {
            let inside: Vec<String> = files
                .iter()
                .filter(|file| path.join(file).is_dir() && !file.starts_with('.'))
                .map(|file| format!("`{}`", path.join(file).display()))
                .collect();
            let hint = if inside.is_empty() { String::new() } else { format!("; inside it are {}", inside.join(", ")) };
            bail!(
                "expected the folder of a run, with stages such as `generate-0123456789ab`, got `{}`{hint}",
                path.display()
            );
        }
        let mut tables = Vec::new();
        for file in files.iter().filter(|file| *file == "table.json" || file.ends_with(".table.json")) {
            tables.extend(read_table(&path.join(file))?);
        }
        Ok(Self { name: name.to_owned(), store, arms, tables, version })
    }

    /// Its stages, each once, with how far they are.
    pub(super) fn stages(&self) -> Result<Vec<Stage>> {
        let mut seen = std::collections::BTreeSet::new();
        let all = self.arms.iter().flat_map(|arms| &arms.stages).filter(|stage| seen.insert(stage.key));
        all.map(|stage| self.stage(stage)).collect()
    }

    fn stage(&self, planned: &PlannedStage) -> Result<Stage> {
        let PlannedStage { kind, key, label } = planned;
        let mut stage = Stage {
            kind: kind.clone(),
            label: label.clone(),
            folder: format!("{kind}-{}", key.short()),
            state: StageState::ToRun,
            progress: None,
            seconds: None,
            generated: None,
            scored: None,
            failed: 0,
        };
        if let Some(folder) = self.store.find(kind, *key)? {
            let summary = &folder.manifest().summary;
            stage.state = StageState::Done;
            stage.seconds = folder.timings()?.get("seconds").copied();
            let usage = if summary["usage"].is_object() { &summary["usage"] } else { &summary["tally"]["usage"] };
            stage.generated = usage["generated_tokens"].as_u64();
            stage.scored = usage["scored_tokens"].as_u64().filter(|scored| *scored > 0);
            stage.failed = summary["failed"].as_array().map_or(0, |failed| failed.len() as u64);
        } else if self.partial(kind, *key).is_dir() {
            stage.state = StageState::Begun;
            stage.progress = self.progress(kind, *key);
        }
        Ok(stage)
    }

    fn partial(&self, kind: &str, key: Digest) -> PathBuf {
        self.store.partial_path(kind, key)
    }

    /// How far an unfinished stage is. Its files may be in the middle of being written: what can't be read is not known.
    fn progress(&self, kind: &str, key: Digest) -> Option<String> {
        let partial = self.partial(kind, key);
        if ["train", "dpo"].contains(&kind) {
            let step = read_curve(&partial.join("curve.jsonl")).ok()?.last()?.step;
            return Some(format!("step {step}"));
        }
        let costs: Costs = serde_json::from_slice(&std::fs::read(partial.join("costs.json")).ok()?).ok()?;
        Some(format!("{} problems", costs.problems.len()))
    }
}

/// What changes when a run goes on: of its finished stages, and of the sizes of what is noted of unfinished ones and of
/// tables.
pub(super) fn version(folder: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for name in names(folder)? {
        let path = folder.join(&name);
        let sizes = ["curve.jsonl", "costs.json", "manifest.json"].map(|file| size(&path.join(file)));
        parts.push((name, size(&path), sizes));
    }
    Ok(Digest::of_json(&parts).short())
}

fn size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut names = read().with_context(|| format!("can't list `{}`", folder.display()))?;
    names.sort();
    Ok(names)
}

/// A published table; nothing where there is none.
fn read_table(path: &Path) -> Result<Option<Table>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let table = serde_json::from_slice(&bytes)
                .with_context(|| format!("`{}`: expected a table, as `cord run` wrote it", path.display()))?;
            Ok(Some(table))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read `{}`", path.display())),
    }
}
