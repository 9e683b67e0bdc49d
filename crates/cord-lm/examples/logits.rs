//! The logits of given tokens by both of this crate's paths, for `scripts/compare-models`; and the model, saved again.
//!
//! ```console
//! $ logits MODEL IDS.safetensors OUT.safetensors [SAVED]
//! ```
//!
//! `IDS` holds `input_ids`, `[rows, tokens]`. `OUT` gets `logits`, `[rows * tokens, vocab]`, as training computes them, and `logprobs`,
//! `[rows, tokens - 1]`, of every token but the first given those before, as scoring computes them.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use cord_lm::{DeviceSpec, Dtype, PrefixCache, load, open_device, read_tensors, save, score, write_tensors};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, ids, out, rest @ ..] = arguments.as_slice() else {
        return Err("expected `MODEL IDS.safetensors OUT.safetensors [SAVED]`".into());
    };
    let device = open_device(DeviceSpec::Cpu)?;
    let loaded = load(Path::new(model), model, &device)?;
    let mut tensors = read_tensors(Path::new(ids))?;
    let (ids, shape) = tensors.remove("input_ids").ok_or("expected a tensor `input_ids`")?;
    let [rows, width] = shape[..] else { return Err("expected `input_ids` of `[rows, tokens]`".into()) };
    let (mut logits, mut logprobs) = (Vec::new(), Vec::new());
    for row in ids.chunks(width) {
        let ids: Vec<i64> = row.iter().map(|id| *id as i64).collect();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, width]), &device);
        let hidden = loaded.transformer.forward(tokens);
        logits.extend(loaded.transformer.logits(hidden).into_data().try_into_vec::<f32>()?);
        let row: Vec<u32> = row.iter().map(|id| *id as u32).collect();
        // Some at a time behind what was read before: the cache is part of what is compared.
        let mut known = PrefixCache::new(usize::MAX);
        for from in (1..width).step_by(100) {
            let request = (row[..from].to_vec(), row[from..width.min(from + 100)].to_vec());
            for token in score(&loaded.transformer, &mut known, model, &[request]).remove(0)? {
                logprobs.push(token.logprob as f32);
            }
        }
    }
    let vocab = loaded.transformer.config().vocab;
    let tensors = BTreeMap::from([
        ("logits".to_owned(), (logits, vec![rows * width, vocab])),
        ("logprobs".to_owned(), (logprobs, vec![rows, width - 1])),
    ]);
    write_tensors(Path::new(out), &tensors, Dtype::F32)?;
    if let [saved] = rest {
        save(Path::new(saved), &loaded.transformer, &loaded.renderer, Dtype::F32)?;
    }
    Ok(())
}
