//! What each kind of stage does: inputs from finished folders, outputs to a writer.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use cord_core::{Digest, LanguageModel, Message, Outcome, Problem, Seed, Trajectory, Usage};
use cord_generate::{
    Deadline, Decontamination, Drive, Generator, Interrupted, Observer, OverlapRule, Policy, PromptTemplate,
    SearchResult, Solved, Teacher, drive_adaptively,
};
use cord_math::{DEFAULT_FUEL, Start, verify};
use cord_recipe::{
    DataSource, Decontaminate, EvalStage, EvaluatedModel, GenerateStage, Keep, ModelSource, ProblemSettings,
    RunSettings, StageKind, StageSpec, TrainData, TrainStage, Turns,
};
use cord_store::{Journal, Journaled, StageFolder, StageWriter, Store, to_jsonl, trajectories_from_parquet};
use cord_train::{Data, Example, audit, train};
use futures::StreamExt;
use serde_json::json;

use crate::accounts::Accounts;
use crate::datasets::{self, RowText};
use crate::eval;
use crate::learning::{self, Hold, Learning, MODEL};
use crate::measure;
use crate::meter::{Stopwatch, WallClock};
use crate::models::{Models, folder};
use crate::outcomes::Outcomes;
use crate::progress::StageProgress;
use crate::shards::{self, Part};

/// What every stage works with.
pub(crate) struct Bench<'a> {
    pub(crate) store: &'a Store,
    pub(crate) models: &'a Models,
    pub(crate) run: &'a RunSettings,
    pub(crate) interrupted: &'a AtomicBool,
    pub(crate) part: Part,
    /// The journal that generations answer from, where they share one.
    pub(crate) replies: Option<&'a Arc<Journal>>,
}

/// An item that failed, in a stage that went on.
pub(crate) type Failure = (String, String);

impl Bench<'_> {
    pub(crate) fn input(&self, kind: StageKind, key: Digest) -> Result<StageFolder> {
        self.store
            .find(kind.name(), key)?
            .ok_or_else(|| anyhow!("expected the finished stage `{}-{}`, got none", kind.name(), key.short()))
    }

    /// The problems of a finished stage.
    pub(crate) fn problems(&self, key: Digest) -> Result<Vec<Problem>> {
        let folder = self.input(StageKind::Problems, key)?;
        let path = folder.file("problems.jsonl");
        Ok(cord_store::read_jsonl(&folder.read_bytes("problems.jsonl")?, &path)?)
    }

    /// The trajectories of a finished stage.
    pub(crate) fn trajectories(&self, key: Digest) -> Result<Vec<Trajectory>> {
        Ok(trajectories_from_parquet(self.input(StageKind::Generate, key)?.read_bytes("trajectories.parquet")?)?)
    }

    /// The checkpoint of a finished stage that trained.
    pub(crate) fn student(&self, kind: StageKind, key: Digest) -> Result<PathBuf> {
        Ok(self.input(kind, key)?.file(MODEL))
    }

    /// The journal of a generation: its own, or the one that it shares. What an earlier attempt asked for itself is taken over.
    fn journal(&self, writer: &StageWriter) -> Result<Arc<Journal>> {
        let own = writer.journal_path();
        match self.replies {
            None => Ok(Arc::new(Journal::open(&own)?)),
            Some(shared) => {
                if own.exists() {
                    shared.take_in(&Journal::open(&own)?)?;
                }
                Ok(Arc::clone(shared))
            }
        }
    }

    fn concurrency(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.run.concurrency as usize).expect("a recipe's concurrency is above 0")
    }

    /// The most requests of one model in flight: twice what can be decoded at once, so that what follows is ready.
    pub(crate) fn requests<'m>(&self, models: impl Iterator<Item = &'m ModelSource>) -> NonZeroUsize {
        let slots = |source: &ModelSource| match source {
            ModelSource::Served { server, .. } => server.concurrency as usize * server.endpoints.len(),
            _ => self.run.max_batch as usize,
        };
        let twice = || 2 * models.map(slots).max().unwrap_or(1);
        let most = self.run.requests.map_or_else(twice, |requests| requests as usize);
        NonZeroUsize::new(most).expect("a recipe's counts are above 0")
    }

    /// How many threads the run computes with.
    pub(crate) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.run.threads.map_or_else(cores, |threads| threads as usize)
    }
}

/// Gathers problems.
pub(crate) fn problems(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    settings: &ProblemSettings,
) -> Result<serde_json::Value> {
    let problems = datasets::problems(&settings.source, settings.limit, &datasets::data_folder(context.run))?;
    if let Some(benchmark) = datasets::benchmark(&settings.source)? {
        writer.write_json(eval::BENCHMARK, &benchmark)?;
    }
    let path = writer.path().join("problems.jsonl");
    writer.write_bytes("problems.jsonl", &to_jsonl(&problems, &path)?)?;
    Ok(json!({"problems": problems.len()}))
}

/// A model behind the stage's journal.
fn journaled(engine: Arc<dyn LanguageModel>, journal: &Arc<Journal>) -> Arc<dyn LanguageModel> {
    Arc::new(Journaled::new(engine, journal.clone()))
}

/// Generates trajectories.
pub(crate) fn generate(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &GenerateStage,
    progress: &StageProgress,
) -> Result<(serde_json::Value, Vec<Failure>)> {
    let mut problems = context.problems(stage.input(StageKind::Problems).expect("generation has problems"))?;
    if matches!(context.part, Part::Shard(..)) && settings.adaptive.is_some() {
        bail!(
            "expected `generate.adaptive` to be absent with `--shard`, got it: every shard would learn a choice of \
             teachers of its own, and the whole would differ from one run; remove one of the two"
        );
    }
    context.part.take_share(&mut problems);
    progress.of(problems.len() as u64);
    let journal = context.journal(writer)?;
    let mut accounts = Accounts::open(writer)?;
    let mut open: Vec<String> = Vec::new();
    let mut model = |named: &cord_recipe::NamedModel| -> Result<Arc<dyn LanguageModel>> {
        let label = named.source.label().unwrap_or_default();
        if let Some(place) = open.iter().position(|known| *known == label) {
            return Ok(accounts.also(place, &named.name));
        }
        let opened = context.models.open(&named.source, &named.name)?;
        open.push(label);
        Ok(accounts.add(&named.name, &opened, &journal))
    };
    let prompt = PromptTemplate::new(settings.prompt.clone())?;
    let teachers = settings
        .teachers
        .iter()
        .map(|teacher| {
            let name = teacher.model.name.clone();
            Ok(Teacher { name, model: model(&teacher.model)?, sampling: teacher.sampling })
        })
        .collect::<Result<Vec<_>>>()?;
    let seed = Seed::root(stage.seed.expect("generation draws"));
    let Some(judges) = &settings.scorer else {
        bail!("expected a scorer, got none: add `generate.scorer`, so that trajectories can be compared")
    };
    let scorer = measure::scorer(judges, &prompt, seed.named("generate"), &mut model)?;
    let search = search_settings(settings)?;
    let generator = |policy: Option<Policy>| {
        let settings = cord_generate::GenerateSettings { policy, ..search.clone() };
        Generator::new(settings, teachers.clone(), scorer.clone())
    };
    let watch = Watch {
        progress,
        times: Stopwatch::default(),
        done: AtomicU64::new(0),
        generated: AtomicU64::new(0),
        begun: Instant::now(),
    };
    let deadline = settings
        .deadline
        .map(|seconds| Deadline { after: Duration::from_secs(seconds.into()), clock: Arc::new(WallClock) });
    let drive = Drive {
        problems: context.concurrency(),
        requests: context
            .requests(settings.teachers.iter().map(|teacher| &teacher.model).chain(judges.models()).map(|m| &m.source)),
        deadline,
        stop: Some(context.interrupted),
        observer: &watch,
    };
    let mut outcomes = Outcomes::default();
    let mut ended = |Solved { problem, outcome, .. }: Solved| {
        let seconds = watch.times.end(&problem.id);
        match outcome {
            Outcome::Done(result) => {
                accounts.ended(&problem.id, result.usage, seconds);
                outcomes.add(result);
            }
            Outcome::Failed { id, reason } => outcomes.failures.push((id, reason)),
        }
        accounts.keep(writer)
    };
    let driven = futures::executor::block_on(async {
        if let Some(adaptive) = &settings.adaptive {
            let adaptive = serde_json::from_value(json!(adaptive)).context("the choice of teachers")?;
            return drive_adaptively(&adaptive, &generator, &problems, seed, drive, &mut ended).await.map(Some);
        }
        let generator = generator(None)?;
        let mut solved = pin!(generator.drive(problems.iter().cloned(), seed, drive));
        while let Some(one) = solved.next().await.transpose()? {
            ended(one)?;
        }
        anyhow::Ok(None)
    });
    // A stage that was stopped is taken up with what it cost so far.
    accounts.write(writer)?;
    journal.sync()?;
    let policy = driven.map_err(|error| match error.downcast_ref::<Interrupted>() {
        Some(_) => error.context(format!(
            "{} of {} problems are done, and every reply is journaled; run again to go on from there",
            watch.done.load(Ordering::Relaxed),
            problems.len()
        )),
        None => error,
    })?;
    let (mut summary, failures) = outcomes.write(writer, &problems)?;
    if let Some(policy) = policy {
        summary["policy"] = json!(policy);
    }
    Ok((summary, failures))
}

/// The search's settings as the generator takes them.
pub(crate) fn search_settings(stage: &GenerateStage) -> Result<cord_generate::GenerateSettings> {
    // The two crates write the same words; the generator's reader checks that they do.
    let scorer_free = json!({
        "prompt": stage.prompt,
        "segmenter": stage.segmenter,
        "search": stage.search,
        "budget": stage.budget,
        "closing": stage.closing,
        "draws": stage.draws,
    });
    serde_json::from_value(scorer_free).context("the search's settings")
}

struct Watch<'a> {
    progress: &'a StageProgress,
    times: Stopwatch,
    done: AtomicU64,
    generated: AtomicU64,
    begun: Instant,
}

impl Watch<'_> {
    fn show(&self) {
        let generated = self.generated.load(Ordering::Relaxed);
        let rate = generated as f64 / self.begun.elapsed().as_secs_f64().max(1e-3);
        self.progress.at(self.done.load(Ordering::Relaxed), format!("{generated} tokens, {rate:.0}/s"));
    }
}

impl Observer for Watch<'_> {
    fn begun(&self, problem: &Problem) {
        self.times.begin(&problem.id);
    }

    fn spent(&self, usage: Usage) {
        self.generated.fetch_add(usage.generated_tokens, Ordering::Relaxed);
        self.show();
    }

    fn finished(&self, _: &Outcome<SearchResult>) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.show();
    }
}

/// Trains a student.
pub(crate) fn train_student(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &TrainStage,
    threads: usize,
    progress: &StageProgress,
) -> Result<serde_json::Value> {
    let learning = Learning::new("train", stage, &settings.learning);
    let (rows, chosen) = match &settings.data {
        TrainData::Rows { source, limit } => {
            (datasets::rows(source, *limit, &settings.learning.prompt, &datasets::data_folder(context.run))?, json!({}))
        }
        TrainData::Generated => generated_rows(context, writer, stage, settings)?,
    };
    let texts = || rows.iter().map(|row| row_text(&row.text)).collect();
    let (model, renderer) = context.models.trainable(&settings.student.source, learning.seed, &texts)?;
    let mut examples = rows
        .iter()
        .map(|row| {
            let ids = match &row.text {
                RowText::Conversation(messages) if settings.turns == Turns::All => renderer.conversation_ids(messages),
                RowText::Conversation(messages) => renderer.training_ids(messages),
                RowText::Completion(prompt, completion) => renderer.continued_training_ids(prompt, completion),
            };
            let ids = ids.with_context(|| format!("the training row `{}`", row.id))?;
            Ok(Example { id: row.id.clone(), ids: ids.ids, supervised: ids.supervised })
        })
        .collect::<Result<Vec<_>>>()?;
    let validation = learning.hold_out(&mut examples)?;
    learning.plan_memory(context, model.config(), &examples, threads, progress)?;
    let flops = learning.flops(model.config(), &examples);
    let text = |ids: &[u32]| learning::text_of(&renderer, ids);
    let notes = examples.first().map(|example| audit(example, &text, renderer.eos_ids())).unwrap_or_default();
    writer.write_bytes("audit.txt", notes.as_bytes())?;
    let data = Data { training: &examples, validation: &validation };
    let train_settings = learning.settings();
    let (model, report) =
        learning.run(context, writer, stage, progress, flops, |Hold { checkpoints, interrupt, observe }| {
            train(model, data, &train_settings, checkpoints, threads, interrupt, observe)
        })?;
    learning::write(writer, &model, &renderer, &settings.student.name)?;
    let mut summary = json!({
        "steps": report.steps, "examples": report.examples, "too-long": report.too_long,
        "parameters": model.config().parameters(),
        "last-loss": learning::last(report.losses.iter().copied()),
    });
    if let (Some(summary), serde_json::Value::Object(chosen)) = (summary.as_object_mut(), chosen) {
        summary.extend(chosen);
    }
    writer.write_json("report.json", &report)?;
    Ok(summary)
}

/// A row's text, for a tokenizer to learn from.
fn row_text(text: &RowText) -> String {
    let join = |messages: &[Message]| messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n");
    match text {
        RowText::Conversation(messages) => join(messages),
        RowText::Completion(prompt, completion) => {
            format!("{}\n{}{completion}", join(&prompt.messages), prompt.prefix)
        }
    }
}

/// The rows that a stage's trajectories give, and how they were chosen.
fn generated_rows(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &TrainStage,
) -> Result<(Vec<datasets::TrainingRow>, serde_json::Value)> {
    let problems = context.problems(stage.input(StageKind::Problems).expect("trajectories are for problems"))?;
    let trajectories = context.trajectories(stage.input(StageKind::Generate).expect("training follows generation"))?;
    let keep = keep(settings.keep.unwrap_or(Keep::Complete));
    let correct = |problem: &Problem, trajectory: &Trajectory| {
        verify(&problem.answer, &trajectory.response, Start::Thinking, DEFAULT_FUEL).is_correct()
    };
    let prompt = PromptTemplate::new(settings.learning.prompt.clone())?;
    let data = datasets::data_folder(context.run);
    let found = settings.decontaminate.map(|rule| decontamination(&problems, rule, &settings.benchmarks, &data));
    let found = found.transpose()?;
    let contaminated = found.as_ref().map(Decontamination::contaminated).unwrap_or_default();
    let set = cord_generate::training_set(&problems, &trajectories, &prompt, keep, &contaminated, &correct);
    if set.rows.is_empty() {
        bail!(
            "expected at least one trajectory to learn from, got none of {}: {}",
            trajectories.len(),
            json!(set.left_out)
        );
    }
    let path = writer.path().join("training.jsonl");
    writer.write_bytes("training.jsonl", &to_jsonl(&set.rows, &path)?)?;
    let rows = set.rows.into_iter();
    let rows =
        rows.map(|row| datasets::TrainingRow { id: row.id, text: RowText::Conversation(row.messages) }).collect();
    let chosen = json!({"kept": set.kept, "left-out": set.left_out, "decontamination": found});
    Ok((rows, chosen))
}

/// The recipe's rule as the generator takes it.
pub(crate) fn keep(rule: Keep) -> cord_generate::Keep {
    match rule {
        Keep::All => cord_generate::Keep::All,
        Keep::Complete => cord_generate::Keep::Complete,
        Keep::Correct => cord_generate::Keep::Correct,
        Keep::Closed => cord_generate::Keep::Closed,
    }
}

/// Compares problems with those of benchmarks, whole.
pub(crate) fn decontamination(
    problems: &[Problem],
    rule: Decontaminate,
    benchmarks: &[DataSource],
    data: &Path,
) -> Result<Decontamination> {
    let of = |source: &DataSource| Ok((source.name(), datasets::problems(source, None, data)?));
    let benchmarks = benchmarks.iter().map(of).collect::<Result<_>>()?;
    let rule = OverlapRule { ngram: rule.ngram, share: rule.share };
    Ok(Decontamination::of(problems, &benchmarks, rule))
}

/// Evaluates a model on a benchmark.
pub(crate) fn evaluate(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &EvalStage,
    progress: &StageProgress,
) -> Result<(serde_json::Value, Vec<Failure>)> {
    let input =
        context.input(StageKind::Problems, stage.input(StageKind::Problems).expect("a benchmark has problems"))?;
    let mut problems = context.problems(input.key())?;
    let benchmark = eval::benchmark(&input, settings)?;
    let journal = Arc::new(Journal::open(&writer.journal_path())?);
    context.part.take_share(&mut problems);
    if context.part == Part::Whole {
        shards::take_in(context.store, stage, &journal)?;
    }
    let (source, name, trained) = match &settings.model {
        EvaluatedModel::Given(model) => (model.source.clone(), model.name.clone(), false),
        EvaluatedModel::Trained => {
            let student = stage.student().expect("a student was trained");
            let source = ModelSource::Path(context.student(student.kind, student.key)?);
            (source, format!("student of {}", stage.arms.join(", ")), true)
        }
    };
    let model = journaled(context.models.open(&source, &name)?.model(), &journal);
    let eval = eval::settings(settings, &benchmark);
    progress.of(problems.len() as u64 * u64::from(eval.samples.get()));
    let seed = Seed::root(stage.seed.expect("evaluation draws"));
    let begun = Instant::now();
    let observe = |p: cord_eval::Progress| {
        let rate = p.generated_tokens as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        let share = 100.0 * p.correct as f64 / p.ended.max(1) as f64;
        progress.at(p.ended, format!("{share:.1} % right, {rate:.0} tokens/s"));
    };
    let in_flight = context.requests([&source].into_iter());
    let evaluation =
        cord_eval::evaluate(model.as_ref(), &problems, &eval, seed, in_flight, context.interrupted, &observe);
    let outcomes = futures::executor::block_on(evaluation)?;
    if trained {
        context.models.close(&folder(&source)?);
    }
    eval::write(writer, &benchmark, &problems, outcomes, settings.opening, seed)
}
