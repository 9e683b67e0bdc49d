//! vLLM's completions.

use cord_core::Sampling;
use serde_json::{Map, Value, json};

use super::{Answer, Quirk, Served, ids, need, need_f64, need_u64, neutral, not_found, refusal, texts};
use crate::hashed::Rules;
use crate::{ByteVocabulary, Specials};

pub(super) fn answer(served: &Served, path: &str, body: &Value) -> Result<Answer, Answer> {
    match path {
        "/version" => Ok((200, json!({ "version": served.version }))),
        "/v1/models" => Ok((200, models(served, "vllm"))),
        "/tokenize" => tokenize(served, body),
        "/pooling" if served.has(Quirk::Rewards) => pooling(served, body),
        "/v1/completions" if served.has(Quirk::Rewards) => not_found(),
        "/v1/completions" => completions(served, body),
        "/v1/chat/completions" => super::openai::chat(served, body),
        _ => not_found(),
    }
}

pub(super) fn models(served: &Served, owner: &str) -> Value {
    let owner = if served.has(Quirk::Anonymous) { "someone" } else { owner };
    let card = json!({
        "id": served.name, "object": "model", "created": 1, "owned_by": owner, "root": served.root, "parent": null,
        "max_model_len": served.context,
    });
    json!({ "object": "list", "data": [card] })
}

/// The labels behind each token, as a served reward model without a step's mark of its own gives them.
fn pooling(served: &Served, body: &Value) -> Result<Answer, Answer> {
    let input = ids(need(body, "input")?)?;
    let labels = |end: usize| {
        let right = served.model().right(&input[..end]);
        json!([1.0 - right, right])
    };
    let data: Vec<Value> = (1..=input.len()).map(labels).collect();
    let usage = json!({ "prompt_tokens": input.len(), "total_tokens": input.len(), "completion_tokens": 0 });
    let data = json!([{ "index": 0, "object": "pooling", "data": data }]);
    Ok((200, json!({ "id": "pool-1", "object": "list", "model": served.name, "data": data, "usage": usage })))
}

pub(super) fn tokenize(served: &Served, body: &Value) -> Result<Answer, Answer> {
    if need(body, "add_special_tokens")? != &json!(false) {
        return Err(refusal(400, "the test server wants `add_special_tokens` = false"));
    }
    let text = need(body, "prompt")?.as_str().unwrap_or_default();
    let tokens = served.vocabulary().encode(text);
    Ok((200, json!({ "count": tokens.len(), "max_model_len": served.context, "tokens": tokens })))
}

/// The end of a drawn text.
pub(super) enum End {
    Token(u32),
    Stop(String),
    Length,
}

/// A drawn text with its end.
pub(super) struct Written {
    pub(super) ids: Vec<u32>,
    pub(super) text: String,
    pub(super) end: End,
}

/// Draws as every server does: until an end-of-turn token, a stop string in the text, or the budget.
pub(super) fn write(
    served: &Served,
    prompt: &[u32],
    rules: &Rules,
    stop: &[String],
    ends: &[u32],
    budget: usize,
    specials: Specials,
) -> Written {
    if served.canned {
        let mut ids = served.vocabulary().encode("a canned step");
        if let Some((forced, _)) = rules.bias.first() {
            ids = vec![*forced];
        }
        ids.truncate(budget);
        return Written { text: served.vocabulary().decode(&ids, specials), ids, end: End::Length };
    }
    let vocabulary = ByteVocabulary::new();
    if !served.answers.is_empty() {
        let asked = vocabulary.decode(prompt, specials);
        if let Some((_, answer)) = served.answers.iter().find(|(part, _)| asked.contains(part.as_str())) {
            let mut ids = vocabulary.encode(answer);
            ids.push(ByteVocabulary::END);
            return Written { text: answer.clone(), ids, end: End::Token(ByteVocabulary::END) };
        }
    }
    let stopped = |ids: &[u32]| {
        let text = vocabulary.decode(ids, specials);
        stop.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop.clone()))).min()
    };
    let ids = served.model().draw(prompt, rules, |ids| {
        ids.last().is_some_and(|id| ends.contains(id)) || ids.len() >= budget || stopped(ids).is_some()
    });
    let last = ids.last().copied().unwrap_or_default();
    if ends.contains(&last) {
        let text = vocabulary.decode(&ids[..ids.len() - 1], specials);
        return Written { text, ids, end: End::Token(last) };
    }
    match stopped(&ids) {
        Some((at, stop)) => {
            let mut text = vocabulary.decode(&ids, specials);
            text.truncate(at);
            Written { ids, text, end: End::Stop(stop) }
        }
        None => Written { text: vocabulary.decode(&ids, specials), ids, end: End::Length },
    }
}

/// The log-probabilities at one place, as the server reports them.
pub(super) fn reported(served: &Served, context: &[u32], rules: &Rules) -> Vec<f64> {
    if served.canned {
        return vec![-5.0; served.vocabulary().size()];
    }
    let raw = served.model().logprobs(context);
    if !served.has(Quirk::Processed) {
        return raw;
    }
    let heat = if rules.sampling.temperature == 0.0 { 1.0 } else { rules.sampling.temperature };
    let mut logits: Vec<f64> = raw.iter().map(|x| x / heat).collect();
    for (id, bias) in &rules.bias {
        logits[*id as usize] += bias;
    }
    if let Some(allowed) = &rules.allowed {
        for (id, logit) in logits.iter_mut().enumerate() {
            if !allowed.contains(&(id as u32)) {
                *logit = f64::NEG_INFINITY;
            }
        }
    }
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = most + logits.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
    logits.into_iter().map(|x| (x - total).max(-9999.0)).collect()
}

/// The most likely tokens with their values.
pub(super) fn top(values: &[f64], count: usize) -> Vec<(u32, f64)> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|a, b| values[*b as usize].total_cmp(&values[*a as usize]));
    order.into_iter().take(count).map(|id| (id, values[id as usize])).collect()
}

/// What a server reads of a prompt.
pub(super) fn kept(served: &Served, mut prompt: Vec<u32>) -> Vec<u32> {
    for quirk in &served.quirks {
        if let Quirk::Truncates(most) = quirk
            && prompt.len() > *most
        {
            prompt.drain(..prompt.len() - most);
        }
    }
    prompt
}

fn completions(served: &Served, body: &Value) -> Result<Answer, Answer> {
    if need(body, "model")? != &json!(served.name) {
        return Err(refusal(404, format!("The model {} does not exist.", body["model"])));
    }
    let penalties =
        [("min_p", 0.0), ("presence_penalty", 0.0), ("frequency_penalty", 0.0), ("repetition_penalty", 1.0)];
    neutral(body, &penalties)?;
    let top_k = need(body, "top_k")?.as_i64().unwrap_or(0);
    let rules = Rules {
        sampling: Sampling {
            temperature: need_f64(body, "temperature")?,
            top_p: need_f64(body, "top_p")?,
            top_k: top_k.max(0) as u32,
        },
        seed: need_u64(body, "seed")?,
        bias: body["logit_bias"].as_object().map_or(Vec::new(), |bias| {
            bias.iter().filter_map(|(id, bias)| Some((id.parse().ok()?, bias.as_f64()?))).collect()
        }),
        allowed: match body.get("allowed_token_ids") {
            Some(_) if served.has(Quirk::NoAllowedIds) => return Err(refusal(400, "allowed_token_ids: unknown")),
            Some(allowed) => Some(ids(allowed)?),
            None => None,
        },
    };
    let prompt = need(body, "prompt")?;
    let prompts = match prompt.as_array().and_then(|list| list.first()) {
        Some(Value::Array(_)) => prompt.as_array().into_iter().flatten().map(ids).collect::<Result<Vec<_>, _>>()?,
        _ => vec![ids(prompt)?],
    };
    let budget = need_u64(body, "max_tokens")? as usize;
    let stop = texts(body.get("stop"));
    let mut ends = ids(need(body, "stop_token_ids")?)?;
    ends.push(ByteVocabulary::END);
    let specials = if need(body, "skip_special_tokens")? == &json!(true) { Specials::Hidden } else { Specials::Shown };
    let (mut choices, mut read, mut drawn, mut cached) = (Vec::new(), 0, 0, 0);
    for (index, prompt) in prompts.into_iter().enumerate() {
        let needed = prompt.len() + budget;
        if needed > served.context as usize {
            return Err(refusal(
                400,
                format!(
                    "This model's maximum context length is {} tokens. However, you requested {needed}",
                    served.context
                ),
            ));
        }
        let prompt = kept(served, prompt);
        let written = write(served, &prompt, &rules, &stop, &ends, budget, specials);
        read += prompt.len();
        drawn += written.ids.len();
        cached += if index > 0 { prompt.len() - 1 } else { 0 };
        choices.push(choice(served, body, index, &prompt, &rules, &written));
    }
    let usage = json!({
        "prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn,
        "prompt_tokens_details": { "cached_tokens": cached },
    });
    Ok((
        200,
        json!({ "id": "cmpl-1", "object": "text_completion", "model": served.name, "choices": choices, "usage": usage }),
    ))
}

fn choice(served: &Served, body: &Value, index: usize, prompt: &[u32], rules: &Rules, written: &Written) -> Value {
    let (finish, reason) = match &written.end {
        End::Token(ByteVocabulary::END) => ("stop", Value::Null),
        End::Token(id) => ("stop", json!(id)),
        End::Stop(stop) => ("stop", json!(stop)),
        End::Length => ("length", Value::Null),
    };
    let mut choice = json!({
        "index": index, "text": written.text, "finish_reason": finish, "stop_reason": reason, "logprobs": null,
        "prompt_logprobs": null,
    });
    if served.has(Quirk::NoStopReason) {
        choice.as_object_mut().expect("an object").remove("stop_reason");
    }
    let wanted = body.get("logprobs").and_then(Value::as_u64);
    if let Some(count) = wanted.filter(|_| !served.has(Quirk::NoLogprobs)) {
        let selected = body.get("logprob_token_ids").filter(|_| !served.has(Quirk::NoSelectedIds));
        let selected: Vec<u32> = selected.and_then(|list| ids(list).ok()).unwrap_or_default();
        let mut context = prompt.to_vec();
        let (mut names, mut values, mut tops) = (Vec::new(), Vec::new(), Vec::new());
        for id in &written.ids {
            let here = reported(served, &context, rules);
            let name = |id: u32| format!("token_id:{id}");
            names.push(name(*id));
            values.push(here[*id as usize]);
            let mut entry = Map::new();
            entry.insert(name(*id), json!(here[*id as usize]));
            let more = selected.iter().map(|id| (*id, here[*id as usize]));
            for (id, value) in top(&here, count as usize).into_iter().chain(more) {
                entry.insert(name(id), json!(value));
            }
            tops.push(entry);
            context.push(*id);
        }
        choice["logprobs"] =
            json!({ "text_offset": [], "tokens": names, "token_logprobs": values, "top_logprobs": tops });
    }
    if body.get("prompt_logprobs").is_some_and(Value::is_number) && !served.has(Quirk::NoLogprobs) {
        let entry = |place: usize| {
            let shift = usize::from(served.has(Quirk::Shifted));
            if place == 0 || place < shift {
                return Value::Null;
            }
            let value = reported(served, &prompt[..place - shift], rules)[prompt[place - shift] as usize];
            json!({ prompt[place].to_string(): { "logprob": value, "rank": 1, "decoded_token": "" } })
        };
        choice["prompt_logprobs"] = (0..prompt.len()).map(entry).collect();
    }
    choice
}
