//! SGLang, by its own `/generate`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::completions::{Card, card, same_count};
use super::{Dialect, Draw, Drawn, Ending};
use crate::dispatch::{Caller, Line, Reply};
use crate::json::RawLogprob;
use crate::stats::Physical;
use crate::{ClientError, ServedIdentity};

const PATH: &str = "/generate";

#[derive(Serialize)]
struct Request<'a> {
    input_ids: &'a [u32],
    sampling_params: Params<'a>,
    stream: bool,
    return_logprob: bool,
    /// −1 for the drawn tokens only.
    logprob_start_len: i64,
    top_logprobs_num: u32,
    return_text_in_logprobs: bool,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the server's own fields")]
struct Params<'a> {
    max_new_tokens: u32,
    temperature: f64,
    top_p: f64,
    top_k: i64,
    min_p: f64,
    presence_penalty: f64,
    frequency_penalty: f64,
    repetition_penalty: f64,
    sampling_seed: u32,
    stop: &'a [String],
    stop_token_ids: &'a [u32],
    n: u32,
    ignore_eos: bool,
    min_new_tokens: u32,
    no_stop_trim: bool,
    skip_special_tokens: bool,
    spaces_between_special_tokens: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    logit_bias: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Generated {
    text: String,
    meta_info: Meta,
}

#[derive(Deserialize)]
struct Meta {
    finish_reason: Option<FinishReason>,
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    input_token_logprobs: Option<Vec<Entry>>,
    #[serde(default)]
    output_token_logprobs: Option<Vec<Entry>>,
    #[serde(default)]
    output_top_logprobs: Option<Vec<Option<Vec<Entry>>>>,
}

/// A log-probability, its token, the token's text or null.
#[derive(Deserialize)]
struct Entry(RawLogprob, u32, #[serde(default)] serde::de::IgnoredAny);

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum FinishReason {
    Stop {
        matched: Matched,
    },
    Length {},
    Abort {
        #[serde(default)]
        message: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Matched {
    Token(#[expect(dead_code, reason = "that it is a token is all that matters")] u32),
    Text(String),
}

pub(super) async fn identity(line: &Line<'_>, model: Option<&str>) -> Result<ServedIdentity, ClientError> {
    #[derive(Deserialize)]
    struct ModelInfo {
        model_path: String,
        #[serde(default)]
        weight_version: Option<String>,
    }
    #[derive(Deserialize)]
    struct ServerInfo {
        #[serde(default)]
        version: Option<String>,
        #[serde(default)]
        dtype: Option<String>,
        #[serde(default)]
        quantization: Option<String>,
        #[serde(default)]
        revision: Option<String>,
        #[serde(default)]
        context_length: Option<u32>,
    }
    let Card { id, root, max_model_len, .. } = card(line, model).await?;
    let info = match line.get::<ModelInfo>("/model_info").await? {
        Some(info) => Some(info),
        None => line.get("/get_model_info").await?,
    };
    let Some(info) = info else {
        return Err(ClientError::reply(line.endpoint, "an answer at `/model_info` or `/get_model_info`", "none"));
    };
    let server = match line.get::<ServerInfo>("/server_info").await? {
        Some(server) => Some(server),
        None => line.get("/get_server_info").await?,
    };
    let context = max_model_len.or(server.as_ref().and_then(|server| server.context_length));
    let identity = ServedIdentity::new(Dialect::Sglang, id, context)
        .fact("root", root)
        .fact("model_path", Some(info.model_path))
        .fact("weight_version", info.weight_version);
    Ok(match server {
        None => identity,
        Some(server) => identity
            .fact("version", server.version)
            .fact("dtype", server.dtype)
            .fact("quantization", server.quantization)
            .fact("revision", server.revision),
    })
}

fn physical(meta: &Meta) -> Physical {
    Physical {
        cached: meta.cached_tokens.unwrap_or(0),
        evaluated: meta.cached_tokens.map_or(0, |cached| meta.prompt_tokens.saturating_sub(cached)),
        generated: meta.completion_tokens,
    }
}

pub(super) async fn draw(caller: &Caller, draw: &Draw<'_>) -> Result<Drawn, ClientError> {
    let request = Request {
        input_ids: draw.prompt,
        sampling_params: Params {
            max_new_tokens: draw.max_tokens,
            temperature: draw.sampling.temperature,
            top_p: draw.sampling.top_p,
            top_k: if draw.sampling.top_k == 0 { -1 } else { i64::from(draw.sampling.top_k) },
            sampling_seed: draw.seed,
            stop: draw.stop,
            stop_token_ids: draw.eos,
            logit_bias: draw.force.into_iter().map(|id| (id.to_string(), 100.0)).collect(),
            ..Params::greedy()
        },
        top_logprobs_num: draw.top,
        ..Request::plain()
    };
    let reply: Reply<Generated> = caller.ask(PATH, &request).await?;
    let endpoint = reply.endpoint();
    let Generated { text, meta_info: meta } = &reply.value;
    same_count(endpoint, "prompt tokens read", draw.prompt.len() as u64, meta.prompt_tokens)?;
    reply.spent(physical(meta));
    let ending = match &meta.finish_reason {
        Some(FinishReason::Length {}) => Ending::Length,
        Some(FinishReason::Stop { matched: Matched::Token(_) }) => Ending::Eos,
        Some(FinishReason::Stop { matched: Matched::Text(stop) }) => Ending::Delimiter(stop.clone()),
        Some(FinishReason::Abort { message }) => {
            let given = message.clone().unwrap_or_else(|| "an abort".to_owned());
            return Err(ClientError::broken(endpoint, format!("the server aborted the request: {given}")));
        }
        None => return Err(ClientError::reply(endpoint, "a finish reason", "none")),
    };
    let Some(entries) = &meta.output_token_logprobs else {
        return Err(ClientError::reply(endpoint, "`output_token_logprobs`", "none"));
    };
    same_count(endpoint, "drawn tokens", meta.completion_tokens, entries.len() as u64)?;
    let logprobs: Result<Vec<f64>, ClientError> =
        entries.iter().enumerate().map(|(index, entry)| entry.0.checked(endpoint, index)).collect();
    let first = meta.output_top_logprobs.as_ref().and_then(|top| top.first()?.as_ref());
    let top: Result<Vec<f64>, ClientError> =
        first.map_or(&[][..], Vec::as_slice).iter().map(|entry| entry.0.checked(endpoint, 0)).collect();
    Ok(Drawn {
        endpoint: endpoint.to_owned(),
        ending,
        count: entries.len() as u64,
        tokens: Some(entries.iter().map(|entry| entry.1).collect()),
        logprobs: Some(logprobs?),
        text: text.clone(),
        top: top?,
    })
}

/// The continuation's log-probabilities, read after what the prefix cache holds. The first entry has no value: it is the
/// prompt's last token.
pub(super) async fn score(caller: &Caller, prompt: &[u32], continuation: &[u32]) -> Result<Vec<f64>, ClientError> {
    let whole = [prompt, continuation].concat();
    let request = Request {
        input_ids: &whole,
        sampling_params: Params { max_new_tokens: 0, ..Params::greedy() },
        logprob_start_len: prompt.len() as i64 - 1,
        ..Request::plain()
    };
    let reply: Reply<Generated> = caller.ask(PATH, &request).await?;
    let endpoint = reply.endpoint();
    let meta = &reply.value.meta_info;
    same_count(endpoint, "prompt tokens read", whole.len() as u64, meta.prompt_tokens)?;
    reply.spent(physical(meta));
    let Some(entries) = &meta.input_token_logprobs else {
        return Err(ClientError::reply(endpoint, "`input_token_logprobs`", "none"));
    };
    let given: Vec<u32> = entries.iter().map(|entry| entry.1).collect();
    if given != whole[prompt.len() - 1..] {
        let expected = format!("the log-probabilities of the tokens {:?}", &whole[prompt.len() - 1..]);
        return Err(ClientError::reply(endpoint, expected, format!("those of {given:?}")));
    }
    entries[1..].iter().enumerate().map(|(index, entry)| entry.0.checked(endpoint, index)).collect()
}

impl Request<'_> {
    fn plain() -> Self {
        Self {
            input_ids: &[],
            sampling_params: Params::greedy(),
            stream: false,
            return_logprob: true,
            logprob_start_len: -1,
            top_logprobs_num: 0,
            return_text_in_logprobs: false,
        }
    }
}

impl Params<'_> {
    fn greedy() -> Self {
        Self {
            max_new_tokens: 1,
            temperature: 0.0,
            top_p: 1.0,
            top_k: -1,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            sampling_seed: 0,
            stop: &[],
            stop_token_ids: &[],
            n: 1,
            ignore_eos: false,
            min_new_tokens: 0,
            no_stop_trim: false,
            skip_special_tokens: false,
            spaces_between_special_tokens: false,
            logit_bias: BTreeMap::new(),
        }
    }
}
