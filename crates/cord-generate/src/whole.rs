//! Whole trajectories, each written by one teacher in one go: curation and a single teacher.
//!
//! The teacher reasons and answers in one generation under the sum of both budgets. Its reasoning part is judged by the
//! same scorer as in every other search. Truncated and unclosed responses compete below complete ones.

use cord_core::{Fate, StepKind};

use crate::board::{Board, Proposal};
use crate::ledger::Final;
use crate::ranking::{Contender, Standing, rank};
use crate::{CurationSettings, GenerateError, SearchResult, SingleSettings};

pub(crate) struct Whole {
    pool: Vec<Contender>,
    select: u32,
}

impl Whole {
    /// The i-th trajectory is written by teacher i mod K.
    pub(crate) fn curation(settings: &CurationSettings, board: &mut Board) -> Self {
        let teachers = board.plan.teachers().len() as u32;
        let share =
            |teacher: u32| settings.trajectories / teachers + u32::from(teacher < settings.trajectories % teachers);
        let writers: Vec<(usize, u32)> = (0..teachers)
            .flat_map(|teacher| (0..share(teacher)).map(move |sample| (teacher as usize, sample)))
            .collect();
        Self::begin(&writers, settings.select, board)
    }

    pub(crate) fn single(settings: &SingleSettings, board: &mut Board) -> Self {
        let teacher = board.plan.teachers().iter().position(|name| *name == settings.teacher);
        let teacher = teacher.expect("a plan's single teacher is one of its teachers");
        let writers: Vec<(usize, u32)> = (0..settings.trajectories).map(|sample| (teacher, sample)).collect();
        Self::begin(&writers, settings.select, board)
    }

    fn begin(writers: &[(usize, u32)], select: u32, board: &mut Board) -> Self {
        let budget = board.plan.settings().budget;
        let max_tokens = budget.reasoning.saturating_add(budget.answer);
        let propose = |(teacher, sample): &(usize, u32)| {
            let (teacher, sample, kind) = (*teacher, *sample, StepKind::Whole);
            let proposal = Proposal { parent: None, prefix: "", beam: 0, teacher, sample, kind, max_tokens };
            Contender { id: board.propose(&proposal), standing: Standing::Challenger(0) }
        };
        Self { pool: writers.iter().map(propose).collect(), select }
    }

    /// Ranks the trajectories when all are in.
    pub(crate) fn finish(&self, board: &mut Board) -> Result<SearchResult, GenerateError> {
        let ranking = rank(&board.ledger, &self.pool);
        if ranking.order.is_empty() {
            return Err(GenerateError::NothingProposed { teachers: board.plan.teachers().to_vec() });
        }
        for (rank, id) in ranking.order.iter().enumerate() {
            board.ledger.get_mut(*id).rank = Some(rank as u32);
        }
        for id in ranking.duplicates {
            board.ledger.get_mut(id).fate = Fate::Duplicate;
        }
        let chosen = ranking.order.into_iter().take(self.select as usize);
        let finals: Vec<Final> = chosen.map(|leaf| Final { leaf, answer: None }).collect();
        Ok(board.finish(&finals))
    }
}
