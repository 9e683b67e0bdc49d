//! What can be wrong with a table.

/// All faults of a table, in the order of its parts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<TableFault>);

/// One fault of a table.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TableFault {
    /// Two columns show the same metric.
    #[error("expected each column once, got `{key}` again")]
    DuplicateColumn {
        /// The column's key.
        key: String,
    },
    /// Two rows have the same name.
    #[error("expected each arm once, got `{arm}` again")]
    DuplicateArm {
        /// The arm.
        arm: String,
    },
    /// A value is NaN or infinite.
    #[error("arm `{arm}`, metric `{metric}`: expected a finite value, got `{given}`")]
    NotFinite {
        /// The arm.
        arm: String,
        /// The metric.
        metric: String,
        /// The value.
        given: f64,
    },
    /// A value lies outside its own interval.
    #[error("arm `{arm}`, metric `{metric}`: expected `{value}` to lie in its interval, got [{low}, {high}]")]
    OutsideInterval {
        /// The arm.
        arm: String,
        /// The metric.
        metric: String,
        /// The value.
        value: f64,
        /// The interval's lower end.
        low: f64,
        /// The interval's upper end.
        high: f64,
    },
    /// The paper has no such table.
    #[error("expected a table or figure of the paper, one of {known}, got `{given}`")]
    UnknownPaperTable {
        /// The name that was given.
        given: String,
        /// The names that exist.
        known: String,
    },
    /// A mapping names an arm or column that our table does not have.
    #[error("`{paper_table}`: expected {what} of this table, one of {known}, got `{given}`")]
    UnknownOurs {
        /// The paper's table.
        paper_table: String,
        /// `an arm` or `a column`.
        what: &'static str,
        /// The name that was given.
        given: String,
        /// The names that exist.
        known: String,
    },
    /// A mapping names a row or column that the paper's table does not have.
    #[error("`{paper_table}`: expected {what} of the paper, one of {known}, got `{given}`")]
    UnknownPaper {
        /// The paper's table.
        paper_table: String,
        /// `a row` or `a column`.
        what: &'static str,
        /// The name that was given.
        given: String,
        /// The names that exist.
        known: String,
    },
}

/// Names in backticks, for messages.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
