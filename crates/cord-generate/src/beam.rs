//! Step-level beam search.
//!
//! Each step, every teacher proposes continuations of every open beam, B×K×proposals candidates, and the B best
//! are kept. A finished trajectory is not expanded; it competes by its score ([`crate::Finished`]). The search ends
//! when no kept trajectory is open. Budgets make sure of that: a step that uses up the reasoning's tokens or
//! the number of steps is not open.

use cord_core::{Fate, StepKind, TrajectoryEnd};

use crate::board::{Board, Proposal};
use crate::ledger::{Final, State};
use crate::ranking::{Contender, Standing, rank};
use crate::{AnswerBy, BeamSettings, Finished, GenerateError, SearchResult};

pub(crate) struct Beam {
    settings: BeamSettings,
    /// The candidates that compete for the next places.
    pool: Vec<Contender>,
    /// Who held the places before.
    kept: Vec<u32>,
    depth: u32,
    /// The chosen trajectories, once their answers are being written.
    finals: Vec<Final>,
}

impl Beam {
    pub(crate) fn begin(settings: BeamSettings, board: &mut Board) -> Self {
        let mut beam = Self { settings, pool: Vec::new(), kept: Vec::new(), depth: 0, finals: Vec::new() };
        beam.expand(board, None, 0);
        beam
    }

    /// Moves on after a round of replies; gives the result once there is nothing left to ask.
    pub(crate) fn advance(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        if !self.finals.is_empty() {
            return Ok(Some(board.finish(&self.finals)));
        }
        let kept = self.keep(board);
        if kept.is_empty() {
            // Every open beam was offered nothing but white space. The trajectories end where they are.
            if self.kept.is_empty() {
                return Err(GenerateError::NothingProposed { teachers: board.plan.teachers().to_vec() });
            }
            for id in &self.kept {
                board.ledger.get_mut(*id).state = State::Ended(TrajectoryEnd::Unclosed);
            }
            return Ok(self.conclude(board));
        }
        self.kept = kept;
        if self.kept.iter().all(|id| board.ledger.get(*id).state != State::Open) {
            return Ok(self.conclude(board));
        }
        self.pool.clear();
        self.depth += 1;
        for (beam, id) in self.kept.clone().into_iter().enumerate() {
            if board.ledger.get(id).state == State::Open {
                self.expand(board, Some(id), beam as u32);
            } else {
                self.pool.push(Contender { id, standing: Standing::Incumbent });
            }
        }
        Ok(None)
    }

    /// Has every teacher propose continuations of one beam.
    fn expand(&mut self, board: &mut Board, parent: Option<u32>, beam: u32) {
        let budget = board.plan.settings().budget;
        let prefix = parent.map_or_else(String::new, |id| board.ledger.text(id));
        let spent = parent.map_or(0, |id| board.ledger.get(id).spent);
        let left = u64::from(budget.reasoning).saturating_sub(spent);
        let max_tokens = u32::try_from(left).unwrap_or(u32::MAX).min(budget.step);
        for teacher in 0..board.plan.teachers().len() {
            for sample in 0..self.settings.proposals {
                let kind = StepKind::Reasoning;
                let proposal = Proposal { parent, prefix: &prefix, beam, teacher, sample, kind, max_tokens };
                self.pool.push(Contender { id: board.propose(&proposal), standing: Standing::Challenger(beam) });
            }
        }
    }

    /// Ranks the pool and notes every candidate's place and fate.
    fn keep(&self, board: &mut Board) -> Vec<u32> {
        let Finished::Compete = self.settings.finished;
        let ranking = rank(&board.ledger, &self.pool);
        let new = |board: &Board, id: u32| board.ledger.get(id).depth == self.depth;
        let siblings = ranking.order.iter().filter(|id| new(board, **id)).copied().collect::<Vec<_>>();
        for (rank, id) in siblings.into_iter().enumerate() {
            board.ledger.get_mut(id).rank = Some(rank as u32);
        }
        for id in ranking.duplicates {
            board.ledger.get_mut(id).fate = Fate::Duplicate;
        }
        let kept: Vec<u32> = ranking.order.into_iter().take(self.settings.width as usize).collect();
        for id in &kept {
            board.ledger.get_mut(*id).fate = Fate::Kept;
        }
        kept
    }

    /// Chooses the final trajectories and asks for their answers.
    fn conclude(&mut self, board: &mut Board) -> Option<SearchResult> {
        let AnswerBy::LastWriter = self.settings.answer_by;
        let closed = |id: &u32| board.ledger.get(*id).state == State::Closed;
        let mut finals = self.kept.clone();
        if !finals.iter().any(closed) {
            // Closed reasoning that lost its place to candidates which then led nowhere. By number: the older first.
            let distinct = |id: &u32| board.ledger.get(*id).fate != Fate::Duplicate;
            let incumbent = |id| Contender { id, standing: Standing::Incumbent };
            let displaced: Vec<Contender> = board.ledger.ids().filter(closed).filter(distinct).map(incumbent).collect();
            if !displaced.is_empty() {
                finals = rank(&board.ledger, &displaced).order;
            }
        }
        finals.truncate(self.settings.select as usize);
        self.finals = (finals.into_iter().enumerate())
            .map(|(place, leaf)| {
                let closed = board.ledger.get(leaf).state == State::Closed;
                Final { leaf, answer: closed.then(|| board.ask_answer(leaf, place as u32)) }
            })
            .collect();
        let done = self.finals.iter().all(|chosen| chosen.answer.is_none());
        done.then(|| board.finish(&self.finals))
    }
}
