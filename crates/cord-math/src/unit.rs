//! Units of measure and labels after a number.

use std::collections::BTreeMap;

use num_traits::{One, Pow};

use crate::rational::{Rational, integer};
use crate::token::Token;

/// What stands after a number: a product of base units with integer powers, and the factor that brings the
/// number into them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit {
    pub(crate) factor: Rational,
    /// Base units (`m`, `kg`, `s`, `dollar`…) and labels (`apple`) with their powers.
    pub(crate) dimensions: BTreeMap<String, i32>,
}

/// (names, base unit, its power, factor above, factor below).
type Row = (&'static [&'static str], &'static str, i32, i64, i64);

const TABLE: &[Row] = &[
    (&["m", "meter", "metre"], "m", 1, 1, 1),
    (&["km", "kilometer", "kilometre"], "m", 1, 1000, 1),
    (&["cm", "centimeter", "centimetre"], "m", 1, 1, 100),
    (&["mm", "millimeter", "millimetre"], "m", 1, 1, 1000),
    (&["in", "inch", "inche"], "m", 1, 254, 10_000),
    (&["ft", "foot", "feet"], "m", 1, 3048, 10_000),
    (&["yd", "yard"], "m", 1, 9144, 10_000),
    (&["mi", "mile"], "m", 1, 1_609_344, 1000),
    (&["g", "gram"], "kg", 1, 1, 1000),
    (&["kg", "kilogram", "kilo"], "kg", 1, 1, 1),
    (&["mg", "milligram"], "kg", 1, 1, 1_000_000),
    (&["lb", "pound"], "kg", 1, 45_359_237, 100_000_000),
    (&["oz", "ounce"], "kg", 1, 45_359_237, 1_600_000_000),
    (&["s", "sec", "second"], "s", 1, 1, 1),
    (&["ms", "millisecond"], "s", 1, 1, 1000),
    (&["min", "minute"], "s", 1, 60, 1),
    (&["h", "hr", "hour"], "s", 1, 3600, 1),
    (&["day"], "s", 1, 86_400, 1),
    (&["week"], "s", 1, 604_800, 1),
    (&["month"], "month", 1, 1, 1),
    (&["yr", "year"], "month", 1, 12, 1),
    (&["L", "l", "liter", "litre"], "m", 3, 1, 1000),
    (&["mL", "ml", "milliliter", "millilitre"], "m", 3, 1, 1_000_000),
    (&["gallon"], "m", 3, 473_176_473, 125_000_000_000),
    (&["quart"], "m", 3, 473_176_473, 500_000_000_000),
    (&["pint"], "m", 3, 473_176_473, 1_000_000_000_000),
    (&["dollar", "USD", "usd", "buck"], "dollar", 1, 1, 1),
    (&["cent", "penny", "pennie", "¢"], "dollar", 1, 1, 100),
    (&["euro", "EUR"], "euro", 1, 1, 1),
    (&["GBP", "quid"], "GBP", 1, 1, 1),
    (&["yen", "JPY"], "yen", 1, 1, 1),
    (&["rupee", "INR", "Rs"], "rupee", 1, 1, 1),
    (&["radian", "rad"], "", 0, 1, 1),
    (&["N", "newton"], "newton", 1, 1, 1),
    (&["J", "joule"], "joule", 1, 1, 1),
    (&["W", "watt"], "watt", 1, 1, 1),
    (&["dozen"], "dozen", 1, 1, 1),
];

/// The name of a unit of one letter, which outside `\text` could be a variable.
pub(crate) fn letter(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "m" => "meter",
        "g" => "gram",
        "s" => "second",
        "h" => "hour",
        "L" | "l" => "liter",
        "N" => "newton",
        "J" => "joule",
        "W" => "watt",
        _ => return None,
    })
}

fn row(name: &str) -> Option<&'static Row> {
    let exact = |name: &str| TABLE.iter().find(|row| row.0.contains(&name));
    exact(name).or_else(|| {
        let lower = name.to_lowercase();
        let lower = (lower.chars().count() > 2).then_some(lower)?;
        exact(&lower).or_else(|| exact(lower.strip_suffix('s')?))
    })
}

/// Is a run of letters a unit rather than variables multiplied?
pub(crate) fn is_known(letters: &str) -> bool {
    letters.len() > 1 && (row(letters).is_some() || matches!(letters, "mph" | "kph" | "kmh" | "mpg"))
}

/// Is a word the name of a measure of length, time, weight, volume or money?
pub(crate) fn is_measure(word: &str) -> bool {
    row(word).is_some_and(|row| !row.1.is_empty())
}

/// A label without its plural, so that `1 apple` and `2 apples` count the same thing.
pub(crate) fn singular(word: &str) -> String {
    let lower = word.to_lowercase();
    if let Some(stem) = lower.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    let plural = lower.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with('s'));
    plural.map_or(lower.clone(), str::to_owned)
}

/// The unit that a currency's command stands for.
pub(crate) fn currency(command: &str) -> Option<Unit> {
    let name = match command {
        "dollar" | "euro" | "yen" | "rupee" => command,
        "pound" => "GBP",
        _ => return None,
    };
    Some(Unit { factor: Rational::one(), dimensions: [(name.to_owned(), 1)].into() })
}

/// The power at the start of tokens, and how many tokens it takes: `^2`, `^{-1}`.
fn exponent(tokens: &[Token]) -> Option<(i32, usize)> {
    let (negative, digits, length) = match tokens {
        [Token::Char('^'), Token::Number(digits), ..] => (false, digits, 2),
        [Token::Char('^'), Token::Char('-'), Token::Number(digits), ..] => (true, digits, 3),
        [Token::Char('^'), Token::Open, Token::Char('-'), Token::Number(digits), Token::Close, ..] => (true, digits, 5),
        _ => return None,
    };
    let power = digits.parse::<i32>().ok().filter(|power| (1..=9).contains(power))?;
    Some((if negative { -power } else { power }, length))
}

/// A unit that is two in one word: each with its power, and how many of them it is.
type Joined = ((&'static str, i32), (&'static str, i32), (i64, i64));

/// The unit that tokens spell, if they spell one: words with powers, `per` and `/`, `square` and `cubic`.
pub(crate) fn parse(tokens: &[Token]) -> Option<Unit> {
    let mut unit = Unit { factor: Rational::one(), dimensions: BTreeMap::new() };
    let (mut sign, mut prefix, mut words) = (1, 1, 0);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let word = match token {
            Token::Word(word) => word.as_str(),
            Token::Command(name) if currency(name).is_some() => name.as_str(),
            // `min` is a function's name too.
            Token::Command(name) if name == "min" => "min",
            Token::Char('/') if words > 0 => {
                sign = -1;
                continue;
            }
            Token::Char('.' | '*' | '-') if words > 0 => continue,
            _ => return None,
        };
        words += 1;
        match word.to_lowercase().as_str() {
            "per" => {
                sign = -1;
                continue;
            }
            "square" | "sq" | "squared" | "cubic" | "cu" | "cubed" => {
                let power = if word.to_lowercase().starts_with('s') { 2 } else { 3 };
                if word.to_lowercase().ends_with('d') {
                    // `inches squared`: the power of what stands before.
                    let last = unit.dimensions.values_mut().next_back()?;
                    *last *= power;
                    unit.factor = Pow::pow(&unit.factor, power);
                } else {
                    prefix = power;
                }
                continue;
            }
            // An ordinal's ending.
            "st" | "nd" | "rd" | "th" => return None,
            "of" | "the" | "a" | "an" | "each" | "total" => continue,
            // `dollars in all`; before no word it is an inch.
            "in" if matches!(tokens.get(at), Some(Token::Word(_))) => continue,
            _ => {}
        }
        let mut power = prefix;
        prefix = 1;
        if let Some((exponent, length)) = exponent(&tokens[at..]) {
            power = exponent;
            at += length;
        }
        // `ms^{-1}` is metres per second.
        let joined: Option<Joined> = match word {
            "mph" | "MPH" => Some((("m", 1), ("s", -1), (1_609_344, 3_600_000))),
            "kph" | "kmh" | "kmph" => Some((("m", 1), ("s", -1), (1000, 3600))),
            "mpg" | "MPG" => Some((("m", 1), ("m", -3), (1_609_344 * 125_000_000, 473_176_473))),
            "ms" if power < 0 => Some((("m", 1), ("s", power), (1, 1))),
            _ => None,
        };
        if let Some(((one, up), (other, down), (above, below))) = joined {
            unit.factor *= Pow::pow(Rational::new(above.into(), below.into()), sign);
            *unit.dimensions.entry(one.to_owned()).or_insert(0) += up * sign;
            *unit.dimensions.entry(other.to_owned()).or_insert(0) += down * sign;
            continue;
        }
        let (name, dimension, above, below) = match row(word) {
            Some((_, name, dimension, above, below)) => ((*name).to_owned(), *dimension, *above, *below),
            None => (singular(word), 1, 1, 1),
        };
        if name == "unit" {
            if power == 1 {
                continue;
            }
        } else if name.is_empty() {
            continue;
        }
        let factor = Pow::pow(Rational::new(above.into(), below.into()), power * sign);
        unit.factor *= factor;
        let entry = unit.dimensions.entry(name).or_insert(0);
        *entry += dimension * power * sign;
    }
    unit.dimensions.retain(|_, power| *power != 0);
    (words > 0 && unit.dimensions.len() <= 6).then_some(unit)
}

/// How many of `a` make one of `b`'s numbers: nothing where they measure different things.
pub(crate) fn ratio(a: &Unit, b: &Unit) -> Option<Rational> {
    if a.dimensions == b.dimensions {
        return Some(&a.factor / &b.factor);
    }
    // `5 pounds` are a weight or a sum of money.
    let pounds = || Unit { factor: Rational::one(), dimensions: [("GBP".to_owned(), 1)].into() };
    let weighs = |unit: &Unit| {
        row("pound").is_some_and(|row| {
            unit.dimensions.len() == 1
                && unit.dimensions.get("kg") == Some(&1)
                && unit.factor == Rational::new(row.3.into(), row.4.into())
        })
    };
    if (*a == pounds() && weighs(b)) || (weighs(a) && *b == pounds()) {
        return Some(Rational::one());
    }
    // `2 dozen eggs` are 24 eggs.
    let (one, other) = (counted(a), counted(b));
    (one.0.dimensions == other.0.dimensions && (one.1 || other.1)).then(|| one.0.factor / other.0.factor)
}

/// A unit with its dozens multiplied out, and whether it had any.
pub(crate) fn counted(unit: &Unit) -> (Unit, bool) {
    let mut unit = unit.clone();
    match unit.dimensions.remove("dozen") {
        Some(times) => {
            unit.factor *= Pow::pow(integer(12), times);
            (unit, true)
        }
        None => (unit, false),
    }
}
