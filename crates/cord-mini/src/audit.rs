//! Which steps of a response are right, by the world's true rules.
//!
//! For studies of the world itself. Search, scoring, training and evaluation don't call it: where they look at steps, they
//! compare with a problem's `steps`, as they would for any data set that gives them.

use cord_core::Problem;

use crate::{Chain, Kind};

/// One step of a response beside the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedStep {
    /// The kind of the move that the step should make.
    pub kind: Kind,
    /// The mark that it arrives at; absent when it names none.
    pub mark: Option<u8>,
    /// Is that the gold mark at this place?
    pub gold: bool,
    /// Does the right rule lead there from the mark that the response had before, right or wrong?
    pub sound: bool,
}

/// The steps of a response beside the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepAudit {
    /// The steps that stand for a move, in order.
    pub steps: Vec<AuditedStep>,
    /// How many moves the problem has.
    pub moves: usize,
    /// How many steps the response has beyond those.
    pub surplus: usize,
}

impl StepAudit {
    /// Is there one right step for each move, and nothing else?
    pub fn all_right(&self) -> bool {
        self.surplus == 0 && self.steps.len() == self.moves && self.steps.iter().all(|step| step.gold)
    }

    /// The first step that the right rule does not lead to.
    pub fn first_unsound(&self) -> Option<usize> {
        self.steps.iter().position(|step| !step.sound)
    }
}

/// Audits a response, with or without its opening `<think>`. `None` when the problem is not of this world.
pub fn audit(problem: &Problem, response: &str) -> Option<StepAudit> {
    let chain: Chain = problem.metadata.get("chain")?.as_str()?.parse().ok()?;
    let reasoning = response.split_once("</think>").map_or(response, |(reasoning, _)| reasoning);
    let mut told = reasoning.split("### Step").skip(1).map(arrives_at);
    let mut steps = Vec::new();
    let mut before = Some(chain.start);
    for ((operation, gold), mark) in chain.moves.iter().zip(chain.ledger()).zip(&mut told) {
        let sound = mark.is_some() && mark == before.map(|before| operation.right(before));
        steps.push(AuditedStep { kind: operation.kind(), mark, gold: mark == Some(gold), sound });
        before = mark;
    }
    Some(StepAudit { steps, moves: chain.moves.len(), surplus: told.count() })
}

/// The last number of a step's text, where it is a mark. The header's own number doesn't count.
fn arrives_at(step: &str) -> Option<u8> {
    let (_, said) = step.split_once('.')?;
    let last = said.split(|c: char| !c.is_ascii_digit()).rfind(|number| !number.is_empty())?;
    last.parse().ok().filter(|mark| *mark < crate::MARKS)
}
