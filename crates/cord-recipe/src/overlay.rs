//! Overriding: `--set`, and arms over the recipe.

use crate::fault::FaultKind;
use crate::place::Place;
use crate::reader::RawFault;
use crate::tree::{self, Entry, Node, Table, Value};

/// Reads one `--set a.b.c=value`. The value is TOML; a bare word is a text, so that `run.device=cuda:0` needs
/// no quotes that the shell would take away.
pub(crate) fn parse_override(text: &str, source: usize) -> Result<Node, Vec<RawFault>> {
    let faults = match tree::parse(text, source) {
        Ok(node) => return Ok(node),
        Err(faults) => faults,
    };
    let Some((key, value)) = text.split_once('=') else {
        let kind = FaultKind::Syntax { reason: format!("a key, `=` and a value, got `{text}`") };
        return Err(vec![RawFault { kind, place: Place { source, start: 0, end: text.len() } }]);
    };
    let word = value.trim();
    if word.is_empty() || word.starts_with(['"', '\'', '[', '{']) {
        return Err(faults);
    }
    let place = Place { source, start: text.len() - value.trim_start().len(), end: text.trim_end().len() };
    // With a value that can't be wrong, what is left to be wrong is the key.
    let mut node = tree::parse(&format!("{key}=0"), source)?;
    put(&mut node, Node { value: Value::Text(word.to_owned()), place });
    Ok(node)
}

/// Replaces the one leaf of a tree that is a single path.
fn put(node: &mut Node, leaf: Node) {
    match &mut node.value {
        Value::Table(table) => {
            if let Some(entry) = table.values_mut().next() {
                put(&mut entry.node, leaf);
            }
        }
        _ => *node = leaf,
    }
}

/// Lays an override over the recipe. `arms.<name>.…` reaches into the arm of that name.
pub(crate) fn apply_override(root: &mut Node, mut over: Node, faults: &mut Vec<RawFault>) {
    if let (Value::Table(root), Value::Table(over)) = (&mut root.value, &mut over.value)
        && let Some(Entry { node: Node { value: Value::List(arms), .. }, .. }) = root.get_mut("arms")
        && let Some(Entry { node: Node { value: Value::Table(_), .. }, .. }) = over.get("arms")
    {
        let named = over.remove("arms").and_then(|entry| match entry.node.value {
            Value::Table(table) => Some(table),
            _ => None,
        });
        for (name, entry) in named.unwrap_or_default() {
            let found = arms.iter_mut().find(|arm| arm_name(arm) == Some(&name));
            if let Some(arm) = found {
                overlay(arm, entry.node, &mut Vec::new());
            } else {
                let defined = arms.iter().filter_map(|arm| arm_name(arm).cloned()).collect();
                let kind =
                    FaultKind::Undefined { key: "arms".to_owned(), what: "the name of an arm", given: name, defined };
                faults.push(RawFault { kind, place: entry.key });
            }
        }
    }
    overlay(root, over, &mut Vec::new());
}

fn arm_name(arm: &Node) -> Option<&String> {
    match &arm.at(&["name"])?.value {
        Value::Text(name) => Some(name),
        _ => None,
    }
}

/// Lays one tree over another: tables merge, a table with its `kind` and anything else replaces.
pub(crate) fn overlay(base: &mut Node, over: Node, path: &mut Vec<String>) {
    let replaces = over.table().is_none_or(|table| table.contains_key("kind"));
    let (Value::Table(below), false) = (&mut base.value, replaces) else {
        *base = over;
        return;
    };
    let Value::Table(above) = over.value else { unreachable!("what is no table replaces") };
    remove_rivals(below, &above, path);
    for (key, entry) in above {
        match below.get_mut(&key) {
            None => {
                below.insert(key, entry);
            }
            Some(there) => {
                // A fault that the override makes is found at the override, unless it lies deeper.
                if entry.node.table().is_none() {
                    there.key = entry.key;
                }
                path.push(key);
                overlay(&mut there.node, entry.node, path);
                path.pop();
            }
        }
    }
}

/// Groups of keys of which a table has one. The first of the pair is the one given.
fn remove_rivals(below: &mut Table, above: &Table, path: &[String]) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let groups: &[&[&str]] = match path[..] {
        [] => &[&["seed"], &["seeds"]],
        ["problems"] | ["train", "data"] => &[&["dataset"], &["path"]],
        ["train"] => &[&["epochs"], &["steps"]],
        ["models", _] => &[&["path"], &["hub", "revision"], &["scratch"]],
        _ => return,
    };
    let given = |group: &[&str]| group.iter().any(|key| above.contains_key(*key));
    if groups.iter().any(|group| given(group)) {
        for group in groups.iter().filter(|group| !given(group)) {
            group.iter().for_each(|key| drop(below.remove(*key)));
        }
    }
}
