//! All that is looked at: what the page shows at once, and where a problem's texts are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use cord_core::{Digest, Problem};
use cord_eval::{Collaboration, teacher_shares};
use cord_recipe::StageKind;
use cord_report::ArmShares;
use cord_report::view::{
    ArmKind, Collection, CollectionArm, Curve, Entry, Overview, ProblemLine, ProblemPage, ResultTable, ViewedRun,
};
use cord_store::{CurvePoint, StageFolder, read_curve, read_jsonl};
use cord_train::TrainReport;
use serde_json::Value;

use super::arms::{ArmStages, RunArms, data_set, search};
use super::run::{Run, version};
use super::source::Source;
use super::teachers::Teachers;

/// How much of a question the list shows and searches.
const QUESTION: usize = 400;

/// The runs, read.
pub(super) struct Library {
    pub(super) overview: Overview,
    folders: Vec<PathBuf>,
    shelves: Vec<Shelf>,
    teachers: Teachers,
}

/// The problems of a data set and who worked on them.
struct Shelf {
    name: String,
    problems: Vec<Problem>,
    places: BTreeMap<String, usize>,
    arms: Vec<ShelvedArm>,
}

struct ShelvedArm {
    /// The stage, which arms may share.
    key: Digest,
    labels: Vec<String>,
    made: Arc<Made>,
}

/// What a finished stage made.
struct Made {
    kind: ArmKind,
    note: String,
    source: Source,
    entries: BTreeMap<String, Entry>,
    collaboration: Collaboration,
}

/// How arms of several runs are told from each other.
struct Naming<'a> {
    prefix: Option<&'a str>,
    with_seeds: bool,
}

impl Library {
    /// Reads the runs: every table, every curve, and of responses what the list of problems needs. Finished stages do not
    /// change: what an earlier reading has of them is taken from there.
    pub(super) fn read(runs: &[Run], earlier: Option<&Self>) -> Result<Self> {
        let teachers = earlier.map(|earlier| earlier.teachers.clone()).unwrap_or_default();
        let folders = runs.iter().map(|run| run.store.folder().to_path_buf()).collect();
        let mut library = Self { overview: Overview::default(), folders, shelves: Vec::new(), teachers };
        let several = runs.iter().map(|run| run.arms.len()).sum::<usize>() > 1;
        for run in runs {
            for arms in &run.arms {
                let mut seeds: Vec<_> = arms.arms.iter().map(|row| row.seed).collect();
                seeds.sort_unstable();
                seeds.dedup();
                let name = if run.arms.len() > 1 { &arms.recipe } else { &run.name };
                let naming = Naming { prefix: several.then_some(name.as_str()), with_seeds: seeds.len() > 1 };
                for row in &arms.arms {
                    library.add_row(run, row, &naming, earlier)?;
                }
                library.add_shares(run, arms, &naming)?;
                library.add_curves(run, arms, &naming)?;
            }
            library.overview.runs.push(viewed(run)?);
            library.overview.tables.extend(run.tables.iter().map(ResultTable::from));
        }
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        library.overview.title = names.join(" and ");
        library.overview.teachers = library.teachers.names().to_vec();
        library.overview.collections = library.shelves.iter().map(Shelf::collection).collect();
        library.overview.version = joined(&runs.iter().map(|run| run.version.clone()).collect::<Vec<_>>());
        Ok(library)
    }

    /// What the version of the overview would be now: another one where a run has gone on.
    pub(super) fn version_now(&self) -> Result<String> {
        Ok(joined(&self.folders.iter().map(|folder| version(folder)).collect::<Result<Vec<_>>>()?))
    }

    /// The texts of a problem under an arm; nothing where there is no such problem, or the arm has not seen it.
    pub(super) fn page(&self, collection: usize, arm: usize, problem: usize) -> Result<Option<ProblemPage>> {
        let Some(shelf) = self.shelves.get(collection) else { return Ok(None) };
        let (Some(arm), Some(problem)) = (shelf.arms.get(arm), shelf.problems.get(problem)) else { return Ok(None) };
        if !arm.made.entries.contains_key(&problem.id) {
            return Ok(None);
        }
        arm.made.source.page(problem, &self.teachers).map(Some)
    }

    /// Every page that there is: collection, arm and problem, problem by problem.
    pub(super) fn pages(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.shelves.iter().enumerate().flat_map(|(collection, shelf)| {
            shelf.problems.iter().enumerate().flat_map(move |(place, problem)| {
                let arms = shelf.arms.iter().enumerate();
                arms.filter(|(_, arm)| arm.made.entries.contains_key(&problem.id))
                    .map(move |(arm, _)| (collection, arm, place))
            })
        })
    }

    fn add_row(&mut self, run: &Run, row: &ArmStages, naming: &Naming<'_>, earlier: Option<&Self>) -> Result<()> {
        let label = naming.label(row);
        if let (Some(generate), Some(problems)) = (row.generate, row.problems)
            && let Some(folder) = run.store.find(StageKind::Generate.name(), generate)?
        {
            self.add_arm(run, problems, &folder, label.clone(), earlier)?;
        }
        for one in &row.evals {
            if let Some(folder) = run.store.find(StageKind::Eval.name(), one.eval)? {
                self.add_arm(run, one.problems, &folder, label.clone(), earlier)?;
            }
        }
        Ok(())
    }

    fn add_arm(
        &mut self,
        run: &Run,
        problems: Digest,
        folder: &StageFolder,
        label: String,
        earlier: Option<&Self>,
    ) -> Result<()> {
        let what = || format!("`{}`", folder.path().display());
        let input = run.store.find(StageKind::Problems.name(), problems)?;
        let input = input.with_context(|| format!("{}: expected the stage of its problems, got none", what()))?;
        let problems: Vec<Problem> = read_jsonl(&input.read_bytes("problems.jsonl")?, &input.file("problems.jsonl"))?;
        let shelf = self.shelf(&data_set(&input.manifest().settings), &input, &problems);
        let key = folder.key();
        if let Some(arm) = self.shelves[shelf].arms.iter_mut().find(|arm| arm.key == key) {
            if !arm.labels.contains(&label) {
                arm.labels.push(label);
            }
            return Ok(());
        }
        let mut known = earlier.into_iter().flat_map(|earlier| &earlier.shelves).flat_map(|shelf| &shelf.arms);
        let made = match known.find(|arm| arm.key == key) {
            Some(arm) => arm.made.clone(),
            None => Arc::new(Made::read(folder, &problems, &mut self.teachers).with_context(what)?),
        };
        self.shelves[shelf].arms.push(ShelvedArm { key, labels: vec![label], made });
        Ok(())
    }

    /// The shelf of a data set. Runs on the same problems share one; where a name stands for others, it gets the stage's key.
    fn shelf(&mut self, name: &str, input: &StageFolder, problems: &[Problem]) -> usize {
        let fits = |shelf: &Shelf| {
            let same = |one: &Problem| shelf.places.get(&one.id).is_none_or(|place| shelf.problems[*place] == *one);
            problems.iter().all(same)
        };
        let key = format!("{name} {}", input.key().short());
        let named = |shelf: &&Shelf| shelf.name == name || shelf.name == key;
        let known = self.shelves.iter().position(|shelf| named(&shelf) && fits(shelf));
        let at = known.unwrap_or_else(|| {
            let taken = self.shelves.iter().any(|shelf| shelf.name == name);
            let name = if taken { key } else { name.to_owned() };
            self.shelves.push(Shelf { name, problems: Vec::new(), places: BTreeMap::new(), arms: Vec::new() });
            self.shelves.len() - 1
        });
        let shelf = &mut self.shelves[at];
        for problem in problems {
            if !shelf.places.contains_key(&problem.id) {
                shelf.places.insert(problem.id.clone(), shelf.problems.len());
                shelf.problems.push(problem.clone());
            }
        }
        at
    }

    /// Who writes what part of the trajectories of each arm, over its seeds.
    fn add_shares(&mut self, run: &Run, arms: &RunArms, naming: &Naming<'_>) -> Result<()> {
        let mut names: Vec<&str> = Vec::new();
        for row in &arms.arms {
            if !names.contains(&row.arm.as_str()) {
                names.push(&row.arm);
            }
        }
        for name in names {
            let (mut seeds, mut teachers) = (Vec::new(), Vec::new());
            for generate in arms.arms.iter().filter(|row| row.arm == name).filter_map(|row| row.generate) {
                let shelved = self.shelves.iter().flat_map(|shelf| &shelf.arms).find(|arm| arm.key == generate);
                if let Some(arm) = shelved {
                    seeds.push(arm.made.collaboration.clone());
                }
                if let Some(folder) = run.store.find(StageKind::Generate.name(), generate)? {
                    teachers = self.teachers.add_of(&folder);
                }
            }
            // Whole responses have no steps, and one problem no interval.
            if seeds.iter().any(|seed| !seed.teachers().is_empty())
                && let Ok(teachers) = teacher_shares(&seeds, &teachers)
            {
                self.overview.shares.push(ArmShares { arm: naming.plain(name), teachers });
            }
        }
        Ok(())
    }

    fn add_curves(&mut self, run: &Run, arms: &RunArms, naming: &Naming<'_>) -> Result<()> {
        let mut labels: Vec<(StageKind, Digest, Vec<String>)> = Vec::new();
        for row in &arms.arms {
            let label = naming.label(row);
            let students =
                [(StageKind::Train, row.train, label.clone()), (StageKind::Dpo, row.dpo, format!("{label}, DPO"))];
            for (kind, key, label) in students {
                let Some(key) = key else { continue };
                match labels.iter_mut().find(|(_, known, _)| *known == key) {
                    Some((.., known)) => known.push(label),
                    None => labels.push((kind, key, vec![label])),
                }
            }
        }
        for (kind, key, labels) in labels {
            let name = kind.name();
            let label = labels.join(", ");
            let curve = match run.store.find(name, key)? {
                Some(folder) => finished_curve(label, &folder)?,
                None => curve(label, false, &read_curve(&run.store.partial_path(name, key).join("curve.jsonl"))?),
            };
            if !curve.step.is_empty() {
                self.overview.curves.push(curve);
            }
        }
        Ok(())
    }
}

impl Made {
    fn read(folder: &StageFolder, problems: &[Problem], teachers: &mut Teachers) -> Result<Self> {
        let (kind, source) = if folder.manifest().stage == StageKind::Generate.name() {
            teachers.add_of(folder);
            (ArmKind::Trajectories, Source::generated(folder)?)
        } else {
            (ArmKind::Samples, Source::sampled(folder)?)
        };
        let by_id = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
        let (entries, collaboration) = source.entries(&by_id, teachers)?;
        Ok(Self { kind, note: note(&folder.manifest().settings), source, entries, collaboration })
    }
}

impl Naming<'_> {
    fn plain(&self, arm: &str) -> String {
        self.prefix.map_or_else(|| arm.to_owned(), |prefix| format!("{prefix}: {arm}"))
    }

    fn label(&self, row: &ArmStages) -> String {
        match row.seed {
            Some(seed) if self.with_seeds => format!("{}, seed {seed}", self.plain(&row.arm)),
            _ => self.plain(&row.arm),
        }
    }
}

impl Shelf {
    fn collection(&self) -> Collection {
        let line = |problem: &Problem| ProblemLine {
            id: problem.id.clone(),
            question: problem.question.chars().take(QUESTION).collect(),
            answer: problem.answer.chars().take(QUESTION).collect(),
        };
        let arm = |arm: &ShelvedArm| CollectionArm {
            label: arm.labels.join(", "),
            kind: arm.made.kind,
            note: arm.made.note.clone(),
            unit_score: arm
                .made
                .entries
                .values()
                .filter_map(|entry| entry.score)
                .all(|score| (0.0..=1.0).contains(&score)),
            entries: self.problems.iter().map(|problem| arm.made.entries.get(&problem.id).cloned()).collect(),
        };
        Collection {
            name: self.name.clone(),
            problems: self.problems.iter().map(line).collect(),
            arms: self.arms.iter().map(arm).collect(),
        }
    }
}

/// What changes when one of several runs goes on.
fn joined(versions: &[String]) -> String {
    Digest::of_json(&versions).short()
}

fn viewed(run: &Run) -> Result<ViewedRun> {
    let table = run.tables.first().map(cord_report::Table::parts);
    let digest = run.arms.first().and_then(|arms| arms.digest).or(table.map(|table| table.recipe.digest));
    Ok(ViewedRun {
        name: run.name.clone(),
        folder: run.store.folder().display().to_string(),
        recipe: digest.map(|digest| digest.short()),
        commit: table.map(|table| table.commit.clone()),
        machine: table.map(|table| table.machine.clone()),
        stages: run.stages()?,
    })
}

/// How a stage made its responses, in a few words.
fn note(settings: &Value) -> String {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    if settings["generate"].is_object() {
        let scorer = &settings["generate"]["scorer"];
        let judge = word(&scorer["model"]["name"]).map(|model| format!(" by {model}")).unwrap_or_default();
        let scored = word(&scorer["kind"]).map(|kind| format!(", {}{judge}", kind.replace('-', " ")));
        return format!("{}{}", search(settings), scored.unwrap_or_default());
    }
    let eval = &settings["eval"];
    let model = word(&eval["model"]["given"]["name"]).unwrap_or_else(|| "the trained student".to_owned());
    format!("{model} on {}", word(&eval["benchmark"]).unwrap_or_default())
}

/// A finished training's curve. One that was made before curves were noted has its losses in the report.
fn finished_curve(label: String, folder: &StageFolder) -> Result<Curve> {
    let points = folder.curve()?;
    if !points.is_empty() {
        return Ok(curve(label, true, &points));
    }
    let report: TrainReport = folder.read_json("report.json")?;
    Ok(Curve {
        label,
        finished: true,
        step: (1..=report.losses.len() as u64).collect(),
        loss: report.losses,
        validation: report.validations.iter().map(|one| (one.step as u64, one.loss)).collect(),
        learning_rate: Vec::new(),
        gradient_norm: Vec::new(),
        tokens_per_second: Vec::new(),
    })
}

fn curve(label: String, finished: bool, points: &[CurvePoint]) -> Curve {
    let of = |pick: fn(&CurvePoint) -> f64| points.iter().map(pick).collect();
    Curve {
        label,
        finished,
        step: points.iter().map(|point| point.step).collect(),
        loss: of(|point| point.loss),
        validation: points.iter().filter_map(|point| Some((point.step, point.validation_loss?))).collect(),
        learning_rate: of(|point| point.learning_rate),
        gradient_norm: of(|point| point.gradient_norm),
        tokens_per_second: of(|point| point.tokens_per_second),
    }
}
