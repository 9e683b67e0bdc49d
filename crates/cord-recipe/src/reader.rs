//! Reading tables key by key while gathering every fault.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use crate::fault::FaultKind;
use crate::place::Place;
use crate::tree::{Node, Table, Value};

/// A fault before its place is looked up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawFault {
    pub(crate) kind: FaultKind,
    pub(crate) place: Place,
}

/// What reading needs beside the text, and what it gathers.
pub(crate) struct Reading<'a> {
    pub(crate) exists: &'a dyn Fn(&Path) -> bool,
    pub(crate) faults: RefCell<Vec<RawFault>>,
}

/// A closed set, as its words.
pub(crate) trait Word: Copy + 'static {
    /// Every value with its word, the default first.
    const WORDS: &'static [(&'static str, Self)];
}

/// A word that stands at its default is not written, so that it renames no stage from before there was a choice.
pub(crate) fn is_default<T: Word + PartialEq>(value: &T) -> bool {
    T::WORDS.first().is_some_and(|(_, default)| value == default)
}

/// A table whose keys are being read.
pub(crate) struct Fields<'a> {
    reading: &'a Reading<'a>,
    table: &'a Table,
    path: String,
    place: Place,
    /// Is a missing key a fault? Not in a table that the arm does not use.
    needed: bool,
    known: RefCell<Vec<&'static str>>,
}

/// A value being read.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    reading: &'a Reading<'a>,
    pub(crate) node: &'a Node,
    path: Rc<str>,
    key: Place,
    needed: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn root(reading: &'a Reading<'a>, table: &'a Table, place: Place) -> Self {
        Self { reading, table, path: String::new(), place, needed: true, known: RefCell::default() }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The dotted path of one of the keys.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reads a key that may be missing. `None` too where it has a fault, which is then noted.
    pub(crate) fn optional<T>(&self, key: &'static str, read: impl FnOnce(&Field<'a>) -> Option<T>) -> Option<T> {
        self.known.borrow_mut().push(key);
        let entry = self.table.get(key)?;
        let path = self.path(key).into();
        read(&Field { reading: self.reading, node: &entry.node, path, key: entry.key, needed: self.needed })
    }

    /// Reads a key with a default. After a fault the default stands in; the recipe is refused anyway.
    pub(crate) fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(&Field<'a>) -> Option<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// Reads a key that must be there.
    pub(crate) fn need<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.missing(key, expected);
        }
        self.optional(key, read)
    }

    /// Notes a missing key.
    pub(crate) fn missing(&self, key: &'static str, expected: &str) {
        self.known.borrow_mut().push(key);
        if self.needed {
            self.fault(FaultKind::Missing { key: self.path(key), expected: expected.to_owned() });
        }
    }

    /// Notes a fault of the table as a whole.
    pub(crate) fn fault(&self, kind: FaultKind) {
        self.reading.faults.borrow_mut().push(RawFault { kind, place: self.place });
    }

    /// Notes a fault of one key, or of the table where the key is missing.
    pub(crate) fn fault_at(&self, key: &str, kind: FaultKind) {
        let place = self.table.get(key).map_or(self.place, |entry| entry.key);
        self.reading.faults.borrow_mut().push(RawFault { kind, place });
    }

    /// Notes every key that was not read. Call it last.
    pub(crate) fn close(self) {
        let mut known: Vec<String> = self.known.borrow().iter().map(|key| (*key).to_owned()).collect();
        known.sort();
        known.dedup();
        for (key, entry) in self.table {
            if !known.contains(key) {
                let kind = FaultKind::UnknownKey { key: key.clone(), table: self.path.clone(), known: known.clone() };
                self.reading.faults.borrow_mut().push(RawFault { kind, place: entry.key });
            }
        }
    }
}

impl<'a> Field<'a> {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn fault(&self, kind: FaultKind) {
        self.reading.faults.borrow_mut().push(RawFault { kind, place: self.node.place });
    }

    /// Notes a fault of the key instead of the value.
    pub(crate) fn fault_at_key(&self, kind: FaultKind) {
        self.reading.faults.borrow_mut().push(RawFault { kind, place: self.key });
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let (key, expected) = (self.path.to_string(), expected.to_owned());
        self.fault(FaultKind::WrongType { key, expected, given: self.node.describe() });
        None
    }

    pub(crate) fn out_of_range<T>(&self, expected: &str, given: &dyn std::fmt::Display) -> Option<T> {
        let (key, expected) = (self.path.to_string(), expected.to_owned());
        self.fault(FaultKind::OutOfRange { key, expected, given: given.to_string() });
        None
    }

    /// A text, maybe empty.
    pub(crate) fn text(&self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            _ => self.wrong_type("a text"),
        }
    }

    /// A text of a given form.
    pub(crate) fn text_that(&self, expected: &str, is: impl FnOnce(&str) -> bool) -> Option<String> {
        match &self.node.value {
            Value::Text(text) if is(text) => Some(text.clone()),
            Value::Text(text) => self.out_of_range(expected, text),
            _ => self.wrong_type(expected),
        }
    }

    /// A text that is not blank.
    pub(crate) fn name(&self) -> Option<String> {
        self.text_that("a text that is not empty", |text| !text.trim().is_empty())
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match self.node.value {
            Value::Flag(flag) => Some(flag),
            _ => self.wrong_type("`true` or `false`"),
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn whole<T: TryFrom<i64>>(&self, least: i64, most: i64) -> Option<T> {
        let expected = match most {
            most if most >= i64::from(u32::MAX) => format!("a whole number of at least {least}"),
            most => format!("a whole number from {least} to {most}"),
        };
        match self.node.value {
            Value::Whole(whole) if (least..=most).contains(&whole) => match T::try_from(whole) {
                Ok(value) => Some(value),
                Err(_) => self.out_of_range(&format!("{expected} that fits its type"), &whole),
            },
            Value::Whole(whole) if whole > most => {
                self.out_of_range(&format!("a whole number from {least} to {most}"), &whole)
            }
            Value::Whole(whole) => self.out_of_range(&expected, &whole),
            _ => self.wrong_type(&expected),
        }
    }

    /// A count: a whole number of at least 1.
    pub(crate) fn count(&self) -> Option<u32> {
        self.whole(1, i64::from(u32::MAX))
    }

    /// A finite number for which `is` holds.
    pub(crate) fn number(&self, expected: &str, is: impl FnOnce(f64) -> bool) -> Option<f64> {
        let number = match self.node.value {
            Value::Whole(whole) => whole as f64,
            Value::Number(number) => number,
            _ => return self.wrong_type(expected),
        };
        // `0.0 +`: a negative zero would be another value to a digest.
        if number.is_finite() && is(number) { Some(0.0 + number) } else { self.out_of_range(expected, &number) }
    }

    /// A word of a closed set.
    pub(crate) fn word<T: Word>(&self) -> Option<T> {
        let allowed = || T::WORDS.iter().map(|(word, _)| (*word).to_owned()).collect();
        let Value::Text(text) = &self.node.value else {
            let allowed: Vec<String> = allowed();
            return self.wrong_type(&format!("one of {}", crate::fault::listed(&allowed)));
        };
        let found = T::WORDS.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            let (key, given) = (self.path.to_string(), text.clone());
            self.fault(FaultKind::NotOneOf { key, allowed: allowed(), given });
        }
        found
    }

    /// A list, each item read alike. All items' faults are noted; `None` if one has any.
    pub(crate) fn list<T>(&self, of: &str, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<Vec<T>> {
        let Value::List(items) = &self.node.value else { return self.wrong_type(&format!("a list of {of}")) };
        let read: Vec<Option<T>> =
            items.iter().map(|item| read(&Field { node: item, key: item.place, ..self.clone() })).collect();
        read.into_iter().collect()
    }

    /// A list of at least one name, each once.
    pub(crate) fn names(&self, of: &str) -> Option<Vec<String>> {
        let names = self.list(of, Field::name)?;
        if names.is_empty() {
            return self.out_of_range("a list of at least one name", &"[]");
        }
        self.once(&names);
        Some(names)
    }

    /// Notes every item that stands a second time.
    pub(crate) fn once<T: PartialEq + std::fmt::Display>(&self, values: &[T]) {
        let Value::List(items) = &self.node.value else { return };
        for (index, (value, item)) in values.iter().zip(items).enumerate() {
            if values[..index].contains(value) {
                let kind = FaultKind::Repeated { key: self.path.to_string(), given: value.to_string() };
                Field { node: item, ..self.clone() }.fault(kind);
            }
        }
    }

    /// A table; `read` must close its fields.
    pub(crate) fn table<T>(&self, read: impl FnOnce(Fields<'a>) -> Option<T>) -> Option<T> {
        self.table_when(self.needed, read)
    }

    /// A table that may be unused, where missing keys are no faults.
    pub(crate) fn table_when<T>(&self, needed: bool, read: impl FnOnce(Fields<'a>) -> Option<T>) -> Option<T> {
        let Value::Table(table) = &self.node.value else { return self.wrong_type("a table") };
        read(Fields {
            reading: self.reading,
            table,
            path: self.path.to_string(),
            place: self.key,
            needed,
            known: RefCell::default(),
        })
    }

    /// A table of tables by free names.
    pub(crate) fn each<T>(
        &self,
        read: impl Fn(&str, &Field<'a>) -> Option<T>,
    ) -> Option<std::collections::BTreeMap<String, T>> {
        let Value::Table(table) = &self.node.value else { return self.wrong_type("a table") };
        let read = table.iter().filter_map(|(key, entry)| {
            let path = format!("{}.{key}", self.path);
            let field = Field { node: &entry.node, path: path.into(), key: entry.key, ..self.clone() };
            Some((key.clone(), read(key, &field)?))
        });
        Some(read.collect())
    }

    /// Does a path lead to something?
    pub(crate) fn exists(&self, path: &Path) -> bool {
        (self.reading.exists)(path)
    }

    /// Notes a path that does not exist.
    pub(crate) fn must_exist(&self, path: &Path) {
        if !self.exists(path) {
            let kind = FaultKind::MissingFile { key: self.path.to_string(), path: path.display().to_string() };
            self.fault(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Serialize;

    use super::*;
    use crate::generate::{Closing, Cues, Draws, Headers, Keep};
    use crate::scorer::{Combine, JudgmentPrompt, Measured, Normalise, RewardPrompt, Scale};
    use crate::search::{AnswerBy, BestFirstStop, Choose, Finished, IntegrationPrompt, StopRule};
    use crate::train::Schedule;

    #[test]
    fn words_are_written_as_they_are_read() {
        fn check<T: Word + Serialize + Debug>() {
            for (word, value) in T::WORDS {
                assert_eq!(serde_json::to_value(value).unwrap(), *word, "{value:?}");
            }
        }
        check::<Closing>();
        check::<Cues>();
        check::<Draws>();
        check::<StopRule>();
        check::<BestFirstStop>();
        check::<Headers>();
        check::<Choose>();
        check::<IntegrationPrompt>();
        check::<Combine>();
        check::<JudgmentPrompt>();
        check::<Measured>();
        check::<Normalise>();
        check::<RewardPrompt>();
        check::<Scale>();
        check::<Finished>();
        check::<AnswerBy>();
        check::<Keep>();
        check::<Schedule>();
    }
}
