//! Evaluations: a benchmark's settings and files as a stage has them, and `cord eval`, which needs no recipe.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use cord_core::{Finish, Outcome, Problem, Seed, Usage};
use cord_eval::{
    Benchmark, BenchmarkReport, EvalSettings, PromptTemplate, Sample, SampleState, Scores, difference_variance,
    paired_difference, problems_needed, report,
};
use cord_math::{DEFAULT_FUEL, Verdict};
use cord_recipe::{EvalStage, Recipe, Shard, StageKind, StageSettings};
use cord_store::{
    SampleRow, StageFolder, StageWriter, Store, read_jsonl, samples_from_parquet, samples_to_parquet, to_jsonl,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::judge::{self, JudgeArgs, Judged};
use crate::shards::Part;
use crate::stages::Failure;
use crate::{datasets, plan, print, run, shards};

/// The benchmark's definition in the folder of its problems.
pub(crate) const BENCHMARK: &str = "benchmark.json";
/// The report in an evaluation's folder.
pub(crate) const REPORT: &str = "report.json";
/// The samples for people and other programs.
pub(crate) const SAMPLES: &str = "samples.jsonl";
/// The difference that a comparison is asked to see.
const TWO_POINTS: f64 = 0.02;

/// The benchmark of an evaluation, with the recipe's settings over its own.
pub(crate) fn benchmark(problems: &StageFolder, settings: &EvalStage) -> Result<Benchmark> {
    let own = settings.prompt.clone().map(|prompt| PromptTemplate::new(None, prompt)).transpose()?;
    let mut benchmark = if problems.manifest().files.contains_key(BENCHMARK) {
        problems.read_json::<Benchmark>(BENCHMARK)?
    } else {
        Benchmark::plain(&settings.benchmark, own.clone().context("a plain data set is asked by the recipe's prompt")?)
    };
    if let Some(prompt) = own {
        benchmark.prompt = prompt;
    }
    let over = |own, given: Option<u32>| given.and_then(std::num::NonZeroU32::new).unwrap_or(own);
    benchmark.budget.samples = over(benchmark.budget.samples, settings.samples);
    benchmark.budget.max_tokens = over(benchmark.budget.max_tokens, settings.max_tokens);
    Ok(benchmark)
}

/// How the samples are drawn and judged.
pub(crate) fn settings(stage: &EvalStage, benchmark: &Benchmark) -> EvalSettings {
    EvalSettings {
        samples: benchmark.budget.samples,
        sampling: stage.sampling,
        max_tokens: benchmark.budget.max_tokens,
        opening: stage.opening,
        prompt: benchmark.prompt.clone(),
        extractor: benchmark.extractor,
        verifier: benchmark.verifier.clone(),
        fuel: DEFAULT_FUEL,
    }
}

/// One line of `samples.jsonl`: all that is known of a sample, with what it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SampleLine {
    pub(crate) benchmark: String,
    pub(crate) problem: String,
    #[serde(default)]
    pub(crate) sample: u32,
    pub(crate) question: String,
    pub(crate) gold: String,
    /// What a judge compares with, where that is not the gold answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<String>,
    pub(crate) response: String,
    /// What stands after the reasoning; nothing where that never closes.
    pub(crate) said: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finish: Option<Finish>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extracted: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) correct: Option<bool>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) marks: BTreeMap<String, f64>,
    #[serde(default)]
    pub(crate) usage: Usage,
}

/// Writes an evaluation's files: `samples.parquet`, `samples.jsonl` and `report.json`. Gives the stage's summary.
pub(crate) fn write(
    writer: &mut StageWriter,
    benchmark: &Benchmark,
    problems: &[Problem],
    outcomes: Vec<Outcome<Sample>>,
    opening: cord_core::Opening,
    seed: Seed,
) -> Result<(serde_json::Value, Vec<Failure>)> {
    let report = report(benchmark, problems, &outcomes, DEFAULT_FUEL, seed.named("report"))?;
    let by_id: BTreeMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let start = match opening {
        cord_core::Opening::Think => cord_math::Start::Thinking,
        cord_core::Opening::Plain => cord_math::Start::Plain,
    };
    let (mut rows, mut lines, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Outcome::Done(sample) => {
                let said = cord_eval::said(&sample.response, start).map(|said| said.trim().to_owned());
                let row = sample_row(sample);
                lines.push(sample_line(benchmark, by_id[row.problem.as_str()], &row, said));
                rows.push(row);
            }
            Outcome::Failed { id, reason } => failures.push((id, reason)),
        }
    }
    writer.write_bytes("samples.parquet", &samples_to_parquet(&rows)?)?;
    let path = writer.path().join(SAMPLES);
    writer.write_bytes(SAMPLES, &to_jsonl(&lines, &path)?)?;
    writer.write_json(REPORT, &report)?;
    Ok((json!({"tally": report.tally, "failed": failures}), failures))
}

fn sample_line(benchmark: &Benchmark, problem: &Problem, row: &SampleRow, said: Option<String>) -> SampleLine {
    let reference = benchmark.reference(problem);
    SampleLine {
        benchmark: benchmark.name.clone(),
        problem: row.problem.clone(),
        sample: row.sample,
        question: problem.question.clone(),
        gold: problem.answer.clone(),
        reference: (reference != problem.answer).then(|| reference.to_owned()),
        response: row.response.clone(),
        said,
        finish: Some(row.finish.clone()),
        verdict: Some(row.verdict.clone()),
        reason: row.reason.clone(),
        extracted: row.extracted.clone(),
        correct: Some(row.correct),
        marks: row.marks.clone(),
        usage: row.usage,
    }
}

fn sample_row(sample: Sample) -> SampleRow {
    let state = sample.state();
    let word = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let reason = match &sample.verdict {
        Verdict::Unparsed { why } if state == SampleState::Unparsed => Some(word(json!(why))),
        _ => None,
    };
    SampleRow {
        correct: state == SampleState::Correct,
        problem: sample.problem,
        sample: sample.sample,
        response: sample.response,
        finish: sample.finish,
        verdict: word(json!(state)),
        reason,
        extracted: sample.extracted,
        marks: sample.marks,
        usage: sample.usage,
    }
}

/// Test a model on benchmarks, without writing a recipe.
///
/// The model is a checkpoint's folder, or one of a recipe's models (`recipes/mini/cord.toml --model closer`). Behind a server,
/// name its addresses with --server and a folder with its tokenizer as the model. Stopping loses nothing: the same command
/// goes on where it was. Samples are in `samples.jsonl` and `samples.parquet` of each evaluation's folder.
#[derive(Args)]
pub(crate) struct EvalArgs {
    /// A checkpoint's folder, or a recipe
    pub(crate) model: PathBuf,
    /// The recipe's model
    #[arg(long = "model", value_name = "NAME")]
    name: Option<String>,
    /// Benchmarks by name (a folder of eval/, or a data set), or paths of their folders
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    benchmarks: Vec<String>,
    /// Only the first N problems of each
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Samples for each problem instead of the benchmark's number
    #[arg(long, value_name = "K")]
    samples: Option<u32>,
    /// The most tokens of a response instead of the benchmark's number
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// 0 takes the likeliest token
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Draw from the likeliest tokens whose probabilities reach this sum
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// How responses begin: think (inside a reasoning block) or plain
    #[arg(long, value_name = "OPENING")]
    opening: Option<String>,
    /// A second model to compare with on the same problems: a folder, or with --model a name
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    /// The address of a server that has the model (repeatable)
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// The model's name on the server
    #[arg(long, value_name = "NAME", requires = "server")]
    served_name: Option<String>,
    /// A judge that also reads every sample (repeatable), as of `cord judge`: a folder, URL#MODEL, or exec:COMMAND
    #[arg(long = "judge", value_name = "JUDGE")]
    judges: Vec<String>,
    /// Seeds what is drawn
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Override a key, for example --set run.max-batch=32 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Where models compute: cpu, or cuda:N in a build with --features cuda
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// The folder of data sets' files
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The folder for results
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Evaluate only one share of the problems: I of N, from 0/N to N-1/N. Processes of several shards may run at once on one
    /// shared folder; the same command without it goes on from what they left
    #[arg(long, value_name = "I/N", conflicts_with_all = ["judges", "harness", "json"])]
    shard: Option<Shard>,
    /// Also write results and samples in lm-evaluation-harness's layout into this folder
    #[arg(long, value_name = "FOLDER")]
    harness: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const FIRST: &str = "model";
const SECOND: &str = "against";

impl EvalArgs {
    /// The recipe that does what the arguments say: what runs is what `cord run` runs.
    fn recipe(&self) -> Result<Recipe> {
        let is_recipe = self.model.extension().is_some_and(|ending| ending == "toml");
        let mut base = toml::Table::new();
        if is_recipe {
            let text = std::fs::read_to_string(&self.model)
                .with_context(|| format!("can't read the recipe `{}`", self.model.display()))?;
            let given: toml::Table = text.parse().with_context(|| format!("`{}`", self.model.display()))?;
            base.extend(
                given.into_iter().filter(|(key, _)| ["models", "eval", "run", "seed", "seeds"].contains(&key.as_str())),
            );
        }
        let stem = self.model.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        let name: String =
            [Some(stem.as_str()), self.name.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("-");
        base.insert("name".into(), format!("eval-{}", name.chars().map(plain).collect::<String>()).into());
        if let Some(seed) = self.seed {
            base.remove("seeds");
            base.insert("seed".into(), i64::try_from(seed).context("a seed fits in 63 bits")?.into());
        } else if !base.contains_key("seeds") && !base.contains_key("seed") {
            base.insert("seed".into(), 17.into());
        }
        let arms = if is_recipe {
            let first = self.name.clone().context("a recipe has several models: name one with `--model`")?;
            [Some(first), self.against.clone()].into_iter().flatten().collect::<Vec<_>>()
        } else {
            if let Some(name) = &self.name {
                bail!("expected a recipe before `--model {name}`, got the folder `{}`", self.model.display());
            }
            let mut models = toml::Table::new();
            models.insert(FIRST.into(), self.model_table().into());
            if let Some(against) = &self.against {
                models.insert(
                    SECOND.into(),
                    toml::Table::from_iter([("path".to_owned(), against.clone().into())]).into(),
                );
            }
            base.insert("models".into(), models.into());
            [Some(FIRST.to_owned()), self.against.as_ref().map(|_| SECOND.to_owned())].into_iter().flatten().collect()
        };
        self.eval_table(&mut base)?;
        let arm = |name: &String| {
            let eval = toml::Table::from_iter([("model".to_owned(), name.clone().into())]);
            toml::Value::Table(toml::Table::from_iter([
                ("name".to_owned(), name.clone().into()),
                ("eval".to_owned(), eval.into()),
            ]))
        };
        base.insert("arms".into(), arms.iter().map(arm).collect::<Vec<_>>().into());
        let mut overrides = self.overrides.clone();
        overrides.extend(self.device.iter().map(|device| format!("run.device={device:?}")));
        let folder = |key: &str, path: &PathBuf| format!("run.{key}={:?}", path.display().to_string());
        overrides.extend(self.out.iter().map(|path| folder("out", path)));
        overrides.extend(self.data.iter().map(|path| folder("data", path)));
        Ok(Recipe::read(&base.to_string(), Path::new("cord eval"), &overrides, &|path| path.exists())?)
    }

    fn model_table(&self) -> toml::Table {
        let path = ("path".to_owned(), self.model.display().to_string().into());
        let mut model = toml::Table::from_iter([path]);
        if !self.server.is_empty() {
            let mut server = toml::Table::from_iter([("endpoints".to_owned(), self.server.clone().into())]);
            server.extend(self.served_name.clone().map(|name| ("model".to_owned(), name.into())));
            model.insert("server".into(), server.into());
        }
        model
    }

    fn eval_table(&self, base: &mut toml::Table) -> Result<()> {
        let eval = base.entry("eval").or_insert_with(|| toml::Table::new().into());
        let eval = eval.as_table_mut().context("expected a table as `eval`")?;
        eval.remove("model");
        if !self.benchmarks.is_empty() {
            eval.insert("benchmarks".into(), self.benchmarks.clone().into());
        }
        for (key, value) in [("limit", self.limit), ("samples", self.samples), ("max-tokens", self.max_tokens)] {
            eval.extend(value.map(|value| (key.to_owned(), i64::from(value).into())));
        }
        eval.extend(self.opening.clone().map(|opening| ("opening".to_owned(), opening.into())));
        let sampling = [("temperature", self.temperature), ("top-p", self.top_p)];
        if sampling.iter().any(|(_, value)| value.is_some()) {
            let table = eval.entry("sampling").or_insert_with(|| toml::Table::new().into());
            let table = table.as_table_mut().context("expected a table as `eval.sampling`")?;
            table.extend(sampling.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))));
        }
        Ok(())
    }
}

/// A finished evaluation.
struct Finished {
    arm: String,
    benchmark: String,
    folder: StageFolder,
    problems: StageFolder,
    report: BenchmarkReport,
    rows: Vec<SampleRow>,
    settings: EvalStage,
}

/// `cord eval`.
pub(crate) fn act(args: &EvalArgs) -> Result<ExitCode> {
    let recipe = args.recipe()?;
    if let Some(shard) = args.shard {
        let (summary, store, plan) = run::run(&recipe, Part::Shard(shard, StageKind::Eval))?;
        print(&shards::whereabouts(&plan, &store, StageKind::Eval)?);
        return Ok(crate::exit(&summary));
    }
    let (summary, store, plan) = run::run(&recipe, Part::Whole)?;
    let finished = finished(&plan, &store)?;
    let comparisons = comparisons(&finished)?;
    let judged = judged(args, &finished, &store)?;
    if args.json {
        let reports: Vec<serde_json::Value> = finished
            .iter()
            .zip(&judged)
            .map(|(one, judged)| {
                let judges = judged.as_ref().map(|judged| &judged.report);
                json!({"model": one.arm, "report": one.report, "judges": judges, "folder": one.folder.path()})
            })
            .collect();
        print(&serde_json::to_string_pretty(&json!({"reports": reports, "comparisons": comparisons}))?);
    } else {
        for (one, judged) in finished.iter().zip(&judged) {
            let samples = one.folder.file(SAMPLES);
            print(&format!("{}\n{}\n  samples                  {}\n", one.arm, one.report.text(), samples.display()));
            if let Some(judged) = judged {
                print(&format!("judges of {} on {}\n{}\n", one.arm, one.benchmark, judged.text()));
            }
        }
        for comparison in &comparisons {
            print(&comparison.text());
        }
        print(&plan::whereabouts(&recipe, &plan, &store)?);
    }
    if let Some(folder) = &args.harness {
        harness(folder, &finished)?;
    }
    Ok(crate::exit(&summary))
}

/// The judges' word on every evaluation, by the benchmark's rubric; nothing without judges, or where no sample says
/// anything.
fn judged(args: &EvalArgs, finished: &[Finished], store: &Store) -> Result<Vec<Option<Judged>>> {
    let one = |one: &Finished| -> Result<Option<Judged>> {
        let says = |row: &SampleRow| !["truncated", "unclosed-think"].contains(&row.verdict.as_str());
        if args.judges.is_empty() || !one.rows.iter().any(says) {
            return Ok(None);
        }
        let benchmark = benchmark(&one.problems, &one.settings)?;
        let rubric = benchmark.judge.map_or_else(|| "reference".to_owned(), |judge| judge.rubric);
        let out = store.folder().join(format!("judge-{}", one.folder.key().short()));
        let device = args.device.as_deref().unwrap_or("cpu");
        Ok(Some(judge::judge(&JudgeArgs::of(one.folder.file(SAMPLES), &args.judges, &rubric, device, out))?))
    };
    finished.iter().map(one).collect()
}

fn finished(plan: &cord_recipe::Plan, store: &Store) -> Result<Vec<Finished>> {
    let mut all = Vec::new();
    for stage in plan.of_kind(StageKind::Eval) {
        let StageSettings::Eval(settings) = &stage.settings else { continue };
        let find = |kind: StageKind, key| store.find(kind.name(), key)?.context("a finished stage");
        let folder = find(StageKind::Eval, stage.key)?;
        all.push(Finished {
            arm: stage.arms.join(", "),
            benchmark: settings.benchmark.clone(),
            problems: find(StageKind::Problems, stage.input(StageKind::Problems).context("a benchmark has problems")?)?,
            report: folder.read_json(REPORT)?,
            rows: samples_from_parquet(folder.read_bytes("samples.parquet")?)?,
            settings: settings.clone(),
            folder,
        });
    }
    Ok(all)
}

/// How two models differ on one benchmark.
#[derive(Serialize)]
struct ModelComparison {
    benchmark: String,
    first: String,
    second: String,
    paired: cord_eval::PairedDifference,
    /// Problems that it takes to see two points between these two, from the variance of their differences.
    problems_for_two_points: Option<u64>,
}

impl ModelComparison {
    fn text(&self) -> String {
        let difference = &self.paired.difference;
        let mut text = format!(
            "{}: {} minus {}: {:+.1} points [{:+.1}, {:+.1}], p = {:.4}, {} problems",
            self.benchmark,
            self.first,
            self.second,
            100.0 * difference.value,
            100.0 * difference.low,
            100.0 * difference.high,
            self.paired.p_value,
            difference.n
        );
        if let Some(needed) = self.problems_for_two_points {
            write!(text, "; to see 2 points: {needed} problems").expect("text takes everything");
        }
        text
    }
}

fn scores(rows: &[SampleRow]) -> Scores {
    rows.iter().map(|row| (row.problem.as_str(), f64::from(u8::from(row.correct)))).collect()
}

fn comparisons(finished: &[Finished]) -> Result<Vec<ModelComparison>> {
    let mut found = Vec::new();
    for (place, first) in finished.iter().enumerate() {
        for second in
            finished[place + 1..].iter().filter(|second| second.benchmark == first.benchmark && second.arm != first.arm)
        {
            let (a, b) = (scores(&first.rows), scores(&second.rows));
            let seed = Seed::root(0).named("paired").named(&first.benchmark);
            let Ok(paired) = paired_difference(std::slice::from_ref(&a), std::slice::from_ref(&b), seed) else {
                continue;
            };
            let variance = difference_variance(&a, &b)?;
            found.push(ModelComparison {
                benchmark: first.benchmark.clone(),
                first: first.arm.clone(),
                second: second.arm.clone(),
                paired,
                problems_for_two_points: (variance > 0.0).then(|| problems_needed(variance, TWO_POINTS)),
            });
        }
    }
    Ok(found)
}

/// Writes `results_<time>.json` and `samples_<task>_<time>.jsonl` for each model.
fn harness(folder: &Path, finished: &[Finished]) -> Result<()> {
    let hash = |text: &str| datasets::sha256(text.as_bytes());
    let time = cord_eval::harness::file_time(std::time::SystemTime::now());
    let mut by_model: BTreeMap<&str, Vec<&Finished>> = BTreeMap::new();
    for one in finished {
        by_model.entry(&one.arm).or_default().push(one);
    }
    for (model, evaluations) in by_model {
        let folder = folder.join(model);
        std::fs::create_dir_all(&folder).with_context(|| format!("can't make the folder `{}`", folder.display()))?;
        let mut tasks = Vec::new();
        for one in evaluations {
            let path = one.problems.file("problems.jsonl");
            let problems: Vec<Problem> = read_jsonl(&one.problems.read_bytes("problems.jsonl")?, &path)?;
            let benchmark = benchmark(&one.problems, &one.settings)?;
            let task = cord_eval::harness::Task {
                settings: settings(&one.settings, &benchmark),
                report: one.report.clone(),
                responses: one
                    .rows
                    .iter()
                    .map(|row| {
                        (row.problem.clone(), row.sample, row.response.clone(), row.extracted.clone(), row.correct)
                    })
                    .collect(),
                problems,
                benchmark,
            };
            let name = task.benchmark.name.replace('/', "_");
            let path = folder.join(format!("samples_{name}_{time}.jsonl"));
            std::fs::write(&path, to_jsonl(&task.sample_lines(&hash), &path)?)
                .with_context(|| format!("can't write `{}`", path.display()))?;
            tasks.push(task);
        }
        let path = folder.join(format!("results_{time}.json"));
        let results = cord_eval::harness::results(model, &tasks, &hash);
        std::fs::write(&path, serde_json::to_vec_pretty(&results)?)
            .with_context(|| format!("can't write `{}`", path.display()))?;
    }
    Ok(())
}
