//! AdamW (Loshchilov and Hutter 2019), equal to PyTorch's.
//!
//! Our own and not burn's: its state has to be saved and restored bit for bit by parameter name, the gradient is
//! clipped by its global norm (burn clips each tensor), and weight decay leaves norms and embeddings alone.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use cord_lm::{ParamMut, Transformer};
use rayon::prelude::*;
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

    /// One step: `p ← p (1 − lr·λ) − lr · m̂ / (√v̂ + ε)`, of gradients times `clip`, on the pool's threads.
    ///
    /// The values do not depend on the number of threads.
    pub(crate) fn step(
        &mut self,
        model: &mut Transformer,
        gradients: Vec<Flat>,
        clip: f64,
        rate: f64,
        pool: &rayon::ThreadPool,
    ) {
        self.steps += 1;
        let AdamWConfig { beta1, beta2, weight_decay, .. } = self.config;
        let correction1 = 1.0 - beta1.powi(self.steps as i32);
        let correction2 = (1.0 - beta2.powi(self.steps as i32)).sqrt();
        let on_host = model.device() == Device::flex();
        let mut pairs = self.moments.iter_mut().zip(gradients);
        model.visit_trained(&mut |_, param| {
            let (moments, gradient) = pairs.next().expect("a gradient for every parameter");
            let decay = if matches!(param, ParamMut::Linear(_)) { 1.0 - rate * weight_decay } else { 1.0 };
            let factors = Factors {
                clip,
                decay,
                moments: [beta1, beta2],
                rate: rate / correction1,
                correction: correction2,
                epsilon: self.config.epsilon,
            };
            update(param, |value| {
                if on_host {
                    pool.install(|| factors.on_host(value, moments, gradient))
                } else {
                    factors.on_device(value, moments, gradient)
                }
            });
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

/// Replaces a parameter's values, given as one row. The parameter's own reference is handed over, so that they can be written where
/// they lie.
fn update(param: ParamMut<'_>, of: impl FnOnce(Flat) -> Flat) {
    match param {
        ParamMut::Vector(t) => t.inplace(of),
        ParamMut::Table(t) | ParamMut::Linear(t) => t.inplace(|t| {
            let [rows, columns] = t.dims();
            of(t.reshape([rows * columns])).reshape([rows, columns])
        }),
    }
}

/// The numbers of one parameter's step.
#[derive(Clone, Copy)]
struct Factors {
    clip: f64,
    decay: f64,
    moments: [f64; 2],
    /// The learning rate over the first moment's correction.
    rate: f64,
    /// The root of the second moment's correction.
    correction: f64,
    epsilon: f64,
}

/// Values that one thread updates at a time: their four arrays fit the second cache.
const CHUNK: usize = 1 << 14;

impl Factors {
    /// By the device's own operations.
    fn on_device(&self, value: Flat, (m, v): &mut (Flat, Flat), gradient: Flat) -> Flat {
        let [beta1, beta2] = self.moments;
        let gradient = if self.clip < 1.0 { gradient.mul_scalar(self.clip) } else { gradient };
        m.inplace(|m| m.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1));
        v.inplace(|v| v.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2));
        let denominator = v.clone().sqrt().div_scalar(self.correction).add_scalar(self.epsilon);
        let change = m.clone().div(denominator).mul_scalar(self.rate);
        let value = if self.decay == 1.0 { value } else { value.mul_scalar(self.decay) };
        value - change
    }

    /// The same arithmetic, to the bit, in one pass over memory: a step is a dozen operations, each of which would go through all
    /// parameters by itself.
    fn on_host(&self, value: Flat, (m, v): &mut (Flat, Flat), gradient: Flat) -> Flat {
        let device = value.device();
        let gradient = gradient.into_data();
        let gradient = gradient.as_slice::<f32>().expect("gradients are f32");
        let vector = |t: Flat| -> Vec<f32> { t.into_data().try_into_vec().expect("values are f32") };
        let tensor = |values: Vec<f32>| {
            let length = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [length]), &device)
        };
        let mut values = vector(value);
        let mut new = None;
        m.inplace(|m| {
            let mut first = vector(m);
            v.inplace(|v| {
                let mut second = vector(v);
                let chunks = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
                let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
                chunks.zip(moments).for_each(|((values, gradient), (m, v))| self.chunk(values, gradient, m, v));
                tensor(second)
            });
            new = Some(tensor(std::mem::take(&mut values)));
            tensor(first)
        });
        new.expect("both moments were updated")
    }

    fn chunk(&self, values: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        let [beta1, beta2] = self.moments.map(|beta| beta as f32);
        let [rest1, rest2] = self.moments.map(|beta| (1.0 - beta) as f32);
        let (clip, decay, rate) = (self.clip as f32, self.decay as f32, self.rate as f32);
        let (correction, epsilon) = (self.correction as f32, self.epsilon as f32);
        let moments = m.iter_mut().zip(v);
        for ((value, gradient), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
            // A factor of 1 changes no value.
            let gradient = gradient * clip;
            *m = *m * beta1 + gradient * rest1;
            *v = *v * beta2 + gradient * gradient * rest2;
            let denominator = v.sqrt() / correction + epsilon;
            *value = *value * decay - *m / denominator * rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::Seed;

    #[test]
    fn one_pass_over_memory_gives_the_same_bits_as_the_device_operations() {
        let device = Device::flex();
        let length = 3 * CHUNK + 17;
        let mut stream = Seed::root(5).stream();
        let mut draw = |scale: f64| -> Flat {
            let values: Vec<f32> = (0..length).map(|_| (stream.normal() * scale) as f32).collect();
            Tensor::from_data(TensorData::new(values, [length]), &device)
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let bits = |t: &Flat| -> Vec<u32> {
            t.to_data().as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
        };
        for (clip, decay) in [(1.0, 1.0), (0.37, 1.0 - 3e-4 * 0.1)] {
            let factors = Factors {
                clip,
                decay,
                moments: [0.9, 0.98],
                rate: 3e-4 / 0.19,
                correction: 0.04f64.sqrt(),
                epsilon: 1e-8,
            };
            let (value, gradient) = (draw(1.0), draw(1e-3));
            let moments = (draw(1e-3), draw(1e-3).square());
            let (mut here, mut there) = (moments.clone(), moments);
            let on_device = factors.on_device(value.clone(), &mut there, gradient.clone());
            let on_host = pool.install(|| factors.on_host(value, &mut here, gradient));
            assert!(bits(&on_host) == bits(&on_device), "values, clip {clip}");
            assert!(bits(&here.0) == bits(&there.0), "first moment, clip {clip}");
            assert!(bits(&here.1) == bits(&there.1), "second moment, clip {clip}");
        }
    }
}
