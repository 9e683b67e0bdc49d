//! A recipe's finished stages to its figure.

use anyhow::Result;
use cord_eval::{Collaboration, teacher_shares};
use cord_recipe::{Plan, Recipe};
use cord_report::{ArmShares, CollaborationFigure, Paper};
use cord_store::Store;

use crate::{machine, table};

/// Who wrote what part of the best trajectories, for each arm whose search goes step by step.
pub(crate) fn of(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<CollaborationFigure> {
    let mut arms = Vec::new();
    for arm in &recipe.arms {
        let Some(generate) = &arm.generate else { continue };
        let mut seeds = Vec::new();
        let of_arm = table::rows(plan).iter().filter(|row| row.arm == arm.name);
        for key in of_arm.filter_map(|row| row.generate) {
            let mut seed = Collaboration::default();
            table::best_trajectories(store, key)?.iter().for_each(|trajectory| seed.add(trajectory));
            seeds.push(seed);
        }
        // Whole responses have no steps.
        if seeds.iter().any(|seed| !seed.teachers().is_empty()) {
            arms.push(ArmShares { arm: arm.name.clone(), teachers: teacher_shares(&seeds, &generate.teachers)? });
        }
    }
    Ok(CollaborationFigure {
        title: recipe.table.title.clone(),
        recipe: cord_report::Recipe { name: recipe.name.clone(), digest: plan.digest },
        commit: machine::commit().unwrap_or_else(|| "unknown".to_owned()),
        paper: recipe.table.paper.as_ref().and_then(|id| Paper::published().figure(id)).cloned(),
        arms,
    })
}

/// Writes the figure and its data into the run's folder.
pub(crate) fn publish(figure: &CollaborationFigure, recipe: &Recipe, store: &Store) -> Result<()> {
    for (name, text) in [("figure.svg", figure.svg()?), ("figure.csv", figure.csv()), ("figure.json", figure.json())] {
        store.publish(&recipe.file(name), text.as_bytes())?;
    }
    Ok(())
}
