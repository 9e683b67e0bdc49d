//! vLLM.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::completions::{Card, Logprobs, StopReason, Usage, card, in_order, same_count, same_model};
use super::{Dialect, Draw, Drawn, Ending};
use crate::dispatch::{Caller, Line, Reply};
use crate::json::RawLogprob;
use crate::{ClientError, ServedIdentity};

const PATH: &str = "/v1/completions";
const POOLING: &str = "/pooling";
/// vLLM takes at most 20 ids in `logprob_token_ids`, as many as `--max-logprobs` allows by default.
const MOST_IDS: usize = 20;

/// Every field that decides what is drawn is always sent: a model's `generation_config.json` changes vLLM's own defaults.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the server's own fields")]
struct Request<'a> {
    model: &'a str,
    prompt: Prompt<'a>,
    max_tokens: u32,
    temperature: f64,
    top_p: f64,
    top_k: i64,
    min_p: f64,
    presence_penalty: f64,
    frequency_penalty: f64,
    repetition_penalty: f64,
    seed: u32,
    stop: &'a [String],
    stop_token_ids: &'a [u32],
    n: u32,
    stream: bool,
    echo: bool,
    ignore_eos: bool,
    min_tokens: u32,
    include_stop_str_in_output: bool,
    /// A stop string may be a special token's text (`</think>`).
    skip_special_tokens: bool,
    spaces_between_special_tokens: bool,
    add_special_tokens: bool,
    logprobs: u32,
    return_tokens_as_token_ids: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprob_token_ids: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_token_ids: Option<[u32; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    logit_bias: BTreeMap<String, f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prompt<'a> {
    One(&'a [u32]),
    Many(Vec<Vec<u32>>),
}

#[derive(Deserialize)]
struct Completion {
    model: String,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    text: String,
    finish_reason: Option<String>,
    #[serde(default)]
    stop_reason: StopReason,
    logprobs: Option<Logprobs>,
    #[serde(default)]
    prompt_logprobs: Option<Vec<Option<BTreeMap<String, PromptLogprob>>>>,
}

#[derive(Deserialize)]
struct PromptLogprob {
    logprob: RawLogprob,
}

/// A request that draws one token greedily and without any say of its sampling.
fn greedy<'a>(model: &'a str, prompt: Prompt<'a>) -> Request<'a> {
    Request {
        model,
        prompt,
        max_tokens: 1,
        temperature: 0.0,
        top_p: 1.0,
        top_k: -1,
        min_p: 0.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repetition_penalty: 1.0,
        seed: 0,
        stop: &[],
        stop_token_ids: &[],
        n: 1,
        stream: false,
        echo: false,
        ignore_eos: false,
        min_tokens: 0,
        include_stop_str_in_output: false,
        skip_special_tokens: false,
        spaces_between_special_tokens: false,
        add_special_tokens: false,
        logprobs: 0,
        return_tokens_as_token_ids: true,
        logprob_token_ids: None,
        allowed_token_ids: None,
        prompt_logprobs: None,
        logit_bias: BTreeMap::new(),
    }
}

pub(super) async fn identity(line: &Line<'_>, model: Option<&str>) -> Result<ServedIdentity, ClientError> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let Card { id, root, parent, max_model_len, .. } = card(line, model).await?;
    let version = line.get::<Version>("/version").await?.map(|version| version.version);
    Ok(ServedIdentity::new(Dialect::Vllm, id, max_model_len)
        .fact("root", root)
        .fact("parent", parent)
        .fact("version", version))
}

pub(super) async fn draw(caller: &Caller, model: &str, draw: &Draw<'_>) -> Result<Drawn, ClientError> {
    let request = Request {
        max_tokens: draw.max_tokens,
        temperature: draw.sampling.temperature,
        top_p: draw.sampling.top_p,
        top_k: if draw.sampling.top_k == 0 { -1 } else { i64::from(draw.sampling.top_k) },
        seed: draw.seed,
        stop: draw.stop,
        stop_token_ids: draw.eos,
        logprobs: draw.top,
        logit_bias: draw.force.into_iter().map(|id| (id.to_string(), 100.0)).collect(),
        ..greedy(model, Prompt::One(draw.prompt))
    };
    let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
    let endpoint = reply.endpoint();
    same_model(endpoint, model, Some(&reply.value.model))?;
    let usage = &reply.value.usage;
    same_count(endpoint, "prompt tokens read", draw.prompt.len() as u64, usage.prompt_tokens)?;
    reply.spent(usage.physical());
    let count = usage.completion_tokens;
    let [choice] = &reply.value.choices[..] else {
        return Err(ClientError::reply(endpoint, "one choice", format!("{}", reply.value.choices.len())));
    };
    let ending = match (choice.finish_reason.as_deref(), &choice.stop_reason) {
        (Some("length"), _) => Ending::Length,
        (Some("stop"), StopReason::Null | StopReason::Token(_)) => Ending::Eos,
        (Some("stop"), StopReason::Text(stop)) => Ending::Delimiter(stop.clone()),
        (Some("stop"), StopReason::Missing) => Ending::EosOrDelimiter,
        (other, _) => {
            return Err(ClientError::reply(endpoint, "a finish reason `stop` or `length`", format!("{other:?}")));
        }
    };
    let Some(logprobs) = &choice.logprobs else {
        return Err(ClientError::reply(endpoint, "`logprobs` of the drawn tokens", "none"));
    };
    let tokens = token_ids(endpoint, &logprobs.tokens)?;
    same_count(endpoint, "drawn tokens", count.unwrap_or(0), tokens.len() as u64)?;
    same_count(endpoint, "log-probabilities", tokens.len() as u64, logprobs.token_logprobs.len() as u64)?;
    let values: Result<Vec<f64>, ClientError> =
        logprobs.token_logprobs.iter().enumerate().map(|(index, raw)| raw.checked(endpoint, index)).collect();
    let top: Result<Vec<f64>, ClientError> = logprobs.top(0).iter().map(|(_, raw)| raw.checked(endpoint, 0)).collect();
    Ok(Drawn {
        endpoint: endpoint.to_owned(),
        ending,
        count: tokens.len() as u64,
        tokens: Some(tokens),
        logprobs: Some(values?),
        text: choice.text.clone(),
        top: if draw.top > 0 { top? } else { Vec::new() },
    })
}

/// The ids in `token_id:<id>`, which `return_tokens_as_token_ids` asks for.
fn token_ids(endpoint: &str, names: &[String]) -> Result<Vec<u32>, ClientError> {
    let id = |name: &String| {
        name.strip_prefix("token_id:")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| ClientError::reply(endpoint, "tokens as `token_id:<id>`", format!("`{name}`")))
    };
    names.iter().map(id).collect()
}

/// Prefixes of the continuation in chunks; in each, one drawn token a prefix with the wanted ids beside it.
pub(super) async fn score_selected(
    caller: &Caller,
    model: &str,
    prompt: &[u32],
    continuation: &[u32],
) -> Result<Vec<f64>, ClientError> {
    let chunk = |start: usize| {
        let range = start..continuation.len().min(start + MOST_IDS);
        score_chunk(caller, model, prompt, continuation, range)
    };
    if continuation.is_empty() {
        return Ok(Vec::new());
    }
    // The first chunk's prefix is then in the cache for the others.
    let mut values = chunk(0).await?;
    let rest = (MOST_IDS..continuation.len()).step_by(MOST_IDS).map(chunk);
    values.extend(try_join_all(rest).await?.into_iter().flatten());
    Ok(values)
}

async fn score_chunk(
    caller: &Caller,
    model: &str,
    prompt: &[u32],
    continuation: &[u32],
    range: Range<usize>,
) -> Result<Vec<f64>, ClientError> {
    let prefix = |place: usize| [prompt, &continuation[..place]].concat();
    let prompts: Vec<Vec<u32>> = range.clone().map(prefix).collect();
    let lengths: usize = prompts.iter().map(Vec::len).sum();
    let ids = &continuation[range.clone()];
    let mut wanted = ids.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let request = Request { logprob_token_ids: Some(&wanted), ..greedy(model, Prompt::Many(prompts)) };
    let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
    let endpoint = reply.endpoint().to_owned();
    same_model(&endpoint, model, Some(&reply.value.model))?;
    same_count(&endpoint, "prompt tokens read", lengths as u64, reply.value.usage.prompt_tokens)?;
    reply.spent(reply.value.usage.physical());
    let choices = in_order(&endpoint, reply.value.choices, |choice| choice.index, ids.len())?;
    let value = |(place, choice): (usize, &Choice)| {
        let name = format!("token_id:{}", continuation[place]);
        let top = choice.logprobs.as_ref().map(|logprobs| logprobs.top(0)).unwrap_or_default();
        let raw = top.into_iter().find(|(given, _)| *given == name).map_or(RawLogprob::Missing, |(_, raw)| raw);
        raw.checked(&endpoint, place)
    };
    range.zip(&choices).map(value).collect()
}

/// One request a token, which may draw that token only. vLLM reports the value from before the mask.
pub(super) async fn score_allowed(
    caller: &Caller,
    model: &str,
    prompt: &[u32],
    continuation: &[u32],
) -> Result<Vec<f64>, ClientError> {
    let one = |index: usize| async move {
        let token = continuation[index];
        let prefix = [prompt, &continuation[..index]].concat();
        let request = Request { allowed_token_ids: Some([token]), ..greedy(model, Prompt::One(&prefix)) };
        let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
        let endpoint = reply.endpoint();
        same_model(endpoint, model, Some(&reply.value.model))?;
        same_count(endpoint, "prompt tokens read", prefix.len() as u64, reply.value.usage.prompt_tokens)?;
        reply.spent(reply.value.usage.physical());
        let drawn = reply.value.choices.first().and_then(|choice| choice.logprobs.as_ref());
        let Some(Logprobs { tokens, token_logprobs, .. }) = drawn else {
            return RawLogprob::Missing.checked(endpoint, index);
        };
        if token_ids(endpoint, tokens)? != [token] {
            let expected = format!("the only allowed token `{token}` at token {index}");
            return Err(ClientError::reply(endpoint, expected, format!("`{}`", tokens.join(" "))));
        }
        token_logprobs.first().unwrap_or(&RawLogprob::Missing).checked(endpoint, index)
    };
    one_then_all(continuation.len(), one).await
}

/// The prompt's own log-probabilities: one request, which reads everything anew.
pub(super) async fn score_prompt(
    caller: &Caller,
    model: &str,
    prompt: &[u32],
    continuation: &[u32],
) -> Result<Vec<f64>, ClientError> {
    let whole = [prompt, continuation].concat();
    let request = Request { prompt_logprobs: Some(0), ..greedy(model, Prompt::One(&whole)) };
    let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
    let endpoint = reply.endpoint();
    same_model(endpoint, model, Some(&reply.value.model))?;
    same_count(endpoint, "prompt tokens read", whole.len() as u64, reply.value.usage.prompt_tokens)?;
    reply.spent(reply.value.usage.physical());
    let entries = reply.value.choices.first().and_then(|choice| choice.prompt_logprobs.as_ref());
    let Some(entries) = entries else {
        return Err(ClientError::reply(endpoint, "`prompt_logprobs`", "none"));
    };
    same_count(endpoint, "entries of `prompt_logprobs`", whole.len() as u64, entries.len() as u64)?;
    let value = |(index, token): (usize, &u32)| {
        let entry = entries[prompt.len() + index].as_ref().and_then(|entry| entry.get(&token.to_string()));
        entry.map_or(&RawLogprob::Missing, |entry| &entry.logprob).checked(endpoint, index)
    };
    continuation.iter().enumerate().map(value).collect()
}

/// What a reward head says of the prompt's last token. The server gives an entry for each token, or for each mark of a step; either
/// way the last one is the prompt's end.
pub(super) async fn score_pooled(
    caller: &Caller,
    model: &str,
    prompt: &[u32],
    labels: &[u32],
) -> Result<Vec<f64>, ClientError> {
    #[derive(Serialize)]
    struct Request<'a> {
        model: &'a str,
        input: &'a [u32],
        encoding_format: &'static str,
    }
    #[derive(Deserialize)]
    struct Pooling {
        model: String,
        data: Vec<Pooled>,
        usage: Usage,
    }
    #[derive(Deserialize)]
    struct Pooled {
        data: Vec<Vec<f64>>,
    }
    let request = Request { model, input: prompt, encoding_format: "float" };
    let reply: Reply<Pooling> = caller.ask(POOLING, &request).await?;
    let endpoint = reply.endpoint();
    same_model(endpoint, model, Some(&reply.value.model))?;
    same_count(endpoint, "prompt tokens read", prompt.len() as u64, reply.value.usage.prompt_tokens)?;
    reply.spent(reply.value.usage.physical());
    let told = reply.value.data.first().and_then(|pooled| pooled.data.last());
    let is_probability = |value: &f64| (0.0..=1.0).contains(value);
    let probabilities = match told.map(Vec::as_slice) {
        Some(both @ [wrong, right]) if both.iter().all(is_probability) && (wrong + right - 1.0).abs() < 1e-2 => both,
        given => {
            let expected = "the probabilities of two labels at the prompt's last token, which sum to 1";
            return Err(ClientError::reply(endpoint, expected, format!("{given:?}")));
        }
    };
    // What is too small for the server's 32 bits is told as 0.
    let logprob = |label: &u32| probabilities[*label as usize].max(f64::from(f32::MIN_POSITIVE)).ln();
    Ok(labels.iter().map(logprob).collect())
}

/// One request for each place: the first alone, so that its prefix is in the cache for the others.
pub(super) async fn one_then_all<F: Future<Output = Result<f64, ClientError>>>(
    count: usize,
    one: impl Fn(usize) -> F,
) -> Result<Vec<f64>, ClientError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut values = vec![one(0).await?];
    values.extend(try_join_all((1..count).map(one)).await?);
    Ok(values)
}
