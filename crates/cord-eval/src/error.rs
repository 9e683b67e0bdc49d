//! What can be wrong with an evaluation's inputs.

/// Why an evaluation could not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Samples are named by problem and number, so a problem's id may occur once only.
    #[error("expected each problem id once, got more than one of {}", listed(ids))]
    DuplicateProblems {
        /// The ids, sorted.
        ids: Vec<String>,
    },
    /// The evaluation was told to stop.
    #[error("stopped after {ended} of {total} samples; run the same command again to go on from there")]
    Interrupted {
        /// Samples that ended.
        ended: u64,
        /// Samples that were asked for.
        total: u64,
    },
}

/// Why a prompt template was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The model would never see the problem.
    #[error("expected `{{question}}` in the user's turn of the prompt, got `{given}`")]
    NoQuestion {
        /// The user's turn.
        given: String,
    },
    /// Braces with a name that nothing fills.
    #[error(
        "expected no placeholder but `{{question}}`, `{{context}}` and `{{options}}` in the prompt, got {}",
        listed(names)
    )]
    UnknownPlaceholders {
        /// The placeholders with their braces, in order.
        names: Vec<String>,
    },
}

/// Why a statistic has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// Too few problems have a value in every replicate.
    #[error("expected at least {needed} problems with a value in every replicate, got {given}")]
    TooFewProblems {
        /// The least number.
        needed: usize,
        /// How many there are.
        given: usize,
    },
    /// A value is NaN, infinite or outside its range.
    #[error("problem `{problem}`: expected a value in {range}, got `{given}`")]
    OutOfRange {
        /// The problem.
        problem: String,
        /// The range, as an interval.
        range: &'static str,
        /// The value.
        given: f64,
    },
    /// pass@k needs at least k samples of each problem.
    #[error("problem `{problem}`: expected at least {k} samples for pass@{k}, got {given}")]
    TooFewSamples {
        /// The problem.
        problem: String,
        /// The k of pass@k.
        k: u32,
        /// How many samples there are.
        given: usize,
    },
    /// Paired sets must have the same replicates, unless one has a single replicate.
    #[error("expected as many replicates in both sets, or one in either, got {first} and {second}")]
    DifferentReplicates {
        /// Replicates of the first set.
        first: usize,
        /// Replicates of the second set.
        second: usize,
    },
    /// A Shapley value needs the worth of every subset.
    #[error("expected values of every subset of {members} members, got none of the subset `{}`", bits(*coalition, *members))]
    MissingCoalition {
        /// The subset, a bit for each member.
        coalition: u32,
        /// How many members the pool has.
        members: u32,
    },
}

/// A subset as people read it, the last member first.
fn bits(coalition: u32, members: u32) -> String {
    format!("{coalition:0width$b}", width = members as usize)
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
