//! Models by their place in a recipe: named by content, opened once, shared between stages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use cord_core::{Digest, Seed};
use cord_lm::{
    Architecture, DeviceSpec, Engine, EngineSettings, LmConfig, LoadedModel, Transformer, load, open_device,
};
use cord_recipe::{ModelSource, RunSettings, Scratch};
use cord_text::{Renderer, TokenizerSpec, train_tokenizer};

use crate::machine;

/// Files of a checkpoint that decide what the model says.
const IDENTITY: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// Texts that a tokenizer is trained on: more change no merge of a small vocabulary.
const TOKENIZER_ROWS: usize = 8_000;

/// Opens models on the run's device.
pub(crate) struct Models {
    spec: DeviceSpec,
    device: burn::tensor::Device,
    settings: EngineSettings,
    open: Mutex<BTreeMap<PathBuf, Arc<Engine>>>,
}

impl Models {
    pub(crate) fn new(run: &RunSettings) -> Result<Self> {
        let spec: DeviceSpec = run.device.to_string().parse().map_err(anyhow::Error::msg)?;
        let settings = EngineSettings { max_batch: run.max_batch as usize, ..EngineSettings::default() };
        Ok(Self { spec, device: open_device(spec)?, settings, open: Mutex::default() })
    }

    /// A checkpoint folder as a running engine.
    pub(crate) fn engine(&self, dir: &Path, name: &str) -> Result<Arc<Engine>> {
        let mut open = self.open.lock().expect("no opening panicked");
        if let Some(engine) = open.get(dir) {
            return Ok(engine.clone());
        }
        let engine = Arc::new(Engine::start(load(dir, name, &self.device)?, self.settings)?);
        open.insert(dir.to_owned(), engine.clone());
        Ok(engine)
    }

    /// Bytes that the device has for models; unknown where nothing says so.
    pub(crate) fn memory(&self) -> Option<usize> {
        match self.spec {
            DeviceSpec::Cpu => machine::free_memory(),
            DeviceSpec::Cuda(index) => machine::gpu_memory(index),
        }
    }

    /// Drops a model that no later stage uses.
    pub(crate) fn close(&self, dir: &Path) {
        self.open.lock().expect("no opening panicked").remove(dir);
    }

    /// The weights and renderer of a model to train: a checkpoint's, or fresh ones with a tokenizer trained on `texts`.
    pub(crate) fn trainable(
        &self,
        source: &ModelSource,
        seed: Seed,
        texts: &dyn Fn() -> Vec<String>,
    ) -> Result<(Transformer, Renderer)> {
        match source {
            ModelSource::Scratch(scratch) => {
                let spec: TokenizerSpec = serde_json::from_value(scratch.tokenizer.clone())
                    .with_context(|| format!("`tokenizer`: {}", scratch.tokenizer))?;
                let texts = texts();
                let renderer = train_tokenizer(&spec, texts.iter().take(TOKENIZER_ROWS).map(String::as_str))?;
                let config = config(scratch, &renderer);
                Ok((Transformer::init(&config, seed.named("init"), &self.device), renderer))
            }
            other => {
                let dir = folder(other)?;
                let LoadedModel { transformer, renderer, .. } = load(&dir, &dir.display().to_string(), &self.device)?;
                Ok((transformer, renderer))
            }
        }
    }
}

/// Where a model's checkpoint is.
pub(crate) fn folder(source: &ModelSource) -> Result<PathBuf> {
    match source {
        ModelSource::Path(path) => Ok(path.clone()),
        ModelSource::Hub { name, revision } => {
            Ok(cord_store::Hub::from_env().fetch(name, revision, cord_store::HubFiles::Model, &mut |_, _, _| {})?)
        }
        ModelSource::Served { server, .. } => {
            bail!("expected a model with weights here, got one behind `{}`", server.endpoints.join("`, `"))
        }
        ModelSource::Scratch(_) => bail!("expected a model with weights, got one that is yet to be trained"),
    }
}

/// A model's content-derived name.
pub(crate) fn identity(source: &ModelSource) -> Result<Digest> {
    let dir = folder(source)?;
    let mut files = Vec::new();
    // Shards and their index, or the one file that the list above has.
    let weights = cord_lm::weight_files(&dir)?;
    let weights = weights.iter().filter_map(|path| path.file_name()?.to_str());
    let names: Vec<&str> = IDENTITY.into_iter().chain(weights.filter(|name| !IDENTITY.contains(name))).collect();
    for name in names {
        let path = dir.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => files.push((name, Digest::of_bytes(&bytes))),
            // A checkpoint needs few of them; loading says what is missing.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("can't read `{}`", path.display())),
        }
    }
    if files.is_empty() {
        bail!(
            "`{}`: expected a checkpoint (config.json, model.safetensors, tokenizer.json), got an empty folder",
            dir.display()
        );
    }
    Ok(Digest::of_json(&files))
}

fn config(scratch: &Scratch, renderer: &Renderer) -> LmConfig {
    LmConfig {
        vocab: renderer.vocab_size(),
        hidden: scratch.hidden as usize,
        ffn: scratch.ffn as usize,
        layers: scratch.layers as usize,
        heads: scratch.heads as usize,
        kv_heads: scratch.kv_heads as usize,
        head_dim: (scratch.hidden / scratch.heads) as usize,
        context: scratch.context as usize,
        rope_theta: scratch.rope_theta,
        norm_eps: scratch.norm_epsilon,
        tied: scratch.tie_embeddings,
        eos: renderer.eos_ids().to_vec(),
        bos: None,
        pad: Some(renderer.pad_id()),
        architecture: Architecture::default(),
    }
}
