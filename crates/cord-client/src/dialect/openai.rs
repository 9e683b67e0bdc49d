//! OpenAI's completions, and whatever else speaks no more than them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::completions::{Logprobs, StopReason, Usage, card, same_count, same_model};
use super::{Dialect, Draw, Drawn, Ending, Tokenized};
use crate::dispatch::{Caller, Line, Reply};
use crate::json::RawLogprob;
use crate::{ClientError, ServedIdentity};

const PATH: &str = "/v1/completions";

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    prompt: Prompt<'a>,
    max_tokens: u32,
    temperature: f64,
    top_p: f64,
    presence_penalty: f64,
    frequency_penalty: f64,
    seed: u32,
    n: u32,
    stream: bool,
    echo: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    logit_bias: BTreeMap<String, f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prompt<'a> {
    Ids(&'a [u32]),
    Text(&'a str),
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
    finish_reason: Option<String>,
    #[serde(default)]
    stop_reason: StopReason,
    #[serde(default)]
    logprobs: Option<Logprobs>,
}

fn greedy<'a>(model: &'a str, prompt: Prompt<'a>) -> Request<'a> {
    Request {
        model,
        prompt,
        max_tokens: 1,
        temperature: 0.0,
        top_p: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: 0,
        n: 1,
        stream: false,
        echo: false,
        stop: &[],
        logprobs: None,
        logit_bias: BTreeMap::new(),
    }
}

pub(super) async fn identity(line: &Line<'_>, model: Option<&str>) -> Result<ServedIdentity, ClientError> {
    let card = card(line, model).await?;
    Ok(ServedIdentity::new(Dialect::OpenAi, card.id, card.max_model_len).fact("root", card.root))
}

/// The number of tokens that the server makes of a text, by what it charges for it.
pub(super) async fn count(line: &Line<'_>, model: &str, text: &str) -> Result<Tokenized, ClientError> {
    match line.post::<Completion>(PATH, &greedy(model, Prompt::Text(text))).await? {
        Some(reply) => Ok(Tokenized::Count(reply.usage.prompt_tokens)),
        None => Err(ClientError::reply(line.endpoint, format!("an answer at `{PATH}`"), "none")),
    }
}

pub(super) async fn draw(caller: &Caller, model: &str, draw: &Draw<'_>) -> Result<Drawn, ClientError> {
    if draw.sampling.top_k > 0 {
        return Err(ClientError::Unsupported {
            what: "sample by `top-k`: plain completions have no such field".into(),
        });
    }
    let request = Request {
        max_tokens: draw.max_tokens,
        temperature: draw.sampling.temperature,
        top_p: draw.sampling.top_p,
        seed: draw.seed,
        stop: draw.stop,
        logprobs: (draw.top > 0).then_some(draw.top),
        logit_bias: draw.force.into_iter().map(|id| (id.to_string(), 100.0)).collect(),
        ..greedy(model, Prompt::Ids(draw.prompt))
    };
    let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
    let endpoint = reply.endpoint();
    same_model(endpoint, model, reply.value.model.as_deref())?;
    let usage = &reply.value.usage;
    same_count(endpoint, "prompt tokens read", draw.prompt.len() as u64, usage.prompt_tokens)?;
    reply.spent(usage.physical());
    let Some(count) = usage.completion_tokens else {
        return Err(ClientError::reply(endpoint, "`usage.completion_tokens`", "none"));
    };
    let [choice] = &reply.value.choices[..] else {
        return Err(ClientError::reply(endpoint, "one choice", format!("{}", reply.value.choices.len())));
    };
    let ending = match (choice.finish_reason.as_deref(), &choice.stop_reason) {
        (Some("length"), _) => Ending::Length,
        (Some("stop"), StopReason::Text(stop)) => Ending::Delimiter(stop.clone()),
        (Some("stop"), StopReason::Null | StopReason::Token(_)) => Ending::Eos,
        // Without stop strings there is one thing left that it can be.
        (Some("stop"), StopReason::Missing) if draw.stop.is_empty() => Ending::Eos,
        (Some("stop"), StopReason::Missing) => Ending::EosOrDelimiter,
        (other, _) => {
            return Err(ClientError::reply(endpoint, "a finish reason `stop` or `length`", format!("{other:?}")));
        }
    };
    let logprobs = choice.logprobs.as_ref();
    let values = logprobs.map(|logprobs| {
        let checked = |(index, raw): (usize, &RawLogprob)| raw.checked(endpoint, index);
        logprobs.token_logprobs.iter().enumerate().map(checked).collect::<Result<Vec<f64>, ClientError>>()
    });
    let values = values.transpose()?.filter(|values| values.len() as u64 == count);
    let top: Result<Vec<f64>, ClientError> = logprobs
        .map(|logprobs| logprobs.top(0))
        .unwrap_or_default()
        .iter()
        .map(|(_, r)| r.checked(endpoint, 0))
        .collect();
    Ok(Drawn {
        endpoint: endpoint.to_owned(),
        ending,
        tokens: None,
        logprobs: values,
        text: choice.text.clone(),
        count,
        top: top?,
    })
}

/// The echoed prompt's log-probabilities. Servers that ignore `echo` answer all the same, so the number of tokens is
/// held against ours.
pub(super) async fn score(
    caller: &Caller,
    model: &str,
    prompt: &[u32],
    continuation: &[u32],
) -> Result<Vec<f64>, ClientError> {
    let whole = [prompt, continuation].concat();
    let request = Request { echo: true, logprobs: Some(1), ..greedy(model, Prompt::Ids(&whole)) };
    let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
    let endpoint = reply.endpoint();
    same_model(endpoint, model, reply.value.model.as_deref())?;
    same_count(endpoint, "prompt tokens read", whole.len() as u64, reply.value.usage.prompt_tokens)?;
    reply.spent(reply.value.usage.physical());
    let drawn = reply.value.usage.completion_tokens.unwrap_or(1);
    let Some(logprobs) = reply.value.choices.first().and_then(|choice| choice.logprobs.as_ref()) else {
        return Err(ClientError::reply(endpoint, "`logprobs` of the echoed prompt", "none"));
    };
    let expected = whole.len() as u64 + drawn;
    same_count(endpoint, "echoed log-probabilities", expected, logprobs.token_logprobs.len() as u64)?;
    let values = &logprobs.token_logprobs[prompt.len()..whole.len()];
    values.iter().enumerate().map(|(index, raw)| raw.checked(endpoint, index)).collect()
}
