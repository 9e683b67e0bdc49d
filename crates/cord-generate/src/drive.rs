//! The one driver: many searches at once against real models.

use std::num::NonZeroUsize;
use std::sync::Arc;

use cord_core::{BoxFuture, GenerateRequest, LanguageModel, Outcome, Problem, Sampling, Seed, Usage};
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};

use crate::{
    Action, GenerateError, GenerateSettings, GenerateTask, Reply, ScoreTask, Scorer, Search, SearchPlan, SearchResult,
};

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

/// Teachers, scorer and settings that fit together.
pub struct Generator {
    plan: Arc<SearchPlan>,
    teachers: Vec<Teacher>,
    scorer: Arc<dyn Scorer>,
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

    /// Searches for the trajectories of all problems, at most `at_once` problems at a time, and gives the outcomes
    /// sorted by problem. All ready requests of a problem are in flight together, so the models see up to
    /// `at_once` × width × teachers × proposals requests at once; bounding those is the models' own business.
    ///
    /// `seed` is the recipe's. A problem that fails has its outcome; the others go on.
    pub async fn run(
        &self,
        problems: &[Problem],
        seed: Seed,
        at_once: NonZeroUsize,
        observer: &dyn Observer,
    ) -> Vec<Outcome<SearchResult>> {
        let mut outcomes: Vec<(usize, Outcome<SearchResult>)> =
            self.in_flight(problems, seed, at_once, observer).collect().await;
        // By name and then by place, so that scheduling shows nowhere even if two problems share a name.
        outcomes.sort_by(|(a, _), (b, _)| (&problems[*a].id, a).cmp(&(&problems[*b].id, b)));
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// The same outcomes as they come, in the order in which the problems end.
    pub fn stream<'a>(
        &'a self,
        problems: &'a [Problem],
        seed: Seed,
        at_once: NonZeroUsize,
        observer: &'a dyn Observer,
    ) -> impl Stream<Item = Outcome<SearchResult>> + Send + 'a {
        self.in_flight(problems, seed, at_once, observer).map(|(_, outcome)| outcome)
    }

    fn in_flight<'a>(
        &'a self,
        problems: &'a [Problem],
        seed: Seed,
        at_once: NonZeroUsize,
        observer: &'a dyn Observer,
    ) -> impl Stream<Item = (usize, Outcome<SearchResult>)> + Send + 'a {
        let solve = move |(place, problem)| async move { (place, self.solve(problem, seed, observer).await) };
        stream::iter(problems.iter().enumerate()).map(solve).buffer_unordered(at_once.get())
    }

    /// Searches for one problem's trajectories. `seed` is the recipe's.
    pub async fn solve(&self, problem: &Problem, seed: Seed, observer: &dyn Observer) -> Outcome<SearchResult> {
        let outcome = match self.search(problem, seed, observer).await {
            Ok(result) => Outcome::Done(result),
            Err(error) => Outcome::Failed { id: problem.id.clone(), reason: error.reason() },
        };
        observer.finished(&outcome);
        outcome
    }

    async fn search(
        &self,
        problem: &Problem,
        seed: Seed,
        observer: &dyn Observer,
    ) -> Result<SearchResult, GenerateError> {
        let mut search = Search::new(problem, Arc::clone(&self.plan), seed.named("generate"));
        let mut requests: FuturesUnordered<BoxFuture<'_, Reply>> = FuturesUnordered::new();
        loop {
            match search.next_action() {
                Action::Generate(task) => requests.push(Box::pin(self.write(task))),
                Action::Score(task) => requests.push(Box::pin(self.judge(problem, task))),
                Action::Wait => {
                    let reply = requests.next().await.expect("a search that waits has open requests");
                    observer.spent(cost(&reply));
                    search.accept(reply)?;
                }
                Action::Done => return Ok(search.into_result().expect("a search that is done has a result")),
            }
        }
    }

    async fn write(&self, task: GenerateTask) -> Reply {
        let GenerateTask { ticket, teacher, depth, prompt, stop, max_tokens, seed } = task;
        let teacher = &self.teachers[teacher];
        let sampling = teacher.sampling;
        match teacher.model.generate(GenerateRequest { prompt, stop, max_tokens, sampling, seed }).await {
            Ok(generation) => Reply::Generated { ticket, generation },
            Err(source) => {
                let error = GenerateError::Teacher { teacher: teacher.name.clone(), depth, source };
                Reply::Failed { ticket, error }
            }
        }
    }

    async fn judge(&self, problem: &Problem, task: ScoreTask) -> Reply {
        let ticket = task.ticket;
        match self.scorer.score(problem, &task.candidates).await {
            Ok(scores) => Reply::Scored { ticket, scores },
            Err(error) => Reply::Failed { ticket, error },
        }
    }
}

fn cost(reply: &Reply) -> Usage {
    let mut usage = Usage::default();
    match reply {
        Reply::Generated { generation, .. } => usage += generation.usage,
        Reply::Scored { scores, .. } => scores.iter().for_each(|score| usage += score.usage),
        Reply::Failed { .. } => {}
    }
    usage
}
