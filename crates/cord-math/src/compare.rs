//! When a given value equals the gold one.

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{One, Zero};
use serde::{Deserialize, Serialize};

use crate::equality::Ground;
use crate::evaluation::{agree, real_value};
use crate::expression::Expression;
use crate::fuel::{Fuel, OutOfFuel};
use crate::normal::{self, normal};
use crate::rational::{Rational, integer, same_number};
use crate::real::Real;
use crate::region::{Cut, is_region, region};
use crate::unit;
use crate::value::{Brackets, Joint, Measure, Quantity, Value};
use crate::words;

/// Does the order of a list without brackets count?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListOrder {
    /// Where all items are whole numbers without a sign, or all are words, it counts: such a list is a sequence
    /// (`7, 9, 3`, a ranking). Any other is a row of solutions, whose order is of no account (`1, -2`), as is that of items joined by `and` or `or`.
    #[default]
    Guessed,
    /// It always counts.
    Counts,
    /// It never counts.
    Free,
}

pub(crate) struct Comparer<'f> {
    pub(crate) order: ListOrder,
    pub(crate) fuel: &'f mut Fuel,
}

/// What one way of looking at two answers says.
pub(crate) enum Decision {
    Equal(Ground),
    Unequal,
    /// Another way must tell.
    Open,
}

/// `Ok(None)`: not equal.
pub(crate) type Same = Result<Option<Ground>, OutOfFuel>;

/// Deeper comparisons end as out of fuel; values are no deeper than what is read.
const MAX_DEPTH: u32 = 120;

impl Comparer<'_> {
    pub(crate) fn same(&mut self, gold: &Value, given: &Value, depth: u32) -> Same {
        self.fuel.spend(1)?;
        if depth > MAX_DEPTH {
            return Err(self.fuel.refuse());
        }
        let deeper = depth + 1;
        match (gold, given) {
            (Value::Quantity(a), Value::Quantity(b)) => return self.same_quantity(a, b),
            (Value::Set(a), Value::Set(b)) => return self.same_set(a, b, deeper),
            (Value::Matrix(a), Value::Matrix(b)) => return self.same_matrix(a, b),
            (Value::Ratio(a), Value::Ratio(b)) => return self.same_ratio(a, b),
            (Value::Empty, Value::Empty) | (Value::Reals, Value::Reals) => return Ok(Some(Ground::Exact)),
            (Value::Text(a), Value::Text(b)) => return self.same_text(a, b),
            (Value::Text(tokens), other) | (other, Value::Text(tokens)) => return self.text_and_value(tokens, other),
            (Value::Ratio(terms), Value::Quantity(quantity)) | (Value::Quantity(quantity), Value::Ratio(terms)) => {
                let ([a, b], Measure::None) = (terms.as_slice(), &quantity.measure) else { return Ok(None) };
                let quotient = Expression::Quotient(Box::new((a.clone(), b.clone())));
                return Ok(doubted(self.same_expression(&quotient, &quantity.number)?));
            }
            (Value::Cases(a), Value::Cases(b)) => return self.same_cases(a, b, deeper),
            (Value::Reals, other) | (other, Value::Reals) if other.name() == Some("R") => {
                return Ok(Some(Ground::Convention));
            }
            (vector @ (Value::Matrix(_) | Value::List { .. }), Value::Quantity(_))
                if self.in_unit_vectors(vector, given)? =>
            {
                return Ok(Some(Ground::Convention));
            }
            (Value::Quantity(_), vector @ (Value::Matrix(_) | Value::List { .. }))
                if self.in_unit_vectors(vector, gold)? =>
            {
                return Ok(Some(Ground::Convention));
            }
            (Value::Matrix(rows), list @ Value::List { brackets: Brackets::Round | Brackets::Square, .. }) => {
                return self.vector_and_list(rows, list, true, deeper);
            }
            (list @ Value::List { brackets: Brackets::Round | Brackets::Square, .. }, Value::Matrix(rows)) => {
                return self.vector_and_list(rows, list, false, deeper);
            }
            _ => {}
        }
        if (is_region(gold) || is_region(given))
            && !matches!((gold, given), (Value::Quantity(_), _) | (_, Value::Quantity(_)))
        {
            match self.same_region(gold, given)? {
                Decision::Equal(ground) => return Ok(Some(ground)),
                Decision::Unequal => return Ok(None),
                Decision::Open => {}
            }
        }
        match (gold, given) {
            (Value::List { .. }, Value::List { .. }) => self.same_list(gold, given, deeper),
            (Value::Union(a), Value::Union(b)) | (Value::Intersection(a), Value::Intersection(b)) => {
                self.same_set(a, b, deeper)
            }
            // A row of solutions with set braces on one side only.
            (Value::Set(set), Value::List { brackets: Brackets::None, items, .. })
            | (Value::List { brackets: Brackets::None, items, .. }, Value::Set(set)) => {
                let gold_is_set = matches!(gold, Value::Set(_));
                let (a, b) = if gold_is_set { (set, items) } else { (items, set) };
                Ok(doubted(self.same_set(a, b, deeper)?))
            }
            (Value::Set(items), other) if items.len() == 1 && !is_row(other) => {
                Ok(doubted(self.same(&items[0], other, deeper)?))
            }
            (other, Value::Set(items)) if items.len() == 1 && !is_row(other) => {
                Ok(doubted(self.same(other, &items[0], deeper)?))
            }
            (Value::Membership { variable: a, of: x }, Value::Membership { variable: b, of: y }) => {
                if a != b {
                    return Ok(None);
                }
                self.same(x, y, deeper)
            }
            (Value::Membership { of, .. }, other) => Ok(doubted(self.same(of, other, deeper)?)),
            (other, Value::Membership { of, .. }) => Ok(doubted(self.same(other, of, deeper)?)),
            (Value::Relation { .. }, _) | (_, Value::Relation { .. }) => self.same_relation(gold, given, deeper),
            _ => Ok(None),
        }
    }

    /// Are two formulas equal?
    pub(crate) fn same_expression(&mut self, gold: &Expression, given: &Expression) -> Same {
        if let (Expression::Number(a), Expression::Number(b)) = (gold, given) {
            self.fuel.spend(1 + (a.numer().bits().min(b.numer().bits())) / 64)?;
            return Ok(same_number(a, b).then_some(Ground::Exact));
        }
        match (gold.infinite(), given.infinite()) {
            (Some(a), Some(b)) => return Ok((a == b).then_some(Ground::Exact)),
            (None, None) => {}
            _ => return Ok(None),
        }
        if gold == given {
            return Ok(Some(Ground::Exact));
        }
        if let (Some(a), Some(b)) = (normal(gold, self.fuel)?, normal(given, self.fuel)?)
            && let Some(same) = normal::same(&a, &b, self.fuel)?
        {
            return Ok(same.then_some(Ground::Exact));
        }
        Ok(agree(gold, given, self.fuel)?.then_some(Ground::Numeric))
    }

    fn same_quantity(&mut self, gold: &Quantity, given: &Quantity) -> Same {
        let scaled = |number: &Expression, by: Rational| {
            if by.is_one() {
                return number.clone();
            }
            match number {
                Expression::Number(number) => Expression::Number(number * by),
                other => Expression::Product(vec![Expression::Number(by), other.clone()]),
            }
        };
        let percent = || Rational::new(1.into(), 100.into());
        let in_radians = |number: &Expression| {
            Expression::Product(vec![scaled(number, Rational::new(1.into(), 180.into())), Expression::Pi])
        };
        match (&gold.measure, &given.measure) {
            (Measure::None, Measure::None) => {
                let same = self.same_expression(&gold.number, &given.number)?;
                if same.is_some() { Ok(same) } else { self.rounded(gold, given) }
            }
            (Measure::Percent, Measure::Percent) | (Measure::Degrees, Measure::Degrees) => {
                self.same_expression(&gold.number, &given.number)
            }
            (Measure::Percent, Measure::None) => {
                let exact = self.same_expression(&scaled(&gold.number, percent()), &given.number)?;
                if exact.is_some() {
                    Ok(exact)
                } else {
                    Ok(doubted(self.same_expression(&gold.number, &given.number)?))
                }
            }
            (Measure::None, Measure::Percent) => {
                let exact = self.same_expression(&gold.number, &scaled(&given.number, percent()))?;
                // `0.5` and `0.5\%` are a hundredfold apart; `18` may ask for percents.
                let part = |gold: Real| gold.abs().compare(&Real::integer(1)) == Ordering::Less;
                if exact.is_some() || real_value(&gold.number, self.fuel)?.is_some_and(part) {
                    return Ok(exact);
                }
                Ok(doubted(self.same_expression(&gold.number, &given.number)?))
            }
            (Measure::Degrees, Measure::None) => {
                let bare = self.same_expression(&gold.number, &given.number)?;
                if bare.is_some() {
                    Ok(doubted(bare))
                } else {
                    self.same_expression(&in_radians(&gold.number), &given.number)
                }
            }
            (Measure::None, Measure::Degrees) => {
                let bare = self.same_expression(&gold.number, &given.number)?;
                if bare.is_some() {
                    Ok(doubted(bare))
                } else {
                    self.same_expression(&gold.number, &in_radians(&given.number))
                }
            }
            (Measure::Unit(a), Measure::Unit(b)) => match unit::ratio(b, a) {
                Some(by) => self.same_expression(&gold.number, &scaled(&given.number, by)),
                None => Ok(None),
            },
            // `1 radian` is the number 1; any other unit left out is taken to be the gold one's.
            (Measure::Unit(unit), Measure::None) | (Measure::None, Measure::Unit(unit)) => {
                let bare = self.same_expression(&gold.number, &given.number)?;
                let (counted, dozens) = unit::counted(unit);
                if bare.is_some() || !dozens {
                    return Ok(doubted(bare));
                }
                let by = |measure: &Measure| {
                    if *measure == Measure::None { Rational::one() } else { counted.factor.clone() }
                };
                let (a, b) = (scaled(&gold.number, by(&gold.measure)), scaled(&given.number, by(&given.measure)));
                Ok(doubted(self.same_expression(&a, &b)?))
            }
            _ => Ok(None),
        }
    }

    /// Does an exact value that no decimal could state round to the gold decimal?
    fn rounded(&mut self, gold: &Quantity, given: &Quantity) -> Same {
        let Some(places) = gold.decimals.filter(|places| (3..=30).contains(places)) else { return Ok(None) };
        let Expression::Number(decimal) = &gold.number else { return Ok(None) };
        if given.decimals.is_some() || !given.number.is_constant() {
            return Ok(None);
        }
        if let Some(number) = normal(&given.number, self.fuel)?.and_then(|form| form.as_number()) {
            self.fuel.spend(number.denom().bits() * 4 + 16)?;
            let mut rest: BigInt = number.denom().clone();
            for prime in [2, 5] {
                let mut halvings = 0;
                while (&rest % BigInt::from(prime)).is_zero() && halvings < 1000 {
                    rest /= prime;
                    halvings += 1;
                }
            }
            if rest.is_one() {
                return Ok(None);
            }
        }
        let Some(value) = real_value(&given.number, self.fuel)? else { return Ok(None) };
        let off = value.sub(&Real::rational(decimal)).abs();
        let half = Rational::new(BigInt::one(), 2 * num_traits::pow(BigInt::from(10), places));
        Ok((off.compare(&Real::rational(&half)) != Ordering::Greater).then_some(Ground::Rounding))
    }

    pub(crate) fn same_items(&mut self, a: &[Value], b: &[Value], depth: u32) -> Same {
        if a.len() != b.len() {
            return Ok(None);
        }
        let mut worst = Ground::Exact;
        for (a, b) in a.iter().zip(b) {
            match self.same(a, b, depth)? {
                Some(ground) => worst = worst.max(ground),
                None => return Ok(None),
            }
        }
        Ok(Some(worst))
    }

    /// Each item of one in the other, both ways.
    fn same_set(&mut self, gold: &[Value], given: &[Value], depth: u32) -> Same {
        let mut worst = Ground::Exact;
        let mut used = vec![false; given.len()];
        for expected in gold {
            let mut found = None;
            for (item, used) in given.iter().zip(&mut used) {
                if let Some(ground) = self.same(expected, item, depth)? {
                    *used = true;
                    found = found.or(Some(ground));
                    // An item twice in the response is used twice; look no further where none is left over.
                    break;
                }
            }
            match found {
                Some(ground) => worst = worst.max(ground),
                None => return Ok(None),
            }
        }
        for (item, used) in given.iter().zip(used) {
            if used {
                continue;
            }
            let mut found = false;
            for expected in gold {
                if self.same(expected, item, depth)?.is_some() {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(None);
            }
        }
        Ok(Some(worst))
    }

    fn same_list(&mut self, gold: &Value, given: &Value, depth: u32) -> Same {
        let (Value::List { brackets: a, joint: one, items }, Value::List { brackets: b, joint: other, items: others }) =
            (gold, given)
        else {
            return Ok(None);
        };
        if !a.agree(*b) || items.len() != others.len() {
            return Ok(None);
        }
        let ordered = self.same_items(items, others, depth)?;
        if ordered.is_some() {
            return if a == b { Ok(ordered) } else { Ok(doubted(ordered)) };
        }
        let bare = *a == Brackets::None && *b == Brackets::None;
        let joined = *one != Joint::Comma || *other != Joint::Comma;
        let free = match self.order {
            ListOrder::Counts => false,
            ListOrder::Free => true,
            ListOrder::Guessed => joined || !(items.iter().all(is_natural) || items.iter().all(is_text)),
        };
        if !bare || !free {
            return Ok(None);
        }
        self.same_in_any_order(items, others, depth)
    }

    /// Each item of one answered by an item of the other, each used once: `1, 1, 2` is not `1, 2, 2`.
    fn same_in_any_order(&mut self, gold: &[Value], given: &[Value], depth: u32) -> Same {
        let mut left: Vec<&Value> = given.iter().collect();
        for expected in gold {
            let mut found = None;
            for (place, item) in left.iter().enumerate() {
                if self.same(expected, item, depth)?.is_some() {
                    found = Some(place);
                    break;
                }
            }
            match found {
                Some(place) => left.swap_remove(place),
                None => return Ok(None),
            };
        }
        Ok(left.is_empty().then_some(Ground::Convention))
    }

    fn same_matrix(&mut self, a: &[Vec<Expression>], b: &[Vec<Expression>]) -> Same {
        if a.len() != b.len() || a[0].len() != b[0].len() {
            return Ok(None);
        }
        let mut worst = Ground::Exact;
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            match self.same_expression(a, b)? {
                Some(ground) => worst = worst.max(ground),
                None => return Ok(None),
            }
        }
        Ok(Some(worst))
    }

    /// A vector as a column, a row or a tuple.
    fn vector_and_list(&mut self, rows: &[Vec<Expression>], list: &Value, gold_is_matrix: bool, depth: u32) -> Same {
        let Value::List { items, .. } = list else { return Ok(None) };
        // `[[1,2],[3,4]]`: the rows one by one.
        let inner = |item: &Value| matches!(item, Value::List { brackets: Brackets::Round | Brackets::Square, .. });
        if items.iter().all(inner) && items.len() == rows.len() {
            for (row, item) in rows.iter().zip(items) {
                let Value::List { items, .. } = item else { return Ok(None) };
                let cells: Vec<Value> = row.iter().cloned().map(Value::number).collect();
                let (a, b) = if gold_is_matrix { (&cells, items) } else { (items, &cells) };
                if self.same_items(a, b, depth)?.is_none() {
                    return Ok(None);
                }
            }
            return Ok(Some(Ground::Convention));
        }
        if rows.len() != 1 && rows[0].len() != 1 {
            return Ok(None);
        }
        let entries: Vec<Value> = rows.iter().flatten().cloned().map(Value::number).collect();
        let (a, b) = if gold_is_matrix { (&entries, items) } else { (items, &entries) };
        Ok(doubted(self.same_items(a, b, depth)?))
    }

    /// Is a formula such as `i + 2j - k` the vector?
    fn in_unit_vectors(&mut self, vector: &Value, formula: &Value) -> Result<bool, OutOfFuel> {
        let Some(formula) = formula.formula() else { return Ok(false) };
        let names = formula.variables();
        if !names.contains(&"j") && !names.contains(&"k") {
            return Ok(false);
        }
        let entries: Option<Vec<&Expression>> = match vector {
            Value::Matrix(rows) if rows.len() == 1 || rows[0].len() == 1 => Some(rows.iter().flatten().collect()),
            Value::List { brackets: Brackets::Round | Brackets::Square, items, .. } => {
                items.iter().map(Value::formula).collect()
            }
            _ => None,
        };
        let Some(entries) = entries.filter(|entries| (2..=3).contains(&entries.len())) else { return Ok(false) };
        let unit = |name: &str| Expression::Variable(name.to_owned());
        let imaginary = |part: &Expression| (*part == Expression::ImaginaryUnit).then(|| unit("i"));
        let sum = entries
            .iter()
            .zip(["i", "j", "k"])
            .map(|(entry, name)| Expression::Product(vec![(*entry).clone(), unit(name)]));
        let sum = Expression::Sum(sum.collect());
        Ok(self.same_expression(&sum, &formula.replaced(&imaginary))?.is_some())
    }

    /// Each piece of one in the other; `otherwise` stands for whatever condition is left.
    fn same_cases(&mut self, gold: &[(Value, Option<Value>)], given: &[(Value, Option<Value>)], depth: u32) -> Same {
        if gold.len() != given.len() {
            return Ok(None);
        }
        let mut worst = Ground::Exact;
        let mut left: Vec<&(Value, Option<Value>)> = given.iter().collect();
        // Those with a condition first, so that `otherwise` finds what they leave.
        for expected in
            gold.iter().filter(|piece| piece.1.is_some()).chain(gold.iter().filter(|piece| piece.1.is_none()))
        {
            let mut found = None;
            let firm = left.iter().enumerate().filter(|(_, piece)| piece.1.is_some());
            let loose = left.iter().enumerate().filter(|(_, piece)| piece.1.is_none());
            for (place, piece) in firm.chain(loose) {
                let Some(body) = self.same(&expected.0, &piece.0, depth)? else { continue };
                let condition = match (&expected.1, &piece.1) {
                    (Some(a), Some(b)) => self.same(a, b, depth)?,
                    _ => Some(Ground::Convention),
                };
                if let Some(condition) = condition {
                    found = Some((place, body.max(condition)));
                    break;
                }
            }
            match found {
                Some((place, ground)) => {
                    worst = worst.max(ground);
                    left.swap_remove(place);
                }
                None => return Ok(None),
            }
        }
        Ok(Some(worst))
    }

    fn same_ratio(&mut self, gold: &[Expression], given: &[Expression]) -> Same {
        if gold.len() != given.len() {
            return Ok(None);
        }
        let mut worst = Ground::Exact;
        // a : b = c : d where ad = bc.
        for (a, b) in gold.iter().zip(given).skip(1) {
            let left = Expression::Product(vec![a.clone(), given[0].clone()]);
            let right = Expression::Product(vec![b.clone(), gold[0].clone()]);
            match self.same_expression(&left, &right)? {
                Some(ground) => worst = worst.max(ground),
                None => return Ok(None),
            }
        }
        // `0:0` is proportional to everything.
        let zero = |terms: &[Expression]| terms.iter().any(|term| *term == Expression::Number(integer(0)));
        Ok((!zero(gold) && !zero(given)).then_some(worst))
    }

    /// Open where one of the two is no set of numbers that can be told.
    fn same_region(&mut self, gold: &Value, given: &Value) -> Result<Decision, OutOfFuel> {
        let (Some(a), Some(b)) = (region(gold, 0, self.fuel)?, region(given, 0, self.fuel)?) else {
            return Ok(Decision::Open);
        };
        if let (Some(a), Some(b)) = (&a.variable, &b.variable)
            && a != b
        {
            return Ok(Decision::Unequal);
        }
        if a.cuts.len() != b.cuts.len() {
            return Ok(Decision::Unequal);
        }
        let mut worst = Ground::Exact;
        for pair in a.cuts.iter().zip(&b.cuts) {
            match pair {
                (Cut::Bottom, Cut::Bottom) | (Cut::Top, Cut::Top) => {}
                (Cut::At { value: a, after: x, .. }, Cut::At { value: b, after: y, .. }) if x == y => {
                    match self.same_expression(a, b)? {
                        Some(ground) => worst = worst.max(ground),
                        None => return Ok(Decision::Unequal),
                    }
                }
                _ => return Ok(Decision::Unequal),
            }
        }
        Ok(Decision::Equal(worst))
    }

    fn same_text(&mut self, a: &[crate::token::Token], b: &[crate::token::Token]) -> Same {
        self.fuel.spend((a.len() + b.len()) as u64)?;
        if crate::token::same_spelling(a, b) {
            return Ok(Some(Ground::Exact));
        }
        let (Some(a), Some(b)) = (words::all_words(a), words::all_words(b)) else { return Ok(None) };
        Ok((words::phrase(&a) == words::phrase(&b)).then_some(Ground::Exact))
    }

    fn text_and_value(&mut self, text: &[crate::token::Token], value: &Value) -> Same {
        let Some(words) = words::all_words(text) else { return Ok(None) };
        let phrase = words::phrase(&words);
        let [phrase] = phrase.as_slice() else { return Ok(None) };
        Ok(match (phrase.as_str(), value) {
            ("none", Value::Empty) => Some(Ground::Exact),
            ("none", Value::Set(items)) if items.is_empty() => Some(Ground::Exact),
            ("all real numbers", value) if is_region(value) => {
                return Ok(match self.same_region(&Value::Reals, value)? {
                    Decision::Equal(ground) => Some(ground),
                    Decision::Unequal | Decision::Open => None,
                });
            }
            ("infinity", Value::Quantity(quantity)) => {
                (quantity.number == Expression::Infinity).then_some(Ground::Exact)
            }
            _ => None,
        })
    }
}

/// An equality that a convention is needed for.
fn doubted(ground: Option<Ground>) -> Option<Ground> {
    ground.map(|_| Ground::Convention)
}

/// A whole number without a sign?
fn is_natural(value: &Value) -> bool {
    match value.formula() {
        Some(Expression::Number(number)) => number.is_integer() && number.numer().sign() != num_bigint::Sign::Minus,
        _ => false,
    }
}

/// Several answers, rather than one tuple?
fn is_row(value: &Value) -> bool {
    matches!(value, Value::List { brackets: Brackets::None, .. })
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::Text(_))
}
