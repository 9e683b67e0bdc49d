//! TOML with the place of every key and value.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de};

use crate::fault::FaultKind;
use crate::place::Place;
use crate::reader::RawFault;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Whole(i64),
    Number(f64),
    Flag(bool),
    Time(String),
    List(Vec<Node>),
    Table(Table),
}

/// A value under a key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    pub(crate) node: Node,
}

/// Keys in alphabetical order: a recipe's meaning does not depend on theirs.
pub(crate) type Table = BTreeMap<String, Entry>;

/// Parses one of the sources; `source` is its number.
pub(crate) fn parse(text: &str, source: usize) -> Result<Node, Vec<RawFault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<RawFault> = errors.iter().map(|error| syntax(error, source)).collect();
    let place = Place { source, start: 0, end: 0 };
    let table = read_table(table.get_ref(), source, &mut faults);
    if faults.is_empty() { Ok(Node { value: Value::Table(table), place }) } else { Err(faults) }
}

fn syntax(error: &de::Error, source: usize) -> RawFault {
    let span = error.span().unwrap_or(0..0);
    let reason = error.message().replace('\n', ", ");
    RawFault { kind: FaultKind::Syntax { reason }, place: Place { source, start: span.start, end: span.end } }
}

fn read_table(table: &DeTable<'_>, source: usize, faults: &mut Vec<RawFault>) -> Table {
    let entries = table.iter().map(|(key, value)| {
        let entry = Entry { key: place(key, source), node: read(value, source, faults) };
        (key.get_ref().to_string(), entry)
    });
    entries.collect()
}

fn read(value: &Spanned<DeValue<'_>>, source: usize, faults: &mut Vec<RawFault>) -> Node {
    let place = place(value, source);
    let mut too_large = |given: &str| {
        let reason = format!("a number of at most 64 bits, got `{given}`");
        faults.push(RawFault { kind: FaultKind::Syntax { reason }, place });
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(time) => Value::Time(time.to_string()),
        DeValue::Integer(number) => {
            Value::Whole(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
                too_large(number.as_str());
                0
            }))
        }
        DeValue::Float(number) => Value::Number(number.as_str().parse().unwrap_or_else(|_| {
            too_large(number.as_str());
            0.0
        })),
        DeValue::Array(items) => Value::List(items.iter().map(|item| read(item, source, faults)).collect()),
        DeValue::Table(table) => Value::Table(read_table(table, source, faults)),
    };
    Node { value, place }
}

fn place<T>(spanned: &Spanned<T>, source: usize) -> Place {
    let span = spanned.span();
    Place { source, start: span.start, end: span.end }
}

impl Node {
    /// The value in words, for a fault.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("the text `{text:?}`"),
            Value::Whole(whole) => format!("the whole number `{whole}`"),
            Value::Number(number) => format!("the number `{number:?}`"),
            Value::Flag(flag) => format!("the truth value `{flag}`"),
            Value::Time(time) => format!("the time `{time}`"),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    /// The value as JSON, for tables that another crate reads.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Text(text) | Value::Time(text) => Json::from(text.as_str()),
            Value::Whole(whole) => Json::from(*whole),
            Value::Number(number) => Json::from(*number),
            Value::Flag(flag) => Json::from(*flag),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(table) => table.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect(),
        }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The value at a path of keys.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| Some(&node.table()?.get(*key)?.node))
    }

    /// The places of all values in it that are no tables.
    pub(crate) fn leaves(&self, found: &mut Vec<Place>) {
        match &self.value {
            Value::Table(table) => table.values().for_each(|entry| entry.node.leaves(found)),
            Value::List(items) => {
                found.push(self.place);
                for item in items {
                    item.leaves(found);
                }
            }
            _ => found.push(self.place),
        }
    }
}
