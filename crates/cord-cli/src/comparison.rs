//! Two recipes' finished stages to one table: what the arms that both have differ by.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use cord_core::Digest;
use cord_recipe::Recipe;
use cord_report::{Draft, Expectation, Pair, Row, Table, judge_orders};

use crate::table::{self, ByArm};
use crate::{machine, plan, run};

/// The arms of both recipes below each other, with a paired difference for each metric that has a value for each problem.
pub(crate) fn of(recipes: [&Recipe; 2]) -> Result<Table> {
    let [first, second] = recipes;
    let shared: Vec<&str> =
        first.arms.iter().map(|arm| arm.name.as_str()).filter(|name| second.arm(name).is_some()).collect();
    if shared.is_empty() {
        let names = |recipe: &Recipe| {
            let names: Vec<String> = recipe.arms.iter().map(|arm| format!("`{}`", arm.name)).collect();
            names.join(", ")
        };
        bail!(
            "expected two recipes with an arm of the same name, got {} of `{}` and {} of `{}`",
            names(first),
            first.name,
            names(second),
            second.name
        );
    }
    if first.name == second.name {
        bail!(
            "expected two recipes of different names, got `{}` twice: their arms could not be told apart",
            first.name
        );
    }
    let mut arms = ByArm::new();
    let mut digests = Vec::new();
    for recipe in recipes {
        let (found, store) = (run::plan(recipe)?, run::store(recipe)?);
        plan::require_finished(&found, &store)?;
        digests.push(found.digest);
        for (arm, measured) in table::measured(recipe, &found, &store)? {
            if shared.contains(&arm.as_str()) {
                arms.insert(named(&arm, recipe), measured);
            }
        }
    }
    let columns: Vec<_> = first.table.columns.iter().filter(|column| second.table.columns.contains(column)).collect();
    let mut rows = Vec::new();
    let (mut expectations, mut paired) = (Vec::new(), BTreeMap::new());
    for arm in &shared {
        let pair = recipes.map(|recipe| named(arm, recipe));
        for name in &pair {
            rows.push(Row { arm: name.clone(), metrics: table::metrics(&arms[name])?, ..Row::default() });
        }
        for column in &columns {
            let metric = column.to_string();
            let value = |name: &String| rows.iter().find(|row| row.arm == *name)?.metrics.get(&metric)?.estimate();
            let (Some(one), Some(other)) = (value(&pair[0]), value(&pair[1])) else { continue };
            // The greater one first: what is asked is whether it is greater beyond chance.
            let [mut above, mut below] = pair.clone();
            if other.value > one.value {
                (above, below) = (below, above);
            }
            expectations.push(Expectation { metric: metric.clone(), order: vec![above.clone(), below.clone()] });
            let pair = Pair { metric, above, below };
            if let Some(difference) = table::difference(&arms, &pair)? {
                paired.insert(pair, difference);
            }
        }
    }
    let orders = judge_orders(&expectations, &rows, &paired);
    let name = format!("{} and {}", first.name, second.name);
    let draft = Draft {
        subject: None,
        title: name.clone(),
        recipe: cord_report::Recipe { name, digest: Digest::of_json(&digests) },
        commit: machine::commit().unwrap_or_else(|| "unknown".to_owned()),
        machine: machine::describe(),
        paper: None,
        columns: columns.into_iter().map(table::column).collect(),
        rows,
        orders,
        notes: vec![
            "Differences are on the problems that both have; brackets are 95 % intervals, clustered by problem."
                .to_owned(),
        ],
    };
    Ok(draft.finish()?)
}

fn named(arm: &str, recipe: &Recipe) -> String {
    format!("{arm} ({})", recipe.name)
}
