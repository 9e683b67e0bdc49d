//! Sets of real numbers: intervals, their unions, and the inequalities that describe them.
//!
//! A set is its sorted cuts: places between numbers where membership changes. `[a, b)` cuts before `a` and before
//! `b`; `(a, b]` cuts after both. Union, intersection and difference then walk two rows of cuts at once.

use std::cmp::Ordering;

use num_traits::{Signed, Zero};

use crate::evaluation::real_value;
use crate::expression::{Expression, Function};
use crate::fuel::{Fuel, OutOfFuel};
use crate::normal::{Generator, normal};
use crate::rational::Rational;
use crate::real::Real;
use crate::value::{Brackets, Comparison, Joint, Value};

#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// Below every number.
    Bottom,
    At {
        value: Expression,
        real: Real,
        after: bool,
    },
    /// Above every number.
    Top,
}

#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) variable: Option<String>,
    /// Sorted; the set begins at each even place and ends at each odd one.
    pub(crate) cuts: Vec<Cut>,
}

type Found<T> = Result<Option<T>, OutOfFuel>;

impl Cut {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bottom, Self::Bottom) | (Self::Top, Self::Top) => Ordering::Equal,
            (Self::Bottom, _) | (_, Self::Top) => Ordering::Less,
            (_, Self::Bottom) | (Self::Top, _) => Ordering::Greater,
            (Self::At { real, after, .. }, Self::At { real: others, after: other_after, .. }) => {
                near(real, others).then_with(|| after.cmp(other_after))
            }
        }
    }
}

/// The order of two numbers, equal where they differ by rounding only.
fn near(a: &Real, b: &Real) -> Ordering {
    let off = a.sub(b);
    let scale = a.magnitude().max(b.magnitude()).unwrap_or(0);
    match off.magnitude() {
        Some(magnitude) if magnitude >= scale - 200 => a.compare(b),
        _ => Ordering::Equal,
    }
}

fn combine(a: &[Cut], b: &[Cut], keep: fn(bool, bool) -> bool) -> Vec<Cut> {
    let (mut cuts, mut inside) = (Vec::new(), keep(false, false));
    let (mut i, mut j) = (0, 0);
    if inside {
        cuts.push(Cut::Bottom);
    }
    while i < a.len() || j < b.len() {
        let order = match (a.get(i), b.get(j)) {
            (Some(a), Some(b)) => a.order(b),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let cut = if order == Ordering::Greater { &b[j] } else { &a[i] };
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
        let now = keep(i % 2 == 1, j % 2 == 1);
        if now != inside {
            inside = now;
            cuts.push(cut.clone());
        }
    }
    cuts
}

/// Do two descriptions speak of one variable?
fn one_variable(a: Option<&String>, b: Option<&String>) -> bool {
    a.zip(b).is_none_or(|(a, b)| a == b)
}

impl Region {
    fn all() -> Self {
        Self { variable: None, cuts: vec![Cut::Bottom, Cut::Top] }
    }

    fn combined(self, other: Self, keep: fn(bool, bool) -> bool) -> Option<Self> {
        if !one_variable(self.variable.as_ref(), other.variable.as_ref()) {
            return None;
        }
        let cuts = combine(&self.cuts, &other.cuts, keep);
        Some(Self { variable: self.variable.or(other.variable), cuts })
    }
}

/// Can the value be nothing but a set of numbers? `(1, 2)` may be a point as well.
pub(crate) fn is_region(value: &Value) -> bool {
    let infinite = |item: &Value| item.formula().is_some_and(|formula| formula.infinite().is_some());
    match value {
        Value::Union(_)
        | Value::Intersection(_)
        | Value::Difference(_)
        | Value::Reals
        | Value::Membership { .. }
        | Value::List { brackets: Brackets::OpenLeft | Brackets::OpenRight, .. } => true,
        Value::Relation { comparisons, .. } => {
            comparisons.iter().all(|c| !matches!(c, Comparison::Equal | Comparison::Approximate))
        }
        Value::List { brackets: Brackets::None, items, .. } => items.iter().any(is_region),
        Value::List { items, .. } => items.len() == 2 && items.iter().any(infinite),
        _ => false,
    }
}

/// The set of numbers that a value describes.
pub(crate) fn region(value: &Value, depth: u32, fuel: &mut Fuel) -> Found<Region> {
    fuel.spend(16)?;
    Ok(match value {
        Value::Reals => Some(Region::all()),
        Value::Empty => Some(Region { variable: None, cuts: Vec::new() }),
        Value::Union(parts) => fold(parts, |a, b| a || b, depth, fuel)?,
        Value::Intersection(parts) => fold(parts, |a, b| a && b, depth, fuel)?,
        Value::Difference(pair) => {
            let (a, b) = (some!(region(&pair.0, depth + 1, fuel)?), some!(region(&pair.1, depth + 1, fuel)?));
            a.combined(b, |a, b| a && !b)
        }
        Value::Membership { variable, of } => {
            let inner = some!(region(of, depth + 1, fuel)?);
            one_variable(variable.as_ref(), inner.variable.as_ref())
                .then(|| Region { variable: variable.clone().or(inner.variable), cuts: inner.cuts })
        }
        Value::Set(items) => {
            let mut set = Region { variable: None, cuts: Vec::new() };
            for item in items {
                let value = some!(item.formula());
                let low = some!(cut(value, false, fuel)?);
                let high = some!(cut(value, true, fuel)?);
                set = some!(set.combined(Region { variable: None, cuts: vec![low, high] }, |a, b| a || b));
            }
            Some(set)
        }
        Value::List { brackets: Brackets::None, joint, items } => match joint {
            Joint::Or => fold(items, |a, b| a || b, depth, fuel)?,
            Joint::And => fold(items, |a, b| a && b, depth, fuel)?,
            Joint::Comma => {
                let both = some!(fold(items, |a, b| a && b, depth, fuel)?);
                // `x < 2, x > 3` is said for either.
                if both.cuts.is_empty() { fold(items, |a, b| a || b, depth, fuel)? } else { Some(both) }
            }
        },
        Value::List { brackets, items, .. } => {
            let [low, high] = items.as_slice() else { return Ok(None) };
            let (low, high) = (some!(low.formula()), some!(high.formula()));
            let low = some!(cut(low, matches!(brackets, Brackets::Round | Brackets::OpenLeft), fuel)?);
            let high = some!(cut(high, matches!(brackets, Brackets::Square | Brackets::OpenLeft), fuel)?);
            (low.order(&high) == Ordering::Less).then(|| Region { variable: None, cuts: vec![low, high] })
        }
        Value::Relation { sides, comparisons } => relation(sides, comparisons, fuel)?,
        _ => None,
    })
}

fn fold(parts: &[Value], keep: fn(bool, bool) -> bool, depth: u32, fuel: &mut Fuel) -> Found<Region> {
    let (first, rest) = some!(parts.split_first());
    let mut all = some!(region(first, depth + 1, fuel)?);
    for part in rest {
        let part = some!(region(part, depth + 1, fuel)?);
        fuel.spend(100 * (all.cuts.len() + part.cuts.len()) as u64)?;
        all = some!(all.combined(part, keep));
    }
    Ok(Some(all))
}

fn cut(value: &Expression, after: bool, fuel: &mut Fuel) -> Found<Cut> {
    match value.infinite() {
        Some(true) => return Ok(Some(Cut::Top)),
        Some(false) => return Ok(Some(Cut::Bottom)),
        None => {}
    }
    if !value.is_constant() {
        return Ok(None);
    }
    let real = some!(real_value(value, fuel)?);
    Ok(Some(Cut::At { value: value.clone(), real, after }))
}

/// `x > 3`, `2 \le x < 5`, `2x > 6`, `x \ne 3`.
fn relation(sides: &[Value], comparisons: &[Comparison], fuel: &mut Fuel) -> Found<Region> {
    let mut all = Region::all();
    for (pair, comparison) in sides.windows(2).zip(comparisons) {
        let [left, right] = pair else { return Ok(None) };
        let (left, right) = (some!(left.formula()), some!(right.formula()));
        let half = some!(half_line(left, *comparison, right, fuel)?);
        all = some!(all.combined(half, |a, b| a && b));
    }
    Ok(Some(all))
}

fn half_line(left: &Expression, comparison: Comparison, right: &Expression, fuel: &mut Fuel) -> Found<Region> {
    match (left, right) {
        (Expression::Call(Function::Abs, inner), bound) if bound.is_constant() => {
            return within(inner, comparison, bound, fuel);
        }
        (bound, Expression::Call(Function::Abs, inner)) if bound.is_constant() => {
            return within(inner, comparison.flipped(), bound, fuel);
        }
        _ => {}
    }
    if let Some(region) = quadratic(left, comparison, right, fuel)? {
        return Ok(Some(region));
    }
    let (variable, comparison, bound) = match (left, right) {
        (Expression::Variable(name), bound) if bound.is_constant() => (name.clone(), comparison, bound.clone()),
        (bound, Expression::Variable(name)) if bound.is_constant() => {
            (name.clone(), comparison.flipped(), bound.clone())
        }
        _ => some!(solved(left, comparison, right, fuel)?),
    };
    if bound.infinite().is_some() && !matches!(comparison, Comparison::Less | Comparison::Greater) {
        return Ok(None);
    }
    let (before, after) = (some!(cut(&bound, false, fuel)?), some!(cut(&bound, true, fuel)?));
    let cuts = match comparison {
        Comparison::Less => vec![Cut::Bottom, before],
        Comparison::LessOrEqual => vec![Cut::Bottom, after],
        Comparison::Greater => vec![after, Cut::Top],
        Comparison::GreaterOrEqual => vec![before, Cut::Top],
        Comparison::Equal => vec![before, after],
        Comparison::Unequal => vec![Cut::Bottom, before, after, Cut::Top],
        Comparison::Approximate => return Ok(None),
    };
    Ok(Some(Region { variable: Some(variable), cuts }))
}

/// `|u| < c` is `-c < u < c`, `|u| > c` is what lies outside.
fn within(inner: &Expression, comparison: Comparison, bound: &Expression, fuel: &mut Fuel) -> Found<Region> {
    if inner.any(&|part| matches!(part, Expression::Call(Function::Abs, _))) {
        return Ok(None);
    }
    let above = some!(half_line(inner, comparison, bound, fuel)?);
    let below = some!(half_line(inner, comparison.flipped(), &bound.clone().negated(), fuel)?);
    let both = matches!(comparison, Comparison::Less | Comparison::LessOrEqual | Comparison::Unequal);
    Ok(above.combined(below, if both { |a, b| a && b } else { |a, b| a || b }))
}

/// `x^2 - 5x + 6 \le 0`: between the roots, or outside.
fn quadratic(left: &Expression, comparison: Comparison, right: &Expression, fuel: &mut Fuel) -> Found<Region> {
    if left.infinite().is_some() || right.infinite().is_some() || comparison == Comparison::Approximate {
        return Ok(None);
    }
    let difference = left.clone().minus(right.clone());
    let variables = difference.variables();
    let [name] = variables.as_slice() else { return Ok(None) };
    // A cheap look first: most relations are linear.
    if !difference.any(&|part| matches!(part, Expression::Power(_) | Expression::Product(_))) {
        return Ok(None);
    }
    let form = some!(normal(&difference, fuel)?);
    let mut coefficients = [Rational::zero(), Rational::zero(), Rational::zero()];
    if form.below.len() != 1 || form.below.keys().any(|monomial| !monomial.is_empty()) {
        return Ok(None);
    }
    for (monomial, coefficient) in form.above {
        let power = monomial.values().sum::<u32>() as usize;
        let plain = monomial.keys().all(|generator| matches!(generator, Generator::Variable(_)));
        let Some(place) = coefficients.get_mut(power).filter(|_| plain) else { return Ok(None) };
        *place = coefficient;
    }
    let [c, b, a] = coefficients;
    if a.is_zero() {
        return Ok(None);
    }
    let four = Rational::from_integer(4.into());
    let discriminant = &b * &b - four * &a * c;
    let variable = Some((*name).to_owned());
    let outside = if a.is_negative() { comparison.flipped() } else { comparison };
    let takes_outside = matches!(outside, Comparison::Greater | Comparison::GreaterOrEqual | Comparison::Unequal);
    if discriminant.is_negative() {
        let cuts = if takes_outside { vec![Cut::Bottom, Cut::Top] } else { Vec::new() };
        return Ok(Some(Region { variable, cuts }));
    }
    let root = |sign: i64| {
        let size = a.abs();
        let surd = Expression::Root(Box::new((
            Expression::Number(Rational::from_integer(2.into())),
            Expression::Number(discriminant.clone()),
        )));
        let middle = Expression::Number(if a.is_negative() { b.clone() } else { -b.clone() });
        let above = Expression::Sum(vec![middle, if sign < 0 { surd.negated() } else { surd }]);
        Expression::Quotient(Box::new((above, Expression::Number(size * Rational::from_integer(2.into())))))
    };
    let mut at = |sign: i64, after: bool| cut(&root(sign), after, fuel);
    let (low, low_after) = (some!(at(-1, false)?), some!(at(-1, true)?));
    let (high, high_after) = (some!(at(1, false)?), some!(at(1, true)?));
    let line = |cuts: Vec<Cut>| Region { variable: variable.clone(), cuts };
    let either = |a: Region, b: Region| a.combined(b, |a, b| a || b);
    let between =
        |low: Cut, high: Cut| line(if low.order(&high) == Ordering::Less { vec![low, high] } else { Vec::new() });
    Ok(match outside {
        Comparison::Less => Some(between(low_after, high)),
        Comparison::LessOrEqual => Some(between(low, high_after)),
        Comparison::Greater => either(line(vec![Cut::Bottom, low]), line(vec![high_after, Cut::Top])),
        Comparison::GreaterOrEqual => either(line(vec![Cut::Bottom, low_after]), line(vec![high, Cut::Top])),
        Comparison::Equal => either(between(low, low_after), between(high, high_after)),
        Comparison::Unequal | Comparison::Approximate => {
            let points = some!(either(between(low, low_after), between(high, high_after)));
            Region::all().combined(points, |a, b| a && !b)
        }
    })
}

/// A linear relation in one variable, solved for it.
fn solved(
    left: &Expression,
    comparison: Comparison,
    right: &Expression,
    fuel: &mut Fuel,
) -> Found<(String, Comparison, Expression)> {
    let difference = left.clone().minus(right.clone());
    let variables = difference.variables();
    let [name] = variables.as_slice() else { return Ok(None) };
    let form = some!(normal(&difference, fuel)?);
    let linear = [(Generator::Variable((*name).to_owned()), 1)].into();
    let (mut slope, mut rest) = (None, num_rational::Ratio::zero());
    if form.below.len() != 1 || form.below.keys().any(|monomial| !monomial.is_empty()) {
        return Ok(None);
    }
    for (monomial, coefficient) in &form.above {
        if *monomial == linear {
            slope = Some(coefficient.clone());
        } else if monomial.is_empty() {
            rest = coefficient.clone();
        } else {
            return Ok(None);
        }
    }
    let slope = some!(slope);
    let comparison = if slope.is_negative() { comparison.flipped() } else { comparison };
    Ok(Some(((*name).to_owned(), comparison, Expression::Number(-rest / slope))))
}
