//! `table.csv`: the table for a spreadsheet, with raw numbers.

use crate::table::{Metric, Table};

impl Table {
    /// `table.csv` (RFC 4180, with `\n`): the row's name, then for each column `<key>`, `<key>.low`, `<key>.high`,
    /// `<key>.n` and `<key>.paper`, in plain units (shares, not percent). What was not measured is an
    /// empty field.
    pub fn csv(&self) -> String {
        let table = self.parts();
        let mut out = String::new();
        let headings = table
            .columns
            .iter()
            .flat_map(|column| ["", ".low", ".high", ".n", ".paper"].map(|suffix| format!("{}{suffix}", column.key)));
        line(&mut out, std::iter::once(table.subject().to_owned()).chain(headings));
        for row in &table.rows {
            let cells = table.columns.iter().flat_map(|column| {
                let [value, low, high, n] = fields(row.metrics.get(&column.key));
                let paper = row.paper.get(&column.key).map(ToString::to_string).unwrap_or_default();
                [value, low, high, n, paper]
            });
            line(&mut out, std::iter::once(row.arm.clone()).chain(cells));
        }
        out
    }
}

fn fields(metric: Option<&Metric>) -> [String; 4] {
    match metric {
        Some(Metric::Estimate(e)) => [e.value.to_string(), e.low.to_string(), e.high.to_string(), e.n.to_string()],
        Some(Metric::Count { value }) => [value.to_string(), String::new(), String::new(), String::new()],
        Some(Metric::Number { value }) => [value.to_string(), String::new(), String::new(), String::new()],
        None => Default::default(),
    }
}

/// Adds a line of fields, quoted where they must be.
pub(crate) fn line(out: &mut String, fields: impl Iterator<Item = String>) {
    let quoted = fields.map(|field| {
        if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
    });
    out.push_str(&quoted.collect::<Vec<_>>().join(","));
    out.push('\n');
}
