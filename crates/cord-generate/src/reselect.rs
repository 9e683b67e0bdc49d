//! Re-selection: another criterion, another search or fewer teachers, on the candidates of an earlier search, without
//! new generation.
//!
//! The search is run as ever, except that its requests to teachers are answered from the ledger: by the candidate that the
//! same teacher wrote, as the same sample, after the same text. Where the ledger has none the re-selection
//! ends, and says what would have to be generated. The first step is always covered by a beam's ledger; how far the rest is
//! depends on how alike the two criteria are. The answer to reasoning that was not chosen before was never written, so a new
//! winner ends in a [`Gap`] whose prefix is the reasoning that won.
//!
//! Under the settings, scorer and seed of the ledger the result is the earlier one. Under others it equals a fresh run
//! wherever teachers write the same after the same text; a teacher that draws would have drawn by another seed where its
//! beam stands in another place, and the recorded draw, which is of the same distribution, stands for that one. Under
//! [`Draws::ByPrefix`](crate::Draws) there is no other seed, and the result is the fresh run's.
//!
//! Not covered: the ledger does not hold how sure a writer was, so no scorer that [looks at it](crate::Evidence::Writing)
//! can judge anew.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;

use cord_core::{BoxFuture, Candidate, Problem, ProblemId, Seed, StepKind, Usage};
use futures::StreamExt;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::ledger::reasoning_part;
use crate::{
    Action, GenerateError, Judged, Ledgers, Reply, Scope, Score, Scorer, Search, SearchPlan, SearchResult,
    SearchSettings,
};

/// What came of a re-selection.
#[derive(Clone, Debug, PartialEq)]
pub enum Reselection {
    /// The ledger held all that the search asked for.
    Covered(Box<SearchResult>),
    /// It did not: these would have to be generated before the search could go on, in the order of its requests.
    Ends(Vec<Gap>),
}

/// A candidate that is not in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gap {
    /// How many steps stand before it.
    pub depth: u32,
    /// Who would have to write it.
    pub teacher: String,
    /// Which of the teacher's proposals it would be.
    pub sample: u32,
    /// What it would be a part of.
    pub kind: StepKind,
    /// The text that it would continue.
    pub prefix: String,
    /// The last recorded candidate of that text; absent at the start.
    pub parent: Option<u32>,
}

/// The ledger of one problem, by what each candidate continues.
struct Recording<'a> {
    /// By the text before it, its teacher, its kind and its sample.
    candidates: BTreeMap<(String, &'a str, u8, u32), &'a Candidate>,
    /// Candidates by the text that ends with them.
    ends: BTreeMap<String, u32>,
}

impl<'a> Recording<'a> {
    fn of(candidates: &'a [Candidate]) -> Self {
        let mut recording = Self { candidates: BTreeMap::new(), ends: BTreeMap::new() };
        for (prefix, one) in with_prefixes(candidates) {
            let text = format!("{prefix}{}", one.text);
            recording.ends.entry(text).or_insert(one.id);
            let key = (prefix, one.teacher.as_str(), order(one.kind), one.sample);
            recording.candidates.entry(key).or_insert(one);
        }
        recording
    }

    /// How many whole responses others than `teacher` wrote from the start.
    fn sources(&self, teacher: &str) -> usize {
        let source = |one: &&&Candidate| one.kind == StepKind::Whole && one.parent.is_none() && one.teacher != teacher;
        self.candidates.values().filter(source).count()
    }
}

/// Every candidate with the text before it. A parent's number is below its children's.
pub(crate) fn with_prefixes(candidates: &[Candidate]) -> Vec<(String, &Candidate)> {
    let mut texts: BTreeMap<u32, String> = BTreeMap::new();
    let mut all = Vec::new();
    for one in candidates {
        let prefix = one.parent.and_then(|parent| texts.get(&parent).cloned()).unwrap_or_default();
        texts.insert(one.id, format!("{prefix}{}", one.text));
        all.push((prefix, one));
    }
    all
}

pub(crate) fn order(kind: StepKind) -> u8 {
    match kind {
        StepKind::Reasoning => 0,
        StepKind::Answer => 1,
        StepKind::Whole => 2,
    }
}

/// Searches again among the candidates of an earlier search for the problem, in the order of their numbers. `plan` has
/// the new settings and teachers and was made for `scorer`; its segmenter, prompt and budgets must be the ledger's, for
/// candidates are taken as they were read then. `seed` is the recipe's.
pub async fn reselect(
    problem: &Problem,
    candidates: &[Candidate],
    plan: &Arc<SearchPlan>,
    scorer: &dyn Scorer,
    seed: Seed,
) -> Result<Reselection, GenerateError> {
    let recording = Recording::of(candidates);
    let mut search = Search::new(problem, Arc::clone(plan), seed.named("generate"));
    let (mut gaps, mut tasks) = (Vec::new(), Vec::new());
    loop {
        match search.next_action() {
            Action::Generate(task) => {
                let asked = search.asked(task.ticket).expect("a request that was just given out is open");
                let teacher = plan.teachers()[asked.teacher].as_str();
                let key = (asked.prefix.to_owned(), teacher, order(asked.kind), asked.sample);
                // What was merged of other texts is another text.
                let other_sources = asked.merges && sources(plan) != recording.sources(teacher);
                match recording.candidates.get(&key) {
                    Some(recorded) if !other_sources => search.restore(task.ticket, recorded)?,
                    _ => gaps.push(Gap {
                        depth: asked.depth,
                        teacher: teacher.to_owned(),
                        sample: asked.sample,
                        kind: asked.kind,
                        prefix: asked.prefix.to_owned(),
                        parent: recording.ends.get(asked.prefix).copied().filter(|_| !asked.prefix.is_empty()),
                    }),
                }
            }
            Action::Score(task) => tasks.push(task),
            Action::Wait if tasks.is_empty() => return Ok(Reselection::Ends(gaps)),
            Action::Wait => {
                // Where the search can't go on in any case, its candidates are not worth asking a prover about.
                if !gaps.is_empty() {
                    return Ok(Reselection::Ends(gaps));
                }
                let judge = |task: crate::ScoreTask| async move {
                    match scorer.score(problem, &task.candidates).await {
                        Ok(scores) => Reply::Scored { ticket: task.ticket, scores },
                        Err(error) => Reply::Failed { ticket: task.ticket, error },
                    }
                };
                for reply in join_all(std::mem::take(&mut tasks).into_iter().map(judge)).await {
                    search.accept(reply)?;
                }
            }
            Action::Done => {
                let result = search.into_result().expect("a search that is done has a result");
                return Ok(Reselection::Covered(Box::new(result)));
            }
        }
    }
}

/// What came of re-selections for many problems, in the order of the problems.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reselections {
    /// What the ledgers covered.
    pub covered: Vec<SearchResult>,
    /// Where they ended, for each other problem.
    pub gaps: Vec<(ProblemId, Vec<Gap>)>,
    /// Problems that failed, with the reason: no score was recorded, a scorer refused.
    pub failed: Vec<(ProblemId, String)>,
}

/// Searches again for every problem that has a ledger, `at_once` of them side by side. A problem's failure ends none but its
/// own search. `ended` is told of each problem that is done.
pub async fn reselect_all(
    problems: &[Problem],
    ledgers: &Ledgers,
    plan: &Arc<SearchPlan>,
    scorer: &dyn Scorer,
    seed: Seed,
    at_once: NonZeroUsize,
    ended: &(dyn Fn() + Sync),
) -> Reselections {
    let with_ledgers = problems.iter().filter_map(|problem| Some((problem, ledgers.get(&problem.id)?)));
    let searches = with_ledgers.map(|(problem, candidates)| async move {
        (problem.id.clone(), reselect(problem, candidates, plan, scorer, seed).await)
    });
    let mut found = Reselections::default();
    let mut searches = pin!(futures::stream::iter(searches).buffered(at_once.get()));
    while let Some((problem, outcome)) = searches.next().await {
        match outcome {
            Ok(Reselection::Covered(result)) => found.covered.push(*result),
            Ok(Reselection::Ends(gaps)) => found.gaps.push((problem, gaps)),
            Err(error) => found.failed.push((problem, error.reason())),
        }
        ended();
    }
    found
}

fn sources(plan: &SearchPlan) -> usize {
    match &plan.settings().search {
        SearchSettings::Integration(integration) => integration.trajectories as usize,
        _ => 0,
    }
}

/// The scores that ledgers hold, as a scorer: with it another search, or fewer teachers, can be tried with no model at all.
pub struct RecordedScores {
    name: String,
    /// By problem, reasoning before the candidate, and the candidate.
    scores: BTreeMap<(ProblemId, String, String), Score>,
}

impl RecordedScores {
    /// The scores of these ledgers; `name` is that of the scorer that gave them.
    pub fn new(name: impl Into<String>, ledgers: &Ledgers) -> Self {
        let mut scores: BTreeMap<_, Score> = BTreeMap::new();
        for (problem, candidates) in ledgers {
            for (prefix, one) in with_prefixes(candidates) {
                let Some(value) = one.score else { continue };
                let step = if one.kind == StepKind::Whole { reasoning_part(&one.text) } else { &one.text };
                let cost = Usage { scored_tokens: one.usage.scored_tokens, ..Usage::default() };
                let known = scores.entry((problem.clone(), prefix, step.to_owned()));
                // Of equal candidates one was charged.
                known.or_insert(Score { value: Some(value), usage: Usage::default() }).usage += cost;
            }
        }
        Self { name: name.into(), scores }
    }
}

impl Scorer for RecordedScores {
    fn name(&self) -> &str {
        &self.name
    }

    fn scope(&self) -> Scope {
        Scope::Each
    }

    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        let find = |one: &Judged| {
            let key = (problem.id.clone(), one.prefix.clone(), one.step.clone());
            let fault = || GenerateError::NotRecorded { scorer: self.name.clone(), step: one.step.clone() };
            self.scores.get(&key).copied().ok_or_else(fault)
        };
        Box::pin(async move { candidates.iter().map(find).collect() })
    }
}
