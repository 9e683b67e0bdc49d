//! `cord data`: which data sets there are, fetching their files, and reading them through before a run does.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use cord_core::Problem;
use cord_math::{DEFAULT_FUEL, Start, Verdict, verify};
use cord_recipe::{ColumnMap, DataSource, RowFile, RunSettings};
use cord_store::{Hub, StoreError, download};
use serde::Serialize;

use crate::datasets::{self, DataFile, Manifest};
use crate::progress::Fetching;
use crate::{print, run, say};

/// The folder of manifests.
const DATASETS: &str = "datasets";

/// List data sets, fetch their files, check them.
///
/// A data set is a manifest `datasets/<name>.toml`: where its files are published and at which revision, their digests, its licence, and
/// which columns hold the question and the answer. Files lie in one folder: `--data`, else `CORD_DATA`, else `data`.
#[derive(Args)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    verb: DataVerb,
    /// The folder of data sets' files
    #[arg(long, value_name = "FOLDER", global = true)]
    data: Option<PathBuf>,
}

#[derive(Subcommand)]
enum DataVerb {
    /// List data sets: licence, whether the files are here, and where they are published.
    Ls {
        /// Only these: a set (`gsm8k/test`) or a folder of sets (`gsm8k`)
        names: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch the files that are not here, and check them against their digests.
    ///
    /// A transfer that broke off goes on where it broke when the command runs again. `HF_ENDPOINT` names another hub; `HF_TOKEN` is sent to
    /// the hub alone, for sets whose terms were accepted there. `HF_HUB_OFFLINE=1` forbids to fetch.
    Pull {
        /// What to fetch: a set (`gsm8k/test`) or a folder of sets (`gsm8k`)
        #[arg(required_unless_present_any = ["recipe", "all"])]
        names: Vec<String>,
        /// Fetch all that this recipe reads
        #[arg(long, value_name = "RECIPE")]
        recipe: Option<PathBuf>,
        /// Fetch everything
        #[arg(long)]
        all: bool,
    },
    /// Read data sets through: digests, columns, ids, and whether each gold answer is right by the verifier's own rules.
    ///
    /// Every fault is listed by its row. A file of your own is checked too: JSON Lines of `id`, `question` and `answer`, or, with
    /// --question or --answer, JSON, CSV, TSV or Parquet whose columns have these names.
    Check {
        /// A set (`gsm8k/test`), a folder of sets (`gsm8k`), or a file (`./mine.jsonl`)
        #[arg(required = true)]
        names: Vec<String>,
        /// The column of a file that holds the question
        #[arg(long, value_name = "COLUMN")]
        question: Option<String>,
        /// The column of a file that holds the answer
        #[arg(long, value_name = "COLUMN")]
        answer: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a data set is, and what of it is here.
#[derive(Serialize)]
struct Listed {
    name: String,
    licence: String,
    state: State,
    source: String,
    description: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Made by this program.
    Generated,
    /// Here, as its manifest says.
    Here,
    /// Here; the manifest states no digest.
    Unpinned,
    /// Some of it is here.
    Partial,
    /// Not here.
    Missing,
    /// Here, and not what its manifest says.
    Differs,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Here => "here",
            Self::Unpinned => "here, unpinned",
            Self::Partial => "partly here",
            Self::Missing => "not here",
            Self::Differs => "differs",
        }
    }
}

/// What was found in a data set.
#[derive(Serialize)]
struct Checked {
    name: String,
    problems: usize,
    /// Gold answers that the verifier does not read as mathematics; they can be compared as text only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

pub(crate) fn act(args: &DataArgs) -> Result<ExitCode> {
    let run = RunSettings { data: args.data.clone(), ..RunSettings::default() };
    let folder = datasets::data_folder(&run);
    match &args.verb {
        DataVerb::Ls { names, json } => list(&selected(names)?, &folder, *json),
        DataVerb::Pull { names, recipe, all } => {
            let mut paths = if *all { selected(&[])? } else { Vec::new() };
            if !names.is_empty() {
                paths.extend(selected(names)?);
            }
            if let Some(recipe) = recipe {
                paths.extend(of_recipe(recipe)?);
            }
            paths.sort();
            paths.dedup();
            pull(&paths, &folder)
        }
        DataVerb::Check { names, question, answer, json } => {
            let usual = ColumnMap::default();
            let columns = (question.is_some() || answer.is_some()).then(|| ColumnMap {
                question: question.clone().map_or(usual.question, |column| vec![column]),
                answer: answer.clone().unwrap_or(usual.answer),
                ..ColumnMap::default()
            });
            check(names, columns.as_ref(), &folder, *json)
        }
    }
}

/// The manifests of names, or all of them.
fn selected(names: &[String]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    manifests(Path::new(DATASETS), &mut all)?;
    if names.is_empty() {
        return Ok(all);
    }
    let (mut chosen, mut faults) = (Vec::new(), Vec::new());
    for name in names {
        let file = Path::new(DATASETS).join(format!("{name}.toml"));
        let before = chosen.len();
        chosen.extend(
            all.iter().filter(|path| **path == file || path.starts_with(Path::new(DATASETS).join(name))).cloned(),
        );
        if chosen.len() == before {
            faults.push(format!("`{name}`"));
        }
    }
    if !faults.is_empty() {
        let known: Vec<String> = all.iter().map(|path| format!("`{}`", name_of(path))).collect();
        bail!("expected data sets of `{DATASETS}/`, got {}; there are {}", faults.join(", "), known.join(", "));
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

/// Every manifest below a folder, sorted.
fn manifests(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("can't read `{}`: run this where the folder of manifests is", folder.display()))?;
    let mut entries: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            manifests(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            found.push(path);
        }
    }
    Ok(())
}

/// `datasets/gsm8k/test.toml` is `gsm8k/test`.
fn name_of(path: &Path) -> String {
    let below = path.strip_prefix(DATASETS).unwrap_or(path).with_extension("");
    below.to_string_lossy().replace('\\', "/")
}

/// The manifests that a recipe reads, by way of its benchmarks too.
fn of_recipe(recipe: &Path) -> Result<Vec<PathBuf>> {
    let recipe = run::read_recipe(recipe, &[])?;
    let sources = recipe.needs().datasets;
    let mut paths = Vec::new();
    for source in sources.values() {
        paths.extend(datasets::manifest_of(source)?);
    }
    Ok(paths)
}

fn list(paths: &[PathBuf], folder: &Path, json: bool) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for path in paths {
        let manifest = datasets::manifest(path)?;
        // A manifest of rows to learn from only is listed too.
        rows.push(Listed {
            state: state(&manifest, folder)?,
            source: source(&manifest),
            licence: manifest.licence.clone(),
            description: manifest.description.clone(),
            name: manifest.name,
        });
    }
    if json {
        print(&serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    let width = |of: &dyn Fn(&Listed) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (name, licence) = (width(&|row| row.name.len()), width(&|row| row.licence.len()));
    let mut text = String::new();
    for row in &rows {
        let state = row.state.word();
        let _ = writeln!(text, "{:name$}  {state:14}  {:licence$}  {}", row.name, row.licence, row.source);
    }
    let here = rows.iter().filter(|row| !matches!(row.state, State::Missing | State::Partial | State::Differs)).count();
    let _ = write!(text, "{here} of {} data sets can be read; files are in `{}`", rows.len(), folder.display());
    print(&text);
    Ok(ExitCode::SUCCESS)
}

fn source(manifest: &Manifest) -> String {
    match (&manifest.source, &manifest.generator) {
        (Some(source), _) => {
            let name = source.hub.as_ref().map(|name| format!("hf.co/datasets/{name}"));
            let name = name.or_else(|| source.github.as_ref().map(|name| format!("github.com/{name}")));
            format!("{} @ {}", name.unwrap_or_default(), source.revision)
        }
        (None, Some(generator)) => format!("made by `{generator}`"),
        (None, None) => String::new(),
    }
}

fn state(manifest: &Manifest, folder: &Path) -> Result<State> {
    if manifest.generator.is_some() {
        return Ok(State::Generated);
    }
    let (mut here, mut missing, mut pinned) = (0, 0, true);
    for file in manifest.all_files() {
        match look(file, folder)? {
            Look::Same => here += 1,
            Look::Unpinned => (here, pinned) = (here + 1, false),
            Look::Missing => missing += 1,
            Look::Other(_) => return Ok(State::Differs),
        }
    }
    Ok(match (here, missing) {
        (0, _) => State::Missing,
        (_, 0) if pinned => State::Here,
        (_, 0) => State::Unpinned,
        _ => State::Partial,
    })
}

enum Look {
    Same,
    /// Here, and nothing says what it should be.
    Unpinned,
    Missing,
    /// Here, with another digest.
    Other(String),
}

fn look(file: &DataFile, folder: &Path) -> Result<Look> {
    let path = folder.join(&file.path);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Look::Missing),
        Err(error) => return Err(anyhow!("can't read `{}`: {error}", path.display())),
    };
    let Some(expected) = &file.sha256 else { return Ok(Look::Unpinned) };
    let given = datasets::sha256(&bytes);
    Ok(if *expected == given { Look::Same } else { Look::Other(given) })
}

fn pull(paths: &[PathBuf], folder: &Path) -> Result<ExitCode> {
    let hub = Hub::from_env();
    let (mut fetched, mut there, mut faults) = (0, 0, Vec::new());
    for path in paths {
        let manifest = datasets::manifest(path)?;
        for file in manifest.all_files() {
            let target = folder.join(&file.path);
            match look(file, folder)? {
                Look::Same | Look::Unpinned => there += 1,
                Look::Other(given) => faults.push(format!(
                    "{}: `{}`: expected the SHA-256 `{}`, got `{given}`; move it away and pull again",
                    manifest.name,
                    target.display(),
                    file.sha256.as_deref().unwrap_or_default()
                )),
                Look::Missing => match fetch(&hub, &manifest, file, &target) {
                    Ok(digest) => {
                        fetched += 1;
                        if file.sha256.is_none() {
                            say(&format!(
                                "{}: nothing says what `{}` should hold; pin it in `{}`: sha256 = \"{digest}\"",
                                manifest.name,
                                target.display(),
                                path.display()
                            ));
                        }
                    }
                    Err(error) => faults.push(format!("{}: {error}", manifest.name)),
                },
            }
        }
    }
    print(&format!("{fetched} files fetched, {there} were there; in `{}`", folder.display()));
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "{} of {} files could not be fetched:\n  {}",
        faults.len(),
        faults.len() + fetched + there,
        faults.join("\n  ")
    )
}

fn fetch(hub: &Hub, manifest: &Manifest, file: &DataFile, target: &Path) -> Result<String, StoreError> {
    let refused = |url: String, reason: &str| StoreError::Download { url, reason: reason.to_owned() };
    let Some(source) = &manifest.source else {
        return Err(refused(file.from.clone(), "its manifest has no `[source]`: put the file there by hand"));
    };
    let url = source.address(&hub.endpoint, &file.from);
    if source.hub.is_none() && source.github.is_none() {
        return Err(refused(url, "its `[source]` names neither `hub` nor `github`: put the file there by hand"));
    }
    if hub.offline {
        return Err(refused(url, "`HF_HUB_OFFLINE` forbids to fetch it"));
    }
    let token = hub.token.as_deref().filter(|_| source.hub.is_some());
    let (mut progress, name) = (Fetching::new(), file.path.display().to_string());
    download(&url, token, file.sha256.as_deref(), target, &mut |there, of| progress.at(&name, there, of))
}

fn check(names: &[String], columns: Option<&ColumnMap>, folder: &Path, json: bool) -> Result<ExitCode> {
    let mut found = Vec::new();
    for name in names {
        let path = Path::new(name);
        if path.extension().is_some_and(|ending| ending != "toml") {
            let own = path.extension().is_some_and(|ending| ending == "jsonl") && columns.is_none();
            let source = if own {
                DataSource::Path(path.to_owned())
            } else {
                DataSource::Rows(RowFile { path: path.to_owned(), columns: columns.cloned().unwrap_or_default() })
            };
            let problems = datasets::problems(&source, None, folder);
            found.push(checked(name.clone(), problems));
            continue;
        }
        for path in selected(std::slice::from_ref(name))? {
            let manifest = datasets::manifest(&path)?;
            if manifest.generator.is_some() && manifest.problems.is_none() {
                let rows = datasets::rows(&DataSource::Dataset(name_of(&path)), None, "{question}", folder);
                let fault = rows.as_ref().err().map(|error| format!("{error:#}"));
                let problems = rows.map_or(0, |rows| rows.len());
                found.push(Checked { name: manifest.name, problems, unread: Vec::new(), fault });
                continue;
            }
            found.push(checked(manifest.name, datasets::manifest_problems(&path, folder)));
        }
    }
    let faulty = found.iter().filter(|set| set.fault.is_some()).count();
    if json {
        print(&serde_json::to_string_pretty(&found)?);
    } else {
        for set in &found {
            match &set.fault {
                Some(fault) => print(&format!("FAULT {}: {fault}", set.name)),
                None => print(&format!("ok    {}: {} rows{}", set.name, set.problems, unread(&set.unread))),
            }
        }
    }
    Ok(ExitCode::from(u8::from(faulty > 0)))
}

fn checked(name: String, problems: Result<Vec<Problem>>) -> Checked {
    match problems {
        Ok(problems) => Checked { name, problems: problems.len(), unread: unread_answers(&problems), fault: None },
        Err(error) => Checked { name, problems: 0, unread: Vec::new(), fault: Some(format!("{error:#}")) },
    }
}

/// The ids of problems whose gold answer is not right by itself.
fn unread_answers(problems: &[Problem]) -> Vec<String> {
    let right = |problem: &Problem| {
        let response = format!("\\boxed{{{}}}", problem.answer);
        matches!(verify(&problem.answer, &response, Start::Plain, DEFAULT_FUEL), Verdict::Correct { .. })
    };
    problems.iter().filter(|problem| !right(problem)).map(|problem| problem.id.clone()).collect()
}

fn unread(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    if ids.is_empty() {
        return String::new();
    }
    let listed: Vec<String> = ids.iter().take(SHOWN).map(|id| format!("`{id}`")).collect();
    let more = ids.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (count, listed) = (ids.len(), listed.join(", "));
    format!("; {count} gold answers are no mathematics to the verifier: {listed}{more}")
}
