//! Decoder-only transformers on burn, in process: Hugging Face checkpoints in and out, a KV cache,
//! seeded sampling, batched generation and scoring, and an engine that makes one model a
//! [`cord_core::LanguageModel`].
//!
//! This crate knows no recipe and no role: a teacher, a prover and a student are the same thing here.

mod batch;
mod checkpoint;
mod config;
mod context;
mod decode;
mod device;
mod engine;
mod error;
mod family;
mod gradient_kernels;
mod host;
mod host_gradient;
mod kernels;
mod lora;
mod ops;
mod packed;
mod prefix;
mod prefix_cache;
mod queue;
mod reward;
mod sampling;
mod score;
mod transformer;

pub use checkpoint::{Dtype, HostTensor, LoadedModel, load, read_tensors, save, weight_files, write_tensors};
pub use config::LmConfig;
pub use decode::{DecodeRequest, Decoded, decode};
pub use device::{DeviceSpec, open_device};
pub use engine::{Engine, EngineSettings, inner_pool};
pub use error::LmError;
pub use family::{Architecture, Family};
pub use lora::{LoraConfig, load_adapter, save_adapter};
pub use ops::{AttentionMask, Rope, Span};
pub use packed::{PackedBytes, Pass, Supervised, packed_bytes, packed_gradient, packed_loss, packed_losses};
pub use prefix_cache::{PrefixCache, Reads};
pub use reward::RewardHead;
pub use sampling::{Drawn, draw};
pub use score::score;
pub use transformer::{Cache, ParamMut, Transformer};
