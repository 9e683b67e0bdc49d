//! Deciding whether a given answer equals the gold one.

use serde::{Deserialize, Serialize};

use crate::choice::{choice, without_choice};
use crate::compare::{Comparer, Decision, ListOrder};
use crate::family;
use crate::fuel::{Fuel, OutOfFuel};
use crate::reading::read;
use crate::token::{Token, same_spelling, tokens, with_thousands};
use crate::value::{Measure, Value};
use crate::words;

/// What an equality rests on, from the firmest to the most doubtful. An answer of several parts rests on the most
/// doubtful of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ground {
    /// The two are spelled alike once what carries no meaning is gone.
    Spelling,
    /// Their values are equal: exact rational arithmetic, polynomial normal forms, the same words.
    Exact,
    /// Their values agree to 60 digits at seeded points, and no exact form was found.
    Numeric,
    /// The gold answer is a decimal of three places or more, and the given one an exact value that rounds to it
    /// and that no decimal could state.
    Rounding,
    /// They say the same by a convention of answer keys: a unit, a percent sign, `x =`, or brackets left out on one
    /// side; the order of a list without brackets.
    Convention,
}

/// Compares a given answer with the gold one, each as it would stand inside `\boxed{}`: nothing where they are not
/// equal as far as this crate can tell.
///
/// Reflexive wherever the fuel suffices, and not symmetric: the gold answer sets precision and domain. Work is at
/// most `fuel` units (see [`DEFAULT_FUEL`](crate::DEFAULT_FUEL)).
pub fn equal(gold: &str, given: &str, fuel: u64) -> Result<Option<Ground>, OutOfFuel> {
    equal_within(gold, given, ListOrder::default(), &mut Fuel::new(fuel))
}

/// [`equal`] with the order of lists without brackets as `order` says.
pub fn equal_with(gold: &str, given: &str, order: ListOrder, fuel: u64) -> Result<Option<Ground>, OutOfFuel> {
    equal_within(gold, given, order, &mut Fuel::new(fuel))
}

pub(crate) fn equal_within(
    gold: &str,
    given: &str,
    order: ListOrder,
    fuel: &mut Fuel,
) -> Result<Option<Ground>, OutOfFuel> {
    let (gold, given) = (tokens(gold, fuel)?, tokens(given, fuel)?);
    fuel.spend(gold.len().min(given.len()) as u64)?;
    if same_spelling(&gold, &given) {
        return Ok(Some(Ground::Spelling));
    }
    match by_form(&gold, &given) {
        Decision::Equal(ground) => return Ok(Some(ground)),
        Decision::Unequal => return Ok(None),
        Decision::Open => {}
    }
    let mut comparer = Comparer { order, fuel };
    let golds = readings(&gold, comparer.fuel)?;
    let givens = readings(&given, comparer.fuel)?;
    for gold in &golds {
        for given in &givens {
            if let Some(ground) = comparer.same(gold, given, 0)? {
                return Ok(Some(ground));
            }
        }
    }
    if let Some(rest) = without_choice(&given) {
        let rest = read(rest, 0, comparer.fuel)?;
        return Ok(comparer.same(&golds[0], &rest, 0)?.map(|_| Ground::Convention));
    }
    if let Some(rest) = without_choice(&gold) {
        let rest = read(rest, 0, comparer.fuel)?;
        return Ok(comparer.same(&rest, &givens[0], 0)?.map(|_| Ground::Convention));
    }
    if let Some(ground) = congruent(&gold, &given, &mut comparer)? {
        return Ok(Some(ground));
    }
    if let Some(ground) = family::same(&gold, &given, (congruence(&gold), congruence(&given)), &mut comparer)? {
        return Ok(Some(ground));
    }
    // `A(1,2)` is the point `(1,2)`, as long as both do not name one. A gold `C(10,3)` is a number.
    let point = labelled_point(&gold).filter(|_| !matches!(golds[0], Value::Quantity(_)));
    match (point, labelled_point(&given)) {
        (Some(point), None) => {
            let point = read(point, 0, comparer.fuel)?;
            return Ok(comparer.same(&point, &givens[0], 0)?.map(|_| Ground::Convention));
        }
        (None, Some(point)) => {
            let point = read(point, 0, comparer.fuel)?;
            return Ok(comparer.same(&golds[0], &point, 0)?.map(|_| Ground::Convention));
        }
        _ => {}
    }
    // `5 m` may be a product; beside a length it is one too.
    if let Some(unit) = lettered_unit(&given, comparer.fuel)?
        && golds.iter().any(has_unit)
    {
        return comparer.same(&golds[0], &unit, 0);
    }
    if let Some(unit) = lettered_unit(&gold, comparer.fuel)?
        && givens.iter().any(has_unit)
    {
        return comparer.same(&unit, &givens[0], 0);
    }
    Ok(None)
}

/// What the forms of the answers decide by themselves: choices, times, dates, ranks.
fn by_form(gold: &[Token], given: &[Token]) -> Decision {
    let decided = |ground: Option<Ground>| ground.map_or(Decision::Unequal, Decision::Equal);
    if let Some(expected) = choice(gold)
        && expected.rest.is_empty()
        && let Some(found) = choice(given)
    {
        // Beside a marked choice a bare letter is one too, large or small; two bare ones may be variables.
        let same = expected.letter == found.letter
            || ((expected.marked || found.marked) && expected.letter.eq_ignore_ascii_case(&found.letter));
        if same || found.rest.is_empty() || found.marked {
            return decided(same.then_some(Ground::Convention));
        }
    }
    // The letter alone, where the key has the option's text too.
    if let (Some(expected), Some(found)) = (choice(gold), choice(given))
        && expected.marked
        && found.rest.is_empty()
        && expected.letter.eq_ignore_ascii_case(&found.letter)
    {
        return Decision::Equal(Ground::Convention);
    }
    if let (Some(expected), Some(found)) = (words::time(gold), words::time(given)) {
        let day = 12 * 3600;
        let ground = if expected == found {
            Some(Ground::Exact)
        } else if expected.half_known && found.half_known {
            (expected.seconds == found.seconds).then_some(Ground::Exact)
        } else {
            (expected.seconds % day == found.seconds % day).then_some(Ground::Convention)
        };
        // Two bare pairs may be ratios as well.
        if ground.is_some() || expected.half_known || found.half_known {
            return decided(ground);
        }
    }
    if let (Some(expected), Some(found)) = (words::date(gold), words::date(given)) {
        let year = match (expected.year, found.year) {
            (Some(a), Some(b)) => (a == b).then_some(Ground::Exact),
            (None, None) => Some(Ground::Exact),
            _ => Some(Ground::Convention),
        };
        return decided(year.filter(|_| (expected.month, expected.day) == (found.month, found.day)));
    }
    if let Some(expected) = words::rank(gold)
        && let Some(found) = words::rank(given)
    {
        return decided((expected == found).then_some(Ground::Exact));
    }
    let plain = |tokens: &[Token]| match tokens {
        [Token::Number(digits)] => digits.parse::<i64>().ok(),
        _ => None,
    };
    let ranked = words::rank(gold).or_else(|| plain(gold)).zip(words::rank(given).or_else(|| plain(given)));
    let one_is_rank = words::rank(gold).is_some() != words::rank(given).is_some();
    match ranked {
        Some((a, b)) if one_is_rank && a == b => Decision::Equal(Ground::Convention),
        _ => Decision::Open,
    }
}

/// `x \equiv 7 \pmod{10}` against `7`, or against itself spelled otherwise.
fn congruent(gold: &[Token], given: &[Token], comparer: &mut Comparer<'_>) -> Result<Option<Ground>, OutOfFuel> {
    let (expected, found) = (residue(gold), residue(given));
    let (modulus, other) = match (expected, found) {
        (None, None) => return Ok(None),
        (Some((_, a)), Some((_, b))) => (Some(a), Some(b)),
        (Some((_, modulus)), None) | (None, Some((_, modulus))) => (Some(modulus), None),
    };
    let (a, b) = (expected.map_or(gold, |(value, _)| value), found.map_or(given, |(value, _)| value));
    if let (Some(modulus), Some(other)) = (modulus, other) {
        let (modulus, other) = (read(modulus, 0, comparer.fuel)?, read(other, 0, comparer.fuel)?);
        if comparer.same(&modulus, &other, 0)?.is_none() {
            return Ok(None);
        }
    }
    let (a, b) = (read(a, 0, comparer.fuel)?, read(b, 0, comparer.fuel)?);
    Ok(comparer.same(&a, &b, 0)?.map(|_| Ground::Convention))
}

/// The residue and the modulus of a congruence, without the variable that is congruent.
fn residue(tokens: &[Token]) -> Option<(&[Token], &[Token])> {
    let is_mod = |token: &Token| {
        matches!(token, Token::Command(name) if matches!(name.as_str(), "pmod" | "bmod" | "mod" | "pod"))
            || token.is_word("mod")
    };
    let at = tokens.iter().position(is_mod)?;
    let (mut before, mut modulus) = (&tokens[..at], &tokens[at + 1..]);
    if let ([rest @ .., Token::Char('(')], [inner @ .., Token::Char(')')]) = (before, modulus) {
        (before, modulus) = (rest, inner);
    }
    let modulus = match modulus {
        [Token::Open, inner @ .., Token::Close] => inner,
        other => other,
    };
    let value = match before.iter().rposition(|token| token.is_command("equiv")) {
        Some(sign) => &before[sign + 1..],
        None => before,
    };
    (!value.is_empty() && !modulus.is_empty()).then_some((value, modulus))
}

/// `x \equiv 3 \pmod 7` says that all such `x` are meant; `3 \pmod 7` may be a number below seven.
fn congruence(tokens: &[Token]) -> Option<(&[Token], &[Token])> {
    residue(tokens).filter(|_| tokens.iter().any(|token| token.is_command("equiv")))
}

/// The coordinates of `A(1, 2)`.
fn labelled_point(tokens: &[Token]) -> Option<&[Token]> {
    let [Token::Word(letter), point @ ..] = tokens else { return None };
    let [Token::Char('('), inner @ .., Token::Char(')')] = point else { return None };
    let capital = letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_uppercase());
    let bracketed = inner.iter().any(|token| matches!(token, Token::Char('(' | ')')));
    (capital && !bracketed && inner.iter().any(|token| matches!(token, Token::Comma { .. }))).then_some(point)
}

fn has_unit(value: &Value) -> bool {
    match value {
        Value::Quantity(quantity) => matches!(quantity.measure, Measure::Unit(_)),
        Value::Relation { sides, .. } => sides.last().is_some_and(has_unit),
        _ => false,
    }
}

/// `5 m`, `5 m^2`, `5 m/s` with units of one letter outside `\text`.
fn lettered_unit(tokens: &[Token], fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    let of_unit = |token: &Token| match token {
        Token::Word(letter) => crate::unit::letter(letter).is_some(),
        Token::Char('/' | '^') | Token::Number(_) => true,
        _ => false,
    };
    let begin = tokens.iter().rposition(|token| !of_unit(token)).map_or(0, |place| place + 1);
    let is_word = |token: &Token| matches!(token, Token::Word(_));
    let Some(first) = tokens[begin..].iter().position(is_word).map(|place| begin + place) else { return Ok(None) };
    let mut spelled = tokens.to_vec();
    for token in &mut spelled[first..] {
        if let Token::Word(letter) = token
            && let Some(name) = crate::unit::letter(letter)
        {
            *token = Token::Word(name.to_owned());
        }
    }
    fuel.spend(tokens.len() as u64)?;
    read(&spelled, 0, fuel).map(Some)
}

/// What an answer can mean: one value, or two where its commas are ambiguous.
fn readings(tokens: &[Token], fuel: &mut Fuel) -> Result<Vec<Value>, OutOfFuel> {
    fuel.spend(tokens.len() as u64)?;
    let mut readings = vec![read(tokens, 0, fuel)?];
    if let Some(grouped) = with_thousands(tokens) {
        readings.push(read(&grouped, 0, fuel)?);
    }
    // `3 and 1/2` is a mixed number as well as a row of two.
    if let [Token::Number(_), and, Token::Number(above), Token::Char('/'), Token::Number(below)] = tokens
        && and.is_word("and")
        && above.parse::<u32>().ok().zip(below.parse::<u32>().ok()).is_some_and(|(above, below)| above < below)
    {
        let mixed: Vec<Token> = tokens.iter().filter(|token| !token.is_word("and")).cloned().collect();
        readings.push(read(&mixed, 0, fuel)?);
    }
    // Plain text writes a set as `{1, 2}`, where LaTeX sees a group.
    if let [Token::Open, inner @ .., Token::Close] = tokens
        && inner.iter().any(|token| matches!(token, Token::Comma { .. }))
    {
        let brace = |name: &str| Token::Command(name.to_owned());
        let set: Vec<Token> =
            std::iter::once(brace("{")).chain(inner.iter().cloned()).chain(std::iter::once(brace("}"))).collect();
        readings.push(read(&set, 0, fuel)?);
    }
    Ok(readings)
}
