//! Everything that can go wrong between us and a server.

use std::time::Duration;

use cord_core::ModelError;

use crate::Dialect;

/// Why a server could not be opened, or a request not be answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// The settings have faults.
    #[error("{}", faults.join("; "))]
    Settings {
        /// Every fault.
        faults: Vec<String>,
    },
    /// The API key could not be read.
    #[error("expected an API key in the environment variable `{variable}`, got {given}")]
    Key {
        /// The variable's name.
        variable: String,
        /// What is wrong; never the key.
        given: &'static str,
    },
    /// The system gave no thread, socket or certificate store.
    #[error("the network can't be used: {reason}")]
    Network {
        /// What the system said.
        reason: String,
    },
    /// No connection, or one that broke.
    #[error("`{endpoint}`: expected an answer, but {reason}")]
    Broken {
        /// The endpoint.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("`{endpoint}`: expected an answer within {} s, got none", after.as_secs_f64())]
    Overdue {
        /// The endpoint.
        endpoint: String,
        /// The time that the try had.
        after: Duration,
    },
    /// The server has too much to do, or failed.
    #[error("`{endpoint}`: expected an answer, got HTTP {status}: {message}")]
    Failed {
        /// The endpoint.
        endpoint: String,
        /// 408, 425, 429 or 5xx.
        status: u16,
        /// What the server said.
        message: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server refuses the request itself; asking again can't help.
    #[error("`{endpoint}`: the server refused the request with HTTP {status}: {message}")]
    Rejected {
        /// The endpoint.
        endpoint: String,
        /// 4xx.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The credentials are missing or wrong.
    #[error("`{endpoint}`: HTTP {status}; {}", credentials(variable.as_deref()))]
    Denied {
        /// The endpoint.
        endpoint: String,
        /// 401 or 403.
        status: u16,
        /// The variable that the key was read from, if any.
        variable: Option<String>,
    },
    /// The prompt and its continuation do not fit.
    #[error("expected at most {limit} tokens of prompt and continuation, got {needed}")]
    ContextExceeded {
        /// The server's context.
        limit: u32,
        /// What was asked for.
        needed: u64,
    },
    /// The body is not whole JSON.
    #[error("`{endpoint}`: expected JSON, got {given}")]
    Malformed {
        /// The endpoint.
        endpoint: String,
        /// What the parser said.
        given: String,
    },
    /// The reply is JSON, but not what it must be.
    #[error("`{endpoint}`: expected {expected}, got {given}")]
    Reply {
        /// The endpoint.
        endpoint: String,
        /// What the reply should hold.
        expected: String,
        /// What it holds.
        given: String,
    },
    /// A log-probability is not one.
    #[error("`{endpoint}`: expected a finite log-probability of at most 0, got {given} at token {index}")]
    Logprob {
        /// The endpoint.
        endpoint: String,
        /// The value, or that there is none.
        given: String,
        /// The token's place in the continuation.
        index: usize,
    },
    /// Another model answers than the one that was opened.
    #[error("`{endpoint}`: expected {expected}, got {given}")]
    Changed {
        /// The endpoint.
        endpoint: String,
        /// What was opened.
        expected: String,
        /// What answers now.
        given: String,
    },
    /// A server of no known kind.
    #[error(
        "`{endpoint}`: expected a server of vLLM, SGLang, llama.cpp or the OpenAI kind: {tried}; name it with `dialect`"
    )]
    Undetected {
        /// The endpoint.
        endpoint: String,
        /// What each kind's own path answered.
        tried: String,
    },
    /// The server was probed and can't be trusted.
    #[error("`{endpoint}` ({dialect}): expected {expected}, got {given}; {hint}")]
    Untrusted {
        /// The endpoint.
        endpoint: String,
        /// Its dialect.
        dialect: Dialect,
        /// What must hold.
        expected: String,
        /// What the probe saw.
        given: String,
        /// What to start the server with instead.
        hint: String,
    },
    /// The model lacks a capability.
    #[error("the server can't {what}")]
    Unsupported {
        /// The missing capability, as a verb phrase.
        what: String,
    },
    /// Text could not become tokens, or tokens text.
    #[error("the {part} failed: {reason}")]
    Text {
        /// Which part of the rendering.
        part: TextPart,
        /// What it said.
        reason: String,
    },
    /// An empty continuation has no likelihood.
    #[error("expected a continuation of at least one token, got `{continuation}`")]
    EmptyContinuation {
        /// The text that was given.
        continuation: String,
    },
    /// Every try that the request had failed.
    #[error("gave up after {tries} tries; the last: {last}")]
    GaveUp {
        /// How often the request was sent.
        tries: u32,
        /// The last try's fault.
        last: Box<ClientError>,
    },
}

/// The part of a rendering that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPart {
    /// The chat template.
    Template,
    /// The tokenizer.
    Tokenizer,
}

impl std::fmt::Display for TextPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Template => "chat template",
            Self::Tokenizer => "tokenizer",
        })
    }
}

fn credentials(variable: Option<&str>) -> String {
    match variable {
        Some(variable) => format!("the server refused the key of the environment variable `{variable}`"),
        None => "the server wants a key; name its environment variable with `api-key-env`".to_owned(),
    }
}

impl ClientError {
    pub(crate) fn broken(endpoint: &str, reason: impl std::fmt::Display) -> Self {
        Self::Broken { endpoint: endpoint.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn reply(endpoint: &str, expected: impl Into<String>, given: impl Into<String>) -> Self {
        Self::Reply { endpoint: endpoint.to_owned(), expected: expected.into(), given: given.into() }
    }

    pub(crate) fn text(error: &cord_text::TextError) -> Self {
        use cord_text::TextError;
        let part = match error {
            TextError::NoTemplate | TextError::TemplateSyntax { .. } | TextError::TemplateRender { .. } => {
                TextPart::Template
            }
            _ => TextPart::Tokenizer,
        };
        Self::Text { part, reason: error.to_string() }
    }

    /// May the same request be answered when it is sent again?
    ///
    /// A reply of a wrong shape is a property of the server, not of the moment, and is not asked for again. A body
    /// that is cut or garbled is the moment's.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Overdue { .. } | Self::Failed { .. } | Self::Malformed { .. })
    }

    /// Does the fault speak against the endpoint's health? A server that asks for patience is well.
    pub(crate) fn is_ill_health(&self) -> bool {
        match self {
            Self::Failed { status, .. } => *status >= 500,
            other => other.is_transient(),
        }
    }

    /// The fault as the fault of a model.
    pub fn into_model_error(self, name: &str) -> ModelError {
        let model = name.to_owned();
        let said = self.to_string();
        match self {
            Self::ContextExceeded { limit, needed } => ModelError::ContextExceeded { model, limit, needed },
            Self::Logprob { given, index, .. } => ModelError::NotFinite { model, given, index },
            Self::Unsupported { what } => ModelError::Unsupported { model, what },
            Self::EmptyContinuation { continuation } => ModelError::EmptyContinuation { model, continuation },
            Self::Text { part: TextPart::Template, reason } => ModelError::Template { model, reason },
            Self::Text { part: TextPart::Tokenizer, reason } => ModelError::Tokenizer { model, reason },
            Self::Denied { .. } | Self::Key { .. } => ModelError::Denied { model, reason: said },
            Self::Changed { expected, given, .. } => ModelError::Changed { model, expected, given },
            Self::Reply { endpoint, expected, given } => {
                ModelError::Reply { model, expected, given: format!("{given} from `{endpoint}`") }
            }
            Self::Rejected { .. } => {
                ModelError::Reply { model, expected: "a server that takes the request".to_owned(), given: said }
            }
            Self::Untrusted { .. } | Self::Malformed { .. } => {
                ModelError::Reply { model, expected: "a server that can be trusted".to_owned(), given: said }
            }
            Self::Overdue { after, .. } => ModelError::Overdue { model, seconds: after.as_secs_f64() },
            Self::GaveUp { last, .. } if matches!(*last, Self::Malformed { .. }) => ModelError::Reply {
                model,
                expected: "whole replies".to_owned(),
                given: format!("garbled ones: {said}"),
            },
            Self::GaveUp { .. }
            | Self::Broken { .. }
            | Self::Failed { .. }
            | Self::Undetected { .. }
            | Self::Network { .. }
            | Self::Settings { .. } => ModelError::Gone { model, reason: said },
        }
    }
}
