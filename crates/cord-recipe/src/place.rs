//! Where something stands: in the recipe's file or in an override.

use std::path::Path;

/// A range of bytes in one of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// 0 is the recipe's file, n the n-th override.
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The texts that a recipe is read from.
pub(crate) struct Sources<'a> {
    file: String,
    text: &'a str,
    overrides: &'a [String],
}

impl<'a> Sources<'a> {
    pub(crate) fn new(file: &Path, text: &'a str, overrides: &'a [String]) -> Self {
        Self { file: file.display().to_string(), text, overrides }
    }

    pub(crate) fn locate(&self, place: Place) -> Location {
        let (origin, text) = match place.source.checked_sub(1).and_then(|index| self.overrides.get(index)) {
            None => (self.file.clone(), self.text),
            Some(text) => (format!("--set {text}"), text.as_str()),
        };
        let start = floor(text, place.start);
        let end = floor(text, place.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let before = text[line_start..start].chars().count();
        let within = text[start..end.min(line_end).max(start)].chars().count();
        Location {
            origin,
            in_file: place.source == 0,
            line: text[..start].matches('\n').count() + 1,
            column: before + 1,
            width: if place.start == place.end && place.start == 0 { 0 } else { within.max(1) },
            text: text[line_start..line_end].trim_end_matches('\r').to_owned(),
        }
    }
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A place as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The recipe's file, or the override (`--set a.b=…`).
    pub origin: String,
    /// Is the origin the file, so that line and column say something?
    pub in_file: bool,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters of the line are meant; 0 where the source as a whole is.
    pub width: usize,
    /// The line's text.
    pub text: String,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.in_file {
            write!(f, "{}:{}:{}", self.origin, self.line, self.column)
        } else {
            write!(f, "{}", self.origin)
        }
    }
}
