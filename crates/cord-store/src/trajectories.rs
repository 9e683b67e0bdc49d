//! `trajectories.parquet`: the finished trajectories of a generation.

use std::sync::Arc;

use arrow_array::{Array, ListArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::Field;
use cord_core::{Step, Trajectory};

use crate::StoreError;
use crate::columns::{Columns, Rows, finite, sorted};

pub(crate) const TABLE: &str = "trajectories";

/// Writes trajectories, sorted by problem and index.
///
/// Columns: `problem`, `index`, `response`, `end`, `score` (null where there is none), `prompt_tokens`,
/// `generated_tokens`, `scored_tokens`, and `steps`, a list of structs of `candidate`, `teacher`, `kind`,
/// `text` and `score`.
pub fn trajectories_to_parquet(rows: &[Trajectory]) -> Result<Vec<u8>, StoreError> {
    let rows = sorted(TABLE, rows, |row| (row.problem.as_str(), row.index))?;
    for row in &rows {
        let place = format!("problem `{}`, trajectory {}", row.problem, row.index);
        finite(TABLE, &place, row.score)?;
        for (index, step) in row.steps.iter().enumerate() {
            finite(TABLE, &format!("{place}, step {index}"), step.score)?;
        }
    }
    Columns::groups_to_parquet(TABLE, &rows, |rows| Ok(columns(rows)))
}

fn columns(rows: &[&Trajectory]) -> Columns {
    let mut columns = Columns::default();
    columns.text("problem", rows.iter().map(|row| row.problem.as_str()));
    columns.small("index", rows.iter().map(|row| row.index));
    columns.text("response", rows.iter().map(|row| row.response.as_str()));
    columns.words("end", rows.iter().map(|row| &row.end));
    columns.optional_float("score", rows.iter().map(|row| row.score));
    columns.usage(&rows.iter().map(|row| row.usage));

    let all = || rows.iter().flat_map(|row| &row.steps);
    let mut steps = Columns::default();
    steps.small("candidate", all().map(|step| step.candidate));
    steps.text("teacher", all().map(|step| step.teacher.as_str()));
    steps.words("kind", all().map(|step| &step.kind));
    steps.text("text", all().map(|step| step.text.as_str()));
    steps.optional_float("score", all().map(|step| step.score));
    let steps = steps.into_struct();
    let field = Arc::new(Field::new("item", steps.data_type().clone(), false));
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|row| row.steps.len()));
    columns.add("steps", ListArray::new(field, lengths, Arc::new(steps), None));
    columns
}

/// Reads trajectories, in the file's order.
pub fn trajectories_from_parquet(bytes: Vec<u8>) -> Result<Vec<Trajectory>, StoreError> {
    Rows::of_parquet(TABLE, bytes, read_rows)
}

/// Reads the rows of a batch.
pub(crate) fn read_rows(rows: &Rows) -> Result<Vec<Trajectory>, StoreError> {
    let mut index = rows.small("index")?.into_iter();
    let mut response = rows.text("response")?.into_iter();
    let mut end = rows.words("end")?.into_iter();
    let mut score = rows.optional_float("score")?.into_iter();
    let mut usage = rows.usage()?.into_iter();
    let mut lists = rows.lists("steps")?.into_iter();
    let mut read = |problem: String| {
        Some(Ok(Trajectory {
            problem,
            index: index.next()?,
            steps: match steps(&lists.next()?) {
                Ok(steps) => steps,
                Err(error) => return Some(Err(error)),
            },
            response: response.next()?,
            end: end.next()?,
            score: score.next()?,
            usage: usage.next()?,
        }))
    };
    rows.text("problem")?.into_iter().map_while(&mut read).collect()
}

fn steps(rows: &Rows) -> Result<Vec<Step>, StoreError> {
    let mut candidate = rows.small("candidate")?.into_iter();
    let mut kind = rows.words("kind")?.into_iter();
    let mut text = rows.text("text")?.into_iter();
    let mut score = rows.optional_float("score")?.into_iter();
    let read = |teacher| {
        Some(Step {
            candidate: candidate.next()?,
            teacher,
            kind: kind.next()?,
            text: text.next()?,
            score: score.next()?,
        })
    };
    Ok(rows.text("teacher")?.into_iter().map_while(read).collect())
}
