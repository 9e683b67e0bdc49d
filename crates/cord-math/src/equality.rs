//! Deciding whether two answers are equal.

use serde::{Deserialize, Serialize};

use crate::fuel::{Fuel, OutOfFuel};
use crate::parse::value;
use crate::token::{same_spelling, tokens, with_thousands};
use crate::value::{Value, same};

/// What an equality rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ground {
    /// The two are spelled alike once what carries no meaning is gone.
    Spelling,
    /// Their values are equal as exact rational numbers, item by item.
    Exact,
}

/// Compares two answers, each as it would stand inside `\boxed{}`: nothing where they are not equal as far
/// as this crate can tell.
///
/// Symmetric, and reflexive wherever the fuel suffices. Work is at most `fuel` units
/// (see [`DEFAULT_FUEL`](crate::DEFAULT_FUEL)).
pub fn equal(a: &str, b: &str, fuel: u64) -> Result<Option<Ground>, OutOfFuel> {
    equal_within(a, b, &mut Fuel::new(fuel))
}

pub(crate) fn equal_within(a: &str, b: &str, fuel: &mut Fuel) -> Result<Option<Ground>, OutOfFuel> {
    let (a, b) = (tokens(a, fuel)?, tokens(b, fuel)?);
    fuel.spend(a.len().min(b.len()) as u64)?;
    if same_spelling(&a, &b) {
        return Ok(Some(Ground::Spelling));
    }
    let (a, b) = (readings(&a, fuel)?, readings(&b, fuel)?);
    for one in &a {
        for other in &b {
            if same(one, other, fuel)? {
                return Ok(Some(Ground::Exact));
            }
        }
    }
    Ok(None)
}

/// What an answer can mean: one value, or two where its commas are ambiguous.
fn readings(tokens: &[crate::token::Token], fuel: &mut Fuel) -> Result<Vec<Value>, OutOfFuel> {
    fuel.spend(tokens.len() as u64)?;
    let mut readings = vec![value(tokens, fuel)?];
    if let Some(grouped) = with_thousands(tokens) {
        readings.push(value(&grouped, fuel)?);
    }
    Ok(readings)
}
