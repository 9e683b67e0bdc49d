//! Rubrics: what a judge is asked, and how its verdict is read.

use std::collections::BTreeMap;

use cord_core::{Digest, Message};
use serde::{Deserialize, Serialize};

use super::voice::Unscored;
use crate::prompt::{filled, placeholders};

/// What a judge says of a response beside a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// It agrees with the reference.
    Correct,
    /// It does not.
    Incorrect,
    /// It commits to nothing.
    NotAttempted,
}

/// Which of two responses a judge prefers, by their places in the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preference {
    /// The first.
    First,
    /// The second.
    Second,
    /// Neither.
    Tie,
}

/// A word of a closed set of verdicts.
pub trait Word: Copy + Ord + Send + Sync + Serialize + 'static {
    /// Every verdict, with its name in a rubric.
    const ALL: &'static [(Self, &'static str)];
    /// The kind of rubric that asks for it.
    const KIND: RubricKind;

    /// Its name.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(word, _)| *word == self).map_or("", |(_, name)| name)
    }
}

impl Word for Mark {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Correct, "correct"), (Self::Incorrect, "incorrect"), (Self::NotAttempted, "not-attempted")];
    const KIND: RubricKind = RubricKind::Reference;
}

impl Word for Preference {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::First, "first"), (Self::Second, "second"), (Self::Tie, "tie")];
    const KIND: RubricKind = RubricKind::Pairwise;
}

/// What a rubric is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RubricKind {
    /// A response beside a reference: `{question}`, `{reference}`, `{response}`; verdicts `correct`, `incorrect`,
    /// `not-attempted`.
    Reference,
    /// Two responses: `{question}`, `{first}`, `{second}`; verdicts `first`, `second`, `tie`.
    Pairwise,
}

impl RubricKind {
    fn fields(self) -> [&'static str; 3] {
        match self {
            Self::Reference => ["{question}", "{reference}", "{response}"],
            Self::Pairwise => ["{question}", "{first}", "{second}"],
        }
    }

    fn verdicts(self) -> Vec<&'static str> {
        fn names<W: Word>() -> Vec<&'static str> {
            W::ALL.iter().map(|(_, name)| *name).collect()
        }
        match self {
            Self::Reference => names::<Mark>(),
            Self::Pairwise => names::<Preference>(),
        }
    }
}

/// A rubric. A version never changes: judgements are cached by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rubric {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What it is for.
    pub kind: RubricKind,
    /// The system turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The user's turn, with the kind's fields in braces.
    pub user: String,
    /// What the verdict's line begins with, in lower case.
    pub cue: String,
    /// For each verdict the words, in lower case, that say it.
    pub verdicts: BTreeMap<String, Vec<String>>,
}

/// Everything that is wrong with a rubric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rubric `{name}`: {}", faults.join("; "))]
pub struct RubricError {
    /// The rubric.
    pub name: String,
    /// The faults.
    pub faults: Vec<String>,
}

impl Rubric {
    /// The built-in rubrics as TOML, by name: what a judge is asked is data.
    pub const BUILT_IN: &'static [(&'static str, &'static str)] = &[
        ("reference", include_str!("../../rubrics/reference-1.toml")),
        ("pairwise", include_str!("../../rubrics/pairwise-1.toml")),
    ];

    /// Checks fields and verdicts; all faults at once.
    pub fn checked(self) -> Result<Self, RubricError> {
        let mut faults = Vec::new();
        let fields = self.kind.fields();
        for field in fields.iter().filter(|field| !self.user.contains(**field)) {
            faults.push(format!("expected `{field}` in `user`, got none"));
        }
        for name in placeholders(&self.user).iter().filter(|name| !fields.contains(&name.as_str())) {
            faults.push(format!("expected no placeholder but {} in `user`, got `{name}`", fields.join(", ")));
        }
        if self.cue.trim().is_empty() || self.cue != self.cue.to_lowercase() {
            faults.push(format!("expected a text in lower case as `cue`, got `{}`", self.cue));
        }
        let known = self.kind.verdicts();
        for name in known.iter().filter(|name| self.verdicts.get(**name).is_none_or(Vec::is_empty)) {
            faults.push(format!("expected words for the verdict `{name}`, got none"));
        }
        let mut said: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, words) in &self.verdicts {
            if !known.contains(&name.as_str()) {
                faults.push(format!("expected one of the verdicts {}, got `{name}`", known.join(", ")));
            }
            for word in words {
                if let Some(other) = said.insert(word, name) {
                    faults.push(format!("expected each word for one verdict, got `{word}` for `{other}` and `{name}`"));
                }
                if *word != word.to_lowercase() || word.trim().is_empty() {
                    faults.push(format!("expected a word in lower case for `{name}`, got `{word}`"));
                }
            }
        }
        if faults.is_empty() { Ok(self) } else { Err(RubricError { name: self.name, faults }) }
    }

    /// The digest of its content.
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }

    /// The conversation that asks it; `fields` by their names without braces.
    pub fn messages(&self, fields: &BTreeMap<&'static str, &str>) -> Vec<Message> {
        let value = |name: &str| fields.get(name.trim_matches(['{', '}'])).copied().unwrap_or_default().into();
        let user = Message::user(filled(self.user.trim(), &value));
        self.system.iter().map(Message::system).chain([user]).collect()
    }

    /// Reads the verdict of a reply: its last line that begins with the cue, marks of emphasis and a full stop aside. Anything
    /// else than one of the rubric's words is unscored, and so is a reply that takes its verdict back in another such line
    /// with another word.
    pub fn read<W: Word>(&self, reply: &str) -> Result<W, Unscored> {
        let said = reply.rsplit_once("</think>").map_or(reply, |(_, said)| said);
        let plain = |line: &str| line.replace(['*', '_', '`', '#', '"'], " ").trim().to_lowercase();
        // An underscore may be part of a word (`not_attempted`): both readings are tried.
        let kept = |line: &str| line.replace(['*', '`', '#', '"'], " ").trim().to_lowercase();
        let word = |line: &str| -> Option<Option<W>> {
            let after = |line: String| {
                line.strip_prefix(self.cue.trim()).map(|rest| rest.trim().trim_end_matches('.').trim().to_owned())
            };
            let readings = [after(plain(line)), after(kept(line))];
            if readings.iter().all(Option::is_none) {
                return None;
            }
            let said = readings.into_iter().flatten().find_map(|given| {
                let name = self.verdicts.iter().find(|(_, words)| words.contains(&given))?.0;
                W::ALL.iter().find(|(_, known)| known == name).map(|(word, _)| *word)
            });
            Some(said)
        };
        let verdicts: Vec<Option<W>> = said.lines().filter_map(word).collect();
        match verdicts.as_slice() {
            [first, rest @ ..] if first.is_some() && rest.iter().all(|other| other == first) => {
                Ok(first.expect("looked at"))
            }
            _ => {
                let tail: String = said.trim().chars().rev().take(120).collect();
                Err(Unscored::Unreadable { said: tail.chars().rev().collect() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(name: &str) -> Rubric {
        let text = Rubric::BUILT_IN.iter().find(|(known, _)| *known == name).unwrap().1;
        toml::from_str::<Rubric>(text).unwrap().checked().unwrap()
    }

    #[test]
    fn built_in_rubrics_hold_what_their_kind_needs() {
        for (name, _) in Rubric::BUILT_IN {
            assert_eq!(built_in(name).name, *name);
        }
        let fields = [("question", "Q {response}"), ("reference", "7"), ("response", "R")].into();
        let text = &built_in("reference").messages(&fields)[1].content;
        assert!(text.starts_with("Question:\nQ {response}\n\nReference answer:\n7\n\nResponse:\nR\n"), "{text}");
    }

    #[test]
    fn a_verdict_is_one_of_the_words_or_none() {
        let rubric = built_in("reference");
        for (reply, expected) in [
            ("It fits.\nVERDICT: CORRECT", Some(Mark::Correct)),
            ("It fits.\n**Verdict: Correct.**\n", Some(Mark::Correct)),
            ("verdict: not_attempted", Some(Mark::NotAttempted)),
            ("VERDICT: NOT ATTEMPTED", Some(Mark::NotAttempted)),
            ("<think>VERDICT: CORRECT</think>VERDICT: INCORRECT", Some(Mark::Incorrect)),
            ("VERDICT: INCORRECT\nNo:\nVERDICT: CORRECT", None),
            ("VERDICT: CORRECT or INCORRECT", None),
            ("correct", None),
            ("503 Service Unavailable", None),
            ("", None),
        ] {
            assert_eq!(rubric.read::<Mark>(reply).ok(), expected, "{reply:?}");
        }
        let pair = built_in("pairwise");
        assert_eq!(pair.read::<Preference>("VERDICT: b").unwrap(), Preference::Second);
        assert_eq!(pair.read::<Preference>("VERDICT: Response A").unwrap(), Preference::First);
    }

    #[test]
    fn all_faults_of_a_rubric_are_told() {
        let mut rubric = built_in("reference");
        rubric.user = "{question} {grade}".into();
        rubric.verdicts.remove("incorrect");
        rubric.verdicts.get_mut("not-attempted").unwrap().push("correct".into());
        rubric.cue = "Verdict:".into();
        let error = rubric.checked().unwrap_err();
        assert_eq!(error.faults.len(), 6, "{error}");
    }
}
