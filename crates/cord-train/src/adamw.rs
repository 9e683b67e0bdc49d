//! AdamW (Loshchilov and Hutter 2019), equal to PyTorch's.
//!
//! Our own and not burn's: its state has to be saved and restored bit for bit by parameter name, the gradient is
//! clipped by its global norm (burn clips each tensor), and weight decay leaves norms and embeddings alone.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use cord_lm::{ParamMut, Transformer};
use serde::{Deserialize, Serialize};

/// The settings of the optimiser. The defaults are PyTorch's but for the decay, which is off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay of the linear layers' weights and of adapters; norms, biases and embeddings have none.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// A gradient or a moment, flat in the parameter's own layout.
pub(crate) type Flat = Tensor<1>;

/// The optimiser with its moments.
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    pub(crate) steps: usize,
    /// First and second moments in the order in which the model visits its parameters.
    pub(crate) moments: Vec<(Flat, Flat)>,
}

impl AdamW {
    /// An optimiser with zero moments.
    pub fn new(config: AdamWConfig, model: &Transformer) -> Self {
        let mut moments = Vec::new();
        model.clone().visit_trained(&mut |_, mut param| {
            let zeros = Tensor::zeros_like(&flat(&mut param));
            moments.push((zeros.clone(), zeros));
        });
        Self { config, steps: 0, moments }
    }

    /// One step: `p ← p (1 − lr·λ) − lr · m̂ / (√v̂ + ε)`.
    pub(crate) fn step(&mut self, model: &mut Transformer, gradients: Vec<Flat>, rate: f64) {
        self.steps += 1;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        let correction1 = 1.0 - beta1.powi(self.steps as i32);
        let correction2 = (1.0 - beta2.powi(self.steps as i32)).sqrt();
        let mut pairs = self.moments.iter_mut().zip(gradients);
        model.visit_trained(&mut |_, mut param| {
            let ((m, v), gradient) = pairs.next().expect("a gradient for every parameter");
            m.inplace(|m| m.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1));
            v.inplace(|v| v.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2));
            let denominator = v.clone().sqrt().div_scalar(correction2).add_scalar(epsilon);
            let update = m.clone().div(denominator).mul_scalar(rate / correction1);
            let decay = if matches!(param, ParamMut::Linear(_)) { 1.0 - rate * weight_decay } else { 1.0 };
            let value = flat(&mut param);
            let value = if decay == 1.0 { value } else { value.mul_scalar(decay) };
            set_flat(param, value - update);
        });
    }

    /// The moments by parameter name, on the host.
    pub(crate) fn to_host(&self, model: &Transformer) -> BTreeMap<String, (Vec<f32>, Vec<usize>)> {
        let mut out = BTreeMap::new();
        let mut moments = self.moments.iter();
        model.clone().visit_trained(&mut |name, _| {
            let (m, v) = moments.next().expect("moments for every parameter");
            for (kind, moment) in [("m", m), ("v", v)] {
                let values: Vec<f32> = moment.to_data().try_into_vec().expect("moments are f32");
                let length = values.len();
                out.insert(format!("{kind}.{name}"), (values, vec![length]));
            }
        });
        out
    }

    /// Restores what [`AdamW::to_host`] gave; gives a fault for each moment that is missing or of another size.
    pub(crate) fn load(
        &mut self,
        model: &Transformer,
        mut host: BTreeMap<String, (Vec<f32>, Vec<usize>)>,
        steps: usize,
        device: &Device,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        let mut moments = self.moments.iter_mut();
        model.clone().visit_trained(&mut |name, _| {
            let (m, v) = moments.next().expect("moments for every parameter");
            for (kind, moment) in [("m", m), ("v", v)] {
                let key = format!("{kind}.{name}");
                match host.remove(&key) {
                    Some((values, _)) if values.len() == moment.dims()[0] => {
                        let length = values.len();
                        *moment = Tensor::from_data(TensorData::new(values, [length]), device);
                    }
                    Some((values, _)) => {
                        faults.push(format!("`{key}`: expected {} values, got {}", moment.dims()[0], values.len()));
                    }
                    None => faults.push(format!("expected the moment `{key}`, got none")),
                }
            }
        });
        self.steps = steps;
        faults
    }
}

/// A parameter's values as one row.
pub(crate) fn flat(param: &mut ParamMut<'_>) -> Flat {
    match param {
        ParamMut::Vector(t) => t.clone(),
        ParamMut::Table(t) | ParamMut::Linear(t) => {
            let [rows, columns] = t.dims();
            t.clone().reshape([rows * columns])
        }
    }
}

fn set_flat(param: ParamMut<'_>, value: Flat) {
    match param {
        ParamMut::Vector(t) => *t = value,
        ParamMut::Table(t) | ParamMut::Linear(t) => {
            let shape = t.dims();
            *t = value.reshape(shape);
        }
    }
}
