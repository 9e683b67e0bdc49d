//! Generations cut into shards: which are there, and the whole that is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cord_core::Digest;
use cord_recipe::{Plan, Shard, StageKind, StageSpec};
use cord_store::{Costs, Journal, Remote, StageFolder, StageWriter, Store, Timings};

use crate::outcomes::Outcomes;
use crate::stages::{Bench, Failure};

/// Which part of a recipe's work a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// One share of the problems of each generation, or of each evaluation.
    Shard(Shard, StageKind),
    /// Making each generation of this many finished shards.
    Merge(u32),
}

impl Part {
    /// The name of a stage's folder.
    pub(crate) fn stage_name(self, stage: &StageSpec) -> String {
        match (self, stage.kind) {
            (Self::Shard(shard, cut), kind) if kind == cut => shard.stage_name(kind),
            (_, kind) => kind.name().to_owned(),
        }
    }

    /// What a stage is called in messages.
    pub(crate) fn label(self, stage: &StageSpec) -> String {
        match (self, stage.kind) {
            (Self::Shard(shard, cut), kind) if kind == cut => format!("{}, shard {shard}", stage.label()),
            _ => stage.label(),
        }
    }

    /// Leaves of a stage's problems those that it does.
    pub(crate) fn take_share<T>(self, problems: &mut Vec<T>) {
        if let Self::Shard(shard, _) = self {
            let mut place = 0..;
            problems.retain(|_| place.next().is_some_and(|place| shard.takes(place)));
        }
    }

    /// Does it do this stage? A shard, and a merge, are about what is cut and the problems that it needs.
    pub(crate) fn does(self, stage: &StageSpec, all: &[StageSpec]) -> bool {
        let cut = match self {
            Self::Whole => return stage.kind != StageKind::Table,
            Self::Shard(_, cut) => cut,
            Self::Merge(_) => StageKind::Generate,
        };
        let needed = |one: &StageSpec| one.kind == cut && one.inputs.iter().any(|input| input.key == stage.key);
        stage.kind == cut || stage.kind == StageKind::Problems && all.iter().any(needed)
    }
}

/// The replies of an evaluation's finished shards: what they asked is not asked again.
pub(crate) fn take_in(store: &Store, stage: &StageSpec, journal: &Journal) -> Result<()> {
    for folder in store.stages()?.iter().filter(|folder| folder.key() == stage.key) {
        if Shard::of_stage_name(stage.kind, &folder.manifest().stage).is_some() && folder.journal_path().exists() {
            journal.take_in(&Journal::open(&folder.journal_path())?)?;
        }
    }
    Ok(())
}

/// The finished shards of a stage, by their number.
fn found(store: &Store, kind: StageKind, key: Digest) -> Result<BTreeMap<u32, BTreeSet<Shard>>> {
    let mut found: BTreeMap<u32, BTreeSet<Shard>> = BTreeMap::new();
    for folder in store.stages()?.iter().filter(|folder| folder.key() == key) {
        if let Some(shard) = Shard::of_stage_name(kind, &folder.manifest().stage) {
            found.entry(shard.count()).or_default().insert(shard);
        }
    }
    Ok(found)
}

/// Of how many shards a whole can be made; nothing where there are none. Where some are there and some are missing, those are
/// named: to generate everything once more beside them would be a mistake.
pub(crate) fn complete(store: &Store, stage: &StageSpec) -> Result<Option<u32>> {
    let found = found(store, stage.kind, stage.key)?;
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
        let name = shard.stage_name(stage.kind);
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

/// Where the generations of a recipe, or its evaluations, and their shards are, and which shards are missing.
pub(crate) fn whereabouts(plan: &Plan, store: &Store, kind: StageKind) -> Result<String> {
    let whole = if kind == StageKind::Generate { "merge them" } else { "go on without `--shard`" };
    let mut lines = Vec::new();
    for stage in plan.of_kind(kind) {
        let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(whole) = store.find(kind.name(), stage.key)? {
            lines.push(format!("{}  {}", name(whole.path().to_path_buf()), stage.label()));
            continue;
        }
        for (count, shards) in found(store, kind, stage.key)? {
            let missing: Vec<String> =
                Shard::all(count).filter(|shard| !shards.contains(shard)).map(|shard| shard.to_string()).collect();
            let missing = if missing.is_empty() { whole.to_owned() } else { format!("missing {}", missing.join(", ")) };
            lines.push(format!("{} of {count} shards are here, {missing}  {}", shards.len(), stage.label()));
        }
    }
    lines.push(format!("in {}", store.folder().display()));
    Ok(lines.join("\n"))
}
