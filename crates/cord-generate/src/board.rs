//! What every kind of search shares: asking teachers, reading their replies, and having each text scored once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cord_core::{
    Candidate, Digest, Digester, Fate, Finish, Generation, Message, Opening, Problem, ProblemId, Prompt, Seed,
    StepKind, Usage,
};

use crate::ledger::{Entry, Final, Ledger, State, reasoning_part};
use crate::proposal::{Asked, Proposal, Scored};
use crate::ranking::{Contender, rank};
use crate::reply::{self, Written};
use crate::{
    Action, Draws, Evidence, GenerateError, GenerateTask, Judged, Reply, Scope, Score, ScoreTask, SearchPlan,
    SearchResult, Ticket,
};

enum Errand {
    Write(Writing),
    Judge(Vec<Digest>),
}

struct Writing {
    entry: u32,
    prefix: String,
    /// What the teacher is told that it has already said of this step.
    lead: String,
    allowance: u32,
    seed: Seed,
    scored: Scored,
    messages: Option<Vec<Message>>,
}

enum Opinion {
    Asked,
    /// A score, and whether its cost has been charged to a candidate.
    Known(Score, bool),
    Failed(GenerateError),
}

pub(crate) struct Board {
    pub(crate) plan: Arc<SearchPlan>,
    pub(crate) ledger: Ledger,
    problem: ProblemId,
    question: String,
    messages: Vec<Message>,
    seed: Seed,
    queue: VecDeque<Action>,
    errands: BTreeMap<Ticket, Errand>,
    tickets: u64,
    writing: usize,
    /// Texts that wait until all siblings are written, by candidate.
    unscored: BTreeMap<u32, (Digest, Judged)>,
    opinions: BTreeMap<Digest, Opinion>,
    failures: BTreeMap<u32, GenerateError>,
}

impl Board {
    pub(crate) fn new(problem: &Problem, plan: Arc<SearchPlan>, seed: Seed) -> Self {
        Self {
            messages: plan.settings().prompt.messages(problem),
            plan,
            ledger: Ledger::default(),
            problem: problem.id.clone(),
            question: problem.question.clone(),
            seed,
            queue: VecDeque::new(),
            errands: BTreeMap::new(),
            tickets: 0,
            writing: 0,
            unscored: BTreeMap::new(),
            opinions: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    pub(crate) fn next_request(&mut self) -> Option<Action> {
        self.queue.pop_front()
    }

    /// The text that a step continues, and the most tokens that it may have.
    pub(crate) fn before_step(&self, parent: Option<u32>) -> (String, u32) {
        let settings = self.plan.settings();
        let prefix = parent.map_or_else(String::new, |id| self.ledger.text(id));
        let spent = parent.map_or(0, |id| self.ledger.get(id).spent);
        let left = u64::from(settings.budget.reasoning).saturating_sub(spent);
        let most = settings.segmenter.step_tokens(settings.budget.step);
        (prefix, u32::try_from(left).unwrap_or(u32::MAX).min(most))
    }

    /// Asks a teacher for a candidate and enters it into the ledger.
    pub(crate) fn propose(&mut self, proposal: &Proposal<'_>) -> u32 {
        let parent = proposal.parent.map(|parent| self.ledger.get(parent));
        let depth = parent.map_or(0, |parent| parent.depth + 1);
        let spent = parent.map_or(0, |parent| parent.spent);
        let stream = match proposal.kind {
            StepKind::Reasoning => "step",
            StepKind::Answer => "answer",
            StepKind::Whole => "whole",
        };
        // By name and not by place, so that a teacher writes the same whoever else takes part.
        let stream = self.seed.named(stream);
        let stream = match self.plan.settings().draws {
            Draws::ByPlace => stream.indexed(u64::from(depth)).indexed(u64::from(proposal.beam)),
            Draws::ByPrefix => stream.named(proposal.prefix),
        };
        let seed = stream.named(&self.plan.teachers()[proposal.teacher]).indexed(u64::from(proposal.sample));
        let entry = self.ledger.push(Entry {
            parent: proposal.parent,
            depth,
            teacher: proposal.teacher,
            sample: proposal.sample,
            kind: proposal.kind,
            text: String::new(),
            finish: Finish::Length,
            state: State::Asked,
            score: None,
            rank: None,
            fate: Fate::Dropped,
            usage: Usage::default(),
            spent,
            logprob: Some(0.0),
            text_key: None,
            score_key: None,
        });
        let (prefix, messages) = (proposal.prefix.to_owned(), proposal.messages.clone());
        let (allowance, scored) = (proposal.max_tokens, proposal.scored);
        let lead = match proposal.kind {
            StepKind::Reasoning => self.plan.settings().segmenter.opening(proposal.prefix).to_owned(),
            StepKind::Answer | StepKind::Whole => String::new(),
        };
        self.ask(Writing { entry, prefix, lead, allowance, seed, scored, messages });
        entry
    }

    fn ask(&mut self, writing: Writing) {
        let entry = self.ledger.get(writing.entry);
        let (teacher, depth, kind) = (entry.teacher, entry.depth, entry.kind);
        let ticket = self.ticket();
        self.queue.push_back(Action::Generate(GenerateTask {
            ticket,
            teacher,
            depth,
            prompt: Prompt {
                messages: writing.messages.as_ref().unwrap_or(&self.messages).clone(),
                opening: Opening::Think,
                prefix: format!("{}{}", writing.prefix, writing.lead),
            },
            stop: self.stops(kind),
            max_tokens: writing.allowance,
            seed: writing.seed,
        }));
        self.errands.insert(ticket, Errand::Write(writing));
        self.writing += 1;
    }

    fn stops(&self, kind: StepKind) -> Vec<String> {
        match kind {
            StepKind::Reasoning => self.plan.settings().segmenter.stops(),
            StepKind::Answer | StepKind::Whole => Vec::new(),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets - 1)
    }

    /// Takes a reply; what fails is noted and reported by [`Board::settle`], in the candidates' order.
    pub(crate) fn accept(&mut self, reply: Reply) -> Result<(), GenerateError> {
        let (Reply::Generated { ticket, .. } | Reply::Scored { ticket, .. } | Reply::Failed { ticket, .. }) = &reply;
        let ticket = *ticket;
        match (self.errands.remove(&ticket), reply) {
            (Some(Errand::Write(writing)), Reply::Generated { generation, .. }) => self.written(writing, generation),
            (Some(Errand::Write(writing)), Reply::Failed { error, .. }) => {
                self.writing -= 1;
                self.failures.insert(writing.entry, error);
            }
            (Some(Errand::Judge(keys)), Reply::Scored { scores, .. }) => self.judged(keys, scores)?,
            (Some(Errand::Judge(keys)), Reply::Failed { error, .. }) => {
                let failed = keys.into_iter().map(|key| (key, Opinion::Failed(error.clone())));
                self.opinions.extend(failed);
            }
            _ => return Err(GenerateError::UnknownTicket(ticket)),
        }
        self.send_siblings();
        Ok(())
    }

    /// What an open request to a teacher is for; nothing where the ticket is none of such a request.
    pub(crate) fn asked(&self, ticket: Ticket) -> Option<Asked<'_>> {
        let Some(Errand::Write(writing)) = self.errands.get(&ticket) else { return None };
        let entry = self.ledger.get(writing.entry);
        let (teacher, depth, sample, kind) = (entry.teacher, entry.depth, entry.sample, entry.kind);
        Some(Asked { prefix: &writing.prefix, teacher, depth, sample, kind, merges: writing.messages.is_some() })
    }

    /// Answers a request by a candidate of an earlier search, as it was read then.
    pub(crate) fn restore(&mut self, ticket: Ticket, recorded: &Candidate) -> Result<(), GenerateError> {
        let Some(Errand::Write(writing)) = self.errands.remove(&ticket) else {
            return Err(GenerateError::UnknownTicket(ticket));
        };
        self.writing -= 1;
        // A scorer's cost is counted in scored tokens, so the others are the teacher's.
        let usage = Usage { scored_tokens: 0, ..recorded.usage };
        let state = State::recorded(recorded, self.plan.settings().segmenter);
        let entry = self.ledger.get_mut(writing.entry);
        entry.usage += usage;
        entry.spent += usage.generated_tokens;
        entry.logprob = None;
        self.enter(&writing, recorded.text.clone(), recorded.finish.clone(), state);
        self.send_siblings();
        Ok(())
    }

    fn written(&mut self, writing: Writing, generation: Generation) {
        self.writing -= 1;
        let id = writing.entry;
        let entry = self.ledger.get_mut(id);
        entry.usage += generation.usage;
        entry.spent += generation.usage.generated_tokens;
        let logprob = generation.mean_logprob.map(|mean| mean * generation.usage.generated_tokens as f64);
        entry.logprob = entry.logprob.zip(logprob).map(|(sum, more)| sum + more);
        let (kind, teacher) = (entry.kind, entry.teacher);
        let settings = self.plan.settings();
        let budget = settings.budget;
        let room = entry.spent < u64::from(budget.reasoning) && entry.depth + 1 < budget.steps;
        let written = match kind {
            StepKind::Reasoning => reply::step(settings.segmenter, settings.closing, &writing.lead, &generation, room),
            StepKind::Answer => reply::answer(&generation),
            StepKind::Whole => reply::whole(settings.closing, &writing.lead, &generation),
        };
        let (text, state) = match written {
            Written::Candidate { text, state } => (text, state),
            Written::AskAgain { lead, answers } => {
                let used = u32::try_from(generation.usage.generated_tokens).unwrap_or(u32::MAX);
                let left = writing.allowance.saturating_sub(used);
                let allowance = if answers { budget.answer } else { left };
                if allowance > 0 {
                    let seed = writing.seed.named("lead");
                    return self.ask(Writing { lead, allowance, seed, ..writing });
                }
                (generation.text, State::Empty)
            }
            Written::UnknownStop { given } => {
                let teacher = self.plan.teachers()[teacher].clone();
                let error = GenerateError::UnexpectedStop { teacher, expected: self.stops(kind), given };
                self.failures.insert(id, error);
                return;
            }
        };
        self.enter(&writing, text, generation.finish, state);
    }

    /// Writes a candidate into the ledger and sends it to the scorer.
    fn enter(&mut self, writing: &Writing, text: String, finish: Finish, state: State) {
        let id = writing.entry;
        let kind = self.ledger.get(id).kind;
        let wanted = match writing.scored {
            Scored::Always => true,
            Scored::IfEnded => state != State::Open,
            Scored::Never => false,
        };
        if wanted && state != State::Empty && kind != StepKind::Answer {
            // What follows the reasoning is not judged, be it an answer or the opening of one.
            let step = reasoning_part(&text);
            let mean_logprob = self.mean_logprob(id);
            let judged = Judged { prefix: writing.prefix.clone(), step: step.to_owned(), mean_logprob };
            self.have_scored(id, judged);
        }
        let entry = self.ledger.get_mut(id);
        entry.text_key = Some(Digest::of_bytes(format!("{}{text}", writing.prefix).as_bytes()));
        entry.finish = finish;
        entry.state = state;
        entry.text = text;
    }

    /// How sure the writer was, for a scorer that looks at it. Kept from all others: a text is judged once, and who wrote
    /// it first must not show.
    fn mean_logprob(&self, id: u32) -> Option<f64> {
        let entry = self.ledger.get(id);
        match self.plan.evidence() {
            Evidence::Text => None,
            Evidence::Writing => entry.logprob.map(|sum| sum / entry.usage.generated_tokens.max(1) as f64),
        }
    }

    /// Has a candidate scored, unless the same one has been: teachers often agree, and the prover is the dearest model.
    fn have_scored(&mut self, id: u32, judged: Judged) {
        // The same text in other steps is another candidate: a scorer may look at the step alone.
        let mut key = Digester::new("judged").part(judged.prefix.as_bytes()).part(judged.step.as_bytes());
        if let Some(mean) = judged.mean_logprob {
            key = key.part(&mean.to_le_bytes());
        }
        let key = key.finish();
        self.ledger.get_mut(id).score_key = Some(key);
        if self.opinions.contains_key(&key) {
            return;
        }
        match self.plan.scope() {
            Scope::Each => self.ask_scores(vec![(key, judged)]),
            Scope::Siblings => {
                self.unscored.insert(id, (key, judged));
            }
        }
    }

    /// Sends candidates that are judged together once all of them are written.
    fn send_siblings(&mut self) {
        if self.writing == 0 && self.failures.is_empty() && !self.unscored.is_empty() {
            self.ask_siblings();
        }
    }

    /// Siblings that are judged together, in the candidates' order whatever came first, each text once.
    fn ask_siblings(&mut self) {
        let mut seen = BTreeSet::new();
        let together = std::mem::take(&mut self.unscored).into_values();
        let together: Vec<(Digest, Judged)> = together.filter(|(key, _)| seen.insert(*key)).collect();
        self.ask_scores(together);
    }

    fn ask_scores(&mut self, together: Vec<(Digest, Judged)>) {
        let (keys, candidates): (Vec<Digest>, Vec<Judged>) = together.into_iter().unzip();
        self.opinions.extend(keys.iter().map(|key| (*key, Opinion::Asked)));
        let ticket = self.ticket();
        self.errands.insert(ticket, Errand::Judge(keys));
        self.queue.push_back(Action::Score(ScoreTask { ticket, candidates }));
    }

    fn judged(&mut self, keys: Vec<Digest>, scores: Vec<Score>) -> Result<(), GenerateError> {
        if scores.len() != keys.len() {
            let scorer = self.plan.scorer().to_owned();
            return Err(GenerateError::ScoreCount { scorer, expected: keys.len(), given: scores.len() });
        }
        for (key, score) in keys.into_iter().zip(scores) {
            let opinion = match score.value {
                Some(value) if !value.is_finite() => Opinion::Failed(GenerateError::NotFinite {
                    scorer: self.plan.scorer().to_owned(),
                    expected: "a finite score",
                    given: value.to_string(),
                }),
                // Minus zero is zero: it must not lose a tie.
                value => Opinion::Known(Score { value: value.map(|value| value + 0.0), ..score }, false),
            };
            self.opinions.insert(key, opinion);
        }
        Ok(())
    }

    /// Are all replies in? Then writes the scores into the ledger, in the candidates' order so that costs and
    /// failures fall on the same candidate whatever came first.
    pub(crate) fn settle(&mut self) -> Result<bool, GenerateError> {
        if !self.errands.is_empty() {
            return Ok(false);
        }
        for id in self.ledger.ids() {
            if let Some(error) = self.failures.remove(&id) {
                return Err(error);
            }
            let entry = self.ledger.get_mut(id);
            let (Some(key), None) = (entry.score_key, entry.score) else { continue };
            match self.opinions.get_mut(&key) {
                Some(Opinion::Known(score, charged)) => {
                    entry.score = score.value;
                    if !std::mem::replace(charged, true) {
                        entry.usage += score.usage;
                    }
                }
                Some(Opinion::Failed(error)) => return Err(error.clone()),
                // Siblings are not judged when one of them has failed; that one's error is still to come.
                Some(Opinion::Asked) | None => {}
            }
        }
        Ok(true)
    }

    /// Asks the last writer of closed reasoning for the answer.
    pub(crate) fn ask_answer(&mut self, leaf: u32, place: u32) -> u32 {
        let reasoning = self.ledger.text(leaf);
        let teacher = self.ledger.get(leaf).teacher;
        let answer = Proposal::new(StepKind::Answer, teacher, 0, self.plan.settings().budget.answer);
        self.propose(&answer.after(Some(leaf), &reasoning, place))
    }

    /// A seed of the problem's, for a choice that is no teacher's.
    pub(crate) fn choice(&self, name: &str) -> Seed {
        self.seed.named(name)
    }

    /// The problem's text.
    pub(crate) fn question(&self) -> &str {
        &self.question
    }

    /// Why there is nothing to go on with among these candidates.
    pub(crate) fn nothing_among(&self, pool: impl IntoIterator<Item = u32>) -> GenerateError {
        let written = pool.into_iter().map(|id| self.ledger.get(id)).filter(|entry| entry.state != State::Empty);
        let depths: Vec<u32> = written.map(|entry| entry.depth).collect();
        match depths.first() {
            Some(depth) => {
                let (scorer, depth, candidates) = (self.plan.scorer().to_owned(), *depth, depths.len());
                GenerateError::NothingScored { scorer, depth, candidates }
            }
            None => GenerateError::NothingProposed { teachers: self.plan.teachers().to_vec() },
        }
    }

    /// Ranks candidates that were written on their own, notes their places, and gives the distinct ones, best first.
    pub(crate) fn rank(&mut self, pool: &[Contender]) -> Vec<u32> {
        let ranking = rank(&self.ledger, pool);
        for (rank, id) in ranking.order.iter().enumerate() {
            self.ledger.get_mut(*id).rank = Some(rank as u32);
        }
        for id in ranking.duplicates {
            self.ledger.get_mut(id).fate = Fate::Duplicate;
        }
        ranking.order
    }

    /// Forgets what was still to be asked: after an error nothing is wanted.
    pub(crate) fn abandon(&mut self) {
        self.queue.clear();
    }

    /// Ends the search; the board is empty afterwards.
    pub(crate) fn finish(&mut self, finals: &[Final]) -> SearchResult {
        std::mem::take(&mut self.ledger).finish(&self.problem, self.plan.teachers(), finals)
    }
}
