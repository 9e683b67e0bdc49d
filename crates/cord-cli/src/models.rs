//! Models by their place in a recipe: named by content, opened once, shared between stages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use cord_client::ServedModel;
use cord_core::{Digest, LanguageModel, Seed};
use cord_lm::{
    Architecture, DeviceSpec, Engine, EngineSettings, LmConfig, LoadedModel, Transformer, load, open_device,
};
use cord_recipe::{ModelSource, RunSettings, Scratch, TokenizerSource};
use cord_store::{Hub, HubFiles, Store};
use cord_text::{Renderer, TokenizerSpec, train_tokenizer};

use crate::machine;
use crate::progress::Fetching;
use crate::served::{Memory, Servers, unasked};

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

/// Opens models: on the run's device, or behind their servers.
pub(crate) struct Models {
    spec: DeviceSpec,
    device: burn::tensor::Device,
    settings: EngineSettings,
    open: Mutex<BTreeMap<PathBuf, Arc<Engine>>>,
    pub(crate) servers: Servers,
}

/// A model that is ready to answer.
#[derive(Clone)]
pub(crate) enum Opened {
    /// In this process.
    Engine(Arc<Engine>),
    /// Behind a server.
    Served(Arc<ServedModel>),
}

impl Opened {
    pub(crate) fn model(&self) -> Arc<dyn LanguageModel> {
        match self {
            Self::Engine(engine) => engine.clone(),
            Self::Served(served) => served.clone(),
        }
    }
}

impl Models {
    pub(crate) fn new(run: &RunSettings, store: &Store) -> Result<Self> {
        let spec: DeviceSpec = run.device.to_string().parse().map_err(anyhow::Error::msg)?;
        let settings = EngineSettings { max_batch: run.max_batch as usize, ..EngineSettings::default() };
        let device = open_device(spec)?;
        Ok(Self { spec, device, settings, open: Mutex::default(), servers: Servers::new(store)? })
    }

    /// A model, running. One source is opened once.
    pub(crate) fn open(&self, source: &ModelSource, name: &str) -> Result<Opened> {
        match source {
            ModelSource::Served { server, tokenizer } => {
                let label = source.label().expect("a served model has a label");
                Ok(Opened::Served(self.servers.model(&label, server, &tokenizer_folder(tokenizer)?)?))
            }
            other => Ok(Opened::Engine(self.engine(&folder(other)?, name)?)),
        }
    }

    /// A model's content-derived name. Servers that were never asked are asked.
    pub(crate) fn identity(&self, label: &str, source: &ModelSource) -> Result<Digest> {
        match source {
            ModelSource::Served { server, tokenizer } => {
                self.servers.identity(label, server, &tokenizer_folder(tokenizer)?)
            }
            other => weights_identity(other),
        }
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

    /// Where models compute.
    pub(crate) fn spec(&self) -> DeviceSpec {
        self.spec
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
        ModelSource::Hub { name, revision } => fetch(name, revision, HubFiles::Model),
        ModelSource::Served { server, .. } => {
            bail!("expected a model with weights here, got one behind `{}`", server.endpoints.join("`, `"))
        }
        ModelSource::Scratch(_) => bail!("expected a model with weights, got one that is yet to be trained"),
    }
}

/// Fetches what is not there yet, with its progress.
fn fetch(name: &str, revision: &str, wanted: HubFiles) -> Result<PathBuf> {
    let mut progress = Fetching::new();
    // What is there already is told in one piece, and is no news.
    let mut begun = false;
    Ok(Hub::from_env().fetch(name, revision, wanted, &mut |file, there, of| {
        begun |= there < of;
        if begun {
            progress.at(file, there, of);
        }
    })?)
}

/// A model's tokenizer and template, without its weights.
pub(crate) fn renderer(source: &ModelSource) -> Result<Renderer> {
    let tokenizer = match source {
        ModelSource::Path(path) => TokenizerSource::Path(path.clone()),
        ModelSource::Hub { name, revision } => TokenizerSource::Hub { name: name.clone(), revision: revision.clone() },
        ModelSource::Served { tokenizer, .. } => tokenizer.clone(),
        ModelSource::Scratch(_) => bail!("expected a model with a tokenizer, got one that is yet to be trained"),
    };
    Ok(Renderer::from_dir(&tokenizer_folder(&tokenizer)?)?)
}

/// Where a served model's tokenizer is.
fn tokenizer_folder(source: &TokenizerSource) -> Result<PathBuf> {
    match source {
        TokenizerSource::Path(path) => Ok(path.clone()),
        TokenizerSource::Hub { name, revision } => fetch(name, revision, HubFiles::Tokenizer),
    }
}

/// A model's content-derived name without asking any server: one that was never asked gets a name that no stage has.
pub(crate) fn known_identity(label: &str, source: &ModelSource, memory: &Memory) -> Result<Digest> {
    match source {
        ModelSource::Served { .. } => Ok(memory.identity(label).unwrap_or_else(|| unasked(label))),
        other => weights_identity(other),
    }
}

/// The name of weights in this process. A commit of the hub is a name of content by itself: nothing is fetched for it.
fn weights_identity(source: &ModelSource) -> Result<Digest> {
    match source {
        ModelSource::Hub { name, revision } => Ok(Digest::of_json(&("hub", name, revision))),
        other => files_digest(&folder(other)?),
    }
}

fn files_digest(dir: &Path) -> Result<Digest> {
    let mut files = Vec::new();
    // Shards and their index, or the one file that the list above has.
    let weights = cord_lm::weight_files(dir)?;
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
