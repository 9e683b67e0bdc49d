//! Best-first search over steps, the stack decoding of speech recognition (Jelinek 1969): beyond the paper, and cheaper than its beam.
//!
//! A beam asks every teacher about every trajectory that it keeps. Here one teacher is asked about one trajectory at a time: about
//! the best scored of all, whatever their lengths, that some teacher has not been asked about yet. So a step that makes the
//! answer more likely is gone on from at once, and only where no such step comes are further teachers asked, or an earlier
//! trajectory taken up again. About the start all teachers are asked, for a first step has nothing to be compared with, unless
//! the settings say what the start is worth. Each trajectory has an order of teachers of its own, drawn evenly.
//!
//! Closed reasoning waits among the others and counts as final when nothing open is as good; or, as soon as one does, all of it
//! counts ([`BestFirstStop`]). The search ends with so many final trajectories, which share most of their steps, as those of a
//! beam do.
//!
//! It never asks more than the beam of its width would: no more than `width` trajectories of one depth are gone on from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Digest, Fate, StepKind, TrajectoryEnd};

use crate::board::Board;
use crate::ledger::{Final, State};
use crate::proposal::Proposal;
use crate::ranking::{Contender, Standing, rank};
use crate::{BestFirstSettings, BestFirstStop, GenerateError, SearchResult};

/// What can be gone on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The empty prefix.
    Start,
    /// A candidate.
    Behind(u32),
}

impl Place {
    fn parent(self) -> Option<u32> {
        match self {
            Self::Start => None,
            Self::Behind(id) => Some(id),
        }
    }
}

pub(crate) struct BestFirst {
    settings: BestFirstSettings,
    /// What can be gone on from, and how many teachers have been asked about each.
    open: BTreeMap<Place, usize>,
    /// Closed reasoning that is not final yet.
    closed: BTreeSet<u32>,
    /// The trajectories that were gone on from, by depth, in the order in which that began.
    begun: BTreeMap<u32, Vec<u32>>,
    /// The texts that there are.
    seen: BTreeSet<Digest>,
    /// The candidates that are being written.
    asked: Vec<u32>,
    /// Closed reasoning, in the order in which it became final.
    reached: Vec<u32>,
    /// The chosen trajectories, once their answers are being written.
    finals: Vec<Final>,
}

impl BestFirst {
    pub(crate) fn begin(settings: BestFirstSettings, board: &mut Board) -> Self {
        let first: Vec<usize> = match settings.start {
            Some(_) => vec![whom(board, Place::Start, 0)],
            None => (0..board.plan.teachers().len()).collect(),
        };
        let (open, closed, begun, seen) =
            (BTreeMap::from([(Place::Start, first.len())]), BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        let (asked, reached, finals) = (Vec::new(), Vec::new(), Vec::new());
        let mut search = Self { settings, open, closed, begun, seen, asked, reached, finals };
        for teacher in first {
            search.ask(board, Place::Start, teacher);
        }
        search
    }

    /// Moves on after a round of replies; gives the result once there is nothing left to ask.
    pub(crate) fn advance(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        if !self.finals.is_empty() {
            return Ok(Some(board.finish(&self.finals)));
        }
        self.adopt(board);
        while !self.is_enough()
            && let Some(best) = self.best(board)
        {
            if let Place::Behind(id) = best {
                board.ledger.get_mut(id).fate = Fate::Kept;
                if self.closed.remove(&id) {
                    self.reached.push(id);
                    continue;
                }
            }
            let before = self.open.get_mut(&best).expect("what is not closed is open");
            let teacher = whom(board, best, *before);
            *before += 1;
            self.ask(board, best, teacher);
            return Ok(None);
        }
        self.conclude(board)
    }

    /// Are there as many final trajectories as were asked for?
    fn is_enough(&self) -> bool {
        let finals = self.settings.finals as usize;
        match self.settings.stop {
            BestFirstStop::EachBest => self.reached.len() >= finals,
            BestFirstStop::OneBest => !self.reached.is_empty() && self.reached.len() + self.closed.len() >= finals,
        }
    }

    /// Takes in what was written, each text once.
    fn adopt(&mut self, board: &mut Board) {
        for id in std::mem::take(&mut self.asked) {
            let entry = board.ledger.get_mut(id);
            let Some(text) = entry.text_key.filter(|_| entry.is_scored()) else { continue };
            if !self.seen.insert(text) {
                entry.fate = Fate::Duplicate;
                continue;
            }
            match entry.state {
                State::Open => {
                    self.open.insert(Place::Behind(id), 0);
                }
                State::Closed => {
                    self.closed.insert(id);
                }
                State::Asked | State::Empty | State::Ended(_) => {}
            }
        }
    }

    /// What comes next: the best scored of what is closed or can be gone on from. Of equals an open one comes before a closed
    /// one, which it may yet surpass; then the longer, then the older one.
    fn best(&self, board: &Board) -> Option<Place> {
        let can_go_on = |place: &Place| {
            let Place::Behind(id) = place else { return true };
            let begun = self.begun.get(&board.ledger.get(*id).depth).map_or(&[][..], Vec::as_slice);
            begun.contains(id) || begun.len() < self.settings.width as usize
        };
        let teachers = board.plan.teachers().len();
        let open = self.open.iter().filter(|(_, asked)| **asked < teachers).map(|(place, _)| *place).filter(can_go_on);
        let entry = |place: &Place| place.parent().map(|id| board.ledger.get(id));
        let worth = |place: &Place| match entry(place) {
            Some(entry) => {
                let score = entry.score.expect("only what is scored is taken in");
                score + self.settings.bonus * f64::from(entry.depth + 1)
            }
            None => self.settings.start.expect("all were asked about it where it has no score"),
        };
        let of = |place: &Place| entry(place).map(|entry| (entry.state == State::Open, entry.depth));
        open.chain(self.closed.iter().copied().map(Place::Behind))
            .max_by(|a, b| worth(a).total_cmp(&worth(b)).then_with(|| (of(a), Reverse(a)).cmp(&(of(b), Reverse(b)))))
    }

    /// Has a teacher propose continuations of a trajectory.
    fn ask(&mut self, board: &mut Board, place: Place, teacher: usize) {
        let parent = place.parent();
        let beam = parent.map_or(0, |id| {
            let begun = self.begun.entry(board.ledger.get(id).depth).or_default();
            begun.iter().position(|one| *one == id).unwrap_or_else(|| {
                begun.push(id);
                begun.len() - 1
            })
        });
        let (prefix, max_tokens) = board.before_step(parent);
        for sample in 0..self.settings.proposals {
            let proposal = Proposal::new(StepKind::Reasoning, teacher, sample, max_tokens);
            self.asked.push(board.propose(&proposal.after(parent, &prefix, beam as u32)));
        }
    }

    /// Chooses the final trajectories and asks for their answers.
    fn conclude(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        note_places(board);
        let mut pool = std::mem::take(&mut self.reached);
        if self.settings.stop == BestFirstStop::OneBest {
            pool.extend(std::mem::take(&mut self.closed));
        }
        if pool.is_empty() {
            pool = among(board, |_, state| matches!(state, State::Ended(_)));
        }
        if pool.is_empty() {
            // Nobody knew how to go on: the longest trajectories end where they are.
            let continued: BTreeSet<u32> =
                among(board, |_, _| true).into_iter().filter_map(|id| board.ledger.get(id).parent).collect();
            pool = among(board, |id, state| state == State::Open && !continued.contains(&id));
            for id in &pool {
                board.ledger.get_mut(*id).state = State::Ended(TrajectoryEnd::Unclosed);
            }
        }
        if pool.is_empty() {
            return Err(board.nothing_among(board.ledger.ids()));
        }
        let pool: Vec<Contender> = pool.into_iter().map(|id| Contender { id, standing: Standing::Incumbent }).collect();
        let mut finals = rank(&board.ledger, &pool).order;
        finals.truncate(self.settings.finals as usize);
        for id in &finals {
            board.ledger.get_mut(*id).fate = Fate::Kept;
        }
        finals.truncate(self.settings.select as usize);
        self.finals = (finals.into_iter().zip(0..))
            .map(|(leaf, place)| {
                let closed = board.ledger.get(leaf).state == State::Closed;
                Final { leaf, answer: closed.then(|| board.ask_answer(leaf, place)) }
            })
            .collect();
        let done = self.finals.iter().all(|chosen| chosen.answer.is_none());
        Ok(done.then(|| board.finish(&self.finals)))
    }
}

/// The distinct candidates that could be ranked and are wanted.
fn among(board: &Board, wanted: impl Fn(u32, State) -> bool) -> Vec<u32> {
    let is_one = |id: &u32| {
        let entry = board.ledger.get(*id);
        entry.is_scored() && entry.fate != Fate::Duplicate && wanted(*id, entry.state)
    };
    board.ledger.ids().filter(is_one).collect()
}

/// A step's rank is its place among all of its depth.
fn note_places(board: &mut Board) {
    let mut depths: BTreeMap<u32, Vec<Contender>> = BTreeMap::new();
    for id in board.ledger.ids() {
        let entry = board.ledger.get(id);
        if entry.fate != Fate::Duplicate {
            depths.entry(entry.depth).or_default().push(Contender { id, standing: Standing::Incumbent });
        }
    }
    for siblings in depths.values() {
        board.rank(siblings);
    }
}

/// Who is asked next about a trajectory of which so many have been asked.
fn whom(board: &Board, place: Place, before: usize) -> usize {
    let text = place.parent().map(|id| board.ledger.get(id).text_key.expect("what was written has a text").to_string());
    let names = board.plan.teachers();
    let mut order: Vec<usize> = (0..names.len()).collect();
    // By name, so that the recipe's order shows in ties only.
    order.sort_by_key(|teacher| &names[*teacher]);
    board.choice("teachers").named(text.as_deref().unwrap_or_default()).stream().shuffle(&mut order);
    order[before]
}
