//! The page of `cord view`: what it is given, and how it is put together.
//!
//! The caller reads a run's folder and fills these values; nothing is computed again here. An [`Overview`] is all that
//! the page needs at once: tables, curves, and one short entry for each problem under each arm. The texts of a problem
//! are a [`ProblemPage`], which the page asks for when a reader opens it: from the server, or from the data that stands
//! in a static file ([`StaticPage`]).

mod page;
mod results;

use std::collections::BTreeMap;

use cord_core::{Fate, StepKind, TrajectoryEnd};
use serde::{Serialize, Serializer};

use crate::collaboration::ArmShares;

pub use page::{Served, StaticPage, served_page};
pub use results::ResultTable;

/// All that the page shows but the texts of problems.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The page's heading: the run's name, or the names of several.
    pub title: String,
    /// The runs, in the order in which they were named.
    pub runs: Vec<ViewedRun>,
    /// The teachers' names. Elsewhere they are named by their place here, which is also their colour's.
    pub teachers: Vec<String>,
    /// The runs' tables.
    pub tables: Vec<ResultTable>,
    /// Who wrote what part of the best trajectories.
    pub shares: Vec<ArmShares>,
    /// What trainings saw of themselves.
    pub curves: Vec<Curve>,
    /// The problems, by data set.
    pub collections: Vec<Collection>,
    /// What a reader must know of this page: what is missing, what was cut.
    pub notes: Vec<String>,
    /// Changes when a run goes on, so that a page knows that what it holds is old.
    pub version: String,
}

/// A run and its stages.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewedRun {
    /// Its name.
    pub name: String,
    /// The folder of its results.
    pub folder: String,
    /// The first digits of its recipe's digest, where a table says it.
    pub recipe: Option<String>,
    /// The commit that its table was made by.
    pub commit: Option<String>,
    /// The machine that its table was made on.
    pub machine: Option<String>,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// A stage of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Its kind.
    pub kind: String,
    /// What it is about.
    pub label: String,
    /// The name of its folder.
    pub folder: String,
    /// How far it is.
    pub state: StageState,
    /// How far in words, where it is not finished: `12 of 48 problems`.
    pub progress: Option<String>,
    /// Seconds of work, where they are known.
    pub seconds: Option<f64>,
    /// Tokens that its models generated.
    pub generated: Option<u64>,
    /// Tokens whose likelihood its models gave.
    pub scored: Option<u64>,
    /// Items that failed.
    pub failed: u64,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageState {
    /// Finished.
    Done,
    /// Begun and not finished.
    Begun,
    /// Not begun.
    ToRun,
}

/// A training's curve.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Curve {
    /// What was trained.
    pub label: String,
    /// Is the training over?
    pub finished: bool,
    /// Steps, from 1.
    pub step: Vec<u64>,
    /// The loss of each, nats.
    pub loss: Vec<f64>,
    /// Steps after which the loss on held-out examples was measured, with that loss.
    pub validation: Vec<(u64, f64)>,
    /// The learning rate of each step; empty where it was not noted.
    pub learning_rate: Vec<f64>,
    /// The gradient's norm before clipping at each step; empty where it was not noted.
    pub gradient_norm: Vec<f64>,
    /// Tokens a second at each step; empty where they were not noted.
    pub tokens_per_second: Vec<f64>,
}

/// Problems of a data set and what arms made of them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// The data set's name.
    pub name: String,
    /// Its problems.
    pub problems: Vec<ProblemLine>,
    /// Who worked on them.
    pub arms: Vec<CollectionArm>,
}

/// A problem in the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemLine {
    /// Its name.
    pub id: String,
    /// How its text begins.
    pub question: String,
    /// The gold answer.
    pub answer: String,
}

/// An arm in a collection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionArm {
    /// Its name, with what tells it from others: the seed, the run.
    pub label: String,
    /// Are its entries trajectories that a search found, or samples of a model?
    pub kind: ArmKind,
    /// How it was made, in a few words: the search, the scorer.
    pub note: String,
    /// Does a higher score mean more, from 0 to 1? Then scores are drawn as bars of that length.
    pub unit_score: bool,
    /// One for each problem of the collection, in order; nothing where the arm has not seen it.
    pub entries: Vec<Option<Entry>>,
}

/// What an arm's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmKind {
    /// Trajectories, with the ledger of their search.
    Trajectories,
    /// A model's answers to a benchmark.
    Samples,
}

/// What a response counts as. Truncation goes before everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Ended by itself with the gold answer.
    Right,
    /// Ended by itself with another answer.
    Wrong,
    /// A budget ran out.
    Truncated,
    /// Ended by itself inside its reasoning block.
    Unclosed,
    /// No answer could be read.
    Unparsed,
    /// The comparison ran out of fuel.
    OutOfFuel,
}

/// What an arm made of a problem, in the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The states of its trajectories, best first, or of its samples.
    pub states: Vec<State>,
    /// The best trajectory's score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The teachers of the best trajectory's steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writers: Vec<usize>,
    /// Tokens generated for it: by the whole search, or for all samples.
    pub tokens: u64,
    /// Candidates in the ledger.
    #[serde(skip_serializing_if = "is_zero")]
    pub candidates: usize,
    /// Why there is nothing, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// All that one arm made of one problem.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemPage {
    /// The problem's whole text.
    pub question: String,
    /// The gold answer.
    pub answer: String,
    /// What else the data set says of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// The trajectories, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trajectories: Vec<TrajectoryView>,
    /// Every candidate of the search, in the ledger's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<CandidateView>,
    /// The samples, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<SampleView>,
}

/// A finished trajectory.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrajectoryView {
    /// How it ended.
    pub end: TrajectoryEnd,
    /// What it counts as.
    pub state: State,
    /// Its score, where the search has one.
    pub score: Option<f64>,
    /// The answer that was read, where there is one.
    pub given: Option<String>,
    /// The first step that is wrong or missing, from 0, where the data set knows the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_wrong_step: Option<u32>,
    /// The candidates that it is made of.
    pub path: Vec<u32>,
}

/// A candidate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateView {
    /// Its number in the problem's ledger.
    pub id: u32,
    /// The candidate that it continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// How many steps stand before it.
    pub depth: u32,
    /// Its teacher's place in [`Overview::teachers`].
    pub teacher: usize,
    /// What it is a part of.
    pub kind: StepKind,
    /// Its text, or how that begins.
    pub text: String,
    /// Characters of the text that were left out of a static file.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut: usize,
    /// Why its generation ended: `eos`, `delimiter`, `length`.
    pub finish: &'static str,
    /// The scorer's value.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "short")]
    pub score: Option<f64>,
    /// Its place among its siblings, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// What became of it.
    pub fate: Fate,
    /// Tokens of the prompt, tokens generated, tokens scored.
    pub cost: (u64, u64, u64),
}

/// A score in as many digits as anyone reads: a page has thousands.
#[expect(clippy::ref_option, reason = "serde gives a reference")]
fn short<S: Serializer>(score: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match score {
        // By way of its digits, so that the shortest ones are written.
        Some(score) => serializer.serialize_f64(format!("{score:.6}").parse().unwrap_or(*score)),
        None => serializer.serialize_none(),
    }
}

/// A model's answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleView {
    /// What it counts as.
    pub state: State,
    /// What the verifier adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The answer that was read.
    pub given: Option<String>,
    /// The response.
    pub text: String,
    /// Characters of the response that were left out of a static file.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut: usize,
    /// The verifier's further measures.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, f64>,
    /// Tokens of the prompt, tokens generated, tokens scored.
    pub cost: (u64, u64, u64),
}

impl ProblemPage {
    /// Cuts the texts of what was not chosen, and of samples, to their first `most` characters.
    pub fn cut_lost_texts(&mut self, most: usize) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.fate != Fate::Chosen) {
            candidate.cut = cut(&mut candidate.text, most);
        }
        for sample in &mut self.samples {
            sample.cut = cut(&mut sample.text, most);
        }
    }
}

/// Cuts a text; gives the number of characters that went.
fn cut(text: &mut String, most: usize) -> usize {
    let Some((end, _)) = text.char_indices().nth(most) else { return 0 };
    let gone = text[end..].chars().count();
    text.truncate(end);
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_chosen_is_cut_between_characters() {
        let candidate = |fate, text: &str| CandidateView {
            id: 0,
            parent: None,
            depth: 0,
            teacher: 0,
            kind: StepKind::Reasoning,
            text: text.into(),
            cut: 0,
            finish: "eos",
            score: Some(0.123_456_789),
            rank: None,
            fate,
            cost: (0, 0, 0),
        };
        let mut page = ProblemPage {
            candidates: vec![
                candidate(Fate::Chosen, "äöüß"),
                candidate(Fate::Kept, "äöüß"),
                candidate(Fate::Kept, "ä"),
            ],
            ..ProblemPage::default()
        };
        page.cut_lost_texts(3);
        let texts: Vec<(&str, usize)> = page.candidates.iter().map(|one| (one.text.as_str(), one.cut)).collect();
        assert_eq!(texts, [("äöüß", 0), ("äöü", 1), ("ä", 0)]);
        let json = serde_json::to_value(&page).unwrap();
        assert_eq!(json["candidates"][1]["score"], 0.123_457);
    }
}
