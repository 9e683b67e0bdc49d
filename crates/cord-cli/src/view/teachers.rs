//! The teachers of all that is looked at, by their places: a place is a colour.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cord_store::StageFolder;

/// Teachers in the order in which recipes name them.
#[derive(Clone, Default)]
pub(super) struct Teachers {
    names: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Teachers {
    /// Adds the teachers that a generation was set to ask.
    pub(super) fn add_of(&mut self, generate: &StageFolder) -> Vec<String> {
        let settings = &generate.manifest().settings["generate"]["teachers"];
        let names = settings.as_array().into_iter().flatten().filter_map(|one| one["model"]["name"].as_str());
        let names: Vec<String> = names.map(str::to_owned).collect();
        for name in &names {
            self.place(name);
        }
        names
    }

    /// The place of a teacher; a new one comes last.
    pub(super) fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// The place of a teacher that is there.
    pub(super) fn known(&self, name: &str) -> Result<usize> {
        self.places.get(name).copied().with_context(|| {
            let names: Vec<String> = self.names.iter().map(|name| format!("`{name}`")).collect();
            format!("expected one of the generation's teachers, {}, got `{name}`", names.join(", "))
        })
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}
