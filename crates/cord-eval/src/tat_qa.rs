//! TAT-QA (Zhu et al. 2021, arXiv 2105.07624): its official exact match, numeracy-aware F1 and scale, how a response says
//! an answer with its scale, and how a report's table and text are put before a model.
//!
//! The metric follows the definition of the authors' evaluation script, down to its quirks, and gives what they report for
//! their sample prediction on dev: exact match 45.92, F1 58.88, scale 90.95. In its own terms: an answer's spans are
//! sorted and joined into one text, in which every span that is a number is written with four decimals after its scale is
//! applied; two texts match exactly when their normal forms are equal; F1 is that of their sets of words, rounded to two
//! decimals; of an arithmetic or counting question it is the exact match. A prediction without a scale also counts as
//! its bare number, since `0.2342` and `23.42 percent` are one answer.
//!
//! Covered: everything that the dev set and its sample prediction hold. Not covered: digits outside ASCII, and digit
//! groups with underscores, which Python reads as numbers.

use std::collections::BTreeSet;

use cord_core::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The scale of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// As it stands.
    #[default]
    #[serde(rename = "")]
    None,
    /// Thousands.
    Thousand,
    /// Millions.
    Million,
    /// Billions.
    Billion,
    /// Hundredths.
    Percent,
}

impl Scale {
    /// The word in the data, empty for no scale.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Thousand => "thousand",
            Self::Million => "million",
            Self::Billion => "billion",
            Self::Percent => "percent",
        }
    }

    /// Reads a word as a model writes it: `millions`, `%`, `none`.
    fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches(['.', '`', '*', '"', '(', ')']).to_lowercase();
        Some(match text.trim_end_matches('s') {
            "" | "none" | "no scale" | "n/a" | "unit" | "one" => Self::None,
            "thousand" => Self::Thousand,
            "million" => Self::Million,
            "billion" => Self::Billion,
            "percent" | "%" | "percentage" => Self::Percent,
            _ => return None,
        })
    }
}

/// How an answer came about; it decides what F1 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerKind {
    /// One piece of the table or the text.
    Span,
    /// Several pieces.
    MultiSpan,
    /// Computed.
    Arithmetic,
    /// Counted.
    Count,
}

/// A gold answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gold {
    /// Its spans; one where it is a number.
    pub spans: Vec<String>,
    /// How it came about.
    pub kind: AnswerKind,
    /// Its scale.
    pub scale: Scale,
}

impl Gold {
    /// Reads `answer`, `answer_type` and `scale` of a question.
    pub fn read(fields: &dyn Fn(&str) -> Option<Value>) -> Result<Self, String> {
        let text = |name: &str| -> Result<Value, String> {
            fields(name).ok_or_else(|| format!("expected `{name}` beside the question, got nothing"))
        };
        let kind = text("answer_type")?;
        let kind: AnswerKind = serde_json::from_value(kind.clone()).map_err(|_| {
            format!("expected `span`, `multi-span`, `arithmetic` or `count` as `answer_type`, got `{kind}`")
        })?;
        let scale = text("scale")?;
        let scale: Scale = serde_json::from_value(scale.clone()).map_err(|_| {
            format!("expected ``, `thousand`, `million`, `billion` or `percent` as `scale`, got `{scale}`")
        })?;
        let answer = text("answer")?;
        let spans =
            spans(&answer).ok_or_else(|| format!("expected text, a number or a list as `answer`, got `{answer}`"))?;
        Ok(Self { spans, kind, scale })
    }

    /// The answer as people write it: spans with semicolons between, and the scale.
    pub fn readable(&self) -> String {
        readable(&self.spans, self.scale)
    }
}

fn readable(spans: &[String], scale: Scale) -> String {
    let spans = spans.join("; ");
    if scale == Scale::None { spans } else { format!("{spans} {}", scale.word()) }
}

fn spans(answer: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match answer {
        Value::Array(spans) => spans.iter().map(text).collect(),
        one => text(one).map(|text| vec![text]),
    }
}

/// A prediction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    /// Its spans; none where nothing was predicted.
    pub spans: Vec<String>,
    /// Its scale.
    pub scale: Scale,
}

impl Prediction {
    /// Reads an entry of the authors' prediction files: `[answer, scale]`, in which a missing answer is null.
    pub fn read(entry: &Value) -> Option<Self> {
        let (answer, scale) = (entry.get(0)?, entry.get(1)?);
        let scale = serde_json::from_value(scale.clone()).ok()?;
        // The script asks whether there is a prediction: none, an empty text or list, and a zero are not one.
        let nothing = answer.is_null() || answer.as_f64() == Some(0.0) || answer == "";
        let spans = if nothing { Vec::new() } else { spans(answer)? };
        Some(Self { spans, scale })
    }

    /// Finds the answer in what a model said after its reasoning: the last line that begins with `answer:` and the last one
    /// that begins with `scale:`, or else the box, whose content may end with a scale. Spans are separated by
    /// semicolons.
    pub fn find(text: &str) -> Option<Self> {
        let line = |cue: &str| {
            let plain = |line: &'_ str| line.trim().trim_start_matches(['*', '-', '#', '>', ' ']).replace("**", "");
            let with_cue =
                |line: String| line.to_lowercase().starts_with(cue).then(|| line[cue.len()..].trim().to_owned());
            text.lines().rev().find_map(|line| with_cue(plain(line)))
        };
        let said = line("answer:").filter(|said| !said.is_empty()).map(|said| match boxed(&said) {
            Some(inside) => inside,
            None => said,
        });
        let said = said.or_else(|| boxed(text))?;
        let scale = line("scale:").and_then(|word| Scale::read(&word));
        let (said, scale) = match scale {
            Some(scale) => (said, scale),
            None => split_scale(&said),
        };
        let spans: Vec<String> = said.split(';').map(|span| span.trim().to_owned()).filter(|s| !s.is_empty()).collect();
        (!spans.is_empty()).then_some(Self { spans, scale })
    }

    /// The prediction as people write it.
    pub fn readable(&self) -> String {
        readable(&self.spans, self.scale)
    }
}

fn boxed(text: &str) -> Option<String> {
    match cord_math::extract(text, cord_math::Start::Plain) {
        cord_math::Extraction::Boxed(inside) => {
            let inside = inside.replace("\\text{", "").replace(['\\', '}'], "");
            Some(inside.trim().to_owned()).filter(|inside| !inside.is_empty())
        }
        _ => None,
    }
}

/// `12.6 million` is `12.6` in millions; a percent sign stays, since the metric reads it.
fn split_scale(said: &str) -> (String, Scale) {
    if let Some((rest, word)) = said.trim_end_matches('.').rsplit_once(' ')
        && let Some(scale) = Scale::read(word).filter(|scale| *scale != Scale::None && word != "%")
        && is_number(rest)
    {
        return (rest.trim().to_owned(), scale);
    }
    (said.to_owned(), Scale::None)
}

/// The metric of one question, each value in `[0, 1]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TatQaScore {
    /// 1 for an exact match.
    pub exact_match: f64,
    /// F1 of the sets of words; the exact match of arithmetic and counting questions.
    pub f1: f64,
    /// 1 for the gold scale.
    pub scale: f64,
}

/// Scores a prediction by the official metric. Nothing predicted is 0 throughout.
pub fn tat_qa_score(gold: &Gold, given: &Prediction) -> TatQaScore {
    if given.spans.is_empty() || gold.spans.is_empty() {
        return TatQaScore::default();
    }
    let expected = joined(&gold.spans, gold.scale);
    let mut readings = vec![joined(&given.spans, given.scale)];
    if let ([only], Scale::None) = (given.spans.as_slice(), given.scale)
        && !only.contains('%')
        && is_number(only)
        && let Some(number) = Number::read(only)
    {
        readings.push(format!("{:.4}", number.value));
    }
    let scores = readings.iter().map(|reading| texts(reading, &expected));
    let (exact_match, f1) = scores.fold((0.0, 0.0), |best, one| if one > best { one } else { best });
    let computed = matches!(gold.kind, AnswerKind::Arithmetic | AnswerKind::Count);
    TatQaScore {
        exact_match,
        f1: if computed { exact_match } else { f1 },
        scale: f64::from(u8::from(gold.scale == given.scale)),
    }
}

/// Exact match and F1 of two texts.
fn texts(given: &str, gold: &str) -> (f64, f64) {
    let (given, gold) = (normal(given), normal(gold));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<String>>();
    let (given_words, gold_words) = (words(&given), words(&gold));
    let common = given_words.intersection(&gold_words).count() as f64;
    let share = |of: &BTreeSet<String>| if of.is_empty() { 1.0 } else { common / of.len() as f64 };
    let (precision, recall) = (share(&given_words), share(&gold_words));
    let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    (f64::from(u8::from(given == gold)), (f1 * 100.0).round_ties_even() / 100.0)
}

/// An answer as one text: its spans in order, numbers with their scale applied and four decimals, and the scale's word
/// after every span that is no number.
fn joined(spans: &[String], scale: Scale) -> String {
    let mut sorted = spans.to_vec();
    sorted.sort();
    let written = sorted.iter().map(|span| match Number::read(span).filter(|_| is_number(span)) {
        // A percent sign has been heeded by the reading.
        Some(number) if span.contains('%') => format!("{:.4}", number.value),
        Some(number) => format!("{:.4}", rounded(number.value, 2) * factor(scale.word())),
        None if scale == Scale::None => span.clone(),
        None => format!("{span} {}", scale.word()),
    });
    written.collect::<Vec<_>>().join(" ")
}

/// The number that a word of scale in a text multiplies by; 1 where there is none.
fn factor(text: &str) -> f64 {
    const WORDS: [(&str, f64); 5] =
        [("hundred", 1e2), ("thousand", 1e3), ("million", 1e6), ("billion", 1e9), ("percent", 0.01)];
    let text = text.to_lowercase();
    WORDS.iter().find(|(word, _)| text.contains(word)).map_or(1.0, |(_, factor)| *factor)
}

/// A text without quotes, currency signs, brackets, percent signs and commas.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !"'\"\\$€£¥%(),[]".contains(*c)).collect()
}

/// Is a text a number, with at most a word of scale behind it?
fn is_number(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect();
    let Some(first) = words.first().and_then(|word| word.parse::<f64>().ok()) else { return false };
    !first.is_nan() && words.get(1).is_none_or(|word| factor(word) != 1.0)
}

/// A number as the metric reads it out of a text.
struct Number {
    value: f64,
    /// Is it written without decimals, and stays so?
    whole: bool,
}

impl Number {
    /// The first number of a text, with the scale's word behind it, brackets as a minus, and the percent sign applied. A
    /// number without a digit before its stop is not read.
    fn read(text: &str) -> Option<Self> {
        let plain = bare(text);
        let digits = first_number(&plain)?;
        let mut whole = !digits.contains('.');
        let mut value: f64 = digits.parse().ok()?;
        value *= scale_behind_number(text);
        let trimmed = text.trim();
        if has_bracketed_number(trimmed) {
            value = -value;
        }
        let numeric = |c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace();
        let before_sign = |at: usize| trimmed[..at].chars().next_back().is_some_and(numeric);
        if trimmed.match_indices('%').any(|(at, _)| before_sign(at)) {
            value *= 0.01;
            whole = false;
        }
        Some(Self { value: rounded(value, 4), whole: whole && value.fract() == 0.0 })
    }

    fn written(&self) -> String {
        if self.whole { format!("{:.0}", self.value) } else { format!("{:?}", self.value) }
    }
}

/// The first `[+-]digits[.digits]` of a text. Nothing where a number that begins with its stop comes first.
fn first_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    for at in 0..bytes.len() {
        let begin = at + usize::from(matches!(bytes[at], b'+' | b'-'));
        let whole = digits(begin);
        if whole > 0 {
            let end = begin + whole;
            let decimals = if bytes.get(end) == Some(&b'.') { digits(end + 1) } else { 0 };
            return Some(&text[at..if decimals > 0 { end + 1 + decimals } else { end }]);
        }
        if bytes.get(begin) == Some(&b'.') && digits(begin + 1) > 0 {
            return None;
        }
    }
    None
}

/// The factor of the word that follows the first run of digits and stops which one follows, at most one space between.
fn scale_behind_number(text: &str) -> f64 {
    let numeric = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text;
    while let Some(begin) = rest.find(numeric) {
        rest = rest[begin..].trim_start_matches(numeric);
        let mut chars = rest.chars();
        let after_space =
            if rest.starts_with(char::is_whitespace) { chars.next().map_or("", |_| chars.as_str()) } else { rest };
        let letters = after_space.bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters > 0 {
            return factor(&after_space[..letters]);
        }
    }
    1.0
}

/// Is there a pair of brackets with nothing but digits, stops and spaces inside?
fn has_bracketed_number(text: &str) -> bool {
    text.match_indices('(').any(|(open, _)| {
        let inside = text[open + 1..].trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace());
        inside.starts_with(')') && inside.len() < text.len() - open - 1
    })
}

fn rounded(value: f64, decimals: usize) -> f64 {
    // By way of the decimal digits: multiplying first would round `1.005` up.
    format!("{value:.decimals$}").parse().unwrap_or(value)
}

/// The normal form in which texts are compared, word by word: lower case, no punctuation, numbers in one spelling, no
/// articles.
fn normal(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let mut word = word.to_lowercase();
        if !is_number(&word) {
            word.retain(|c| !c.is_ascii_punctuation());
        }
        if is_number(&word)
            && let Some(number) = Number::read(&word)
        {
            word = number.written();
        }
        let mut kept = String::new();
        for part in word.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_')) {
            let run = part.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == '_'));
            kept += if matches!(run, "a" | "an" | "the") { " " } else { run };
            kept += &part[run.len()..];
        }
        kept.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A report's table and paragraphs as text: the table in rows of cells between bars, then the paragraphs in their order.
pub fn report_text(table: &Value, paragraphs: &Value) -> Result<String, String> {
    let rows = table.get("table").and_then(Value::as_array);
    let rows = rows.ok_or_else(|| format!("expected a list of rows as `table.table`, got `{}`", shortened(table)))?;
    let mut text = String::new();
    for row in rows {
        let cells = row.as_array().ok_or_else(|| format!("expected a list of cells, got `{}`", shortened(row)))?;
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| {
                cell.as_str()
                    .map_or_else(|| cell.to_string(), |text| text.split_whitespace().collect::<Vec<_>>().join(" "))
            })
            .collect();
        text.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    let list = paragraphs.as_array();
    let list = list.ok_or_else(|| format!("expected a list as `paragraphs`, got `{}`", shortened(paragraphs)))?;
    let mut ordered: Vec<(u64, &str)> = Vec::new();
    for paragraph in list {
        let order = paragraph.get("order").and_then(Value::as_u64);
        let text = paragraph.get("text").and_then(Value::as_str);
        let fault = || format!("expected paragraphs with `order` and `text`, got `{}`", shortened(paragraph));
        ordered.push(order.zip(text).ok_or_else(fault)?);
    }
    ordered.sort_unstable();
    for (_, paragraph) in ordered {
        text.extend(["\n", paragraph.trim(), "\n"]);
    }
    Ok(text.trim_end().to_owned())
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

/// The gold answer of a problem that was made from the data's own fields.
pub(crate) fn gold_of(problem: &Problem) -> Result<Gold, String> {
    Gold::read(&|name| problem.metadata.get(name).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gold(answer: &Value, kind: &str, scale: &str) -> Gold {
        Gold::read(&|name| {
            Some(match name {
                "answer" => answer.clone(),
                "answer_type" => json!(kind),
                _ => json!(scale),
            })
        })
        .unwrap()
    }

    #[track_caller]
    fn check(gold: &Gold, spans: &[&str], scale: Scale, expected: (f64, f64, f64)) {
        let given = Prediction { spans: spans.iter().map(|s| (*s).to_owned()).collect(), scale };
        let score = tat_qa_score(gold, &given);
        assert_eq!((score.exact_match, score.f1, score.scale), expected, "{gold:?} {given:?}");
    }

    #[test]
    fn numbers_are_compared_with_their_scale() {
        let millions = gold(&json!(-12.6), "arithmetic", "million");
        check(&millions, &["-12.6"], Scale::Million, (1.0, 1.0, 1.0));
        check(&millions, &["(12.6)"], Scale::Million, (1.0, 1.0, 1.0));
        check(&millions, &["-12600"], Scale::Thousand, (1.0, 1.0, 0.0));
        check(&millions, &["-12.6"], Scale::None, (0.0, 0.0, 0.0));
        let percent = gold(&json!(-22.22), "arithmetic", "percent");
        check(&percent, &["-22.22%"], Scale::None, (1.0, 1.0, 0.0));
        check(&percent, &["-0.2222"], Scale::None, (1.0, 1.0, 0.0));
        check(&percent, &["-22.2"], Scale::Percent, (0.0, 0.0, 1.0));
        check(&gold(&json!(["$1,496.5"]), "span", "million"), &["1496.5"], Scale::Million, (1.0, 1.0, 1.0));
        check(&gold(&json!("4"), "count", ""), &["4"], Scale::None, (1.0, 1.0, 1.0));
        check(&millions, &[], Scale::Million, (0.0, 0.0, 0.0));
    }

    #[test]
    fn spans_are_compared_as_sets_of_words() {
        let spans = gold(&json!(["fixed-price type", "the cost-plus type"]), "multi-span", "");
        check(&spans, &["cost-plus type", "fixed-price type"], Scale::None, (0.0, 1.0, 1.0));
        check(&spans, &["The Cost-Plus Type", "fixed-price type."], Scale::None, (0.0, 1.0, 1.0));
        check(&spans, &["the cost-plus type", "fixed-price type"], Scale::None, (1.0, 1.0, 1.0));
        check(&spans, &["fixed-price type"], Scale::None, (0.0, 0.8, 1.0));
        check(&spans, &["nothing alike"], Scale::None, (0.0, 0.0, 1.0));
    }

    #[test]
    fn a_response_says_its_spans_and_scale() {
        for (text, spans, scale) in [
            ("So.\nAnswer: -12.6\nScale: million", &["-12.6"][..], Scale::Million),
            ("**Answer:** a b; c\n**Scale:** none", &["a b", "c"], Scale::None),
            ("Answer: 1\nNo.\nanswer: 2 thousand", &["2"], Scale::Thousand),
            (r"It is \boxed{12.5 \text{ million}}.", &["12.5"], Scale::Million),
            (r"Answer: \boxed{7\%}", &["7%"], Scale::None),
            ("Answer: the fund of 3 million", &["the fund of 3 million"], Scale::None),
        ] {
            let found = Prediction::find(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (found.spans.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), found.scale),
                (spans, scale),
                "{text}"
            );
        }
        assert_eq!(Prediction::find("I don't know."), None);
        assert_eq!(Prediction::find("Answer:\nScale: million"), None);
    }

    #[test]
    fn a_report_is_rendered_in_order() {
        let table = json!({"table": [["", "2019"], ["Sales  of\nx", "$ 5"]]});
        let paragraphs = json!([{"order": 2, "text": "two"}, {"order": 1, "text": "one "}]);
        assert_eq!(report_text(&table, &paragraphs).unwrap(), "|  | 2019 |\n| Sales of x | $ 5 |\n\none\n\ntwo");
        assert_eq!(
            report_text(&json!({}), &json!([])).unwrap_err(),
            "expected a list of rows as `table.table`, got `{}`"
        );
    }
}
