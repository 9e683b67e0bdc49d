//! The numerical pieces of a Llama block, as functions of tensors.
//!
//! Every row is computed without regard to its neighbours in the batch, and masked positions enter sums as exact
//! zeros. That is what makes batched equal single and cached equal uncached bit for bit on the CPU.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::LmConfig;

/// Added to the score of a masked position. Minus infinity and not a large number: its exponential is 0 at once, where
/// that of a large number takes the slow path for underflow, half of all exponentials in a causal batch.
const MASKED: f32 = f32::NEG_INFINITY;

/// Root-mean-square normalisation (Zhang and Sennrich 2019): `x / sqrt(mean(x²) + eps) * weight`.
///
/// # Shapes
/// - `x`: `[rows, hidden]`, `weight`: `[hidden]`, output `[rows, hidden]`
pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let mean_square = x.clone().square().mean_dim(1);
    let scale = mean_square.add_scalar(eps).sqrt().recip();
    x * scale * weight.unsqueeze_dim(0)
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

/// Tables of the rotary position embedding (Su et al. 2021), in the half-split layout that Hugging Face
/// checkpoints use.
#[derive(Clone, Debug)]
pub struct Rope {
    /// `[context, head_dim]`
    cos: Tensor<2>,
    /// `[context, head_dim]`
    sin: Tensor<2>,
    /// The signed permutation `(x1, x2) -> (-x2, x1)` as a matrix, `[head_dim, head_dim]`.
    ///
    /// A matrix product, not slices and a concatenation: it is a few percent of a block's arithmetic, moves memory
    /// once, and its backward is one product too. It is exact, since every sum has one term that is not zero.
    rotate: Tensor<2>,
}

impl Rope {
    /// Tables for every position of a config's context.
    pub fn new(config: &LmConfig, device: &Device) -> Self {
        let (positions, d) = (config.context, config.head_dim);
        let half = d / 2;
        let (mut cos, mut sin) = (vec![0f32; positions * d], vec![0f32; positions * d]);
        for (i, frequency) in frequencies(config).into_iter().enumerate() {
            for position in 0..positions {
                let angle = position as f64 * frequency;
                for column in [i, i + half] {
                    cos[position * d + column] = angle.cos() as f32;
                    sin[position * d + column] = angle.sin() as f32;
                }
            }
        }
        let mut rotate = vec![0f32; d * d];
        for i in 0..half {
            rotate[(i + half) * d + i] = -1.0;
            rotate[i * d + i + half] = 1.0;
        }
        let table = |values: Vec<f32>, rows: usize| Tensor::from_data(TensorData::new(values, [rows, d]), device);
        Self { cos: table(cos, positions), sin: table(sin, positions), rotate: table(rotate, d) }
    }

    /// The tables' rows at the given positions.
    ///
    /// # Shapes
    /// - `positions`: `[batch, tokens]`; output: two of `[batch, tokens, 1, head_dim]`
    pub(crate) fn at(&self, positions: Tensor<2, Int>) -> RopeRows {
        let [batch, tokens] = positions.dims();
        let d = self.cos.dims()[1];
        let flat: Tensor<1, Int> = positions.reshape([batch * tokens]);
        // [batch * tokens, d] -> [batch, tokens, 1, d]
        let rows = |table: &Tensor<2>| table.clone().select(0, flat.clone()).reshape([batch, tokens, 1, d]);
        RopeRows { cos: rows(&self.cos), sin: rows(&self.sin), rotate: self.rotate.clone() }
    }

    /// The same tables with gradients tracked through their uses (they have none themselves).
    pub(crate) fn autodiff(&self) -> Self {
        let lift = |t: &Tensor<2>| t.clone().autodiff();
        Self { cos: lift(&self.cos), sin: lift(&self.sin), rotate: lift(&self.rotate) }
    }
}

/// The angle by which each pair of a head's dimensions turns from one position to the next, `[head_dim / 2]`, radians.
///
/// Float64: float32 loses whole radians at 100k positions.
pub(crate) fn frequencies(config: &LmConfig) -> Vec<f64> {
    let d = config.head_dim;
    (0..d / 2).map(|i| config.rope_theta.powf(-2.0 * i as f64 / d as f64)).collect()
}

/// Rotary tables at the positions of one forward pass.
#[derive(Clone)]
pub(crate) struct RopeRows {
    cos: Tensor<4>,
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
        let turned = x.clone().reshape([b * t * h, d]).matmul(self.rotate.clone()).reshape([b, t, h, d]);
        x * self.cos.clone() + turned * self.sin.clone()
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
pub struct AttentionMask(Tensor<3>);

impl AttentionMask {
    /// The mask of a causal batch of rows with padding.
    ///
    /// Query `q` of row `b` stands in column `past + q`; of the columns up to its own it sees those of its row's span.
    /// A query inside the padding sees its own column only, so that its output is finite; it is never read.
    ///
    /// # Shapes
    /// - output: `[batch, tokens, past + tokens]`, or `[1, …]` when no row has padding
    pub fn causal(spans: &[Span], past: usize, tokens: usize, device: &Device) -> Self {
        let columns = past + tokens;
        let shared = spans.iter().all(|span| span.start == 0 && span.hole.is_empty());
        let spans = if shared { &spans[..1] } else { spans };
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
        Self(Tensor::from_data(TensorData::new(bias, [spans.len(), tokens, columns]), device))
    }

    /// The mask of one query, given twice.
    fn repeated(&self) -> Self {
        Self(self.0.clone().repeat_dim(1, 2))
    }

    /// A mask from its bias: 0 where a query sees a key, very negative where it does not.
    pub(crate) fn autodiff(&self) -> Self {
        Self(self.0.clone().autodiff())
    }
}

/// Scaled dot-product attention with grouped keys and values (Ainslie et al. 2023):
/// `softmax(q kᵀ / sqrt(d) + mask) v`.
///
/// The queries that share a key head are stacked as rows of one matrix, so keys and values are never repeated in
/// memory. Keys come transposed: the CPU's matrix product sums in another order when a small product has a transposed
/// right side or a single row, and the result would then depend on what else is in the batch.
///
/// # Shapes
/// - `q`: `[batch, tokens, heads, head_dim]`
/// - `k`: `[batch, kv_heads, head_dim, columns]`
/// - `v`: `[batch, kv_heads, columns, head_dim]`
/// - output: `[batch * tokens, heads * head_dim]`
pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &AttentionMask) -> Tensor<2> {
    let [b, t, heads, d] = q.dims();
    let [_, kv, _, columns] = k.dims();
    let group = heads / kv;
    if group * t == 1 {
        // One row is padded to two, and the second is dropped again.
        let twice = attention(Tensor::cat(vec![q.clone(), q], 1), k, v, &mask.repeated());
        let width = twice.dims()[1];
        return twice.reshape([b, 2, width]).slice_dim(1, 0..1).reshape([b, width]);
    }
    let q = q.mul_scalar(1.0 / (d as f64).sqrt());
    // [b, t, heads, d] -> [b, kv, group * t, d]
    let q = q.reshape([b, t, kv, group, d]).permute([0, 2, 3, 1, 4]).reshape([b, kv, group * t, d]);
    let scores = q.matmul(k);
    let [mask_rows, _, _] = mask.0.dims();
    // [b, kv, group * t, columns] -> [b, kv, group, t, columns], so that one mask serves every head
    let scores = scores.reshape([b, kv, group, t, columns]) + mask.0.clone().reshape([mask_rows, 1, 1, t, columns]);
    let weights = softmax(scores, 4).reshape([b, kv, group * t, columns]);
    let out = weights.matmul(v);
    // [b, kv, group * t, d] -> [b * t, heads * d]
    out.reshape([b, kv, group, t, d]).permute([0, 3, 1, 2, 4]).reshape([b * t, heads * d])
}
