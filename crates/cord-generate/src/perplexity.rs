//! Predictive perplexity, the paper's criterion.
//!
//! `S(τ_<t ⊕ s) = exp( (1/|A|) Σ_i log p_M(A_i | x, τ_<t ⊕ s, A_<i) )`: the geometric mean of the gold answer's token
//! probabilities under the meta-prover M after the problem x, the reasoning τ_<t and the candidate s. It
//! lies in [0, 1]; higher is better. Despite its name it is the inverse of a perplexity.

use std::sync::Arc;

use cord_core::{BoxFuture, LanguageModel, Opening, Problem, Prompt, ScoreRequest, TokenLogprob, Usage};
use futures::future::join_all;

use crate::{GenerateError, Judged, PromptTemplate, Scope, Score, Scorer};

/// The text between the reasoning so far and the gold answer, unless the recipe says otherwise: it closes the
/// reasoning block and opens the box. The paper leaves it open.
pub const DEFAULT_CUE: &str = "</think>\nThe final answer is \\boxed{";

/// Servers compute in f32 and may round a certain token's log-probability to just above 0.
const ROUNDING: f64 = 1e-6;

/// Scores a candidate by how predictable it makes the gold answer.
pub struct PredictivePerplexity {
    prover: Arc<dyn LanguageModel>,
    cue: String,
    prompt: PromptTemplate,
}

impl PredictivePerplexity {
    /// A scorer that asks `prover`, under the user's turn that `prompt` makes.
    pub fn new(
        prover: Arc<dyn LanguageModel>,
        cue: impl Into<String>,
        prompt: PromptTemplate,
    ) -> Result<Self, GenerateError> {
        if prover.capabilities().loglikelihood {
            return Ok(Self { prover, cue: cue.into(), prompt });
        }
        let model = prover.identity().name.clone();
        Err(GenerateError::Incapable { model, role: "meta-prover", capability: "give log-probabilities" })
    }

    /// The request whose answer is a candidate's score. The cue closes the reasoning, so a candidate that closes it
    /// and one that stops short of closing it are asked about alike.
    pub fn request(&self, problem: &Problem, candidate: &Judged) -> ScoreRequest {
        ScoreRequest {
            prompt: Prompt {
                messages: self.prompt.messages(problem),
                opening: Opening::Think,
                prefix: candidate.reasoning() + &self.cue,
            },
            continuation: problem.answer.clone(),
        }
    }

    fn value(&self, logprobs: &[TokenLogprob]) -> Result<f64, GenerateError> {
        let fault = |expected, given| {
            let scorer = self.name().to_owned();
            Err(GenerateError::NotFinite { scorer, expected, given })
        };
        if logprobs.is_empty() {
            return fault("a log-probability for each token of the gold answer", "none".to_owned());
        }
        let mut sum = 0.0;
        for (index, token) in logprobs.iter().enumerate() {
            if !token.logprob.is_finite() || token.logprob > ROUNDING {
                let given = format!("{} at token {index} of {}", token.logprob, logprobs.len());
                return fault("finite log-probabilities of at most 0", given);
            }
            sum += token.logprob.min(0.0);
        }
        Ok((sum / logprobs.len() as f64).exp())
    }

    async fn judge(&self, problem: &Problem, candidate: &Judged) -> Result<Score, GenerateError> {
        let logprobs = self.prover.loglikelihood(self.request(problem, candidate)).await;
        let logprobs = logprobs.map_err(|source| GenerateError::Scorer { scorer: self.name().to_owned(), source })?;
        let usage = Usage { scored_tokens: logprobs.len() as u64, ..Usage::default() };
        Ok(Score { value: self.value(&logprobs)?, usage })
    }
}

impl Scorer for PredictivePerplexity {
    fn name(&self) -> &'static str {
        "predictive-perplexity"
    }

    fn scope(&self) -> Scope {
        Scope::Each
    }

    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        Box::pin(async move {
            if problem.answer.is_empty() {
                let scorer = self.name().to_owned();
                return Err(GenerateError::NoGold { scorer, given: problem.answer.clone() });
            }
            // All replies are awaited, so that of several failures the first candidate's is always the one reported.
            let scores = join_all(candidates.iter().map(|candidate| self.judge(problem, candidate))).await;
            scores.into_iter().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cord_core::ModelError;
    use cord_testkit::{Call, Scripted};
    use futures::executor::block_on;

    use super::*;

    fn problem(answer: &str) -> Problem {
        Problem { id: "p".into(), question: "q".into(), answer: answer.into(), metadata: BTreeMap::new() }
    }

    fn candidate(prefix: &str, step: &str) -> Judged {
        Judged { prefix: prefix.into(), step: step.into() }
    }

    fn scorer(prover: Scripted) -> PredictivePerplexity {
        PredictivePerplexity::new(Arc::new(prover), DEFAULT_CUE, PromptTemplate::new("{question}?").unwrap()).unwrap()
    }

    #[test]
    fn the_prover_reads_the_reasoning_closed_once() {
        let scorer = scorer(Scripted::new("m").believing(|_| -1.0));
        let check = |prefix: &str, step: &str, expected: &str| {
            let request = scorer.request(&problem("7, 9"), &candidate(prefix, step));
            assert_eq!(request.prompt.prefix, expected);
            assert_eq!(request.prompt.messages[0].content, "q?");
            assert_eq!((request.prompt.opening, request.continuation.as_str()), (Opening::Think, "7, 9"));
        };
        check("a\n", "b\n", "a\nb\n</think>\nThe final answer is \\boxed{");
        check("a\n", "b\n</think>", "a\nb\n</think>\nThe final answer is \\boxed{");
        check("a\n", "</think>", "a\n</think>\nThe final answer is \\boxed{");
    }

    #[test]
    fn the_score_is_the_geometric_mean_of_the_tokens_probabilities() {
        let score = |logprob: f64, answer: &str| {
            let scorer = scorer(Scripted::new("m").believing(move |_| logprob));
            let scores = block_on(scorer.score(&problem(answer), &[candidate("", "a\n")])).unwrap();
            assert_eq!(scores[0].usage.scored_tokens, answer.len() as u64);
            scores[0].value
        };
        assert!((score(0.25f64.ln(), "42") - 0.25).abs() < 1e-12);
        assert!((score(0.25f64.ln(), "424242") - 0.25).abs() < 1e-12);
        assert_eq!(score(0.0, "42"), 1.0);
        assert_eq!(score(1e-9, "42"), 1.0);
        assert_eq!(score(-1e6, "42"), 0.0);
    }

    #[test]
    fn what_is_no_probability_is_an_error() {
        let error = |prover: Scripted, answer: &str| {
            block_on(scorer(prover).score(&problem(answer), &[candidate("", "a\n")])).unwrap_err().reason()
        };
        let believing = |logprob: f64| Scripted::new("m").believing(move |_| logprob);
        insta::assert_snapshot!(error(believing(f64::NAN), "42"), @"scorer `predictive-perplexity`: expected finite log-probabilities of at most 0, got NaN at token 0 of 2");
        insta::assert_snapshot!(error(believing(f64::NEG_INFINITY), "42"), @"scorer `predictive-perplexity`: expected finite log-probabilities of at most 0, got -inf at token 0 of 2");
        insta::assert_snapshot!(error(believing(0.5), "4"), @"scorer `predictive-perplexity`: expected finite log-probabilities of at most 0, got 0.5 at token 0 of 1");
        insta::assert_snapshot!(error(believing(-1.0), ""), @"scorer `predictive-perplexity`: expected a gold answer of at least one character, got ``");
        let gone = |_: &Call| Some(ModelError::Gone { model: "m".into(), reason: "the server hung up".into() });
        insta::assert_snapshot!(error(believing(-1.0).failing(gone), "42"), @"scorer `predictive-perplexity` failed: `m` stopped answering: the server hung up");
    }

    #[test]
    fn a_prover_must_give_log_probabilities() {
        let refused = PredictivePerplexity::new(Arc::new(Scripted::new("m")), DEFAULT_CUE, PromptTemplate::default());
        insta::assert_snapshot!(refused.err().unwrap(), @"expected a model that can give log-probabilities in the role of meta-prover, got `m`, which can't");
    }
}
