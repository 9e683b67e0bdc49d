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

/// A turn of the user's for each step. The instruction has one wording for the first turn and one for later ones; `values` stand for its
/// places beside `step`.
pub(crate) fn turns(instruction: Instruction, values: &[(&str, &str)], steps: &[&str]) -> Vec<Message> {
    let (first, later) = instruction.text().split_once("\n---\n").expect("the file has a first turn and a later one");
    let turn = |(place, step): (usize, &&str)| {
        let words = Instruction::new(if place == 0 { first } else { later });
        Message::user(words.fill(&[values, &[("step", step.trim())]].concat()))
    };
    steps.iter().enumerate().map(turn).collect()
}

/// The turns with the reply to each of the first `replies.len()`.
pub(crate) fn answered(choice: Choice, turns: Vec<Message>, replies: &[bool]) -> Vec<Message> {
    let reply = |right: &bool| Message::assistant(if *right { choice.good } else { choice.bad });
    let mut replies = replies.iter().map(reply);
    turns.into_iter().flat_map(|turn| [Some(turn), replies.next()]).flatten().collect()
}

/// What is asked about a step behind others, which were chosen and are taken as found right. Where the reasoning ends instead, its
/// last step is asked about.
pub(crate) fn asked_so_far(choice: Choice, values: &[(&str, &str)], prefix: &str, step: &str) -> Vec<Message> {
    let mut said = steps(prefix);
    if !step.trim().is_empty() || said.is_empty() {
        said.push(step);
    }
    let before = vec![true; said.len() - 1];
    answered(choice, turns(choice.instruction, values, &said), &before)
}
