//! SGLang's `/generate`.

use cord_core::Sampling;
use serde_json::{Value, json};

use super::vllm::{End, kept, models, reported, tokenize, top, write};
use super::{Answer, Quirk, Served, ids, need, need_f64, need_u64, neutral, not_found, refusal, texts};
use crate::hashed::Rules;
use crate::{ByteVocabulary, Specials};

pub(super) fn answer(served: &Served, path: &str, body: &Value) -> Result<Answer, Answer> {
    match path {
        "/v1/models" => Ok((200, models(served, "sglang"))),
        "/get_model_info" => {
            Ok((200, json!({ "model_path": served.root, "is_generation": true, "weight_version": "default" })))
        }
        "/get_server_info" => Ok((200, json!({ "version": served.version, "dtype": "auto", "context_length": null }))),
        "/tokenize" => tokenize(served, body),
        "/generate" => generate(served, body),
        "/v1/chat/completions" => super::openai::chat(served, body),
        _ => not_found(),
    }
}

fn generate(served: &Served, body: &Value) -> Result<Answer, Answer> {
    let prompt = kept(served, ids(need(body, "input_ids")?)?);
    let params = need(body, "sampling_params")?;
    let penalties =
        [("min_p", 0.0), ("presence_penalty", 0.0), ("frequency_penalty", 0.0), ("repetition_penalty", 1.0)];
    neutral(params, &penalties)?;
    let rules = Rules {
        sampling: Sampling {
            temperature: need_f64(params, "temperature")?,
            top_p: need_f64(params, "top_p")?,
            top_k: need(params, "top_k")?.as_i64().unwrap_or(0).max(0) as u32,
        },
        seed: need_u64(params, "sampling_seed")?,
        bias: params["logit_bias"].as_object().map_or(Vec::new(), |bias| {
            bias.iter().filter_map(|(id, bias)| Some((id.parse().ok()?, bias.as_f64()?))).collect()
        }),
        allowed: None,
    };
    let budget = need_u64(params, "max_new_tokens")? as usize;
    let needed = prompt.len() + budget;
    if needed > served.context as usize {
        let message = format!(
            "The input ({needed} tokens) is longer than the model's context length ({} tokens).",
            served.context
        );
        return Err(refusal(400, message));
    }
    let silent = served.has(Quirk::NoLogprobs) || need(body, "return_logprob")? != &json!(true);
    let mut meta = json!({ "id": "1", "prompt_tokens": prompt.len(), "cached_tokens": 3, "weight_version": "default" });
    let start = need(body, "logprob_start_len")?.as_i64().unwrap_or(-1);
    if start >= 0 && !silent {
        let start = start as usize;
        let entry = |place: usize| {
            let shift = usize::from(served.has(Quirk::Shifted));
            if place == start {
                return json!([null, prompt[place], null]);
            }
            let value = reported(served, &prompt[..place - shift], &rules)[prompt[place - shift] as usize];
            json!([value, prompt[place], null])
        };
        meta["input_token_logprobs"] = (start..prompt.len()).map(entry).collect();
    }
    if budget == 0 {
        meta["completion_tokens"] = json!(0);
        meta["finish_reason"] = json!({ "type": "length", "length": 0 });
        return Ok((200, json!({ "text": "", "meta_info": meta })));
    }
    let mut ends = ids(need(params, "stop_token_ids")?)?;
    ends.push(ByteVocabulary::END);
    let stop = texts(params.get("stop"));
    let shown = need(params, "skip_special_tokens")? == &json!(false);
    let specials = if shown { Specials::Shown } else { Specials::Hidden };
    let written = write(served, &prompt, &rules, &stop, &ends, budget, specials);
    // SGLang looks at the budget first: an end of turn that is the last token of the budget is a length to it.
    meta["finish_reason"] = if written.ids.len() >= budget {
        json!({ "type": "length", "length": budget })
    } else {
        match &written.end {
            End::Token(id) => json!({ "type": "stop", "matched": id }),
            End::Stop(stop) => json!({ "type": "stop", "matched": stop }),
            End::Length => json!({ "type": "length", "length": budget }),
        }
    };
    if served.has(Quirk::NoStopReason) && written.ids.len() < budget {
        meta["finish_reason"] = json!({ "type": "stop" });
    }
    meta["completion_tokens"] = json!(written.ids.len());
    if !silent {
        // Drawn tokens' values are from after the temperature; the input's are the model's own.
        let heated = Served { quirks: vec![Quirk::Processed], ..served.clone() };
        let count = body["top_logprobs_num"].as_u64().unwrap_or(0) as usize;
        let mut context = prompt;
        let (mut values, mut tops) = (Vec::new(), Vec::new());
        for id in &written.ids {
            let here = reported(&heated, &context, &rules);
            values.push(json!([here[*id as usize], id, null]));
            tops.push(top(&here, count).into_iter().map(|(id, value)| json!([value, id, null])).collect::<Vec<_>>());
            context.push(*id);
        }
        meta["output_token_logprobs"] = json!(values);
        meta["output_top_logprobs"] = json!(tops);
    }
    Ok((200, json!({ "text": written.text, "output_ids": written.ids, "meta_info": meta })))
}
