//! The table for a page of its own, and for one that has others.

use std::fmt::Write;

use crate::grid::{Grid, footer, grid};
use crate::table::Table;

/// What makes the page of one table readable; it follows the reader's choice of light or dark.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}\
    table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
    caption{font-weight:600;font-size:1.2em;text-align:left;padding-bottom:.6em}\
    th,td{padding:.35em .8em;text-align:right;border-bottom:1px solid #8885;white-space:nowrap}\
    th:first-child{text-align:left}thead th{border-bottom:2px solid}";

impl Table {
    /// The table as a page: one file that asks for no other.
    pub fn html(&self) -> String {
        let title = escaped(&self.parts().title);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{}</html>\n",
            self.html_part()
        )
    }

    /// The table and what stands under it, as a part of a page.
    pub fn html_part(&self) -> String {
        let table = self.parts();
        let Grid { headings, rows } = grid(table);
        let mut out = format!("<table>\n<caption>{}</caption>\n<thead><tr>", escaped(&table.title));
        for heading in &headings {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(heading));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in &rows {
            out.push_str("<tr>");
            for (place, cell) in row.iter().enumerate() {
                let (open, close) = if place == 0 { ("<th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
                let _ = write!(out, "{open}{}{close}", escaped(cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>\n</table>\n<ul>\n");
        for line in footer(table) {
            let _ = writeln!(out, "<li>{}</li>", escaped(&line));
        }
        out.push_str("</ul>\n");
        out
    }
}

/// Text that opens no tag and ends no attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // HTML has no way to say them, and a parser may do as it likes.
            '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}
