//! `samples.parquet`: what a model answered to a benchmark's problems.

use std::collections::BTreeMap;

use cord_core::{Finish, ProblemId, Usage};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::columns::{Columns, Rows, finite, sorted};

pub(crate) const TABLE: &str = "samples";

/// One answer to one problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// The problem.
    pub problem: ProblemId,
    /// Which of the problem's samples it is, from 0.
    pub sample: u32,
    /// The assistant's text after its opening.
    pub response: String,
    /// Why its generation ended.
    pub finish: Finish,
    /// The verifier's word for it: correct, incorrect, unparsed and so on.
    pub verdict: String,
    /// What the verifier adds: the rule by which it is correct, why it could not be parsed.
    pub reason: Option<String>,
    /// The answer that was pulled out of the response, where there is one.
    pub extracted: Option<String>,
    /// Does it count as correct?
    pub correct: bool,
    /// The verifier's further measures by name, each in `[0, 1]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, f64>,
    /// What it cost.
    pub usage: Usage,
}

/// Writes samples, sorted by problem and sample.
///
/// Columns: the fields of [`SampleRow`] by name, with `delimiter` beside `finish` (null unless that is
/// `delimiter`), the marks as one JSON object (null where there are none; the column is absent where no row has any), and the usage as `prompt_tokens`, `generated_tokens` and `scored_tokens`.
pub fn samples_to_parquet(rows: &[SampleRow]) -> Result<Vec<u8>, StoreError> {
    let rows = sorted(TABLE, rows, |row| (row.problem.as_str(), row.sample))?;
    let marked = rows.iter().any(|row| !row.marks.is_empty());
    Columns::groups_to_parquet(TABLE, &rows, |rows| columns(rows, marked))
}

fn columns(rows: &[&SampleRow], marked: bool) -> Result<Columns, StoreError> {
    let mut columns = Columns::default();
    columns.text("problem", rows.iter().map(|row| row.problem.as_str()));
    columns.small("sample", rows.iter().map(|row| row.sample));
    columns.text("response", rows.iter().map(|row| row.response.as_str()));
    columns.finish(rows.iter().map(|row| &row.finish));
    columns.text("verdict", rows.iter().map(|row| row.verdict.as_str()));
    columns.optional_text("reason", rows.iter().map(|row| row.reason.as_deref()));
    columns.optional_text("extracted", rows.iter().map(|row| row.extracted.as_deref()));
    columns.flag("correct", rows.iter().map(|row| row.correct));
    if marked {
        let mut written = Vec::new();
        for row in rows {
            let place = format!("problem `{}`, sample {}", row.problem, row.sample);
            row.marks.values().try_for_each(|value| finite(TABLE, &place, Some(*value)))?;
            written.push((!row.marks.is_empty()).then(|| serde_json::json!(row.marks).to_string()));
        }
        columns.optional_text("marks", written.iter().map(Option::as_deref));
    }
    columns.usage(&rows.iter().map(|row| row.usage));
    Ok(columns)
}

/// Reads samples, in the file's order.
pub fn samples_from_parquet(bytes: Vec<u8>) -> Result<Vec<SampleRow>, StoreError> {
    Rows::of_parquet(TABLE, bytes, read_rows)
}

/// Reads the rows of a batch.
pub(crate) fn read_rows(rows: &Rows) -> Result<Vec<SampleRow>, StoreError> {
    let mut sample = rows.small("sample")?.into_iter();
    let mut response = rows.text("response")?.into_iter();
    let mut finish = rows.finish()?.into_iter();
    let mut verdict = rows.text("verdict")?.into_iter();
    let mut reason = rows.optional_text("reason")?.into_iter();
    let mut extracted = rows.optional_text("extracted")?.into_iter();
    let mut correct = rows.flag("correct")?.into_iter();
    let marks = if rows.has("marks") { rows.optional_text("marks")? } else { Vec::new() };
    let mut marks = marks.into_iter().map(|text| text.map_or(Ok(BTreeMap::new()), |text| marks_of(&text)));
    let mut usage = rows.usage()?.into_iter();
    let mut read = |problem| {
        let marks = match marks.next().unwrap_or(Ok(BTreeMap::new())) {
            Ok(marks) => marks,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(SampleRow {
            problem,
            sample: sample.next()?,
            response: response.next()?,
            finish: finish.next()?,
            verdict: verdict.next()?,
            reason: reason.next()?,
            extracted: extracted.next()?,
            correct: correct.next()?,
            marks,
            usage: usage.next()?,
        }))
    };
    rows.text("problem")?.into_iter().map_while(&mut read).collect()
}

fn marks_of(text: &str) -> Result<BTreeMap<String, f64>, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Table {
        table: TABLE,
        expected: "an object of numbers in `marks`".to_owned(),
        given: format!("`{text}`"),
    })
}
