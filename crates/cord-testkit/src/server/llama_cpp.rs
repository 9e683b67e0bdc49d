//! llama.cpp's `/completion`.

use cord_core::Sampling;
use serde_json::{Value, json};

use super::vllm::{End, kept, reported, top, write};
use super::{Answer, Quirk, Served, ids, need, need_f64, need_u64, neutral, not_found, refusal, texts};
use crate::hashed::Rules;
use crate::{ByteVocabulary, Specials};

pub(super) fn answer(served: &Served, path: &str, body: &Value) -> Result<Answer, Answer> {
    match path {
        "/v1/models" => {
            let owner = if served.has(Quirk::Anonymous) { "someone" } else { "llamacpp" };
            let meta = json!({ "n_vocab": served.vocabulary().size(), "n_params": 1, "size": served.weights });
            let card = json!({ "id": served.name, "object": "model", "owned_by": owner, "meta": meta });
            Ok((200, json!({ "object": "list", "data": [card] })))
        }
        "/props" => {
            let props = json!({
                "model_path": format!("/models/{}.gguf", served.root), "build_info": served.version, "total_slots": 2,
                "default_generation_settings": { "n_ctx": served.context },
            });
            Ok((200, props))
        }
        "/tokenize" => {
            if need(body, "add_special")? != &json!(false) || need(body, "parse_special")? != &json!(true) {
                return Err(refusal(400, "the test server wants special tokens read and none added"));
            }
            let text = need(body, "content")?.as_str().unwrap_or_default();
            Ok((200, json!({ "tokens": served.vocabulary().encode(text) })))
        }
        "/completion" => completion(served, body),
        "/v1/chat/completions" => super::openai::chat(served, body),
        _ => not_found(),
    }
}

fn completion(served: &Served, body: &Value) -> Result<Answer, Answer> {
    let off = [
        ("dynatemp_range", 0.0),
        ("min_p", 0.0),
        ("top_n_sigma", -1.0),
        ("xtc_probability", 0.0),
        ("typical_p", 1.0),
        ("repeat_penalty", 1.0),
        ("presence_penalty", 0.0),
        ("frequency_penalty", 0.0),
        ("dry_multiplier", 0.0),
        ("mirostat", 0.0),
    ];
    neutral(body, &off)?;
    let rules = Rules {
        sampling: Sampling {
            temperature: need_f64(body, "temperature")?,
            top_p: need_f64(body, "top_p")?,
            top_k: need_u64(body, "top_k")? as u32,
        },
        seed: need_u64(body, "seed")?,
        bias: need(body, "logit_bias")?
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair[0].as_u64()? as u32, pair[1].as_f64()?)))
            .collect(),
        allowed: None,
    };
    let prompt = ids(need(body, "prompt")?)?;
    // llama.cpp draws one token even when none is asked for.
    let budget = (need_u64(body, "n_predict")? as usize).max(1);
    if prompt.len() >= served.context as usize {
        let message = format!("the request exceeds the available context size ({} tokens)", served.context);
        let error = json!({ "code": 400, "message": message, "type": "exceed_context_size_error" });
        return Err((400, json!({ "error": error })));
    }
    let prompt = kept(served, prompt);
    let stop = texts(body.get("stop"));
    let ends = [ByteVocabulary::END, ByteVocabulary::END_OF_TEXT];
    let written = write(served, &prompt, &rules, &stop, &ends, budget, Specials::Hidden);
    let (stop_type, word) = match &written.end {
        End::Token(_) => ("eos", String::new()),
        End::Stop(stop) => ("word", stop.clone()),
        End::Length => ("limit", String::new()),
    };
    let count = need_u64(body, "n_probs")? as usize;
    let mut context = prompt.clone();
    let mut entries = Vec::new();
    for id in &written.ids {
        let here = reported(served, &context, &rules);
        let top: Vec<Value> = top(&here, count).into_iter().map(|(id, v)| json!({ "id": id, "logprob": v })).collect();
        entries.push(json!({ "id": id, "token": "", "logprob": here[*id as usize], "top_logprobs": top }));
        context.push(*id);
    }
    if let End::Stop(stop) = &written.end {
        // As many entries are cut as the stop string has tokens of its own.
        let cut = served.vocabulary().encode(stop).len().min(entries.len());
        entries.truncate(entries.len() - cut);
    }
    let mut reply = json!({
        "index": 0, "content": written.text, "tokens": written.ids, "stop": true, "model": served.name,
        "tokens_predicted": written.ids.len(), "tokens_evaluated": prompt.len(), "truncated": false,
        "stop_type": stop_type, "stopping_word": word,
        "timings": { "cache_n": prompt.len() - 1, "prompt_n": 1, "predicted_n": written.ids.len() },
    });
    if !served.has(Quirk::NoLogprobs) && count > 0 {
        reply["completion_probabilities"] = json!(entries);
    }
    if served.has(Quirk::NoStopReason) {
        reply.as_object_mut().expect("an object").remove("stop_type");
    }
    Ok((200, reply))
}
