//! Definite integrals by an antiderivative: polynomials, powers of linear formulas, exponentials and the plain
//! trigonometric functions of them, and sums of these.

use num_traits::{One, Signed};

use crate::evaluation::real_value;
use crate::expression::{Expression, Function, Ranged};
use crate::fuel::{Fuel, OutOfFuel};
use crate::normal::{Generator, normal, spelled};
use crate::rational::{Rational, integer};

type Found = Result<Option<Expression>, OutOfFuel>;

fn quotient(above: Expression, below: Expression) -> Expression {
    Expression::Quotient(Box::new((above, below)))
}

fn power(base: Expression, exponent: Expression) -> Expression {
    Expression::Power(Box::new((base, exponent)))
}

/// The antiderivative's difference between the bounds, where there is one and no pole lies between them.
pub(crate) fn between(ranged: &Ranged, fuel: &mut Fuel) -> Found {
    if ranged.from.infinite().is_some() || ranged.to.infinite().is_some() {
        return Ok(None);
    }
    let all = some!(antiderivative(&ranged.body, ranged, fuel)?);
    let at = |bound: &Expression| all.with(&ranged.variable, bound);
    Ok(Some(at(&ranged.to).minus(at(&ranged.from))))
}

fn antiderivative(body: &Expression, ranged: &Ranged, fuel: &mut Fuel) -> Found {
    fuel.spend(4 * body.size())?;
    let name = ranged.variable.as_str();
    let depends = |part: &Expression| part.variables().contains(&name);
    if let Some(found) = polynomial(body, name, fuel)? {
        return Ok(Some(found));
    }
    Ok(match body {
        Expression::Sum(parts) => {
            let mut sum = Vec::with_capacity(parts.len());
            for part in parts {
                sum.push(some!(antiderivative(part, ranged, fuel)?));
            }
            Some(Expression::Sum(sum))
        }
        Expression::Product(parts) => {
            let (inner, mut outer): (Vec<_>, Vec<_>) = parts.iter().cloned().partition(&depends);
            let [only] = inner.as_slice() else { return Ok(None) };
            outer.push(some!(antiderivative(only, ranged, fuel)?));
            Some(Expression::Product(outer))
        }
        Expression::Quotient(pair) if !depends(&pair.1) => {
            Some(quotient(some!(antiderivative(&pair.0, ranged, fuel)?), pair.1.clone()))
        }
        Expression::Quotient(pair) if !depends(&pair.0) => {
            let (base, exponent) = match &pair.1 {
                Expression::Power(inner) => (&inner.0, inner.1.clone()),
                Expression::Root(inner) => (&inner.1, quotient(Expression::Number(integer(1)), inner.0.clone())),
                other => (other, Expression::Number(integer(1))),
            };
            let whole = some!(powered(base, &exponent.negated(), ranged, fuel)?);
            Some(Expression::Product(vec![pair.0.clone(), whole]))
        }
        Expression::Power(pair) if !depends(&pair.0) => {
            // a^u = e^(u ln a)
            let slope = some!(slope(&pair.1, name));
            let scale = Expression::Product(vec![slope, Expression::call(Function::Ln, pair.0.clone())]);
            Some(quotient(body.clone(), scale))
        }
        Expression::Power(pair) => powered(&pair.0, &pair.1, ranged, fuel)?,
        Expression::Root(pair) => {
            powered(&pair.1, &quotient(Expression::Number(integer(1)), pair.0.clone()), ranged, fuel)?
        }
        Expression::Call(function, argument) => {
            let slope = some!(slope(argument, name));
            let (function, sign) = match function {
                Function::Sin => (Function::Cos, -1),
                Function::Cos => (Function::Sin, 1),
                Function::Exp => (Function::Exp, 1),
                Function::Sinh => (Function::Cosh, 1),
                Function::Cosh => (Function::Sinh, 1),
                _ => return Ok(None),
            };
            let value = Expression::call(function, (**argument).clone());
            let value = if sign < 0 { value.negated() } else { value };
            Some(quotient(value, slope))
        }
        _ => None,
    })
}

/// Of a linear formula's power, where the formula keeps clear of zero if the power wants it to.
fn powered(base: &Expression, exponent: &Expression, ranged: &Ranged, fuel: &mut Fuel) -> Found {
    let slope = some!(slope(base, &ranged.variable));
    let exponent = some!(some!(normal(exponent, fuel)?).as_number());
    let end = |bound: &Expression| base.with(&ranged.variable, bound);
    let (low, high) = (end(&ranged.from), end(&ranged.to));
    if !low.is_constant() || !high.is_constant() {
        return Ok(None);
    }
    let (low, high) = (some!(real_value(&low, fuel)?), some!(real_value(&high, fuel)?));
    let positive = |whole: bool| [&low, &high].iter().all(|end| !end.is_negative() && (whole || !end.is_zero()));
    let negative = [&low, &high].iter().all(|end| end.is_negative());
    let may = match (exponent.is_negative(), exponent.is_integer()) {
        (false, true) => true,
        // An integrable pole at an end (`1/\sqrt{x}` from 0) has a finite antiderivative there.
        (true, false) => positive(exponent > -Rational::one()),
        (true, true) => positive(false) || negative,
        (false, false) => positive(true),
    };
    if !may {
        return Ok(None);
    }
    if exponent == -Rational::one() {
        let base = if negative { base.clone().negated() } else { base.clone() };
        return Ok(Some(quotient(Expression::call(Function::Ln, base), slope)));
    }
    let next = exponent + Rational::one();
    let value = power(base.clone(), Expression::Number(next.clone()));
    Ok(Some(quotient(value, Expression::Product(vec![Expression::Number(next), slope]))))
}

/// What a linear formula grows by, where it is one and grows.
fn slope(formula: &Expression, name: &str) -> Option<Expression> {
    let depends = |part: &Expression| part.variables().contains(&name);
    match formula {
        Expression::Variable(own) if own == name => Some(Expression::Number(integer(1))),
        Expression::Sum(parts) => {
            let slopes: Option<Vec<_>> = parts.iter().filter(|part| depends(part)).map(|p| slope(p, name)).collect();
            slopes.filter(|slopes| slopes.len() == 1).and_then(|mut slopes| slopes.pop())
        }
        Expression::Product(parts) => {
            let (inner, mut outer): (Vec<_>, Vec<_>) = parts.iter().cloned().partition(&depends);
            let [only] = inner.as_slice() else { return None };
            outer.push(slope(only, name)?);
            Some(Expression::Product(outer))
        }
        Expression::Quotient(pair) if !depends(&pair.1) => Some(quotient(slope(&pair.0, name)?, pair.1.clone())),
        _ => None,
    }
}

fn polynomial(body: &Expression, name: &str, fuel: &mut Fuel) -> Found {
    let form = some!(normal(body, fuel)?);
    let variable = Generator::Variable(name.to_owned());
    if form.below.keys().any(|monomial| monomial.contains_key(&variable)) {
        return Ok(None);
    }
    let above = form.above.into_iter().map(|(mut monomial, coefficient)| {
        let power = monomial.get(&variable).copied().unwrap_or(0).saturating_add(1);
        monomial.insert(variable.clone(), power);
        (monomial, coefficient / integer(i64::from(power)))
    });
    Ok(Some(quotient(spelled(&above.collect()), spelled(&form.below))))
}
