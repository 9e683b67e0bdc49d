//! Generations cut into shards: which are there, and the whole that is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cord_core::Digest;
use cord_recipe::{Plan, Shard, StageKind, StageSpec};
use cord_store::{Costs, Remote, StageFolder, StageWriter, Store, Timings};

use crate::outcomes::Outcomes;
use crate::stages::{Bench, Failure};

/// Which part of a recipe's work a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// One share of the problems of each generation.
    Shard(Shard),
    /// Making each generation of this many finished shards.
    Merge(u32),
}

impl Part {
    /// The name of a stage's folder.
    pub(crate) fn stage_name(self, stage: &StageSpec) -> String {
        match (self, stage.kind) {
            (Self::Shard(shard), StageKind::Generate) => shard.stage_name(),
            (_, kind) => kind.name().to_owned(),
        }
    }

    /// What a stage is called in messages.
    pub(crate) fn label(self, stage: &StageSpec) -> String {
        match (self, stage.kind) {
            (Self::Shard(shard), StageKind::Generate) => format!("{}, shard {shard}", stage.label()),
            _ => stage.label(),
        }
    }

    /// Does it do this stage? A shard, and a merge, are about generations and the problems that these need.
    pub(crate) fn does(self, stage: &StageSpec, all: &[StageSpec]) -> bool {
        let needed = |generate: &StageSpec| generate.inputs.iter().any(|input| input.key == stage.key);
        match (self, stage.kind) {
            (Self::Whole, kind) => kind != StageKind::Table,
            (_, StageKind::Generate) => true,
            (_, kind) => {
                kind == StageKind::Problems && all.iter().any(|one| one.kind == StageKind::Generate && needed(one))
            }
        }
    }
}

/// The finished shards of a generation, by their number.
pub(crate) fn found(store: &Store, key: Digest) -> Result<BTreeMap<u32, BTreeSet<Shard>>> {
    let mut found: BTreeMap<u32, BTreeSet<Shard>> = BTreeMap::new();
    for folder in store.stages()?.iter().filter(|folder| folder.key() == key) {
        if let Some(shard) = Shard::of_stage_name(&folder.manifest().stage) {
            found.entry(shard.count()).or_default().insert(shard);
        }
    }
    Ok(found)
}

/// Of how many shards a whole can be made; nothing where there are none. Where some are there and some are missing, those are
/// named: to generate everything once more beside them would be a mistake.
pub(crate) fn complete(store: &Store, stage: &StageSpec) -> Result<Option<u32>> {
    let found = found(store, stage.key)?;
    if let Some((count, _)) = found.iter().find(|(count, shards)| shards.len() == **count as usize) {
        return Ok(Some(*count));
    }
    let Some((count, shards)) = found.iter().max_by_key(|(_, shards)| shards.len()) else { return Ok(None) };
    let missing: Vec<Shard> = Shard::all(*count).filter(|shard| !shards.contains(shard)).collect();
    Err(missing_shards(stage, &missing).context(format!(
        "{} of {count} shards are there; to generate in one piece, remove the folders `generate.*-of-{count}-{}`",
        shards.len(),
        stage.key.short()
    )))
}

fn missing_shards(stage: &StageSpec, missing: &[Shard]) -> anyhow::Error {
    let named: Vec<String> = missing.iter().map(|shard| format!("`--shard {shard}`")).collect();
    anyhow::anyhow!("expected every shard of `{}`, got none for {}; run those first", stage.label(), named.join(", "))
}

/// Makes a generation of its shards: the bytes of one that was made in one piece.
pub(crate) fn merge(
    bench: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    count: u32,
) -> Result<(serde_json::Value, Vec<Failure>)> {
    let remote = bench.run.remote.as_deref().map(Remote::open).transpose()?;
    let (mut folders, mut missing): (Vec<StageFolder>, Vec<Shard>) = Default::default();
    for shard in Shard::all(count) {
        let name = shard.stage_name();
        let mut folder = bench.store.find(&name, stage.key)?;
        if let (None, Some(remote)) = (&folder, &remote) {
            folder = remote.pull(bench.store, &name, stage.key)?;
        }
        match folder {
            Some(folder) => folders.push(folder),
            None => missing.push(shard),
        }
    }
    if !missing.is_empty() {
        return Err(missing_shards(stage, &missing));
    }
    let (mut outcomes, mut costs, mut timings) = (Outcomes::default(), Costs::default(), Timings::new());
    for folder in &folders {
        folder.verify()?;
        outcomes.add_shard(folder).with_context(|| format!("`{}`", folder.path().display()))?;
        costs.add(folder.costs()?.unwrap_or_default());
        for (what, seconds) in folder.timings()? {
            *timings.entry(what).or_insert(0.0) += seconds;
        }
    }
    let problems = bench.problems(stage.input(StageKind::Problems).context("generation has problems")?)?;
    let solved = outcomes.trajectories.iter().map(|trajectory| &trajectory.problem);
    let ended: BTreeSet<&String> = solved.chain(outcomes.failures.iter().map(|(id, _)| id)).collect();
    if let Some(left_out) = problems.iter().find(|problem| !ended.contains(&problem.id)) {
        bail!("expected an outcome of every problem in the {count} shards, got none of `{}`", left_out.id);
    }
    writer.write_costs(&costs)?;
    // The seconds of all machines together: what the work took, not how long anyone waited.
    writer.write_timings(&timings)?;
    outcomes.write(writer, &problems)
}

/// Where the generations of a recipe and their shards are, and which shards are missing.
pub(crate) fn whereabouts(plan: &Plan, store: &Store) -> Result<String> {
    let mut lines = Vec::new();
    for stage in plan.of_kind(StageKind::Generate) {
        let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(whole) = store.find(StageKind::Generate.name(), stage.key)? {
            lines.push(format!("{}  {}", name(whole.path().to_path_buf()), stage.label()));
            continue;
        }
        for (count, shards) in found(store, stage.key)? {
            let missing: Vec<String> =
                Shard::all(count).filter(|shard| !shards.contains(shard)).map(|shard| shard.to_string()).collect();
            let missing =
                if missing.is_empty() { "merge them".to_owned() } else { format!("missing {}", missing.join(", ")) };
            lines.push(format!("{} of {count} shards are here, {missing}  {}", shards.len(), stage.label()));
        }
    }
    lines.push(format!("in {}", store.folder().display()));
    Ok(lines.join("\n"))
}
