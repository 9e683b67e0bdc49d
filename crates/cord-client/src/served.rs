//! A served model as a language model.

use std::sync::Arc;

use cord_core::{
    BoxFuture, Capabilities, Digest, Finish, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, Prompt,
    REWARDS_ONLY, Sampling, ScoreRequest, Seed, TokenLogprob, Usage, reward_label,
};
use cord_text::{Renderer, Turn};

use crate::dialect::{Draw, Drawn, Ending, ScoreForm};
use crate::dispatch::{Caller, Dispatch, Guard, Purpose};
use crate::probe::{self, Findings};
use crate::{ApiKey, ClientError, Dialect, Network, ServedIdentity, ServedStats, ServerSettings};

/// A model behind one or several servers.
pub struct ServedModel {
    network: Network,
    id: ModelId,
    server: Arc<Server>,
}

/// What the requests' tasks share.
struct Server {
    dispatch: Arc<Dispatch>,
    renderer: Renderer,
    identity: ServedIdentity,
    context: u32,
    findings: Findings,
}

impl ServedModel {
    /// Opens a model: finds out what its servers are, probes each of them, and makes sure that all serve the same.
    ///
    /// `renderer` is the tokenizer and template of the served weights; the servers' must be the same.
    ///
    /// # Errors
    /// [`ClientError::Settings`] lists every fault of the settings; [`ClientError::Untrusted`] says what the probe saw and
    /// what to start the server with instead; [`ClientError::Changed`] when two endpoints serve different models.
    pub async fn open(network: &Network, settings: ServerSettings, renderer: Renderer) -> Result<Self, ClientError> {
        let key = settings.api_key_env.as_deref().map(ApiKey::from_env).transpose()?;
        let name = settings.name.clone();
        let dispatch = Arc::new(Dispatch::new(settings, key)?);
        let server = network.run(Server::open(dispatch, renderer)).await?;
        let id = server.identity.model_id(name.as_deref(), &server.renderer);
        Ok(Self { network: network.clone(), id, server: Arc::new(server) })
    }

    /// What the server says it serves.
    pub fn served(&self) -> &ServedIdentity {
        &self.server.identity
    }

    /// The request by which continuations are scored, as the probe chose it; nothing where none can be trusted.
    pub fn scores_by(&self) -> Option<String> {
        self.server.findings.score.map(|form| form.to_string())
    }

    /// What the requests really cost so far. Not reproducible, so never part of a result.
    pub fn stats(&self) -> ServedStats {
        self.server.dispatch.stats()
    }

    fn fault(&self, fault: ClientError) -> ModelError {
        fault.into_model_error(&self.id.name)
    }
}

impl std::fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServedModel")
            .field("id", &self.id)
            .field("served", &self.server.identity)
            .finish_non_exhaustive()
    }
}

impl LanguageModel for ServedModel {
    fn identity(&self) -> &ModelId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            generate: !self.server.rewards(),
            loglikelihood: self.server.findings.score.is_some(),
            context: self.server.context,
            deterministic: false,
        }
    }

    fn cached_tokens(&self) -> Option<u64> {
        let stats = self.stats();
        stats.cache_hits().map(|_| stats.total(|endpoint| endpoint.cached_tokens))
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let server = self.server.clone();
            self.network.run(async move { server.generate(request).await }).await.map_err(|fault| self.fault(fault))
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            let server = self.server.clone();
            self.network.run(async move { server.score(request).await }).await.map_err(|fault| self.fault(fault))
        })
    }
}

impl Server {
    async fn open(dispatch: Arc<Dispatch>, renderer: Renderer) -> Result<Self, ClientError> {
        let (dialect, model) = (dispatch.settings().dialect, dispatch.settings().model.clone());
        let (asked, wanted) = (&dispatch, model.as_deref());
        let mut first: Option<(ServedIdentity, Findings)> = None;
        for index in 0..dispatch.endpoints() {
            let dialect = match dialect {
                Some(dialect) => dialect,
                None => persist(&dispatch, || async move { asked.line(index).detect().await }).await?,
            };
            let identity =
                persist(&dispatch, || async move { dialect.identity(&asked.line(index), wanted).await }).await?;
            if let Some((expected, _)) = &first {
                let differences = expected.differences(&identity);
                if !differences.is_empty() {
                    return Err(ClientError::Changed {
                        endpoint: dispatch.address(index).to_owned(),
                        expected: format!("what `{}` serves", dispatch.address(0)),
                        given: differences.join(", "),
                    });
                }
            }
            let findings = probe::probe(&dispatch, index, &identity, &renderer).await?;
            match &mut first {
                None => first = Some((identity, findings)),
                // What one endpoint lacks, all lack: any of them may be asked.
                Some((_, all)) => *all = all.and(findings),
            }
        }
        let (identity, findings) = first.expect("the settings hold at least one endpoint");
        let context = context(&dispatch, &identity)?;
        dispatch.guard(Guard { identity: identity.clone(), context });
        Ok(Self { dispatch, renderer, identity, context, findings })
    }

    fn caller(&self, purpose: Purpose, prompt: &Prompt, needed: u64) -> Caller {
        // A problem's requests share its messages and most of their prefix.
        let prefix = Digest::of_json(&prompt.messages);
        Caller { dispatch: self.dispatch.clone(), purpose, prefix, needed, pin: None }
    }

    fn fits(&self, needed: u64) -> Result<(), ClientError> {
        if needed <= u64::from(self.context) {
            return Ok(());
        }
        Err(ClientError::ContextExceeded { limit: self.context, needed })
    }

    /// Is it a process reward model, with a head in place of a vocabulary?
    fn rewards(&self) -> bool {
        self.findings.score == Some(ScoreForm::Pooled)
    }

    async fn generate(&self, request: GenerateRequest) -> Result<Generation, ClientError> {
        if self.rewards() {
            return Err(ClientError::Unsupported { what: REWARDS_ONLY.to_owned() });
        }
        let prompt = self.renderer.prompt_ids(&request.prompt).map_err(|error| ClientError::text(&error))?;
        let needed = prompt.len() as u64 + u64::from(request.max_tokens);
        self.fits(needed)?;
        let usage =
            |generated| Usage { prompt_tokens: prompt.len() as u64, generated_tokens: generated, scored_tokens: 0 };
        if request.max_tokens == 0 {
            // Servers draw one token all the same, or refuse.
            let (text, finish) = (String::new(), Finish::Length);
            return Ok(Generation { text, finish, mean_logprob: None, usage: usage(0) });
        }
        let stop: Vec<String> = request.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        let draw = Draw {
            prompt: &prompt,
            stop: &stop,
            eos: self.renderer.eos_ids(),
            max_tokens: request.max_tokens,
            sampling: request.sampling,
            seed: number(request.seed),
            top: 0,
            force: None,
        };
        let caller = self.caller(Purpose::Generate, &request.prompt, needed);
        let drawn = self.identity.dialect.draw(&caller, &self.identity.model, &draw).await?;
        let reading = read(&self.renderer, &draw, &drawn)?;
        let told = drawn.logprobs.filter(|_| self.findings.drawn.holds_at(request.sampling));
        let mean = |values: Vec<f64>| {
            let values = &values[..reading.count as usize];
            values.iter().sum::<f64>() / values.len() as f64
        };
        let mean_logprob = told.filter(|_| reading.count > 0).map(mean);
        Ok(Generation { text: reading.text, finish: reading.finish, mean_logprob, usage: usage(reading.count) })
    }

    async fn score(&self, request: ScoreRequest) -> Result<Vec<TokenLogprob>, ClientError> {
        let Some(form) = self.findings.score else {
            return Err(ClientError::Unsupported { what: "give the log-probabilities of a continuation".to_owned() });
        };
        let text = |error| ClientError::text(&error);
        let prompt = self.renderer.prompt_ids(&request.prompt).map_err(text)?;
        let continuation = if self.rewards() {
            vec![reward_label(&request.continuation).map_err(|what| ClientError::Unsupported { what })?]
        } else {
            self.renderer.continuation_ids(&request.continuation).map_err(text)?
        };
        if continuation.is_empty() {
            return Err(ClientError::EmptyContinuation { continuation: request.continuation });
        }
        let needed = (prompt.len() + continuation.len()) as u64;
        // A server draws a token after the last one that it reads, wanted or not.
        self.fits(needed + u64::from(matches!(form, ScoreForm::PromptLogprobs | ScoreForm::Echo)))?;
        let caller = self.caller(Purpose::Score, &request.prompt, needed);
        let values = form.score(&caller, &self.identity.model, &prompt, &continuation).await?;
        if values.len() != continuation.len() {
            let expected = format!("{} log-probabilities", continuation.len());
            return Err(ClientError::reply(self.dispatch.address(0), expected, format!("{}", values.len())));
        }
        Ok(continuation.iter().zip(values).map(|(token, logprob)| TokenLogprob { token: *token, logprob }).collect())
    }
}

/// The most tokens of prompt and continuation: what the server states, or less if the settings say so.
fn context(dispatch: &Dispatch, identity: &ServedIdentity) -> Result<u32, ClientError> {
    let settings = dispatch.settings();
    match (identity.context, settings.context) {
        (Some(stated), wanted) => Ok(wanted.map_or(stated, |wanted| wanted.min(stated))),
        (None, Some(wanted)) => Ok(wanted),
        (None, None) => {
            let fault =
                format!("expected `{}` to state its context, got nothing: say it as `context`", dispatch.address(0));
            Err(ClientError::Settings { faults: vec![fault] })
        }
    }
}

/// Asks again while a server can't be reached or is still loading.
async fn persist<T, F: Future<Output = Result<T, ClientError>>>(
    dispatch: &Dispatch,
    ask: impl Fn() -> F,
) -> Result<T, ClientError> {
    let mut tries = 0;
    loop {
        match ask().await {
            Err(fault) if fault.is_transient() && tries < dispatch.settings().retries => {
                tokio::time::sleep(dispatch.pause(tries)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

/// A request's stream as the number that servers take for a seed.
fn number(seed: Seed) -> u32 {
    // llama.cpp takes the highest number for "any".
    seed.named("server").stream().below(u64::from(u32::MAX)) as u32
}

/// A drawn text, cut.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) text: String,
    pub(crate) finish: Finish,
    pub(crate) count: u64,
}

/// Finds the end of a text again in its tokens, as an in-process model does while it draws, and holds it against what the
/// server says.
///
/// The tokens have the last word where both name an end: SGLang says `length` of an end of turn that is the last token
/// of the budget, and a server that does not know one of our end-of-turn tokens goes on after it.
pub(crate) fn read(renderer: &Renderer, draw: &Draw<'_>, drawn: &Drawn) -> Result<Reading, ClientError> {
    let endpoint = drawn.endpoint.as_str();
    let Some(tokens) = &drawn.tokens else {
        let finish = match &drawn.ending {
            Ending::Eos => Finish::Eos,
            Ending::Delimiter(stop) => Finish::Delimiter(stop.clone()),
            Ending::Length => Finish::Length,
            Ending::EosOrDelimiter => {
                let expected = "the end of the turn told apart from a stop string";
                return Err(ClientError::reply(endpoint, expected, "`stop` for both"));
            }
        };
        return Ok(Reading { text: drawn.text.clone(), finish, count: drawn.count });
    };
    let text = |error| ClientError::text(&error);
    if tokens.len() as u64 > u64::from(draw.max_tokens) {
        return Err(ClientError::reply(
            endpoint,
            format!("at most {} drawn tokens", draw.max_tokens),
            format!("{}", tokens.len()),
        ));
    }
    let mut turn = Turn::new(renderer, draw.stop, draw.max_tokens);
    for id in tokens {
        if let Some(finish) = turn.push(*id).map_err(text)? {
            let count = turn.drawn();
            let agrees = count < tokens.len() as u64
                || match (&finish, &drawn.ending) {
                    (Finish::Length, ending) => *ending == Ending::Length || is_foreign_end(renderer, *id, ending),
                    (Finish::Eos, ending) => matches!(ending, Ending::Eos | Ending::EosOrDelimiter | Ending::Length),
                    (Finish::Delimiter(stop), Ending::Delimiter(given)) => stop == given,
                    (Finish::Delimiter(_), ending) => matches!(ending, Ending::EosOrDelimiter | Ending::Length),
                };
            if !agrees {
                let given = format!("{:?}", drawn.ending);
                return Err(ClientError::reply(endpoint, format!("an end by {finish:?}, as the tokens show"), given));
            }
            let finish = if finish == Finish::Length && drawn.ending == Ending::Eos { Finish::Eos } else { finish };
            return Ok(Reading { text: turn.text().to_owned(), finish, count });
        }
    }
    let count = turn.drawn();
    let last = tokens.last().copied();
    let finish = match (turn.flush().map_err(text)?, &drawn.ending) {
        // The last characters were held back for a byte that never came.
        (Some(Finish::Delimiter(stop)), Ending::Delimiter(given)) if stop == *given => Finish::Delimiter(stop),
        (None, ending) if last.is_some_and(|id| is_foreign_end(renderer, id, ending)) => Finish::Eos,
        (_, ending) => {
            let expected =
                format!("a text that ends at a stop string, the end of the turn or {} tokens", draw.max_tokens);
            let given = format!("one that the server ended by {ending:?} after {count} tokens");
            return Err(ClientError::reply(endpoint, expected, given));
        }
    };
    Ok(Reading { text: turn.text().to_owned(), finish, count })
}

/// Did the server end the turn at a token that only it takes for an end? It must be one that shows no text.
fn is_foreign_end(renderer: &Renderer, id: u32, ending: &Ending) -> bool {
    *ending == Ending::Eos && renderer.decode(&[id]).is_ok_and(|text| text.is_empty())
}

/// Where the log-probabilities that come with drawn tokens can be taken for the model's own, at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DrawnLogprobs {
    /// Nowhere.
    Unknown,
    /// Where the temperature leaves them as they are: they are those of the distribution that is drawn from.
    AtTemperatureOne,
    /// Everywhere.
    Raw,
}

impl DrawnLogprobs {
    fn holds_at(self, sampling: Sampling) -> bool {
        match self {
            Self::Unknown => false,
            Self::AtTemperatureOne => sampling.temperature == 0.0 || sampling.temperature == 1.0,
            Self::Raw => true,
        }
    }
}

impl Findings {
    fn and(self, other: Self) -> Self {
        let score = match (self.score, other.score) {
            (Some(a), Some(b)) => Some(if a as u8 >= b as u8 { a } else { b }),
            _ => None,
        };
        Self { score, drawn: self.drawn.min(other.drawn) }
    }
}

/// The dialects whose servers are refused when drawn tokens' log-probabilities are not the model's own.
pub(crate) fn must_be_raw(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Vllm | Dialect::LlamaCpp)
}
