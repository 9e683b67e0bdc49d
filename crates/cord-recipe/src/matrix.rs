//! `[matrix]`: lists of values by the path of the key that they are for, as one arm for each combination.
//!
//! ```toml
//! [matrix]
//! "generate.search.width" = [1, 2, 4]
//! "generate.scorer" = [{ kind = "random" }, { kind = "max-length" }]
//! ```
//!
//! Every arm of `[[arms]]` that does not say `matrix = false` is taken apart into one for each combination; without `[[arms]]`
//! the combinations are the arms. A combination is laid over its arm as an arm is over the recipe, and its name says what it
//! has: `cord_width-2_scorer-random`. Names are made of keys and values alone, so that a value that is added renames no arm.

use std::collections::{BTreeMap, BTreeSet};

use crate::arm::SHARED;
use crate::fault::FaultKind;
use crate::overlay::overlay;
use crate::place::Place;
use crate::reader::RawFault;
use crate::tree::{Entry, Node, Table, Value};

/// The most arms that a grid may give.
const MOST_ARMS: u128 = 256;

/// The most characters of a value in a name.
const MOST_CHARACTERS: usize = 40;

/// One key and its values.
struct Axis {
    path: Vec<String>,
    key: Place,
    label: String,
    values: Vec<Node>,
    names: Vec<String>,
}

/// Takes `[matrix]` out of the tree and puts its arms there. After a fault there are no arms of it, and no table either, which
/// may name them.
pub(crate) fn expand(root: &mut Node, faults: &mut Vec<RawFault>) {
    let Value::Table(table) = &mut root.value else { return };
    let Some(matrix) = table.remove("matrix") else { return };
    let before = faults.len();
    let axes = axes(&matrix, faults);
    let arms = match table.get("arms") {
        Some(Entry { node: Node { value: Value::List(arms), .. }, .. }) => Some(arms.as_slice()),
        // What is no list is a fault that the reader of arms tells.
        Some(_) => return,
        None => None,
    };
    let expanded = if faults.len() == before { expanded(&matrix, &axes, arms, table, faults) } else { Vec::new() };
    if faults.len() > before {
        table.remove("table");
        return;
    }
    let (key, place) = match table.get("arms") {
        Some(entry) => (entry.key, entry.node.place),
        None => (matrix.key, matrix.node.place),
    };
    table.insert("arms".to_owned(), Entry { key, node: Node { value: Value::List(expanded), place } });
}

/// The keys with their values, in alphabetical order.
fn axes(matrix: &Entry, faults: &mut Vec<RawFault>) -> Vec<Axis> {
    let mut axes = Vec::new();
    let Value::Table(table) = &matrix.node.value else {
        let kind = FaultKind::WrongType {
            key: "matrix".to_owned(),
            expected: "a table of lists, by the keys that they are for,".to_owned(),
            given: matrix.node.describe(),
        };
        faults.push(RawFault { kind, place: matrix.node.place });
        return axes;
    };
    gather(table, &[], &mut axes, faults);
    if axes.is_empty() && faults.is_empty() {
        faults.push(out_of_range("matrix", "a table of at least one list", "{}", matrix.key));
    }
    let mut seen = BTreeSet::new();
    for axis in axes.iter().filter(|axis| !seen.insert(axis.path.clone())) {
        let kind = FaultKind::Repeated { key: "matrix".to_owned(), given: axis.path.join(".") };
        faults.push(RawFault { kind, place: axis.key });
    }
    label(&mut axes);
    axes
}

fn gather(table: &Table, above: &[String], axes: &mut Vec<Axis>, faults: &mut Vec<RawFault>) {
    for (key, entry) in table {
        // `"generate.search.width"` and `generate.search.width` are the same.
        let path: Vec<String> = above.iter().cloned().chain(key.split('.').map(str::to_owned)).collect();
        if above.is_empty() && !SHARED.contains(&path[0].as_str()) {
            let known = SHARED.iter().map(|key| (*key).to_owned()).collect();
            let kind = FaultKind::UnknownKey { key: path[0].clone(), table: "matrix".to_owned(), known };
            faults.push(RawFault { kind, place: entry.key });
            continue;
        }
        let name = format!("matrix.{}", path.join("."));
        match &entry.node.value {
            Value::Table(inner) => gather(inner, &path, axes, faults),
            Value::List(values) if values.is_empty() => {
                faults.push(out_of_range(&name, "a list of at least one value", "[]", entry.node.place));
            }
            Value::List(values) if path.len() > 1 => {
                let names: Vec<String> = values.iter().map(value_name).collect();
                for (place, value) in values.iter().enumerate() {
                    if names[..place].contains(&names[place]) {
                        let kind = FaultKind::Repeated { key: name.clone(), given: names[place].clone() };
                        faults.push(RawFault { kind, place: value.place });
                    }
                }
                axes.push(Axis { path, key: entry.key, label: String::new(), values: values.clone(), names });
            }
            _ => {
                let given = entry.node.describe();
                let expected = match path.len() {
                    1 => format!("a table of lists, or the path of a key such as `{}.…`,", path[0]),
                    _ => "a list of values".to_owned(),
                };
                faults.push(RawFault {
                    kind: FaultKind::WrongType { key: name, expected, given },
                    place: entry.node.place,
                });
            }
        }
    }
}

fn out_of_range(key: &str, expected: &str, given: &str, place: Place) -> RawFault {
    let (key, expected, given) = (key.to_owned(), expected.to_owned(), given.to_owned());
    RawFault { kind: FaultKind::OutOfRange { key, expected, given }, place }
}

/// Names each key by as many of its last parts as tell it from the others: `width`, or `scorer` for `scorer.kind`.
fn label(axes: &mut [Axis]) {
    let short = |axis: &Axis, parts: usize| {
        let of_kind = axis.path.last().is_some_and(|last| last == "kind");
        let path = if of_kind { &axis.path[..axis.path.len() - 1] } else { &axis.path[..] };
        plain(&path[path.len().saturating_sub(parts)..].join("-"))
    };
    let longest = axes.iter().map(|axis| axis.path.len()).max().unwrap_or(0);
    for parts in 1..=longest.max(1) {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for axis in axes.iter() {
            *count.entry(short(axis, parts)).or_default() += 1;
        }
        for axis in axes.iter_mut().filter(|axis| axis.label.is_empty()) {
            let label = short(axis, parts);
            if count[&label] == 1 || parts == longest {
                axis.label = label;
            }
        }
    }
}

/// All arms, those that take no part in their places.
fn expanded(
    matrix: &Entry,
    axes: &[Axis],
    arms: Option<&[Node]>,
    shared: &Table,
    faults: &mut Vec<RawFault>,
) -> Vec<Node> {
    let alone = [Node { value: Value::Table(Table::new()), place: matrix.key }];
    let arms = arms.unwrap_or(&alone);
    let takes_part = |arm: &Node| !matches!(arm.at(&["matrix"]).map(|node| &node.value), Some(Value::Flag(false)));
    let points = axes.iter().map(|axis| axis.values.len() as u128).fold(1, u128::saturating_mul);
    let part = arms.iter().filter(|arm| takes_part(arm)).count() as u128;
    let count = points.saturating_mul(part);
    if part == 0 {
        let kind = FaultKind::Conflict {
            expected: "an arm that `[matrix]` takes apart".to_owned(),
            given: "`matrix = false` in all of them".to_owned(),
            hint: "remove it from one, or remove `[matrix]`".to_owned(),
        };
        faults.push(RawFault { kind, place: matrix.key });
        return Vec::new();
    }
    if count > MOST_ARMS {
        let expected = format!("a grid of at most {MOST_ARMS} arms");
        let sizes: Vec<String> = axes.iter().map(|axis| axis.values.len().to_string()).collect();
        let given = format!("{part} × {} = {count}", sizes.join(" × "));
        faults.push(out_of_range("matrix", &expected, &given, matrix.key));
        return Vec::new();
    }
    let mut all = Vec::new();
    for arm in arms {
        if !takes_part(arm) || arm.table().is_none() {
            all.push(arm.clone());
            continue;
        }
        // The last key turns fastest.
        for point in 0..points {
            let mut left = point;
            let mut chosen: Vec<(&Axis, usize)> = Vec::new();
            for axis in axes.iter().rev() {
                let size = axis.values.len() as u128;
                chosen.push((axis, (left % size) as usize));
                left /= size;
            }
            chosen.reverse();
            all.push(combination(arm, &chosen, shared));
        }
    }
    let mut seen = BTreeSet::new();
    for arm in &all {
        let Some(Node { value: Value::Text(name), place }) = arm.at(&["name"]) else { continue };
        if !seen.insert(name) {
            let kind = FaultKind::Repeated { key: "arms".to_owned(), given: name.clone() };
            faults.push(RawFault { kind, place: *place });
        }
    }
    all
}

/// An arm with one value of each key.
fn combination(arm: &Node, chosen: &[(&Axis, usize)], shared: &Table) -> Node {
    let mut made = arm.clone();
    let names = chosen.iter().map(|(axis, value)| format!("{}-{}", axis.label, axis.names[*value]));
    let mut name: Vec<String> = names.collect();
    let mut place = arm.place;
    if let Some(own) = arm.at(&["name"]) {
        place = own.place;
        match &own.value {
            Value::Text(own) => name.insert(0, own.clone()),
            // A fault that the reader of arms tells.
            _ => return made,
        }
    }
    for (axis, value) in chosen {
        let path: Vec<&str> = axis.path.iter().map(String::as_str).collect();
        let value = &axis.values[*value];
        // A `kind` replaces its whole table. Where it is the one that is there, the table's other keys are meant to stay.
        if path.last() == Some(&"kind") {
            let below = || shared.get(path[0])?.node.at(&path[1..]);
            let there = made.at(&path).or_else(below);
            if let (Some(Value::Text(there)), Value::Text(given)) = (there.map(|node| &node.value), &value.value)
                && there == given
            {
                continue;
            }
        }
        let nested = path.iter().rev().fold(value.clone(), |node, key| {
            let entry = Entry { key: axis.key, node };
            Node { value: Value::Table([((*key).to_owned(), entry)].into()), place: axis.key }
        });
        overlay(&mut made, nested, &mut Vec::new());
    }
    if let Value::Table(table) = &mut made.value {
        let node = Node { value: Value::Text(name.join("_")), place };
        table.insert("name".to_owned(), Entry { key: place, node });
    }
    made
}

/// A value in a name.
fn value_name(value: &Node) -> String {
    let name = match &value.value {
        Value::Text(text) | Value::Time(text) => plain(text),
        Value::Whole(whole) => whole.to_string(),
        Value::Number(number) => format!("{number:?}"),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) if items.is_empty() => "none".to_owned(),
        Value::List(items) => items.iter().map(value_name).collect::<Vec<_>>().join("-"),
        Value::Table(table) => {
            let kind = table.get("kind").map(|entry| value_name(&entry.node));
            let rest = table.iter().filter(|(key, _)| *key != "kind");
            let rest = rest.map(|(key, entry)| format!("{}-{}", plain(key), value_name(&entry.node)));
            kind.into_iter().chain(rest).collect::<Vec<_>>().join("-")
        }
    };
    name.chars().take(MOST_CHARACTERS).collect::<String>().trim_end_matches('-').to_owned()
}

/// A text as a part of a name: letters, digits, `-`, `_` and `.`.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches('-').to_owned()
}
