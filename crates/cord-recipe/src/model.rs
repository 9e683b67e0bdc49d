//! `[models.<name>]`: the models that roles are given to.

use std::path::PathBuf;

use cord_core::Sampling;
use serde::Serialize;

use crate::fault::FaultKind;
use crate::reader::{Field, Fields};

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
    /// Nowhere yet: a shape to be filled with random weights and trained.
    Scratch(Scratch),
}

impl ModelSource {
    /// The name under which [`crate::Identities`] holds its digest: the path, or `hub:<name>@<revision>`. A
    /// model made from scratch needs none, for its shape says all.
    pub fn label(&self) -> Option<String> {
        match self {
            Self::Path(path) => Some(path.display().to_string()),
            Self::Hub { name, revision } => Some(format!("hub:{name}@{revision}")),
            Self::Scratch(_) => None,
        }
    }
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
            field.must_exist(&path);
            Some(ModelSource::Path(path))
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
        let sampling = fields.or("sampling", Sampling::default(), read_sampling);

        let given: Vec<String> = ["path", "hub", "scratch"]
            .into_iter()
            .filter(|key| fields.has(key))
            .map(|key| format!("`{}`", fields.path(key)))
            .collect();
        if given.is_empty() {
            fields.missing("path", "a model's folder (or `hub` with `revision`, or `scratch`)");
        } else if given.len() > 1 {
            fields.fault(FaultKind::Conflict {
                expected: "one of `path`, `hub` and `scratch`".to_owned(),
                given: given.join(" and "),
                hint: "remove all but one".to_owned(),
            });
        }
        if fields.has("hub") && !fields.has("revision") {
            fields.missing("revision", "the commit to pin the hub's model to");
        } else if fields.has("revision") && !fields.has("hub") {
            fields.missing("hub", "the hub's model that the revision is of");
        }
        fields.close();
        let hub = || Some(ModelSource::Hub { name: hub?, revision: revision? });
        let source = path.or(scratch.map(ModelSource::Scratch)).or_else(hub)?;
        Some(Self { source, sampling })
    }
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
