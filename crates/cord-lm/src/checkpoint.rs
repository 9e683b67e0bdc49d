//! Checkpoints in the Hugging Face layout: `config.json`, tokenizer files, and the weights as `model.safetensors` or as shards with
//! `model.safetensors.index.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use cord_core::{Digest, ModelId};
use cord_text::Renderer;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::transformer::ParamMut;
use crate::{LmConfig, LmError, RewardHead, Transformer};

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

    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
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
    /// What it has in place of a vocabulary, if it is a process reward model.
    pub head: Option<RewardHead>,
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
    // A token that was added beyond the table is refused where a text has it.
    if renderer.own_vocab_size() > config.vocab {
        let (rows, tokens) = (config.vocab, renderer.own_vocab_size());
        return Err(LmError::Vocabulary { path: dir.to_owned(), rows, tokens });
    }
    config.eos = renderer.eos_ids().to_vec();
    let (transformer, head, weights) = read_weights(dir, &config, device)?;
    let id = ModelId {
        name: name.to_owned(),
        weights,
        tokenizer: renderer.tokenizer_digest(),
        template: renderer.template_digest(),
    };
    Ok(LoadedModel { transformer, head, renderer, id })
}

impl Transformer {
    /// Loads the architecture and weights of a checkpoint folder, without its tokenizer.
    ///
    /// # Errors
    /// As [`load`]; and [`LmError::Weights`] where the checkpoint is a reward model's.
    pub fn from_dir(dir: &Path, device: &Device) -> Result<Self, LmError> {
        let (transformer, head, _) = read_weights(dir, &LmConfig::from_dir(dir)?, device)?;
        if head.is_none() {
            return Ok(transformer);
        }
        let fault = "expected a head over the vocabulary, got that of a process reward model, which can only score";
        Err(LmError::Weights { path: dir.to_owned(), faults: vec![fault.to_owned()] })
    }
}

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The most bytes of one file of weights, unless a single tensor has more; transformers' default.
const SHARD_BYTES: usize = 5_000_000_000;

/// The files that hold a checkpoint's weights, and the index that names them where they are several, sorted.
///
/// # Errors
/// [`LmError::Read`] where there is neither `model.safetensors` nor an index, [`LmError::Index`] when the index is damaged.
pub fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, LmError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = dir.join(INDEX);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![dir.join(WHOLE)]),
        Err(source) => return Err(LmError::Read { path, source }),
    };
    let fault = |reason: String| LmError::Index { path: path.clone(), reason };
    let index: Index = serde_json::from_str(&text).map_err(|e| fault(e.to_string()))?;
    let mut names: Vec<&String> = index.weight_map.values().collect();
    names.sort_unstable();
    names.dedup();
    // A name could lead out of the folder.
    if let Some(name) = names.iter().find(|name| Path::new(name).components().count() != 1 || name.starts_with('.')) {
        return Err(fault(format!("`weight_map`: expected names of files in the same folder, got `{name}`")));
    }
    if names.is_empty() {
        return Err(fault("`weight_map`: expected names of files, got none".to_owned()));
    }
    let files: Vec<PathBuf> = names.into_iter().map(|name| dir.join(name)).collect();
    Ok([path].into_iter().chain(files).collect())
}

/// A model of the config's shape with the weights of a folder, and their digest.
fn read_weights(
    dir: &Path,
    config: &LmConfig,
    device: &Device,
) -> Result<(Transformer, Option<RewardHead>, Digest), LmError> {
    let files = weight_files(dir)?;
    let (mut tensors, mut digests) = (BTreeMap::new(), Vec::new());
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "safetensors")) {
        let (more, digest) = read_file(path)?;
        digests.push((path.file_name().map(|name| name.to_string_lossy().into_owned()), digest));
        tensors.extend(more);
    }
    let mut config = config.clone();
    let mut head = None;
    if RewardHead::is_in(&tensors) {
        let fault = |faults| LmError::Weights { path: files[0].clone(), faults };
        head = Some(RewardHead::take(&mut tensors, config.hidden, device).map_err(fault)?);
        // Some checkpoints keep the vocabulary's head, which nothing reads.
        config.tied = true;
    }
    let transformer = fill(&config, tensors, &files[0], device)?;
    let digest = match digests.as_slice() {
        [(_, only)] => *only,
        several => Digest::of_json(&several),
    };
    Ok((transformer, head, digest))
}

/// Saves a model as a folder that transformers and vLLM load; its weights are cut into shards of at most 5 GB.
///
/// Adapters are not part of it: merge them first.
///
/// # Errors
/// [`LmError::Write`] with the file's name.
pub fn save(dir: &Path, transformer: &Transformer, renderer: &Renderer, dtype: Dtype) -> Result<(), LmError> {
    std::fs::create_dir_all(dir).map_err(|source| LmError::Write { path: dir.to_owned(), source })?;
    let config = transformer.config();
    write_json(&dir.join("config.json"), &config.to_json(dtype.torch_name()))?;
    renderer.save(dir)?;
    save_weights(dir, transformer, dtype, SHARD_BYTES)
}

/// Writes the weights, in the model's order, into as many files as it takes; one file of another number of shards, or the index, that
/// the folder held before goes.
fn save_weights(dir: &Path, transformer: &Transformer, dtype: Dtype, most: usize) -> Result<(), LmError> {
    let (mut sizes, mut model) = (Vec::new(), transformer.clone());
    model.visit(&mut |name, param| {
        let count = match param {
            ParamMut::Vector(t) => t.dims().iter().product::<usize>(),
            ParamMut::Table(t) | ParamMut::Linear(t) => t.dims().iter().product(),
        };
        sizes.push((name.to_owned(), count * dtype.bytes()));
    });
    // Which shard each tensor is in.
    let (mut shards, mut held) = (Vec::with_capacity(sizes.len()), 0);
    let mut last = 0;
    for (_, bytes) in &sizes {
        if held > 0 && held + bytes > most {
            (last, held) = (last + 1, 0);
        }
        held += bytes;
        shards.push(last);
    }
    let name = |shard: usize| match last {
        0 => WHOLE.to_owned(),
        _ => format!("model-{:05}-of-{:05}.safetensors", shard + 1, last + 1),
    };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let weights = file == INDEX || (file.starts_with("model") && file.ends_with(".safetensors"));
        if weights && !(0..=last).any(|shard| file == name(shard)) {
            std::fs::remove_file(entry.path()).map_err(|source| LmError::Write { path: entry.path(), source })?;
        }
    }
    for shard in 0..=last {
        let (mut tensors, mut place) = (BTreeMap::new(), 0);
        model.visit(&mut |name, param| {
            if shards[place] == shard {
                tensors.insert(name.to_owned(), host(param));
            }
            place += 1;
        });
        write_tensors(&dir.join(name(shard)), &tensors, dtype)?;
    }
    if last > 0 {
        let map: BTreeMap<&str, String> =
            sizes.iter().zip(&shards).map(|((tensor, _), shard)| (tensor.as_str(), name(*shard))).collect();
        let total: usize = sizes.iter().map(|(_, bytes)| bytes).sum();
        let index = serde_json::json!({"metadata": {"total_size": total}, "weight_map": map});
        write_json(&dir.join(INDEX), &index)?;
    }
    Ok(())
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
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), LmError> {
    let mut text = format!("{value:#}");
    text.push('\n');
    std::fs::write(path, text).map_err(|source| LmError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use cord_core::Seed;

    use super::*;
    use crate::{Architecture, DeviceSpec, open_device};

    #[test]
    fn shards_hold_what_one_file_holds_and_leave_nothing_behind() {
        let config = LmConfig {
            vocab: 40,
            hidden: 16,
            ffn: 24,
            layers: 3,
            heads: 2,
            kv_heads: 1,
            head_dim: 8,
            context: 32,
            rope_theta: 1e4,
            norm_eps: 1e-6,
            tied: false,
            eos: vec![1],
            bos: None,
            pad: None,
            architecture: Architecture::default(),
        };
        let device = open_device(DeviceSpec::Cpu).unwrap();
        let model = Transformer::init(&config, Seed::root(1), &device);
        let dir = tempfile::tempdir().unwrap();
        let weights = |model: &Transformer| {
            let mut out = Vec::new();
            model.clone().visit(&mut |name, param| out.push((name.to_owned(), host(param))));
            out
        };
        let files = || {
            let mut names: Vec<String> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let mut digests = Vec::new();
        for most in [usize::MAX, 8_000, 3_000, usize::MAX] {
            save_weights(dir.path(), &model, Dtype::F32, most).unwrap();
            let expected = weight_files(dir.path()).unwrap();
            assert_eq!(files().len(), expected.len(), "nothing else is left: {:?}", files());
            assert_eq!(expected.len() > 1, most < usize::MAX);
            for path in expected.iter().skip(1) {
                let tensors = read_tensors(path).unwrap();
                let bytes: usize = tensors.values().map(|(values, _)| values.len() * 4).sum();
                assert!(bytes <= most || tensors.len() == 1, "{}: {bytes} bytes", path.display());
            }
            let (read, _, digest) = read_weights(dir.path(), &config, &device).unwrap();
            assert!(weights(&read) == weights(&model), "shards of {most} bytes");
            digests.push(digest);
        }
        assert!(digests[0] == digests[3] && digests[0] != digests[1] && digests[1] != digests[2]);

        std::fs::write(dir.path().join(INDEX), r#"{"weight_map": {"a": "../elsewhere.safetensors"}}"#).unwrap();
        let error = weight_files(dir.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("expected names of files in the same folder, got `../elsewhere.safetensors`"),
            "{error}"
        );
    }
}
