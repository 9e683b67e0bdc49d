//! Tokens back to text, one at a time.

use std::collections::VecDeque;

use crate::TextError;
use crate::renderer::Renderer;

/// How many tokens may wait for the rest of a character. A character has at most four bytes, and a run of tokens that each
/// end inside one is short; beyond this the bytes are taken to be broken.
const MOST_PENDING: usize = 16;

/// An incremental detokenizer: gives text as soon as no later token can change it.
///
/// The texts given by [`Decoder::push`] and the last [`Decoder::flush`] concatenate to the decoding of all tokens. Special
/// tokens are silent, except `<think>` and `</think>`, which are part of a response whatever a vocabulary flags them as. Bytes
/// that are not UTF-8 become U+FFFD.
#[derive(Clone, Debug)]
pub struct Decoder {
    renderer: Renderer,
    /// Tokens already given, kept because a decoder may treat a first token unlike later ones, then tokens that wait.
    window: VecDeque<u32>,
    /// How many of the window's tokens are already given.
    given: usize,
}

impl Decoder {
    pub(crate) fn new(renderer: Renderer) -> Self {
        let window: VecDeque<u32> = renderer.anchor().iter().copied().collect();
        let given = window.len();
        Self { renderer, window, given }
    }

    /// Takes the next token; returns the text that has become certain, which may be empty.
    ///
    /// # Errors
    /// [`TextError::UnknownToken`] when the vocabulary lacks the id.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        if !self.renderer.is_known(id) {
            return Err(TextError::UnknownToken { id, vocab: self.renderer.vocab_size() });
        }
        if self.renderer.is_silent(id) {
            return Ok(String::new());
        }
        self.window.push_back(id);
        let text = self.pending_text()?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && self.window.len() - self.given < MOST_PENDING {
            return Ok(String::new());
        }
        self.window.drain(..self.given);
        self.given = self.window.len();
        Ok(text)
    }

    /// Ends the text: returns what was waiting for the rest of a character.
    pub fn flush(&mut self) -> Result<String, TextError> {
        if self.window.len() == self.given {
            return Ok(String::new());
        }
        let text = self.pending_text()?;
        self.window.drain(..self.given);
        self.given = self.window.len();
        Ok(text)
    }

    fn pending_text(&mut self) -> Result<String, TextError> {
        let window = self.window.make_contiguous();
        let before = self.renderer.decode_raw(&window[..self.given])?;
        let mut whole = self.renderer.decode_raw(window)?;
        if whole.starts_with(&before) {
            Ok(whole.split_off(before.len()))
        } else {
            // A byte-fallback decoder rewrites a whole run of bytes when one of them is broken, those already given
            // included. What is given stays given; the new tokens are decoded on their own.
            self.renderer.decode_raw(&window[self.given..])
        }
    }
}
