//! What searches that answer from one journal have to ask anew, told from their ledgers.
//!
//! A reply is known by what was asked: the problem, the text that is continued, the teacher, the sample and the room
//! that is left. Under [`Draws::ByPrefix`](crate::Draws) nothing else is in a request, so two searches that have a question
//! in common pay for it once. Counting questions in ledgers and not in a journal makes the count a function of the results:
//! it is the same however often a run was killed, and in whatever order it was done.
//!
//! Not covered: a search that failed has no ledger, so what it asked is in no count; and a scorer that judges siblings
//! together ([`Scope::Siblings`](crate::Scope)) may ask about a text once more beside other siblings. Of an integration the
//! merging is not told apart by what was merged.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Candidate, Digest, Digester, StepKind, Usage};

use crate::ledger::reasoning_part;
use crate::reselect::{order, with_prefixes};
use crate::{Budget, Segmenter};

/// The questions that were asked so far.
#[derive(Clone, Debug)]
pub struct Sharing {
    segmenter: Segmenter,
    budget: Budget,
    written: BTreeSet<Digest>,
    scored: BTreeSet<Digest>,
}

impl Sharing {
    /// Nothing was asked yet. The searches to be added have this segmenter and this budget, one scorer, and by each
    /// teacher's name the same model.
    pub fn new(segmenter: Segmenter, budget: Budget) -> Self {
        Self { segmenter, budget, written: BTreeSet::new(), scored: BTreeSet::new() }
    }

    /// Adds the search of a problem under a recipe's seed. Gives what of its cost is new.
    pub fn add(&mut self, seed: u64, problem: &str, candidates: &[Candidate]) -> Usage {
        let mut new = Usage::default();
        // What was generated along the path to each candidate, itself included.
        let mut spent: BTreeMap<u32, u64> = BTreeMap::new();
        for (prefix, one) in with_prefixes(candidates) {
            let before = one.parent.and_then(|parent| spent.get(&parent)).copied().unwrap_or(0);
            spent.insert(one.id, before + one.usage.generated_tokens);
            let allowance = self.allowance(one.kind, before).to_le_bytes();
            let question = Digester::new("question")
                .part(&seed.to_le_bytes())
                .part(problem.as_bytes())
                .part(prefix.as_bytes())
                .part(one.teacher.as_bytes())
                .part(&[order(one.kind)])
                .part(&one.sample.to_le_bytes())
                .part(&allowance);
            if self.written.insert(question.finish()) {
                new.prompt_tokens += one.usage.prompt_tokens;
                new.generated_tokens += one.usage.generated_tokens;
            }
            // Of equal candidates one was charged; a score has no seed.
            if one.usage.scored_tokens > 0 {
                let step = if one.kind == StepKind::Whole { reasoning_part(&one.text) } else { &one.text };
                let text = Digester::new("text").part(problem.as_bytes()).part(prefix.as_bytes()).part(step.as_bytes());
                if self.scored.insert(text.finish()) {
                    new.scored_tokens += one.usage.scored_tokens;
                }
            }
        }
        new
    }

    /// The most tokens that were asked for after so many.
    fn allowance(&self, kind: StepKind, spent: u64) -> u64 {
        let Budget { reasoning, answer, step, .. } = self.budget;
        let (reasoning, answer) = (u64::from(reasoning), u64::from(answer));
        match kind {
            StepKind::Reasoning => reasoning.saturating_sub(spent).min(u64::from(self.segmenter.step_tokens(step))),
            StepKind::Answer => answer,
            StepKind::Whole => (reasoning + answer).saturating_sub(spent),
        }
    }
}
