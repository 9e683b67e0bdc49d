//! Answers in words: numbers, ordinals, days, dates, times of day, and phrases that mean the same.

use num_traits::Zero;

use crate::rational::{Rational, integer};
use crate::token::Token;

const UNITS: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: &[&str] = &["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const ORDINALS: &[(&str, i64)] = &[
    ("first", 1),
    ("second", 2),
    ("third", 3),
    ("fifth", 5),
    ("eighth", 8),
    ("ninth", 9),
    ("twelfth", 12),
    ("twentieth", 20),
    ("thirtieth", 30),
    ("fortieth", 40),
    ("fiftieth", 50),
    ("sixtieth", 60),
    ("seventieth", 70),
    ("eightieth", 80),
    ("ninetieth", 90),
];
const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: &[&str] = &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Is a short run of letters a word of the tables or of plain English, rather than variables multiplied?
pub(crate) fn is_known(letters: &str) -> bool {
    const SHORT: &[&str] = &[
        "and", "or", "no", "yes", "the", "an", "am", "pm", "is", "are", "at", "by", "to", "of", "per", "all", "not",
        "odd", "max", "may", "any", "my", "us", "up", "st", "nd", "rd", "th", "cup", "man", "day", "way", "cow", "cat",
        "car", "bus", "box", "boy", "cut", "dry", "sum", "put", "cm", "mm", "km", "sq", "cu",
    ];
    SHORT.contains(&letters) || units(letters).is_some()
}

fn units(word: &str) -> Option<i64> {
    UNITS.iter().position(|w| *w == word).map(|n| n as i64)
}

fn tens(word: &str) -> Option<i64> {
    TENS.iter().position(|w| !w.is_empty() && *w == word).map(|n| 10 * n as i64)
}

fn scale(word: &str) -> Option<i64> {
    Some(match word {
        "thousand" => 1000,
        "million" => 1_000_000,
        "billion" => 1_000_000_000,
        "trillion" => 1_000_000_000_000,
        _ => return None,
    })
}

/// The number that a scale's word multiplies by, for `3 million`.
pub(crate) fn multiplier(word: &str) -> Option<Rational> {
    let word = word.to_lowercase();
    scale(&word).or((word == "hundred").then_some(100)).map(integer)
}

/// Cardinal words: `one hundred and twenty-one`.
fn cardinal(words: &[&str]) -> Option<i64> {
    let (mut total, mut group, mut last) = (0i64, 0i64, "");
    if words.is_empty() {
        return None;
    }
    for word in words {
        if let Some(n) = units(word) {
            // `twenty one` and `hundred one`, but not `one two`.
            if units(last).is_some() || (tens(last).is_some() && !(1..10).contains(&n)) {
                return None;
            }
            group += n;
        } else if let Some(n) = tens(word) {
            if units(last).is_some() || tens(last).is_some() {
                return None;
            }
            group += n;
        } else if *word == "hundred" {
            let before = if group == 0 && last.is_empty() { 1 } else { group };
            if !(1..100).contains(&before) {
                return None;
            }
            group = 100 * before;
        } else if let Some(by) = scale(word) {
            let before = if group == 0 && last.is_empty() { 1 } else { group };
            if before == 0 || (total != 0 && by.checked_mul(1000)? > total.abs() && total < by) {
                return None;
            }
            total = total.checked_add(before.checked_mul(by)?)?;
            group = 0;
        } else if *word == "and" && !last.is_empty() {
            continue;
        } else {
            return None;
        }
        last = word;
    }
    Some(total + group)
}

/// An ordinal's last word as its number: `third`, `twentieth`, `sixth`.
fn ordinal_word(word: &str) -> Option<i64> {
    let listed = ORDINALS.iter().find(|(name, _)| *name == word).map(|(_, n)| *n);
    listed.or_else(|| units(word.strip_suffix("th")?).filter(|n| *n > 3))
}

/// A fraction's name: `half`, `thirds`, `fourth`, `quarters`, `tenths`.
fn denominator(word: &str) -> Option<i64> {
    let one = word.strip_suffix('s').unwrap_or(word);
    match one {
        "half" | "halve" => Some(2),
        "quarter" => Some(4),
        "hundredth" => Some(100),
        "thousandth" => Some(1000),
        "second" | "first" => None,
        _ => ordinal_word(one),
    }
}

/// Lower-case words of an answer that is nothing but words, with hyphens taken as spaces.
pub(crate) fn all_words(tokens: &[Token]) -> Option<Vec<String>> {
    let words: Option<Vec<_>> = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Char('-' | '.' | '\'')))
        .map(|token| match token {
            Token::Word(word) => Some(word.to_lowercase()),
            Token::Command(name) if name == "mathbb Z" => Some("integers".to_owned()),
            // `second` and `infinity` are commands where they are functions or symbols.
            Token::Command(name) if name == "infty" => Some("infinity".to_owned()),
            _ => None,
        })
        .collect();
    words.filter(|words| !words.is_empty())
}

/// The number that words spell: `twelve`, `three fourths`, `two and a half`, `minus five`.
pub(crate) fn number(words: &[String]) -> Option<Rational> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (negative, words) = match words.as_slice() {
        ["minus" | "negative", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let value = magnitude(words)?;
    Some(if negative { -value } else { value })
}

fn magnitude(words: &[&str]) -> Option<Rational> {
    if let Some(n) = cardinal(words) {
        return Some(integer(n));
    }
    let (last, before) = words.split_last()?;
    if let Some(below) = denominator(last) {
        let one = |words: &[&str]| match words {
            ["a" | "an"] => Some(1),
            // A bare `third` is an ordinal; a bare `half` is a number.
            [] => matches!(*last, "half").then_some(1),
            words => cardinal(words),
        };
        if let Some(above) = one(before) {
            return Some(Rational::new(above.into(), below.into()));
        }
        // `two and a half`, `three and two thirds`.
        let and = before.iter().rposition(|word| *word == "and")?;
        let (whole, part) = (cardinal(&before[..and])?, one(&before[and + 1..])?);
        return Some(integer(whole) + Rational::new(part.into(), below.into()));
    }
    // `three point one four`.
    let point = words.iter().position(|word| *word == "point")?;
    let mut value = integer(cardinal(&words[..point])?);
    let mut place = integer(1);
    for word in words.get(point + 1..)?.iter().take(30) {
        place /= integer(10);
        value += integer(units(word).filter(|n| *n < 10)?) * &place;
    }
    (!place.is_zero() && point + 1 < words.len()).then_some(value)
}

/// The rank that an answer names: `3rd`, `third`, `twenty-first`.
pub(crate) fn rank(tokens: &[Token]) -> Option<i64> {
    if let [Token::Number(digits), rest @ ..] = tokens {
        let suffix: String = rest.iter().map(letters).collect::<Option<_>>()?;
        let n: i64 = digits.parse().ok()?;
        let expected = match (n % 10, n % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        return (suffix.trim_start_matches('^') == expected).then_some(n);
    }
    let words = all_words(tokens)?;
    let (last, before) = words.split_last()?;
    let last = ordinal_word(last)?;
    match before {
        [] => Some(last),
        [ten] => tens(ten).filter(|_| last < 10).map(|ten| ten + last),
        _ => None,
    }
}

fn letters(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) => Some(word),
        Token::Char('^') => Some("^"),
        _ => None,
    }
}

/// Minutes after midnight, and whether the half of the day was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: u32,
    /// `a.m.`, `p.m.`, or an hour past 12.
    pub(crate) half_known: bool,
}

/// A time of day: `3:30 p.m.`, `15:30`, `4:51:06 PM`, `12 noon`, `5 pm`.
pub(crate) fn time(tokens: &[Token]) -> Option<Time> {
    if let [Token::Word(word)] = tokens {
        let seconds = match word.to_lowercase().as_str() {
            "noon" => 12 * 3600,
            "midnight" => 0,
            _ => return None,
        };
        return Some(Time { seconds, half_known: true });
    }
    let marks = tokens.iter().position(|t| matches!(t, Token::Word(_))).unwrap_or(tokens.len());
    let (clock, half) = tokens.split_at(marks);
    let half: String = half
        .iter()
        .map(|token| match token {
            Token::Word(word) => Some(word.to_lowercase()),
            Token::Char('.') => Some(String::new()),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let part = |token: &Token, limit: u32, digits: usize| match token {
        Token::Number(n) if n.len() <= 2 && n.len() >= digits => n.parse::<u32>().ok().filter(|n| *n < limit),
        _ => None,
    };
    let (hours, minutes, seconds) = match clock {
        [h] if !half.is_empty() => (part(h, 13, 1)?, 0, 0),
        [h, Token::Char(':'), m] => (part(h, 25, 1)?, part(m, 60, 2)?, 0),
        [h, Token::Char(':'), m, Token::Char(':'), s] => (part(h, 25, 1)?, part(m, 60, 2)?, part(s, 60, 2)?),
        _ => return None,
    };
    let after_noon = match half.as_str() {
        "am" | "aminthemorning" | "inthemorning" | "midnight" => Some(false),
        "pm" | "noon" | "intheafternoon" | "intheevening" => Some(true),
        "" | "oclock" | "hours" => None,
        _ => return None,
    };
    let hours = match after_noon {
        Some(true) if hours < 12 => hours + 12,
        Some(false) if hours == 12 => 0,
        _ => hours,
    };
    let seconds = hours * 3600 + minutes * 60 + seconds;
    Some(Time { seconds, half_known: after_noon.is_some() || hours > 12 || hours == 0 })
}

/// A day of the year, with the year where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: Option<u32>,
    pub(crate) month: u32,
    pub(crate) day: u32,
}

/// `October 30`, `30 October 2021`, `Oct. 30th, 2021`, `2021-10-30`.
pub(crate) fn date(tokens: &[Token]) -> Option<Date> {
    if tokens.len() > 12 {
        return None;
    }
    let number = |token: &Token| match token {
        Token::Number(n) if n.len() <= 4 => n.parse::<u32>().ok(),
        _ => None,
    };
    if let [Token::Number(year), Token::Char('-'), month, Token::Char('-'), day] = tokens {
        let (month, day) = (number(month)?, number(day)?);
        let valid = year.len() == 4 && (1..=12).contains(&month) && (1..=31).contains(&day);
        return valid.then_some(Date { year: year.parse().ok(), month, day });
    }
    // `1/5/2020` as in the United States, or the only way round that there is.
    if let [one, Token::Char('/'), other, Token::Char('/'), Token::Number(year)] = tokens {
        let (one, other) = (number(one)?, number(other)?);
        let (month, day) = if one > 12 { (other, one) } else { (one, other) };
        let valid = year.len() == 4 && (1..=12).contains(&month) && (1..=31).contains(&day);
        return valid.then_some(Date { year: year.parse().ok(), month, day });
    }
    let (mut month, mut numbers) = (None, Vec::new());
    for token in tokens {
        match token {
            Token::Word(word) => {
                let word = word.to_lowercase();
                let named = MONTHS.iter().position(|m| *m == word || (word.len() >= 3 && m[..3] == word));
                match named {
                    Some(named) if month.is_none() => month = Some(named as u32 + 1),
                    None if matches!(word.as_str(), "st" | "nd" | "rd" | "th" | "of" | "the" | "on") => {}
                    None if DAYS.contains(&word.as_str()) => {}
                    _ => return None,
                }
            }
            Token::Comma { .. } | Token::Char('.') => {}
            other => numbers.push(number(other)?),
        }
    }
    let (day, year) = match numbers.as_slice() {
        [day] => (*day, None),
        [day, year] if *year > 31 => (*day, Some(*year)),
        _ => return None,
    };
    (1..=31).contains(&day).then_some(Date { year, month: month?, day })
}

/// Words with one meaning, as one phrase: articles dropped, synonyms united, abbreviated days and months in full.
pub(crate) fn phrase(words: &[String]) -> Vec<String> {
    let kept: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| !matches!(*word, "the" | "a" | "an" | "on")).collect();
    let united = match kept.as_slice() {
        ["no", "solution" | "solutions"]
        | ["no", "real", "solution" | "solutions"]
        | ["there", "is" | "are", "no", "solution" | "solutions"]
        | ["none" | "empty" | "nothing"]
        | ["empty", "set"]
        | ["none", "of", "them" | "these" | "above"] => "none",
        ["dne" | "undefined"] | ["does", "not", "exist"] | ["not", "defined"] | ["doesnt", "exist"] => "undefined",
        ["infinite"] | ["infinitely", "many"] | ["infinitely", "many", "solutions"] => "infinitely many",
        ["all", "real", "numbers"] | ["all", "reals"] | ["any", "real", "number"] | ["real", "numbers"] | ["reals"] => {
            "all real numbers"
        }
        ["all", "integers"] | ["integers"] | ["set", "of", "integers"] | ["set", "of", "all", "integers"] => "integers",
        ["true" | "yes"] => "yes",
        ["false" | "no"] => "no",
        [word] => {
            let full = |list: &[&'static str]| {
                let starts = |full: &&&str| *full == word || (word.len() == 3 && full.starts_with(word));
                list.iter().find(starts).copied()
            };
            return vec![full(DAYS).or_else(|| full(MONTHS)).unwrap_or(word).to_owned()];
        }
        _ => return kept.into_iter().map(str::to_owned).collect(),
    };
    vec![united.to_owned()]
}
