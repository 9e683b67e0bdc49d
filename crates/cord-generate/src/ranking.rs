//! The order of candidates, with its ties broken on purpose.
//!
//! Sound candidates stand before truncated and unclosed ones, then the higher score decides. Of equals,
//!
//! 1. a finished trajectory keeps its place: it loses it only to a better one;
//! 2. the candidate of the better-placed parent comes first;
//! 3. an open step comes before one that closes the reasoning. Under predictive perplexity this tie is the
//!    rule and not an accident, since the cue closes the reasoning for both: the same step with and without
//!    `</think>` has one score. Going on loses nothing, as closing can be proposed again and will then be
//!    weighed against a real next step, while closing too early can't be undone;
//! 4. the teacher's order and then the sample's index decide.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::ledger::{Ledger, State};

/// A candidate that competes for a place.
#[derive(Clone, Copy)]
pub(crate) struct Contender {
    pub(crate) id: u32,
    pub(crate) standing: Standing,
}

/// Where a contender comes from, in the order that breaks ties.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It held a place before.
    Incumbent,
    /// It is new; this was its parent's place.
    Challenger(u32),
}

pub(crate) struct Ranking {
    /// Distinct candidates, best first.
    pub(crate) order: Vec<u32>,
    /// Candidates with the same text as a better-placed one.
    pub(crate) duplicates: Vec<u32>,
}

/// Ranks contenders whose scores are all in. Those of one standing must come in the order of (teacher, sample). What has
/// no score is left out: blank candidates, and those of which the scorer had no opinion.
pub(crate) fn rank(ledger: &Ledger, pool: &[Contender]) -> Ranking {
    let state = |one: &Contender| ledger.get(one.id).state;
    let mut placed: Vec<Contender> = pool.iter().copied().filter(|one| ledger.get(one.id).is_scored()).collect();
    // The sort is stable, so the pool's order breaks the last ties.
    placed.sort_by(|a, b| {
        let (sound_a, sound_b) = (state(a).is_sound(), state(b).is_sound());
        let (open_a, open_b) = (state(a) == State::Open, state(b) == State::Open);
        sound_b
            .cmp(&sound_a)
            .then_with(|| by_score(ledger, b.id, a.id))
            .then(a.standing.cmp(&b.standing))
            .then(open_b.cmp(&open_a))
    });
    let mut seen = BTreeSet::new();
    let ids = placed.into_iter().map(|one| one.id);
    let (order, duplicates) = ids.partition(|id| seen.insert(ledger.get(*id).text_key));
    Ranking { order, duplicates }
}

fn by_score(ledger: &Ledger, a: u32, b: u32) -> Ordering {
    let score = |id: u32| ledger.get(id).score.expect("a candidate is ranked when its score is in");
    score(a).total_cmp(&score(b))
}
