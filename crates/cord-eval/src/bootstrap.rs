//! The cluster bootstrap: intervals of statistics that are no means.

use cord_core::Seed;

const DRAWS: usize = 2_000;

/// The 2.5th and 97.5th percentiles of a statistic over draws of whole clusters with replacement. Draws without a
/// value are left out; without any the interval is `[0, 1]`.
pub(crate) fn percentiles<T>(clusters: &[T], statistic: &dyn Fn(&[&T]) -> Option<f64>, seed: Seed) -> (f64, f64) {
    let mut stream = seed.stream();
    let mut values: Vec<f64> = Vec::with_capacity(DRAWS);
    let mut drawn: Vec<&T> = Vec::with_capacity(clusters.len());
    for _ in 0..DRAWS {
        drawn.clear();
        drawn.extend((0..clusters.len()).map(|_| &clusters[stream.below(clusters.len() as u64) as usize]));
        values.extend(statistic(&drawn));
    }
    if values.is_empty() {
        return (0.0, 1.0);
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}
