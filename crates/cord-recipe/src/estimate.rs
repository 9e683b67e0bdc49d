//! What a stage would cost, before it is run: counted from its settings, not measured.
//!
//! Every count has two values. What is *expected* goes by the lengths of [`Expected`], or by guesses from the budgets where it
//! is silent: a quarter of a step's budget, half of the reasoning's, the answer's and a response's. The *most* is a bound: every
//! step as long as its budget, every beam open to the last step, every response cut off. A search that merges duplicates,
//! finishes early or answers from a journal costs less than either.
//!
//! Covered: requests, and tokens as [`cord_core::Usage`] counts them. Not covered: a second question where a segmenter needs
//! one, requests that are sent again, and the prompts that a prover reads before it scores, which are part of its rate and
//! price, and the readings of pairs beside their gradients, which make preference optimisation about a third slower than its rate.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::generate::{Budget, Segmenter};
use crate::price::Price;
use crate::rate::{Expected, Rate};
use crate::run::RunSettings;
use crate::scorer::{RewardPrompt, Scorer};
use crate::search::Search;
use crate::stage::{
    DpoStage, EvaluatedModel, GenerateStage, NamedModel, ScorerModel, StageSettings, StageSpec, TrainStage,
};
use crate::train::TrainLength;

/// A count that is expected, and its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Span {
    /// What is expected.
    pub expected: f64,
    /// The most that there can be.
    pub most: f64,
}

/// What one model has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Work {
    /// Requests.
    pub requests: Span,
    /// Tokens of the prompts of generations, their prefixes included.
    pub prompt: Span,
    /// Tokens that are generated.
    pub generated: Span,
    /// Tokens that are scored.
    pub scored: Span,
    /// Tokens that are trained on, all epochs together.
    pub trained: Span,
}

/// What a stage would cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Estimate {
    /// By the models' names in the recipe.
    pub models: BTreeMap<String, Work>,
    /// All models together.
    pub total: Work,
    /// GPU-hours by `[run.rates]`; absent where a model that works has no rate for what it does.
    pub gpu_hours: Option<Span>,
    /// What it costs by `[run.prices]`; absent where a model that works has no price for what it does.
    pub cost: Option<Span>,
}

/// What a plan does not hold of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// How many problems it is about; of a training on given rows, how many rows.
    pub problems: u64,
    /// Samples of each problem, of an evaluation.
    pub samples: u32,
    /// The most tokens of a response, of an evaluation.
    pub max_tokens: u32,
    /// How many trajectories of each problem there are to measure or to train on.
    pub trajectories: u32,
    /// The most tokens of such a trajectory.
    pub trajectory_tokens: u32,
    /// The most pairs of candidates of each problem, of a preference optimisation.
    pub pairs: u64,
    /// The student's name, of an evaluation or a preference optimisation of one that was trained.
    pub student: String,
}

/// The lengths that an estimate goes by.
#[derive(Clone, Copy)]
struct Lengths {
    question: f64,
    gold: f64,
    step: Span,
    reasoning: Span,
    answer: Span,
}

/// Tokens of a question and of a gold answer where nothing is said of them.
const QUESTION: u32 = 200;
const GOLD: u32 = 8;

impl Span {
    fn both(value: f64) -> Self {
        Self { expected: value, most: value }
    }

    fn map(self, with: impl Fn(f64) -> f64) -> Self {
        Self { expected: with(self.expected), most: with(self.most) }
    }
}

impl std::ops::Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { expected: self.expected + other.expected, most: self.most + other.most }
    }
}

impl std::ops::Mul for Span {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self { expected: self.expected * other.expected, most: self.most * other.most }
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.requests = self.requests + other.requests;
        self.prompt = self.prompt + other.prompt;
        self.generated = self.generated + other.generated;
        self.scored = self.scored + other.scored;
        self.trained = self.trained + other.trained;
    }
}

impl Work {
    /// This many times the work.
    fn times(self, count: f64) -> Self {
        let scale = |span: Span| span.map(|value| value * count);
        Self {
            requests: scale(self.requests),
            prompt: scale(self.prompt),
            generated: scale(self.generated),
            scored: scale(self.scored),
            trained: scale(self.trained),
        }
    }

    /// Seconds at a rate; nothing where the rate does not say how fast something goes that has to be done.
    fn seconds(&self, rate: &Rate) -> Option<Span> {
        let of = |tokens: Span, rate: Option<f64>| match rate {
            Some(rate) => Some(tokens.map(|tokens| tokens / rate)),
            None => (tokens.most == 0.0).then(Span::default),
        };
        Some(of(self.generated, rate.generated)? + of(self.scored, rate.scored)? + of(self.trained, rate.trained)?)
    }

    fn cost(&self, price: &Price, rate: Option<&Rate>) -> Option<Span> {
        match price {
            Price::Gpus(price) => {
                let hours = self.seconds(rate?)?.map(|seconds| seconds / 3600.0);
                Some(hours.map(|hours| hours * f64::from(price.gpus) * price.gpu_hour))
            }
            Price::Tokens(price) => {
                let of = |tokens: Span, price: Option<f64>| match price {
                    Some(price) => Some(tokens.map(|tokens| tokens * price / 1e6)),
                    None => (tokens.most == 0.0).then(Span::default),
                };
                // Nobody knows before a run what a cache will hold.
                let sum = of(self.prompt, price.prompt)? + of(self.generated, price.generated)?;
                // Training has no price by the token.
                (self.trained.most == 0.0).then_some(())?;
                Some(sum + of(self.scored, price.scored)?)
            }
        }
    }
}

impl StageSpec {
    /// What the stage would cost. Nothing of stages that ask no model.
    pub fn estimate(&self, facts: &Facts, run: &RunSettings) -> Option<Estimate> {
        let mut models: BTreeMap<String, Work> = BTreeMap::new();
        let problems = facts.problems as f64;
        match &self.settings {
            StageSettings::Problems(_) | StageSettings::Table(_) => return None,
            StageSettings::Generate(stage) => {
                let lengths = Lengths::of(&run.expected, stage.budget, stage.segmenter);
                for (name, work) in generate(stage, lengths) {
                    *models.entry(name).or_default() += work.times(problems);
                }
            }
            StageSettings::Measure(stage) => {
                let lengths = Lengths::whole(&run.expected, facts.trajectory_tokens);
                let count = problems * f64::from(facts.trajectories);
                for (name, work) in judged(&stage.scorer, Span::both(count), lengths) {
                    *models.entry(name).or_default() += work;
                }
            }
            StageSettings::Train(stage) => {
                models.insert(stage.student.name.clone(), train(stage, facts, &run.expected));
            }
            StageSettings::Dpo(stage) => {
                let name = match &stage.student {
                    EvaluatedModel::Given(model) => model.name.clone(),
                    EvaluatedModel::Trained => facts.student.clone(),
                };
                models.insert(name, dpo(stage, facts, &run.expected));
            }
            StageSettings::Judge(stage) => {
                // A judge reads what follows the reasoning, which nobody knows before: as long as an answer.
                let (asked, of) = (problems * f64::from(facts.samples), |given: Option<u32>| given.map(f64::from));
                let most = f64::from(facts.max_tokens);
                let said = of(run.expected.answer).unwrap_or(most / 4.0).min(most);
                let question = f64::from(run.expected.question.unwrap_or(QUESTION));
                let written = f64::from(stage.max_tokens);
                let one = Work {
                    requests: Span::both(1.0),
                    prompt: Span { expected: 2.0 * question + said, most: 2.0 * question + most },
                    generated: Span { expected: written / 4.0, most: written },
                    ..Work::default()
                };
                for judge in &stage.models {
                    *models.entry(judge.name.clone()).or_default() += one.times(asked);
                }
            }
            StageSettings::Eval(stage) => {
                let name = match &stage.model {
                    EvaluatedModel::Given(model) => model.name.clone(),
                    EvaluatedModel::Trained => facts.student.clone(),
                };
                let most = f64::from(facts.max_tokens);
                let response = run.expected.response.map_or(most / 2.0, |tokens| f64::from(tokens).min(most));
                let question = f64::from(run.expected.question.unwrap_or(QUESTION));
                let one = Work {
                    requests: Span::both(1.0),
                    prompt: Span::both(question),
                    generated: Span { expected: response, most },
                    ..Work::default()
                };
                models.insert(name, one.times(problems * f64::from(facts.samples)));
            }
        }
        Some(Estimate::of(models, run))
    }
}

impl Estimate {
    /// Several stages together.
    pub fn sum<'a>(stages: impl IntoIterator<Item = &'a Self>, run: &RunSettings) -> Self {
        let mut models: BTreeMap<String, Work> = BTreeMap::new();
        for (name, work) in stages.into_iter().flat_map(|stage| &stage.models) {
            *models.entry(name.clone()).or_default() += *work;
        }
        Self::of(models, run)
    }

    fn of(models: BTreeMap<String, Work>, run: &RunSettings) -> Self {
        let mut total = Work::default();
        for work in models.values() {
            total += *work;
        }
        let add = |sum: Option<Span>, one: Option<Span>| Some(sum? + one?);
        let hours = models.iter().map(|(name, work)| {
            let rate = run.rates.get(name)?;
            Some(work.seconds(rate)?.map(|seconds| seconds / 3600.0 * f64::from(rate.gpus)))
        });
        let gpu_hours = hours.fold(Some(Span::default()), add);
        let costs = models.iter().map(|(name, work)| work.cost(run.prices.get(name)?, run.rates.get(name)));
        let cost = costs.fold(Some(Span::default()), add);
        Self { models, total, gpu_hours, cost }
    }
}

impl Lengths {
    fn of(expected: &Expected, budget: Budget, segmenter: Segmenter) -> Self {
        let step = match segmenter {
            Segmenter::FixedLength { tokens } => tokens.min(budget.step),
            Segmenter::PromptGuided { .. } | Segmenter::LineBreak | Segmenter::Prefix { .. } => budget.step,
        };
        let span = |given: Option<u32>, guess: f64, most: u32| {
            let most = f64::from(most);
            Span { expected: given.map_or(guess * most, |tokens| f64::from(tokens).min(most)).max(1.0), most }
        };
        let reasoning = span(expected.reasoning, 0.5, budget.reasoning);
        // A step of a fixed length is as long as it says.
        let fixed = matches!(segmenter, Segmenter::FixedLength { .. });
        let mut step = span(expected.step, if fixed { 1.0 } else { 0.25 }, step.min(budget.reasoning));
        step.expected = step.expected.min(reasoning.expected);
        Self { step, reasoning, answer: span(expected.answer, 0.5, budget.answer), ..Self::whole(expected, 0) }
    }

    /// Of texts that are there already.
    fn whole(expected: &Expected, tokens: u32) -> Self {
        let most = f64::from(tokens);
        let half = expected.reasoning.map_or(most / 2.0, |tokens| f64::from(tokens).min(most));
        let reasoning = Span { expected: half, most };
        let of = |given: Option<u32>, guess: u32| f64::from(given.unwrap_or(guess));
        Self {
            question: of(expected.question, QUESTION),
            gold: of(expected.gold, GOLD),
            step: reasoning,
            reasoning,
            answer: Span::default(),
        }
    }

    /// How many steps a trajectory has, at most `steps`.
    fn steps(&self, steps: u32) -> (u32, u32) {
        let expected = (self.reasoning.expected / self.step.expected).ceil().clamp(1.0, f64::from(steps));
        (expected as u32, steps)
    }
}

/// One generation after a prefix.
fn written(lengths: &Lengths, prefix: Span, tokens: Span) -> Work {
    Work {
        requests: Span::both(1.0),
        prompt: prefix.map(|prefix| lengths.question + prefix),
        generated: tokens,
        ..Work::default()
    }
}

/// What generating trajectories for one problem asks of each model.
fn generate(stage: &GenerateStage, lengths: Lengths) -> Vec<(String, Work)> {
    let teachers = &stage.teachers;
    let whole = lengths.reasoning + lengths.answer;
    let nothing = Span::default();
    // What all teachers write together, who shares it alike, and how many texts are scored.
    let mut writes = Work::default();
    let mut merges = None;
    let mut scored;
    let merger = match &stage.search {
        Search::Integration { model, .. } => Some(model),
        _ => None,
    };
    let writers: Vec<&NamedModel> =
        teachers.iter().map(|teacher| &teacher.model).filter(|model| Some(&model.name) != merger).collect();
    let pool = writers.len().max(1) as f64;
    match &stage.search {
        Search::Beam { width, proposals, select, .. } | Search::BestFirst { width, proposals, select, .. } => {
            let best_first = matches!(stage.search, Search::BestFirst { .. });
            let asked = match stage.adaptive {
                None if best_first => pool.midpoint(1.0),
                None => pool,
                Some(adaptive) => {
                    let once = f64::from(adaptive.ask).min(pool);
                    // A step that may ask again stops somewhere between.
                    if adaptive.settle.is_some() { once.midpoint(pool) } else { once }
                }
            };
            // Where steps hold, one trajectory goes on at a time, and the others turn off near its end.
            let beside = if best_first { 1.0 } else { f64::from(*width) };
            let each = |steps: u32, ask: f64, step: f64, most: f64, width: f64| {
                let (mut beams, mut sum, mut prompt) = (1.0f64, 0.0, 0.0);
                for depth in 0..steps {
                    let candidates = beams * ask * f64::from(*proposals);
                    sum += candidates;
                    prompt += candidates * (lengths.question + (f64::from(depth) * step).min(most));
                    beams = candidates.min(width).max(1.0);
                }
                (sum, prompt)
            };
            let (expected, most) = lengths.steps(stage.budget.steps);
            let reasoning = lengths.reasoning.most;
            let (few, few_prompt) = each(expected, asked, lengths.step.expected, reasoning, beside);
            let (many, many_prompt) = each(most, pool, lengths.step.most, reasoning, f64::from(*width));
            let candidates = Span { expected: few, most: many };
            writes.requests = candidates;
            writes.prompt = Span { expected: few_prompt, most: many_prompt };
            writes.generated = candidates * lengths.step;
            writes += written(&lengths, lengths.reasoning, lengths.answer).times(f64::from(*select));
            scored = candidates;
        }
        Search::Curation { trajectories, compute, .. } => {
            let rounds = |tokens: f64| compute.map_or(0.0, |compute| compute as f64 / tokens.max(1.0) + pool);
            let of = |tokens: f64| f64::from(*trajectories).max(rounds(tokens).ceil());
            // Short texts make many rounds, long ones many tokens.
            let count = Span { expected: of(whole.expected), most: of(whole.expected) };
            writes.requests = count;
            writes.prompt = count.map(|count| count * lengths.question);
            writes.generated = count * whole;
            scored = count;
        }
        Search::Single { trajectories, .. } => {
            writes = written(&lengths, nothing, whole).times(f64::from(*trajectories));
            scored = Span::both(f64::from(*trajectories));
        }
        Search::Mcts { iterations, proposals, select, .. } => {
            let walks = f64::from(*iterations);
            let half = lengths.reasoning.map(|tokens| tokens / 2.0);
            let middle = Span { expected: half.expected, most: lengths.reasoning.most };
            writes = written(&lengths, middle, lengths.step).times(walks * pool * f64::from(*proposals));
            // A rollout goes on from somewhere in the middle.
            let rollout = Span { expected: half.expected + lengths.answer.expected, most: whole.most };
            writes += written(&lengths, middle, rollout).times(walks);
            writes += written(&lengths, lengths.reasoning, lengths.answer).times(f64::from(*select));
            scored = Span::both(walks);
        }
        Search::Integration { model, trajectories, merged, .. } => {
            let (sources, merged) = (f64::from(*trajectories), f64::from(*merged));
            writes = written(&lengths, nothing, whole).times(sources);
            let read = whole.map(|tokens| tokens * sources);
            merges = Some((model.clone(), written(&lengths, read, whole).times(merged)));
            scored = Span::both(merged);
        }
    }
    let mut all: Vec<(String, Work)> =
        writers.iter().map(|writer| (writer.name.clone(), writes.times(1.0 / pool))).collect();
    all.extend(merges);
    if let Some(scorer) = &stage.scorer {
        scored.most = scored.most.max(scored.expected);
        all.extend(judged(scorer, scored, lengths));
    }
    all
}

/// What judging so many texts asks of each of the scorer's models.
fn judged(scorer: &ScorerModel, count: Span, lengths: Lengths) -> Vec<(String, Work)> {
    let scores = |model: &NamedModel, requests: Span, tokens: f64| {
        let scored = requests.map(|requests| requests * tokens);
        (model.name.clone(), Work { requests, scored, ..Work::default() })
    };
    match scorer {
        Scorer::PredictivePerplexity { model, .. } => vec![scores(model, count, lengths.gold)],
        // The prefix is asked about once for all that follow it: at most once for each.
        Scorer::AnswerGain { model, .. } => {
            let both = Span { expected: 1.25 * count.expected, most: 2.0 * count.most };
            vec![scores(model, both, lengths.gold)]
        }
        Scorer::Ensemble { models, .. } => models.iter().map(|model| scores(model, count, lengths.gold)).collect(),
        Scorer::ProcessReward { model, prompt } => {
            // Two words are weighed against each other; of a head's two labels one is asked for.
            let asked = if *prompt == RewardPrompt::QwenPrmV1 { 1.0 } else { 2.0 };
            vec![scores(model, count.map(|count| asked * count), 1.0)]
        }
        Scorer::Judgment { model, max_tokens, .. } => {
            let most = f64::from(*max_tokens);
            let verdict = written(&lengths, lengths.reasoning, Span { expected: most / 2.0, most });
            let mut work = verdict;
            work.requests = count;
            work.prompt = verdict.prompt * count;
            work.generated = verdict.generated * count;
            vec![(model.name.clone(), work)]
        }
        Scorer::Random {} | Scorer::MaxLength { .. } | Scorer::SelfCertainty {} => Vec::new(),
        Scorer::Mixture { signals, .. } => {
            signals.iter().flat_map(|signal| judged(&signal.scorer, count, lengths)).collect()
        }
    }
}

/// What training asks of the student.
fn train(stage: &TrainStage, facts: &Facts, expected: &Expected) -> Work {
    let most = f64::from(stage.learning.max_length);
    let question = f64::from(expected.question.unwrap_or(QUESTION));
    let of = |given: Option<u32>| given.map(f64::from);
    let reasoning = of(expected.reasoning).unwrap_or(f64::from(facts.trajectory_tokens) / 2.0);
    let row = (question + reasoning + of(expected.answer).unwrap_or(0.0)).clamp(1.0, most);
    let rows = facts.problems as f64 * f64::from(facts.trajectories.max(1));
    let seen = match stage.learning.length {
        TrainLength::Epochs(epochs) => rows * f64::from(epochs),
        TrainLength::Steps(steps) => f64::from(steps) * f64::from(stage.learning.optimiser.batch),
    };
    Work { trained: Span { expected: seen * row, most: seen * most }, ..Work::default() }
}

/// What preference optimisation asks of the student: a pair is two sequences, which are as long as half of the reasoning.
fn dpo(stage: &DpoStage, facts: &Facts, expected: &Expected) -> Work {
    let most = f64::from(stage.learning.max_length);
    let question = f64::from(expected.question.unwrap_or(QUESTION));
    let reasoning = expected.reasoning.map_or(f64::from(facts.trajectory_tokens) / 2.0, f64::from);
    let pair = 2.0 * (question + reasoning / 2.0).clamp(1.0, most);
    let limit = stage.pairs.pairs_per_problem.map_or(f64::INFINITY, f64::from);
    let of = |pairs: f64| facts.problems as f64 * pairs.min(limit);
    let seen = |pairs: f64| match stage.learning.length {
        TrainLength::Epochs(epochs) => pairs * f64::from(epochs),
        TrainLength::Steps(steps) => f64::from(steps) * f64::from(stage.learning.optimiser.batch),
    };
    // How many pairs differ by the margin only the scores say: half of them.
    let (some, all) = (of(facts.pairs as f64 / 2.0), of(facts.pairs as f64));
    let trained = Span { expected: seen(some) * pair, most: seen(all) * 2.0 * most };
    Work { trained, ..Work::default() }
}
