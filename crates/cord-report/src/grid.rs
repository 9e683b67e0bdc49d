//! The cells of a table as text, shared by the renderings that people read.

use cord_eval::Estimate;

use crate::order::{Basis, OrderVerdict, Standing};
use crate::table::{Draft, Format, Metric};

/// What stands where nothing was measured.
pub(crate) const ABSENT: &str = "–";

/// Headings and rows; every row has as many cells as there are headings. The first column is the row's
/// name, the others are numbers.
pub(crate) struct Grid {
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

pub(crate) fn grid(table: &Draft) -> Grid {
    let with_paper = |key: &str| table.rows.iter().any(|row| row.paper.contains_key(key));
    let mut headings = vec![table.subject().to_owned()];
    for column in &table.columns {
        headings.push(column.label.clone());
        if with_paper(&column.key) {
            let other = table.paper.as_ref().and_then(|paper| paper.columns.get(&column.key));
            headings.push(other.map_or_else(|| "paper".to_owned(), |other| format!("paper: {other}")));
        }
    }
    let rows = table.rows.iter().map(|row| {
        let mut cells = vec![row.arm.clone()];
        for column in &table.columns {
            cells.push(row.metrics.get(&column.key).map_or(ABSENT.to_owned(), |metric| cell(metric, column.format)));
            if with_paper(&column.key) {
                let paper = row.paper.get(&column.key);
                cells.push(paper.map_or(ABSENT.to_owned(), |value| number(*value, column.format)));
            }
        }
        cells
    });
    Grid { headings, rows: rows.collect() }
}

pub(crate) fn cell(metric: &Metric, format: Format) -> String {
    match metric {
        Metric::Estimate(estimate) => interval(estimate, format),
        Metric::Count { value } if format == Format::Count => with_separators(*value),
        Metric::Count { .. } | Metric::Number { .. } => number(metric.value(), format),
    }
}

fn interval(estimate: &Estimate, format: Format) -> String {
    let Estimate { value, low, high, .. } = *estimate;
    format!("{} [{}, {}]", number(value, format), number(low, format), number(high, format))
}

pub(crate) fn number(value: f64, format: Format) -> String {
    let text = match format {
        Format::Percent => format!("{:.1}", value * 100.0),
        Format::Decimal => format!("{value:.3}"),
        Format::Count if value >= 0.0 => return with_separators(value.round() as u64),
        Format::Count => format!("{value:.0}"),
        Format::Seconds => format!("{value:.1}"),
    };
    // A small negative number rounds to `-0.0`, which reads as a sign that is not there.
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().all(|b| matches!(b, b'0' | b'.')) => digits.to_owned(),
        _ => text,
    }
}

pub(crate) fn with_separators(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One line for each fact under the table: verdicts on orders, notes, and where the table comes from.
pub(crate) fn footer(table: &Draft) -> Vec<String> {
    let mut lines: Vec<String> = table.orders.iter().map(|order| order_line(table, order)).collect();
    lines.extend(table.notes.iter().cloned());
    if let Some(paper) = &table.paper {
        lines.push(format!("paper: {}, {}", paper.table, paper.caption));
    }
    if table.rows.iter().any(|row| row.metrics.values().any(|metric| metric.estimate().is_some())) {
        lines.push(format!("intervals: 95 %, clustered by problem; n: {}", problem_counts(table)));
    }
    lines.push(format!("recipe: {} {}", table.recipe.name, table.recipe.digest.short()));
    lines.push(format!("commit: {}; machine: {}", table.commit, table.machine));
    lines
}

/// The number of problems behind each column, as a range where arms differ.
fn problem_counts(table: &Draft) -> String {
    let counts = table.columns.iter().filter_map(|column| {
        let n = || table.rows.iter().filter_map(|row| row.metrics.get(&column.key)?.estimate()).map(|e| e.n);
        let (least, most) = (n().min()?, n().max()?);
        let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Some(format!("{} {range}", column.label))
    });
    counts.collect::<Vec<_>>().join(", ")
}

pub(crate) fn order_line(table: &Draft, order: &OrderVerdict) -> String {
    let column = table.columns.iter().find(|column| column.key == order.metric);
    let label = column.map_or(order.metric.as_str(), |column| column.label.as_str());
    let format = column.map_or(Format::Decimal, |column| column.format);
    let standing = match order.standing {
        Standing::Holds => "holds",
        Standing::Reversed => "does not hold",
        Standing::Undecided => "not decided at this n",
        Standing::Unmeasured => "not measured",
    };
    let basis = match (&order.basis, order.difference) {
        (Some(Basis::Paired { p_value }), Some(difference)) => {
            let p = if *p_value < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p_value:.3}") };
            format!(" (paired difference {}, {p})", interval(&difference, format))
        }
        (Some(Basis::Intervals), _) => " (by their intervals)".to_owned(),
        _ => String::new(),
    };
    format!("{label}: {} > {}: {standing}{basis}", order.above, order.below)
}
