//! A chain of moves: a problem apart from its wording, and the split that it belongs to.

use std::fmt;
use std::str::FromStr;

use cord_core::{Digester, SeedStream};
use serde::{Deserialize, Serialize};

use crate::{Kind, MARKS, Operation, PerKind};

/// The longest chain of the main splits; longer ones are the hard split's.
pub const MAIN_LONGEST: u32 = 8;
/// The longest chain of all.
pub const LONGEST: u32 = 10;

/// A set of problems that shares none with the others.
///
/// The split of a chain is a hash of its start and moves, not of its wording, so a training example can't be a test
/// problem in other words, whatever the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Eight hashes of ten; corpora draw from here, at any length.
    Train,
    /// One hash of ten, at most [`MAIN_LONGEST`] moves: for choosing settings.
    Dev,
    /// One hash of ten, at most [`MAIN_LONGEST`] moves: for reporting.
    Test,
    /// Dev's and test's hashes, but longer than [`MAIN_LONGEST`] moves: out of domain.
    Hard,
}

impl Split {
    /// The split as a manifest writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Hard => "hard",
        }
    }

    /// The fewest and most moves that its chains may have.
    pub fn lengths(self) -> [u32; 2] {
        match self {
            Self::Train => [1, LONGEST],
            Self::Dev | Self::Test => [1, MAIN_LONGEST],
            Self::Hard => [MAIN_LONGEST + 1, LONGEST],
        }
    }
}

/// A start and the moves that follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chain {
    /// The mark at the start, below [`MARKS`].
    pub start: u8,
    /// The moves, at least one.
    pub moves: Vec<Operation>,
}

impl Chain {
    /// Draws a chain in which each move's misconception shows as long as all moves before it were made right.
    pub(crate) fn draw(stream: &mut SeedStream, [fewest, most]: [u32; 2], kinds: &PerKind) -> Self {
        let count = u64::from(fewest) + stream.below(u64::from(most - fewest) + 1);
        let start = stream.below(u64::from(MARKS)) as u8;
        let mut mark = start;
        let moves = (0..count)
            .map(|_| {
                let kind = Kind::ALL[weighted(stream, &kinds.values())];
                let telling: Vec<_> = Operation::of_kind(kind).into_iter().filter(|o| o.tells(mark)).collect();
                let operation = telling[stream.below(telling.len() as u64) as usize];
                mark = operation.right(mark);
                operation
            })
            .collect();
        Self { start, moves }
    }

    /// The mark after each move, by the right rules.
    pub fn ledger(&self) -> Vec<u8> {
        self.moves
            .iter()
            .scan(self.start, |mark, operation| {
                *mark = operation.right(*mark);
                Some(*mark)
            })
            .collect()
    }

    /// Where the chain belongs: train, or one of dev, test and hard.
    pub fn split(&self) -> Split {
        let digest = Digester::new("cord-mini-chain").part(self.to_string().as_bytes()).finish();
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        match u64::from_le_bytes(first) % 10 {
            0..=7 => Split::Train,
            _ if self.moves.len() > MAIN_LONGEST as usize => Split::Hard,
            8 => Split::Dev,
            _ => Split::Test,
        }
    }
}

/// The canonical form: the start and the moves, `4 +3 *7 ~`.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.start)?;
        self.moves.iter().try_for_each(|operation| write!(f, " {operation}"))
    }
}

impl FromStr for Chain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        let Some([start @ b'0'..=b'9']) = words.next().map(str::as_bytes) else {
            return Err(format!("expected a mark from 0 to 9 before the moves, got `{text}`"));
        };
        let start = start - b'0';
        let moves = words.map(str::parse).collect::<Result<Vec<Operation>, _>>()?;
        if moves.is_empty() {
            return Err(format!("expected at least one move, got `{text}`"));
        }
        Ok(Self { start, moves })
    }
}

/// An index drawn by weight. The weights are finite, at least 0 and not all 0.
pub(crate) fn weighted(stream: &mut SeedStream, weights: &[f64]) -> usize {
    let mut left = stream.uniform() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        if left < *weight {
            return index;
        }
        left -= weight;
    }
    // Rounding may leave a little over: it falls to the last index that has any weight.
    weights.iter().rposition(|weight| *weight > 0.0).expect("some weight is above 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::Seed;

    #[test]
    fn every_move_of_a_chain_tells_and_the_form_reads_back() {
        for index in 0..500 {
            let chain = Chain::draw(&mut Seed::root(1).indexed(index).stream(), [1, 10], &PerKind::all(1.0));
            assert_eq!(chain.to_string().parse(), Ok(chain.clone()));
            let mut mark = chain.start;
            for (operation, after) in chain.moves.iter().zip(chain.ledger()) {
                assert!(operation.tells(mark), "{chain}: {operation} at {mark}");
                mark = after;
            }
        }
    }

    #[test]
    fn weights_are_followed_and_a_weight_of_0_is_never_drawn() {
        let mut stream = Seed::root(2).stream();
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[weighted(&mut stream, &[1.0, 0.0, 3.0, 0.0])] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        assert!((f64::from(counts[2]) / 10_000.0 - 0.75).abs() < 0.02, "{counts:?}");
    }

    #[test]
    fn what_is_not_a_chain_is_refused() {
        for (text, expected) in [
            ("", "expected a mark from 0 to 9 before the moves, got ``"),
            ("12 +3", "expected a mark from 0 to 9 before the moves, got `12 +3`"),
            ("4", "expected at least one move, got `4`"),
            ("4 +3 ?", "expected a move such as `+3` or `~`, got `?`"),
        ] {
            assert_eq!(text.parse::<Chain>(), Err(expected.to_owned()));
        }
    }
}
