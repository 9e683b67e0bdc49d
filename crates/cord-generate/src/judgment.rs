//! A language model's binary judgment of a step.
//!
//! The judge writes a verdict, which is read strictly: its last line must be one of two given sentences. Right is 1 and
//! wrong is 0. Anything else, a verdict that its budget cut off too, is no opinion: the candidate is unscored.

use std::sync::Arc;

use cord_core::{
    BoxFuture, Finish, GenerateRequest, Generation, LanguageModel, Message, Opening, Problem, Prompt, Sampling, Seed,
    Usage,
};
use serde::{Deserialize, Serialize};

use crate::instruction::Choice;
use crate::scorer::side_by_side;
use crate::turns::{asked_so_far, lesson};
use crate::{GenerateError, Judged, Scope, Score, Scorer, THINK_CLOSE};

/// The most tokens of a verdict where a recipe gives none: a judge may reason first.
pub const DEFAULT_VERDICT_TOKENS: u32 = 2048;

/// A version of the question to a judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JudgmentPrompt {
    /// `prompts/judgment.gold.v1.txt`: the judge is told the gold answer, as predictive perplexity is.
    #[default]
    #[serde(rename = "gold.v1")]
    GoldV1,
    /// `prompts/judgment.blind.v1.txt`: the judge is not told the gold answer.
    #[serde(rename = "blind.v1")]
    BlindV1,
    /// `prompts/judgment.turns.v1.txt`, for a model that was trained to be told the gold answer, shown a step at a time, and to answer
    /// each with `+` or `-`. The steps before, which were chosen, are taken as answered with `+`.
    #[serde(rename = "turns.v1")]
    TurnsV1,
}

impl JudgmentPrompt {
    fn choice(self) -> Choice {
        Choice::new(match self {
            Self::GoldV1 => include_str!("../prompts/judgment.gold.v1.txt"),
            Self::BlindV1 => include_str!("../prompts/judgment.blind.v1.txt"),
            Self::TurnsV1 => include_str!("../prompts/judgment.turns.v1.txt"),
        })
    }

    /// The conversation from which a model learns to be asked so about steps of which it is known whether each is right; nothing where
    /// steps are no turns of their own.
    pub fn lesson(self, question: &str, answer: &str, steps: &[(&str, bool)]) -> Option<Vec<Message>> {
        let values = [("question", question), ("answer", answer)];
        (self == Self::TurnsV1).then(|| lesson(self.choice(), &values, steps))
    }
}

/// Scores a candidate by a judge's verdict.
pub struct BinaryJudgment {
    model: Arc<dyn LanguageModel>,
    prompt: JudgmentPrompt,
    choice: Choice,
    max_tokens: u32,
}

impl BinaryJudgment {
    /// A scorer that asks `model` in the words of `prompt`, for a verdict of at most `max_tokens` tokens.
    pub fn new(model: Arc<dyn LanguageModel>, prompt: JudgmentPrompt, max_tokens: u32) -> Result<Self, GenerateError> {
        if model.capabilities().generate {
            return Ok(Self { model, prompt, choice: prompt.choice(), max_tokens });
        }
        let model = model.identity().name.clone();
        Err(GenerateError::Incapable { model, role: "judge", capability: "generate" })
    }

    async fn judge(&self, problem: &Problem, candidate: &Judged) -> Result<Score, GenerateError> {
        let values = [
            ("question", problem.question.as_str()),
            ("answer", &problem.answer),
            ("prefix", &candidate.prefix),
            ("step", candidate.body()),
        ];
        let messages = match self.prompt {
            JudgmentPrompt::TurnsV1 => asked_so_far(self.choice, &values[..2], &candidate.prefix, candidate.body()),
            JudgmentPrompt::GoldV1 | JudgmentPrompt::BlindV1 => {
                vec![Message::user(self.choice.instruction.fill(&values))]
            }
        };
        let request = GenerateRequest {
            prompt: Prompt { messages, opening: Opening::Plain, prefix: String::new() },
            stop: Vec::new(),
            max_tokens: self.max_tokens,
            // The likeliest verdict, so that the same candidate gets the same score.
            sampling: Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 },
            seed: Seed::root(0).named("judgment").named(&problem.id),
        };
        let reply = self.model.generate(request).await;
        let reply = reply.map_err(|source| GenerateError::Scorer { scorer: self.name().to_owned(), source })?;
        let usage = Usage { scored_tokens: reply.usage.generated_tokens, ..Usage::default() };
        Ok(Score { value: self.verdict(&reply), usage })
    }

    fn verdict(&self, reply: &Generation) -> Option<f64> {
        let said = match reply.text.rsplit_once(THINK_CLOSE) {
            Some((_, said)) => said,
            None => &reply.text,
        };
        let last = said.trim_end().lines().next_back()?.trim();
        match &reply.finish {
            Finish::Eos if last == self.choice.good => Some(1.0),
            Finish::Eos if last == self.choice.bad => Some(0.0),
            Finish::Eos | Finish::Length | Finish::Delimiter(_) => None,
        }
    }
}

impl Scorer for BinaryJudgment {
    fn name(&self) -> &'static str {
        "judgment"
    }

    fn scope(&self) -> Scope {
        Scope::Each
    }

    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        Box::pin(side_by_side(candidates.iter().map(|candidate| self.judge(problem, candidate))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cord_testkit::{Call, Scripted};
    use futures::executor::block_on;

    use super::*;

    fn score(reply: &'static str, prompt: JudgmentPrompt, max_tokens: u32) -> (Score, GenerateRequest) {
        let model = Arc::new(Scripted::new("m").writing(move |_| reply.to_owned()));
        let scorer = BinaryJudgment::new(Arc::clone(&model) as _, prompt, max_tokens).unwrap();
        let problem = Problem { id: "p".into(), question: "q".into(), answer: "42".into(), metadata: BTreeMap::new() };
        let scores = block_on(scorer.score(&problem, &[Judged::new("before\n", "now\n</think>")])).unwrap();
        let Call::Generate(request) = model.calls().remove(0) else { panic!("expected a request for a verdict") };
        (scores[0], request)
    }

    #[test]
    fn a_verdict_is_read_strictly() {
        let check = |reply: &'static str, expected: Option<f64>| {
            let (score, _) = score(reply, JudgmentPrompt::GoldV1, 100);
            assert_eq!(score.value, expected, "{reply:?}");
            assert_eq!(score.usage, Usage { scored_tokens: reply.len() as u64 + 1, ..Usage::default() });
        };
        check("Verdict: right", Some(1.0));
        check("The sum is off.\n\nVerdict: wrong\n", Some(0.0));
        check("hm</think>\nVerdict: right", Some(1.0));
        check("  Verdict: right  ", Some(1.0));
        for reply in [
            "",
            "right",
            "Verdict: Right",
            "Verdict: right.",
            "**Verdict: right**",
            "Verdict: right or wrong",
            "Verdict: right\nor so",
            "The verdict: right",
            "Verdict: right</think>",
            "I am sorry, the server is busy",
        ] {
            check(reply, None);
        }
    }

    #[test]
    fn a_verdict_that_was_cut_off_is_none() {
        let reply = "Verdict: right";
        assert_eq!(score(reply, JudgmentPrompt::GoldV1, 15).0.value, Some(1.0));
        assert_eq!(score(reply, JudgmentPrompt::GoldV1, 14).0.value, None);
    }

    #[test]
    fn a_blind_judge_is_not_told_the_answer() {
        let content = |prompt| score("", prompt, 9).1.prompt.messages[0].content.clone();
        assert!(content(JudgmentPrompt::GoldV1).contains("Correct final answer:\n42\n"));
        assert!(!content(JudgmentPrompt::BlindV1).contains("42"));
        let (_, request) = score("", JudgmentPrompt::BlindV1, 9);
        assert_eq!(
            (request.sampling.temperature, request.max_tokens, request.prompt.opening),
            (0.0, 9, Opening::Plain)
        );
        for part in ["Problem:\nq\n", "Reasoning so far:\nbefore\n", "Next step:\nnow\n"] {
            assert!(request.prompt.messages[0].content.contains(part), "{part}");
        }
    }

    #[test]
    fn a_judge_that_reads_step_by_step_is_told_the_answer_first() {
        let (score, request) = score("+", JudgmentPrompt::TurnsV1, 9);
        assert_eq!(score.value, Some(1.0));
        let said: Vec<&str> = request.prompt.messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(said, ["q 42. before", "+", "now"]);
        let lesson = JudgmentPrompt::TurnsV1.lesson("q", "42", &[("before\n", true), ("now\n", false)]).unwrap();
        let said: Vec<&str> = lesson.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(said, ["q 42. before", "+", "now", "-"]);
        assert_eq!(JudgmentPrompt::GoldV1.lesson("q", "42", &[("now", true)]), None);
    }

    #[test]
    fn a_judge_must_be_able_to_write() {
        let refused = BinaryJudgment::new(Arc::new(Scripted::new("m")), JudgmentPrompt::GoldV1, 9);
        insta::assert_snapshot!(refused.err().unwrap(), @"expected a model that can generate in the role of judge, got `m`, which can't");
    }
}
