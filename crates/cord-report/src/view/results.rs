//! A table of results as the page draws it: cells as text, with the numbers that intervals are drawn from.

use serde::Serialize;

use crate::grid::{cell, footer, number, order_line};
use crate::order::Standing;
use crate::table::{Format, Metric, Table};

/// A table with its cells as text.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultTable {
    /// Its heading.
    pub title: String,
    columns: Vec<ResultColumn>,
    rows: Vec<ResultRow>,
    orders: Vec<Order>,
    lines: Vec<String>,
    /// The table without a script, for a reader who has none; not part of the data.
    #[serde(skip)]
    pub(crate) html: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultColumn {
    label: String,
    /// The paper's name for its column, where a row has the paper's value.
    paper: Option<String>,
    /// Is it a share from 0 to 1?
    share: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultRow {
    arm: String,
    cells: Vec<ResultCell>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultCell {
    /// Nothing where nothing was measured.
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[f64; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paper: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    text: String,
    standing: Standing,
}

impl From<&Table> for ResultTable {
    fn from(table: &Table) -> Self {
        let html = table.html_part();
        let table = table.parts();
        let columns = table.columns.iter().map(|column| {
            let with_paper = table.rows.iter().any(|row| row.paper.contains_key(&column.key));
            let name = table.paper.as_ref().and_then(|paper| paper.columns.get(&column.key));
            ResultColumn {
                label: column.label.clone(),
                paper: with_paper.then(|| name.cloned().unwrap_or_else(|| "paper".to_owned())),
                share: column.format == Format::Percent,
            }
        });
        let rows = table.rows.iter().map(|row| {
            let cells = table.columns.iter().map(|column| {
                let metric = row.metrics.get(&column.key);
                let text = metric.map(|metric| cell(metric, column.format));
                let (text, interval) = match text.as_deref().and_then(|text| text.split_once(' ')) {
                    Some((value, interval)) => (Some(value.to_owned()), Some(interval.to_owned())),
                    None => (text, None),
                };
                ResultCell {
                    text,
                    interval,
                    range: metric.and_then(Metric::estimate).map(|of| [of.value, of.low, of.high]),
                    paper: row.paper.get(&column.key).map(|value| number(*value, column.format)),
                }
            });
            ResultRow { arm: row.arm.clone(), cells: cells.collect() }
        });
        let orders = table.orders.iter();
        let orders = orders.map(|order| Order { text: order_line(table, order), standing: order.standing });
        Self {
            title: table.title.clone(),
            columns: columns.collect(),
            rows: rows.collect(),
            orders: orders.collect(),
            lines: footer(table).split_off(table.orders.len()),
            html,
        }
    }
}
