//! The words of questions, steps and answers. Short, since every token costs time on a laptop.

use cord_core::SeedStream;
use serde::{Deserialize, Serialize};

use crate::chain::weighted;
use crate::{Chain, Operation};

/// How a step is told. All say the mark before, the move, its operand and the mark after, so that whoever reads one
/// can go on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// `4 plus 3 gives 7.`
    Plain,
    /// `4 forward 3: 7.`
    Terse,
    /// `From 4, going up 3 leads to 7.`
    Wordy,
}

/// How often each dialect is spoken, step by step: weights, not all 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dialects {
    /// For [`Dialect::Plain`].
    pub plain: f64,
    /// For [`Dialect::Terse`].
    pub terse: f64,
    /// For [`Dialect::Wordy`].
    pub wordy: f64,
}

impl Default for Dialects {
    fn default() -> Self {
        Self { plain: 1.0, terse: 1.0, wordy: 1.0 }
    }
}

impl Dialects {
    pub(crate) fn weights(&self) -> [f64; 3] {
        [self.plain, self.terse, self.wordy]
    }

    pub(crate) fn draw(&self, stream: &mut SeedStream) -> Dialect {
        [Dialect::Plain, Dialect::Terse, Dialect::Wordy][weighted(stream, &self.weights())]
    }
}

fn pick<const N: usize>(stream: &mut SeedStream, of: [String; N]) -> String {
    let chosen = stream.below(N as u64) as usize;
    of.into_iter().nth(chosen).expect("a draw below the count")
}

/// A question about a chain, in drawn words. The moves are numbered, so that the n-th can be found.
pub(crate) fn question(stream: &mut SeedStream, chain: &Chain) -> String {
    let start = chain.start;
    let opening =
        [format!("The dial shows {start}."), format!("A dial starts at {start}."), format!("The dial is at {start}.")];
    let mut sentences = vec![pick(stream, opening)];
    sentences.extend(chain.moves.iter().zip(1..).map(|(operation, number)| {
        let order = order(stream, *operation);
        format!("Move {number}: {order}.")
    }));
    let closing =
        ["What does it show after each move?", "List the marks after each move.", "Where is it after each move?"];
    sentences.push(pick(stream, closing.map(str::to_owned)));
    sentences.join(" ")
}

fn order(stream: &mut SeedStream, operation: Operation) -> String {
    match operation {
        Operation::Forward(k) => {
            pick(stream, [format!("turn forward {k}"), format!("go up {k}"), format!("advance by {k}")])
        }
        Operation::Back(k) => {
            pick(stream, [format!("turn back {k}"), format!("go down {k}"), format!("retreat by {k}")])
        }
        Operation::Times(k) => pick(stream, [format!("multiply by {k}"), format!("scale by {k}")]),
        Operation::Larger(k) => pick(stream, [format!("keep the larger with {k}"), format!("raise to at least {k}")]),
        Operation::Smaller(k) => pick(stream, [format!("keep the smaller with {k}"), format!("lower to at most {k}")]),
        Operation::Gap(k) => pick(stream, [format!("take the gap to {k}"), format!("measure the distance to {k}")]),
        Operation::Mirror => pick(stream, ["mirror it".to_owned(), "flip it over".to_owned()]),
    }
}

/// One step with its header and line break.
pub(crate) fn step(dialect: Dialect, number: usize, before: u8, operation: Operation, after: u8) -> String {
    let said = match dialect {
        Dialect::Plain => match operation {
            Operation::Forward(k) => format!("{before} plus {k} gives {after}"),
            Operation::Back(k) => format!("{before} minus {k} gives {after}"),
            Operation::Times(k) => format!("{before} times {k} gives {after}"),
            Operation::Larger(k) => format!("larger of {before} and {k} gives {after}"),
            Operation::Smaller(k) => format!("smaller of {before} and {k} gives {after}"),
            Operation::Gap(k) => format!("gap of {before} and {k} gives {after}"),
            Operation::Mirror => format!("mirror of {before} gives {after}"),
        },
        Dialect::Terse => match operation {
            Operation::Forward(k) => format!("{before} forward {k}: {after}"),
            Operation::Back(k) => format!("{before} back {k}: {after}"),
            Operation::Times(k) => format!("{before} by {k}: {after}"),
            Operation::Larger(k) => format!("{before} at least {k}: {after}"),
            Operation::Smaller(k) => format!("{before} at most {k}: {after}"),
            Operation::Gap(k) => format!("{before} distance {k}: {after}"),
            Operation::Mirror => format!("{before} flip: {after}"),
        },
        Dialect::Wordy => match operation {
            Operation::Forward(k) => format!("From {before}, going up {k} leads to {after}"),
            Operation::Back(k) => format!("From {before}, going down {k} leads to {after}"),
            Operation::Times(k) => format!("From {before}, scaling by {k} leads to {after}"),
            Operation::Larger(k) => format!("From {before}, the larger with {k} is {after}"),
            Operation::Smaller(k) => format!("From {before}, the smaller with {k} is {after}"),
            Operation::Gap(k) => format!("From {before}, the gap to {k} is {after}"),
            Operation::Mirror => format!("From {before}, the mirror is {after}"),
        },
    };
    format!("### Step {number}. {said}.\n")
}

/// A ledger as it stands inside `\boxed{}`.
pub(crate) fn ledger(marks: &[u8]) -> String {
    marks.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

/// The end of the reasoning block and the answer after it.
pub(crate) fn closing(marks: &[u8]) -> String {
    format!("</think>\nThe final answer is \\boxed{{{}}}.", ledger(marks))
}
