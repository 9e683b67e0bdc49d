//! How a benchmark's problem becomes a conversation.

use std::borrow::Cow;

use cord_core::{Message, Opening, Problem, Prompt};
use serde::{Deserialize, Serialize};

use crate::choice;
use crate::error::PromptError;

const QUESTION: &str = "{question}";

/// What a template can have filled in beside the question, from the problem's fields.
const FIELDS: [&str; 2] = ["{context}", "{options}"];

/// A user's turn with `{question}` in it, and an optional system turn.
///
/// `{context}` is the problem's field of that name, a text; `{options}` its list of options, one a line with letters. Any
/// other lower-case word in single braces is refused, since it is more often a misspelling than text. Braces of LaTeX
/// (`\boxed{}`) are left alone.
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
        let known = |name: &String| name == QUESTION || FIELDS.contains(&name.as_str());
        names.extend(placeholders(&user).into_iter().filter(|name| !known(name)));
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

    /// The names of the fields that the template wants and a problem lacks.
    pub fn lacking(&self, problem: &Problem) -> Vec<&'static str> {
        let wanted = FIELDS.into_iter().filter(|name| self.user.contains(name));
        wanted.filter(|name| field(problem, name).is_none()).map(|name| name.trim_matches(['{', '}'])).collect()
    }

    /// The prompt that asks a problem, with an empty prefix. A field that the problem [lacks](Self::lacking) is empty.
    pub fn render(&self, problem: &Problem, opening: Opening) -> Prompt {
        let mut messages: Vec<Message> = self.system.iter().map(Message::system).collect();
        messages.push(Message::user(filled(&self.user, &|name| field(problem, name).unwrap_or_default())));
        Prompt { messages, opening, prefix: String::new() }
    }
}

/// What stands for a placeholder.
fn field<'a>(problem: &'a Problem, name: &str) -> Option<Cow<'a, str>> {
    match name {
        QUESTION => Some(problem.question.as_str().into()),
        "{options}" => choice::options(problem).map(|options| choice::rendered(&options).into()),
        other => problem.metadata.get(other.trim_matches(['{', '}']))?.as_str().map(Cow::Borrowed),
    }
}

/// A template with every placeholder filled, from left to right: what is filled in is text, whatever braces it has.
pub(crate) fn filled<'a>(template: &str, value: &dyn Fn(&str) -> Cow<'a, str>) -> String {
    let (mut text, mut rest) = (String::new(), template);
    for name in placeholders(template) {
        let Some((before, after)) = rest.split_once(&name) else { break };
        text += before;
        text += &value(&name);
        rest = after;
    }
    text + rest
}

/// Every `{word}` that does not belong to a command (`\text{word}`).
pub(crate) fn placeholders(text: &str) -> Vec<String> {
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
    use serde_json::json;

    fn problem(question: &str) -> Problem {
        Problem { id: "p".into(), question: question.into(), answer: String::new(), metadata: [].into() }
    }

    #[test]
    fn fields_are_put_in_place_and_missed() {
        let template = PromptTemplate::new(None, "{context}\n\n{question}\n{options}".into()).unwrap();
        let mut asked = problem("Which?");
        assert_eq!(template.lacking(&asked), ["context", "options"]);
        asked.metadata =
            [("context".to_owned(), json!("About {question}.")), ("options".to_owned(), json!(["x", "y"]))].into();
        assert!(template.lacking(&asked).is_empty());
        let prompt = template.render(&asked, Opening::Plain);
        assert_eq!(prompt.messages, [Message::user("About {question}.\n\nWhich?\n(A) x\n(B) y")]);
    }

    #[test]
    fn a_question_is_put_in_place_verbatim() {
        let template = PromptTemplate::new(Some("Be brief.".into()), "{question}\nUse \\boxed{}.".into()).unwrap();
        let prompt = template.render(&problem("What is {question}?"), Opening::Think);
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
            "expected no placeholder but `{question}`, `{context}` and `{options}` in the prompt, got `{problem}`, `{few_shot}`"
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
