//! Pulls an answer out of a response and decides whether it equals the gold answer.
//!
//! Three stages, each a pure function:
//!
//! 1. [`extract`] finds the text of the last `\boxed{…}` that stands outside every reasoning block;
//! 2. the answer's spelling is reduced (spaces, `$`, `\left`, `\dfrac`, `\text`, thousands separators);
//! 3. [`equal`] compares two answers, first by reduced spelling and then as exact rational values.
//!
//! [`verify`] does all three. Every function is total: no input panics, and all work is paid for in
//! fuel, so a hostile answer (`10^{10^{10}}`, 100 kB of digits) ends as [`Verdict::OutOfFuel`] on every
//! machine alike. A clock would make a verdict depend on the machine's load.
//!
//! # Covered
//! Integers, decimals, `1.5e3`, `1.5 \times 10^{3}`, integer powers, `a/b`, `\frac{a}{b}`, mixed numbers, signs,
//! percentages, thousands separators, ordered lists and tuples, unordered `\{…\}` sets, nested to any
//! mix of these; anything else is compared by its reduced spelling.
//!
//! # Not covered
//! Sums and products (an unfinished calculation is not an answer), roots and constants as values, units,
//! intervals as sets, equations, algebra, words for numbers, decimal commas. `x+1` equals `x + 1` and not
//! `1+x`.
//!
//! This crate has no IO, no clock, no randomness and no floating point.

mod equality;
mod extraction;
mod fuel;
mod parse;
mod token;
mod value;
mod verdict;

pub use equality::{Ground, equal};
pub use extraction::{Extraction, Start, extract, last_number};
pub use fuel::{DEFAULT_FUEL, OutOfFuel};
pub use verdict::{Doubt, Verdict, verify};
