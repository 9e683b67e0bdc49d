//! A finished generation of an arm, as the verbs that work on its results read it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use cord_core::{Problem, Trajectory, Usage};
use cord_generate::Ledgers;
use cord_recipe::{GenerateStage, Plan, Recipe, StageKind, StageSettings, TableRow};
use cord_store::{StageFolder, Store, candidates_from_parquet, read_jsonl, trajectories_from_parquet};

/// What one arm's generation left behind under one seed.
pub(crate) struct Generation {
    pub(crate) seed: u64,
    pub(crate) settings: GenerateStage,
    pub(crate) problems: Vec<Problem>,
    pub(crate) trajectories: Vec<Trajectory>,
    folder: StageFolder,
}

impl Generation {
    /// The generations of an arm: under one seed, or under all of the recipe's.
    pub(crate) fn of_arm(
        recipe: &Recipe,
        plan: &Plan,
        store: &Store,
        arm: &str,
        seed: Option<u64>,
    ) -> Result<Vec<Self>> {
        let names = || listed(recipe.arms.iter().map(|arm| format!("`{}`", arm.name)));
        let Some(found) = recipe.arm(arm) else { bail!("expected one of the recipe's arms, {}, got `{arm}`", names()) };
        if found.generate.is_none() {
            bail!("expected an arm that generates, got `{arm}`, which does not");
        }
        let seeds = match seed {
            Some(seed) if recipe.seeds.contains(&seed) => vec![seed],
            Some(seed) => {
                let seeds = listed(recipe.seeds.iter().map(|seed| format!("`{seed}`")));
                bail!("expected one of the recipe's seeds, {seeds}, got `{seed}`")
            }
            None => recipe.seeds.clone(),
        };
        seeds.into_iter().map(|seed| Self::of(recipe, plan, store, arm, seed)).collect()
    }

    fn of(recipe: &Recipe, plan: &Plan, store: &Store, arm: &str, seed: u64) -> Result<Self> {
        let row = Self::row(recipe, plan, arm, seed)?;
        let (generate, problems) = row.generate.zip(row.problems).context("an arm that generates has problems")?;
        let finished = |kind: StageKind, key| -> Result<StageFolder> {
            store.find(kind.name(), key)?.with_context(|| {
                let label = plan.stage(key).map_or_else(|| kind.name().to_owned(), cord_recipe::StageSpec::label);
                format!("expected a finished stage, `{label}` is missing; run the recipe first")
            })
        };
        let (folder, given) = (finished(StageKind::Generate, generate)?, finished(StageKind::Problems, problems)?);
        let settings = plan.stage(generate).map(|stage| stage.settings.clone());
        let Some(StageSettings::Generate(settings)) = settings else { bail!("a generation's key is in its plan") };
        let file = "problems.jsonl";
        Ok(Self {
            seed,
            settings,
            problems: read_jsonl(&given.read_bytes(file)?, &given.file(file))?,
            trajectories: trajectories_from_parquet(folder.read_bytes("trajectories.parquet")?)?,
            folder,
        })
    }

    /// The stages of an arm under a seed.
    pub(crate) fn row<'a>(recipe: &Recipe, plan: &'a Plan, arm: &str, seed: u64) -> Result<&'a TableRow> {
        let rows = plan.stages.iter().find_map(|stage| match &stage.settings {
            StageSettings::Table(table) => Some(&table.rows),
            _ => None,
        });
        let row = rows.and_then(|rows| rows.iter().find(|row| row.arm == arm && row.seed == seed));
        row.with_context(|| format!("expected stages of `{arm}` under seed {seed} in `{}`, got none", recipe.name))
    }

    /// Every candidate, by problem and in the order of their numbers.
    pub(crate) fn ledgers(&self) -> Result<Ledgers> {
        let mut ledgers: Ledgers = BTreeMap::new();
        for row in candidates_from_parquet(self.folder.read_bytes("candidates.parquet")?)? {
            ledgers.entry(row.problem).or_default().push(row.candidate);
        }
        Ok(ledgers)
    }

    /// What it cost, all candidates included.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let usage = self.folder.manifest().summary["usage"].clone();
        serde_json::from_value(usage).context("a generation's summary has its `usage`")
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
