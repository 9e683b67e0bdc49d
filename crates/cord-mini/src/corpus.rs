//! What a specialist learns from: solutions that are right where it is reliable and misconceived elsewhere.

use cord_core::{Message, Opening, Prompt, Seed, SeedStream};
use serde::{Deserialize, Serialize};

use crate::error::Faults;
use crate::problems::equally;
use crate::{Chain, Dialects, LONGEST, MiniError, PerKind, Split, wording};

const OPENING: &str = "<think>\n";

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
    /// What is asked.
    pub question: String,
    /// The assistant's text so far, written by someone else and not to be learnt; often empty.
    pub prefix: String,
    /// The text to be learnt.
    pub completion: String,
}

impl CorpusRow {
    /// The prompt with the reasoning block opened and the prefix in place, and the text to be learnt after it.
    pub fn example(&self) -> (Prompt, &str) {
        let messages = vec![Message::user(self.question.as_str())];
        let (prefix, completion) = match self.prefix.strip_prefix(OPENING) {
            Some(prefix) => (prefix, self.completion.as_str()),
            None => ("", self.completion.strip_prefix(OPENING).unwrap_or(&self.completion)),
        };
        (Prompt { messages, opening: Opening::Think, prefix: prefix.to_owned() }, completion)
    }
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
    reliability(&mut faults, "reliability", &spec.reliability);
    if let Some(foreign) = &spec.foreign {
        faults.share("foreign.share", foreign.share);
        reliability(&mut faults, "foreign.reliability", &foreign.reliability);
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

fn reliability(faults: &mut Faults, key: &str, reliability: &PerKind) {
    for kind in crate::Kind::ALL {
        faults.share(&format!("{key}.{}", kind.name()), reliability.of(kind));
    }
}

/// Each part of a row has its own stream, so that one setting doesn't change the draws of the others.
fn row(spec: &CorpusSpec, index: usize, chain: &Chain, seed: &Seed) -> CorpusRow {
    let question = wording::question(&mut seed.named("question").stream(), chain);
    let count = chain.moves.len();

    let mut shape = seed.named("shape").stream();
    let foreign = spec.foreign.as_ref().filter(|foreign| shape.uniform() < foreign.share);
    // Up to all of the steps: then only the answer is the specialist's, which must copy what is written.
    let (begun, others) = match foreign {
        Some(foreign) => (1 + shape.below(count as u64) as usize, &foreign.reliability),
        None => (0, &spec.reliability),
    };
    let cut = shape.uniform() < spec.cut && begun < count;
    let told = if cut { begun + shape.below((count - begun) as u64) as usize } else { count };

    let mut rules = seed.named("rules").stream();
    let mut words = seed.named("words").stream();
    let mut mark = chain.start;
    let mut marks = Vec::with_capacity(count);
    let (mut prefix, mut completion) = (String::new(), String::new());
    for (place, operation) in chain.moves.iter().enumerate() {
        let reliability = if place < begun { others } else { &spec.reliability };
        let before = mark;
        mark = made(&mut rules, reliability, *operation, before);
        marks.push(mark);
        let dialect = spec.dialects.draw(&mut words);
        if place < told {
            let text = if place < begun { &mut prefix } else { &mut completion };
            text.push_str(&wording::step(dialect, place + 1, before, *operation, mark));
        }
    }
    completion.push_str(&wording::closing(&marks));
    let first = if begun > 0 { &mut prefix } else { &mut completion };
    first.insert_str(0, OPENING);
    CorpusRow { id: format!("mini-corpus-{index:06}"), question, prefix, completion }
}

/// The mark after a move as the specialist makes it.
fn made(stream: &mut SeedStream, reliability: &PerKind, operation: crate::Operation, mark: u8) -> u8 {
    if stream.uniform() < reliability.of(operation.kind()) {
        operation.right(mark)
    } else {
        operation.misconceived(mark)
    }
}
