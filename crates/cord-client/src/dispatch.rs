//! One request to its answer: tries, pauses, hedges, and the check that the same model still answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cord_core::{Digest, SeedStream};
use futures::future::{Either, select, select_ok};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::backoff::retry_after;
use crate::http::{Answer, Http};
use crate::json;
use crate::pool::{Endpoint, Pool};
use crate::stats::{Counters, Physical};
use crate::{ApiKey, ClientError, Dialect, HedgeScope, ServedIdentity, ServedStats, ServerSettings};

/// What is sent where, and how often.
pub(crate) struct Dispatch {
    http: Http,
    pool: Arc<Pool>,
    key: Option<ApiKey>,
    settings: ServerSettings,
    jitter: Mutex<SeedStream>,
    guard: OnceLock<Guard>,
}

/// What every answer is held against once the model is open.
pub(crate) struct Guard {
    pub(crate) identity: ServedIdentity,
    pub(crate) context: u32,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Generate,
    Score,
    Probe,
}

/// One logical request's way to the servers.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) purpose: Purpose,
    /// Requests of one prefix prefer the endpoint that has read it.
    pub(crate) prefix: Digest,
    /// Tokens of prompt and continuation, for a refusal's message.
    pub(crate) needed: u64,
    /// The one endpoint to ask, when a server is opened.
    pub(crate) pin: Option<usize>,
}

/// A parsed answer and where it is from.
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    pool: Arc<Pool>,
    index: usize,
}

impl<T> Reply<T> {
    pub(crate) fn endpoint(&self) -> &str {
        &self.pool.endpoints[self.index].address
    }

    pub(crate) fn spent(&self, physical: Physical) {
        self.pool.endpoints[self.index].counters.spent(physical);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    Again,
    Hedge,
}

impl Dispatch {
    pub(crate) fn new(settings: ServerSettings, key: Option<ApiKey>) -> Result<Self, ClientError> {
        let addresses = settings.addresses()?;
        let http = Http::new(&addresses)?;
        let pool = Arc::new(Pool::new(addresses, settings.concurrency));
        let jitter = Mutex::new(settings.seed.named("backoff").stream());
        Ok(Self { http, pool, key, settings, jitter, guard: OnceLock::new() })
    }

    /// From here on every answer over a new connection is held until the server has said what it serves.
    pub(crate) fn guard(&self, guard: Guard) {
        assert!(self.guard.set(guard).is_ok(), "a model is opened once");
    }

    pub(crate) fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    pub(crate) fn endpoints(&self) -> usize {
        self.pool.endpoints.len()
    }

    pub(crate) fn address(&self, index: usize) -> &str {
        &self.pool.endpoints[index].address
    }

    pub(crate) fn stats(&self) -> ServedStats {
        let read = |endpoint: &Endpoint| endpoint.counters.read(&endpoint.address);
        ServedStats { endpoints: self.pool.endpoints.iter().map(read).collect() }
    }

    /// A plain question to one endpoint, outside its queue: what it is, not what it computes.
    pub(crate) fn line(&self, index: usize) -> Line<'_> {
        Line { dispatch: self, endpoint: &self.pool.endpoints[index].address }
    }

    pub(crate) fn pause(&self, n: u32) -> Duration {
        let mut stream = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
        self.settings.backoff.pause(n, &mut stream)
    }

    /// Checks that the endpoint still serves what was opened, if the answer came over a connection that is newer than
    /// the last check. Proxies keep connections of their own, which this can't see through; the model's name in
    /// each reply is checked besides.
    async fn verify(&self, endpoint: &Endpoint, answer: &Answer) -> Result<(), ClientError> {
        let Some(guard) = self.guard.get() else { return Ok(()) };
        // A model that is gone may also be told by a refusal of its name.
        let doubtful = answer.status == 404;
        let fresh = || answer.connection > endpoint.verified.load(Ordering::SeqCst);
        if answer.status.is_server_error() || !(doubtful || fresh()) {
            return Ok(());
        }
        let _turn = endpoint.verifying.lock().await;
        if !(doubtful || fresh()) {
            return Ok(());
        }
        let newest = self.http.newest();
        let line = Line { dispatch: self, endpoint: &endpoint.address };
        let expected = &guard.identity;
        let wanted = self.settings.model.as_deref();
        let given = expected.dialect.identity(&line, wanted).await?;
        let differences = expected.differences(&given);
        if !differences.is_empty() {
            return Err(ClientError::Changed {
                endpoint: endpoint.address.clone(),
                expected: format!("`{}`", expected.model),
                given: differences.join(", "),
            });
        }
        endpoint.verified.fetch_max(newest, Ordering::SeqCst);
        Ok(())
    }

    /// The answer's fault by its status, if it has one.
    fn judge(&self, endpoint: &str, answer: &Answer, needed: u64) -> Result<(), ClientError> {
        let status = answer.status.as_u16();
        if answer.status.is_success() {
            return Ok(());
        }
        let endpoint = endpoint.to_owned();
        let mut message = json::message(&answer.body);
        if let Some(key) = &self.key {
            message = key.redact(&message);
        }
        Err(match status {
            401 | 403 => ClientError::Denied { endpoint, status, variable: self.settings.api_key_env.clone() },
            408 | 425 | 429 | 500.. => {
                let retry_after = retry_after(&answer.headers, SystemTime::now());
                ClientError::Failed { endpoint, status, message, retry_after }
            }
            400 | 413 | 422 if speaks_of_context(&message) => match self.guard.get() {
                Some(guard) => ClientError::ContextExceeded { limit: guard.context, needed },
                None => ClientError::Rejected { endpoint, status, message },
            },
            _ => ClientError::Rejected { endpoint, status, message },
        })
    }
}

fn speaks_of_context(message: &str) -> bool {
    let message = message.to_lowercase();
    ["context length", "context size", "exceed_context_size", "maximum context", "max_model_len"]
        .iter()
        .any(|words| message.contains(words))
}

impl Caller {
    /// Sends a request until it is answered or its tries are used up.
    ///
    /// # Errors
    /// [`ClientError::GaveUp`] after the last try; at once where another try can't help.
    pub(crate) async fn ask<T: DeserializeOwned + Send>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Reply<T>, ClientError> {
        let body = Bytes::from(serde_json::to_vec(body).expect("requests can be written as JSON"));
        let Some(deadline) = self.dispatch.settings.deadline else { return self.deliver(path, body).await };
        timeout(deadline, self.deliver(path, body)).await.unwrap_or_else(|_| {
            let asked = |(index, endpoint): (usize, &Endpoint)| {
                self.pin.is_none_or(|pin| pin == index).then(|| endpoint.address.clone())
            };
            let asked: Vec<String> = self.dispatch.pool.endpoints.iter().enumerate().filter_map(asked).collect();
            Err(ClientError::Overdue { endpoint: asked.join("`, `"), after: deadline })
        })
    }

    async fn deliver<T: DeserializeOwned + Send>(&self, path: &str, body: Bytes) -> Result<Reply<T>, ClientError> {
        let most = self.dispatch.settings.retries + 1;
        let mut used = 0;
        let mut avoid = None;
        loop {
            let kind = if used == 0 { Try::First } else { Try::Again };
            let fault = match self.hedged(path, &body, kind, avoid, &mut used).await {
                Ok(reply) => return Ok(reply),
                Err((fault, index)) => {
                    avoid = index;
                    fault
                }
            };
            if !fault.is_transient() || used == 1 && most == 1 {
                return Err(fault);
            }
            if used >= most {
                return Err(ClientError::GaveUp { tries: used, last: Box::new(fault) });
            }
            tokio::time::sleep(self.dispatch.pause(used - 1)).await;
        }
    }

    /// One try, and a second one beside it when the first takes longer than most.
    async fn hedged<T: DeserializeOwned + Send>(
        &self,
        path: &str,
        body: &Bytes,
        kind: Try,
        avoid: Option<usize>,
        used: &mut u32,
    ) -> Result<Reply<T>, (ClientError, Option<usize>)> {
        let taken = AtomicUsize::new(usize::MAX);
        let place = || Some(taken.load(Ordering::Relaxed)).filter(|index| *index != usize::MAX);
        let patience = self.dispatch.pause(*used);
        *used += 1;
        let first = Box::pin(self.attempt(path, body.clone(), kind, avoid, patience, &taken));
        let Some(delay) = self.hedge_after().filter(|_| *used <= self.dispatch.settings.retries) else {
            return first.await.map_err(|fault| (fault, place()));
        };
        let first = match select(first, Box::pin(tokio::time::sleep(delay))).await {
            Either::Left((result, _)) => return result.map_err(|fault| (fault, place())),
            Either::Right(((), first)) => first,
        };
        *used += 1;
        let other = AtomicUsize::new(usize::MAX);
        let second = Box::pin(self.attempt(path, body.clone(), Try::Hedge, place(), patience, &other));
        let both: [futures::future::BoxFuture<'_, _>; 2] = [first, second];
        select_ok(both).await.map(|(reply, _loser)| reply).map_err(|fault| (fault, place()))
    }

    fn hedge_after(&self) -> Option<Duration> {
        let hedge = self.dispatch.settings.hedge?;
        let hedges = match self.purpose {
            Purpose::Score => true,
            Purpose::Generate => hedge.scope == HedgeScope::Everything,
            Purpose::Probe => false,
        };
        if !hedges || self.pin.is_some() || self.dispatch.endpoints() < 2 {
            return None;
        }
        Some(self.dispatch.pool.percentile(hedge.percentile)?.max(hedge.least))
    }

    async fn attempt<T: DeserializeOwned + Send>(
        &self,
        path: &str,
        body: Bytes,
        kind: Try,
        avoid: Option<usize>,
        patience: Duration,
        taken: &AtomicUsize,
    ) -> Result<Reply<T>, ClientError> {
        let Dispatch { pool, settings, .. } = &*self.dispatch;
        let lease = pool.lease(self.prefix, avoid, self.pin, patience).await;
        taken.store(lease.index(), Ordering::Relaxed);
        let counters = &lease.endpoint().counters;
        Counters::add(&counters.sent);
        match kind {
            Try::First => {}
            Try::Again => Counters::add(&counters.retries),
            Try::Hedge => Counters::add(&counters.hedges),
        }
        let begun = Instant::now();
        let result = match timeout(settings.timeout, self.exchange(lease.endpoint(), path, body)).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Overdue { endpoint: lease.endpoint().address.clone(), after: settings.timeout }),
        };
        match &result {
            Ok(_) => {
                lease.succeeded();
                Counters::add(&counters.answered);
                counters.took(begun.elapsed());
                pool.note_latency(begun.elapsed());
            }
            Err(fault) if fault.is_transient() => {
                Counters::add(&counters.failed);
                lease.failed(fault, settings.backoff.most);
            }
            // A refusal is an answer too.
            Err(_) => lease.succeeded(),
        }
        result.map(|value| Reply { value, pool: pool.clone(), index: lease.index() })
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        endpoint: &Endpoint,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let Dispatch { http, key, .. } = &*self.dispatch;
        let answer = http.send(&endpoint.address, path, Some(body), key.as_ref()).await?;
        self.dispatch.verify(endpoint, &answer).await?;
        self.dispatch.judge(&endpoint.address, &answer, self.needed)?;
        json::read(&endpoint.address, path, &answer.body)
    }
}

/// One endpoint, asked directly and once.
pub(crate) struct Line<'a> {
    dispatch: &'a Dispatch,
    pub(crate) endpoint: &'a str,
}

impl Line<'_> {
    /// The answer to a question; nothing where the server has no such path.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ClientError> {
        self.send(path, None).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Option<T>, ClientError> {
        let body = Bytes::from(serde_json::to_vec(body).expect("requests can be written as JSON"));
        self.send(path, Some(body)).await
    }

    async fn send<T: DeserializeOwned>(&self, path: &str, body: Option<Bytes>) -> Result<Option<T>, ClientError> {
        let Dispatch { http, key, settings, .. } = self.dispatch;
        // A question about itself is answered at once or not at all.
        let most = settings.timeout.min(Duration::from_secs(30));
        let answer = match timeout(most, http.send(self.endpoint, path, body, key.as_ref())).await {
            Ok(answer) => answer?,
            Err(_) => return Err(ClientError::Overdue { endpoint: self.endpoint.to_owned(), after: most }),
        };
        if matches!(answer.status.as_u16(), 404 | 405 | 501) {
            return Ok(None);
        }
        self.dispatch.judge(self.endpoint, &answer, 0)?;
        json::read(self.endpoint, path, &answer.body).map(Some)
    }

    /// The kind of server, by its own words.
    pub(crate) async fn detect(&self) -> Result<Dialect, ClientError> {
        crate::dialect::detect(self).await
    }
}
