//! Predictive perplexity, the paper's criterion, and its gain over the step before.
//!
//! `S(τ_<t ⊕ s) = exp( (1/|A|) Σ_i log p_M(A_i | x, τ_<t ⊕ s, A_<i) )`: the geometric mean of the gold answer's token
//! probabilities under the meta-prover M after the problem x, the reasoning τ_<t and the candidate s. It
//! lies in [0, 1]; higher is better. Despite its name it is the inverse of a perplexity.

use std::collections::BTreeMap;
use std::sync::Arc;

use cord_core::{BoxFuture, LanguageModel, Problem, ScoreRequest, Usage};
use futures::future::join_all;

use crate::likelihood::Prover;
use crate::scorer::side_by_side;
use crate::{AnswerReading, GenerateError, Judged, PromptTemplate, Scope, Score, Scorer};

/// Scores a candidate by how predictable it makes the gold answer.
pub struct PredictivePerplexity(Prover);

impl PredictivePerplexity {
    /// A scorer that asks `prover`, under the user's turn that `prompt` makes.
    pub fn new(
        prover: Arc<dyn LanguageModel>,
        reading: impl Into<AnswerReading>,
        prompt: PromptTemplate,
    ) -> Result<Self, GenerateError> {
        Ok(Self(Prover::new(prover, reading.into(), prompt)?))
    }

    /// The request about the gold answer that a candidate's score rests on. The cue closes the reasoning, so a candidate
    /// that closes it and one that stops short of closing it are asked about alike.
    pub fn request(&self, problem: &Problem, candidate: &Judged) -> ScoreRequest {
        self.0.request(problem, &candidate.reasoning(), &problem.answer)
    }

    async fn judge(&self, problem: &Problem, candidate: &Judged) -> Result<Score, GenerateError> {
        let found = self.0.likelihood(self.name(), problem, &candidate.reasoning()).await?;
        Ok(Score { value: Some(self.0.reading.value(found.log)), usage: found.usage })
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
        Box::pin(side_by_side(candidates.iter().map(|candidate| self.judge(problem, candidate))))
    }
}

/// Scores a candidate by how much likelier it makes the gold answer than the reasoning before it did: the difference of
/// the two normalised log-likelihoods, in nats. Beyond the paper.
///
/// It rewards the step and not the state: among the beams' children a good step after a poor prefix can stand above
/// a fair step after a good one. Siblings are judged together, so that each prefix is asked about once.
pub struct AnswerGain(Prover);

impl AnswerGain {
    /// A scorer that asks `prover`, under the user's turn that `prompt` makes.
    pub fn new(
        prover: Arc<dyn LanguageModel>,
        reading: impl Into<AnswerReading>,
        prompt: PromptTemplate,
    ) -> Result<Self, GenerateError> {
        Ok(Self(Prover::new(prover, reading.into(), prompt)?))
    }
}

impl Scorer for AnswerGain {
    fn name(&self) -> &'static str {
        "answer-gain"
    }

    fn scope(&self) -> Scope {
        Scope::Siblings
    }

    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        Box::pin(async move {
            let mut prefixes: Vec<&str> = candidates.iter().map(|candidate| candidate.prefix.as_str()).collect();
            prefixes.sort_unstable();
            prefixes.dedup();
            let reasonings: Vec<String> = candidates.iter().map(Judged::reasoning).collect();
            let texts = prefixes.iter().copied().chain(reasonings.iter().map(String::as_str));
            let found = join_all(texts.map(|text| self.0.likelihood(self.name(), problem, text))).await;
            let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
            let (before, after) = found.split_at(prefixes.len());
            let mut before: BTreeMap<&str, _> = prefixes.into_iter().zip(before.iter().copied()).collect();
            let scores = candidates.iter().zip(after).map(|(candidate, after)| {
                let prefix = before.get_mut(candidate.prefix.as_str()).expect("every prefix was asked about");
                // The first candidate of a prefix pays for it.
                let mut usage = std::mem::take(&mut prefix.usage);
                usage += after.usage;
                Score { value: Some(after.log - prefix.log), usage }
            });
            Ok(scores.collect())
        })
    }
}

/// How several provers' opinions become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// The mean of their log-likelihoods: the geometric mean of their scores.
    #[default]
    MeanLog,
    /// The least: a candidate is as good as the most doubtful prover finds it.
    Min,
    /// How much they agree: 1 less the span between the highest and the lowest of their scores as probabilities, in [0, 1].
    /// By itself it likes a step that convinces nobody as much as one that convinces all; it is meant for mixtures.
    Agreement,
}

/// Scores a candidate by the opinions of several provers.
pub struct ProverEnsemble {
    provers: Vec<Prover>,
    combine: Combine,
}

impl ProverEnsemble {
    /// A scorer that asks all of `provers`, at least one, alike.
    pub fn new(
        provers: Vec<Arc<dyn LanguageModel>>,
        combine: Combine,
        reading: &AnswerReading,
        prompt: &PromptTemplate,
    ) -> Result<Self, GenerateError> {
        let provers = provers.into_iter().map(|model| Prover::new(model, reading.clone(), prompt.clone()));
        let provers = provers.collect::<Result<Vec<_>, _>>()?;
        if provers.is_empty() {
            return Err(GenerateError::NoSignals { scorer: "ensemble", expected: "at least one prover" });
        }
        Ok(Self { provers, combine })
    }

    async fn judge(&self, problem: &Problem, candidate: &Judged) -> Result<Score, GenerateError> {
        let reasoning = candidate.reasoning();
        let found = join_all(self.provers.iter().map(|one| one.likelihood(self.name(), problem, &reasoning))).await;
        let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut usage = Usage::default();
        for one in &found {
            usage += one.usage;
        }
        let least = found.iter().map(|one| one.log).fold(f64::INFINITY, f64::min);
        let reading = &self.provers[0].reading;
        let value = match self.combine {
            Combine::MeanLog => reading.value(found.iter().map(|one| one.log).sum::<f64>() / found.len() as f64),
            Combine::Min => reading.value(least),
            Combine::Agreement => {
                let most = found.iter().map(|one| one.log).fold(f64::NEG_INFINITY, f64::max);
                1.0 - (most.exp() - least.exp())
            }
        };
        Ok(Score { value: Some(value), usage })
    }
}

impl Scorer for ProverEnsemble {
    fn name(&self) -> &'static str {
        "ensemble"
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
    use cord_core::{ModelError, Opening};
    use cord_testkit::{Call, Scripted};
    use futures::executor::block_on;
    use serde_json::json;

    use super::*;
    use crate::Normalise;

    fn problem(answer: &str) -> Problem {
        Problem { id: "p".into(), question: "q".into(), answer: answer.into(), metadata: BTreeMap::new() }
    }

    fn prompt() -> PromptTemplate {
        PromptTemplate::new("{question}?").unwrap()
    }

    fn scorer(prover: Scripted) -> PredictivePerplexity {
        PredictivePerplexity::new(Arc::new(prover), AnswerReading::default(), prompt()).unwrap()
    }

    fn believing(logprob: f64) -> Scripted {
        Scripted::new("m").believing(move |_| logprob)
    }

    fn values(scorer: &dyn Scorer, problem: &Problem, candidates: &[Judged]) -> Vec<f64> {
        let scores = block_on(scorer.score(problem, candidates)).unwrap();
        scores.into_iter().map(|score| score.value.unwrap()).collect()
    }

    #[test]
    fn the_prover_reads_the_reasoning_closed_once() {
        let scorer = scorer(believing(-1.0));
        let check = |prefix: &str, step: &str, expected: &str| {
            let request = scorer.request(&problem("7, 9"), &Judged::new(prefix, step));
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
            let scores =
                block_on(scorer(believing(logprob)).score(&problem(answer), &[Judged::new("", "a\n")])).unwrap();
            assert_eq!(scores[0].usage.scored_tokens, answer.len() as u64);
            scores[0].value.unwrap()
        };
        assert!((score(0.25f64.ln(), "42") - 0.25).abs() < 1e-12);
        assert!((score(0.25f64.ln(), "424242") - 0.25).abs() < 1e-12);
        assert_eq!(score(0.0, "42"), 1.0);
        assert_eq!(score(1e-9, "42"), 1.0);
        assert_eq!(score(-1e6, "42"), 0.0);
    }

    #[test]
    fn an_answer_is_normalised_as_the_recipe_says() {
        let check = |normalise: Normalise, cap: Option<u32>, answer: &str, expected: f64| {
            let reading = AnswerReading { normalise, cap, ..AnswerReading::default() };
            let scorer = PredictivePerplexity::new(Arc::new(believing(-0.5)), reading, prompt()).unwrap();
            let value = values(&scorer, &problem(answer), &[Judged::new("", "a")])[0];
            assert!((value - expected).abs() < 1e-12, "{normalise:?} {cap:?} {answer}: {value}");
        };
        check(Normalise::GeometricMean, None, "four", (-0.5f64).exp());
        check(Normalise::GeometricMean, Some(2), "four", (-0.5f64).exp());
        check(Normalise::Sum, None, "four", -2.0);
        check(Normalise::Sum, Some(3), "four", -1.5);
        check(Normalise::Sum, Some(9), "four", -2.0);
        // A long answer's sum stays apart from another's, where their probabilities would both be 0.
        check(Normalise::Sum, None, &"x".repeat(4000), -2000.0);
    }

    #[test]
    fn a_cap_leaves_out_what_an_answer_says_of_itself() {
        // Scripted models have one belief for all tokens; this one's tokens get likelier as the answer goes on.
        struct Fluent(Scripted);
        impl LanguageModel for Fluent {
            fn identity(&self) -> &cord_core::ModelId {
                self.0.identity()
            }
            fn capabilities(&self) -> cord_core::Capabilities {
                self.0.capabilities()
            }
            fn generate(
                &self,
                request: cord_core::GenerateRequest,
            ) -> BoxFuture<'_, Result<cord_core::Generation, ModelError>> {
                self.0.generate(request)
            }
            fn loglikelihood(
                &self,
                request: ScoreRequest,
            ) -> BoxFuture<'_, Result<Vec<cord_core::TokenLogprob>, ModelError>> {
                let tokens = request.continuation.bytes().enumerate();
                let tokens = tokens.map(|(n, byte)| cord_core::TokenLogprob {
                    token: u32::from(byte),
                    logprob: -1.0 / (1.0 + n as f64),
                });
                let tokens = tokens.collect();
                Box::pin(async move { Ok(tokens) })
            }
        }
        let value = |cap| {
            let reading = AnswerReading { cap, ..AnswerReading::default() };
            let scorer = PredictivePerplexity::new(Arc::new(Fluent(believing(0.0))), reading, prompt()).unwrap();
            values(&scorer, &problem("abcd"), &[Judged::new("", "a")])[0].ln()
        };
        assert!((value(None) - -(1.0 + 0.5 + 1.0 / 3.0 + 0.25) / 4.0).abs() < 1e-12);
        assert!((value(Some(2)) - -(1.0 + 0.5) / 2.0).abs() < 1e-12);
        assert!((value(Some(1)) - -1.0).abs() < 1e-12);
    }

    #[test]
    fn the_likeliest_form_of_a_gold_answer_counts() {
        let prover = Scripted::new("m").believing(|request| match request.continuation.as_str() {
            "1/2" => -3.0,
            "0.5" => -1.0,
            _ => -2.0,
        });
        let reading = AnswerReading { forms: Some("forms".into()), ..AnswerReading::default() };
        let scorer = PredictivePerplexity::new(Arc::new(prover), reading, prompt()).unwrap();
        let score = |forms: Option<serde_json::Value>| {
            let mut problem = problem("1/2");
            problem.metadata.extend(forms.map(|forms| ("forms".to_owned(), forms)));
            let scores = block_on(scorer.score(&problem, &[Judged::new("", "a")])).map_err(|error| error.reason())?;
            Ok::<_, String>((scores[0].value.unwrap().ln().round(), scores[0].usage.scored_tokens))
        };
        assert_eq!(score(None), Ok((-3.0, 3)));
        assert_eq!(score(Some(json!("half"))), Ok((-2.0, 7)));
        assert_eq!(score(Some(json!(["half", "0.5", "1/2", "half"]))), Ok((-1.0, 10)));
        assert_eq!(score(Some(json!([]))), Ok((-3.0, 3)));
        insta::assert_snapshot!(score(Some(json!(["half", 0.5]))).unwrap_err(), @r#"scorer `predictive-perplexity`: expected a text or a list of texts as the problem's `forms`, got `["half",0.5]`"#);
        insta::assert_snapshot!(score(Some(json!(""))).unwrap_err(), @"scorer `predictive-perplexity`: expected a gold answer of at least one character, got ``");
    }

    #[test]
    fn a_gain_is_what_the_step_adds_and_a_prefix_is_asked_about_once() {
        let prover = Scripted::new("m").believing(|request| {
            let reasoning = request.prompt.prefix.split_once("</think>").unwrap().0;
            -4.0 + reasoning.matches('a').count() as f64 - 0.5 * reasoning.matches('b').count() as f64
        });
        let prover = Arc::new(prover);
        let model: Arc<dyn LanguageModel> = prover.clone();
        let scorer = AnswerGain::new(model, AnswerReading::default(), prompt()).unwrap();
        let candidates =
            [Judged::new("a", "a"), Judged::new("a", "b"), Judged::new("", "b</think>"), Judged::new("a", "")];
        let scores = block_on(scorer.score(&problem("42"), &candidates)).unwrap();
        let values: Vec<f64> = scores.iter().map(|score| score.value.unwrap()).collect();
        assert_eq!(values, [1.0, -0.5, -0.5, 0.0]);
        let costs: Vec<u64> = scores.iter().map(|score| score.usage.scored_tokens).collect();
        assert_eq!(costs, [4, 2, 4, 2], "the first candidate of a prefix pays for it");
        assert_eq!(prover.calls().len(), 6);
    }

    #[test]
    fn provers_are_combined_as_the_recipe_says() {
        let check = |combine: Combine, beliefs: &[f64], expected: f64| {
            let provers = beliefs.iter().map(|belief| Arc::new(believing(*belief)) as Arc<dyn LanguageModel>).collect();
            let scorer = ProverEnsemble::new(provers, combine, &AnswerReading::default(), &prompt()).unwrap();
            let scores = block_on(scorer.score(&problem("42"), &[Judged::new("", "a")])).unwrap();
            assert!((scores[0].value.unwrap() - expected).abs() < 1e-12, "{combine:?} {beliefs:?}: {scores:?}");
            assert_eq!(scores[0].usage.scored_tokens, 2 * beliefs.len() as u64);
        };
        check(Combine::MeanLog, &[-1.0, -3.0], (-2.0f64).exp());
        check(Combine::Min, &[-1.0, -3.0], (-3.0f64).exp());
        check(Combine::Agreement, &[-1.0, -3.0], 1.0 - ((-1.0f64).exp() - (-3.0f64).exp()));
        check(Combine::Agreement, &[-7.0, -7.0], 1.0);
        for combine in [Combine::MeanLog, Combine::Min] {
            check(combine, &[-1.5], (-1.5f64).exp());
        }
        let none = ProverEnsemble::new(Vec::new(), Combine::Min, &AnswerReading::default(), &prompt());
        insta::assert_snapshot!(none.err().unwrap(), @"scorer `ensemble`: expected at least one prover, got none");
    }

    #[test]
    fn what_is_no_probability_is_an_error() {
        let error = |prover: Scripted, answer: &str| {
            block_on(scorer(prover).score(&problem(answer), &[Judged::new("", "a\n")])).unwrap_err().reason()
        };
        insta::assert_snapshot!(error(believing(f64::NAN), "42"), @"scorer `predictive-perplexity`: expected finite log-probabilities of at most 0, got NaN at token 0 of 2");
        insta::assert_snapshot!(error(believing(f64::NEG_INFINITY), "42"), @"scorer `predictive-perplexity`: expected finite log-probabilities of at most 0, got -inf at token 0 of 2");
        insta::assert_snapshot!(error(believing(0.5), "4"), @"scorer `predictive-perplexity`: expected finite log-probabilities of at most 0, got 0.5 at token 0 of 1");
        insta::assert_snapshot!(error(believing(-1.0), ""), @"scorer `predictive-perplexity`: expected a gold answer of at least one character, got ``");
        let gone = |_: &Call| Some(ModelError::Gone { model: "m".into(), reason: "the server hung up".into() });
        insta::assert_snapshot!(error(believing(-1.0).failing(gone), "42"), @"scorer `predictive-perplexity` failed: `m` stopped answering: the server hung up");
    }

    #[test]
    fn a_prover_must_give_log_probabilities() {
        let mute = Arc::new(Scripted::new("m"));
        let refused = PredictivePerplexity::new(mute, AnswerReading::default(), PromptTemplate::default());
        insta::assert_snapshot!(refused.err().unwrap(), @"expected a model that can give log-probabilities in the role of meta-prover, got `m`, which can't");
    }
}
