//! The kinds of server, and what all of them are asked for.

mod completions;
mod llama_cpp;
mod openai;
mod sglang;
mod vllm;

use cord_core::Sampling;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dispatch::{Caller, Line};
use crate::{ClientError, ServedIdentity};

/// The kind of server. They share OpenAI's paths and differ in everything that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// vLLM.
    #[serde(rename = "vllm")]
    Vllm,
    /// SGLang.
    #[serde(rename = "sglang")]
    Sglang,
    /// llama.cpp's `llama-server`.
    #[serde(rename = "llama-cpp")]
    LlamaCpp,
    /// OpenAI's completions and nothing more.
    #[serde(rename = "openai")]
    OpenAi,
}

impl Dialect {
    /// Every dialect with its word in recipes.
    pub const ALL: [(&str, Self); 4] =
        [("vllm", Self::Vllm), ("sglang", Self::Sglang), ("llama-cpp", Self::LlamaCpp), ("openai", Self::OpenAi)];
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = Self::ALL.iter().find(|(_, dialect)| dialect == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}

impl std::str::FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, dialect)| *dialect)
            .ok_or_else(|| format!("expected one of `vllm`, `sglang`, `llama-cpp` and `openai`, got `{text}`"))
    }
}

/// How log-probabilities of a given continuation are asked for: each dialect's ways, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScoreForm {
    /// vLLM: one drawn token after each prefix, with the log-probabilities of chosen ids beside it. Uses the prefix cache.
    SelectedIds,
    /// vLLM: one request a token, each allowed that token only. Uses the prefix cache.
    AllowedIds,
    /// vLLM: those of the whole prompt. Skips the prefix cache.
    PromptLogprobs,
    /// SGLang: those of the input from the continuation on. Uses the prefix cache.
    InputLogprobs,
    /// llama.cpp: one request a token, each biased to that token; the raw value is reported. Uses the prefix cache.
    BiasedIds,
    /// OpenAI's `echo`.
    Echo,
    /// vLLM, of a process reward model: its head's labels at the prompt's last token. A continuation is a label's number.
    Pooled,
}

impl std::fmt::Display for ScoreForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SelectedIds => "`logprob_token_ids`",
            Self::AllowedIds => "`allowed_token_ids`",
            Self::PromptLogprobs => "`prompt_logprobs`",
            Self::InputLogprobs => "`logprob_start_len`",
            Self::BiasedIds => "`logit_bias`",
            Self::Echo => "`echo` with `logprobs`",
            Self::Pooled => "`/pooling`",
        })
    }
}

/// A continuation to draw.
#[derive(Clone, Debug)]
pub(crate) struct Draw<'a> {
    pub(crate) prompt: &'a [u32],
    pub(crate) stop: &'a [String],
    pub(crate) eos: &'a [u32],
    pub(crate) max_tokens: u32,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u32,
    /// Log-probabilities of this many most likely tokens are wanted at the first place; 0 for none.
    pub(crate) top: u32,
    /// A token to draw whatever the model thinks.
    pub(crate) force: Option<u32>,
}

/// A continuation that was drawn, as its server tells it.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// Who drew it.
    pub(crate) endpoint: String,
    pub(crate) ending: Ending,
    /// The drawn tokens; nothing where the server gives only text.
    pub(crate) tokens: Option<Vec<u32>>,
    /// Their log-probabilities, as many as there are tokens; nothing where the server does not give one for each.
    pub(crate) logprobs: Option<Vec<f64>>,
    /// The text as the server cut it.
    pub(crate) text: String,
    /// How many tokens were drawn, by the server's count.
    pub(crate) count: u64,
    /// The most likely tokens at the first place.
    pub(crate) top: Vec<f64>,
}

/// Why the server ended a continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Eos,
    Delimiter(String),
    Length,
    /// A stop string or the end of the turn; the server does not say which.
    EosOrDelimiter,
}

/// What a server's tokenizer makes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tokenized {
    Ids(Vec<u32>),
    /// The number of tokens, a BOS of the server's own maybe among them.
    Count(u64),
}

impl Dialect {
    /// What the server says it serves.
    pub(crate) async fn identity(self, line: &Line<'_>, model: Option<&str>) -> Result<ServedIdentity, ClientError> {
        match self {
            Self::Vllm => vllm::identity(line, model).await,
            Self::Sglang => sglang::identity(line, model).await,
            Self::LlamaCpp => llama_cpp::identity(line, model).await,
            Self::OpenAi => openai::identity(line, model).await,
        }
    }

    pub(crate) async fn tokenize(self, line: &Line<'_>, model: &str, text: &str) -> Result<Tokenized, ClientError> {
        match self {
            Self::Vllm | Self::Sglang => match completions::tokenize(line, model, text).await? {
                Some(ids) => Ok(Tokenized::Ids(ids)),
                None => openai::count(line, model, text).await,
            },
            Self::LlamaCpp => llama_cpp::tokenize(line, text).await,
            Self::OpenAi => openai::count(line, model, text).await,
        }
    }

    pub(crate) async fn draw(self, caller: &Caller, model: &str, draw: &Draw<'_>) -> Result<Drawn, ClientError> {
        match self {
            Self::Vllm => vllm::draw(caller, model, draw).await,
            Self::Sglang => sglang::draw(caller, draw).await,
            Self::LlamaCpp => llama_cpp::draw(caller, draw).await,
            Self::OpenAi => openai::draw(caller, model, draw).await,
        }
    }

    pub(crate) fn score_forms(self) -> &'static [ScoreForm] {
        match self {
            Self::Vllm => &[ScoreForm::SelectedIds, ScoreForm::AllowedIds, ScoreForm::PromptLogprobs],
            Self::Sglang => &[ScoreForm::InputLogprobs],
            Self::LlamaCpp => &[ScoreForm::BiasedIds],
            Self::OpenAi => &[ScoreForm::Echo],
        }
    }
}

impl ScoreForm {
    /// The log-probability of each of the continuation's tokens, in nats, each checked.
    pub(crate) async fn score(
        self,
        caller: &Caller,
        model: &str,
        prompt: &[u32],
        continuation: &[u32],
    ) -> Result<Vec<f64>, ClientError> {
        match self {
            Self::SelectedIds => vllm::score_selected(caller, model, prompt, continuation).await,
            Self::AllowedIds => vllm::score_allowed(caller, model, prompt, continuation).await,
            Self::PromptLogprobs => vllm::score_prompt(caller, model, prompt, continuation).await,
            Self::InputLogprobs => sglang::score(caller, prompt, continuation).await,
            Self::BiasedIds => llama_cpp::score(caller, prompt, continuation).await,
            Self::Echo => openai::score(caller, model, prompt, continuation).await,
            Self::Pooled => vllm::score_pooled(caller, model, prompt, continuation).await,
        }
    }
}

/// The kind of server: by the owner that it names in its list of models, else by the paths that only one kind has.
pub(crate) async fn detect(line: &Line<'_>) -> Result<Dialect, ClientError> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Owned>,
    }
    #[derive(Deserialize)]
    struct Owned {
        #[serde(default)]
        owned_by: Option<String>,
    }
    // A path that only one kind has may be refused in any way by the others; that is not a fault of theirs.
    let refused = |fault: &ClientError| matches!(fault, ClientError::Rejected { .. } | ClientError::Reply { .. });
    let list = match line.get::<List>("/v1/models").await {
        Ok(list) => list,
        Err(fault) if refused(&fault) => None,
        Err(fault) => return Err(fault),
    };
    let owners = list.as_ref().map_or(&[][..], |list| &list.data).iter().filter_map(|model| model.owned_by.as_deref());
    for owner in owners {
        match owner {
            "vllm" => return Ok(Dialect::Vllm),
            "sglang" => return Ok(Dialect::Sglang),
            "llamacpp" => return Ok(Dialect::LlamaCpp),
            _ => {}
        }
    }
    let own = [
        ("/props", Dialect::LlamaCpp),
        ("/model_info", Dialect::Sglang),
        ("/get_model_info", Dialect::Sglang),
        ("/version", Dialect::Vllm),
    ];
    for (path, dialect) in own {
        match line.get::<Value>(path).await {
            Ok(Some(_)) => return Ok(dialect),
            Ok(None) => {}
            Err(fault) if refused(&fault) || matches!(fault, ClientError::Malformed { .. }) => {}
            Err(fault) => return Err(fault),
        }
    }
    if list.is_some() {
        return Ok(Dialect::OpenAi);
    }
    Err(ClientError::Undetected {
        endpoint: line.endpoint.to_owned(),
        tried: "none of /v1/models, /props, /model_info and /version answered".to_owned(),
    })
}
