//! Batched log-probabilities of given continuations, reading a shared prefix once.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use cord_core::{ModelError, TokenLogprob};

use crate::Transformer;
use crate::decode::{padded_width, read_left_padded};
use crate::ops::AttentionMask;

/// Rows whose prefix is read once.
struct Group {
    /// Tokens of the shared prefix.
    shared: usize,
    /// Indices of the requests.
    members: Vec<usize>,
}

/// The log-probability of each continuation's tokens given its prompt.
///
/// Requests are `(prompt, continuation)`, both of at least one token. Sibling candidates of a search share most of
/// their prompt; such requests are grouped, the shared tokens are read once, and only the rest is read for each.
///
/// # Errors
/// For each request on its own: [`ModelError::NotFinite`].
pub fn score(
    model: &Transformer,
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
    let groups = group(requests, &rows);
    let device = model.device();

    let prefixes: Vec<&[u32]> = groups.iter().map(|g| &rows[g.members[0]][..g.shared]).collect();
    let width = padded_width(&prefixes);
    let order: Vec<(usize, usize)> =
        groups.iter().enumerate().flat_map(|(g, group)| group.members.iter().map(move |m| (g, *m))).collect();
    let suffix = order.iter().map(|(g, m)| rows[*m].len() - groups[*g].shared).max().unwrap_or(0);

    let mut prefix_cache = model.cache(groups.len(), width);
    // Only the keys and values are wanted.
    let _ = read_left_padded(model, &prefixes, &mut prefix_cache);
    let sources: Vec<usize> = order.iter().map(|(g, _)| *g).collect();
    let mut cache = prefix_cache.select(&sources, width + suffix);

    // The suffixes are padded on the right: what follows a real token is never seen by it.
    let (mut tokens, mut positions) = (vec![0i64; order.len() * suffix], vec![0i64; order.len() * suffix]);
    let mut starts = Vec::with_capacity(order.len());
    let mut wanted = Vec::new();
    let mut targets = Vec::new();
    for (line, (g, m)) in order.iter().enumerate() {
        let shared = groups[*g].shared;
        starts.push(width - shared);
        for (offset, token) in rows[*m][shared..].iter().enumerate() {
            tokens[line * suffix + offset] = i64::from(*token);
            positions[line * suffix + offset] = (shared + offset) as i64;
        }
        let (prompt, continuation) = &requests[*m];
        for (offset, token) in continuation.iter().enumerate() {
            wanted.push((line * suffix + prompt.len() - 1 - shared + offset) as i64);
            targets.push(i64::from(*token));
        }
    }
    let shape = [order.len(), suffix];
    let mask = AttentionMask::causal(&starts, width, suffix, &device);
    let tokens = Tensor::from_data(TensorData::new(tokens, shape), &device);
    let positions = Tensor::from_data(TensorData::new(positions, shape), &device);
    let hidden = model.hidden(tokens, positions, &mask, Some(&mut cache));

    let count = wanted.len();
    let wanted = Tensor::<1, Int>::from_data(TensorData::new(wanted, [count]), &device);
    let target = Tensor::<2, Int>::from_data(TensorData::new(targets, [count, 1]), &device);
    let logprobs = log_softmax(model.logits(hidden.select(0, wanted)), 1).gather(1, target);
    let logprobs: Vec<f32> = logprobs.into_data().try_into_vec().expect("log-probabilities are f32");

    let mut results: Vec<Option<Result<Vec<TokenLogprob>, ModelError>>> = requests.iter().map(|_| None).collect();
    let mut next = 0;
    for (_, m) in &order {
        let continuation = &requests[*m].1;
        let values = &logprobs[next..next + continuation.len()];
        next += continuation.len();
        results[*m] = Some(finite(name, continuation, values));
    }
    results.into_iter().map(|result| result.expect("every request is in a group")).collect()
}

fn finite(name: &str, tokens: &[u32], values: &[f32]) -> Result<Vec<TokenLogprob>, ModelError> {
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

/// Groups requests so that the tokens read in all are few: in the order of their tokens, a request joins the group
/// before it when that reads fewer tokens than standing alone.
fn group(requests: &[(Vec<u32>, Vec<u32>)], rows: &[Vec<u32>]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| rows[*a].cmp(&rows[*b]).then(a.cmp(b)));
    // The position that predicts the first token of the continuation has to be read with the suffix.
    let most = |m: usize| requests[m].0.len() - 1;
    let mut groups: Vec<Group> = Vec::new();
    for m in order {
        if let Some(group) = groups.last_mut() {
            let first = &rows[group.members[0]];
            let common = first.iter().zip(&rows[m]).take_while(|(a, b)| a == b).count();
            let shared = group.shared.min(common).min(most(m));
            // Sharing less costs every member the difference and saves the newcomer what it shares.
            if shared > (group.shared - shared) * (group.members.len() - 1) {
                group.shared = shared;
                group.members.push(m);
                continue;
            }
        }
        groups.push(Group { shared: most(m), members: vec![m] });
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_share_their_prefix_and_strangers_do_not() {
        let request = |prompt: &[u32], continuation: &[u32]| (prompt.to_vec(), continuation.to_vec());
        let requests = [
            request(&[1, 2, 3, 4, 9], &[7]),
            request(&[5, 6, 7, 8], &[7]),
            request(&[1, 2, 3, 4, 8], &[7, 7]),
            request(&[1, 2, 3, 4, 8], &[7, 7]),
        ];
        let rows: Vec<Vec<u32>> = requests.iter().map(|(p, c)| [p.as_slice(), &c[..c.len() - 1]].concat()).collect();
        let groups = group(&requests, &rows);
        let shape: Vec<(usize, Vec<usize>)> = groups.into_iter().map(|g| (g.shared, g.members)).collect();
        assert_eq!(shape, [(4, vec![2, 3, 0]), (3, vec![1])]);
    }
}
