//! What is learnt beside solving: to say of every step of a solution whether it is right.

use cord_core::Seed;
use serde::{Deserialize, Serialize};

use crate::corpus::made;
use crate::error::Faults;
use crate::{Chain, CorpusSpec, PerKind, Task, wording};

/// Rows that review somebody's solution, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reviewing {
    /// The share of rows; the others solve.
    pub share: f64,
    /// The words in which it is asked, by their version.
    pub prompt: String,
    /// The writer's reliability.
    pub writer: PerKind,
    /// Is the reviewer told the answer? Then it goes by it, whatever it knows of the rules.
    #[serde(default)]
    pub told: bool,
}

/// A step of a solution, and what is learnt to be said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReviewedStep {
    /// The step, with its header and line break.
    pub text: String,
    /// Does the reviewer make this move as the writer did, from the mark where the writer stood? Where it is told the answer: is this
    /// the answer's mark?
    pub right: bool,
}

impl Reviewing {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.share("reviewing.share", self.share);
        faults.reliability("reviewing.writer", &self.writer);
    }

    /// The task of a row; `None` where the row solves. Who reviews knows the rules as the corpus says.
    pub(crate) fn row(&self, spec: &CorpusSpec, chain: &Chain, seed: &Seed) -> Option<Task> {
        let seed = seed.named("reviewing");
        if seed.named("task").stream().uniform() >= self.share {
            return None;
        }
        let mut others = seed.named("rules-of-others").stream();
        let mut rules = seed.named("rules").stream();
        let mut words = seed.named("words").stream();
        let mut mark = chain.start;
        let gold = chain.ledger();
        let steps = (chain.moves.iter().zip(&gold).zip(1..)).map(|((operation, gold), number)| {
            let before = mark;
            mark = made(&mut others, &self.writer, *operation, before);
            let text = wording::step(spec.dialects.draw(&mut words), number, before, *operation, mark);
            let own = made(&mut rules, &spec.reliability, *operation, before);
            ReviewedStep { text, right: mark == if self.told { *gold } else { own } }
        });
        let steps = steps.collect();
        let answer = self.told.then(|| wording::ledger(&gold));
        Some(Task::Review { prompt: self.prompt.clone(), answer, steps })
    }
}
