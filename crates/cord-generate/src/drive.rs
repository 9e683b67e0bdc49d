//! The one driver: many searches at once against real models.
//!
//! How requests are put in order is [`crate::dispatch`]'s; here is what a caller says and gets.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cord_core::{BoxFuture, LanguageModel, Outcome, Problem, Sampling, Seed, Usage};
use futures::stream::{Stream, StreamExt};

use crate::dispatch::Dispatch;
use crate::{GenerateError, GenerateSettings, Scorer, SearchPlan, SearchResult};

/// A model in the role of a teacher.
#[derive(Clone)]
pub struct Teacher {
    /// Its name in the recipe: part of its random streams and of every candidate that it writes.
    pub name: String,
    /// The model; homogeneous teachers share one.
    pub model: Arc<dyn LanguageModel>,
    /// How it draws.
    pub sampling: Sampling,
}

/// Watches a run. Nothing that it is told, or when, reaches a result.
pub trait Observer: Send + Sync {
    /// A problem's search begins.
    fn begun(&self, problem: &Problem) {
        let _ = problem;
    }

    /// A request was answered, at this cost.
    fn spent(&self, usage: Usage) {
        let _ = usage;
    }

    /// A problem is over.
    fn finished(&self, outcome: &Outcome<SearchResult>) {
        let _ = outcome;
    }
}

/// Watches nothing.
impl Observer for () {}

/// Waits. This crate reads no clock; who wants deadlines brings one.
pub trait Clock: Send + Sync {
    /// Ends after `time`.
    fn after(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The most time that a problem's search may take, from its first request to its result.
#[derive(Clone)]
pub struct Deadline {
    /// The time.
    pub after: Duration,
    /// What measures it.
    pub clock: Arc<dyn Clock>,
}

/// How a run is carried out. None of it reaches a result, but that a deadline can end a search.
#[derive(Clone)]
pub struct Drive<'a> {
    /// The most problems in progress at once. Memory grows with it, and with nothing else.
    pub problems: NonZeroUsize,
    /// The most requests that one teacher's model has in flight at once, and the most that the scorer has. What
    /// is beyond it waits here, where it can still be put in order; a server would take it as it comes.
    pub requests: NonZeroUsize,
    /// A problem that takes longer fails, and what it has in flight is dropped.
    pub deadline: Option<Deadline>,
    /// Once it is true, nothing more is asked: what is in flight is awaited, and the run ends.
    pub stop: Option<&'a AtomicBool>,
    /// Who watches.
    pub observer: &'a dyn Observer,
}

impl Drive<'_> {
    /// At most `problems` in progress, everything that they want in flight at once, no deadline, nobody watching.
    pub fn at_once(problems: NonZeroUsize) -> Self {
        Self { problems, requests: NonZeroUsize::MAX, deadline: None, stop: None, observer: &() }
    }
}

/// A problem with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Solved {
    /// Its place among the problems that were given, from 0.
    pub place: u64,
    /// The problem.
    pub problem: Arc<Problem>,
    /// What became of it.
    pub outcome: Outcome<SearchResult>,
}

/// A run that was told to stop before all problems had their outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted with {in_progress} problems in progress")]
pub struct Interrupted {
    /// The problems that were begun and have no outcome.
    pub in_progress: usize,
}

/// Teachers, scorer and settings that fit together.
pub struct Generator {
    pub(crate) plan: Arc<SearchPlan>,
    pub(crate) teachers: Vec<Teacher>,
    pub(crate) scorer: Arc<dyn Scorer>,
}

impl Generator {
    /// Checks that everything fits. Teachers come in the recipe's order, which breaks ties.
    pub fn new(
        settings: GenerateSettings,
        teachers: Vec<Teacher>,
        scorer: Arc<dyn Scorer>,
    ) -> Result<Self, GenerateError> {
        let names = teachers.iter().map(|teacher| teacher.name.clone()).collect();
        let plan = Arc::new(SearchPlan::new(settings, names, scorer.as_ref())?);
        match teachers.iter().find(|teacher| !teacher.model.capabilities().generate) {
            None => Ok(Self { plan, teachers, scorer }),
            Some(teacher) => {
                Err(GenerateError::Incapable { model: teacher.name.clone(), role: "teacher", capability: "generate" })
            }
        }
    }

    /// The settings and the teachers' names.
    pub fn plan(&self) -> &SearchPlan {
        &self.plan
    }

    /// Searches for the trajectories of all problems and gives the outcomes as they come.
    ///
    /// Problems are taken from `problems` one by one, each when there is room for it, and are forgotten with their
    /// outcome: a set that does not fit in memory can be streamed. No problem waits for another, and no candidate's
    /// scoring for its siblings' writing, unless the scorer must see them together.
    ///
    /// Where [`Drive::requests`] makes requests wait, a problem in progress comes before a newer one, and of one problem
    /// the continuations of one parent stand together: what shares a prefix is asked in one go, while a server still
    /// has it in its cache. Once no new problem is left, those with the fewest steps come first.
    ///
    /// `seed` is the recipe's. A problem that fails has its outcome; the others go on. The last item of a run that was
    /// told to stop is [`Interrupted`], unless every problem has its outcome.
    pub fn drive<'a, P>(
        &'a self,
        problems: P,
        seed: Seed,
        drive: Drive<'a>,
    ) -> impl Stream<Item = Result<Solved, Interrupted>> + Send + 'a
    where
        P: IntoIterator<Item = Problem>,
        P::IntoIter: Send + 'a,
    {
        let dispatch = Dispatch::new(self, problems.into_iter(), seed.named("generate"), drive);
        futures::stream::unfold(dispatch, |mut dispatch| async move {
            let item = dispatch.next().await?;
            Some((item, dispatch))
        })
    }

    /// Searches for the trajectories of all problems, at most `at_once` problems at a time, and gives the outcomes
    /// sorted by problem. All ready requests of a problem are in flight together, so the models see up to
    /// `at_once` × width × teachers × proposals requests at once; [`Generator::drive`] can bound them.
    ///
    /// `seed` is the recipe's. A problem that fails has its outcome; the others go on.
    pub async fn run(
        &self,
        problems: &[Problem],
        seed: Seed,
        at_once: NonZeroUsize,
        observer: &dyn Observer,
    ) -> Vec<Outcome<SearchResult>> {
        let drive = Drive { observer, ..Drive::at_once(at_once) };
        let solved = self.drive(problems.iter().cloned(), seed, drive);
        let solved = solved.map(|solved| solved.expect("a run without `stop` is not interrupted"));
        let mut solved: Vec<Solved> = solved.collect().await;
        // By name and then by place, so that scheduling shows nowhere even if two problems share a name.
        solved.sort_by(|a, b| (&a.problem.id, a.place).cmp(&(&b.problem.id, b.place)));
        solved.into_iter().map(|solved| solved.outcome).collect()
    }

    /// Searches for one problem's trajectories. `seed` is the recipe's.
    pub async fn solve(&self, problem: &Problem, seed: Seed, observer: &dyn Observer) -> Outcome<SearchResult> {
        let outcomes = self.run(std::slice::from_ref(problem), seed, NonZeroUsize::MIN, observer).await;
        outcomes.into_iter().next().expect("one problem has one outcome")
    }
}
