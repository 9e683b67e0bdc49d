//! Supervised fine-tuning: examples by the cross-entropy of their supervised tokens.

use std::borrow::Cow;
use std::path::Path;

use cord_core::Digest;
use cord_lm::{Pass, Supervised, Transformer, packed_gradient, packed_loss};
use serde::{Deserialize, Serialize};

use crate::training::{Interrupt, LeftOut, LengthPolicy, Objective, PartGradient, Run, beginning, pool};
use crate::{StepReport, TrainError, TrainReport, TrainSettings, validation};

/// One training sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What to call it in messages.
    pub id: String,
    /// Token ids.
    pub ids: Vec<u32>,
    /// Which of the tokens are to be learned; the first never can be.
    pub supervised: Vec<bool>,
}

/// What is learnt from, and what the loss is measured on beside.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// To learn from.
    pub training: &'a [Example],
    /// To measure on; empty where [`TrainSettings::validation`] is absent.
    pub validation: &'a [Example],
}

impl<'a, T: AsRef<[Example]> + ?Sized> From<&'a T> for Data<'a> {
    fn from(training: &'a T) -> Self {
        Self { training: training.as_ref(), validation: &[] }
    }
}

/// Trains a model.
///
/// With `checkpoints`, the state is saved there every `every` steps and a run that finds a state of its own goes on
/// from it: ten steps are the same, bit for bit on the CPU, as five, a kill, and five more.
///
/// With [`TrainSettings::lora`], the model that comes back has adapters; [`Transformer::merged`] adds them to its weights.
///
/// # Errors
/// See [`TrainError`].
pub fn train<'a>(
    model: Transformer,
    data: impl Into<Data<'a>>,
    settings: &TrainSettings,
    checkpoints: Option<(&Path, usize)>,
    threads: usize,
    interrupt: Interrupt<'_>,
    observe: &mut dyn FnMut(&StepReport),
) -> Result<(Transformer, TrainReport), TrainError> {
    let data = data.into();
    let (chosen, left) = choose(data.training, settings, &model)?;
    let measured = if validation::wanted(settings, data.validation)? {
        choose(data.validation, settings, &model)?.0
    } else {
        Vec::new()
    };
    let [kept, measured] = [&chosen, &measured].map(|all| all.iter().map(AsRef::as_ref).collect::<Vec<&Example>>());
    let identity = Digest::of_json(&(settings, &kept, &measured, beginning(&model)));
    let pool = &pool(threads)?;
    let run = Run { objective: Likelihood, kept, measured, left, settings, checkpoints, identity, pool };
    run.train(model, interrupt, observe)
}

/// The mean over a batch's supervised tokens, each with the same weight.
struct Likelihood;

impl Objective for Likelihood {
    type Item = Example;

    fn id(item: &Example) -> &str {
        &item.id
    }

    fn tokens(item: &Example) -> usize {
        item.ids.len()
    }

    fn supervised(item: &Example) -> usize {
        item.supervised_tokens()
    }

    fn weight(item: &Example) -> usize {
        item.supervised_tokens()
    }

    fn gradient(&self, model: &Transformer, part: &[&Example], share: f64, how: Pass) -> PartGradient {
        let samples: Vec<Supervised<'_>> = part.iter().map(|e| e.sample(share)).collect();
        let (loss, gradient) = packed_gradient(model, &samples, how);
        PartGradient { loss, rewards: None, gradient }
    }

    fn loss(&self, model: &Transformer, part: &[&Example]) -> f64 {
        let samples: Vec<Supervised<'_>> = part.iter().map(|e| e.sample(1.0)).collect();
        packed_loss(model, &samples)
    }
}

impl Example {
    pub(crate) fn supervised_tokens(&self) -> usize {
        self.supervised.iter().skip(1).filter(|s| **s).count()
    }

    pub(crate) fn sample(&self, weight: f64) -> Supervised<'_> {
        Supervised { ids: &self.ids, supervised: &self.supervised, weight }
    }

    /// Its first `limit` tokens.
    pub(crate) fn cut(&self, limit: usize) -> Self {
        let limit = limit.min(self.ids.len());
        let (ids, supervised) = (self.ids[..limit].to_vec(), self.supervised[..limit].to_vec());
        Self { id: self.id.clone(), ids, supervised }
    }

    pub(crate) fn fault(&self, vocab: usize) -> Option<String> {
        let Self { id, ids, supervised } = self;
        if supervised.len() != ids.len() {
            let (expected, given) = (ids.len(), supervised.len());
            return Some(format!("`{id}`: expected a mask of {expected} tokens, got one of {given}"));
        }
        let place = ids.iter().position(|token| *token as usize >= vocab)?;
        Some(format!("`{id}`: expected token ids below {vocab}, got {} at token {place}", ids[place]))
    }
}

/// The examples that take part, by length and by what is supervised, and how many others there are.
fn choose<'a>(
    examples: &'a [Example],
    settings: &TrainSettings,
    model: &Transformer,
) -> Result<(Vec<Cow<'a, Example>>, LeftOut), TrainError> {
    settings.check()?;
    let faults: Vec<String> = examples.iter().filter_map(|e| e.fault(model.config().vocab)).collect();
    if !faults.is_empty() {
        return Err(TrainError::Examples { faults });
    }
    let limit = settings.max_length.min(model.config().context);
    let (long, short): (Vec<&Example>, Vec<&Example>) = examples.iter().partition(|e| e.ids.len() > limit);
    let mut rest: Vec<Cow<'a, Example>> = short.into_iter().map(Cow::Borrowed).collect();
    let mut left = LeftOut::default();
    match settings.too_long {
        LengthPolicy::Error if !long.is_empty() => {
            let examples = long.iter().map(|e| (e.id.clone(), e.ids.len())).collect();
            return Err(TrainError::TooLong { limit, examples });
        }
        LengthPolicy::Error | LengthPolicy::Drop => left.too_long = long.len(),
        LengthPolicy::Truncate => {
            left.truncated = long.len();
            rest.extend(long.into_iter().map(|e| Cow::Owned(e.cut(limit))));
        }
    }
    let (kept, empty): (Vec<_>, Vec<_>) = rest.into_iter().partition(|e| e.supervised_tokens() > 0);
    if kept.is_empty() {
        return Err(TrainError::NoExamples { given: examples.len() });
    }
    left.unsupervised = empty.len();
    Ok((kept, left))
}
