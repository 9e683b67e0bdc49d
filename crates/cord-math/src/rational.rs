//! Exact rational numbers, paid for in fuel.

use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use crate::fuel::{Fuel, OutOfFuel};

pub(crate) type Rational = Ratio<BigInt>;

/// The size of a number in bits.
pub(crate) fn bits(number: &Rational) -> u64 {
    number.numer().bits() + number.denom().bits()
}

pub(crate) fn integer(value: i64) -> Rational {
    Rational::from_integer(BigInt::from(value))
}

/// Pays for arithmetic on numbers of so many bits together. The greatest common divisor dominates: as many
/// steps as bits, each over all 64-bit limbs.
pub(crate) fn pay_for(bits: u64, fuel: &mut Fuel) -> Result<(), OutOfFuel> {
    match bits.checked_mul(bits / 64 + 1) {
        Some(units) => fuel.spend(units / 8 + 1),
        None => Err(fuel.refuse()),
    }
}

/// Both are in lowest terms, so equality is that of the parts. `Ratio`'s own comparison walks a continued
/// fraction, as deep as the numbers are long.
pub(crate) fn same_number(a: &Rational, b: &Rational) -> bool {
    a.numer() == b.numer() && a.denom() == b.denom()
}

/// Nothing where there is no such power: `0^0` and `0^{-1}`.
pub(crate) fn raise(base: &Rational, exponent: &BigInt, fuel: &mut Fuel) -> Result<Option<Rational>, OutOfFuel> {
    if base.is_zero() {
        return Ok(exponent.is_positive().then(Rational::zero));
    }
    if base.is_one() || (-base).is_one() {
        return Ok(Some(if exponent.bit(0) { base.clone() } else { Rational::one() }));
    }
    let Some(size) = exponent.abs().to_u64().and_then(|times| times.checked_mul(bits(base))) else {
        return Err(fuel.refuse());
    };
    pay_for(size, fuel)?;
    let Some(exponent) = exponent.to_i32() else { return Err(fuel.refuse()) };
    // In lowest terms the parts stay so under powers; `Ratio`'s own `pow` relies on that as well.
    Ok(Some(Pow::pow(base, exponent)))
}

/// The value of digits with an optional decimal part and exponent: `12`, `.5`, `1.5e3`.
pub(crate) fn decimal(text: &str, fuel: &mut Fuel) -> Result<Option<Rational>, OutOfFuel> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if decimals.is_empty() && exponent == "0" && whole.len() <= 18 {
        fuel.spend(1)?;
        return Ok(whole.parse::<i64>().ok().map(integer));
    }
    let digits = format!("{whole}{decimals}");
    let (exponent, places) = (exponent.parse::<i64>(), decimals.len() as u64);
    // Four bits for each digit, and the same again for the power of ten below them.
    pay_for(4 * (digits.len() as u64 + places), fuel)?;
    let Ok(digits) = digits.parse::<BigInt>() else { return Ok(None) };
    let number = Rational::new(digits, Pow::pow(BigInt::from(10), places));
    match exponent {
        exponent if number.is_zero() || exponent == Ok(0) => Ok(Some(number)),
        // Too long for an `i64`: no fuel pays for such a power of ten.
        Err(_) => Err(fuel.refuse()),
        Ok(exponent) => {
            let Some(power) = raise(&integer(10), &exponent.into(), fuel)? else { return Ok(None) };
            pay_for(bits(&number) + bits(&power), fuel)?;
            Ok(Some(number * power))
        }
    }
}
