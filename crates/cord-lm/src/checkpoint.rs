//! Checkpoints in the Hugging Face layout: `config.json`, `model.safetensors`, tokenizer files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use cord_core::{Digest, ModelId};
use cord_text::Renderer;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::transformer::ParamMut;
use crate::{LmConfig, LmError, Transformer};

/// The number format of a checkpoint's weights. In memory they are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats with 8 bits of exponent.
    Bf16,
    /// 16-bit floats with 5 bits of exponent.
    F16,
}

impl Dtype {
    /// The name that `config.json` uses.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        }
    }

    fn safetensors(self) -> safetensors::Dtype {
        match self {
            Self::F32 => safetensors::Dtype::F32,
            Self::Bf16 => safetensors::Dtype::BF16,
            Self::F16 => safetensors::Dtype::F16,
        }
    }
}

/// A model with what it needs to read and write text.
pub struct LoadedModel {
    /// The weights.
    pub transformer: Transformer,
    /// The tokenizer and chat template.
    pub renderer: Renderer,
    /// The content-derived name.
    pub id: ModelId,
}

/// Loads a checkpoint folder.
///
/// # Errors
/// [`LmError::Config`] and [`LmError::Weights`] list every fault: missing and unknown tensors, and shapes that do
/// not fit the config, each with its tensor's name, expected and given.
pub fn load(dir: &Path, name: &str, device: &Device) -> Result<LoadedModel, LmError> {
    let mut config = LmConfig::from_dir(dir)?;
    let renderer = Renderer::from_dir(dir)?;
    if renderer.vocab_size() > config.vocab {
        return Err(LmError::Vocabulary { path: dir.to_owned(), rows: config.vocab, tokens: renderer.vocab_size() });
    }
    config.eos = renderer.eos_ids().to_vec();
    let path = dir.join("model.safetensors");
    let (tensors, weights) = read_file(&path)?;
    let transformer = fill(&config, tensors, &path, device)?;
    let id = ModelId {
        name: name.to_owned(),
        weights,
        tokenizer: renderer.tokenizer_digest(),
        template: renderer.template_digest(),
    };
    Ok(LoadedModel { transformer, renderer, id })
}

impl Transformer {
    /// Loads the architecture and weights of a checkpoint folder, without its tokenizer.
    ///
    /// # Errors
    /// As [`load`].
    pub fn from_dir(dir: &Path, device: &Device) -> Result<Self, LmError> {
        let path = dir.join("model.safetensors");
        fill(&LmConfig::from_dir(dir)?, read_file(&path)?.0, &path, device)
    }
}

/// Saves a model as a folder that transformers and vLLM load.
///
/// # Errors
/// [`LmError::Write`] with the file's name.
pub fn save(dir: &Path, transformer: &Transformer, renderer: &Renderer, dtype: Dtype) -> Result<(), LmError> {
    std::fs::create_dir_all(dir).map_err(|source| LmError::Write { path: dir.to_owned(), source })?;
    let config = transformer.config();
    write_json(&dir.join("config.json"), &config.to_json(dtype.torch_name()))?;
    renderer.save(dir)?;
    let mut tensors = BTreeMap::new();
    // Visiting wants a mutable model; a clone shares the weights and copies nothing.
    transformer.clone().visit(&mut |name, param| {
        tensors.insert(name.to_owned(), host(param));
    });
    write_tensors(&dir.join("model.safetensors"), &tensors, dtype)
}

/// Writes named tensors as one safetensors file.
///
/// # Errors
/// [`LmError::Write`] or [`LmError::Safetensors`].
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, HostTensor>, dtype: Dtype) -> Result<(), LmError> {
    let encoded: Vec<(&String, Vec<u8>, &Vec<usize>)> =
        tensors.iter().map(|(name, (values, shape))| (name, dtype.encode(values), shape)).collect();
    let fault = |reason: String| LmError::Safetensors { path: path.to_owned(), reason };
    let mut views = Vec::with_capacity(encoded.len());
    for (name, bytes, shape) in &encoded {
        let view = TensorView::new(dtype.safetensors(), (*shape).clone(), bytes).map_err(|e| fault(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let bytes = safetensors::serialize(views, metadata).map_err(|e| fault(e.to_string()))?;
    std::fs::write(path, bytes).map_err(|source| LmError::Write { path: path.to_owned(), source })
}

/// A tensor on the host: its values in row-major order and its shape.
pub type HostTensor = (Vec<f32>, Vec<usize>);

/// Reads every tensor of a safetensors file as f32.
///
/// # Errors
/// [`LmError::Read`] or [`LmError::Safetensors`].
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, HostTensor>, LmError> {
    Ok(read_file(path)?.0)
}

fn read_file(path: &Path) -> Result<(BTreeMap<String, HostTensor>, Digest), LmError> {
    let bytes = std::fs::read(path).map_err(|source| LmError::Read { path: path.to_owned(), source })?;
    let fault = |reason: String| LmError::Safetensors { path: path.to_owned(), reason };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| fault(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let data = view.data();
        let values = match view.dtype() {
            safetensors::Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            safetensors::Dtype::BF16 => {
                data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
            }
            safetensors::Dtype::F16 => {
                data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
            }
            // Token ids in fixtures and data cursors; exact below 2^24.
            safetensors::Dtype::I64 => {
                data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f32).collect()
            }
            other => return Err(fault(format!("`{name}`: expected F32, BF16, F16 or I64, got {other:?}"))),
        };
        tensors.insert(name.to_owned(), (values, view.shape().to_vec()));
    }
    Ok((tensors, Digest::of_bytes(&bytes)))
}

/// Puts a checkpoint's tensors into a model of the config's shape.
fn fill(
    config: &LmConfig,
    mut tensors: BTreeMap<String, HostTensor>,
    path: &Path,
    device: &Device,
) -> Result<Transformer, LmError> {
    let mut model = Transformer::zeros(config, device);
    let mut faults = Vec::new();
    model.visit(&mut |name, param| {
        let Some((values, given)) = tensors.remove(name) else {
            faults.push(format!("expected a tensor `{name}`, got none"));
            return;
        };
        let expected = match &param {
            ParamMut::Vector(t) => t.dims().to_vec(),
            ParamMut::Table(t) => t.dims().to_vec(),
            ParamMut::Linear(t) => t.dims().iter().rev().copied().collect(),
        };
        if given != expected {
            faults.push(format!("`{name}`: expected the shape {expected:?}, got {given:?}"));
            return;
        }
        match param {
            ParamMut::Vector(t) => *t = Tensor::from_data(TensorData::new(values, given), device),
            ParamMut::Table(t) => *t = Tensor::from_data(TensorData::new(values, given), device),
            ParamMut::Linear(t) => {
                let transposed = transpose(&values, given[0], given[1]);
                *t = Tensor::from_data(TensorData::new(transposed, [given[1], given[0]]), device);
            }
        }
    });
    // Some writers keep the head of a tied model; it must then be the embedding table and is skipped.
    if config.tied {
        tensors.remove("lm_head.weight");
    }
    faults.extend(tensors.keys().map(|name| format!("`{name}`: the config has no place for this tensor")));
    if faults.is_empty() { Ok(model) } else { Err(LmError::Weights { path: path.to_owned(), faults }) }
}

/// A parameter's values as a checkpoint lays them out.
pub(crate) fn host(param: ParamMut<'_>) -> HostTensor {
    fn values<const D: usize>(t: &Tensor<D>) -> Vec<f32> {
        t.to_data().try_into_vec().expect("weights are f32")
    }
    match param {
        ParamMut::Vector(t) => (values(t), t.dims().to_vec()),
        ParamMut::Table(t) => (values(t), t.dims().to_vec()),
        ParamMut::Linear(t) => {
            let [rows, columns] = t.dims();
            (transpose(&values(t), rows, columns), vec![columns, rows])
        }
    }
}

/// The transpose of a row-major matrix.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

fn write_json(path: &PathBuf, value: &serde_json::Value) -> Result<(), LmError> {
    let mut text = format!("{value:#}");
    text.push('\n');
    std::fs::write(path, text).map_err(|source| LmError::Write { path: path.clone(), source })
}
