//! Judges behind `/v1/chat/completions`.

use std::sync::{Arc, Mutex, PoisonError};

use cord_core::{
    BoxFuture, ChatFinish, ChatModel, ChatReply, ChatRequest, Digest, Message, ModelError, Sampling, Usage,
};
use serde::{Deserialize, Serialize};

use crate::dispatch::{Caller, Dispatch, Purpose, Reply};
use crate::{ApiKey, ClientError, Dialect, Network, ServedStats, ServerSettings};

const PATH: &str = "/v1/chat/completions";

/// A model of which only the answers are known.
///
/// [`ServerSettings::model`] must name it. The server's template renders the conversation, and its own count of tokens is
/// what is reported.
pub struct ServedChat {
    network: Network,
    name: String,
    chat: Arc<Chat>,
}

struct Chat {
    dispatch: Arc<Dispatch>,
    dialect: Dialect,
    model: String,
    /// What replies name as their model: often the asked one with a date. Fixed by the first.
    named: Mutex<Option<String>>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message],
    /// OpenAI's newer models refuse `max_tokens`, others do not know its successor.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    temperature: f64,
    top_p: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f64>,
    presence_penalty: f64,
    frequency_penalty: f64,
    seed: u32,
    n: u32,
    stream: bool,
}

#[derive(Deserialize)]
struct Completion {
    model: String,
    choices: Vec<Choice>,
    usage: Counts,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl ServedChat {
    /// Opens a judge: asks it for one short answer, which shows that its key, name and settings are taken, and which
    /// version of the model answers.
    ///
    /// # Errors
    /// [`ClientError::Settings`] where no model is named; [`ClientError::Denied`] names the variable of the key.
    pub async fn open(network: &Network, settings: ServerSettings) -> Result<Self, ClientError> {
        let key = settings.api_key_env.as_deref().map(ApiKey::from_env).transpose()?;
        let Some(model) = settings.model.clone() else {
            let faults = vec!["expected the name of a model as `model`, got nothing".to_owned()];
            return Err(ClientError::Settings { faults });
        };
        let dialect = settings.dialect.unwrap_or(Dialect::OpenAi);
        let dispatch = Arc::new(Dispatch::new(settings, key)?);
        let chat = Arc::new(Chat { dispatch, dialect, model, named: Mutex::default() });
        for index in 0..chat.dispatch.endpoints() {
            let chat = chat.clone();
            let request = ChatRequest {
                messages: vec![Message::user("Say yes.")],
                max_tokens: 16,
                sampling: Sampling { temperature: 1.0, top_p: 1.0, top_k: 0 },
                seed: cord_core::Seed::root(0),
            };
            network.run(async move { chat.answer(&request, Some(index)).await }).await?;
        }
        let named = lock(&chat.named).clone().unwrap_or_default();
        let name = if named == chat.model { named } else { format!("{} ({named})", chat.model) };
        Ok(Self { network: network.clone(), name, chat })
    }

    /// What the requests really cost so far.
    pub fn stats(&self) -> ServedStats {
        self.chat.dispatch.stats()
    }
}

impl ChatModel for ServedChat {
    fn name(&self) -> &str {
        &self.name
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatReply, ModelError>> {
        Box::pin(async move {
            let chat = self.chat.clone();
            let answer = self.network.run(async move { chat.answer(&request, None).await }).await;
            answer.map_err(|fault| fault.into_model_error(&self.name))
        })
    }
}

impl Chat {
    async fn answer(&self, request: &ChatRequest, pin: Option<usize>) -> Result<ChatReply, ClientError> {
        let plain = self.dialect == Dialect::OpenAi;
        if plain && request.sampling.top_k > 0 {
            return Err(ClientError::Unsupported { what: "sample by `top-k`: OpenAI's API has no such field".into() });
        }
        let top_k = if request.sampling.top_k == 0 { -1 } else { i64::from(request.sampling.top_k) };
        let body = Request {
            model: &self.model,
            messages: &request.messages,
            max_tokens: (!plain).then_some(request.max_tokens),
            max_completion_tokens: plain.then_some(request.max_tokens),
            temperature: request.sampling.temperature,
            top_p: request.sampling.top_p,
            top_k: (!plain).then_some(top_k),
            min_p: (!plain).then_some(0.0),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: request.seed.named("server").stream().below(u64::from(u32::MAX)) as u32,
            n: 1,
            stream: false,
        };
        let caller = Caller {
            dispatch: self.dispatch.clone(),
            purpose: if pin.is_some() { Purpose::Probe } else { Purpose::Generate },
            prefix: Digest::of_json(&request.messages),
            needed: u64::from(request.max_tokens),
            pin,
        };
        let reply: Reply<Completion> = caller.ask(PATH, &body).await?;
        let endpoint = reply.endpoint();
        self.same_version(endpoint, &reply.value.model)?;
        let [choice] = &reply.value.choices[..] else {
            return Err(ClientError::reply(endpoint, "one choice", format!("{}", reply.value.choices.len())));
        };
        let finish = match choice.finish_reason.as_deref() {
            Some("stop") => ChatFinish::Stop,
            Some("length") => ChatFinish::Length,
            other => {
                return Err(ClientError::reply(endpoint, "a finish reason `stop` or `length`", format!("{other:?}")));
            }
        };
        let text = match (&choice.message.content, &choice.message.refusal, finish) {
            (Some(text), ..) => text.clone(),
            (None, Some(refusal), _) => {
                return Err(ClientError::reply(endpoint, "an answer", format!("the refusal `{refusal}`")));
            }
            // All of the budget went into reasoning that is kept apart.
            (None, None, ChatFinish::Length) => String::new(),
            (None, None, ChatFinish::Stop) => return Err(ClientError::reply(endpoint, "an answer", "none")),
        };
        let Counts { prompt_tokens, completion_tokens } = reply.value.usage;
        let usage = Usage { prompt_tokens, generated_tokens: completion_tokens, scored_tokens: 0 };
        Ok(ChatReply { text, finish, usage })
    }

    fn same_version(&self, endpoint: &str, given: &str) -> Result<(), ClientError> {
        let mut named = lock(&self.named);
        match &*named {
            None => *named = Some(given.to_owned()),
            Some(known) if known == given => {}
            Some(known) => {
                return Err(ClientError::Changed {
                    endpoint: endpoint.to_owned(),
                    expected: format!("`{known}`"),
                    given: format!("a reply of `{given}`"),
                });
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
