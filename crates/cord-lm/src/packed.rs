//! The loss of packed samples and its gradient, in memory that grows with the number of tokens and not with its square.
//!
//! Samples stand one after the other in one row, without padding. Only attention knows where each begins: it works sample by sample, so
//! that a packed sample's numbers are those of the sample alone.
//!
//! Burn's own backward pass keeps every matrix of attention weights. So the graph is cut around attention: each block's parts before
//! and after it are graphs of their own, and attention's gradient is computed here, by a few queries at a time, from weights that
//! are computed again (Rabe and Staats 2021; Dao et al. 2022). A block's graphs may be made again too instead of kept (Chen et al.
//! 2016). The head sees supervised tokens only, some of them at a time. All of it is made of plain tensor operations, and
//! so works on every device. On the CPU, in f32, [`crate::host_gradient`] does the same without graphs, and faster.

use std::ops::Range;

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{DType, Device, Gradients, Int, Tensor, TensorData};

use crate::batch::on_host;
use crate::host_gradient;
use crate::ops::RopeTables;
use crate::transformer::Block;
use crate::{DeviceSpec, LmConfig, ParamMut, Transformer};

/// The most attention weights, over all heads, that exist at a time.
const WEIGHTS: usize = 1 << 24;

/// The most logits that exist at a time.
const LOGITS: usize = 1 << 25;

/// A sequence, and which of its tokens are to be predicted; the first never can be.
#[derive(Clone, Copy, Debug)]
pub struct Supervised<'a> {
    /// Token ids, at least two.
    pub ids: &'a [u32],
    /// One for each token.
    pub supervised: &'a [bool],
    /// What its loss is multiplied by in the gradient; no loss that is given back is.
    pub weight: f64,
}

/// How a pass computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// A block's activations are computed again instead of kept: less memory, a third more work.
    pub recompute: bool,
    /// Products and activations are bf16; norms, softmax, loss and sums of gradients stay f32, and so do the weights that the copy is
    /// made of.
    pub bf16: bool,
}

/// The summed negative log-likelihood, in nats, of the supervised tokens of samples, and the gradient of the sum in which each sample
/// counts by its [weight](Supervised::weight), flat, in the order in which [`Transformer::visit_trained`] visits what is trained.
pub fn packed_gradient(model: &Transformer, samples: &[Supervised<'_>], how: Pass) -> (f64, Vec<Tensor<1>>) {
    let layout = Layout::new(samples);
    if on_host(model) && !how.bf16 {
        return host_gradient::gradient(model, &layout, how.recompute);
    }
    graph_gradient(model, layout, how)
}

/// By burn's graphs, on any device.
fn graph_gradient(model: &Transformer, layout: Layout, how: Pass) -> (f64, Vec<Tensor<1>>) {
    let mut tracked = if how.bf16 { model.clone().in_bf16().autodiff() } else { model.autodiff() };
    let pack = Pack::new(model, layout);
    let device = model.device().autodiff();
    let rope = model.rope.autodiff().at(&pack.layout.positions, 1);
    let mut sums = Sums::default();

    let embedded = tracked.embed(pack.tokens(&device));
    let mut x = embedded.clone().inner();
    let mut kept = Vec::with_capacity(tracked.blocks.len());
    for index in 0..tracked.blocks.len() {
        let layer = Layer { block: &tracked.blocks[index], config: model.config(), rope: &rope, index };
        let (next, layer) = layer.forward(x, None, &pack);
        x = next;
        kept.push(if how.recompute { layer.forgotten() } else { layer });
    }

    let last = x.autodiff().require_grad();
    let hidden = tracked.norm_last(last.clone()).select(0, pack.rows(&device));
    let (loss, dhidden) = head(&mut tracked, &hidden.clone().inner(), &pack, &mut sums);
    let mut gradients = (hidden * dhidden.autodiff()).sum().backward();
    let mut dx = taken(&last, &mut gradients);
    sums.add(&mut tracked, gradients);

    for index in (0..tracked.blocks.len()).rev() {
        let layer = Layer { block: &tracked.blocks[index], config: model.config(), rope: &rope, index };
        let graphs = match kept.pop().expect("a state of every block") {
            Kept::Graphs(graphs) => graphs,
            Kept::Ends(ends) => {
                let [x, attended] = *ends;
                match layer.forward(x, Some(attended), &pack).1 {
                    Kept::Graphs(graphs) => graphs,
                    Kept::Ends(_) => unreachable!("a forward pass keeps its graphs"),
                }
            }
        };
        let Graphs { x, q, k, v, attended, out } = *graphs;
        let mut after = (out * dx.autodiff()).sum().backward();
        let dattended = taken(&attended, &mut after);
        let mut next = taken(&x, &mut after);
        let (dq, dk, dv) = attention_gradient(
            [q.clone().inner(), k.clone().inner(), v.clone().inner()],
            dattended,
            model.config(),
            pack.samples(model.config().architecture.window_of(index).is_some()),
        );
        let before = (q * dq.autodiff()).sum() + (k * dk.autodiff()).sum() + (v * dv.autodiff()).sum();
        let mut before = before.backward();
        next = next + taken(&x, &mut before);
        sums.add(&mut tracked, after);
        sums.add(&mut tracked, before);
        dx = next;
    }
    if embedded.is_tracked() {
        let gradients = (embedded * dx.autodiff()).sum().backward();
        sums.add(&mut tracked, gradients);
    }
    (loss, sums.done(&mut tracked))
}

/// The negative log-likelihood, in nats, of the supervised tokens of samples, summed over all of them.
pub fn packed_loss(model: &Transformer, samples: &[Supervised<'_>]) -> f64 {
    packed_losses(model, samples).iter().sum()
}

/// The negative log-likelihood, in nats, of the supervised tokens of each sample, computed in the model's own precision.
pub fn packed_losses(model: &Transformer, samples: &[Supervised<'_>]) -> Vec<f64> {
    let layout = Layout::new(samples);
    if on_host(model) {
        return layout.by_sample(&host_gradient::losses(model, &layout));
    }
    let (losses, layout) = graph_losses(model, layout);
    layout.by_sample(&losses)
}

/// That of every supervised token, in order, and the layout given back.
fn graph_losses(model: &Transformer, layout: Layout) -> (Vec<f32>, Layout) {
    let pack = Pack::new(model, layout);
    let device = model.device();
    let rope = model.rope.at(&pack.layout.positions, 1);
    let mut x = model.embed(pack.tokens(&device));
    for (index, block) in model.blocks.iter().enumerate() {
        let windowed = model.config().architecture.window_of(index).is_some();
        let (q, k, v) = block.project(x.clone(), 1, model.config(), &rope, windowed);
        x = block.finish(x, attention(&q, &k, &v, model.config(), pack.samples(windowed)), model.config());
    }
    let hidden = model.norm_last(x).select(0, pack.rows(&device));
    let mut losses = Vec::with_capacity(pack.layout.targets.len());
    for part in pieces(pack.layout.targets.len(), LOGITS / model.config().vocab) {
        let nll = nll(model, hidden.clone().slice_dim(0, part.clone()), &pack.layout.targets[part]);
        losses.extend(nll.into_data().try_into_vec::<f32>().expect("losses are f32"));
    }
    (losses, pack.layout)
}

/// The bytes that [`packed_gradient`] holds at most beside weights, gradients and moments, for one pack of `tokens` of which
/// `supervised` are, the longest sample having `longest`; an estimate by counting tensors.
pub fn packed_bytes(
    config: &LmConfig,
    tokens: usize,
    longest: usize,
    supervised: usize,
    how: Pass,
    device: DeviceSpec,
) -> PackedBytes {
    const F32: usize = 4;
    if device == DeviceSpec::Cpu && !how.bf16 {
        return host_gradient::bytes(config, tokens, longest, supervised, how.recompute);
    }
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    // Kept by a block's graphs: its input, the norms' inputs, squares and outputs, projections before and after rotation, the
    // activation's steps. By their number in `Block::project` and `Block::finish`.
    let graphs = 10 * config.hidden + 5 * queries + 6 * keys + 6 * config.ffn;
    let ends = config.hidden + queries;
    let kept = if how.recompute { config.layers * ends + graphs } else { config.layers * graphs };
    // The gradient on its way through one block.
    let passing = graphs;
    let weights = 4 * WEIGHTS.min(config.heads * longest * longest).max(config.heads * longest);
    let logits = 4 * LOGITS.min(supervised * config.vocab).max(config.vocab);
    PackedBytes {
        blocks: tokens * (kept + passing) * if how.bf16 { F32 / 2 } else { F32 },
        attention: weights * F32,
        head: (logits + 3 * supervised * config.hidden) * F32,
    }
}

/// What a pass holds, by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedBytes {
    /// Activations of the blocks.
    pub blocks: usize,
    /// Attention weights of some queries.
    pub attention: usize,
    /// Logits of some tokens, and the hidden states of all supervised ones.
    pub head: usize,
}

/// Samples in one row.
pub(crate) struct Layout {
    pub(crate) ids: Vec<i64>,
    pub(crate) positions: Vec<usize>,
    /// Rows of the tokens that predict a supervised one.
    pub(crate) rows: Vec<i64>,
    pub(crate) targets: Vec<i64>,
    /// What each target's loss is multiplied by in the gradient.
    pub(crate) weights: Vec<f32>,
    /// The rows of each sample.
    pub(crate) samples: Vec<Range<usize>>,
    /// Where each sample's targets end.
    ends: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(samples: &[Supervised<'_>]) -> Self {
        let (ids, positions, rows, targets) = (vec![], vec![], vec![], vec![]);
        let mut layout = Self { ids, positions, rows, targets, weights: vec![], samples: vec![], ends: vec![] };
        for Supervised { ids, supervised, weight } in samples {
            // The last token is only ever a target.
            let (first, count) = (layout.ids.len(), ids.len() - 1);
            for place in 0..count {
                layout.ids.push(i64::from(ids[place]));
                layout.positions.push(place);
                if supervised[place + 1] {
                    layout.rows.push((first + place) as i64);
                    layout.targets.push(i64::from(ids[place + 1]));
                    layout.weights.push(*weight as f32);
                }
            }
            layout.samples.push(first..first + count);
            layout.ends.push(layout.targets.len());
        }
        layout
    }

    /// The sum over each sample's targets.
    fn by_sample(&self, losses: &[f32]) -> Vec<f64> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| losses[from..*to].iter().map(|nll| f64::from(*nll)).sum()).collect()
    }
}

/// A layout with how graphs cut its attention.
struct Pack {
    layout: Layout,
    /// Of layers that see everything, and of layers with a window.
    samples: [Vec<Sample>; 2],
}

impl Pack {
    fn new(model: &Transformer, layout: Layout) -> Self {
        let (config, device) = (model.config(), model.device());
        let samples = [None, config.architecture.window].map(|window| {
            layout.samples.iter().map(|rows| Sample::new(rows.clone(), window, config.heads, &device)).collect()
        });
        Self { layout, samples }
    }

    fn tokens(&self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(self.layout.ids.clone(), [1, self.layout.ids.len()]), device)
    }

    fn rows(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.layout.rows.clone(), [self.layout.rows.len()]), device)
    }

    fn samples(&self, windowed: bool) -> &[Sample] {
        &self.samples[usize::from(windowed)]
    }
}

/// One sample of a pack, and in which pieces its attention is computed.
struct Sample {
    /// Its rows.
    rows: Range<usize>,
    pieces: Vec<Piece>,
}

/// Some queries of a sample, with the keys that any of them sees; all counted from the sample's beginning.
struct Piece {
    queries: Range<usize>,
    keys: Range<usize>,
    /// Added to the scores of the last keys, `[queries, keys]` with as many keys as it has columns.
    bias: Tensor<2>,
}

impl Sample {
    fn new(rows: Range<usize>, window: Option<usize>, heads: usize, device: &Device) -> Self {
        let count = rows.len();
        // With a window, many queries at a time would only see more keys that are hidden from most of them.
        let most = window.map_or(count, |window| window.max(256)).min(count).max(16);
        let width = window.map_or(count, |window| window + most).min(count).max(1);
        let size = (WEIGHTS / heads / width).clamp(16, most);
        let mut pieces: Vec<Piece> = Vec::new();
        let mut from = 0;
        while from < count {
            let queries = from..(from + size).min(count);
            let keys = window.map_or(0, |window| (queries.start + 1).saturating_sub(window))..queries.end;
            // Only keys within a window, and those behind the first query, are hidden from some queries.
            let columns = if window.is_some() { keys.len() } else { queries.len() };
            let like = |piece: &&Piece| {
                let past = |queries: &Range<usize>, keys: &Range<usize>| queries.start - keys.start;
                piece.queries.len() == queries.len()
                    && piece.bias.dims()[1] == columns
                    && (window.is_none() || past(&piece.queries, &piece.keys) == past(&queries, &keys))
            };
            let bias = match pieces.last().filter(|piece| like(piece)) {
                Some(piece) => piece.bias.clone(),
                None => bias(&queries, &(keys.end - columns..keys.end), window, device),
            };
            from = queries.end;
            pieces.push(Piece { queries, keys, bias });
        }
        Self { rows, pieces }
    }
}

/// 0 where a query sees a key, minus infinity where it does not.
fn bias(queries: &Range<usize>, keys: &Range<usize>, window: Option<usize>, device: &Device) -> Tensor<2> {
    let sees = |query: usize, key: usize| key <= query && window.is_none_or(|window| query < key + window);
    let values: Vec<f32> = queries
        .clone()
        .flat_map(|query| keys.clone().map(move |key| (query, key)))
        .map(|(query, key)| if sees(query, key) { 0.0 } else { f32::NEG_INFINITY })
        .collect();
    Tensor::from_data(TensorData::new(values, [queries.len(), keys.len()]), device)
}

/// A block with what its passes need.
struct Layer<'a> {
    block: &'a Block,
    config: &'a LmConfig,
    rope: &'a RopeTables,
    index: usize,
}

/// What a forward pass leaves for the backward pass.
enum Kept {
    Graphs(Box<Graphs>),
    /// A block's input and what attention gave.
    Ends(Box<[Tensor<2>; 2]>),
}

struct Graphs {
    /// A leaf.
    x: Tensor<2>,
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    /// A leaf.
    attended: Tensor<2>,
    out: Tensor<2>,
}

impl Kept {
    fn forgotten(self) -> Self {
        match self {
            Self::Graphs(graphs) => Self::Ends(Box::new([graphs.x.inner(), graphs.attended.inner()])),
            ends @ Self::Ends(_) => ends,
        }
    }
}

impl Layer<'_> {
    /// The block's output, and its graphs. Attention is not computed where it is known.
    fn forward(&self, x: Tensor<2>, attended: Option<Tensor<2>>, pack: &Pack) -> (Tensor<2>, Kept) {
        let windowed = self.config.architecture.window_of(self.index).is_some();
        let x = x.autodiff().require_grad();
        let (q, k, v) = self.block.project(x.clone(), 1, self.config, self.rope, windowed);
        let attended = attended.unwrap_or_else(|| {
            let [q, k, v] = [&q, &k, &v].map(|t| t.clone().inner());
            attention(&q, &k, &v, self.config, pack.samples(windowed))
        });
        let attended = attended.autodiff().require_grad();
        let out = self.block.finish(x.clone(), attended.clone(), self.config);
        (out.clone().inner(), Kept::Graphs(Box::new(Graphs { x, q, k, v, attended, out })))
    }
}

/// The queries of a piece, those that share a key head below each other: `[kv, group * queries, head_dim]`.
fn queries_of(q: &Tensor<4>, rows: Range<usize>, config: &LmConfig) -> Tensor<3> {
    let (kv, d, count) = (config.kv_heads, config.head_dim, rows.len());
    let group = config.heads / kv;
    // [1, count, heads, d] -> [count, kv, group, d] -> [kv, group, count, d]
    let q = q.clone().slice_dim(1, rows).reshape([count, kv, group, d]).permute([1, 2, 0, 3]);
    q.reshape([kv, group * count, d])
}

/// The opposite of [`queries_of`]: `[queries, heads * head_dim]`.
fn rows_of(x: Tensor<3>, config: &LmConfig) -> Tensor<2> {
    let (kv, d) = (config.kv_heads, config.head_dim);
    let group = config.heads / kv;
    let count = x.dims()[1] / group;
    x.reshape([kv, group, count, d]).permute([2, 0, 1, 3]).reshape([count, kv * group * d])
}

/// The attention weights of a piece, in f32: `[kv, group * queries, keys]`.
fn weights(q: Tensor<3>, k: Tensor<3>, piece: &Piece, config: &LmConfig) -> Tensor<3> {
    let [kv, rows, _] = q.dims();
    let (count, columns) = (piece.queries.len(), piece.keys.len());
    let group = rows / count;
    let scores = q.mul_scalar(config.query_scale()).matmul(k).cast(DType::F32).reshape([kv, group, count, columns]);
    let [_, hidden] = piece.bias.dims();
    let bias = piece.bias.clone().reshape([1, 1, count, hidden]);
    let scores = if hidden == columns {
        scores + bias
    } else {
        let last = [0..kv, 0..group, 0..count, columns - hidden..columns];
        let some = scores.clone().slice(last.clone()) + bias;
        scores.slice_assign(last, some)
    };
    softmax(scores, 3).reshape([kv, rows, columns])
}

/// The keys or values of some columns of a sample.
fn columns(x: &Tensor<4>, dim: usize, sample: &Sample, keys: &Range<usize>) -> Tensor<3> {
    x.clone().slice_dim(dim, sample.rows.start + keys.start..sample.rows.start + keys.end).squeeze_dim(0)
}

/// Causal attention inside of each sample.
///
/// # Shapes
/// - as [`Block::project`] gives them, for one row; output: `[tokens, heads * head_dim]`
fn attention(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, config: &LmConfig, samples: &[Sample]) -> Tensor<2> {
    let mut out = Vec::new();
    for sample in samples {
        for piece in &sample.pieces {
            let rows = sample.rows.start + piece.queries.start..sample.rows.start + piece.queries.end;
            let weights = weights(queries_of(q, rows, config), columns(k, 3, sample, &piece.keys), piece, config);
            let weights = weights.cast(v.dtype());
            out.push(rows_of(weights.matmul(columns(v, 2, sample, &piece.keys)), config));
        }
    }
    Tensor::cat(out, 0)
}

/// The gradients of queries, keys and values, shaped as they are, from that of [`attention`]'s output.
fn attention_gradient(
    [q, k, v]: [Tensor<4>; 3],
    dout: Tensor<2>,
    config: &LmConfig,
    samples: &[Sample],
) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
    let (heads, d, kv) = (config.heads, config.head_dim, config.kv_heads);
    let tokens = dout.dims()[0];
    let dout = dout.reshape([1, tokens, heads, d]);
    let mut dq = Vec::new();
    let dtype = q.dtype();
    let zeros = |like: &Tensor<4>| Tensor::<4>::zeros_like(&like.clone().cast(DType::F32));
    let (mut dk, mut dv) = (zeros(&k), zeros(&v));
    for sample in samples {
        for piece in &sample.pieces {
            let rows = sample.rows.start + piece.queries.start..sample.rows.start + piece.queries.end;
            let (queries, dout) = (queries_of(&q, rows.clone(), config), queries_of(&dout, rows, config));
            let (keys, values) = (columns(&k, 3, sample, &piece.keys), columns(&v, 2, sample, &piece.keys));
            let weights = weights(queries.clone(), keys.clone(), piece, config);
            let dvalues: Tensor<3> = weights.clone().cast(dtype).swap_dims(1, 2).matmul(dout.clone());
            let dweights = dout.matmul(values.swap_dims(1, 2)).cast(DType::F32);
            // The gradient through softmax: w (dw - sum(w dw)).
            let dot = (weights.clone() * dweights.clone()).sum_dim(2);
            let dscores = (weights * (dweights - dot)).mul_scalar(config.query_scale()).cast(dtype);
            dq.push(rows_of(dscores.clone().matmul(keys.swap_dims(1, 2)), config));
            let dkeys: Tensor<3> = queries.swap_dims(1, 2).matmul(dscores);
            let place = sample.rows.start + piece.keys.start..sample.rows.start + piece.keys.end;
            let (of_k, of_v) = ([0..1, 0..kv, 0..d, place.clone()], [0..1, 0..kv, place, 0..d]);
            let sum = dk.clone().slice(of_k.clone()) + dkeys.cast(DType::F32).unsqueeze_dim::<4>(0);
            dk.inplace(|dk| dk.slice_assign(of_k, sum));
            let sum = dv.clone().slice(of_v.clone()) + dvalues.cast(DType::F32).unsqueeze_dim::<4>(0);
            dv.inplace(|dv| dv.slice_assign(of_v, sum));
        }
    }
    (Tensor::cat(dq, 0).reshape([1, tokens, heads, d]), dk.cast(dtype), dv.cast(dtype))
}

/// Runs of at most `most` of `count` things.
pub(crate) fn pieces(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let most = most.max(1);
    (0..count).step_by(most).map(move |from| from..(from + most).min(count))
}

/// The negative log-likelihood of targets, `[targets]`.
fn nll(model: &Transformer, hidden: Tensor<2>, targets: &[i64]) -> Tensor<1> {
    let targets = TensorData::new(targets.to_vec(), [targets.len(), 1]);
    let targets = Tensor::<2, Int>::from_data(targets, &hidden.device());
    log_softmax(model.logits(hidden).cast(DType::F32), 1).gather(1, targets).squeeze_dim::<1>(1).neg()
}

/// The summed loss of hidden states, and the gradient of the weighed sum by them.
fn head(tracked: &mut Transformer, hidden: &Tensor<2>, pack: &Pack, sums: &mut Sums) -> (f64, Tensor<2>) {
    let (mut loss, mut dhidden) = (0.0, Vec::new());
    for part in pieces(pack.layout.targets.len(), LOGITS / tracked.config().vocab) {
        let some = hidden.clone().slice_dim(0, part.clone()).autodiff().require_grad();
        let nll = nll(tracked, some.clone(), &pack.layout.targets[part.clone()]);
        let weights = TensorData::new(pack.layout.weights[part.clone()].to_vec(), [part.len()]);
        let mut gradients = (nll.clone() * Tensor::from_data(weights, &nll.device())).sum().backward();
        loss += f64::from(nll.inner().sum().into_scalar::<f32>());
        dhidden.push(taken(&some, &mut gradients));
        sums.add(tracked, gradients);
    }
    (loss, Tensor::cat(dhidden, 0))
}

fn taken(leaf: &Tensor<2>, gradients: &mut Gradients) -> Tensor<2> {
    leaf.grad_remove(gradients).expect("a leaf that was read has a gradient")
}

/// Gradients of what is trained, summed over graphs.
#[derive(Default)]
struct Sums(Vec<Option<Tensor<1>>>);

impl Sums {
    fn add(&mut self, tracked: &mut Transformer, mut gradients: Gradients) {
        let mut place = 0;
        tracked.visit_trained(&mut |_, param| {
            let gradient = match param {
                ParamMut::Vector(t) => t.grad_remove(&mut gradients),
                ParamMut::Table(t) | ParamMut::Linear(t) => t.grad_remove(&mut gradients).map(|g| {
                    let [rows, columns] = g.dims();
                    g.reshape([rows * columns])
                }),
            };
            if self.0.len() <= place {
                self.0.push(None);
            }
            if let Some(gradient) = gradient {
                let gradient = gradient.cast(DType::F32);
                let sum = self.0[place].take();
                self.0[place] = Some(match sum {
                    Some(sum) => sum + gradient,
                    None => gradient,
                });
            }
            place += 1;
        });
    }

    fn done(self, tracked: &mut Transformer) -> Vec<Tensor<1>> {
        let mut names = Vec::new();
        tracked.visit_trained(&mut |name, _| names.push(name.to_owned()));
        let known = self.0.into_iter().zip(names);
        known.map(|(sum, name)| sum.unwrap_or_else(|| panic!("the loss does not depend on `{name}`"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::LoraConfig;
    use cord_core::Seed;
    use serde_json::json;

    /// The largest difference of two gradients beside the largest value.
    fn distance(one: &[Tensor<1>], two: &[Tensor<1>]) -> f32 {
        let host = |gradients: &[Tensor<1>]| -> Vec<Vec<f32>> {
            gradients.iter().map(|g| g.to_data().try_into_vec().unwrap()).collect()
        };
        let (one, two) = (host(one), host(two));
        assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), two.iter().map(Vec::len).collect::<Vec<_>>());
        let scale = two.iter().flatten().fold(0.0f32, |most, x| most.max(x.abs()));
        one.iter().flatten().zip(two.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
    }

    #[test]
    fn the_host_s_gradient_is_that_of_the_graphs_in_every_family() {
        let more = [
            json!({"model_type": "llama", "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true}),
            json!({"model_type": "llama"}),
            json!({"model_type": "mistral", "sliding_window": 9}),
            json!({"model_type": "qwen2"}),
            json!({"model_type": "qwen3"}),
            json!({"model_type": "phi3", "partial_rotary_factor": 0.5}),
            json!({"model_type": "gemma3_text", "sliding_window": 9, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8}),
        ];
        let device = crate::open_device(crate::DeviceSpec::Cpu).unwrap();
        let mut stream = Seed::root(8).stream();
        // One has more queries than a piece of the host's.
        let samples: Vec<(Vec<u32>, Vec<bool>)> = [40, 3, 300, 17]
            .map(|count| {
                let ids = (0..count).map(|_| (stream.uniform() * 48.0) as u32).collect();
                (ids, (0..count).map(|place| place % 3 != 1).collect())
            })
            .into();
        let weights = [0.01, -0.02, 0.004, 0.0];
        let samples: Vec<Supervised<'_>> = samples
            .iter()
            .zip(weights)
            .map(|((ids, supervised), weight)| Supervised { ids, supervised, weight })
            .collect();
        for (more, lora) in more.iter().flat_map(|more| [(more, false), (more, true)]) {
            let mut config = json!({"vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 500});
            more.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
            let mut model = Transformer::init(&LmConfig::from_json(&config).unwrap(), Seed::root(5), &device);
            // Norms and biases that do something, and attention that is far from uniform.
            model.visit(&mut |name, param| match param {
                ParamMut::Vector(t) => {
                    let mut stream = Seed::root(6).named(name).stream();
                    let values: Vec<f32> = (0..t.dims()[0]).map(|_| stream.normal() as f32 * 0.3).collect();
                    *t = t.clone() + Tensor::from_data(TensorData::new(values, t.dims()), &device);
                }
                ParamMut::Table(t) | ParamMut::Linear(t) => *t = t.clone().mul_scalar(2.0),
            });
            if lora {
                model.adapt(&LoraConfig { rank: 3, alpha: 7.0, targets: vec![] }, Seed::root(7)).unwrap();
                // `B` begins at zero, where `A` has no gradient.
                model.visit_adapters(&mut |_, t| {
                    let [rows, columns] = t.dims();
                    let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 7 % 11) as f32 - 5.0) * 0.02).collect();
                    *t = t.clone() + Tensor::from_data(TensorData::new(values, [rows, columns]), &device);
                });
            }
            let expected = graph_gradient(&model, Layout::new(&samples), Pass::default());
            for recompute in [false, true] {
                let given = packed_gradient(&model, &samples, Pass { recompute, bf16: false });
                assert!((given.0 / expected.0 - 1.0).abs() < 1e-5, "{more}: {} {}", given.0, expected.0);
                let apart = distance(&given.1, &expected.1);
                assert!(apart < 1e-4, "{more}, adapters {lora}: {apart} apart");
            }
            let (measured, layout) = graph_losses(&model, Layout::new(&samples));
            let measured = layout.by_sample(&measured);
            let given = packed_losses(&model, &samples);
            assert_eq!(given.len(), samples.len());
            for (sample, (given, expected)) in given.iter().zip(&measured).enumerate() {
                assert!((given / expected - 1.0).abs() < 1e-5, "{more}, sample {sample}: {given} {expected}");
            }
            assert!((given.iter().sum::<f64>() / expected.0 - 1.0).abs() < 1e-5, "{more}: {given:?}");
            // By hand: what the samples add to the gradient one by one, each as often as it weighs.
            let mut sum: Option<Vec<Tensor<1>>> = None;
            for sample in &samples {
                let one = [Supervised { weight: 1.0, ..*sample }];
                let one = packed_gradient(&model, &one, Pass::default()).1;
                let one = one.into_iter().map(|g| g.mul_scalar(sample.weight));
                sum = Some(match sum {
                    None => one.collect(),
                    Some(sum) => sum.into_iter().zip(one).map(|(a, b)| a + b).collect(),
                });
            }
            let apart = distance(&sum.unwrap(), &expected.1);
            assert!(apart < 1e-4, "{more}, adapters {lora}, sample by sample: {apart} apart");
        }
    }
}
