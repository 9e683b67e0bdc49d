//! Where problems and training rows come from.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fault::FaultKind;
use crate::reader::{Field, Fields};

/// A data set by name, or a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSource {
    /// `datasets/<name>.toml`, which says what the set is.
    Dataset(String),
    /// A JSON Lines file.
    Path(PathBuf),
    /// A benchmark's problems, with how they are asked and judged: `eval/<name>/benchmark.toml`, or a folder that holds
    /// one.
    Benchmark(String),
}

impl DataSource {
    /// What it is called: a name, or a path.
    pub fn name(&self) -> String {
        match self {
            Self::Dataset(name) | Self::Benchmark(name) => name.clone(),
            Self::Path(path) => path.display().to_string(),
        }
    }

    /// The name under which [`crate::Identities`] holds its digest: the data set's name, `file:<path>`, or the benchmark's
    /// folder.
    pub fn label(&self) -> String {
        match self {
            Self::Dataset(name) => name.clone(),
            Self::Benchmark(name) => folder(name).display().to_string(),
            Self::Path(path) => format!("file:{}", path.display()),
        }
    }

    /// The manifest or file that must exist.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Dataset(name) => Path::new("datasets").join(format!("{name}.toml")),
            Self::Path(path) => path.clone(),
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
        let limit = fields.optional("limit", Field::count);
        fields.close();
        Some(Self { source: source?, limit })
    }
}
