//! The conformance suite: rows of (gold, given) under what their equality rests on.

use std::collections::BTreeMap;
use std::path::Path;

use cord_math::{DEFAULT_FUEL, Ground, Language, Rule, Rules, Settings, Verdict, equal, grade};
use serde::Deserialize;

/// A file of the suite: for each ground a list of pairs, and the unequal ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Group {
    /// Does the verdict hold with gold and given answer exchanged too?
    #[serde(default)]
    one_way: bool,
    #[serde(default)]
    equal: BTreeMap<Ground, Vec<(String, String)>>,
    #[serde(default)]
    unequal: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    gold: String,
    response: String,
    #[serde(default)]
    rules: Rules,
    #[serde(default)]
    language: Language,
    /// The rule that must find the answer, or nothing where none may.
    rule: Option<Rule>,
    correct: bool,
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_pair_has_its_verdict_and_ground() {
    let groups: BTreeMap<String, Group> =
        ["numbers", "formulas", "operators", "collections", "prose", "answers", "gathered"]
            .into_iter()
            .flat_map(|name| read::<BTreeMap<String, Group>>(&format!("{name}.toml")))
            .collect();
    let (mut equals, mut unequals, mut faults) = (0, 0, Vec::new());
    let mut check = |group: &str, gold: &str, given: &str, expected: Option<Ground>, exactly: bool| {
        let found = equal(gold, given, DEFAULT_FUEL).unwrap();
        if found.is_some() != expected.is_some() || (exactly && found != expected) {
            faults.push(format!("{group}: `{gold}` and `{given}`: expected {expected:?}, found {found:?}"));
        }
    };
    for (name, group) in &groups {
        for (ground, rows) in &group.equal {
            for (gold, given) in rows {
                equals += 1;
                check(name, gold, given, Some(*ground), true);
                if !group.one_way {
                    check(name, given, gold, Some(*ground), false);
                }
            }
        }
        for (gold, given) in &group.unequal {
            unequals += 1;
            check(name, gold, given, None, true);
            if !group.one_way {
                check(name, given, gold, None, true);
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(equals + unequals >= 600 && 4 * unequals >= equals + unequals, "{equals} equal, {unequals} unequal");
}

#[test]
fn every_response_is_read_by_its_rule() {
    let rows: BTreeMap<String, Vec<Case>> = read("responses.toml");
    let mut faults = Vec::new();
    for row in &rows["response"] {
        let settings = Settings { rules: row.rules, language: row.language, ..Settings::default() };
        let grade = grade(&row.gold, &row.response, &settings);
        let rule = grade.found.as_ref().map(|found| found.rule);
        let correct = matches!(grade.verdict, Verdict::Correct { .. });
        if correct != row.correct || rule != row.rule {
            faults.push(format!("gold `{}`, response `{}`: {grade:?}", row.gold, row.response));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
