//! Reading on the CPU: ragged rows without padding, matrix products by burn, all else by [`crate::kernels`].

use std::ops::Range;

use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::context::{Context, View};
use crate::kernels;
use crate::ops::Angles;
use crate::prefix_cache::PrefixCache;
use crate::transformer::{Linear, outputs};
use crate::{LmConfig, Transformer};

/// The most tokens of one pass: bounds the memory of activations.
const PASS: usize = 2048;

/// A beginning that several rows share is read apart from them when that saves so many tokens; a pass costs about as much.
const WORTHWHILE: usize = 16;

/// The most tokens of a row's beginning that wait for the pass in which other rows go on.
const SHORT: usize = 32;

/// Tokens of a row that are read in one pass.
struct Piece<'a> {
    row: usize,
    tokens: &'a [u32],
    /// Of so many of them, the last ones, the hidden states are wanted.
    wanted: usize,
}

impl Transformer {
    /// Reads tokens, each row's behind what its context holds, and gives the hidden states of the last `wanted[i]` of row `i` after
    /// the final norm, row by row. Of the others only the keys and values are made, so the last layer costs them next to nothing.
    ///
    /// # Shapes
    /// - output: `[wanted tokens, hidden]`, flat
    pub(crate) fn read(&self, contexts: &mut [Context], rows: &[&[u32]], wanted: &[usize]) -> Vec<f32> {
        let mut hidden = Vec::with_capacity(wanted.iter().sum::<usize>() * self.config().hidden);
        for (context, row) in contexts.iter_mut().zip(rows) {
            context.reserve(row.len());
        }
        // A pass takes whole rows and, where the room ends, the beginning of one: its rest follows in the next pass.
        let (mut row, mut from) = (0, 0);
        while row < rows.len() {
            let (mut room, mut pieces) = (PASS, Vec::new());
            while row < rows.len() && room > 0 {
                let length = rows[row].len();
                let end = length.min(from + room);
                room -= end - from;
                if end > from {
                    let wanted = end.saturating_sub(from.max(length - wanted[row]));
                    pieces.push(Piece { row, tokens: &rows[row][from..end], wanted });
                }
                (row, from) = if end == length { (row + 1, 0) } else { (row, end) };
            }
            hidden.extend(self.pass(contexts, &pieces));
        }
        hidden
    }

    /// One pass through all layers. A piece continues the context of its number; no context has two pieces.
    fn pass(&self, contexts: &mut [Context], pieces: &[Piece<'_>]) -> Vec<f32> {
        let config = self.config();
        let count: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
        if count == 0 {
            return Vec::new();
        }
        let ids: Vec<i64> = pieces.iter().flat_map(|piece| piece.tokens.iter().map(|id| i64::from(*id))).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, count]), &self.device());
        let mut x = values(embedding(self.embed.clone(), ids).reshape([count, config.hidden]));
        if let Some(scale) = config.embed_scale() {
            for x in &mut x {
                *x *= scale;
            }
        }
        let offset = config.architecture.family.norm_offset();
        let positions = positions(contexts, pieces);
        let angles = Turns::of(&Angles::new(config), &positions);
        let local = Angles::local(config).map(|local| Turns::of(&local, &positions));
        let matrix = |x: Vec<f32>, width: usize| {
            let rows = x.len() / width;
            Tensor::<2>::from_data(TensorData::new(x, [rows, width]), &self.device())
        };
        let norm = |x: &[f32], weight: &Tensor<1>| kernels::rms_norm(x, &vector(weight, offset), config.norm_eps);
        let linear = |x: Vec<f32>, layer: &Linear| values(layer.forward(matrix(x, layer.weight.dims()[0])));
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);

        for (layer, block) in self.blocks.iter().enumerate() {
            let window = config.architecture.window_of(layer);
            let normed = matrix(norm(&x, &block.input_norm), config.hidden);
            let [mut q, mut k, v] = outputs(&block.qkv, normed, [queries, keys, keys]).map(values);
            if let Some([of_q, of_k]) = &block.head_norms {
                (q, k) = (norm(&q, of_q), norm(&k, of_k));
            }
            local.as_ref().filter(|_| window.is_some()).unwrap_or(&angles).rotate(&mut q, &mut k, config);
            let mut lines = k.chunks_exact(keys).zip(v.chunks_exact(keys));
            for piece in pieces {
                for (offset, (k, v)) in (0..piece.tokens.len()).zip(&mut lines) {
                    contexts[piece.row].write(layer, offset, k, v);
                }
            }
            let last = layer + 1 == self.blocks.len();
            if last {
                (x, q) = (wanted_of(&x, config.hidden, pieces), wanted_of(&q, queries, pieces));
                if x.is_empty() {
                    break;
                }
            }
            let mut written = linear(self.attend(layer, window, &q, contexts, pieces, last), &block.o);
            if let Some([after, _]) = &block.output_norms {
                written = norm(&written, after);
            }
            kernels::add(&mut x, &written);

            let normed = matrix(norm(&x, &block.mlp_norm), config.hidden);
            let [mut gate, up] = outputs(&block.gate_up, normed, [config.ffn, config.ffn]).map(values);
            if config.architecture.family.is_gemma() {
                kernels::geglu(&mut gate, &up);
            } else {
                kernels::swiglu(&mut gate, &up);
            }
            let mut written = linear(gate, &block.down);
            if let Some([_, after]) = &block.output_norms {
                written = norm(&written, after);
            }
            kernels::add(&mut x, &written);
        }
        for piece in pieces {
            contexts[piece.row].advance(piece.tokens.len());
        }
        norm(&x, &self.norm)
    }

    /// Attention of every token, or of the wanted ones, to its context and the tokens of its piece up to its own, the last `window`
    /// of them.
    ///
    /// # Shapes
    /// - `q` and output: `[tokens, heads * head_dim]`
    fn attend(
        &self,
        layer: usize,
        window: Option<usize>,
        q: &[f32],
        contexts: &[Context],
        pieces: &[Piece<'_>],
        wanted: bool,
    ) -> Vec<f32> {
        let config = self.config();
        let (dim, group, width) = (config.head_dim, config.heads / config.kv_heads, config.heads * config.head_dim);
        let mut first = 0;
        let mut jobs = Vec::with_capacity(pieces.len() * config.kv_heads);
        for piece in pieces {
            let asking = if wanted { piece.wanted } else { piece.tokens.len() };
            jobs.extend((0..config.kv_heads).map(|head| (first, asking, piece, head)));
            first += asking;
        }
        // The queries of a key head, token by token, are a matrix of their own.
        let results: Vec<Vec<f32>> = jobs
            .par_iter()
            .with_min_len(8)
            .map(|(first, asking, piece, head)| {
                let past = contexts[piece.row].length() + piece.tokens.len() - asking;
                let lines = (0..asking * group)
                    .map(|index| &q[(first + index / group) * width + (head * group + index % group) * dim..][..dim]);
                let visible: Vec<Range<usize>> = (0..asking * group)
                    .map(|index| past + index / group + 1)
                    .map(|end| window.map_or(0, |window| end.saturating_sub(window))..end)
                    .collect();
                let columns = contexts[piece.row].columns(layer, *head, piece.tokens.len());
                kernels::attention(&lines.collect::<Vec<_>>(), &visible, &columns)
            })
            .collect();
        let mut out = vec![0.0; first * width];
        for ((first, asking, _, head), result) in jobs.iter().zip(&results) {
            for (offset, line) in (0..*asking).zip(result.chunks_exact(group * dim)) {
                out[(first + offset) * width + head * group * dim..][..group * dim].copy_from_slice(line);
            }
        }
        out
    }
}

/// The lines of the wanted tokens, of those of all tokens.
fn wanted_of(lines: &[f32], width: usize, pieces: &[Piece<'_>]) -> Vec<f32> {
    let mut end = 0;
    let wanted = pieces.iter().flat_map(|piece| {
        end += piece.tokens.len() * width;
        &lines[end - piece.wanted * width..end]
    });
    wanted.copied().collect()
}

/// The hidden states of the last `own[i] >= 1` tokens of each row, flat, `[tokens, hidden]`.
///
/// Everything before those tokens is read once, whichever rows it is a part of, and kept, but for what all rows end with.
pub(crate) fn read_tails(model: &Transformer, cache: &mut PrefixCache, rows: &[&[u32]], own: &[usize]) -> Vec<f32> {
    let asked: Vec<&[u32]> = rows.iter().zip(own).map(|(row, own)| &row[..row.len() - own]).collect();
    let repeated = repeated(&asked);
    let is_repeated = |prefix: &[u32]| repeated.binary_search(&prefix).is_ok();
    // What is read for several rows is no ending.
    let lasting = asked.iter().map(|prefix| (prefix, cache.ending(prefix)));
    let lasting =
        lasting.map(|(prefix, ending)| if is_repeated(prefix) { *prefix } else { &prefix[..prefix.len() - ending] });
    let lasting: Vec<&[u32]> = lasting.collect();
    let prefixes = distinct(&lasting);
    let mut read = read_prefixes(model, cache, &prefixes, |part| !part.alone || is_repeated(prefixes[part.prefix]));
    let known = |prefix: &&[u32]| Context::behind(cache.find(prefix), model.config(), &cache.held);
    let mut contexts: Vec<Context> = lasting.iter().map(known).collect();
    let tails: Vec<&[u32]> = rows.iter().zip(&contexts).map(|(row, context)| &row[context.length()..]).collect();
    read += tails.iter().map(|tail| tail.len()).sum::<usize>();
    cache.count(rows.iter().map(|row| row.len()).sum(), read);
    let hidden = model.read(&mut contexts, &tails, own);
    for ((lasting, context), (row, tail)) in lasting.iter().zip(contexts).zip(rows.iter().zip(&tails)) {
        if row.len() - tail.len() < lasting.len() {
            cache.keep(lasting, context);
        }
    }
    hidden
}

/// Contexts for rows of at least one token, each with a beginning of its row; at least the last token is left to be read.
///
/// What several rows share is read once and kept, and so is a long beginning. A short one that nobody shares is left too:
/// it costs no pass of its own when it is read together with what other rows go on with.
pub(crate) fn begin_rows(model: &Transformer, cache: &mut PrefixCache, rows: &[&[u32]]) -> Vec<Context> {
    let prefixes: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
    let (repeated, prefixes) = (repeated(&prefixes), distinct(&prefixes));
    let read = read_prefixes(model, cache, &prefixes, |part| {
        !part.alone || part.to - part.from > SHORT || repeated.binary_search(&prefixes[part.prefix]).is_ok()
    });
    let behind = |row: &&[u32]| Context::behind(cache.find(&row[..row.len() - 1]), model.config(), &cache.held);
    let contexts: Vec<Context> = rows.iter().map(behind).collect();
    let left: usize = rows.iter().zip(&contexts).map(|(row, context)| row.len() - context.length()).sum();
    cache.count(rows.iter().map(|row| row.len()).sum(), read + left);
    contexts
}

/// The texts, sorted, each once.
fn distinct<'a>(texts: &[&'a [u32]]) -> Vec<&'a [u32]> {
    let mut texts = texts.to_vec();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The texts that there are more than once, sorted, each once.
fn repeated<'a>(texts: &[&'a [u32]]) -> Vec<&'a [u32]> {
    let mut texts = texts.to_vec();
    texts.sort_unstable();
    let mut repeated: Vec<&[u32]> = texts.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    repeated.dedup();
    repeated
}

/// Reads what is not known of sorted prefixes, each token once, and keeps it. Gives how many tokens were read. A part that is
/// not wanted is left out.
fn read_prefixes(
    model: &Transformer,
    cache: &mut PrefixCache,
    prefixes: &[&[u32]],
    wanted: impl Fn(&Part) -> bool,
) -> usize {
    let mut read = 0;
    loop {
        let mut known: Vec<Vec<View>> = prefixes.iter().map(|prefix| cache.find(prefix)).collect();
        let lengths: Vec<usize> = known.iter().map(|views| views.iter().map(|v| v.length).sum()).collect();
        let mut parts = parts(prefixes, &lengths);
        parts.retain(&wanted);
        if parts.is_empty() {
            return read;
        }
        let tails: Vec<&[u32]> = parts.iter().map(|part| &prefixes[part.prefix][part.from..part.to]).collect();
        let mut contexts: Vec<Context> = parts
            .iter()
            .map(|part| Context::behind(std::mem::take(&mut known[part.prefix]), model.config(), &cache.held))
            .collect();
        model.read(&mut contexts, &tails, &vec![0; tails.len()]);
        for (part, context) in parts.iter().zip(contexts) {
            read += part.to - part.from;
            cache.keep(&prefixes[part.prefix][..part.to], context);
        }
    }
}

/// Tokens to read next: a prefix's, between two places.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    prefix: usize,
    from: usize,
    to: usize,
    /// Is it read for this prefix only?
    alone: bool,
}

/// What can be read now of sorted prefixes, of which so many tokens are known: for prefixes that go on with the same tokens, those
/// tokens, once; for the others, all that is left.
fn parts(prefixes: &[&[u32]], known: &[usize]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut index = 0;
    while index < prefixes.len() {
        let (first, from) = (prefixes[index], known[index]);
        if from == first.len() {
            index += 1;
            continue;
        }
        let alike = |other: &&[u32]| other.len() > from && other[..=from] == first[..=from];
        let members = prefixes[index..].iter().take_while(|other| alike(other)).count();
        // They are sorted: what the first and the last share, all share.
        let last = prefixes[index + members - 1];
        let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        if members > 1 && (shared - from) * (members - 1) < WORTHWHILE {
            let alone = |prefix| Part { prefix, from, to: prefixes[prefix].len(), alone: true };
            parts.extend((index..index + members).map(alone));
        } else {
            parts.push(Part { prefix: index, from, to: shared, alone: members == 1 });
        }
        index += members;
    }
    parts
}

pub(crate) fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("activations are f32")
}

/// A norm's weights.
pub(crate) fn vector(tensor: &Tensor<1>, offset: f32) -> Vec<f32> {
    let mut weights: Vec<f32> = tensor.to_data().try_into_vec().expect("weights are f32");
    if offset != 0.0 {
        for weight in &mut weights {
            *weight += offset;
        }
    }
    weights
}

/// The position of every token.
fn positions(contexts: &[Context], pieces: &[Piece<'_>]) -> Vec<usize> {
    let of = |piece: &Piece<'_>| {
        let past = contexts[piece.row].length();
        past..past + piece.tokens.len()
    };
    pieces.iter().flat_map(of).collect()
}

/// Cosines and sines of every token's position, `[tokens, rotated dimensions / 2]` each.
pub(crate) struct Turns {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Turns {
    pub(crate) fn of(angles: &Angles, positions: &[usize]) -> Self {
        let (cos, sin): (Vec<f32>, Vec<f32>) = positions.iter().flat_map(|position| angles.at(*position)).unzip();
        let half = cos.len() / positions.len().max(1);
        Self { cos, sin, half }
    }

    /// The turns back, which carry gradients.
    pub(crate) fn reversed(&self) -> Self {
        Self { cos: self.cos.clone(), sin: self.sin.iter().map(|sin| -sin).collect(), half: self.half }
    }

    /// Rotates the queries and keys of every token, and scales the queries.
    pub(crate) fn rotate(&self, q: &mut [f32], k: &mut [f32], config: &LmConfig) {
        let scale = 1.0 / (config.architecture.query_scalar.unwrap_or(config.head_dim as f64) as f32).sqrt();
        let dim = config.head_dim;
        let tables = self.cos.chunks_exact(self.half).zip(self.sin.chunks_exact(self.half));
        let lines = q.chunks_exact_mut(config.heads * dim).zip(k.chunks_exact_mut(config.kv_heads * dim));
        for ((q, k), (cos, sin)) in lines.zip(tables) {
            kernels::rotate(q, dim, cos, sin, scale);
            kernels::rotate(k, dim, cos, sin, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prefixes_share_is_read_first_unless_it_is_little() {
        let long: Vec<u32> = (0..40).collect();
        let fork: Vec<u32> = (0..30).chain(90..95).collect();
        let other: Vec<u32> = vec![7, 8, 9];
        let near: Vec<u32> = vec![7, 5];
        let prefixes: [&[u32]; 4] = [&long, &fork, &near, &other];
        let part = |prefix, from, to, alone| Part { prefix, from, to, alone };
        let all = parts(&prefixes, &[0; 4]);
        assert_eq!(all, [part(0, 0, 30, false), part(2, 0, 2, true), part(3, 0, 3, true)]);
        assert_eq!(parts(&prefixes, &[30, 30, 2, 3]), [part(0, 30, 40, true), part(1, 30, 35, true)]);
        assert_eq!(parts(&prefixes, &[40, 35, 2, 3]), []);
    }
}
