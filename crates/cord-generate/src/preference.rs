//! From ledgers to rows that teach a preference: pairs of a beam's winners and losers, and steps with labels. The fields are
//! those of TRL's preference and stepwise supervision formats.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Candidate, Fate, Message, Problem, ProblemId, StepKind};
use serde::{Deserialize, Serialize};

use crate::PromptTemplate;
use crate::reselect::with_prefixes;

/// The candidates of each problem, in the order of their numbers.
pub type Ledgers = BTreeMap<ProblemId, Vec<Candidate>>;

/// Which candidates count as winners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Winners {
    /// Those that were kept when they were ranked.
    #[default]
    Kept,
    /// Those that are part of a final trajectory.
    Chosen,
}

impl Winners {
    fn holds(self, candidate: &Candidate) -> bool {
        match self {
            Self::Kept => matches!(candidate.fate, Fate::Kept | Fate::Chosen),
            Self::Chosen => candidate.fate == Fate::Chosen,
        }
    }
}

/// How pairs are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PairSettings {
    /// Which candidates win.
    pub winners: Winners,
    /// The least difference between the winner's score and the loser's.
    pub margin: f64,
    /// Only so many pairs of each problem, those that differ most, the earlier of equals; all where absent.
    pub per_problem: Option<u32>,
}

impl Default for PairSettings {
    /// All that were kept against all that were dropped, by a tenth of predictive perplexity's range or more.
    fn default() -> Self {
        Self { winners: Winners::default(), margin: 0.1, per_problem: None }
    }
}

/// A winner and a loser after the same text.
///
/// The turns that are chosen and rejected hold all of the assistant's text so far, opened by `<think>` and a line break: the
/// shared part is [`PreferenceRow::shared`] characters long and weighs the same on both sides. A step that does not end the
/// response is followed by no end of turn, which a trainer must be told not to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreferenceRow {
    /// The problem's name, the shared parent and the two candidates: `problem/parent/chosen/rejected`.
    pub id: String,
    /// The user's turn.
    pub prompt: Vec<Message>,
    /// The assistant's turn with the winner.
    pub chosen: Vec<Message>,
    /// The assistant's turn with the loser.
    pub rejected: Vec<Message>,
    /// How many characters of the assistant's turns are the same text before the two candidates.
    pub shared: usize,
    /// The difference of their scores.
    pub margin: f64,
    /// Who wrote the winner.
    pub chosen_teacher: String,
    /// Who wrote the loser.
    pub rejected_teacher: String,
}

/// Steps with a label each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepwiseRow {
    /// The problem's name and the last candidate: `problem/candidate`.
    pub id: String,
    /// The user's turn.
    pub prompt: String,
    /// The reasoning's steps, which concatenate to the reasoning up to and with the last of them.
    pub completions: Vec<String>,
    /// For each step, whether it is a good one.
    pub labels: Vec<bool>,
}

/// What makes a step a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// It was kept when it was ranked.
    #[default]
    Kept,
    /// Its score is at least this.
    Score(f64),
}

/// Pairs of all problems, in the order of their names, winners and losers in the order of the ledger. Two wholes that were
/// ranked together are siblings like two steps.
pub fn preference_pairs(
    problems: &[Problem],
    ledgers: &Ledgers,
    prompt: &PromptTemplate,
    settings: PairSettings,
) -> Vec<PreferenceRow> {
    let mut all = Vec::new();
    for (problem, candidates) in matched(problems, ledgers) {
        let mut rows = Vec::new();
        let mut families: BTreeMap<Option<u32>, Vec<(&str, &Candidate)>> = BTreeMap::new();
        let candidates = with_prefixes(candidates);
        for (prefix, one) in candidates.iter().filter(|(_, one)| one.kind != StepKind::Answer) {
            families.entry(one.parent).or_default().push((prefix, one));
        }
        for (parent, family) in &families {
            let winners = family.iter().filter(|(_, one)| settings.winners.holds(one));
            for ((prefix, winner), loser) in winners.flat_map(|winner| family.iter().map(move |(_, one)| (winner, one)))
            {
                let (Fate::Dropped, Some(high), Some(low)) = (loser.fate, winner.score, loser.score) else { continue };
                if high - low < settings.margin || winner.kind != loser.kind {
                    continue;
                }
                let said = format!("<think>\n{prefix}");
                let turn = |one: &Candidate| vec![Message::assistant(format!("{said}{}", one.text))];
                let parent = parent.map_or_else(|| "start".to_owned(), |parent| parent.to_string());
                rows.push(PreferenceRow {
                    id: format!("{}/{parent}/{}/{}", problem.id, winner.id, loser.id),
                    prompt: prompt.messages(problem),
                    chosen: turn(winner),
                    rejected: turn(loser),
                    shared: said.chars().count(),
                    margin: high - low,
                    chosen_teacher: winner.teacher.clone(),
                    rejected_teacher: loser.teacher.clone(),
                });
            }
        }
        all.extend(strongest(rows, settings.per_problem));
    }
    all
}

/// The rows that differ most, in the order that they had.
fn strongest(rows: Vec<PreferenceRow>, most: Option<u32>) -> Vec<PreferenceRow> {
    let most = most.map_or(rows.len(), |most| most as usize);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| rows[*b].margin.total_cmp(&rows[*a].margin));
    let kept: BTreeSet<usize> = order.into_iter().take(most).collect();
    rows.into_iter().enumerate().filter(|(place, _)| kept.contains(place)).map(|(_, row)| row).collect()
}

/// Labelled steps of all problems: one row for each path through a ledger's steps from the start to a step that nothing
/// continues. Duplicates, blank steps and what has no score are left out, and so are whole responses, which have no steps
/// of their own.
pub fn stepwise_rows(
    problems: &[Problem],
    ledgers: &Ledgers,
    prompt: &PromptTemplate,
    label: Label,
) -> Vec<StepwiseRow> {
    let mut rows = Vec::new();
    for (problem, candidates) in matched(problems, ledgers) {
        let usable =
            |one: &&Candidate| one.kind == StepKind::Reasoning && one.score.is_some() && one.fate != Fate::Duplicate;
        let steps: BTreeMap<u32, &Candidate> = candidates.iter().filter(usable).map(|one| (one.id, one)).collect();
        let parents: BTreeSet<u32> = steps.values().filter_map(|one| one.parent).collect();
        for last in steps.values().filter(|one| !parents.contains(&one.id)) {
            let up = |one: &&Candidate| one.parent.and_then(|parent| steps.get(&parent).copied());
            let mut path: Vec<&Candidate> = std::iter::successors(Some(*last), up).collect();
            path.reverse();
            let is_good = |one: &&Candidate| match label {
                Label::Kept => Winners::Kept.holds(one),
                Label::Score(least) => one.score.is_some_and(|score| score >= least),
            };
            let turn = prompt.messages(problem).pop().map(|turn| turn.content).unwrap_or_default();
            rows.push(StepwiseRow {
                id: format!("{}/{}", problem.id, last.id),
                prompt: turn,
                completions: path.iter().map(|one| one.text.clone()).collect(),
                labels: path.iter().map(is_good).collect(),
            });
        }
    }
    rows
}

/// Each ledger with its problem; what is for no given problem is left out.
fn matched<'a>(problems: &'a [Problem], ledgers: &'a Ledgers) -> Vec<(&'a Problem, &'a [Candidate])> {
    let problems: BTreeMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let of = |(id, candidates): (&ProblemId, &'a Vec<Candidate>)| {
        problems.get(id.as_str()).map(|problem| (*problem, candidates.as_slice()))
    };
    ledgers.iter().filter_map(of).collect()
}
