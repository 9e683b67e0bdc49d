//! `[generate] search`: how trajectories are found.

use serde::Serialize;

use crate::arm::ModelNames;
use crate::fault::FaultKind;
use crate::generate::{name_among, weighted_model_name};
use crate::reader::{Field, Fields, Word, is_default};

/// How trajectories are found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Search {
    /// Step-level beam search over all teachers: CoRD.
    Beam {
        /// How many partial trajectories are kept; 1 is greedy.
        width: u32,
        /// How many continuations each teacher proposes for each of them.
        proposals: u32,
        /// What becomes of finished trajectories while others go on.
        finished: Finished,
        /// Who writes the answer.
        answer_by: AnswerBy,
        /// How many final trajectories are returned, best first.
        select: u32,
        /// When the search ends, if not by its budgets.
        #[serde(skip_serializing_if = "is_default")]
        stop: StopRule,
    },
    /// Whole trajectories, the teachers in turn; the best are kept.
    Curation {
        /// How many are written. A recipe can say `per-teacher` instead.
        trajectories: u32,
        /// How many are returned, best first.
        select: u32,
        /// Goes on in rounds, one by each teacher, until so many tokens have been generated for the problem.
        #[serde(skip_serializing_if = "Option::is_none")]
        compute: Option<u64>,
    },
    /// Whole trajectories by one teacher.
    Single {
        /// The teacher's name.
        teacher: String,
        /// How many are written.
        trajectories: u32,
        /// How many are returned, best first.
        select: u32,
    },
    /// Tree search with rollouts.
    Mcts {
        /// How many times the tree is walked.
        iterations: u32,
        /// UCT's constant, for rewards in [0, 1].
        exploration: f64,
        /// How many continuations each teacher proposes for each step that is continued.
        proposals: u32,
        /// Which trajectory is the result.
        choose: Choose,
        /// How many final trajectories are returned.
        select: u32,
    },
    /// The best trajectory goes on first, one teacher at a time: beyond the paper, and cheaper than a beam.
    BestFirst {
        /// How many partial trajectories of one depth are gone on from at most.
        width: u32,
        /// How many continuations a teacher proposes each time it is asked.
        proposals: u32,
        /// With how many closed trajectories the search ends; as many as `width` where absent.
        finals: u32,
        /// Which closed trajectories count.
        #[serde(skip_serializing_if = "is_default")]
        stop: BestFirstStop,
        /// What a step is worth in itself, in the scorer's unit.
        bonus: f64,
        /// The score that the start is taken to have: teachers are asked about it one at a time; all at once where absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        start: Option<f64>,
        /// How many final trajectories are returned, best first.
        select: u32,
    },
    /// Whole trajectories by the teachers, merged by a further model.
    Integration {
        /// The model that merges, which is none of the teachers.
        model: String,
        /// How many are written to be merged.
        trajectories: u32,
        /// What the model is told.
        prompt: IntegrationPrompt,
        /// How many merged ones it writes.
        merged: u32,
        /// How many are returned, best first.
        select: u32,
    },
}

impl Search {
    /// How many final trajectories are returned.
    pub fn select(&self) -> u32 {
        match self {
            Self::Beam { select, .. }
            | Self::Curation { select, .. }
            | Self::Single { select, .. }
            | Self::Mcts { select, .. }
            | Self::BestFirst { select, .. }
            | Self::Integration { select, .. } => *select,
        }
    }
}

#[derive(Clone, Copy)]
enum SearchKind {
    Beam,
    Curation,
    Single,
    Mcts,
    BestFirst,
    Integration,
}

impl Word for SearchKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("beam", Self::Beam),
        ("curation", Self::Curation),
        ("single", Self::Single),
        ("mcts", Self::Mcts),
        ("best-first", Self::BestFirst),
        ("integration", Self::Integration),
    ];
}

/// What becomes of finished trajectories while others go on. The paper leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finished {
    /// They hold their place by their score, or lose it.
    Compete,
    /// They leave their place to an open one, and are weighed against each other in the end.
    SetAside,
    /// They keep their place for good.
    Hold,
}

impl Word for Finished {
    const WORDS: &'static [(&'static str, Self)] =
        &[("compete", Self::Compete), ("set-aside", Self::SetAside), ("hold", Self::Hold)];
}

/// Who writes the answer after the reasoning block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerBy {
    /// The teacher that wrote the last step.
    LastWriter,
}

impl Word for AnswerBy {
    const WORDS: &'static [(&'static str, Self)] = &[("last-writer", Self::LastWriter)];
}

/// When a beam search ends, if not by its budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopRule {
    /// When no kept trajectory is open.
    AllFinished,
    /// When the best trajectory is finished.
    BestFinished,
    /// When as many are finished as are to be returned.
    EnoughFinished,
}

impl Word for StopRule {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("all-finished", Self::AllFinished),
        ("best-finished", Self::BestFinished),
        ("enough-finished", Self::EnoughFinished),
    ];
}

/// Which closed trajectories are final ones of a best-first search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestFirstStop {
    /// Those that were the best there was, one after the other.
    EachBest,
    /// All, once one of them is the best there is.
    OneBest,
}

impl Word for BestFirstStop {
    const WORDS: &'static [(&'static str, Self)] = &[("each-best", Self::EachBest), ("one-best", Self::OneBest)];
}

/// Which trajectory is a tree search's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choose {
    /// The one that the most visited steps lead to.
    MostVisited,
    /// The best scored of all.
    BestScored,
}

impl Word for Choose {
    const WORDS: &'static [(&'static str, Self)] =
        &[("most-visited", Self::MostVisited), ("best-scored", Self::BestScored)];
}

/// A version of what the merging model is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum IntegrationPrompt {
    /// The first.
    #[serde(rename = "integration.v1")]
    V1,
}

impl Word for IntegrationPrompt {
    const WORDS: &'static [(&'static str, Self)] = &[("integration.v1", Self::V1)];
}

impl Search {
    pub(crate) fn read(fields: Fields<'_>, teachers: Option<&[String]>, models: &ModelNames) -> Option<Self> {
        let kind = fields.need("kind", "the kind of search", Field::word::<SearchKind>);
        let select = |most: u32, of: &str| {
            fields.or("select", 1, |field| {
                let given = field.count()?;
                if given > most {
                    return field.out_of_range(&format!("at most `{of}` = {most}"), &given);
                }
                Some(given)
            })
        };
        let search = match kind? {
            SearchKind::Beam => {
                let width = fields.or("width", 4, Field::count);
                let proposals = fields.or("proposals", 1, Field::count);
                let finished = fields.or("finished", Finished::Compete, Field::word);
                let answer_by = fields.or("answer-by", AnswerBy::LastWriter, Field::word);
                let stop = fields.or("stop", StopRule::AllFinished, Field::word);
                Some(Self::Beam { width, proposals, finished, answer_by, select: select(width, "width"), stop })
            }
            SearchKind::Curation => {
                let each = fields.optional("per-teacher", Field::count);
                if each.is_some() && fields.has("trajectories") {
                    let kind = FaultKind::Conflict {
                        expected: format!("one of `{}` and `per-teacher`", fields.path("trajectories")),
                        given: "both".to_owned(),
                        hint: "remove one".to_owned(),
                    };
                    fields.fault_at("per-teacher", kind);
                }
                let count = teachers.map_or(1, |teachers| teachers.len() as u32);
                let default = each.map_or(4, |each| each.saturating_mul(count));
                let trajectories = fields.or("trajectories", default, Field::count);
                let compute = fields.optional("compute", |field| field.whole(1, i64::MAX));
                Some(Self::Curation { trajectories, select: select(trajectories, "trajectories"), compute })
            }
            SearchKind::Mcts => {
                let iterations = fields.or("iterations", 16, Field::count);
                let exploration = fields.or("exploration", std::f64::consts::SQRT_2, |field| {
                    field.number("a number of at least 0", |number| number >= 0.0)
                });
                let proposals = fields.or("proposals", 1, Field::count);
                let choose = fields.or("choose", Choose::MostVisited, Field::word);
                let select = fields.or("select", 1, Field::count);
                Some(Self::Mcts { iterations, exploration, proposals, choose, select })
            }
            SearchKind::BestFirst => {
                let width = fields.or("width", 4, Field::count);
                let proposals = fields.or("proposals", 1, Field::count);
                let finals = fields.or("finals", width, Field::count);
                let stop = fields.or("stop", BestFirstStop::EachBest, Field::word);
                let bonus =
                    fields.or("bonus", 0.0, |field| field.number("a number of at least 0", |number| number >= 0.0));
                let start = fields.optional("start", |field| field.number("a number", f64::is_finite));
                let select = select(finals, "finals");
                Some(Self::BestFirst { width, proposals, finals, stop, bonus, start, select })
            }
            SearchKind::Integration => {
                let model = fields.need("model", "the model that merges", |field| {
                    let name = weighted_model_name(field, models)?;
                    match teachers {
                        Some(teachers) if teachers.contains(&name) => {
                            field.out_of_range("a model that is none of the teachers", &name)
                        }
                        _ => Some(name),
                    }
                });
                let trajectories = fields.or("trajectories", 4, Field::count);
                let prompt = fields.or("prompt", IntegrationPrompt::V1, Field::word);
                let merged = fields.or("merged", 1, Field::count);
                let select = select(merged, "merged");
                model.map(|model| Self::Integration { model, trajectories, prompt, merged, select })
            }
            SearchKind::Single => {
                // Where the teachers have faults of their own, any name may be one of them.
                let teacher = fields.need("teacher", "one of the teachers", |field| match teachers {
                    Some(teachers) => name_among(field, "one of the teachers", teachers),
                    None => field.name(),
                });
                let trajectories = fields.or("trajectories", 1, Field::count);
                let select = select(trajectories, "trajectories");
                teacher.map(|teacher| Self::Single { teacher, trajectories, select })
            }
        };
        fields.close();
        search
    }
}
