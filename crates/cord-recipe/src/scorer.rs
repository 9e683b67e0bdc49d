//! `[generate] scorer`: how candidates are judged.

use serde::Serialize;

use crate::arm::ModelNames;
use crate::fault::FaultKind;
use crate::generate::weighted_model_name;
use crate::reader::{Field, Fields, Word, is_default};

/// The text between a step and the gold answer when a candidate is scored: it closes the reasoning and opens
/// the answer. The paper leaves it open.
pub const DEFAULT_CUE: &str = "</think>\nThe final answer is \\boxed{";

/// The most tokens of a verdict where a recipe gives none.
pub const DEFAULT_VERDICT_TOKENS: u32 = 2048;

/// How candidates are judged. `M` is a model: its name in a recipe, more in a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Scorer<M = String> {
    /// How predictable the gold answer becomes to a meta-prover: the paper's criterion.
    PredictivePerplexity {
        /// The meta-prover.
        model: M,
        /// How it is asked.
        #[serde(flatten)]
        answer: Answer,
    },
    /// How much more predictable the gold answer becomes by the step.
    AnswerGain {
        /// The meta-prover.
        model: M,
        /// How it is asked.
        #[serde(flatten)]
        answer: Answer,
    },
    /// Predictive perplexity under several provers, or their agreement.
    Ensemble {
        /// The provers.
        models: Vec<M>,
        /// How their opinions become one.
        combine: Combine,
        /// How they are asked.
        #[serde(flatten)]
        answer: Answer,
    },
    /// A process reward model.
    ProcessReward {
        /// The model.
        model: M,
        /// What it is asked.
        prompt: RewardPrompt,
    },
    /// A language model's verdict, right or wrong.
    Judgment {
        /// The judge.
        model: M,
        /// What it is asked.
        prompt: JudgmentPrompt,
        /// The most tokens of a verdict.
        max_tokens: u32,
    },
    /// Chance.
    Random {},
    /// The longest.
    MaxLength {
        /// What is measured.
        of: Measured,
    },
    /// How sure the writer was.
    SelfCertainty {},
    /// Several of the above.
    Mixture {
        /// What is mixed.
        signals: Vec<Signal<M>>,
        /// What of each signal is mixed.
        scale: Scale,
    },
}

/// How a gold answer is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answer {
    /// The text between the step and the answer.
    pub cue: String,
    /// How the tokens' log-probabilities become one number.
    #[serde(skip_serializing_if = "is_default")]
    pub normalise: Normalise,
    /// Only the answer's first so many tokens count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<u32>,
    /// The problem's metadata that lists other accepted forms of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forms: Option<String>,
}

/// One signal of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Signal<M = String> {
    /// Its weight; only the proportions matter.
    pub weight: f64,
    /// The signal.
    pub scorer: Scorer<M>,
}

/// A closed set of words, the default first.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)+];
        }
    };
}

words! {
    /// How the log-probabilities of an answer's tokens become one number.
    Normalise {
        /// The geometric mean of their probabilities: the paper's.
        GeometricMean = "geometric-mean",
        /// Their sum.
        Sum = "sum",
    }
}

words! {
    /// How several provers' opinions become one.
    Combine {
        /// The geometric mean of their scores.
        MeanLog = "mean-log",
        /// The least.
        Min = "min",
        /// How much they agree.
        Agreement = "agreement",
    }
}

words! {
    /// A version of the question to a process reward model.
    RewardPrompt {
        /// `Yes` or `No`, for any instructed model.
        YesNoV1 = "yes-no.v1",
        /// `+` or `-`, for a model that was trained to write them.
        PlusMinusV1 = "plus-minus.v1",
        /// `+` or `-` after each step, each a turn of its own, for a model that was trained to answer so.
        TurnsV1 = "turns.v1",
        /// The labels of a head behind the mark of a step, for Qwen2.5-Math-PRM.
        QwenPrmV1 = "qwen-prm.v1",
    }
}

words! {
    /// A version of the question to a judge.
    JudgmentPrompt {
        /// It is told the gold answer.
        GoldV1 = "gold.v1",
        /// It is not.
        BlindV1 = "blind.v1",
        /// It is, and shown a step at a time, for a model that was trained to answer each with `+` or `-`.
        TurnsV1 = "turns.v1",
    }
}

words! {
    /// What is measured of a candidate.
    Measured {
        /// The candidate alone.
        Step = "step",
        /// All of the reasoning.
        Reasoning = "reasoning",
    }
}

words! {
    /// What of each signal is mixed.
    Scale {
        /// Its value.
        AsIs = "as-is",
        /// Its rank among the candidates that are judged together.
        Rank = "rank",
    }
}

#[derive(Clone, Copy)]
enum Kind {
    PredictivePerplexity,
    AnswerGain,
    Ensemble,
    ProcessReward,
    Judgment,
    Random,
    MaxLength,
    SelfCertainty,
    Mixture,
}

impl Word for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("predictive-perplexity", Self::PredictivePerplexity),
        ("answer-gain", Self::AnswerGain),
        ("ensemble", Self::Ensemble),
        ("process-reward", Self::ProcessReward),
        ("judgment", Self::Judgment),
        ("random", Self::Random),
        ("max-length", Self::MaxLength),
        ("self-certainty", Self::SelfCertainty),
        ("mixture", Self::Mixture),
    ];
}

impl<M> Scorer<M> {
    /// The models that judge.
    pub fn models(&self) -> Vec<&M> {
        match self {
            Self::PredictivePerplexity { model, .. }
            | Self::AnswerGain { model, .. }
            | Self::ProcessReward { model, .. }
            | Self::Judgment { model, .. } => vec![model],
            Self::Ensemble { models, .. } => models.iter().collect(),
            Self::Mixture { signals, .. } => signals.iter().flat_map(|signal| signal.scorer.models()).collect(),
            Self::Random {} | Self::MaxLength { .. } | Self::SelfCertainty {} => Vec::new(),
        }
    }

    /// The same scorer with other models.
    pub fn map<N>(&self, of: &dyn Fn(&M) -> N) -> Scorer<N> {
        match self {
            Self::PredictivePerplexity { model, answer } => {
                Scorer::PredictivePerplexity { model: of(model), answer: answer.clone() }
            }
            Self::AnswerGain { model, answer } => Scorer::AnswerGain { model: of(model), answer: answer.clone() },
            Self::Ensemble { models, combine, answer } => {
                Scorer::Ensemble { models: models.iter().map(of).collect(), combine: *combine, answer: answer.clone() }
            }
            Self::ProcessReward { model, prompt } => Scorer::ProcessReward { model: of(model), prompt: *prompt },
            Self::Judgment { model, prompt, max_tokens } => {
                Scorer::Judgment { model: of(model), prompt: *prompt, max_tokens: *max_tokens }
            }
            Self::Random {} => Scorer::Random {},
            Self::MaxLength { of } => Scorer::MaxLength { of: *of },
            Self::SelfCertainty {} => Scorer::SelfCertainty {},
            Self::Mixture { signals, scale } => {
                let signal = |one: &Signal<M>| Signal { weight: one.weight, scorer: one.scorer.map(of) };
                Scorer::Mixture { signals: signals.iter().map(signal).collect(), scale: *scale }
            }
        }
    }
}

impl Scorer {
    pub(crate) fn read(fields: Fields<'_>, models: &ModelNames) -> Option<Self> {
        let kind = fields.need("kind", "the kind of scorer", Field::word::<Kind>);
        let model = || fields.need("model", "the model that judges", |field| weighted_model_name(field, models));
        // Without a kind no other key can be judged.
        let scorer = match kind? {
            Kind::PredictivePerplexity => {
                let (model, answer) = (model(), Answer::read(&fields));
                model.map(|model| Self::PredictivePerplexity { model, answer })
            }
            Kind::AnswerGain => {
                let (model, answer) = (model(), Answer::read(&fields));
                model.map(|model| Self::AnswerGain { model, answer })
            }
            Kind::Ensemble => {
                let models = fields.need("models", "a list of models", |field| {
                    let names = field.names("models")?;
                    field.list("models", |item| weighted_model_name(item, models)).map(|_| names)
                });
                let combine = fields.or("combine", Combine::MeanLog, Field::word);
                let answer = Answer::read(&fields);
                models.map(|models| Self::Ensemble { models, combine, answer })
            }
            Kind::ProcessReward => {
                let (model, prompt) = (model(), fields.or("prompt", RewardPrompt::YesNoV1, Field::word));
                model.map(|model| Self::ProcessReward { model, prompt })
            }
            Kind::Judgment => {
                let (model, prompt) = (model(), fields.or("prompt", JudgmentPrompt::GoldV1, Field::word));
                let max_tokens = fields.or("max-tokens", DEFAULT_VERDICT_TOKENS, Field::count);
                model.map(|model| Self::Judgment { model, prompt, max_tokens })
            }
            Kind::Random => Some(Self::Random {}),
            Kind::MaxLength => Some(Self::MaxLength { of: fields.or("of", Measured::Step, Field::word) }),
            Kind::SelfCertainty => Some(Self::SelfCertainty {}),
            Kind::Mixture => {
                let signals = fields.need("signals", "a list of tables with `weight` and `scorer`", |field| {
                    let signals = field.list("tables", |item| item.table(|fields| Signal::read(fields, models)))?;
                    if signals.is_empty() {
                        return field.out_of_range("a list of at least one signal", &"[]");
                    }
                    Some(signals)
                });
                let scale = fields.or("scale", Scale::AsIs, Field::word);
                signals.map(|signals| Self::Mixture { signals, scale })
            }
        };
        fields.close();
        scorer
    }
}

impl Answer {
    fn read(fields: &Fields<'_>) -> Self {
        Self {
            cue: fields.or("cue", DEFAULT_CUE.to_owned(), Field::text),
            normalise: fields.or("normalise", Normalise::GeometricMean, Field::word),
            cap: fields.optional("cap", Field::count),
            forms: fields.optional("forms", Field::name),
        }
    }
}

impl Signal {
    fn read(fields: Fields<'_>, models: &ModelNames) -> Option<Self> {
        let weight = fields
            .need("weight", "the signal's weight", |field| field.number("a number above 0", |number| number > 0.0));
        let scorer = fields.need("scorer", "a table with its `kind`", |field| {
            let scorer = field.table(|fields| Scorer::read(fields, models))?;
            if let Scorer::Mixture { .. } = scorer {
                let kind = FaultKind::Conflict {
                    expected: format!("a signal of one kind as `{}`", field.path()),
                    given: "a mixture".to_owned(),
                    hint: "list its signals in the outer mixture, with their weights multiplied".to_owned(),
                };
                field.fault(kind);
            }
            Some(scorer)
        });
        fields.close();
        Some(Self { weight: weight?, scorer: scorer? })
    }
}
