//! Rows of someone else's data set to problems, by a map of its columns.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{choice, tat_qa};

/// A row as it was read: its columns by name.
pub type Row = Map<String, Value>;

/// How a file's values become rows. Both may be absent: the file is a list of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RowShape {
    /// The file is one object of rows; their keys become this column.
    pub key: Option<String>,
    /// A column that holds a list: each of its items is a row, with the other columns of the row that it was in.
    pub each: Option<String>,
    /// Rows that are known to be faulty and are passed over, from 1.
    pub skip: Vec<usize>,
}

impl RowShape {
    /// Spreads out what a file holds.
    pub fn rows(&self, read: Vec<Row>) -> Result<Vec<Row>, ColumnFaults> {
        let mut rows = read;
        if let Some(key) = &self.key {
            let mut keyed = Vec::new();
            for (place, object) in rows.into_iter().enumerate() {
                for (name, value) in object {
                    let Value::Object(mut row) = value else {
                        return Err(ColumnFaults::one(
                            place,
                            format!("expected an object under `{name}`, got `{value}`"),
                        ));
                    };
                    row.insert(key.clone(), Value::String(name));
                    keyed.push(row);
                }
            }
            rows = keyed;
        }
        let mut place = 0;
        rows.retain(|_| {
            place += 1;
            !self.skip.contains(&place)
        });
        let Some(each) = &self.each else { return Ok(rows) };
        let (mut spread, mut faults) = (Vec::new(), Vec::new());
        for (place, mut outer) in rows.into_iter().enumerate() {
            match outer.remove(each) {
                Some(Value::Array(items)) => {
                    for item in items {
                        let Value::Object(inner) = item else {
                            faults.push((place, format!("expected objects in `{each}`, got `{item}`")));
                            continue;
                        };
                        let mut row = outer.clone();
                        row.extend(inner);
                        spread.push(row);
                    }
                }
                other => {
                    faults.push((place, format!("expected a list as `{each}`, got `{}`", other.unwrap_or_default())));
                }
            }
        }
        if faults.is_empty() { Ok(spread) } else { Err(ColumnFaults { rows: faults }) }
    }
}

/// One column, or several whose texts are joined into sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// One.
    One(String),
    /// Several; a part without a mark at its end is given a full stop.
    Several(Vec<String>),
}

/// Where the gold answer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AnswerColumn {
    /// The column. A list of texts is joined with semicolons; a whole number with decimals (`27.0`) loses them.
    pub column: String,
    /// The answer is what follows the last of these marks: `####` in GSM8K.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// A column whose text follows the answer, where it is not empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Columns of wrong answers, for multiple choice: all are put into an order that depends on the problem's id, as the
    /// field `options`, and the answer becomes a letter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrong: Vec<String>,
}

/// Where a worked solution is, to learn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SolutionColumn {
    /// The column.
    pub column: String,
    /// The solution is what stands before the last of these marks: `####` in GSM8K.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What stands between two such marks is no part of it: `["<<", ">>"]`, GSM8K's notes for a calculator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<[String; 2]>,
}

impl SolutionColumn {
    fn read(&self, row: &Row) -> Result<String, String> {
        let mut solution = text(row, &self.column)?;
        if let Some(mark) = &self.before {
            solution = match solution.rsplit_once(mark.as_str()) {
                Some((before, _)) => before.trim().to_owned(),
                None => return Err(format!("expected `{mark}` in `{}`, got none", self.column)),
            };
        }
        if let Some([open, close]) = &self.without {
            while let Some((before, rest)) = solution.split_once(open.as_str()) {
                let Some((_, after)) = rest.split_once(close.as_str()) else {
                    return Err(format!("expected `{close}` after `{open}` in `{}`, got none", self.column));
                };
                solution = format!("{before}{after}");
            }
        }
        Ok(solution)
    }
}

/// A report as context: a table and paragraphs in TAT-QA's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReportColumns {
    /// The column of the table.
    pub table: String,
    /// The column of the paragraphs.
    pub paragraphs: String,
}

/// Which columns hold what. What is named must be in every row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Columns {
    /// The problem's id; the data set's name and the row's number from 0 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The question.
    pub question: Names,
    /// The gold answer.
    pub answer: AnswerColumn,
    /// A text, or a list of texts, to be the field `context`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// A report, to be the field `context`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportColumns>,
    /// A worked solution, to be the field `solution`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<SolutionColumn>,
    /// Further fields of a problem: their names, and the columns that they are taken from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// Every row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnFaults {
    /// Rows from 0, and what is wrong with them.
    pub rows: Vec<(usize, String)>,
}

impl ColumnFaults {
    fn one(row: usize, fault: String) -> Self {
        Self { rows: vec![(row, fault)] }
    }
}

impl std::error::Error for ColumnFaults {}

impl std::fmt::Display for ColumnFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 5;
        let mut by_fault: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, fault) in &self.rows {
            by_fault.entry(fault).or_default().push(row + 1);
        }
        let mut faults: Vec<_> = by_fault.into_iter().collect();
        faults.sort_by_key(|(_, rows)| rows[0]);
        for (place, (fault, rows)) in faults.iter().enumerate() {
            let listed: Vec<String> = rows.iter().take(SHOWN).map(ToString::to_string).collect();
            let more = rows.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let rows = if rows.len() == 1 { "row" } else { "rows" };
            write!(f, "{}{rows} {}{more}: {fault}", if place > 0 { "; " } else { "" }, listed.join(", "))?;
        }
        Ok(())
    }
}

impl Columns {
    /// The problems of rows, in their order. `dataset` names those without an id.
    pub fn problems(&self, dataset: &str, rows: &[Row]) -> Result<Vec<Problem>, ColumnFaults> {
        let (mut problems, mut faults) = (Vec::new(), Vec::new());
        let mut ids = BTreeSet::new();
        let stem = dataset.replace('/', "-");
        for (place, row) in rows.iter().enumerate() {
            match self.problem(&stem, place, row) {
                Ok(problem) if ids.insert(problem.id.clone()) => problems.push(problem),
                Ok(problem) => faults.push((place, format!("expected each id once, got `{}` again", problem.id))),
                Err(found) => faults.extend(found.into_iter().map(|fault| (place, fault))),
            }
        }
        if faults.is_empty() { Ok(problems) } else { Err(ColumnFaults { rows: faults }) }
    }

    fn problem(&self, stem: &str, place: usize, row: &Row) -> Result<Problem, Vec<String>> {
        let mut faults = Vec::new();
        let mut keep = |read: Result<String, String>| {
            read.unwrap_or_else(|fault| {
                faults.push(fault);
                String::new()
            })
        };
        let id = match &self.id {
            Some(column) => keep(text(row, column)),
            None => format!("{stem}-{place:05}"),
        };
        let question = match &self.question {
            Names::One(column) => keep(text(row, column)),
            Names::Several(columns) => {
                let parts: Vec<String> = columns.iter().map(|column| sentence(&keep(text(row, column)))).collect();
                parts.join(" ")
            }
        };
        let mut answer = keep(text(row, &self.answer.column));
        if let Some(mark) = self.answer.after.as_ref().filter(|_| !answer.is_empty()) {
            answer = match answer.rsplit_once(mark.as_str()) {
                Some((_, answer)) => answer.trim().to_owned(),
                None => keep(Err(format!("expected `{mark}` in `{}`, got none", self.answer.column))),
            };
        }
        if let Some(unit) = self.answer.unit.as_ref().map(|column| keep(optional_text(row, column)))
            && !unit.is_empty()
        {
            answer = format!("{answer} {unit}");
        }
        let mut metadata = BTreeMap::new();
        if !self.answer.wrong.is_empty() {
            let wrong: Vec<String> = self.answer.wrong.iter().map(|column| keep(text(row, column))).collect();
            let (options, right) = choice::shuffled(&id, &answer, &wrong);
            metadata.insert("options".to_owned(), options.into());
            answer = right.to_string();
        }
        if let Some(column) = &self.context {
            metadata.insert("context".to_owned(), keep(paragraphs(row, column)).into());
        }
        if let Some(report) = &self.report {
            let read = column(row, &report.table)
                .and_then(|table| tat_qa::report_text(table, column(row, &report.paragraphs)?));
            metadata.insert("context".to_owned(), keep(read).into());
        }
        if let Some(solution) = &self.solution {
            metadata.insert("solution".to_owned(), keep(solution.read(row)).into());
        }
        for (name, from) in &self.fields {
            match column(row, from) {
                Ok(value) => drop(metadata.insert(name.clone(), value.clone())),
                Err(fault) => drop(keep(Err(fault))),
            }
        }
        if faults.is_empty() { Ok(Problem { id, question, answer, metadata }) } else { Err(faults) }
    }
}

fn column<'a>(row: &'a Row, name: &str) -> Result<&'a Value, String> {
    row.get(name).ok_or_else(|| {
        let names: Vec<String> = row.keys().map(|name| format!("`{name}`")).collect();
        format!("expected a column `{name}`, got {}", names.join(", "))
    })
}

/// A value as text; an empty one is a fault.
fn text(row: &Row, name: &str) -> Result<String, String> {
    let text = optional_text(row, name)?;
    if text.is_empty() { Err(format!("expected text in `{name}`, got nothing")) } else { Ok(text) }
}

fn optional_text(row: &Row, name: &str) -> Result<String, String> {
    let value = column(row, name)?;
    written(value).ok_or_else(|| format!("expected text or a number in `{name}`, got `{value}`"))
}

fn written(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim().to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::Array(items) => items.iter().map(written).collect::<Option<Vec<_>>>()?.join("; "),
        Value::Object(_) => return None,
    })
}

fn paragraphs(row: &Row, name: &str) -> Result<String, String> {
    match column(row, name)? {
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join("\n\n")).ok_or_else(|| format!("expected texts in the list `{name}`"))
        }
        _ => text(row, name),
    }
}

fn sentence(text: &str) -> String {
    let ended = text.ends_with(['.', '?', '!', ':', ',']);
    if ended { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(value: Value) -> Vec<Row> {
        serde_json::from_value(value).unwrap()
    }

    fn columns(value: Value) -> Columns {
        serde_json::from_value(value).unwrap()
    }

    #[track_caller]
    fn check(map: Value, row: &Value, id: &str, question: &str, answer: &str) -> Problem {
        let problem = columns(map).problems("set/test", &rows(json!([row]))).unwrap().remove(0);
        assert_eq!((problem.id.as_str(), problem.question.as_str(), problem.answer.as_str()), (id, question, answer));
        problem
    }

    #[test]
    fn columns_become_problems() {
        let gsm8k = json!({"question": "question", "answer": {"column": "answer", "after": "####"}});
        check(gsm8k, &json!({"question": "Q?", "answer": "1+1\n#### 1,002"}), "set-test-00000", "Q?", "1,002");
        let svamp = json!({"id": "ID", "question": ["Body", "Question"], "answer": {"column": "Answer"}});
        check(
            svamp,
            &json!({"ID": "c1", "Body": "He has 3", "Question": "How many?", "Answer": 51.0}),
            "c1",
            "He has 3. How many?",
            "51",
        );
        let gpqa = json!({"question": "Q", "answer": {"column": "Right", "wrong": ["W1", "W2"]}});
        let problem = columns(gpqa)
            .problems("g", &rows(json!([{"Q": "Which?", "Right": "r", "W1": "a", "W2": "b"}])))
            .unwrap()
            .remove(0);
        let place = usize::from(problem.answer.as_bytes()[0] - b'A');
        assert_eq!(problem.metadata["options"][place], "r");
        let labelled =
            json!({"question": "Q", "answer": {"column": "A"}, "context": "C", "fields": {"long-answer": "L"}});
        let problem = check(
            labelled,
            &json!({"Q": "Is it?", "A": "yes", "C": ["one", "two"], "L": "It is."}),
            "set-test-00000",
            "Is it?",
            "yes",
        );
        assert_eq!(
            (&problem.metadata["context"], &problem.metadata["long-answer"]),
            (&json!("one\n\ntwo"), &json!("It is."))
        );
        let report = json!({"id": "uid", "question": "question", "answer": {"column": "answer", "unit": "scale"},
                            "report": {"table": "table", "paragraphs": "paragraphs"}});
        let row = json!({"uid": "u", "question": "How much?", "answer": [1.5, "x"], "scale": "million",
                         "table": {"table": [["a", "b"]]}, "paragraphs": [{"order": 1, "text": "p"}]});
        let problem = check(report, &row, "u", "How much?", "1.5; x million");
        assert_eq!(problem.metadata["context"], json!("| a | b |\n\np"));
    }

    #[test]
    fn a_worked_solution_is_a_field() {
        let map = json!({"question": "q", "answer": {"column": "a", "after": "####"},
                         "solution": {"column": "a", "before": "####", "without": ["<<", ">>"]}});
        let row = json!({"q": "Half of 48?", "a": "48/2 = <<48/2=24>>24 clips.\nSo <<24=24>>24.\n#### 24"});
        let problem = check(map.clone(), &row, "set-test-00000", "Half of 48?", "24");
        assert_eq!(problem.metadata["solution"], json!("48/2 = 24 clips.\nSo 24."));
        let faulty = rows(json!([{"q": "Half?", "a": "48/2 = <<48\n#### 24"}]));
        let fault = columns(map).problems("s", &faulty).unwrap_err().to_string();
        assert_eq!(fault, "row 1: expected `>>` after `<<` in `a`, got none");
    }

    #[test]
    fn nested_files_are_spread_out() {
        let keyed = RowShape { key: Some("pmid".into()), ..RowShape::default() };
        let spread = keyed.rows(rows(json!([{"7": {"q": "x"}, "8": {"q": "y"}}]))).unwrap();
        assert_eq!(spread, rows(json!([{"q": "x", "pmid": "7"}, {"q": "y", "pmid": "8"}])));
        let each = RowShape { each: Some("questions".into()), ..RowShape::default() };
        let read = json!([{"uid": "t", "table": 1, "questions": [{"uid": "a"}, {"uid": "b"}]}]);
        assert_eq!(each.rows(rows(read)).unwrap(), rows(json!([{"uid": "a", "table": 1}, {"uid": "b", "table": 1}])));
        let skip = RowShape { skip: vec![1, 3], ..RowShape::default() };
        assert_eq!(skip.rows(rows(json!([{"a": 1}, {"a": 2}, {"a": 3}]))).unwrap(), rows(json!([{"a": 2}])));
        let fault = each.rows(rows(json!([{"uid": "t"}]))).unwrap_err().to_string();
        assert_eq!(fault, "row 1: expected a list as `questions`, got `null`");
    }

    #[test]
    fn all_faults_are_listed_by_row() {
        let map = columns(json!({"id": "id", "question": "q", "answer": {"column": "a", "after": "####"}}));
        let read = rows(json!([
            {"id": "1", "q": "Q", "a": "#### 2"},
            {"id": "1", "q": "Q", "a": "#### 2"},
            {"id": "2", "q": "", "a": "2"},
            {"id": "3", "a": {"x": 1}},
            {"id": "4", "q": "Q", "a": "3"},
        ]));
        let text = map.problems("s", &read).unwrap_err().to_string();
        assert_eq!(
            text,
            "row 2: expected each id once, got `1` again; \
             rows 3, 5: expected `####` in `a`, got none; \
             row 3: expected text in `q`, got nothing; \
             row 4: expected a column `q`, got `id`, `a`; \
             row 4: expected text or a number in `a`, got `{\"x\":1}`"
        );
    }
}
