//! Small scripted worlds in which every trajectory can be listed.

#![allow(dead_code, reason = "each test binary uses a part of the world")]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use cord_core::{BoxFuture, Candidate, Fate, Outcome, Problem, Sampling, Seed, StepKind, TrajectoryEnd, Usage};
use cord_generate::{
    BeamSettings, DEFAULT_CUE, GenerateError, GenerateSettings, Generator, Judged, PredictivePerplexity,
    PromptTemplate, Scope, Score, Scorer, SearchResult, SearchSettings, Teacher,
};
use cord_testkit::{Scripted, Turnstile, whisper};
use futures::executor::block_on;

/// A tree of reasoning: what a teacher writes next depends on the world's key, the teacher and the text so far.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Tells one world from another.
    pub(crate) key: String,
    /// The step after which everybody closes.
    pub(crate) depth: usize,
    /// How many different things there are to say in a step; few make teachers agree.
    pub(crate) words: usize,
    /// How often a step closes the reasoning.
    pub(crate) close: f64,
    /// Does what is written depend on the request's seed too?
    pub(crate) random: bool,
}

impl World {
    pub(crate) fn new(key: u64) -> Self {
        Self { key: key.to_string(), depth: 4, words: 3, close: 0.3, random: false }
    }

    /// The step that a teacher writes after `prefix`, and whether it closes the reasoning.
    fn step(&self, teacher: &str, prefix: &str, draw: &str) -> (String, bool) {
        let steps = prefix.matches("### Step").count();
        let roll = |what: &str| whisper(&[&self.key, what, teacher, prefix, draw]);
        let word = (roll("word") * self.words as f64) as usize;
        let closes = steps + 1 >= self.depth || roll("close") < self.close;
        (format!("### Step {}. w{word}\n", steps + 1), closes)
    }

    /// All that a teacher would write after `prefix`, which may end with the header of the step that comes next.
    fn script(&self, teacher: &str, prefix: &str, draw: &str) -> String {
        if let Some(before) = prefix.strip_suffix("### Step") {
            return self.script(teacher, before, draw).split_off("### Step".len());
        }
        let mut said = String::new();
        if !prefix.ends_with("</think>") {
            loop {
                let (step, closes) = self.step(teacher, &format!("{prefix}{said}"), draw);
                said += &step;
                if closes {
                    said += "</think>";
                    break;
                }
            }
        }
        said + "\nThe final answer is \\boxed{42}."
    }

    pub(crate) fn teacher(&self, name: &str) -> Scripted {
        let (world, teacher) = (self.clone(), name.to_owned());
        Scripted::new(name).writing(move |request| {
            let draw = if world.random { format!("{:?}", request.seed) } else { String::new() };
            world.script(&teacher, &request.prompt.prefix, &draw)
        })
    }

    /// The prover's log-probability of each token of the gold answer after some reasoning.
    fn belief(&self, prefix: &str) -> f64 {
        -4.0 * whisper(&[&self.key, "belief", prefix])
    }

    pub(crate) fn prover(&self) -> Scripted {
        let world = self.clone();
        Scripted::new("prover").believing(move |request| world.belief(&request.prompt.prefix))
    }

    /// The score of some reasoning, computed without the crate under test.
    pub(crate) fn score(&self, reasoning: &str) -> f64 {
        let open = reasoning.strip_suffix("</think>").unwrap_or(reasoning);
        self.belief(&format!("{open}</think>\nThe final answer is \\boxed{{")).exp()
    }

    /// The texts that the teachers would make of `prefix`: the prefix with one more step.
    pub(crate) fn children(&self, teachers: &[&str], prefix: &str) -> Vec<String> {
        let next = |teacher: &&str| {
            let (step, closes) = self.step(teacher, prefix, "");
            format!("{prefix}{step}{}", if closes { "</think>" } else { "" })
        };
        teachers.iter().map(next).collect()
    }

    /// Every closed reasoning that the teachers could write together.
    pub(crate) fn leaves(&self, teachers: &[&str]) -> Vec<String> {
        let mut leaves = Vec::new();
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            for child in self.children(teachers, &prefix) {
                if child.ends_with("</think>") { leaves.push(child) } else { open.push(child) }
            }
        }
        leaves
    }
}

pub(crate) fn problem(id: &str) -> Problem {
    Problem { id: id.into(), question: "How many?".into(), answer: "42".into(), metadata: BTreeMap::new() }
}

pub(crate) fn beam(width: u32) -> SearchSettings {
    SearchSettings::Beam(BeamSettings { width, ..BeamSettings::default() })
}

pub(crate) fn settings(search: SearchSettings) -> GenerateSettings {
    let prompt = PromptTemplate::new("{question}").unwrap();
    GenerateSettings { prompt, ..GenerateSettings::new(search) }
}

pub(crate) fn teacher(name: &str, model: Scripted) -> Teacher {
    Teacher { name: name.to_owned(), model: Arc::new(model), sampling: Sampling::default() }
}

pub(crate) fn perplexity(prover: Scripted) -> Arc<dyn Scorer> {
    let prompt = PromptTemplate::new("{question}").unwrap();
    Arc::new(PredictivePerplexity::new(Arc::new(prover), DEFAULT_CUE, prompt).unwrap())
}

/// A generator over a world's teachers, with or without a turnstile.
pub(crate) fn generator(
    world: &World,
    names: &[&str],
    settings: GenerateSettings,
    turnstile: Option<&Turnstile>,
) -> Generator {
    let behind = |model: Scripted| turnstile.iter().fold(model, |model, turnstile| model.behind(turnstile));
    let teachers = names.iter().map(|name| teacher(name, behind(world.teacher(name)))).collect();
    Generator::new(settings, teachers, perplexity(behind(world.prover()))).unwrap()
}

pub(crate) fn solve(generator: &Generator) -> Result<SearchResult, String> {
    let outcome = block_on(generator.solve(&problem("p"), Seed::root(1), &()));
    match outcome {
        Outcome::Done(result) => Ok(result),
        Outcome::Failed { reason, .. } => Err(reason),
    }
}

pub(crate) fn at_once(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// A scorer given by a function of the reasoning, which may insist on seeing siblings together.
pub(crate) struct Taste<F> {
    pub(crate) scope: Scope,
    pub(crate) opinion: F,
}

impl<F: Fn(&str) -> f64 + Send + Sync> Scorer for Taste<F> {
    fn name(&self) -> &'static str {
        "taste"
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn score<'a>(
        &'a self,
        _: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        Box::pin(async move {
            let usage = Usage { scored_tokens: 1, ..Usage::default() };
            Ok(candidates.iter().map(|one| Score { value: Some((self.opinion)(&one.reasoning())), usage }).collect())
        })
    }
}

/// What a teacher would write after a prefix.
pub(crate) type Script = fn(&str) -> &'static str;

/// Searches with teachers that follow fixed scripts, each a function of the prefix, and a taste for scorer.
pub(crate) fn scripted(
    teachers: &[(&'static str, Script)],
    taste: fn(&str) -> f64,
    settings: GenerateSettings,
) -> Result<SearchResult, String> {
    let teachers = teachers.iter().map(|(name, script)| {
        let script = *script;
        teacher(name, Scripted::new(name).writing(move |request| script(&request.prompt.prefix).to_owned()))
    });
    let scorer = Arc::new(Taste { scope: Scope::Each, opinion: taste });
    solve(&Generator::new(settings, teachers.collect(), scorer).map_err(|error| error.reason())?)
}

/// What must be true of any search's result.
pub(crate) fn check_result(result: &SearchResult, what: &str) {
    let all = &result.candidates;
    let mut usage = Usage::default();
    for (index, one) in all.iter().enumerate() {
        usage += one.usage;
        assert_eq!(one.id as usize, index, "{what}");
        match one.parent {
            Some(parent) => {
                let parent = &all[parent as usize];
                assert!(parent.id < one.id && parent.depth + 1 == one.depth, "{what}");
                assert!(matches!(parent.fate, Fate::Kept | Fate::Chosen), "{what}: only the kept are continued");
            }
            None => assert_eq!(one.depth, 0, "{what}"),
        }
        assert!(one.score.is_none_or(f64::is_finite), "{what}");
        assert!(one.kind != StepKind::Answer || (one.score, one.fate) == (None, Fate::Chosen), "{what}");
    }
    assert_eq!(usage, result.usage, "{what}");
    assert!(!result.trajectories.is_empty(), "{what}");
    let mut chosen = BTreeSet::new();
    for (index, trajectory) in result.trajectories.iter().enumerate() {
        assert_eq!((trajectory.index as usize, trajectory.usage), (index, result.usage), "{what}");
        let last = trajectory.steps.last().unwrap().candidate;
        assert_eq!(full_text(all, last), trajectory.response, "{what}");
        assert_eq!(trajectory.end, TrajectoryEnd::Complete, "{what}: nothing in this world is cut");
        assert!(trajectory.score.is_some_and(f64::is_finite), "{what}");
        chosen.extend(trajectory.steps.iter().map(|step| step.candidate));
    }
    let marked = all.iter().filter(|one| one.fate == Fate::Chosen).map(|one| one.id).collect();
    assert_eq!(chosen, marked, "{what}");
}

/// The text along the path to a candidate.
pub(crate) fn full_text(candidates: &[Candidate], id: u32) -> String {
    let one = &candidates[id as usize];
    one.parent.map_or(String::new(), |parent| full_text(candidates, parent)) + &one.text
}

/// A ledger in a form that people can read.
pub(crate) fn table(result: &SearchResult) -> String {
    let mut lines: Vec<String> = Vec::new();
    for one in &result.candidates {
        let parent = one.parent.map_or("-".to_owned(), |parent| parent.to_string());
        let score = one.score.map_or("-".to_owned(), |score| format!("{score:.2}"));
        let rank = one.rank.map_or("-".to_owned(), |rank| rank.to_string());
        let (id, depth, teacher, fate, text) = (one.id, one.depth, &one.teacher, one.fate, quoted(&one.text));
        lines.push(format!("{id} <- {parent} d{depth} {teacher}{} {score} #{rank} {fate:?} {text}", one.sample));
    }
    for one in &result.trajectories {
        let score = one.score.map_or("-".to_owned(), |score| format!("{score:.2}"));
        lines.push(format!("= {score} {:?} {}", one.end, quoted(&one.response)));
    }
    lines.join("\n")
}

/// A text on one line, without the marks that a snapshot would have to escape.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\n', "\\n"))
}
