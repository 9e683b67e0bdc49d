//! One move of the dial: its right rule, and the misconception that stands in for it.

use std::fmt;
use std::str::FromStr;

use crate::Kind;

/// How many marks the dial has: 0 to 9.
pub const MARKS: u8 = 10;

/// A move. Operands are below [`MARKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Forward by so many marks, past 9 to 0.
    Forward(u8),
    /// Back by so many marks, past 0 to 9.
    Back(u8),
    /// Times the operand; the last digit counts.
    Times(u8),
    /// The larger of the mark and the operand.
    Larger(u8),
    /// The smaller of the mark and the operand.
    Smaller(u8),
    /// The distance between the mark and the operand.
    Gap(u8),
    /// The mark opposite: 9 minus the mark.
    Mirror,
}

impl Operation {
    /// The kind that it belongs to.
    pub fn kind(self) -> Kind {
        match self {
            Self::Forward(_) | Self::Back(_) => Kind::Turn,
            Self::Times(_) => Kind::Scale,
            Self::Larger(_) | Self::Smaller(_) => Kind::Order,
            Self::Gap(_) => Kind::Gap,
            Self::Mirror => Kind::Mirror,
        }
    }

    /// The mark after the move, by the right rule.
    pub fn right(self, mark: u8) -> u8 {
        match self {
            Self::Forward(k) => (mark + k) % MARKS,
            Self::Back(k) => (mark + MARKS - k) % MARKS,
            Self::Times(k) => (mark * k) % MARKS,
            Self::Larger(k) => mark.max(k),
            Self::Smaller(k) => mark.min(k),
            Self::Gap(k) => mark.abs_diff(k),
            Self::Mirror => MARKS - 1 - mark,
        }
    }

    /// The mark after the move by the kind's misconception: the other direction, adding for multiplying, the other one of the
    /// two, the long way round, ten for nine.
    pub fn misconceived(self, mark: u8) -> u8 {
        match self {
            Self::Forward(k) => Self::Back(k).right(mark),
            Self::Back(k) => Self::Forward(k).right(mark),
            Self::Times(k) => (mark + k) % MARKS,
            Self::Larger(k) => Self::Smaller(k).right(mark),
            Self::Smaller(k) => Self::Larger(k).right(mark),
            Self::Gap(k) => (MARKS - mark.abs_diff(k)) % MARKS,
            Self::Mirror => (MARKS - mark) % MARKS,
        }
    }

    /// Does the misconception show at this mark?
    pub fn tells(self, mark: u8) -> bool {
        self.right(mark) != self.misconceived(mark)
    }

    /// Every operation of a kind with its allowed operands.
    pub fn of_kind(kind: Kind) -> Vec<Self> {
        match kind {
            // Half a turn is the same in both directions.
            Kind::Turn => {
                [1, 2, 3, 4, 6, 7, 8, 9].into_iter().flat_map(|k| [Self::Forward(k), Self::Back(k)]).collect()
            }
            Kind::Scale => (2..=9).map(Self::Times).collect(),
            // With 0 or 9 as the operand the answer would not depend on the mark.
            Kind::Order => (1..=8).flat_map(|k| [Self::Larger(k), Self::Smaller(k)]).collect(),
            Kind::Gap => (0..=9).map(Self::Gap).collect(),
            Kind::Mirror => vec![Self::Mirror],
        }
    }
}

/// The canonical form, apart from any wording: `+3`, `-3`, `*7`, `>6`, `<2`, `|5`, `~`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(k) => write!(f, "+{k}"),
            Self::Back(k) => write!(f, "-{k}"),
            Self::Times(k) => write!(f, "*{k}"),
            Self::Larger(k) => write!(f, ">{k}"),
            Self::Smaller(k) => write!(f, "<{k}"),
            Self::Gap(k) => write!(f, "|{k}"),
            Self::Mirror => f.write_str("~"),
        }
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || format!("expected a move such as `+3` or `~`, got `{text}`");
        // One digit and nothing else: the form is canonical, and an integer's own parser takes signs and leading zeros.
        let operand = |digit: &str| match digit.as_bytes() {
            [digit @ b'0'..=b'9'] => Ok(digit - b'0'),
            _ => Err(fault()),
        };
        match (text.get(..1), text.get(1..)) {
            (Some("+"), Some(k)) => operand(k).map(Self::Forward),
            (Some("-"), Some(k)) => operand(k).map(Self::Back),
            (Some("*"), Some(k)) => operand(k).map(Self::Times),
            (Some(">"), Some(k)) => operand(k).map(Self::Larger),
            (Some("<"), Some(k)) => operand(k).map(Self::Smaller),
            (Some("|"), Some(k)) => operand(k).map(Self::Gap),
            (Some("~"), Some("")) => Ok(Self::Mirror),
            _ => Err(fault()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules again, by counting marks instead of by arithmetic.
    fn oracle(operation: Operation, mark: u8) -> u8 {
        let walk = |from: u8, forward: bool, steps: u32| {
            (0..steps).fold(from, |at, _| match (forward, at) {
                (true, 9) => 0,
                (true, at) => at + 1,
                (false, 0) => 9,
                (false, at) => at - 1,
            })
        };
        match operation {
            Operation::Forward(k) => walk(mark, true, u32::from(k)),
            Operation::Back(k) => walk(mark, false, u32::from(k)),
            Operation::Times(k) => walk(0, true, u32::from(mark) * u32::from(k)),
            Operation::Larger(k) => (0..=9).rev().find(|m| *m == mark || *m == k).unwrap(),
            Operation::Smaller(k) => (0..=9).find(|m| *m == mark || *m == k).unwrap(),
            Operation::Gap(k) => (0..=9).find(|d| mark + d == k || k + d == mark).unwrap(),
            Operation::Mirror => (0..=9).find(|m| m + mark == 9).unwrap(),
        }
    }

    #[test]
    fn every_rule_agrees_with_counting() {
        for kind in Kind::ALL {
            for operation in Operation::of_kind(kind) {
                assert_eq!(operation.kind(), kind);
                assert_eq!(operation.to_string().parse(), Ok(operation));
                for mark in 0..MARKS {
                    assert_eq!(operation.right(mark), oracle(operation, mark), "{operation} at {mark}");
                    assert!(operation.misconceived(mark) < MARKS, "{operation} at {mark}");
                }
            }
        }
    }

    #[test]
    fn at_every_mark_some_operation_of_a_kind_tells() {
        for kind in Kind::ALL {
            for mark in 0..MARKS {
                assert!(Operation::of_kind(kind).iter().any(|o| o.tells(mark)), "{kind:?} at {mark}");
            }
        }
        // The kinds whose misconception shows wherever the mark stands.
        for kind in [Kind::Turn, Kind::Mirror] {
            assert!(Operation::of_kind(kind).iter().all(|o| (0..MARKS).all(|mark| o.tells(mark))), "{kind:?}");
        }
    }

    #[test]
    fn what_is_not_a_move_is_refused() {
        for text in ["", "+", "3", "+10", "~3", "é", "+é", "++1", "+03"] {
            let expected = format!("expected a move such as `+3` or `~`, got `{text}`");
            assert_eq!(text.parse::<Operation>(), Err(expected));
        }
    }
}
