//! Agreement beyond chance between judges, and between a judge and people. Labels are nominal: no verdict is nearer to
//! one than to another.
//!
//! Each coefficient is 1 for perfect agreement and 0 for what chance gives; it has no value where every rating is the
//! same label, since chance would then agree always.

use std::collections::BTreeMap;

/// Cohen's kappa (1960) of two raters' labels of the same items.
pub fn cohen_kappa<L: Ord + Copy>(pairs: &[(L, L)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let mut shares: BTreeMap<L, (f64, f64)> = BTreeMap::new();
    for (a, b) in pairs {
        shares.entry(*a).or_default().0 += 1.0 / n;
        shares.entry(*b).or_default().1 += 1.0 / n;
    }
    let observed = pairs.iter().filter(|(a, b)| a == b).count() as f64 / n;
    let expected: f64 = shares.values().map(|(a, b)| a * b).sum();
    coefficient(observed, expected)
}

/// Fleiss' kappa (1971) over items that all raters have labelled; others are left out. Each row is an item's labels, one
/// for each rater.
pub fn fleiss_kappa<L: Ord + Copy>(items: &[Vec<Option<L>>]) -> Option<f64> {
    let complete: Vec<Vec<L>> = items.iter().filter_map(|row| row.iter().copied().collect()).collect();
    let raters = complete.first()?.len() as f64;
    if raters < 2.0 {
        return None;
    }
    let n = complete.len() as f64;
    let mut totals: BTreeMap<L, f64> = BTreeMap::new();
    let mut observed = 0.0;
    for row in &complete {
        let mut counts: BTreeMap<L, f64> = BTreeMap::new();
        for label in row {
            *counts.entry(*label).or_default() += 1.0;
        }
        observed += counts.values().map(|c| c * (c - 1.0)).sum::<f64>() / (raters * (raters - 1.0)) / n;
        for (label, count) in counts {
            *totals.entry(label).or_default() += count / (n * raters);
        }
    }
    coefficient(observed, totals.values().map(|share| share * share).sum())
}

/// Krippendorff's alpha (nominal) over any number of raters with missing labels. Items with fewer than two labels say nothing.
pub fn krippendorff_alpha<L: Ord + Copy>(items: &[Vec<Option<L>>]) -> Option<f64> {
    let mut totals: BTreeMap<L, f64> = BTreeMap::new();
    let (mut agreeing, mut n) = (0.0, 0.0);
    for row in items {
        let mut counts: BTreeMap<L, f64> = BTreeMap::new();
        for label in row.iter().flatten() {
            *counts.entry(*label).or_default() += 1.0;
        }
        let ratings: f64 = counts.values().sum();
        if ratings < 2.0 {
            continue;
        }
        n += ratings;
        agreeing += counts.values().map(|c| c * (c - 1.0)).sum::<f64>() / (ratings - 1.0);
        for (label, count) in counts {
            *totals.entry(label).or_default() += count;
        }
    }
    if n < 2.0 {
        return None;
    }
    let by_chance: f64 = totals.values().map(|total| total * (total - 1.0)).sum();
    coefficient(agreeing / n, by_chance / (n * (n - 1.0)))
}

fn coefficient(observed: f64, expected: f64) -> Option<f64> {
    let value = (observed - expected) / (1.0 - expected);
    (expected < 1.0 - 1e-12 && value.is_finite()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("a value");
        assert!((found - expected).abs() < 5e-4, "expected {expected}, got {found}");
    }

    #[test]
    fn published_examples_come_out() {
        let pairs = [((1, 1), 20), ((1, 0), 5), ((0, 1), 10), ((0, 0), 15)];
        let pairs: Vec<(i32, i32)> = pairs.into_iter().flat_map(|(pair, n)| vec![pair; n]).collect();
        close(cohen_kappa(&pairs), 0.4);

        let table: [[usize; 5]; 10] = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let rows: Vec<Vec<Option<usize>>> = table
            .iter()
            .map(|counts| counts.iter().enumerate().flat_map(|(label, n)| vec![Some(label); *n]).collect())
            .collect();
        close(fleiss_kappa(&rows), 0.2099);

        // Krippendorff (2011), four observers and twelve units with missing values.
        let raters = ["1233214120..", "123322412503", ".33323422510", "123324412510"];
        let label = |c: char| c.to_digit(10).filter(|d| *d > 0);
        let items: Vec<Vec<Option<u32>>> =
            (0..12).map(|unit| raters.iter().map(|rater| label(rater.chars().nth(unit).unwrap())).collect()).collect();
        close(krippendorff_alpha(&items), 0.743);
    }

    #[test]
    fn no_variation_has_no_coefficient() {
        assert_eq!(cohen_kappa(&[(1, 1), (1, 1)]), None);
        assert_eq!(cohen_kappa::<u8>(&[]), None);
        assert_eq!(fleiss_kappa(&[vec![Some(1), Some(1)]]), None);
        assert_eq!(fleiss_kappa(&[vec![Some(1), None]]), None);
        assert_eq!(krippendorff_alpha(&[vec![Some(1), None], vec![Some(2), None]]), None);
        close(krippendorff_alpha(&[vec![Some(1), Some(1)], vec![Some(2), Some(2)]]), 1.0);
    }
}
