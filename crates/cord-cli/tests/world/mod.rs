//! A folder with tiny data sets, recipes and models, in which the real binary is run.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A folder to run recipes in; removed with the value.
pub(crate) struct Desk(TempDir);

/// What the binary did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Desk {
    /// A folder with the tests' data sets and recipes and no models.
    pub(crate) fn bare() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        for folder in ["datasets", "recipes"] {
            copy(&tests.join(folder), &desk.path(folder));
        }
        desk
    }

    /// The same with the two models that `recipes/scratch.toml` makes, as `models/left` and `models/right`.
    pub(crate) fn with_models() -> Self {
        static MADE: OnceLock<Desk> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let desk = Self::bare();
            desk.cord(&["run", "recipes/scratch.toml"]).expect(0);
            for arm in ["left", "right"] {
                let trained = desk.stage("recipes/scratch.toml", &format!("train {arm}, seed 1"));
                copy(&trained.join("model"), &desk.path("models").join(arm));
            }
            desk
        });
        let desk = Self::bare();
        copy(&made.path("models"), &desk.path("models"));
        desk
    }

    pub(crate) fn path(&self, inner: &str) -> PathBuf {
        self.0.path().join(inner)
    }

    pub(crate) fn write(&self, inner: &str, text: &str) {
        fs::write(self.path(inner), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cord"));
        // Help is as wide as the terminal, if it finds one.
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null()).env_remove("COLUMNS");
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn cord(&self, arguments: &[&str]) -> Ran {
        self.cord_with(arguments, &[])
    }

    /// The same with more environment.
    pub(crate) fn cord_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("no signal ended the program");
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts the binary.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.start_with(arguments, &[])
    }

    /// Starts it with more environment.
    pub(crate) fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The folder of a finished stage, by its label.
    pub(crate) fn stage(&self, recipe: &str, label: &str) -> PathBuf {
        self.stage_of(&[recipe], label)
    }

    /// The same of a recipe with overrides.
    pub(crate) fn stage_of(&self, recipe: &[&str], label: &str) -> PathBuf {
        let plan = self.cord(&[&["plan"], recipe].concat()).expect(0).stdout;
        let recipe = recipe[0];
        let line =
            plan.lines().find(|line| line.ends_with(label)).unwrap_or_else(|| panic!("no `{label}` in:\n{plan}"));
        let name = Path::new(recipe).file_stem().unwrap().to_str().unwrap();
        self.path("runs").join(name).join(line.split_whitespace().nth(1).unwrap())
    }

    /// Every file of a recipe's runs that must not depend on the clock or on the order of replies, by its path there.
    pub(crate) fn results(&self, recipe: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path("runs").join(recipe);
        let mut found = BTreeMap::new();
        gather(&root, &root, &mut found);
        found.retain(|path, _| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let timed =
                ["timings.json", "costs.json", "curve.jsonl", "table.json", "table.md", "table.csv"].contains(&name);
            !timed && name != "journal.jsonl" && !name.starts_with(".lock-")
        });
        found
    }
}

impl Ran {
    /// The same, if it ended with this status.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

fn gather(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            gather(root, &path, found);
        } else {
            let inner = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(inner, fs::read(&path).unwrap());
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Compares two runs of one recipe file by file and says which differ.
pub(crate) fn assert_same(given: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(given), names(expected), "{what}: the files");
    let differ: Vec<&String> = expected.keys().filter(|name| given[*name] != expected[*name]).collect();
    assert!(differ.is_empty(), "{what}: expected the bytes of an undisturbed run, got others in {differ:?}");
}

/// Every stage's key, 12 hexadecimal digits, as `<key>`: it changes with every version of the data.
pub(crate) fn without_keys(text: &str) -> String {
    let is_key = |word: &str| word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit());
    let mut out = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        out.push_str(if is_key(word) { "<key>" } else { word });
        out.push_str(&piece[word.len()..]);
    }
    out
}
