//! A small model whose next-token distribution is a hash of the last tokens.

use cord_core::{Sampling, Seed};

use crate::ByteVocabulary;

/// How many of the last tokens decide the next one's distribution.
const ORDER: usize = 3;

/// A real, if senseless, language model: every context has one distribution over the whole vocabulary, so that
/// log-probabilities are consistent however they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    weights: u64,
    vocabulary: ByteVocabulary,
}

/// What a continuation is drawn under.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How to draw.
    pub sampling: Sampling,
    /// The random stream.
    pub seed: u64,
    /// Added to the logits before drawing; the reported log-probabilities know nothing of it.
    pub bias: Vec<(u32, f64)>,
    /// The only tokens that may be drawn; all where absent.
    pub allowed: Option<Vec<u32>>,
}

impl Hashed {
    /// A model whose weights are a number.
    pub fn new(weights: u64, vocabulary: ByteVocabulary) -> Self {
        Self { weights, vocabulary }
    }

    /// The log-probability of every token after `context`, in nats.
    pub fn logprobs(&self, context: &[u32]) -> Vec<f64> {
        let logits = self.logits(context);
        let total = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
        logits.into_iter().map(|x| x - total).collect()
    }

    /// What its reward head says of the last token: the probability of the label *right*.
    pub fn right(&self, context: &[u32]) -> f64 {
        (self.logprobs(context)[usize::from(b'+')] / 8.0).exp()
    }

    fn logits(&self, context: &[u32]) -> Vec<f64> {
        let last = &context[context.len().saturating_sub(ORDER)..];
        let state = last.iter().fold(self.weights, |state, id| mix(state ^ u64::from(*id)));
        let logit = |id: u32| {
            let uniform = (mix(state ^ (u64::from(id) << 32)) >> 11) as f64 / (1u64 << 53) as f64;
            let liking = match id {
                10 | 32..127 => 0.0,
                257 => 2.5,
                258 => -2.0,
                259.. => 1.5,
                // Broken characters are rare but do come.
                _ => -6.0,
            };
            // Exponential: a few tokens stand out, as in a real model.
            liking - 2.0 * (1.0 - uniform).ln()
        };
        (0..self.vocabulary.size() as u32).map(logit).collect()
    }

    /// Draws tokens until `ends` says so.
    pub fn draw(&self, prompt: &[u32], rules: &Rules, mut ends: impl FnMut(&[u32]) -> bool) -> Vec<u32> {
        let mut stream = Seed::root(rules.seed).stream();
        let mut all = prompt.to_vec();
        loop {
            let mut logits = self.logits(&all);
            for (id, bias) in &rules.bias {
                logits[*id as usize] += bias;
            }
            if let Some(allowed) = &rules.allowed {
                let keep = |(id, logit)| if allowed.contains(&(id as u32)) { logit } else { f64::NEG_INFINITY };
                logits = logits.into_iter().enumerate().map(keep).collect();
            }
            all.push(pick(&logits, rules.sampling, stream.uniform()));
            if ends(&all[prompt.len()..]) {
                return all.split_off(prompt.len());
            }
        }
    }
}

/// Temperature, then top-k, then top-p.
fn pick(logits: &[f64], sampling: Sampling, uniform: f64) -> u32 {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    if sampling.temperature == 0.0 {
        return order[0] as u32;
    }
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k as usize);
    }
    let weight = |id: usize| ((logits[id] - logits[order[0]]) / sampling.temperature).exp();
    let mass: f64 = order.iter().map(|id| weight(*id)).sum();
    let mut sum = 0.0;
    let reach = order.iter().position(|id| {
        sum += weight(*id) / mass;
        sum >= sampling.top_p
    });
    let kept = &order[..reach.map_or(order.len(), |last| last + 1)];
    let mut left = uniform * kept.iter().map(|id| weight(*id)).sum::<f64>();
    let chosen = kept.iter().find(|id| {
        left -= weight(**id);
        left < 0.0
    });
    *chosen.unwrap_or(&kept[0]) as u32
}

/// SplitMix64's finaliser.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_distribution() {
        let model = Hashed::new(7, ByteVocabulary::new());
        let logprobs = model.logprobs(&[1, 2, 3]);
        assert!((logprobs.iter().map(|x| x.exp()).sum::<f64>() - 1.0).abs() < 1e-9);
        let mut counts = vec![0.0; logprobs.len()];
        for seed in 0..4000 {
            let sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0 };
            let rules = Rules { sampling, seed, bias: Vec::new(), allowed: None };
            counts[model.draw(&[1, 2, 3], &rules, |_| true)[0] as usize] += 1.0 / 4000.0;
        }
        for (count, logprob) in counts.iter().zip(&logprobs) {
            assert!((count - logprob.exp()).abs() < 0.03);
        }
        assert_ne!(logprobs, Hashed::new(8, ByteVocabulary::new()).logprobs(&[1, 2, 3]));
    }
}
