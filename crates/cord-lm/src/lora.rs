//! Low-rank adapters (Hu et al. 2022): `x W + (alpha / rank) · x A B`, of which only `A` and `B` are trained.
//!
//! On disk they are PEFT's: `adapter_config.json` and `adapter_model.safetensors`. Covered: linear layers of attention and of the
//! feed-forward layer, one rank for all. Not covered, and refused by name: DoRA, rank stabilisation, trained biases, adapters of the
//! embedding.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use cord_core::Seed;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::checkpoint::{HostTensor, transpose, write_json};
use crate::transformer::{Linear, ROWS};
use crate::{Dtype, LmError, Transformer, ops, read_tensors, write_tensors};

/// Which layers are adapted, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Columns of `A`, rows of `B`.
    pub rank: usize,
    /// The product is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Names of linear layers as in a checkpoint, such as `q_proj`; all of them where empty.
    pub targets: Vec<String>,
}

/// One layer's adapter.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    /// `[in, rank]`
    pub(crate) a: Tensor<2>,
    /// `[rank, out]`
    pub(crate) b: Tensor<2>,
    pub(crate) scale: f64,
}

impl Adapter {
    /// # Shapes
    /// - `x`: `[rows, in]`, output `[rows, out]`
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::linear(ops::linear(x, self.a.clone(), ROWS), self.b.clone(), ROWS).mul_scalar(self.scale)
    }
}

impl Transformer {
    /// Adds adapters that change nothing yet: `A` is drawn, `B` is zero.
    ///
    /// # Errors
    /// Every fault of the settings, with what was expected and given.
    pub fn adapt(&mut self, config: &LoraConfig, seed: Seed) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let mut known: Vec<&'static str> = Vec::new();
        if let Some(block) = self.blocks.first_mut() {
            let (attention, mlp) = block.linears_mut();
            known.extend(attention.into_iter().chain(mlp).map(|(name, _)| short(name)));
        }
        if config.rank == 0 {
            faults.push("expected a rank of at least 1, got 0".to_owned());
        }
        if !(config.alpha.is_finite() && config.alpha > 0.0) {
            faults.push(format!("expected an alpha above 0, got {}", config.alpha));
        }
        for target in config.targets.iter().filter(|target| !known.contains(&target.as_str())) {
            faults.push(format!("expected linear layers among `{}`, got `{target}`", known.join("`, `")));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let device = self.device();
        self.each_linear(&mut |name, layer| {
            if !config.targets.is_empty() && !config.targets.iter().any(|target| *target == short(name)) {
                return;
            }
            let [rows, columns] = layer.weight.dims();
            let mut stream = seed.named(name).stream();
            // As PEFT draws it: uniform within the inverse root of the inputs.
            let bound = 1.0 / (rows as f64).sqrt();
            let values: Vec<f32> =
                (0..rows * config.rank).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect();
            layer.adapter = Some(Adapter {
                a: Tensor::from_data(TensorData::new(values, [rows, config.rank]), &device),
                b: Tensor::zeros([config.rank, columns], &device),
                scale: config.alpha / config.rank as f64,
            });
        });
        self.lora = Some(config.clone());
        Ok(())
    }

    /// The settings of the adapters, where there are any.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// The model with its adapters added to its weights.
    pub fn merged(mut self) -> Self {
        self.each_linear(&mut |_, layer| {
            if let Some(Adapter { a, b, scale }) = layer.adapter.take() {
                layer.weight = layer.weight.clone() + a.matmul(b).mul_scalar(scale);
            }
        });
        self.lora = None;
        self
    }

    /// Visits the adapters' matrices, `[in, rank]` and `[rank, out]`, always in the same order, with PEFT's names.
    pub fn visit_adapters(&mut self, f: &mut impl FnMut(&str, &mut Tensor<2>)) {
        self.each_linear(&mut |name, layer| {
            if let Some(adapter) = &mut layer.adapter {
                f(&format!("{name}.lora_A.weight"), &mut adapter.a);
                f(&format!("{name}.lora_B.weight"), &mut adapter.b);
            }
        });
    }

    fn each_linear(&mut self, f: &mut impl FnMut(&str, &mut Linear)) {
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let (attention, mlp) = block.linears_mut();
            for (part, layer) in attention.into_iter().chain(mlp) {
                f(&format!("model.layers.{index}.{part}"), layer);
            }
        }
    }
}

/// The last part of a layer's name.
fn short(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

const PREFIX: &str = "base_model.model.";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Writes a model's adapters as PEFT lays them out. `base` names the model that they adapt.
///
/// # Errors
/// [`LmError::Write`] with the file's name; [`LmError::Config`] for a model without adapters.
pub fn save_adapter(dir: &Path, model: &Transformer, base: &str) -> Result<(), LmError> {
    let path = dir.join(CONFIG);
    let Some(lora) = model.lora() else {
        return Err(LmError::Config { path, faults: vec!["expected a model with adapters, got one without".into()] });
    };
    std::fs::create_dir_all(dir).map_err(|source| LmError::Write { path: dir.to_owned(), source })?;
    let mut targets: Vec<String> = Vec::new();
    let mut tensors = BTreeMap::new();
    model.clone().visit_adapters(&mut |name, t| {
        let target = short(name.trim_end_matches(".lora_A.weight").trim_end_matches(".lora_B.weight")).to_owned();
        if !targets.contains(&target) {
            targets.push(target);
        }
        let [rows, columns] = t.dims();
        let values: Vec<f32> = t.to_data().try_into_vec().expect("weights are f32");
        tensors.insert(format!("{PREFIX}{name}"), (transpose(&values, rows, columns), vec![columns, rows]));
    });
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
    });
    write_json(&path, &config)?;
    write_tensors(&dir.join(WEIGHTS), &tensors, Dtype::F32)
}

/// What is read of `adapter_config.json`.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    target_modules: Targets,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
}

/// A list of names, or `all-linear`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    Named(Vec<String>),
    All(String),
}

/// Puts adapters in PEFT's layout on a model.
///
/// # Errors
/// [`LmError::Config`] and [`LmError::Weights`] with every fault.
pub fn load_adapter(dir: &Path, model: &mut Transformer) -> Result<(), LmError> {
    let path = dir.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|source| LmError::Read { path: path.clone(), source })?;
    let fault = |faults: Vec<String>| LmError::Config { path: path.clone(), faults };
    let peft: PeftConfig =
        serde_json::from_str(&text).map_err(|e| fault(vec![format!("expected the settings of an adapter: {e}")]))?;
    let mut faults = Vec::new();
    let mut refuse = |bad: bool, expected: &str, given: &str| {
        if bad {
            faults.push(format!("expected {expected}, got {given}"));
        }
    };
    refuse(peft.peft_type != "LORA", "`peft_type` to be `LORA`", &format!("`{}`", peft.peft_type));
    refuse(peft.bias.as_deref().is_some_and(|bias| bias != "none"), "`bias` to be `none`", "trained biases");
    refuse(peft.use_rslora, "`use_rslora` to be `false`", "`true`");
    refuse(peft.use_dora, "`use_dora` to be `false`", "`true`");
    refuse(peft.fan_in_fan_out, "`fan_in_fan_out` to be `false`", "`true`");
    refuse(peft.modules_to_save.is_some_and(|m| !m.is_empty()), "no `modules_to_save`", "some");
    let targets: Vec<String> = match peft.target_modules {
        Targets::Named(names) => names.iter().map(|name| short(name).to_owned()).collect(),
        Targets::All(word) => {
            refuse(
                word != "all-linear",
                "`target_modules` to be a list of names or `all-linear`",
                &format!("`{word}`"),
            );
            Vec::new()
        }
    };
    if !faults.is_empty() {
        return Err(fault(faults));
    }
    let config = LoraConfig { rank: peft.r, alpha: peft.lora_alpha, targets };
    let mut adapted = model.clone();
    // What is drawn is replaced at once.
    adapted.adapt(&config, Seed::root(0)).map_err(fault)?;
    let weights = dir.join(WEIGHTS);
    let mut tensors: BTreeMap<String, HostTensor> = read_tensors(&weights)?;
    let (mut faults, device) = (Vec::new(), model.device());
    adapted.visit_adapters(&mut |name, t| {
        let key = format!("{PREFIX}{name}");
        let [rows, columns] = t.dims();
        match tensors.remove(&key) {
            Some((values, shape)) if shape == [columns, rows] => {
                let values = transpose(&values, columns, rows);
                *t = Tensor::from_data(TensorData::new(values, [rows, columns]), &device);
            }
            Some((_, shape)) => faults.push(format!("`{key}`: expected the shape [{columns}, {rows}], got {shape:?}")),
            None => faults.push(format!("expected a tensor `{key}`, got none")),
        }
    });
    faults.extend(tensors.keys().map(|name| format!("`{name}`: the settings have no place for this tensor")));
    if !faults.is_empty() {
        return Err(LmError::Weights { path: weights, faults });
    }
    *model = adapted;
    Ok(())
}
