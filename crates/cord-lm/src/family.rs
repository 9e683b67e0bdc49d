//! What sets the families of decoders apart from Llama 2, read from `config.json` alone, old layout and new.
//!
//! | family | projections | norms | rotary embedding | windows |
//! |---|---|---|---|---|
//! | Llama 2, 3 | biases where set | two of a block | scaled (`llama3`, `linear`) where set | none |
//! | Mistral | | two | | all layers where set |
//! | Qwen2 | biases of q, k, v | two | | layers from `max_window_layers` on, where used |
//! | Qwen3 | biases where set | two, and of each head of q and k | | as Qwen2 |
//! | Phi-3, Phi-4 | q, k, v in one; gate and up in one | two | of a part of each head; `longrope` where set | all layers where set |
//! | Gemma 3 (text) | tanh-GELU, scaled embedding | four, weights around 0, and of each head | two bases | all layers but every sixth |
//!
//! Not covered, and refused by name: `dynamic` scaling, soft-capped logits, quantised weights, mixtures of
//! experts. `longrope` takes the long factors when `max_position_embeddings` is above the original context, for texts of any length, as
//! vLLM does; transformers takes the short ones as long as a text is short, and changes over in the middle of one. A text's keys
//! would then depend on what follows them.

use serde_json::Value;

/// The kind of decoder that `model_type` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, SmolLM2, R1-Distill-Llama (Touvron et al. 2023).
    #[default]
    Llama,
    /// Mistral (Jiang et al. 2023).
    Mistral,
    /// Qwen2, Qwen2.5, R1-Distill-Qwen.
    Qwen2,
    /// Qwen3 without experts.
    Qwen3,
    /// Phi-3 and Phi-4.
    Phi3,
    /// Gemma 3 without images.
    Gemma3,
}

impl Family {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Phi3, Self::Gemma3];

    /// Its name in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma3 => "gemma3_text",
        }
    }

    pub(crate) fn of_model_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == name)
    }

    /// Are q, k and v one projection, and gate and up another?
    pub(crate) fn fused(self) -> bool {
        self == Self::Phi3
    }

    /// Are the heads of q and k normed?
    pub(crate) fn head_norms(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Gemma3)
    }

    /// Is what a layer writes to the residual stream normed too?
    pub(crate) fn sandwich(self) -> bool {
        self == Self::Gemma3
    }

    /// What is added to the weights of norms.
    pub(crate) fn norm_offset(self) -> f32 {
        if self == Self::Gemma3 { 1.0 } else { 0.0 }
    }

    /// Is the inner activation tanh-GELU, and the embedding scaled by the root of its width?
    pub(crate) fn is_gemma(self) -> bool {
        self == Self::Gemma3
    }

    pub(crate) fn default_head_dim(self) -> Option<usize> {
        match self {
            Self::Qwen3 => Some(128),
            Self::Gemma3 => Some(256),
            _ => None,
        }
    }

    pub(crate) fn default_norm_eps(self) -> f64 {
        if self == Self::Phi3 { 1e-5 } else { 1e-6 }
    }
}

/// Which linear layers have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Biases {
    pub(crate) qkv: bool,
    pub(crate) o: bool,
    pub(crate) mlp: bool,
}

/// How the rotary embedding's frequencies are stretched for contexts that a model was not trained on at first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum RopeScaling {
    #[default]
    None,
    /// All frequencies are divided (Chen et al. 2023).
    Linear { factor: f64 },
    /// Low frequencies are divided, high ones kept, those between blended (Llama 3.1).
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// Each frequency is divided by its own factor, and queries and keys are scaled (LongRoPE, Ding et al. 2024; YaRN, Peng et al. 2023).
    Long { factors: Vec<f64>, attention: f64 },
}

/// What a family, and a checkpoint of it, has that Llama 2 has not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Architecture {
    pub(crate) family: Family,
    pub(crate) biases: Biases,
    pub(crate) scaling: RopeScaling,
    /// Dimensions of a head that are rotated; all where absent.
    pub(crate) rotary: Option<usize>,
    /// The base of the frequencies in layers with a window, where it is another one.
    pub(crate) local_theta: Option<f64>,
    /// Columns that a query sees in layers with a window, its own included.
    pub(crate) window: Option<usize>,
    /// Which layers have a window; empty where none has.
    pub(crate) windowed: Vec<bool>,
    /// The number whose inverse root scales queries; the head's width where absent.
    pub(crate) query_scalar: Option<f64>,
    /// The `config.json` that it was read from.
    pub(crate) source: Option<Value>,
}

impl Architecture {
    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The window of a layer.
    pub(crate) fn window_of(&self, layer: usize) -> Option<usize> {
        self.window.filter(|_| self.windowed.get(layer) == Some(&true))
    }

    /// Reads what `config.json` says of it, and the base of the rotary embedding's frequencies.
    pub(crate) fn read(
        family: Family,
        json: &Value,
        layers: usize,
        head_dim: usize,
        context: usize,
        faults: &mut Vec<String>,
    ) -> (Self, f64) {
        let flag = |key: &str| json[key].as_bool() == Some(true);
        let biases = Biases {
            qkv: family == Family::Qwen2 || flag("attention_bias"),
            o: family != Family::Qwen2 && flag("attention_bias"),
            mlp: family == Family::Llama && flag("mlp_bias"),
        };
        for key in ["attn_logit_softcapping", "final_logit_softcapping", "quantization_config"] {
            if json.get(key).is_some_and(|value| !value.is_null()) {
                faults.push(format!("`{key}`: expected none, got `{}`", json[key]));
            }
        }
        if flag("use_bidirectional_attention") {
            faults.push("`use_bidirectional_attention`: expected `false`, got `true`".to_owned());
        }
        let (key, expected) =
            if family.is_gemma() { ("hidden_activation", "gelu_pytorch_tanh") } else { ("hidden_act", "silu") };
        let activation = json[key].as_str().unwrap_or(expected);
        if activation != expected {
            faults.push(format!("`{key}`: expected `{expected}`, got `{activation}`"));
        }
        let rope = RopeFields::find(json);
        let theta = rope.theta.unwrap_or(if family.is_gemma() { 1e6 } else { 1e4 });
        let partial = rope.number("partial_rotary_factor").or(json["partial_rotary_factor"].as_f64()).unwrap_or(1.0);
        let rotary = (head_dim as f64 * partial) as usize;
        if partial != 1.0 && (rotary == 0 || rotary > head_dim || !rotary.is_multiple_of(2)) {
            faults.push(format!(
                "`partial_rotary_factor`: expected an even number of the {head_dim} dimensions of a head, got {partial}"
            ));
        }
        let (window, windowed) = windows(family, json, layers, context);
        let architecture = Self {
            family,
            biases,
            scaling: rope.scaling(json, theta, rotary / 2, context, faults),
            rotary: (rotary != head_dim).then_some(rotary),
            local_theta: family.is_gemma().then(|| rope.local_theta.unwrap_or(1e4)),
            window,
            windowed,
            query_scalar: family.is_gemma().then(|| json["query_pre_attn_scalar"].as_f64().unwrap_or(256.0)),
            source: Some(json.clone()),
        };
        (architecture, theta)
    }
}

/// The window and the layers that have it; none where it is as wide as the context.
fn windows(family: Family, json: &Value, layers: usize, context: usize) -> (Option<usize>, Vec<bool>) {
    let used = match family {
        Family::Llama => false,
        Family::Qwen2 | Family::Qwen3 => json["use_sliding_window"].as_bool() == Some(true),
        Family::Mistral | Family::Phi3 | Family::Gemma3 => true,
    };
    let window = json["sliding_window"].as_u64().map(|n| n as usize).filter(|n| used && *n > 0 && *n < context);
    if window.is_none() {
        return (None, Vec::new());
    }
    let listed = json["layer_types"].as_array();
    let number = |keys: [&str; 2], default: u64| keys.iter().find_map(|key| json[*key].as_u64()).unwrap_or(default);
    let has = |layer: usize| match listed.and_then(|types| types.get(layer)) {
        Some(kind) => kind == "sliding_attention",
        None => match family {
            Family::Gemma3 => {
                !(layer as u64 + 1).is_multiple_of(number(["sliding_window_pattern", "_sliding_window_pattern"], 6))
            }
            Family::Qwen2 | Family::Qwen3 => layer as u64 >= number(["max_window_layers"; 2], 28),
            _ => true,
        },
    };
    (window, (0..layers).map(has).collect())
}

/// What a config says of the rotary embedding, wherever it says it.
///
/// transformers 5 writes `rope_parameters`, for Gemma 3 one for each kind of layer; older checkpoints write `rope_theta` and
/// `rope_scaling`, and Gemma 3's `rope_local_base_freq`.
struct RopeFields<'a> {
    fields: &'a Value,
    theta: Option<f64>,
    local_theta: Option<f64>,
}

impl<'a> RopeFields<'a> {
    fn find(json: &'a Value) -> Self {
        let new = &json["rope_parameters"];
        let (fields, local) = if new["full_attention"].is_object() {
            (&new["full_attention"], &new["sliding_attention"])
        } else if new.is_object() {
            (new, &Value::Null)
        } else {
            (&json["rope_scaling"], &Value::Null)
        };
        let theta = fields["rope_theta"].as_f64().or(json["rope_theta"].as_f64());
        let local_theta = local["rope_theta"].as_f64().or(json["rope_local_base_freq"].as_f64());
        Self { fields, theta, local_theta }
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.fields[key].as_f64()
    }

    fn scaling(&self, json: &Value, theta: f64, half: usize, context: usize, faults: &mut Vec<String>) -> RopeScaling {
        let kind = self.fields["rope_type"].as_str().or(self.fields["type"].as_str()).unwrap_or("default");
        let mut need = |key: &str| {
            let value = self.number(key).filter(|x| x.is_finite() && *x > 0.0);
            value.unwrap_or_else(|| {
                faults.push(format!(
                    "the rotary embedding's `{key}`: expected a number above 0, got `{}`",
                    self.fields[key]
                ));
                1.0
            })
        };
        match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: need("factor") },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor"),
                low: need("low_freq_factor"),
                high: need("high_freq_factor"),
                original: need("original_max_position_embeddings"),
            },
            "yarn" => {
                let factor = need("factor");
                let original = self.number("original_max_position_embeddings").unwrap_or(context as f64);
                self.yarn(theta, half, factor, original)
            }
            "longrope" | "su" => {
                let key = "original_max_position_embeddings";
                let original = self.number(key).or(json[key].as_f64()).unwrap_or(context as f64);
                let stretch = context as f64 / original;
                let key = if stretch > 1.0 { "long_factor" } else { "short_factor" };
                let factors: Vec<f64> =
                    self.fields[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
                if factors.len() != half || factors.iter().any(|x| !(x.is_finite() && *x > 0.0)) {
                    faults.push(format!(
                        "the rotary embedding's `{key}`: expected {half} numbers above 0, got `{}`",
                        self.fields[key]
                    ));
                }
                let derived = if stretch > 1.0 { (1.0 + stretch.ln() / original.ln()).sqrt() } else { 1.0 };
                RopeScaling::Long { factors, attention: self.number("attention_factor").unwrap_or(derived) }
            }
            _ => {
                faults.push(format!(
                    "the rotary embedding's `rope_type`: expected one of `default`, `linear`, `llama3`, `longrope`, `yarn`, got `{kind}`"
                ));
                RopeScaling::None
            }
        }
    }

    /// Frequencies that turn often within the original context are kept, those that turn less than once divided, and those between
    /// blended (Peng et al. 2023, section 3.2, with transformers' way to read a config).
    fn yarn(&self, theta: f64, half: usize, factor: f64, original: f64) -> RopeScaling {
        let scale = |times: f64| if factor <= 1.0 { 1.0 } else { 0.1 * times * factor.ln() + 1.0 };
        let derived = match (self.number("mscale"), self.number("mscale_all_dim")) {
            (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => scale(mscale) / scale(all),
            _ => scale(1.0),
        };
        // The dimension whose frequency turns so often within the original context.
        let dimension = |turns: f64| {
            2.0 * half as f64 * (original / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
        };
        let given = |key: &str, default: f64| self.number(key).filter(|turns| *turns != 0.0).unwrap_or(default);
        let (mut first, mut last) = (dimension(given("beta_fast", 32.0)), dimension(given("beta_slow", 1.0)));
        if self.fields["truncate"].as_bool() != Some(false) {
            (first, last) = (first.floor(), last.ceil());
        }
        let (first, mut last) = (first.max(0.0), last.min(2.0 * half as f64 - 1.0));
        if first == last {
            last += 0.001;
        }
        let divided = |index: usize| ((index as f64 - first) / (last - first)).clamp(0.0, 1.0);
        let factors = (0..half).map(|index| 1.0 / (divided(index) / factor + 1.0 - divided(index))).collect();
        RopeScaling::Long { factors, attention: self.number("attention_factor").unwrap_or(derived) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::LmConfig;

    fn config(more: &Value) -> Value {
        let mut json = json!({"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 7,
            "num_attention_heads": 4, "head_dim": 8, "max_position_embeddings": 64});
        for (key, value) in more.as_object().unwrap() {
            json[key] = value.clone();
        }
        json
    }

    #[test]
    fn old_and_new_configs_say_the_same() {
        let check = |old: Value, new: Value| {
            let read = |json: &Value| {
                let mut config = LmConfig::from_json(&config(json)).unwrap();
                config.architecture.source = None;
                config
            };
            assert_eq!(read(&old), read(&new));
        };
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32});
        let mut new = llama3.clone();
        new["rope_theta"] = json!(5e5);
        check(
            json!({"model_type": "llama", "rope_theta": 5e5, "rope_scaling": llama3}),
            json!({"model_type": "llama", "rope_parameters": new}),
        );
        check(
            json!({"model_type": "gemma3_text", "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window": 8,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window_pattern": 6}),
            json!({"model_type": "gemma3_text", "sliding_window": 8, "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}},
                "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
                    "sliding_attention", "full_attention", "sliding_attention"]}),
        );
        check(
            json!({"model_type": "phi3", "partial_rotary_factor": 0.5, "original_max_position_embeddings": 32,
                "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [2.0, 3.0]}}),
            json!({"model_type": "phi3", "rope_parameters": {"rope_type": "longrope", "partial_rotary_factor": 0.5,
                "original_max_position_embeddings": 32, "short_factor": [1.0, 1.1], "long_factor": [2.0, 3.0]}}),
        );
    }

    #[test]
    fn windows_are_those_of_the_family() {
        let windows = |json: Value| {
            let config = LmConfig::from_json(&config(&json)).unwrap();
            (0..7).map(|layer| config.architecture.window_of(layer).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(windows(json!({"model_type": "mistral", "sliding_window": 8})), [true; 7]);
        assert_eq!(windows(json!({"model_type": "mistral", "sliding_window": null})), [false; 7]);
        // As wide as the context: it hides nothing.
        assert_eq!(windows(json!({"model_type": "mistral", "sliding_window": 64})), [false; 7]);
        assert_eq!(windows(json!({"model_type": "llama", "sliding_window": 8})), [false; 7]);
        let qwen = |used: bool| json!({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": used, "max_window_layers": 5});
        assert_eq!(windows(qwen(false)), [false; 7]);
        assert_eq!(windows(qwen(true)), [false, false, false, false, false, true, true]);
        let gemma = windows(json!({"model_type": "gemma3_text", "sliding_window": 8}));
        assert_eq!(gemma, [true, true, true, true, true, false, true]);
    }

    #[test]
    fn what_is_not_covered_is_refused_by_name() {
        let fault = |json: Value| LmConfig::from_json(&config(&json)).unwrap_err().join("; ");
        assert_eq!(
            fault(json!({"model_type": "gemma3_text", "final_logit_softcapping": 30.0})),
            "`final_logit_softcapping`: expected none, got `30.0`"
        );
        assert_eq!(
            fault(json!({"model_type": "phi3", "rope_scaling": {"type": "longrope", "short_factor": [1.0]}})),
            "the rotary embedding's `short_factor`: expected 4 numbers above 0, got `[1.0]`"
        );
        assert_eq!(
            fault(json!({"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 1.0, "original_max_position_embeddings": 32}})),
            "the rotary embedding's `high_freq_factor`: expected a number above 0, got `null`"
        );
    }
}
