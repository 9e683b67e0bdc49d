//! Finding the answer in a response.
//!
//! Text inside a reasoning block is never an answer: a model that weighs `\boxed{3}` while it thinks has
//! not said 3. So a block that never closes is a state of its own, not an empty answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Where a response begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Inside a reasoning block that the prompt opened: the response has no `<think>` of its own.
    Thinking,
    /// Before any reasoning block, as the model wrote it. A response with `</think>` and no `<think>` before
    /// it is still taken to have begun inside a block.
    Plain,
}

/// What was found in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extraction {
    /// The content of the last `\boxed{…}` outside every reasoning block, trimmed.
    Boxed(String),
    /// The reasoning block never closes, so the response has no answer part.
    UnclosedThink,
    /// The last `\boxed{` after the reasoning never closes.
    UnclosedBox,
    /// There is an answer part, and no `\boxed{` in it.
    Missing,
}

/// Finds the answer in a response: the last outermost `\boxed{…}` (or `\fbox{…}`) outside every
/// reasoning block, with nested braces, and `\{` and `\}` not counted as braces.
///
/// Linear in the response's length.
pub fn extract(response: &str, start: Start) -> Extraction {
    match outside_thinking(response, start) {
        None => Extraction::UnclosedThink,
        Some(answer) => last_box(&answer),
    }
}

/// The text outside every reasoning block, or nothing where the last block never closes.
pub(crate) fn outside_thinking(response: &str, start: Start) -> Option<Cow<'_, str>> {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let opened_by_prompt = match start {
        Start::Thinking => true,
        Start::Plain => match (response.find(OPEN), response.find(CLOSE)) {
            (Some(open), Some(close)) => close < open,
            (None, Some(_)) => true,
            (_, None) => false,
        },
    };
    let mut rest = response;
    if opened_by_prompt {
        rest = rest.split_once(CLOSE)?.1;
    }
    let mut answer = Cow::Borrowed("");
    while let Some((before, block)) = rest.split_once(OPEN) {
        answer += before;
        // A space keeps the text before a block from growing together with the text after it.
        answer += " ";
        rest = block.split_once(CLOSE)?.1;
    }
    answer += rest;
    Some(answer)
}

pub(crate) fn last_box(text: &str) -> Extraction {
    let bytes = text.as_bytes();
    // One entry for each brace that is open: where a box's content begins, or nothing for a plain brace.
    // A single pass: searching anew from each `\boxed{` would be quadratic on hostile text.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                let name = bytes[at + 1..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
                let command = &text[at + 1..at + 1 + name];
                // An escaped character (`\{`) is skipped with its backslash; a multi-byte one has no part that
                // looks like a brace, so skipping its first byte alone is safe.
                at += 1 + name.max(1);
                if matches!(command, "boxed" | "fbox") {
                    let space = bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
                    if bytes.get(at + space) == Some(&b'{') {
                        at += space + 1;
                        open.push(Some(at));
                    }
                }
            }
            b'{' => {
                open.push(None);
                at += 1;
            }
            b'}' => {
                if let Some(Some(begin)) = open.pop() {
                    last = Some((begin, at));
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    let unclosed = open.into_iter().flatten().next_back();
    match (last, unclosed) {
        (Some((_, end)), Some(begin)) if begin > end => Extraction::UnclosedBox,
        (None, Some(_)) => Extraction::UnclosedBox,
        (Some((begin, end)), _) => Extraction::Boxed(text[begin..end].trim().to_owned()),
        (None, None) => Extraction::Missing,
    }
}

/// The last number written in a text, with its sign, decimals, thousands separators and a plain fraction
/// (`-1,234.5`, `3/4`), as it stands there.
///
/// A `-` is a sign only where it touches the digits and no operand stands before it: the last number of
/// `12 -5` is `5`. A full stop or comma after the digits is punctuation.
pub fn last_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let part_of_number = |at: usize| match bytes[at] {
        b'0'..=b'9' => true,
        // `.5` is a number; the stops of `so.5` and `...5` are punctuation.
        b'.' => digit(at + 1) && (at == 0 || !(bytes[at - 1] == b'.' || bytes[at - 1].is_ascii_alphabetic())),
        b',' | b'/' => digit(at + 1) && at > 0 && digit(at - 1),
        _ => false,
    };
    let mut begin = end - 1;
    while begin > 0 && part_of_number(begin - 1) {
        begin -= 1;
    }
    begin = separators_that_group(text, begin, end);
    if begin > 0 && bytes[begin - 1] == b'-' {
        let before = &text[..begin - 1];
        let joined = before.chars().next_back().is_some_and(char::is_alphanumeric);
        let operand = before.trim_end().bytes().next_back();
        if !joined && !operand.is_some_and(|b| b.is_ascii_digit() || matches!(b, b')' | b']' | b'}')) {
            begin -= 1;
        }
    }
    Some(&text[begin..end])
}

/// Drops what stands before a comma that does not group thousands: the last number of `7,9,3` is `3`.
fn separators_that_group(text: &str, begin: usize, end: usize) -> usize {
    let number = &text[begin..end];
    let whole = number.split(['.', '/']).next().unwrap_or(number);
    let decimals = &number[whole.len()..];
    let grouped = whole.split(',').enumerate().all(|(place, group)| match place {
        0 => (1..=3).contains(&group.len()),
        _ => group.len() == 3,
    });
    if grouped && !decimals.contains(',') {
        return begin;
    }
    number.rfind(',').map_or(begin, |comma| begin + comma + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(start: Start, response: &str, expected: &Extraction) {
        assert_eq!(&extract(response, start), expected, "{start:?} {response:?}");
    }

    fn boxed(text: &str) -> Extraction {
        Extraction::Boxed(text.to_owned())
    }

    #[test]
    fn the_last_outermost_box_after_the_reasoning_is_the_answer() {
        for (response, expected) in [
            (r"\boxed{1}</think>so \boxed{2}", boxed("2")),
            (r"\boxed{1}</think>so 2", Extraction::Missing),
            (r"\boxed{1} and on", Extraction::UnclosedThink),
            (r"a</think>\boxed{1} then \boxed{ 2 }.", boxed("2")),
            (r"a</think>\boxed{\frac{1}{2}}", boxed(r"\frac{1}{2}")),
            (r"a</think>\boxed {7}", boxed("7")),
            (r"a</think>\fbox{7}", boxed("7")),
            (r"a</think>\boxed{\{1, 2\}}", boxed(r"\{1, 2\}")),
            (r"a</think>\boxed{x \text{ or } \boxed{3}}", boxed(r"x \text{ or } \boxed{3}")),
            (r"a</think>} { \boxed{3}", boxed("3")),
            (r"a</think>\boxed{3", Extraction::UnclosedBox),
            (r"a</think>\boxed{2} no, \boxed{3", Extraction::UnclosedBox),
            (r"a</think>I write \boxed{ and then \boxed{3}", boxed("3")),
            (r"a</think>\boxed 3", Extraction::Missing),
            (r"a</think>\boxedx{3}", Extraction::Missing),
            (r"a</think>\boxed{}", boxed("")),
            (r"a</think>\boxed{1}<think>\boxed{2}</think>", boxed("1")),
            (r"a</think>\boxed{1}<think>\boxed{2}", Extraction::UnclosedThink),
            (r"a</think>\boxed{1}</think>", boxed("1")),
            ("a</think>\\", Extraction::Missing),
            ("a</think>\\é\\boxed{é}", boxed("é")),
        ] {
            check(Start::Thinking, response, &expected);
        }
    }

    #[test]
    fn a_plain_start_has_no_block_until_one_opens() {
        for (response, expected) in [
            (r"so \boxed{2}", boxed("2")),
            (r"<think>\boxed{1}</think>\boxed{2}", boxed("2")),
            (r"<think>\boxed{1}", Extraction::UnclosedThink),
            (r"\boxed{1}</think>\boxed{2}", boxed("2")),
            (r"\boxed{1}</think>\boxed{2}<think>x</think>", boxed("2")),
            ("", Extraction::Missing),
        ] {
            check(Start::Plain, response, &expected);
        }
    }

    #[test]
    fn the_last_number_of_a_step() {
        for (text, expected) in [
            ("3 + 4 = 7", Some("7")),
            ("we get -7.", Some("-7")),
            ("12 -5", Some("5")),
            ("12-5", Some("5")),
            ("(-5)", Some("-5")),
            ("= 1,234.50, done", Some("1,234.50")),
            ("7,9,3", Some("3")),
            ("7, 9, 3", Some("3")),
            ("half: 1/2", Some("1/2")),
            (".5", Some(".5")),
            ("it is .5", Some(".5")),
            ("so.5", Some("5")),
            ("...5", Some("5")),
            ("1234567", Some("1234567")),
            ("1234,567", Some("567")),
            ("none", None),
            ("é9é", Some("9")),
            ("", None),
        ] {
            assert_eq!(last_number(text), expected, "{text:?}");
        }
    }
}
