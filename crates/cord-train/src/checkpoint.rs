//! A trainer's checkpoint: weights, moments, step. Written whole or not at all.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use cord_core::Digest;
use cord_lm::{Dtype, ParamMut, Transformer, read_tensors, write_tensors};
use serde::{Deserialize, Serialize};

use crate::adamw::flat;
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
    /// Running sums that the final report needs.
    losses: Vec<f64>,
}

/// Saves the state after a step. The tensors' file is named by the step, and the small state file, renamed into
/// place last, says which one counts.
pub(crate) fn save(
    dir: &Path,
    run: Digest,
    model: &Transformer,
    optimiser: &AdamW,
    losses: &[f64],
) -> Result<(), TrainError> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| TrainError::Checkpoint { path, reason: e.to_string() }
    };
    std::fs::create_dir_all(dir).map_err(fault(dir))?;
    let mut tensors = optimiser.to_host(model);
    model.clone().visit(&mut |name, mut param| {
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
    let state = State { step, run, tensors: Digest::of_bytes(&bytes), losses: losses.to_vec() };
    let text = serde_json::to_string(&state).expect("the state can be written as JSON");
    let (temporary, target) = (dir.join(format!("{STATE}.tmp")), dir.join(STATE));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(fault(&temporary))?;
    std::fs::rename(&temporary, &target).map_err(fault(&target))?;
    // Older tensors are dead once the state names the new ones; a file that can't be removed only costs space.
    for entry in std::fs::read_dir(dir).map_err(fault(dir))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(FILE) && entry.path() != file {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Restores the last checkpoint in `dir`, if there is one. Gives the losses so far.
pub(crate) fn load(
    dir: &Path,
    run: Digest,
    model: &mut Transformer,
    optimiser: &mut AdamW,
    device: &Device,
) -> Result<Option<Vec<f64>>, TrainError> {
    let path = dir.join(STATE);
    let damaged = |path: &Path, reason: &str| TrainError::Checkpoint {
        path: path.to_owned(),
        reason: format!("{reason}; remove the folder to start again"),
    };
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
    let mut faults = Vec::new();
    model.visit(&mut |name, param| {
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
    faults.extend(optimiser.load(model, tensors, state.step, device));
    if !faults.is_empty() {
        return Err(damaged(&file, &faults.join("; ")));
    }
    Ok(Some(state.losses))
}
