//! What serving really cost. None of it repeats from run to run, so none of it goes into results.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// The physical cost of one reply, as far as its server tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Physical {
    pub(crate) cached: u64,
    pub(crate) evaluated: u64,
    pub(crate) generated: u64,
}

/// One endpoint's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointStats {
    /// Its address.
    pub endpoint: String,
    /// Requests that were sent to it, second tries included.
    pub sent: u64,
    /// Replies that were read from it.
    pub answered: u64,
    /// Tries that failed in a way that another try can mend.
    pub failed: u64,
    /// Tries that were sent to it because an earlier one failed.
    pub retries: u64,
    /// Tries that were sent to it because another endpoint took long.
    pub hedges: u64,
    /// How often it was taken out of rotation.
    pub outages: u64,
    /// Prompt tokens that its cache held.
    pub cached_tokens: u64,
    /// Prompt tokens that it had to read.
    pub evaluated_tokens: u64,
    /// Tokens that it drew.
    pub generated_tokens: u64,
    /// Seconds that its answered requests took, summed over requests.
    pub seconds: f64,
}

/// What a served model has cost so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServedStats {
    /// One for each endpoint, in the order of the settings.
    pub endpoints: Vec<EndpointStats>,
}

impl ServedStats {
    /// A counter summed over the endpoints.
    pub fn total(&self, counter: impl Fn(&EndpointStats) -> u64) -> u64 {
        self.endpoints.iter().map(counter).sum()
    }

    /// The share of prompt tokens that caches held; nothing when no server told.
    pub fn cache_hits(&self) -> Option<f64> {
        let cached = self.total(|endpoint| endpoint.cached_tokens);
        let all = cached + self.total(|endpoint| endpoint.evaluated_tokens);
        (all > 0).then(|| cached as f64 / all as f64)
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) outages: AtomicU64,
    cached: AtomicU64,
    evaluated: AtomicU64,
    generated: AtomicU64,
    micros: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn took(&self, time: Duration) {
        self.micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn spent(&self, physical: Physical) {
        self.cached.fetch_add(physical.cached, Ordering::Relaxed);
        self.evaluated.fetch_add(physical.evaluated, Ordering::Relaxed);
        self.generated.fetch_add(physical.generated, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, endpoint: &str) -> EndpointStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EndpointStats {
            endpoint: endpoint.to_owned(),
            sent: read(&self.sent),
            answered: read(&self.answered),
            failed: read(&self.failed),
            retries: read(&self.retries),
            hedges: read(&self.hedges),
            outages: read(&self.outages),
            cached_tokens: read(&self.cached),
            evaluated_tokens: read(&self.evaluated),
            generated_tokens: read(&self.generated),
            seconds: read(&self.micros) as f64 / 1e6,
        }
    }
}
