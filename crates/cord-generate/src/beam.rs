//! Step-level beam search.
//!
//! Each step, every teacher proposes continuations of every open beam, B×K×proposals candidates, and the B best
//! are kept. A finished trajectory is not expanded; what becomes of its place is a setting ([`crate::Finished`]). The search
//! ends when no kept trajectory is open, or earlier where the recipe says so ([`crate::StopRule`]). Budgets make sure that it
//! does: a step that uses up the reasoning's tokens or the number of steps is not open.

use std::collections::BTreeSet;

use cord_core::{Fate, StepKind, TrajectoryEnd};

use crate::board::Board;
use crate::ledger::{Final, State};
use crate::proposal::Proposal;
use crate::ranking::{Contender, Standing, rank};
use crate::{AnswerBy, BeamSettings, Finished, GenerateError, SearchResult, StopRule};

pub(crate) struct Beam {
    settings: BeamSettings,
    /// The candidates that compete for the next places.
    pool: Vec<Contender>,
    /// Who holds the places.
    kept: Vec<u32>,
    /// Finished trajectories that compete for places no more, in the order in which they finished.
    finished: Vec<u32>,
    depth: u32,
    /// The beams that the step goes on from, with their places, and for each the teachers that have been asked about it.
    open: Vec<(Option<u32>, u32)>,
    asked: Vec<Vec<usize>>,
    /// How many times the step has asked.
    rounds: u64,
    /// The chosen trajectories, once their answers are being written.
    finals: Vec<Final>,
}

impl Beam {
    pub(crate) fn begin(settings: BeamSettings, board: &mut Board) -> Self {
        let (pool, kept, finished, finals) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (open, asked, rounds) = (vec![(None, 0)], Vec::new(), 0);
        let mut beam = Self { settings, pool, kept, finished, depth: 0, open, asked, rounds, finals };
        beam.expand_all(board);
        beam
    }

    /// Moves on after a round of replies; gives the result once there is nothing left to ask.
    pub(crate) fn advance(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        if !self.finals.is_empty() {
            return Ok(Some(board.finish(&self.finals)));
        }
        if self.must_ask_again(board) && self.expand_all(board) {
            return Ok(None);
        }
        let kept = self.keep(board);
        if kept.is_empty() {
            // Every open beam was offered nothing but white space. The trajectories end where they are.
            let nothing = board.nothing_among(self.pool.iter().map(|one| one.id));
            if self.kept.is_empty() || matches!(nothing, GenerateError::NothingScored { .. }) {
                return Err(nothing);
            }
            for id in &self.kept {
                board.ledger.get_mut(*id).state = State::Ended(TrajectoryEnd::Unclosed);
            }
            if self.settings.finished != Finished::Compete {
                self.finished.append(&mut self.kept);
            }
            return Ok(self.conclude(board));
        }
        let is_open = |id: &u32| board.ledger.get(*id).state == State::Open;
        match self.settings.finished {
            Finished::Compete => self.kept = kept,
            Finished::SetAside | Finished::Hold => {
                let (open, finished): (Vec<u32>, Vec<u32>) = kept.into_iter().partition(is_open);
                self.kept = open;
                self.finished.extend(finished);
            }
        }
        if !self.kept.iter().any(is_open) || self.places() == 0 || self.may_stop(board) {
            return Ok(self.conclude(board));
        }
        self.pool.clear();
        self.depth += 1;
        self.rounds = 0;
        self.open.clear();
        self.asked.clear();
        for (beam, id) in self.kept.iter().enumerate() {
            if board.ledger.get(*id).state == State::Open {
                self.open.push((Some(*id), beam as u32));
            } else {
                self.pool.push(Contender { id: *id, standing: Standing::Incumbent });
            }
        }
        self.expand_all(board);
        Ok(None)
    }

    /// Does the step lack proposals that hold? One does that scores no less than the text that it continues; the first step has
    /// nothing to be compared with.
    fn must_ask_again(&self, board: &Board) -> bool {
        let Some(settle) = board.plan.settings().policy.as_ref().and_then(|policy| policy.settle) else { return false };
        let holds = |one: &&Contender| {
            let entry = board.ledger.get(one.id);
            let before = entry.parent.and_then(|parent| board.ledger.get(parent).score);
            one.standing != Standing::Incumbent && entry.score.zip(before).is_some_and(|(now, before)| now >= before)
        };
        let holding = self.pool.iter().filter(holds).map(|one| board.ledger.get(one.id).text_key);
        holding.collect::<BTreeSet<_>>().len() < settle as usize
    }

    /// Has teachers propose continuations of the open beams: all of them, or those whose turn it is. Is anybody asked?
    fn expand_all(&mut self, board: &mut Board) -> bool {
        let asked: Vec<Vec<usize>> = match &board.plan.settings().policy {
            None => vec![(0..board.plan.teachers().len()).collect(); self.open.len()],
            Some(policy) => {
                let seed = board.choice("teachers").indexed(u64::from(self.depth));
                let seed = if self.rounds == 0 { seed } else { seed.named("again").indexed(self.rounds) };
                let ranks: Vec<u32> = self.open.iter().map(|(_, beam)| *beam).collect();
                policy.asked(self.depth, &ranks, self.settings.width, &self.asked, seed)
            }
        };
        for ((parent, beam), teachers) in self.open.clone().into_iter().zip(&asked) {
            self.expand(board, parent, beam, teachers);
        }
        self.rounds += 1;
        self.asked.resize(self.open.len(), Vec::new());
        for (before, now) in self.asked.iter_mut().zip(&asked) {
            before.extend(now);
        }
        asked.iter().any(|teachers| !teachers.is_empty())
    }

    /// Has teachers propose continuations of one beam.
    fn expand(&mut self, board: &mut Board, parent: Option<u32>, beam: u32, teachers: &[usize]) {
        let (prefix, max_tokens) = board.before_step(parent);
        for teacher in teachers {
            for sample in 0..self.settings.proposals {
                let proposal = Proposal::new(StepKind::Reasoning, *teacher, sample, max_tokens);
                let id = board.propose(&proposal.after(parent, &prefix, beam));
                self.pool.push(Contender { id, standing: Standing::Challenger(beam) });
            }
        }
    }

    /// How many trajectories can go on.
    fn places(&self) -> usize {
        let width = self.settings.width as usize;
        match self.settings.finished {
            Finished::Compete | Finished::SetAside => width,
            Finished::Hold => width.saturating_sub(self.finished.len()),
        }
    }

    /// Ranks the pool and notes every candidate's place and fate.
    fn keep(&self, board: &mut Board) -> Vec<u32> {
        // A step that asked more than once has them in the order of its questions.
        let mut pool = self.pool.clone();
        pool.sort_by_key(|one| {
            let entry = board.ledger.get(one.id);
            let among = if one.standing == Standing::Incumbent { (0, 0) } else { (entry.teacher, entry.sample) };
            (one.standing, among)
        });
        let ranking = rank(&board.ledger, &pool);
        let new = |board: &Board, id: u32| board.ledger.get(id).depth == self.depth;
        let siblings = ranking.order.iter().filter(|id| new(board, **id)).copied().collect::<Vec<_>>();
        for (rank, id) in siblings.into_iter().enumerate() {
            board.ledger.get_mut(id).rank = Some(rank as u32);
        }
        for id in ranking.duplicates {
            board.ledger.get_mut(id).fate = Fate::Duplicate;
        }
        let kept: Vec<u32> = ranking.order.into_iter().take(self.places()).collect();
        for id in &kept {
            board.ledger.get_mut(*id).fate = Fate::Kept;
        }
        kept
    }

    /// The finished trajectories that hold a place or were set aside, best first.
    fn standing(&self, board: &Board) -> Vec<u32> {
        match self.settings.finished {
            // The kept are in order already, by ties that are broken against who came later.
            Finished::Compete => {
                self.kept.iter().copied().filter(|id| board.ledger.get(*id).state != State::Open).collect()
            }
            Finished::SetAside | Finished::Hold => incumbents(board, self.finished.iter().copied()),
        }
    }

    /// Does the recipe's rule end the search, though some trajectories are open?
    fn may_stop(&self, board: &Board) -> bool {
        let closed = |id: &u32| board.ledger.get(*id).state == State::Closed;
        match self.settings.stop {
            StopRule::AllFinished => false,
            StopRule::BestFinished => match self.settings.finished {
                Finished::Compete => self.kept.first().is_some_and(closed),
                Finished::SetAside | Finished::Hold => {
                    // The finished come first, so that they win ties as they do where they compete.
                    let all = self.finished.iter().chain(&self.kept).copied();
                    incumbents(board, all).first().is_some_and(closed)
                }
            },
            StopRule::EnoughFinished => {
                self.standing(board).iter().filter(|id| closed(id)).count() >= self.settings.select as usize
            }
        }
    }

    /// Chooses the final trajectories and asks for their answers.
    fn conclude(&mut self, board: &mut Board) -> Option<SearchResult> {
        let AnswerBy::LastWriter = self.settings.answer_by;
        let closed = |id: &u32| board.ledger.get(*id).state == State::Closed;
        let mut finals = self.standing(board);
        if !finals.iter().any(closed) {
            // Closed reasoning that lost its place to candidates which then led nowhere. By number: the older first.
            let distinct = |id: &u32| board.ledger.get(*id).fate != Fate::Duplicate;
            let displaced = incumbents(board, board.ledger.ids().filter(closed).filter(distinct));
            if !displaced.is_empty() {
                finals = displaced;
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

/// Ranks trajectories that compete as equals, the first given first.
fn incumbents(board: &Board, ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let pool: Vec<Contender> = ids.map(|id| Contender { id, standing: Standing::Incumbent }).collect();
    rank(&board.ledger, &pool).order
}
