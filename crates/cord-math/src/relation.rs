//! Equations and inequalities against each other and against the value that they give.

use crate::compare::{Comparer, Same};
use crate::equality::Ground;
use crate::evaluation::constant_ratio;
use crate::expression::Expression;
use crate::fuel::OutOfFuel;
use crate::normal::{self, normal};
use crate::value::{Comparison, Value};

impl Comparer<'_> {
    pub(crate) fn same_relation(&mut self, gold: &Value, given: &Value, depth: u32) -> Same {
        let (of_gold, of_given) = (Named::of(gold), Named::of(given));
        if let (Some(a), Some(b)) = (&of_gold, &of_given) {
            let named_apart = matches!((a.name, b.name), (Some(a), Some(b)) if a != b && !alike(a, b));
            if !named_apart && self.chain_holds(b, depth)? {
                for expected in &a.values {
                    for found in &b.values {
                        if let Some(ground) = self.same(expected, found, depth)? {
                            let bare = a.name != b.name;
                            return Ok(Some(if bare { Ground::Convention } else { ground }));
                        }
                    }
                }
            }
        }
        let (Value::Relation { sides: a, comparisons: of_a }, Value::Relation { sides: b, comparisons: of_b }) =
            (gold, given)
        else {
            return Ok(None);
        };
        if let ([left, right], [comparison], [others_left, others_right], [others]) =
            (a.as_slice(), of_a.as_slice(), b.as_slice(), of_b.as_slice())
        {
            let formulas = (left.formula(), right.formula(), others_left.formula(), others_right.formula());
            let (Some(left), Some(right), Some(others_left), Some(others_right)) = formulas else { return Ok(None) };
            let one = left.clone().minus(right.clone());
            let other = others_left.clone().minus(others_right.clone());
            return self.proportional(&one, *comparison, &other, *others);
        }
        if of_a == of_b {
            return self.same_items(a, b, depth);
        }
        let flipped: Vec<Comparison> = of_b.iter().rev().map(|c| c.flipped()).collect();
        if *of_a == flipped {
            let reversed: Vec<Value> = b.iter().rev().cloned().collect();
            return self.same_items(a, &reversed, depth);
        }
        Ok(None)
    }

    /// Do the equations of a response's chain hold? `2 = 3` must not pass for either.
    fn chain_holds(&mut self, chain: &Named<'_>, depth: u32) -> Result<bool, OutOfFuel> {
        for (pair, comparison) in chain.values.windows(2).zip(&chain.comparisons) {
            if *comparison == Comparison::Equal && self.same(pair[0], pair[1], depth)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `one ≶ 0` and `other ≶ 0`: equal up to a constant factor, positive where they order.
    fn proportional(&mut self, one: &Expression, a: Comparison, other: &Expression, b: Comparison) -> Same {
        let is_order = |c: Comparison| c.flipped() != c;
        let flips = if a == b {
            false
        } else if a == b.flipped() {
            true
        } else {
            return Ok(None);
        };
        let fits = |positive: bool| !is_order(a) || positive != flips;
        if let (Some(left), Some(right)) = (normal(one, self.fuel)?, normal(other, self.fuel)?) {
            if is_order(a) && (left.below.len() > 1 || right.below.len() > 1) {
                return Ok(None);
            }
            if let Some(ratio) = normal::ratio(&left.above, &right.above, self.fuel)? {
                return Ok(fits(num_traits::Signed::is_positive(&ratio)).then_some(Ground::Exact));
            }
        }
        let positive = constant_ratio(one, other, self.fuel)?;
        Ok(positive.filter(|positive| fits(*positive)).map(|_| Ground::Numeric))
    }
}

/// Names that answers exchange: `y` and `f(x)`, `x_1` and `x`.
fn alike(a: &str, b: &str) -> bool {
    let function = |name: &str| name == "f(…)";
    let indexed = |one: &str, other: &str| one.split_once('_').is_some_and(|(base, _)| base == other);
    (a == "y" && function(b)) || (function(a) && b == "y") || indexed(a, b) || indexed(b, a)
}

/// A value that a chain of equations gives, with the name it is given to.
struct Named<'a> {
    name: Option<&'a str>,
    values: Vec<&'a Value>,
    /// One fewer than values.
    comparisons: Vec<Comparison>,
}

impl<'a> Named<'a> {
    /// Nothing where the value is a relation of another kind, such as `x + y = 5`.
    fn of(value: &'a Value) -> Option<Self> {
        let Value::Relation { sides, comparisons } = value else {
            return Some(Self { name: None, values: vec![value], comparisons: Vec::new() });
        };
        if !comparisons.iter().all(|c| matches!(c, Comparison::Equal | Comparison::Approximate)) {
            return None;
        }
        let is_closed = |value: &Value| match value {
            Value::Quantity(quantity) => quantity.number.is_constant(),
            Value::Ratio(terms) => terms.iter().all(Expression::is_constant),
            _ => false,
        };
        if sides.iter().all(is_closed) && sides[0].name().is_none() {
            return Some(Self { name: None, values: sides.iter().collect(), comparisons: comparisons.clone() });
        }
        // `(x, y) = (1, 2)`.
        if let Value::List { items, .. } = &sides[0]
            && items.iter().all(|item| item.name().is_some())
        {
            return Some(Self {
                name: None,
                values: sides[1..].iter().collect(),
                comparisons: comparisons[1..].to_vec(),
            });
        }
        // `x = 5`, and `5 = x`.
        let (name, values, comparisons) = match (sides.first()?.name(), sides.last()?.name()) {
            (Some(name), _) => (name, &sides[1..], &comparisons[1..]),
            (None, Some(name)) => (name, &sides[..sides.len() - 1], &comparisons[..comparisons.len() - 1]),
            (None, None) => return None,
        };
        // `x = x^2` names nothing.
        let mentions = |value: &Value| value.formula().is_some_and(|formula| formula.variables().contains(&name));
        if values.iter().any(mentions) {
            return None;
        }
        Some(Self { name: Some(name), values: values.iter().collect(), comparisons: comparisons.to_vec() })
    }
}
