//! A batch of rows that are read together and go on token by token, on the CPU or on a device of another kind.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::context::Context;
use crate::ops::{AttentionMask, Span};
use crate::prefix_cache::PrefixCache;
use crate::{Cache, Transformer, host, prefix};

/// Columns that a device's cache grows by at a time, so that a long budget does not reserve memory for tokens that are never
/// drawn.
const GROWTH: usize = 128;

/// Rows that go on.
pub(crate) enum Batch {
    /// Each row has a context of its own, without padding.
    Host {
        contexts: Vec<Context>,
        /// What each row is: what its context holds, and behind it at least one token to be read.
        tokens: Vec<Vec<u32>>,
    },
    /// All rows share a rectangular cache.
    Device {
        cache: Cache,
        spans: Vec<Span>,
        /// Which row of the cache each row is.
        lines: Vec<usize>,
        next: Next,
    },
}

/// What comes next in the rows of a device.
pub(crate) enum Next {
    /// Logits that are there already, `[rows * vocab]`.
    Logits(Vec<f32>),
    /// A token of each row, to be read.
    Tokens(Vec<u32>),
}

/// The hidden states of the last `own[i] >= 1` tokens of each row, row by row, without keeping those tokens.
///
/// # Shapes
/// - output: `[tokens, hidden]`
pub(crate) fn tails(model: &Transformer, cache: &mut PrefixCache, rows: &[&[u32]], own: &[usize]) -> Tensor<2> {
    if on_host(model) {
        let hidden = host::read_tails(model, cache, rows, own);
        cache.make_room();
        return matrix(model, hidden);
    }
    device_tails(model, rows, own)
}

fn device_tails(model: &Transformer, rows: &[&[u32]], own: &[usize]) -> Tensor<2> {
    let read = prefix::read(model, rows, own, 0);
    let places = own.iter().enumerate().flat_map(|(row, own)| (0..*own).rev().map(move |back| (row, back)));
    let places: Vec<i64> = places.map(|(row, back)| read.place(row, back)).collect();
    let count = places.len();
    read.hidden.select(0, Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &model.device()))
}

impl Batch {
    /// A batch without rows.
    pub(crate) fn new(model: &Transformer) -> Self {
        if on_host(model) {
            return Self::Host { contexts: Vec::new(), tokens: Vec::new() };
        }
        // Nothing is in this cache, and it is replaced by the first rows'.
        let (cache, next) = (model.cache(1, 1), Next::Tokens(Vec::new()));
        Self::Device { cache, spans: Vec::new(), lines: Vec::new(), next }
    }

    /// Can rows join those that are there?
    pub(crate) fn grows(&self) -> bool {
        matches!(self, Self::Host { .. })
    }

    /// Adds a row for each prompt of at least one token, behind those that are there. Where the batch does not grow there
    /// are none.
    pub(crate) fn join(&mut self, model: &Transformer, known: &mut PrefixCache, prompts: &[&[u32]]) {
        match self {
            Self::Host { contexts, tokens } => {
                contexts.extend(host::begin_rows(model, known, prompts));
                tokens.extend(prompts.iter().map(|prompt| prompt.to_vec()));
            }
            Self::Device { .. } if prompts.is_empty() => {}
            Self::Device { cache, spans, lines, next } => {
                debug_assert!(lines.is_empty(), "the rows of a device's cache all end in its last column");
                let read = prefix::read(model, prompts, &vec![1; prompts.len()], 0);
                let last: Vec<i64> = (0..prompts.len()).map(|row| read.place(row, 0)).collect();
                let last = Tensor::<1, Int>::from_data(TensorData::new(last, [prompts.len()]), &model.device());
                *lines = (0..prompts.len()).collect();
                *cache = read.cache.select(&at_least_two(lines), read.cache.length() + GROWTH);
                *spans = read.spans;
                *next = Next::Logits(logits(model, read.hidden.select(0, last)));
            }
        }
    }

    /// Reads what is not read yet of each row, and gives the logits of what comes next, `[rows * vocab]`.
    pub(crate) fn logits(&mut self, model: &Transformer) -> Vec<f32> {
        match self {
            Self::Host { contexts, tokens } => {
                let rest: Vec<&[u32]> =
                    contexts.iter().zip(&*tokens).map(|(context, tokens)| &tokens[context.length()..]).collect();
                let hidden = model.read(contexts, &rest, &vec![1; rest.len()]);
                logits(model, matrix(model, hidden))
            }
            Self::Device { next: Next::Logits(logits), .. } => std::mem::take(logits),
            Self::Device { cache, spans, lines, next: Next::Tokens(next) } => {
                let all = feed(model, cache, spans, lines, next);
                let vocab = model.config().vocab;
                lines.iter().flat_map(|line| &all[line * vocab..(line + 1) * vocab]).copied().collect()
            }
        }
    }

    /// Continues each of the rows `alive` with a token and drops the others. What they have read on the CPU is kept in `known`.
    pub(crate) fn go_on(&mut self, model: &Transformer, known: &mut PrefixCache, alive: &[usize], drawn: Vec<u32>) {
        match self {
            Self::Host { contexts, tokens } => {
                let (count, mut wanted) = (contexts.len(), alive.iter().zip(&drawn).peekable());
                let rows = contexts.drain(..).zip(tokens.drain(..)).enumerate().collect::<Vec<_>>();
                for (row, (context, mut read)) in rows {
                    if let Some((_, token)) = wanted.next_if(|(wanted, _)| **wanted == row) {
                        read.push(*token);
                        contexts.push(context);
                        tokens.push(read);
                    } else {
                        known.keep(&read, context);
                    }
                }
                known.count(drawn.len(), drawn.len());
                // Not at every token: looking for what to drop costs a walk through what is known.
                if contexts.len() < count {
                    known.make_room();
                }
            }
            Self::Device { .. } if alive.is_empty() => *self = Self::new(model),
            Self::Device { cache, spans, lines, next } => {
                *lines = alive.iter().map(|row| lines[*row]).collect();
                *spans = alive.iter().map(|row| spans[*row].clone()).collect();
                if lines.len() * 2 <= cache.rows() || cache.length() == cache.columns() {
                    *cache = cache.select(&at_least_two(lines), cache.length() + GROWTH);
                    *lines = (0..lines.len()).collect();
                }
                *next = Next::Tokens(drawn);
            }
        }
    }
}

/// Feeds one token to each line of a device's cache, to those that no row has any more any token, and gives their logits.
fn feed(model: &Transformer, cache: &mut Cache, spans: &[Span], lines: &[usize], next: &[u32]) -> Vec<f32> {
    let device = model.device();
    let (rows, column) = (cache.rows(), cache.length());
    let mut line_spans = vec![Span::default(); rows];
    let mut ids = vec![0i64; rows];
    for ((line, span), token) in lines.iter().zip(spans).zip(next) {
        line_spans[*line] = span.clone();
        ids[*line] = i64::from(*token);
    }
    let limit = model.config().context - 1;
    let positions: Vec<usize> = line_spans.iter().map(|span| span.position(column).min(limit)).collect();
    let mask = AttentionMask::causal(&line_spans, column, 1, model.config().architecture.window, &device);
    let ids = Tensor::from_data(TensorData::new(ids, [rows, 1]), &device);
    logits(model, model.hidden(ids, &positions, &mask, Some(cache)))
}

/// Are the model's weights where this program's own memory is?
pub(crate) fn on_host(model: &Transformer) -> bool {
    model.device() == Device::flex()
}

fn matrix(model: &Transformer, hidden: Vec<f32>) -> Tensor<2> {
    let width = model.config().hidden;
    let rows = hidden.len() / width;
    Tensor::from_data(TensorData::new(hidden, [rows, width]), &model.device())
}

fn logits(model: &Transformer, hidden: Tensor<2>) -> Vec<f32> {
    model.logits(hidden).into_data().try_into_vec().expect("logits are f32")
}

/// A single row is fed twice: the reductions and products of one row may sum in another order.
fn at_least_two(rows: &[usize]) -> Vec<usize> {
    if let [only] = rows { vec![*only, *only] } else { rows.to_vec() }
}

#[cfg(test)]
mod tests {
    use cord_core::Seed;

    use super::*;
    use crate::{Architecture, LmConfig, ParamMut};

    fn model() -> Transformer {
        let config = LmConfig {
            vocab: 40,
            hidden: 24,
            ffn: 40,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 6,
            context: 256,
            rope_theta: 1e4,
            norm_eps: 1e-6,
            tied: false,
            eos: vec![0],
            bos: None,
            pad: Some(0),
            architecture: Architecture::default(),
        };
        let mut model = Transformer::init(&config, Seed::root(4), &Device::flex());
        // Sharper than at its beginning: the likeliest token is so by far more than rounding.
        model.visit(&mut |_, param| {
            if let ParamMut::Table(t) | ParamMut::Linear(t) = param {
                *t = t.clone().mul_scalar(4.0);
            }
        });
        model
    }

    /// The likeliest tokens of rows that leave one after the other, and all of their logits.
    fn written(model: &Transformer, mut batch: Batch, prompts: &[&[u32]], most: &[usize]) -> (Vec<Vec<u32>>, Vec<f32>) {
        let (mut known, vocab) = (PrefixCache::new(0), model.config().vocab);
        let (mut texts, mut all) = (vec![Vec::new(); prompts.len()], Vec::new());
        let mut rows: Vec<usize> = (0..prompts.len()).collect();
        batch.join(model, &mut known, prompts);
        while !rows.is_empty() {
            let logits = batch.logits(model);
            for (row, logits) in rows.iter().zip(logits.chunks_exact(vocab)) {
                let best = (0..vocab).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("a vocabulary");
                texts[*row].push(best as u32);
            }
            all.extend(logits);
            let alive: Vec<usize> = (0..rows.len()).filter(|at| texts[rows[*at]].len() < most[rows[*at]]).collect();
            rows = alive.iter().map(|at| rows[*at]).collect();
            let drawn = rows.iter().map(|row| *texts[*row].last().expect("just written")).collect();
            batch.go_on(model, &mut known, &alive, drawn);
        }
        (texts, all)
    }

    #[test]
    fn what_texts_end_with_is_not_kept_and_what_stands_before_it_goes_on_as_if_read_anew() {
        let (model, mut known) = (model(), PrefixCache::new(1 << 20));
        let cue: Vec<u32> = (10..30).collect();
        let with_cue = |step: &[u32]| [step, &cue, &[7]].concat();
        let (first, second) = (with_cue(&[1, 2, 3, 4, 5, 6]), with_cue(&[1, 2, 8, 9]));
        let read =
            |known: &mut PrefixCache, rows: &[&[u32]]| host::read_tails(&model, known, rows, &vec![2; rows.len()]);
        read(&mut known, &[&first, &second]);
        let length =
            |known: &mut PrefixCache, row: &[u32]| known.find(row).iter().map(|view| view.length).sum::<usize>();
        // Of the first text nobody could know yet how others end.
        assert_eq!(length(&mut known, &first), first.len() - 2);
        assert_eq!(length(&mut known, &second), 4);
        // The copy of what was kept, what was kept whole, and a prefix that several requests share.
        let third = with_cue(&[1, 2, 8, 9, 3, 3]);
        let shared = [&third[..third.len() - 1], &[4]].concat();
        for rows in [vec![third.as_slice()], vec![&first[..]], vec![&second[..]], vec![&third[..], &shared[..]]] {
            assert_eq!(read(&mut known, &rows), read(&mut PrefixCache::new(0), &rows), "{rows:?}");
        }
        assert_eq!(length(&mut known, &third), third.len() - 2, "what two requests share is kept");
    }

    /// Devices of other kinds are not at hand wherever the tests run; how rows lie on them is the same on the CPU.
    #[test]
    fn rows_of_a_rectangular_cache_go_on_as_rows_with_contexts_of_their_own() {
        let model = model();
        let prompts: [&[u32]; 5] = [&[5, 6, 7, 8, 9, 10], &[5, 6, 7, 11], &[12], &[5, 6, 7, 8, 9, 10], &[30, 31, 32]];
        // More than a device's cache grows by.
        let most = [1, 140, 9, 40, 150];
        let device =
            || Batch::Device { cache: model.cache(1, 1), spans: vec![], lines: vec![], next: Next::Tokens(vec![]) };
        let (here, logits) = written(&model, Batch::new(&model), &prompts, &most);
        let (there, others) = written(&model, device(), &prompts, &most);
        assert_eq!(here, there);
        let largest = logits.iter().zip(&others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(logits.len() == others.len() && largest < 1e-3, "{largest} of {} logits", logits.len());

        let rows: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt[..prompt.len().min(4)]).collect();
        let own: Vec<usize> = rows.iter().map(|row| row.len().min(2)).collect();
        let hidden = host::read_tails(&model, &mut PrefixCache::new(0), &rows, &own);
        let others = device_tails(&model, &rows, &own).into_data().try_into_vec::<f32>().expect("f32");
        let largest = hidden.iter().zip(&others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(hidden.len() == others.len() && largest < 1e-4, "{largest} of {} states", hidden.len());
    }
}
