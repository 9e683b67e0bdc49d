//! Replies as JSON, strictly.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;

use crate::ClientError;

/// Characters of a reply that a message quotes.
const EXCERPT: usize = 200;

/// Parses an answer.
///
/// # Errors
/// [`ClientError::Malformed`] for what is no JSON, [`ClientError::Reply`] for JSON of another shape.
pub(crate) fn read<T: DeserializeOwned>(endpoint: &str, path: &str, body: &[u8]) -> Result<T, ClientError> {
    let parsed = serde_json::from_slice(body).or_else(|error| match error.classify() {
        Category::Data => Err(error),
        // Python's own writer says `NaN` and `Infinity`. They are wrapped, so that the fault is told where the
        // number is used.
        _ => match wrapped_non_numbers(body) {
            Some(body) => serde_json::from_slice(&body),
            None => Err(error),
        },
    });
    parsed.map_err(|error| {
        let text = excerpt(&String::from_utf8_lossy(body));
        match error.classify() {
            Category::Data => ClientError::Reply {
                endpoint: endpoint.to_owned(),
                expected: format!("the reply of `{path}` in its documented shape"),
                given: format!("`{text}` ({error})"),
            },
            Category::Io | Category::Syntax | Category::Eof => {
                ClientError::Malformed { endpoint: endpoint.to_owned(), given: format!("`{text}` ({error})") }
            }
        }
    })
}

/// The beginning of a text.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What an error's body says, in the shapes of OpenAI, FastAPI and plain text.
pub(crate) fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return excerpt(text.trim()) };
    let error = value.get("error").unwrap_or(&value);
    let said = |key: &str| match error.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let what = error.as_str().map(str::to_owned).or_else(|| said("message")).or_else(|| said("detail"));
    let kind = said("type").filter(|kind| kind != "None");
    excerpt(&match (kind, what) {
        (Some(kind), Some(what)) => format!("{kind}: {what}"),
        (_, Some(what)) => what,
        (_, None) => value.to_string(),
    })
}

/// The body with `NaN`, `Infinity` and `-Infinity` as objects, which nothing but a log-probability is read from; nothing where it has none outside its texts.
fn wrapped_non_numbers(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() + 16);
    let mut rest = body;
    let mut quoted = false;
    let mut found = false;
    while let Some((&byte, after)) = rest.split_first() {
        if !quoted && let Some(word) = ["NaN", "Infinity", "-Infinity"].iter().find(|w| rest.starts_with(w.as_bytes()))
        {
            out.extend(format!("{{\"{word}\":null}}").bytes());
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        out.push(byte);
        rest = after;
        if byte == b'"' {
            quoted = !quoted;
        } else if quoted
            && byte == b'\\'
            && let Some((&escaped, after)) = rest.split_first()
        {
            out.push(escaped);
            rest = after;
        }
    }
    found.then_some(out)
}

/// A log-probability as a server writes it, before it is believed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawLogprob {
    Number(f64),
    Missing,
    Text(String),
}

impl<'de> Deserialize<'de> for RawLogprob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::Missing),
            Value::Number(number) => Ok(Self::Number(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(map) if map.len() == 1 => Ok(Self::Text(map.keys().cloned().collect())),
            other => Err(D::Error::custom(format!("expected a log-probability, got `{other}`"))),
        }
    }
}

/// Rounding can leave a hair above 0 for a token that is all but certain.
const HAIR: f64 = 1e-5;
/// vLLM writes −9999 for −inf, SGLang the least finite number.
const AS_GOOD_AS_INFINITE: f64 = -9990.0;

impl RawLogprob {
    /// The value, in nats.
    ///
    /// # Errors
    /// [`ClientError::Logprob`] unless it is a finite number at most 0; `index` is the token's place.
    pub(crate) fn checked(&self, endpoint: &str, index: usize) -> Result<f64, ClientError> {
        let given = match self {
            Self::Number(value) if value.is_finite() && *value <= HAIR && *value > AS_GOOD_AS_INFINITE => {
                return Ok(value.min(0.0));
            }
            Self::Number(value) if *value <= AS_GOOD_AS_INFINITE => format!("`{value}`, which stands for -inf"),
            Self::Number(value) => format!("`{value}`"),
            Self::Missing => "none".to_owned(),
            Self::Text(text) => format!("`{text}`"),
        };
        Err(ClientError::Logprob { endpoint: endpoint.to_owned(), given, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_log_probabilities_are_believed() {
        let check = |text: &str, expected: Result<f64, &str>| {
            let raw: RawLogprob = read("e", "/p", text.as_bytes()).unwrap();
            let given = raw.checked("e", 3).map_err(|error| match error {
                ClientError::Logprob { given, index: 3, .. } => given,
                other => panic!("{other}"),
            });
            assert_eq!(given, expected.map_err(str::to_owned), "{text}");
        };
        check("-1.5", Ok(-1.5));
        check("0", Ok(0.0));
        check("1e-7", Ok(0.0));
        check("0.5", Err("`0.5`"));
        check("-9999.0", Err("`-9999`, which stands for -inf"));
        check("-1e+38", Err("`-100000000000000000000000000000000000000`, which stands for -inf"));
        check("null", Err("none"));
        check("NaN", Err("`NaN`"));
        check("-Infinity", Err("`-Infinity`"));
    }

    #[test]
    fn a_cut_body_is_not_a_wrong_shape() {
        #[derive(Debug, Deserialize)]
        struct Shape {
            #[expect(dead_code, reason = "read for its shape")]
            text: String,
        }
        let kind = |text: &str| read::<Shape>("e", "/p", text.as_bytes()).unwrap_err().is_transient();
        assert!(kind(r#"{"text": "a"#) && kind("<html>") && kind(""));
        assert!(!kind(r#"{"txt": "a"}"#) && !kind(r#"{"text": 3}"#) && !kind(r#"{"text": NaN}"#));
        read::<Shape>("e", "/p", br#"{"text": "NaN, \"NaN\" and \\"}"#).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn texts_that_spell_a_non_number_are_left_alone(text in r#"[NaInfity"\\, -]{0,20}"#) {
            let body = serde_json::json!([text, {text.clone(): 1}]).to_string();
            proptest::prop_assert_eq!(wrapped_non_numbers(body.as_bytes()), None);
        }
    }

    #[test]
    fn the_servers_words_are_found() {
        let check = |body: &str, expected: &str| assert_eq!(message(body.as_bytes()), expected);
        check(r#"{"error":{"message":"too long","type":"exceed"}}"#, "exceed: too long");
        check(r#"{"detail":"no"}"#, "no");
        check(r#"{"error":"gone"}"#, "gone");
        check(r#"{"object":"error","message":"bad"}"#, "bad");
        check("busy\n", "busy");
    }
}
