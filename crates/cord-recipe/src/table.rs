//! `[table]`: what is compared.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::fault::FaultKind;
use crate::reader::{Field, Fields};

/// `[table]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableSettings {
    /// The heading.
    pub title: String,
    /// The paper's table to set beside it, such as `table-3`.
    pub paper: Option<String>,
    /// The paper's row that each arm stands for, by the arm's name.
    pub paper_rows: BTreeMap<String, String>,
    /// The metrics.
    pub columns: Vec<Column>,
    /// The orders of arms that are expected.
    pub orders: Vec<ExpectedOrder>,
}

/// Arms that are expected in this order on a metric, the highest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExpectedOrder {
    /// The metric.
    pub metric: Column,
    /// The arms, at least two.
    pub order: Vec<String>,
}

/// A metric of an arm. Written in a recipe as `accuracy`, `eval.mini/test` or `eval.mini/test.truncated`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Of what the arm generates.
    Trajectories(TrajectoryMetric),
    /// Of what the arm's model answers to a benchmark.
    Eval {
        /// The benchmark.
        benchmark: String,
        /// The metric.
        metric: EvalMetric,
    },
    /// Seconds of all the arm's stages.
    Seconds,
    /// What generating the arm's trajectories cost, by `[run.prices]`.
    Cost,
    /// The same for each accepted trajectory.
    CostPerTrajectory,
}

macro_rules! metrics {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every metric.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word in a recipe.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

metrics! {
    /// A metric of generated trajectories.
    TrajectoryMetric {
        /// The share of problems whose best trajectory has the gold answer.
        Accuracy = "accuracy",
        /// The share of problems whose best trajectory is right in every step.
        ProcessAccuracy = "process-accuracy",
        /// The mean predictive perplexity score.
        Perplexity = "perplexity",
        /// The number of trajectories that are trained on.
        Kept = "kept",
        /// The share of trajectories that did not end by themselves.
        Truncated = "truncated",
        /// The number of problems without a trajectory.
        Failed = "failed",
        /// Tokens drawn.
        GeneratedTokens = "generated-tokens",
        /// Tokens scored.
        ScoredTokens = "scored-tokens",
        /// Tokens drawn for each accepted trajectory: one whose reasoning closed and whose answer ended.
        TokensPerTrajectory = "tokens-per-trajectory",
    }
}

metrics! {
    /// A metric of a benchmark.
    EvalMetric {
        /// The mean accuracy of one sample. The only one that is written without its word.
        PassAt1 = "pass@1",
        /// The share of samples that ran out of tokens.
        Truncated = "truncated",
        /// The share of samples without an answer that could be read.
        Unparsed = "unparsed",
        /// Tokens drawn.
        GeneratedTokens = "generated-tokens",
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Trajectories(metric) => write!(f, "{}", metric.word()),
            Self::Eval { benchmark, metric: EvalMetric::PassAt1 } => write!(f, "eval.{benchmark}"),
            Self::Eval { benchmark, metric } => write!(f, "eval.{benchmark}.{}", metric.word()),
            Self::Seconds => write!(f, "seconds"),
            Self::Cost => write!(f, "cost"),
            Self::CostPerTrajectory => write!(f, "cost-per-trajectory"),
        }
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Column {
    /// Every column that a recipe with these benchmarks can have.
    pub fn all(benchmarks: &[String]) -> Vec<Self> {
        let trajectories = TrajectoryMetric::ALL.iter().map(|metric| Self::Trajectories(*metric));
        let evals = benchmarks.iter().flat_map(|benchmark| {
            EvalMetric::ALL.iter().map(|metric| Self::Eval { benchmark: benchmark.clone(), metric: *metric })
        });
        trajectories.chain(evals).chain([Self::Seconds, Self::Cost, Self::CostPerTrajectory]).collect()
    }

    fn read(field: &Field<'_>, benchmarks: &[String]) -> Option<Self> {
        let text = field.name()?;
        let all = Self::all(benchmarks);
        let found = all.iter().find(|column| column.to_string() == text).cloned();
        if found.is_none() {
            let (key, allowed) = (field.path().to_owned(), all.iter().map(Self::to_string).collect());
            field.fault(FaultKind::NotOneOf { key, allowed, given: text });
        }
        found
    }
}

/// What the table can speak of.
pub(crate) struct Scope<'a> {
    pub(crate) recipe: &'a str,
    pub(crate) arms: &'a [String],
    pub(crate) benchmarks: &'a [String],
    pub(crate) generates: bool,
}

impl TableSettings {
    /// The table of a recipe that asks for none in particular.
    pub(crate) fn plain(scope: &Scope<'_>) -> Self {
        let mut columns = Vec::new();
        if scope.generates {
            columns.extend([TrajectoryMetric::Accuracy, TrajectoryMetric::Perplexity].map(Column::Trajectories));
        }
        let pass = |benchmark: &String| Column::Eval { benchmark: benchmark.clone(), metric: EvalMetric::PassAt1 };
        columns.extend(scope.benchmarks.iter().map(pass));
        columns.push(Column::Seconds);
        let title = scope.recipe.to_owned();
        Self { title, paper: None, paper_rows: BTreeMap::new(), columns, orders: Vec::new() }
    }

    pub(crate) fn read(fields: Fields<'_>, scope: &Scope<'_>) -> Self {
        let plain = Self::plain(scope);
        let title = fields.or("title", plain.title, Field::name);
        let paper = fields.optional("paper", |field| {
            field.text_that("a table of the paper such as `table-3`", |text| {
                text.strip_prefix("table-").is_some_and(|number| number.parse::<u8>().is_ok())
            })
        });
        let arm = |field: &Field<'_>| {
            let name = field.name()?;
            if !scope.arms.contains(&name) {
                field.fault(undefined_arm(field.path(), &name, scope));
            }
            Some(name)
        };
        let paper_rows = fields.or("paper-rows", BTreeMap::new(), |field| {
            field.each(|name, field| {
                if !scope.arms.iter().any(|arm| arm == name) {
                    field.fault_at_key(undefined_arm(field.path(), name, scope));
                }
                field.name()
            })
        });
        let columns = fields.or("columns", plain.columns, |field| {
            let columns = field.list("metrics", |item| Column::read(item, scope.benchmarks))?;
            field.once(&columns);
            Some(columns)
        });
        let orders = fields.or("order", Vec::new(), |field| {
            field.list("tables of `metric` and `order`", |item| {
                item.table(|fields| {
                    let metric = fields.need("metric", "a metric", |field| Column::read(field, scope.benchmarks));
                    let order = fields.need("order", "a list of arms, the highest first", |field| {
                        let names = field.list("arms", arm)?;
                        field.once(&names);
                        if names.len() < 2 {
                            return field.out_of_range("a list of at least two arms", &names.len());
                        }
                        Some(names)
                    });
                    fields.close();
                    Some(ExpectedOrder { metric: metric?, order: order? })
                })
            })
        });
        fields.close();
        Self { title, paper, paper_rows, columns, orders }
    }
}

fn undefined_arm(key: &str, name: &str, scope: &Scope<'_>) -> FaultKind {
    let (key, given) = (key.to_owned(), name.to_owned());
    FaultKind::Undefined { key, what: "the name of an arm", given, defined: scope.arms.to_vec() }
}
