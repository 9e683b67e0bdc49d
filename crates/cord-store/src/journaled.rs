//! A model whose replies are journaled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cord_core::{
    BoxFuture, Capabilities, Digest, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, ScoreRequest,
    TokenLogprob, Usage,
};
use serde::Serialize;

use crate::index::Index;
use crate::journal::{Known, Reply};
use crate::{Journal, StoreError};

/// How a model's requests were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answered from the journal.
    pub hits: u64,
    /// Asked of the model.
    pub misses: u64,
    /// Answered by the reply to an identical request that was being asked.
    pub joined: u64,
}

/// What the replies that a model gave to a stage cost, each counted once, whoever asked for it: this stage, an earlier attempt
/// that was stopped, or another stage that answers from the same journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Replies.
    pub replies: u64,
    /// Their tokens. Replies with log-probabilities count as scored tokens only.
    pub usage: Usage,
}

/// A model that answers from a journal what was asked before, and journals what it is asked anew.
///
/// A request is known by its content and the model's content-derived identity: two names of one model share
/// their replies, and a model whose weights changed is asked again. Identical requests that are under way at
/// once are asked once. Errors are not journaled, so that the next run asks again.
pub struct Journaled {
    model: Arc<dyn LanguageModel>,
    identity: Digest,
    journal: Arc<Journal>,
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    spent: Mutex<Spending>,
}

struct Spending {
    spent: Spent,
    /// The requests whose replies were counted.
    counted: Index,
}

impl Journaled {
    /// Wraps a model.
    pub fn new(model: Arc<dyn LanguageModel>, journal: Arc<Journal>) -> Self {
        let identity = model.identity().digest();
        let zero = || AtomicU64::new(0);
        let spent = Mutex::new(Spending { spent: Spent::default(), counted: Index::beside(journal.path()) });
        Self { model, identity, journal, hits: zero(), misses: zero(), joined: zero(), spent }
    }

    /// How its requests were met so far.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters { hits: read(&self.hits), misses: read(&self.misses), joined: read(&self.joined) }
    }

    /// What the replies that it gave so far cost, each once.
    pub fn spent(&self) -> Spent {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).spent
    }

    fn spend(&self, request: Digest, reply: &Reply) -> Result<(), StoreError> {
        let usage = match reply {
            Reply::Generation(generation) => generation.usage,
            Reply::Logprobs(tokens) => Usage { scored_tokens: tokens.len() as u64, ..Usage::default() },
        };
        let mut spending = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let Spending { spent, counted } = &mut *spending;
        if counted.insert(request, 0)? {
            spent.replies += 1;
            spent.usage += usage;
        }
        Ok(())
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    async fn reply<R, F>(&self, kind: &'static str, request: R, ask: F) -> Result<(Digest, Reply), ModelError>
    where
        R: Serialize,
        F: FnOnce(Arc<dyn LanguageModel>, R) -> BoxFuture<'static, Result<Reply, ModelError>>,
    {
        let key = Digest::of_json(&(kind, self.identity, &request));
        let known = self.journal.look_up(key, || ask(Arc::clone(&self.model), request));
        let reply = match known.map_err(|error| self.journal.model_error(&error))? {
            Known::Answered(reply) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                reply
            }
            Known::Asked(asked) => {
                self.joined.fetch_add(1, Ordering::Relaxed);
                asked.await?
            }
            Known::New(asked) => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                asked.await?
            }
        };
        self.spend(key, &reply).map_err(|error| self.journal.model_error(&error))?;
        Ok((key, reply))
    }

    fn unexpected(&self, request: Digest, expected: &str) -> ModelError {
        self.journal.model_error(&StoreError::Table {
            table: "journal",
            expected: format!("{expected} for the request `{request}`"),
            given: "a reply of another kind".to_owned(),
        })
    }
}

impl LanguageModel for Journaled {
    fn identity(&self) -> &ModelId {
        self.model.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn cached_tokens(&self) -> Option<u64> {
        self.model.cached_tokens()
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let ask = |model: Arc<dyn LanguageModel>, request| -> BoxFuture<'static, _> {
                Box::pin(async move { model.generate(request).await.map(Reply::Generation) })
            };
            match self.reply("generate", request, ask).await? {
                (_, Reply::Generation(generation)) => Ok(generation),
                (key, Reply::Logprobs(_)) => Err(self.unexpected(key, "a generation")),
            }
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            let ask = |model: Arc<dyn LanguageModel>, request| -> BoxFuture<'static, _> {
                Box::pin(async move { model.loglikelihood(request).await.map(Reply::Logprobs) })
            };
            match self.reply("loglikelihood", request, ask).await? {
                (_, Reply::Logprobs(tokens)) => Ok(tokens),
                (key, Reply::Generation(_)) => Err(self.unexpected(key, "log-probabilities")),
            }
        })
    }
}
