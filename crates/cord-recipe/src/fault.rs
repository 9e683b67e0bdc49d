//! What can be wrong with a recipe.

use crate::distance::nearest;
use crate::place::Location;
use crate::render;

/// Why there is no recipe, or no plan of it.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The recipe has faults.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// The plan needs the content of models or data sets that it was not told.
    #[error("expected the digests of {}, got none", listed(missing))]
    Identities {
        /// What is missing: `model …` and `data set …`.
        missing: Vec<String>,
    },
}

/// Every fault of a recipe, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The recipe's file.
    pub file: String,
    /// The faults, at least one.
    pub faults: Vec<Fault>,
}

impl std::error::Error for Faults {}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        render::report(self, f)
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where.
    pub location: Location,
    /// The arms that have it; empty where all have.
    pub arms: Vec<String>,
}

/// What is wrong. Keys are dotted paths from the recipe's root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The text is not TOML.
    #[error("expected TOML: {reason}")]
    Syntax {
        /// What the parser said.
        reason: String,
    },
    /// A table has a key that means nothing.
    #[error("expected one of the keys {}{}, got `{key}`", listed(known), within(table))]
    UnknownKey {
        /// The key.
        key: String,
        /// The table, empty for the recipe itself.
        table: String,
        /// The keys that it can have.
        known: Vec<String>,
    },
    /// A key is missing.
    #[error("expected {expected} as `{key}`, got nothing")]
    Missing {
        /// The key.
        key: String,
        /// What it should hold.
        expected: String,
    },
    /// A value is of another type.
    #[error("expected {expected} as `{key}`, got {given}")]
    WrongType {
        /// The key.
        key: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        given: String,
    },
    /// A value is out of its range or form.
    #[error("expected {expected} as `{key}`, got `{given}`")]
    OutOfRange {
        /// The key.
        key: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        given: String,
    },
    /// A word is not in its closed set.
    #[error("expected one of {} as `{key}`, got `{given}`", listed(allowed))]
    NotOneOf {
        /// The key.
        key: String,
        /// The words that it can hold.
        allowed: Vec<String>,
        /// What it holds.
        given: String,
    },
    /// A name refers to nothing.
    #[error("expected {what} as `{key}`, got `{given}`")]
    Undefined {
        /// The key.
        key: String,
        /// What it should name, as a noun phrase.
        what: &'static str,
        /// The name.
        given: String,
        /// The names that there are.
        defined: Vec<String>,
    },
    /// A name stands twice where each may stand once.
    #[error("expected each of `{key}` once, got `{given}` again")]
    Repeated {
        /// The key.
        key: String,
        /// The name.
        given: String,
    },
    /// Keys that exclude or need each other.
    #[error("expected {expected}, got {given}")]
    Conflict {
        /// What goes together.
        expected: String,
        /// What was given.
        given: String,
        /// What to do.
        hint: String,
    },
    /// A file is not there.
    #[error("expected a file or folder as `{key}`, got `{path}`, which does not exist")]
    MissingFile {
        /// The key.
        key: String,
        /// The path, as it was looked for.
        path: String,
    },
    /// An override that no arm heeds.
    #[error("expected an override of `{key}` to change something, got one that every arm overrides in turn")]
    NoEffect {
        /// The key.
        key: String,
    },
}

impl FaultKind {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key: given, known: words, .. } | Self::NotOneOf { given, allowed: words, .. } => {
                nearest(given, words).map(|word| format!("did you mean `{word}`?"))
            }
            Self::Undefined { given, defined, .. } => Some(match nearest(given, defined) {
                Some(word) => format!("did you mean `{word}`?"),
                None if defined.is_empty() => "none is defined".to_owned(),
                None => format!("defined are {}", listed(defined)),
            }),
            Self::Conflict { hint, .. } => Some(hint.clone()),
            Self::MissingFile { .. } => Some("paths are relative to the folder in which the command is run".to_owned()),
            Self::NoEffect { key } => Some(format!("name the arm: `--set arms.<name>.{key}=…`")),
            Self::WrongType { expected, given, .. }
                if expected.starts_with("a list") && given.starts_with("the text") =>
            {
                Some("put it in brackets: `[\"…\"]`".to_owned())
            }
            Self::Syntax { .. }
            | Self::Missing { .. }
            | Self::WrongType { .. }
            | Self::OutOfRange { .. }
            | Self::Repeated { .. } => None,
        }
    }
}

/// `` `a`, `b` ``
pub(crate) fn listed<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

fn within(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in `{table}`") }
}
