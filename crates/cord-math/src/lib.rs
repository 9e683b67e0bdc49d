//! Pulls an answer out of a response and decides whether it equals the gold answer.
//!
//! Three stages, each a pure function:
//!
//! 1. [`find`] looks for the answer outside every reasoning block and says which [`Rule`] found it;
//! 2. its spelling is reduced (spaces, `$`, `\left`, `\dfrac`, `\text`, thousands separators) and read as a value;
//! 3. [`equal`] compares two answers and says what the equality rests on: a [`Ground`].
//!
//! [`verify`] and [`grade`] do all three. Every function is total: no input panics, and all work is paid for in
//! fuel, so a hostile answer (`10^{10^{10}}`, 100 kB of digits) ends as [`Verdict::OutOfFuel`] on every
//! machine alike. A clock would make a verdict depend on the machine's load.
//!
//! # Covered
//! - Numbers: integers of any size, decimals (also repeating), fractions, mixed numbers, powers, roots, factorials,
//!   binomials, number bases, scientific notation, thousands separators, `π`, `e`, `i`, words (`three fourths`).
//! - `\sum`, `\prod` and definite integrals, determinants, `\binom` and its other spellings, `\gcd`, `\max`, `\bmod`.
//! - Formulas: polynomials and quotients of them with radicals and `i` exactly, by a normal form; logarithms,
//!   trigonometry, nested radicals and symbolic powers at seeded points with 320 bits.
//! - What stands round a number: percent, degrees, currencies, units (converted: `1 km` is `1000 m`), labels.
//! - Lists, tuples, sets, intervals and their unions, vectors, matrices, ratios.
//! - Equations (solved ones against their value, others up to a constant factor), inequalities against intervals (also
//!   of `|x|` and of degree two), `±`, piecewise formulas, congruences and families (`k\pi` for a whole `k`).
//! - Multiple choice, times, dates, ordinals, short phrases.
//!
//! # What counts as equal
//! | gold | given | |
//! |---|---|---|
//! | `50\%` | `0.5`, `1/2` | exact: a percent is a hundredth |
//! | `50\%`, `50` | `50`, `50\%` | by convention: keys leave the sign to the question |
//! | `5 \text{ cm}`, `5` | `5`, `5 \text{ cm}` | by convention; `5` and `0.05 m` are not |
//! | `5 \text{ cm}` | `0.05 m` | exact; `5 cm^2` and `5 apples` are not |
//! | `90^\circ` | `\pi/2`, `90` | exact; by convention |
//! | `0.333` | `1/3` | by rounding: three decimals or more, and the given value has no finite decimal |
//! | `1/3` | `0.333` | unequal: a rounded answer is not the exact one; `0.\overline{3}` and `0.333\ldots` are |
//! | `1.25` | `1.251`, `1.3` | unequal: a decimal that says other digits is another number |
//! | `1011_2` | `11` | exact; `1011` is another number |
//! | `x = 5`, `5` | `5`, `x = 5` | by convention; `y = 5` is not `x = 5` |
//! | `1, -2` | `-2, 1` | by convention: solutions have no order; see [`ListOrder`] |
//! | `0.(09)`, `C(10,3)` | `1/11`, `120` | exact |
//! | `x \equiv 3 \pmod 7` | `x \equiv 10 \pmod 7`, `7k+3` | by convention; `3 \pmod 7` is not `10 \pmod 7` |
//! | `(1, 2)` | `(2, 1)`, `[1, 2]`, `\{1, 2\}` | unequal |
//! | `2\ln x` | `\ln x^2` | numeric: equal wherever the gold answer is real; not the other way round |
//! | `\sqrt[3]{-8}` | `-2` | the real root, where there is one |
//! | `\log x` | `\log_{10} x` | a logarithm without a base is decimal, `\ln` is natural |
//! | `3:5` | `6:10`, `3/5` | exact; by convention |
//! | `(B)` | `B`, `B.`, `(B) 12` | by convention |
//!
//! # Not covered
//! Limits, derivatives, integrals without bounds or up to infinity, endless sums that converge more slowly than a
//! geometric series, determinants beyond five rows, inequalities of a degree above two: all these are compared by
//! their reduced spelling. A numeric equality is no proof: answers that agree in 60 digits at every seeded point
//! pass, and so does an integral without an antiderivative here whose quadrature has settled to 60 digits.
//!
//! This crate has no IO, no clock, no threads and no randomness.

/// What is there, or the end of a function that finds nothing: `Ok(None)`.
macro_rules! some {
    ($found:expr) => {
        match $found {
            Some(found) => found,
            None => return Ok(None),
        }
    };
}

mod announcement;
mod choice;
mod compare;
mod complex;
mod equality;
mod evaluation;
mod expression;
mod extraction;
mod family;
mod formula;
mod fuel;
mod idiom;
mod integral;
mod language;
mod normal;
mod numeral;
mod operator;
mod published;
mod quantity;
mod rational;
mod reading;
mod real;
mod region;
mod relation;
mod spelling;
mod token;
mod unit;
mod value;
mod verdict;
mod words;

pub use announcement::{Found, Rule, Rules, find};
pub use compare::ListOrder;
pub use equality::{Ground, equal, equal_with};
pub use extraction::{Extraction, Start, extract, last_number};
pub use fuel::{DEFAULT_FUEL, OutOfFuel};
pub use language::Language;
pub use published::{Disagreement, PublishedGrader, disagreement};
pub use verdict::{Doubt, Grade, Settings, Verdict, grade, verify};
