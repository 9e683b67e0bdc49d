//! Multiple choice: the letter that a response chooses.

use cord_core::{Problem, Seed};
use cord_math::{Doubt, Language, OutOfFuel, Rules, Start, equal, find};
use serde_json::Value;

/// The option's letter by its place.
pub(crate) fn letter(place: usize) -> char {
    char::from(b'A' + (place % 26) as u8)
}

/// The problem's options as they are put to a model, one a line: `(A) …`.
pub(crate) fn rendered(options: &[&str]) -> String {
    options
        .iter()
        .enumerate()
        .map(|(place, option)| format!("({}) {option}", letter(place)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// `metadata.options`, a list of texts.
pub(crate) fn options(problem: &Problem) -> Option<Vec<&str>> {
    problem.metadata.get("options")?.as_array()?.iter().map(Value::as_str).collect()
}

/// Puts the right answer among the wrong ones in an order that depends on the problem's id alone: every model sees the
/// same, and the right letter says nothing. Gives the options and the right one's letter.
pub(crate) fn shuffled(id: &str, right: &str, wrong: &[String]) -> (Vec<String>, char) {
    let mut places: Vec<usize> = (0..=wrong.len()).collect();
    Seed::root(0).named("options").named(id).stream().shuffle(&mut places);
    let options = places.iter().map(|place| if *place == 0 { right.to_owned() } else { wrong[place - 1].clone() });
    let right = places.iter().position(|place| *place == 0).unwrap_or_default();
    (options.collect(), letter(right))
}

/// The letter that a response chooses: a letter with marks round it or none, or the text of a single option. With the
/// answer as it stands there.
pub(crate) fn chosen(
    options: &[&str],
    response: &str,
    start: Start,
    rules: Rules,
    language: Language,
    fuel: u64,
) -> Result<(Option<char>, String), Refused> {
    let found = find(response, start, rules, language).map_err(Refused::Unread)?;
    let only = |matches: &dyn Fn(usize) -> Result<bool, OutOfFuel>| -> Result<Option<usize>, OutOfFuel> {
        let mut hits = Vec::new();
        for place in 0..options.len() {
            if matches(place)? {
                hits.push(place);
            }
        }
        Ok(if let [hit] = hits.as_slice() { Some(*hit) } else { None })
    };
    for found in &found {
        let by_letter = only(&|place| Ok(equal(&letter(place).to_string(), &found.answer, fuel)?.is_some()));
        if let Some(place) = by_letter.map_err(|_| Refused::OutOfFuel)? {
            return Ok((Some(letter(place)), found.answer.clone()));
        }
        let by_text = only(&|place| Ok(equal(options[place], &found.answer, fuel)?.is_some()));
        if let Some(place) = by_text.map_err(|_| Refused::OutOfFuel)? {
            return Ok((Some(letter(place)), found.answer.clone()));
        }
    }
    Ok((None, found.into_iter().next().map(|found| found.answer).unwrap_or_default()))
}

/// Why no choice could be read.
pub(crate) enum Refused {
    Unread(Doubt),
    OutOfFuel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_letter_or_an_options_text() {
        let options = ["12", "a photon", r"\frac{1}{2}", "12 electrons"];
        for (response, expected) in [
            (r"\boxed{B}", Some('B')),
            ("The answer is (C).", Some('C')),
            ("The answer is (C) because it halves", Some('C')),
            (r"\boxed{0.5}", Some('C')),
            (r"\boxed{\text{a photon}}", Some('B')),
            (r"\boxed{E}", None),
            (r"\boxed{7}", None),
        ] {
            let found = chosen(&options, response, Start::Plain, Rules::Announced, Language::English, 100_000);
            let found = found.unwrap_or_else(|_| panic!("{response}")).0;
            assert_eq!(found, expected, "{response}");
        }
    }

    #[test]
    fn options_are_shuffled_by_the_problem_alone() {
        let wrong = ["1", "2", "3"].map(String::from);
        let (options, right) = shuffled("q1", "0", &wrong);
        assert_eq!((options.clone(), right), shuffled("q1", "0", &wrong));
        assert_eq!(options[(right as u8 - b'A') as usize], "0");
        let letters: std::collections::BTreeSet<char> =
            (0..64).map(|i| shuffled(&format!("q{i}"), "0", &wrong).1).collect();
        assert_eq!(letters.len(), 4, "{letters:?}");
        assert_eq!(rendered(&["x", "y"]), "(A) x\n(B) y");
    }
}
