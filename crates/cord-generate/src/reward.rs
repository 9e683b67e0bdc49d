//! A process reward model: how likely a model finds it that a step is right.
//!
//! The model is asked about the problem, the reasoning so far and the step, and its probability of the good reply is
//! weighed against that of the bad one: `p(good) / (p(good) + p(bad))`, in [0, 1]. Any model that gives log-probabilities
//! can be asked so; the wording is an instruction with a version.
//!
//! A reward model with a head of its own instead of words (Qwen2.5-Math-PRM) is asked for the probabilities of its labels, `right`
//! and `wrong`, which stand for continuations, behind the mark after the last step. Whole responses are judged by their last one.

use std::sync::Arc;

use cord_core::{BoxFuture, LanguageModel, Message, Opening, Problem, Prompt, ScoreRequest, TokenLogprob, Usage};
use futures::future::join;
use serde::{Deserialize, Serialize};

use crate::instruction::Choice;
use crate::scorer::side_by_side;
use crate::turns::{asked_so_far, lesson, steps};
use crate::{GenerateError, Judged, Scope, Score, Scorer};

/// A version of the question to a process reward model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RewardPrompt {
    /// `prompts/process-reward.yes-no.v1.txt`, for any instructed model: is the step right, `Yes` or `No`?
    #[default]
    #[serde(rename = "yes-no.v1")]
    YesNoV1,
    /// `prompts/process-reward.plus-minus.v1.txt`, for a model that was trained to write `+` or `-` after a step.
    #[serde(rename = "plus-minus.v1")]
    PlusMinusV1,
    /// `prompts/process-reward.turns.v1.txt`, for a model that was trained to be shown a step at a time and to answer each with `+` or `-`,
    /// as RLHFlow's are: each step is a turn of the user's. The steps before, which were chosen, are taken as answered with `+`.
    #[serde(rename = "turns.v1")]
    TurnsV1,
    /// `prompts/process-reward.qwen-prm.v1.txt`, for Qwen2.5-Math-PRM and what is trained like it: the steps are the assistant's turn, with a
    /// mark after each, and a head says of a mark whether its step is right.
    #[serde(rename = "qwen-prm.v1")]
    QwenPrmV1,
}

impl RewardPrompt {
    fn choice(self) -> Choice {
        Choice::new(match self {
            Self::YesNoV1 => include_str!("../prompts/process-reward.yes-no.v1.txt"),
            Self::PlusMinusV1 => include_str!("../prompts/process-reward.plus-minus.v1.txt"),
            Self::TurnsV1 => include_str!("../prompts/process-reward.turns.v1.txt"),
            Self::QwenPrmV1 => include_str!("../prompts/process-reward.qwen-prm.v1.txt"),
        })
    }
}

impl RewardPrompt {
    /// The conversation from which a model learns to be asked so: about steps of which it is known whether each is right. Those of
    /// one question after the other are learnt together where they are turns of their own, else the last one alone; nothing
    /// where the model has a head in place of words, or there are no steps.
    pub fn lesson(self, question: &str, steps: &[(&str, bool)]) -> Option<Vec<Message>> {
        let choice = self.choice();
        let reply = |right: bool| Message::assistant(if right { choice.good } else { choice.bad });
        let ((last, right), before) = steps.split_last()?;
        match self {
            Self::YesNoV1 | Self::PlusMinusV1 => {
                let prefix: String = before.iter().map(|(step, _)| *step).collect();
                let values = [("question", question), ("prefix", &prefix), ("step", last)];
                Some(vec![Message::user(choice.instruction.fill(&values)), reply(*right)])
            }
            Self::TurnsV1 => Some(lesson(choice, &[("question", question)], steps)),
            Self::QwenPrmV1 => None,
        }
    }
}

/// Scores a candidate by a process reward model.
pub struct ProcessReward {
    model: Arc<dyn LanguageModel>,
    prompt: RewardPrompt,
    choice: Choice,
}

impl ProcessReward {
    /// A scorer that asks `model` in the words of `prompt`.
    pub fn new(model: Arc<dyn LanguageModel>, prompt: RewardPrompt) -> Result<Self, GenerateError> {
        if model.capabilities().loglikelihood {
            return Ok(Self { model, prompt, choice: prompt.choice() });
        }
        let model = model.identity().name.clone();
        Err(GenerateError::Incapable { model, role: "process reward model", capability: "give log-probabilities" })
    }

    /// What the model is asked about a step and the reasoning before it.
    fn asked(&self, question: &str, prefix: &str, step: &str) -> Prompt {
        let plain = |messages, prefix| Prompt { messages, opening: Opening::Plain, prefix };
        match self.prompt {
            RewardPrompt::YesNoV1 | RewardPrompt::PlusMinusV1 => {
                let values = [("question", question), ("prefix", prefix), ("step", step)];
                plain(vec![Message::user(self.choice.instruction.fill(&values))], String::new())
            }
            RewardPrompt::TurnsV1 => {
                plain(asked_so_far(self.choice, &[("question", question)], prefix, step), String::new())
            }
            RewardPrompt::QwenPrmV1 => {
                let parts: Vec<&str> = self.choice.instruction.text().split("\n---\n").map(str::trim_end).collect();
                let [system, user, mark] = parts[..] else {
                    unreachable!("the file has a system's turn, a user's and a mark")
                };
                let user = user.replace("{question}", question);
                let steps = steps(prefix).into_iter().chain([step.trim()]);
                let said = steps.flat_map(|step| [step, mark]).collect();
                plain(vec![Message::system(system), Message::user(user)], said)
            }
        }
    }

    async fn judge(&self, problem: &Problem, candidate: &Judged) -> Result<Score, GenerateError> {
        let prompt = self.asked(&problem.question, &candidate.prefix, candidate.body());
        let ask = |reply: &str| {
            self.model.loglikelihood(ScoreRequest { prompt: prompt.clone(), continuation: reply.to_owned() })
        };
        let fault = |source| GenerateError::Scorer { scorer: self.name().to_owned(), source };
        if self.prompt == RewardPrompt::QwenPrmV1 {
            // The labels are all that a head knows: one tells the other.
            let good = ask(self.choice.good).await.map_err(fault)?;
            let usage = Usage { scored_tokens: good.len() as u64, ..Usage::default() };
            return Ok(Score { value: Some(self.sum(&good)?.exp()), usage });
        }
        let (good, bad) = join(ask(self.choice.good), ask(self.choice.bad)).await;
        let (good, bad) = (good.map_err(fault)?, bad.map_err(fault)?);
        let usage = Usage { scored_tokens: (good.len() + bad.len()) as u64, ..Usage::default() };
        let (good, bad) = (self.sum(&good)?, self.sum(&bad)?);
        Ok(Score { value: Some(1.0 / (1.0 + (bad - good).exp())), usage })
    }

    fn sum(&self, logprobs: &[TokenLogprob]) -> Result<f64, GenerateError> {
        let sum = logprobs.iter().map(|token| token.logprob).sum::<f64>();
        if sum.is_finite() && !logprobs.is_empty() {
            return Ok(sum);
        }
        let expected = "finite log-probabilities of at most 0";
        Err(GenerateError::NotFinite { scorer: self.name().to_owned(), expected, given: sum.to_string() })
    }
}

impl Scorer for ProcessReward {
    fn name(&self) -> &'static str {
        "process-reward"
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

    fn problem() -> Problem {
        Problem { id: "p".into(), question: "How {step}?".into(), answer: "42".into(), metadata: BTreeMap::new() }
    }

    fn score(model: &Arc<Scripted>, prompt: RewardPrompt) -> Result<Score, String> {
        let scorer = ProcessReward::new(Arc::clone(model) as _, prompt).map_err(|error| error.reason())?;
        let scores = block_on(scorer.score(&problem(), &[Judged::new("before\n", "now\n</think>")]));
        scores.map(|scores| scores[0]).map_err(|error| error.reason())
    }

    #[test]
    fn the_good_reply_is_weighed_against_the_bad_one() {
        let check = |prompt: RewardPrompt, good: &'static str, lead: f64, expected: f64, tokens: u64| {
            let model = Scripted::new("m").believing(move |request| {
                let each = if request.continuation == good { -1.0 + lead } else { -1.0 };
                each / request.continuation.len() as f64
            });
            let model = Arc::new(model);
            let score = score(&model, prompt).unwrap();
            assert!((score.value.unwrap() - expected).abs() < 1e-12, "{prompt:?} {lead}: {score:?}");
            assert_eq!(score.usage.scored_tokens, tokens);
            assert_eq!(model.calls().len(), 2);
        };
        check(RewardPrompt::YesNoV1, "Yes", 0.0, 0.5, 5);
        check(RewardPrompt::YesNoV1, "Yes", 0.5, 1.0 / (1.0 + (-0.5f64).exp()), 5);
        check(RewardPrompt::YesNoV1, "No", 0.5, 1.0 / (1.0 + 0.5f64.exp()), 5);
        check(RewardPrompt::PlusMinusV1, "+", 0.5, 1.0 / (1.0 + (-0.5f64).exp()), 2);
        check(RewardPrompt::PlusMinusV1, "-", -1e9, 1.0, 2);
    }

    #[test]
    fn the_model_is_asked_about_the_step_and_not_about_the_tag() {
        let model = Arc::new(Scripted::new("m").believing(|_| -1.0));
        score(&model, RewardPrompt::YesNoV1).unwrap();
        let Call::Score(request) = &model.calls()[0] else { panic!("expected a request for log-probabilities") };
        assert_eq!((request.prompt.opening, request.prompt.prefix.as_str()), (Opening::Plain, ""));
        let content = &request.prompt.messages[0].content;
        let parts = ["Problem:\nHow {step}?\n", "Reasoning so far:\nbefore\n", "Next step:\nnow\n"];
        assert!(parts.iter().all(|part| content.contains(part)) && !content.contains("</think>"), "{content}");
        score(&model, RewardPrompt::PlusMinusV1).unwrap();
        let Call::Score(request) = &model.calls()[2] else { panic!("expected a request for log-probabilities") };
        assert_eq!(request.prompt.messages[0].content, "How {step}? before\nnow\n");
    }

    #[test]
    fn steps_are_turns_of_which_those_before_were_right() {
        let model = Arc::new(Scripted::new("m").believing(|_| -1.0));
        let scorer = ProcessReward::new(model, RewardPrompt::TurnsV1).unwrap();
        let told = |prefix: &str, step: &str| {
            let prompt = scorer.asked("How {step}?", prefix, step);
            assert_eq!((prompt.opening, prompt.prefix.as_str()), (Opening::Plain, ""));
            prompt.messages.into_iter().map(|message| message.content).collect::<Vec<_>>()
        };
        assert_eq!(told("", "### Step 1. a\n"), ["How {step}? ### Step 1. a"]);
        let before = "### Step 1. a\n### Step 2. b\n";
        assert_eq!(
            told(before, "### Step 3. c\n"),
            ["How {step}? ### Step 1. a", "+", "### Step 2. b", "+", "### Step 3. c"]
        );
        // The end of the reasoning is asked about as its last step is.
        assert_eq!(told(before, "\n"), ["How {step}? ### Step 1. a", "+", "### Step 2. b"]);
        assert_eq!(told("", ""), ["How {step}? "]);

        let steps = [("### Step 1. a\n", true), ("### Step 2. b\n", false)];
        let lesson = |prompt: RewardPrompt| {
            prompt.lesson("q", &steps).map(|all| all.into_iter().map(|one| one.content).collect::<Vec<_>>())
        };
        assert_eq!(lesson(RewardPrompt::TurnsV1).unwrap(), ["q ### Step 1. a", "+", "### Step 2. b", "-"]);
        assert_eq!(lesson(RewardPrompt::PlusMinusV1).unwrap(), ["q ### Step 1. a\n### Step 2. b\n", "-"]);
        assert_eq!((lesson(RewardPrompt::QwenPrmV1), RewardPrompt::TurnsV1.lesson("q", &[])), (None, None));
    }

    #[test]
    fn a_head_is_asked_behind_the_mark_of_the_last_step() {
        let prefix = "### Step 1. a\nb\n### Step 2. see ### Step 3\n\nc\n\n";
        let model = Arc::new(Scripted::new("m").believing(|_| -0.1));
        let scorer = ProcessReward::new(Arc::clone(&model) as _, RewardPrompt::QwenPrmV1).unwrap();
        let prompt = scorer.asked("How {step}?", prefix, "\nd\n");
        let system = "Please reason step by step, and put your final answer within \\boxed{}.";
        assert_eq!(prompt.messages, [Message::system(system), Message::user("How {step}?")]);
        let steps = "### Step 1. a\nb<extra_0>### Step 2. see ### Step 3<extra_0>c<extra_0>d<extra_0>";
        assert_eq!((prompt.prefix.as_str(), prompt.opening), (steps, Opening::Plain));
        assert_eq!(scorer.asked("q", "", "one").prefix, "one<extra_0>");
        assert_eq!([scorer.choice.bad, scorer.choice.good], cord_core::REWARD_LABELS);
        let score = score(&model, RewardPrompt::QwenPrmV1).unwrap();
        assert!((score.value.unwrap() - (-0.5f64).exp()).abs() < 1e-12, "{score:?}");
        assert_eq!((score.usage.scored_tokens, model.calls().len()), (5, 1));
    }

    #[test]
    fn what_is_no_probability_is_an_error() {
        let of = |belief: f64| score(&Arc::new(Scripted::new("m").believing(move |_| belief)), RewardPrompt::YesNoV1);
        insta::assert_snapshot!(of(f64::NAN).unwrap_err(), @"scorer `process-reward`: expected finite log-probabilities of at most 0, got NaN");
        let mute = score(&Arc::new(Scripted::new("m")), RewardPrompt::YesNoV1);
        insta::assert_snapshot!(mute.unwrap_err(), @"expected a model that can give log-probabilities in the role of process reward model, got `m`, which can't");
    }
}
