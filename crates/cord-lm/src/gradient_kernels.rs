//! The arithmetic of training outside of its matrix products, on the CPU, over plain slices: forward on all threads, and backward.
//!
//! Work is cut by rows into jobs whose size does not depend on the number of threads, and what is summed over rows is summed job by
//! job, in order: any number of threads gives the same bits.

#![expect(clippy::inline_always, reason = "what is not inlined is compiled for every processor, without its vectors")]

use burn::tensor::Tensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::host::values;
use crate::kernels::{self, exp, largest_of, sum_of};

/// Values of one job: enough to be worth a thread, few enough for its cache.
const JOB: usize = 1 << 14;

/// Values of a weight's gradient that are made at a time.
const PIECE: usize = 1 << 18;

/// Rows of one job.
fn rows_of(width: usize) -> usize {
    (JOB / width).max(1)
}

/// [`kernels::rms_norm`] on all threads.
///
/// # Shapes
/// - `x` and output: `[rows, width]`, `weight`: `[width]`
pub(crate) fn norm(x: &[f32], weight: &[f32], eps: f64) -> Vec<f32> {
    let job = rows_of(weight.len()) * weight.len();
    let parts: Vec<Vec<f32>> = x.par_chunks(job).map(|x| kernels::rms_norm(x, weight, eps)).collect();
    concat(parts)
}

/// The gradients of a norm's input, written over `dy`, and of its weight, from that of its output.
///
/// With `r = 1 / sqrt(mean(x²) + eps)` and `g = dy · weight`: `dx = r g − x r³ mean(g x)` and `dweight = Σ dy x r`.
///
/// # Shapes
/// - `x` and `dy`: `[rows, width]`; `weight` and output: `[width]`
pub(crate) fn norm_gradient(x: &[f32], weight: &[f32], eps: f64, dy: &mut [f32]) -> Vec<f32> {
    let width = weight.len();
    let job = rows_of(width) * width;
    let part = |(x, dy): (&[f32], &mut [f32])| {
        let mut dweight = vec![0.0; width];
        Arch::new().dispatch(NormGradient { x, weight, eps: eps as f32, dy, dweight: &mut dweight });
        dweight
    };
    let parts: Vec<Vec<f32>> = x.par_chunks(job).zip(dy.par_chunks_mut(job)).map(part).collect();
    sum(&parts, width)
}

struct NormGradient<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    dy: &'a mut [f32],
    dweight: &'a mut [f32],
}

impl WithSimd for NormGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.weight.len();
        for (x, dy) in self.x.chunks_exact(width).zip(self.dy.chunks_exact_mut(width)) {
            let scale = 1.0 / (sum_of(x, |x| x * x) / width as f32 + self.eps).sqrt();
            for ((dweight, dy), x) in self.dweight.iter_mut().zip(&*dy).zip(x) {
                *dweight += dy * x * scale;
            }
            for (dy, weight) in dy.iter_mut().zip(self.weight) {
                *dy *= weight;
            }
            let mean = sum_of_products(dy, x) / width as f32 * scale * scale;
            for (dy, x) in dy.iter_mut().zip(x) {
                *dy = scale * (*dy - x * mean);
            }
        }
    }
}

/// The gated activation of a family, `silu` or, for Gemma, `gelu_tanh`.
///
/// # Shapes
/// - all of one length
pub(crate) fn gated(gate: &[f32], up: &[f32], gemma: bool) -> Vec<f32> {
    let mut out = gate.to_vec();
    out.par_chunks_mut(JOB).zip(up.par_chunks(JOB)).for_each(|(gate, up)| {
        if gemma {
            kernels::geglu(gate, up);
        } else {
            kernels::swiglu(gate, up);
        }
    });
    out
}

/// The gradients of [`gated`]'s inputs, written over them, from that of its output.
pub(crate) fn gated_gradient(gate: &mut [f32], up: &mut [f32], dy: &[f32], gemma: bool) {
    let both = gate.par_chunks_mut(JOB).zip(up.par_chunks_mut(JOB));
    both.zip(dy.par_chunks(JOB)).for_each(|((gate, up), dy)| {
        Arch::new().dispatch(GatedGradient { gate, up, dy, gemma });
    });
}

struct GatedGradient<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dy: &'a [f32],
    gemma: bool,
}

impl WithSimd for GatedGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const SLOPE: f32 = 0.797_884_6; // sqrt(2 / pi)
        const CUBE: f32 = 0.044_715;
        let all = self.gate.iter_mut().zip(self.up.iter_mut()).zip(self.dy);
        // Both are `x σ(z(x))`: its derivative is `σ + x σ (1 − σ) z'`.
        if self.gemma {
            for ((gate, up), dy) in all {
                let x = *gate;
                let gated = 1.0 / (1.0 + exp(-2.0 * SLOPE * (x + CUBE * x * x * x)));
                let slope = 2.0 * SLOPE * (1.0 + 3.0 * CUBE * x * x);
                let change = gated + x * gated * (1.0 - gated) * slope;
                (*gate, *up) = (dy * *up * change, dy * x * gated);
            }
        } else {
            for ((gate, up), dy) in all {
                let x = *gate;
                let gated = 1.0 / (1.0 + exp(-x));
                let change = gated + x * gated * (1.0 - gated);
                (*gate, *up) = (dy * *up * change, dy * x * gated);
            }
        }
    }
}

/// Adds `y` to `x` on all threads.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    x.par_chunks_mut(JOB).zip(y.par_chunks(JOB)).for_each(|(x, y)| kernels::add(x, y));
}

/// The sum over rows.
///
/// # Shapes
/// - `x`: `[rows, width]`, output: `[width]`
pub(crate) fn column_sums(x: &[f32], width: usize) -> Vec<f32> {
    let part = |x: &[f32]| {
        let mut sum = vec![0.0; width];
        x.chunks_exact(width).for_each(|row| kernels::add(&mut sum, row));
        sum
    };
    let parts: Vec<Vec<f32>> = x.par_chunks(rows_of(width) * width).map(part).collect();
    sum(&parts, width)
}

/// Writes `xᵀ · y`, the gradient of a linear layer's weight, or adds it.
///
/// Piece by piece: burn's product makes its output anew each time, zeroes it and copies the zeros to where they are aligned. For
/// gradients as large as the weights that took a quarter of a step; pieces stay in the cache meanwhile.
///
/// # Shapes
/// - `x`: `[rows, in]`, `y`: `[rows, out]`, `out`: `[in, out]`
pub(crate) fn outer(out: &mut [f32], x: &Tensor<2>, y: &Tensor<2>, add: bool) {
    let width = y.dims()[1];
    let inputs = (PIECE / width).max(1);
    out.par_chunks_mut(inputs * width).enumerate().for_each(|(piece, out)| {
        let from = piece * inputs;
        let x = x.clone().slice_dim(1, from..from + out.len() / width);
        let product = values(x.transpose().matmul(y.clone()));
        if add {
            kernels::add(out, &product);
        } else {
            out.copy_from_slice(&product);
        }
    });
}

/// Which keys the queries of a piece see.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    /// Columns of the scores.
    pub(crate) keys: usize,
    /// The column of the first query's own key: it sees this one, and those before it.
    pub(crate) first: usize,
    /// The most keys that a query sees.
    pub(crate) window: usize,
}

/// Softmax over the keys that a query sees, in place; 0 for the others.
///
/// # Shapes
/// - `scores`: `[queries, keys]`
pub(crate) fn causal_softmax(scores: &mut [f32], sight: Sight) {
    Arch::new().dispatch(CausalSoftmax { scores, sight });
}

struct CausalSoftmax<'a> {
    scores: &'a mut [f32],
    sight: Sight,
}

impl WithSimd for CausalSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Sight { keys, first, window } = self.sight;
        for (query, row) in self.scores.chunks_exact_mut(keys).enumerate() {
            let end = first + query + 1;
            let (seen, unseen) = row.split_at_mut(end);
            let (before, seen) = seen.split_at_mut(end.saturating_sub(window));
            before.fill(0.0);
            unseen.fill(0.0);
            softmax(seen);
        }
    }
}

/// Softmax in place; gives the logarithm of the sum of exponentials.
#[inline(always)]
fn softmax(row: &mut [f32]) -> f32 {
    let largest = largest_of(row);
    for x in row.iter_mut() {
        *x = exp(*x - largest);
    }
    let sum = sum_of(row, |x| x);
    let scale = 1.0 / sum;
    for x in row.iter_mut() {
        *x *= scale;
    }
    largest + sum.ln()
}

/// The gradient of scores, written over that of their softmax: `ds = w (dw − Σ w dw)`.
///
/// # Shapes
/// - both `[queries, keys]`
pub(crate) fn softmax_gradient(weights: &[f32], dweights: &mut [f32], keys: usize) {
    Arch::new().dispatch(SoftmaxGradient { weights, dweights, keys });
}

struct SoftmaxGradient<'a> {
    weights: &'a [f32],
    dweights: &'a mut [f32],
    keys: usize,
}

impl WithSimd for SoftmaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (w, dw) in self.weights.chunks_exact(self.keys).zip(self.dweights.chunks_exact_mut(self.keys)) {
            let dot = sum_of_products(w, dw);
            for (w, dw) in w.iter().zip(dw) {
                *dw = w * (*dw - dot);
            }
        }
    }
}

/// The negative log-likelihood of each row's target, nats, and the gradient of as much of it as the row weighs by the logits, written
/// over them.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`; `targets`, `weights` and output: `[rows]`
pub(crate) fn cross_entropy_gradient(logits: &mut [f32], targets: &[i64], weights: &[f32]) -> Vec<f32> {
    let vocab = logits.len() / targets.len().max(1);
    let rows = logits.par_chunks_mut(vocab.max(1)).zip(targets).zip(weights);
    let of = |((logits, target), weight): ((_, &i64), &f32)| {
        Arch::new().dispatch(CrossEntropy { logits, target: *target as usize, weight: *weight })
    };
    rows.map(of).collect()
}

struct CrossEntropy<'a> {
    logits: &'a mut [f32],
    target: usize,
    weight: f32,
}

impl WithSimd for CrossEntropy<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let logit = self.logits[self.target];
        let nll = softmax(self.logits) - logit;
        self.logits[self.target] -= 1.0;
        for x in self.logits.iter_mut() {
            *x *= self.weight;
        }
        nll
    }
}

#[inline(always)]
fn sum_of_products(x: &[f32], y: &[f32]) -> f32 {
    const LANES: usize = kernels::LANES;
    let mut lanes = [0f32; LANES];
    let ((xs, x), (ys, y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = x.mul_add(*y, *lane);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
        *lane = x.mul_add(*y, *lane);
    }
    lanes.iter().sum()
}

/// The sum of parts, in their order.
fn sum(parts: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for part in parts {
        kernels::add(&mut sum, part);
    }
    sum
}

fn concat(mut parts: Vec<Vec<f32>>) -> Vec<f32> {
    if parts.len() == 1 { parts.remove(0) } else { parts.concat() }
}
