//! Data sets: a manifest under `datasets/`, or a file of a user's own.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use cord_core::{Digest, Message, Problem, Prompt};
use cord_recipe::DataSource;
use cord_store::read_jsonl;
use serde::Deserialize;

/// What `datasets/<name>.toml` says. The set's own settings stay a table, for its generator to read.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    generator: String,
    problems: Option<toml::Table>,
    corpus: Option<toml::Table>,
}

/// One row to learn from.
pub(crate) struct TrainingRow {
    pub(crate) id: String,
    pub(crate) text: RowText,
}

/// What a row holds.
pub(crate) enum RowText {
    /// A conversation that ends with the assistant's turn.
    Conversation(Vec<Message>),
    /// A begun turn and its completion; only the completion is learnt.
    Completion(Prompt, String),
}

/// The content-derived name of a data set.
///
/// A generated set is named by its manifest and the program's version: the same manifest gives the same rows until the
/// generator changes, and that raises the version.
pub(crate) fn digest(source: &DataSource) -> Result<Digest> {
    let path = source.path();
    let bytes = std::fs::read(&path).with_context(|| format!("can't read `{}`", path.display()))?;
    match source {
        DataSource::Path(_) => Ok(Digest::of_bytes(&bytes)),
        DataSource::Dataset(_) => {
            let text = String::from_utf8(bytes).with_context(|| format!("`{}`: expected UTF-8", path.display()))?;
            let content: toml::Table = text.parse().with_context(|| format!("`{}`", path.display()))?;
            Ok(Digest::of_json(&(content, cord_mini::VERSION)))
        }
    }
}

fn manifest(path: &Path) -> Result<Manifest> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read `{}`", path.display()))?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
    if manifest.generator != "mini" {
        bail!("`{}`: `generator`: expected `mini`, got `{}`", path.display(), manifest.generator);
    }
    Ok(manifest)
}

/// The problems of a data set, in its order.
pub(crate) fn problems(source: &DataSource, limit: Option<u32>) -> Result<Vec<Problem>> {
    let path = source.path();
    let mut problems: Vec<Problem> = match source {
        DataSource::Path(_) => read_jsonl(&std::fs::read(&path)?, &path)?,
        DataSource::Dataset(_) => {
            let manifest = manifest(&path)?;
            let table = manifest
                .problems
                .ok_or_else(|| anyhow!("`{}`: expected a table `[problems]`, got none", manifest.name))?;
            let set: cord_mini::ProblemSet =
                table.try_into().with_context(|| format!("`{}`: `[problems]`", path.display()))?;
            cord_mini::problems(&set).with_context(|| format!("`{}`", path.display()))?
        }
    };
    problems.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
    if problems.is_empty() {
        bail!("`{}`: expected at least one problem, got none", path.display());
    }
    Ok(problems)
}

/// The rows of a data set to learn from, in its order.
pub(crate) fn rows(source: &DataSource, limit: Option<u32>) -> Result<Vec<TrainingRow>> {
    let path = source.path();
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    let rows: Vec<TrainingRow> = match source {
        DataSource::Path(_) => {
            let rows: Vec<cord_store::TrainingRow> = read_jsonl(&std::fs::read(&path)?, &path)?;
            rows.into_iter()
                .take(limit)
                .map(|row| TrainingRow { id: row.id, text: RowText::Conversation(row.messages) })
                .collect()
        }
        DataSource::Dataset(_) => {
            let manifest = manifest(&path)?;
            let table =
                manifest.corpus.ok_or_else(|| anyhow!("`{}`: expected a table `[corpus]`, got none", manifest.name))?;
            let mut spec: cord_mini::CorpusSpec =
                table.try_into().with_context(|| format!("`{}`: `[corpus]`", path.display()))?;
            spec.count = spec.count.min(limit);
            let rows = cord_mini::corpus(&spec).with_context(|| format!("`{}`", path.display()))?;
            let row = |row: &cord_mini::CorpusRow| {
                let (prompt, completion) = row.example();
                TrainingRow { id: row.id.clone(), text: RowText::Completion(prompt, completion.to_owned()) }
            };
            rows.iter().map(row).collect()
        }
    };
    if rows.is_empty() {
        bail!("`{}`: expected at least one row, got none", path.display());
    }
    Ok(rows)
}
