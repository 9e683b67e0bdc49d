//! The tables and the figure of an ablation.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cord_eval::PairedDifference;
use cord_recipe::{Plan, Recipe};
use cord_report::{Ablation, AblationFigure, Column, Draft, Format, Metric, Row, SubsetPoint, Table, TeacherWorth};
use cord_store::Store;

use crate::ablate::found::{Found, Worth};
use crate::ablate::pool::Pool;
use crate::{machine, table};

/// What was found, with all that it is shown by.
struct Findings<'a> {
    pool: &'a Pool,
    recipe: &'a Recipe,
    plan: &'a Plan,
    found: Found,
    columns: Vec<Column>,
    worth: BTreeMap<String, Worth>,
}

/// What the finished stages of all subsets say. With `proposals` every beam had so many.
pub(super) fn ablation(
    pool: &Pool,
    recipe: &Recipe,
    plan: &Plan,
    store: &Store,
    proposals: Option<u32>,
) -> Result<Ablation> {
    let found = Found::of(pool, recipe, plan, store)?;
    let columns = found.columns(recipe);
    let mut worth = BTreeMap::new();
    for column in &columns {
        worth.insert(column.key.clone(), found.worth(pool.teachers.len() as u32, column)?);
    }
    let findings = Findings { pool, recipe, plan, found, columns, worth };
    Ok(Ablation {
        subsets: findings.subsets()?,
        teachers: findings.teachers(proposals)?,
        tokens: findings.found.tokens(),
        figure: findings.figure()?,
    })
}

impl Findings<'_> {
    fn subsets(&self) -> Result<Table> {
        let (found, tokens) = (&self.found, self.found.tokens());
        let count = |key: &str, label: &str| Column { key: key.into(), label: label.into(), format: Format::Count };
        let costs = [
            count("generated-tokens", "generated tokens"),
            count("new-generated-tokens", "of them new"),
            count("scored-tokens", "scored tokens"),
            count("new-scored-tokens", "of these new"),
        ];
        let failed = found.subsets.iter().any(|(_, one)| one.failed > 0).then(|| count("failed", "failed"));
        let columns: Vec<Column> = self.columns.iter().cloned().chain(failed).chain(costs).collect();
        let mut rows = Vec::new();
        for (subset, one) in &found.subsets {
            let mut metrics = table::metrics(&one.measured)?;
            metrics
                .retain(|key, metric| metric.estimate().is_some() && columns.iter().any(|column| column.key == *key));
            if *subset != 0 {
                let counts = [
                    ("generated-tokens", one.spent.generated_tokens),
                    ("new-generated-tokens", one.new.generated_tokens),
                    ("scored-tokens", one.spent.scored_tokens),
                    ("new-scored-tokens", one.new.scored_tokens),
                    ("failed", one.failed),
                ];
                metrics.extend(counts.map(|(key, value)| (key.to_owned(), Metric::Count { value })));
            }
            rows.push(Row { arm: self.pool.name(*subset), metrics, ..Row::default() });
        }
        let notes = vec![
            seeds(self.recipe),
            tokens.line(self.pool.subsets.len()),
            "New is what no subset above has asked; the sum does not depend on their order. Tokens are sums over seeds."
                .to_owned(),
        ];
        let title = self.recipe.table.title.clone();
        Ok(self.draft(title, "teachers", columns, rows, notes).finish()?)
    }

    fn teachers(&self, proposals: Option<u32>) -> Result<Table> {
        let (mut headings, mut notes) = (Vec::new(), vec![seeds(self.recipe)]);
        let mut rows: Vec<Row> =
            self.pool.teachers.iter().map(|name| Row { arm: name.clone(), ..Row::default() }).collect();
        for column in &self.columns {
            let worth = &self.worth[&column.key];
            let kinds =
                [("shapley", "Shapley value", &worth.shapley), ("left-out", "lost when left out", &worth.left_out)];
            for (key, label, values) in kinds {
                if values.iter().all(Option::is_none) {
                    continue;
                }
                let (key, label) = (format!("{}.{key}", column.key), format!("{}: {label}", column.label));
                for (row, value) in rows.iter_mut().zip(values) {
                    row.metrics.extend(value.map(|value| (key.clone(), Metric::Estimate(value.difference))));
                }
                headings.push(Column { key, label, format: column.format });
            }
            if let Some(line) = worth.sum(column) {
                notes.push(line);
            }
        }
        let key = "generated-tokens.left-out";
        for (place, row) in rows.iter_mut().enumerate() {
            let (whole, without) = (self.pool.whole(), self.pool.whole() & !(1 << place));
            if let (Some(whole), Some(without)) = (self.found.generated(whole), self.found.generated(without)) {
                row.metrics.insert(key.to_owned(), Metric::Number { value: whole - without });
            }
        }
        if rows.iter().any(|row| row.metrics.contains_key(key)) {
            let label = "generated tokens: saved when left out".to_owned();
            headings.push(Column { key: key.to_owned(), label, format: Format::Count });
        }
        notes.push(
            "Shapley value: the mean, over all orders in which the pool could be put together, of what the teacher adds. Lost \
             when left out: the whole pool minus the pool without the teacher. Both are sums over problems, so the intervals \
             are clustered by problem, and a difference of the same problems."
                .to_owned(),
        );
        notes.push(match proposals {
            Some(proposals) => format!("Every beam has {proposals} proposals, whatever the pool's size."),
            None => {
                "A larger pool has more proposals for each beam; with `--proposals` every pool has as many.".to_owned()
            }
        });
        let title = format!("{}: what each is worth", self.recipe.table.title);
        Ok(self.draft(title, "teacher", headings, rows, notes).finish()?)
    }

    fn figure(&self) -> Result<AblationFigure> {
        // What is learnt is the last word where it is known.
        let column = self.columns.iter().rfind(|column| column.key.starts_with("eval.")).or(self.columns.first());
        let column = column.context("expected a measured subset, got none: every problem failed")?;
        let mut subsets = Vec::new();
        for (subset, one) in self.found.subsets.iter().filter(|(subset, _)| *subset != 0) {
            let Some(quality) = table::metrics(&one.measured)?.get(&column.key).and_then(Metric::estimate) else {
                continue;
            };
            let tokens = one.spent.generated_tokens as f64 / one.searched.max(1) as f64;
            subsets.push(SubsetPoint {
                subset: self.pool.name(*subset),
                teachers: subset.count_ones(),
                tokens,
                quality,
            });
        }
        let worth = &self.worth[&column.key];
        let estimate = |value: &Option<PairedDifference>| value.map(|value| value.difference);
        let teachers = self.pool.teachers.iter().zip(worth.left_out.iter().zip(&worth.shapley));
        let teachers = teachers.map(|(name, (left_out, shapley))| TeacherWorth {
            teacher: name.clone(),
            left_out: estimate(left_out),
            shapley: estimate(shapley),
        });
        let title = self.recipe.table.title.clone();
        Ok(AblationFigure { title, metric: column.label.clone(), subsets, teachers: teachers.collect() })
    }

    fn draft(&self, title: String, subject: &str, columns: Vec<Column>, rows: Vec<Row>, notes: Vec<String>) -> Draft {
        Draft {
            title,
            recipe: cord_report::Recipe { name: self.recipe.name.clone(), digest: self.plan.digest },
            commit: machine::commit().unwrap_or_else(|| "unknown".to_owned()),
            machine: machine::describe(),
            paper: None,
            subject: Some(subject.to_owned()),
            columns,
            rows,
            orders: Vec::new(),
            notes,
        }
    }
}

fn seeds(recipe: &Recipe) -> String {
    let seeds: Vec<String> = recipe.seeds.iter().map(ToString::to_string).collect();
    format!("Brackets are 95 % intervals, clustered by problem; seeds {}.", seeds.join(", "))
}
