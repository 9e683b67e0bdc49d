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
    /// `Go forward 3: 4 gives 7`
    Plain,
    /// `Go forward 3: 4 -> 7`
    Terse,
    /// `Go forward 3: 4 becomes 7`
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

/// A question about a chain, in drawn words. The steps are numbered, so that the n-th can be found.
pub(crate) fn question(stream: &mut SeedStream, chain: &Chain) -> String {
    let start = chain.start;
    let opening = [format!("The dial shows {start}."), format!("A dial starts at {start}.")];
    let mut sentences = vec![pick(stream, opening)];
    sentences.extend(chain.moves.iter().zip(1..).map(|(operation, number)| {
        let order = order(*operation);
        format!("Step {number}. {order}.")
    }));
    let closing = ["List every mark.", "Name the marks."];
    sentences.push(pick(stream, closing.map(str::to_owned)));
    sentences.join(" ")
}

/// A move in words. The same words stand in the question and in the step that makes the move: finding them again is what
/// a small transformer learns first.
fn order(operation: Operation) -> String {
    match operation {
        Operation::Forward(k) => format!("Go forward {k}"),
        Operation::Back(k) => format!("Go back {k}"),
        Operation::Times(k) => format!("Multiply by {k}"),
        Operation::Larger(k) => format!("Raise to {k}"),
        Operation::Smaller(k) => format!("Lower to {k}"),
        Operation::Gap(k) => format!("Gap to {k}"),
        Operation::Mirror => "Mirror it".to_owned(),
    }
}

/// One step with its header and line break.
pub(crate) fn step(dialect: Dialect, number: usize, before: u8, operation: Operation, after: u8) -> String {
    let order = order(operation);
    let leads_to = match dialect {
        Dialect::Plain => "gives",
        Dialect::Terse => "->",
        Dialect::Wordy => "becomes",
    };
    format!("### Step {number}. {order}: {before} {leads_to} {after}\n")
}

/// A ledger as it stands inside `\boxed{}`.
pub(crate) fn ledger(marks: &[u8]) -> String {
    marks.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

/// The end of the reasoning block and the answer after it.
pub(crate) fn closing(marks: &[u8]) -> String {
    format!("</think>\nThe final answer is \\boxed{{{}}}.", ledger(marks))
}
