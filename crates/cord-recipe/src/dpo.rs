//! `[dpo]`: how a student learns which steps are better (Rafailov et al. 2023).

use serde::Serialize;

use crate::arm::ModelNames;
use crate::generate::weighted_model_name;
use crate::reader::{Field, Fields, Word};
use crate::train::{Decontaminate, LearningSettings, is_default_rule};

/// `[dpo]`: direct preference optimisation on pairs of the arm's own candidates, a step that was kept against one that was not.
/// The student is the one that `[train]` gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DpoSettings {
    /// The model that learns, where the arm has no `[train]`.
    pub student: Option<String>,
    /// Which pairs.
    pub pairs: PairSettings,
    /// How much the student may leave the model that it begins as: the higher, the less.
    pub beta: f64,
    /// The weight of the chosen steps' own likelihood in the loss, as Pang and others (2024) add it; 0 is plain DPO.
    pub sft_weight: f64,
    /// How.
    #[serde(flatten)]
    pub learning: LearningSettings,
    /// How the problems of pairs are compared with those of the arm's benchmarks, as in `[train]`.
    #[serde(skip_serializing_if = "is_default_rule")]
    pub decontaminate: Option<Decontaminate>,
}

/// Which pairs a student learns from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PairSettings {
    /// Which candidates win: those that were `kept` when they were ranked, or those that are part of a final trajectory.
    pub winners: Winners,
    /// The least difference between the scores of winner and loser.
    pub margin: f64,
    /// Only so many pairs of each problem, those that differ most; all where absent.
    pub pairs_per_problem: Option<u32>,
}

/// Which candidates win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Winners {
    /// Those that were kept when they were ranked.
    Kept,
    /// Those that are part of a final trajectory.
    Chosen,
}

impl Word for Winners {
    const WORDS: &'static [(&'static str, Self)] = &[("kept", Self::Kept), ("chosen", Self::Chosen)];
}

impl DpoSettings {
    /// `prompt` is the message where the table gives none.
    pub(crate) fn read(fields: Fields<'_>, models: &ModelNames, prompt: &str) -> Self {
        let at_least_0 =
            |key, default| fields.or(key, default, |field| field.number("a number of at least 0", |x| x >= 0.0));
        let settings = Self {
            student: fields.optional("student", |field| weighted_model_name(field, models)),
            pairs: PairSettings {
                winners: fields.or("winners", Winners::Kept, Field::word),
                margin: at_least_0("margin", 0.1),
                pairs_per_problem: fields.optional("pairs-per-problem", Field::count),
            },
            beta: fields.or("beta", 0.1, |field| field.number("a number above 0", |x| x > 0.0)),
            sft_weight: at_least_0("sft-weight", 0.0),
            // Once over the pairs, and a tenth of `[train]`'s learning rate: the papers' students move little.
            learning: LearningSettings::read(&fields, prompt, 1, 5e-7),
            decontaminate: fields.or("decontaminate", Some(Decontaminate::default()), Decontaminate::read),
        };
        fields.close();
        settings
    }
}
