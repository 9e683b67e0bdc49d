//! The architecture of a decoder-only transformer, as Hugging Face's `config.json` states it.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::LmError;

/// The settings of a Llama-architecture decoder.
///
/// Covered: `model_type = "llama"` with default rotary embeddings. Not covered yet, and refused by name: rotary
/// scaling, attention and MLP biases, other families.
#[derive(Clone, Debug, PartialEq)]
pub struct LmConfig {
    /// Entries of the embedding table.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward block's inner layer.
    pub ffn: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// The most positions.
    pub context: usize,
    /// Base of the rotary embedding's frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f64,
    /// Is the head the embedding table?
    pub tied: bool,
    /// Tokens that end the model's turn.
    pub eos: Vec<u32>,
    /// The token before a text, where the model has one.
    pub bos: Option<u32>,
    /// The token that fills short rows.
    pub pad: Option<u32>,
}

/// One id or several, as `eos_token_id` may be.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl LmConfig {
    /// Reads `config.json` from a checkpoint folder.
    ///
    /// # Errors
    /// [`LmError::Read`] when the file can't be read, [`LmError::Config`] with every fault of its content.
    pub fn from_dir(dir: &Path) -> Result<Self, LmError> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| LmError::Read { path: path.clone(), source })?;
        let json: Value = serde_json::from_str(&text)
            .map_err(|e| LmError::Config { path: path.clone(), faults: vec![format!("expected JSON: {e}")] })?;
        Self::from_json(&json).map_err(|faults| LmError::Config { path, faults })
    }

    /// Reads the value of a `config.json`.
    ///
    /// # Errors
    /// Every fault, each saying what was expected and what was given.
    pub fn from_json(json: &Value) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let model_type = json["model_type"].as_str().unwrap_or("");
        if model_type != "llama" {
            faults.push(format!("`model_type`: expected `llama`, got `{model_type}`"));
        }
        let mut size = |key: &str, default: Option<usize>| match json.get(key).filter(|v| !v.is_null()) {
            None if default.is_some() => default.unwrap_or_default(),
            None => {
                faults.push(format!("`{key}`: expected a whole number above 0, got nothing"));
                1
            }
            Some(value) => match value.as_u64() {
                Some(n) if n > 0 => n as usize,
                _ => {
                    faults.push(format!("`{key}`: expected a whole number above 0, got `{value}`"));
                    1
                }
            },
        };
        let hidden = size("hidden_size", None);
        let heads = size("num_attention_heads", None);
        let config = Self {
            vocab: size("vocab_size", None),
            hidden,
            ffn: size("intermediate_size", None),
            layers: size("num_hidden_layers", None),
            heads,
            kv_heads: size("num_key_value_heads", Some(heads)),
            head_dim: size("head_dim", Some((hidden / heads).max(1))),
            context: size("max_position_embeddings", None),
            // transformers 5 writes `rope_parameters`; older checkpoints write `rope_theta` at the top.
            rope_theta: json["rope_parameters"]["rope_theta"].as_f64().or(json["rope_theta"].as_f64()).unwrap_or(1e4),
            norm_eps: json["rms_norm_eps"].as_f64().unwrap_or(1e-6),
            tied: json["tie_word_embeddings"].as_bool().unwrap_or(false),
            eos: match serde_json::from_value(json["eos_token_id"].clone()) {
                Ok(Ids::One(id)) => vec![id],
                Ok(Ids::Many(ids)) => ids,
                Err(_) => Vec::new(),
            },
            bos: json["bos_token_id"].as_u64().map(|id| id as u32),
            pad: json["pad_token_id"].as_u64().map(|id| id as u32),
        };
        for bias in ["attention_bias", "mlp_bias"] {
            if json[bias].as_bool() == Some(true) {
                faults.push(format!("`{bias}`: expected `false`, got `true`"));
            }
        }
        let rope = json["rope_parameters"]["rope_type"].as_str().or(json["rope_scaling"]["rope_type"].as_str());
        if let Some(kind) = rope.filter(|kind| *kind != "default") {
            faults.push(format!("the rotary embedding's `rope_type`: expected `default`, got `{kind}`"));
        }
        let activation = json["hidden_act"].as_str().unwrap_or("silu");
        if activation != "silu" {
            faults.push(format!("`hidden_act`: expected `silu`, got `{activation}`"));
        }
        faults.extend(config.check());
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    /// Every way in which the sizes do not fit each other.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            faults.push(format!(
                "expected the key and value heads to divide the {} query heads, got {}",
                self.heads, self.kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            faults.push(format!("expected an even width of a head, got {}", self.head_dim));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            faults.push(format!("expected `rope_theta` above 0, got {}", self.rope_theta));
        }
        faults
    }

    /// The value of a `config.json` that transformers and vLLM load.
    pub fn to_json(&self, dtype: &str) -> Value {
        let eos = match self.eos.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.context,
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "rms_norm_eps": self.norm_eps,
            "hidden_act": "silu",
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "tie_word_embeddings": self.tied,
            "bos_token_id": self.bos,
            "eos_token_id": eos,
            "pad_token_id": self.pad,
            "torch_dtype": dtype,
            "use_cache": true,
        })
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        let attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads);
        let block = attention + 3 * self.hidden * self.ffn + 2 * self.hidden;
        let tables = if self.tied { 1 } else { 2 };
        self.layers * block + self.hidden + tables * self.vocab * self.hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Value {
        json!({"model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
               "num_attention_heads": 4, "max_position_embeddings": 64, "eos_token_id": [2, 3]})
    }

    #[test]
    fn absent_keys_take_their_defaults() {
        let config = LmConfig::from_json(&tiny()).unwrap();
        assert_eq!((config.kv_heads, config.head_dim, config.rope_theta), (4, 4, 1e4));
        assert_eq!(config.eos, [2, 3]);
        assert_eq!(LmConfig::from_json(&config.to_json("float32")).unwrap(), config);
    }

    #[test]
    fn every_fault_is_reported() {
        let mut json = tiny();
        json["model_type"] = json!("gpt2");
        json["hidden_size"] = json!("wide");
        json["num_key_value_heads"] = json!(3);
        json["rope_scaling"] = json!({"rope_type": "yarn"});
        let faults = LmConfig::from_json(&json).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:#?}");
        assert_eq!(faults[0], "`model_type`: expected `llama`, got `gpt2`");
        assert_eq!(faults[1], "`hidden_size`: expected a whole number above 0, got `\"wide\"`");
    }
}
