//! The one trait through which every model is used, whatever its role and wherever it runs.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::{Digest, Seed};

/// A boxed future, so that [`LanguageModel`] is object safe without an async runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, `<think>` blocks included, verbatim.
    pub content: String,
}

impl Message {
    /// A user's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// A system turn.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// A model's turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// How the assistant's turn opens before [`Prompt::prefix`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// Inside the reasoning block: after `<think>` and a line break. A template whose generation prompt
    /// already opens the block is not given a second one.
    #[default]
    Think,
    /// Right after the template's generation prompt.
    Plain,
}

/// A conversation and the text with which the model's turn has begun.
///
/// This is text, never token ids: teachers differ in tokenizers and templates, so each model renders
/// the prompt with its own template and continues it by raw completion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prompt {
    /// The turns before the assistant's.
    pub messages: Vec<Message>,
    /// How the assistant's turn opens.
    pub opening: Opening,
    /// What the assistant's turn already says after its opening; often a partial trajectory.
    pub prefix: String,
}

/// How the next token is drawn. Zero temperature is greedy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Keeps the smallest set of tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f64,
    /// Keeps this many tokens; 0 keeps all.
    pub top_k: u32,
}

impl Default for Sampling {
    /// Temperature 0.6 and top-p 0.95, the usual settings for reasoning models.
    fn default() -> Self {
        Self { temperature: 0.6, top_p: 0.95, top_k: 0 }
    }
}

/// A request to continue a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// Generation ends before the first of these in the new text.
    pub stop: Vec<String>,
    /// The most tokens to generate, the stop's own included.
    pub max_tokens: u32,
    /// How to draw.
    pub sampling: Sampling,
    /// The random stream of this one request.
    pub seed: Seed,
}

/// Why a generation ended. `Length` is never silent data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// The model ended its turn.
    Eos,
    /// A stop string was reached; it is named and is not part of the text.
    Delimiter(String),
    /// The budget ran out.
    Length,
}

/// What a request cost. Counts are logical: they do not depend on caches, batches or scheduling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt with its prefix.
    pub prompt_tokens: u64,
    /// Tokens drawn, those of a trimmed stop string included.
    pub generated_tokens: u64,
    /// Tokens whose log-probability was asked for.
    pub scored_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.generated_tokens += other.generated_tokens;
        self.scored_tokens += other.scored_tokens;
    }
}

/// The continuation of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The new text, without the stop string or the end-of-turn token.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Mean log-probability (natural log, nats) of the drawn tokens under the model at temperature 1;
    /// absent where a server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_logprob: Option<f64>,
    /// What it cost.
    pub usage: Usage,
}

/// A request for the log-probability of a given continuation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRequest {
    /// What stands before.
    pub prompt: Prompt,
    /// The text whose tokens are scored. It is tokenized on its own, after the prompt's tokens, so that a
    /// candidate's score never depends on a token that spans the boundary.
    pub continuation: String,
}

/// One token of a scored continuation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's id in the scoring model's vocabulary.
    pub token: u32,
    /// Its natural-log probability given all before it, in nats: finite, at most 0.
    pub logprob: f64,
}

/// Names a model by content: the same name means the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelId {
    /// What people call it: a folder, a hub id.
    pub name: String,
    /// Digest of the weights, or of the revision that a server states.
    pub weights: Digest,
    /// Digest of the tokenizer.
    pub tokenizer: Digest,
    /// Digest of the chat template.
    pub template: Digest,
}

impl ModelId {
    /// The digest that stands for the model in a stage's key; its name is not part of it.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&(self.weights, self.tokenizer, self.template))
    }
}

/// What a model can do: probed when it is opened, never assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Can it continue a prompt?
    pub generate: bool,
    /// Can it give the log-probabilities of a given continuation?
    pub loglikelihood: bool,
    /// The most tokens of prompt and continuation together.
    pub context: u32,
    /// Does the same request always give the same bytes?
    pub deterministic: bool,
}

/// Why a model did not answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The prompt and its continuation do not fit.
    #[error("`{model}`: expected at most {limit} tokens of prompt and continuation, got {needed}")]
    ContextExceeded {
        /// The model's name.
        model: String,
        /// Its context.
        limit: u32,
        /// What was asked for.
        needed: u64,
    },
    /// The model lacks a capability.
    #[error("`{model}` can't {what}")]
    Unsupported {
        /// The model's name.
        model: String,
        /// The missing capability, as a verb phrase.
        what: String,
    },
    /// The chat template could not be rendered.
    #[error("`{model}`: the chat template failed: {reason}")]
    Template {
        /// The model's name.
        model: String,
        /// What the template engine said.
        reason: String,
    },
    /// The text could not be tokenized or detokenized.
    #[error("`{model}`: the tokenizer failed: {reason}")]
    Tokenizer {
        /// The model's name.
        model: String,
        /// What the tokenizer said.
        reason: String,
    },
    /// A log-probability was not a finite number at most 0.
    #[error("`{model}`: expected finite log-probabilities, got {given} at token {index}")]
    NotFinite {
        /// The model's name.
        model: String,
        /// The value.
        given: String,
        /// Its place in the continuation.
        index: usize,
    },
    /// An empty continuation has no likelihood.
    #[error("`{model}`: expected a continuation of at least one token, got `{continuation}`")]
    EmptyContinuation {
        /// The model's name.
        model: String,
        /// The text that was given.
        continuation: String,
    },
    /// The model's thread or server is gone.
    #[error("`{model}` stopped answering: {reason}")]
    Gone {
        /// The model's name.
        model: String,
        /// What is known.
        reason: String,
    },
    /// A server refused the credentials, or wants some.
    #[error("`{model}`: expected credentials that the server accepts, got a refusal: {reason}")]
    Denied {
        /// The model's name.
        model: String,
        /// Where the key is taken from, and what the server said. Never the key.
        reason: String,
    },
    /// A server's reply can't be trusted: it contradicts itself, lacks what was asked for, or is of another shape.
    #[error("`{model}`: expected {expected}, got {given}")]
    Reply {
        /// The model's name.
        model: String,
        /// What the reply should hold.
        expected: String,
        /// What it holds.
        given: String,
    },
    /// A server went on with another model than the one that was opened.
    #[error("`{model}`: expected the server to go on with {expected}, got {given}")]
    Changed {
        /// The model's name.
        model: String,
        /// What was opened.
        expected: String,
        /// What answers now.
        given: String,
    },
    /// There was no answer within the request's time.
    #[error("`{model}`: expected an answer within {seconds} s, got none")]
    Overdue {
        /// The model's name.
        model: String,
        /// The time that the request had.
        seconds: f64,
    },
    /// The journal could not be read or written.
    #[error("the journal at `{path}` failed: {reason}")]
    Journal {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// The continuations that stand for the labels of a process reward model's head, by the label's number. A model with such a head in
/// place of a vocabulary writes nothing, and can score these two alone: its answer is the log-probability of the label at the prompt's
/// last token.
pub const REWARD_LABELS: [&str; 2] = ["wrong", "right"];

/// What a model with a reward head says when it is asked to write, as [`ModelError::Unsupported`].
pub const REWARDS_ONLY: &str = "generate: it has a reward head in place of a vocabulary";

/// The number of the label that a continuation is.
///
/// # Errors
/// What [`ModelError::Unsupported`] says of any other continuation.
pub fn reward_label(continuation: &str) -> Result<u32, String> {
    let label = REWARD_LABELS.iter().position(|label| *label == continuation);
    label.map(|label| label as u32).ok_or_else(|| {
        let [wrong, right] = REWARD_LABELS;
        format!(
            "score anything but `{right}` and `{wrong}`, the labels of its reward head: as a scorer it takes `prompt = \"qwen-prm.v1\"`"
        )
    })
}

/// A model, whatever its role. A teacher, a meta-prover, a judge and a student under test are all uses
/// of this trait; a recipe gives a model its role.
pub trait LanguageModel: Send + Sync {
    /// The model's content-derived name.
    fn identity(&self) -> &ModelId;

    /// What it can do, as probed when it was opened.
    fn capabilities(&self) -> Capabilities;

    /// Prompt tokens that it has found in a prefix cache since it was opened. Absent where it does not say: that is
    /// not zero.
    fn cached_tokens(&self) -> Option<u64> {
        None
    }

    /// Continues a prompt.
    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>>;

    /// Gives the log-probability of each token of a continuation, in order.
    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>>;
}
