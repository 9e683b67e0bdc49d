//! What is learnt beside solving: to merge others' attempts.
//!
//! Who merges knows the rules as the corpus says, and no better when reading than when writing. The words in which it is asked are not
//! this world's: a row holds what is asked, whoever trains puts it into words.

use cord_core::Seed;
use serde::{Deserialize, Serialize};

use crate::corpus::{OPENING, Solution, made, solve};
use crate::error::Faults;
use crate::{Chain, CorpusSpec, PerKind, Task, wording};

/// Rows that merge attempts: half of them by one writer, the others by each writer in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Merging {
    /// The share of rows; the others solve.
    pub share: f64,
    /// The words in which it is asked, by their version.
    pub prompt: String,
    /// The fewest and most attempts.
    pub attempts: [u32; 2],
    /// By whom they were written: their reliability.
    pub writers: Vec<PerKind>,
}

impl Merging {
    pub(crate) fn check(&self, faults: &mut Faults) {
        let Self { share, attempts: [fewest, most], writers, .. } = self;
        faults.share("merging.share", *share);
        faults.check(1 <= *fewest && fewest <= most, || {
            format!("`merging.attempts`: expected a fewest of at least 1 and a most, got `[{fewest}, {most}]`")
        });
        faults.check(!writers.is_empty(), || "`merging.writers`: expected at least one, got none".to_owned());
        for (place, writer) in writers.iter().enumerate() {
            faults.reliability(&format!("merging.writers[{place}]"), writer);
        }
    }

    /// The task of a row, and what is to be learnt; `None` where the row solves.
    ///
    /// Where two or more attempts stand where the merged one stands and all of them go on to the same mark, it goes there too;
    /// elsewhere it makes the move itself.
    pub(crate) fn row(&self, spec: &CorpusSpec, chain: &Chain, seed: &Seed) -> Option<(Task, String)> {
        let seed = seed.named("editing");
        if seed.named("task").stream().uniform() >= self.share {
            return None;
        }
        let Self { prompt, attempts: [fewest, most], writers, .. } = self;
        let mut stream = seed.named("attempts").stream();
        let count = fewest + stream.below(u64::from(most - fewest) + 1) as u32;
        let alone = stream.uniform() < 0.5;
        let first = stream.below(writers.len() as u64) as usize;
        let attempts: Vec<Solution> = (0..count)
            .map(|index| {
                let turn = if alone { 0 } else { index as usize };
                let writer = &writers[(first + turn) % writers.len()];
                solve(spec, writer, chain, &seed.named("attempt").indexed(u64::from(index)))
            })
            .collect();

        let mut rules = seed.named("rules").stream();
        let mut words = seed.named("words").stream();
        let mut mark = chain.start;
        let mut marks = Vec::new();
        let mut completion = OPENING.to_owned();
        for (place, operation) in chain.moves.iter().enumerate() {
            let before = mark;
            let stands = |attempt: &Solution| if place == 0 { chain.start } else { attempt.marks[place - 1] };
            let there = attempts.iter().filter(|attempt| stands(attempt) == before);
            let ways: Vec<u8> = there.map(|attempt| attempt.marks[place]).collect();
            let own = made(&mut rules, &spec.reliability, *operation, before);
            let agreed = ways.len() >= 2 && ways.iter().all(|way| *way == ways[0]);
            mark = if agreed { ways[0] } else { own };
            marks.push(mark);
            completion.push_str(&wording::step(spec.dialects.draw(&mut words), place + 1, before, *operation, mark));
        }
        completion.push_str(&wording::closing(&marks));
        let attempts = attempts.into_iter().map(|attempt| attempt.text).collect();
        Some((Task::Merge { prompt: prompt.clone(), attempts }, completion))
    }
}
