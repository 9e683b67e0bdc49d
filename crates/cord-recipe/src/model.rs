//! `[models.<name>]`: the models that roles are given to.

use std::path::PathBuf;
use std::time::Duration;

use cord_core::Sampling;
use serde::Serialize;

use crate::fault::FaultKind;
use crate::reader::{Field, Fields, Word};

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Model {
    /// Where its weights come from.
    pub source: ModelSource,
    /// How it draws when it is a teacher, and by default when it is evaluated.
    pub sampling: Sampling,
}

/// Where a model's weights come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelSource {
    /// A folder in the layout of Hugging Face.
    Path(PathBuf),
    /// A repository of the Hugging Face hub, pinned.
    Hub {
        /// `organisation/name`.
        name: String,
        /// The commit.
        revision: String,
    },
    /// Servers that hold them, with the tokenizer and template that go with them.
    Served {
        /// How they are reached.
        server: Box<Server>,
        /// Where the tokenizer and template are.
        tokenizer: TokenizerSource,
    },
    /// Nowhere yet: a shape to be filled with random weights and trained.
    Scratch(Scratch),
}

impl ModelSource {
    /// The name under which [`crate::Identities`] holds its digest: the path, `hub:<name>@<revision>`, or a server's
    /// addresses with its model and tokenizer. A model made from scratch needs none, for its shape says all.
    ///
    /// Labels are no part of a key, so that a server may move: what it states of its weights is.
    pub fn label(&self) -> Option<String> {
        match self {
            Self::Path(path) => Some(path.display().to_string()),
            Self::Hub { name, revision } => Some(format!("hub:{name}@{revision}")),
            Self::Served { server, tokenizer } => {
                // Their only model where it has no name: `the model at …`.
                let model = server.model.as_ref().map(|model| format!("{model} ")).unwrap_or_default();
                Some(format!("{model}at {} with {}", server.endpoints.join(", "), tokenizer.label()))
            }
            Self::Scratch(_) => None,
        }
    }
}

/// Where a served model's tokenizer and chat template are.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerSource {
    /// A folder in the layout of Hugging Face; it needs no weights.
    Path(PathBuf),
    /// A repository of the Hugging Face hub, pinned.
    Hub {
        /// `organisation/name`.
        name: String,
        /// The commit.
        revision: String,
    },
}

impl TokenizerSource {
    fn label(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Hub { name, revision } => format!("hub:{name}@{revision}"),
        }
    }
}

/// One or several servers of one model.
///
/// Only [`Server::model`] says *what* is asked and is written out with the recipe. All else says *how*: it is in no key
/// and in no digest, so that a run may move to other machines and go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Server {
    /// The model's name on the servers; their only one where absent.
    pub model: Option<String>,
    /// Base addresses, each once.
    #[serde(skip)]
    pub endpoints: Vec<String>,
    /// The kind of server; detected where absent.
    #[serde(skip)]
    pub dialect: Option<ServerDialect>,
    /// The environment variable that holds the API key.
    #[serde(skip)]
    pub api_key_env: Option<String>,
    /// The most tokens of prompt and continuation, where a server does not say or less is wanted.
    #[serde(skip)]
    pub context: Option<u32>,
    /// The most requests under way at each endpoint.
    #[serde(skip)]
    pub concurrency: u32,
    /// The time that each try has.
    #[serde(skip)]
    pub timeout: Duration,
    /// How often a failed request is sent again.
    #[serde(skip)]
    pub retries: u32,
    /// Second tries for stragglers.
    #[serde(skip)]
    pub hedge: Option<ServerHedge>,
}

/// The kind of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerDialect {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// llama.cpp's `llama-server`.
    LlamaCpp,
    /// OpenAI's completions and nothing more.
    OpenAi,
}

impl Word for ServerDialect {
    const WORDS: &'static [(&'static str, Self)] =
        &[("vllm", Self::Vllm), ("sglang", Self::Sglang), ("llama-cpp", Self::LlamaCpp), ("openai", Self::OpenAi)];
}

/// When a request that takes long is sent to a second endpoint too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerHedge {
    /// After it has taken longer than this share of the latest ones, in `(0, 1)`.
    pub percentile: f64,
    /// But never sooner than this.
    pub least: Duration,
    /// Which requests.
    pub scope: ServerHedgeScope,
}

/// Which requests are sent to a second endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHedgeScope {
    /// Scoring, whose answer is the same everywhere.
    Scores,
    /// Generation too: of two draws the quicker one then wins, which favours short texts.
    Everything,
}

impl Word for ServerHedgeScope {
    const WORDS: &'static [(&'static str, Self)] = &[("scores", Self::Scores), ("everything", Self::Everything)];
}

/// The shape of a decoder-only transformer of the Llama kind, and of the tokenizer that is trained for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scratch {
    /// Decoder layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Attention heads; they divide `hidden` into even parts.
    pub heads: u32,
    /// Heads of keys and values; they divide `heads`. All heads where absent.
    pub kv_heads: u32,
    /// Width of the feed-forward block.
    pub ffn: u32,
    /// The most tokens of prompt and continuation together.
    pub context: u32,
    /// Is the output projection the embedding's?
    pub tie_embeddings: bool,
    /// The base of the rotary embedding's wavelengths.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub norm_epsilon: f64,
    /// The tokenizer's settings, as the crate of tokenizers reads them.
    pub tokenizer: serde_json::Value,
}

impl Model {
    pub(crate) fn read(fields: Fields<'_>) -> Option<Self> {
        let path = fields.optional("path", |field| {
            let path = PathBuf::from(field.name()?);
            // A plan of served models needs no file; opening one says what is missing.
            if !fields.has("server") {
                field.must_exist(&path);
            }
            Some(path)
        });
        let hub = fields.optional("hub", |field| {
            field.text_that("a hub name of the form `organisation/name`", |name| {
                name.split('/').count() == 2 && name.split('/').all(|part| !part.trim().is_empty())
            })
        });
        let revision = fields.optional("revision", |field| {
            field.text_that("a commit of 40 hexadecimal digits", |text| {
                text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
            })
        });
        let scratch = fields.optional("scratch", |field| field.table(Scratch::read));
        let server = fields.optional("server", |field| field.table(Server::read));
        let sampling = fields.or("sampling", Sampling::default(), read_sampling);

        let given: Vec<String> = ["path", "hub", "scratch"]
            .into_iter()
            .filter(|key| fields.has(key))
            .map(|key| format!("`{}`", fields.path(key)))
            .collect();
        if given.is_empty() && fields.has("server") {
            fields.missing("path", "the folder of the served model's tokenizer (or `hub` with `revision`)");
        } else if given.is_empty() {
            fields.missing("path", "a model's folder (or `hub` with `revision`, or `scratch`)");
        } else if given.len() > 1 {
            fields.fault(FaultKind::Conflict {
                expected: "one of `path`, `hub` and `scratch`".to_owned(),
                given: given.join(" and "),
                hint: "remove all but one".to_owned(),
            });
        } else if fields.has("server") && fields.has("scratch") {
            fields.fault_at(
                "server",
                FaultKind::Conflict {
                    expected: "`path` or `hub` beside `server`, for the tokenizer of the served weights".to_owned(),
                    given: given.join(" and "),
                    hint: "a model made from scratch has no server: remove one of them".to_owned(),
                },
            );
        }
        if fields.has("hub") && !fields.has("revision") {
            fields.missing("revision", "the commit to pin the hub's model to");
        } else if fields.has("revision") && !fields.has("hub") {
            fields.missing("hub", "the hub's model that the revision is of");
        }
        let is_served = fields.has("server");
        fields.close();
        let hub = || Some((hub?, revision?));
        let source = if is_served {
            let tokenizer = match path {
                Some(path) => TokenizerSource::Path(path),
                None => hub().map(|(name, revision)| TokenizerSource::Hub { name, revision })?,
            };
            ModelSource::Served { server: Box::new(server?), tokenizer }
        } else {
            let hub = || hub().map(|(name, revision)| ModelSource::Hub { name, revision });
            path.map(ModelSource::Path).or(scratch.map(ModelSource::Scratch)).or_else(hub)?
        };
        Some(Self { source, sampling })
    }
}

impl Server {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let endpoints = fields.need("endpoints", "a list of addresses such as `http://gpu1:8000`", |field| {
            let endpoints = field.list("addresses", |item| {
                item.text_that("an address such as `http://gpu1:8000`, without a user or query", is_address)
            })?;
            if endpoints.is_empty() {
                return field.out_of_range("a list of at least one address", &"[]");
            }
            field.once(&endpoints);
            Some(endpoints)
        });
        let server = Self {
            model: fields.optional("model", Field::name),
            endpoints: endpoints.unwrap_or_default(),
            dialect: fields.optional("dialect", Field::word),
            api_key_env: fields.optional("api-key-env", |field| {
                field.text_that("the name of an environment variable (never the key itself)", is_variable)
            }),
            context: fields.optional("context", Field::count),
            concurrency: fields.or("concurrency", 32, Field::count),
            timeout: fields.or("timeout", Duration::from_mins(10), read_duration),
            retries: fields.or("retries", 5, |field| field.whole(0, 1000)),
            hedge: fields.optional("hedge", |field| field.table(|fields| Some(ServerHedge::read(fields)))),
        };
        fields.close();
        (!server.endpoints.is_empty()).then_some(server)
    }
}

impl ServerHedge {
    fn read(fields: Fields<'_>) -> Self {
        let hedge = Self {
            percentile: fields
                .or("percentile", 0.95, |field| field.number("a number above 0 and below 1", |x| x > 0.0 && x < 1.0)),
            least: fields.or("least", Duration::from_secs(1), read_duration),
            scope: fields.or("scope", ServerHedgeScope::Scores, Field::word),
        };
        fields.close();
        hedge
    }
}

fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or(text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', ' ']))
}

fn is_variable(text: &str) -> bool {
    let letter = |c: char| c == '_' || c.is_ascii_uppercase();
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// A time such as `250ms`, `30s`, `10m` or `2h`, above 0.
fn read_duration(field: &Field<'_>) -> Option<Duration> {
    let text = field
        .text_that("a time above 0 such as `250ms`, `30s`, `10m` or `2h`", |text| parse_duration(text).is_some())?;
    parse_duration(&text)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(millis)?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

impl Scratch {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let layers = fields.need("layers", "the number of layers", Field::count);
        let hidden = fields.need("hidden", "the width of the residual stream", Field::count);
        let heads = fields.need("heads", "the number of attention heads", Field::count);
        let kv_heads = fields.optional("kv-heads", Field::count);
        let ffn = fields.need("ffn", "the width of the feed-forward block", Field::count);
        let context = fields.need("context", "the most tokens", Field::count);
        let tie_embeddings = fields.or("tie-embeddings", false, Field::flag);
        let rope_theta = fields.or("rope-theta", 10_000.0, |field| field.number("a number above 0", |x| x > 0.0));
        let norm_epsilon = fields.or("norm-epsilon", 1e-5, |field| field.number("a number above 0", |x| x > 0.0));
        let tokenizer = fields.need("tokenizer", "a table of the tokenizer's settings", |field| {
            field.node.table().map_or_else(|| field.table(|_| None), |_| Some(field.node.to_json()))
        });
        let divides = |part: &'static str, whole: &'static str, expected: String, fits: bool| {
            if !fits {
                let given = format!("`{part}` and `{whole}` that do not");
                let hint = format!("change `{}` or `{}`", fields.path(part), fields.path(whole));
                fields.fault_at(part, FaultKind::Conflict { expected, given, hint });
            }
        };
        if let (Some(hidden), Some(heads)) = (hidden, heads) {
            let expected = format!("`heads` to divide `hidden` = {hidden} into parts of an even width");
            divides("heads", "hidden", expected, hidden % heads == 0 && (hidden / heads) % 2 == 0);
            if let Some(kv_heads) = kv_heads {
                let expected = format!("`kv-heads` to divide `heads` = {heads}");
                divides("kv-heads", "heads", expected, heads % kv_heads == 0);
            }
        }
        fields.close();
        Some(Self {
            layers: layers?,
            hidden: hidden?,
            heads: heads?,
            kv_heads: kv_heads.or(heads)?,
            ffn: ffn?,
            context: context?,
            tie_embeddings,
            rope_theta,
            norm_epsilon,
            tokenizer: tokenizer?,
        })
    }
}

/// Reads a table of sampling settings; what is missing is the default's.
pub(crate) fn read_sampling(field: &Field<'_>) -> Option<Sampling> {
    field.table(|fields| {
        let base = Sampling::default();
        let temperature =
            fields.or("temperature", base.temperature, |field| field.number("a number of at least 0", |x| x >= 0.0));
        let top_p = fields
            .or("top-p", base.top_p, |field| field.number("a number above 0 and at most 1", |x| x > 0.0 && x <= 1.0));
        let top_k = fields.or("top-k", base.top_k, |field| field.whole(0, i64::from(u32::MAX)));
        fields.close();
        Some(Sampling { temperature, top_p, top_k })
    })
}
