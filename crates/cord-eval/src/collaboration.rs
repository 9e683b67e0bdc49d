//! Who writes what part of a trajectory: the paper's figures 2 and 5.
//!
//! The reasoning of a trajectory of T steps is laid out on [0, 1], each step over 1/T of it. A teacher's share of a part of
//! the progress is how much of that part its steps cover, so the shares of all teachers sum to 1 for every problem, and a
//! trajectory of three steps counts as much as one of eight. The unit of chance is the problem, as everywhere.
//!
//! Not covered: responses written whole have no steps and no progress.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Seed, StepKind, Trajectory};
use serde::{Deserialize, Serialize};

use crate::error::StatsError;
use crate::interval::{Estimate, Range, mean};
use crate::paired::{PairedDifference, paired_difference};
use crate::scores::Scores;

/// Into how many equal parts a trajectory's progress is cut.
pub const PROGRESS_PARTS: usize = 10;

/// How far the beginning reaches: the paper's figure 2 speaks of up to 40 %.
const EARLY: (f64, f64) = (0.0, 0.4);
/// Where the end begins: the paper's figure 2 speaks of 80 % and more.
const LATE: (f64, f64) = (0.8, 1.0);

/// The shares of teachers in the best trajectories of one seed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collaboration {
    /// For each problem, the teachers of its steps, in order.
    writers: BTreeMap<String, Vec<String>>,
}

/// A teacher's shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TeacherShare {
    /// The teacher's name.
    pub teacher: String,
    /// Over the whole trajectory.
    pub whole: Estimate,
    /// In each of [`PROGRESS_PARTS`] equal parts of the progress, in order.
    pub parts: Vec<Estimate>,
    /// In the last fifth of the progress minus in the first two fifths, on the same trajectories.
    pub late_minus_early: PairedDifference,
}

impl Collaboration {
    /// Adds the best trajectory of a problem. One without steps of reasoning is left out.
    pub fn add(&mut self, trajectory: &Trajectory) {
        let steps = trajectory.steps.iter().filter(|step| step.kind == StepKind::Reasoning);
        let writers: Vec<String> = steps.map(|step| step.teacher.clone()).collect();
        if !writers.is_empty() {
            self.writers.insert(trajectory.problem.clone(), writers);
        }
    }

    /// The teachers that wrote anything.
    pub fn teachers(&self) -> BTreeSet<&str> {
        self.writers.values().flatten().map(String::as_str).collect()
    }

    /// For each problem, the teacher's share of the whole trajectory.
    pub fn shares(&self, teacher: &str) -> Scores {
        self.shares_of(teacher, (0.0, 1.0))
    }

    fn shares_of(&self, teacher: &str, part: (f64, f64)) -> Scores {
        self.writers.iter().map(|(problem, writers)| (problem.as_str(), share(writers, teacher, part))).collect()
    }
}

/// The shares of `teachers` over the seeds of an arm, in the given order.
///
/// # Errors
/// Where fewer than two problems have a trajectory with steps.
pub fn teacher_shares(seeds: &[Collaboration], teachers: &[String]) -> Result<Vec<TeacherShare>, StatsError> {
    let of = |teacher: &String| {
        let replicates = |part| seeds.iter().map(|seed| seed.shares_of(teacher, part)).collect::<Vec<Scores>>();
        let part = |place: usize| {
            let bound = |place: usize| place as f64 / PROGRESS_PARTS as f64;
            mean(&replicates((bound(place), bound(place + 1))), Range::Unit)
        };
        let seed = Seed::root(0).named("collaboration").named(teacher);
        Ok(TeacherShare {
            teacher: teacher.clone(),
            whole: mean(&replicates((0.0, 1.0)), Range::Unit)?,
            parts: (0..PROGRESS_PARTS).map(part).collect::<Result<_, _>>()?,
            late_minus_early: paired_difference(&replicates(LATE), &replicates(EARLY), seed)?,
        })
    };
    teachers.iter().map(of).collect()
}

/// How much of a part of the progress a teacher's steps cover, from 0 to 1.
fn share(writers: &[String], teacher: &str, (from, to): (f64, f64)) -> f64 {
    let width = 1.0 / writers.len() as f64;
    let covered = writers.iter().enumerate().filter(|(_, writer)| *writer == teacher).map(|(place, _)| {
        let begin = place as f64 * width;
        ((begin + width).min(to) - begin.max(from)).max(0.0)
    });
    // From 0, for the sum of nothing is -0. Sums of thirds may end a bit above 1.
    (covered.fold(0.0, |sum, one| sum + one) / (to - from)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use cord_core::{Step, TrajectoryEnd, Usage};
    use proptest::prelude::*;

    use super::*;

    fn trajectory(problem: &str, writers: &str) -> Trajectory {
        let step = |(place, writer): (usize, char)| Step {
            candidate: place as u32,
            teacher: writer.to_string(),
            kind: if writer == '!' { StepKind::Answer } else { StepKind::Reasoning },
            text: String::new(),
            score: None,
        };
        Trajectory {
            problem: problem.into(),
            index: 0,
            steps: writers.chars().enumerate().map(step).collect(),
            response: String::new(),
            end: TrajectoryEnd::Complete,
            score: None,
            usage: Usage::default(),
        }
    }

    #[test]
    fn shares_follow_progress_and_not_the_number_of_steps() {
        let mut seed = Collaboration::default();
        // An answer is no step, and a response without steps is no trajectory with progress.
        for (problem, writers) in [("p", "aab!"), ("q", "aaaabb!"), ("r", "!")] {
            seed.add(&trajectory(problem, writers));
        }
        let teachers = ["a".to_owned(), "b".to_owned()];
        let found = teacher_shares(&[seed.clone()], &teachers).unwrap();
        let values: Vec<f64> = found[0].parts.iter().map(|part| part.value).collect();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(found[0].whole.value, 2.0 / 3.0) && found[0].whole.n == 2, "{:?}", found[0].whole);
        // Both change hands at two thirds, inside the seventh tenth.
        let expected = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0 / 3.0, 0.0, 0.0, 0.0];
        assert!(values.iter().zip(expected).all(|(a, b)| near(*a, b)), "{values:?}");
        assert!(near(found[0].late_minus_early.difference.value, -1.0));
        assert!(near(found[1].late_minus_early.difference.value, 1.0));
        assert_eq!(seed.teachers().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(teacher_shares(&[Collaboration::default()], &teachers).is_err());
    }

    proptest! {
        #[test]
        fn shares_of_all_teachers_sum_to_one(writers in "[abc]{1,12}", from in 0.0..0.9f64, width in 0.01..0.1f64) {
            let writers: Vec<String> = writers.chars().map(String::from).collect();
            let sum: f64 = ["a", "b", "c"].iter().map(|one| share(&writers, one, (from, from + width))).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
    }
}
