//! Direct preference optimisation (Rafailov et al. 2023, equation 7): of two continuations of one prompt the chosen one becomes
//! likelier than the rejected one, beside the model as it begins.
//!
//! The loss of a pair is `-ln σ(z)`, `z = β · ((ln π(c) − ln π₀(c)) − (ln π(r) − ln π₀(r)))`, each `ln π` the sum over a continuation's
//! tokens, `π₀` the model as it begins; TRL calls it `sigmoid`. With a weight `α` the negative log-likelihood of the chosen
//! continuation's tokens, their mean, is added (Pang et al. 2024, equation 1).
//!
//! Its gradient is that of the two likelihoods, weighed: `∂/∂ln π(c) = −β σ(−z)` and `∂/∂ln π(r) = β σ(−z)`. So a part of a batch
//! is read twice: once for its likelihoods, once for the gradient with these weights. What a pass holds is what it holds in
//! supervised fine-tuning.

use std::ops::Add;
use std::path::Path;

use cord_core::Digest;
use cord_lm::{Pass, Supervised, Transformer, packed_gradient, packed_losses};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::training::{Interrupt, LeftOut, LengthPolicy, Objective, PartGradient, Run, beginning, pool};
use crate::{Example, StepReport, TrainError, TrainReport, TrainSettings, packing, validation};

/// Two continuations of one prompt. Every token of theirs is learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// What to call it in messages.
    pub id: String,
    /// What both continue; at least one token.
    pub prompt: Vec<u32>,
    /// The better one.
    pub chosen: Vec<u32>,
    /// The worse one.
    pub rejected: Vec<u32>,
}

/// How pairs are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// How much the model may leave the one that it begins as: the higher, the less.
    pub beta: f64,
    /// The weight of the chosen continuation's own likelihood; 0 is plain DPO.
    pub sft_weight: f64,
}

/// What is learnt from, what the loss is measured on beside, and by which loss.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// To learn from.
    pub training: &'a [Pair],
    /// To measure on; empty where [`TrainSettings::validation`] is absent.
    pub validation: &'a [Pair],
    /// The loss.
    pub preference: Preference,
}

/// What a step's pairs say before it, as means: a continuation's reward is `β · (ln π − ln π₀)`, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rewards {
    /// Of chosen continuations.
    pub chosen: f64,
    /// Of rejected ones.
    pub rejected: f64,
    /// The share of pairs whose chosen continuation has more. Where both are equal, as before the first step, it has not.
    pub accuracy: f64,
}

impl Rewards {
    /// How much more chosen continuations have, the mean.
    pub fn margin(&self) -> f64 {
        self.chosen - self.rejected
    }

    /// A sum over `count` pairs as a mean.
    pub(crate) fn of(self, count: usize) -> Self {
        let [chosen, rejected, accuracy] = [self.chosen, self.rejected, self.accuracy].map(|sum| sum / count as f64);
        Self { chosen, rejected, accuracy }
    }
}

impl Add for Rewards {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            chosen: self.chosen + other.chosen,
            rejected: self.rejected + other.rejected,
            accuracy: self.accuracy + other.accuracy,
        }
    }
}

/// Trains a model on pairs, with the optimiser, checkpoints and limits of [`crate::train`].
///
/// The model as it begins is read once before the first step, for the likelihoods that it gives; a run that goes on from a checkpoint
/// reads it again, and finds the same ones.
///
/// # Errors
/// See [`TrainError`].
pub fn train_on_pairs(
    model: Transformer,
    data: &Pairs<'_>,
    settings: &TrainSettings,
    checkpoints: Option<(&Path, usize)>,
    threads: usize,
    interrupt: Interrupt<'_>,
    observe: &mut dyn FnMut(&StepReport),
) -> Result<(Transformer, TrainReport), TrainError> {
    data.preference.check()?;
    let (mut chosen, left) = choose(data.training, settings, &model)?;
    let mut measured = if validation::wanted(settings, data.validation)? {
        choose(data.validation, settings, &model)?.0
    } else {
        Vec::new()
    };
    let pool = &pool(threads)?;
    let sequences = |pairs: &[Judged]| pairs.iter().map(|pair| pair.sequences.clone()).collect::<Vec<_>>();
    let identity = Digest::of_json(&(
        "dpo",
        data.preference,
        settings,
        sequences(&chosen),
        sequences(&measured),
        beginning(&model),
    ));
    for pairs in [&mut chosen, &mut measured] {
        read_reference(&model, pairs, settings.part_tokens, pool, interrupt)?;
    }
    let [kept, measured] = [&chosen, &measured].map(|all| all.iter().collect());
    let run = Run { objective: data.preference, kept, measured, left, settings, checkpoints, identity, pool };
    run.train(model, interrupt, observe)
}

/// A pair with what the model says of it as it begins.
pub(crate) struct Judged {
    /// Chosen and rejected, whole.
    sequences: [Example; 2],
    /// Their negative log-likelihoods under the model as it begins.
    reference: [f64; 2],
}

/// A pair's loss, what each continuation's negative log-likelihood weighs in its gradient, and its rewards.
struct Judgement {
    loss: f64,
    weights: [f64; 2],
    rewards: Rewards,
}

impl Preference {
    fn check(&self) -> Result<(), TrainError> {
        let mut faults = Vec::new();
        if !(self.beta.is_finite() && self.beta > 0.0) {
            faults.push(format!("expected a beta above 0, got {}", self.beta));
        }
        if !(self.sft_weight.is_finite() && self.sft_weight >= 0.0) {
            faults.push(format!("expected a weight of the chosen continuation of at least 0, got {}", self.sft_weight));
        }
        if faults.is_empty() { Ok(()) } else { Err(TrainError::Settings { faults }) }
    }

    fn judge(&self, pair: &Judged, nll: [f64; 2]) -> Judgement {
        let [chosen, rejected] = [0, 1].map(|place| self.beta * (pair.reference[place] - nll[place]));
        let z = chosen - rejected;
        // Without overflow, however far apart the two are.
        let preferred = (-z).max(0.0) + (-z.abs()).exp().ln_1p();
        let slope = self.beta / (1.0 + z.exp());
        let of_chosen = self.sft_weight / pair.sequences[0].supervised_tokens() as f64;
        Judgement {
            loss: preferred + of_chosen * nll[0],
            weights: [slope + of_chosen, -slope],
            rewards: Rewards { chosen, rejected, accuracy: f64::from(u8::from(z > 0.0)) },
        }
    }

    /// The pairs of a part, judged by the model as it is.
    fn judge_all(&self, model: &Transformer, part: &[&Judged]) -> Vec<Judgement> {
        let losses = losses(model, part);
        part.iter().zip(losses).map(|(pair, nll)| self.judge(pair, nll)).collect()
    }
}

impl Objective for Preference {
    type Item = Judged;

    fn id(item: &Judged) -> &str {
        &item.sequences[0].id
    }

    fn tokens(item: &Judged) -> usize {
        item.sequences.iter().map(|one| one.ids.len()).sum()
    }

    fn supervised(item: &Judged) -> usize {
        item.sequences.iter().map(Example::supervised_tokens).sum()
    }

    fn weight(_: &Judged) -> usize {
        1
    }

    fn gradient(&self, model: &Transformer, part: &[&Judged], share: f64, how: Pass) -> PartGradient {
        let judgements = self.judge_all(model, part);
        let samples: Vec<Supervised<'_>> = part
            .iter()
            .zip(&judgements)
            .flat_map(|(pair, judgement)| {
                let both = pair.sequences.iter().zip(judgement.weights);
                both.map(|(one, weight)| one.sample(share * weight))
            })
            .collect();
        let (_, gradient) = packed_gradient(model, &samples, how);
        let rewards = judgements.iter().fold(Rewards::default(), |sum, one| sum + one.rewards);
        PartGradient { loss: judgements.iter().map(|one| one.loss).sum(), rewards: Some(rewards), gradient }
    }

    fn loss(&self, model: &Transformer, part: &[&Judged]) -> f64 {
        self.judge_all(model, part).iter().map(|one| one.loss).sum()
    }
}

/// The negative log-likelihoods of pairs' continuations.
fn losses(model: &Transformer, part: &[&Judged]) -> Vec<[f64; 2]> {
    let samples: Vec<Supervised<'_>> =
        part.iter().flat_map(|pair| pair.sequences.iter().map(|one| one.sample(1.0))).collect();
    packed_losses(model, &samples).as_chunks::<2>().0.to_vec()
}

/// Reads what the model says of pairs as it begins.
fn read_reference(
    model: &Transformer,
    pairs: &mut [Judged],
    part_tokens: usize,
    pool: &rayon::ThreadPool,
    interrupt: Interrupt<'_>,
) -> Result<(), TrainError> {
    let places: Vec<usize> = (0..pairs.len()).collect();
    let parts = packing::pack(&places, |place| Preference::tokens(&pairs[*place]), part_tokens);
    let of = |part: &Vec<usize>| {
        if interrupt() {
            return Err(TrainError::Interrupted { step: 0 });
        }
        let items: Vec<&Judged> = part.iter().map(|place| &pairs[*place]).collect();
        let found = losses(model, &items);
        match part.iter().zip(&found).find(|(_, nll)| !nll.iter().all(|nll| nll.is_finite())) {
            None => Ok(found),
            Some((place, nll)) => {
                let (id, [chosen, rejected]) = (&pairs[*place].sequences[0].id, nll);
                let fault = format!(
                    "`{id}`: expected finite losses under the model as it begins, got {chosen} for the chosen and {rejected} for the rejected continuation"
                );
                Err(TrainError::Examples { faults: vec![fault] })
            }
        }
    };
    let found: Vec<Vec<[f64; 2]>> = pool.install(|| parts.par_iter().map(of).collect::<Result<_, _>>())?;
    for (place, nll) in parts.into_iter().flatten().zip(found.into_iter().flatten()) {
        pairs[place].reference = nll;
    }
    Ok(())
}

impl Pair {
    /// Chosen and rejected, whole, under the pair's name.
    pub fn sequences(&self) -> [Example; 2] {
        [&self.chosen, &self.rejected].map(|continuation| {
            let ids: Vec<u32> = self.prompt.iter().chain(continuation).copied().collect();
            let supervised = (0..ids.len()).map(|place| place >= self.prompt.len()).collect();
            Example { id: self.id.clone(), ids, supervised }
        })
    }
}

/// The pairs that take part, whole, and how many others there are. The length of a pair is that of its longer sequence.
fn choose(pairs: &[Pair], settings: &TrainSettings, model: &Transformer) -> Result<(Vec<Judged>, LeftOut), TrainError> {
    settings.check()?;
    let limit = settings.max_length.min(model.config().context);
    let (mut faults, mut long, mut kept, mut left) = (Vec::new(), Vec::new(), Vec::new(), LeftOut::default());
    for pair in pairs {
        let mut sequences = pair.sequences();
        if pair.prompt.is_empty() {
            faults.push(format!("`{}`: expected a prompt of at least 1 token, got 0", pair.id));
        }
        faults.extend(sequences.iter().find_map(|one| one.fault(model.config().vocab)));
        let longest = sequences.iter().map(|one| one.ids.len()).max().unwrap_or(0);
        if longest > limit {
            match settings.too_long {
                LengthPolicy::Drop => {
                    left.too_long += 1;
                    continue;
                }
                LengthPolicy::Truncate => {
                    left.truncated += 1;
                    sequences = sequences.map(|one| one.cut(limit));
                }
                LengthPolicy::Error => long.push((pair.id.clone(), longest)),
            }
        }
        // Without a token of its own one side has nothing to be likelier by.
        if sequences.iter().all(|one| one.supervised_tokens() > 0) {
            kept.push(Judged { sequences, reference: [0.0; 2] });
        } else {
            left.unsupervised += 1;
        }
    }
    match (faults.is_empty(), long.is_empty(), kept.is_empty()) {
        (false, ..) => Err(TrainError::Examples { faults }),
        (_, false, _) => Err(TrainError::TooLong { limit, examples: long }),
        (_, _, true) => Err(TrainError::NoExamples { given: pairs.len() }),
        _ => Ok((kept, left)),
    }
}
