//! The head of a process reward model: two labels in place of a vocabulary.
//!
//! It is that of `Qwen2ForProcessRewardModel` (Qwen2.5-Math-PRM): a linear layer as wide as the model, a rectifier, and a layer to the labels
//! *wrong* and *right*, read where a mark stands after a step. What such a model can be asked: [`cord_core::REWARD_LABELS`].

use std::collections::BTreeMap;

use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};
use cord_core::{ModelError, TokenLogprob};

use crate::checkpoint::{HostTensor, transpose};
use crate::prefix_cache::PrefixCache;
use crate::score::finite;
use crate::transformer::Linear;
use crate::{Transformer, batch};

/// The tensors of a checkpoint that has the head; `score.1` is the rectifier.
const NAMES: [&str; 4] = ["score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias"];

/// A reward head.
#[derive(Clone, Debug)]
pub struct RewardHead {
    /// `[hidden, hidden]` and `[hidden, 2]`.
    layers: [Linear; 2],
}

impl RewardHead {
    /// Is there a head among a checkpoint's tensors?
    pub(crate) fn is_in(tensors: &BTreeMap<String, HostTensor>) -> bool {
        tensors.contains_key(NAMES[0])
    }

    /// Takes the head's tensors out of a checkpoint's, for a model of this width.
    ///
    /// # Errors
    /// Every tensor that is missing or of another shape.
    pub(crate) fn take(
        tensors: &mut BTreeMap<String, HostTensor>,
        hidden: usize,
        device: &Device,
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut linear = |[weight, bias]: [&str; 2], out: usize| {
            let mut tensor = |name: &str, shape: Vec<usize>| match tensors.remove(name) {
                Some((values, given)) if given == shape => values,
                given => {
                    let given = given.map_or_else(|| "none".to_owned(), |(_, given)| format!("one of {given:?}"));
                    faults.push(format!("expected a tensor `{name}` of the shape {shape:?}, got {given}"));
                    vec![0.0; shape.iter().product()]
                }
            };
            let (weight, bias) = (tensor(weight, vec![out, hidden]), tensor(bias, vec![out]));
            Linear {
                weight: Tensor::from_data(TensorData::new(transpose(&weight, out, hidden), [hidden, out]), device),
                bias: Some(Tensor::from_data(TensorData::new(bias, [out]), device)),
                adapter: None,
            }
        };
        let layers = [linear([NAMES[0], NAMES[1]], hidden), linear([NAMES[2], NAMES[3]], 2)];
        if faults.is_empty() { Ok(Self { layers }) } else { Err(faults) }
    }

    /// The log-probability of a label, 0 for *wrong* and 1 for *right*, at the last token of each prompt of at least one token. Requests are
    /// `(prompt, [label])`.
    ///
    /// # Errors
    /// For each request on its own: [`ModelError::NotFinite`].
    pub fn score(
        &self,
        model: &Transformer,
        known: &mut PrefixCache,
        name: &str,
        requests: &[(Vec<u32>, Vec<u32>)],
    ) -> Vec<Result<Vec<TokenLogprob>, ModelError>> {
        let rows: Vec<&[u32]> = requests.iter().map(|(prompt, _)| prompt.as_slice()).collect();
        let hidden = batch::tails(model, known, &rows, &vec![1; rows.len()]);
        let [first, second] = &self.layers;
        let labels = log_softmax(second.forward(relu(first.forward(hidden))), 1);
        let labels: Vec<f32> = labels.into_data().try_into_vec().expect("log-probabilities are f32");
        let of =
            |((_, label), values): (&(Vec<u32>, Vec<u32>), &[f32])| finite(name, label, &[values[label[0] as usize]]);
        requests.iter().zip(labels.chunks(2)).map(of).collect()
    }
}
