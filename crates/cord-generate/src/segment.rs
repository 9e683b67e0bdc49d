//! Where a step of reasoning ends.

use cord_core::{Finish, Generation};
use serde::{Deserialize, Serialize};

/// Closes the reasoning block.
pub const THINK_CLOSE: &str = "</think>";

const HEADER_STOP: &str = "\n### Step";

/// Where a step of reasoning ends. Reasoning between two steps always ends with a line break, so that
/// whoever continues it starts on a fresh line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segmenter {
    /// At the next `### Step` header or at the end of the reasoning block. The prompt asks for the headers;
    /// blank lines and words like "wait" fall inside a step.
    #[default]
    PromptGuided,
}

/// What a teacher's reply to a request for the next step comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A whole step.
    Step {
        /// The step's text; with what stands before it, the reasoning so far.
        text: String,
        /// Does it close the reasoning block?
        closes: bool,
    },
    /// A blank line and then a header, before any step: the teacher sets its headers apart by blank lines.
    /// It is asked once more, with `lead` already said, since what it means to write comes after it.
    Lead {
        /// The start of the step.
        lead: String,
    },
    /// The step's budget ran out inside the step.
    Truncated {
        /// The step's text so far.
        text: String,
    },
    /// The teacher ended its turn without closing the reasoning block.
    Unclosed {
        /// The last step's text.
        text: String,
    },
    /// Nothing but white space: no step, since a search that took it for one could go on without end.
    Empty,
    /// The generation ended at a string that is none of the segmenter's stops.
    UnknownStop {
        /// That string.
        given: String,
    },
}

impl Segmenter {
    /// The stop strings of a request for the next step.
    ///
    /// The header's stop begins with a line break. The step's own header opens the new text, right after the
    /// line break that ends what stands before, so the stop can't fire on it; a plain `### Step` would
    /// end every step before it began, and servers offer nothing finer than plain stop strings.
    pub fn stops(self) -> Vec<String> {
        match self {
            Self::PromptGuided => vec![HEADER_STOP.to_owned(), THINK_CLOSE.to_owned()],
        }
    }

    /// Reads a teacher's reply as the next step. `lead` is what the teacher was told it had already said of
    /// this step: empty at first, and [`Reading::Lead`]'s when it is asked once more.
    pub fn read(self, lead: &str, generation: &Generation) -> Reading {
        let Self::PromptGuided = self;
        let blank = generation.text.trim().is_empty();
        let text = format!("{lead}{}", generation.text);
        match &generation.finish {
            Finish::Delimiter(stop) if stop == THINK_CLOSE => Reading::Step { text: text + THINK_CLOSE, closes: true },
            Finish::Delimiter(stop) if stop == HEADER_STOP => match (blank, lead) {
                (false, _) => Reading::Step { text: text + "\n", closes: false },
                (true, "") => Reading::Lead { lead: text + HEADER_STOP },
                (true, _) => Reading::Empty,
            },
            Finish::Delimiter(stop) => Reading::UnknownStop { given: stop.clone() },
            Finish::Eos | Finish::Length if blank => Reading::Empty,
            Finish::Eos => Reading::Unclosed { text },
            Finish::Length => Reading::Truncated { text },
        }
    }

    /// Cuts a whole response into its steps, and the answer after the reasoning block as the last segment.
    /// The segments are not empty and concatenate to `text`.
    pub fn segment(self, text: &str) -> Vec<&str> {
        let Self::PromptGuided = self;
        let reasoning = text.find(THINK_CLOSE).map_or(text.len(), |at| at + THINK_CLOSE.len());
        let headers = text[..reasoning].match_indices(HEADER_STOP).map(|(at, _)| at + 1);
        let mut segments = Vec::new();
        let mut start = 0;
        for end in headers.chain([reasoning, text.len()]) {
            if end > start {
                segments.push(&text[start..end]);
                start = end;
            }
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use cord_core::Usage;
    use proptest::prelude::*;

    use super::*;

    fn read(lead: &str, text: &str, finish: Finish) -> Reading {
        let generation = Generation { text: text.into(), finish, mean_logprob: None, usage: Usage::default() };
        Segmenter::PromptGuided.read(lead, &generation)
    }

    #[test]
    fn replies_become_steps() {
        let header = || Finish::Delimiter("\n### Step".into());
        let close = || Finish::Delimiter("</think>".into());
        let step = |text: &str, closes| Reading::Step { text: text.into(), closes };
        let lead = "\n### Step";
        let rows = [
            ("", "### Step 1. a", header(), step("### Step 1. a\n", false)),
            ("", "### Step 1. a\n", header(), step("### Step 1. a\n\n", false)),
            ("", "### Step 2. b\n", close(), step("### Step 2. b\n</think>", true)),
            ("", "### Step 2. b", close(), step("### Step 2. b</think>", true)),
            ("", "", close(), step("</think>", true)),
            ("", "\n", close(), step("\n</think>", true)),
            ("", "", header(), Reading::Lead { lead: lead.into() }),
            ("", "\n", header(), Reading::Lead { lead: "\n\n### Step".into() }),
            (lead, " 2. b", header(), step("\n### Step 2. b\n", false)),
            (lead, " 2. b\n", close(), step("\n### Step 2. b\n</think>", true)),
            (lead, " ", header(), Reading::Empty),
            ("", "", Finish::Eos, Reading::Empty),
            ("", " \n", Finish::Length, Reading::Empty),
            (lead, "", Finish::Length, Reading::Empty),
            ("", "### Step 1. a", Finish::Eos, Reading::Unclosed { text: "### Step 1. a".into() }),
            ("", "### Step 1. a", Finish::Length, Reading::Truncated { text: "### Step 1. a".into() }),
            ("", "a", Finish::Delimiter("!".into()), Reading::UnknownStop { given: "!".into() }),
        ];
        for (lead, text, finish, expected) in rows {
            assert_eq!(read(lead, text, finish.clone()), expected, "{lead:?} {text:?} {finish:?}");
        }
    }

    #[test]
    fn whole_texts_are_cut_where_the_search_cuts() {
        let rows: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("plain", &["plain"]),
            ("### Step 1. a\n### Step 2. b\n</think>\nc", &["### Step 1. a\n", "### Step 2. b\n</think>", "\nc"]),
            ("### Step 1. a\n\nwait\n\n### Step 2. b", &["### Step 1. a\n\nwait\n\n", "### Step 2. b"]),
            ("hm\n### Step 1. see ### Step 2\n</think>", &["hm\n", "### Step 1. see ### Step 2\n</think>"]),
            (
                "### Step 1. a\n</think>\n### Step 2. in the answer",
                &["### Step 1. a\n</think>", "\n### Step 2. in the answer"],
            ),
            ("</think>", &["</think>"]),
        ];
        for (text, expected) in rows {
            assert_eq!(Segmenter::PromptGuided.segment(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn segments_concatenate_to_the_input(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("\n### Step".to_owned()), Just("### Step".to_owned()), Just("\n".to_owned()),
                    Just("</think>".to_owned()), Just("</thi".to_owned()), "\\PC{0,5}",
                ],
                0..12,
            )
        ) {
            let text = parts.concat();
            let segments = Segmenter::PromptGuided.segment(&text);
            prop_assert_eq!(segments.concat(), text.as_str());
            prop_assert!(segments.iter().all(|segment| !segment.is_empty()));
        }

        /// A teacher that says a whole text one request after another gives the same steps as cutting it at once.
        #[test]
        fn stepwise_equals_whole(
            bodies in proptest::collection::vec("[a-z ]{1,6}(\n[a-z]{1,3})?", 1..6),
        ) {
            let steps: Vec<String> =
                bodies.iter().enumerate().map(|(n, body)| format!("### Step {}. {body}\n", n + 1)).collect();
            let text = steps.concat() + THINK_CLOSE;
            let mut said = String::new();
            let mut seen = Vec::new();
            while !said.ends_with(THINK_CLOSE) {
                let rest = &text[said.len()..];
                let stops = Segmenter::PromptGuided.stops();
                let (at, stop) = stops.iter().filter_map(|stop| rest.find(stop).map(|at| (at, stop))).min().unwrap();
                let Reading::Step { text, .. } = read("", &rest[..at], Finish::Delimiter(stop.clone())) else {
                    panic!("expected a step of `{rest}`");
                };
                said += &text;
                seen.push(text);
            }
            prop_assert_eq!(seen, Segmenter::PromptGuided.segment(&text));
        }
    }
}
