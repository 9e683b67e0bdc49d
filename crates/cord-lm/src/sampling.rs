//! Drawing the next token on the host, from a seeded stream.

use cord_core::{Sampling, SeedStream};

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Its id.
    pub token: u32,
    /// Its log-probability under the model itself: before temperature, top-k and top-p.
    pub logprob: f64,
}

/// Draws a token from logits.
///
/// Temperature first, then top-k, then top-p (Holtzman et al. 2020) on what is left. Zero temperature takes the most
/// likely token. Ties go to the smaller id, so that a draw never depends on the order of a sort. Exactly one random
/// number is used for each draw at a temperature above 0, none at 0.
///
/// Gives nothing when the logits hold no finite value.
pub fn draw(logits: &[f32], sampling: &Sampling, stream: &mut SeedStream) -> Option<Drawn> {
    let best = argmax(logits)?;
    let max = f64::from(logits[best]);
    let total: f64 = logits.iter().map(|x| (f64::from(*x) - max).exp()).sum();
    let logprob = |token: usize| f64::from(logits[token]) - max - total.ln();
    if !total.is_finite() {
        return None;
    }
    if sampling.temperature <= 0.0 {
        return Some(Drawn { token: best as u32, logprob: logprob(best) });
    }
    let weight = |token: usize| ((f64::from(logits[token]) - max) / sampling.temperature).exp();
    let mut kept: Vec<(usize, f64)> = (0..logits.len()).map(|token| (token, weight(token))).collect();
    let likelier = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    // Of a large vocabulary hardly anything is likely, so only that is sorted.
    let top_k = sampling.top_k as usize;
    if top_k > 0 && top_k < kept.len() {
        kept.select_nth_unstable_by(top_k - 1, likelier);
        kept.truncate(top_k);
    }
    if sampling.top_p < 1.0 {
        let mass: f64 = kept.iter().map(|(_, w)| w).sum();
        // All that are left out have less than `1 - top_p` together: what reaches `top_p` is among the others.
        let least = mass * (1.0 - sampling.top_p) / (2.0 * kept.len() as f64);
        kept.retain(|(_, w)| *w >= least);
        kept.sort_unstable_by(likelier);
        let mut sum = 0.0;
        let reach = kept.iter().position(|(_, w)| {
            sum += w / mass;
            sum >= sampling.top_p
        });
        kept.truncate(reach.map_or(kept.len(), |last| last + 1));
    } else if top_k > 0 {
        kept.sort_unstable_by(likelier);
    }
    let mass: f64 = kept.iter().map(|(_, w)| w).sum();
    let mut target = stream.uniform() * mass;
    let chosen = kept.iter().find(|(_, w)| {
        target -= w;
        target < 0.0
    });
    // Rounding can leave a sliver of the last weight; it belongs to the last token that has any.
    let token = chosen.or_else(|| kept.iter().rev().find(|(_, w)| *w > 0.0))?.0;
    Some(Drawn { token: token as u32, logprob: logprob(token) })
}

/// The index of the largest finite value, the first one of several.
fn argmax(logits: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, value) in logits.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if value.is_finite() && best.is_none_or(|b| *value > logits[b]) {
            best = Some(index);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::Seed;

    fn shares(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
        let mut stream = Seed::root(5).stream();
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            counts[draw(logits, &sampling, &mut stream).unwrap().token as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.0, 2f32.ln(), 5f32.ln(), f32::NEG_INFINITY];
        let check = |temperature, top_p, top_k, expected: [f64; 4]| {
            let given = shares(Sampling { temperature, top_p, top_k }, &logits);
            for (e, g) in expected.iter().zip(&given) {
                assert!((e - g).abs() < 0.012, "t {temperature} p {top_p} k {top_k}: {expected:?} {given:?}");
            }
        };
        check(1.0, 1.0, 0, [0.125, 0.25, 0.625, 0.0]);
        check(0.5, 1.0, 0, [1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0, 0.0]);
        check(1.0, 0.8, 0, [0.0, 2.0 / 7.0, 5.0 / 7.0, 0.0]);
        check(1.0, 0.6, 0, [0.0, 0.0, 1.0, 0.0]);
        check(1.0, 1.0, 2, [0.0, 2.0 / 7.0, 5.0 / 7.0, 0.0]);
        check(0.0, 1.0, 0, [0.0, 0.0, 1.0, 0.0]);
    }

    /// The definition, whole: all tokens sorted, the first `top_k`, of those the first that reach `top_p`.
    fn defined(logits: &[f32], sampling: &Sampling, stream: &mut SeedStream) -> u32 {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let weight = |x: f32| (f64::from(x - max) / sampling.temperature).exp();
        let mut all: Vec<(usize, f64)> = logits.iter().map(|x| weight(*x)).enumerate().collect();
        if sampling.top_k > 0 || sampling.top_p < 1.0 {
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        }
        if sampling.top_k > 0 {
            all.truncate(sampling.top_k as usize);
        }
        let mass: f64 = all.iter().map(|(_, w)| w).sum();
        let mut sum = 0.0;
        let reach = all.iter().position(|(_, w)| {
            sum += w / mass;
            sampling.top_p < 1.0 && sum >= sampling.top_p
        });
        all.truncate(reach.map_or(all.len(), |last| last + 1));
        let mut target = stream.uniform() * all.iter().map(|(_, w)| w).sum::<f64>();
        let chosen = all.iter().find(|(_, w)| {
            target -= w;
            target < 0.0
        });
        chosen.unwrap_or(&all[all.len() - 1]).0 as u32
    }

    #[test]
    fn a_draw_is_that_of_the_definition_though_little_is_sorted() {
        let mut numbers = Seed::root(8).stream();
        for (round, spread) in [0.1, 1.0, 3.0, 10.0].into_iter().cycle().take(400).enumerate() {
            let logits: Vec<f32> = (0..300).map(|_| (numbers.normal() * spread) as f32).collect();
            for (top_p, top_k) in
                [(1.0, 0), (0.95, 0), (0.3, 0), (0.0, 0), (1.0, 20), (0.9, 20), (0.999, 299), (0.5, 1000)]
            {
                let sampling = Sampling { temperature: 0.6, top_p, top_k };
                let stream = || Seed::root(9).indexed(round as u64).stream();
                let drawn = draw(&logits, &sampling, &mut stream()).unwrap();
                assert_eq!(drawn.token, defined(&logits, &sampling, &mut stream()), "{spread} {top_p} {top_k}");
            }
        }
    }

    #[test]
    fn the_log_probability_is_the_models_own() {
        let mut stream = Seed::root(1).stream();
        let sampling = Sampling { temperature: 0.0, top_p: 0.1, top_k: 1 };
        let drawn = draw(&[0.0, 3f32.ln()], &sampling, &mut stream).unwrap();
        assert!((drawn.logprob - 0.75f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn ties_go_to_the_smaller_id_and_no_numbers_give_no_token() {
        let mut stream = Seed::root(1).stream();
        let greedy = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 };
        assert_eq!(draw(&[1.0, 1.0], &greedy, &mut stream).unwrap().token, 0);
        assert_eq!(draw(&[f32::NAN, 1.0], &greedy, &mut stream), None);
        assert_eq!(draw(&[f32::NEG_INFINITY], &greedy, &mut stream), None);
        assert_eq!(draw(&[f32::INFINITY, f32::NAN], &Sampling::default(), &mut stream), None);
    }
}
