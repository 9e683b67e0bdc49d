//! What each member of a pool is worth, from what its subsets are worth.
//!
//! The Shapley value of a member (Shapley 1953) is the mean, over all orders in which the pool could be put together, of what
//! the member adds when its turn comes:
//!
//! ```text
//! φ(i) = Σ over S without i of  |S|! (n − |S| − 1)! / n!  ·  (v(S ∪ i) − v(S))
//! ```
//!
//! The members' values add up to what the whole pool is worth beyond the empty one. What the pool loses without the member
//! is another question: two that can stand in for each other lose nothing alone, and share their worth here.
//!
//! A value is linear in the subsets' values, so it is a sum for each problem too, and has the interval and the test of any
//! [`contrast`]: clustered by problem, with seeds as replicates.

use std::collections::BTreeMap;

use cord_core::Seed;

use crate::error::StatsError;
use crate::paired::{PairedDifference, contrast};
use crate::scores::Scores;

/// A subset of a pool: bit `i` is set where member `i` is in it.
pub type Coalition = u32;

/// The most members whose subsets can be listed.
const MOST: u32 = 16;

/// The Shapley value of each of `members`, in their order; values in [0, 1] by subset, one [`Scores`] for each replicate.
/// The empty subset is worth 0 for every problem where `worth` has none.
///
/// # Errors
/// As [`contrast`], and [`StatsError::MissingCoalition`] where a subset has no values.
///
/// # Panics
/// With more than 16 members: their subsets are not for listing.
pub fn shapley(
    members: u32,
    worth: &BTreeMap<Coalition, Vec<Scores>>,
    seed: Seed,
) -> Result<Vec<PairedDifference>, StatsError> {
    assert!((1..=MOST).contains(&members), "expected 1 to {MOST} members, got {members}");
    let all = (1 << members) - 1;
    if let Some(coalition) = (1..=all).find(|coalition| !worth.contains_key(coalition)) {
        return Err(StatsError::MissingCoalition { coalition, members });
    }
    (0..members)
        .map(|member| {
            let weights = weights(members, member).into_iter();
            let terms: Vec<(f64, &[Scores])> =
                weights.filter_map(|(coalition, weight)| Some((weight, worth.get(&coalition)?.as_slice()))).collect();
            contrast(&terms, seed.indexed(u64::from(member)))
        })
        .collect()
}

/// By subset, the weight that its value has in a member's.
fn weights(members: u32, member: u32) -> BTreeMap<Coalition, f64> {
    // |S|! (n − |S| − 1)! / n! is 1 / (n · C(n − 1, |S|)).
    let weight = |size: u32| {
        let choose = (0..size).fold(1.0, |sum, k| sum * f64::from(members - 1 - k) / f64::from(k + 1));
        1.0 / (f64::from(members) * choose)
    };
    let without = (0..1 << members).filter(|coalition: &Coalition| coalition >> member & 1 == 0);
    without
        .flat_map(|coalition| {
            let weight = weight(coalition.count_ones());
            [(coalition, -weight), (coalition | 1 << member, weight)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(members: u32, worth: impl Fn(Coalition, usize) -> f64) -> Vec<PairedDifference> {
        let of =
            |coalition| (0..40).map(|problem| (format!("p{problem}"), worth(coalition, problem))).collect::<Scores>();
        let worth = (1..1 << members).map(|coalition| (coalition, vec![of(coalition)])).collect();
        shapley(members, &worth, Seed::root(1)).unwrap()
    }

    /// The mean over all orders of what each member adds, counted one by one.
    fn by_orders(members: u32, worth: &dyn Fn(Coalition, usize) -> f64) -> Vec<f64> {
        fn orders(left: &[u32]) -> Vec<Vec<u32>> {
            if left.is_empty() {
                return vec![Vec::new()];
            }
            let with = |first: &u32| {
                let rest: Vec<u32> = left.iter().copied().filter(|one| one != first).collect();
                orders(&rest).into_iter().map(move |order| [vec![*first], order].concat()).collect::<Vec<_>>()
            };
            left.iter().flat_map(with).collect()
        }
        let orders = orders(&(0..members).collect::<Vec<_>>());
        let value = |coalition: Coalition| {
            if coalition == 0 { 0.0 } else { (0..40).map(|problem| worth(coalition, problem)).sum::<f64>() / 40.0 }
        };
        let mut sums = vec![0.0; members as usize];
        for order in &orders {
            let mut there = 0;
            for member in order {
                sums[*member as usize] += value(there | 1 << member) - value(there);
                there |= 1 << member;
            }
        }
        sums.into_iter().map(|sum| sum / orders.len() as f64).collect()
    }

    /// A game without any regularity: a hash of subset and problem.
    fn any(coalition: Coalition, problem: usize) -> f64 {
        Seed::root(7).indexed(u64::from(coalition)).indexed(problem as u64).stream().uniform()
    }

    #[test]
    fn a_value_is_the_mean_over_all_orders() {
        for members in 1..=5 {
            let found = values(members, any);
            for (found, expected) in found.iter().zip(by_orders(members, &any)) {
                assert!((found.difference.value - expected).abs() < 1e-12, "{members} members: {found:?} {expected}");
            }
        }
    }

    #[test]
    fn values_add_up_to_the_pools_worth() {
        for members in 1..=6 {
            let sum: f64 = values(members, any).iter().map(|one| one.difference.value).sum();
            let pool = (0..40).map(|problem| any((1 << members) - 1, problem)).sum::<f64>() / 40.0;
            assert!((sum - pool).abs() < 1e-12, "{members} members: {sum} {pool}");
        }
    }

    #[test]
    fn who_adds_nothing_is_worth_nothing_and_twins_share() {
        // 0 and 1 can both solve the odd problems, 2 the even ones, 3 none.
        let worth = |coalition: Coalition, problem: usize| {
            let solved = if problem % 2 == 1 { coalition & 0b0011 != 0 } else { coalition & 0b0100 != 0 };
            f64::from(u8::from(solved))
        };
        let found: Vec<f64> = values(4, worth).iter().map(|one| one.difference.value).collect();
        for (found, expected) in found.iter().zip([0.25, 0.25, 0.5, 0.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let nothing = &values(4, worth)[3];
        assert!(nothing.difference.low < 0.0 && nothing.difference.high > 0.0, "{nothing:?}");
        assert!((nothing.p_value - 1.0).abs() < 1e-12, "{nothing:?}");
    }

    #[test]
    fn a_subset_without_values_is_named() {
        let worth = [(1, vec![Scores::default()]), (3, vec![Scores::default()])].into();
        let error = shapley(2, &worth, Seed::root(1)).unwrap_err().to_string();
        assert_eq!(error, "expected values of every subset of 2 members, got none of the subset `10`");
    }
}
