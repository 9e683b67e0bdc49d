//! `[generate]`: how trajectories are made.

use serde::{Serialize, Serializer};

use crate::arm::ModelNames;
use crate::fault::FaultKind;
use crate::reader::{Field, Fields, Word, is_default};
use crate::scorer::{Normalise, Scorer};
use crate::search::Search;
use crate::tree::Value;

/// The user's message where a recipe gives none: `step-wise.v1`, which asks for `### Step n.` headers inside the
/// reasoning and a boxed answer. `{question}` stands for the problem.
pub fn default_prompt() -> &'static str {
    include_str!("../prompts/step-wise.v1.txt").trim_end()
}

/// `[generate]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GenerateSettings {
    /// The teachers' names, in the order that breaks ties.
    pub teachers: Vec<String>,
    /// The user's message, with `{question}` in place of the problem.
    pub prompt: String,
    /// How reasoning is cut into steps.
    pub segmenter: Segmenter,
    /// How candidates are judged; absent only for a single teacher.
    pub scorer: Option<Scorer>,
    /// How trajectories are found.
    pub search: Search,
    /// How much may be written.
    pub budget: Budget,
    /// Who closes the reasoning.
    #[serde(skip_serializing_if = "is_default")]
    pub closing: Closing,
    /// What names the random stream of a teacher's reply.
    #[serde(skip_serializing_if = "is_default")]
    pub draws: Draws,
    /// Which final trajectories are trained on.
    pub keep: Keep,
    /// The most seconds for one problem; one that takes longer fails. A clock decides then what is found, so a
    /// deadline is part of the key, and one machine may solve what another gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u32>,
    /// Which teachers are asked; all, every time, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Adaptive>,
    /// What the final trajectories are measured by, whatever they were chosen by: so that arms with different scorers are
    /// compared on one scale. It is no part of the generation, but a stage after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<Scorer>,
}

/// Who closes the reasoning block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    /// The teachers; what they leave open has no answer.
    Own,
    /// The search, where a teacher ends its turn inside the block or its budget runs out; then the answer is asked for.
    Forced,
}

impl Word for Closing {
    const WORDS: &'static [(&'static str, Self)] = &[("own", Self::Own), ("forced", Self::Forced)];
}

/// How reasoning is cut into steps. A recipe gives the word, or a table with the word as its `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmenter {
    /// At the `### Step` headers that the prompt asks for.
    PromptGuided {
        /// Who writes the header of a step that is not the first.
        headers: Headers,
    },
    /// At blank lines.
    LineBreak,
    /// Before lines that open with a cue word, such as "Wait".
    Prefix {
        /// Which cue words.
        cues: Cues,
    },
    /// After so many tokens.
    FixedLength {
        /// The number of tokens.
        tokens: u32,
    },
}

/// The tokens of a fixed-length step where a recipe gives none.
pub const DEFAULT_STEP_TOKENS: u32 = 128;

impl Serialize for Segmenter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A word where there is nothing else to say, so that what was named before there were tables keeps its name.
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        enum Table {
            PromptGuided { headers: Headers },
            Prefix { cues: Cues },
            FixedLength { tokens: u32 },
        }
        match *self {
            Self::PromptGuided { headers: Headers::Own } => serializer.serialize_str("prompt-guided"),
            Self::PromptGuided { headers } => Table::PromptGuided { headers }.serialize(serializer),
            Self::LineBreak => serializer.serialize_str("line-break"),
            Self::Prefix { cues } => Table::Prefix { cues }.serialize(serializer),
            Self::FixedLength { tokens } => Table::FixedLength { tokens }.serialize(serializer),
        }
    }
}

#[derive(Clone, Copy)]
enum SegmenterKind {
    PromptGuided,
    LineBreak,
    Prefix,
    FixedLength,
}

impl Word for SegmenterKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("prompt-guided", Self::PromptGuided),
        ("line-break", Self::LineBreak),
        ("prefix", Self::Prefix),
        ("fixed-length", Self::FixedLength),
    ];
}

/// Who writes the header of a step that is not the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Headers {
    /// Whoever goes on, once more; or closes the reasoning instead.
    Own,
    /// Who wrote the step before it and ended it by that header: whoever goes on begins behind it.
    Kept,
}

impl Word for Headers {
    const WORDS: &'static [(&'static str, Self)] = &[("own", Self::Own), ("kept", Self::Kept)];
}

/// A version of the list of cue words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Cues {
    /// The first.
    #[serde(rename = "cues.v1")]
    V1,
}

impl Word for Cues {
    const WORDS: &'static [(&'static str, Self)] = &[("cues.v1", Self::V1)];
}

/// Which teachers a beam asks: learnt from which proposals survive in a warm-up set of problems.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Adaptive {
    /// How many problems are searched with all teachers first.
    pub warm_up: u32,
    /// Into how many phases a trajectory is divided.
    pub phases: u32,
    /// How many teachers a beam asks at each step after the warm-up, on average: those of a step share their questions.
    pub ask: u32,
    /// The least share of the questions that a teacher is asked.
    pub floor: f64,
    /// How many proposals of a step must score no less than the text that they continue; until then, and as long as anybody has
    /// not been asked, the step asks again. Where absent, it asks once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<u32>,
}

/// How much may be written, in tokens of the teacher that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Budget {
    /// The most tokens of reasoning.
    pub reasoning: u32,
    /// The most tokens of answer.
    pub answer: u32,
    /// The most tokens of one step. Whole trajectories have no such bound.
    pub step: u32,
    /// The most steps. Whole trajectories have no such bound.
    pub steps: u32,
}

/// What names the random stream of a teacher's reply, besides the problem, the teacher and the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draws {
    /// Where the question stands in the search: its depth and its beam's place.
    ByPlace,
    /// The text that is continued: a teacher that is asked the same replies the same, whoever else takes part. Arms that
    /// are compared share their luck.
    ByPrefix,
}

impl Word for Draws {
    const WORDS: &'static [(&'static str, Self)] = &[("by-place", Self::ByPlace), ("by-prefix", Self::ByPrefix)];
}

/// Which final trajectories are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Those that closed their reasoning and ended their answer.
    Complete,
    /// All.
    All,
    /// Complete ones whose answer equals the gold answer.
    Correct,
    /// Those that closed their reasoning, with truncated answers too.
    Closed,
}

impl Word for Keep {
    const WORDS: &'static [(&'static str, Self)] =
        &[("complete", Self::Complete), ("all", Self::All), ("correct", Self::Correct), ("closed", Self::Closed)];
}

impl GenerateSettings {
    pub(crate) fn read(fields: Fields<'_>, models: &ModelNames) -> Option<Self> {
        let teachers = fields.need("teachers", "a list of models", |field| {
            let names = field.names("models")?;
            field.list("models", |item| weighted_model_name(item, models)).map(|_| names)
        });
        let prompt = fields.or("prompt", default_prompt().to_owned(), read_prompt);
        let segmenter = fields.or("segmenter", Segmenter::PromptGuided { headers: Headers::Own }, Segmenter::read);
        let scorer = fields.optional("scorer", |field| field.table(|fields| Scorer::read(fields, models)));
        let search = fields.need("search", "a table with its `kind`", |field| {
            field.table(|fields| Search::read(fields, teachers.as_deref(), models))
        });
        let budget = fields.or("budget", Budget::default(), |field| field.table(|fields| Some(Budget::read(fields))));
        if let Segmenter::FixedLength { tokens } = segmenter
            && tokens > budget.step
        {
            let key = fields.path("segmenter.tokens");
            let expected = format!("at most `budget.step` = {}", budget.step);
            fields.fault_at("segmenter", FaultKind::OutOfRange { key, expected, given: tokens.to_string() });
        }
        let adaptive = fields.optional("adaptive", |field| {
            let most = teachers.as_ref().map_or(u32::MAX, |teachers| teachers.len() as u32);
            field.table(|fields| Some(Adaptive::read(fields, most)))
        });
        if adaptive.is_some() && !matches!(search, Some(Search::Beam { .. }) | None) {
            let kind = FaultKind::Conflict {
                expected: format!("a beam search beside `{}`", fields.path("adaptive")),
                given: "another one".to_owned(),
                hint: "remove `adaptive`: only beam search chooses among teachers".to_owned(),
            };
            fields.fault_at("adaptive", kind);
        }
        let relative = matches!(scorer, Some(Scorer::AnswerGain { .. } | Scorer::Mixture { .. }));
        let compares = [
            ("adaptive", "adaptive.settle", adaptive.is_some_and(|adaptive| adaptive.settle.is_some())),
            ("search", "search.kind", matches!(search, Some(Search::BestFirst { .. }))),
        ];
        for (at, key, _) in compares.into_iter().filter(|(_, _, compares)| relative && *compares) {
            let kind = FaultKind::Conflict {
                expected: format!("a scorer that judges each step on its own beside `{}`", fields.path(key)),
                given: "`answer-gain` or `mixture`".to_owned(),
                hint: "take another one of the two: a step's score is compared with those of other depths".to_owned(),
            };
            fields.fault_at(at, kind);
        }
        let closing = fields.or("closing", Closing::Own, Field::word);
        let draws = fields.or("draws", Draws::ByPlace, Field::word);
        let keep = fields.or("keep", Keep::Complete, Field::word);
        let deadline = fields.optional("deadline", Field::count);
        let measure = fields.optional("measure", |field| {
            let scorer = field.table(|fields| Scorer::read(fields, models))?;
            if let Scorer::PredictivePerplexity { answer, .. } = &scorer
                && answer.normalise == Normalise::GeometricMean
            {
                return Some(scorer);
            }
            let kind = FaultKind::Conflict {
                expected: format!("`predictive-perplexity` by the geometric mean as the kind of `{}`", field.path()),
                given: "another scorer".to_owned(),
                hint: "name the meta-prover that all arms are to be measured by: it fills the column `perplexity`"
                    .to_owned(),
            };
            field.fault(kind);
            None
        });
        let lone = matches!(search, Some(Search::Single { trajectories: 1, .. }) | None);
        if !fields.has("scorer") && !lone {
            fields.missing("scorer", "a table with its `kind`, to choose among candidates by,");
        }
        fields.close();
        Some(Self {
            teachers: teachers?,
            prompt,
            segmenter,
            scorer,
            search: search?,
            budget,
            closing,
            draws,
            keep,
            deadline,
            adaptive,
            measure,
        })
    }
}

impl Segmenter {
    fn read(field: &Field<'_>) -> Option<Self> {
        if !matches!(field.node.value, Value::Table(_)) {
            return field.word().map(|kind| match kind {
                SegmenterKind::PromptGuided => Self::PromptGuided { headers: Headers::Own },
                SegmenterKind::LineBreak => Self::LineBreak,
                SegmenterKind::Prefix => Self::Prefix { cues: Cues::V1 },
                SegmenterKind::FixedLength => Self::FixedLength { tokens: DEFAULT_STEP_TOKENS },
            });
        }
        field.table(|fields| {
            let kind = fields.need("kind", "the kind of segmenter", Field::word);
            let segmenter = match kind? {
                SegmenterKind::PromptGuided => {
                    Self::PromptGuided { headers: fields.or("headers", Headers::Own, Field::word) }
                }
                SegmenterKind::LineBreak => Self::LineBreak,
                SegmenterKind::Prefix => Self::Prefix { cues: fields.or("cues", Cues::V1, Field::word) },
                SegmenterKind::FixedLength => {
                    Self::FixedLength { tokens: fields.or("tokens", DEFAULT_STEP_TOKENS, Field::count) }
                }
            };
            fields.close();
            Some(segmenter)
        })
    }
}

impl Adaptive {
    fn read(fields: Fields<'_>, teachers: u32) -> Self {
        let (warm_up, phases) = (fields.or("warm-up", 32, Field::count), fields.or("phases", 3, Field::count));
        let ask = fields.or("ask", 2.min(teachers), |field| field.whole(1, i64::from(teachers)));
        let most = 1.0 / f64::from(teachers);
        let expected = format!("a number from 0 to 1/{teachers}, the teachers' even share,");
        let floor = fields.or("floor", most.min(0.1), |field| field.number(&expected, |n| (0.0..=most).contains(&n)));
        let settle = fields.optional("settle", Field::count);
        fields.close();
        Self { warm_up, phases, ask, floor, settle }
    }
}

impl Default for Budget {
    /// The paper's 16,384 tokens of reasoning and 4,096 of answer; of a step it says nothing.
    fn default() -> Self {
        Self { reasoning: 16_384, answer: 4_096, step: 2_048, steps: 64 }
    }
}

impl Budget {
    fn read(fields: Fields<'_>) -> Self {
        let base = Self::default();
        let budget = Self {
            reasoning: fields.or("reasoning", base.reasoning, Field::count),
            answer: fields.or("answer", base.answer, Field::count),
            step: fields.or("step", base.step, Field::count),
            steps: fields.or("steps", base.steps, Field::count),
        };
        fields.close();
        budget
    }
}

/// Reads the name of a defined model.
pub(crate) fn model_name(field: &Field<'_>, models: &ModelNames) -> Option<String> {
    name_among(field, "a model that `[models]` defines", &models.all)
}

/// Reads the name of a defined model that has weights.
pub(crate) fn weighted_model_name(field: &Field<'_>, models: &ModelNames) -> Option<String> {
    let what = match &field.node.value {
        Value::Text(name) if models.all.contains(name) => "a model that has weights, not one made from `scratch`,",
        _ => "a model that `[models]` defines",
    };
    name_among(field, what, &models.with_weights)
}

pub(crate) fn name_among(field: &Field<'_>, what: &'static str, defined: &[String]) -> Option<String> {
    let name = field.name()?;
    if defined.contains(&name) {
        return Some(name);
    }
    let key = field.path().to_owned();
    field.fault(FaultKind::Undefined { key, what, given: name, defined: defined.to_vec() });
    None
}

/// Reads a message with a place for the problem.
pub(crate) fn read_prompt(field: &Field<'_>) -> Option<String> {
    field.text_that("a message with `{question}` where the problem goes", |text| text.contains("{question}"))
}
