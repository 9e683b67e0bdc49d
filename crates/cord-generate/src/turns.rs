//! Reasoning that is reviewed step by step, each step a turn of the user's, as process reward models of RLHFlow's kind are asked.

use cord_core::Message;

use crate::instruction::{Choice, Instruction};

/// A text's steps as reviewers' training data cuts them, at blank lines, and at the headers of prompted ones.
pub(crate) fn steps(text: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    for part in text.split("\n\n") {
        let headers =
            part.match_indices("### Step").map(|(at, _)| at).filter(|at| *at > 0 && part[..*at].ends_with('\n'));
        let mut from = 0;
        for at in headers.collect::<Vec<usize>>() {
            steps.push(&part[from..at]);
            from = at;
        }
        steps.push(&part[from..]);
    }
    steps.into_iter().map(str::trim).filter(|step| !step.is_empty()).collect()
}

/// Steps and what is said of each: what a reviewer learns from.
pub(crate) fn lesson(choice: Choice, values: &[(&str, &str)], steps: &[(&str, bool)]) -> Vec<Message> {
    // The instruction has one wording for the first turn and one for later ones; `values` stand for its places beside `step`.
    let (first, later) =
        choice.instruction.text().split_once("\n---\n").expect("the file has a first turn and a later one");
    let turns = steps.iter().enumerate().flat_map(|(place, (step, right))| {
        let words = Instruction::new(if place == 0 { first } else { later });
        let asked = words.fill(&[values, &[("step", step.trim())]].concat());
        [Message::user(asked), Message::assistant(if *right { choice.good } else { choice.bad })]
    });
    turns.collect()
}

/// What is asked about a step behind others, which were chosen and are taken as found right. Where the reasoning ends instead, its
/// last step is asked about.
pub(crate) fn asked_so_far(choice: Choice, values: &[(&str, &str)], prefix: &str, step: &str) -> Vec<Message> {
    let mut said = steps(prefix);
    if !step.trim().is_empty() || said.is_empty() {
        said.push(step);
    }
    let said: Vec<(&str, bool)> = said.into_iter().map(|step| (step, true)).collect();
    let mut messages = lesson(choice, values, &said);
    // The last reply is the reviewer's own.
    messages.pop();
    messages
}
