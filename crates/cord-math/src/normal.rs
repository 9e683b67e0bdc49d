//! The exact normal form of an expression: a quotient of two polynomials with rational coefficients.
//!
//! Its generators are the variables, `π`, `e`, `i` and the square roots of primes, with `i² = -1` and `√p² = p`
//! reduced away. Distinct reduced monomials are linearly independent, so two forms are equal where their
//! difference is zero and unequal where it is not: both verdicts are exact. (That `π` and `e` are algebraically
//! independent is conjectured, not proven; numbers that would refute it are not in answers.)

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::expression::{Expression, Function, Range, Ranged};
use crate::fuel::{Fuel, OutOfFuel};
use crate::rational::{Rational, bits, integer, pay_for, raise};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Generator {
    Variable(String),
    Pi,
    Euler,
    ImaginaryUnit,
    /// The square root of a prime.
    Surd(u64),
}

type Monomial = BTreeMap<Generator, u32>;
/// No coefficient is zero.
pub(crate) type Polynomial = BTreeMap<Monomial, Rational>;

#[derive(Clone, Debug)]
pub(crate) struct Normal {
    pub(crate) above: Polynomial,
    /// Not zero.
    pub(crate) below: Polynomial,
}

/// More terms than this are left to numbers.
const MOST_TERMS: usize = 400;
/// The largest power of a sum that is multiplied out.
const MOST_FACTORS: u32 = 40;

/// `Ok(None)`: the expression has no such form, or too large a one.
type Found<T> = Result<Option<T>, OutOfFuel>;

pub(crate) fn normal(expression: &Expression, fuel: &mut Fuel) -> Found<Normal> {
    fuel.spend(4)?;
    Ok(Some(match expression {
        Expression::Number(number) => Normal::number(number.clone()),
        Expression::Variable(name) => Normal::generator(Generator::Variable(name.clone())),
        Expression::Pi => Normal::generator(Generator::Pi),
        Expression::Euler => Normal::generator(Generator::Euler),
        Expression::ImaginaryUnit => Normal::generator(Generator::ImaginaryUnit),
        Expression::Sum(parts) => {
            let mut sum = Normal::number(Rational::zero());
            for part in parts {
                let part = some!(normal(part, fuel)?);
                sum = some!(sum.plus(&part, fuel)?);
            }
            sum
        }
        Expression::Product(parts) => {
            let mut product = Normal::number(Rational::one());
            for part in parts {
                let part = some!(normal(part, fuel)?);
                product = some!(product.times(&part, fuel)?);
            }
            product
        }
        Expression::Quotient(pair) => {
            let (above, below) = (some!(normal(&pair.0, fuel)?), some!(normal(&pair.1, fuel)?));
            let below = some!(below.inverse());
            some!(above.times(&below, fuel)?)
        }
        Expression::Power(pair) => {
            let (base, exponent) = (some!(normal(&pair.0, fuel)?), some!(normal(&pair.1, fuel)?));
            let exponent = some!(exponent.as_number());
            if exponent.is_integer() {
                some!(base.power(exponent.numer(), fuel)?)
            } else if *exponent.denom() == BigInt::from(2) {
                let root = some!(square_root(&some!(base.as_number()), fuel)?);
                some!(root.power(exponent.numer(), fuel)?)
            } else {
                return Ok(None);
            }
        }
        Expression::Root(pair) => {
            if pair.0 != Expression::Number(integer(2)) {
                return Ok(None);
            }
            let radicand = some!(normal(&pair.1, fuel)?);
            some!(square_root(&some!(radicand.as_number()), fuel)?)
        }
        Expression::Call(function, argument) => {
            let argument = some!(normal(argument, fuel)?);
            let argument = some!(argument.as_number());
            Normal::number(match function {
                Function::Abs => argument.abs(),
                Function::Floor => argument.floor(),
                Function::Ceil => argument.ceil(),
                Function::Factorial => some!(factorial(&argument, 1, fuel)?),
                Function::DoubleFactorial => some!(factorial(&argument, 2, fuel)?),
                _ => return Ok(None),
            })
        }
        Expression::Binomial(pair) => {
            let (n, k) = (some!(normal(&pair.0, fuel)?), some!(normal(&pair.1, fuel)?));
            Normal::number(some!(binomial(&some!(n.as_number()), &some!(k.as_number()), fuel)?))
        }
        Expression::Ranged(Range::Integral, ranged) => {
            let difference = some!(crate::integral::between(ranged, fuel)?);
            some!(normal(&difference, fuel)?)
        }
        Expression::Ranged(range, ranged) => some!(series(*range, ranged, fuel)?),
        Expression::Infinity | Expression::Logarithm(_) => return Ok(None),
    }))
}

/// A sum or product over whole numbers, term by term.
fn series(range: Range, ranged: &Ranged, fuel: &mut Fuel) -> Found<Normal> {
    let mut bound = |bound: &Expression| -> Found<i64> {
        let number = some!(some!(normal(bound, fuel)?).as_number());
        Ok(number.numer().to_i64().filter(|n| number.is_integer() && n.abs() < 1 << 32))
    };
    let (from, to) = (some!(bound(&ranged.from)?), some!(bound(&ranged.to)?));
    let price = 4 * ranged.body.size();
    let mut total = Normal::number(integer(i64::from(range == Range::Product)));
    for n in from..=to {
        fuel.spend(price)?;
        let term = some!(normal(&ranged.body.with(&ranged.variable, &Expression::Number(integer(n))), fuel)?);
        total = some!(if range == Range::Sum { total.plus(&term, fuel)? } else { total.times(&term, fuel)? });
    }
    Ok(Some(total))
}

/// The polynomial as an expression.
pub(crate) fn spelled(polynomial: &Polynomial) -> Expression {
    let terms = polynomial.iter().map(|(monomial, coefficient)| {
        let mut factors = vec![Expression::Number(coefficient.clone())];
        for (generator, power) in monomial {
            let base = match generator {
                Generator::Variable(name) => Expression::Variable(name.clone()),
                Generator::Pi => Expression::Pi,
                Generator::Euler => Expression::Euler,
                Generator::ImaginaryUnit => Expression::ImaginaryUnit,
                Generator::Surd(prime) => Expression::Root(Box::new((
                    Expression::Number(integer(2)),
                    Expression::Number(Rational::from_integer((*prime).into())),
                ))),
            };
            factors.push(Expression::Power(Box::new((base, Expression::Number(integer(i64::from(*power)))))));
        }
        Expression::Product(factors)
    });
    Expression::Sum(terms.collect())
}

/// Are two forms equal?
pub(crate) fn same(a: &Normal, b: &Normal, fuel: &mut Fuel) -> Found<bool> {
    if a.below == b.below {
        return Ok(Some(a.above == b.above));
    }
    let left = some!(multiply(&a.above, &b.below, fuel)?);
    let right = some!(multiply(&b.above, &a.below, fuel)?);
    Ok(Some(left == right))
}

/// The rational number by which one polynomial is the other, if there is one and it is not zero.
pub(crate) fn ratio(a: &Polynomial, b: &Polynomial, fuel: &mut Fuel) -> Found<Rational> {
    let (Some((_, first)), Some((_, second))) = (a.first_key_value(), b.first_key_value()) else { return Ok(None) };
    if a.len() != b.len() {
        return Ok(None);
    }
    let ratio = first / second;
    for ((monomial, coefficient), (other, others)) in a.iter().zip(b) {
        pay_for(bits(coefficient) + bits(others) + bits(&ratio), fuel)?;
        if monomial != other || *coefficient != others * &ratio {
            return Ok(None);
        }
    }
    Ok(Some(ratio))
}

impl Normal {
    fn number(number: Rational) -> Self {
        Self { above: constant(number), below: constant(Rational::one()) }
    }

    fn generator(generator: Generator) -> Self {
        let above = [([(generator, 1)].into(), Rational::one())].into();
        Self { above, below: constant(Rational::one()) }
    }

    /// The number that the form is, if it is one.
    pub(crate) fn as_number(&self) -> Option<Rational> {
        let number = |polynomial: &Polynomial| match polynomial.len() {
            0 => Some(Rational::zero()),
            1 => polynomial.get(&Monomial::new()).cloned(),
            _ => None,
        };
        Some(number(&self.above)? / number(&self.below)?)
    }

    fn plus(&self, other: &Self, fuel: &mut Fuel) -> Found<Self> {
        if self.below == other.below {
            let above = some!(add(&self.above, &other.above, fuel)?);
            return Ok(Some(Self { above, below: self.below.clone() }));
        }
        let left = some!(multiply(&self.above, &other.below, fuel)?);
        let right = some!(multiply(&other.above, &self.below, fuel)?);
        let below = some!(multiply(&self.below, &other.below, fuel)?);
        Ok(Some(Self { above: some!(add(&left, &right, fuel)?), below }))
    }

    fn times(&self, other: &Self, fuel: &mut Fuel) -> Found<Self> {
        let above = some!(multiply(&self.above, &other.above, fuel)?);
        let below = some!(multiply(&self.below, &other.below, fuel)?);
        // A product of nonzero forms is not zero, but `i` and surds make zero divisors of polynomials.
        Ok((!below.is_empty()).then_some(Self { above, below }.scaled()))
    }

    /// Nothing for zero.
    fn inverse(self) -> Option<Self> {
        (!self.above.is_empty()).then_some(Self { above: self.below, below: self.above }.scaled())
    }

    /// With a constant denominator divided away.
    fn scaled(mut self) -> Self {
        if self.below.len() == 1
            && let Some(number) = self.below.get(&Monomial::new()).filter(|number| !number.is_one()).cloned()
        {
            self.above.values_mut().for_each(|coefficient| *coefficient /= &number);
            self.below = constant(Rational::one());
        }
        self
    }

    fn power(self, exponent: &BigInt, fuel: &mut Fuel) -> Found<Self> {
        if let Some(number) = self.as_number() {
            return Ok(raise(&number, exponent, fuel)?.map(Self::number));
        }
        let base = if exponent.is_negative() { some!(self.inverse()) } else { self };
        let Some(times) = exponent.abs().to_u32().filter(|times| *times <= MOST_FACTORS) else { return Ok(None) };
        let mut result = Self::number(Rational::one());
        for _ in 0..times {
            result = some!(result.times(&base, fuel)?);
        }
        Ok(Some(result))
    }
}

fn constant(number: Rational) -> Polynomial {
    if number.is_zero() { Polynomial::new() } else { [(Monomial::new(), number)].into() }
}

fn add(a: &Polynomial, b: &Polynomial, fuel: &mut Fuel) -> Found<Polynomial> {
    let mut sum = a.clone();
    fuel.spend(4 * a.len() as u64)?;
    for (monomial, coefficient) in b {
        pay_for(2 * bits(coefficient), fuel)?;
        add_term(&mut sum, monomial.clone(), coefficient.clone());
    }
    Ok((sum.len() <= MOST_TERMS).then_some(sum))
}

fn add_term(sum: &mut Polynomial, monomial: Monomial, coefficient: Rational) {
    let entry = sum.entry(monomial);
    match entry {
        std::collections::btree_map::Entry::Vacant(vacant) => {
            vacant.insert(coefficient);
        }
        std::collections::btree_map::Entry::Occupied(mut occupied) => {
            *occupied.get_mut() += coefficient;
            if occupied.get().is_zero() {
                occupied.remove();
            }
        }
    }
}

fn multiply(a: &Polynomial, b: &Polynomial, fuel: &mut Fuel) -> Found<Polynomial> {
    let mut product = Polynomial::new();
    for (left, by) in a {
        for (right, times) in b {
            pay_for(bits(by) + bits(times), fuel)?;
            fuel.spend(4 + 4 * (left.len() + right.len()) as u64)?;
            let (mut monomial, mut coefficient) = (left.clone(), by * times);
            for (generator, exponent) in right {
                let entry = monomial.entry(generator.clone()).or_insert(0);
                *entry = some!(entry.checked_add(*exponent));
                let square = match generator {
                    Generator::ImaginaryUnit => integer(-1),
                    Generator::Surd(prime) => Rational::from_integer((*prime).into()),
                    _ => continue,
                };
                if *entry >= 2 {
                    coefficient *= square;
                    monomial.remove(generator);
                }
            }
            add_term(&mut product, monomial, coefficient);
            if product.len() > MOST_TERMS {
                return Ok(None);
            }
        }
    }
    Ok(Some(product))
}

/// The square root of a rational number, where its prime factors can be found.
fn square_root(number: &Rational, fuel: &mut Fuel) -> Found<Normal> {
    if number.is_zero() {
        return Ok(Some(Normal::number(Rational::zero())));
    }
    // √(a/b) = √(ab)/b.
    pay_for(2 * bits(number), fuel)?;
    let mut rest: BigInt = (number.numer() * number.denom()).abs();
    let mut outside = Rational::new(BigInt::one(), number.denom().clone());
    let mut surds = Monomial::new();
    if number.is_negative() {
        surds.insert(Generator::ImaginaryUnit, 1);
    }
    pay_for(rest.bits() * 2, fuel)?;
    let whole = rest.sqrt();
    if &whole * &whole == rest {
        outside *= Rational::from_integer(whole);
    } else {
        if rest.bits() > 62 {
            return Ok(None);
        }
        let mut small = rest.to_u64().unwrap_or(0);
        let mut divisor = 2u64;
        while divisor * divisor <= small && divisor < 100_000 {
            if divisor % 64 == 1 {
                fuel.spend(8)?;
            }
            let mut odd = false;
            while small.is_multiple_of(divisor) {
                small /= divisor;
                if odd {
                    outside *= Rational::from_integer(divisor.into());
                }
                odd = !odd;
            }
            if odd {
                surds.insert(Generator::Surd(divisor), 1);
            }
            divisor += if divisor == 2 { 1 } else { 2 };
        }
        if divisor * divisor <= small {
            return Ok(None);
        }
        rest = small.into();
        if !rest.is_one() {
            surds.insert(Generator::Surd(small), 1);
        }
    }
    Ok(Some(Normal { above: [(surds, outside)].into(), below: constant(Rational::one()) }))
}

/// `n(n - step)(n - 2 step)…`.
fn factorial(n: &Rational, step: usize, fuel: &mut Fuel) -> Found<Rational> {
    if !n.is_integer() || n.is_negative() {
        return Ok(None);
    }
    let Some(n) = n.numer().to_u64().filter(|n| *n <= 1 << 20) else { return Err(fuel.refuse()) };
    let mut product = BigInt::one();
    for factor in (1..=n).rev().step_by(step) {
        fuel.spend(product.bits() / 64 + 1)?;
        product *= factor;
    }
    Ok(Some(Rational::from_integer(product)))
}

fn binomial(n: &Rational, k: &Rational, fuel: &mut Fuel) -> Found<Rational> {
    if !n.is_integer() || !k.is_integer() || n.is_negative() || k.is_negative() {
        return Ok(None);
    }
    if n < k {
        return Ok(Some(Rational::zero()));
    }
    let k = k.numer().min(&(n.numer() - k.numer())).clone();
    let Some(k) = k.to_u64().filter(|k| *k <= 1 << 16) else { return Err(fuel.refuse()) };
    let mut product = BigInt::one();
    for step in 0..k {
        fuel.spend(4 * (product.bits() / 64 + 1))?;
        product = product * (n.numer() - step) / (step + 1);
    }
    Ok(Some(Rational::from_integer(product)))
}
