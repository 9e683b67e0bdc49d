//! What a recipe says about the scorer, and the scorer that it describes.

use std::sync::Arc;

use cord_core::{LanguageModel, Seed};
use serde::{Deserialize, Serialize};

use crate::settings::is_default;
use crate::{
    AnswerGain, AnswerReading, BinaryJudgment, Combine, DEFAULT_CUE, DEFAULT_VERDICT_TOKENS, GenerateError,
    JudgmentPrompt, MaxLength, Measured, Mixture, Normalise, PredictivePerplexity, ProcessReward, PromptTemplate,
    ProverEnsemble, RandomScore, RewardPrompt, Scale, Scorer, SelfCertainty,
};

/// Gives the model of a name.
pub type OpenModel<'a, E> = dyn FnMut(&str) -> Result<Arc<dyn LanguageModel>, E> + 'a;

/// How candidates are judged. Models stand by their names in the recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ScorerSettings {
    /// How predictable a candidate makes the gold answer: the paper's criterion.
    PredictivePerplexity(PerplexitySettings),
    /// How much more predictable it makes the gold answer than what stood before it.
    AnswerGain(PerplexitySettings),
    /// Predictive perplexity under several provers, or their agreement.
    Ensemble(EnsembleSettings),
    /// A process reward model.
    ProcessReward(RewardSettings),
    /// A language model's verdict, right or wrong.
    Judgment(JudgmentSettings),
    /// Chance.
    Random(RandomSettings),
    /// The longest.
    MaxLength(LengthSettings),
    /// How sure the writer was.
    SelfCertainty(CertaintySettings),
    /// Several of the above.
    Mixture(MixtureSettings),
}

/// Settings of predictive perplexity and of its gain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PerplexitySettings {
    /// The meta-prover's name in the recipe.
    pub model: String,
    /// The text between the reasoning so far and the gold answer. The paper leaves it open.
    #[serde(default = "default_cue")]
    pub cue: String,
    /// How the tokens' log-probabilities become one number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub normalise: Normalise,
    /// Only the answer's first so many tokens count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<u32>,
    /// The problem's metadata that lists other accepted forms of the gold answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forms: Option<String>,
}

/// Settings of several provers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EnsembleSettings {
    /// The provers' names in the recipe.
    pub models: Vec<String>,
    /// How their opinions become one.
    #[serde(default)]
    pub combine: Combine,
    /// As in [`PerplexitySettings`].
    #[serde(default = "default_cue")]
    pub cue: String,
    /// As in [`PerplexitySettings`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub normalise: Normalise,
    /// As in [`PerplexitySettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<u32>,
    /// As in [`PerplexitySettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forms: Option<String>,
}

/// Settings of a process reward model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RewardSettings {
    /// The model's name in the recipe.
    pub model: String,
    /// What it is asked.
    #[serde(default)]
    pub prompt: RewardPrompt,
}

/// Settings of a judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JudgmentSettings {
    /// The judge's name in the recipe.
    pub model: String,
    /// What it is asked.
    #[serde(default)]
    pub prompt: JudgmentPrompt,
    /// The most tokens of a verdict, with the reasoning before it.
    #[serde(default = "default_verdict_tokens")]
    pub max_tokens: u32,
}

/// Settings of chance: none. Its seed is the stage's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomSettings {}

/// Settings of length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthSettings {
    /// What is measured.
    #[serde(default)]
    pub of: Measured,
}

/// Settings of the writer's certainty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertaintySettings {}

/// Settings of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MixtureSettings {
    /// What is mixed.
    pub signals: Vec<SignalSettings>,
    /// What of each signal is mixed.
    #[serde(default)]
    pub scale: Scale,
}

/// One signal of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SignalSettings {
    /// Its weight; only the proportions matter.
    pub weight: f64,
    /// The signal.
    pub scorer: ScorerSettings,
}

fn default_cue() -> String {
    DEFAULT_CUE.to_owned()
}

fn default_verdict_tokens() -> u32 {
    DEFAULT_VERDICT_TOKENS
}

impl PerplexitySettings {
    fn reading(&self) -> AnswerReading {
        let Self { model: _, cue, normalise, cap, forms } = self.clone();
        AnswerReading { cue, normalise, cap, forms }
    }
}

impl ScorerSettings {
    /// The scorer. `prompt` is the generation's user turn, under which provers read the reasoning; `seed` is the stage's;
    /// `open` gives the model of a name.
    pub fn scorer<E: From<GenerateError>>(
        &self,
        prompt: &PromptTemplate,
        seed: Seed,
        open: &mut OpenModel<'_, E>,
    ) -> Result<Arc<dyn Scorer>, E> {
        let prompt = || prompt.clone();
        Ok(match self {
            Self::PredictivePerplexity(settings) => {
                Arc::new(PredictivePerplexity::new(open(&settings.model)?, settings.reading(), prompt())?)
            }
            Self::AnswerGain(settings) => {
                Arc::new(AnswerGain::new(open(&settings.model)?, settings.reading(), prompt())?)
            }
            Self::Ensemble(settings) => {
                let models = settings.models.iter().map(|name| open(name)).collect::<Result<Vec<_>, _>>()?;
                let EnsembleSettings { models: _, combine, cue, normalise, cap, forms } = settings.clone();
                let reading = AnswerReading { cue, normalise, cap, forms };
                Arc::new(ProverEnsemble::new(models, combine, &reading, &prompt())?)
            }
            Self::ProcessReward(settings) => Arc::new(ProcessReward::new(open(&settings.model)?, settings.prompt)?),
            Self::Judgment(settings) => {
                Arc::new(BinaryJudgment::new(open(&settings.model)?, settings.prompt, settings.max_tokens)?)
            }
            Self::Random(RandomSettings {}) => Arc::new(RandomScore::new(seed.named("random-score"))),
            Self::MaxLength(settings) => Arc::new(MaxLength::new(settings.of)),
            Self::SelfCertainty(CertaintySettings {}) => Arc::new(SelfCertainty),
            Self::Mixture(settings) => {
                let signals = settings.signals.iter().map(|signal| {
                    let scorer = signal.scorer.scorer(&prompt(), seed, open)?;
                    Ok((signal.weight, scorer))
                });
                Arc::new(Mixture::new(signals.collect::<Result<Vec<_>, E>>()?, settings.scale)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use cord_testkit::Scripted;

    use super::*;

    #[test]
    fn settings_become_the_scorer_that_they_name() {
        let check = |text: &str, models: &[&str]| {
            let settings: ScorerSettings = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let mut opened = Vec::new();
            let mut open = |name: &str| {
                opened.push(name.to_owned());
                let model = Scripted::new(name).believing(|_| -1.0).writing(|_| String::new());
                Ok::<_, GenerateError>(Arc::new(model) as Arc<dyn LanguageModel>)
            };
            let scorer = settings.scorer(&PromptTemplate::default(), Seed::root(1), &mut open).unwrap();
            let kind = serde_json::to_value(&settings).unwrap()["kind"].clone();
            assert_eq!(kind, scorer.name(), "{text}");
            assert_eq!(opened, models, "{text}");
        };
        check("kind = \"predictive-perplexity\"\nmodel = \"m\"", &["m"]);
        check("kind = \"predictive-perplexity\"\nmodel = \"m\"\nnormalise = \"sum\"\ncap = 3\nforms = \"f\"", &["m"]);
        check("kind = \"answer-gain\"\nmodel = \"m\"", &["m"]);
        check("kind = \"ensemble\"\nmodels = [\"m\", \"n\"]\ncombine = \"min\"", &["m", "n"]);
        check("kind = \"process-reward\"\nmodel = \"m\"\nprompt = \"plus-minus.v1\"", &["m"]);
        check("kind = \"judgment\"\nmodel = \"m\"\nprompt = \"blind.v1\"\nmax-tokens = 9", &["m"]);
        check("kind = \"random\"", &[]);
        check("kind = \"max-length\"\nof = \"reasoning\"", &[]);
        check("kind = \"self-certainty\"", &[]);
        check(
            "kind = \"mixture\"\nscale = \"rank\"\nsignals = [{ weight = 2, scorer = { kind = \"max-length\" } }, \
             { weight = 0.5, scorer = { kind = \"process-reward\", model = \"m\" } }]",
            &["m"],
        );
    }

    #[test]
    fn what_stands_at_its_default_is_not_written() {
        // Stages are named by what is written: a setting that is added must not rename those that do without it.
        let settings: ScorerSettings = serde_json::from_str(r#"{"kind":"predictive-perplexity","model":"m"}"#).unwrap();
        let written = serde_json::to_string(&settings).unwrap();
        let expected = r#"{"kind":"predictive-perplexity","model":"m","cue":"</think>\nThe final answer is \\boxed{"}"#;
        assert_eq!(written, expected);
    }

    #[test]
    fn unknown_keys_are_faults() {
        for (text, key) in [
            (r#"{"kind":"predictive-perplexity","model":"m","queue":""}"#, "queue"),
            (r#"{"kind":"random","seed":1}"#, "seed"),
            (r#"{"kind":"mixture","signals":[],"weights":[]}"#, "weights"),
            (r#"{"kind":"judgment","model":"m","tokens":1}"#, "tokens"),
        ] {
            let error = serde_json::from_str::<ScorerSettings>(text).unwrap_err().to_string();
            assert!(error.contains(&format!("unknown field `{key}`")), "{text}: {error}");
        }
    }
}
