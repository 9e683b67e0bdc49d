//! The paper's published values, from `paper.toml`, as printed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::error::{Faults, TableFault, listed};
use crate::table::{Draft, Format, PaperSource};

/// All tables of the paper that this crate holds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// The tables, in the paper's order.
    #[serde(rename = "table")]
    pub tables: Vec<PaperTable>,
    /// What is known of its figures, in the paper's order.
    #[serde(rename = "figure")]
    pub figures: Vec<PaperFigure>,
}

/// A figure of the paper: what it shows, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperFigure {
    /// Its name in recipes: `figure-2`.
    pub id: String,
    /// What it shows and what the authors read from it.
    pub caption: String,
}

/// One table of the paper.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperTable {
    /// Its name in recipes: `table-3`.
    pub id: String,
    /// What it shows.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<PaperColumn>,
    /// Its rows.
    pub rows: Vec<PaperRow>,
}

/// A column of the paper's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperColumn {
    /// Its name, as a recipe would name our column: `accuracy`, `eval.aime24`.
    pub key: String,
    /// How the paper prints it: [`Format::Percent`] values are percents.
    pub format: Format,
}

/// A row of the paper's table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperRow {
    /// Its name: unique in the table.
    pub key: String,
    /// The short names of arms that it stands beside without a mapping; none is used twice in a table.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The values by column, as printed; a blank cell has none.
    pub values: BTreeMap<String, f64>,
}

/// Which of the paper's rows and columns belong to which of ours. What is not mapped is matched by name
/// (a row also by its aliases).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperMap {
    /// The paper's row by our arm.
    pub rows: BTreeMap<String, String>,
    /// The paper's column by our column's key.
    pub columns: BTreeMap<String, String>,
}

static PUBLISHED: LazyLock<Paper> =
    LazyLock::new(|| toml::from_str(include_str!("../paper.toml")).expect("the embedded paper.toml is valid"));

impl Paper {
    /// The values that the paper published.
    pub fn published() -> &'static Self {
        &PUBLISHED
    }

    /// A table by its name.
    pub fn table(&self, id: &str) -> Result<&PaperTable, TableFault> {
        self.tables.iter().find(|table| table.id == id).ok_or_else(|| self.unknown(id))
    }

    /// A figure by its name.
    pub fn figure(&self, id: &str) -> Option<&PaperFigure> {
        self.figures.iter().find(|figure| figure.id == id)
    }

    /// Puts a table's values, or a figure's caption, beside ours; see [`PaperTable::put_beside`].
    pub fn put_beside(&self, id: &str, draft: &mut Draft, map: &PaperMap) -> Result<(), Faults> {
        if let Some(figure) = self.figure(id) {
            let (table, caption) = (figure.id.clone(), figure.caption.clone());
            draft.paper = Some(PaperSource { table, caption, columns: BTreeMap::new() });
            return Ok(());
        }
        self.table(id).map_err(|fault| Faults(vec![fault]))?.put_beside(draft, map)
    }

    fn unknown(&self, given: &str) -> TableFault {
        let tables = self.tables.iter().map(|table| table.id.as_str());
        let figures = self.figures.iter().map(|figure| figure.id.as_str());
        TableFault::UnknownPaperTable { given: given.to_owned(), known: listed(tables.chain(figures)) }
    }
}

impl PaperTable {
    /// A value in our units (shares in `[0, 1]`), by the row's name or alias and the column's name.
    pub fn value(&self, row: &str, column: &str) -> Option<f64> {
        let format = self.columns.iter().find(|own| own.key == column)?.format;
        let printed = *self.row(row)?.values.get(column)?;
        Some(match format {
            // Through whole ten-thousandths, so that 93.1 % is 0.931 and not 0.9309999….
            Format::Percent => (printed * 1e4).round() / 1e6,
            Format::Decimal | Format::Count | Format::Seconds => printed,
        })
    }

    fn row(&self, name: &str) -> Option<&PaperRow> {
        let by_key = self.rows.iter().find(|row| row.key == name);
        by_key.or_else(|| self.rows.iter().find(|row| row.aliases.iter().any(|alias| alias == name)))
    }

    /// Puts the paper's values beside ours, in [`Row::paper`](crate::Row::paper). An arm or column without a match in the
    /// paper is left alone; an explicit mapping of a name that does not exist is a fault, and all faults are
    /// reported.
    pub fn put_beside(&self, draft: &mut Draft, map: &PaperMap) -> Result<(), Faults> {
        let faults = self.map_faults(draft, map);
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let columns: Vec<String> = draft.columns.iter().map(|column| column.key.clone()).collect();
        for row in &mut draft.rows {
            let paper_row = map.rows.get(&row.arm).unwrap_or(&row.arm);
            for column in &columns {
                let paper_column = map.columns.get(column).unwrap_or(column);
                if let Some(value) = self.value(paper_row, paper_column) {
                    row.paper.insert(column.clone(), value);
                }
            }
        }
        let (table, caption) = (self.id.clone(), self.caption.clone());
        draft.paper = Some(PaperSource { table, caption, columns: map.columns.clone() });
        Ok(())
    }

    fn map_faults(&self, draft: &Draft, map: &PaperMap) -> Vec<TableFault> {
        let ours = |what, given: &str, known: Vec<&str>| {
            (!known.contains(&given)).then(|| TableFault::UnknownOurs {
                paper_table: self.id.clone(),
                what,
                given: given.to_owned(),
                known: listed(known),
            })
        };
        let papers = |what, given: &str, found: bool, known: Vec<&str>| {
            (!found).then(|| TableFault::UnknownPaper {
                paper_table: self.id.clone(),
                what,
                given: given.to_owned(),
                known: listed(known),
            })
        };
        let arms = || draft.rows.iter().map(|row| row.arm.as_str()).collect();
        let columns = || draft.columns.iter().map(|column| column.key.as_str()).collect();
        let mut faults = Vec::new();
        for (arm, row) in &map.rows {
            faults.extend(ours("an arm", arm, arms()));
            let known = self.rows.iter().map(|row| row.key.as_str()).collect();
            faults.extend(papers("a row", row, self.row(row).is_some(), known));
        }
        for (ours_key, paper_key) in &map.columns {
            faults.extend(ours("a column", ours_key, columns()));
            let known: Vec<&str> = self.columns.iter().map(|column| column.key.as_str()).collect();
            faults.extend(papers("a column", paper_key, known.contains(&paper_key.as_str()), known));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_embedded_tables_are_consistent() {
        for table in &Paper::published().tables {
            let columns: BTreeSet<&str> = table.columns.iter().map(|column| column.key.as_str()).collect();
            assert_eq!(columns.len(), table.columns.len(), "{}: columns are unique", table.id);
            let names: Vec<&str> =
                table.rows.iter().flat_map(|row| row.aliases.iter().chain([&row.key])).map(String::as_str).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{}: names are unique", table.id);
            for row in &table.rows {
                assert!(!row.values.is_empty(), "{} {}: a row has values", table.id, row.key);
                for (column, value) in &row.values {
                    assert!(columns.contains(column.as_str()), "{} {}: unknown column `{column}`", table.id, row.key);
                    let format = table.columns.iter().find(|own| &own.key == column).unwrap().format;
                    let limit = match format {
                        Format::Percent => 100.0,
                        Format::Decimal => 1.0,
                        Format::Count | Format::Seconds => 1e6,
                    };
                    assert!((0.0..=limit).contains(value), "{} {} {column}: {value}", table.id, row.key);
                }
            }
        }
    }

    #[test]
    fn values_are_found_by_name_and_alias_in_our_units() {
        let paper = Paper::published();
        for (table, row, column, expected) in [
            ("table-2", "cord", "accuracy", Some(0.931)),
            ("table-2", "cord-homogeneous", "accuracy", Some(0.9)),
            ("table-2", "integration", "perplexity", Some(0.223)),
            ("table-3", "cord", "eval.aime24", Some(0.796)),
            ("table-3", "curation-heterogeneous-7b", "eval.aime25", Some(0.421)),
            ("table-6", "mcts", "seconds-per-problem", Some(589.2)),
            ("table-7", "cord", "eval.math500", Some(0.948)),
            ("table-15", "curation-x2", "seconds-per-problem", Some(336.6)),
            ("table-2", "none", "accuracy", None),
            ("table-4", "cord", "seconds-per-problem", None),
        ] {
            assert_eq!(paper.table(table).unwrap().value(row, column), expected, "{table} {row} {column}");
        }
        insta::assert_snapshot!(
            paper.table("table-1").unwrap_err(),
            @"expected a table or figure of the paper, one of `table-2`, `table-3`, `table-4`, `table-5`, `table-6`, `table-7`, `table-9`, `table-12`, `table-15`, `figure-2`, `figure-3`, `figure-5`, got `table-1`"
        );
    }
}
