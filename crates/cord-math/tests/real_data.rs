//! The answers of public benchmarks, where their files lie beside the workspace.
#![expect(clippy::print_stdout, reason = "a test says when it skips and what it found")]

use std::path::PathBuf;

use cord_math::{DEFAULT_FUEL, Start, Verdict, equal, verify};
use serde_json::Value;

fn data() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !path.is_dir() {
        println!("skipped: no benchmark data at {}", path.display());
        return None;
    }
    Some(path)
}

fn rows(path: PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| {
        text.lines().filter(|l| !l.trim().is_empty()).map(|l| serde_json::from_str(l).unwrap()).collect()
    })
}

/// The gold answers of a benchmark.
fn golds(file: &str, field: &str) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => text.rsplit("####").next().unwrap_or(text).trim().to_owned(),
        other => other.to_string(),
    };
    Some(rows(data()?.join(file)).iter().map(|row| text(&row[field])).collect())
}

const BENCHMARKS: &[(&str, &str)] = &[
    ("math500/test.jsonl", "answer"),
    ("gsm8k/test.jsonl", "answer"),
    ("aime24/test.jsonl", "expected_answer"),
    ("aime25/test.jsonl", "expected_answer"),
    ("aime_1983_2023/train.json", "answer"),
    ("amc23/test.jsonl", "answer"),
    ("svamp/SVAMP.json", "Answer"),
];

/// Other spellings of one answer, each by a rule that keeps its meaning.
fn respelled(gold: &str) -> Vec<String> {
    let mut out = vec![
        format!("${gold}$"),
        format!(" {gold} . "),
        gold.replace("\\frac", "\\dfrac").replace("\\ddfrac", "\\dfrac"),
        gold.replace("\\dfrac", "\\frac").replace("\\frac", "\\tfrac"),
        gold.replace(", ", ",").replace(',', ", ").replace(", \\!", ",\\!"),
        gold.replace('-', "−"),
        gold.replace("\\pi", "π").replace("\\infty", "∞"),
        gold.replace("^\\circ", "°"),
    ];
    if !gold.contains("\\left") && !gold.contains("\\text") {
        out.push(gold.replace('(', "\\left(").replace(')', "\\right)"));
    }
    out.push(gold.replace("\\left", "").replace("\\right", ""));
    let digits = !gold.is_empty() && gold.bytes().all(|b| b.is_ascii_digit());
    if digits {
        out.extend([
            format!("{gold}.0"),
            format!("{gold}."),
            format!("\\text{{{gold}}}"),
            format!("{gold} \\text{{ units}}"),
        ]);
        out.extend([
            format!("x = {gold}"),
            format!("\\frac{{{gold}}}{{1}}"),
            format!("{gold}\\text{{ cm}}"),
            format!("0{gold}"),
        ]);
        if gold.len() > 3 && !gold.starts_with('0') {
            for mark in [",", "{,}", ",\\!", "\\,"] {
                let mut grouped = String::new();
                for (place, digit) in gold.chars().enumerate() {
                    if place > 0 && (gold.len() - place).is_multiple_of(3) {
                        grouped += mark;
                    }
                    grouped.push(digit);
                }
                out.push(grouped);
            }
        }
    }
    if let Some((above, below)) = simple_fraction(gold) {
        out.extend([format!("{above}/{below}"), format!("\\frac{{{}}}{{{}}}", 6 * above, 6 * below)]);
        let mut places = below;
        while places % 2 == 0 {
            places /= 2;
        }
        while places % 5 == 0 {
            places /= 5;
        }
        if places == 1 {
            out.push(format!("{}", above as f64 / below as f64));
        }
    }
    out
}

/// `\frac{a}{b}` of small whole numbers with a sign or not, read without the crate.
fn simple_fraction(text: &str) -> Option<(i64, i64)> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let rest = text.strip_prefix("\\dfrac{").or_else(|| text.strip_prefix("\\frac{"))?;
    let (above, rest) = rest.split_once("}{")?;
    let below = rest.strip_suffix('}')?;
    Some((sign * above.parse::<i64>().ok()?, below.parse::<i64>().ok().filter(|b| *b > 0)?))
}

/// The value of an answer that is a plain number, read without the crate: whole numbers, decimals, fractions.
fn plain_value(text: &str) -> Option<(i64, i64)> {
    if let Some(fraction) = simple_fraction(text) {
        return Some(fraction);
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 6 || text.len() > 15 || whole.is_empty() {
        return None;
    }
    let digits: i64 = format!("{whole}{decimals}").parse().ok()?;
    Some((digits, 10i64.pow(decimals.len() as u32)))
}

#[test]
fn every_gold_answer_verifies_against_itself_and_its_respellings() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for (file, field) in BENCHMARKS {
        let Some(golds) = golds(file, field) else { return };
        for gold in golds {
            for given in std::iter::once(gold.clone()).chain(respelled(&gold)) {
                checked += 1;
                let response = format!("Hence the answer is \\boxed{{{given}}}.");
                if !verify(&gold, &response, Start::Plain, DEFAULT_FUEL).is_correct() {
                    faults.push(format!("{file}: gold `{gold}`, given `{given}`"));
                }
            }
        }
    }
    println!("{checked} responses");
    assert!(faults.is_empty(), "{} of {checked}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn sets_and_lists_of_solutions_verify_in_any_order() {
    let Some(golds) = golds("math500/test.jsonl", "answer") else { return };
    for gold in golds.iter().filter(|gold| gold.starts_with("\\{")) {
        let inner = gold.trim_start_matches("\\{").trim_end_matches("\\}");
        let mut items: Vec<&str> = inner.split(',').collect();
        items.reverse();
        let given = format!("\\boxed{{\\left\\{{{}\\right\\}}}}", items.join(", "));
        assert!(verify(gold, &given, Start::Plain, DEFAULT_FUEL).is_correct(), "{gold} and {given}");
    }
}

/// Which answers are unequal is decided without the crate where both are plain numbers: by cross multiplication.
#[test]
fn no_gold_answer_verifies_against_an_unequal_one() {
    let (mut faults, mut decided, mut equals) = (Vec::new(), 0, Vec::new());
    for (file, field) in BENCHMARKS {
        let Some(mut golds) = golds(file, field) else { return };
        golds.sort_unstable();
        golds.dedup();
        for a in &golds {
            for b in &golds {
                let same = equal(a, b, DEFAULT_FUEL).unwrap();
                if let (Some((p, q)), Some((r, s))) = (plain_value(a), plain_value(b)) {
                    decided += 1;
                    if (i128::from(p) * i128::from(s) == i128::from(r) * i128::from(q)) != same.is_some() {
                        faults.push(format!("{file}: `{a}` and `{b}`: {same:?}"));
                    }
                } else if a != b && same.is_some() && file.starts_with("math500") {
                    equals.push(format!("`{a}` and `{b}`: {same:?}"));
                }
            }
        }
    }
    println!("{decided} pairs decided; different golds of MATH-500 that verify as equal:\n{}", equals.join("\n"));
    assert!(faults.is_empty(), "{} of {decided}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_response_is_not_right_for_another_problem() {
    let Some(golds) = golds("gsm8k/test.jsonl", "answer") else { return };
    for pair in golds.windows(2) {
        let (Some((p, q)), Some((r, s))) = (plain_value(&pair[0]), plain_value(&pair[1])) else { continue };
        let verdict = verify(&pair[0], &format!("#### {}", pair[1]), Start::Plain, DEFAULT_FUEL);
        assert_eq!(matches!(verdict, Verdict::Correct { .. }), p * s == r * q, "{pair:?}");
    }
}
