//! A search as a state machine without IO.

use std::fmt;
use std::sync::Arc;

use cord_core::{Candidate, Generation, Problem, Prompt, Seed};

use crate::beam::Beam;
use crate::best_first::BestFirst;
use crate::board::Board;
use crate::integration::Integration;
use crate::mcts::Mcts;
use crate::proposal::Asked;
use crate::whole::Whole;
use crate::{
    Evidence, GenerateError, GenerateSettings, Judged, Scope, Score, Scorer, SearchResult, SearchSettings,
    SettingsFault,
};

/// Settings and teachers that fit together, checked once for all problems.
#[derive(Clone, Debug)]
pub struct SearchPlan {
    settings: GenerateSettings,
    teachers: Vec<String>,
    scorer: String,
    scope: Scope,
    evidence: Evidence,
}

impl SearchPlan {
    /// A plan for these teachers, in the recipe's order, which breaks ties, and for this scorer.
    pub fn new(settings: GenerateSettings, teachers: Vec<String>, scorer: &dyn Scorer) -> Result<Self, GenerateError> {
        let mut faults = settings.faults(&teachers);
        if scorer.scope() == Scope::Siblings {
            let settles = settings.policy.as_ref().is_some_and(|policy| policy.settle.is_some());
            let compares = matches!(settings.search, SearchSettings::BestFirst(_));
            let keys = [("adaptive.settle", settles), ("search.kind", compares)];
            let compares = keys.into_iter().filter(|(_, compares)| *compares);
            faults
                .extend(compares.map(|(key, _)| SettingsFault::Incomparable { key, scorer: scorer.name().to_owned() }));
        }
        if !faults.is_empty() {
            return Err(GenerateError::Settings(faults));
        }
        let (name, scope, evidence) = (scorer.name().to_owned(), scorer.scope(), scorer.evidence());
        Ok(Self { settings, teachers, scorer: name, scope, evidence })
    }

    /// The settings.
    pub fn settings(&self) -> &GenerateSettings {
        &self.settings
    }

    /// The teachers' names; [`GenerateTask::teacher`] is a place in this list.
    pub fn teachers(&self) -> &[String] {
        &self.teachers
    }

    /// The scorer's name.
    pub fn scorer(&self) -> &str {
        &self.scorer
    }

    /// What the scorer must see at once.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// What the scorer's opinions depend on.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }
}

/// Names a request of one search, so that its reply finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A request to a teacher. The teacher's sampling is not part of it: it belongs to the model, not to the search.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateTask {
    /// To be given back with the reply.
    pub ticket: Ticket,
    /// The teacher's place in [`SearchPlan::teachers`].
    pub teacher: usize,
    /// How many steps stand before the one that is asked for.
    pub depth: u32,
    /// What to continue.
    pub prompt: Prompt,
    /// Where to stop.
    pub stop: Vec<String>,
    /// The most tokens to generate.
    pub max_tokens: u32,
    /// The random stream of this one request.
    pub seed: Seed,
}

/// A request to the scorer.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreTask {
    /// To be given back with the reply.
    pub ticket: Ticket,
    /// The candidates to judge: one, or all distinct ones of a depth, as the scorer's scope says.
    pub candidates: Vec<Judged>,
}

/// What a search wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A teacher's continuation.
    Generate(GenerateTask),
    /// The scorer's opinion.
    Score(ScoreTask),
    /// Nothing more until a reply to an open request is accepted.
    Wait,
    /// Nothing more at all; the result is there.
    Done,
}

/// A reply to a request. Replies may come in any order.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A teacher's continuation.
    Generated {
        /// The request's.
        ticket: Ticket,
        /// What the teacher wrote.
        generation: Generation,
    },
    /// The scorer's opinion.
    Scored {
        /// The request's.
        ticket: Ticket,
        /// One score for each candidate, in their order.
        scores: Vec<Score>,
    },
    /// There will be no answer to the request. The search ends with this error, or with that of an
    /// earlier candidate of the same depth, once the other replies of the depth are in.
    Failed {
        /// The request's.
        ticket: Ticket,
        /// Why.
        error: GenerateError,
    },
}

/// The search for one problem's trajectories.
///
/// Call [`Search::next_action`] until it says [`Action::Wait`], carry the requests out in any order and at any pace,
/// give each reply to [`Search::accept`], and ask again, until [`Action::Done`]. Candidates are sent to be scored as they
/// arrive; ranking waits for all siblings of the depth. The result is a function of the replies alone, not of
/// their order.
pub struct Search {
    board: Board,
    strategy: Strategy,
    result: Option<SearchResult>,
}

enum Strategy {
    Beam(Beam),
    Whole(Whole),
    Mcts(Mcts),
    BestFirst(BestFirst),
    Integration(Integration),
}

impl Search {
    /// A search that has asked for nothing yet. `seed` is the stage's; the problem's own is derived from it.
    pub fn new(problem: &Problem, plan: Arc<SearchPlan>, seed: Seed) -> Self {
        let search = plan.settings().search.clone();
        let mut board = Board::new(problem, plan, seed.named(&problem.id));
        let strategy = match search {
            SearchSettings::Beam(settings) => Strategy::Beam(Beam::begin(settings, &mut board)),
            SearchSettings::Curation(settings) => Strategy::Whole(Whole::curation(&settings, &mut board)),
            SearchSettings::Single(settings) => Strategy::Whole(Whole::single(&settings, &mut board)),
            SearchSettings::Mcts(settings) => Strategy::Mcts(Mcts::begin(settings, &mut board)),
            SearchSettings::BestFirst(settings) => Strategy::BestFirst(BestFirst::begin(settings, &mut board)),
            SearchSettings::Integration(settings) => Strategy::Integration(Integration::begin(settings, &mut board)),
        };
        Self { board, strategy, result: None }
    }

    /// What the search wants next. Each request is given out once.
    pub fn next_action(&mut self) -> Action {
        match self.board.next_request() {
            Some(action) => action,
            None if self.result.is_some() => Action::Done,
            None => Action::Wait,
        }
    }

    /// What an open request to a teacher is for.
    pub(crate) fn asked(&self, ticket: Ticket) -> Option<Asked<'_>> {
        self.board.asked(ticket)
    }

    /// Answers a request by a candidate of an earlier search.
    pub(crate) fn restore(&mut self, ticket: Ticket, recorded: &Candidate) -> Result<(), GenerateError> {
        let result = self.board.restore(ticket, recorded).and_then(|()| self.go_on());
        if result.is_err() {
            self.board.abandon();
        }
        result
    }

    /// Takes a reply. An error is final: the search has no result and wants nothing more.
    pub fn accept(&mut self, reply: Reply) -> Result<(), GenerateError> {
        let result = self.take(reply);
        if result.is_err() {
            self.board.abandon();
        }
        result
    }

    fn take(&mut self, reply: Reply) -> Result<(), GenerateError> {
        self.board.accept(reply)?;
        self.go_on()
    }

    fn go_on(&mut self) -> Result<(), GenerateError> {
        if self.board.settle()? {
            self.result = match &mut self.strategy {
                Strategy::Beam(beam) => beam.advance(&mut self.board)?,
                Strategy::Whole(whole) => whole.advance(&mut self.board)?,
                Strategy::Mcts(mcts) => mcts.advance(&mut self.board)?,
                Strategy::BestFirst(best_first) => best_first.advance(&mut self.board)?,
                Strategy::Integration(integration) => integration.advance(&mut self.board)?,
            };
        }
        Ok(())
    }

    /// The result; absent before [`Action::Done`].
    pub fn into_result(self) -> Option<SearchResult> {
        self.result
    }
}
