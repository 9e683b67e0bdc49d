//! Majority@k: the answer that most samples of a problem give.

use std::collections::BTreeMap;

use cord_core::Outcome;
use cord_math::equal;

use crate::sample::{Sample, SampleState};
use crate::scores::Scores;

/// For each problem, 1 where the answer that most of its samples give is right, 0 where it is not or none gives one. Answers
/// count as one where they are equal, in whatever spelling. Of answers with equally many votes each counts its share.
/// A truncated, unclosed or unparsed sample has no vote.
pub fn majority<'a>(outcomes: impl IntoIterator<Item = &'a Outcome<Sample>>, fuel: u64) -> Scores {
    let mut by_problem: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for outcome in outcomes {
        if let Outcome::Done(sample) = outcome {
            by_problem.entry(&sample.problem).or_default().push(sample);
        }
    }
    by_problem.into_iter().map(|(problem, samples)| (problem, winner(&samples, fuel))).collect()
}

fn winner(samples: &[&Sample], fuel: u64) -> f64 {
    // Votes, and how many of them are right: a verifier is no equality, and one class may hold both verdicts.
    let mut classes: Vec<(&str, f64, f64)> = Vec::new();
    for sample in samples {
        let right = match sample.state() {
            SampleState::Correct => 1.0,
            SampleState::Incorrect => 0.0,
            _ => continue,
        };
        let Some(answer) = sample.extracted.as_deref() else { continue };
        let same = |given: &str| given == answer || matches!(equal(given, answer, fuel), Ok(Some(_)));
        match classes.iter_mut().find(|(given, ..)| same(given)) {
            Some(class) => {
                class.1 += 1.0;
                class.2 += right;
            }
            None => classes.push((answer, 1.0, right)),
        }
    }
    let most = classes.iter().map(|class| class.1).fold(0.0, f64::max);
    let winners: Vec<f64> = classes.iter().filter(|class| class.1 == most).map(|class| class.2 / class.1).collect();
    if winners.is_empty() { 0.0 } else { winners.iter().sum::<f64>() / winners.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::{Finish, Usage};
    use cord_math::{Ground, Verdict};

    fn sample(problem: &str, number: u32, answer: &str, right: bool, finish: Finish) -> Outcome<Sample> {
        let verdict =
            if right { Verdict::Correct { by: Ground::Exact } } else { Verdict::Incorrect { given: answer.into() } };
        Outcome::Done(Sample {
            problem: problem.into(),
            sample: number,
            response: String::new(),
            finish,
            verdict,
            extracted: Some(answer.into()),
            marks: BTreeMap::new(),
            usage: Usage::default(),
        })
    }

    #[test]
    fn equal_answers_vote_together_and_ties_share() {
        let outcomes = [
            sample("a", 0, "1/2", true, Finish::Eos),
            sample("a", 1, "3", false, Finish::Eos),
            sample("a", 2, "0.5", true, Finish::Eos),
            sample("b", 0, "1", true, Finish::Eos),
            sample("b", 1, "2", false, Finish::Eos),
            sample("c", 0, "7", true, Finish::Length),
            sample("c", 1, "8", false, Finish::Eos),
            sample("d", 0, "7", true, Finish::Length),
        ];
        let expected: Scores = [("a", 1.0), ("b", 0.5), ("c", 0.0), ("d", 0.0)].into_iter().collect();
        assert_eq!(majority(&outcomes, 1_000_000), expected);
    }
}
