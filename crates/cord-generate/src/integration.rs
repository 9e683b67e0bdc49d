//! Integration: the teachers write whole trajectories, and a further model merges them into one.
//!
//! The merging model is told the problem and the trajectories that are complete (all that say anything, where none is), and
//! answers with reasoning of its own; what it writes is a whole response like any other. The trajectories that
//! it was told stay in the ledger without a score: nothing is chosen among them.

use cord_core::{Fate, Message, StepKind, TrajectoryEnd};
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::instruction::Instruction;
use crate::ledger::{Final, State};
use crate::proposal::{Proposal, Scored};
use crate::ranking::Contender;
use crate::whole::{challenger, in_turn, whole_budget};
use crate::{GenerateError, IntegrationSettings, SearchResult, THINK_CLOSE};

/// A version of what the merging model is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntegrationPrompt {
    /// `prompts/integration.v1.txt`.
    #[default]
    #[serde(rename = "integration.v1")]
    V1,
}

impl IntegrationPrompt {
    /// What the merging model is told about whole responses, each from behind its opening `<think>`.
    pub fn message(self, question: &str, responses: &[&str]) -> String {
        let Self::V1 = self;
        let instruction = Instruction::new(include_str!("../prompts/integration.v1.txt"));
        let attempts: Vec<String> =
            responses.iter().zip(1..).map(|(response, number)| attempt(number, response)).collect();
        instruction.fill(&[("question", question), ("attempts", &attempts.join("\n\n"))])
    }
}

pub(crate) struct Integration {
    settings: IntegrationSettings,
    sources: Vec<u32>,
    merged: Vec<Contender>,
}

impl Integration {
    pub(crate) fn begin(settings: IntegrationSettings, board: &mut Board) -> Self {
        let names = board.plan.teachers();
        let writers: Vec<usize> = (0..names.len()).filter(|place| names[*place] != settings.model).collect();
        let mut sources = Vec::new();
        for (teacher, count) in in_turn(&writers, settings.trajectories) {
            for sample in 0..count {
                let source = Proposal::new(StepKind::Whole, teacher, sample, whole_budget(board));
                sources.push(board.propose(&Proposal { scored: Scored::Never, ..source }));
            }
        }
        Self { settings, sources, merged: Vec::new() }
    }

    pub(crate) fn advance(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        if self.merged.is_empty() {
            self.merge(board)?;
            return Ok(None);
        }
        let order = board.rank(&self.merged);
        if order.is_empty() {
            return Err(board.nothing_among(self.merged.iter().map(|one| one.id)));
        }
        let chosen = order.into_iter().take(self.settings.select as usize);
        let finals: Vec<Final> = chosen.map(|leaf| Final { leaf, answer: None }).collect();
        Ok(Some(board.finish(&finals)))
    }

    fn merge(&mut self, board: &mut Board) -> Result<(), GenerateError> {
        let state = |id: &u32| board.ledger.get(*id).state;
        let said: Vec<u32> = self.sources.iter().copied().filter(|id| state(id) != State::Empty).collect();
        let complete = |id: &u32| state(id) == State::Ended(TrajectoryEnd::Complete);
        let whole: Vec<u32> = said.iter().copied().filter(complete).collect();
        let told = if whole.is_empty() { said } else { whole };
        if told.is_empty() {
            return Err(board.nothing_among(self.sources.iter().copied()));
        }
        let responses: Vec<&str> = told.iter().map(|id| board.ledger.get(*id).text.as_str()).collect();
        let messages = vec![Message::user(self.settings.prompt.message(board.question(), &responses))];
        for id in told {
            board.ledger.get_mut(id).fate = Fate::Kept;
        }
        let teacher = board.plan.teachers().iter().position(|name| *name == self.settings.model);
        let teacher = teacher.expect("a plan's merging model is one of its teachers");
        for sample in 0..self.settings.merged {
            let merged = Proposal::new(StepKind::Whole, teacher, sample, whole_budget(board));
            let id = board.propose(&Proposal { messages: Some(messages.clone()), ..merged });
            self.merged.push(challenger(id));
        }
        Ok(())
    }
}

/// A trajectory as the merging model reads it: without tags, which its own turn uses.
fn attempt(number: usize, response: &str) -> String {
    match response.split_once(THINK_CLOSE) {
        Some((reasoning, answer)) => {
            format!(
                "Attempt {number}, reasoning:\n{}\n\nAttempt {number}, answer:\n{}",
                reasoning.trim(),
                answer.trim()
            )
        }
        None => format!("Attempt {number}, reasoning (unfinished):\n{}", response.trim()),
    }
}
