//! Batched log-probabilities of given continuations, reading a shared prefix once.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use cord_core::{ModelError, TokenLogprob};

use crate::prefix_cache::PrefixCache;
use crate::{Transformer, batch};

/// The log-probability of each continuation's tokens given its prompt.
///
/// Requests are `(prompt, continuation)`, both of at least one token. Sibling candidates of a search share most of
/// their prompt; such requests are grouped, the shared tokens are read once, and only the rest is read for each.
///
/// # Errors
/// For each request on its own: [`ModelError::NotFinite`].
pub fn score(
    model: &Transformer,
    known: &mut PrefixCache,
    name: &str,
    requests: &[(Vec<u32>, Vec<u32>)],
) -> Vec<Result<Vec<TokenLogprob>, ModelError>> {
    if requests.is_empty() {
        return Vec::new();
    }
    // The last token is predicted, never read.
    let rows: Vec<Vec<u32>> = requests
        .iter()
        .map(|(prompt, continuation)| [prompt.as_slice(), &continuation[..continuation.len() - 1]].concat())
        .collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    // The position that predicts the first token of the continuation has to be read with the rest.
    let own: Vec<usize> = requests.iter().map(|(_, continuation)| continuation.len()).collect();
    let targets: Vec<i64> = requests.iter().flat_map(|(_, tokens)| tokens.iter().map(|id| i64::from(*id))).collect();
    let count = targets.len();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [count, 1]), &model.device());
    let hidden = batch::tails(model, known, &rows, &own);
    let logprobs = log_softmax(model.logits(hidden), 1).gather(1, targets);
    let logprobs: Vec<f32> = logprobs.into_data().try_into_vec().expect("log-probabilities are f32");

    let mut next = 0;
    let mut result = |(_, continuation): &(Vec<u32>, Vec<u32>)| {
        let values = &logprobs[next..next + continuation.len()];
        next += continuation.len();
        finite(name, continuation, values)
    };
    requests.iter().map(&mut result).collect()
}

pub(crate) fn finite(name: &str, tokens: &[u32], values: &[f32]) -> Result<Vec<TokenLogprob>, ModelError> {
    let token = |(index, (token, value)): (usize, (&u32, &f32))| {
        if value.is_finite() {
            // Rounding can leave a hair above 0 for a token that is all but certain.
            Ok(TokenLogprob { token: *token, logprob: f64::from(*value).min(0.0) })
        } else {
            Err(ModelError::NotFinite { model: name.to_owned(), given: value.to_string(), index })
        }
    };
    tokens.iter().zip(values).enumerate().map(token).collect()
}
