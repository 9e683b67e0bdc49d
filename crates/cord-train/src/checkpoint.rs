//! A trainer's checkpoint: weights, moments, step. Written whole or not at all.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use cord_core::Digest;
use cord_lm::{Dtype, HostTensor, ParamMut, Transformer, read_tensors, write_tensors};
use serde::{Deserialize, Serialize};

use crate::adamw::flat;
use crate::dpo::Rewards;
use crate::validation::Validated;
use crate::{AdamW, TrainError};

const FILE: &str = "trainer.safetensors";
const STATE: &str = "trainer.json";

/// What the tensors don't say.
#[derive(Serialize, Deserialize)]
struct State {
    /// Steps taken; also the data cursor, since the order of the data is a function of the step.
    step: usize,
    /// Settings, data and starting weights.
    run: Digest,
    /// Digest of the tensors' file, so that a state never goes with another step's tensors.
    tensors: Digest,
    /// What the report needs, and what decides when a run ends.
    #[serde(flatten)]
    progress: Progress,
}

/// What a run has seen of itself so far.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The loss of every step.
    pub(crate) losses: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) validations: Vec<Validated>,
    /// Of every step on pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rewards: Vec<Rewards>,
}

/// Saves the state after a step. The tensors' file is named by the step, and the small state file, renamed into
/// place last, says which one counts.
pub(crate) fn save(
    dir: &Path,
    run: Digest,
    model: &Transformer,
    optimiser: &AdamW,
    progress: Progress,
    keep: usize,
) -> Result<(), TrainError> {
    std::fs::create_dir_all(dir).map_err(fault(dir))?;
    let mut tensors = optimiser.to_host(model);
    model.clone().visit_trained(&mut |name, mut param| {
        let values: Vec<f32> = flat(&mut param).to_data().try_into_vec().expect("weights are f32");
        let length = values.len();
        tensors.insert(format!("p.{name}"), (values, vec![length]));
    });
    let step = optimiser.steps;
    let file = dir.join(format!("step-{step}.{FILE}"));
    write_tensors(&file, &tensors, Dtype::F32)?;
    // On the disk before the state that names them, so that a loss of power leaves the older pair whole.
    std::fs::File::options().write(true).open(&file).and_then(|f| f.sync_all()).map_err(fault(&file))?;
    let bytes = std::fs::read(&file).map_err(fault(&file))?;
    let state = State { step, run, tensors: Digest::of_bytes(&bytes), progress };
    let text = serde_json::to_string(&state).expect("the state can be written as JSON");
    let (temporary, target) = (dir.join(format!("{STATE}.tmp")), dir.join(STATE));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(fault(&temporary))?;
    std::fs::rename(&temporary, &target).map_err(fault(&target))?;
    // Each step's state beside its tensors: put in the place of `trainer.json`, an older one counts again.
    if keep > 1 {
        std::fs::copy(&target, dir.join(format!("step-{step}.{STATE}"))).map_err(fault(&target))?;
    }
    prune(dir, FILE, keep.max(1))?;
    prune(dir, STATE, if keep > 1 { keep } else { 0 })
}

fn fault(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_owned();
    move |e: std::io::Error| TrainError::Checkpoint { path, reason: e.to_string() }
}

/// Removes `step-<n>.<ending>` of all but the newest steps. A file that can't be removed only costs space.
fn prune(dir: &Path, ending: &str, keep: usize) -> Result<(), TrainError> {
    let mut steps: Vec<usize> = std::fs::read_dir(dir)
        .map_err(fault(dir))?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix("step-")?.strip_suffix(ending)?.strip_suffix('.')?.parse().ok()
        })
        .collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    for step in steps.into_iter().skip(keep) {
        let _ = std::fs::remove_file(dir.join(format!("step-{step}.{ending}")));
    }
    Ok(())
}

const BEST: &str = "best.safetensors";

/// Saves the weights of the least validation loss, by their step; older ones go.
pub(crate) fn save_best(dir: &Path, model: &Transformer, step: usize) -> Result<(), TrainError> {
    std::fs::create_dir_all(dir).map_err(fault(dir))?;
    let mut tensors = BTreeMap::new();
    model.clone().visit_trained(&mut |name, mut param| {
        let values: Vec<f32> = flat(&mut param).to_data().try_into_vec().expect("weights are f32");
        let length = values.len();
        tensors.insert(format!("p.{name}"), (values, vec![length]));
    });
    // Whole or not at all, and beside the one before until a checkpoint names this step.
    let (temporary, file) = (dir.join(format!("{BEST}.tmp")), dir.join(format!("step-{step}.{BEST}")));
    write_tensors(&temporary, &tensors, Dtype::F32)?;
    std::fs::rename(&temporary, &file).map_err(fault(&file))?;
    prune(dir, BEST, 2)
}

/// Restores what [`save_best`] saved.
pub(crate) fn load_best(dir: &Path, model: &mut Transformer, step: usize, device: &Device) -> Result<(), TrainError> {
    let file = dir.join(format!("step-{step}.{BEST}"));
    let mut tensors = read_tensors(&file)?;
    let faults = restore(model, &mut tensors, device);
    if faults.is_empty() { Ok(()) } else { Err(damaged(&file, &faults.join("; "))) }
}

fn damaged(path: &Path, reason: &str) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), reason: format!("{reason}; remove the folder to start again") }
}

/// Restores the last checkpoint in `dir`, if there is one. Gives what the run has seen of itself so far.
pub(crate) fn load(
    dir: &Path,
    run: Digest,
    model: &mut Transformer,
    optimiser: &mut AdamW,
    device: &Device,
) -> Result<Option<Progress>, TrainError> {
    let path = dir.join(STATE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(damaged(&path, &e.to_string())),
    };
    let state: State = serde_json::from_str(&text).map_err(|e| damaged(&path, &e.to_string()))?;
    if state.run != run {
        return Err(TrainError::OtherRun { path, expected: run.short(), given: state.run.short() });
    }
    let file = dir.join(format!("step-{}.{FILE}", state.step));
    let bytes = std::fs::read(&file).map_err(|e| damaged(&file, &e.to_string()))?;
    if Digest::of_bytes(&bytes) != state.tensors {
        return Err(damaged(&file, "expected the tensors that `trainer.json` names, got others"));
    }
    let mut tensors: BTreeMap<_, _> = read_tensors(&file)?;
    let mut faults = restore(model, &mut tensors, device);
    faults.extend(optimiser.load(model, tensors, state.step, device));
    if !faults.is_empty() {
        return Err(damaged(&file, &faults.join("; ")));
    }
    Ok(Some(state.progress))
}

/// Puts the weights `p.<name>` into a model; gives a fault for each that is missing or of another size.
fn restore(model: &mut Transformer, tensors: &mut BTreeMap<String, HostTensor>, device: &Device) -> Vec<String> {
    let mut faults = Vec::new();
    model.visit_trained(&mut |name, param| {
        let key = format!("p.{name}");
        let Some((values, _)) = tensors.remove(&key) else {
            faults.push(format!("expected the weights `{key}`, got none"));
            return;
        };
        let expected = match &param {
            ParamMut::Vector(t) => t.dims().iter().product::<usize>(),
            ParamMut::Table(t) | ParamMut::Linear(t) => t.dims().iter().product(),
        };
        if values.len() != expected {
            faults.push(format!("`{key}`: expected {expected} values, got {}", values.len()));
            return;
        }
        match param {
            ParamMut::Vector(t) => *t = Tensor::from_data(TensorData::new(values, t.dims()), device),
            ParamMut::Table(t) | ParamMut::Linear(t) => {
                *t = Tensor::from_data(TensorData::new(values, t.dims()), device);
            }
        }
    });
    faults
}
