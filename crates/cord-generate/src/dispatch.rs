//! Which request is asked next, over all problems in progress.
//!
//! One loop owns every search. A request that its model has no room for waits here, in the order of
//! [`Rank`]; a reply goes to its search, which may want more. Nothing is locked and nothing is polled that was not woken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cord_core::{BoxFuture, GenerateRequest, Outcome, Problem, Seed, Usage};
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, Either, select};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::{
    Action, Drive, GenerateError, GenerateTask, Generator, Interrupted, Reply, ScoreTask, Search, Solved, Ticket,
};

/// The order of waiting requests.
///
/// While new problems are to come it is that of the problems, so that the oldest is finished first: its prefixes are the
/// ones that servers have in their caches, and it gives room to a new one. At the end there is nothing to make room for,
/// and the problem with the longest way to go decides when the run ends: fewest steps first. Within a problem tickets
/// decide: they are given out parent by parent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    steps: u32,
    place: u64,
    ticket: Ticket,
}

enum Task {
    Write(GenerateTask),
    Judge(ScoreTask),
}

/// A model's requests: those in flight are counted, the others wait.
#[derive(Default)]
struct Lane {
    in_flight: usize,
    waiting: BTreeMap<Rank, Task>,
}

/// A problem in progress.
struct Active {
    problem: Arc<Problem>,
    search: Search,
    /// Its requests in flight, each with what drops it.
    open: BTreeMap<Ticket, AbortHandle>,
    deadline: Option<AbortHandle>,
    depth: u32,
}

struct Answer {
    place: u64,
    lane: usize,
    /// Nothing where the request was dropped.
    reply: Option<(Ticket, Reply)>,
}

pub(crate) struct Dispatch<'a, P> {
    generator: &'a Generator,
    drive: Drive<'a>,
    seed: Seed,
    problems: P,
    /// How many problems were taken from `problems`.
    begun: u64,
    exhausted: bool,
    active: BTreeMap<u64, Active>,
    /// One for each teacher's model, and the scorer's at the end.
    lanes: Vec<Lane>,
    /// The lane of each teacher: teachers that share a model share one.
    lane_of: Vec<usize>,
    in_flight: FuturesUnordered<BoxFuture<'a, Answer>>,
    deadlines: FuturesUnordered<BoxFuture<'a, Option<u64>>>,
    ended: VecDeque<Solved>,
    interrupted: bool,
}

impl<'a, P: Iterator<Item = Problem>> Dispatch<'a, P> {
    /// `seed` is the stage's.
    pub(crate) fn new(generator: &'a Generator, problems: P, seed: Seed, drive: Drive<'a>) -> Self {
        let teachers = &generator.teachers;
        let same = |a: usize, b: usize| Arc::ptr_eq(&teachers[a].model, &teachers[b].model);
        let first = |teacher| (0..=teacher).find(|other| same(*other, teacher)).expect("a model is itself");
        let lane_of: Vec<usize> = (0..teachers.len()).map(first).collect();
        Self {
            lanes: (0..=teachers.len()).map(|_| Lane::default()).collect(),
            generator,
            drive,
            seed,
            problems,
            begun: 0,
            exhausted: false,
            active: BTreeMap::new(),
            lane_of,
            in_flight: FuturesUnordered::new(),
            deadlines: FuturesUnordered::new(),
            ended: VecDeque::new(),
            interrupted: false,
        }
    }

    /// The next problem that ends.
    pub(crate) async fn next(&mut self) -> Option<Result<Solved, Interrupted>> {
        loop {
            if let Some(solved) = self.ended.pop_front() {
                self.drive.observer.finished(&solved.outcome);
                return Some(Ok(solved));
            }
            let stop = self.drive.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
            if !stop {
                self.fill();
            }
            if !self.in_flight.is_empty() {
                self.wait().await;
            } else if self.ended.is_empty() {
                return if stop { self.interruption() } else { None };
            }
        }
    }

    /// What a run that was told to stop says at its end: nothing, if it had come to its end by itself.
    fn interruption(&mut self) -> Option<Result<Solved, Interrupted>> {
        let in_progress = self.active.len();
        let unfinished = in_progress > 0 || (!self.exhausted && self.problems.next().is_some());
        // Said once.
        let said = std::mem::replace(&mut self.interrupted, true);
        (unfinished && !said).then_some(Err(Interrupted { in_progress }))
    }

    /// Asks all that there is room for, the waiting before anything new.
    fn fill(&mut self) {
        loop {
            for lane in 0..self.lanes.len() {
                while self.has_room(lane)
                    && let Some((rank, task)) = self.lanes[lane].waiting.pop_first()
                {
                    self.ask(lane, rank.place, task);
                }
            }
            // Every problem begins with its teachers: while all of them have enough to do, it would only wait. And while the
            // scorer is behind, teachers that idle are no reason to bring it more.
            let behind = self.lanes.last().is_some_and(|scorer| !scorer.waiting.is_empty());
            let idle = !behind && self.lane_of.iter().any(|lane| self.has_room(*lane));
            if self.exhausted || self.active.len() >= self.drive.problems.get() || !idle {
                return;
            }
            match self.problems.next() {
                Some(problem) => self.begin(problem),
                None => self.close(),
            }
        }
    }

    fn has_room(&self, lane: usize) -> bool {
        self.lanes[lane].in_flight < self.drive.requests.get()
    }

    fn begin(&mut self, problem: Problem) {
        let (place, problem) = (self.begun, Arc::new(problem));
        self.begun += 1;
        self.drive.observer.begun(&problem);
        let search = Search::new(&problem, Arc::clone(&self.generator.plan), self.seed);
        let deadline = self.drive.deadline.as_ref().map(|deadline| {
            let (handle, registration) = AbortHandle::new_pair();
            let over = Abortable::new(deadline.clock.after(deadline.after), registration);
            self.deadlines.push(over.map(move |over| over.ok().map(|()| place)).boxed());
            handle
        });
        self.active.insert(place, Active { problem, search, open: BTreeMap::new(), deadline, depth: 0 });
        self.advance(place);
    }

    /// No new problem is left: from now on the waiting are ordered by how far they have come.
    fn close(&mut self) {
        self.exhausted = true;
        for lane in &mut self.lanes {
            let waiting = std::mem::take(&mut lane.waiting).into_iter();
            let steps = |rank: &Rank| self.active.get(&rank.place).map_or(0, |active| active.depth);
            lane.waiting = waiting.map(|(rank, task)| (Rank { steps: steps(&rank), ..rank }, task)).collect();
        }
    }

    /// Takes what a search wants now.
    fn advance(&mut self, place: u64) {
        let active = self.active.get_mut(&place).expect("a search that moves is in progress");
        loop {
            let (lane, ticket, task) = match active.search.next_action() {
                Action::Generate(task) => {
                    active.depth = active.depth.max(task.depth);
                    (self.lane_of[task.teacher], task.ticket, Task::Write(task))
                }
                Action::Score(task) => (self.lanes.len() - 1, task.ticket, Task::Judge(task)),
                Action::Wait => return,
                Action::Done => break,
            };
            let steps = if self.exhausted { active.depth } else { 0 };
            self.lanes[lane].waiting.insert(Rank { steps, place, ticket }, task);
        }
        let active = self.remove(place);
        let result = active.search.into_result().expect("a search that is done has a result");
        self.ended.push_back(Solved { place, problem: active.problem, outcome: Outcome::Done(result) });
    }

    fn ask(&mut self, lane: usize, place: u64, task: Task) {
        let active = self.active.get_mut(&place).expect("what waits belongs to a search in progress");
        let (generator, problem) = (self.generator, Arc::clone(&active.problem));
        let (ticket, asking): (Ticket, BoxFuture<'a, Reply>) = match task {
            Task::Write(task) => (task.ticket, Box::pin(generator.write(task))),
            Task::Judge(task) => (task.ticket, Box::pin(async move { generator.judge(&problem, task).await })),
        };
        let (handle, registration) = AbortHandle::new_pair();
        active.open.insert(ticket, handle);
        self.lanes[lane].in_flight += 1;
        let answer = Abortable::new(asking, registration).map(move |reply| Answer {
            place,
            lane,
            reply: reply.ok().map(|reply| (ticket, reply)),
        });
        self.in_flight.push(answer.boxed());
    }

    /// Waits until a reply comes or a deadline passes.
    async fn wait(&mut self) {
        loop {
            let event = if self.deadlines.is_empty() {
                Either::Left(self.in_flight.next().await)
            } else {
                match select(self.in_flight.next(), self.deadlines.next()).await {
                    Either::Left((answer, _)) => Either::Left(answer),
                    Either::Right((over, _)) => Either::Right(over),
                }
            };
            match event {
                Either::Left(answer) => return self.answered(answer.expect("a request is in flight")),
                Either::Right(Some(Some(place))) => return self.too_late(place),
                // The timer of a problem that has ended.
                Either::Right(_) => {}
            }
        }
    }

    fn answered(&mut self, Answer { place, lane, reply }: Answer) {
        self.lanes[lane].in_flight -= 1;
        let Some((ticket, reply)) = reply else { return };
        self.drive.observer.spent(cost(&reply));
        // The problem may have failed while the reply was on its way.
        let Some(active) = self.active.get_mut(&place) else { return };
        active.open.remove(&ticket);
        match active.search.accept(reply) {
            Ok(()) => self.advance(place),
            Err(error) => self.fail(place, &error),
        }
    }

    fn too_late(&mut self, place: u64) {
        let Some(active) = self.active.get(&place) else { return };
        let limit = self.drive.deadline.as_ref().map_or_else(Default::default, |deadline| deadline.after);
        let error = GenerateError::Deadline { limit, depth: active.depth };
        self.fail(place, &error);
    }

    fn fail(&mut self, place: u64, error: &GenerateError) {
        let active = self.remove(place);
        // A search that is done waits for nothing; a failed one leaves requests behind.
        for lane in &mut self.lanes {
            lane.waiting.retain(|rank, _| rank.place != place);
        }
        let outcome = Outcome::Failed { id: active.problem.id.clone(), reason: error.reason() };
        self.ended.push_back(Solved { place, problem: active.problem, outcome });
    }

    /// Forgets a problem with what it has in flight.
    fn remove(&mut self, place: u64) -> Active {
        let active = self.active.remove(&place).expect("a problem ends once");
        active.deadline.iter().chain(active.open.values()).for_each(AbortHandle::abort);
        active
    }
}

impl Generator {
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
