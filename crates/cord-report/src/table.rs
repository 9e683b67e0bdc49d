//! A table of results as data.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::Digest;
use cord_eval::Estimate;
use serde::{Deserialize, Serialize};

use crate::error::{Faults, TableFault};
use crate::order::OrderVerdict;

/// A measured value. What was not measured is absent from [`Row::metrics`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metric {
    /// A value with its 95 % interval and the number of problems.
    Estimate(Estimate),
    /// A count: tokens, failures.
    Count {
        /// The count.
        value: u64,
    },
    /// A number without an interval: seconds, a share of all samples.
    Number {
        /// The number.
        value: f64,
    },
}

impl Metric {
    /// The value without its interval.
    pub fn value(&self) -> f64 {
        match self {
            Self::Estimate(estimate) => estimate.value,
            Self::Count { value } => *value as f64,
            Self::Number { value } => *value,
        }
    }

    /// The value with its interval, where it has one.
    pub fn estimate(&self) -> Option<Estimate> {
        match self {
            Self::Estimate(estimate) => Some(*estimate),
            Self::Count { .. } | Self::Number { .. } => None,
        }
    }
}

impl From<Estimate> for Metric {
    fn from(estimate: Estimate) -> Self {
        Self::Estimate(estimate)
    }
}

/// How a column's values are written. JSON and CSV hold them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A share in `[0, 1]`, written in percent with one decimal.
    Percent,
    /// A number with three decimals.
    Decimal,
    /// A whole number with thousands separators.
    Count,
    /// Seconds with one decimal.
    Seconds,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The metric that it shows: `accuracy`, `eval.mini/test`.
    pub key: String,
    /// Its heading.
    pub label: String,
    /// How its values are written.
    pub format: Format,
}

/// An arm's results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The arm's name in the recipe.
    pub arm: String,
    /// Its metrics by name, those without a column included.
    pub metrics: BTreeMap<String, Metric>,
    /// The paper's values by our column keys, in our units.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paper: BTreeMap<String, f64>,
}

/// Which recipe a table belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// The digest of what decides its numbers.
    pub digest: Digest,
}

/// Which table of the paper stands beside ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperSource {
    /// Its name: `table-3`.
    pub table: String,
    /// What it shows.
    pub caption: String,
    /// Its column beside each of ours, where the two have different names: another benchmark, say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
}

/// A table that is being filled; [`Draft::finish`] makes it a [`Table`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Its heading.
    pub title: String,
    /// The recipe that it belongs to.
    pub recipe: Recipe,
    /// The commit of the program that made it.
    pub commit: String,
    /// The machine that it was made on, in words.
    pub machine: String,
    /// The paper's table beside it; see [`PaperTable::put_beside`](crate::PaperTable::put_beside).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<PaperSource>,
    /// What a row stands for; an arm where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Its rows, in order.
    pub rows: Vec<Row>,
    /// Verdicts on the orders that were expected; see [`judge_orders`](crate::judge_orders).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderVerdict>,
    /// What else a reader must know: seeds, samples, failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A table without faults: names are unique, values finite, each inside its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table(#[serde(deserialize_with = "without_faults")] Draft);

fn without_faults<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Draft, D::Error> {
    let draft = Draft::deserialize(deserializer)?;
    let faults = draft.faults();
    if faults.is_empty() { Ok(draft) } else { Err(serde::de::Error::custom(Faults(faults))) }
}

impl Draft {
    /// What stands over the names of the rows.
    pub(crate) fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or("arm")
    }

    /// Checks the table and reports every fault.
    pub fn finish(self) -> Result<Table, Faults> {
        let faults = self.faults();
        if faults.is_empty() { Ok(Table(self)) } else { Err(Faults(faults)) }
    }

    fn faults(&self) -> Vec<TableFault> {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        for column in self.columns.iter().filter(|column| !seen.insert(column.key.as_str())) {
            faults.push(TableFault::DuplicateColumn { key: column.key.clone() });
        }
        let mut seen = BTreeSet::new();
        for row in &self.rows {
            if !seen.insert(row.arm.as_str()) {
                faults.push(TableFault::DuplicateArm { arm: row.arm.clone() });
            }
            for (metric, value) in &row.metrics {
                faults.extend(metric_fault(&row.arm, metric, value));
            }
        }
        faults
    }
}

fn metric_fault(arm: &str, metric: &str, given: &Metric) -> Option<TableFault> {
    let (arm, metric) = (arm.to_owned(), metric.to_owned());
    let numbers = match given {
        Metric::Estimate(estimate) => vec![estimate.value, estimate.low, estimate.high],
        Metric::Count { .. } | Metric::Number { .. } => vec![given.value()],
    };
    if let Some(given) = numbers.into_iter().find(|number| !number.is_finite()) {
        return Some(TableFault::NotFinite { arm, metric, given });
    }
    let Estimate { value, low, high, .. } = given.estimate()?;
    let inside = low <= value && value <= high;
    (!inside).then_some(TableFault::OutsideInterval { arm, metric, value, low, high })
}

impl Table {
    /// The table's parts, to read.
    pub fn parts(&self) -> &Draft {
        &self.0
    }

    /// The table's parts, to change and [`finish`](Draft::finish) again.
    pub fn into_draft(self) -> Draft {
        self.0
    }

    /// `table.json`: everything the table holds, with every metric's `value`, and `low`, `high` and `n` where it
    /// has an interval. Reads back with serde to the same table.
    ///
    /// # Panics
    /// Never: a table without faults can be written.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a table without faults can be written as JSON");
        text.push('\n');
        text
    }
}
