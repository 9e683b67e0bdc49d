//! `[table]`: what is compared.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::fault::FaultKind;
use crate::reader::{Field, Fields, Word};

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
    /// The paper's column that stands beside each of ours, by our column's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub paper_columns: BTreeMap<String, String>,
    /// The metrics.
    pub columns: Vec<Column>,
    /// The orders of arms that are expected.
    pub orders: Vec<ExpectedOrder>,
    /// The figure that is drawn beside the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<Figure>,
    /// What a reader must know besides: what is left out, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A figure of a recipe's arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// Each teacher's share of the chosen steps over a trajectory's progress: the paper's figures 2 and 5.
    Collaboration,
}

impl Word for Figure {
    const WORDS: &'static [(&'static str, Self)] = &[("collaboration", Self::Collaboration)];
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
    /// The share of the best trajectories' steps that a teacher wrote. Written `share.closer`.
    Share {
        /// The teacher's name.
        teacher: String,
    },
    /// Seconds of generating for each problem.
    SecondsPerProblem,
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
        /// The share of returned trajectories that have it, of as many as `select` for each problem.
        AccuracyOfAll = "accuracy-of-all",
        /// The share of problems whose best trajectory is right in every step.
        ProcessAccuracy = "process-accuracy",
        /// The mean predictive perplexity score.
        Perplexity = "perplexity",
        /// The number of trajectories that are trained on.
        Kept = "kept",
        /// The number of pairs that `[dpo]` learns from.
        Pairs = "pairs",
        /// The share of pairs whose chosen step the student prefers, as it learns: of the last 50 steps of `[dpo]`.
        Preferred = "preferred",
        /// The share of trajectories that did not end by themselves.
        Truncated = "truncated",
        /// The share of trajectories whose reasoning was closed by `generate.closing = "forced"`; they count as ended.
        Forced = "forced",
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
        /// The share of responses that `eval.judge` says agree with their references; what is cut off or says nothing does not.
        Judge = "judge",
        /// The share of responses without a verdict by `eval.judge`: they are in no other share.
        Unscored = "unscored",
        /// The share of problems whose most frequent answer is right; of three samples and more.
        Majority = "majority",
        /// The macro-averaged F1 of labels.
        MacroF1 = "macro-f1",
        /// The numeracy-aware F1 of spans and numbers.
        F1 = "f1",
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Trajectories(metric) => write!(f, "{}", metric.word()),
            Self::Eval { benchmark, metric: EvalMetric::PassAt1 } => write!(f, "eval.{benchmark}"),
            Self::Eval { benchmark, metric } => write!(f, "eval.{benchmark}.{}", metric.word()),
            Self::Share { teacher } => write!(f, "share.{teacher}"),
            Self::SecondsPerProblem => write!(f, "seconds-per-problem"),
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
    /// Every column that a recipe with these benchmarks and teachers can have.
    pub fn all(benchmarks: &[String], teachers: &[String]) -> Vec<Self> {
        let trajectories = TrajectoryMetric::ALL.iter().map(|metric| Self::Trajectories(*metric));
        let evals = benchmarks.iter().flat_map(|benchmark| {
            EvalMetric::ALL.iter().map(|metric| Self::Eval { benchmark: benchmark.clone(), metric: *metric })
        });
        let shares = teachers.iter().map(|teacher| Self::Share { teacher: teacher.clone() });
        let rest = [Self::SecondsPerProblem, Self::Seconds, Self::Cost, Self::CostPerTrajectory];
        trajectories.chain(evals).chain(shares).chain(rest).collect()
    }

    fn read(field: &Field<'_>, scope: &Scope<'_>) -> Option<Self> {
        let text = field.name()?;
        let all = Self::all(scope.benchmarks, scope.teachers);
        let found = all.iter().find(|column| column.to_string() == text).cloned();
        if found.is_none() {
            let (key, allowed) = (field.path().to_owned(), all.iter().map(Self::to_string).collect());
            field.fault(FaultKind::NotOneOf { key, allowed, given: text.clone() });
        } else if let Some(Self::Eval { benchmark, metric: EvalMetric::Judge | EvalMetric::Unscored }) = &found
            && !scope.judged.contains(benchmark)
        {
            let expected = format!("a column of what is judged (`eval.judge` with `{benchmark}` among its benchmarks)");
            return field.out_of_range(&expected, &text);
        }
        found
    }
}

/// What the table can speak of.
pub(crate) struct Scope<'a> {
    pub(crate) recipe: &'a str,
    pub(crate) arms: &'a [String],
    pub(crate) benchmarks: &'a [String],
    /// Those that some arm's judges read.
    pub(crate) judged: &'a [String],
    pub(crate) teachers: &'a [String],
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
        Self {
            title,
            paper: None,
            paper_rows: BTreeMap::new(),
            paper_columns: BTreeMap::new(),
            columns,
            orders: Vec::new(),
            figure: None,
            notes: Vec::new(),
        }
    }

    pub(crate) fn read(fields: Fields<'_>, scope: &Scope<'_>) -> Self {
        let plain = Self::plain(scope);
        let title = fields.or("title", plain.title, Field::name);
        let paper = fields.optional("paper", |field| {
            field.text_that("a table or figure of the paper such as `table-3`", |text| {
                let number = text.strip_prefix("table-").or_else(|| text.strip_prefix("figure-"));
                number.is_some_and(|number| number.parse::<u8>().is_ok())
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
            let columns = field.list("metrics", |item| Column::read(item, scope))?;
            field.once(&columns);
            Some(columns)
        });
        let orders = fields.or("order", Vec::new(), |field| {
            field.list("tables of `metric` and `order`", |item| {
                item.table(|fields| {
                    let metric = fields.need("metric", "a metric", |field| Column::read(field, scope));
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
        let paper_columns = fields.or("paper-columns", BTreeMap::new(), |field| {
            field.each(|name, field| {
                if !columns.iter().any(|column| column.to_string() == name) {
                    let defined = columns.iter().map(Column::to_string).collect();
                    let (key, given) = (field.path().to_owned(), name.to_owned());
                    field.fault_at_key(FaultKind::Undefined {
                        key,
                        what: "one of the table's columns",
                        given,
                        defined,
                    });
                }
                field.name()
            })
        });
        let figure = fields.optional("figure", Field::word);
        let notes = fields.or("notes", Vec::new(), |field| field.list("texts", Field::name));
        fields.close();
        Self { title, paper, paper_rows, paper_columns, columns, orders, figure, notes }
    }
}

fn undefined_arm(key: &str, name: &str, scope: &Scope<'_>) -> FaultKind {
    let (key, given) = (key.to_owned(), name.to_owned());
    FaultKind::Undefined { key, what: "the name of an arm", given, defined: scope.arms.to_vec() }
}
