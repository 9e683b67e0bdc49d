//! How a benchmark's problem becomes a conversation.

use cord_core::{Message, Opening, Prompt};
use serde::{Deserialize, Serialize};

use crate::error::PromptError;

const QUESTION: &str = "{question}";

/// A user's turn with `{question}` in it, and an optional system turn.
///
/// `{question}` is the only placeholder; any other lower-case word in single braces is refused, since it is
/// more often a misspelling than text. Braces of LaTeX (`\boxed{}`) are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct PromptTemplate {
    system: Option<String>,
    user: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    user: String,
}

impl TryFrom<Unchecked> for PromptTemplate {
    type Error = PromptError;

    fn try_from(unchecked: Unchecked) -> Result<Self, Self::Error> {
        Self::new(unchecked.system, unchecked.user)
    }
}

impl From<PromptTemplate> for Unchecked {
    fn from(template: PromptTemplate) -> Self {
        Self { system: template.system, user: template.user }
    }
}

impl PromptTemplate {
    /// Checks the placeholders of a template.
    pub fn new(system: Option<String>, user: String) -> Result<Self, PromptError> {
        let mut names = placeholders(system.as_deref().unwrap_or_default());
        names.extend(placeholders(&user).into_iter().filter(|name| name != QUESTION));
        if !names.is_empty() {
            return Err(PromptError::UnknownPlaceholders { names });
        }
        if !user.contains(QUESTION) {
            return Err(PromptError::NoQuestion { given: user });
        }
        Ok(Self { system, user })
    }

    /// The question and nothing else.
    pub fn bare() -> Self {
        Self { system: None, user: QUESTION.to_owned() }
    }

    /// The prompt that asks `question`, with an empty prefix.
    pub fn render(&self, question: &str, opening: Opening) -> Prompt {
        let mut messages: Vec<Message> = self.system.iter().map(Message::system).collect();
        // The parts around the placeholder are joined, not replaced in turn: a question that contains
        // `{question}` is text.
        messages.push(Message::user(self.user.split(QUESTION).collect::<Vec<_>>().join(question)));
        Prompt { messages, opening, prefix: String::new() }
    }
}

/// Every `{word}` that does not belong to a command (`\text{word}`).
fn placeholders(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (open, _) in text.match_indices('{') {
        let before = text[..open].chars().next_back();
        let word: String = text[open + 1..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let closed = text[open + 1 + word.len()..].starts_with('}');
        let argument = before.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '}' | '\\' | '^' | '_'));
        if closed && word.len() > 1 && !argument {
            found.push(format!("{{{word}}}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_put_in_place_verbatim() {
        let template = PromptTemplate::new(Some("Be brief.".into()), "{question}\nUse \\boxed{}.".into()).unwrap();
        let prompt = template.render("What is {question}?", Opening::Think);
        assert_eq!(
            prompt.messages,
            [Message::system("Be brief."), Message::user("What is {question}?\nUse \\boxed{}.")]
        );
        assert_eq!((prompt.opening, prompt.prefix.as_str()), (Opening::Think, ""));
    }

    #[test]
    fn misspelled_placeholders_are_refused() {
        let refused = |user: &str| PromptTemplate::new(None, user.to_owned()).unwrap_err().to_string();
        assert_eq!(refused("Hi."), "expected `{question}` in the user's turn of the prompt, got `Hi.`");
        assert_eq!(
            refused("{question} {problem} {few_shot}"),
            "expected no placeholder but `{question}` in the prompt, got `{problem}`, `{few_shot}`"
        );
        assert!(PromptTemplate::new(None, r"\text{answer} x^{ab} {n} {question}".into()).is_ok());
    }

    #[test]
    fn a_template_reads_back() {
        let template = PromptTemplate::new(None, "Q: {question}".into()).unwrap();
        let json = serde_json::to_string(&template).unwrap();
        assert_eq!(serde_json::from_str::<PromptTemplate>(&json).unwrap(), template);
        assert!(serde_json::from_str::<PromptTemplate>(r#"{"user": "no"}"#).is_err());
    }
}
