//! The numerical pieces of a decoder's block, as functions of tensors.
//!
//! Every row is computed without regard to its neighbours in the batch, and masked positions enter sums as exact
//! zeros. That is what makes batched equal single and cached equal uncached bit for bit on the CPU.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::LmConfig;
use crate::family::RopeScaling;

/// Added to the score of a masked position. Minus infinity and not a large number: its exponential is 0 at once, where
/// that of a large number takes the slow path for underflow, half of all exponentials in a causal batch.
const MASKED: f32 = f32::NEG_INFINITY;

/// Root-mean-square normalisation (Zhang and Sennrich 2019): `x / sqrt(mean(x²) + eps) * (weight + offset)`.
///
/// # Shapes
/// - `x`: `[rows, hidden]`, `weight`: `[hidden]`, output `[rows, hidden]`
pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64, offset: f32) -> Tensor<2> {
    // A mean of squares needs more digits than bf16 has; what is f32 already stays as it is.
    let dtype = x.dtype();
    let (x, weight) = (x.cast(DType::F32), weight.cast(DType::F32));
    let weight = if offset == 0.0 { weight } else { weight.add_scalar(offset) };
    let mean_square = x.clone().square().mean_dim(1);
    let scale = mean_square.add_scalar(eps).sqrt().recip();
    (x * scale * weight.unsqueeze_dim::<2>(0)).cast(dtype)
}

/// A linear layer on rows: `x · weight`, with at least `least` rows in the product.
///
/// The CPU's matrix product has paths of its own for few rows, which sum in another order. Padding keeps a row's
/// result the same, bit for bit, alone or in a batch.
///
/// # Shapes
/// - `x`: `[rows, in]`, `weight`: `[in, out]`, output `[rows, out]`
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>, least: usize) -> Tensor<2> {
    let [rows, _] = x.dims();
    if rows >= least {
        return x.matmul(weight);
    }
    x.repeat_dim(0, least.div_ceil(rows)).matmul(weight).slice_dim(0, 0..rows)
}

/// The gated feed-forward inner activation (Shazeer 2020): `silu(gate) * up`.
///
/// # Shapes
/// - all `[rows, ffn]`
pub(crate) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    silu(gate) * up
}

/// The gated feed-forward inner activation of Gemma: `gelu_tanh(gate) * up` (Hendrycks and Gimpel 2016, their approximation).
///
/// # Shapes
/// - all `[rows, ffn]`
pub(crate) fn geglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    // Not burn's own: it takes a power of negative numbers, which is not a number on some devices.
    let cube = gate.clone() * gate.clone() * gate.clone();
    let inner = (gate.clone() + cube.mul_scalar(0.044_715)).mul_scalar((2.0 / std::f64::consts::PI).sqrt());
    (gate * (inner.tanh() + 1)).mul_scalar(0.5) * up
}

/// The rotary position embedding (Su et al. 2021) in the half-split layout that Hugging Face checkpoints use.
#[derive(Clone, Debug)]
pub struct Rope {
    head_dim: usize,
    angles: Angles,
    /// Of layers with a window, where they have frequencies of their own.
    local: Option<Angles>,
    /// The signed permutation `(x1, x2) -> (-x2, x1)` of the rotated dimensions as a matrix, `[head_dim, head_dim]`.
    ///
    /// A matrix product, not slices and a concatenation: it is a few percent of a block's arithmetic, moves memory
    /// once, and its backward is one product too. It is exact, since every sum has one term that is not zero.
    rotate: Tensor<2>,
}

impl Rope {
    /// The embedding of a config.
    pub fn new(config: &LmConfig, device: &Device) -> Self {
        let d = config.head_dim;
        let half = config.architecture.rotary.unwrap_or(d) / 2;
        let mut rotate = vec![0f32; d * d];
        for i in 0..half {
            rotate[(i + half) * d + i] = -1.0;
            rotate[i * d + i + half] = 1.0;
        }
        Self {
            head_dim: d,
            angles: Angles::new(config),
            local: Angles::local(config),
            rotate: Tensor::from_data(TensorData::new(rotate, [d, d]), device),
        }
    }

    /// The rows of its tables at the given positions, those of `batch` rows one after the other.
    pub(crate) fn at(&self, positions: &[usize], batch: usize) -> RopeTables {
        let rows = |angles: &Angles| {
            let (first, last) = (positions.iter().min().copied(), positions.iter().max().copied());
            let first = first.unwrap_or(0);
            let (half, d) = (angles.frequencies.len(), self.head_dim);
            // Each position once: rows of a batch mostly stand at the same ones.
            let turns: Vec<(f32, f32)> = (first..last.map_or(first, |last| last + 1))
                .flat_map(|position| angles.at(position).collect::<Vec<_>>())
                .collect();
            let (mut cos, mut sin) = (vec![1f32; positions.len() * d], vec![0f32; positions.len() * d]);
            for (row, position) in positions.iter().enumerate() {
                for (i, (c, s)) in turns[(position - first) * half..][..half].iter().enumerate() {
                    for column in [i, i + half] {
                        (cos[row * d + column], sin[row * d + column]) = (*c, *s);
                    }
                }
            }
            let shape = [batch, positions.len() / batch, 1, d];
            let device = self.rotate.device();
            let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), &device);
            RopeRows { cos: table(cos), sin: table(sin), rotate: self.rotate.clone() }
        };
        RopeTables { global: rows(&self.angles), local: self.local.as_ref().map(rows) }
    }

    /// The same embedding with gradients tracked through its uses (it has none itself).
    pub(crate) fn autodiff(&self) -> Self {
        Self { rotate: self.rotate.clone().autodiff(), ..self.clone() }
    }
}

/// The angles by which each pair of a head's rotated dimensions turns.
///
/// Float64: float32 loses whole radians at 100k positions.
#[derive(Clone, Debug)]
pub(crate) struct Angles {
    /// From one position to the next, `[rotated dimensions / 2]`, radians.
    frequencies: Vec<f64>,
    /// By which cosine and sine, and so queries and keys, are scaled.
    attention: f64,
}

impl Angles {
    /// Those of layers that see everything.
    pub(crate) fn new(config: &LmConfig) -> Self {
        let half = config.architecture.rotary.unwrap_or(config.head_dim) / 2;
        let frequencies = frequencies(config.rope_theta, half);
        match &config.architecture.scaling {
            RopeScaling::None => Self { frequencies, attention: 1.0 },
            RopeScaling::Linear { factor } => {
                Self { frequencies: frequencies.into_iter().map(|f| f / factor).collect(), attention: 1.0 }
            }
            RopeScaling::Llama3 { factor, low, high, original } => {
                let scaled = |frequency: f64| {
                    // How often the pair turns within the original context.
                    let turns = original * frequency / std::f64::consts::TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                Self { frequencies: frequencies.into_iter().map(scaled).collect(), attention: 1.0 }
            }
            RopeScaling::Long { factors, attention } => Self {
                frequencies: frequencies.iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect(),
                attention: *attention,
            },
        }
    }

    /// Those of layers with a window, where they are others.
    pub(crate) fn local(config: &LmConfig) -> Option<Self> {
        let half = config.architecture.rotary.unwrap_or(config.head_dim) / 2;
        let theta = config.architecture.local_theta?;
        Some(Self { frequencies: frequencies(theta, half), attention: 1.0 })
    }

    /// Cosine and sine of each pair at a position.
    pub(crate) fn at(&self, position: usize) -> impl Iterator<Item = (f32, f32)> {
        self.frequencies.iter().map(move |frequency| {
            let angle = position as f64 * frequency;
            ((angle.cos() * self.attention) as f32, (angle.sin() * self.attention) as f32)
        })
    }
}

fn frequencies(theta: f64, half: usize) -> Vec<f64> {
    (0..half).map(|i| theta.powf(-2.0 * i as f64 / (2 * half) as f64)).collect()
}

/// Rotary tables at the positions of one forward pass.
#[derive(Clone)]
pub(crate) struct RopeTables {
    global: RopeRows,
    local: Option<RopeRows>,
}

impl RopeTables {
    /// Those of a layer.
    pub(crate) fn of(&self, windowed: bool) -> &RopeRows {
        self.local.as_ref().filter(|_| windowed).unwrap_or(&self.global)
    }
}

/// The tables of one kind of layer.
#[derive(Clone)]
pub(crate) struct RopeRows {
    /// `[batch, tokens, 1, head_dim]`
    cos: Tensor<4>,
    /// `[batch, tokens, 1, head_dim]`
    sin: Tensor<4>,
    rotate: Tensor<2>,
}

impl RopeRows {
    /// Rotates queries or keys.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, tokens, heads, head_dim]`
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, t, h, d] = x.dims();
        // [b, t, h, d] -> [b * t * h, d] for one matrix product
        let dtype = x.dtype();
        let turned = x.clone().reshape([b * t * h, d]).matmul(self.rotate.clone().cast(dtype)).reshape([b, t, h, d]);
        x * self.cos.clone().cast(dtype) + turned * self.sin.clone().cast(dtype)
    }
}

/// Which columns of a batch are a row's own: all from `start` on, but for a `hole` of padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Columns of padding on the left.
    pub start: usize,
    /// Columns of padding between the row's first part and the rest; empty where there is none.
    pub hole: std::ops::Range<usize>,
}

impl Span {
    /// How many of the columns before `column` are the row's own: the position of what stands there.
    pub(crate) fn position(&self, column: usize) -> usize {
        column - self.start - self.hole.len()
    }
}

/// Which keys each query may see, as an additive bias.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    full: Tensor<3>,
    windowed: Option<Tensor<3>>,
}

impl AttentionMask {
    /// The mask of a causal batch of rows with padding, and for layers with a `window` a second one.
    ///
    /// Query `q` of row `b` stands in column `past + q`; of the columns up to its own it sees those of its row's span, the last
    /// `window` of them where there is a window. A query inside the padding sees its own column only, so that its output is
    /// finite; it is never read.
    ///
    /// # Shapes
    /// - output: `[batch, tokens, past + tokens]`, or `[1, …]` when no row has padding
    pub fn causal(spans: &[Span], past: usize, tokens: usize, window: Option<usize>, device: &Device) -> Self {
        let shared = spans.iter().all(|span| span.start == 0 && span.hole.is_empty());
        let spans = if shared { &spans[..1] } else { spans };
        let shape = [spans.len(), tokens, past + tokens];
        let full = bias(spans, past, tokens);
        let windowed = window.filter(|window| *window < past + tokens).map(|window| {
            let mut bias = full.clone();
            for (line, bias) in bias.chunks_exact_mut(past + tokens).enumerate() {
                // Of the columns that a query sees, all but the last ones.
                let own = past + line % tokens;
                let seen = (0..=own).rev().filter(|column| bias[*column] == 0.0).collect::<Vec<_>>();
                seen.into_iter().skip(window).for_each(|column| bias[column] = MASKED);
            }
            Tensor::from_data(TensorData::new(bias, shape), device)
        });
        Self { full: Tensor::from_data(TensorData::new(full, shape), device), windowed }
    }

    /// The mask of a layer.
    pub(crate) fn of(&self, windowed: bool) -> &Tensor<3> {
        self.windowed.as_ref().filter(|_| windowed).unwrap_or(&self.full)
    }

    /// The same mask beside tensors whose gradients are tracked.
    pub(crate) fn autodiff(&self) -> Self {
        Self { full: self.full.clone().autodiff(), windowed: self.windowed.clone().map(Tensor::autodiff) }
    }
}

/// 0 where a query sees a key, minus infinity where it does not.
fn bias(spans: &[Span], past: usize, tokens: usize) -> Vec<f32> {
    let columns = past + tokens;
    let mut bias = vec![0f32; spans.len() * tokens * columns];
    for (row, span) in spans.iter().enumerate() {
        for query in 0..tokens {
            let line = &mut bias[(row * tokens + query) * columns..][..columns];
            let own = past + query;
            line[..span.start.min(own)].fill(MASKED);
            line[span.hole.start.min(own)..span.hole.end.min(own)].fill(MASKED);
            line[own + 1..].fill(MASKED);
            if span.hole.contains(&own) {
                line[..own].fill(MASKED);
            }
        }
    }
    bias
}

/// Scaled dot-product attention with grouped keys and values (Ainslie et al. 2023):
/// `softmax(q kᵀ · scale + mask) v`.
///
/// The queries that share a key head are stacked as rows of one matrix, so keys and values are never repeated in
/// memory. Keys come transposed: the CPU's matrix product sums in another order when a small product has a transposed
/// right side or a single row, and the result would then depend on what else is in the batch.
///
/// # Shapes
/// - `q`: `[batch, tokens, heads, head_dim]`
/// - `k`: `[batch, kv_heads, head_dim, columns]`
/// - `v`: `[batch, kv_heads, columns, head_dim]`
/// - `mask`: `[batch, tokens, columns]` or `[1, …]`
/// - output: `[batch * tokens, heads * head_dim]`
pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Tensor<3>, scale: f64) -> Tensor<2> {
    let [b, t, heads, d] = q.dims();
    let [_, kv, _, columns] = k.dims();
    let group = heads / kv;
    if group * t == 1 {
        // One row is padded to two, and the second is dropped again.
        let twice = attention(Tensor::cat(vec![q.clone(), q], 1), k, v, &mask.clone().repeat_dim(1, 2), scale);
        let width = twice.dims()[1];
        return twice.reshape([b, 2, width]).slice_dim(1, 0..1).reshape([b, width]);
    }
    let q = q.mul_scalar(scale);
    // [b, t, heads, d] -> [b, kv, group * t, d]
    let q = q.reshape([b, t, kv, group, d]).permute([0, 2, 3, 1, 4]).reshape([b, kv, group * t, d]);
    let scores = q.matmul(k);
    let [mask_rows, _, _] = mask.dims();
    // [b, kv, group * t, columns] -> [b, kv, group, t, columns], so that one mask serves every head
    let scores = scores.reshape([b, kv, group, t, columns]) + mask.clone().reshape([mask_rows, 1, 1, t, columns]);
    let weights = softmax(scores, 4).reshape([b, kv, group * t, columns]);
    let out = weights.matmul(v);
    // [b, kv, group * t, d] -> [b * t, heads * d]
    out.reshape([b, kv, group, t, d]).permute([0, 3, 1, 2, 4]).reshape([b * t, heads * d])
}
