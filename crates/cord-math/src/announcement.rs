//! Answers outside a box: announced in words, after `####`, or merely last.

use serde::{Deserialize, Serialize};

use crate::extraction::{Extraction, Start, last_box, last_number, outside_thinking};
use crate::language::Language;
use crate::verdict::Doubt;

/// Which places an answer is looked for in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// `\boxed{…}` only: for a prompt that demands it, and for data that shall teach it.
    Boxed,
    /// Where there is no box, `#### …` and phrases such as `the answer is …` too.
    #[default]
    Announced,
    /// Where there is no announcement either, the last line, then the last number.
    Any,
}

/// The rule that found an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// The last `\boxed{…}` or `\fbox{…}`.
    Boxed,
    /// The boxes of the last line that has one, together: `\boxed{1}` and `\boxed{2}`.
    BoxedTogether,
    /// `\boxed 5`, without braces.
    BoxedBare,
    /// `#### 42`.
    Hashes,
    /// A phrase that announces an answer.
    Phrase,
    /// The last line.
    LastLine,
    /// The last number.
    LastNumber,
}

/// An answer that was found in a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The answer as it stands there.
    pub answer: String,
    /// Why it was taken for the answer.
    pub rule: Rule,
    /// How many boxes the answer part has. More than one that differ is a reason to doubt: the last one counts.
    pub boxes: usize,
}

/// Finds what may be meant as the answer, likeliest first: at least one, all by what a single rule found, except
/// that boxes of one line also count together and that the last number stands behind the last line.
///
/// Linear in the response's length.
pub fn find(response: &str, start: Start, rules: Rules, language: Language) -> Result<Vec<Found>, Doubt> {
    let Some(answer) = outside_thinking(response, start) else { return Err(Doubt::UnclosedThink) };
    let boxes = boxes(&answer);
    let found = |answer: &str, rule| Found { answer: answer.trim().to_owned(), rule, boxes: boxes.len() };
    match last_box(&answer) {
        Extraction::Boxed(text) => {
            let mut all = vec![found(&text, Rule::Boxed)];
            if let Some(together) = together(&answer, &boxes) {
                all.push(found(&together, Rule::BoxedTogether));
            }
            return Ok(all);
        }
        Extraction::UnclosedBox => return Err(Doubt::UnclosedBox),
        Extraction::UnclosedThink => return Err(Doubt::UnclosedThink),
        Extraction::Missing if rules == Rules::Boxed => return Err(Doubt::NoBox),
        Extraction::Missing => {}
    }
    if let Some(bare) = bare_box(&answer) {
        return Ok(vec![found(bare, Rule::BoxedBare)]);
    }
    if let Some(at) = answer.rfind("####") {
        let text = line(answer[at..].trim_start_matches('#'));
        if !text.is_empty() {
            return Ok(candidates(text).into_iter().map(|text| found(&text, Rule::Hashes)).collect());
        }
    }
    if let Some(text) = announced(&answer, language) {
        return Ok(candidates(text).into_iter().map(|text| found(&text, Rule::Phrase)).collect());
    }
    if rules < Rules::Any {
        return Err(Doubt::NoBox);
    }
    let last = answer.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("```"));
    let mut all: Vec<Found> = Vec::new();
    if let Some(last) = last {
        let after = last.rsplit_once(" is ").or_else(|| last.rsplit_once('=')).map_or(last, |(_, after)| after);
        all.push(found(sentence(last), Rule::LastLine));
        all.extend(candidates(after).into_iter().map(|text| found(&text, Rule::LastLine)));
    }
    all.extend(last_number(&answer).map(|number| found(number, Rule::LastNumber)));
    if all.is_empty() { Err(Doubt::NoBox) } else { Ok(all) }
}

/// Where each outermost box begins and what it holds.
fn boxes(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let mut after = 0;
    for (brace, _) in text.match_indices('{') {
        if brace < after || !(text[..brace].ends_with("\\boxed") || text[..brace].ends_with("\\fbox")) {
            continue;
        }
        let (mut depth, mut escaped) = (0usize, false);
        let end = text[brace..].bytes().position(|b| {
            if std::mem::take(&mut escaped) {
                return false;
            }
            match b {
                b'\\' => escaped = true,
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        // The first box that never closes holds all the rest: nothing outermost can follow.
        let Some(end) = end else { break };
        out.push((brace, text[brace + 1..brace + end].trim()));
        after = brace + end;
    }
    out
}

/// The different boxes of the line that the last one stands on, as a list.
fn together(text: &str, boxes: &[(usize, &str)]) -> Option<String> {
    let (last, _) = boxes.last()?;
    let begin = text[..*last].rfind('\n').map_or(0, |n| n + 1);
    let mut contents: Vec<&str> = Vec::new();
    for (_, content) in boxes.iter().rev().take(16).rev().filter(|(at, _)| *at >= begin) {
        if !contents.contains(content) {
            contents.push(content);
        }
    }
    (contents.len() > 1).then(|| contents.join(" and "))
}

/// `\boxed 5`: TeX boxes one token; a number is meant whole.
fn bare_box(text: &str) -> Option<&str> {
    let at = text.rfind("\\boxed ")?;
    let rest = text[at + 7..].trim_start();
    let sign = usize::from(rest.starts_with('-'));
    let number = rest[sign..].bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b',')).count();
    let length =
        if number > 0 { sign + number } else { rest.chars().next().filter(|c| c.is_alphanumeric())?.len_utf8() };
    Some(rest[..length].trim_end_matches(['.', ',']))
}

/// What follows the last cue.
fn announced(text: &str, language: Language) -> Option<&str> {
    // Lowering a letter may change its length (`İ`): cues are sought in a text whose letters keep their places.
    let lower: String = text
        .chars()
        .map(|c| {
            let mut lower = c.to_lowercase();
            match (lower.next(), lower.next()) {
                (Some(small), None) if small.len_utf8() == c.len_utf8() => small,
                _ => c,
            }
        })
        .collect();
    let at = language.cues().filter_map(|cue| lower.rfind(cue).map(|at| at + cue.len())).max()?;
    let text =
        text[at..].trim_start_matches(|c: char| matches!(c, ':' | '：' | '*' | '=' | '_' | '—') || c.is_whitespace());
    // A fence may stand between the cue and the answer.
    let text = match text.strip_prefix("```") {
        Some(fenced) => fenced.split_once('\n')?.1,
        None => text,
    };
    let text = line(text);
    (!text.is_empty()).then_some(text)
}

/// The first line, or what a display formula that begins there holds.
fn line(text: &str) -> &str {
    let text = text.trim_start();
    for (open, close) in [("$$", "$$"), ("\\[", "\\]")] {
        if let Some((formula, _)) = text.strip_prefix(open).and_then(|rest| rest.split_once(close)) {
            return formula.trim();
        }
    }
    text.lines().next().unwrap_or("").trim()
}

/// The sentence that begins a text, without what explains it.
fn sentence(text: &str) -> &str {
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        let after = &text[at + c.len_utf8()..];
        let ends = match c {
            '。' | '।' => true,
            '.' | '!' | '?' => {
                let before = text[..at].bytes().next_back();
                // `(B). Since` ends; `p.m. on` and `B. 12` do not.
                after.starts_with(' ')
                    && after.trim_start().starts_with(|c: char| c.is_uppercase())
                    && !(at == 1 && before.is_some_and(|b| b.is_ascii_uppercase()))
            }
            _ => false,
        };
        if ends {
            end = at;
            break;
        }
    }
    let text = &text[..end];
    let cut = [" because", " since ", ", since", ", because", ", which", ", where", ", so ", ", not "];
    let end = cut.into_iter().filter_map(|word| text.find(word)).min().unwrap_or(text.len());
    text[..end].trim().trim_end_matches(['.', '*', '_', '`']).trim()
}

/// What a line may mean: all of its sentence, the formula in it, the only number in it.
fn candidates(text: &str) -> Vec<String> {
    let text = sentence(text);
    let mut all = vec![text.to_owned()];
    let mut dollars = text.split('$');
    if let (Some(_), Some(formula), Some(_)) = (dollars.next(), dollars.next(), dollars.next()) {
        all.push(formula.to_owned());
    }
    if let Some((_, rest)) = text.split_once("\\(")
        && let Some((formula, _)) = rest.split_once("\\)")
    {
        all.push(formula.to_owned());
    }
    // `18 dollars every day at the market` has one number, and says it.
    if text.split_whitespace().count() > 2
        && let Some(number) = last_number(text)
        && text.matches(|c: char| c.is_ascii_digit()).count() == number.bytes().filter(u8::is_ascii_digit).count()
        && !text.contains(['\\', '^', '='])
    {
        all.push(number.to_owned());
    }
    all
}
