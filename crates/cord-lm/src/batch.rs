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
        /// What each context holds.
        tokens: Vec<Vec<u32>>,
    },
    /// All rows share a rectangular cache.
    Device {
        cache: Cache,
        spans: Vec<Span>,
        /// Which row of the cache each row is.
        lines: Vec<usize>,
    },
}

/// The hidden states of the last `own[i] >= 1` tokens of each row, row by row, without keeping the rows.
///
/// # Shapes
/// - output: `[tokens, hidden]`
pub(crate) fn tails(model: &Transformer, cache: &mut PrefixCache, rows: &[&[u32]], own: &[usize]) -> Tensor<2> {
    if on_host(model) {
        let (_, hidden) = host::read_rows(model, cache, rows, own);
        cache.make_room();
        return matrix(model, hidden);
    }
    let read = prefix::read(model, rows, own, 0);
    let places = own.iter().enumerate().flat_map(|(row, own)| (0..*own).rev().map(move |back| (row, back)));
    let places: Vec<i64> = places.map(|(row, back)| read.place(row, back)).collect();
    let count = places.len();
    read.hidden.select(0, Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &model.device()))
}

impl Batch {
    /// Reads prompts of at least one token and gives the logits of what comes next, `[rows * vocab]`.
    pub(crate) fn open(model: &Transformer, known: &mut PrefixCache, prompts: &[&[u32]]) -> (Self, Vec<f32>) {
        let own = vec![1; prompts.len()];
        if on_host(model) {
            let (contexts, hidden) = host::read_rows(model, known, prompts, &own);
            let tokens = prompts.iter().map(|prompt| prompt.to_vec()).collect();
            return (Self::Host { contexts, tokens }, logits(model, matrix(model, hidden)));
        }
        let read = prefix::read(model, prompts, &own, 0);
        let last: Vec<i64> = (0..prompts.len()).map(|row| read.place(row, 0)).collect();
        let last = Tensor::<1, Int>::from_data(TensorData::new(last, [prompts.len()]), &model.device());
        let lines: Vec<usize> = (0..prompts.len()).collect();
        let cache = read.cache.select(&at_least_two(&lines), read.cache.length() + GROWTH);
        (Self::Device { cache, spans: read.spans, lines }, logits(model, read.hidden.select(0, last)))
    }

    /// Feeds one token to each of the rows `alive`, drops the others, and gives the logits of what comes next.
    pub(crate) fn step(
        &mut self,
        model: &Transformer,
        known: &mut PrefixCache,
        alive: &[usize],
        next: &[u32],
    ) -> Vec<f32> {
        match self {
            Self::Host { contexts, tokens } => {
                let mut wanted = alive.iter().peekable();
                let rows = contexts.drain(..).zip(tokens.drain(..)).enumerate().collect::<Vec<_>>();
                for (row, (context, read)) in rows {
                    if wanted.next_if(|wanted| **wanted == row).is_some() {
                        contexts.push(context);
                        tokens.push(read);
                    } else {
                        known.keep(&read, context);
                    }
                }
                tokens.iter_mut().zip(next).for_each(|(tokens, next)| tokens.push(*next));
                let next: Vec<&[u32]> = next.chunks(1).collect();
                let hidden = model.read(contexts, &next);
                known.count(next.len(), next.len());
                logits(model, matrix(model, hidden))
            }
            Self::Device { cache, spans, lines } => {
                *lines = alive.iter().map(|row| lines[*row]).collect();
                *spans = alive.iter().map(|row| spans[*row].clone()).collect();
                let rows = cache.rows();
                if lines.len() * 2 <= rows || cache.length() == cache.columns() {
                    *cache = cache.select(&at_least_two(lines), cache.length() + GROWTH);
                    *lines = (0..lines.len()).collect();
                }
                let all = feed(model, cache, spans, lines, next);
                let vocab = model.config().vocab;
                lines.iter().flat_map(|line| &all[line * vocab..(line + 1) * vocab]).copied().collect()
            }
        }
    }

    /// Ends the batch; what it read is kept for the next one.
    pub(crate) fn close(self, known: &mut PrefixCache) {
        if let Self::Host { contexts, tokens } = self {
            for (context, tokens) in contexts.into_iter().zip(tokens) {
                known.keep(&tokens, context);
            }
            known.make_room();
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
