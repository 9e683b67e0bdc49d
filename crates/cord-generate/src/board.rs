//! What every kind of search shares: asking teachers, reading their replies, and having each text scored once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cord_core::{
    Digest, Digester, Fate, Finish, Generation, Message, Opening, Problem, ProblemId, Prompt, Seed, StepKind, Usage,
};

use crate::ledger::{Entry, Final, Ledger, State, reasoning_part};
use crate::reply::{self, Written};
use crate::{
    Action, GenerateError, GenerateTask, Judged, Reply, Scope, Score, ScoreTask, SearchPlan, SearchResult, Ticket,
};

/// A candidate to be written.
pub(crate) struct Proposal<'a> {
    pub(crate) parent: Option<u32>,
    /// The text along the path to the parent.
    pub(crate) prefix: &'a str,
    /// The parent's place among the kept: a part of the candidate's seed.
    pub(crate) beam: u32,
    pub(crate) teacher: usize,
    pub(crate) sample: u32,
    pub(crate) kind: StepKind,
    pub(crate) max_tokens: u32,
}

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
        let seed = (self.seed.named(stream).indexed(u64::from(depth)).indexed(u64::from(proposal.beam)))
            .named(&self.plan.teachers()[proposal.teacher])
            .indexed(u64::from(proposal.sample));
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
            text_key: None,
            score_key: None,
        });
        let prefix = proposal.prefix.to_owned();
        self.ask(Writing { entry, prefix, lead: String::new(), allowance: proposal.max_tokens, seed });
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
                messages: self.messages.clone(),
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
        if self.writing == 0 && self.failures.is_empty() && !self.unscored.is_empty() {
            self.ask_siblings();
        }
        Ok(())
    }

    fn written(&mut self, writing: Writing, generation: Generation) {
        self.writing -= 1;
        let id = writing.entry;
        let entry = self.ledger.get_mut(id);
        entry.usage += generation.usage;
        entry.spent += generation.usage.generated_tokens;
        let (kind, teacher) = (entry.kind, entry.teacher);
        let settings = self.plan.settings();
        let budget = settings.budget;
        let room = entry.spent < u64::from(budget.reasoning) && entry.depth + 1 < budget.steps;
        let written = match kind {
            StepKind::Reasoning => reply::step(settings.segmenter, &writing.lead, &generation, room),
            StepKind::Answer => reply::answer(&generation),
            StepKind::Whole => reply::whole(&generation),
        };
        let (text, state) = match written {
            Written::Candidate { text, state } => (text, state),
            Written::AskAgain { lead } => {
                let used = u32::try_from(generation.usage.generated_tokens).unwrap_or(u32::MAX);
                let allowance = writing.allowance.saturating_sub(used);
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
        if state != State::Empty && kind != StepKind::Answer {
            let step = if kind == StepKind::Whole { reasoning_part(&text) } else { &text };
            let judged = Judged { prefix: writing.prefix.clone(), step: step.to_owned() };
            self.have_scored(id, judged);
        }
        let entry = self.ledger.get_mut(id);
        entry.text_key = Some(Digest::of_bytes(format!("{}{text}", writing.prefix).as_bytes()));
        entry.finish = generation.finish;
        entry.state = state;
        entry.text = text;
    }

    /// Has a candidate scored, unless the same one has been: teachers often agree, and the prover is the dearest model.
    fn have_scored(&mut self, id: u32, judged: Judged) {
        // The same text in other steps is another candidate: a scorer may look at the step alone.
        let key = Digester::new("judged").part(judged.prefix.as_bytes()).part(judged.step.as_bytes()).finish();
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
            let opinion = if score.value.is_finite() {
                // Minus zero is zero: it must not lose a tie.
                Opinion::Known(Score { value: score.value + 0.0, ..score }, false)
            } else {
                Opinion::Failed(GenerateError::NotFinite {
                    scorer: self.plan.scorer().to_owned(),
                    expected: "a finite score",
                    given: score.value.to_string(),
                })
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
                    entry.score = Some(score.value);
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
        self.propose(&Proposal {
            parent: Some(leaf),
            prefix: &reasoning,
            beam: place,
            teacher,
            sample: 0,
            kind: StepKind::Answer,
            max_tokens: self.plan.settings().budget.answer,
        })
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
