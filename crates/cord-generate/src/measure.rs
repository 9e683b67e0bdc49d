//! What a finished trajectory is worth by a scorer that need not be the one that chose it, so that pipelines with different
//! criteria are compared on one scale.

use cord_core::{Problem, Trajectory};

use crate::ledger::reasoning_part;
use crate::{GenerateError, Judged, Score, Scorer};

/// The scorer's opinion of a trajectory's whole reasoning. Under the scorer that chose it, and where that looks at the
/// reasoning as a whole as predictive perplexity does, it is the trajectory's own score again.
///
/// # Errors
/// The scorer's, and a score that is no number.
pub async fn measure(problem: &Problem, trajectory: &Trajectory, scorer: &dyn Scorer) -> Result<Score, GenerateError> {
    let judged = [Judged::new("", reasoning_part(&trajectory.response))];
    let scores = scorer.score(problem, &judged).await?;
    let score = scores.into_iter().next().unwrap_or(Score { value: None, usage: cord_core::Usage::default() });
    match score.value {
        Some(value) if !value.is_finite() => Err(GenerateError::NotFinite {
            scorer: scorer.name().to_owned(),
            expected: "a finite score",
            given: value.to_string(),
        }),
        _ => Ok(score),
    }
}
