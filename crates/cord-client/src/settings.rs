//! How a server is reached.

use std::time::Duration;

use cord_core::Seed;
use http::Uri;

use crate::{ClientError, Dialect};

/// A server, or several that serve the same model.
///
/// Only [`ServerSettings::model`] says *what* is asked; everything else says *how*, and no result depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// What people call the model; the server's own name for it where absent.
    pub name: Option<String>,
    /// Base addresses such as `http://gpu1:8000`, at least one. A trailing `/v1` is taken off.
    pub endpoints: Vec<String>,
    /// The kind of server; detected where absent.
    pub dialect: Option<Dialect>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The model's name on the server; its only one where absent.
    pub model: Option<String>,
    /// The most tokens of prompt and continuation; what the server states where absent. It can only lower that.
    pub context: Option<u32>,
    /// The most requests under way at each endpoint.
    pub concurrency: u32,
    /// The time that each try has, from its sending to the last byte of its answer.
    pub timeout: Duration,
    /// The time that a request has with all its tries and pauses, from its first sending; none where absent.
    pub deadline: Option<Duration>,
    /// How often a request that failed is sent again, hedges included.
    pub retries: u32,
    /// The pauses between tries.
    pub backoff: Backoff,
    /// Second tries for stragglers; none where absent.
    pub hedge: Option<Hedge>,
    /// Seeds the jitter of the pauses. It reaches no request.
    pub seed: Seed,
}

/// Exponential pauses with full jitter (Brooker 2015): before try `n` again, a uniform draw from
/// `[0, min(most, first × 2ⁿ)]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The longest first pause.
    pub first: Duration,
    /// The longest pause, also where a server asks for a longer one.
    pub most: Duration,
}

/// A second try, at another endpoint, for a request that takes longer than most (Dean and Barroso 2013). The first
/// answer wins and the other try is cancelled.
///
/// Both tries send the same seed. Where a server does not repeat its outputs, the quicker and so often the shorter of
/// two draws wins, which is a bias; generation is therefore hedged only where
/// [`Hedge::scope`] says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// Try again when a request has taken longer than this share of the latest ones, in `(0, 1)`.
    pub percentile: f64,
    /// But never sooner than this.
    pub least: Duration,
    /// Which requests.
    pub scope: HedgeScope,
}

/// Which requests are hedged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeScope {
    /// Scoring, whose answer is the same everywhere.
    Scores,
    /// Scoring and generation.
    Everything,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), most: Duration::from_mins(1) }
    }
}

impl ServerSettings {
    /// Defaults for a server at these addresses: 32 requests at once, 600 s a try, 5 retries, no hedging.
    pub fn at<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Self {
        Self {
            name: None,
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            dialect: None,
            api_key_env: None,
            model: None,
            context: None,
            concurrency: 32,
            timeout: Duration::from_mins(10),
            deadline: None,
            retries: 5,
            backoff: Backoff::default(),
            hedge: None,
            seed: Seed::root(0),
        }
    }

    /// The base addresses, once every setting is checked.
    pub(crate) fn addresses(&self) -> Result<Vec<String>, ClientError> {
        let mut faults = Vec::new();
        let mut addresses = Vec::new();
        if self.endpoints.is_empty() {
            faults.push("expected at least one endpoint, got none".to_owned());
        }
        for endpoint in &self.endpoints {
            match address(endpoint) {
                Some(address) if addresses.contains(&address) => {
                    faults.push(format!("expected each endpoint once, got `{endpoint}` again"));
                }
                Some(address) => addresses.push(address),
                None => faults.push(format!(
                    "expected an endpoint of the form `http://host:port` or `https://host/path` without credentials, \
                     got `{}`",
                    without_credentials(endpoint)
                )),
            }
        }
        if self.concurrency == 0 {
            faults.push("expected a concurrency of at least 1, got `0`".to_owned());
        }
        if self.timeout.is_zero() {
            faults.push("expected a timeout above 0, got `0 s`".to_owned());
        }
        if let Some(Hedge { percentile, .. }) = self.hedge
            && !(percentile > 0.0 && percentile < 1.0)
        {
            faults.push(format!("expected a hedge percentile above 0 and below 1, got `{percentile}`"));
        }
        if faults.is_empty() { Ok(addresses) } else { Err(ClientError::Settings { faults }) }
    }
}

/// A base address without a trailing slash or `/v1`, if it is one.
fn address(endpoint: &str) -> Option<String> {
    let uri: Uri = endpoint.trim().parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    if uri.query().is_some() {
        return None;
    }
    let path = uri.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    Some(format!("{scheme}://{authority}{path}"))
}

/// The endpoint as it may be printed: a password in it is a secret too.
fn without_credentials(endpoint: &str) -> String {
    match endpoint.split_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://<redacted>@{after}")
        }
        None => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normal_and_all_faults_are_told() {
        let check = |endpoint: &str, expected: Option<&str>| {
            assert_eq!(address(endpoint).as_deref(), expected, "{endpoint}");
        };
        check("http://gpu1:8000", Some("http://gpu1:8000"));
        check("http://gpu1:8000/", Some("http://gpu1:8000"));
        check("https://api.example.com/v1/", Some("https://api.example.com"));
        check("https://example.com/proxy/v1", Some("https://example.com/proxy"));
        check("gpu1:8000", None);
        check("ftp://gpu1", None);
        check("http://user:word@gpu1", None);
        check("http://gpu1?x=1", None);

        let mut settings = ServerSettings::at(["http://u:secret@a", "http://b/v1", "http://b"]);
        settings.concurrency = 0;
        let told = settings.addresses().unwrap_err().to_string();
        assert!(told.contains("<redacted>@a") && !told.contains("secret"), "{told}");
        assert!(told.contains("`http://b` again") && told.contains("concurrency"), "{told}");
    }
}
