//! Models that are known by their answers only: judges behind an API, with neither weights nor tokenizer at hand.

use serde::{Deserialize, Serialize};

use crate::{BoxFuture, Message, ModelError, Sampling, Seed, Usage};

/// A request to answer a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The turns so far; the server's own template renders them.
    pub messages: Vec<Message>,
    /// The most tokens of the answer.
    pub max_tokens: u32,
    /// How to draw.
    pub sampling: Sampling,
    /// The random stream of this one request. Few servers repeat an answer by it.
    pub seed: Seed,
}

/// Why an answer ended. `Length` is never silent data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChatFinish {
    /// The model ended its turn.
    Stop,
    /// The budget ran out.
    Length,
}

/// The answer to a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// What the model said; reasoning that the server keeps apart is not part of it.
    pub text: String,
    /// Why it ended.
    pub finish: ChatFinish,
    /// What it cost, as the server counts: its tokenizer is not at hand.
    pub usage: Usage,
}

/// A model that answers conversations. Its prompts can't be continued and its log-probabilities can't be known, so
/// it can be a judge and never a teacher or a meta-prover.
pub trait ChatModel: Send + Sync {
    /// The model's name as the server states it, with its version where there is one. Two servers of one name are
    /// taken for the same model.
    fn name(&self) -> &str;

    /// Answers a conversation.
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatReply, ModelError>>;
}
