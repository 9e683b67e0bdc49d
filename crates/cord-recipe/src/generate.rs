//! `[generate]`: how trajectories are made.

use serde::Serialize;

use crate::arm::ModelNames;
use crate::fault::FaultKind;
use crate::reader::{Field, Fields, Word};
use crate::tree::Value;

/// The text between a step and the gold answer when a candidate is scored: it closes the reasoning and opens
/// the answer. The paper leaves it open.
pub const DEFAULT_CUE: &str = "</think>\nThe final answer is \\boxed{";

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
    /// Which final trajectories are trained on.
    pub keep: Keep,
    /// The most seconds for one problem; one that takes longer fails. A clock decides then what is found, so a
    /// deadline is part of the key, and one machine may solve what another gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u32>,
}

/// How reasoning is cut into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segmenter {
    /// At the `### Step` headers that the prompt asks for.
    PromptGuided,
}

impl Word for Segmenter {
    const WORDS: &'static [(&'static str, Self)] = &[("prompt-guided", Self::PromptGuided)];
}

/// How sibling candidates are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Scorer {
    /// How predictable the gold answer becomes to a meta-prover: the paper's criterion.
    PredictivePerplexity {
        /// The meta-prover's name.
        model: String,
        /// The text between the step and the answer.
        cue: String,
    },
}

#[derive(Clone, Copy)]
enum ScorerKind {
    PredictivePerplexity,
}

impl Word for ScorerKind {
    const WORDS: &'static [(&'static str, Self)] = &[("predictive-perplexity", Self::PredictivePerplexity)];
}

/// How trajectories are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Search {
    /// Step-level beam search over all teachers: CoRD.
    Beam {
        /// How many partial trajectories are kept; 1 is greedy.
        width: u32,
        /// How many continuations each teacher proposes for each of them.
        proposals: u32,
        /// What becomes of finished trajectories while others go on.
        finished: Finished,
        /// Who writes the answer.
        answer_by: AnswerBy,
        /// How many final trajectories are returned, best first.
        select: u32,
    },
    /// Whole trajectories, the teachers in turn; the best are kept.
    Curation {
        /// How many are written.
        trajectories: u32,
        /// How many are returned, best first.
        select: u32,
    },
    /// Whole trajectories by one teacher.
    Single {
        /// The teacher's name.
        teacher: String,
        /// How many are written.
        trajectories: u32,
        /// How many are returned, best first.
        select: u32,
    },
}

#[derive(Clone, Copy)]
enum SearchKind {
    Beam,
    Curation,
    Single,
}

impl Word for SearchKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("beam", Self::Beam), ("curation", Self::Curation), ("single", Self::Single)];
}

/// What becomes of finished trajectories while others go on. The paper leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finished {
    /// They hold their place by their score, or lose it.
    Compete,
}

impl Word for Finished {
    const WORDS: &'static [(&'static str, Self)] = &[("compete", Self::Compete)];
}

/// Who writes the answer after the reasoning block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerBy {
    /// The teacher that wrote the last step.
    LastWriter,
}

impl Word for AnswerBy {
    const WORDS: &'static [(&'static str, Self)] = &[("last-writer", Self::LastWriter)];
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
}

impl Word for Keep {
    const WORDS: &'static [(&'static str, Self)] =
        &[("complete", Self::Complete), ("all", Self::All), ("correct", Self::Correct)];
}

impl GenerateSettings {
    pub(crate) fn read(fields: Fields<'_>, models: &ModelNames) -> Option<Self> {
        let teachers = fields.need("teachers", "a list of models", |field| {
            let names = field.names("models")?;
            field.list("models", |item| weighted_model_name(item, models)).map(|_| names)
        });
        let prompt = fields.or("prompt", default_prompt().to_owned(), read_prompt);
        let segmenter = fields.or("segmenter", Segmenter::PromptGuided, Field::word);
        let scorer = fields.optional("scorer", |field| field.table(|fields| Scorer::read(fields, models)));
        let search = fields.need("search", "a table with its `kind`", |field| {
            field.table(|fields| Search::read(fields, teachers.as_deref()))
        });
        let budget = fields.or("budget", Budget::default(), |field| field.table(|fields| Some(Budget::read(fields))));
        let keep = fields.or("keep", Keep::Complete, Field::word);
        let deadline = fields.optional("deadline", Field::count);
        let lone = matches!(search, Some(Search::Single { trajectories: 1, .. }) | None);
        if !fields.has("scorer") && !lone {
            fields.missing("scorer", "a table with its `kind`, to choose among candidates by,");
        }
        fields.close();
        Some(Self { teachers: teachers?, prompt, segmenter, scorer, search: search?, budget, keep, deadline })
    }
}

impl Scorer {
    fn read(fields: Fields<'_>, models: &ModelNames) -> Option<Self> {
        let kind = fields.need("kind", "the kind of scorer", Field::word::<ScorerKind>);
        // Without a kind no other key can be judged.
        let ScorerKind::PredictivePerplexity = kind?;
        let model = fields.need("model", "the model that judges", |field| weighted_model_name(field, models));
        let cue = fields.or("cue", DEFAULT_CUE.to_owned(), Field::text);
        fields.close();
        Some(Self::PredictivePerplexity { model: model?, cue })
    }
}

impl Search {
    fn read(fields: Fields<'_>, teachers: Option<&[String]>) -> Option<Self> {
        let kind = fields.need("kind", "the kind of search", Field::word::<SearchKind>);
        let select = |most: u32, of: &str| {
            fields.or("select", 1, |field| {
                let given = field.count()?;
                if given > most {
                    return field.out_of_range(&format!("at most `{of}` = {most}"), &given);
                }
                Some(given)
            })
        };
        let search = match kind? {
            SearchKind::Beam => {
                let width = fields.or("width", 4, Field::count);
                let proposals = fields.or("proposals", 1, Field::count);
                let finished = fields.or("finished", Finished::Compete, Field::word);
                let answer_by = fields.or("answer-by", AnswerBy::LastWriter, Field::word);
                Some(Self::Beam { width, proposals, finished, answer_by, select: select(width, "width") })
            }
            SearchKind::Curation => {
                let trajectories = fields.or("trajectories", 4, Field::count);
                Some(Self::Curation { trajectories, select: select(trajectories, "trajectories") })
            }
            SearchKind::Single => {
                // Where the teachers have faults of their own, any name may be one of them.
                let teacher = fields.need("teacher", "one of the teachers", |field| match teachers {
                    Some(teachers) => name_among(field, "one of the teachers", teachers),
                    None => field.name(),
                });
                let trajectories = fields.or("trajectories", 1, Field::count);
                let select = select(trajectories, "trajectories");
                teacher.map(|teacher| Self::Single { teacher, trajectories, select })
            }
        };
        fields.close();
        search
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

fn name_among(field: &Field<'_>, what: &'static str, defined: &[String]) -> Option<String> {
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
