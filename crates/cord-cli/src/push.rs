//! `cord push`: a data set or a student, sent to the Hugging Face hub.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use cord_generate::StudentCard;
use cord_store::{Hub, HubKind, PushContent, PushFile, PushTarget, Pushed, StageFolder, StoreError};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::progress::Fetching;
use crate::view::{ARMS, RunArms};

const EXAMPLES: &str = "Examples:
  What would be sent, and nothing else:
    cord push out/cord someone/cord-rows
  The same, sent:
    cord push out/cord someone/cord-rows --yes
  A student, with a card made of what its run says:
    cord push runs/mini-cord/train-0123456789ab/model someone/cord-student --license mit --private --yes

The token is read from `HF_TOKEN` alone and needs write access; `HF_ENDPOINT` names another hub. What is there already with the same
content is not sent again: after a stop, run the same command again. Files of the repository that the folder does not have stay.";

/// Lines of a card that a dry run shows.
const HEAD: usize = 12;

/// The card's name.
const CARD: &str = "README.md";

/// Send a data set or a student to the Hugging Face hub.
///
/// Without --yes nothing is sent and nobody is asked: it is shown what would be.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PushArgs {
    /// The folder of `cord export`, or a student's folder `model`
    folder: PathBuf,
    /// The repository; made where there is none
    #[arg(value_name = "OWNER/NAME")]
    repository: String,
    /// What the repository holds; told from the folder where absent
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Hide a repository that is made from others; one that is there stays as it is
    #[arg(long)]
    private: bool,
    /// The branch; made where there is none
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    revision: String,
    /// The commit's message
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// The licence of a model without a card, as the hub spells it: one that those of its base model and its rows allow
    #[arg(long, value_name = "LICENSE")]
    license: Option<String>,
    /// Send it
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// A data set
    Dataset,
    /// A model
    Model,
}

/// Sends the folder, or says what would be sent.
pub(crate) fn push(args: &PushArgs) -> Result<String> {
    let kind = match args.kind {
        Some(Kind::Dataset) => HubKind::Dataset,
        Some(Kind::Model) => HubKind::Model,
        None => kind(&args.folder)?,
    };
    let mut files = Vec::new();
    gather(&args.folder, "", &mut files)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    if files.is_empty() {
        bail!("expected files in `{}`, got none", args.folder.display());
    }
    let is_written = !files.iter().any(|file| file.path == CARD);
    if is_written {
        let text = card(args, kind)?;
        files.push(PushFile { path: CARD.to_owned(), content: PushContent::Bytes(text.into_bytes()) });
    }
    let hub = Hub::from_env();
    let target = PushTarget {
        kind,
        name: args.repository.clone(),
        revision: args.revision.clone(),
        private: args.private,
        message: args.message.clone().unwrap_or_else(|| format!("Add a {} made by cord", spoken(kind))),
    };
    if !args.yes {
        return dry(&hub, &target, &files, is_written);
    }
    let mut progress = Fetching::new();
    let done = hub.push(&target, &files, &mut |file, sent, of| progress.at(file, sent, of))?;
    Ok(report(&hub, &target, &done))
}

/// What a folder holds.
fn kind(folder: &Path) -> Result<HubKind> {
    let has = |file: &str| folder.join(file).is_file();
    if has("config.json") || has("adapter_config.json") {
        return Ok(HubKind::Model);
    }
    if fs::read_to_string(folder.join(CARD)).is_ok_and(|card| card.lines().any(|line| line == "configs:")) {
        return Ok(HubKind::Dataset);
    }
    let shown = folder.display();
    if has("model/config.json") {
        bail!("expected a model or a data set in `{shown}`, got a stage; push its folder `{shown}/model`");
    }
    bail!(
        "expected a model (with `config.json`) or a data set (of `cord export`, with its card) in `{shown}`, got neither; say \
         what it is with `--kind`"
    )
}

/// Every file but hidden ones, which are no results.
fn gather(folder: &Path, within: &str, files: &mut Vec<PushFile>) -> Result<()> {
    let unreadable = || format!("can't read the folder `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            bail!("expected a name in UTF-8, got `{}`", entry.path().display());
        };
        if name.starts_with('.') {
            continue;
        }
        let path = if within.is_empty() { name.to_owned() } else { format!("{within}/{name}") };
        if entry.path().is_dir() {
            gather(&entry.path(), &path, files)?;
        } else {
            files.push(PushFile { path, content: PushContent::File(entry.path()) });
        }
    }
    Ok(())
}

fn dry(hub: &Hub, target: &PushTarget, files: &[PushFile], is_written: bool) -> Result<String> {
    let mut text = String::from("nothing was sent; with `--yes` this would be:\n\n");
    let (private, kind) = (if target.private { "private " } else { "" }, spoken(target.kind));
    writeln!(text, "repository  {}: a {private}{kind}, made if it is not there", hub.page(target.kind, &target.name))?;
    writeln!(text, "branch      {}", target.revision)?;
    writeln!(text, "commit      {}", target.message)?;
    let (mut total, mut large) = (0, 0);
    for (place, file) in files.iter().enumerate() {
        let size = file.size()?;
        total += size;
        large += usize::from(file.is_large(size));
        let way = if file.is_large(size) { "  through LFS" } else { "" };
        let head = if place == 0 { "files" } else { "" };
        writeln!(text, "{head:10}  {:>12}  {}{way}", HumanBytes(size).to_string(), file.path)?;
    }
    writeln!(
        text,
        "{:10}  {:>12}  {} files, {large} through LFS (the hub decides)",
        "",
        HumanBytes(total).to_string(),
        files.len()
    )?;
    let card = files.iter().find(|file| file.path == CARD).context("there is a card")?;
    let card = match &card.content {
        PushContent::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        PushContent::File(path) => {
            fs::read_to_string(path).with_context(|| format!("can't read `{}`", path.display()))?
        }
    };
    writeln!(text, "card        {}", if is_written { "written for it, begins with" } else { "begins with" })?;
    for line in card.lines().take(HEAD) {
        writeln!(text, "  {line}")?;
    }
    Ok(text.trim_end().to_owned())
}

fn report(hub: &Hub, target: &PushTarget, done: &Pushed) -> String {
    let mut text = String::new();
    let page = hub.page(target.kind, &target.name);
    if done.created {
        let _ = writeln!(text, "made {page}");
    }
    if !done.ignored.is_empty() {
        let _ = writeln!(text, "left out by the repository's `.gitignore`: {}", done.ignored.join(", "));
    }
    let there = done.there.len();
    match &done.commit {
        Some(commit) => {
            let had = match done.had.len() {
                0 => String::new(),
                had => format!(" (the hub had the content of {had})"),
            };
            let _ = writeln!(text, "sent {} files{had}; {there} were there already", done.sent.len());
            let _ = write!(text, "{page} at {commit}");
        }
        None => {
            let _ = write!(text, "{page} has all {there} files already; nothing was sent");
        }
    }
    text
}

fn spoken(kind: HubKind) -> &'static str {
    match kind {
        HubKind::Model => "model",
        HubKind::Dataset => "data set",
    }
}

/// The card of a folder without one.
fn card(args: &PushArgs, kind: HubKind) -> Result<String> {
    let shown = args.folder.display();
    if kind == HubKind::Dataset {
        bail!(
            "expected the card `{shown}/{CARD}`, got none; `cord export` writes one last, so export again, or write your own"
        );
    }
    let Some(license) = args.license.clone() else {
        bail!(
            "expected `--license`, since `{shown}` has no `{CARD}` and a card is written; or put your own card there"
        );
    };
    let mut card = StudentCard {
        title: args.repository.clone(),
        license,
        base_model: None,
        made: Vec::new(),
        numbers: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // `runs/<recipe>/train-<key>/model`
    let folder = fs::canonicalize(&args.folder).with_context(|| format!("can't find the folder `{shown}`"))?;
    let Some(path) = folder.parent() else { return Ok(card.render()) };
    let stage = match StageFolder::open(path) {
        // Someone else's manifest.
        Err(StoreError::Manifest { .. }) => None,
        opened => opened?,
    };
    let Some(stage) = stage.filter(|stage| ["train", "dpo"].contains(&stage.manifest().stage.as_str())) else {
        return Ok(card.render());
    };
    let name = stage.manifest().stage.as_str();
    let settings = &stage.manifest().settings[name];
    // What learns preferences was given, or is the student of the arm's training.
    let student = if name == "dpo" { &settings["student"]["given"] } else { &settings["student"] };
    let source = &student["source"];
    card.base_model = source["hub"]["name"].as_str().map(str::to_owned);
    if let Some(run) = path.parent() {
        of_run(run, &stage, &mut card)?;
    }
    let mut know = |what: &str, value: Option<String>| {
        card.made.extend(value.map(|value| (what.to_owned(), value)));
    };
    know("base model", student["name"].as_str().map(|name| format!("`{name}`{}", place(source))));
    know("data", Some(if name == "dpo" { pairs(settings) } else { data(settings) }));
    let summary = &stage.manifest().summary;
    know("rows", number(&summary["examples"]));
    know("pairs", number(&summary["pairs"]));
    know("steps", number(&summary["steps"]));
    know("parameters", number(&summary["parameters"]));
    let optimiser = &settings["optimiser"];
    know("batch", number(&optimiser["batch"]));
    know("learning rate", number(&optimiser["learning-rate"]));
    know("last loss", summary["last-loss"].as_f64().map(|loss| format!("{loss:.3}")));
    know("stage", Some(format!("`{name}-{}`", stage.key().short())));
    know("trained by", Some(format!("cord {}", stage.manifest().program.version)));
    Ok(card.render())
}

/// What the run's folder says of a student: arm, seed, recipe, its row of the table.
fn of_run(run: &Path, stage: &StageFolder, card: &mut StudentCard) -> Result<()> {
    let mut names: Vec<String> = fs::read_dir(run)
        .with_context(|| format!("can't read the folder `{}`", run.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(ARMS))
        .collect();
    names.sort();
    for name in names {
        let text = fs::read_to_string(run.join(&name)).with_context(|| format!("can't read `{name}`"))?;
        let arms: RunArms = serde_json::from_str(&text).with_context(|| format!("can't read `{name}`"))?;
        let Some(arm) = arms.arms.iter().find(|arm| [arm.train, arm.dpo].contains(&Some(stage.key()))) else {
            continue;
        };
        let seed = arm.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
        card.title = format!("{}, {}{seed}", arms.recipe, arm.arm);
        card.made.extend(arms.digest.map(|digest| ("recipe digest".to_owned(), format!("`{digest}`"))));
        let table = run.join(name.replace(ARMS, "metrics.json"));
        if table.is_file() {
            card.numbers = numbers(&table, &arm.arm)?;
        }
        break;
    }
    Ok(())
}

/// An arm's row of a table; nothing where it has no numbers.
fn numbers(path: &Path, arm: &str) -> Result<Option<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read `{}`", path.display()))?;
    let table: cord_report::Table =
        serde_json::from_str(&text).with_context(|| format!("`{}` is no table of a run", path.display()))?;
    let mut draft = table.into_draft();
    draft.rows.retain(|row| row.arm == arm);
    draft.rows.iter_mut().for_each(|row| row.paper.clear());
    draft.orders.clear();
    draft.paper = None;
    let has = |key: &String| draft.rows.iter().any(|row| row.metrics.contains_key(key));
    let columns: Vec<_> = draft.columns.iter().filter(|column| has(&column.key)).cloned().collect();
    if columns.is_empty() {
        return Ok(None);
    }
    draft.columns = columns;
    let text = draft.finish()?.markdown();
    // Without its heading: the card has its own.
    Ok(text.split_once("\n\n").map(|(_, table)| table.to_owned()))
}

fn number(value: &Value) -> Option<String> {
    value.is_number().then(|| value.to_string())
}

/// Where a base model is from.
fn place(source: &Value) -> String {
    let hub = &source["hub"];
    match (source["path"].as_str(), hub["name"].as_str(), source.get("scratch")) {
        // A card is public: not where the machine has its files.
        (Some(path), ..) if Path::new(path).is_absolute() => String::new(),
        (Some(path), ..) => format!(", `{path}`"),
        (_, Some(name), _) => format!(", {name} at `{}`", hub["revision"].as_str().unwrap_or_default()),
        (.., Some(_)) => ", from random weights".to_owned(),
        _ => String::new(),
    }
}

/// What a student learnt from.
fn data(settings: &Value) -> String {
    let data = &settings["data"];
    if data == "generated" {
        let keep = settings["keep"].as_str().unwrap_or("complete");
        return format!("the arm's own trajectories (`keep = \"{keep}\"`)");
    }
    let source = &data["rows"]["source"];
    let named = source.as_object().and_then(|source| source.values().find_map(Value::as_str));
    named.map_or_else(|| "rows".to_owned(), |name| format!("`{name}`"))
}

/// What a student learnt preferences from.
fn pairs(settings: &Value) -> String {
    let begun = if settings["student"] == "trained" { ", beginning as the arm's trained student" } else { "" };
    format!("pairs of the arm's own candidates by DPO, beta {}{begun}", settings["beta"])
}
