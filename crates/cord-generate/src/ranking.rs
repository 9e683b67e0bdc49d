//! The order of candidates, with its ties broken on purpose.

use std::collections::BTreeSet;

use crate::ledger::{Ledger, State};

pub(crate) struct Ranking {
    /// Distinct candidates, best first.
    pub(crate) order: Vec<u32>,
    /// Candidates with the same text as a better-placed one.
    pub(crate) duplicates: Vec<u32>,
}

/// Ranks candidates whose scores are all in.
///
/// Sound candidates stand before truncated and unclosed ones; then the higher score first; then the order of the
/// pool, which is (parent's rank, teacher's order, sample). Empty candidates are left out.
pub(crate) fn rank(ledger: &Ledger, pool: &[u32]) -> Ranking {
    let mut placed: Vec<u32> = pool.iter().copied().filter(|id| ledger.get(*id).state != State::Empty).collect();
    let score = |id: &u32| ledger.get(*id).score.expect("a candidate is ranked when its score is in");
    let sound = |id: &u32| ledger.get(*id).state.is_sound();
    // The sort is stable, so the pool's order breaks ties.
    placed.sort_by(|a, b| sound(b).cmp(&sound(a)).then(score(b).total_cmp(&score(a))));
    let mut seen = BTreeSet::new();
    let (order, duplicates) = placed.into_iter().partition(|id| seen.insert(ledger.get(*id).text_key));
    Ranking { order, duplicates }
}
