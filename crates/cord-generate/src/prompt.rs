//! What a model is asked.

use cord_core::{Message, Problem};
use serde::{Deserialize, Serialize};

use crate::GenerateError;

const QUESTION: &str = "{question}";
const STEP_WISE_V1: &str = include_str!("../prompts/step-wise.v1.txt");

/// The text of the user's turn, with `{question}` where the problem's question goes.
///
/// Other braces are text, since prompts speak of `\boxed{}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PromptTemplate(String);

impl PromptTemplate {
    /// A template; it must hold `{question}`.
    pub fn new(text: impl Into<String>) -> Result<Self, GenerateError> {
        let text = text.into();
        if text.contains(QUESTION) { Ok(Self(text)) } else { Err(GenerateError::Template { given: text }) }
    }

    /// The prompt-guided instruction of the paper's kind: reasoning under `### Step n.` headers inside a
    /// think block, the final answer in `\boxed{}`. The paper's own wording is open; this is `step-wise.v1`.
    pub fn step_wise() -> Self {
        Self(STEP_WISE_V1.trim_end().to_owned())
    }

    /// The template's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The turns that stand before the assistant's.
    pub fn messages(&self, problem: &Problem) -> Vec<Message> {
        // One pass over the template: a question that itself says `{question}` is left alone.
        vec![Message::user(self.0.replace(QUESTION, &problem.question))]
    }
}

impl Default for PromptTemplate {
    fn default() -> Self {
        Self::step_wise()
    }
}

impl TryFrom<String> for PromptTemplate {
    type Error = GenerateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<PromptTemplate> for String {
    fn from(template: PromptTemplate) -> Self {
        template.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn problem(question: &str) -> Problem {
        Problem { id: "p".into(), question: question.into(), answer: "1".into(), metadata: BTreeMap::new() }
    }

    #[test]
    fn only_the_question_is_filled_in() {
        let template = PromptTemplate::new("{question} Use \\boxed{}.").unwrap();
        assert_eq!(template.messages(&problem("What is {question}?"))[0].content, "What is {question}? Use \\boxed{}.");
    }

    #[test]
    fn a_template_without_a_question_is_refused() {
        let error = serde_json::from_str::<PromptTemplate>(r#""solve it""#).unwrap_err();
        insta::assert_snapshot!(error, @"expected a prompt template that holds `{question}`, got `solve it`");
    }

    #[test]
    fn the_default_asks_for_the_form_that_the_segmenter_reads() {
        let content = &PromptTemplate::default().messages(&problem("How many?"))[0].content;
        assert!(content.ends_with("Problem: How many?"), "{content}");
        for part in ["<think>", "</think>", "### Step 1.", "\\boxed{}"] {
            assert!(content.contains(part), "{part}");
        }
    }
}
