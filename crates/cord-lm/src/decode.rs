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

/// A row of the batch that still draws.
struct Row {
    request: usize,
    turn: Turn,
    stream: SeedStream,
    logprobs: f64,
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
    if requests.is_empty() {
        return Vec::new();
    }
    let mut results: Vec<Option<Result<Decoded, ModelError>>> = requests.iter().map(|_| None).collect();
    let prompts: Vec<&[u32]> = requests.iter().map(|request| request.prompt.as_slice()).collect();
    let (mut batch, mut logits) = Batch::open(model, known, &prompts);
    let row = |(index, request): (usize, &DecodeRequest)| Row {
        request: index,
        turn: Turn::new(renderer, &request.stop, request.max_tokens),
        stream: request.seed.stream(),
        logprobs: 0.0,
    };
    let mut rows: Vec<Row> = requests.iter().enumerate().map(row).collect();
    let vocab = model.config().vocab;
    loop {
        let (mut alive, mut next) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for (index, (row, logits)) in rows.iter_mut().zip(logits.chunks_exact(vocab)).enumerate() {
            match row.advance(logits, &requests[row.request], name) {
                Ok(Progress::Token(token)) => {
                    alive.push(index);
                    next.push(token);
                }
                Ok(Progress::Done(finish)) => results[row.request] = Some(Ok(row.finish(finish))),
                Err(error) => results[row.request] = Some(Err(error)),
            }
        }
        if alive.is_empty() {
            break;
        }
        logits = batch.step(model, known, &alive, &next);
        rows.retain(|row| results[row.request].is_none());
    }
    batch.close(known);
    results.into_iter().map(|result| result.expect("every row ends with a result")).collect()
}

enum Progress {
    Token(u32),
    Done(Finish),
}

impl Row {
    /// Draws the next token and says whether the row goes on.
    fn advance(&mut self, logits: &[f32], request: &DecodeRequest, name: &str) -> Result<Progress, ModelError> {
        if request.max_tokens == 0 {
            return Ok(Progress::Done(Finish::Length));
        }
        let drawn = draw(logits, &request.sampling, &mut self.stream).ok_or_else(|| ModelError::NotFinite {
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
