//! The loss of packed samples and its gradient on the CPU: matrix products by burn, all else by [`crate::gradient_kernels`].
//!
//! What burn's graph does in some forty operations a block, one thread each, is a dozen passes over memory here, on all threads. It
//! gives the gradients of [`crate::packed`]'s graphs, which other devices use, to rounding; a test holds the two against each other
//! in every family. Attention works head by head and by some queries at a time, from weights that are computed again in the backward
//! pass: memory grows with the number of tokens and not with its square.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::gradient_kernels as kernels;
use crate::gradient_kernels::Sight;
use crate::host::{Turns, values, vector};
use crate::ops::Angles;
use crate::packed::{Layout, PackedBytes, pieces};
use crate::transformer::{Block, Linear, outputs};
use crate::{LmConfig, ParamMut, Transformer};

/// The most attention weights of a head that exist at a time.
const WEIGHTS: usize = 1 << 20;

/// The most logits that exist at a time.
const LOGITS: usize = 1 << 23;

/// The most queries of a piece: half of the keys of a square piece are hidden, and computed for nothing.
const QUERIES: usize = 256;

/// The loss, and the gradient of the weighed one, as [`crate::packed_gradient`] gives them.
pub(crate) fn gradient(model: &Transformer, layout: &Layout, recompute: bool) -> (f64, Vec<Tensor<1>>) {
    let pass = HostPass::new(model, layout);
    // Gradients take the places of what they are the gradients of, so that a visit finds them in the right order.
    let mut gradients = model.clone();
    let mut x = pass.embed();
    let mut kept = Vec::with_capacity(model.blocks.len());
    for (index, block) in model.blocks.iter().enumerate() {
        let (next, attended, inside) = pass.block(block, index, &x, None);
        let x = std::mem::replace(&mut x, next);
        kept.push((x, attended, if recompute { None } else { Some(inside) }));
    }

    let (loss, mut dx) = pass.head(&x, &mut gradients);
    for (index, block) in model.blocks.iter().enumerate().rev() {
        let (x, mut attended, inside) = kept.pop().expect("a state of every block");
        let inside = inside.unwrap_or_else(|| {
            let (_, again, inside) = pass.block(block, index, &x, Some(std::mem::take(&mut attended)));
            attended = again;
            inside
        });
        dx = pass.block_gradient(block, index, &mut gradients.blocks[index], (&x, attended, inside), &dx);
    }
    if model.lora.is_none() {
        pass.embed_gradient(&dx, &mut gradients);
    }
    let mut flat = Vec::new();
    gradients.visit_trained(&mut |_, param| {
        flat.push(match param {
            ParamMut::Vector(t) => t.clone(),
            ParamMut::Table(t) | ParamMut::Linear(t) => {
                let [rows, columns] = t.dims();
                t.clone().reshape([rows * columns])
            }
        });
    });
    (loss, flat)
}

/// The loss of every supervised token, in the layout's order.
pub(crate) fn losses(model: &Transformer, layout: &Layout) -> Vec<f32> {
    let pass = HostPass::new(model, layout);
    let mut x = pass.embed();
    for (index, block) in model.blocks.iter().enumerate() {
        x = pass.block(block, index, &x, None).0;
    }
    let hidden = pass.norm(&pass.supervised(&x), &model.norm);
    let mut losses = Vec::with_capacity(layout.targets.len());
    pass.each_piece(&hidden, |part, hidden| {
        let mut logits = values(model.logits(hidden));
        let (targets, weights) = (&layout.targets[part.clone()], &layout.weights[part]);
        losses.extend(kernels::cross_entropy_gradient(&mut logits, targets, weights));
    });
    losses
}

/// As [`crate::packed_bytes`]. A product holds its output twice while it is made.
pub(crate) fn bytes(
    config: &LmConfig,
    tokens: usize,
    longest: usize,
    supervised: usize,
    recompute: bool,
) -> PackedBytes {
    const F32: usize = 4;
    let (hidden, family) = (config.hidden, config.architecture.family);
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let ends = hidden + queries;
    let normed = if family.head_norms() { queries + keys } else { 0 } + if family.sandwich() { 2 * hidden } else { 0 };
    let inside = queries + 2 * keys + hidden + 2 * config.ffn + normed;
    let kept = config.layers * (ends + if recompute { 0 } else { inside });
    // A block's state and its gradients, as they are made; attention's head by head too.
    let passing = inside + 4 * hidden + 3 * config.ffn + 3 * (queries + 2 * keys) + queries;
    let weights = 4 * WEIGHTS.min(longest * longest.min(QUERIES)).max(longest);
    let logits = 2 * LOGITS.min(supervised * config.vocab).max(config.vocab);
    PackedBytes {
        blocks: tokens * (kept + passing) * F32,
        attention: weights * F32,
        head: (logits + 4 * supervised * hidden) * F32,
    }
}

/// One pass over a pack. Activations are flat, `[tokens, width]`.
struct HostPass<'a> {
    model: &'a Transformer,
    config: &'a LmConfig,
    layout: &'a Layout,
    offset: f32,
    turns: Turns,
    local: Option<Turns>,
}

/// What a block's backward pass needs beside its input and what attention gave.
struct Inside {
    /// Queries and keys before their norms, where they have some.
    unnormed: Option<[Vec<f32>; 2]>,
    /// Rotated, the queries scaled.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// The residual stream between attention and the feed-forward layer.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What attention's and the feed-forward layer's last products gave, where they are normed.
    written: Option<[Vec<f32>; 2]>,
}

impl<'a> HostPass<'a> {
    fn new(model: &'a Transformer, layout: &'a Layout) -> Self {
        let config = model.config();
        Self {
            model,
            config,
            layout,
            offset: config.architecture.family.norm_offset(),
            turns: Turns::of(&Angles::new(config), &layout.positions),
            local: Angles::local(config).map(|local| Turns::of(&local, &layout.positions)),
        }
    }

    fn tokens(&self) -> usize {
        self.layout.ids.len()
    }

    fn embed(&self) -> Vec<f32> {
        let ids = Tensor::<2, Int>::from_data(
            TensorData::new(self.layout.ids.clone(), [1, self.tokens()]),
            &self.model.device(),
        );
        values(self.model.embed(ids))
    }

    /// Adds the embedding's gradient to what the head left of it, where the two are one.
    fn embed_gradient(&self, dx: &[f32], gradients: &mut Transformer) {
        let width = self.config.hidden;
        let mut sums = if self.config.tied {
            values(std::mem::replace(&mut gradients.embed, self.model.embed.clone()))
        } else {
            vec![0.0; self.config.vocab * width]
        };
        let scale = self.config.embed_scale().unwrap_or(1.0);
        for (id, dx) in self.layout.ids.iter().zip(dx.chunks_exact(width)) {
            for (sum, dx) in sums[*id as usize * width..][..width].iter_mut().zip(dx) {
                *sum += dx * scale;
            }
        }
        gradients.embed = self.matrix(sums, width);
    }

    fn matrix(&self, x: Vec<f32>, width: usize) -> Tensor<2> {
        let rows = x.len() / width;
        Tensor::from_data(TensorData::new(x, [rows, width]), &self.model.device())
    }

    fn row(&self, x: Vec<f32>) -> Tensor<1> {
        let width = x.len();
        Tensor::from_data(TensorData::new(x, [width]), &self.model.device())
    }

    fn norm(&self, x: &[f32], weight: &Tensor<1>) -> Vec<f32> {
        kernels::norm(x, &vector(weight, self.offset), self.config.norm_eps)
    }

    /// The gradient by a norm's input, written over that of its output; that of its weight goes to `gradient`.
    fn norm_gradient(&self, x: &[f32], weight: &Tensor<1>, dy: &mut [f32], gradient: &mut Tensor<1>) {
        let sums = kernels::norm_gradient(x, &vector(weight, self.offset), self.config.norm_eps, dy);
        *gradient = self.row(sums);
    }

    fn turns(&self, index: usize) -> &Turns {
        let windowed = self.config.architecture.window_of(index).is_some();
        self.local.as_ref().filter(|_| windowed).unwrap_or(&self.turns)
    }

    fn widths(&self) -> [usize; 3] {
        let (queries, keys) = (self.config.heads * self.config.head_dim, self.config.kv_heads * self.config.head_dim);
        [queries, keys, keys]
    }

    /// Queries, keys and values of a block, rotated; and the first two as they were before their norms.
    fn project(&self, block: &Block, index: usize, x: &[f32]) -> ([Vec<f32>; 3], Option<[Vec<f32>; 2]>) {
        let normed = self.matrix(self.norm(x, &block.input_norm), self.config.hidden);
        let [mut q, mut k, v] = outputs(&block.qkv, normed, self.widths()).map(values);
        let mut unnormed = None;
        if let Some([of_q, of_k]) = &block.head_norms {
            let normed = (self.norm(&q, of_q), self.norm(&k, of_k));
            unnormed = Some([std::mem::replace(&mut q, normed.0), std::mem::replace(&mut k, normed.1)]);
        }
        self.turns(index).rotate(&mut q, &mut k, self.config);
        ([q, k, v], unnormed)
    }

    /// A block's output, what attention gave, and what else its backward pass needs. Attention is not computed where it is known.
    fn block(
        &self,
        block: &Block,
        index: usize,
        x: &[f32],
        attended: Option<Vec<f32>>,
    ) -> (Vec<f32>, Vec<f32>, Inside) {
        let config = self.config;
        let ([q, k, v], unnormed) = self.project(block, index, x);
        let attended = attended.unwrap_or_else(|| self.attention(index, [&q, &k, &v]));
        let (attended, of_attention) = self.product(&block.o, attended);
        let mut middle = match &block.output_norms {
            Some([after, _]) => self.norm(&of_attention, after),
            None => of_attention.clone(),
        };
        kernels::add(&mut middle, x);

        let normed = self.matrix(self.norm(&middle, &block.mlp_norm), config.hidden);
        let [gate, up] = outputs(&block.gate_up, normed, [config.ffn, config.ffn]).map(values);
        let (_, of_mlp) = self.product(&block.down, kernels::gated(&gate, &up, config.architecture.family.is_gemma()));
        let (mut next, written) = match &block.output_norms {
            Some([_, after]) => (self.norm(&of_mlp, after), Some([of_attention, of_mlp])),
            None => (of_mlp, None),
        };
        kernels::add(&mut next, &middle);
        (next, attended, Inside { unnormed, q, k, v, middle, gate, up, written })
    }

    /// What a layer reads, given back, and its output.
    fn product(&self, layer: &Linear, x: Vec<f32>) -> (Vec<f32>, Vec<f32>) {
        let x = self.matrix(x, layer.weight.dims()[0]);
        let out = values(layer.forward(x.clone()));
        (values(x), out)
    }

    /// The gradient by a block's input from that by its output; those of its parameters go to `gradient`.
    fn block_gradient(
        &self,
        block: &Block,
        index: usize,
        gradient: &mut Block,
        (x, attended, inside): (&[f32], Vec<f32>, Inside),
        dy: &[f32],
    ) -> Vec<f32> {
        let config = self.config;
        let gemma = config.architecture.family.is_gemma();
        let Inside { unnormed, q, k, v, middle, mut gate, mut up, written } = inside;
        // The gradient by what a layer wrote, through its norm where it has one.
        let through = |which: usize, mut dy: Vec<f32>, gradient: &mut Block| {
            if let (Some(norms), Some(written), Some(gradients)) =
                (&block.output_norms, &written, &mut gradient.output_norms)
            {
                self.norm_gradient(&written[which], &norms[which], &mut dy, &mut gradients[which]);
            }
            dy
        };

        let of_mlp = through(1, dy.to_owned(), gradient);
        let inner = kernels::gated(&gate, &up, gemma);
        let inner = self.products_gradient(&[&block.down], &mut [&mut gradient.down], inner, vec![of_mlp]);
        kernels::gated_gradient(&mut gate, &mut up, &inner, gemma);
        let normed = self.norm(&middle, &block.mlp_norm);
        let layers: Vec<&Linear> = block.gate_up.iter().collect();
        let mut gradients: Vec<&mut Linear> = gradient.gate_up.iter_mut().collect();
        let mut dmiddle = self.products_gradient(&layers, &mut gradients, normed, vec![gate, up]);
        self.norm_gradient(&middle, &block.mlp_norm, &mut dmiddle, &mut gradient.mlp_norm);
        kernels::add(&mut dmiddle, dy);

        let of_attention = through(0, dmiddle.clone(), gradient);
        let dattended = self.products_gradient(&[&block.o], &mut [&mut gradient.o], attended, vec![of_attention]);
        let [mut dq, mut dk, dv] = self.attention_gradient(index, [&q, &k, &v], &dattended);
        self.turns(index).reversed().rotate(&mut dq, &mut dk, config);
        if let (Some([q_norm, k_norm]), Some([q, k]), Some([of_q, of_k])) =
            (&block.head_norms, &unnormed, &mut gradient.head_norms)
        {
            self.norm_gradient(q, q_norm, &mut dq, of_q);
            self.norm_gradient(k, k_norm, &mut dk, of_k);
        }
        let normed = self.norm(x, &block.input_norm);
        let layers: Vec<&Linear> = block.qkv.iter().collect();
        let mut gradients: Vec<&mut Linear> = gradient.qkv.iter_mut().collect();
        let mut dx = self.products_gradient(&layers, &mut gradients, normed, vec![dq, dk, dv]);
        self.norm_gradient(x, &block.input_norm, &mut dx, &mut gradient.input_norm);
        kernels::add(&mut dx, &dmiddle);
        dx
    }

    /// The gradient by what layers read from those by their outputs; those of what is trained go to `gradients`.
    ///
    /// # Shapes
    /// - `x` and output: `[tokens, in]`; `dys`: `[tokens, out]` of each layer, or of each part of the only one
    fn products_gradient(
        &self,
        layers: &[&Linear],
        gradients: &mut [&mut Linear],
        x: Vec<f32>,
        dys: Vec<Vec<f32>>,
    ) -> Vec<f32> {
        let dys = if layers.len() < dys.len() { vec![side_by_side(&dys, self.tokens())] } else { dys };
        let x = self.matrix(x, layers[0].weight.dims()[0]);
        let mut sum: Option<Vec<f32>> = None;
        for ((layer, gradient), dy) in layers.iter().zip(gradients).zip(dys) {
            let width = layer.weight.dims()[1];
            if self.model.lora.is_none() && layer.bias.is_some() {
                gradient.bias = Some(self.row(kernels::column_sums(&dy, width)));
            }
            let dy = self.matrix(dy, width);
            if self.model.lora.is_none() {
                let mut sums = vec![0.0; layer.weight.shape().num_elements()];
                kernels::outer(&mut sums, &x, &dy, false);
                gradient.weight = self.matrix(sums, width);
            }
            let mut dx = dy.clone().matmul(layer.weight.clone().transpose());
            if let (Some(adapter), Some(gradient)) = (&layer.adapter, &mut gradient.adapter) {
                let dinner = dy.clone().matmul(adapter.b.clone().transpose()).mul_scalar(adapter.scale);
                let inner = x.clone().matmul(adapter.a.clone());
                gradient.b = inner.transpose().matmul(dy).mul_scalar(adapter.scale);
                gradient.a = x.clone().transpose().matmul(dinner.clone());
                dx = dx + dinner.matmul(adapter.a.clone().transpose());
            }
            let dx = values(dx);
            sum = Some(match sum {
                None => dx,
                Some(mut sum) => {
                    kernels::add(&mut sum, &dx);
                    sum
                }
            });
        }
        sum.expect("a block's projections are at least one")
    }

    /// The hidden states that predict a supervised token.
    fn supervised(&self, x: &[f32]) -> Vec<f32> {
        let width = self.config.hidden;
        self.layout.rows.iter().flat_map(|row| &x[*row as usize * width..][..width]).copied().collect()
    }

    /// Some supervised tokens' places among the targets and their hidden states at a time.
    fn each_piece(&self, hidden: &[f32], mut of: impl FnMut(Range<usize>, Tensor<2>)) {
        let width = self.config.hidden;
        for part in pieces(self.layout.targets.len(), LOGITS / self.config.vocab) {
            let some = self.matrix(hidden[part.start * width..part.end * width].to_vec(), width);
            of(part, some);
        }
    }

    /// The loss, and the gradient of the weighed one by the last block's output; those of the last norm's weight and of the head go
    /// to `gradients`.
    fn head(&self, x: &[f32], gradients: &mut Transformer) -> (f64, Vec<f32>) {
        let (model, width) = (self.model, self.config.hidden);
        let trained = model.lora.is_none();
        let x = self.supervised(x);
        let hidden = self.norm(&x, &model.norm);
        let vocab = self.config.vocab;
        let mut sum = if trained { vec![0.0; vocab * width] } else { Vec::new() };
        let (mut loss, mut dhidden) = (0.0, Vec::with_capacity(hidden.len()));
        self.each_piece(&hidden, |part, hidden| {
            let mut logits = values(model.logits(hidden.clone()));
            let (targets, weights) = (&self.layout.targets[part.clone()], &self.layout.weights[part]);
            let losses = kernels::cross_entropy_gradient(&mut logits, targets, weights);
            loss += losses.iter().map(|nll| f64::from(*nll)).sum::<f64>();
            let logits = self.matrix(logits, vocab);
            if trained {
                let (x, y) = if model.head.is_some() { (&hidden, &logits) } else { (&logits, &hidden) };
                kernels::outer(&mut sum, x, y, true);
            }
            let head = model.head.clone().map_or_else(|| model.embed.clone(), Tensor::transpose);
            dhidden.extend(values(logits.matmul(head)));
        });
        if trained {
            match &mut gradients.head {
                Some(head) => *head = self.matrix(sum, vocab),
                None => gradients.embed = self.matrix(sum, width),
            }
        }
        self.norm_gradient(&x, &model.norm, &mut dhidden, &mut gradients.norm);
        let mut dx = vec![0.0; self.tokens() * width];
        for (row, line) in self.layout.rows.iter().zip(dhidden.chunks_exact(width)) {
            dx[*row as usize * width..][..width].copy_from_slice(line);
        }
        (loss, dx)
    }

    /// Causal attention inside of each sample.
    ///
    /// # Shapes
    /// - output: `[tokens, heads * head_dim]`
    fn attention(&self, index: usize, [q, k, v]: [&[f32]; 3]) -> Vec<f32> {
        let of = |head: &Head| {
            let [q, k, v] = head.operands(self, [q, k, v]);
            let mut out = Vec::with_capacity(head.rows.len() * self.config.head_dim);
            for piece in head.pieces(self.config.architecture.window_of(index)) {
                let weights = piece.weights(&q, k.clone().slice_dim(0, piece.keys.clone()));
                let weights = self.matrix(weights, piece.keys.len());
                out.extend(values(weights.matmul(v.clone().slice_dim(0, piece.keys))));
            }
            out
        };
        let heads = self.heads();
        let results: Vec<Vec<f32>> = heads.par_iter().map(of).collect();
        let mut out = vec![0.0; self.tokens() * self.widths()[0]];
        for (head, result) in heads.iter().zip(&results) {
            head.put(&mut out, head.query, self.config.heads, result, self.config.head_dim);
        }
        out
    }

    /// The gradients by queries, keys and values from that by what [`HostPass::attention`] gave.
    fn attention_gradient(&self, index: usize, [q, k, v]: [&[f32]; 3], dout: &[f32]) -> [Vec<f32>; 3] {
        let dim = self.config.head_dim;
        let of = |head: &Head| {
            let [q, k, v] = head.operands(self, [q, k, v]);
            let dout = self.matrix(head.take(dout, head.query, self.config.heads, dim), dim);
            let (mut dq, mut dk, mut dv) = (Vec::with_capacity(head.rows.len() * dim), None, None);
            for piece in head.pieces(self.config.architecture.window_of(index)) {
                let (k, v) = (k.clone().slice_dim(0, piece.keys.clone()), v.clone().slice_dim(0, piece.keys.clone()));
                let dout = dout.clone().slice_dim(0, piece.queries.clone());
                let weights = piece.weights(&q, k.clone());
                let mut dscores = values(dout.clone().matmul(v.transpose()));
                kernels::softmax_gradient(&weights, &mut dscores, piece.keys.len());
                let (weights, dscores) =
                    (self.matrix(weights, piece.keys.len()), self.matrix(dscores, piece.keys.len()));
                let q = q.clone().slice_dim(0, piece.queries.clone());
                dq.extend(values(dscores.clone().matmul(k)));
                put(&mut dk, dscores.transpose().matmul(q), &piece.keys, &head.rows);
                put(&mut dv, weights.transpose().matmul(dout), &piece.keys, &head.rows);
            }
            [dq, dk.unwrap_or_default(), dv.unwrap_or_default()]
        };
        let heads = self.heads();
        let results: Vec<[Vec<f32>; 3]> = heads.par_iter().map(of).collect();
        let mut sums = self.widths().map(|width| vec![0.0; self.tokens() * width]);
        for (head, [dq, dk, dv]) in heads.iter().zip(&results) {
            head.put(&mut sums[0], head.query, self.config.heads, dq, dim);
            head.put(&mut sums[1], head.key, self.config.kv_heads, dk, dim);
            head.put(&mut sums[2], head.key, self.config.kv_heads, dv, dim);
        }
        sums
    }

    fn heads(&self) -> Vec<Head> {
        let group = self.config.heads / self.config.kv_heads;
        let of = |rows: &Range<usize>| {
            let rows = rows.clone();
            (0..self.config.heads).map(move |query| Head { rows: rows.clone(), query, key: query / group })
        };
        self.layout.samples.iter().flat_map(of).collect()
    }
}

/// A head of queries of one sample, with the head of keys that it reads.
struct Head {
    /// The sample's.
    rows: Range<usize>,
    query: usize,
    key: usize,
}

/// Some queries of a sample, with the keys that any of them sees; all counted from the sample's beginning.
struct Piece {
    queries: Range<usize>,
    keys: Range<usize>,
    window: usize,
}

impl Head {
    fn pieces(&self, window: Option<usize>) -> Vec<Piece> {
        let count = self.rows.len();
        let window = window.unwrap_or(count).min(count);
        let most = (WEIGHTS / count.min(window + QUERIES)).clamp(16, QUERIES);
        let piece = |queries: Range<usize>| {
            let keys = (queries.start + 1).saturating_sub(window)..queries.end;
            Piece { queries, keys, window }
        };
        pieces(count, most).map(piece).collect()
    }

    fn operands(&self, pass: &HostPass<'_>, [q, k, v]: [&[f32]; 3]) -> [Tensor<2>; 3] {
        let (dim, heads, kv) = (pass.config.head_dim, pass.config.heads, pass.config.kv_heads);
        [(q, self.query, heads), (k, self.key, kv), (v, self.key, kv)]
            .map(|(x, head, heads)| pass.matrix(self.take(x, head, heads, dim), dim))
    }

    /// Its rows of one head: `[rows, dim]` of `[tokens, heads * dim]`.
    fn take(&self, x: &[f32], head: usize, heads: usize, dim: usize) -> Vec<f32> {
        let row = |row: usize| x[(row * heads + head) * dim..][..dim].iter().copied();
        self.rows.clone().flat_map(row).collect()
    }

    /// Adds to what [`Head::take`] takes.
    fn put(&self, sum: &mut [f32], head: usize, heads: usize, x: &[f32], dim: usize) {
        for (row, line) in self.rows.clone().zip(x.chunks_exact(dim)) {
            crate::kernels::add(&mut sum[(row * heads + head) * dim..][..dim], line);
        }
    }
}

impl Piece {
    /// The attention weights, `[queries, keys]`, of a sample's queries and of the piece's keys.
    fn weights(&self, q: &Tensor<2>, k: Tensor<2>) -> Vec<f32> {
        let q = q.clone().slice_dim(0, self.queries.clone());
        let mut weights = values(q.matmul(k.transpose()));
        let first = self.queries.start - self.keys.start;
        kernels::causal_softmax(&mut weights, Sight { keys: self.keys.len(), first, window: self.window });
        weights
    }
}

/// Adds what a piece gives for the keys that it sees.
fn put(sum: &mut Option<Vec<f32>>, part: Tensor<2>, keys: &Range<usize>, rows: &Range<usize>) {
    let dim = part.dims()[1];
    let part = values(part);
    match sum {
        None if *keys == (0..rows.len()) => *sum = Some(part),
        _ => {
            let sum = sum.get_or_insert_with(|| vec![0.0; rows.len() * dim]);
            crate::kernels::add(&mut sum[keys.start * dim..keys.end * dim], &part);
        }
    }
}

/// Matrices of one height as one.
fn side_by_side(parts: &[Vec<f32>], rows: usize) -> Vec<f32> {
    let row = |row: usize| {
        parts.iter().flat_map(move |part| {
            let width = part.len() / rows;
            part[row * width..][..width].iter().copied()
        })
    };
    (0..rows).flat_map(row).collect()
}
