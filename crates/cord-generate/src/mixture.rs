//! Several signals as one score.

use std::sync::Arc;

use cord_core::{BoxFuture, Problem, Usage};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::{Evidence, GenerateError, Judged, Scope, Score, Scorer};

/// What of each signal is mixed. Signals have scales of their own: a length in characters beside a probability would decide
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Its value as it is: for signals of one scale, such as probabilities. Mixtures keep their meaning from depth to depth.
    #[default]
    AsIs,
    /// Its rank among the candidates that are judged together: the share of the others that it beats, an equal one counting
    /// half, so in [0, 1]; a candidate without others has 0.5. It says nothing beyond those candidates: a finished
    /// trajectory that keeps competing does so by the rank that it had among its own siblings.
    Rank,
}

/// Scores a candidate by the weighted mean of several signals.
pub struct Mixture {
    /// Each with its share; the shares sum to 1.
    signals: Vec<(f64, Arc<dyn Scorer>)>,
    scale: Scale,
}

impl Mixture {
    /// A mixture of signals, at least one, each with a finite weight above 0. Only the weights' proportions matter.
    pub fn new(signals: Vec<(f64, Arc<dyn Scorer>)>, scale: Scale) -> Result<Self, GenerateError> {
        if signals.is_empty() {
            return Err(GenerateError::NoSignals { scorer: "mixture", expected: "at least one signal" });
        }
        if let Some((weight, _)) = signals.iter().find(|(weight, _)| !(weight.is_finite() && *weight > 0.0)) {
            let (scorer, given) = ("mixture".to_owned(), weight.to_string());
            return Err(GenerateError::NotFinite { scorer, expected: "finite weights above 0", given });
        }
        let sum: f64 = signals.iter().map(|(weight, _)| weight).sum();
        Ok(Self { signals: signals.into_iter().map(|(weight, signal)| (weight / sum, signal)).collect(), scale })
    }
}

impl Scorer for Mixture {
    fn name(&self) -> &'static str {
        "mixture"
    }

    fn scope(&self) -> Scope {
        let together = |signal: &Arc<dyn Scorer>| signal.scope() == Scope::Siblings;
        match self.scale {
            Scale::AsIs if !self.signals.iter().any(|(_, signal)| together(signal)) => Scope::Each,
            Scale::AsIs | Scale::Rank => Scope::Siblings,
        }
    }

    fn evidence(&self) -> Evidence {
        let writing = |signal: &Arc<dyn Scorer>| signal.evidence() == Evidence::Writing;
        if self.signals.iter().any(|(_, signal)| writing(signal)) { Evidence::Writing } else { Evidence::Text }
    }

    fn score<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a [Judged],
    ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        Box::pin(async move {
            let asked = join_all(self.signals.iter().map(|(_, signal)| signal.score(problem, candidates))).await;
            let mut mixed = vec![Score { value: Some(0.0), usage: Usage::default() }; candidates.len()];
            for ((share, signal), scores) in self.signals.iter().zip(asked) {
                let scores = scores?;
                if scores.len() != candidates.len() {
                    let (scorer, expected, given) = (signal.name().to_owned(), candidates.len(), scores.len());
                    return Err(GenerateError::ScoreCount { scorer, expected, given });
                }
                let values: Vec<Option<f64>> = scores.iter().map(|score| score.value).collect();
                if let Some(value) = values.iter().flatten().find(|value| !value.is_finite()) {
                    let (scorer, given) = (signal.name().to_owned(), value.to_string());
                    return Err(GenerateError::NotFinite { scorer, expected: "a finite score", given });
                }
                for ((mix, score), value) in mixed.iter_mut().zip(&scores).zip(scaled(self.scale, &values)) {
                    // One signal without an opinion leaves the candidate without a score.
                    mix.value = mix.value.zip(value).map(|(sum, value)| sum + share * value);
                    mix.usage += score.usage;
                }
            }
            Ok(mixed)
        })
    }
}

fn scaled(scale: Scale, values: &[Option<f64>]) -> Vec<Option<f64>> {
    if scale == Scale::AsIs {
        return values.to_vec();
    }
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let rank = |value: f64| {
        let others = known.len() - 1;
        let worse = known.iter().filter(|other| **other < value).count();
        let equal = known.iter().filter(|other| **other == value).count() - 1;
        if others == 0 { 0.5 } else { (worse as f64 + 0.5 * equal as f64) / others as f64 }
    };
    values.iter().map(|value| value.map(rank)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::executor::block_on;

    use super::*;

    /// Gives each candidate the number that its text says, or nothing.
    struct Literal(Scope, usize);

    impl Scorer for Literal {
        fn name(&self) -> &'static str {
            "literal"
        }

        fn scope(&self) -> Scope {
            self.0
        }

        fn score<'a>(
            &'a self,
            _: &'a Problem,
            candidates: &'a [Judged],
        ) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
            let usage = Usage { scored_tokens: 1, ..Usage::default() };
            let number = |one: &Judged| one.step.split(',').nth(self.1).and_then(|text| text.parse().ok());
            Box::pin(async move { Ok(candidates.iter().map(|one| Score { value: number(one), usage }).collect()) })
        }
    }

    fn mixture(weights: [f64; 2], scale: Scale) -> Mixture {
        let signal = |place| Arc::new(Literal(Scope::Each, place)) as Arc<dyn Scorer>;
        Mixture::new(vec![(weights[0], signal(0)), (weights[1], signal(1))], scale).unwrap()
    }

    fn problem() -> Problem {
        Problem { id: "p".into(), question: "q".into(), answer: "1".into(), metadata: BTreeMap::new() }
    }

    #[test]
    fn signals_are_weighed() {
        let check = |weights: [f64; 2], scale: Scale, texts: &[&str], expected: &[Option<f64>]| {
            let candidates: Vec<Judged> = texts.iter().map(|text| Judged::new("", *text)).collect();
            let scores = block_on(mixture(weights, scale).score(&problem(), &candidates)).unwrap();
            let values: Vec<Option<f64>> = scores.iter().map(|score| score.value).collect();
            let near = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-12,
                (None, None) => true,
                _ => false,
            };
            assert!(values.iter().zip(expected).all(near), "{weights:?} {scale:?} {texts:?}: {values:?}");
            assert!(scores.iter().all(|score| score.usage.scored_tokens == 2));
        };
        check([1.0, 3.0], Scale::AsIs, &["1,0", "0,1", "2,2"], &[Some(0.25), Some(0.75), Some(2.0)]);
        check([10.0, 30.0], Scale::AsIs, &["1,0"], &[Some(0.25)]);
        check([1.0, 1.0], Scale::AsIs, &["1,x", "1,1"], &[None, Some(1.0)]);
        // A length no longer drowns a probability.
        check([1.0, 1.0], Scale::Rank, &["0.1,900", "0.9,100", "0.5,10"], &[Some(0.5), Some(0.75), Some(0.25)]);
        check([1.0, 1.0], Scale::Rank, &["1,1", "1,2"], &[Some(0.25), Some(0.75)]);
        check([1.0, 1.0], Scale::Rank, &["7,7"], &[Some(0.5)]);
        check([1.0, 1.0], Scale::Rank, &["3,x", "1,1", "2,2"], &[None, Some(0.0), Some(0.75)]);
    }

    #[test]
    fn a_mixture_needs_to_see_what_its_signals_need_to_see() {
        let scope = |scale, of: Scope| {
            Mixture::new(vec![(1.0, Arc::new(Literal(of, 0)) as Arc<dyn Scorer>)], scale).unwrap().scope()
        };
        assert_eq!(scope(Scale::AsIs, Scope::Each), Scope::Each);
        assert_eq!(scope(Scale::AsIs, Scope::Siblings), Scope::Siblings);
        assert_eq!(scope(Scale::Rank, Scope::Each), Scope::Siblings);
        let certain =
            Mixture::new(vec![(1.0, Arc::new(crate::SelfCertainty) as Arc<dyn Scorer>)], Scale::AsIs).unwrap();
        assert_eq!(
            (certain.evidence(), mixture([1.0, 1.0], Scale::AsIs).evidence()),
            (Evidence::Writing, Evidence::Text)
        );
    }

    #[test]
    fn what_can_not_be_weighed_is_an_error() {
        let refused = |weight: f64| {
            let signals = vec![(weight, Arc::new(Literal(Scope::Each, 0)) as Arc<dyn Scorer>)];
            Mixture::new(signals, Scale::AsIs).err().unwrap().to_string()
        };
        for (weight, shown) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            assert_eq!(refused(weight), format!("scorer `mixture`: expected finite weights above 0, got {shown}"));
        }
        let error = Mixture::new(Vec::new(), Scale::Rank).err().unwrap();
        insta::assert_snapshot!(error, @"scorer `mixture`: expected at least one signal, got none");
        let error = block_on(mixture([1.0, 1.0], Scale::Rank).score(&problem(), &[Judged::new("", "1,NaN")]));
        insta::assert_snapshot!(error.unwrap_err(), @"scorer `literal`: expected a finite score, got NaN");
    }
}
