//! A language model that follows a script.

use std::sync::{Mutex, PoisonError};

use cord_core::{
    BoxFuture, Capabilities, Digest, Finish, GenerateRequest, Generation, LanguageModel, ModelError, ModelId,
    ScoreRequest, Seed, TokenLogprob, Usage,
};

use crate::Turnstile;

type Script = dyn Fn(&GenerateRequest) -> String + Send + Sync;
type Belief = dyn Fn(&ScoreRequest) -> f64 + Send + Sync;
type Certainty = dyn Fn(&GenerateRequest) -> f64 + Send + Sync;
type Failure = dyn Fn(&Call) -> Option<ModelError> + Send + Sync;

/// A request that a [`Scripted`] model was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// To continue a prompt.
    Generate(GenerateRequest),
    /// To score a continuation.
    Score(ScoreRequest),
}

impl Call {
    /// The text that the assistant's turn already holds.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Generate(request) => &request.prompt.prefix,
            Self::Score(request) => &request.prompt.prefix,
        }
    }
}

/// A model that follows a script, with bytes for tokens.
///
/// The script says what the model *would* write if nothing stopped it, up to the end of its turn. Stop
/// strings and the token budget are then applied as a real model applies them, so a test states what a
/// teacher thinks and never how the protocol cuts it.
pub struct Scripted {
    identity: ModelId,
    capabilities: Capabilities,
    script: Option<Box<Script>>,
    belief: Option<Box<Belief>>,
    certainty: Option<Box<Certainty>>,
    failure: Option<Box<Failure>>,
    turnstile: Option<Turnstile>,
    /// Absent where a run is too long to remember.
    calls: Option<Mutex<Vec<Call>>>,
}

impl Scripted {
    /// A model that can do nothing yet.
    pub fn new(name: &str) -> Self {
        let digest = Digest::of_bytes(name.as_bytes());
        Self {
            identity: ModelId { name: name.to_owned(), weights: digest, tokenizer: digest, template: digest },
            capabilities: Capabilities {
                generate: false,
                loglikelihood: false,
                context: u32::MAX,
                deterministic: true,
            },
            script: None,
            belief: None,
            certainty: None,
            failure: None,
            turnstile: None,
            calls: Some(Mutex::default()),
        }
    }

    /// Teaches it to write: `script` gives all that it would write after a prompt, to the end of its turn.
    #[must_use]
    pub fn writing(mut self, script: impl Fn(&GenerateRequest) -> String + Send + Sync + 'static) -> Self {
        self.capabilities.generate = true;
        self.script = Some(Box::new(script));
        self
    }

    /// Teaches it to write from a tree: the first branch whose prefix equals the prompt's, one of its
    /// texts drawn by the request's seed. Where no branch fits, it ends its turn at once.
    #[must_use]
    pub fn writing_tree(self, branches: impl IntoIterator<Item = (&'static str, Vec<&'static str>)>) -> Self {
        let branches: Vec<_> = branches.into_iter().filter(|(_, texts)| !texts.is_empty()).collect();
        self.writing(move |request| {
            let branch = branches.iter().find(|(prefix, _)| *prefix == request.prompt.prefix);
            branch.map_or(String::new(), |(_, texts)| {
                texts[request.seed.stream().below(texts.len() as u64) as usize].to_owned()
            })
        })
    }

    /// Teaches it to score: `belief` gives the log-probability (nats) of each byte of the continuation.
    #[must_use]
    pub fn believing(mut self, belief: impl Fn(&ScoreRequest) -> f64 + Send + Sync + 'static) -> Self {
        self.capabilities.loglikelihood = true;
        self.belief = Some(Box::new(belief));
        self
    }

    /// Makes it say how sure it is of what it writes: `certainty` gives the mean log-probability (nats).
    #[must_use]
    pub fn certain(mut self, certainty: impl Fn(&GenerateRequest) -> f64 + Send + Sync + 'static) -> Self {
        self.certainty = Some(Box::new(certainty));
        self
    }

    /// Makes it fail wherever `failure` says so.
    #[must_use]
    pub fn failing(mut self, failure: impl Fn(&Call) -> Option<ModelError> + Send + Sync + 'static) -> Self {
        self.failure = Some(Box::new(failure));
        self
    }

    /// Makes it wait at a turnstile before each reply.
    #[must_use]
    pub fn behind(mut self, turnstile: &Turnstile) -> Self {
        self.turnstile = Some(turnstile.clone());
        self
    }

    /// Limits its context, in bytes of prefix and continuation.
    #[must_use]
    pub fn with_context(mut self, context: u32) -> Self {
        self.capabilities.context = context;
        self
    }

    /// Makes it forget its requests: a run of millions would fill the memory with them.
    #[must_use]
    pub fn forgetful(mut self) -> Self {
        self.calls = None;
        self
    }

    /// The requests so far, in the order in which they were made; none of a forgetful model's.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.as_ref().map_or_else(Vec::new, |calls| calls.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn note(&self, call: impl FnOnce() -> Call) -> Result<(), ModelError> {
        if self.failure.is_none() && self.calls.is_none() {
            return Ok(());
        }
        let call = call();
        let failure = self.failure.as_ref().and_then(|failure| failure(&call));
        if let Some(calls) = &self.calls {
            calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        }
        failure.map_or(Ok(()), Err)
    }

    fn unsupported(&self, what: &str) -> ModelError {
        ModelError::Unsupported { model: self.identity.name.clone(), what: what.to_owned() }
    }

    fn fits(&self, prefix: &str, more: u64) -> Result<(), ModelError> {
        let needed = prefix.len() as u64 + more;
        if needed <= u64::from(self.capabilities.context) {
            return Ok(());
        }
        let model = self.identity.name.clone();
        Err(ModelError::ContextExceeded { model, limit: self.capabilities.context, needed })
    }

    fn write(&self, request: &GenerateRequest) -> Result<Generation, ModelError> {
        let script = self.script.as_ref().ok_or_else(|| self.unsupported("generate"))?;
        self.fits(&request.prompt.prefix, u64::from(request.max_tokens))?;
        let mean_logprob = self.certainty.as_ref().map(|certainty| certainty(request));
        Ok(Generation { mean_logprob, ..cut(&script(request), request) })
    }

    fn judge(&self, request: &ScoreRequest) -> Result<Vec<TokenLogprob>, ModelError> {
        let belief = self.belief.as_ref().ok_or_else(|| self.unsupported("give log-probabilities"))?;
        self.fits(&request.prompt.prefix, request.continuation.len() as u64)?;
        if request.continuation.is_empty() {
            let model = self.identity.name.clone();
            return Err(ModelError::EmptyContinuation { model, continuation: String::new() });
        }
        let logprob = belief(request);
        Ok(request.continuation.bytes().map(|byte| TokenLogprob { token: u32::from(byte), logprob }).collect())
    }

    async fn wait(&self) {
        if let Some(turnstile) = &self.turnstile {
            turnstile.pass().await;
        }
    }
}

/// Applies stop strings and the token budget, byte by byte, to what a model would write.
fn cut(text: &str, request: &GenerateRequest) -> Generation {
    let prompt_tokens = request.prompt.messages.iter().map(|message| message.content.len()).sum::<usize>()
        + request.prompt.prefix.len();
    // The stop that is complete first wins, as it does when tokens arrive one by one.
    let stop = (request.stop.iter())
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at, stop)))
        .min();
    let (drawn, kept, finish) = match stop {
        Some((end, at, stop)) => (end, at, Finish::Delimiter(stop.clone())),
        // The end-of-turn token is drawn too.
        None => (text.len() + 1, text.len(), Finish::Eos),
    };
    let most = request.max_tokens as usize;
    let usage =
        |drawn: usize| Usage { prompt_tokens: prompt_tokens as u64, generated_tokens: drawn as u64, scored_tokens: 0 };
    if drawn <= most {
        return Generation { text: text[..kept].to_owned(), finish, mean_logprob: None, usage: usage(drawn) };
    }
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Generation { text: text[..end].to_owned(), finish: Finish::Length, mean_logprob: None, usage: usage(most) }
}

impl LanguageModel for Scripted {
    fn identity(&self) -> &ModelId {
        &self.identity
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let reply = self.note(|| Call::Generate(request.clone())).and_then(|()| self.write(&request));
            self.wait().await;
            reply
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            let reply = self.note(|| Call::Score(request.clone())).and_then(|()| self.judge(&request));
            self.wait().await;
            reply
        })
    }
}

/// A number in `[0, 1)` that depends on the given texts alone: the arbitrary but repeatable opinion of a
/// scripted model.
pub fn whisper(parts: &[&str]) -> f64 {
    parts.iter().fold(Seed::root(0), |seed, part| seed.named(part)).stream().uniform()
}

#[cfg(test)]
mod tests {
    use cord_core::{Message, Opening, Prompt, Sampling};
    use futures::executor::block_on;

    use super::*;

    fn request(prefix: &str, stop: &[&str], max_tokens: u32) -> GenerateRequest {
        GenerateRequest {
            prompt: Prompt { messages: vec![Message::user("q")], opening: Opening::Think, prefix: prefix.to_owned() },
            stop: stop.iter().map(|stop| (*stop).to_owned()).collect(),
            max_tokens,
            sampling: Sampling::default(),
            seed: Seed::root(1),
        }
    }

    fn check(text: &'static str, stop: &[&str], max_tokens: u32, expected: &str, finish: &Finish, generated: u64) {
        let model = Scripted::new("m").writing(move |_| text.to_owned());
        let reply = block_on(model.generate(request("p", stop, max_tokens))).unwrap();
        assert_eq!((reply.text.as_str(), &reply.finish), (expected, finish), "{text:?} {stop:?} {max_tokens}");
        assert_eq!((reply.usage.generated_tokens, reply.usage.prompt_tokens), (generated, 2), "{text:?}");
    }

    #[test]
    fn stops_and_budgets_cut_as_a_model_cuts() {
        let delimiter = |stop: &str| Finish::Delimiter(stop.to_owned());
        check("ab", &[], 9, "ab", &Finish::Eos, 3);
        check("ab", &[], 3, "ab", &Finish::Eos, 3);
        check("ab", &[], 2, "ab", &Finish::Length, 2);
        check("ab|c", &["|"], 9, "ab", &delimiter("|"), 3);
        check("ab|c", &["c", "b|"], 9, "a", &delimiter("b|"), 3);
        check("ab|c", &["|"], 2, "ab", &Finish::Length, 2);
        check("é|", &["|"], 1, "", &Finish::Length, 1);
    }

    #[test]
    fn a_tree_draws_by_the_seed_and_ends_where_no_branch_fits() {
        let model = Scripted::new("m").writing_tree([("a", vec!["b", "c"])]);
        let drawn = |seed| {
            let mut request = request("a", &[], 9);
            request.seed = Seed::root(seed);
            block_on(model.generate(request)).unwrap().text
        };
        let texts: std::collections::BTreeSet<String> = (0..16).map(drawn).collect();
        assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(block_on(model.generate(request("z", &[], 9))).unwrap().text, "");
        assert_eq!(model.calls().len(), 17);
    }

    #[test]
    fn a_model_does_only_what_it_was_taught_and_fails_where_told() {
        let score = ScoreRequest { prompt: request("bad", &[], 1).prompt, continuation: "42".to_owned() };
        let mute = Scripted::new("mute");
        assert!(!mute.capabilities().generate && !mute.capabilities().loglikelihood);
        assert!(matches!(block_on(mute.generate(request("", &[], 1))), Err(ModelError::Unsupported { .. })));
        let model = Scripted::new("m").believing(|_| -0.5).failing(|call| {
            let gone = ModelError::Gone { model: "m".to_owned(), reason: "told to".to_owned() };
            call.prefix().contains("bad").then_some(gone)
        });
        assert!(matches!(block_on(model.loglikelihood(score.clone())), Err(ModelError::Gone { .. })));
        let mut fine = score;
        fine.prompt.prefix = "good".to_owned();
        let logprobs = block_on(model.loglikelihood(fine.clone())).unwrap();
        assert_eq!(
            logprobs.iter().map(|token| (token.token, token.logprob)).collect::<Vec<_>>(),
            [(52, -0.5), (50, -0.5)]
        );
        let narrow = Scripted::new("n").believing(|_| -0.5).with_context(5);
        assert!(matches!(block_on(narrow.loglikelihood(fine)), Err(ModelError::ContextExceeded { needed: 6, .. })));
    }
}
