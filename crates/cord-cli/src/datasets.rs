//! Data sets: a manifest under `datasets/`, a file of a user's own, or a benchmark's problems.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use cord_core::{Digest, Message, Problem, Prompt};
use cord_eval::{AnswerColumn, Benchmark, Columns, Names, RowShape};
use cord_generate::{IntegrationPrompt, JudgmentPrompt, PromptTemplate, RewardPrompt};
use cord_mini::Task;
use cord_recipe::{DataSource, RowFile, RunSettings};
use cord_store::{read_jsonl, read_records};
use ring::digest::{SHA256, digest as hashed};
use serde::Deserialize;

/// The folder of data sets' files where neither the recipe nor [`DATA`] names one.
const DATA_FOLDER: &str = "data";

/// Where the hub is, in texts for people.
const HUB: &str = "https://huggingface.co";

/// The environment variable that names the folder of data sets' files.
const DATA: &str = "CORD_DATA";

/// Raised when the same file becomes other problems.
const READER: u32 = 1;

/// The most faulty problems that are listed.
const SHOWN: usize = 10;

/// What `datasets/<name>.toml` says: a set that is generated, with its settings as a table for its generator to read, or one
/// that is read from files.
#[derive(Deserialize)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    /// Its licence, by the licence's usual name.
    #[serde(default)]
    pub(crate) licence: String,
    pub(crate) generator: Option<String>,
    pub(crate) problems: Option<toml::Table>,
    corpus: Option<toml::Table>,
    pub(crate) source: Option<Origin>,
    #[serde(default)]
    files: Vec<DataFile>,
    #[serde(default)]
    rows: RowShape,
    columns: Option<Columns>,
    split: Option<Split>,
    /// How many problems it has, for estimates while its files are not here. In no digest.
    count: Option<u64>,
}

/// Where a set is published.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Origin {
    pub(crate) hub: Option<String>,
    pub(crate) github: Option<String>,
    pub(crate) revision: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataFile {
    /// Below the folder of data.
    pub(crate) path: PathBuf,
    /// Where it is published, from the source's root.
    pub(crate) from: String,
    pub(crate) sha256: Option<String>,
    /// The names of its columns, where it has no first line that says them.
    #[serde(default)]
    header: Vec<String>,
}

/// The rows whose `column` is a key of the object in a file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Split {
    column: String,
    keys_of: DataFile,
}

impl Manifest {
    /// Every file that it takes.
    pub(crate) fn all_files(&self) -> impl Iterator<Item = &DataFile> {
        self.files.iter().chain(self.split.iter().map(|split| &split.keys_of))
    }

    /// The files whose digests it does not hold.
    fn unnamed(&self) -> Vec<&DataFile> {
        self.all_files().filter(|file| file.sha256.is_none()).collect()
    }
}

/// The folder that data sets' files are read from.
pub(crate) fn data_folder(run: &RunSettings) -> PathBuf {
    let named = || std::env::var_os(DATA).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    run.data.clone().or_else(named).unwrap_or_else(|| PathBuf::from(DATA_FOLDER))
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
/// generator changes, and that raises the version. One that is read from files is named by its manifest, which holds their
/// digests; where it does not, the files themselves are looked at. A benchmark is named by its definition and its data set.
pub(crate) fn digest(source: &DataSource, data: &Path) -> Result<Digest> {
    let path = source.path();
    match source {
        DataSource::Path(_) => Ok(Digest::of_bytes(&read(&path)?)),
        DataSource::Rows(rows) => Ok(Digest::of_json(&(&rows.columns, READER, Digest::of_bytes(&read(&path)?)))),
        DataSource::Dataset(_) => manifest_digest(&path, data),
        DataSource::Benchmark(_) => {
            let benchmark = benchmark(source)?.expect("a benchmark has a definition");
            let problems = match benchmark_data(&path, &benchmark.dataset) {
                Data::Manifest(path) => manifest_digest(&path, data)?,
                Data::Problems(path) => Digest::of_bytes(&read(&path)?),
            };
            Ok(Digest::of_json(&("benchmark", benchmark, problems)))
        }
    }
}

fn manifest_digest(path: &Path, data: &Path) -> Result<Digest> {
    let text = String::from_utf8(read(path)?).with_context(|| format!("`{}`: expected UTF-8", path.display()))?;
    let mut content: toml::Table = text.parse().with_context(|| format!("`{}`", path.display()))?;
    content.remove("count");
    let manifest = manifest(path)?;
    if manifest.generator.is_some() {
        return Ok(Digest::of_json(&(content, cord_mini::VERSION)));
    }
    let unnamed = manifest.unnamed();
    let looked_at: Vec<Digest> =
        contents(&manifest, &unnamed, data)?.iter().map(|bytes| Digest::of_bytes(bytes)).collect();
    Ok(Digest::of_json(&(content, READER, looked_at)))
}

/// Is all there that the data set's name depends on? A plan can do without: its stages get their keys when it comes.
pub(crate) fn is_here(source: &DataSource, data: &Path) -> Result<bool> {
    // A file that is named by its path must be there: reading it says so.
    let Some(path) = manifest_of(source)? else { return Ok(true) };
    Ok(manifest(&path)?.unnamed().iter().all(|file| data.join(&file.path).exists()))
}

/// How many problems a data set has: counted where its files are here, else as its manifest says; nothing where it does not.
pub(crate) fn count(source: &DataSource, limit: Option<u32>, data: &Path) -> Result<Option<u64>> {
    if let Ok(found) = problems(source, limit, data) {
        return Ok(Some(found.len() as u64));
    }
    let Some(path) = manifest_of(source)? else { return Ok(None) };
    let limit = limit.map_or(u64::MAX, u64::from);
    Ok(manifest(&path)?.count.map(|count| count.min(limit)))
}

/// How many rows a data set has to learn from; nothing where its manifest does not say.
pub(crate) fn row_count(source: &DataSource, limit: Option<u32>, data: &Path) -> Result<Option<u64>> {
    let count = match source {
        DataSource::Dataset(_) => {
            let manifest = manifest(&source.path())?;
            let of_corpus = |corpus: toml::Table| u64::try_from(corpus.get("count")?.as_integer()?).ok();
            match manifest.corpus {
                Some(corpus) => of_corpus(corpus),
                None => count(source, None, data)?,
            }
        }
        DataSource::Path(_) | DataSource::Rows(_) | DataSource::Benchmark(_) => {
            Some(rows(source, limit, "{question}", data)?.len() as u64)
        }
    };
    let limit = limit.map(u64::from);
    Ok(count.map(|count| limit.map_or(count, |limit| count.min(limit))).or(limit))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can't read `{}`", path.display()))
}

/// What a benchmark's folder says; nothing where the source is no benchmark.
pub(crate) fn benchmark(source: &DataSource) -> Result<Option<Benchmark>> {
    let DataSource::Benchmark(_) = source else { return Ok(None) };
    let path = source.path();
    let text = String::from_utf8(read(&path)?).with_context(|| format!("`{}`: expected UTF-8", path.display()))?;
    Ok(Some(toml::from_str(&text).with_context(|| format!("`{}`", path.display()))?))
}

/// The manifest that a source is read by; nothing where it is a file of problems.
pub(crate) fn manifest_of(source: &DataSource) -> Result<Option<PathBuf>> {
    let path = source.path();
    Ok(match source {
        DataSource::Path(_) | DataSource::Rows(_) => None,
        DataSource::Dataset(_) => Some(path),
        DataSource::Benchmark(_) => {
            let benchmark = benchmark(source)?.expect("a benchmark has a definition");
            match benchmark_data(&path, &benchmark.dataset) {
                Data::Manifest(path) => Some(path),
                Data::Problems(_) => None,
            }
        }
    })
}

enum Data {
    Manifest(PathBuf),
    Problems(PathBuf),
}

/// Where a benchmark's problems come from: a data set by name, or a manifest or a file of problems beside its definition.
fn benchmark_data(definition: &Path, dataset: &str) -> Data {
    match dataset.strip_prefix("./") {
        None => Data::Manifest(DataSource::Dataset(dataset.to_owned()).path()),
        Some(beside) => {
            let path = definition.with_file_name(beside);
            if path.extension().is_some_and(|ending| ending == "toml") {
                Data::Manifest(path)
            } else {
                Data::Problems(path)
            }
        }
    }
}

/// Reads a data set's manifest.
pub(crate) fn manifest(path: &Path) -> Result<Manifest> {
    let text = String::from_utf8(read(path)?).with_context(|| format!("`{}`: expected UTF-8", path.display()))?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
    match manifest.generator.as_deref() {
        Some("mini") => {}
        Some(other) => bail!("`{}`: `generator`: expected `mini`, got `{other}`", path.display()),
        None if manifest.files.is_empty() || manifest.columns.is_none() => {
            bail!("`{}`: expected `generator`, or `[[files]]` with `[columns]`, got neither", path.display())
        }
        None => {}
    }
    Ok(manifest)
}

/// The files' bytes, checked against their digests. Every missing or different file is told.
fn contents(manifest: &Manifest, files: &[&DataFile], data: &Path) -> Result<Vec<Vec<u8>>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        let path = data.join(&file.path);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let given = sha256(&bytes);
                if let Some(expected) = file.sha256.as_ref().filter(|expected| **expected != given) {
                    faults.push(format!("`{}`: expected the SHA-256 `{expected}`, got `{given}`", path.display()));
                }
                found.push(bytes);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => faults.push(format!(
                "expected `{}`, got nothing: `cord data pull {}` fetches {}",
                path.display(),
                manifest.name,
                manifest
                    .source
                    .as_ref()
                    .map_or_else(|| format!("`{}`", file.from), |source| source.address(HUB, &file.from))
            )),
            Err(error) => faults.push(format!("can't read `{}`: {error}", path.display())),
        }
    }
    if faults.is_empty() {
        return Ok(found);
    }
    bail!(
        "the data set `{}`: {}; or name the folder that has it as `{DATA}`, as `run.data` or with `--data`",
        manifest.name,
        faults.join("; ")
    )
}

/// The SHA-256 of bytes in hexadecimal digits: what publishers state of their files.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    hashed(&SHA256, bytes).as_ref().iter().flat_map(digits).collect()
}

impl Origin {
    /// Where one of its files is published; `hub` is the hub's address.
    pub(crate) fn address(&self, hub: &str, from: &str) -> String {
        match (&self.hub, &self.github) {
            (Some(name), _) => format!("{hub}/datasets/{name}/resolve/{}/{from}", self.revision),
            (None, Some(name)) => format!("https://raw.githubusercontent.com/{name}/{}/{from}", self.revision),
            (None, None) => format!("`{from}`"),
        }
    }
}

/// The problems of a data set, in its order.
pub(crate) fn problems(source: &DataSource, limit: Option<u32>, data: &Path) -> Result<Vec<Problem>> {
    let path = source.path();
    let mut problems: Vec<Problem> = match source {
        DataSource::Path(_) => read_jsonl(&read(&path)?, &path).context(
            "expected `id`, `question` and `answer` in every line; where they have other names, say in `[problems]`: \
             columns = { question = \"…\", answer = \"…\" }",
        )?,
        DataSource::Rows(rows) => row_problems(rows)?,
        DataSource::Dataset(_) => manifest_problems(&path, data)?,
        DataSource::Benchmark(_) => {
            let benchmark = benchmark(source)?.expect("a benchmark has a definition");
            let problems = match benchmark_data(&path, &benchmark.dataset) {
                Data::Manifest(path) => manifest_problems(&path, data)?,
                Data::Problems(path) => read_jsonl(&read(&path)?, &path)?,
            };
            let faults = benchmark.faults(&problems);
            if !faults.is_empty() {
                let listed: Vec<String> =
                    faults.iter().take(SHOWN).map(|(id, fault)| format!("problem `{id}`: {fault}")).collect();
                bail!("`{}`: {} faults: {}", path.display(), faults.len(), listed.join("; "));
            }
            problems
        }
    };
    problems.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
    if problems.is_empty() {
        bail!("`{}`: expected at least one problem, got none", path.display());
    }
    Ok(problems)
}

/// The problems of a file of someone's own.
fn row_problems(file: &RowFile) -> Result<Vec<Problem>> {
    let (path, map) = (&file.path, &file.columns);
    let columns = Columns {
        id: map.id.clone(),
        question: Names::Several(map.question.clone()),
        answer: AnswerColumn { column: map.answer.clone(), after: map.after.clone(), unit: None, wrong: Vec::new() },
        context: map.context.clone(),
        report: None,
        solution: None,
        fields: BTreeMap::new(),
    };
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let records = read_records(read(path)?, path, &[])?;
    columns.problems(&name, &records).with_context(|| format!("`{}`", path.display()))
}

/// The problems of a manifest's files, or those that its generator makes.
pub(crate) fn manifest_problems(path: &Path, data: &Path) -> Result<Vec<Problem>> {
    let manifest = manifest(path)?;
    if manifest.generator.is_some() {
        let table =
            manifest.problems.ok_or_else(|| anyhow!("`{}`: expected a table `[problems]`, got none", manifest.name))?;
        let set: cord_mini::ProblemSet =
            table.try_into().with_context(|| format!("`{}`: `[problems]`", path.display()))?;
        return cord_mini::problems(&set).with_context(|| format!("`{}`", path.display()));
    }
    let files: Vec<&DataFile> = manifest.all_files().collect();
    let mut read = contents(&manifest, &files, data)?;
    let keys = match &manifest.split {
        None => None,
        Some(split) => {
            let bytes = read.pop().expect("every file was read");
            let keys: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes)
                .with_context(|| format!("`{}`: expected an object", data.join(&split.keys_of.path).display()))?;
            Some((&split.column, keys))
        }
    };
    let mut rows = Vec::new();
    for (file, bytes) in manifest.files.iter().zip(read) {
        let path = data.join(&file.path);
        let records = read_records(bytes, &path, &file.header)?;
        rows.extend(manifest.rows.rows(records).with_context(|| format!("`{}`", path.display()))?);
    }
    if let Some((column, keys)) = keys {
        rows.retain(|row| {
            row.get(column).and_then(serde_json::Value::as_str).is_some_and(|key| keys.contains_key(key))
        });
        if rows.len() != keys.len() {
            bail!("`{}`: expected a row for each of {} keys, got {} rows", manifest.name, keys.len(), rows.len());
        }
    }
    let columns = manifest.columns.as_ref().expect("a set of files has columns");
    columns.problems(&manifest.name, &rows).with_context(|| format!("the data set `{}`", manifest.name))
}

/// The rows of a data set to learn from, in its order. Problems with worked solutions are asked by `prompt`.
pub(crate) fn rows(source: &DataSource, limit: Option<u32>, prompt: &str, data: &Path) -> Result<Vec<TrainingRow>> {
    let path = source.path();
    let count = limit.map_or(usize::MAX, |limit| limit as usize);
    let rows: Vec<TrainingRow> = match source {
        DataSource::Path(_) | DataSource::Rows(_) | DataSource::Benchmark(_) => {
            let rows: Vec<cord_store::TrainingRow> = read_jsonl(&std::fs::read(&path)?, &path)?;
            rows.into_iter()
                .take(count)
                .map(|row| TrainingRow { id: row.id, text: RowText::Conversation(row.messages) })
                .collect()
        }
        DataSource::Dataset(name) => {
            let manifest = manifest(&path)?;
            if manifest.generator.is_none() {
                let prompt = PromptTemplate::new(prompt.to_owned())?;
                let row =
                    |problem: &Problem| solved(problem, &prompt).with_context(|| format!("the data set `{name}`"));
                return problems(source, limit, data)?.iter().map(row).collect();
            }
            let table =
                manifest.corpus.ok_or_else(|| anyhow!("`{}`: expected a table `[corpus]`, got none", manifest.name))?;
            let mut spec: cord_mini::CorpusSpec =
                table.try_into().with_context(|| format!("`{}`: `[corpus]`", path.display()))?;
            spec.count = spec.count.min(count);
            let rows = cord_mini::corpus(&spec).with_context(|| format!("`{}`", path.display()))?;
            let row = |row: &cord_mini::CorpusRow| {
                let text = asked(row).with_context(|| format!("`{}`: `[corpus]`", path.display()))?;
                Ok(TrainingRow { id: row.id.clone(), text })
            };
            rows.iter().map(row).collect::<Result<Vec<_>>>()?
        }
    };
    if rows.is_empty() {
        bail!("`{}`: expected at least one row, got none", path.display());
    }
    Ok(rows)
}

/// A row in the words of the generator's roles.
fn asked(row: &cord_mini::CorpusRow) -> Result<RowText> {
    let example = |message: String| {
        let (prompt, completion) = row.example(message);
        RowText::Completion(prompt, completion.to_owned())
    };
    match &row.task {
        Task::Solve => Ok(example(row.question.clone())),
        Task::Merge { prompt, attempts } => {
            let prompt: IntegrationPrompt =
                serde_json::from_value(prompt.as_str().into()).context("`merging.prompt`")?;
            let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
            Ok(example(prompt.message(&row.question, &attempts)))
        }
        Task::Review { prompt, answer, steps } => {
            let steps: Vec<(&str, bool)> = steps.iter().map(|step| (step.text.as_str(), step.right)).collect();
            let version = serde_json::Value::from(prompt.as_str());
            // Who is told the answer is a judge, who is not a process reward model.
            let lesson = match answer {
                Some(answer) => serde_json::from_value(version)
                    .map(|words: JudgmentPrompt| words.lesson(&row.question, answer, &steps)),
                None => serde_json::from_value(version).map(|words: RewardPrompt| words.lesson(&row.question, &steps)),
            };
            let lesson = lesson.context("`reviewing.prompt`")?.with_context(|| {
                format!(
                    "`reviewing.prompt`: expected a version that is answered in words, step by step, got `{prompt}`"
                )
            })?;
            Ok(RowText::Conversation(lesson))
        }
    }
}

/// A problem with its published solution, as a trajectory is written: the solution is the reasoning; what was published as the answer's
/// text, or the gold answer in a box, follows it.
fn solved(problem: &Problem, prompt: &PromptTemplate) -> Result<TrainingRow> {
    let text = |field: &str| problem.metadata.get(field).and_then(serde_json::Value::as_str);
    let solution = text("solution").with_context(|| {
        let hint = "say in the manifest which column holds it: solution = { column = \"…\" }";
        format!("expected a solution of `{}`, got none; {hint}", problem.id)
    })?;
    let answer = text("solution-answer")
        .map_or_else(|| format!("The final answer is \\boxed{{{}}}.", problem.answer), str::to_owned);
    let mut messages = prompt.messages(problem);
    messages.push(Message::assistant(format!("<think>\n{solution}\n</think>\n\n{answer}")));
    Ok(TrainingRow { id: problem.id.clone(), text: RowText::Conversation(messages) })
}
