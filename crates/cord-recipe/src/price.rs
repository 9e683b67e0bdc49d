//! `[run.prices.<model>]`: what a model's work costs. In no key: the same work at another price is the same work.

use serde::Serialize;

use crate::fault::FaultKind;
use crate::reader::{Field, Fields};

/// The price of a model's work, in whatever currency the recipe's author thinks of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum Price {
    /// By token.
    Tokens(TokenPrice),
    /// By the time of the GPUs.
    Gpus(GpuPrice),
}

/// The price of a million tokens of each kind. A kind without a price is not known to be free: work that has such
/// tokens has no price.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenPrice {
    /// Of the prompts of generations.
    pub prompt: Option<f64>,
    /// Of those that the server found in its prefix cache. Where absent, all prompt tokens have the price of `prompt`.
    pub cached: Option<f64>,
    /// Of what is generated.
    pub generated: Option<f64>,
    /// Of what is scored: of the tokens whose log-probabilities are asked for. The prompts before them are part of this
    /// price, for models do not say how long those are.
    pub scored: Option<f64>,
}

/// The price of GPUs by the hour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GpuPrice {
    /// Of one GPU for an hour.
    pub gpu_hour: f64,
    /// The GPUs that serve the model.
    pub gpus: u32,
}

impl Price {
    pub(crate) fn read(fields: Fields<'_>) -> Self {
        let price = |field: &Field<'_>| field.number("a number of at least 0", |price| price >= 0.0);
        let tokens = TokenPrice {
            prompt: fields.optional("prompt", price),
            cached: fields.optional("cached", price),
            generated: fields.optional("generated", price),
            scored: fields.optional("scored", price),
        };
        let gpu_hour = fields.optional("gpu-hour", price);
        let gpus = fields.or("gpus", 1, Field::count);
        let by_token = ["prompt", "cached", "generated", "scored"].into_iter().find(|key| fields.has(key));
        match (by_token, fields.has("gpu-hour")) {
            (Some(key), true) => {
                let (expected, given) = ("prices of tokens or of GPUs".to_owned(), "both".to_owned());
                let hint = format!("remove `{}` or the prices of tokens", fields.path("gpu-hour"));
                fields.fault_at(key, FaultKind::Conflict { expected, given, hint });
            }
            (None, false) => fields.missing("generated", "a price of tokens (or of GPUs as `gpu-hour`)"),
            (Some(_), false) if fields.has("gpus") => {
                fields.missing("gpu-hour", "the price of one GPU for an hour");
            }
            _ => {}
        }
        fields.close();
        gpu_hour.map_or(Self::Tokens(tokens), |gpu_hour| Self::Gpus(GpuPrice { gpu_hour, gpus }))
    }
}
