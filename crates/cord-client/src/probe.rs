//! What a server must show before it is believed.
//!
//! Nobody knows what the right numbers are, so the probe holds the server's answers against each other: its tokenizer
//! against ours, a drawn token's log-probability against the same token's scored one, one long question against several short
//! ones, the most likely tokens' sum against 1, each way to end a text against the others.

use std::sync::Arc;

use cord_core::{Digest, Message, Opening, Prompt, Sampling};
use cord_text::Renderer;

use crate::dialect::{Draw, Drawn, Ending, ScoreForm, Tokenized};
use crate::dispatch::{Caller, Dispatch, Purpose};
use crate::served::{DrawnLogprobs, must_be_raw, read};
use crate::{ClientError, Dialect, ServedIdentity};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Findings {
    /// How continuations are scored, if they can be.
    pub(crate) score: Option<ScoreForm>,
    /// What drawn tokens' log-probabilities are.
    pub(crate) drawn: DrawnLogprobs,
}

/// Tokens that the known text is drawn to.
const LENGTH: u32 = 6;
/// Most likely tokens whose probabilities are summed.
const TOP: u32 = 20;
/// How far two answers to one question may be apart, in nats: batches and cached prefixes change the rounding. Reduced
/// precision moves a value by hundredths at most, a wrong one (shifted, tempered, masked) by tenths and more.
const TOLERANCE: f64 = 0.1;
/// A temperature at which a tempered log-probability is far from the model's own.
const HOT: f64 = 2.0;
/// Draws at that temperature: a likely token shows no difference.
const HOT_DRAWS: u32 = 4;
/// Prose, letters, digits, spaces, line breaks, LaTeX, an accent, another script, a character outside the basic plane.
const SAMPLES: [&str; 4] = [
    "Let us begin by thinking about the problem.\n\nSo the answer, using the rule above, is something like forty-two.",
    "Step 3: 12 × 7 = 84, so\n\n  x^2 + 17x − 1000 = 0.\n",
    "\\boxed{\\frac{1}{2}} naïve 数学 🧮\t\tend",
    "    if x:\r\n        return \"don't\"  # 3.14159",
];
/// The mark after a step in Qwen2.5-Math-PRM's training data.
const MARK: &str = "<extra_0>";
/// Beginnings of a turn, tried until one is continued by at least two tokens.
const OPENINGS: [&str; 3] = ["The answer to this question is", "Let us count: one, two, three,", "1, 2, 3, 4, 5,"];

struct Probe<'a> {
    dispatch: &'a Dispatch,
    caller: Caller,
    index: usize,
    identity: &'a ServedIdentity,
    renderer: &'a Renderer,
}

/// Probes one endpoint.
///
/// # Errors
/// [`ClientError::Untrusted`] with what was expected, what was seen and what to do.
pub(crate) async fn probe(
    dispatch: &Arc<Dispatch>,
    index: usize,
    identity: &ServedIdentity,
    renderer: &Renderer,
) -> Result<Findings, ClientError> {
    let caller = Caller {
        dispatch: dispatch.clone(),
        purpose: Purpose::Probe,
        prefix: Digest::of_bytes(b"probe"),
        needed: 0,
        pin: Some(index),
    };
    let probe = Probe { dispatch, caller, index, identity, renderer };
    probe.tokenizer().await?;
    let (prompt, tokens, known) = match probe.known_text().await {
        // A server of a reward model has no completions.
        Err(refused @ ClientError::Rejected { .. }) if identity.dialect == Dialect::Vllm => {
            return probe.rewards(refused).await;
        }
        known => known?,
    };
    probe.endings(&prompt, &tokens, &known).await?;
    let score = probe.score(&prompt, &tokens, &known).await?;
    let drawn = probe.drawn(&prompt, score).await?;
    Ok(Findings { score, drawn })
}

impl Probe<'_> {
    fn untrusted(&self, expected: impl Into<String>, given: impl Into<String>, hint: impl Into<String>) -> ClientError {
        ClientError::Untrusted {
            endpoint: self.dispatch.address(self.index).to_owned(),
            dialect: self.identity.dialect,
            expected: expected.into(),
            given: given.into(),
            hint: hint.into(),
        }
    }

    async fn tokenizer(&self) -> Result<(), ClientError> {
        let text = |error| ClientError::text(&error);
        for sample in SAMPLES {
            let prompt = opened(sample, "");
            // With its markers: they must be single tokens on both sides.
            let rendered = self.renderer.prompt_text(&prompt).map_err(text)?;
            let ours = self.renderer.prompt_ids(&prompt).map_err(text)?;
            let line = self.dispatch.line(self.index);
            let given = match self.identity.dialect.tokenize(&line, &self.identity.model, &rendered).await? {
                Tokenized::Ids(theirs) if theirs == ours => continue,
                // A server that takes text may put its own BOS before the template's.
                Tokenized::Count(count) if count == ours.len() as u64 || count == ours.len() as u64 + 1 => continue,
                Tokenized::Count(count) => format!("{count} tokens instead of {}", ours.len()),
                Tokenized::Ids(theirs) => {
                    let place = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
                    let at = |ids: &[u32]| ids.get(place).map_or("nothing".to_owned(), ToString::to_string);
                    format!("token {place} is `{}` instead of `{}`", at(&theirs), at(&ours))
                }
            };
            return Err(self.untrusted(
                format!("the server's tokenizer to split {sample:?} as ours does"),
                given,
                "give the tokenizer of the served weights as `path` or `hub`, or serve the weights of this tokenizer",
            ));
        }
        Ok(())
    }

    async fn draw(&self, draw: &Draw<'_>) -> Result<Drawn, ClientError> {
        self.identity.dialect.draw(&self.caller, &self.identity.model, draw).await
    }

    fn greedy<'b>(&'b self, prompt: &'b [u32], stop: &'b [String], max_tokens: u32) -> Draw<'b> {
        Draw {
            prompt,
            stop,
            eos: self.renderer.eos_ids(),
            max_tokens,
            sampling: Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 },
            seed: 1,
            top: 0,
            force: None,
        }
    }

    /// A prompt, the ids of a greedy continuation before its end, and the whole of what the server said.
    async fn known_text(&self) -> Result<(Vec<u32>, Vec<u32>, Drawn), ClientError> {
        for opening in OPENINGS {
            let prompt = opened("What is 12 times 7?", opening);
            let prompt = self.renderer.prompt_ids(&prompt).map_err(|error| ClientError::text(&error))?;
            let drawn = self.draw(&Draw { top: TOP, ..self.greedy(&prompt, &[], LENGTH) }).await?;
            let sum: f64 = drawn.top.iter().map(|logprob| logprob.exp()).sum();
            if sum > 1.0 + 1e-3 {
                return Err(self.untrusted(
                    "the most likely tokens' probabilities to sum to at most 1",
                    format!("{sum}"),
                    self.raw_hint(),
                ));
            }
            let ids = match &drawn.tokens {
                Some(tokens) => tokens.clone(),
                None => self.renderer.continuation_ids(&drawn.text).map_err(|error| ClientError::text(&error))?,
            };
            let eos = self.renderer.eos_ids();
            let ids: Vec<u32> = ids.into_iter().take_while(|id| !eos.contains(id)).collect();
            let visible = self.renderer.decode(&ids).map_err(|error| ClientError::text(&error))?;
            if ids.len() >= 2 && !visible.is_empty() {
                return Ok((prompt, ids, drawn));
            }
        }
        Err(self.untrusted(
            "the model to go on by at least two tokens after an opened turn",
            "an end at once",
            "check that the served weights and the chat template belong together",
        ))
    }

    /// A text must end by a stop string, the end of the turn and the budget, each told apart.
    async fn endings(&self, prompt: &[u32], tokens: &[u32], known: &Drawn) -> Result<(), ClientError> {
        let mut wrong = Vec::new();
        let mut note = |cause: &str, expected: &str, given: &Ending| {
            wrong.push(format!("{cause} told as {given:?} instead of {expected}"));
        };
        let cut = self.draw(&self.greedy(prompt, &[], 2)).await?;
        if cut.ending != Ending::Length || cut.count != 2 {
            note("the budget", "Length", &cut.ending);
        }
        if let Some(stop) = self.stop_for(tokens, known)? {
            let stops = [stop.clone()];
            let draw = self.greedy(prompt, &stops, LENGTH * 2);
            let stopped = self.draw(&draw).await?;
            let told = match stopped.ending {
                Ending::Delimiter(ref given) => *given == stop && !stopped.text.contains(&stop),
                _ => false,
            };
            if told {
                read(self.renderer, &draw, &stopped)?;
            } else {
                note("a stop string", "Delimiter", &stopped.ending);
            }
        }
        let force = self.renderer.eos_ids().first().copied();
        let some = ["\u{1}".to_owned()];
        let draw = Draw { force, ..self.greedy(prompt, &some, LENGTH) };
        let ended = self.draw(&draw).await?;
        if ended.ending == Ending::Eos {
            read(self.renderer, &draw, &ended)?;
        } else {
            note("the end of the turn", "Eos", &ended.ending);
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let hint = match self.identity.dialect {
            Dialect::Vllm => "use a vLLM that gives `stop_reason` (0.4 or later)",
            Dialect::Sglang => "use an SGLang whose `/generate` gives `finish_reason.matched`",
            Dialect::LlamaCpp => "use a llama-server whose `/completion` gives `stop_type`",
            Dialect::OpenAi => "serve the model by vLLM, SGLang or llama-server, which give the reason",
        };
        Err(self.untrusted("each end of a text to be told apart", wrong.join("; "), hint))
    }

    /// A stop string that the greedy text is sure to hold, after its first token.
    fn stop_for(&self, tokens: &[u32], known: &Drawn) -> Result<Option<String>, ClientError> {
        let text = |error| ClientError::text(&error);
        let whole = match known.tokens {
            Some(_) => self.renderer.decode(tokens).map_err(text)?,
            None => known.text.clone(),
        };
        let first = self.renderer.decode(&tokens[..1]).map_err(text)?;
        let rest = whole.strip_prefix(first.as_str()).unwrap_or(&whole);
        let stop: String = rest.chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).take(3).collect();
        Ok((!stop.is_empty() && rest.starts_with(&stop)).then_some(stop))
    }

    /// The cheapest way to score that holds against drawn log-probabilities and against itself.
    async fn score(&self, prompt: &[u32], tokens: &[u32], known: &Drawn) -> Result<Option<ScoreForm>, ClientError> {
        let mut unheeded = Vec::new();
        for form in self.identity.dialect.score_forms() {
            let model = &self.identity.model;
            let whole = match form.score(&self.caller, model, prompt, tokens).await {
                Ok(values) => values,
                // The field is refused, or ignored in silence.
                Err(
                    fault @ (ClientError::Rejected { .. } | ClientError::Reply { .. } | ClientError::Logprob { .. }),
                ) => {
                    unheeded.push(format!("{form}: {fault}"));
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            // A likely token's value may be told without being asked for.
            let rival = match form.score(&self.caller, model, prompt, &[self.rival(tokens)]).await {
                Ok(values) => values[0],
                Err(ClientError::Logprob { given, .. }) if given != "none" => f64::NEG_INFINITY,
                Err(
                    fault @ (ClientError::Rejected { .. } | ClientError::Reply { .. } | ClientError::Logprob { .. }),
                ) => {
                    unheeded.push(format!("{form}: {fault}"));
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let hint = self.raw_hint();
            if let Some(drawn) = &known.logprobs {
                for (index, (scored, drawn)) in whole.iter().zip(drawn).enumerate() {
                    if (scored - drawn).abs() > TOLERANCE {
                        let expected =
                            format!("{form} to give token {index} the value {drawn}, with which it was drawn");
                        return Err(self.untrusted(expected, format!("{scored}"), hint));
                    }
                }
            }
            for split in 1..tokens.len() {
                let longer = [prompt, &tokens[..split]].concat();
                let rest = form.score(&self.caller, model, &longer, &tokens[split..]).await?;
                for (offset, (part, all)) in rest.iter().zip(&whole[split..]).enumerate() {
                    if (part - all).abs() > TOLERANCE {
                        let expected = format!("{form} to give token {} the value {all} again", split + offset);
                        return Err(self.untrusted(expected, format!("{part}"), hint));
                    }
                }
            }
            self.no_rival(whole[0], rival)?;
            return Ok(Some(*form));
        }
        match self.identity.dialect {
            // Plain servers may do without; the others are known to be able to.
            Dialect::OpenAi => Ok(None),
            Dialect::Vllm | Dialect::Sglang | Dialect::LlamaCpp => Err(self.untrusted(
                "log-probabilities of a given continuation",
                unheeded.join("; "),
                "use the release that the documentation names, without settings that limit log-probabilities",
            )),
        }
    }

    /// A reward model's labels must be told, the same when they are asked for again; `refused` is how the server met a request to write.
    async fn rewards(&self, refused: ClientError) -> Result<Findings, ClientError> {
        // Qwen2.5-Math-PRM's mark of a step: a server may give nothing where none stands.
        let said = format!("{}{MARK}", OPENINGS[0]);
        let prompt = opened("What is 12 times 7?", &said);
        let prompt = self.renderer.prompt_ids(&prompt).map_err(|error| ClientError::text(&error))?;
        let ask = async || ScoreForm::Pooled.score(&self.caller, &self.identity.model, &prompt, &[1]).await;
        let first = match ask().await {
            Ok(values) => values[0],
            Err(ClientError::Rejected { .. }) => return Err(refused),
            Err(ClientError::Reply { expected, given, .. }) => {
                let hint = "start vLLM with `--pooler-config '{\"step_tag_id\": N}'`, N being the id of `<extra_0>`";
                return Err(self.untrusted(expected, given, hint));
            }
            Err(fault) => return Err(fault),
        };
        let again = ask().await?[0];
        if (first - again).abs() > TOLERANCE {
            let hint = "serve the model without settings that draw at random";
            return Err(self.untrusted(format!("the label's value {first} again"), format!("{again}"), hint));
        }
        Ok(Findings { score: Some(ScoreForm::Pooled), drawn: DrawnLogprobs::Unknown })
    }

    /// A token that is not the most likely one: an end of the turn, which would be no part of the greedy text.
    fn rival(&self, tokens: &[u32]) -> u32 {
        let other = self.renderer.eos_ids().iter().chain(tokens).find(|id| **id != tokens[0]);
        *other.expect("the end of the turn is no part of a greedy text before its end")
    }

    /// Two tokens in one place can't both be all but certain, as they seem to be after a mask or a bias.
    fn no_rival(&self, best: f64, other: f64) -> Result<(), ClientError> {
        let sum = best.exp() + other.exp();
        if sum <= 1.0 + 1e-2 {
            return Ok(());
        }
        let expected = "two tokens' probabilities in one place to sum to at most 1";
        Err(self.untrusted(expected, format!("{sum}"), self.raw_hint()))
    }

    /// Whether drawn tokens' log-probabilities are from before the temperature.
    async fn drawn(&self, prompt: &[u32], score: Option<ScoreForm>) -> Result<DrawnLogprobs, ClientError> {
        let Some(form) = score else { return Ok(DrawnLogprobs::Unknown) };
        let mut apart: f64 = 0.0;
        for seed in 1..=HOT_DRAWS {
            let sampling = Sampling { temperature: HOT, top_p: 1.0, top_k: 0 };
            let drawn = self.draw(&Draw { sampling, seed, ..self.greedy(prompt, &[], 1) }).await?;
            let (Some(tokens), Some(logprobs)) = (&drawn.tokens, &drawn.logprobs) else {
                return Ok(DrawnLogprobs::Unknown);
            };
            let scored = form.score(&self.caller, &self.identity.model, prompt, &tokens[..1]).await?;
            apart = apart.max((scored[0] - logprobs[0]).abs());
        }
        if apart <= TOLERANCE {
            return Ok(DrawnLogprobs::Raw);
        }
        if must_be_raw(self.identity.dialect) {
            let expected = "a drawn token's log-probability to be the model's own, from before the temperature";
            return Err(self.untrusted(expected, format!("one that is {apart:.2} nats away"), self.raw_hint()));
        }
        Ok(DrawnLogprobs::AtTemperatureOne)
    }

    fn raw_hint(&self) -> &'static str {
        match self.identity.dialect {
            Dialect::Vllm => "start vLLM without `--logprobs-mode processed_logprobs` (or any mode but `raw_logprobs`)",
            Dialect::Sglang => "start SGLang without a custom logit processor, with the default log-probabilities",
            Dialect::LlamaCpp => {
                "use a llama-server of build 11434 or later, which reports log-probabilities from before sampling"
            }
            Dialect::OpenAi => "serve the model by vLLM, SGLang or llama-server",
        }
    }
}

/// A conversation with a turn that has begun.
fn opened(question: &str, prefix: &str) -> Prompt {
    Prompt { messages: vec![Message::user(question)], opening: Opening::Plain, prefix: prefix.to_owned() }
}
