//! Sets of problems.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::{Problem, Seed};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Faults;
use crate::{Chain, MAIN_LONGEST, MiniError, PerKind, Split, wording};

/// How many draws in a row may bring nothing new before a set counts as exhausted.
const PATIENCE: usize = 20_000;

/// A set of problems, as a manifest's `[problems]` describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProblemSet {
    /// Which of the disjoint splits to draw from.
    pub split: Split,
    /// The seed of the draws.
    pub seed: u64,
    /// How many problems. A larger set begins with the smaller one.
    pub count: usize,
    /// The fewest and most moves; by default 3 to 8, for the hard split 9 to 10.
    #[serde(default)]
    pub operations: Option<[u32; 2]>,
    /// How often each kind of move occurs, as weights; by default equally.
    #[serde(default = "equally")]
    pub kinds: PerKind,
}

pub(crate) fn equally() -> PerKind {
    PerKind::all(1.0)
}

impl ProblemSet {
    fn lengths(&self) -> [u32; 2] {
        self.operations.unwrap_or(match self.split {
            Split::Hard => self.split.lengths(),
            Split::Train | Split::Dev | Split::Test => [3, MAIN_LONGEST],
        })
    }
}

/// The problems of a set, all different, in the order of their ids.
///
/// A problem's metadata holds `operations` (how many), `kinds` (of each move), `steps` (the gold mark after each
/// move, as text: what process accuracy compares with) and `chain` (the canonical form, for [`crate::audit`]).
///
/// # Errors
/// [`MiniError::Invalid`] with every fault of the settings, [`MiniError::Exhausted`] when the split has too few problems.
pub fn problems(set: &ProblemSet) -> Result<Vec<Problem>, MiniError> {
    let mut faults = Faults::default();
    faults.count(set.count);
    faults.operations(set.lengths(), set.split.lengths());
    faults.weights("kinds", &set.kinds.values());
    faults.finish()?;

    let seed = Seed::root(set.seed).named("mini-problems").named(set.split.name());
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    let mut fruitless = 0;
    for draw in 0.. {
        if problems.len() == set.count {
            break;
        }
        let mut stream = seed.indexed(draw).stream();
        let chain = Chain::draw(&mut stream, set.lengths(), &set.kinds);
        if chain.split() == set.split && seen.insert(chain.clone()) {
            fruitless = 0;
            let question = wording::question(&mut stream, &chain);
            problems.push(problem(set.split, problems.len(), &chain, question));
        } else {
            fruitless += 1;
            if fruitless == PATIENCE {
                return Err(MiniError::Exhausted { wanted: set.count, found: problems.len() });
            }
        }
    }
    Ok(problems)
}

fn problem(split: Split, index: usize, chain: &Chain, question: String) -> Problem {
    let ledger = chain.ledger();
    let kinds: Vec<&str> = chain.moves.iter().map(|operation| operation.kind().name()).collect();
    let steps: Vec<String> = ledger.iter().map(u8::to_string).collect();
    let metadata = BTreeMap::from([
        ("operations".to_owned(), json!(chain.moves.len())),
        ("kinds".to_owned(), json!(kinds)),
        ("steps".to_owned(), json!(steps)),
        ("chain".to_owned(), json!(chain.to_string())),
    ]);
    Problem { id: format!("mini-{}-{index:06}", split.name()), question, answer: wording::ledger(&ledger), metadata }
}
