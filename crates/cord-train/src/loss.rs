//! Cross entropy on supervised tokens only.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use cord_lm::Transformer;

use crate::sft::Example;

/// The summed negative log-likelihood, in nats, of the supervised tokens of some examples.
///
/// The head is applied to the positions that predict a supervised token and to no other.
/// The sum, not the mean, so that a step made of several parts weighs every token the same.
///
/// # Shapes
/// - output: `[1]`, and the number of supervised tokens
pub(crate) fn summed_nll(model: &Transformer, examples: &[&Example], device: &Device) -> (Tensor<1>, usize) {
    // The last token of a row is only ever a target.
    let width = examples.iter().map(|e| e.ids.len() - 1).max().unwrap_or(0);
    let mut tokens = vec![0i64; examples.len() * width];
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (line, example) in examples.iter().enumerate() {
        for (offset, id) in example.ids.iter().take(example.ids.len() - 1).enumerate() {
            tokens[line * width + offset] = i64::from(*id);
            if example.supervised[offset + 1] {
                rows.push((line * width + offset) as i64);
                targets.push(i64::from(example.ids[offset + 1]));
            }
        }
    }
    let count = rows.len();
    let ints = |values: Vec<i64>, shape: Vec<usize>| TensorData::new(values, shape);
    // [examples, width], padded on the right: a causal row never sees its padding
    let tokens = Tensor::<2, Int>::from_data(ints(tokens, vec![examples.len(), width]), device);
    let rows = Tensor::<1, Int>::from_data(ints(rows, vec![count]), device);
    let targets = Tensor::<2, Int>::from_data(ints(targets, vec![count, 1]), device);
    let hidden = model.forward(tokens).select(0, rows);
    (log_softmax(model.logits(hidden), 1).gather(1, targets).sum().neg(), count)
}
