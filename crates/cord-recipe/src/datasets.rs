//! Where problems and training rows come from.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fault::FaultKind;
use crate::reader::{Field, Fields};
use crate::tree::Value;

/// A data set by name, or a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSource {
    /// `datasets/<name>.toml`, which says what the set is.
    Dataset(String),
    /// A JSON Lines file of problems or training rows in this program's own form.
    Path(PathBuf),
    /// A file of someone's own rows.
    Rows(RowFile),
    /// A benchmark's problems, with how they are asked and judged: `eval/<name>/benchmark.toml`, or a folder that holds
    /// one.
    Benchmark(String),
}

/// A file of rows, and which of their columns hold what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RowFile {
    /// JSON Lines, JSON, CSV, TSV or Parquet, by the ending of its name.
    pub path: PathBuf,
    /// The map of its columns.
    pub columns: ColumnMap,
}

/// `[problems.columns]`: which columns hold what. What is named must be in every row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ColumnMap {
    /// The problem's id; the file's name and the row's number where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The question; several columns are joined into sentences.
    pub question: Vec<String>,
    /// The gold answer.
    pub answer: String,
    /// The answer is what follows the last of these marks: `####` in GSM8K.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// A text or a list of texts that goes with the question, as `{context}` in a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

impl Default for ColumnMap {
    fn default() -> Self {
        let (question, answer) = (vec!["question".to_owned()], "answer".to_owned());
        Self { id: None, question, answer, after: None, context: None }
    }
}

impl std::fmt::Display for ColumnMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "question: {}, answer: {}", self.question.join(" + "), self.answer)?;
        for (what, column) in [("after", &self.after), ("id", &self.id), ("context", &self.context)] {
            if let Some(column) = column {
                write!(f, ", {what}: {column}")?;
            }
        }
        Ok(())
    }
}

impl ColumnMap {
    fn read(fields: Fields<'_>) -> Self {
        let usual = Self::default();
        let map = Self {
            id: fields.optional("id", Field::name),
            question: fields.or("question", usual.question, |field| match &field.node.value {
                Value::List(_) => field.names("columns"),
                _ => Some(vec![field.name()?]),
            }),
            answer: fields.or("answer", usual.answer, Field::name),
            after: fields.optional("after", Field::name),
            context: fields.optional("context", Field::name),
        };
        fields.close();
        map
    }
}

impl DataSource {
    /// What it is called: a name, or a path.
    pub fn name(&self) -> String {
        match self {
            Self::Dataset(name) | Self::Benchmark(name) => name.clone(),
            Self::Path(path) | Self::Rows(RowFile { path, .. }) => path.display().to_string(),
        }
    }

    /// The name under which [`crate::Identities`] holds its digest: the data set's name, `file:<path>`, or the benchmark's
    /// folder.
    pub fn label(&self) -> String {
        match self {
            Self::Dataset(name) => name.clone(),
            Self::Benchmark(name) => folder(name).display().to_string(),
            Self::Path(path) => format!("file:{}", path.display()),
            Self::Rows(RowFile { path, columns }) => format!("file:{} ({columns})", path.display()),
        }
    }

    /// The manifest or file that must exist.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Dataset(name) => Path::new("datasets").join(format!("{name}.toml")),
            Self::Path(path) | Self::Rows(RowFile { path, .. }) => path.clone(),
            Self::Benchmark(name) => folder(name).join("benchmark.toml"),
        }
    }

    /// Reads `dataset` or `path` of a table.
    pub(crate) fn read(fields: &Fields<'_>) -> Option<Self> {
        let dataset = fields.optional("dataset", Self::read_name);
        let path = fields.optional("path", |field| {
            let path = PathBuf::from(field.name()?);
            field.must_exist(&path);
            Some(Self::Path(path))
        });
        match (fields.has("dataset"), fields.has("path")) {
            (true, true) => {
                fields.fault_at(
                    "path",
                    FaultKind::Conflict {
                        expected: format!("one of `{}` and `{}`", fields.path("dataset"), fields.path("path")),
                        given: "both".to_owned(),
                        hint: "remove one".to_owned(),
                    },
                );
                None
            }
            (false, false) => {
                fields.missing("dataset", "a data set's name (or a file as `path`)");
                None
            }
            _ => dataset.or(path),
        }
    }

    /// Reads a data set's name.
    pub(crate) fn read_name(field: &Field<'_>) -> Option<Self> {
        let name = field.text_that("a data set's name of letters, digits, `-`, `_`, `.` and `/`", is_name)?;
        let source = Self::Dataset(name);
        field.must_exist(&source.path());
        Some(source)
    }

    /// Reads a benchmark: by name, as the path of its folder (`./mine`, `/data/mine`), or a data set that no benchmark speaks
    /// of.
    pub(crate) fn read_benchmark(field: &Field<'_>) -> Option<Self> {
        let name = field.text_that("a benchmark's name, or the path of its folder such as `./mine`", |text| {
            is_path(text) || is_name(text)
        })?;
        let benchmark = Self::Benchmark(name.clone());
        if is_name(&name) && !field.exists(&benchmark.path()) {
            let dataset = Self::Dataset(name);
            if field.exists(&dataset.path()) {
                return Some(dataset);
            }
        }
        field.must_exist(&benchmark.path());
        Some(benchmark)
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain))
}

fn is_path(text: &str) -> bool {
    text.len() > 2 && (text.starts_with("./") || text.starts_with("../") || Path::new(text).is_absolute())
}

fn is_json_lines(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("jsonl"))
}

/// A benchmark's folder.
fn folder(name: &str) -> PathBuf {
    if is_path(name) { PathBuf::from(name) } else { Path::new("eval").join(name) }
}

/// `[problems]`: what trajectories are generated for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProblemSettings {
    /// Where they come from.
    pub source: DataSource,
    /// Only the first so many; all where absent.
    pub limit: Option<u32>,
}

impl ProblemSettings {
    pub(crate) fn read(fields: Fields<'_>) -> Option<Self> {
        let source = DataSource::read(&fields);
        let columns = fields.optional("columns", |field| field.table(|fields| Some(ColumnMap::read(fields))));
        let source = match source {
            Some(DataSource::Path(path)) if columns.is_some() || !is_json_lines(&path) => {
                Some(DataSource::Rows(RowFile { path, columns: columns.unwrap_or_default() }))
            }
            Some(DataSource::Dataset(_)) if fields.has("columns") => {
                fields.fault_at(
                    "columns",
                    FaultKind::Conflict {
                        expected: format!("`{}` of a file, named by `path`", fields.path("columns")),
                        given: "a data set, whose manifest has its own".to_owned(),
                        hint: "remove it, or name a file".to_owned(),
                    },
                );
                None
            }
            other => other,
        };
        let limit = fields.optional("limit", Field::count);
        fields.close();
        Some(Self { source: source?, limit })
    }
}
