//! What a judge is made of: anything that answers a rubric's question in words.

use std::collections::BTreeMap;
use std::sync::Arc;

use cord_core::{
    BoxFuture, ChatFinish, ChatModel, ChatRequest, Digest, Finish, GenerateRequest, LanguageModel, Opening, Prompt,
    Sampling, Seed,
};
use serde::{Deserialize, Serialize};

use super::rubric::Rubric;

/// Why a judge's word does not count. It is never a verdict of another kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Unscored {
    /// The judge did not answer.
    Failed {
        /// What it, or the way to it, said.
        reason: String,
    },
    /// The answer ran out of tokens.
    Truncated,
    /// The answer holds no verdict, or more than one.
    Unreadable {
        /// The end of the answer.
        said: String,
    },
    /// No verdict has more than half of the panel's votes.
    NoMajority,
}

impl std::fmt::Display for Unscored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed { reason } => write!(f, "the judge failed: {reason}"),
            Self::Truncated => write!(f, "the judge's answer ran out of tokens"),
            Self::Unreadable { said } => write!(f, "expected a verdict at the end, got `{said}`"),
            Self::NoMajority => write!(f, "no verdict has a majority"),
        }
    }
}

/// One question to a judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The rubric.
    pub rubric: &'a Rubric,
    /// What stands in its placeholders, by name.
    pub fields: BTreeMap<&'static str, &'a str>,
    /// Draws, where the judge draws.
    pub seed: Seed,
}

impl Question<'_> {
    /// Names the question to one judge: the same name means that the same answer can be used again.
    pub fn digest(&self, judge: Digest) -> Digest {
        Digest::of_json(&("cord-judge", judge, self.rubric.digest(), &self.fields, self.seed))
    }
}

/// Anything that answers a question in words; what it says is read by the rubric.
pub trait Voice: Send + Sync {
    /// What people call it.
    fn name(&self) -> &str;

    /// Names it by content, with its settings: two judges of one digest give one answer.
    fn digest(&self) -> Digest;

    /// Answers.
    fn answer<'a>(&'a self, question: &'a Question<'a>) -> BoxFuture<'a, Result<String, Unscored>>;
}

/// A model with weights or log-probabilities at hand, in process or served.
pub struct LanguageVoice {
    model: Arc<dyn LanguageModel>,
    sampling: Sampling,
    max_tokens: u32,
    opening: Opening,
}

impl LanguageVoice {
    /// A judge that answers in at most `max_tokens`.
    pub fn new(model: Arc<dyn LanguageModel>, sampling: Sampling, max_tokens: u32, opening: Opening) -> Self {
        Self { model, sampling, max_tokens, opening }
    }
}

impl Voice for LanguageVoice {
    fn name(&self) -> &str {
        &self.model.identity().name
    }

    fn digest(&self) -> Digest {
        Digest::of_json(&(self.model.identity().digest(), self.sampling, self.max_tokens, self.opening))
    }

    fn answer<'a>(&'a self, question: &'a Question<'a>) -> BoxFuture<'a, Result<String, Unscored>> {
        Box::pin(async move {
            let messages = question.rubric.messages(&question.fields);
            let request = GenerateRequest {
                prompt: Prompt { messages, opening: self.opening, prefix: String::new() },
                stop: Vec::new(),
                max_tokens: self.max_tokens,
                sampling: self.sampling,
                seed: question.seed,
            };
            match self.model.generate(request).await {
                Ok(generation) if generation.finish == Finish::Length => Err(Unscored::Truncated),
                // A judge that opens inside its reasoning and never leaves it has not spoken.
                Ok(generation) if self.opening == Opening::Think && !generation.text.contains("</think>") => {
                    Err(Unscored::Unreadable { said: "a reasoning block that never closes".to_owned() })
                }
                Ok(generation) => Ok(generation.text),
                Err(error) => Err(Unscored::Failed { reason: error.to_string() }),
            }
        })
    }
}

/// A model that is known by its answers only.
pub struct ChatVoice {
    model: Arc<dyn ChatModel>,
    sampling: Sampling,
    max_tokens: u32,
}

impl ChatVoice {
    /// A judge that answers in at most `max_tokens`.
    pub fn new(model: Arc<dyn ChatModel>, sampling: Sampling, max_tokens: u32) -> Self {
        Self { model, sampling, max_tokens }
    }
}

impl Voice for ChatVoice {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn digest(&self) -> Digest {
        Digest::of_json(&(self.model.name(), self.sampling, self.max_tokens))
    }

    fn answer<'a>(&'a self, question: &'a Question<'a>) -> BoxFuture<'a, Result<String, Unscored>> {
        Box::pin(async move {
            let request = ChatRequest {
                messages: question.rubric.messages(&question.fields),
                max_tokens: self.max_tokens,
                sampling: self.sampling,
                seed: question.seed,
            };
            match self.model.chat(request).await {
                Ok(reply) if reply.finish == ChatFinish::Length => Err(Unscored::Truncated),
                Ok(reply) => Ok(reply.text),
                Err(error) => Err(Unscored::Failed { reason: error.to_string() }),
            }
        })
    }
}
