//! Graders that published results were made with, written from their descriptions, to show where ours differs.
//!
//! They are kept as they are, faults included: `0.5` and `1/2` are one answer to Hendrycks' grader and `0.25` and
//! `1/4` are two. None of them pulls an answer out of a response.

use serde::{Deserialize, Serialize};

use crate::compare::{Comparer, ListOrder};
use crate::equality::{Ground, equal};
use crate::formula::{Branch, parse};
use crate::fuel::{Fuel, OutOfFuel};
use crate::token::tokens;

/// A grader of the literature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PublishedGrader {
    /// `is_equiv` of the MATH benchmark (Hendrycks et al., 2021): strings are normalised and compared.
    HendrycksMath,
    /// The grader of PRM800K (Lightman et al., 2023): Hendrycks' first, then tuples item by item, fractions as
    /// strings, whole numbers as whole numbers, and a computer algebra system for the rest. Here this crate's exact
    /// and numeric algebra stands in for that system.
    Prm800k,
    /// The normaliser of Minerva (Lewkowycz et al., 2022, appendix D): strings are normalised and compared.
    Minerva,
}

impl PublishedGrader {
    /// Every grader.
    pub const ALL: [Self; 3] = [Self::HendrycksMath, Self::Prm800k, Self::Minerva];

    /// Does this grader call the given answer right?
    pub fn accepts(self, gold: &str, given: &str, fuel: u64) -> Result<bool, OutOfFuel> {
        let mut fuel = Fuel::new(fuel);
        // Each replacement passes once over the text, and there are some fifty.
        fuel.spend(50 * (gold.len() + given.len()) as u64)?;
        Ok(match self {
            Self::HendrycksMath => hendrycks(gold) == hendrycks(given),
            Self::Minerva => minerva(gold) == minerva(given),
            Self::Prm800k => prm800k(gold, given, &mut fuel)?,
        })
    }
}

/// One pair, as each grader judges it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The gold answer.
    pub gold: String,
    /// The given one.
    pub given: String,
    /// What our verdict rests on, where it is equal.
    pub ours: Option<Ground>,
    /// The graders that judge otherwise.
    pub against: Vec<PublishedGrader>,
}

/// Where the published graders differ from ours, if any does.
pub fn disagreement(gold: &str, given: &str, fuel: u64) -> Result<Option<Disagreement>, OutOfFuel> {
    let ours = equal(gold, given, fuel)?;
    let mut against = Vec::new();
    for grader in PublishedGrader::ALL {
        if grader.accepts(gold, given, fuel)? != ours.is_some() {
            against.push(grader);
        }
    }
    let found = Disagreement { gold: gold.to_owned(), given: given.to_owned(), ours, against };
    Ok((!found.against.is_empty()).then_some(found))
}

/// The MATH normaliser: spaces, `\left`, degrees, dollars and percent signs go, `x =` goes, fractions and roots get
/// their braces, `0.5` becomes `\frac{1}{2}`.
fn hendrycks(text: &str) -> String {
    let mut s = text.replace('\n', "").replace("\\!", "").replace("\\\\", "\\");
    for (from, to) in [
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
    ] {
        s = s.replace(from, to);
    }
    if let Some(at) = s.find("\\text{ ") {
        s.truncate(at);
    }
    for (from, to) in [("\\%", ""), (" .", " 0."), ("{.", "{0.")] {
        s = s.replace(from, to);
    }
    if s.starts_with('.') {
        s.insert(0, '0');
    }
    let sides: Vec<&str> = s.split('=').collect();
    if let [left, right] = sides.as_slice()
        && left.len() <= 2
    {
        s = String::from(*right);
    }
    s = braced_roots(&s).replace(' ', "");
    s = braced_fractions(&s);
    if s == "0.5" {
        s = String::from("\\frac{1}{2}");
    }
    let whole = |part: &str| part.parse::<i64>().ok().filter(|n| n.to_string() == part);
    if let Some((a, b)) = s.split_once('/')
        && let (Some(a), Some(b)) = (whole(a), whole(b))
    {
        s = format!("\\frac{{{a}}}{{{b}}}");
    }
    s
}

/// `\sqrt3` as `\sqrt{3}`.
fn braced_roots(text: &str) -> String {
    let mut pieces = text.split("\\sqrt");
    let mut out = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        out += "\\sqrt";
        let mut characters = piece.chars();
        match characters.next() {
            Some(first) if first != '{' => {
                out.extend(['{', first, '}']);
                out += characters.as_str();
            }
            _ => out += piece,
        }
    }
    out
}

/// `\frac12` as `\frac{1}{2}`, `\frac1{72}` as `\frac{1}{72}`.
fn braced_fractions(text: &str) -> String {
    let mut pieces = text.split("\\frac");
    let mut out = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        out += "\\frac";
        let mut characters = piece.chars();
        match (characters.next(), characters.next()) {
            (Some(above), Some(below)) if above != '{' => {
                out.extend(['{', above, '}']);
                if below == '{' {
                    out.push('{');
                } else {
                    out.extend(['{', below, '}']);
                }
                out += characters.as_str();
            }
            _ => out += piece,
        }
    }
    out
}

/// Minerva's normaliser: what follows the last `=`, without units, fonts and formatting.
fn minerva(text: &str) -> String {
    let mut s = text.rsplit('=').next().unwrap_or(text).to_owned();
    for (from, to) in [
        ("an ", ""),
        ("a ", ""),
        (".$", "$"),
        ("\\$", ""),
        ("\\ ", ""),
        (" ", ""),
        ("mbox", "text"),
        (",\\text{and}", ","),
        ("\\text{and}", ","),
        ("\\text{m}", "\\text{}"),
    ] {
        s = s.replace(from, to);
    }
    for removed in [
        "square",
        "ways",
        "integers",
        "dollars",
        "mph",
        "inches",
        "ft",
        "hours",
        "km",
        "units",
        "\\ldots",
        "sue",
        "points",
        "feet",
        "minutes",
        "digits",
        "cents",
        "degrees",
        "cm",
        "gm",
        "pounds",
        "meters",
        "meals",
        "edges",
        "students",
        "childrentickets",
        "multiples",
        "\\text{s}",
        "\\text{.}",
        "\\text{\ns}",
        "\\text{}^2",
        "\\text{}^3",
        "\\text{\n}",
        "\\text{}",
        "\\mathrm{th}",
        "^\\circ",
        "^{\\circ}",
        "\\;",
        ",\\!",
        "{,}",
        "\"",
        "\\dots",
    ] {
        s = s.replace(removed, "");
    }
    if let Some((_, rest)) = s.split_once('$')
        && let Some((formula, _)) = rest.split_once('$')
    {
        s = String::from(formula);
    }
    for font in ["\\text{", "\\textbf{", "\\overline{", "\\boxed{"] {
        while let Some(at) = s.find(font) {
            let Some(end) = s[at..].find('}').map(|end| at + end) else { break };
            s = format!("{}{}{}", &s[..at], &s[at + font.len()..end], &s[end + 1..]);
        }
    }
    s = braced_roots(&braced_fractions(&s)).replace('$', "");
    let digits = s.replace(',', "");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) { digits } else { s }
}

/// Units that PRM800K's normaliser drops.
const UNITS: &[&str] = &[
    "degree",
    "cm",
    "centimeter",
    "meter",
    "mile",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "foot",
    "feet",
    "inch",
    "yard",
];

fn prm800k_normal(text: &str) -> String {
    let mut s = text.trim().to_owned();
    if let Some(inner) = s.strip_prefix("\\text{").and_then(|s| s.strip_suffix('}')) {
        s = String::from(inner);
    }
    for (from, to) in [
        ("\\%", "%"),
        ("\\$", "$"),
        ("$", ""),
        ("%", ""),
        (" or ", " , "),
        (" and ", " , "),
        ("million", "*10^6"),
        ("billion", "*10^9"),
        ("trillion", "*10^12"),
    ] {
        s = s.replace(from, to);
    }
    for unit in UNITS {
        for ending in ["es", "s", ""] {
            s = s.replace(&format!("{unit}{ending}"), "");
        }
    }
    s = s.replace("^{\\circ}", "").replace("^\\circ", "").replace(",\\!", "").replace("\\!", "").replace("- ", "-");
    if let Some(inner) = s.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        s = String::from(inner);
    }
    s = s.replace(' ', "").replace("{}", "").to_lowercase();
    // `7.0` is `7`, `1,000` is `1000`.
    let digits = s.replace(',', "");
    let grouped = s.split(',').skip(1).all(|group| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit()));
    match digits.parse::<f64>() {
        Ok(number) if grouped && number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        _ => s,
    }
}

fn prm800k(gold: &str, given: &str, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    if hendrycks(gold) == hendrycks(given) {
        return Ok(true);
    }
    let (gold, given) = (prm800k_normal(gold), prm800k_normal(given));
    if gold == given {
        return Ok(true);
    }
    if given.is_empty() {
        return Ok(false);
    }
    let ends = |s: &str| (s.chars().next(), s.chars().next_back());
    let items = |s: &str| -> Vec<String> {
        let bracketed = matches!(ends(s), (Some('(' | '['), Some(')' | ']'))) && s.len() > 2;
        let inner = if bracketed { &s[1..s.len() - 1] } else { s };
        if bracketed { inner.split(',').map(|item| item.trim().to_owned()).collect() } else { vec![s.to_owned()] }
    };
    let (golds, givens) = (items(&gold), items(&given));
    if golds.len() != givens.len() || (golds.len() > 1 && ends(&gold) != ends(&given)) {
        return Ok(false);
    }
    for (a, b) in golds.iter().zip(&givens) {
        let is_fraction = |s: &str| {
            s.starts_with("\\frac{")
                || s.split_once('/').is_some_and(|(a, b)| a.parse::<i64>().is_ok() && b.parse::<i64>().is_ok())
        };
        let is_whole = |s: &str| s.parse::<i64>().is_ok();
        let same = if is_fraction(a) && is_fraction(b) {
            a == b
        } else if is_whole(a) != is_whole(b) && is_whole(a) {
            // A whole gold answer is answered by nothing but its own digits.
            false
        } else {
            algebraic(a, b, fuel)?
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn algebraic(a: &str, b: &str, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    let (a, b) = (tokens(a, fuel)?, tokens(b, fuel)?);
    let (Some(a), Some(b)) = (parse(&a, Branch::Upper, 0, fuel)?, parse(&b, Branch::Upper, 0, fuel)?) else {
        return Ok(false);
    };
    Ok(Comparer { order: ListOrder::Counts, fuel }.same_expression(&a, &b)?.is_some())
}
