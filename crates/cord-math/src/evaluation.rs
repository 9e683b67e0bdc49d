//! The value of an expression at a point, and equality at seeded points.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use crate::complex::Complex;
use crate::expression::{Expression, Function, Range, Ranged};
use crate::fuel::{Fuel, OutOfFuel};
use crate::rational::{Rational, bits, pay_for};
use crate::real::Real;

/// Two values are equal where they agree to 2^-SHARED of the largest number that went into them. The rest of
/// the precision is for rounding, so a false match needs an agreement in 60 digits, a false miss a
/// cancellation of 36.
const SHARED: i64 = 200;
/// The price of a product, and of a function, in fuel.
const PRODUCT: u64 = 60;
const CALL: u64 = 2000;
/// Fixed, so that a verdict is the same on every machine and day.
const SEED: u64 = 0x636f_7264_6d61_7468;

/// More terms than this of an endless sum are not added.
const MOST_TERMS: i64 = 3000;
/// Nodes of the double exponential rule for each unit of its variable.
const STEPS: i64 = 32;

/// Values for variables.
pub(crate) type Point<'a> = BTreeMap<&'a str, Complex>;

struct Evaluation<'a, 'f> {
    point: &'a Point<'a>,
    /// Variables that sums and integrals run through, the innermost last.
    bound: Vec<(String, Complex)>,
    /// The magnitude of the largest term of any sum: what a cancelled sum is measured by.
    largest: Option<i64>,
    fuel: &'f mut Fuel,
}

/// `Ok(None)`: no value here.
type Found = Result<Option<Complex>, OutOfFuel>;

impl Evaluation<'_, '_> {
    fn value(&mut self, expression: &Expression) -> Found {
        self.fuel.spend(PRODUCT)?;
        Ok(match expression {
            Expression::Number(number) => {
                pay_for(bits(number), self.fuel)?;
                Some(Complex::real(Real::rational(number)))
            }
            Expression::Variable(name) => {
                let bound = self.bound.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value);
                bound.or_else(|| self.point.get(name.as_str())).cloned()
            }
            Expression::Pi => Some(Complex::real(Real::pi())),
            Expression::Euler => Complex::integer(1).exp(),
            Expression::ImaginaryUnit => Some(Complex::i()),
            Expression::Infinity => None,
            Expression::Sum(parts) => {
                let mut sum = Complex::integer(0);
                for part in parts {
                    let part = some!(self.value(part)?);
                    self.largest = self.largest.max(magnitude(&part));
                    sum = sum.add(&part);
                }
                Some(sum)
            }
            Expression::Product(parts) => {
                let mut product = Complex::integer(1);
                for part in parts {
                    product = product.mul(&some!(self.value(part)?));
                }
                Some(product)
            }
            Expression::Quotient(pair) => {
                let (above, below) = (some!(self.value(&pair.0)?), some!(self.value(&pair.1)?));
                // What is zero but for rounding divides nothing.
                if self.is_noise(&below) { None } else { above.div(&below) }
            }
            Expression::Power(pair) => self.power(&pair.0, &pair.1)?,
            Expression::Root(pair) => {
                let one = Expression::Number(crate::rational::integer(1));
                let exponent = match &pair.0 {
                    Expression::Number(index) if index.is_zero() => return Ok(None),
                    Expression::Number(index) => Expression::Number(index.recip()),
                    index => Expression::Quotient(Box::new((one, index.clone()))),
                };
                self.power(&pair.1, &exponent)?
            }
            Expression::Logarithm(pair) => {
                self.fuel.spend(2 * CALL)?;
                let (base, argument) = (some!(self.value(&pair.0)?), some!(self.value(&pair.1)?));
                let (above, below) = (some!(argument.ln()), some!(base.ln()));
                above.div(&below)
            }
            Expression::Binomial(pair) => {
                let (n, k) = (some!(self.value(&pair.0)?), some!(self.value(&pair.1)?));
                let (n, k) = (some!(small_integer(&n)), some!(small_integer(&k)));
                let mut product = Complex::integer(i64::from(k <= n));
                for step in 0..k.min(n) {
                    self.fuel.spend(2 * PRODUCT)?;
                    let factor = Complex::integer(n - step);
                    product = some!(product.mul(&factor).div(&Complex::integer(step + 1)));
                }
                Some(product)
            }
            Expression::Call(function, argument) => {
                let argument = some!(self.value(argument)?);
                self.call(*function, &argument)?
            }
            Expression::Ranged(Range::Integral, ranged) => self.integral(ranged)?,
            Expression::Ranged(range, ranged) => self.series(*range, ranged)?,
        })
    }

    /// A formula's value where its bound variable has a value.
    fn value_at(&mut self, ranged: &Ranged, value: Complex) -> Found {
        self.bound.push((ranged.variable.clone(), value));
        let found = self.value(&ranged.body);
        self.bound.pop();
        found
    }

    /// Term by term; without an upper bound until the terms are too small to count, if they ever are.
    fn series(&mut self, range: Range, ranged: &Ranged) -> Found {
        let endless = ranged.to.infinite() == Some(true) && range == Range::Sum;
        let from = some!(some!(self.value(&ranged.from)?).re.near_integer().and_then(|n| n.to_i64()));
        let to = if endless {
            from.saturating_add(MOST_TERMS)
        } else {
            let to = some!(self.value(&ranged.to)?);
            some!(to.re.near_integer().filter(|_| to.is_real()).and_then(|n| n.to_i64()))
        };
        let mut total = Complex::integer(i64::from(range == Range::Product));
        let mut vanishing = 0;
        for n in from..=to {
            let term = some!(self.value_at(ranged, Complex::integer(n))?);
            if range == Range::Product {
                total = total.mul(&term);
                continue;
            }
            self.largest = self.largest.max(magnitude(&term));
            total = total.add(&term);
            let small = match (magnitude(&term), magnitude(&total)) {
                (None, _) => true,
                (Some(own), Some(all)) => own < all - 260,
                _ => false,
            };
            vanishing = if small { vanishing + 1 } else { 0 };
            if endless && vanishing == 8 {
                return Ok(Some(total));
            }
        }
        Ok((!endless).then_some(total))
    }

    /// By the antiderivative where there is one, else by the double exponential rule of Takahasi and Mori (1974).
    fn integral(&mut self, ranged: &Ranged) -> Found {
        if let Some(difference) = crate::integral::between(ranged, self.fuel)? {
            return self.value(&difference);
        }
        let (from, to) = (some!(self.value(&ranged.from)?), some!(self.value(&ranged.to)?));
        if !from.is_real() || !to.is_real() {
            return Ok(None);
        }
        let half = some!(to.sub(&from).div(&Complex::integer(2)));
        let middle = from.add(&half);
        let mut coarse = Complex::integer(0);
        let mut fine = some!(self.value_at(ranged, middle)?).mul(&Complex::real(nodes()[0].1.clone()));
        coarse = coarse.add(&fine);
        for (place, (off, weight)) in nodes().iter().enumerate().skip(1) {
            let step = half.mul(&Complex::real(off.clone()));
            let (low, high) = (from.add(&step), to.sub(&step));
            let pair = some!(self.value_at(ranged, low)?).add(&some!(self.value_at(ranged, high)?));
            let pair = pair.mul(&Complex::real(weight.clone()));
            fine = fine.add(&pair);
            if place % 2 == 0 {
                coarse = coarse.add(&pair);
            }
        }
        let coarse = coarse.add(&coarse);
        // Halving the step doubles the digits that are right: half of them must have been before.
        let settled = match (magnitude(&fine.sub(&coarse)), magnitude(&fine)) {
            (None, _) => true,
            (Some(off), scale) => off < scale.unwrap_or(0).max(0) - SHARED / 2,
        };
        if !settled {
            return Ok(None);
        }
        Ok(fine.mul(&half).div(&Complex::integer(STEPS)))
    }

    fn is_noise(&self, value: &Complex) -> bool {
        match (magnitude(value), self.largest) {
            (None, _) => true,
            (Some(own), Some(largest)) => own < largest - SHARED,
            _ => false,
        }
    }

    fn power(&mut self, base: &Expression, exponent: &Expression) -> Found {
        let value = some!(self.value(base)?);
        if let Expression::Number(exponent) = exponent {
            if exponent.is_integer() {
                let Some(times) = exponent.numer().to_i64() else { return Ok(None) };
                self.fuel.spend(4 * PRODUCT * u64::from(64 - times.unsigned_abs().leading_zeros()))?;
                return Ok(value.integer_power(times));
            }
            if value.im.is_zero() && value.re.is_negative() && exponent.denom().bit(0) {
                // The real root of a negative number, where there is one: `\sqrt[3]{-8}` is -2.
                self.fuel.spend(2 * CALL)?;
                let size = some!(Complex::real(value.re.abs()).power(&Complex::real(Real::rational(exponent))));
                return Ok(Some(if exponent.numer().bit(0) { size.neg() } else { size }));
            }
            if *exponent.denom() == BigInt::from(2) && exponent.numer().abs() == BigInt::from(1) {
                self.fuel.spend(CALL)?;
                let root = some!(value.sqrt());
                return Ok(if exponent.is_negative() { Complex::integer(1).div(&root) } else { Some(root) });
            }
        }
        let exponent = some!(self.value(exponent)?);
        self.fuel.spend(3 * CALL)?;
        if exponent.is_real()
            && let Some(times) = exponent.re.near_integer()
        {
            return Ok(times.to_i64().and_then(|times| value.integer_power(times)));
        }
        Ok(value.power(&exponent))
    }

    fn call(&mut self, function: Function, argument: &Complex) -> Found {
        self.fuel.spend(if argument.im.is_zero() { 2 * CALL } else { 6 * CALL })?;
        let one = Complex::integer(1);
        let integer = |n: Option<BigInt>| n.map(|n| Complex::real(Real::rational(&Rational::from_integer(n))));
        Ok(match function {
            Function::Sin => argument.sin_cos().map(|(sin, _)| sin),
            Function::Cos => argument.sin_cos().map(|(_, cos)| cos),
            Function::Tan | Function::Cot | Function::Sec | Function::Csc => {
                let (sin, cos) = some!(argument.sin_cos());
                let (above, below) = match function {
                    Function::Tan => (sin, cos),
                    Function::Cot => (cos, sin),
                    Function::Sec => (one, cos),
                    _ => (one, sin),
                };
                // `\tan 90°` has no value.
                if magnitude(&below).is_none_or(|m| m < -SHARED) { None } else { above.div(&below) }
            }
            Function::Arcsin => argument.asin(),
            Function::Arccos => argument.acos(),
            Function::Arctan => argument.atan(),
            Function::Sinh => argument.sinh_cosh().map(|(sinh, _)| sinh),
            Function::Cosh => argument.sinh_cosh().map(|(_, cosh)| cosh),
            Function::Tanh => argument.sinh_cosh().and_then(|(sinh, cosh)| sinh.div(&cosh)),
            Function::Ln => argument.ln(),
            Function::Exp => argument.exp(),
            Function::Abs => argument.abs().map(Complex::real),
            Function::Floor if argument.is_real() => integer(argument.re.floor()),
            Function::Ceil if argument.is_real() => integer(argument.re.neg().floor().map(|n| -n)),
            Function::Floor | Function::Ceil => None,
            Function::Factorial | Function::DoubleFactorial => {
                let n = some!(small_integer(argument));
                let mut product = one;
                let step = if function == Function::Factorial { 1 } else { 2 };
                for factor in (1..=n).rev().step_by(step) {
                    self.fuel.spend(PRODUCT)?;
                    product = product.mul(&Complex::integer(factor));
                }
                Some(product)
            }
        })
    }
}

/// Where on (-1, 1) the double exponential rule looks, as the distance from the nearer end, and with what weight,
/// from the middle outwards.
fn nodes() -> &'static [(Real, Real)] {
    static NODES: OnceLock<Vec<(Real, Real)>> = OnceLock::new();
    NODES.get_or_init(|| {
        let half_pi = Real::pi().mul(&Real::rational(&Rational::new(1.into(), 2.into())));
        let node = |place: i64| {
            let (sinh, cosh) = Complex::real(Real::rational(&Rational::new(place.into(), STEPS.into()))).sinh_cosh()?;
            let u = Complex::real(half_pi.mul(&sinh.re));
            let (_, inner) = u.sinh_cosh()?;
            let off = u.neg().exp()?.re.div(&inner.re)?;
            let weight = half_pi.mul(&cosh.re).div(&inner.re.mul(&inner.re))?;
            Some((off, weight))
        };
        (0..=5 * STEPS).map_while(node).collect()
    })
}

fn small_integer(value: &Complex) -> Option<i64> {
    let integer = value.re.near_integer().filter(|_| value.is_real())?;
    integer.to_i64().filter(|n| (0..=2000).contains(n))
}

fn magnitude(value: &Complex) -> Option<i64> {
    value.re.magnitude().max(value.im.magnitude())
}

/// The value of a constant expression as a real number, if it has one.
pub(crate) fn real_value(expression: &Expression, fuel: &mut Fuel) -> Result<Option<Real>, OutOfFuel> {
    let point = Point::new();
    let mut evaluation = Evaluation { point: &point, bound: Vec::new(), largest: None, fuel };
    let Some(value) = evaluation.value(expression)? else { return Ok(None) };
    let value = if evaluation.is_noise(&value) { Complex::integer(0) } else { value };
    Ok(value.is_real().then_some(value.re))
}

/// Which points two expressions are compared at.
#[derive(Clone, Copy, PartialEq)]
enum Domain {
    Real,
    Integer,
    Complex,
}

fn point<'a>(variables: &[&'a str], domain: Domain, round: u64) -> Point<'a> {
    let mut point = Point::new();
    for name in variables {
        let mut state = SEED ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        // Between 0.3 and 3.3 in thousandths: far from where powers overflow and logarithms vanish.
        let size = |bits: u64| Rational::new((300 + bits % 3001).into(), 1000.into());
        let real = match domain {
            Domain::Integer => Rational::from_integer((1 + state % 9).into()),
            // The first rounds are positive, so that logarithms and roots are compared somewhere.
            _ if round < 3 || state & (1 << 40) == 0 => size(state >> 8),
            _ => -size(state >> 8),
        };
        let im = if domain == Domain::Complex { Real::rational(&size(mix(state))) } else { Real::zero() };
        point.insert(name, Complex { re: Real::rational(&real), im });
    }
    point
}

fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Does the given expression have the gold one's value wherever that has one?
///
/// At real points, signs mixed, where the gold is real: `\ln x^2` is given for `2\ln x`, and not the other way
/// round. A gold answer with `i`, or that is real nowhere, is compared at complex points; one with factorials or
/// with powers of negative numbers at whole numbers.
pub(crate) fn agree(gold: &Expression, given: &Expression, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    let mut variables = gold.variables();
    variables.extend(given.variables());
    variables.sort_unstable();
    variables.dedup();
    let imaginary = gold.any(&|part| *part == Expression::ImaginaryUnit);
    let whole = [gold, given].iter().any(|e| e.any(&needs_whole_numbers));
    let domains: &[Domain] = match (imaginary, whole) {
        (_, true) => &[Domain::Integer],
        (true, false) => &[Domain::Complex],
        (false, false) => &[Domain::Real, Domain::Complex],
    };
    for domain in domains {
        let rounds = if variables.is_empty() { 1 } else { 8 };
        let mut agreed = 0;
        for round in 0..rounds {
            let point = point(&variables, *domain, round);
            let mut evaluation = Evaluation { point: &point, bound: Vec::new(), largest: None, fuel };
            let Some(expected) = evaluation.value(gold)? else { continue };
            if *domain == Domain::Real && !variables.is_empty() && !expected.is_real() {
                continue;
            }
            let Some(found) = evaluation.value(given)? else { return Ok(false) };
            let off = expected.sub(&found);
            let scale = magnitude(&expected).max(magnitude(&found)).max(evaluation.largest);
            match (magnitude(&off), scale) {
                (Some(off), Some(scale)) if off >= scale - SHARED => return Ok(false),
                _ => agreed += 1,
            }
        }
        if agreed >= 2 || (agreed == 1 && variables.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Has it a value at whole numbers only?
fn needs_whole_numbers(part: &Expression) -> bool {
    match part {
        Expression::Call(Function::Factorial | Function::DoubleFactorial, argument) => !argument.is_constant(),
        Expression::Ranged(Range::Sum | Range::Product, ranged) => {
            !ranged.from.is_constant() || !ranged.to.is_constant()
        }
        Expression::Binomial(pair) => !pair.0.is_constant() || !pair.1.is_constant(),
        Expression::Power(pair) => {
            matches!(&pair.0, Expression::Number(base) if base.is_negative()) && !pair.1.is_constant()
        }
        _ => false,
    }
}

/// Is one expression the other times a constant, and of which sign is it?
pub(crate) fn constant_ratio(a: &Expression, b: &Expression, fuel: &mut Fuel) -> Result<Option<bool>, OutOfFuel> {
    let mut variables = a.variables();
    variables.extend(b.variables());
    variables.sort_unstable();
    variables.dedup();
    let mut ratio: Option<Complex> = None;
    let mut agreed = 0;
    for round in 0..6 {
        let point = point(&variables, Domain::Real, round);
        let mut evaluation = Evaluation { point: &point, bound: Vec::new(), largest: None, fuel };
        let (Some(above), Some(below)) = (evaluation.value(a)?, evaluation.value(b)?) else { continue };
        if evaluation.is_noise(&above) || evaluation.is_noise(&below) {
            continue;
        }
        let Some(found) = above.div(&below) else { continue };
        match &ratio {
            None => ratio = Some(found),
            Some(first) => {
                let off = magnitude(&first.sub(&found));
                if off.is_some_and(|off| off >= magnitude(first).unwrap_or(0) - SHARED) {
                    return Ok(None);
                }
                agreed += 1;
            }
        }
    }
    Ok(ratio.filter(|ratio| agreed >= 2 && ratio.is_real()).map(|ratio| !ratio.re.is_negative()))
}
