//! What a run will take, before it starts.

use std::fmt;

use cord_lm::{DeviceSpec, LmConfig, LoraConfig, PackedBytes, packed_bytes};

use crate::{Example, Pair, TrainSettings};

/// Bytes of a run at its peak, by part: an estimate by counting, for the longest part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The model.
    pub weights: usize,
    /// One gradient for every part in flight, and their sum.
    pub gradients: usize,
    /// The optimiser's two moments.
    pub moments: usize,
    /// What the passes in flight hold.
    pub pass: PackedBytes,
    /// Passes side by side.
    pub passes: usize,
    /// Tokens of the longest sequence.
    pub longest: usize,
}

impl Memory {
    /// All of it.
    pub fn bytes(&self) -> usize {
        let PackedBytes { blocks, attention, head } = self.pass;
        self.weights + self.gradients + self.moments + self.passes * (blocks + attention.max(head))
    }
}

/// What is learnt from, by the lengths of its sequences.
pub trait Lengths {
    /// Tokens of each sequence that must share a part with the others.
    fn lengths(&self) -> Vec<usize>;
}

impl Lengths for Example {
    fn lengths(&self) -> Vec<usize> {
        vec![self.ids.len()]
    }
}

impl Lengths for Pair {
    fn lengths(&self) -> Vec<usize> {
        [&self.chosen, &self.rejected].map(|continuation| self.prompt.len() + continuation.len()).to_vec()
    }
}

/// What training will take on these examples or pairs, with `threads` parts side by side.
pub fn memory(
    config: &LmConfig,
    items: &[impl Lengths],
    settings: &TrainSettings,
    threads: usize,
    device: DeviceSpec,
) -> Memory {
    const F32: usize = 4;
    let limit = settings.max_length.min(config.context);
    let cut: Vec<Vec<usize>> =
        items.iter().map(|item| item.lengths().into_iter().map(|tokens| tokens.min(limit)).collect()).collect();
    let longest = cut.iter().flatten().copied().max().unwrap_or(0);
    let mut sums: Vec<usize> = cut.iter().map(|lengths| lengths.iter().sum()).collect();
    sums.sort_unstable();
    let whole = sums.last().copied().unwrap_or(0);
    // A part holds at least one example or pair, and never more than a batch.
    let batch: usize = sums.iter().rev().take(settings.batch).sum();
    let tokens = settings.part_tokens.min(batch).max(whole);
    let passes = if tokens == whole && settings.batch == 1 { 1 } else { threads.min(settings.batch).max(1) };
    let trained = match &settings.lora {
        Some(lora) => adapters(config, lora),
        None => config.parameters(),
    };
    Memory {
        weights: (config.parameters() + if settings.lora.is_some() { trained } else { 0 }) * F32
            + if settings.bf16 { passes * config.parameters() * 2 } else { 0 },
        gradients: (passes + 1) * trained * F32,
        moments: 2 * trained * F32,
        pass: packed_bytes(config, tokens, longest, tokens, settings.pass(), device),
        passes,
        longest,
    }
}

/// The most parameters of adapters: those of every linear layer.
fn adapters(config: &LmConfig, lora: &LoraConfig) -> usize {
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let ends = [
        ("q_proj", config.hidden + queries),
        ("k_proj", config.hidden + keys),
        ("v_proj", config.hidden + keys),
        ("qkv_proj", config.hidden + queries + 2 * keys),
        ("o_proj", queries + config.hidden),
        ("gate_proj", config.hidden + config.ffn),
        ("up_proj", config.hidden + config.ffn),
        ("gate_up_proj", config.hidden + 2 * config.ffn),
        ("down_proj", config.ffn + config.hidden),
    ];
    let wanted = |name: &str| {
        if lora.targets.is_empty() {
            !["qkv_proj", "gate_up_proj"].contains(&name)
        } else {
            lora.targets.iter().any(|t| t == name)
        }
    };
    let sum: usize = ends.iter().filter(|(name, _)| wanted(name)).map(|(_, ends)| ends).sum();
    config.layers * lora.rank * sum
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
        let PackedBytes { blocks, attention, head } = self.pass;
        write!(
            f,
            "{:.2} GiB: weights {:.2}, gradients {:.2}, moments {:.2}, {} × (activations {:.2}, attention {:.2}, head {:.2}); the longest sequence has {} tokens",
            gib(self.bytes()),
            gib(self.weights),
            gib(self.gradients),
            gib(self.moments),
            self.passes,
            gib(blocks),
            gib(attention),
            gib(head),
            self.longest
        )
    }
}
