//! Seeds derived by hashing, and the random stream that a seed opens.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::{Digest, Digester};

/// A seed, derived from a parent by name and index.
///
/// Deriving by hash, not by counting, makes the random numbers of one candidate independent of how
/// many other candidates exist and of the order in which they are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(Digest);

impl Seed {
    /// The root seed of a recipe.
    pub fn root(number: u64) -> Self {
        Self(Digester::new("cord-seed").part(&number.to_le_bytes()).finish())
    }

    /// A child named by text: a stage, a problem, a teacher.
    pub fn named(&self, name: &str) -> Self {
        Self(Digester::new("name").part(self.0.as_bytes()).part(name.as_bytes()).finish())
    }

    /// A child named by number: a depth, a beam, a sample.
    pub fn indexed(&self, index: u64) -> Self {
        Self(Digester::new("index").part(self.0.as_bytes()).part(&index.to_le_bytes()).finish())
    }

    /// Opens the seed's random stream.
    pub fn stream(&self) -> SeedStream {
        SeedStream(ChaCha8Rng::from_seed(*self.0.as_bytes()))
    }
}

/// A reproducible stream of random numbers: ChaCha with 8 rounds, the same on every platform.
#[derive(Clone, Debug)]
pub struct SeedStream(ChaCha8Rng);

impl SeedStream {
    /// A number in `[0, 1)` with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// An integer in `0..bound`, without the bias of a plain remainder.
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a random integer needs a bound above 0");
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return draw % bound;
            }
        }
    }

    /// A draw from the standard normal distribution (Box and Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_its_children_differ() {
        let root = Seed::root(17);
        assert_eq!(root.named("a").stream().uniform(), root.named("a").stream().uniform());
        assert_ne!(root.named("a").stream().uniform(), root.named("b").stream().uniform());
        assert_ne!(root.indexed(0), root.indexed(1));
        assert_ne!(root.named("x").indexed(1), root.indexed(1).named("x"));
    }

    #[test]
    fn draws_have_the_right_moments() {
        let mut stream = Seed::root(1).stream();
        let n = 20_000;
        let uniform = (0..n).map(|_| stream.uniform()).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.01, "mean of uniform draws: {uniform}");
        let normals: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!((variance - 1.0).abs() < 0.05, "variance of normal draws: {variance}");
        let mut counts = [0; 7];
        (0..n).for_each(|_| counts[stream.below(7) as usize] += 1);
        assert!(counts.iter().all(|c| (f64::from(*c) / f64::from(n) - 1.0 / 7.0).abs() < 0.01));
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<u32> = (0..50).collect();
        Seed::root(3).stream().shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
