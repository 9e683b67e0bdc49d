//! A candidate that a search wants written.

use cord_core::{Message, StepKind};

/// Is a candidate sent to the scorer? Answers never are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scored {
    /// As soon as it is written.
    Always,
    /// Only where nothing can follow it.
    IfEnded,
    /// Never.
    Never,
}

/// A candidate to be written.
pub(crate) struct Proposal<'a> {
    pub(crate) parent: Option<u32>,
    /// The text along the path to the parent.
    pub(crate) prefix: &'a str,
    /// The parent's place among the kept: a part of the candidate's seed.
    pub(crate) beam: u32,
    pub(crate) teacher: usize,
    pub(crate) sample: u32,
    pub(crate) kind: StepKind,
    pub(crate) max_tokens: u32,
    pub(crate) scored: Scored,
    /// The turns before the teacher's, where they are not the problem's own.
    pub(crate) messages: Option<Vec<Message>>,
}

impl<'a> Proposal<'a> {
    /// A step of reasoning or a whole response, about the problem's own turns and scored.
    pub(crate) fn new(kind: StepKind, teacher: usize, sample: u32, max_tokens: u32) -> Self {
        let scored = Scored::Always;
        Self { parent: None, prefix: "", beam: 0, teacher, sample, kind, max_tokens, scored, messages: None }
    }

    /// The same after a parent, whose text is `prefix`.
    pub(crate) fn after(self, parent: Option<u32>, prefix: &'a str, beam: u32) -> Self {
        Self { parent, prefix, beam, ..self }
    }
}

/// A request that is open, by what it is for.
pub(crate) struct Asked<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) teacher: usize,
    pub(crate) depth: u32,
    pub(crate) sample: u32,
    pub(crate) kind: StepKind,
    /// Is it about turns that the search made of other candidates?
    pub(crate) merges: bool,
}
