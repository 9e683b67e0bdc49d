//! Batched generation: ragged prompts, shared prefill, stop strings, rows that leave when they are done.

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor, TensorData};
use cord_core::{Finish, ModelError, Sampling, Seed, SeedStream};
use cord_text::{Decoder, Renderer};

use crate::ops::{AttentionMask, Span};
use crate::prefix::{self, Read};
use crate::sampling::draw;
use crate::{Cache, Transformer};

/// Columns that a cache grows by at a time, so that a long budget does not reserve memory for tokens that are never
/// drawn.
const GROWTH: usize = 128;

/// One prompt to continue.
#[derive(Clone, Debug)]
pub struct DecodeRequest {
    /// The prompt's tokens, at least one.
    pub prompt: Vec<u32>,
    /// Generation ends before the first of these in the new text.
    pub stop: Vec<String>,
    /// The most tokens to draw.
    pub max_tokens: u32,
    /// How to draw.
    pub sampling: Sampling,
    /// The request's random stream.
    pub seed: Seed,
}

/// One continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The new text without its stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens drawn, the end-of-turn token and those of the stop string included.
    pub tokens: u64,
    /// Mean log-probability of the drawn tokens, nats; 0 when none was drawn.
    pub mean_logprob: f64,
}

/// A row of the batch that still draws.
struct Row {
    request: usize,
    span: Span,
    decoder: Decoder,
    stream: SeedStream,
    text: String,
    drawn: u64,
    logprobs: f64,
}

/// Continues every prompt.
///
/// Prompts that are the same are read once, and so is what prompts share. A row that is done leaves the batch when half of the rows are.
///
/// # Errors
/// For each request on its own: [`ModelError::NotFinite`] when the logits are not numbers, [`ModelError::Tokenizer`]
/// when a token has no text.
pub fn decode(
    model: &Transformer,
    renderer: &Renderer,
    name: &str,
    requests: &[DecodeRequest],
) -> Vec<Result<Decoded, ModelError>> {
    let mut results: Vec<Option<Result<Decoded, ModelError>>> = requests.iter().map(|_| None).collect();
    let mut unique: BTreeMap<&[u32], usize> = BTreeMap::new();
    for request in requests {
        let next = unique.len();
        unique.entry(&request.prompt).or_insert(next);
    }
    let mut prompts: Vec<&[u32]> = vec![&[]; unique.len()];
    for (prompt, index) in &unique {
        prompts[*index] = prompt;
    }

    let mut rows = Vec::with_capacity(requests.len());
    let mut sources = Vec::with_capacity(requests.len());
    if requests.is_empty() {
        return Vec::new();
    }
    let read = prefix::read(model, &prompts, &vec![1; prompts.len()], 0);
    for (index, request) in requests.iter().enumerate() {
        let source = unique[request.prompt.as_slice()];
        sources.push(source);
        rows.push(Row {
            request: index,
            span: read.spans[source].clone(),
            decoder: renderer.decoder(),
            stream: request.seed.stream(),
            text: String::new(),
            drawn: 0,
            logprobs: 0.0,
        });
    }
    let logits = last_logits(model, &read, prompts.len());
    let mut cache = read.cache.select(&at_least_two(&sources), read.cache.length() + GROWTH);
    let vocab = model.config().vocab;
    let mut logits: Vec<f32> = sources.iter().flat_map(|s| &logits[s * vocab..(s + 1) * vocab]).copied().collect();

    loop {
        let mut next = Vec::with_capacity(rows.len());
        let mut alive = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter_mut().enumerate() {
            let done = results[row.request].is_some();
            let token = if done {
                None
            } else {
                match row.advance(&logits[index * vocab..(index + 1) * vocab], &requests[row.request], renderer, name) {
                    Ok(Progress::Token(token)) => Some(token),
                    Ok(Progress::Done(finish)) => {
                        results[row.request] = Some(Ok(row.finish(finish)));
                        None
                    }
                    Err(error) => {
                        results[row.request] = Some(Err(error));
                        None
                    }
                }
            };
            if token.is_some() {
                alive.push(index);
            }
            next.push(token.unwrap_or(0));
        }
        if alive.is_empty() {
            break;
        }
        let full = cache.length() == cache.columns();
        if alive.len() * 2 <= rows.len() || full {
            cache = cache.select(&at_least_two(&alive), cache.length() + GROWTH);
            next = alive.iter().map(|index| next[*index]).collect();
            let mut index = 0;
            rows.retain(|_| {
                index += 1;
                alive.binary_search(&(index - 1)).is_ok()
            });
        }
        logits = step(model, &mut cache, &rows, &next);
    }
    results.into_iter().map(|result| result.expect("every row ends with a result")).collect()
}

enum Progress {
    Token(u32),
    Done(Finish),
}

impl Row {
    /// Draws the next token and says whether the row goes on.
    fn advance(
        &mut self,
        logits: &[f32],
        request: &DecodeRequest,
        renderer: &Renderer,
        name: &str,
    ) -> Result<Progress, ModelError> {
        let unreadable =
            |e: cord_text::TextError| ModelError::Tokenizer { model: name.to_owned(), reason: e.to_string() };
        if self.drawn >= u64::from(request.max_tokens) {
            return Ok(Progress::Done(Finish::Length));
        }
        let drawn = draw(logits, &request.sampling, &mut self.stream).ok_or_else(|| ModelError::NotFinite {
            model: name.to_owned(),
            given: "logits that are not numbers".into(),
            index: self.drawn as usize,
        })?;
        self.drawn += 1;
        self.logprobs += drawn.logprob;
        if renderer.eos_ids().contains(&drawn.token) {
            self.text.push_str(&self.decoder.flush().map_err(unreadable)?);
            // The flushed bytes can complete a stop string; the earlier end wins.
            return Ok(Progress::Done(self.trim_at_stop(&request.stop, 0).unwrap_or(Finish::Eos)));
        }
        let piece = self.decoder.push(drawn.token).map_err(unreadable)?;
        let longest = request.stop.iter().map(String::len).max().unwrap_or(0);
        // Only text that can hold the end of a stop string is looked at again.
        let from = self.text.len().saturating_sub(longest);
        self.text.push_str(&piece);
        if let Some(finish) = self.trim_at_stop(&request.stop, from) {
            return Ok(Progress::Done(finish));
        }
        if self.drawn >= u64::from(request.max_tokens) {
            self.text.push_str(&self.decoder.flush().map_err(unreadable)?);
            return Ok(Progress::Done(self.trim_at_stop(&request.stop, from).unwrap_or(Finish::Length)));
        }
        Ok(Progress::Token(drawn.token))
    }

    /// Cuts the text before the earliest stop string at or after `from`; of two at one place, the first listed.
    fn trim_at_stop(&mut self, stops: &[String], from: usize) -> Option<Finish> {
        let mut from = from;
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        let tail = &self.text[from..];
        let found = stops.iter().filter_map(|stop| tail.find(stop.as_str()).map(|at| (at, stop)));
        let (at, stop) = found.min_by_key(|(at, _)| *at)?;
        self.text.truncate(from + at);
        Some(Finish::Delimiter(stop.clone()))
    }

    fn finish(&mut self, finish: Finish) -> Decoded {
        Decoded {
            text: std::mem::take(&mut self.text),
            finish,
            tokens: self.drawn,
            mean_logprob: if self.drawn == 0 { 0.0 } else { self.logprobs / self.drawn as f64 },
        }
    }
}

/// The logits of every row's last token, `[rows * vocab]`.
fn last_logits(model: &Transformer, read: &Read, rows: usize) -> Vec<f32> {
    let last: Vec<i64> = (0..rows).map(|row| read.place(row, 0)).collect();
    let last = Tensor::<1, Int>::from_data(TensorData::new(last, [rows]), &model.device());
    to_host(model.logits(read.hidden.clone().select(0, last)))
}

/// A single row is fed twice: reductions and products of one row sum in another order on the CPU, and what a row
/// draws must not depend on whether it is the last one of its batch.
fn at_least_two<T: Copy>(rows: &[T]) -> Vec<T> {
    if let [only] = rows { vec![*only, *only] } else { rows.to_vec() }
}

/// Feeds one token to each row and gives the next logits, `[rows * vocab]`.
fn step(model: &Transformer, cache: &mut Cache, rows: &[Row], tokens: &[u32]) -> Vec<f32> {
    let device = model.device();
    let column = cache.length();
    let ids: Vec<i64> = at_least_two(tokens).into_iter().map(i64::from).collect();
    let spans = at_least_two(&rows.iter().map(|row| &row.span).collect::<Vec<_>>());
    let spans: Vec<Span> = spans.into_iter().cloned().collect();
    let positions: Vec<i64> = spans.iter().map(|span| span.position(column) as i64).collect();
    let shape = [spans.len(), 1];
    let mask = AttentionMask::causal(&spans, column, 1, &device);
    let ids = Tensor::from_data(TensorData::new(ids, shape), &device);
    let positions = Tensor::from_data(TensorData::new(positions, shape), &device);
    to_host(model.logits(model.hidden(ids, positions, &mask, Some(cache))))
}

fn to_host(logits: Tensor<2>) -> Vec<f32> {
    logits.into_data().try_into_vec().expect("logits are f32")
}
