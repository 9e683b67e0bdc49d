//! Does the scorer prefer right steps? Measured from the ledger, by how many steps remain.

use std::collections::BTreeMap;

use cord_core::{Candidate, Problem, StepKind};
use cord_math::{equal, last_number};
use serde::{Deserialize, Serialize};

use crate::trajectory::gold_steps;

/// Pairs of siblings, one right and one wrong, and how often the right one had the higher score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// Pairs that were compared.
    pub pairs: u64,
    /// Pairs in which the right step scored higher; an equal score counts half.
    pub right: f64,
}

impl Preference {
    /// The share of pairs in which the right step was preferred; 0.5 is chance.
    pub fn share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.right / self.pairs as f64)
    }
}

/// The preference of a search's scorer for right steps, by the number of gold steps that remain after the step.
///
/// Compared are sibling candidates: the same parent, whose path is right in every step, one candidate whose last number
/// equals the gold step's value, and one whose does not. Problems without gold steps contribute nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Discrimination(pub BTreeMap<u32, Preference>);

impl Discrimination {
    /// Adds all candidates of one problem.
    pub fn add(&mut self, problem: &Problem, candidates: &[Candidate], fuel: u64) {
        let Some(gold) = gold_steps(problem) else { return };
        let mut right = BTreeMap::new();
        let mut siblings: BTreeMap<Option<u32>, Vec<(&Candidate, bool)>> = BTreeMap::new();
        // A parent's number is below its children's.
        for candidate in candidates.iter().filter(|c| c.kind == StepKind::Reasoning) {
            let sound_parent = candidate.parent.is_none_or(|parent| right.get(&parent) == Some(&true));
            let Some(is_right) = step_is_right(&gold, candidate, fuel) else { continue };
            right.insert(candidate.id, sound_parent && is_right);
            if sound_parent {
                siblings.entry(candidate.parent).or_default().push((candidate, is_right));
            }
        }
        for group in siblings.values() {
            for (good, _) in group.iter().filter(|(_, right)| *right) {
                for (bad, _) in group.iter().filter(|(_, right)| !*right) {
                    let (Some(high), Some(low)) = (good.score, bad.score) else { continue };
                    let remaining = (gold.len() as u32).saturating_sub(good.depth + 1);
                    let preference = self.0.entry(remaining).or_default();
                    preference.pairs += 1;
                    preference.right += match high.total_cmp(&low) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
        }
    }
}

/// Does the step say its gold value last? Nothing for a step that only closes, or that is past the gold steps.
fn step_is_right(gold: &[&str], candidate: &Candidate, fuel: u64) -> Option<bool> {
    let body = candidate.text.trim_start_matches("### Step").trim_start();
    let body = body.trim_start_matches(|c: char| c.is_ascii_digit());
    let given = last_number(body)?;
    let expected = gold.get(candidate.depth as usize)?;
    Some(matches!(equal(expected, given, fuel), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::{Fate, Finish, Usage};
    use serde_json::json;

    fn candidate(id: u32, parent: Option<u32>, depth: u32, text: &str, score: f64) -> Candidate {
        Candidate {
            id,
            parent,
            depth,
            teacher: "t".into(),
            sample: 0,
            kind: StepKind::Reasoning,
            text: text.into(),
            finish: Finish::Eos,
            terminal: false,
            score: Some(score),
            rank: None,
            fate: Fate::Kept,
            usage: Usage::default(),
        }
    }

    #[test]
    fn only_siblings_on_a_right_path_are_compared() {
        let problem = Problem {
            id: "p".into(),
            question: "q".into(),
            answer: "7, 9".into(),
            metadata: [("steps".to_owned(), json!(["7", "9"]))].into(),
        };
        let candidates = [
            candidate(0, None, 0, "### Step 1. 4 plus 3 gives 7.\n", 0.9),
            candidate(1, None, 0, "### Step 1. 4 plus 3 gives 1.\n", 0.2),
            candidate(2, None, 0, "### Step 1. 4 plus 3 gives 2.\n", 0.95),
            candidate(3, Some(0), 1, "### Step 2. 7 times 7 gives 9.\n", 0.5),
            candidate(4, Some(0), 1, "### Step 2. 7 times 7 gives 4.\n", 0.5),
            candidate(5, Some(0), 1, "</think>", 0.1),
            candidate(6, Some(1), 1, "### Step 2. 1 times 9 gives 9.\n", 0.3),
            candidate(7, Some(1), 1, "### Step 2. 1 times 9 gives 8.\n", 0.1),
        ];
        let mut found = Discrimination::default();
        found.add(&problem, &candidates, 1_000_000);
        let expected = [(0, Preference { pairs: 1, right: 0.5 }), (1, Preference { pairs: 2, right: 1.0 })];
        assert_eq!(found.0, expected.into());
        assert_eq!(found.0[&1].share(), Some(0.5));
        assert_eq!(Preference::default().share(), None);
    }
}
