//! What vLLM, SGLang and OpenAI's own completions share.

use serde::{Deserialize, Deserializer, Serialize};

use crate::ClientError;
use crate::dispatch::Line;
use crate::json::RawLogprob;
use crate::stats::Physical;

/// One model of `/v1/models`.
#[derive(Deserialize)]
pub(super) struct Card {
    pub(super) id: String,
    #[serde(default)]
    pub(super) root: Option<String>,
    #[serde(default)]
    pub(super) parent: Option<String>,
    #[serde(default)]
    pub(super) max_model_len: Option<u32>,
    #[serde(default)]
    pub(super) meta: Option<Meta>,
}

/// llama.cpp's facts about a GGUF file.
#[derive(Deserialize)]
pub(super) struct Meta {
    #[serde(default)]
    pub(super) n_vocab: Option<u64>,
    #[serde(default)]
    pub(super) n_params: Option<u64>,
    #[serde(default)]
    pub(super) size: Option<u64>,
}

#[derive(Deserialize)]
struct Cards {
    data: Vec<Card>,
}

/// The card of the wanted model, or of the only one.
pub(super) async fn card(line: &Line<'_>, wanted: Option<&str>) -> Result<Card, ClientError> {
    let cards = line.get::<Cards>("/v1/models").await?.map(|cards| cards.data).unwrap_or_default();
    let names = || cards.iter().map(|card| format!("`{}`", card.id)).collect::<Vec<_>>().join(", ");
    let given = if cards.is_empty() { "none".to_owned() } else { names() };
    match wanted {
        Some(wanted) => {
            let expected = format!("`{wanted}` among the server's models");
            let fault = ClientError::Changed { endpoint: line.endpoint.to_owned(), expected, given };
            cards.into_iter().find(|card| card.id == wanted).ok_or(fault)
        }
        None if cards.len() == 1 => Ok(cards.into_iter().next().expect("there is one")),
        None => Err(ClientError::reply(
            line.endpoint,
            "a server of one model (or its name as `model`)",
            format!("the models {given}"),
        )),
    }
}

/// The ids that the server's tokenizer gives a text, without a BOS of its own; nothing where it has no such path.
pub(super) async fn tokenize(line: &Line<'_>, model: &str, text: &str) -> Result<Option<Vec<u32>>, ClientError> {
    #[derive(Serialize)]
    struct Request<'a> {
        model: &'a str,
        prompt: &'a str,
        add_special_tokens: bool,
    }
    #[derive(Deserialize)]
    struct Reply {
        tokens: Vec<u32>,
    }
    let request = Request { model, prompt: text, add_special_tokens: false };
    Ok(line.post::<Reply>("/tokenize", &request).await?.map(|reply| reply.tokens))
}

/// vLLM's `stop_reason`: missing, `null`, a token's id or a stop string. That it is missing tells something else than
/// that it is null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum StopReason {
    #[default]
    Missing,
    Null,
    Token(u32),
    Text(String),
}

impl<'de> Deserialize<'de> for StopReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Token(u32),
            Text(String),
        }
        Ok(match Option::<Given>::deserialize(deserializer)? {
            None => Self::Null,
            Some(Given::Token(id)) => Self::Token(id),
            Some(Given::Text(text)) => Self::Text(text),
        })
    }
}

/// OpenAI's count of tokens.
#[derive(Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Usage {
    /// The physical cost. Where the server does not tell what its cache held, neither count is known.
    pub(super) fn physical(&self) -> Physical {
        let cached = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        Physical {
            cached: cached.unwrap_or(0),
            evaluated: cached.map_or(0, |cached| self.prompt_tokens.saturating_sub(cached)),
            generated: self.completion_tokens.unwrap_or(0),
        }
    }
}

/// OpenAI's log-probabilities of a completion: one entry a token.
#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the server's own names")]
pub(super) struct Logprobs {
    pub(super) tokens: Vec<String>,
    pub(super) token_logprobs: Vec<RawLogprob>,
    #[serde(default)]
    pub(super) top_logprobs: Option<Vec<Option<serde_json::Map<String, serde_json::Value>>>>,
}

impl Logprobs {
    /// The values of the most likely tokens at a place, under their names.
    pub(super) fn top(&self, place: usize) -> Vec<(String, RawLogprob)> {
        let Some(Some(entry)) = self.top_logprobs.as_ref().and_then(|top| top.get(place)) else { return Vec::new() };
        let raw = |value: &serde_json::Value| {
            serde_json::from_value(value.clone()).unwrap_or_else(|_| RawLogprob::Text(value.to_string()))
        };
        entry.iter().map(|(name, value)| (name.clone(), raw(value))).collect()
    }
}

/// Puts choices in the order of their `index`, which must be `0..count`, each once.
pub(super) fn in_order<T>(
    endpoint: &str,
    choices: Vec<T>,
    index: impl Fn(&T) -> usize,
    count: usize,
) -> Result<Vec<T>, ClientError> {
    let given: Vec<usize> = choices.iter().map(&index).collect();
    let mut places: Vec<Option<T>> = (0..count).map(|_| None).collect();
    for choice in choices {
        if let Some(place) = places.get_mut(index(&choice)) {
            *place = Some(choice);
        }
    }
    let ordered: Vec<T> = places.into_iter().flatten().collect();
    if ordered.len() == count && given.len() == count {
        return Ok(ordered);
    }
    let expected = format!("the choices 0 to {}, each once", count.saturating_sub(1));
    Err(ClientError::reply(endpoint, expected, format!("the choices {given:?}")))
}

/// Holds a count that the server states against ours: a prompt that was cut in silence is found here.
pub(super) fn same_count(endpoint: &str, what: &str, ours: u64, theirs: u64) -> Result<(), ClientError> {
    if ours == theirs {
        return Ok(());
    }
    Err(ClientError::reply(endpoint, format!("{ours} {what}"), format!("{theirs}")))
}

/// The model that a reply names must be the one that was asked.
pub(super) fn same_model(endpoint: &str, asked: &str, named: Option<&str>) -> Result<(), ClientError> {
    match named {
        Some(named) if named != asked => Err(ClientError::Changed {
            endpoint: endpoint.to_owned(),
            expected: format!("`{asked}`"),
            given: format!("a reply of `{named}`"),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn choices_are_ordered_if_and_only_if_each_is_there_once(indices in prop::collection::vec(0usize..6, 0..7), count in 0usize..6) {
            let ordered = in_order("e", indices.clone(), |index| *index, count);
            let mut sorted = indices.clone();
            sorted.sort_unstable();
            let whole = sorted == (0..count).collect::<Vec<_>>();
            prop_assert_eq!(ordered.is_ok(), whole);
            if whole {
                prop_assert_eq!(ordered.unwrap(), sorted);
            }
        }
    }

    #[test]
    fn a_missing_stop_reason_is_not_a_null_one() {
        #[derive(Deserialize)]
        struct Choice {
            #[serde(default)]
            stop_reason: StopReason,
        }
        let check = |text: &str, expected: &StopReason| {
            assert_eq!(&serde_json::from_str::<Choice>(text).unwrap().stop_reason, expected, "{text}");
        };
        check("{}", &StopReason::Missing);
        check(r#"{"stop_reason": null}"#, &StopReason::Null);
        check(r#"{"stop_reason": 7}"#, &StopReason::Token(7));
        check(r#"{"stop_reason": "\n\n"}"#, &StopReason::Text("\n\n".to_owned()));
        assert!(serde_json::from_str::<Choice>(r#"{"stop_reason": 1.5}"#).is_err());
    }
}
