//! OpenAI's completions and chat, as a plain server has them.

use cord_core::Sampling;
use serde_json::{Value, json};

use super::vllm::{End, kept, models, reported, top, write};
use super::{Answer, Quirk, Served, ids, need, need_f64, need_u64, not_found, refusal, texts};
use crate::hashed::Rules;
use crate::{ByteVocabulary, Specials};

pub(super) fn answer(served: &Served, path: &str, body: &Value) -> Result<Answer, Answer> {
    match path {
        "/v1/models" => {
            let mut models = models(served, "someone");
            models["data"][0].as_object_mut().expect("a card").remove("max_model_len");
            Ok((200, models))
        }
        "/v1/completions" => completions(served, body),
        "/v1/chat/completions" => chat(served, body),
        _ => not_found(),
    }
}

fn completions(served: &Served, body: &Value) -> Result<Answer, Answer> {
    let prompt = match need(body, "prompt")? {
        Value::String(text) => served.vocabulary().encode(text),
        other => ids(other)?,
    };
    let prompt = kept(served, prompt);
    let rules = Rules {
        sampling: Sampling { temperature: need_f64(body, "temperature")?, top_p: need_f64(body, "top_p")?, top_k: 0 },
        seed: need_u64(body, "seed")?,
        bias: body["logit_bias"].as_object().map_or(Vec::new(), |bias| {
            bias.iter().filter_map(|(id, bias)| Some((id.parse().ok()?, bias.as_f64()?))).collect()
        }),
        allowed: None,
    };
    let budget = need_u64(body, "max_tokens")? as usize;
    let stop = texts(body.get("stop"));
    let ends = [ByteVocabulary::END, ByteVocabulary::END_OF_TEXT];
    let written = write(served, &prompt, &rules, &stop, &ends, budget, Specials::Hidden);
    let (finish, reason) = match &written.end {
        End::Token(_) => ("stop", Value::Null),
        End::Stop(stop) => ("stop", json!(stop)),
        End::Length => ("length", Value::Null),
    };
    let mut choice =
        json!({ "index": 0, "text": written.text, "finish_reason": finish, "stop_reason": reason, "logprobs": null });
    if served.has(Quirk::NoStopReason) {
        choice.as_object_mut().expect("an object").remove("stop_reason");
    }
    if let Some(count) = body.get("logprobs").and_then(Value::as_u64) {
        let echoed = if need(body, "echo")? == &json!(true) && served.has(Quirk::Echoes) { prompt.len() } else { 0 };
        let all = [&prompt[..], &written.ids[..]].concat();
        let (mut values, mut tops, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for place in prompt.len() - echoed..all.len() {
            let here = reported(served, &all[..place], &rules);
            values.push(if place == 0 { Value::Null } else { json!(here[all[place] as usize]) });
            let entry = top(&here, count as usize).into_iter().map(|(id, v)| (format!("<{id}>"), json!(v)));
            tops.push(entry.collect::<serde_json::Map<String, Value>>());
            names.push(format!("<{}>", all[place]));
        }
        choice["logprobs"] = json!({ "tokens": names, "token_logprobs": values, "top_logprobs": tops });
    }
    let usage = json!({ "prompt_tokens": prompt.len(), "completion_tokens": written.ids.len() });
    Ok((200, json!({ "model": served.name, "choices": [choice], "usage": usage })))
}

/// Repeats the last message, so that a test can see which request an answer is of.
pub(super) fn chat(served: &Served, body: &Value) -> Result<Answer, Answer> {
    if need(body, "model")? != &json!(served.name) {
        return Err(refusal(404, format!("The model {} does not exist.", body["model"])));
    }
    need_f64(body, "temperature")?;
    need_u64(body, "seed")?;
    let last = need(body, "messages")?.as_array().and_then(|messages| messages.last()).cloned().unwrap_or_default();
    let text = last["content"].as_str().unwrap_or_default();
    let most = body.get("max_completion_tokens").or(body.get("max_tokens")).and_then(Value::as_u64).unwrap_or(0);
    let tokens = served.vocabulary().encode(text);
    let cut = tokens.len() as u64 > most;
    let kept = &tokens[..tokens.len().min(most as usize)];
    let choice = json!({
        "index": 0, "finish_reason": if cut { "length" } else { "stop" },
        "message": { "role": "assistant", "content": served.vocabulary().decode(kept, Specials::Shown) },
    });
    let usage = json!({ "prompt_tokens": tokens.len(), "completion_tokens": kept.len() });
    Ok((200, json!({ "model": format!("{}-{}", served.name, served.version), "choices": [choice], "usage": usage })))
}
