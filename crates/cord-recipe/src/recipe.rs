//! The recipe as a whole.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use cord_core::Digest;
use serde::Serialize;

use crate::arm::{Arm, SHARED};
use crate::fault::{Fault, FaultKind, Faults, RecipeError};
use crate::matrix;
use crate::overlay::{apply_override, overlay, parse_override};
use crate::place::{Place, Sources};
use crate::reader::{Field, Fields, RawFault, Reading};
use crate::run::RunSettings;
use crate::table::{Scope, TableSettings};
use crate::tree::{self, Node, Table, Value};

/// A validated recipe. Every arm is resolved: no reader of it needs to know how arms override.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recipe {
    /// Names the folder of its runs.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Every arm is run with each of these.
    pub seeds: Vec<u64>,
    /// At least one, in the recipe's order.
    pub arms: Vec<Arm>,
    /// What is compared.
    pub table: TableSettings,
    /// How to run.
    pub run: RunSettings,
}

impl Recipe {
    /// Reads a recipe and reports every fault at once.
    ///
    /// `file` names the text in faults. `overrides` are `a.b.c=value`, laid over the text in their order.
    /// `exists` says whether a path of the recipe, as it stands there, leads to something: a model's folder, a
    /// file of rows, or `datasets/<name>.toml`.
    pub fn read(
        text: &str,
        file: &Path,
        overrides: &[String],
        exists: &dyn Fn(&Path) -> bool,
    ) -> Result<Self, RecipeError> {
        let sources = Sources::new(file, text, overrides);
        let mut gathered = Gathered::default();
        let recipe = match resolve(text, overrides, &mut gathered) {
            None => None,
            Some(root) => read(&root, exists, overrides, &mut gathered),
        };
        match recipe {
            Some(recipe) if gathered.0.is_empty() => Ok(recipe),
            _ => Err(Faults { file: file.display().to_string(), faults: gathered.located(&sources) }.into()),
        }
    }

    /// The digest of what the recipe does: everything but its name, its description and `[run]`.
    ///
    /// Comments, the order of keys and whether a default is spelt out do not change it; the names of arms and
    /// models do, since tables and ledgers show them. Two files with the same digest are one experiment.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&("cord-recipe", &self.seeds, &self.arms, &self.table))
    }

    /// The folder of its results inside `run.out`.
    pub fn folder(&self) -> &str {
        self.run.folder.as_ref().unwrap_or(&self.name)
    }

    /// What a file of the whole run is called in that folder: under its recipe's name where others share the folder.
    pub fn file(&self, name: &str) -> String {
        if self.folder() == self.name { name.to_owned() } else { format!("{}.{name}", self.name) }
    }

    /// The recipe with these arms alone, in its own order. Of the orders that are expected those stay that are about at least two of them.
    ///
    /// # Errors
    /// The names that no arm has.
    pub fn only(mut self, names: &[String]) -> Result<Self, Vec<String>> {
        let unknown: Vec<String> = names.iter().filter(|name| self.arm(name).is_none()).cloned().collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        self.arms.retain(|arm| names.contains(&arm.name));
        self.table.paper_rows.retain(|arm, _| names.contains(arm));
        for expected in &mut self.table.orders {
            expected.order.retain(|arm| names.contains(arm));
        }
        self.table.orders.retain(|expected| expected.order.len() > 1);
        Ok(self)
    }

    /// The arm of a name.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }
}

/// Faults, each with the arms that have it. `None` is the recipe itself.
#[derive(Default)]
struct Gathered(Vec<(RawFault, Vec<Option<String>>)>);

impl Gathered {
    fn add(&mut self, faults: Vec<RawFault>, arm: Option<&String>) {
        for fault in faults {
            match self.0.iter_mut().find(|(known, _)| *known == fault) {
                Some((_, arms)) => arms.push(arm.cloned()),
                None => self.0.push((fault, vec![arm.cloned()])),
            }
        }
    }

    /// A fault of every arm is the recipe's, and names none. What only some arms lack is lacking at the first
    /// of them, not at the recipe's start.
    fn of_all_arms(&mut self, arms: &[(String, Node)], start: Place) {
        for (fault, having) in &mut self.0 {
            let distinct: BTreeSet<_> = having.iter().cloned().collect();
            if distinct.contains(&None) || distinct.len() == arms.len() {
                having.clear();
            } else if fault.place == start
                && let Some((_, arm)) = arms.iter().find(|(name, _)| having.contains(&Some(name.clone())))
            {
                fault.place = arm.place;
            }
        }
    }

    fn located(mut self, sources: &Sources<'_>) -> Vec<Fault> {
        self.0.sort_by_key(|(fault, _)| fault.place);
        let locate = |(fault, arms): (RawFault, Vec<Option<String>>)| Fault {
            kind: fault.kind,
            location: sources.locate(fault.place),
            arms: arms.into_iter().flatten().collect(),
        };
        self.0.into_iter().map(locate).collect()
    }
}

/// The text with the overrides laid over it. Without a tree nothing more can be said.
fn resolve(text: &str, overrides: &[String], gathered: &mut Gathered) -> Option<Node> {
    let root = tree::parse(text, 0);
    let mut faults = Vec::new();
    let mut root = root.map_err(|found| faults.extend(found)).ok();
    let mut of_arms = Vec::new();
    for (index, text) in overrides.iter().enumerate() {
        match (parse_override(text, index + 1), &mut root) {
            // An arm may be one that is yet to be made.
            (Ok(over), Some(_)) if over.at(&["arms"]).is_some_and(|arms| arms.table().is_some()) => of_arms.push(over),
            (Ok(over), Some(root)) => apply_override(root, over, &mut faults),
            (Ok(_), None) => {}
            (Err(found), _) => faults.extend(found),
        }
    }
    if let Some(root) = &mut root {
        matrix::expand(root, &mut faults);
        for over in of_arms {
            apply_override(root, over, &mut faults);
        }
    }
    gathered.add(faults, None);
    root
}

fn read(root: &Node, exists: &dyn Fn(&Path) -> bool, overrides: &[String], gathered: &mut Gathered) -> Option<Recipe> {
    let reading = Reading { exists, faults: RefCell::default() };
    let table = root.table()?;
    let fields = Fields::root(&reading, table, root.place);
    let name = fields.need("name", PLAIN_NAME, |field| field.text_that(PLAIN_NAME, is_plain_name));
    let description = fields.optional("description", Field::text);
    let seeds = read_seeds(&fields);
    let models: Vec<String> = match root.at(&["models"]).map(|node| &node.value) {
        Some(Value::Table(models)) => models.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let run = fields
        .or("run", RunSettings::default(), |field| field.table(|fields| Some(RunSettings::read(fields, &models))));

    let overlays = arm_overlays(&fields, name.as_deref());
    let mut arms = Vec::new();
    let mut trees = Vec::new();
    for (arm, over) in &overlays {
        let mut tree = Node { value: Value::Table(shared(table)), place: root.place };
        overlay(&mut tree, over.clone(), &mut Vec::new());
        let reading = Reading { exists, faults: RefCell::default() };
        arms.extend(Arm::read(arm, &tree, &reading));
        gathered.add(reading.faults.into_inner(), Some(arm));
        trees.push(tree);
    }
    gathered.of_all_arms(&overlays, root.place);

    let names: Vec<String> = overlays.iter().map(|(name, _)| name.clone()).collect();
    let benchmarks = benchmarks(&trees);
    let mut teachers: Vec<String> = Vec::new();
    for name in arms.iter().filter_map(|arm| arm.generate.as_ref()).flat_map(|generate| &generate.teachers) {
        if !teachers.contains(name) {
            teachers.push(name.clone());
        }
    }
    let judges = arms.iter().filter_map(|arm| arm.eval.as_ref()?.judge.as_ref());
    let judged: Vec<String> = judges.flat_map(|judge| judge.benchmarks.iter().cloned()).collect();
    let scope = Scope {
        recipe: name.as_deref().unwrap_or_default(),
        arms: &names,
        benchmarks: &benchmarks,
        judged: &judged,
        teachers: &teachers,
        generates: arms.iter().any(|arm| arm.generate.is_some()),
    };
    let settings =
        fields.or("table", TableSettings::plain(&scope), |field| field.table(|f| Some(TableSettings::read(f, &scope))));
    for key in SHARED {
        fields.optional(key, |_| Some(()));
    }
    // Its arms were made before.
    fields.optional("matrix", |_| Some(()));
    fields.close();
    without_effect(table, &trees, overrides, &reading);
    gathered.add(reading.faults.into_inner(), None);
    Some(Recipe { name: name?, description, seeds: seeds?, arms, table: settings, run })
}

/// What a name must be that becomes a folder's.
pub(crate) const PLAIN_NAME: &str = "a name of letters, digits, `-`, `_` and `.`";

pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

fn read_seeds(fields: &Fields<'_>) -> Option<Vec<u64>> {
    let seed = fields.optional("seed", |field| field.whole(0, i64::MAX));
    let seeds = fields.optional("seeds", |field| {
        let seeds = field.list("whole numbers", |item| item.whole(0, i64::MAX))?;
        field.once(&seeds);
        if seeds.is_empty() { field.out_of_range("a list of at least one seed", &"[]") } else { Some(seeds) }
    });
    match (fields.has("seed"), fields.has("seeds")) {
        (true, true) => {
            let (expected, given) = ("one of `seed` and `seeds`".to_owned(), "both".to_owned());
            fields.fault_at("seeds", FaultKind::Conflict { expected, given, hint: "remove one".to_owned() });
            None
        }
        (false, false) => {
            fields.missing("seed", "a whole number (or a list as `seeds`)");
            None
        }
        _ => seeds.or(seed.map(|seed| vec![seed])),
    }
}

/// The arms' names with what each lays over the recipe; the recipe itself where it has none.
fn arm_overlays(fields: &Fields<'_>, recipe: Option<&str>) -> Vec<(String, Node)> {
    let empty = Node { value: Value::Table(Table::new()), place: Place { source: 0, start: 0, end: 0 } };
    if !fields.has("arms") {
        fields.optional("arms", |_| Some(()));
        return vec![(recipe.unwrap_or("recipe").to_owned(), empty)];
    }
    let arms = fields.optional("arms", |field| {
        let arms = field.list("arms", |item| {
            let name = item.table(|fields| {
                let name = fields.need("name", "the arm's name", Field::name);
                fields.optional("stages", |_| Some(()));
                fields.optional("matrix", Field::flag);
                for key in SHARED {
                    fields.optional(key, |_| Some(()));
                }
                fields.close();
                Some(name)
            })?;
            let mut own = item.node.clone();
            if let Value::Table(table) = &mut own.value {
                table.retain(|key, _| key == "stages" || SHARED.contains(&key.as_str()));
            }
            Some((name, own))
        })?;
        // An arm without a name is read all the same, for its other faults.
        let arms = arms.into_iter().enumerate();
        let arms: Vec<(String, Node)> =
            arms.map(|(index, (name, own))| (name.unwrap_or_else(|| format!("#{}", index + 1)), own)).collect();
        field.once(&arms.iter().map(|(name, _)| name).collect::<Vec<_>>());
        if arms.is_empty() {
            return field.out_of_range("a list of at least one arm", &"[]");
        }
        Some(arms)
    });
    arms.unwrap_or_default()
}

fn shared(table: &Table) -> Table {
    let of_arms = table.iter().filter(|(key, _)| SHARED.contains(&key.as_str()));
    of_arms.map(|(key, entry)| (key.clone(), entry.clone())).collect()
}

/// Every benchmark of every arm, in the order of their first mention.
fn benchmarks(trees: &[Node]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for tree in trees {
        let Some(Value::List(items)) = tree.at(&["eval", "benchmarks"]).map(|node| &node.value) else { continue };
        for item in items {
            if let Value::Text(name) = &item.value
                && !found.contains(name)
            {
                found.push(name.clone());
            }
        }
    }
    found
}

/// Notes overrides of a shared table that stand in the recipe and in no arm.
fn without_effect(root: &Table, trees: &[Node], overrides: &[String], reading: &Reading<'_>) {
    let sources = |node: &Node| {
        let mut places = Vec::new();
        node.leaves(&mut places);
        places
    };
    let heeded: BTreeSet<Place> = trees.iter().flat_map(sources).collect();
    let given: BTreeSet<Place> = shared(root).values().flat_map(|entry| sources(&entry.node)).collect();
    for place in given.difference(&heeded).filter(|place| place.source > 0) {
        let text = &overrides[place.source - 1];
        let key = text.split_once('=').map_or(text.as_str(), |(key, _)| key).trim().to_owned();
        reading.faults.borrow_mut().push(RawFault { kind: FaultKind::NoEffect { key }, place: *place });
    }
}
