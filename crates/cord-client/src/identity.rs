//! What a server says it serves.

use std::collections::BTreeMap;

use cord_core::{Digest, ModelId};
use cord_text::Renderer;
use serde::Serialize;

use crate::Dialect;

/// A served model as its server states it. Two servers that state the same are taken to serve the same weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServedIdentity {
    /// The kind of server.
    pub dialect: Dialect,
    /// The model's name in requests.
    pub model: String,
    /// What else decides its numbers, as far as the server tells: the folder, revision or file of its weights, their
    /// number format, the server's build. Never what changes from start to start.
    pub facts: BTreeMap<String, String>,
    /// The most tokens of prompt and continuation.
    #[serde(skip)]
    pub context: Option<u32>,
}

impl ServedIdentity {
    pub(crate) fn new(dialect: Dialect, model: String, context: Option<u32>) -> Self {
        Self { dialect, model, facts: BTreeMap::new(), context }
    }

    pub(crate) fn fact(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.facts.insert(name.to_owned(), value.to_string());
        }
        self
    }

    /// The digest that stands for the weights.
    pub fn weights(&self) -> Digest {
        Digest::of_json(&("served", self))
    }

    /// The model's content-derived name: the server's word for the weights, ours for tokenizer and template.
    pub fn model_id(&self, name: Option<&str>, renderer: &Renderer) -> ModelId {
        ModelId {
            name: name.unwrap_or(&self.model).to_owned(),
            weights: self.weights(),
            tokenizer: renderer.tokenizer_digest(),
            template: renderer.template_digest(),
        }
    }

    /// What differs from another identity, for a message. Empty where nothing does.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut told = Vec::new();
        if self.model != other.model {
            told.push(format!("the model `{}` instead of `{}`", other.model, self.model));
        }
        if self.dialect != other.dialect {
            told.push(format!("a server of kind `{}` instead of `{}`", other.dialect, self.dialect));
        }
        let value = |facts: &BTreeMap<String, String>, name: &String| {
            facts.get(name).map_or("nothing".to_owned(), |value| format!("`{value}`"))
        };
        let names: std::collections::BTreeSet<&String> = self.facts.keys().chain(other.facts.keys()).collect();
        for name in names {
            if self.facts.get(name) != other.facts.get(name) {
                told.push(format!("{name} {} instead of {}", value(&other.facts, name), value(&self.facts, name)));
            }
        }
        if self.context != other.context {
            told.push(format!("a context of {:?} tokens instead of {:?}", other.context, self.context));
        }
        told
    }
}
