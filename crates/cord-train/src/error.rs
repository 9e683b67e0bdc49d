//! Why training stopped.

use std::path::PathBuf;

/// What went wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// There is nothing to train on.
    #[error("expected at least one training example with a supervised token, got none of {given}")]
    NoExamples {
        /// Examples that were given, before those without supervised tokens or over the length were left out.
        given: usize,
    },
    /// An example is longer than allowed and the policy is to refuse it.
    #[error("expected examples of at most {limit} tokens, got {}", list(examples))]
    TooLong {
        /// The limit.
        limit: usize,
        /// Every example over it, with its length.
        examples: Vec<(String, usize)>,
    },
    /// Examples are not sequences that the model can read.
    #[error("{}", faults.join("; "))]
    Examples {
        /// Every fault, with the example, what was expected and given.
        faults: Vec<String>,
    },
    /// The loss or the gradient is not a number.
    #[error(
        "step {step}: expected a finite loss and gradient, got a loss of {loss} and a gradient norm of {norm} on the examples {}; {}",
        quoted(examples), last_good(*checkpoint)
    )]
    Diverged {
        /// The step, from 1.
        step: usize,
        /// The loss.
        loss: f64,
        /// The norm of the gradient.
        norm: f64,
        /// The batch.
        examples: Vec<String>,
        /// The step of the last checkpoint; 0 when there is none.
        checkpoint: usize,
    },
    /// A checkpoint belongs to another run.
    #[error("`{}`: expected a checkpoint of the run {expected}, got one of {given}; remove the folder to start again", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// The digest of this run's settings and data.
        expected: String,
        /// The digest in the checkpoint.
        given: String,
    },
    /// A checkpoint can't be read or written.
    #[error("can't use the checkpoint `{}`: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What the system or the parser said.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("{}", faults.join("; "))]
    Settings {
        /// Every fault, with what was expected and given.
        faults: Vec<String>,
    },
    /// The run was asked to stop; what it had is in its checkpoint.
    #[error("stopped after step {step}; run again to go on from there")]
    Interrupted {
        /// The last finished step.
        step: usize,
    },
    /// The system gives no threads.
    #[error("no threads could be started: {reason}")]
    Threads {
        /// What the system said.
        reason: String,
    },
    /// A file of the model failed.
    #[error(transparent)]
    Lm(#[from] cord_lm::LmError),
}

fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
}

fn last_good(checkpoint: usize) -> String {
    match checkpoint {
        0 => "there is no checkpoint yet".to_owned(),
        step => format!("the last good checkpoint is of step {step}"),
    }
}

fn list(examples: &[(String, usize)]) -> String {
    let shown: Vec<String> = examples.iter().take(5).map(|(id, length)| format!("`{id}` of {length}")).collect();
    let rest = examples.len().saturating_sub(shown.len());
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
