//! Every candidate of a search, and the trajectories that are made of the chosen ones.

use cord_core::{Candidate, Digest, Fate, Finish, ProblemId, Step, StepKind, Trajectory, TrajectoryEnd, Usage};

use crate::{Segmenter, THINK_CLOSE};

/// What a search found for one problem.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchResult {
    /// The problem.
    pub problem: ProblemId,
    /// The final trajectories, best first.
    pub trajectories: Vec<Trajectory>,
    /// Every candidate, numbered in the order of (depth, parent's rank, teacher's order, sample). The answers to
    /// finished reasoning are candidates too, without rank or score; they come last at their depth.
    pub candidates: Vec<Candidate>,
    /// What the whole search cost.
    pub usage: Usage,
}

/// How far a candidate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Still being written.
    Asked,
    /// White space only; neither scored nor ranked.
    Empty,
    /// A step that can be continued.
    Open,
    /// A step that closes the reasoning block.
    Closed,
    /// A step, answer or whole response after which nothing can follow.
    Ended(TrajectoryEnd),
}

impl State {
    /// The state of a candidate of an earlier search, from what its ledger says.
    pub(crate) fn recorded(candidate: &Candidate, segmenter: Segmenter) -> Self {
        let Candidate { kind, finish, terminal, score, text, .. } = candidate;
        let closed = text.contains(THINK_CLOSE);
        match (kind, finish) {
            (StepKind::Reasoning, _) if *terminal && closed => Self::Closed,
            (StepKind::Reasoning, Finish::Eos) if *terminal => Self::Ended(TrajectoryEnd::Unclosed),
            (StepKind::Reasoning, _) if *terminal => Self::Ended(TrajectoryEnd::ReasoningTruncated),
            (StepKind::Reasoning, _) if score.is_none() && segmenter.is_blank(text) => Self::Empty,
            (StepKind::Reasoning, _) => Self::Open,
            (StepKind::Whole, _) if text.trim().is_empty() => Self::Empty,
            (StepKind::Whole, Finish::Eos) if !closed => Self::Ended(TrajectoryEnd::Unclosed),
            (StepKind::Whole, _) if !closed => Self::Ended(TrajectoryEnd::ReasoningTruncated),
            (StepKind::Whole | StepKind::Answer, Finish::Eos) => Self::Ended(TrajectoryEnd::Complete),
            (StepKind::Whole | StepKind::Answer, _) => Self::Ended(TrajectoryEnd::AnswerTruncated),
        }
    }

    /// Truncated and unclosed candidates compete below all others: a prover may well like half a step, but
    /// nobody can finish it.
    pub(crate) fn is_sound(self) -> bool {
        matches!(self, Self::Open | Self::Closed | Self::Ended(TrajectoryEnd::Complete))
    }
}

/// A candidate and what the search must know of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) parent: Option<u32>,
    pub(crate) depth: u32,
    pub(crate) teacher: usize,
    pub(crate) sample: u32,
    pub(crate) kind: StepKind,
    pub(crate) text: String,
    pub(crate) finish: Finish,
    pub(crate) state: State,
    pub(crate) score: Option<f64>,
    pub(crate) rank: Option<u32>,
    pub(crate) fate: Fate,
    pub(crate) usage: Usage,
    /// Tokens generated along the path, this candidate's included.
    pub(crate) spent: u64,
    /// The sum of its tokens' log-probabilities, where the teacher says.
    pub(crate) logprob: Option<f64>,
    /// Digest of the whole text along the path: equal for duplicates.
    pub(crate) text_key: Option<Digest>,
    /// Digest of what is judged; absent for what is not sent to the scorer.
    pub(crate) score_key: Option<Digest>,
}

impl Entry {
    /// Can it be ranked? Not where it is blank, or where the scorer had no opinion.
    pub(crate) fn is_scored(&self) -> bool {
        self.score.is_some()
    }
}

/// A final trajectory: its last reasoning step (or whole response), and its answer where the reasoning closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Final {
    pub(crate) leaf: u32,
    pub(crate) answer: Option<u32>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn push(&mut self, entry: Entry) -> u32 {
        self.entries.push(entry);
        self.entries.len() as u32 - 1
    }

    pub(crate) fn get(&self, id: u32) -> &Entry {
        &self.entries[id as usize]
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Entry {
        &mut self.entries[id as usize]
    }

    pub(crate) fn ids(&self) -> std::ops::Range<u32> {
        0..self.entries.len() as u32
    }

    /// Tokens that the teachers have generated.
    pub(crate) fn generated(&self) -> u64 {
        self.entries.iter().map(|entry| entry.usage.generated_tokens).sum()
    }

    /// The candidates from the first step to this one.
    fn path(&self, id: u32) -> Vec<u32> {
        let mut path: Vec<u32> = std::iter::successors(Some(id), |id| self.get(*id).parent).collect();
        path.reverse();
        path
    }

    /// The text along the path to this candidate.
    pub(crate) fn text(&self, id: u32) -> String {
        self.path(id).into_iter().map(|id| self.get(id).text.as_str()).collect()
    }

    /// Turns the ledger into the search's result.
    pub(crate) fn finish(mut self, problem: &ProblemId, teachers: &[String], finals: &[Final]) -> SearchResult {
        for last in finals.iter().map(|chosen| chosen.answer.unwrap_or(chosen.leaf)) {
            for id in self.path(last) {
                self.get_mut(id).fate = Fate::Chosen;
            }
        }
        let mut usage = Usage::default();
        self.entries.iter().for_each(|entry| usage += entry.usage);
        // Answers are asked for when the search is over, at any depth, so the order of asking is not the ledger's.
        let mut order: Vec<u32> = self.ids().collect();
        // Nor is that of whole responses which are asked for in rounds.
        let place = |entry: &Entry| match (entry.kind, entry.parent) {
            (StepKind::Whole, None) => (entry.teacher, entry.sample),
            _ => (0, 0),
        };
        order.sort_by_key(|id| (self.get(*id).depth, place(self.get(*id))));
        let mut number = vec![0; order.len()];
        for (place, id) in order.iter().enumerate() {
            number[*id as usize] = place as u32;
        }
        let trajectories = finals.iter().enumerate().map(|(index, chosen)| {
            let path = self.path(chosen.answer.unwrap_or(chosen.leaf));
            let step = |id: &u32| {
                let entry = self.get(*id);
                Step {
                    candidate: number[*id as usize],
                    teacher: teachers[entry.teacher].clone(),
                    kind: entry.kind,
                    text: entry.text.clone(),
                    score: entry.score,
                }
            };
            let steps: Vec<Step> = path.iter().map(step).collect();
            let State::Ended(end) = self.get(chosen.answer.unwrap_or(chosen.leaf)).state else {
                unreachable!("a final trajectory has ended");
            };
            Trajectory {
                problem: problem.clone(),
                index: index as u32,
                response: steps.iter().map(|step| step.text.as_str()).collect(),
                steps,
                end,
                score: self.get(chosen.leaf).score,
                usage,
            }
        });
        let trajectories = trajectories.collect();
        let candidates = order.iter().map(|id| {
            let entry = self.get(*id);
            Candidate {
                id: number[*id as usize],
                parent: entry.parent.map(|parent| number[parent as usize]),
                depth: entry.depth,
                teacher: teachers[entry.teacher].clone(),
                sample: entry.sample,
                kind: entry.kind,
                text: entry.text.clone(),
                finish: entry.finish.clone(),
                terminal: matches!(entry.state, State::Closed | State::Ended(_)),
                score: entry.score,
                rank: entry.rank,
                fate: entry.fate,
                usage: entry.usage,
            }
        });
        SearchResult { problem: problem.clone(), trajectories, candidates: candidates.collect(), usage }
    }
}

/// The reasoning part of a whole response, with the tag that closes it where there is one.
pub(crate) fn reasoning_part(response: &str) -> &str {
    response.find(THINK_CLOSE).map_or(response, |at| &response[..at + THINK_CLOSE.len()])
}
