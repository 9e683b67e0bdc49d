//! One example as the trainer sees it, for a person to look at.

use std::fmt::Write;

use crate::Example;

/// Runs of tokens that are context or learnt, with their text and the end of the turn by its id.
///
/// `text` gives the text of tokens; `ends` are the ids that end a turn.
pub fn audit(example: &Example, text: &dyn Fn(&[u32]) -> String, ends: &[u32]) -> String {
    let Example { id, ids, supervised } = example;
    let learnt = supervised.iter().skip(1).filter(|s| **s).count();
    let mut out = format!("`{id}`: {} tokens, {learnt} of them learnt\n", ids.len());
    let mut from = 0;
    while from < ids.len() {
        // The first token is predicted by nothing.
        let is_learnt = |place: usize| place > 0 && supervised[place];
        let to = (from..ids.len()).find(|place| is_learnt(*place) != is_learnt(from)).unwrap_or(ids.len());
        let kind = if is_learnt(from) { "learnt " } else { "context" };
        let _ = writeln!(out, "{kind} {from:>6}..{to:<6} {:?}", text(&ids[from..to]));
        from = to;
    }
    let last = ids.last().filter(|last| ends.contains(last) && supervised[ids.len() - 1]);
    let _ = match last {
        Some(last) => writeln!(out, "ends with the end of a turn ({last}), which is learnt"),
        None => writeln!(out, "does not end with the end of a turn that is learnt"),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_shown_with_their_text() {
        let example =
            Example { id: "one".into(), ids: vec![5, 6, 7, 8, 1], supervised: vec![true, false, false, true, true] };
        let text = |ids: &[u32]| ids.iter().fold(String::new(), |text, id| format!("{text}<{id}>"));
        insta::assert_snapshot!(audit(&example, &text, &[1]), @r#"
        `one`: 5 tokens, 2 of them learnt
        context      0..3      "<5><6><7>"
        learnt       3..5      "<8><1>"
        ends with the end of a turn (1), which is learnt
        "#);
        assert!(audit(&example, &text, &[9]).ends_with("does not end with the end of a turn that is learnt\n"));
    }
}
