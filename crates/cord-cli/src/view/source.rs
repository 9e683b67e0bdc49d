//! What an arm made of the problems of a data set: short entries of all, and one problem's texts when they are asked for.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cord_core::{Candidate, Finish, Problem, Trajectory, TrajectoryEnd, Usage};
use cord_eval::{Collaboration, judge_trajectory};
use cord_math::{DEFAULT_FUEL, Rules, Start, Verdict, find};
use cord_report::view::{CandidateView, Entry, ProblemPage, SampleView, State, TrajectoryView};
use cord_store::{ByProblem, LedgerRow, SampleRow, StageFolder};

use super::teachers::Teachers;

/// A finished stage with responses.
pub(super) enum Source {
    /// Trajectories and their ledger.
    Generated {
        trajectories: ByProblem<Trajectory>,
        candidates: ByProblem<LedgerRow>,
        failed: BTreeMap<String, String>,
    },
    /// Samples of an evaluation.
    Sampled { samples: ByProblem<SampleRow>, failed: BTreeMap<String, String> },
}

impl Source {
    pub(super) fn generated(folder: &StageFolder) -> Result<Self> {
        Ok(Self::Generated {
            trajectories: ByProblem::trajectories(&folder.file("trajectories.parquet"))?,
            candidates: ByProblem::candidates(&folder.file("candidates.parquet"))?,
            failed: failed(folder),
        })
    }

    pub(super) fn sampled(folder: &StageFolder) -> Result<Self> {
        Ok(Self::Sampled { samples: ByProblem::samples(&folder.file("samples.parquet"))?, failed: failed(folder) })
    }

    /// An entry for each problem that it holds, and who wrote what part of the best trajectories.
    pub(super) fn entries(
        &self,
        problems: &BTreeMap<&str, &Problem>,
        teachers: &mut Teachers,
    ) -> Result<(BTreeMap<String, Entry>, Collaboration)> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut collaboration = Collaboration::default();
        match self {
            Self::Generated { trajectories, candidates, failed } => {
                for (problem, count) in candidates.problems() {
                    entries.insert(problem.to_owned(), Entry { candidates: count, ..Entry::default() });
                }
                trajectories.each::<anyhow::Error>(&mut |some| {
                    for one in some {
                        let problem =
                            *problems.get(one.problem.as_str()).context("a trajectory's problem is its stage's")?;
                        let entry = entries.entry(one.problem.clone()).or_default();
                        entry.states.push(trajectory_state(problem, &one).0);
                        if one.index == 0 {
                            entry.score = one.score;
                            entry.tokens = one.usage.generated_tokens;
                            entry.writers = one.steps.iter().map(|step| teachers.place(&step.teacher)).collect();
                            collaboration.add(&one);
                        }
                    }
                    Ok(())
                })?;
                add_failed(&mut entries, failed);
            }
            Self::Sampled { samples, failed } => {
                samples.each::<anyhow::Error>(&mut |some| {
                    for one in some {
                        let entry = entries.entry(one.problem.clone()).or_default();
                        entry.tokens += one.usage.generated_tokens;
                        entry.states.push(sample_state(&one));
                    }
                    Ok(())
                })?;
                add_failed(&mut entries, failed);
            }
        }
        Ok((entries, collaboration))
    }

    /// All that it holds of a problem.
    pub(super) fn page(&self, problem: &Problem, teachers: &Teachers) -> Result<ProblemPage> {
        let mut page = ProblemPage {
            question: problem.question.clone(),
            answer: problem.answer.clone(),
            metadata: problem.metadata.clone(),
            ..ProblemPage::default()
        };
        match self {
            Self::Generated { trajectories, candidates, .. } => {
                let found = trajectories.rows(&problem.id)?;
                page.trajectories = found.iter().map(|one| trajectory_view(problem, one)).collect();
                let rows = candidates.rows(&problem.id)?;
                page.candidates =
                    rows.into_iter().map(|row| candidate_view(row.candidate, teachers)).collect::<Result<_>>()?;
            }
            Self::Sampled { samples, .. } => {
                page.samples = samples.rows(&problem.id)?.into_iter().map(sample_view).collect();
            }
        }
        Ok(page)
    }
}

/// The failed items of a stage, with their reasons.
fn failed(folder: &StageFolder) -> BTreeMap<String, String> {
    let failed = folder.manifest().summary["failed"].clone();
    serde_json::from_value::<Vec<(String, String)>>(failed).unwrap_or_default().into_iter().collect()
}

fn add_failed(entries: &mut BTreeMap<String, Entry>, failed: &BTreeMap<String, String>) {
    for (problem, reason) in failed {
        let entry = entries.entry(problem.clone()).or_default();
        // Of several samples some may be there.
        if entry.states.is_empty() {
            entry.failed = Some(reason.clone());
        }
    }
}

fn trajectory_state(problem: &Problem, trajectory: &Trajectory) -> (State, Option<u32>) {
    let judged = judge_trajectory(problem, trajectory, DEFAULT_FUEL);
    let state = match (trajectory.end, &judged.answer) {
        (TrajectoryEnd::ReasoningTruncated | TrajectoryEnd::AnswerTruncated, _) => State::Truncated,
        (TrajectoryEnd::Unclosed, _) => State::Unclosed,
        (TrajectoryEnd::Complete, Verdict::Correct { .. }) => State::Right,
        (TrajectoryEnd::Complete, Verdict::Incorrect { .. }) => State::Wrong,
        (TrajectoryEnd::Complete, Verdict::Unparsed { .. }) => State::Unparsed,
        (TrajectoryEnd::Complete, Verdict::OutOfFuel) => State::OutOfFuel,
    };
    (state, judged.first_wrong_step)
}

fn trajectory_view(problem: &Problem, trajectory: &Trajectory) -> TrajectoryView {
    let (state, first_wrong_step) = trajectory_state(problem, trajectory);
    let found = find(&trajectory.response, Start::Thinking, Rules::default(), cord_math::Language::default());
    TrajectoryView {
        end: trajectory.end,
        state,
        score: trajectory.score,
        given: found.ok().and_then(|found| found.into_iter().next()).map(|found| found.answer),
        first_wrong_step,
        path: trajectory.steps.iter().map(|step| step.candidate).collect(),
    }
}

fn candidate_view(candidate: Candidate, teachers: &Teachers) -> Result<CandidateView> {
    Ok(CandidateView {
        id: candidate.id,
        parent: candidate.parent,
        depth: candidate.depth,
        teacher: teachers.known(&candidate.teacher)?,
        kind: candidate.kind,
        text: candidate.text,
        cut: 0,
        finish: match candidate.finish {
            Finish::Eos => "eos",
            Finish::Delimiter(_) => "delimiter",
            Finish::Length => "length",
        },
        score: candidate.score,
        rank: candidate.rank,
        fate: candidate.fate,
        cost: cost(candidate.usage),
    })
}

fn sample_state(sample: &SampleRow) -> State {
    match sample.verdict.as_str() {
        "correct" => State::Right,
        "truncated" => State::Truncated,
        "unclosed-think" => State::Unclosed,
        "unparsed" => State::Unparsed,
        "out-of-fuel" => State::OutOfFuel,
        _ => State::Wrong,
    }
}

fn sample_view(sample: SampleRow) -> SampleView {
    SampleView {
        state: sample_state(&sample),
        reason: sample.reason,
        given: sample.extracted,
        text: sample.response,
        cut: 0,
        marks: sample.marks,
        cost: cost(sample.usage),
    }
}

fn cost(usage: Usage) -> (u64, u64, u64) {
    (usage.prompt_tokens, usage.generated_tokens, usage.scored_tokens)
}
