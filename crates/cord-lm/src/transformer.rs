//! A Llama-architecture decoder: RMSNorm, rotary embeddings, grouped-query attention, SwiGLU.
//!
//! Follows Touvron et al. 2023 as implemented by transformers' `LlamaForCausalLM`, which is the reference that the
//! tests compare with. Parameters are named as in Hugging Face checkpoints. Linear weights are held as
//! `[in, out]`, the transpose of a checkpoint's, so that their gradients come out contiguous.

use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor, TensorData};
use cord_core::{Seed, SeedStream};

use crate::LmConfig;
use crate::ops::{self, AttentionMask, Rope, RopeRows, Span};

/// One parameter, to read or to replace.
pub enum ParamMut<'a> {
    /// A norm's weight, `[hidden]`.
    Vector(&'a mut Tensor<1>),
    /// An embedding table, `[vocab, hidden]`, laid out as in a checkpoint.
    Table(&'a mut Tensor<2>),
    /// A linear layer's weight, `[in, out]`, transposed with respect to a checkpoint.
    Linear(&'a mut Tensor<2>),
}

/// The fewest rows of a product, so that its result does not depend on the batch; see [`ops::linear`].
pub(crate) const ROWS: usize = 2;

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) input_norm: Tensor<1>,
    pub(crate) q: Tensor<2>,
    pub(crate) k: Tensor<2>,
    pub(crate) v: Tensor<2>,
    pub(crate) o: Tensor<2>,
    pub(crate) post_norm: Tensor<1>,
    pub(crate) gate: Tensor<2>,
    pub(crate) up: Tensor<2>,
    pub(crate) down: Tensor<2>,
}

/// A decoder-only transformer with its weights.
#[derive(Clone, Debug)]
pub struct Transformer {
    config: LmConfig,
    pub(crate) embed: Tensor<2>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Tensor<1>,
    /// `[hidden, vocab]`; absent when the head is the embedding table.
    head: Option<Tensor<2>>,
    rope: Rope,
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
        model.visit(&mut |name, param| {
            let mut stream = seed.named(name).stream();
            match param {
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
        let matrix = |rows: usize, columns: usize| Tensor::<2>::zeros([rows, columns], device);
        let vector = || Tensor::<1>::zeros([h], device);
        let block = || Block {
            input_norm: vector(),
            q: matrix(h, config.heads * d),
            k: matrix(h, config.kv_heads * d),
            v: matrix(h, config.kv_heads * d),
            o: matrix(config.heads * d, h),
            post_norm: vector(),
            gate: matrix(h, f),
            up: matrix(h, f),
            down: matrix(f, h),
        };
        Self {
            config: config.clone(),
            embed: matrix(config.vocab, h),
            blocks: (0..config.layers).map(|_| block()).collect(),
            norm: vector(),
            head: (!config.tied).then(|| matrix(h, config.vocab)),
            rope: Rope::new(config, device),
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
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{index}.{part}.weight");
            f(&name("input_layernorm"), ParamMut::Vector(&mut block.input_norm));
            f(&name("self_attn.q_proj"), ParamMut::Linear(&mut block.q));
            f(&name("self_attn.k_proj"), ParamMut::Linear(&mut block.k));
            f(&name("self_attn.v_proj"), ParamMut::Linear(&mut block.v));
            f(&name("self_attn.o_proj"), ParamMut::Linear(&mut block.o));
            f(&name("post_attention_layernorm"), ParamMut::Vector(&mut block.post_norm));
            f(&name("mlp.gate_proj"), ParamMut::Linear(&mut block.gate));
            f(&name("mlp.up_proj"), ParamMut::Linear(&mut block.up));
            f(&name("mlp.down_proj"), ParamMut::Linear(&mut block.down));
        }
        f("model.norm.weight", ParamMut::Vector(&mut self.norm));
        if let Some(head) = &mut self.head {
            f("lm_head.weight", ParamMut::Linear(head));
        }
    }

    /// A copy whose parameters' gradients are tracked.
    pub fn autodiff(&self) -> Self {
        let mut copy = self.clone();
        copy.rope = self.rope.autodiff();
        copy.visit(&mut |_, param| match param {
            ParamMut::Vector(t) => *t = t.clone().autodiff().require_grad(),
            ParamMut::Table(t) | ParamMut::Linear(t) => *t = t.clone().autodiff().require_grad(),
        });
        copy
    }

    /// The hidden states after the final norm.
    ///
    /// With a cache, `tokens` continue what the cache holds and their keys and values are added to it.
    ///
    /// # Shapes
    /// - `tokens`, `positions`: `[batch, tokens]`
    /// - output: `[batch * tokens, hidden]`
    pub fn hidden(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<2, Int>,
        mask: &AttentionMask,
        mut cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let [batch, count] = tokens.dims();
        let rope = self.rope.at(positions);
        // [batch, count, hidden] -> [batch * count, hidden]: the linear layers work on rows
        let mut x: Tensor<2> = embedding(self.embed.clone(), tokens).reshape([batch * count, self.config.hidden]);
        for (index, block) in self.blocks.iter().enumerate() {
            let layer = cache.as_deref_mut().map(|cache| (&mut cache.layers[index], cache.length));
            x = block.forward(x, batch, &self.config, &rope, mask, layer);
        }
        if let Some(cache) = cache {
            cache.length += count;
        }
        ops::rms_norm(x, self.norm.clone(), self.config.norm_eps)
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
        let positions = Tensor::<1, Int>::arange(0..count as i64, &device).unsqueeze_dim::<2>(0).repeat_dim(0, batch);
        let mut mask = AttentionMask::causal(&[Span::default()], 0, count, &device.clone().inner());
        if device.is_autodiff() {
            mask = mask.autodiff();
        }
        self.hidden(tokens, positions, &mask, None)
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

impl Block {
    /// One pre-norm block: attention, then the gated feed-forward layer, each added to the residual stream.
    ///
    /// # Shapes
    /// - `x` and output: `[batch * tokens, hidden]`
    fn forward(
        &self,
        x: Tensor<2>,
        batch: usize,
        config: &LmConfig,
        rope: &RopeRows,
        mask: &AttentionMask,
        cache: Option<(&mut LayerCache, usize)>,
    ) -> Tensor<2> {
        let tokens = x.dims()[0] / batch;
        let d = config.head_dim;
        let normed = ops::rms_norm(x.clone(), self.input_norm.clone(), config.norm_eps);
        // [batch * tokens, heads * d] -> [batch, tokens, heads, d]
        let split = |x: Tensor<2>, heads: usize| x.reshape([batch, tokens, heads, d]);
        let q = rope.apply(split(ops::linear(normed.clone(), self.q.clone(), ROWS), config.heads));
        let k =
            rope.apply(split(ops::linear(normed.clone(), self.k.clone(), ROWS), config.kv_heads)).permute([0, 2, 3, 1]);
        let v = split(ops::linear(normed, self.v.clone(), ROWS), config.kv_heads).swap_dims(1, 2);
        let (k, v) = match cache {
            Some((layer, length)) => layer.append(k, v, length),
            None => (k, v),
        };
        let x = x + ops::linear(ops::attention(q, k, v, mask), self.o.clone(), ROWS);
        let normed = ops::rms_norm(x.clone(), self.post_norm.clone(), config.norm_eps);
        let inner = ops::swiglu(
            ops::linear(normed.clone(), self.gate.clone(), ROWS),
            ops::linear(normed, self.up.clone(), ROWS),
        );
        x + ops::linear(inner, self.down.clone(), ROWS)
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
