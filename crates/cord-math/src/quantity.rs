//! From tokens to a number with what measures it: units, currencies, percent, words.

use num_traits::Zero;

use crate::expression::{Expression, Function};
use crate::formula::{Branch, MAX_DEPTH, parse};
use crate::fuel::{Fuel, OutOfFuel};
use crate::numeral::in_base;
use crate::rational::{Rational, decimal};
use crate::reading::{closes, opens};
use crate::token::Token;
use crate::unit;
use crate::value::{Brackets, Joint, Measure, Quantity, Value};
use crate::words;

/// A number in words, with a unit or not: `twelve apples`.
pub(crate) fn worded(words: &[String], fuel: &mut Fuel) -> Result<Option<Quantity>, OutOfFuel> {
    // Each attempt looks at all the words before it.
    let longest = words.len().min(12);
    fuel.spend((longest * longest) as u64)?;
    let quantity = |number, measure| Quantity { number: Expression::Number(number), measure, decimals: None };
    if words.len() == longest
        && let Some(number) = words::number(words)
    {
        return Ok(Some(quantity(number, Measure::None)));
    }
    // `a dozen` counts by a word alone.
    if let ["a" | "one", "dozen", ..] = words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        let rest: Vec<Token> = words[1..].iter().map(|word| Token::Word(word.clone())).collect();
        return Ok(measure(&rest).map(|measure| quantity(crate::rational::integer(1), measure)));
    }
    for split in (1..longest).rev() {
        if let Some(number) = words::number(&words[..split]) {
            let rest: Vec<Token> = words[split..].iter().map(|word| Token::Word(word.clone())).collect();
            return Ok(measure(&rest).map(|measure| quantity(number, measure)));
        }
    }
    Ok(None)
}

/// A number in several units of one kind, the larger before the smaller: `1 hour 30 minutes`, `5 ft and 6 in`.
pub(crate) fn compound(tokens: &[Token], fuel: &mut Fuel) -> Result<Option<Quantity>, OutOfFuel> {
    let (mut sum, mut last): (Rational, Option<unit::Unit>) = (Rational::zero(), None);
    let (mut rest, mut parts) = (tokens, 0);
    while !rest.is_empty() {
        if parts > 0
            && let [joint, after @ ..] = rest
            && (joint.is_word("and") || matches!(joint, Token::Comma { .. }))
        {
            rest = after;
        }
        let [Token::Number(digits), name, after @ ..] = rest else { return Ok(None) };
        let known = match name {
            Token::Word(word) => unit::is_measure(word),
            Token::Command(name) => name == "min",
            _ => false,
        };
        let Some(unit) = unit::parse(std::slice::from_ref(name)).filter(|_| known) else { return Ok(None) };
        if let Some(larger) = &last
            && (larger.dimensions != unit.dimensions || unit.factor >= larger.factor)
        {
            return Ok(None);
        }
        let Some(part) = decimal(digits, fuel)? else { return Ok(None) };
        sum += part * &unit.factor;
        last = Some(unit);
        (rest, parts) = (after, parts + 1);
    }
    let Some(unit) = last.filter(|_| parts > 1) else { return Ok(None) };
    let number = Expression::Number(sum / &unit.factor);
    Ok(Some(Quantity { number, measure: Measure::Unit(unit), decimals: None }))
}

/// What a number is measured in, from the tokens after it.
fn measure(tokens: &[Token]) -> Option<Measure> {
    match tokens {
        [] => Some(Measure::None),
        [Token::Char('%')] => Some(Measure::Percent),
        [Token::Word(word)] if matches!(word.to_lowercase().as_str(), "percent" | "percents" | "pct") => {
            Some(Measure::Percent)
        }
        [Token::Word(word)] if matches!(word.to_lowercase().as_str(), "degree" | "degrees" | "deg") => {
            Some(Measure::Degrees)
        }
        [token] if token.is_command("degree") => Some(Measure::Degrees),
        [token, Token::Word(scale)] if token.is_command("degree") => {
            let scale = match scale.as_str() {
                "C" => "celsius",
                "F" => "fahrenheit",
                other => other,
            };
            unit::parse(&[Token::Word("degree".to_owned()), Token::Word(scale.to_owned())]).map(Measure::Unit)
        }
        _ => unit::parse(tokens).map(Measure::Unit),
    }
}

/// A formula with what measures it.
pub(crate) fn quantity(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    if depth > MAX_DEPTH {
        return Err(fuel.refuse());
    }
    // `-\$5`, `\$5`.
    let signs = tokens.iter().take_while(|token| matches!(token, Token::Char('-' | '+'))).count();
    if let Some(Token::Command(name)) = tokens.get(signs)
        && let Some(currency) = unit::currency(name)
    {
        let bare: Vec<Token> = tokens[..signs].iter().chain(&tokens[signs + 1..]).cloned().collect();
        return Ok(match quantity(&bare, depth + 1, fuel)? {
            Some(Value::Quantity(quantity)) => {
                let measure = match quantity.measure {
                    Measure::None => Some(Measure::Unit(currency)),
                    // `\$5 dollars`, `\$0.30 per apple`.
                    Measure::Unit(unit) if unit.dimensions.contains_key("dollar") => Some(Measure::Unit(unit)),
                    Measure::Unit(mut unit) => {
                        unit.dimensions.extend(currency.dimensions);
                        Some(Measure::Unit(unit))
                    }
                    _ => None,
                };
                measure.map(|measure| Value::Quantity(Quantity { measure, ..quantity }))
            }
            _ => None,
        });
    }
    if let Some(number) = based(tokens, fuel)? {
        return Ok(Some(number));
    }
    let end = measured_from(tokens);
    let (number, rest) = tokens.split_at(end);
    let (factor, rest) = match rest {
        [Token::Word(word), rest @ ..] => match words::multiplier(word) {
            Some(factor) => (Some(factor), rest),
            None => (None, &tokens[end..]),
        },
        rest => (None, rest),
    };
    let Some(measure) = measure(rest) else { return Ok(None) };
    let mut branches = Vec::new();
    let signed = |token: &Token| token.is_command("pm") || token.is_command("mp");
    let branched: &[Branch] =
        if number.iter().any(signed) { &[Branch::Upper, Branch::Lower] } else { &[Branch::Upper] };
    for branch in branched {
        let Some(formula) = parse(number, *branch, depth, fuel)? else { return Ok(None) };
        let formula = match &factor {
            Some(factor) => Expression::Product(vec![Expression::Number(factor.clone()), formula]),
            None => formula,
        };
        let decimals = if factor.is_none() { decimals(number) } else { None };
        branches.push(Value::Quantity(Quantity { number: formula, measure: measure.clone(), decimals }));
    }
    Ok(match branches.len() {
        1 => branches.pop(),
        _ => Some(Value::List { brackets: Brackets::None, joint: Joint::Or, items: branches }),
    })
}

/// Where the number ends and its measure begins.
fn measured_from(tokens: &[Token]) -> usize {
    if let [number @ .., last] = tokens {
        // The degrees of `\sin 30^\circ` are its argument's.
        let calls =
            |token: &Token| matches!(token, Token::Command(name) if name == "cis" || Function::named(name).is_some());
        let measures = last.is_char('%') || (last.is_command("degree") && !number.iter().any(calls));
        if !number.is_empty() && measures {
            return number.len();
        }
    }
    let begins = |token: &Token| match token {
        Token::Word(word) => {
            word.chars().count() > 1
                && !(word.len() <= 4 && word.bytes().all(|b| b.is_ascii_uppercase()) && !unit::is_known(word))
        }
        Token::Command(name) => unit::currency(name).is_some() || name == "min",
        _ => false,
    };
    let mut depth = 0usize;
    for (place, token) in tokens.iter().enumerate() {
        if opens(token) {
            depth += 1;
        } else if closes(token) {
            depth = depth.saturating_sub(1);
        }
        if depth == 0 && place > 0 && begins(token) {
            // The degree sign of `30^\circ C` belongs to the unit.
            return place;
        }
        if depth == 0
            && place > 0
            && token.is_command("degree")
            && matches!(&tokens[place + 1..], [Token::Word(w)] if matches!(w.as_str(), "C" | "F"))
        {
            return place;
        }
    }
    tokens.len()
}

/// Digits after the point of a plain decimal with its sign.
fn decimals(tokens: &[Token]) -> Option<usize> {
    let ([Token::Number(digits)] | [Token::Char('-' | '+'), Token::Number(digits)]) = tokens else { return None };
    let (_, decimals) = digits.split_once('.')?;
    decimals.bytes().all(|b| b.is_ascii_digit()).then_some(decimals.len())
}

/// Digits and letters in a base: `\text{A5}_{11}`, `(101)_2`, `FF_{16}`, `101_{\text{two}}`.
fn based(tokens: &[Token], fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    let Some(mark) = tokens.iter().position(|token| token.is_char('_')) else { return Ok(None) };
    let ([Token::Number(base) | Token::Word(base)]
    | [Token::Open, Token::Number(base) | Token::Word(base), Token::Close]) = &tokens[mark + 1..]
    else {
        return Ok(None);
    };
    let spelled = match &tokens[..mark] {
        [Token::Char('('), inner @ .., Token::Char(')')] => inner,
        all => all,
    };
    let mut digits = String::new();
    for token in spelled {
        match token {
            Token::Number(text) => digits += text,
            Token::Word(text) if text.bytes().all(|b| b.is_ascii_uppercase()) => digits += text,
            _ => return Ok(None),
        }
    }
    if digits.len() < 2 && !digits.bytes().any(|b| b.is_ascii_digit()) {
        // `A_1` is a point, `A_{16}` may be ten: a name is the safer reading.
        return Ok(None);
    }
    Ok(in_base(&digits, base, fuel)?.map(|number| Value::number(Expression::Number(number))))
}
