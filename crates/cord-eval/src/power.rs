//! How many problems a comparison needs.

use crate::error::StatsError;
use crate::interval::{Range, check_range};
use crate::scores::Scores;

/// `(z₀.₉₇₅ + z₀.₈)²`: a two-sided test at 5 % that sees the difference in 80 % of cases.
const QUANTILES: f64 = 7.848_879_7;

/// How many problems are needed to see a difference of `difference` in means, at 5 % (two-sided) with 80 % power, where a
/// problem's difference between the two models has this variance.
pub fn problems_needed(variance: f64, difference: f64) -> u64 {
    (QUANTILES * variance / (difference * difference)).ceil() as u64
}

/// The variance of a problem's difference between two models like this one that err independently: twice the variance
/// between problems. Models that find the same problems hard need fewer; measure that by
/// [`difference_variance`].
pub fn independent_variance(scores: &Scores) -> Result<f64, StatsError> {
    check_range(std::slice::from_ref(scores), Range::Unit)?;
    variance(&scores.means().into_values().collect::<Vec<_>>()).map(|variance| 2.0 * variance)
}

/// The variance of the problems' differences between two models.
pub fn difference_variance(first: &Scores, second: &Scores) -> Result<f64, StatsError> {
    let second = second.means();
    let differences: Vec<f64> =
        first.means().into_iter().filter_map(|(id, value)| Some(value - second.get(id)?)).collect();
    variance(&differences)
}

fn variance(values: &[f64]) -> Result<f64, StatsError> {
    if values.len() < 2 {
        return Err(StatsError::TooFewProblems { needed: 2, given: values.len() });
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Ok(values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::Seed;

    #[test]
    fn the_needed_number_has_the_power_that_it_promises() {
        // A problem is won by one model or the other, or neither; the test is the paired z test.
        let (win, lose) = (0.14, 0.10);
        let variance = win + lose - (win - lose) * (win - lose);
        let needed = problems_needed(variance, win - lose);
        let mut seen = 0;
        let runs = 2_000;
        for run in 0..runs {
            let mut stream = Seed::root(5).indexed(run).stream();
            let draws: Vec<f64> = (0..needed)
                .map(|_| match stream.uniform() {
                    u if u < win => 1.0,
                    u if u < win + lose => -1.0,
                    _ => 0.0,
                })
                .collect();
            let mean = draws.iter().sum::<f64>() / needed as f64;
            let error = (super::variance(&draws).unwrap() / needed as f64).sqrt();
            seen += u32::from((mean / error).abs() > 1.96);
        }
        let power = f64::from(seen) / runs as f64;
        assert!((0.77..=0.83).contains(&power), "{needed} problems: power {power}");
    }

    #[test]
    fn variances_are_between_problems() {
        let scores = |values: &[(&str, f64)]| values.iter().copied().collect::<Scores>();
        let first = scores(&[("a", 1.0), ("b", 0.0), ("c", 1.0), ("c", 0.0)]);
        assert!((independent_variance(&first).unwrap() - 0.5).abs() < 1e-12);
        let second = scores(&[("a", 1.0), ("b", 1.0), ("x", 0.0)]);
        assert!((difference_variance(&first, &second).unwrap() - 0.5).abs() < 1e-12);
        assert!(difference_variance(&first, &scores(&[("a", 1.0)])).is_err());
        assert_eq!(problems_needed(0.25, 0.02), 4906);
    }
}
