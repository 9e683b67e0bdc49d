//! The table for a terminal: aligned columns of text.

use crate::grid::{Grid, footer, grid};
use crate::table::Table;

impl Table {
    /// The table as aligned text without colour, arms to the left and numbers to the right, ending in a
    /// line break.
    pub fn terminal(&self) -> String {
        let table = self.parts();
        let Grid { headings, rows } = grid(table);
        let widths: Vec<usize> = (0..headings.len())
            .map(|place| rows.iter().map(|row| width(&row[place])).chain([width(&headings[place])]).max().unwrap_or(0))
            .collect();
        let mut lines = vec![table.title.clone(), String::new(), aligned(&headings, &widths)];
        lines.push(widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>().join("  "));
        lines.extend(rows.iter().map(|row| aligned(row, &widths)));
        lines.push(String::new());
        lines.extend(footer(table));
        lines.join("\n") + "\n"
    }
}

/// Characters, not bytes: `–` is one column wide.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(place, (cell, width))| match place {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}
