//! Faults as a report that people read.

use std::fmt::{Formatter, Result};

use crate::fault::{Faults, listed};

/// Writes all faults, each with its place, the line it is about, and what to do.
pub(crate) fn report(faults: &Faults, f: &mut Formatter<'_>) -> Result {
    let count = faults.faults.len();
    write!(f, "`{}` has {count} fault{}", faults.file, if count == 1 { "" } else { "s" })?;
    for fault in &faults.faults {
        let location = &fault.location;
        write!(f, "\n\n{}: {}", location, fault.kind)?;
        if location.in_file && location.width > 0 {
            let number = location.line.to_string();
            let gutter = " ".repeat(number.len());
            // A tab is one column of the place and must be one column here.
            let text = location.text.replace('\t', " ");
            let (skip, carets) = (" ".repeat(location.column - 1), "^".repeat(location.width));
            write!(f, "\n {gutter} |\n {number} | {}\n {gutter} | {skip}{carets}", text.trim_end())?;
        }
        if !fault.arms.is_empty() {
            let plural = if fault.arms.len() == 1 { "" } else { "s" };
            write!(f, "\n  in arm{plural} {}", listed(&fault.arms))?;
        }
        if let Some(hint) = fault.kind.hint() {
            write!(f, "\n  hint: {hint}")?;
        }
    }
    Ok(())
}
