//! The value of an answer, and when two values are equal.

use num_bigint::BigInt;
use num_rational::Ratio;

use crate::fuel::{Fuel, OutOfFuel};
use crate::token::{Token, same_spelling};

pub(crate) type Rational = Ratio<BigInt>;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(Rational),
    /// The number before the `%`.
    Percent(Rational),
    /// Ordered.
    List {
        brackets: Brackets,
        items: Vec<Value>,
    },
    /// Unordered, each item counted once.
    Set(Vec<Value>),
    /// Whatever this crate has no value for.
    Text(Vec<Token>),
}

/// What stands round a list. An open interval is not a closed one, but a list without brackets may be
/// meant as any of a tuple's spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brackets {
    None,
    Round,
    Square,
    /// `[a, b)`.
    OpenRight,
    /// `(a, b]`.
    OpenLeft,
}

impl Brackets {
    fn agree(self, other: Self) -> bool {
        let is_half_open = |b| matches!(b, Self::OpenLeft | Self::OpenRight);
        self == other || (self == Self::None && !is_half_open(other)) || (other == Self::None && !is_half_open(self))
    }
}

/// Are two values equal? Symmetric and reflexive, and not transitive: `50\%` equals both `0.5` and `50`,
/// since answer keys often leave the sign to the question.
pub(crate) fn same(a: &Value, b: &Value, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    fuel.spend(1)?;
    Ok(match (a, b) {
        (Value::Number(a), Value::Number(b)) | (Value::Percent(a), Value::Percent(b)) => same_number(a, b, fuel)?,
        (Value::Percent(percent), Value::Number(number)) | (Value::Number(number), Value::Percent(percent)) => {
            fuel.spend(bits(number) + bits(percent))?;
            same_number(percent, number, fuel)? || same_number(percent, &(number * BigInt::from(100)), fuel)?
        }
        (Value::List { brackets: of_a, items: a }, Value::List { brackets: of_b, items: b }) => {
            of_a.agree(*of_b) && same_items(a, b, fuel)?
        }
        (Value::Set(a), Value::Set(b)) => contains_all(a, b, fuel)? && contains_all(b, a, fuel)?,
        (Value::Text(a), Value::Text(b)) => {
            fuel.spend(a.len().min(b.len()) as u64)?;
            same_spelling(a, b)
        }
        _ => false,
    })
}

/// Both are in lowest terms, so equality is that of the parts. `Ratio`'s own comparison walks a continued
/// fraction, as deep as the numbers are long.
fn same_number(a: &Rational, b: &Rational, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    fuel.spend(bits(a).min(bits(b)) / 64 + 1)?;
    Ok(a.numer() == b.numer() && a.denom() == b.denom())
}

fn same_items(a: &[Value], b: &[Value], fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !same(a, b, fuel)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains_all(outer: &[Value], inner: &[Value], fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    for wanted in inner {
        let mut found = false;
        for item in outer {
            if same(item, wanted, fuel)? {
                found = true;
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The size of a number in bits.
pub(crate) fn bits(number: &Rational) -> u64 {
    number.numer().bits() + number.denom().bits()
}
