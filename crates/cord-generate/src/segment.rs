//! Where a step of reasoning ends.

use cord_core::{Finish, Generation};
use serde::{Deserialize, Serialize};

/// Closes the reasoning block.
pub const THINK_CLOSE: &str = "</think>";

const HEADER: &str = "### Step";

/// A header that does not open the text.
const HEADER_STOP: &str = "\n### Step";

const BLANK_LINE: &str = "\n\n";

/// Where a step of reasoning ends.
///
/// Every way but [`Segmenter::FixedLength`] ends a step with a line break, so that whoever continues it starts on a
/// fresh line, and so that a stop string can be told from the text that opens the next step.
///
/// A recipe gives the word, `"line-break"`, or a table with the word as its `kind`, `{ kind = "fixed-length", tokens = 64 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub enum Segmenter {
    /// At the next `### Step` header or at the end of the reasoning block. The prompt asks for the headers;
    /// blank lines and words like "wait" fall inside a step.
    PromptGuided {
        /// Who writes the header of a step.
        headers: Headers,
    },
    /// At blank lines, two line breaks in a row. Of a longer run the rest opens the next step.
    LineBreak,
    /// Before a line that opens with a cue word such as "Wait" or "Alternatively". A cue inside a line is text: a
    /// prefix that ends with a space makes most tokenizers cut the next word in a way that no model has seen.
    Prefix {
        /// Which cues.
        cues: Cues,
    },
    /// After so many tokens of the teacher that writes, wherever that is. A text that is already whole has no teacher
    /// and no tokens; there a word and the white space after it count as one.
    FixedLength {
        /// The number of tokens, at least 1 and at most the budget of a step.
        tokens: u32,
    },
}

impl Default for Segmenter {
    fn default() -> Self {
        Self::PromptGuided { headers: Headers::Own }
    }
}

/// Who writes the header of a step that is not the first. A step ends when its writer begins the next one's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Headers {
    /// Whoever goes on, once more; or closes the reasoning instead.
    #[default]
    Own,
    /// The writer of the step before it: whoever goes on begins behind it. It is generated once, and reasoning is closed only
    /// by those who write its last step.
    Kept,
}

/// The tokens of a fixed-length step where a recipe gives none: about a paragraph.
pub const DEFAULT_STEP_TOKENS: u32 = 128;

/// A version of the list of cue words. A list never changes; a better one is a new version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cues {
    /// `prompts/cues.v1.txt`.
    #[default]
    #[serde(rename = "cues.v1")]
    V1,
}

impl Cues {
    /// The words, as they open a line.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let Self::V1 = self;
        include_str!("../prompts/cues.v1.txt").lines()
    }
}

/// A segmenter as a recipe writes it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Word(Word),
    Table(Table),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    PromptGuided,
    LineBreak,
    Prefix,
    FixedLength,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Table {
    PromptGuided {
        #[serde(default)]
        headers: Headers,
    },
    LineBreak {},
    Prefix {
        #[serde(default)]
        cues: Cues,
    },
    FixedLength {
        #[serde(default = "default_step_tokens")]
        tokens: u32,
    },
}

fn default_step_tokens() -> u32 {
    DEFAULT_STEP_TOKENS
}

impl From<Form> for Segmenter {
    fn from(form: Form) -> Self {
        match form {
            Form::Word(Word::PromptGuided) => Self::default(),
            Form::Table(Table::PromptGuided { headers }) => Self::PromptGuided { headers },
            Form::Word(Word::LineBreak) | Form::Table(Table::LineBreak {}) => Self::LineBreak,
            Form::Word(Word::Prefix) => Self::Prefix { cues: Cues::default() },
            Form::Table(Table::Prefix { cues }) => Self::Prefix { cues },
            Form::Word(Word::FixedLength) => Self::FixedLength { tokens: DEFAULT_STEP_TOKENS },
            Form::Table(Table::FixedLength { tokens }) => Self::FixedLength { tokens },
        }
    }
}

impl From<Segmenter> for Form {
    fn from(segmenter: Segmenter) -> Self {
        match segmenter {
            Segmenter::PromptGuided { headers: Headers::Own } => Self::Word(Word::PromptGuided),
            Segmenter::PromptGuided { headers } => Self::Table(Table::PromptGuided { headers }),
            Segmenter::LineBreak => Self::Word(Word::LineBreak),
            Segmenter::Prefix { cues } => Self::Table(Table::Prefix { cues }),
            Segmenter::FixedLength { tokens } => Self::Table(Table::FixedLength { tokens }),
        }
    }
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
    /// The header's stop, like a cue's, begins with a line break. The step's own header opens the new text, right after
    /// the line break that ends what stands before, so the stop can't fire on it; a plain `### Step` would
    /// end every step before it began, and servers offer nothing finer than plain stop strings.
    pub fn stops(self) -> Vec<String> {
        let mut stops = self.breaks();
        stops.push(THINK_CLOSE.to_owned());
        stops
    }

    /// The stop strings between two steps.
    fn breaks(self) -> Vec<String> {
        match self {
            Self::PromptGuided { .. } => vec![HEADER_STOP.to_owned()],
            Self::LineBreak => vec![BLANK_LINE.to_owned()],
            Self::Prefix { cues } => cues.words().map(|cue| format!("\n{cue}")).collect(),
            Self::FixedLength { .. } => Vec::new(),
        }
    }

    /// What of a stop between two steps belongs to the step before it.
    fn tail(self) -> &'static str {
        match self {
            Self::PromptGuided { .. } | Self::Prefix { .. } => "\n",
            Self::LineBreak => BLANK_LINE,
            Self::FixedLength { .. } => "",
        }
    }

    /// What of the next step its predecessor's writer has said already: what a text that goes on begins with.
    pub(crate) fn opening(self, before: &str) -> &'static str {
        match self {
            Self::PromptGuided { headers: Headers::Kept } if before.ends_with(self.tail()) => HEADER,
            _ => "",
        }
    }

    /// The most tokens to ask of one step, under a budget of so many.
    pub fn step_tokens(self, budget: u32) -> u32 {
        match self {
            Self::PromptGuided { .. } | Self::LineBreak | Self::Prefix { .. } => budget,
            Self::FixedLength { tokens } => budget.min(tokens),
        }
    }

    /// Reads a teacher's reply as the next step. `lead` is what the teacher was told it had already said of
    /// this step: what a step opens with at first, and [`Reading::Lead`]'s when it is asked once more.
    pub fn read(self, lead: &str, generation: &Generation) -> Reading {
        let blank = generation.text.trim().is_empty();
        let text = format!("{lead}{}", generation.text);
        match &generation.finish {
            Finish::Delimiter(stop) if stop == THINK_CLOSE => {
                // Who closes in place of a step has no use for the header that was kept for it.
                let unused = blank && lead == HEADER;
                let text = if unused { generation.text.clone() } else { text };
                Reading::Step { text: text + THINK_CLOSE, closes: true }
            }
            Finish::Delimiter(stop) if self.breaks().contains(stop) => match (blank, lead) {
                (false, _) => Reading::Step { text: text + self.tail(), closes: false },
                (true, "") => Reading::Lead { lead: text + stop },
                (true, _) => Reading::Empty,
            },
            Finish::Delimiter(stop) => Reading::UnknownStop { given: stop.clone() },
            Finish::Eos | Finish::Length if blank => Reading::Empty,
            Finish::Eos => Reading::Unclosed { text },
            Finish::Length => match self {
                Self::FixedLength { .. } => fixed_step(text),
                Self::PromptGuided { .. } | Self::LineBreak | Self::Prefix { .. } => Reading::Truncated { text },
            },
        }
    }

    /// Is this the text of an [empty](Reading::Empty) reply, its lead included?
    pub(crate) fn is_blank(self, text: &str) -> bool {
        let text = text.trim();
        text.is_empty() || self.breaks().iter().any(|stop| stop.trim() == text)
    }

    /// Cuts a whole response into its steps, and the answer after the reasoning block as the last segment.
    /// The segments are not empty and concatenate to `text`.
    pub fn segment(self, text: &str) -> Vec<&str> {
        let reasoning = text.find(THINK_CLOSE).map_or(text.len(), |at| at + THINK_CLOSE.len());
        let mut segments = Vec::new();
        let mut start = 0;
        for end in self.cuts(&text[..reasoning]).into_iter().chain([reasoning, text.len()]) {
            if end > start {
                segments.push(&text[start..end]);
                start = end;
            }
        }
        segments
    }

    /// Where a reasoning block is cut, in order.
    fn cuts(self, text: &str) -> Vec<usize> {
        match self {
            Self::PromptGuided { .. } => text.match_indices(HEADER_STOP).map(|(at, _)| at + 1).collect(),
            Self::LineBreak | Self::Prefix { .. } => self.cuts_at_breaks(text),
            Self::FixedLength { tokens } => cuts_after_words(text, tokens.max(1)),
        }
    }

    /// As a teacher is read that says `text` one request after another: of several stops the one that is complete first
    /// ends a step, unless there is only white space before it.
    fn cuts_at_breaks(self, text: &str) -> Vec<usize> {
        let breaks = self.breaks();
        let (mut start, mut from) = (0, 0);
        let mut cuts = Vec::new();
        while let Some((end, at)) = (breaks.iter())
            .filter_map(|stop| text[from..].find(stop.as_str()).map(|at| (from + at + stop.len(), from + at)))
            .min()
        {
            if text[start..at].trim().is_empty() {
                from = end;
            } else {
                start = at + self.tail().len();
                from = start;
                cuts.push(start);
            }
        }
        cuts
    }
}

/// A step that ended because its tokens were used up. What may be the start of the closing tag is left out: the tag is
/// found in new text only, so whoever goes on must write all of it.
fn fixed_step(mut text: String) -> Reading {
    let opened = (1..THINK_CLOSE.len()).rev().find(|length| text.ends_with(&THINK_CLOSE[..*length]));
    text.truncate(text.len() - opened.unwrap_or(0));
    if text.trim().is_empty() { Reading::Empty } else { Reading::Step { text, closes: false } }
}

fn cuts_after_words(text: &str, count: u32) -> Vec<usize> {
    let (mut cuts, mut words, mut inside) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        if letter.is_whitespace() {
            inside = false;
        } else if !inside {
            inside = true;
            if words == count {
                cuts.push(at);
                words = 0;
            }
            words += 1;
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use cord_core::Usage;
    use proptest::prelude::*;

    use super::*;

    const GUIDED: Segmenter = Segmenter::PromptGuided { headers: Headers::Own };
    const KEPT: Segmenter = Segmenter::PromptGuided { headers: Headers::Kept };
    const PREFIX: Segmenter = Segmenter::Prefix { cues: Cues::V1 };
    const FIXED: Segmenter = Segmenter::FixedLength { tokens: 3 };
    const ALL: [Segmenter; 5] = [GUIDED, KEPT, Segmenter::LineBreak, PREFIX, FIXED];

    fn read(segmenter: Segmenter, lead: &str, text: &str, finish: Finish) -> Reading {
        let generation = Generation { text: text.into(), finish, mean_logprob: None, usage: Usage::default() };
        segmenter.read(lead, &generation)
    }

    #[test]
    fn replies_become_steps() {
        let stop = |stop: &str| Finish::Delimiter(stop.into());
        let (header, close) = (|| stop("\n### Step"), || stop("</think>"));
        let step = |text: &str, closes| Reading::Step { text: text.into(), closes };
        let lead_of = |lead: &str| Reading::Lead { lead: lead.into() };
        let unclosed = |text: &str| Reading::Unclosed { text: text.into() };
        let truncated = |text: &str| Reading::Truncated { text: text.into() };
        let unknown = |given: &str| Reading::UnknownStop { given: given.into() };
        let lead = "\n### Step";
        let guided = GUIDED;
        let lines = Segmenter::LineBreak;
        let rows = [
            (guided, "", "### Step 1. a", header(), step("### Step 1. a\n", false)),
            (guided, "", "### Step 1. a\n", header(), step("### Step 1. a\n\n", false)),
            (guided, "", "### Step 2. b\n", close(), step("### Step 2. b\n</think>", true)),
            (guided, "", "### Step 2. b", close(), step("### Step 2. b</think>", true)),
            (guided, "", "", close(), step("</think>", true)),
            (guided, "", "\n", close(), step("\n</think>", true)),
            (guided, "", "", header(), lead_of(lead)),
            (guided, "", "\n", header(), lead_of("\n\n### Step")),
            (guided, lead, " 2. b", header(), step("\n### Step 2. b\n", false)),
            (guided, lead, " 2. b\n", close(), step("\n### Step 2. b\n</think>", true)),
            (guided, lead, " ", header(), Reading::Empty),
            (KEPT, "### Step", " 2. b", header(), step("### Step 2. b\n", false)),
            (KEPT, "### Step", "\n", header(), Reading::Empty),
            (KEPT, "### Step", "\n", close(), step("\n</think>", true)),
            (KEPT, "### Step", " 2. b", Finish::Length, truncated("### Step 2. b")),
            (guided, "", "", Finish::Eos, Reading::Empty),
            (guided, "", " \n", Finish::Length, Reading::Empty),
            (guided, lead, "", Finish::Length, Reading::Empty),
            (guided, "", "### Step 1. a", Finish::Eos, unclosed("### Step 1. a")),
            (guided, "", "### Step 1. a", Finish::Length, truncated("### Step 1. a")),
            (guided, "", "a", stop("!"), unknown("!")),
            (guided, "", "a", stop("\n\n"), unknown("\n\n")),
            (lines, "", "a\nb", stop("\n\n"), step("a\nb\n\n", false)),
            (lines, "", "a\n", close(), step("a\n</think>", true)),
            (lines, "", "", stop("\n\n"), lead_of("\n\n")),
            (lines, "\n\n", "b", stop("\n\n"), step("\n\nb\n\n", false)),
            (lines, "\n\n", "", stop("\n\n"), Reading::Empty),
            (lines, "", "a", Finish::Length, truncated("a")),
            (lines, "", "a", stop("\n### Step"), unknown("\n### Step")),
            (PREFIX, "", "a.", stop("\nWait"), step("a.\n", false)),
            (PREFIX, "", "Wait, no.\n", stop("\nAlternatively"), step("Wait, no.\n\n", false)),
            (PREFIX, "", "\n", stop("\nWait"), lead_of("\n\nWait")),
            (PREFIX, "\n\nWait", ", no.", stop("\nHmm"), step("\n\nWait, no.\n", false)),
            (PREFIX, "", "a", stop("\nwait"), unknown("\nwait")),
            (PREFIX, "", "a", Finish::Eos, unclosed("a")),
            (FIXED, "", "a b", Finish::Length, step("a b", false)),
            (FIXED, "", "a b</thi", Finish::Length, step("a b", false)),
            (FIXED, "", "a <", Finish::Length, step("a ", false)),
            (FIXED, "", "</", Finish::Length, Reading::Empty),
            (FIXED, "", "a", close(), step("a</think>", true)),
            (FIXED, "", "a", Finish::Eos, unclosed("a")),
            (FIXED, "", "a", stop("\n\n"), unknown("\n\n")),
        ];
        for (segmenter, lead, text, finish, expected) in rows {
            assert_eq!(
                read(segmenter, lead, text, finish.clone()),
                expected,
                "{segmenter:?} {lead:?} {text:?} {finish:?}"
            );
        }
    }

    #[test]
    fn whole_texts_are_cut_where_the_search_cuts() {
        let guided = GUIDED;
        let lines = Segmenter::LineBreak;
        let rows: [(Segmenter, &str, &[&str]); 19] = [
            (guided, "", &[]),
            (guided, "plain", &["plain"]),
            (
                guided,
                "### Step 1. a\n### Step 2. b\n</think>\nc",
                &["### Step 1. a\n", "### Step 2. b\n</think>", "\nc"],
            ),
            (guided, "### Step 1. a\n\nwait\n\n### Step 2. b", &["### Step 1. a\n\nwait\n\n", "### Step 2. b"]),
            (guided, "hm\n### Step 1. see ### Step 2\n</think>", &["hm\n", "### Step 1. see ### Step 2\n</think>"]),
            (
                guided,
                "### Step 1. a\n</think>\n### Step 2. in the answer",
                &["### Step 1. a\n</think>", "\n### Step 2. in the answer"],
            ),
            (guided, "</think>", &["</think>"]),
            (lines, "a\nb\n\nc</think>\n\nd\n\ne", &["a\nb\n\n", "c</think>", "\n\nd\n\ne"]),
            (lines, "a\n\n\nb\n\n", &["a\n\n", "\nb\n\n"]),
            (lines, "a\n\n\n\n\n\nb", &["a\n\n", "\n\n\n\nb"]),
            (lines, "\n\na\n\nb", &["\n\na\n\n", "b"]),
            (lines, "a\n\n</think>", &["a\n\n", "</think>"]),
            (
                PREFIX,
                "a\n\nWait, b\nAlternatively c</think>\nWait",
                &["a\n\n", "Wait, b\n", "Alternatively c</think>", "\nWait"],
            ),
            (PREFIX, "a. Wait, no. wait\nwait", &["a. Wait, no. wait\nwait"]),
            (PREFIX, "Wait\nBut wait\nHmm", &["Wait\n", "But wait\n", "Hmm"]),
            (PREFIX, "\nWait\nHmm", &["\nWait\n", "Hmm"]),
            (FIXED, "a b  c\nd e", &["a b  c\n", "d e"]),
            (FIXED, " a b c", &[" a b c"]),
            (FIXED, "a b c d</think> e f g h", &["a b c ", "d</think>", " e f g h"]),
        ];
        for (segmenter, text, expected) in rows {
            assert_eq!(segmenter.segment(text), expected, "{segmenter:?} {text:?}");
        }
    }

    #[test]
    fn segmenters_are_written_as_in_a_recipe() {
        let rows = [
            (GUIDED, r#""prompt-guided""#, r#"{"kind":"prompt-guided"}"#),
            (KEPT, r#"{"kind":"prompt-guided","headers":"kept"}"#, r#"{"headers":"kept","kind":"prompt-guided"}"#),
            (Segmenter::LineBreak, r#""line-break""#, r#"{"kind":"line-break"}"#),
            (PREFIX, r#"{"kind":"prefix","cues":"cues.v1"}"#, r#""prefix""#),
            (Segmenter::FixedLength { tokens: 128 }, r#"{"kind":"fixed-length","tokens":128}"#, r#""fixed-length""#),
        ];
        for (segmenter, written, also_read) in rows {
            assert_eq!(serde_json::to_string(&segmenter).unwrap(), written);
            for text in [written, also_read] {
                assert_eq!(serde_json::from_str::<Segmenter>(text).unwrap(), segmenter, "{text}");
            }
        }
        for text in [r#""cues""#, r#"{"kind":"line-break","tokens":3}"#, r#"{"kind":"prefix","cues":"v0"}"#] {
            assert!(serde_json::from_str::<Segmenter>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn segments_concatenate_to_the_input(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("\n### Step".to_owned()), Just("### Step".to_owned()), Just("\n".to_owned()),
                    Just("\nWait".to_owned()), Just("\n\n".to_owned()), Just(" ".to_owned()),
                    Just("</think>".to_owned()), Just("</thi".to_owned()), "\\PC{0,5}",
                ],
                0..12,
            )
        ) {
            let text = parts.concat();
            for segmenter in ALL {
                let segments = segmenter.segment(&text);
                prop_assert_eq!(segments.concat(), text.as_str());
                prop_assert!(segments.iter().all(|segment| !segment.is_empty()));
            }
        }

        /// A teacher that says a whole text one request after another gives the same steps as cutting it at once.
        #[test]
        fn stepwise_equals_whole(
            bodies in proptest::collection::vec("[a-z ]{0,2}[a-z]( [a-z]{1,3}){0,2}(\n[a-z]{1,3})?\n{0,3}", 1..6),
            cues in proptest::collection::vec(0..20usize, 6),
        ) {
            let cue = |n: usize| Cues::V1.words().nth(cues[n]).unwrap_or("so");
            let headed: Vec<String> =
                bodies.iter().enumerate().map(|(n, body)| format!("### Step {}. {body}\n", n + 1)).collect();
            let rows: [(Segmenter, Vec<String>); 4] = [
                (GUIDED, headed.clone()),
                (KEPT, headed),
                (Segmenter::LineBreak, bodies.iter().map(|body| format!("{body}\n\n")).collect()),
                (PREFIX, bodies.iter().enumerate().map(|(n, body)| format!("{} {body}\n", cue(n))).collect()),
            ];
            for (segmenter, steps) in rows {
                let text = steps.concat() + THINK_CLOSE;
                let (mut said, mut lead) = (String::new(), String::new());
                let mut seen = Vec::new();
                while !said.ends_with(THINK_CLOSE) {
                    let rest = &text[said.len() + lead.len()..];
                    let stops = segmenter.stops();
                    let (_, at, stop) = stops.iter()
                        .filter_map(|stop| rest.find(stop.as_str()).map(|at| (at + stop.len(), at, stop)))
                        .min().unwrap();
                    match read(segmenter, &lead, &rest[..at], Finish::Delimiter(stop.clone())) {
                        Reading::Step { text, .. } => {
                            said += &text;
                            // After the first step, what it ended at is said already where headers are kept.
                            lead = segmenter.opening(&said).to_owned();
                            seen.push(text);
                        }
                        Reading::Lead { lead: more } => lead = more,
                        other => panic!("expected a step of `{rest}`, got {other:?}"),
                    }
                }
                prop_assert_eq!(seen, segmenter.segment(&text));
            }
        }
    }
}
