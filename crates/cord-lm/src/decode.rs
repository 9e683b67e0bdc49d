//! Batched generation: ragged prompts, shared prefill, stop strings, rows that leave when they are done.

use cord_core::{Finish, ModelError, Sampling, Seed, SeedStream};
use cord_text::{Renderer, TextError, Turn};

use crate::Transformer;
use crate::batch::Batch;
use crate::prefix_cache::PrefixCache;
use crate::sampling::draw;

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

/// Rows that are continued together, token by token. A row that is done leaves; on the CPU, others join at any time.
pub(crate) struct Decoder<'a> {
    model: &'a Transformer,
    renderer: &'a Renderer,
    name: &'a str,
    batch: Batch,
    rows: Vec<Row>,
}

/// A row that still draws.
struct Row {
    ticket: usize,
    sampling: Sampling,
    max_tokens: u32,
    turn: Turn,
    stream: SeedStream,
    logprobs: f64,
}

impl<'a> Decoder<'a> {
    /// A decoder without rows.
    pub(crate) fn new(model: &'a Transformer, renderer: &'a Renderer, name: &'a str) -> Self {
        Self { model, renderer, name, batch: Batch::new(model), rows: Vec::new() }
    }

    /// Rows that still draw.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Can rows join now?
    pub(crate) fn is_open(&self) -> bool {
        self.rows.is_empty() || self.batch.grows()
    }

    /// Adds a row for each request. What becomes of it is told under its ticket; they are numbered from `first`.
    pub(crate) fn join(&mut self, known: &mut PrefixCache, first: usize, requests: &[DecodeRequest]) {
        let prompts: Vec<&[u32]> = requests.iter().map(|request| request.prompt.as_slice()).collect();
        self.batch.join(self.model, known, &prompts);
        self.rows.extend((first..).zip(requests).map(|(ticket, request)| Row {
            ticket,
            sampling: request.sampling,
            max_tokens: request.max_tokens,
            turn: Turn::new(self.renderer, &request.stop, request.max_tokens),
            stream: request.seed.stream(),
            logprobs: 0.0,
        }));
    }

    /// Reads every row to its end, draws the next token, and gives the rows that are done by it.
    pub(crate) fn step(&mut self, known: &mut PrefixCache) -> Vec<(usize, Result<Decoded, ModelError>)> {
        let (logits, vocab) = (self.batch.logits(self.model), self.model.config().vocab);
        let (mut alive, mut drawn, mut done) = (Vec::with_capacity(self.rows.len()), Vec::new(), Vec::new());
        for (index, (row, logits)) in self.rows.iter_mut().zip(logits.chunks_exact(vocab)).enumerate() {
            match row.advance(logits, self.name) {
                Ok(Progress::Token(token)) => {
                    alive.push(index);
                    drawn.push(token);
                }
                Ok(Progress::Done(finish)) => done.push((row.ticket, Ok(row.finish(finish)))),
                Err(error) => done.push((row.ticket, Err(error))),
            }
        }
        let (mut index, mut left) = (0, alive.iter().peekable());
        self.rows.retain(|_| {
            index += 1;
            left.next_if(|left| **left == index - 1).is_some()
        });
        self.batch.go_on(self.model, known, &alive, drawn);
        done
    }
}

/// Continues every prompt.
///
/// What prompts share is read once, and so is what `known` holds from before (on the CPU). A row that is done leaves the batch.
///
/// # Errors
/// For each request on its own: [`ModelError::NotFinite`] when the logits are not numbers, [`ModelError::Tokenizer`]
/// when a token has no text.
pub fn decode(
    model: &Transformer,
    known: &mut PrefixCache,
    renderer: &Renderer,
    name: &str,
    requests: &[DecodeRequest],
) -> Vec<Result<Decoded, ModelError>> {
    let mut results: Vec<Option<Result<Decoded, ModelError>>> = requests.iter().map(|_| None).collect();
    let mut decoder = Decoder::new(model, renderer, name);
    decoder.join(known, 0, requests);
    while decoder.rows() > 0 {
        for (request, result) in decoder.step(known) {
            results[request] = Some(result);
        }
    }
    results.into_iter().map(|result| result.expect("every row ends with a result")).collect()
}

enum Progress {
    Token(u32),
    Done(Finish),
}

impl Row {
    /// Draws the next token and says whether the row goes on.
    fn advance(&mut self, logits: &[f32], name: &str) -> Result<Progress, ModelError> {
        if self.max_tokens == 0 {
            return Ok(Progress::Done(Finish::Length));
        }
        let drawn = draw(logits, &self.sampling, &mut self.stream).ok_or_else(|| ModelError::NotFinite {
            model: name.to_owned(),
            given: "logits that are not numbers".into(),
            index: self.turn.drawn() as usize,
        })?;
        self.logprobs += drawn.logprob;
        let unreadable = |e: TextError| ModelError::Tokenizer { model: name.to_owned(), reason: e.to_string() };
        let finish = self.turn.push(drawn.token).map_err(unreadable)?;
        Ok(finish.map_or(Progress::Token(drawn.token), Progress::Done))
    }

    fn finish(&self, finish: Finish) -> Decoded {
        let tokens = self.turn.drawn();
        let mean_logprob = if tokens == 0 { 0.0 } else { self.logprobs / tokens as f64 };
        Decoded { text: self.turn.text().to_owned(), finish, tokens, mean_logprob }
    }
}
