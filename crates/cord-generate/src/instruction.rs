//! Instructions to models that judge or merge: versioned data, each a file `prompts/<name>.v<n>.txt` that never changes. A
//! better wording is a new version with a name of its own, so that whatever names the version (a recipe, a stage's key)
//! names the words.

/// A text with places such as `{question}`.
#[derive(Clone, Copy)]
pub(crate) struct Instruction(&'static str);

impl Instruction {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// The text, places and all.
    pub(crate) fn text(self) -> &'static str {
        self.0
    }

    /// Fills the places in one pass, so that a value which itself says `{step}` is left alone. Other braces are text.
    pub(crate) fn fill(self, values: &[(&str, &str)]) -> String {
        let mut filled = String::new();
        let mut rest = self.0.trim_end();
        while let Some(at) = rest.find('{') {
            filled += &rest[..at];
            rest = &rest[at..];
            let place =
                values.iter().find(|(name, _)| rest[1..].starts_with(name) && rest[1 + name.len()..].starts_with('}'));
            let length = if let Some((name, value)) = place {
                filled += value;
                name.len() + 2
            } else {
                filled.push('{');
                1
            };
            rest = &rest[length..];
        }
        filled + rest
    }
}

/// An instruction that asks for one of two replies. Its file begins with the two, one a line, and a line `---`.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) good: &'static str,
    pub(crate) bad: &'static str,
    pub(crate) instruction: Instruction,
}

impl Choice {
    pub(crate) fn new(file: &'static str) -> Self {
        let (replies, text) = file.split_once("\n---\n").expect("an instruction's file has a line `---`");
        let (good, bad) = replies.split_once('\n').expect("an instruction's file begins with two replies");
        Self { good, bad, instruction: Instruction::new(text) }
    }
}

#[cfg(test)]
mod tests {
    use cord_core::Digest;

    use super::*;

    #[test]
    fn places_are_filled_in_one_pass() {
        let check = |text: &'static str, expected: &str| {
            assert_eq!(Instruction::new(text).fill(&[("a", "{b}"), ("b", "2"), ("ab", "{")]), expected, "{text}");
        };
        check("{a}{b}{ab}\n", "{b}2{");
        check("\\boxed{} {c} {a {b} {", "\\boxed{} {c} {a 2 {");
        check("", "");
        check("é{a}é", "é{b}é");
    }

    #[test]
    fn a_version_never_changes() {
        // A digest that differs means: make the change a new version instead.
        let files = [
            ("step-wise.v1", include_str!("../prompts/step-wise.v1.txt")),
            ("cues.v1", include_str!("../prompts/cues.v1.txt")),
            ("process-reward.yes-no.v1", include_str!("../prompts/process-reward.yes-no.v1.txt")),
            ("process-reward.plus-minus.v1", include_str!("../prompts/process-reward.plus-minus.v1.txt")),
            ("process-reward.turns.v1", include_str!("../prompts/process-reward.turns.v1.txt")),
            ("process-reward.qwen-prm.v1", include_str!("../prompts/process-reward.qwen-prm.v1.txt")),
            ("judgment.gold.v1", include_str!("../prompts/judgment.gold.v1.txt")),
            ("judgment.blind.v1", include_str!("../prompts/judgment.blind.v1.txt")),
            ("judgment.turns.v1", include_str!("../prompts/judgment.turns.v1.txt")),
            ("integration.v1", include_str!("../prompts/integration.v1.txt")),
        ];
        let digests: Vec<String> =
            files.iter().map(|(name, text)| format!("{} {name}", Digest::of_bytes(text.as_bytes()).short())).collect();
        insta::assert_snapshot!(digests.join("\n"), @r"
            131c09316708 step-wise.v1
            dcd6df812d80 cues.v1
            141b1eaac797 process-reward.yes-no.v1
            078ee5ac1383 process-reward.plus-minus.v1
            a9a23a69cca6 process-reward.turns.v1
            ed6919eff453 process-reward.qwen-prm.v1
            c9adc05de04f judgment.gold.v1
            98d29d055b3c judgment.blind.v1
            62b5fe09ce24 judgment.turns.v1
            22602675c53c integration.v1
            ");
    }
}
