//! What stands in the way of a run, found before it: the machine, the results' disk, data sets, models and their servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use cord_core::{GenerateRequest, LanguageModel, Message, Opening, Problem, Prompt, Sampling, Seed};
use cord_generate::PromptTemplate;
use cord_lm::{DeviceSpec, open_device};
use cord_recipe::{DataSource, ModelSource, Recipe, RunSettings, Scorer, TokenizerSource};
use cord_text::Renderer;
use futures::executor::block_on;
use futures::future::join_all;
use serde::Serialize;
use serde_json::json;

use crate::models::{Models, Opened, folder};
use crate::{datasets, machine, run};

/// Tokens that each timed generation draws at most.
const TIMED_TOKENS: u32 = 48;
/// The least context that they fit into, whatever the tokenizer.
const TIMED_CONTEXT: u32 = 512;
/// Generations that are timed together.
const TOGETHER: usize = 8;
/// What is asked to be continued: long, and known to every model.
const TIMED_QUESTION: &str = "Write the numbers from one to one hundred in words, separated by commas.";
/// Bytes of a token in the journal, the ledger and the tables, all in all: four of text, each written up to four times.
const BYTES_PER_TOKEN: u64 = 16;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// As it should be.
    Ok,
    /// A run can begin, but look at it.
    Warning,
    /// A run can't begin, or will fail.
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    subject: String,
    state: State,
    text: String,
}

/// Everything that was looked at.
pub(crate) struct Diagnosis<'a> {
    findings: Vec<Finding>,
    /// Told of each finding at once: to probe a server that is down takes its tries and pauses.
    tell: &'a mut dyn FnMut(String),
}

impl Diagnosis<'_> {
    fn add(&mut self, state: State, subject: impl Into<String>, text: impl Into<String>) {
        let finding = Finding { subject: subject.into(), state, text: text.into() };
        (self.tell)(finding.line());
        self.findings.push(finding);
    }

    fn note(&mut self, subject: &str, result: Result<String>) {
        match result {
            Ok(text) => self.add(State::Ok, subject, text),
            Err(error) => self.add(State::Fault, subject, format!("{error:#}")),
        }
    }

    fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }

    /// Can a run begin?
    pub(crate) fn is_well(&self) -> bool {
        self.count(State::Fault) == 0
    }

    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(&json!({"well": self.is_well(), "findings": self.findings})).context("JSON")
    }

    pub(crate) fn total(&self) -> String {
        format!("{} faults, {} warnings", self.count(State::Fault), self.count(State::Warning))
    }
}

impl Finding {
    fn line(&self) -> String {
        let mark = match self.state {
            State::Ok => "ok     ",
            State::Warning => "warning",
            State::Fault => "FAULT  ",
        };
        format!("{mark}  {}: {}", self.subject, self.text.replace('\n', "\n         "))
    }
}

/// Looks at the machine, and at everything that a recipe needs.
pub(crate) fn diagnose<'a>(recipe: Option<&Recipe>, tell: &'a mut dyn FnMut(String)) -> Diagnosis<'a> {
    let mut found = Diagnosis { findings: Vec::new(), tell };
    let commit = machine::commit().map_or_else(String::new, |commit| format!(", run in a checkout at {commit}"));
    let gpu = if cfg!(feature = "cuda") { "with CUDA" } else { "without CUDA (build with --features cuda for it)" };
    found.add(State::Ok, "program", format!("cord {} {gpu}{commit}", env!("CARGO_PKG_VERSION")));
    found.add(State::Ok, "machine", machine::describe());
    let default = RunSettings::default();
    let settings = recipe.map_or(&default, |recipe| &recipe.run);
    found.note("device", device(settings));
    match disk(&settings.out) {
        Ok(free) => found.add(State::Ok, "disk", format!("{} free at {}", bytes(free), settings.out.display())),
        Err(error) => found.add(State::Fault, "disk", format!("{error:#}")),
    }
    if let Some(recipe) = recipe {
        look_at(recipe, &mut found);
    }
    found
}

fn device(run: &RunSettings) -> Result<String> {
    let spec: DeviceSpec = run.device.to_string().parse().map_err(anyhow::Error::msg)?;
    open_device(spec)?;
    Ok(format!("{} opens", run.device))
}

/// Free bytes where a folder is or will be.
fn disk(folder: &Path) -> Result<u64> {
    let absolute = std::path::absolute(folder)?;
    let there = absolute.ancestors().find(|path| path.exists()).context("a root folder exists")?;
    let state =
        rustix::fs::statvfs(there).with_context(|| format!("can't ask for the room at `{}`", there.display()))?;
    Ok(state.f_bavail.saturating_mul(state.f_frsize))
}

/// What a role asks of its model.
#[derive(Default)]
struct Wants {
    roles: Vec<String>,
    loglikelihood: bool,
    /// The most tokens after the prompt, by the prompts' texts that come before.
    rooms: Vec<Room>,
}

struct Room {
    problems: Vec<Problem>,
    template: String,
    after: u64,
    what: String,
}

fn look_at(recipe: &Recipe, found: &mut Diagnosis<'_>) {
    let needs = recipe.needs();
    let mut problems: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
    for (label, source) in &needs.datasets {
        match look_at_data(source, &datasets::data_folder(&recipe.run)) {
            Ok((text, those)) => {
                problems.insert(label.clone(), those);
                found.add(State::Ok, format!("data set {label}"), text);
            }
            Err(error) => found.add(State::Fault, format!("data set {label}"), format!("{error:#}")),
        }
    }
    let mut wanted: BTreeMap<String, (ModelSource, Wants)> = BTreeMap::new();
    let mut written = 0u64;
    for arm in &recipe.arms {
        let of = |source: &DataSource, limit: Option<u32>| -> Vec<Problem> {
            let all = problems.get(&source.label()).cloned().unwrap_or_default();
            all.into_iter().take(limit.map_or(usize::MAX, |limit| limit as usize)).collect()
        };
        let mut want = |name: &str, role: String, loglikelihood: bool, room: Option<Room>| {
            let Some(model) = arm.models.get(name) else { return };
            let Some(label) = model.source.label() else { return };
            let (_, wants) = wanted.entry(label).or_insert_with(|| (model.source.clone(), Wants::default()));
            if !wants.roles.contains(&role) {
                wants.roles.push(role);
            }
            wants.loglikelihood |= loglikelihood;
            wants.rooms.extend(room);
        };
        if let (Some(generate), Some(asked)) = (&arm.generate, &arm.problems) {
            let asked = of(&asked.source, asked.limit);
            let after = u64::from(generate.budget.reasoning) + u64::from(generate.budget.answer);
            written += asked.len() as u64 * after * generate.teachers.len() as u64;
            for teacher in &generate.teachers {
                let room = Room {
                    problems: asked.clone(),
                    template: generate.prompt.clone(),
                    after,
                    what: format!("`{}`'s trajectories", arm.name),
                };
                want(teacher, format!("a teacher of {}", arm.name), false, Some(room));
            }
            if let Some(scorer) = &generate.scorer {
                for judge in scorer.models() {
                    want(judge, format!("scores for {}", arm.name), reads_logprobs(scorer), None);
                }
            }
        }
        if let Some(train) = &arm.train {
            want(&train.student, format!("a student of {}", arm.name), false, None);
        }
        if let Some(name) = arm.dpo.as_ref().and_then(|dpo| dpo.student.as_ref()) {
            want(name, format!("a student of {}", arm.name), false, None);
        }
        if let Some(name) = arm.eval.as_ref().and_then(|eval| eval.model.as_ref()) {
            want(name, format!("tested by {}", arm.name), false, None);
        }
    }
    if let Ok(free) = disk(&recipe.run.out) {
        let most = written * BYTES_PER_TOKEN;
        let state = if most > free { State::Warning } else { State::Ok };
        let text = format!("at most about {} of trajectories, ledgers and journals, {} free", bytes(most), bytes(free));
        found.add(state, "room for results", text);
    }
    let models = run::store(recipe).and_then(|store| Models::new(&recipe.run, &store));
    let models = match models {
        Ok(models) => models,
        Err(error) => return found.add(State::Fault, "models", format!("{error:#}")),
    };
    for (label, (source, wants)) in wanted {
        let subject = format!("model {label}");
        if let Err(error) =
            look_at_model(&models, &label, &source, &wants, &mut |state, text| found.add(state, &subject, text))
        {
            found.add(State::Fault, &subject, format!("{error:#}"));
        }
        if let ModelSource::Path(dir) = &source {
            models.close(dir);
        }
    }
}

/// Does it ask its model for the log-probabilities of a text? A judgment is written.
fn reads_logprobs(scorer: &Scorer) -> bool {
    match scorer {
        Scorer::Judgment { .. } => false,
        Scorer::Mixture { signals, .. } => signals.iter().any(|signal| reads_logprobs(&signal.scorer)),
        _ => true,
    }
}

/// What is in a data set, and its problems.
fn look_at_data(source: &DataSource, data: &Path) -> Result<(String, Vec<Problem>)> {
    let digest = datasets::digest(source, data)?;
    match datasets::problems(source, None, data) {
        Ok(problems) => Ok((format!("{} problems, {}", problems.len(), digest.short()), problems)),
        Err(error) => match datasets::rows(source, None, "{question}", data) {
            Ok(rows) => Ok((format!("{} rows, {}", rows.len(), digest.short()), Vec::new())),
            Err(_) => Err(error),
        },
    }
}

fn look_at_model(
    models: &Models,
    label: &str,
    source: &ModelSource,
    wants: &Wants,
    tell: &mut dyn FnMut(State, String),
) -> Result<()> {
    tell(State::Ok, wants.roles.join(", "));
    let opened = models.open(source, label)?;
    let model = opened.model();
    let can = model.capabilities();
    match &opened {
        Opened::Engine(_) => tell(State::Ok, format!("in process, {} tokens of context", can.context)),
        Opened::Served(served) => {
            let states = served.served();
            let facts: Vec<String> = states.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let by = served.scores_by().map_or_else(|| "can't score".to_owned(), |form| format!("scores by {form}"));
            tell(
                State::Ok,
                format!(
                    "`{}` on {}, {} tokens of context, {by}; {}",
                    states.model,
                    serde_json::to_value(states.dialect)?.as_str().unwrap_or_default(),
                    can.context,
                    facts.join(", ")
                ),
            );
        }
    }
    if wants.loglikelihood && !can.loglikelihood {
        tell(State::Fault, "expected log-probabilities of a continuation for its role, it gives none".to_owned());
    }
    let renderer = renderer(source)?;
    for room in &wants.rooms {
        let (state, text) = fit(&renderer, room, can.context)?;
        tell(state, text);
    }
    if can.context >= TIMED_CONTEXT {
        tell(State::Ok, speed(model.as_ref())?);
    }
    Ok(())
}

fn renderer(source: &ModelSource) -> Result<Renderer> {
    let dir = match source {
        ModelSource::Served { tokenizer: TokenizerSource::Path(path), .. } => path.clone(),
        ModelSource::Served { tokenizer: TokenizerSource::Hub { name, revision }, .. } => {
            folder(&ModelSource::Hub { name: name.clone(), revision: revision.clone() })?
        }
        other => folder(other)?,
    };
    Ok(Renderer::from_dir(&dir)?)
}

/// Does the longest problem fit, with all that may be written after it?
fn fit(renderer: &Renderer, room: &Room, context: u32) -> Result<(State, String)> {
    let template = PromptTemplate::new(room.template.clone())?;
    let mut longest = 0;
    for problem in &room.problems {
        let prompt = Prompt { messages: template.messages(problem), opening: Opening::Think, prefix: String::new() };
        longest = longest.max(renderer.prompt_ids(&prompt)?.len() as u64);
    }
    let needed = longest + room.after;
    let text = format!(
        "{}: the longest prompt of {} has {longest} tokens, with {} to write after it {needed} of {context}",
        room.what,
        room.problems.len(),
        room.after
    );
    if needed <= u64::from(context) {
        return Ok((State::Ok, text));
    }
    let hint = "what does not fit ends as a failed problem: lower `budget`, or give the model more context";
    Ok((State::Warning, format!("{text}; {hint}")))
}

/// Tokens a second, alone and with company.
fn speed(model: &dyn LanguageModel) -> Result<String> {
    let request = |place: u64| GenerateRequest {
        prompt: Prompt {
            messages: vec![Message::user(TIMED_QUESTION)],
            opening: Opening::Plain,
            prefix: String::new(),
        },
        stop: Vec::new(),
        max_tokens: TIMED_TOKENS,
        sampling: Sampling::default(),
        seed: Seed::root(place),
    };
    let timed = |count: usize| -> Result<f64> {
        let begun = Instant::now();
        let replies = block_on(join_all((0..count).map(|place| model.generate(request(place as u64)))));
        let seconds = begun.elapsed().as_secs_f64().max(1e-6);
        let replies = replies.into_iter().collect::<Result<Vec<_>, _>>()?;
        let tokens: u64 = replies.iter().map(|reply| reply.usage.generated_tokens).sum();
        Ok(tokens as f64 / seconds)
    };
    // The first request pays for what a server or engine sets up once.
    timed(1)?;
    let (alone, together) = (timed(1)?, timed(TOGETHER)?);
    Ok(format!("{alone:.0} tokens/s for one request, {together:.0} for {TOGETHER} at once"))
}

fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let place = (count.max(1).ilog2() / 10).min(4);
    format!("{:.1} {}", count as f64 / 1024f64.powi(place as i32), units[place as usize])
}
