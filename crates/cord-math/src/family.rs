//! Families of numbers: `\frac{\pi}{4} + k\pi` with a whole `k`, and residues, which are families too.

use num_bigint::BigInt;

use crate::compare::Comparer;
use crate::equality::Ground;
use crate::evaluation::real_value;
use crate::expression::Expression;
use crate::fuel::{Fuel, OutOfFuel};
use crate::rational::integer;
use crate::reading::read;
use crate::token::Token;
use crate::value::Value;

/// All `base + n step` with a whole `n`.
pub(crate) struct Family {
    name: Option<String>,
    base: Expression,
    step: Expression,
}

/// The letter that is said to be a whole number, and what stands before that.
fn declared(tokens: &[Token]) -> Option<(&[Token], &str)> {
    let (before, letter) = match tokens {
        [before @ .., Token::Word(letter), is, set]
            if is.is_command("in") && (set.is_command("mathbb Z") || set.is_command("Bbb Z") || set.is_word("Z")) =>
        {
            (before, letter)
        }
        [before @ .., Token::Word(letter), is, a, whole]
            if is.is_word("is") && (a.is_word("an") || a.is_word("any")) && whole.is_word("integer") =>
        {
            (before, letter)
        }
        _ => return None,
    };
    let link = |token: &Token| {
        matches!(token, Token::Comma { .. } | Token::Char('(' | ':' | ';'))
            || ["for", "where", "with", "any", "all", "some"].iter().any(|word| token.is_word(word))
    };
    let length = before.iter().rposition(|token| !link(token))? + 1;
    Some((&before[..length], letter.as_str()))
}

/// The family that an answer names, in the letter that it declares or, beside one that declares, in any.
fn family(tokens: &[Token], undeclared: bool, fuel: &mut Fuel) -> Result<Option<Family>, OutOfFuel> {
    let (tokens, letter) = match declared(tokens) {
        Some((before, letter)) => (before, Some(letter)),
        None if undeclared => (tokens, None),
        None => return Ok(None),
    };
    let (name, value) = match read(tokens, 0, fuel)? {
        Value::Relation { sides, comparisons } if comparisons == [crate::value::Comparison::Equal] => {
            match (sides[0].name(), sides[1].formula()) {
                (Some(name), Some(value)) => (Some(name.to_owned()), value.clone()),
                _ => return Ok(None),
            }
        }
        other => match other.formula() {
            Some(value) => (None, value.clone()),
            None => return Ok(None),
        },
    };
    let variables = value.variables();
    let letter = match (letter, variables.as_slice()) {
        (Some(letter), [only]) if *only == letter => letter,
        (None, [only]) => *only,
        _ => return Ok(None),
    };
    let at = |n: i64| value.with(letter, &Expression::Number(integer(n)));
    fuel.spend(4 * value.size())?;
    let (base, step) = (at(0), at(1).minus(at(0)));
    // Linear in its letter, or no such family.
    let (Some(first), Some(second), Some(third)) =
        (real_value(&step, fuel)?, real_value(&at(2).minus(at(1)), fuel)?, real_value(&at(7).minus(at(6)), fuel)?)
    else {
        return Ok(None);
    };
    let near = |other: &crate::real::Real| first.sub(other).magnitude().is_none_or(|off| off < -200);
    Ok((near(&second) && near(&third) && !first.is_zero()).then_some(Family { name, base, step }))
}

/// A residue as a family: `3 \pmod 7` is `3 + 7n`.
fn of_residue((value, modulus): (&[Token], &[Token]), fuel: &mut Fuel) -> Result<Option<Family>, OutOfFuel> {
    let (base, step) = (read(value, 0, fuel)?, read(modulus, 0, fuel)?);
    Ok(match (base.formula(), step.formula()) {
        (Some(base), Some(step)) => Some(Family { name: None, base: base.clone(), step: step.clone() }),
        _ => None,
    })
}

/// The two sides of a congruence: what is left, and by what.
type Residue<'a> = (&'a [Token], &'a [Token]);

/// Are both answers families, and the same one? At least one of them must say that its letter is a whole number, or
/// be a congruence.
pub(crate) fn same(
    gold: &[Token],
    given: &[Token],
    residues: (Option<Residue<'_>>, Option<Residue<'_>>),
    comparer: &mut Comparer<'_>,
) -> Result<Option<Ground>, OutOfFuel> {
    let says = |tokens: &[Token]| declared(tokens).is_some();
    if !says(gold) && !says(given) && residues.0.is_none() && residues.1.is_none() {
        return Ok(None);
    }
    let mut one = |tokens: &[Token], residue: Option<Residue<'_>>| match residue {
        Some(residue) => of_residue(residue, comparer.fuel),
        None => family(tokens, true, comparer.fuel),
    };
    let (Some(a), Some(b)) = (one(gold, residues.0)?, one(given, residues.1)?) else { return Ok(None) };
    if matches!((&a.name, &b.name), (Some(a), Some(b)) if a != b) {
        return Ok(None);
    }
    let whole = |above: Expression, below: &Expression, fuel: &mut Fuel| -> Result<Option<BigInt>, OutOfFuel> {
        let quotient = Expression::Quotient(Box::new((above, below.clone())));
        Ok(real_value(&quotient, fuel)?.and_then(|value| value.near_integer()))
    };
    let forth = whole(a.step.clone(), &b.step, comparer.fuel)?;
    let back = whole(b.step.clone(), &a.step, comparer.fuel)?;
    let shift = whole(a.base.minus(b.base), &a.step, comparer.fuel)?;
    Ok((forth.is_some() && back.is_some() && shift.is_some()).then_some(Ground::Convention))
}
