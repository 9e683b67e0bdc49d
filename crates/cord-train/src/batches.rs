//! Which examples each step sees: a pure function of the seed, so that a data cursor is just the step's number.

use cord_core::Seed;

/// Batches that are sorted by length together, so that the samples of a batch, and its parts, take about as long.
const WINDOW: usize = 16;

/// The examples of one optimiser step, as indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch(pub Vec<usize>);

/// The order of a whole run.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    lengths: Vec<usize>,
    batch: usize,
    seed: Seed,
}

impl BatchPlan {
    /// A plan over examples of the given lengths.
    pub fn new(lengths: Vec<usize>, batch: usize, seed: Seed) -> Self {
        Self { lengths, batch, seed }
    }

    /// Steps of one epoch; the last one may be short.
    pub fn steps_per_epoch(&self) -> usize {
        self.lengths.len().div_ceil(self.batch)
    }

    /// The batches of an epoch, counted from 0: shuffled, then grouped by length in windows of 16
    /// batches, then the batches of the epoch shuffled. Every example appears once.
    pub fn epoch(&self, epoch: usize) -> Vec<Batch> {
        let mut stream = self.seed.named("epoch").indexed(epoch as u64).stream();
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        stream.shuffle(&mut order);
        let mut batches = Vec::with_capacity(self.steps_per_epoch());
        for window in order.chunks_mut(self.batch * WINDOW) {
            window.sort_by_key(|index| (self.lengths[*index], *index));
            batches.extend(window.chunks(self.batch).map(|chunk| Batch(chunk.to_vec())));
        }
        stream.shuffle(&mut batches);
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_every_example_once_and_epochs_differ() {
        let lengths: Vec<usize> = (0..103).map(|i| 10 + (i * 37) % 50).collect();
        let plan = BatchPlan::new(lengths, 8, Seed::root(1));
        let first = plan.epoch(0);
        assert_eq!(first.len(), plan.steps_per_epoch());
        let mut seen: Vec<usize> = first.iter().flat_map(|b| b.0.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..103).collect::<Vec<_>>());
        assert_eq!(first, plan.epoch(0));
        assert_ne!(first, plan.epoch(1));
    }
}
