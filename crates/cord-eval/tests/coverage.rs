//! Coverage by simulation: how often the 95 % intervals hold the truth on clustered data.

use cord_core::{Seed, SeedStream};
use cord_eval::{Estimate, Range, Scores, mean, paired_difference};

/// A gamma draw (Marsaglia and Tsang) for any shape above 0.
fn gamma(stream: &mut SeedStream, shape: f64) -> f64 {
    if shape < 1.0 {
        return gamma(stream, shape + 1.0) * (1.0 - stream.uniform()).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - stream.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A problem's accuracy: beta with the given mean; small concentrations are nearly all or nothing.
fn accuracy(stream: &mut SeedStream, mean: f64, concentration: f64) -> f64 {
    let (a, b) = (gamma(stream, mean * concentration), gamma(stream, (1.0 - mean) * concentration));
    if a + b == 0.0 { f64::from(u8::from(stream.uniform() < mean)) } else { a / (a + b) }
}

fn draws(stream: &mut SeedStream, problem: usize, p: f64, k: u32, scores: &mut Scores) {
    let id = format!("{problem:04}");
    for _ in 0..k {
        scores.push(id.as_str(), f64::from(u8::from(stream.uniform() < p)));
    }
}

/// The share of `runs` simulated intervals that hold `truth`.
fn coverage(runs: u64, name: &str, truth: f64, simulate: impl Fn(&mut SeedStream) -> Estimate) -> f64 {
    let held = (0..runs).filter(|run| {
        let estimate = simulate(&mut Seed::root(2024).named(name).indexed(*run).stream());
        estimate.low <= truth && truth <= estimate.high
    });
    held.count() as f64 / runs as f64
}

/// With 1,000 runs the coverage itself is known to about ±1.4 points; the seeds are fixed.
#[track_caller]
fn check(name: &str, covered: f64, (least, most): (f64, f64)) {
    assert!((least..=most).contains(&covered), "{name}: expected coverage in [{least}, {most}], got {covered}");
}

#[test]
fn accuracy_over_samples_clustered_by_problem() {
    for (problems, k, truth, concentration, bounds) in [
        (500, 1, 0.5, 1.0, (0.93, 0.97)),
        (500, 16, 0.9, 1.0, (0.93, 0.97)),
        (200, 4, 0.5, 0.3, (0.93, 0.97)),
        (200, 4, 0.93, 2.0, (0.93, 0.97)),
        (200, 16, 0.1, 5.0, (0.93, 0.97)),
        (100, 4, 0.3, 1.0, (0.93, 0.97)),
        (100, 16, 0.8, 0.3, (0.93, 0.97)),
        (60, 4, 0.9, 1.0, (0.93, 0.97)),
        (30, 16, 0.5, 0.3, (0.93, 0.97)),
        (30, 16, 0.7, 2.0, (0.93, 0.98)),
        // The edges: few problems and accuracies near 1 err to the wide side.
        (30, 16, 0.95, 1.0, (0.92, 0.985)),
        (30, 4, 0.05, 2.0, (0.92, 0.985)),
    ] {
        let name = format!("n {problems}, k {k}, accuracy {truth}, concentration {concentration}");
        let covered = coverage(1000, &name, truth, |stream| {
            let mut scores = Scores::default();
            for problem in 0..problems {
                let p = accuracy(stream, truth, concentration);
                draws(stream, problem, p, k, &mut scores);
            }
            mean(&[scores], Range::Unit).unwrap()
        });
        check(&name, covered, bounds);
    }
}

/// Each seed of an arm shifts the accuracy of all problems alike.
#[test]
fn accuracy_over_several_seeds_of_an_arm() {
    for (seeds, problems, k, spread, bounds) in [
        // Seeds that do not differ: three replicates are one larger sample.
        // The estimated spread between seeds is then above 0 by chance in some runs, which widens those.
        (3, 100, 4, 0.0, (0.93, 0.98)),
        (5, 200, 2, 0.0, (0.93, 0.98)),
        // Seeds that differ as much as the problems' standard error, and much more.
        (3, 100, 4, 0.03, (0.91, 0.98)),
        (3, 200, 4, 0.1, (0.92, 0.98)),
        (5, 200, 4, 0.1, (0.92, 0.98)),
    ] {
        let name = format!("{seeds} seeds that differ by {spread}, n {problems}, k {k}");
        let covered = coverage(1000, &name, 0.5, |stream| {
            let shifts: Vec<f64> = (0..seeds).map(|_| spread * stream.normal()).collect();
            let mut replicates = vec![Scores::default(); seeds];
            for problem in 0..problems {
                // Symmetric about one half and away from the edges, so that the shifts keep the mean.
                let p = 0.3 + 0.4 * stream.uniform();
                for (scores, shift) in replicates.iter_mut().zip(&shifts) {
                    draws(stream, problem, (p + shift).clamp(0.0, 1.0), k, scores);
                }
            }
            mean(&replicates, Range::Unit).unwrap()
        });
        check(&name, covered, bounds);
    }
}

#[test]
fn real_valued_scores() {
    let covered = coverage(1000, "normal scores", 3.0, |stream| {
        let mut scores = Scores::default();
        for problem in 0..40 {
            let centre = 3.0 + stream.normal();
            (0..4).for_each(|_| scores.push(format!("{problem}"), centre + stream.normal()));
        }
        mean(&[scores], Range::Real).unwrap()
    });
    check("normal scores", covered, (0.93, 0.97));
}

#[test]
fn paired_differences() {
    for (problems, k, concentration, gain, bounds) in [
        (200, 4, 1.0, 0.05, (0.93, 0.97)),
        (100, 1, 1.0, 0.1, (0.93, 0.97)),
        (30, 16, 1.0, 0.05, (0.93, 0.97)),
        (200, 16, 1.0, 0.0, (0.93, 0.97)),
        (60, 4, 5.0, 0.1, (0.93, 0.97)),
        // Nearly every problem is always right or always wrong for both sets.
        (100, 4, 0.1, 0.02, (0.93, 0.97)),
    ] {
        let name = format!("paired, n {problems}, k {k}, concentration {concentration}, gain {gain}");
        let covered = coverage(1000, &name, gain, |stream| {
            let (mut first, mut second) = (Scores::default(), Scores::default());
            for problem in 0..problems {
                let p = 0.9 * accuracy(stream, 0.6, concentration);
                draws(stream, problem, p + gain, k, &mut first);
                draws(stream, problem, p, k, &mut second);
            }
            // The p-value is not looked at here; its calibration has its own test.
            paired_difference(&[first], &[second], Seed::root(0)).unwrap().difference
        });
        check(&name, covered, bounds);
    }
}

#[test]
fn p_values_are_calibrated_where_nothing_differs() {
    for (seeds, problems) in [(1, 12), (1, 40), (3, 60)] {
        let runs = 400;
        let rejected = (0..runs).filter(|run| {
            let mut stream = Seed::root(7).named("null").indexed(*run).stream();
            let mut sets = vec![vec![Scores::default(); seeds]; 2];
            for problem in 0..problems {
                let p = accuracy(&mut stream, 0.6, 1.0);
                sets.iter_mut().flatten().for_each(|scores| draws(&mut stream, problem, p, 4, scores));
            }
            paired_difference(&sets[0], &sets[1], Seed::root(*run)).unwrap().p_value < 0.05
        });
        let share = rejected.count() as f64 / runs as f64;
        assert!(share <= 0.08, "{seeds} seeds, n {problems}: expected at most 5 % rejections, got {share}");
    }
}
