//! A share of the problems of a generation or an evaluation, for one of several processes.

use std::fmt;
use std::str::FromStr;

use crate::stage::StageKind;

/// The `index`-th of `count` shares, from 0: the problems whose place in the set leaves `index` when divided by `count`.
///
/// Neighbours in a set are often alike, so a share of every `count`-th problem is as hard as the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// A share; nothing where `index` is not below `count`.
    pub fn new(index: u32, count: u32) -> Option<Self> {
        (index < count).then_some(Self { index, count })
    }

    /// Every share of `count`.
    pub fn all(count: u32) -> impl Iterator<Item = Self> {
        (0..count).map(move |index| Self { index, count })
    }

    /// Which one it is, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Does it take the problem at this place of the set, from 0?
    pub fn takes(self, place: usize) -> bool {
        place as u64 % u64::from(self.count) == u64::from(self.index)
    }

    /// The name of its stage's folders: `generate.2-of-8`.
    pub fn stage_name(self, kind: StageKind) -> String {
        format!("{kind}.{}-of-{}", self.index, self.count)
    }

    /// The share of a stage's name; nothing where that is of another kind.
    pub fn of_stage_name(kind: StageKind, name: &str) -> Option<Self> {
        let (index, count) = name.strip_prefix(kind.name())?.strip_prefix('.')?.split_once("-of-")?;
        Self::new(index.parse().ok()?, count.parse().ok()?)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `2/8`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parsed {
            None => Err(format!("expected a shard such as `2/8`, got `{text}`")),
            Some((_, 0)) => Err(format!("expected a shard of at least one, such as `0/1`, got `{text}`")),
            Some((index, count)) => Self::new(index, count)
                .ok_or_else(|| format!("expected a shard from `0/{count}` to `{}/{count}`, got `{text}`", count - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_take_every_problem_once_in_equal_shares() {
        for count in 1..9 {
            let taken: Vec<usize> =
                Shard::all(count).map(|shard| (0..100).filter(|place| shard.takes(*place)).count()).collect();
            assert_eq!(taken.iter().sum::<usize>(), 100);
            assert!(taken.iter().max().unwrap() - taken.iter().min().unwrap() <= 1, "{taken:?}");
            for shard in Shard::all(count) {
                assert_eq!(shard.to_string().parse(), Ok(shard));
                let name = shard.stage_name(StageKind::Eval);
                assert_eq!(Shard::of_stage_name(StageKind::Eval, &name), Some(shard));
                assert_eq!(Shard::of_stage_name(StageKind::Generate, &name), None);
            }
        }
        assert_eq!(Shard::of_stage_name(StageKind::Generate, "generate"), None);
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        let error = |text: &str| text.parse::<Shard>().unwrap_err();
        insta::assert_snapshot!(error("8/8"), @"expected a shard from `0/8` to `7/8`, got `8/8`");
        insta::assert_snapshot!(error("0/0"), @"expected a shard of at least one, such as `0/1`, got `0/0`");
        insta::assert_snapshot!(error("2"), @"expected a shard such as `2/8`, got `2`");
        insta::assert_snapshot!(error("-1/8"), @"expected a shard such as `2/8`, got `-1/8`");
    }
}
