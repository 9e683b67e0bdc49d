//! A model's turn, token by token, to its end.

use cord_core::Finish;

use crate::{Decoder, Renderer, TextError};

/// The text of a model's turn as its tokens come, cut where it ends: at the end of turn, before the first stop string, or
/// at the budget.
///
/// A stop string may begin inside one token and end inside another. The first token that completes one ends the turn, and
/// of several the string that begins first wins.
#[derive(Clone, Debug)]
pub struct Turn {
    renderer: Renderer,
    decoder: Decoder,
    stop: Vec<String>,
    max_tokens: u64,
    text: String,
    drawn: u64,
}

impl Turn {
    /// A turn that has not begun. Empty stop strings stop nothing.
    pub fn new(renderer: &Renderer, stop: &[String], max_tokens: u32) -> Self {
        Self {
            renderer: renderer.clone(),
            decoder: renderer.decoder(),
            stop: stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            max_tokens: u64::from(max_tokens),
            text: String::new(),
            drawn: 0,
        }
    }

    /// Takes the next token; says why the turn ended, if it did.
    ///
    /// # Errors
    /// [`TextError::UnknownToken`] when the vocabulary lacks the id.
    pub fn push(&mut self, id: u32) -> Result<Option<Finish>, TextError> {
        self.drawn += 1;
        if self.renderer.eos_ids().contains(&id) {
            self.text.push_str(&self.decoder.flush()?);
            // The flushed bytes can complete a stop string; the earlier end wins.
            return Ok(Some(self.cut(0).unwrap_or(Finish::Eos)));
        }
        let longest = self.stop.iter().map(String::len).max().unwrap_or(0);
        // Only text that can hold the end of a stop string is looked at again.
        let from = self.text.len().saturating_sub(longest);
        self.text.push_str(&self.decoder.push(id)?);
        if let Some(finish) = self.cut(from) {
            return Ok(Some(finish));
        }
        if self.drawn >= self.max_tokens {
            self.text.push_str(&self.decoder.flush()?);
            return Ok(Some(self.cut(from).unwrap_or(Finish::Length)));
        }
        Ok(None)
    }

    /// Ends the text where no more tokens come: gives out what waits for the rest of a character.
    pub fn flush(&mut self) -> Result<Option<Finish>, TextError> {
        self.text.push_str(&self.decoder.flush()?);
        Ok(self.cut(0))
    }

    /// Tokens taken so far.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// The text so far, without a stop string or the end-of-turn token.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Cuts the text before the earliest stop string at or after `from`; of two at one place, the first listed.
    fn cut(&mut self, mut from: usize) -> Option<Finish> {
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        let tail = &self.text[from..];
        let found = self.stop.iter().filter_map(|stop| tail.find(stop.as_str()).map(|at| (at, stop)));
        let (at, stop) = found.min_by_key(|(at, _)| *at)?;
        let finish = Finish::Delimiter(stop.clone());
        self.text.truncate(from + at);
        Some(finish)
    }
}
