//! Monte Carlo tree search over steps, with rollouts: what the paper compares beam search with. It says nothing of its tree
//! search but what came of it, so what follows is the textbook's (UCT, Kocsis and Szepesvári 2006).
//!
//! The root is the empty prefix. Each walk goes down from it by the upper confidence bound,
//! `mean reward + c·√(ln(parent's visits) / visits)`, a step that was never visited first, until it meets
//!
//! - an open step that was never visited: its writer writes the rest of the trajectory in one go, the *rollout*, and the
//!   scorer's opinion of the whole reasoning is the reward;
//! - an open step that was visited: every teacher proposes continuations of it, and the walk ends at the first of them;
//! - the end of a trajectory: its own score is the reward.
//!
//! Rewards are put into [0, 1] by the lowest and highest score that the search has seen, so that any scorer can guide it.
//! Reasoning that was truncated or never closed has the reward 0, whatever the scorer makes of it. Open steps are not
//! scored: the rollouts speak for them. Walks follow each other, since each depends on the rewards before it.

use std::collections::BTreeMap;

use cord_core::{Fate, StepKind};

use crate::board::Board;
use crate::ledger::{Final, State};
use crate::proposal::{Proposal, Scored};
use crate::ranking::{Contender, Standing, rank};
use crate::whole::whole_budget;
use crate::{Choose, GenerateError, MctsSettings, SearchResult};

#[derive(Default)]
struct Node {
    /// Distinct continuations, in the order of (teacher, sample); absent before there are any proposals.
    children: Option<Vec<u32>>,
    visits: u32,
    /// The sum and the number of the rewards that sound trajectories brought.
    rewards: f64,
    sound: u32,
    rollout: Option<u32>,
}

/// What the replies that are awaited are for.
enum Awaited {
    /// Continuations of the path's last step.
    Children(Vec<u32>),
    /// The rest of the trajectory after the path's last step.
    Rollout(u32),
    /// The answers to the final trajectories' reasoning.
    Answers,
}

pub(crate) struct Mcts {
    settings: MctsSettings,
    nodes: BTreeMap<Option<u32>, Node>,
    /// The steps of the walk that is under way.
    path: Vec<u32>,
    walks: u32,
    /// The lowest and the highest reward so far.
    seen: Option<(f64, f64)>,
    awaited: Awaited,
    finals: Vec<Final>,
}

impl Mcts {
    pub(crate) fn begin(settings: MctsSettings, board: &mut Board) -> Self {
        let awaited = Awaited::Children(Vec::new());
        let (nodes, path, finals) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut mcts = Self { settings, nodes, path, walks: 1, seen: None, awaited, finals };
        mcts.expand(board);
        mcts
    }

    pub(crate) fn advance(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        let waits = match std::mem::replace(&mut self.awaited, Awaited::Answers) {
            Awaited::Answers => return Ok(Some(board.finish(&self.finals))),
            Awaited::Children(asked) => {
                self.adopt(board, &asked);
                if self.path.is_empty() && self.node(None).children.as_ref().is_some_and(Vec::is_empty) {
                    return Err(board.nothing_among(asked));
                }
                let first = self.node(self.last()).children.as_ref().and_then(|children| children.first()).copied();
                self.path.extend(first);
                self.evaluate(board)
            }
            Awaited::Rollout(rollout) => {
                self.learn(board, rollout);
                false
            }
        };
        if waits || self.walk(board) {
            return Ok(None);
        }
        self.conclude(board)
    }

    fn node(&self, id: Option<u32>) -> &Node {
        const NONE: &Node = &Node { children: None, visits: 0, rewards: 0.0, sound: 0, rollout: None };
        self.nodes.get(&id).unwrap_or(NONE)
    }

    fn last(&self) -> Option<u32> {
        self.path.last().copied()
    }

    /// Walks until something must be asked; says whether it must.
    fn walk(&mut self, board: &mut Board) -> bool {
        while self.walks < self.settings.iterations {
            self.walks += 1;
            self.path.clear();
            while let Some(next) = self.best_child(self.last()) {
                self.path.push(next);
            }
            let waits = match self.last() {
                Some(leaf) if board.ledger.get(leaf).state == State::Open => {
                    let node = self.node(Some(leaf));
                    match (node.visits, &node.children) {
                        (0, _) | (_, Some(_)) => self.evaluate(board),
                        (_, None) => {
                            self.expand(board);
                            true
                        }
                    }
                }
                _ => self.evaluate(board),
            };
            if waits {
                return true;
            }
        }
        false
    }

    /// The child that a walk goes on to: one that was never visited, else that of the highest bound.
    fn best_child(&self, parent: Option<u32>) -> Option<u32> {
        let node = self.node(parent);
        let children = node.children.as_ref()?;
        let bound = |id: u32| {
            let child = self.node(Some(id));
            if child.visits == 0 {
                return f64::INFINITY;
            }
            let explored = f64::from(node.visits).max(1.0).ln() / f64::from(child.visits);
            self.mean(child) + self.settings.exploration * explored.sqrt()
        };
        first_of_highest(children, bound)
    }

    /// The mean reward in [0, 1].
    fn mean(&self, node: &Node) -> f64 {
        let Some((low, high)) = self.seen else { return 0.0 };
        let sound = f64::from(node.sound);
        let above = if high > low { (node.rewards - sound * low) / (high - low) } else { sound };
        above / f64::from(node.visits.max(1))
    }

    /// Asks for continuations of the path's last step.
    fn expand(&mut self, board: &mut Board) {
        let parent = self.last();
        let (prefix, max_tokens) = board.before_step(parent);
        let mut asked = Vec::new();
        for teacher in 0..board.plan.teachers().len() {
            for sample in 0..self.settings.proposals {
                let proposal = Proposal::new(StepKind::Reasoning, teacher, sample, max_tokens);
                let proposal = proposal.after(parent, &prefix, place(parent));
                asked.push(board.propose(&Proposal { scored: Scored::IfEnded, ..proposal }));
            }
        }
        self.awaited = Awaited::Children(asked);
    }

    /// Takes the proposals in, each text once.
    fn adopt(&mut self, board: &mut Board, asked: &[u32]) {
        let mut seen = std::collections::BTreeSet::new();
        let mut children = Vec::new();
        for id in asked {
            let entry = board.ledger.get_mut(*id);
            let usable = match entry.state {
                State::Asked | State::Empty => false,
                State::Open => true,
                // Without a score the end of a trajectory has no reward.
                State::Closed | State::Ended(_) => entry.is_scored(),
            };
            if usable && seen.insert(entry.text_key) {
                children.push(*id);
            } else if usable {
                entry.fate = Fate::Duplicate;
            }
        }
        self.nodes.entry(self.last()).or_default().children = Some(children);
    }

    /// Finds the reward of the path's last step; says whether a rollout must be awaited first.
    fn evaluate(&mut self, board: &mut Board) -> bool {
        let Some(leaf) = self.last() else { return false };
        let entry = board.ledger.get(leaf);
        match (entry.state, self.node(Some(leaf)).rollout) {
            // Nobody knew how to go on: the rollout counts again.
            (State::Open, Some(rollout)) => self.learn(board, rollout),
            (State::Open, None) => {
                let left = u64::from(whole_budget(board)).saturating_sub(entry.spent);
                let (teacher, most) = (entry.teacher, u32::try_from(left).unwrap_or(u32::MAX));
                let prefix = board.ledger.text(leaf);
                let rollout = Proposal::new(StepKind::Whole, teacher, 0, most);
                let rollout = board.propose(&rollout.after(Some(leaf), &prefix, place(Some(leaf))));
                self.nodes.entry(Some(leaf)).or_default().rollout = Some(rollout);
                self.awaited = Awaited::Rollout(rollout);
                return true;
            }
            _ => self.learn(board, leaf),
        }
        false
    }

    /// Credits the reward that a trajectory's end brings to every step of the path.
    fn learn(&mut self, board: &mut Board, end: u32) {
        let entry = board.ledger.get(end);
        let reward = entry.score.filter(|_| entry.state.is_sound());
        if let Some(reward) = reward {
            let (low, high) = self.seen.unwrap_or((reward, reward));
            self.seen = Some((low.min(reward), high.max(reward)));
        }
        let steps = self.path.iter().map(|id| Some(*id));
        for id in steps.chain([None]) {
            let node = self.nodes.entry(id).or_default();
            node.visits += 1;
            node.rewards += reward.unwrap_or(0.0);
            node.sound += u32::from(reward.is_some());
            if let Some(id) = id {
                board.ledger.get_mut(id).fate = Fate::Kept;
            }
        }
    }

    /// Chooses the final trajectories and asks for their answers.
    fn conclude(&mut self, board: &mut Board) -> Result<Option<SearchResult>, GenerateError> {
        self.note_places(board);
        let ended = |id: &u32| !matches!(board.ledger.get(*id).state, State::Open | State::Empty | State::Asked);
        let pool: Vec<Contender> =
            (board.ledger.ids().filter(ended)).map(|id| Contender { id, standing: Standing::Incumbent }).collect();
        let mut finals = rank(&board.ledger, &pool).order;
        if self.settings.choose == Choose::MostVisited
            && let Some(first) = self.most_visited(board)
        {
            finals.retain(|id| *id != first);
            finals.insert(0, first);
        }
        if finals.is_empty() {
            return Err(board.nothing_among(board.ledger.ids()));
        }
        finals.truncate(self.settings.select as usize);
        let answers = finals.into_iter().zip(0..).map(|(leaf, place)| {
            let closed = board.ledger.get(leaf).state == State::Closed;
            Final { leaf, answer: closed.then(|| board.ask_answer(leaf, place)) }
        });
        self.finals = answers.collect();
        self.awaited = Awaited::Answers;
        let done = self.finals.iter().all(|chosen| chosen.answer.is_none());
        Ok(done.then(|| board.finish(&self.finals)))
    }

    /// The end of the trajectory that the most visited steps lead to, where it is a sound one.
    fn most_visited(&self, board: &Board) -> Option<u32> {
        let mut last = None;
        while let Some(children) = &self.node(last).children {
            let next = self.by_visits(children).first().copied().filter(|id| self.node(Some(*id)).visits > 0);
            let Some(next) = next else { break };
            last = Some(next);
        }
        let end = match board.ledger.get(last?).state {
            State::Open => self.node(last).rollout?,
            _ => last?,
        };
        let entry = board.ledger.get(end);
        (entry.state.is_sound() && entry.is_scored()).then_some(end)
    }

    /// Siblings by visits, then by their mean reward, then in order.
    fn by_visits(&self, siblings: &[u32]) -> Vec<u32> {
        let mut order = siblings.to_vec();
        order.sort_by(|a, b| {
            let (a, b) = (self.node(Some(*a)), self.node(Some(*b)));
            b.visits.cmp(&a.visits).then(self.mean(b).total_cmp(&self.mean(a)))
        });
        order
    }

    /// A step's rank is its place among its siblings by visits.
    fn note_places(&self, board: &mut Board) {
        for node in self.nodes.values() {
            for (rank, id) in self.by_visits(node.children.as_deref().unwrap_or_default()).into_iter().enumerate() {
                board.ledger.get_mut(id).rank = Some(rank as u32);
            }
        }
    }
}

/// Where a step stands among all, as a part of its continuations' seeds: walks meet many steps of one depth.
fn place(parent: Option<u32>) -> u32 {
    parent.map_or(0, |id| id + 1)
}

fn first_of_highest(ids: &[u32], value: impl Fn(u32) -> f64) -> Option<u32> {
    let mut best: Option<(u32, f64)> = None;
    for id in ids {
        let value = value(*id);
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((*id, value));
        }
    }
    best.map(|(id, _)| id)
}
