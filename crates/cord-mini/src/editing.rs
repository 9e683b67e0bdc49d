//! What is learnt beside solving: to merge others' attempts, to judge a step by the gold answer, and to say without it whether a step is
//! right.
//!
//! Who edits knows the rules as its corpus says, and no better when reading than when writing. The words in which it is
//! asked are not this world's: a row holds what is asked, whoever trains puts it into words.

use cord_core::{Seed, SeedStream};
use serde::{Deserialize, Serialize};

use crate::corpus::{OPENING, Solution, made, solve};
use crate::error::Faults;
use crate::{Chain, CorpusSpec, PerKind, wording};

/// The rows in which an editor reads what others wrote. Shares are of all rows; what they leave solves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Editing {
    /// By whom what is read was written: their reliability.
    pub writers: Vec<PerKind>,
    /// Rows that merge attempts; none by default.
    #[serde(default)]
    pub merge: Option<Merging>,
    /// Rows that judge a step by the gold answer; none by default.
    #[serde(default)]
    pub judge: Option<Asking>,
    /// Rows that say, without the gold answer, whether a step is right; none by default.
    #[serde(default)]
    pub reward: Option<Asking>,
}

/// Rows that merge attempts: half of them by one writer, the others by each writer in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Merging {
    /// The share of rows.
    pub share: f64,
    /// The words in which it is asked, by their version.
    pub prompt: String,
    /// The fewest and most attempts.
    pub attempts: [u32; 2],
}

/// Rows that ask for a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Asking {
    /// The share of rows.
    pub share: f64,
    /// The words in which it is asked, by their version.
    pub prompt: String,
}

/// What a row asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// To solve the problem.
    Solve,
    /// To make one response out of several.
    Merge {
        /// The words' version.
        prompt: String,
        /// The others' responses, from behind the opening `<think>`.
        attempts: Vec<String>,
    },
    /// To compare a step with the gold answer. The completion is followed by the verdict.
    Judge {
        /// The words' version.
        prompt: String,
        /// The gold answer.
        answer: String,
        /// The step and the steps before it.
        step: Step,
    },
    /// To say whether a step is right. The completion is the verdict alone.
    Reward {
        /// The words' version.
        prompt: String,
        /// The step and the steps before it.
        step: Step,
    },
}

/// A step to be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The steps before it.
    pub prefix: String,
    /// Its text; empty where the reasoning ends instead.
    pub text: String,
    /// The verdict to be learnt.
    pub right: bool,
}

impl Editing {
    pub(crate) fn check(&self, faults: &mut Faults) {
        let Self { writers, merge, .. } = self;
        let shares = self.shares();
        for (name, share) in ["merge", "judge", "reward"].into_iter().zip(shares) {
            faults.share(&format!("editing.{name}.share"), share);
        }
        let sum: f64 = shares.iter().sum();
        faults.check(sum.is_nan() || sum <= 1.0, || {
            format!("`editing`: expected shares of at most 1 together, got `{sum}`")
        });
        if let Some(Merging { attempts: [fewest, most], .. }) = merge {
            faults.check(1 <= *fewest && fewest <= most, || {
                format!(
                    "`editing.merge.attempts`: expected a fewest of at least 1 and a most, got `[{fewest}, {most}]`"
                )
            });
        }
        faults.check(!writers.is_empty(), || "`editing.writers`: expected at least one, got none".to_owned());
        for (place, writer) in writers.iter().enumerate() {
            faults.reliability(&format!("editing.writers[{place}]"), writer);
        }
    }

    /// The task of a row, and what is to be learnt; `None` where the row solves.
    pub(crate) fn row(&self, spec: &CorpusSpec, chain: &Chain, seed: &Seed) -> Option<(Task, String)> {
        let seed = seed.named("editing");
        let mut drawn = seed.named("task").stream().uniform();
        let mut is_drawn = |share: f64| {
            let is_drawn = drawn >= 0.0 && drawn < share;
            drawn -= share;
            is_drawn
        };
        if let Some(merge) = self.merge.as_ref().filter(|merge| is_drawn(merge.share)) {
            return Some(self.merged(merge, spec, chain, &seed));
        }
        if let Some(judge) = self.judge.as_ref().filter(|judge| is_drawn(judge.share)) {
            return Some(self.judged(judge, spec, chain, &seed));
        }
        let reward = self.reward.as_ref().filter(|reward| is_drawn(reward.share))?;
        Some(self.rewarded(reward, spec, chain, &seed))
    }

    fn shares(&self) -> [f64; 3] {
        let asking = |asking: &Option<Asking>| asking.as_ref().map_or(0.0, |asking| asking.share);
        [self.merge.as_ref().map_or(0.0, |merge| merge.share), asking(&self.judge), asking(&self.reward)]
    }

    /// Where two or more attempts stand where the merged one stands and all of them go on to the same mark, it goes there too;
    /// elsewhere it makes the move itself.
    fn merged(&self, merge: &Merging, spec: &CorpusSpec, chain: &Chain, seed: &Seed) -> (Task, String) {
        let Merging { prompt, attempts: [fewest, most], .. } = merge;
        let mut stream = seed.named("attempts").stream();
        let count = fewest + stream.below(u64::from(most - fewest) + 1) as u32;
        let alone = stream.uniform() < 0.5;
        let first = stream.below(self.writers.len() as u64) as usize;
        let attempts: Vec<Solution> = (0..count)
            .map(|index| {
                let turn = if alone { 0 } else { index as usize };
                let writer = &self.writers[(first + turn) % self.writers.len()];
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
            let ways: Vec<u8> = attempts
                .iter()
                .filter(|attempt| stands(attempt) == before)
                .map(|attempt| attempt.marks[place])
                .collect();
            let own = made(&mut rules, &spec.reliability, *operation, before);
            let agreed = ways.len() >= 2 && ways.iter().all(|way| *way == ways[0]);
            mark = if agreed { ways[0] } else { own };
            marks.push(mark);
            completion.push_str(&wording::step(spec.dialects.draw(&mut words), place + 1, before, *operation, mark));
        }
        completion.push_str(&wording::closing(&marks));
        let attempts = attempts.into_iter().map(|attempt| attempt.text).collect();
        (Task::Merge { prompt: prompt.clone(), attempts }, completion)
    }

    /// The verdict follows from the marks alone, which are compared aloud: right where all of them are the gold ones.
    fn judged(&self, judge: &Asking, spec: &CorpusSpec, chain: &Chain, seed: &Seed) -> (Task, String) {
        let (begun, prefix, text) = self.shown(spec, chain, seed);
        let gold = chain.ledger();
        let right = if text.is_empty() { begun == gold } else { gold.starts_with(&begun) };
        let answer = wording::ledger(&gold);
        let compared =
            |(mark, gold): (&u8, &u8)| format!("{mark} and {gold}, {}", if mark == gold { "same" } else { "other" });
        let mut said: Vec<String> = begun.iter().zip(&gold).map(compared).collect();
        if text.is_empty() && gold.starts_with(&begun) {
            said.push(if right { "complete" } else { "unfinished" }.to_owned());
        }
        let said = format!("{}.\n", said.join("; "));
        (Task::Judge { prompt: judge.prompt.clone(), answer, step: Step { prefix, text, right } }, said)
    }

    /// The verdict is the editor's own: it makes the move by its own rules, and compares.
    fn rewarded(&self, reward: &Asking, spec: &CorpusSpec, chain: &Chain, seed: &Seed) -> (Task, String) {
        let (begun, prefix, text) = self.shown(spec, chain, seed);
        let right = if text.is_empty() {
            begun.len() == chain.moves.len()
        } else {
            let place = begun.len() - 1;
            let before = if place == 0 { chain.start } else { begun[place - 1] };
            made(&mut seed.named("rules").stream(), &spec.reliability, chain.moves[place], before) == begun[place]
        };
        (Task::Reward { prompt: reward.prompt.clone(), step: Step { prefix, text, right } }, String::new())
    }

    /// The marks so far, the steps before, and the step in question: one time in twelve an end of the reasoning. Half of what
    /// stands before is right, as a search keeps it.
    fn shown(&self, spec: &CorpusSpec, chain: &Chain, seed: &Seed) -> (Vec<u8>, String, String) {
        let mut stream = seed.named("shown").stream();
        let ends = stream.below(12) == 0;
        let whole = ends && stream.uniform() < 0.5;
        let count = chain.moves.len();
        let place = if whole { count } else { stream.below(count as u64) as usize };
        let clean = stream.uniform() < 0.5;
        let mut rules = seed.named("rules-of-others").stream();
        let mut words = seed.named("words-of-others").stream();
        let mut mark = chain.start;
        let (mut marks, mut prefix, mut text) = (Vec::new(), String::new(), String::new());
        for (at, operation) in chain.moves.iter().enumerate().take(if ends { place } else { place + 1 }) {
            let before = mark;
            let writer = self.writer(&mut stream);
            mark = if clean && at < place {
                operation.right(before)
            } else {
                made(&mut rules, writer, *operation, before)
            };
            marks.push(mark);
            let said = wording::step(spec.dialects.draw(&mut words), at + 1, before, *operation, mark);
            if at < place { &mut prefix } else { &mut text }.push_str(&said);
        }
        (marks, prefix, text)
    }

    fn writer(&self, stream: &mut SeedStream) -> &PerKind {
        &self.writers[stream.below(self.writers.len() as u64) as usize]
    }
}
