//! llama.cpp's `llama-server`, by its own `/completion`: only there does it say which stop ended a text.

use serde::{Deserialize, Serialize};

use super::completions::{Card, card, same_count};
use super::vllm::one_then_all;
use super::{Dialect, Draw, Drawn, Ending, Tokenized};
use crate::dispatch::{Caller, Line, Reply};
use crate::json::RawLogprob;
use crate::stats::Physical;
use crate::{ClientError, ServedIdentity};

const PATH: &str = "/completion";
/// Outweighs any logit.
const BIAS: f64 = 10_000.0;

/// llama-server samples with top-k 40, top-p 0.95 and min-p 0.05 unless told otherwise.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the server's own fields")]
struct Request<'a> {
    prompt: &'a [u32],
    n_predict: u32,
    temperature: f64,
    dynatemp_range: f64,
    top_k: u32,
    top_p: f64,
    min_p: f64,
    top_n_sigma: f64,
    xtc_probability: f64,
    typical_p: f64,
    repeat_penalty: f64,
    repeat_last_n: u32,
    presence_penalty: f64,
    frequency_penalty: f64,
    dry_multiplier: f64,
    mirostat: u32,
    /// Temperature first, as everywhere else; llama.cpp's own order has it last.
    samplers: [&'a str; 3],
    seed: u32,
    stop: &'a [String],
    stream: bool,
    ignore_eos: bool,
    n_keep: u32,
    n_probs: u32,
    post_sampling_probs: bool,
    return_tokens: bool,
    cache_prompt: bool,
    logit_bias: Vec<(u32, f64)>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the server's own names")]
struct Completion {
    content: String,
    /// The drawn tokens, the end of the turn and those of a trimmed stop string included.
    #[serde(default)]
    tokens: Option<Vec<u32>>,
    stop_type: String,
    #[serde(default)]
    stopping_word: String,
    tokens_predicted: u64,
    tokens_evaluated: u64,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    completion_probabilities: Option<Vec<Probability>>,
    #[serde(default)]
    timings: Option<Timings>,
}

#[derive(Deserialize)]
struct Probability {
    id: u32,
    logprob: RawLogprob,
    #[serde(default)]
    top_logprobs: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    logprob: RawLogprob,
}

#[derive(Deserialize)]
struct Timings {
    #[serde(default)]
    cache_n: Option<u64>,
    #[serde(default)]
    prompt_n: Option<u64>,
}

fn request(prompt: &[u32]) -> Request<'_> {
    Request {
        prompt,
        n_predict: 1,
        temperature: 0.0,
        dynatemp_range: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        top_n_sigma: -1.0,
        xtc_probability: 0.0,
        typical_p: 1.0,
        repeat_penalty: 1.0,
        repeat_last_n: 0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        dry_multiplier: 0.0,
        mirostat: 0,
        samplers: ["temperature", "top_k", "top_p"],
        seed: 0,
        stop: &[],
        stream: false,
        ignore_eos: false,
        n_keep: 0,
        n_probs: 1,
        post_sampling_probs: false,
        return_tokens: true,
        cache_prompt: true,
        logit_bias: Vec::new(),
    }
}

pub(super) async fn identity(line: &Line<'_>, model: Option<&str>) -> Result<ServedIdentity, ClientError> {
    #[derive(Deserialize)]
    struct Props {
        model_path: String,
        #[serde(default)]
        build_info: Option<String>,
        default_generation_settings: Settings,
    }
    #[derive(Deserialize)]
    struct Settings {
        n_ctx: u32,
    }
    let Card { id, meta, .. } = card(line, model).await?;
    let Some(props) = line.get::<Props>("/props").await? else {
        return Err(ClientError::reply(line.endpoint, "an answer at `/props`", "none"));
    };
    // Where the file lies is the machine's business; what it is called and holds is the model's.
    let file = props.model_path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let identity = ServedIdentity::new(Dialect::LlamaCpp, id, Some(props.default_generation_settings.n_ctx))
        .fact("file", Some(file))
        .fact("build", props.build_info);
    Ok(match meta {
        None => identity,
        Some(meta) => identity.fact("n_params", meta.n_params).fact("size", meta.size).fact("n_vocab", meta.n_vocab),
    })
}

pub(super) async fn tokenize(line: &Line<'_>, text: &str) -> Result<Tokenized, ClientError> {
    #[derive(Serialize)]
    struct Request<'a> {
        content: &'a str,
        add_special: bool,
        parse_special: bool,
    }
    #[derive(Deserialize)]
    struct Reply {
        tokens: Vec<u32>,
    }
    let request = Request { content: text, add_special: false, parse_special: true };
    match line.post::<Reply>("/tokenize", &request).await? {
        Some(reply) => Ok(Tokenized::Ids(reply.tokens)),
        None => Err(ClientError::reply(line.endpoint, "an answer at `/tokenize`", "none")),
    }
}

fn physical(reply: &Completion) -> Physical {
    let timings = reply.timings.as_ref();
    let evaluated = timings.and_then(|timings| timings.prompt_n);
    let cached = timings.and_then(|timings| timings.cache_n);
    Physical { cached: cached.unwrap_or(0), evaluated: evaluated.unwrap_or(0), generated: reply.tokens_predicted }
}

/// What must hold of every reply.
fn check(reply: &Reply<Completion>, prompt: &[u32]) -> Result<(), ClientError> {
    let endpoint = reply.endpoint();
    same_count(endpoint, "prompt tokens read", prompt.len() as u64, reply.value.tokens_evaluated)?;
    if reply.value.truncated {
        return Err(ClientError::reply(endpoint, "a whole prompt", "one that the server truncated"));
    }
    reply.spent(physical(&reply.value));
    Ok(())
}

pub(super) async fn draw(caller: &Caller, draw: &Draw<'_>) -> Result<Drawn, ClientError> {
    let request = Request {
        n_predict: draw.max_tokens,
        temperature: draw.sampling.temperature,
        top_k: draw.sampling.top_k,
        top_p: draw.sampling.top_p,
        seed: draw.seed,
        stop: draw.stop,
        n_probs: draw.top.max(1),
        logit_bias: draw.force.into_iter().map(|id| (id, BIAS)).collect(),
        ..request(draw.prompt)
    };
    let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
    check(&reply, draw.prompt)?;
    let endpoint = reply.endpoint();
    let value = &reply.value;
    let ending = match value.stop_type.as_str() {
        "eos" => Ending::Eos,
        "word" => Ending::Delimiter(value.stopping_word.clone()),
        "limit" => Ending::Length,
        other => {
            return Err(ClientError::reply(
                endpoint,
                "a `stop_type` of `eos`, `word` or `limit`",
                format!("`{other}`"),
            ));
        }
    };
    let Some(tokens) = &value.tokens else {
        return Err(ClientError::reply(endpoint, "`tokens` of the drawn text", "none"));
    };
    same_count(endpoint, "drawn tokens", value.tokens_predicted, tokens.len() as u64)?;
    let entries = value.completion_probabilities.as_deref().unwrap_or_default();
    // llama.cpp leaves out the probabilities of a trimmed stop string's tokens, and of those inside a character.
    let whole = entries.len() == tokens.len() && entries.iter().zip(tokens).all(|(entry, id)| entry.id == *id);
    let values: Result<Vec<f64>, ClientError> =
        entries.iter().enumerate().map(|(index, entry)| entry.logprob.checked(endpoint, index)).collect();
    let top: Result<Vec<f64>, ClientError> = entries
        .first()
        .map_or(&[][..], |entry| &entry.top_logprobs)
        .iter()
        .map(|top| top.logprob.checked(endpoint, 0))
        .collect();
    let values = values?;
    Ok(Drawn {
        endpoint: endpoint.to_owned(),
        ending,
        count: tokens.len() as u64,
        tokens: Some(tokens.clone()),
        logprobs: whole.then_some(values),
        text: value.content.clone(),
        top: if draw.top > 0 { top? } else { Vec::new() },
    })
}

/// One request a token, biased so that no other can be drawn. The value reported is the one before the bias, and only one
/// token is evaluated in each.
pub(super) async fn score(caller: &Caller, prompt: &[u32], continuation: &[u32]) -> Result<Vec<f64>, ClientError> {
    let one = |index: usize| async move {
        let token = continuation[index];
        let prefix = [prompt, &continuation[..index]].concat();
        let request = Request { logit_bias: vec![(token, BIAS)], ..request(&prefix) };
        let reply: Reply<Completion> = caller.ask(PATH, &request).await?;
        check(&reply, &prefix)?;
        let endpoint = reply.endpoint();
        let Some([entry]) = reply.value.completion_probabilities.as_deref() else {
            return RawLogprob::Missing.checked(endpoint, index);
        };
        if entry.id != token {
            let expected = format!("the biased token `{token}` at token {index}");
            return Err(ClientError::reply(endpoint, expected, format!("`{}`", entry.id)));
        }
        entry.logprob.checked(endpoint, index)
    };
    one_then_all(continuation.len(), one).await
}
