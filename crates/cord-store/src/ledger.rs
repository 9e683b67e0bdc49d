//! `candidates.parquet`: the ledger of every candidate, kept or not.

use cord_core::{Candidate, ProblemId};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::columns::{Columns, Rows, finite, sorted};

pub(crate) const TABLE: &str = "candidates";

/// A candidate and the problem that it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The problem.
    pub problem: ProblemId,
    /// The candidate; its id and its parent's are numbers in this problem's ledger.
    pub candidate: Candidate,
}

/// Writes a ledger, sorted by problem and candidate id.
///
/// Columns: `problem`, then the fields of [`Candidate`] by name, with `delimiter` beside `finish` (null
/// unless that is `delimiter`) and the usage as `prompt_tokens`, `generated_tokens` and `scored_tokens`.
pub fn candidates_to_parquet(rows: &[LedgerRow]) -> Result<Vec<u8>, StoreError> {
    let rows = sorted(TABLE, rows, |row| (row.problem.as_str(), row.candidate.id))?;
    for row in &rows {
        finite(TABLE, &format!("problem `{}`, candidate {}", row.problem, row.candidate.id), row.candidate.score)?;
    }
    Columns::groups_to_parquet(TABLE, &rows, |rows| Ok(columns(rows)))
}

fn columns(rows: &[&LedgerRow]) -> Columns {
    let all = || rows.iter().map(|row| &row.candidate);
    let mut columns = Columns::default();
    columns.text("problem", rows.iter().map(|row| row.problem.as_str()));
    columns.small("id", all().map(|c| c.id));
    columns.optional_small("parent", all().map(|c| c.parent));
    columns.small("depth", all().map(|c| c.depth));
    columns.text("teacher", all().map(|c| c.teacher.as_str()));
    columns.small("sample", all().map(|c| c.sample));
    columns.words("kind", all().map(|c| &c.kind));
    columns.text("text", all().map(|c| c.text.as_str()));
    columns.finish(all().map(|c| &c.finish));
    columns.flag("terminal", all().map(|c| c.terminal));
    columns.optional_float("score", all().map(|c| c.score));
    columns.optional_small("rank", all().map(|c| c.rank));
    columns.words("fate", all().map(|c| &c.fate));
    columns.usage(&all().map(|c| c.usage));
    columns
}

/// Reads a ledger, in the file's order.
pub fn candidates_from_parquet(bytes: Vec<u8>) -> Result<Vec<LedgerRow>, StoreError> {
    Rows::of_parquet(TABLE, bytes, read_rows)
}

/// Reads the rows of a batch.
pub(crate) fn read_rows(rows: &Rows) -> Result<Vec<LedgerRow>, StoreError> {
    let mut id = rows.small("id")?.into_iter();
    let mut parent = rows.optional_small("parent")?.into_iter();
    let mut depth = rows.small("depth")?.into_iter();
    let mut teacher = rows.text("teacher")?.into_iter();
    let mut sample = rows.small("sample")?.into_iter();
    let mut kind = rows.words("kind")?.into_iter();
    let mut text = rows.text("text")?.into_iter();
    let mut finish = rows.finish()?.into_iter();
    let mut terminal = rows.flag("terminal")?.into_iter();
    let mut score = rows.optional_float("score")?.into_iter();
    let mut rank = rows.optional_small("rank")?.into_iter();
    let mut fate = rows.words("fate")?.into_iter();
    let mut usage = rows.usage()?.into_iter();
    let mut read = |problem| {
        let candidate = Candidate {
            id: id.next()?,
            parent: parent.next()?,
            depth: depth.next()?,
            teacher: teacher.next()?,
            sample: sample.next()?,
            kind: kind.next()?,
            text: text.next()?,
            finish: finish.next()?,
            terminal: terminal.next()?,
            score: score.next()?,
            rank: rank.next()?,
            fate: fate.next()?,
            usage: usage.next()?,
        };
        Some(LedgerRow { problem, candidate })
    };
    Ok(rows.text("problem")?.into_iter().map_while(&mut read).collect())
}
