//! The architecture of a decoder-only transformer, as Hugging Face's `config.json` states it.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::LmError;
use crate::family::{Architecture, Family};

/// The settings of a decoder.
///
/// Covered: `model_type` of `llama`, `mistral`, `qwen2`, `qwen3`, `phi3` (which Phi-4 is too) and `gemma3_text`, as
/// [`Architecture`] says. Everything else is refused by name.
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
    /// What sets the family apart from Llama 2, which is the default.
    pub architecture: Architecture,
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
        let family = Family::of_model_type(model_type).unwrap_or_else(|| {
            let known = Family::ALL.map(Family::model_type).join("`, `");
            faults.push(format!("`model_type`: expected one of `{known}`, got `{model_type}`"));
            Family::Llama
        });
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
        let layers = size("num_hidden_layers", None);
        let context = size("max_position_embeddings", None);
        let head_dim = size("head_dim", Some(family.default_head_dim().unwrap_or((hidden / heads).max(1))));
        let mut config = Self {
            vocab: size("vocab_size", None),
            hidden,
            ffn: size("intermediate_size", None),
            layers,
            heads,
            kv_heads: size("num_key_value_heads", Some(heads)),
            head_dim,
            context,
            rope_theta: 1e4,
            norm_eps: json["rms_norm_eps"].as_f64().unwrap_or(family.default_norm_eps()),
            tied: json["tie_word_embeddings"].as_bool().unwrap_or(family == Family::Gemma3),
            eos: match serde_json::from_value(json["eos_token_id"].clone()) {
                Ok(Ids::One(id)) => vec![id],
                Ok(Ids::Many(ids)) => ids,
                Err(_) => Vec::new(),
            },
            bos: json["bos_token_id"].as_u64().map(|id| id as u32),
            pad: json["pad_token_id"].as_u64().map(|id| id as u32),
            architecture: Architecture::default(),
        };
        (config.architecture, config.rope_theta) =
            Architecture::read(family, json, layers, head_dim, context, &mut faults);
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

    /// The value of a `config.json` that transformers and vLLM load: the one that was read, with this program's number format and
    /// ends of a turn, or a Llama's for a model that was made here.
    pub fn to_json(&self, dtype: &str) -> Value {
        let eos = match self.eos.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        if let Some(source) = &self.architecture.source {
            let mut json = source.clone();
            let key = if json.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
            json[key] = json!(dtype);
            json["eos_token_id"] = eos;
            return json;
        }
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
        let Architecture { family, biases, .. } = &self.architecture;
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attention = 2 * self.hidden * (queries + keys);
        let norms = if family.sandwich() { 4 } else { 2 } * self.hidden
            + if family.head_norms() { 2 * self.head_dim } else { 0 };
        let biases = if biases.qkv { queries + 2 * keys } else { 0 }
            + if biases.o { self.hidden } else { 0 }
            + if biases.mlp { 2 * self.ffn + self.hidden } else { 0 };
        let block = attention + 3 * self.hidden * self.ffn + norms + biases;
        let tables = if self.tied { 1 } else { 2 };
        self.layers * block + self.hidden + tables * self.vocab * self.hidden
    }

    /// Floating-point operations that training needs for a token of a sequence of `length` tokens: forward and backward, nothing of
    /// it computed twice. Six for each parameter that is multiplied with, four where it is `frozen` beside adapters, and those of attention to half of the sequence, or to
    /// the window (Chowdhery et al. 2022, appendix B, which counts attention to all of it).
    pub fn training_flops(&self, length: f64, frozen: bool) -> f64 {
        // A table of its own for the embedding is looked up, not multiplied with.
        let looked_up = if self.tied { 0 } else { self.vocab * self.hidden };
        let attended = |layer| {
            let window = self.architecture.window_of(layer).map_or(f64::INFINITY, |window| window as f64);
            // The mean over the sequence: the first tokens see less than a window.
            if length <= window { length / 2.0 } else { window * (1.0 - window / (2.0 * length)) }
        };
        let attended: f64 = (0..self.layers).map(attended).sum();
        let each = if frozen { 4.0 } else { 6.0 };
        each * (self.parameters() - looked_up) as f64 + 12.0 * (self.heads * self.head_dim) as f64 * attended
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
    fn the_operations_of_a_token_are_those_of_its_products() {
        let mut config = LmConfig::from_json(&tiny()).unwrap();
        // Of each layer: queries, keys, values and the output 16 × 16 each, three products of 16 × 24; the head 16 × 32.
        let products = f64::from(2 * (4 * 16 * 16 + 3 * 16 * 24) + 16 * 32);
        let norms = f64::from(5 * 16);
        // Scores and values of 10 of 20 tokens in two layers, forward (2 operations each) and twice that backward.
        let attention = 2.0 * 2.0 * 16.0 * 10.0 * 2.0 * 3.0;
        assert_eq!(config.training_flops(20.0, false), 6.0 * (products + norms) + attention);
        assert_eq!(config.training_flops(20.0, true), 4.0 * (products + norms) + attention);
        (config.architecture.window, config.architecture.windowed) = (Some(4), vec![true, false]);
        // In one of the layers 4 tokens see 1 to 4, by their areas 8, and 16 see 4.
        let windowed = 6.0 * (products + norms) + attention * (1.0 + (8.0 + 64.0) / 200.0) / 2.0;
        assert!((config.training_flops(20.0, false) - windowed).abs() < 1e-6);
    }

    #[test]
    fn absent_keys_take_their_defaults() {
        let config = LmConfig::from_json(&tiny()).unwrap();
        assert_eq!((config.kv_heads, config.head_dim, config.rope_theta), (4, 4, 1e4));
        assert_eq!(config.eos, [2, 3]);
        let again = LmConfig::from_json(&config.to_json("float32")).unwrap();
        assert_eq!(again.to_json("float32"), config.to_json("float32"));
        let made = LmConfig { architecture: Architecture::default(), ..config };
        let read = LmConfig::from_json(&made.to_json("float32")).unwrap();
        assert_eq!(LmConfig { architecture: Architecture::default(), ..read }, made);
    }

    #[test]
    fn every_fault_is_reported() {
        let mut json = tiny();
        json["model_type"] = json!("gpt2");
        json["hidden_size"] = json!("wide");
        json["num_key_value_heads"] = json!(3);
        json["rope_scaling"] = json!({"rope_type": "dynamic"});
        let faults = LmConfig::from_json(&json).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:#?}");
        assert_eq!(
            faults[0],
            "`model_type`: expected one of `llama`, `mistral`, `qwen2`, `qwen3`, `phi3`, `gemma3_text`, got `gpt2`"
        );
        assert_eq!(faults[1], "`hidden_size`: expected a whole number above 0, got `\"wide\"`");
    }
}
