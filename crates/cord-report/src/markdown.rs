//! `table.md`: the table for a README.

use crate::grid::{Grid, footer, grid};
use crate::table::Table;

impl Table {
    /// `table.md`: a heading, a pipe table and a list of what stands under it.
    pub fn markdown(&self) -> String {
        let table = self.parts();
        let Grid { headings, rows } = grid(table);
        let mut lines = vec![format!("# {}", escaped(&table.title)), String::new(), piped(&headings)];
        let rules: Vec<&str> = (0..headings.len()).map(|place| if place == 0 { "---" } else { "--:" }).collect();
        lines.push(format!("| {} |", rules.join(" | ")));
        lines.extend(rows.iter().map(|row| piped(row)));
        lines.push(String::new());
        lines.extend(footer(table).iter().map(|line| format!("- {}", escaped(line))));
        lines.join("\n") + "\n"
    }
}

fn piped(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |", cells.join(" | "))
}

/// Names come from users: they must not open a cell, emphasis, code, a tag or a second line.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}
