//! Models behind servers: opened once, and remembered by what they said they are.
//!
//! A stage's key needs its models' identities, and a server's is known only while it runs. So a run writes what its
//! servers stated into its folder: `plan` and `table` need no server, a run that is taken up again finds its keys, and
//! a server that has come to serve something else is refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use cord_client::{
    Backoff, Dialect, EndpointStats, Hedge, HedgeScope, Network, ServedModel, ServedStats, ServerSettings,
};
use cord_core::{Digest, LanguageModel, ModelId, Seed};
use cord_recipe::{Server, ServerDialect, ServerHedgeScope};
use cord_store::Store;
use cord_text::Renderer;
use futures::executor::block_on;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the servers of a run stated, in its folder.
const SERVERS: &str = "servers.json";

/// What the requests of the last run really cost, endpoint by endpoint. It is no result: no two runs agree on it.
const SERVING: &str = "serving.json";

/// Threads for sockets and timers: enough for some thousands of replies a second.
const NETWORK_THREADS: usize = 2;

/// A served model as it was when its run first asked it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Known {
    identity: ModelId,
    /// What the server says of itself, for people.
    states: Value,
}

/// What servers stated, by [`cord_recipe::ModelSource::label`].
#[derive(Clone, Default)]
pub(crate) struct Memory(BTreeMap<String, Known>);

impl Memory {
    /// What the servers of this run stated before; nothing where none was asked.
    pub(crate) fn read(store: &Store) -> Result<Self> {
        let path = store.folder().join(SERVERS);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let known = serde_json::from_slice(&bytes).with_context(|| {
                    format!(
                        "`{}`: expected what servers stated, as an earlier run wrote it; mend or remove it",
                        path.display()
                    )
                })?;
                Ok(Self(known))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("can't read `{}`", path.display())),
        }
    }

    /// The model's name by content, if it was asked before.
    pub(crate) fn identity(&self, label: &str) -> Option<Digest> {
        self.0.get(label).map(|known| known.identity.digest())
    }
}

/// Stands for a model whose servers were never asked: no stage has a key that is made of it.
pub(crate) fn unasked(label: &str) -> Digest {
    Digest::of_json(&("not asked yet", label))
}

/// The served models of a run.
pub(crate) struct Servers {
    store: Store,
    network: Mutex<Option<Network>>,
    memory: Mutex<Memory>,
    open: Mutex<BTreeMap<String, Arc<ServedModel>>>,
}

impl Servers {
    pub(crate) fn new(store: &Store) -> Result<Self> {
        Ok(Self {
            store: store.clone(),
            network: Mutex::default(),
            memory: Mutex::new(Memory::read(store)?),
            open: Mutex::default(),
        })
    }

    /// The model's name by content: what its servers stated before, or state now.
    pub(crate) fn identity(&self, label: &str, server: &Server, tokenizer: &Path) -> Result<Digest> {
        if let Some(known) = self.memory.lock().expect("no opening panicked").identity(label) {
            return Ok(known);
        }
        Ok(self.model(label, server, tokenizer)?.identity().digest())
    }

    /// The model, opened and probed. What it states must be what it stated when this run first asked it.
    pub(crate) fn model(&self, label: &str, server: &Server, tokenizer: &Path) -> Result<Arc<ServedModel>> {
        let mut open = self.open.lock().expect("no opening panicked");
        if let Some(model) = open.get(label) {
            return Ok(model.clone());
        }
        let renderer = Renderer::from_dir(tokenizer)
            .with_context(|| format!("the tokenizer of the served model {label}: `{}`", tokenizer.display()))?;
        let network = self.network()?;
        let model = Arc::new(
            block_on(ServedModel::open(&network, settings(server), renderer))
                .with_context(|| format!("the served model {label}"))?,
        );
        self.remember(label, &model)?;
        open.insert(label.to_owned(), model.clone());
        Ok(model)
    }

    /// Writes what the requests so far cost, and says it in a line. Nothing where no server was asked.
    pub(crate) fn publish_costs(&self) -> Result<Option<String>> {
        let open = self.open.lock().expect("no opening panicked");
        if open.is_empty() {
            return Ok(None);
        }
        let stats: BTreeMap<&String, ServedStats> = open.iter().map(|(label, model)| (label, model.stats())).collect();
        self.store.publish(SERVING, &serde_json::to_vec_pretty(&stats).context("statistics are JSON")?)?;
        let sum = |counter: fn(&EndpointStats) -> u64| stats.values().map(|stats| stats.total(counter)).sum::<u64>();
        let cached = sum(|endpoint| endpoint.cached_tokens);
        let read = cached + sum(|endpoint| endpoint.evaluated_tokens);
        let share = if read > 0 {
            format!(", {:.0} % of prompts from caches", 100.0 * cached as f64 / read as f64)
        } else {
            String::new()
        };
        Ok(Some(format!(
            "servers: {} requests, {} sent again, {} hedged, {} outages{share}",
            sum(|endpoint| endpoint.sent),
            sum(|endpoint| endpoint.retries),
            sum(|endpoint| endpoint.hedges),
            sum(|endpoint| endpoint.outages)
        )))
    }

    fn network(&self) -> Result<Network> {
        let mut network = self.network.lock().expect("no start panicked");
        if let Some(network) = &*network {
            return Ok(network.clone());
        }
        Ok(network.insert(Network::start(NETWORK_THREADS)?).clone())
    }

    fn remember(&self, label: &str, model: &ServedModel) -> Result<()> {
        let states = serde_json::to_value(model.served()).context("what a server states is JSON")?;
        let mut memory = self.memory.lock().expect("no opening panicked");
        match memory.0.get(label) {
            None => {
                let known = Known { identity: model.identity().clone(), states };
                memory.0.insert(label.to_owned(), known);
                let bytes = serde_json::to_vec_pretty(&memory.0).context("what servers state is JSON")?;
                self.store.publish(SERVERS, &bytes)?;
                Ok(())
            }
            Some(known) if known.identity.digest() == model.identity().digest() => Ok(()),
            Some(known) => bail!(
                "the served model {label}: expected what this run was begun with, {}; got {states}. Serve the former \
                 again; or take its entry out of `{}`, and the stages that use it are made anew under other keys",
                differing(known, model),
                self.store.folder().join(SERVERS).display()
            ),
        }
    }
}

/// What was known, with the parts that only our side holds where these differ.
fn differing(known: &Known, model: &ServedModel) -> String {
    let mut told = known.states.to_string();
    if known.identity.tokenizer != model.identity().tokenizer {
        told.push_str(" with another tokenizer");
    }
    if known.identity.template != model.identity().template {
        told.push_str(" with another chat template");
    }
    told
}

/// A recipe's server as the client takes it.
pub(crate) fn settings(server: &Server) -> ServerSettings {
    ServerSettings {
        name: server.model.clone(),
        endpoints: server.endpoints.clone(),
        dialect: server.dialect.map(|dialect| match dialect {
            ServerDialect::Vllm => Dialect::Vllm,
            ServerDialect::Sglang => Dialect::Sglang,
            ServerDialect::LlamaCpp => Dialect::LlamaCpp,
            ServerDialect::OpenAi => Dialect::OpenAi,
        }),
        api_key_env: server.api_key_env.clone(),
        model: server.model.clone(),
        context: server.context,
        concurrency: server.concurrency,
        timeout: server.timeout,
        deadline: None,
        retries: server.retries,
        backoff: Backoff::default(),
        hedge: server.hedge.map(|hedge| Hedge {
            percentile: hedge.percentile,
            least: hedge.least,
            scope: match hedge.scope {
                ServerHedgeScope::Scores => HedgeScope::Scores,
                ServerHedgeScope::Everything => HedgeScope::Everything,
            },
        }),
        // Shards that are refused together must not come back together.
        seed: Seed::root(std::process::id().into()),
    }
}
