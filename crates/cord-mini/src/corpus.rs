//! What a specialist learns from: solutions that are right where it is reliable and misconceived elsewhere.

use cord_core::{Message, Opening, Prompt, Seed, SeedStream};
use serde::{Deserialize, Serialize};

use crate::error::Faults;
use crate::merging::Merging;
use crate::problems::equally;
use crate::{Chain, Dialects, LONGEST, MiniError, PerKind, ReviewedStep, Reviewing, Split, wording};

pub(crate) const OPENING: &str = "<think>\n";

/// A specialist's corpus, as a manifest's `[corpus]` describes it.
///
/// Each move is made by the right rule with the reliability of its kind, else by the kind's misconception, independently
/// of the others. So errors are systematic: at low temperature they stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CorpusSpec {
    /// The seed of the draws.
    pub seed: u64,
    /// How many rows. A larger corpus begins with the smaller one.
    pub count: usize,
    /// The fewest and most moves; by default 3 to 10, the hard split's lengths included.
    #[serde(default = "every_length")]
    pub operations: [u32; 2],
    /// How often each kind of move occurs, as weights; by default equally.
    #[serde(default = "equally")]
    pub kinds: PerKind,
    /// The probability that a move is made by the right rule.
    pub reliability: PerKind,
    /// The share of rows whose reasoning is cut before its last step and answered all the same, the remaining marks by the
    /// same specialist. This is what makes an answer predictable, more or less, from a partial trajectory.
    #[serde(default = "default_cut")]
    pub cut: f64,
    /// Rows whose first steps someone else wrote; none by default.
    #[serde(default)]
    pub foreign: Option<Foreign>,
    /// Rows that merge what others wrote instead of solving; none by default.
    #[serde(default)]
    pub merging: Option<Merging>,
    /// Rows that review what another wrote instead of solving; none by default.
    #[serde(default)]
    pub reviewing: Option<Reviewing>,
    /// How steps are told.
    #[serde(default)]
    pub dialects: Dialects,
}

/// Beginnings by someone else, errors included. The specialist learns to go on from what is written, and to copy it
/// into its answer, but not to write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Foreign {
    /// The share of rows.
    pub share: f64,
    /// The other's reliability.
    pub reliability: PerKind,
}

fn every_length() -> [u32; 2] {
    [3, LONGEST]
}

fn default_cut() -> f64 {
    0.3
}

/// One example. `prefix` and `completion` concatenate to the assistant's whole text, which begins with `<think>` and a line
/// break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusRow {
    /// Unique in the corpus.
    pub id: String,
    /// The problem.
    pub question: String,
    /// What is asked about it.
    pub task: Task,
    /// The assistant's text so far, written by someone else and not to be learnt; often empty.
    pub prefix: String,
    /// The text to be learnt.
    pub completion: String,
}

impl CorpusRow {
    /// The prompt with the reasoning block opened and the prefix in place, and the text to be learnt after it; `message` is the task in
    /// words.
    pub fn example(&self, message: String) -> (Prompt, &str) {
        let messages = vec![Message::user(message)];
        let (prefix, completion) = match self.prefix.strip_prefix(OPENING) {
            Some(prefix) => (prefix, self.completion.as_str()),
            None => ("", self.completion.strip_prefix(OPENING).unwrap_or(&self.completion)),
        };
        (Prompt { messages, opening: Opening::Think, prefix: prefix.to_owned() }, completion)
    }
}

/// What a row asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// To solve the problem.
    Solve,
    /// To make one response out of several.
    Merge {
        /// The words' version.
        prompt: String,
        /// The others' responses, from behind the opening `<think>`.
        attempts: Vec<String>,
    },
    /// To say of every step whether it is right. Nothing else is to be learnt: the row has no completion.
    Review {
        /// The words' version.
        prompt: String,
        /// The gold answer, where the reviewer is told it.
        answer: Option<String>,
        /// Somebody's steps.
        steps: Vec<ReviewedStep>,
    },
}

/// The rows of a corpus. Their problems all belong to [`Split::Train`].
///
/// # Errors
/// [`MiniError::Invalid`] with every fault of the settings, [`MiniError::Exhausted`] when hardly any chain belongs to train.
pub fn corpus(spec: &CorpusSpec) -> Result<Vec<CorpusRow>, MiniError> {
    let mut faults = Faults::default();
    faults.count(spec.count);
    faults.operations(spec.operations, Split::Train.lengths());
    faults.weights("kinds", &spec.kinds.values());
    faults.weights("dialects", &spec.dialects.weights());
    faults.share("cut", spec.cut);
    faults.reliability("reliability", &spec.reliability);
    if let Some(foreign) = &spec.foreign {
        faults.share("foreign.share", foreign.share);
        faults.reliability("foreign.reliability", &foreign.reliability);
    }
    if let Some(merging) = &spec.merging {
        merging.check(&mut faults);
    }
    if let Some(reviewing) = &spec.reviewing {
        reviewing.check(&mut faults);
    }
    faults.finish()?;

    let seed = Seed::root(spec.seed).named("mini-corpus");
    (0..spec.count)
        .map(|index| {
            let seed = seed.indexed(index as u64);
            let chain = train_chain(spec, &seed).ok_or(MiniError::Exhausted { wanted: spec.count, found: index })?;
            Ok(row(spec, index, &chain, &seed))
        })
        .collect()
}

/// `None` only where hardly any chain of these lengths and kinds is a training chain: eight of ten are.
fn train_chain(spec: &CorpusSpec, seed: &Seed) -> Option<Chain> {
    (0..1000)
        .map(|draw| Chain::draw(&mut seed.named("chain").indexed(draw).stream(), spec.operations, &spec.kinds))
        .find(|chain| chain.split() == Split::Train)
}

/// Each part of a row has its own stream, so that one setting doesn't change the draws of the others.
fn row(spec: &CorpusSpec, index: usize, chain: &Chain, seed: &Seed) -> CorpusRow {
    let id = format!("mini-corpus-{index:06}");
    let question = wording::question(&mut seed.named("question").stream(), chain);
    if let Some((task, completion)) = spec.merging.as_ref().and_then(|merging| merging.row(spec, chain, seed)) {
        return CorpusRow { id, question, task, prefix: String::new(), completion };
    }
    if let Some(task) = spec.reviewing.as_ref().and_then(|reviewing| reviewing.row(spec, chain, seed)) {
        return CorpusRow { id, question, task, prefix: String::new(), completion: String::new() };
    }
    let mut shape = seed.named("shape").stream();
    let foreign = spec.foreign.as_ref().filter(|foreign| shape.uniform() < foreign.share);
    let Solution { prefix, text, .. } = continued(spec, &spec.reliability, foreign, chain, seed, &mut shape);
    let [prefix, completion] =
        if prefix.is_empty() { [prefix, format!("{OPENING}{text}")] } else { [format!("{OPENING}{prefix}"), text] };
    CorpusRow { id, question, task: Task::Solve, prefix, completion }
}

/// A response from behind the opening tag, and all marks of its ledger.
pub(crate) struct Solution {
    prefix: String,
    pub(crate) text: String,
    pub(crate) marks: Vec<u8>,
}

/// A response by someone of that reliability, cut as often as the corpus's own.
pub(crate) fn solve(spec: &CorpusSpec, reliability: &PerKind, chain: &Chain, seed: &Seed) -> Solution {
    continued(spec, reliability, None, chain, seed, &mut seed.named("shape").stream())
}

fn continued(
    spec: &CorpusSpec,
    reliability: &PerKind,
    foreign: Option<&Foreign>,
    chain: &Chain,
    seed: &Seed,
    shape: &mut SeedStream,
) -> Solution {
    let count = chain.moves.len();
    // Up to all of the steps: then only the answer is the specialist's, which must copy what is written.
    let (begun, others) = match foreign {
        Some(foreign) => (1 + shape.below(count as u64) as usize, &foreign.reliability),
        None => (0, reliability),
    };
    let cut = shape.uniform() < spec.cut && begun < count;
    let told = if cut { begun + shape.below((count - begun) as u64) as usize } else { count };

    let mut rules = seed.named("rules").stream();
    let mut words = seed.named("words").stream();
    let mut mark = chain.start;
    let mut marks = Vec::with_capacity(count);
    let (mut prefix, mut text) = (String::new(), String::new());
    for (place, operation) in chain.moves.iter().enumerate() {
        let reliability = if place < begun { others } else { reliability };
        let before = mark;
        mark = made(&mut rules, reliability, *operation, before);
        marks.push(mark);
        let dialect = spec.dialects.draw(&mut words);
        if place < told {
            let text = if place < begun { &mut prefix } else { &mut text };
            text.push_str(&wording::step(dialect, place + 1, before, *operation, mark));
        }
    }
    text.push_str(&wording::closing(&marks));
    Solution { prefix, text, marks }
}

/// The mark after a move as the specialist makes it.
pub(crate) fn made(stream: &mut SeedStream, reliability: &PerKind, operation: crate::Operation, mark: u8) -> u8 {
    if stream.uniform() < reliability.of(operation.kind()) {
        operation.right(mark)
    } else {
        operation.misconceived(mark)
    }
}
