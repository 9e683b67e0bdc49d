//! The table for a paper: LaTeX with `booktabs`.

use std::fmt::Write;

use crate::grid::{Grid, footer, grid};
use crate::table::Table;

impl Table {
    /// A `table` with its caption, to be taken in by `\input`; it needs `\usepackage{booktabs}`. Intervals stand small
    /// behind their values; what else is said under the table comes as comments.
    pub fn latex(&self) -> String {
        let table = self.parts();
        let Grid { headings, rows } = grid(table);
        let mut out = String::from("% \\usepackage{booktabs}\n\\begin{table}[t]\n\\centering\n");
        let _ = writeln!(out, "\\caption{{{}}}", escaped(&table.title));
        let _ = writeln!(out, "\\begin{{tabular}}{{l{}}}\n\\toprule", "r".repeat(headings.len() - 1));
        let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
        out.push_str(&line(headings.iter().map(|heading| escaped(heading)).collect()));
        out.push_str("\\midrule\n");
        for row in &rows {
            out.push_str(&line(row.iter().enumerate().map(|(place, text)| cell(place, text)).collect()));
        }
        out.push_str("\\bottomrule\n\\end{tabular}\n\\end{table}\n");
        for line in footer(table) {
            let _ = writeln!(out, "% {}", line.replace(['\n', '\r'], " "));
        }
        out
    }
}

/// A cell; a number's interval is set small.
fn cell(place: usize, text: &str) -> String {
    match text.split_once(" [") {
        Some((value, interval)) if place > 0 => {
            format!("{} {{\\scriptsize [{}}}", escaped(value), escaped(interval))
        }
        _ => escaped(text),
    }
}

/// Text in which no character is a command.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '–' => out.push_str("--"),
            // A line in brackets after `\\` would be its optional argument.
            '[' => out.push_str("{[}"),
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}
