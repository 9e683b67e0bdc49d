//! A generation's files, whether it was made in one piece or in shards.

use std::collections::BTreeMap;

use anyhow::Result;
use cord_core::{Candidate, Problem, Trajectory, Usage};
use cord_eval::Discrimination;
use cord_generate::SearchResult;
use cord_math::DEFAULT_FUEL;
use cord_store::{
    LedgerRow, StageFolder, StageWriter, candidates_from_parquet, candidates_to_parquet, trajectories_from_parquet,
    trajectories_to_parquet,
};
use serde_json::json;

use crate::stages::Failure;

/// What a generation found. The order of nothing matters: files and summary are sorted.
#[derive(Default)]
pub(crate) struct Outcomes {
    pub(crate) trajectories: Vec<Trajectory>,
    pub(crate) ledger: Vec<LedgerRow>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) usage: Usage,
}

impl Outcomes {
    /// Adds what was found for one problem.
    pub(crate) fn add(&mut self, found: SearchResult) {
        let SearchResult { problem, trajectories, candidates, usage } = found;
        self.usage += usage;
        self.trajectories.extend(trajectories);
        let row = |candidate| LedgerRow { problem: problem.clone(), candidate };
        self.ledger.extend(candidates.into_iter().map(row));
    }

    /// Adds what a finished shard found.
    pub(crate) fn add_shard(&mut self, shard: &StageFolder) -> Result<()> {
        let summary = &shard.manifest().summary;
        self.trajectories.extend(trajectories_from_parquet(shard.read_bytes("trajectories.parquet")?)?);
        self.ledger.extend(candidates_from_parquet(shard.read_bytes("candidates.parquet")?)?);
        self.failures.extend(serde_json::from_value::<Vec<Failure>>(summary["failed"].clone())?);
        self.usage += serde_json::from_value::<Usage>(summary["usage"].clone())?;
        Ok(())
    }

    /// Writes the files. `problems` are those of the stage. Gives the stage's summary.
    pub(crate) fn write(
        mut self,
        writer: &mut StageWriter,
        problems: &[Problem],
    ) -> Result<(serde_json::Value, Vec<Failure>)> {
        self.failures.sort();
        self.ledger.sort_by(|a, b| (&a.problem, a.candidate.id).cmp(&(&b.problem, b.candidate.id)));
        let by_id: BTreeMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
        let mut preference = Discrimination::default();
        for rows in self.ledger.chunk_by(|a, b| a.problem == b.problem) {
            let candidates: Vec<Candidate> = rows.iter().map(|row| row.candidate.clone()).collect();
            preference.add(by_id[rows[0].problem.as_str()], &candidates, DEFAULT_FUEL);
        }
        writer.write_bytes("trajectories.parquet", &trajectories_to_parquet(&self.trajectories)?)?;
        writer.write_bytes("candidates.parquet", &candidates_to_parquet(&self.ledger)?)?;
        let summary = json!({"problems": problems.len(), "trajectories": self.trajectories.len(),
                             "candidates": self.ledger.len(), "usage": self.usage, "failed": self.failures,
                             "prefers-right-step-by-remaining": preference});
        Ok((summary, self.failures))
    }
}
