//! Judges over samples that are there already: `cord judge`, and the stage of a recipe that names judges.

mod command;
mod stage;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::Args;
use cord_client::{Network, ServedChat, ServerSettings};
use cord_core::{BoxFuture, Digest, Finish, Generation, Opening, Sampling, Seed, Usage};
use cord_eval::judge::report::{JudgeReport, Known, of_comparisons, of_judgements};
use cord_eval::judge::{
    ChatVoice, Item, LanguageVoice, Mark, PairItem, Panel, Preference, Question, Rubric, RubricKind, Unscored, Voice,
    Word,
};
use cord_lm::{DeviceSpec, Engine, EngineSettings, load, open_device};
use cord_store::{Journal, Program, Reply, Store, read_jsonl, to_jsonl};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::command::CommandVoice;
pub(crate) use self::stage::{JUDGEMENTS, Row, stage};
use crate::eval::{SAMPLES, SampleLine};
use crate::progress::Progress;
use crate::{machine, print, run};

/// What judges say of all responses together.
const REPORT: &str = "judge-report.json";

/// Let judges say whether responses agree with their references, or which of two models answers better.
///
/// Reads `samples.jsonl` of an evaluation, or its folder. A judge is a checkpoint's folder, a server with its model
/// (`http://host:8000#name`), or a command that reads and writes JSON lines (`exec:./my-judge`). With several judges the
/// majority of all counts. What a judge fails to say is unscored and in no share. Answers are kept in the folder of
/// results: the same command asks only what is new.
///
/// A command reads one JSON object a line and writes one for each, in any order: it is told {"id": 0, "rubric": "reference/1",
/// "kind": "reference", "question": …, "reference": …, "response": …} (for a pair, "first" and "second"), and says
/// {"id": 0, "verdict": "correct"} or {"id": 0, "error": "why not"}. A verdict is one of the rubric's. Its standard error is free for notes.
#[derive(Args)]
pub(crate) struct JudgeArgs {
    /// The samples: samples.jsonl, or the folder of an evaluation
    samples: PathBuf,
    /// A second model's samples of the same problems: compare the two, in both orders
    #[arg(long, value_name = "SAMPLES")]
    against: Option<PathBuf>,
    /// A judge (repeatable): a folder, URL#MODEL, or exec:COMMAND
    #[arg(long = "judge", value_name = "JUDGE", required = true)]
    judges: Vec<String>,
    /// The rubric: reference, pairwise, or a TOML file
    #[arg(long, value_name = "RUBRIC")]
    rubric: Option<String>,
    /// Labels by people, as JSON lines of `problem`, `sample` and `label`
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Only the first N samples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The most tokens of a judge's answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_tokens: u32,
    /// 0 takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f64,
    /// How a checkpoint's answer begins: think (inside a reasoning block) or plain
    #[arg(long, value_name = "OPENING", default_value = "plain", value_parser = ["plain", "think"])]
    opening: String,
    /// The environment variable that holds the servers' API key
    #[arg(long, value_name = "VARIABLE")]
    api_key_env: Option<String>,
    /// The most questions under way at once
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(16).expect("16 is above 0"))]
    concurrency: NonZeroUsize,
    /// Seeds what is drawn
    #[arg(long, value_name = "N", default_value_t = 17)]
    seed: u64,
    /// Where checkpoints compute: cpu, or cuda:N in a build with --features cuda
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// The folder for results
    #[arg(long, value_name = "FOLDER", default_value = "runs/judge")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A label by a person.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    problem: String,
    #[serde(default)]
    sample: u32,
    #[serde(rename = "label")]
    word: String,
}

impl JudgeArgs {
    /// The same for one benchmark's samples, beside an evaluation.
    pub(crate) fn of(samples: PathBuf, judges: &[String], rubric: &str, device: &str, out: PathBuf) -> Self {
        Self {
            samples,
            against: None,
            judges: judges.to_vec(),
            rubric: Some(rubric.to_owned()),
            labels: None,
            limit: None,
            max_tokens: 1024,
            temperature: 0.0,
            opening: "plain".to_owned(),
            api_key_env: None,
            concurrency: NonZeroUsize::new(16).expect("16 is above 0"),
            seed: 17,
            device: device.to_owned(),
            out,
            json: false,
        }
    }
}

/// What judges said, and where it is.
pub(crate) struct Judged {
    pub(crate) report: JudgeReport,
    /// Samples that were not shown to judges, for they say nothing.
    skipped: usize,
    folder: PathBuf,
}

impl Judged {
    /// The report as lines of text, and where the judgements are.
    pub(crate) fn text(&self) -> String {
        format!(
            "{}\n{} samples say nothing after their reasoning and were not shown to judges\njudgements.jsonl and \
             judge-report.json are in {}",
            self.report.text(),
            self.skipped,
            self.folder.display()
        )
    }

    /// Items without a verdict, of all judges.
    pub(crate) fn unscored(&self) -> u64 {
        self.report.columns.iter().map(|column| column.unscored).sum()
    }
}

/// `cord judge`.
pub(crate) fn act(args: &JudgeArgs) -> Result<ExitCode> {
    let judged = judge(args)?;
    print(&if args.json { serde_json::to_string_pretty(&judged.report)? } else { judged.text() });
    Ok(ExitCode::from(if judged.unscored() > 0 { 3 } else { 0 }))
}

/// Asks the judges, and writes what they said.
pub(crate) fn judge(args: &JudgeArgs) -> Result<Judged> {
    let rubric = rubric(args.rubric.as_deref(), args.against.is_some())?;
    let label = format!("{}/{}", rubric.name, rubric.version);
    let (parent, name) = place(&args.out)?;
    let program = Program { version: env!("CARGO_PKG_VERSION").to_owned(), commit: machine::commit() };
    let store = Store::open(parent, name, program)?;
    let journal = Arc::new(Journal::open(&store.folder().join("answers.jsonl"))?);
    let judges: Vec<Arc<dyn Voice>> = args
        .judges
        .iter()
        .map(|spec| -> Result<Arc<dyn Voice>> {
            let voice = voice(spec, args).with_context(|| format!("the judge `{spec}`"))?;
            Ok(Arc::new(Remembered { voice, journal: journal.clone() }))
        })
        .collect::<Result<_>>()?;
    let names = distinct(judges.iter().map(|judge| judge.name().to_owned()).collect());
    let panel = Panel { judges, rubric, seed: Seed::root(args.seed), concurrency: args.concurrency };
    let (first, skipped) = samples(&args.samples, args.limit)?;
    let (report, lines) = match &args.against {
        None => {
            let people = labels::<Mark>(args.labels.as_deref())?;
            let found = watched(first.len(), |observe| judged(&panel, &label, &names, &first, &people, observe));
            (found.report, found.rows.iter().map(|row| json!(row)).collect())
        }
        Some(path) => compared(args, &panel, &label, &names, &first, &samples(path, None)?.0)?,
    };
    journal.sync()?;
    if run::INTERRUPTED.load(Ordering::Relaxed) {
        bail!("stopped after {} items; every answer is kept, and the same command goes on from there", report.items);
    }
    let path = store.folder().join(JUDGEMENTS);
    store.publish(JUDGEMENTS, &to_jsonl(&lines, &path)?)?;
    store.publish(REPORT, &serde_json::to_vec_pretty(&report)?)?;
    Ok(Judged { report, skipped, folder: store.folder().to_path_buf() })
}

fn place(out: &Path) -> Result<(&Path, &str)> {
    let name =
        out.file_name().and_then(|name| name.to_str()).context("expected a folder's name as `--out`, got none")?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent, name))
}

/// Judges of one name are numbered.
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    names
        .into_iter()
        .map(|name| {
            let times = seen.entry(name.clone()).or_default();
            *times += 1;
            if *times == 1 { name } else { format!("{name} #{times}") }
        })
        .collect()
}

fn rubric(given: Option<&str>, pairs: bool) -> Result<Rubric> {
    let kind = if pairs { RubricKind::Pairwise } else { RubricKind::Reference };
    let name = given.unwrap_or(if pairs { "pairwise" } else { "reference" });
    let built_in = Rubric::BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    let text = match built_in {
        Some(text) => text,
        None => std::fs::read_to_string(name).with_context(|| {
            let known: Vec<&str> = Rubric::BUILT_IN.iter().map(|(name, _)| *name).collect();
            format!("expected {} or a file as the rubric, got `{name}`", known.join(", "))
        })?,
    };
    let rubric: Rubric = toml::from_str(&text).with_context(|| format!("the rubric `{name}`"))?;
    let rubric = rubric.checked()?;
    if rubric.kind != kind {
        bail!("expected a rubric of the kind {}, got `{}`, which is {}", json!(kind), rubric.name, json!(rubric.kind));
    }
    Ok(rubric)
}

/// The samples that say something after their reasoning, and how many do not.
fn samples(path: &Path, limit: Option<usize>) -> Result<(Vec<SampleLine>, usize)> {
    let file = if path.is_dir() { path.join(SAMPLES) } else { path.to_owned() };
    let bytes = std::fs::read(&file).with_context(|| format!("can't read the samples `{}`", file.display()))?;
    let mut lines: Vec<SampleLine> = read_jsonl(&bytes, &file)?;
    lines.truncate(limit.unwrap_or(usize::MAX));
    let all = lines.len();
    lines.retain(speaks);
    let skipped = all - lines.len();
    if lines.is_empty() {
        bail!("`{}`: expected a sample that says something after its reasoning, got none of {all}", file.display());
    }
    Ok((lines, skipped))
}

/// Does a sample say something that a judge can read?
fn speaks(line: &SampleLine) -> bool {
    line.finish != Some(Finish::Length) && line.said.as_ref().is_some_and(|said| !said.is_empty())
}

fn labels<W: Word>(path: Option<&Path>) -> Result<Known<W>> {
    let Some(path) = path else { return Ok(Known::new()) };
    let bytes = std::fs::read(path).with_context(|| format!("can't read the labels `{}`", path.display()))?;
    let read: Vec<Label> = read_jsonl(&bytes, path)?;
    let (mut known, mut faults) = (Known::new(), Vec::new());
    for Label { problem, sample, word: label } in read {
        match W::ALL.iter().find(|(_, name)| *name == label) {
            Some((word, _)) => drop(known.insert((problem, sample), *word)),
            None => faults.push(format!("`{problem}`, sample {sample}: `{label}`")),
        }
    }
    if !faults.is_empty() {
        let names: Vec<&str> = W::ALL.iter().map(|(_, name)| *name).collect();
        bail!("`{}`: expected one of {} as each label, got {}", path.display(), names.join(", "), faults.join("; "));
    }
    Ok(known)
}

fn key(line: &SampleLine) -> (String, u32) {
    (line.problem.clone(), line.sample)
}

fn said(line: &SampleLine) -> String {
    line.said.clone().unwrap_or_default()
}

/// What a panel said of responses beside their references.
struct Found {
    report: JudgeReport,
    rows: Vec<Row>,
}

fn judged(
    panel: &Panel,
    rubric: &str,
    judges: &[String],
    lines: &[SampleLine],
    people: &Known<Mark>,
    observe: &(dyn Fn(usize) + Send + Sync),
) -> Found {
    let items: Vec<Item> = lines
        .iter()
        .map(|line| Item {
            problem: line.problem.clone(),
            sample: line.sample,
            question: line.question.clone(),
            reference: line.reference.clone().unwrap_or_else(|| line.gold.clone()),
            response: said(line),
        })
        .collect();
    let found = futures::executor::block_on(panel.judge(&items, &run::INTERRUPTED, observe));
    let verified: Known<bool> = lines.iter().filter_map(|line| Some((key(line), line.correct?))).collect();
    let lengths: Known<usize> = lines.iter().map(|line| (key(line), said(line).chars().count())).collect();
    let report = of_judgements(rubric, judges, &found, &lengths, &verified, people, panel.seed);
    let rows = found.into_iter().map(|judgement| {
        let of = (judgement.problem.clone(), judgement.sample);
        Row {
            problem: judgement.problem,
            sample: judgement.sample,
            judge: judgement.panel,
            votes: judges.iter().cloned().zip(judgement.votes).collect(),
            verifier: verified.get(&of).copied(),
            people: people.get(&of).copied(),
        }
    });
    Found { report, rows: rows.collect() }
}

fn compared(
    args: &JudgeArgs,
    panel: &Panel,
    rubric: &str,
    judges: &[String],
    first: &[SampleLine],
    second: &[SampleLine],
) -> Result<(JudgeReport, Vec<Value>)> {
    let people = labels::<Preference>(args.labels.as_deref())?;
    let other: BTreeMap<(String, u32), &SampleLine> = second.iter().map(|line| (key(line), line)).collect();
    let pairs: Vec<(&SampleLine, &SampleLine)> =
        first.iter().filter_map(|line| Some((line, *other.get(&key(line))?))).collect();
    if pairs.is_empty() {
        bail!("expected samples of the same problems in both files, got no problem and sample that both have");
    }
    let items: Vec<PairItem> = pairs
        .iter()
        .map(|(a, b)| PairItem {
            problem: a.problem.clone(),
            sample: a.sample,
            question: a.question.clone(),
            responses: [said(a), said(b)],
        })
        .collect();
    let found =
        watched(items.len(), |observe| futures::executor::block_on(panel.compare(&items, &run::INTERRUPTED, observe)));
    let lengths: Known<[usize; 2]> =
        pairs.iter().map(|(a, b)| (key(a), [a, b].map(|line| said(line).chars().count()))).collect();
    let alike: Known<bool> = pairs.iter().filter_map(|(a, b)| Some((key(a), a.correct? == b.correct?))).collect();
    let report = of_comparisons(rubric, judges, &found, &lengths, &alike, &people);
    let rows = found.iter().map(|comparison| {
        json!({"problem": comparison.problem, "sample": comparison.sample, "judge": comparison.panel,
               "votes": named(judges, &comparison.votes), "orders": named(judges, &comparison.orders),
               "people": people.get(&(comparison.problem.clone(), comparison.sample))})
    });
    Ok((report, rows.collect()))
}

fn named<T: Serialize>(judges: &[String], values: &[T]) -> Value {
    Value::Object(judges.iter().cloned().zip(values.iter().map(|value| json!(value))).collect())
}

/// Runs something that tells how many items have ended.
fn watched<T>(total: usize, work: impl FnOnce(&(dyn Fn(usize) + Send + Sync)) -> T) -> T {
    let shown = Progress::new(1).stage(0, "judge", total as u64, "items");
    let found = work(&|ended| shown.at(ended as u64, String::new()));
    shown.finish("done");
    found
}

fn voice(spec: &str, args: &JudgeArgs) -> Result<Box<dyn Voice>> {
    let sampling = Sampling { temperature: args.temperature, top_p: 1.0, top_k: 0 };
    if let Some(command) = spec.strip_prefix("exec:") {
        return Ok(Box::new(CommandVoice::start(command)?));
    }
    if spec.starts_with("http://") || spec.starts_with("https://") {
        let (address, model) = spec
            .split_once('#')
            .context("expected the model's name after `#`, as in `http://host:8000#name`, got none")?;
        let mut settings = ServerSettings::at([address]);
        settings.model = Some(model.to_owned());
        settings.api_key_env.clone_from(&args.api_key_env);
        settings.concurrency = u32::try_from(args.concurrency.get()).unwrap_or(u32::MAX);
        let chat = futures::executor::block_on(ServedChat::open(&Network::start(2)?, settings))?;
        return Ok(Box::new(ChatVoice::new(Arc::new(chat), sampling, args.max_tokens)));
    }
    let spec_device: DeviceSpec = args.device.parse().map_err(anyhow::Error::msg)?;
    let engine = Engine::start(load(Path::new(spec), spec, &open_device(spec_device)?)?, EngineSettings::default())?;
    let opening = if args.opening == "think" { Opening::Think } else { Opening::Plain };
    Ok(Box::new(LanguageVoice::new(Arc::new(engine), sampling, args.max_tokens, opening)))
}

/// A judge whose answers are kept in a journal. Errors are not kept: they are asked again.
struct Remembered {
    voice: Box<dyn Voice>,
    journal: Arc<Journal>,
}

impl Voice for Remembered {
    fn name(&self) -> &str {
        self.voice.name()
    }

    fn digest(&self) -> Digest {
        self.voice.digest()
    }

    fn answer<'a>(&'a self, question: &'a Question<'a>) -> BoxFuture<'a, Result<String, Unscored>> {
        Box::pin(async move {
            let digest = question.digest(self.voice.digest());
            let failed = |error: cord_store::StoreError| Unscored::Failed { reason: error.to_string() };
            if let Some(Reply::Generation(kept)) = self.journal.get(digest).map_err(failed)? {
                return Ok(kept.text);
            }
            let text = self.voice.answer(question).await?;
            let reply =
                Generation { text: text.clone(), finish: Finish::Eos, mean_logprob: None, usage: Usage::default() };
            self.journal.append(digest, &Reply::Generation(reply)).map_err(failed)?;
            Ok(text)
        })
    }
}
