//! A decoder: RMSNorm, rotary embeddings, grouped-query attention, a gated feed-forward layer, as Llama has them (Touvron et al. 2023)
//! and as [`crate::family`] says that others differ.
//!
//! The reference that the tests compare with is transformers. Parameters are named as in Hugging Face checkpoints. Linear weights are held as
//! `[in, out]`, the transpose of a checkpoint's, so that their gradients come out contiguous.

use burn::tensor::module::embedding;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use cord_core::{Seed, SeedStream};

use crate::LmConfig;
use crate::lora::{Adapter, LoraConfig};
use crate::ops::{self, AttentionMask, Rope, RopeTables, Span};

/// One parameter, to read or to replace.
pub enum ParamMut<'a> {
    /// A norm's weight or a layer's bias.
    Vector(&'a mut Tensor<1>),
    /// An embedding table, `[vocab, hidden]`, laid out as in a checkpoint.
    Table(&'a mut Tensor<2>),
    /// A linear layer's weight, `[in, out]`, transposed with respect to a checkpoint.
    Linear(&'a mut Tensor<2>),
}

/// The fewest rows of a product, so that its result does not depend on the batch; see [`ops::linear`].
pub(crate) const ROWS: usize = 2;

/// A linear layer.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// `[in, out]`
    pub(crate) weight: Tensor<2>,
    /// `[out]`
    pub(crate) bias: Option<Tensor<1>>,
    /// What is trained in its stead.
    pub(crate) adapter: Option<Adapter>,
}

impl Linear {
    /// # Shapes
    /// - `x`: `[rows, in]`, output `[rows, out]`
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let adapted = self.adapter.as_ref().map(|adapter| adapter.forward(x.clone()));
        let mut out = ops::linear(x, self.weight.clone(), ROWS);
        if let Some(bias) = &self.bias {
            out = out + bias.clone().unsqueeze_dim::<2>(0);
        }
        match adapted {
            Some(adapted) => out + adapted,
            None => out,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) input_norm: Tensor<1>,
    /// Queries, keys and values; one after the other in one layer where the family has it so.
    pub(crate) qkv: Vec<Linear>,
    /// Of each head of queries and of keys, `[head_dim]`.
    pub(crate) head_norms: Option<[Tensor<1>; 2]>,
    pub(crate) o: Linear,
    pub(crate) mlp_norm: Tensor<1>,
    /// Gate and up; one after the other in one layer where the family has it so.
    pub(crate) gate_up: Vec<Linear>,
    pub(crate) down: Linear,
    /// Of what attention and the feed-forward layer write.
    pub(crate) output_norms: Option<[Tensor<1>; 2]>,
}

/// A decoder-only transformer with its weights.
#[derive(Clone, Debug)]
pub struct Transformer {
    config: LmConfig,
    pub(crate) embed: Tensor<2>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Tensor<1>,
    /// `[hidden, vocab]`; absent when the head is the embedding table.
    pub(crate) head: Option<Tensor<2>>,
    pub(crate) rope: Rope,
    pub(crate) lora: Option<LoraConfig>,
}

impl Transformer {
    /// A model with weights drawn from a seed: normal with standard deviation `1 / sqrt(in)`, divided by `sqrt(2 · layers)`
    /// for the layers that write to the residual stream (Radford et al. 2019); the embedding has `1 / sqrt(hidden)`.
    ///
    /// Not the usual 0.02 for every width: that is the same at a width of 2,500, and a fifth of it at a width of 100, where
    /// attention then starts out all but uniform.
    pub fn init(config: &LmConfig, seed: Seed, device: &Device) -> Self {
        let mut model = Self::zeros(config, device);
        let depth = (2.0 * config.layers as f64).sqrt();
        let offset = config.architecture.family.norm_offset();
        model.visit(&mut |name, param| {
            let mut stream = seed.named(name).stream();
            match param {
                // A norm that leaves its input alone, and no bias.
                ParamMut::Vector(t) if name.contains("_proj.bias") || offset != 0.0 => {
                    *t = Tensor::zeros(t.shape(), device);
                }
                ParamMut::Vector(t) => *t = Tensor::ones(t.shape(), device),
                ParamMut::Table(t) => {
                    let std = 1.0 / (config.hidden as f64).sqrt();
                    *t = normal(&mut stream, t.dims(), std, device);
                }
                ParamMut::Linear(t) => {
                    let writes = name.contains("o_proj") || name.contains("down_proj");
                    let std = 1.0 / (t.dims()[0] as f64).sqrt() / if writes { depth } else { 1.0 };
                    *t = normal(&mut stream, t.dims(), std, device);
                }
            }
        });
        model
    }

    /// A model whose every weight is zero, to be filled by a loader.
    pub(crate) fn zeros(config: &LmConfig, device: &Device) -> Self {
        let (h, f, d) = (config.hidden, config.ffn, config.head_dim);
        let (family, biases) = (config.architecture.family, config.architecture.biases);
        let matrix = |rows: usize, columns: usize| Tensor::<2>::zeros([rows, columns], device);
        let vector = |width: usize| Tensor::<1>::zeros([width], device);
        let linear = |rows: usize, columns: usize, biased: bool| Linear {
            weight: matrix(rows, columns),
            bias: biased.then(|| vector(columns)),
            adapter: None,
        };
        // One layer of all the widths, or a layer of each.
        let layers = |widths: &[usize], biased: bool| -> Vec<Linear> {
            let sum: [usize; 1] = [widths.iter().sum()];
            let widths: &[usize] = if family.fused() { &sum } else { widths };
            widths.iter().map(|width| linear(h, *width, biased)).collect()
        };
        let (queries, keys) = (config.heads * d, config.kv_heads * d);
        let block = || Block {
            input_norm: vector(h),
            qkv: layers(&[queries, keys, keys], biases.qkv),
            head_norms: family.head_norms().then(|| [vector(d), vector(d)]),
            o: linear(queries, h, biases.o),
            mlp_norm: vector(h),
            gate_up: layers(&[f, f], biases.mlp),
            down: linear(f, h, biases.mlp),
            output_norms: family.sandwich().then(|| [vector(h), vector(h)]),
        };
        Self {
            config: config.clone(),
            embed: matrix(config.vocab, h),
            blocks: (0..config.layers).map(|_| block()).collect(),
            norm: vector(h),
            head: (!config.tied).then(|| matrix(h, config.vocab)),
            rope: Rope::new(config, device),
            lora: None,
        }
    }

    /// The architecture.
    pub fn config(&self) -> &LmConfig {
        &self.config
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.embed.device()
    }

    /// Visits every parameter with its name in a Hugging Face checkpoint, always in the same order.
    pub fn visit(&mut self, f: &mut impl FnMut(&str, ParamMut<'_>)) {
        f("model.embed_tokens.weight", ParamMut::Table(&mut self.embed));
        let sandwich = self.config.architecture.family.sandwich();
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{index}.{part}.weight");
            f(&name("input_layernorm"), ParamMut::Vector(&mut block.input_norm));
            let (before, _) = block.linears_mut();
            for (part, layer) in before {
                layer.visit(&format!("model.layers.{index}.{part}"), f);
            }
            if let Some([q, k]) = &mut block.head_norms {
                f(&name("self_attn.q_norm"), ParamMut::Vector(q));
                f(&name("self_attn.k_norm"), ParamMut::Vector(k));
            }
            if let Some([attention, mlp]) = &mut block.output_norms {
                f(&name("post_attention_layernorm"), ParamMut::Vector(attention));
                f(&name("post_feedforward_layernorm"), ParamMut::Vector(mlp));
            }
            let mlp_norm = if sandwich { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
            f(&name(mlp_norm), ParamMut::Vector(&mut block.mlp_norm));
            let (_, after) = block.linears_mut();
            for (part, layer) in after {
                layer.visit(&format!("model.layers.{index}.{part}"), f);
            }
        }
        f("model.norm.weight", ParamMut::Vector(&mut self.norm));
        if let Some(head) = &mut self.head {
            f("lm_head.weight", ParamMut::Linear(head));
        }
    }

    /// Visits what is trained: the adapters' matrices where there are any, else every parameter.
    pub fn visit_trained(&mut self, f: &mut impl FnMut(&str, ParamMut<'_>)) {
        if self.lora.is_some() {
            self.visit_adapters(&mut |name, t| f(name, ParamMut::Linear(t)));
        } else {
            self.visit(f);
        }
    }

    /// The model with its parameters rounded to bf16.
    pub(crate) fn in_bf16(mut self) -> Self {
        self.visit(&mut |_, param| match param {
            ParamMut::Vector(t) => *t = t.clone().cast(DType::BF16),
            ParamMut::Table(t) | ParamMut::Linear(t) => *t = t.clone().cast(DType::BF16),
        });
        self.visit_adapters(&mut |_, t| *t = t.clone().cast(DType::BF16));
        self
    }

    /// A copy whose parameters' gradients are tracked; those of the adapters only, where there are any.
    pub fn autodiff(&self) -> Self {
        let mut copy = self.clone();
        copy.rope = self.rope.autodiff();
        let adapted = copy.lora.is_some();
        let track = |t: &mut Tensor<2>| *t = t.clone().autodiff().set_require_grad(!adapted);
        copy.visit(&mut |_, param| match param {
            ParamMut::Vector(t) => *t = t.clone().autodiff().set_require_grad(!adapted),
            ParamMut::Table(t) | ParamMut::Linear(t) => track(t),
        });
        copy.visit_adapters(&mut |_, t| *t = t.clone().autodiff().require_grad());
        copy
    }

    /// The hidden states after the final norm.
    ///
    /// With a cache, `tokens` continue what the cache holds and their keys and values are added to it.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, tokens]`; `positions`: as many, row by row
    /// - output: `[batch * tokens, hidden]`
    pub fn hidden(
        &self,
        tokens: Tensor<2, Int>,
        positions: &[usize],
        mask: &AttentionMask,
        mut cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let [batch, count] = tokens.dims();
        let rope = self.rope.at(positions, batch);
        let mut x = self.embed(tokens);
        for (index, block) in self.blocks.iter().enumerate() {
            let windowed = self.config.architecture.window_of(index).is_some();
            let (q, k, v) = block.project(x.clone(), batch, &self.config, &rope, windowed);
            let (k, v) = match cache.as_deref_mut() {
                Some(cache) => cache.layers[index].append(k, v, cache.length),
                None => (k, v),
            };
            let attended = ops::attention(q, k, v, mask.of(windowed), self.config.query_scale());
            x = block.finish(x, attended, &self.config);
        }
        if let Some(cache) = cache {
            cache.length += count;
        }
        self.norm_last(x)
    }

    /// The first hidden states of tokens.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, tokens]`; output: `[batch * tokens, hidden]`: the linear layers work on rows
    pub(crate) fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, count] = tokens.dims();
        let x: Tensor<2> = embedding(self.embed.clone(), tokens).reshape([batch * count, self.config.hidden]);
        match self.config.embed_scale() {
            Some(scale) => x.mul_scalar(scale),
            None => x,
        }
    }

    /// The norm behind the last block.
    pub(crate) fn norm_last(&self, x: Tensor<2>) -> Tensor<2> {
        ops::rms_norm(x, self.norm.clone(), self.config.norm_eps, self.config.architecture.family.norm_offset())
    }

    /// The next-token logits of hidden states.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`; output: `[rows, vocab]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some(head) => ops::linear(hidden, head.clone(), ROWS),
            // A product of at most 256 values with a transposed right side takes a path of its own.
            None => ops::linear(hidden, self.embed.clone().transpose(), ROWS.max(256 / self.config.vocab + 1)),
        }
    }

    /// The hidden states of whole rows of one length, from position 0, without a cache.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, tokens]`; output: `[batch * tokens, hidden]`
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, count] = tokens.dims();
        let device = tokens.device();
        let positions: Vec<usize> = (0..batch).flat_map(|_| 0..count).collect();
        let window = self.config.architecture.window;
        let mut mask = AttentionMask::causal(&[Span::default()], 0, count, window, &device.clone().inner());
        if device.is_autodiff() {
            mask = mask.autodiff();
        }
        self.hidden(tokens, &positions, &mask, None)
    }

    /// An empty cache for `batch` rows and at most `columns` columns.
    pub fn cache(&self, batch: usize, columns: usize) -> Cache {
        let (heads, d) = (self.config.kv_heads, self.config.head_dim);
        let device = self.device();
        let layer = || LayerCache {
            k: Tensor::zeros([batch, heads, d, columns], &device),
            v: Tensor::zeros([batch, heads, columns, d], &device),
        };
        Cache { layers: (0..self.config.layers).map(|_| layer()).collect(), length: 0 }
    }
}

impl Linear {
    fn visit(&mut self, name: &str, f: &mut impl FnMut(&str, ParamMut<'_>)) {
        f(&format!("{name}.weight"), ParamMut::Linear(&mut self.weight));
        if let Some(bias) = &mut self.bias {
            f(&format!("{name}.bias"), ParamMut::Vector(bias));
        }
    }
}

/// Linear layers with their names inside of a block.
type Named<'a> = Vec<(&'static str, &'a mut Linear)>;

impl Block {
    /// The linear layers of attention and of the feed-forward layer.
    pub(crate) fn linears_mut(&mut self) -> (Named<'_>, Named<'_>) {
        let qkv: &[&str] = match self.qkv.len() {
            1 => &["self_attn.qkv_proj"],
            _ => &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        };
        let gate_up: &[&str] = match self.gate_up.len() {
            1 => &["mlp.gate_up_proj"],
            _ => &["mlp.gate_proj", "mlp.up_proj"],
        };
        let attention = qkv.iter().copied().zip(&mut self.qkv).chain([("self_attn.o_proj", &mut self.o)]);
        let mlp = gate_up.iter().copied().zip(&mut self.gate_up).chain([("mlp.down_proj", &mut self.down)]);
        (attention.collect(), mlp.collect())
    }

    /// Queries, keys and values of a pre-norm block, rotated. Keys come transposed, as [`ops::attention`] wants them.
    ///
    /// # Shapes
    /// - `x`: `[batch * tokens, hidden]`
    /// - output: `[batch, tokens, heads, head_dim]`, `[batch, kv_heads, head_dim, tokens]`, `[batch, kv_heads, tokens, head_dim]`
    pub(crate) fn project(
        &self,
        x: Tensor<2>,
        batch: usize,
        config: &LmConfig,
        rope: &RopeTables,
        windowed: bool,
    ) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let tokens = x.dims()[0] / batch;
        let (d, offset) = (config.head_dim, config.architecture.family.norm_offset());
        let normed = ops::rms_norm(x, self.input_norm.clone(), config.norm_eps, offset);
        let [q, k, v] = outputs(&self.qkv, normed, [config.heads * d, config.kv_heads * d, config.kv_heads * d]);
        let norm = |x: Tensor<2>, which: usize| match &self.head_norms {
            // [rows, heads * d] -> [rows * heads, d]: each head is normed by itself
            Some(norms) => {
                let [rows, width] = x.dims();
                let x = x.reshape([rows * width / d, d]);
                ops::rms_norm(x, norms[which].clone(), config.norm_eps, offset).reshape([rows, width])
            }
            None => x,
        };
        // [batch * tokens, heads * d] -> [batch, tokens, heads, d]
        let split = |x: Tensor<2>, heads: usize| x.reshape([batch, tokens, heads, d]);
        let rope = rope.of(windowed);
        let q = rope.apply(split(norm(q, 0), config.heads));
        let k = rope.apply(split(norm(k, 1), config.kv_heads)).permute([0, 2, 3, 1]);
        (q, k, split(v, config.kv_heads).swap_dims(1, 2))
    }

    /// What a block makes of its input and of what attention gave: the output projection and the gated feed-forward layer, each
    /// added to the residual stream.
    ///
    /// # Shapes
    /// - `x`: `[rows, hidden]`; `attended`: `[rows, heads * head_dim]`; output `[rows, hidden]`
    pub(crate) fn finish(&self, x: Tensor<2>, attended: Tensor<2>, config: &LmConfig) -> Tensor<2> {
        let family = config.architecture.family;
        let norm =
            |x: Tensor<2>, weight: &Tensor<1>| ops::rms_norm(x, weight.clone(), config.norm_eps, family.norm_offset());
        let after = |x: Tensor<2>, which: usize| match &self.output_norms {
            Some(norms) => norm(x, &norms[which]),
            None => x,
        };
        let x = x + after(self.o.forward(attended), 0);
        let [gate, up] = outputs(&self.gate_up, norm(x.clone(), &self.mlp_norm), [config.ffn, config.ffn]);
        let inner = if family.is_gemma() { ops::geglu(gate, up) } else { ops::swiglu(gate, up) };
        x + after(self.down.forward(inner), 1)
    }
}

/// The outputs of layers that read the same, be they one layer or several.
///
/// # Shapes
/// - `x`: `[rows, in]`; output `[rows, widths[i]]` each
pub(crate) fn outputs<const N: usize>(layers: &[Linear], x: Tensor<2>, widths: [usize; N]) -> [Tensor<2>; N] {
    if let [one] = layers {
        let all = one.forward(x);
        let mut from = 0;
        return widths.map(|width| {
            from += width;
            all.clone().slice_dim(1, from - width..from)
        });
    }
    std::array::from_fn(|index| layers[index].forward(x.clone()))
}

impl LmConfig {
    /// What queries are multiplied with.
    pub(crate) fn query_scale(&self) -> f64 {
        1.0 / self.architecture.query_scalar.unwrap_or(self.head_dim as f64).sqrt()
    }

    /// What the embedding is multiplied with.
    pub(crate) fn embed_scale(&self) -> Option<f32> {
        self.architecture.family.is_gemma().then(|| (self.hidden as f64).sqrt() as f32)
    }
}

#[derive(Clone, Debug)]
struct LayerCache {
    /// `[batch, kv_heads, head_dim, columns]`: transposed, as attention wants it
    k: Tensor<4>,
    /// `[batch, kv_heads, columns, head_dim]`
    v: Tensor<4>,
}

impl LayerCache {
    /// Writes new keys and values at column `length` and gives all columns up to their end.
    fn append(&mut self, k: Tensor<4>, v: Tensor<4>, length: usize) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, count, d] = v.dims();
        let end = length + count;
        // `inplace` hands over the only reference, so that the write happens where the cache lies.
        self.k.inplace(|cache| cache.slice_assign([0..batch, 0..heads, 0..d, length..end], k));
        self.v.inplace(|cache| cache.slice_assign([0..batch, 0..heads, length..end, 0..d], v));
        (self.k.clone().slice_dim(3, 0..end), self.v.clone().slice_dim(2, 0..end))
    }
}

/// The keys and values of what a batch has read so far.
///
/// Rows of different lengths are padded on the left, so that all rows write to the same column next.
#[derive(Clone, Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    length: usize,
}

impl Cache {
    /// Columns in use.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.layers[0].v.dims()[0]
    }

    /// Columns there is room for.
    pub fn columns(&self) -> usize {
        self.layers[0].v.dims()[2]
    }

    /// A cache whose rows are the given rows of this one, with room for `columns`: rows can repeat (a shared
    /// prefix, expanded to its continuations) or be left out (finished ones).
    ///
    /// # Panics
    /// When `columns` is below the columns in use.
    pub fn select(&self, rows: &[usize], columns: usize) -> Self {
        assert!(columns >= self.length, "a cache of {} columns can't shrink to {columns}", self.length);
        let device = self.layers[0].k.device();
        let index: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [rows.len()]), &device);
        let n = rows.len();
        let layer = |layer: &LayerCache| {
            let [_, heads, _, d] = layer.v.dims();
            let k = layer.k.clone().slice_dim(3, 0..self.length).select(0, index.clone());
            let v = layer.v.clone().slice_dim(2, 0..self.length).select(0, index.clone());
            LayerCache {
                k: Tensor::zeros([n, heads, d, columns], &device)
                    .slice_assign([0..n, 0..heads, 0..d, 0..self.length], k),
                v: Tensor::zeros([n, heads, columns, d], &device)
                    .slice_assign([0..n, 0..heads, 0..self.length, 0..d], v),
            }
        };
        Self { layers: self.layers.iter().map(layer).collect(), length: self.length }
    }
}

/// A matrix of normal draws, made on the host so that every device starts from the same weights.
fn normal(stream: &mut SeedStream, shape: [usize; 2], std: f64, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| (stream.normal() * std) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
