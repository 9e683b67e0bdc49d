//! Whole trajectories, each written by one teacher in one go: curation and a single teacher.
//!
//! The teacher reasons and answers in one generation under the sum of both budgets. Its reasoning part is judged by the
//! same scorer as in every other search. Truncated and unclosed responses compete below complete ones.

use cord_core::StepKind;

use crate::board::Board;
use crate::ledger::Final;
use crate::proposal::Proposal;
use crate::ranking::{Contender, Standing};
use crate::{Closing, CurationSettings, GenerateError, SearchResult, SingleSettings};

pub(crate) struct Whole {
    /// Who writes, by place, and how many each has been asked for.
    writers: Vec<(usize, u32)>,
    pool: Vec<Contender>,
    select: u32,
    /// Rounds are added until so many tokens have been generated.
    compute: Option<u64>,
    /// How many had been generated before the last round.
    spent: Option<u64>,
}

impl Whole {
    /// The i-th trajectory is written by teacher i mod K.
    pub(crate) fn curation(settings: &CurationSettings, board: &mut Board) -> Self {
        let teachers: Vec<usize> = (0..board.plan.teachers().len()).collect();
        let writers = in_turn(&teachers, settings.trajectories);
        Self::begin(writers, settings.select, settings.compute, board)
    }

    pub(crate) fn single(settings: &SingleSettings, board: &mut Board) -> Self {
        let teacher = board.plan.teachers().iter().position(|name| *name == settings.teacher);
        let teacher = teacher.expect("a plan's single teacher is one of its teachers");
        Self::begin(vec![(teacher, settings.trajectories)], settings.select, None, board)
    }

    fn begin(writers: Vec<(usize, u32)>, select: u32, compute: Option<u64>, board: &mut Board) -> Self {
        let mut pool = Vec::new();
        for (teacher, count) in &writers {
            pool.extend((0..*count).map(|sample| challenger(propose(board, *teacher, sample))));
        }
        Self { writers, pool, select, compute, spent: None }
    }

    /// Ranks the trajectories when all are in, unless there is compute left for another round.
    pub(crate) fn advance(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        let spent = board.ledger.generated();
        // A round that cost nothing would be followed by another one for ever.
        if self.compute.is_some_and(|compute| spent < compute) && self.spent.is_none_or(|before| before < spent) {
            self.spent = Some(spent);
            for (teacher, count) in &mut self.writers {
                self.pool.push(challenger(propose(board, *teacher, *count)));
                *count += 1;
            }
            return Ok(None);
        }
        // Ties are broken by (teacher, sample), whichever round a trajectory was written in.
        self.pool.sort_by_key(|one| (board.ledger.get(one.id).teacher, board.ledger.get(one.id).sample));
        let order = board.rank(&self.pool);
        if order.is_empty() {
            return Err(board.nothing_among(self.pool.iter().map(|one| one.id)));
        }
        let chosen = order.into_iter().take(self.select as usize);
        let finals: Vec<Final> = chosen.map(|leaf| Final { leaf, answer: None }).collect();
        Ok(Some(board.finish(&finals)))
    }
}

/// How many of `count` trajectories each writer writes when they take turns.
pub(crate) fn in_turn(writers: &[usize], count: u32) -> Vec<(usize, u32)> {
    let of = writers.len() as u32;
    let share = |place: u32| count / of + u32::from(place < count % of);
    writers.iter().zip(0..).map(|(writer, place)| (*writer, share(place))).collect()
}

fn propose(board: &mut Board, teacher: usize, sample: u32) -> u32 {
    board.propose(&Proposal::new(StepKind::Whole, teacher, sample, whole_budget(board)))
}

/// The most tokens of a whole response; where reasoning is closed by force, of its first part, after which the answer is asked for.
pub(crate) fn whole_budget(board: &Board) -> u32 {
    let settings = board.plan.settings();
    match settings.closing {
        Closing::Own => settings.budget.reasoning.saturating_add(settings.budget.answer),
        Closing::Forced => settings.budget.reasoning,
    }
}

pub(crate) fn challenger(id: u32) -> Contender {
    Contender { id, standing: Standing::Challenger(0) }
}
