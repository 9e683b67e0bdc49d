//! `[matrix]`: the arms of a grid, their names, and what can be wrong with one.

use std::path::Path;

use cord_recipe::{Recipe, RecipeError, Scorer, Search};

const HEAD: &str = "name = \"grid\"\nseed = 1\nproblems.dataset = \"d\"\n\
    models = { a.path = \"a\", b.path = \"b\" }\n\
    [generate]\nteachers = [\"a\", \"b\"]\nscorer = { kind = \"predictive-perplexity\", model = \"a\" }\n\
    search = { kind = \"beam\", width = 4 }\n";

fn read(body: &str, overrides: &[&str]) -> Result<Recipe, RecipeError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::read(&format!("{HEAD}{body}"), Path::new("grid.toml"), &overrides, &|_| true)
}

#[track_caller]
fn arms(body: &str, overrides: &[&str]) -> Vec<String> {
    let recipe = read(body, overrides).unwrap_or_else(|error| panic!("{error}"));
    recipe.arms.iter().map(|arm| arm.name.clone()).collect()
}

fn faults(body: &str) -> String {
    match read(body, &[]) {
        Ok(recipe) => format!("no fault: {:?}", recipe.arms.iter().map(|arm| &arm.name).collect::<Vec<_>>()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_grid_without_arms_is_the_arms() {
    let body = "[matrix]\n\"generate.search.width\" = [1, 2, 4]\n";
    let recipe = read(body, &[]).unwrap_or_else(|error| panic!("{error}"));
    let widths: Vec<(&str, u32)> = recipe
        .arms
        .iter()
        .map(|arm| match arm.generate.as_ref().unwrap().search {
            Search::Beam { width, .. } => (arm.name.as_str(), width),
            _ => panic!("a beam"),
        })
        .collect();
    assert_eq!(widths, [("width-1", 1), ("width-2", 2), ("width-4", 4)]);
    // The same without quotes, and overridden.
    assert_eq!(arms("[matrix]\ngenerate.search.width = [1, 2]\n", &[]), ["width-1", "width-2"]);
    assert_eq!(arms(body, &["matrix.\"generate.search.width\"=[3]"]), ["width-3"]);
}

#[test]
fn every_arm_that_takes_part_is_taken_apart() {
    let body = "[matrix]\n\"generate.search.width\" = [1, 2]\n\"generate.teachers\" = [[\"a\"], [\"a\", \"b\"]]\n\
                [[arms]]\nname = \"cord\"\n[[arms]]\nname = \"alone\"\nmatrix = false\ngenerate.search.width = 8\n";
    let names = [
        "cord_width-1_teachers-a",
        "cord_width-1_teachers-a-b",
        "cord_width-2_teachers-a",
        "cord_width-2_teachers-a-b",
        "alone",
    ];
    assert_eq!(arms(body, &[]), names);
    let recipe = read(body, &[]).unwrap();
    let teachers = |arm: &str| recipe.arm(arm).unwrap().generate.as_ref().unwrap().teachers.clone();
    assert_eq!(teachers("cord_width-2_teachers-a"), ["a"]);
    assert_eq!(teachers("alone"), ["a", "b"]);
    // An arm of the grid has a name like any other: overrides and the table reach it.
    let tabled = format!(
        "{body}[table]\norder = [{{ metric = \"accuracy\", order = [\"alone\", \"cord_width-1_teachers-a\"] }}]\n"
    );
    let over =
        read(&tabled, &["arms.cord_width-1_teachers-a.generate.search.width=3"]).unwrap_or_else(|e| panic!("{e}"));
    let width = |arm: &str| match over.arm(arm).unwrap().generate.as_ref().unwrap().search {
        Search::Beam { width, .. } => width,
        _ => 0,
    };
    assert_eq!((width("cord_width-1_teachers-a"), width("cord_width-1_teachers-a-b"), width("alone")), (3, 1, 8));
}

#[test]
fn names_say_what_tells_arms_apart() {
    let check = |matrix: &str, expected: &[&str]| {
        assert_eq!(arms(&format!("[matrix]\n{matrix}\n"), &[]), expected, "{matrix}");
    };
    check("\"generate.scorer.kind\" = [\"random\", \"max-length\"]", &["scorer-random", "scorer-max-length"]);
    check(
        "\"generate.scorer.kind\" = [\"random\"]\n\"generate.search.kind\" = [\"beam\", \"mcts\"]",
        &["scorer-random_search-beam", "scorer-random_search-mcts"],
    );
    check(
        "\"generate.search\" = [{ kind = \"beam\", width = 1 }, { kind = \"curation\" }]",
        &["search-beam-width-1", "search-curation"],
    );
    check(
        "\"models.a.sampling.temperature\" = [0.5]\n\"models.b.sampling.temperature\" = [1, 1e-7]",
        &[
            "a-sampling-temperature-0.5_b-sampling-temperature-1",
            "a-sampling-temperature-0.5_b-sampling-temperature-1e-7",
        ],
    );
    check(
        "\"generate.prompt\" = [\"{question}\", \"Solve it: {question}\"]",
        &["prompt-question", "prompt-Solve-it-question"],
    );
}

#[test]
fn the_kind_that_is_there_keeps_its_table() {
    let body = "[matrix]\n\"generate.scorer.kind\" = [\"random\", \"predictive-perplexity\"]\n";
    let recipe = read(body, &[]).unwrap_or_else(|error| panic!("{error}"));
    let scorer = |arm: &str| recipe.arm(arm).unwrap().generate.as_ref().unwrap().scorer.clone().unwrap();
    assert!(
        matches!(scorer("scorer-predictive-perplexity"), Scorer::PredictivePerplexity { model, .. } if model == "a")
    );
    assert_eq!(scorer("scorer-random"), Scorer::Random {});
}

#[test]
fn a_value_that_is_added_renames_no_arm() {
    let few = arms("[matrix]\n\"generate.search.width\" = [1, 4]\n", &[]);
    let more = arms("[matrix]\n\"generate.search.width\" = [1, 2, 4, 8]\n", &[]);
    assert!(few.iter().all(|name| more.contains(name)), "{few:?} {more:?}");
}

#[test]
fn faults_of_a_grid_have_their_places() {
    insta::assert_snapshot!(faults("[matrix]\n\"generate.search.width\" = []\n\"generate.budget\" = 3\n\"genrate.search.width\" = [1]\nrun = [1]\neval = [1]\n"), @r#"
    `grid.toml` has 5 faults

    grid.toml:10:27: expected a list of at least one value as `matrix.generate.search.width`, got `[]`
        |
     10 | "generate.search.width" = []
        |                           ^^

    grid.toml:11:21: expected a list of values as `matrix.generate.budget`, got the whole number `3`
        |
     11 | "generate.budget" = 3
        |                     ^

    grid.toml:12:1: expected one of the keys `problems`, `models`, `generate`, `train`, `dpo`, `eval` in `matrix`, got `genrate`
        |
     12 | "genrate.search.width" = [1]
        | ^^^^^^^^^^^^^^^^^^^^^^
      hint: did you mean `generate`?

    grid.toml:13:1: expected one of the keys `problems`, `models`, `generate`, `train`, `dpo`, `eval` in `matrix`, got `run`
        |
     13 | run = [1]
        | ^^^

    grid.toml:14:8: expected a table of lists, or the path of a key such as `eval.…`, as `matrix.eval`, got a list of 1
        |
     14 | eval = [1]
        |        ^^^
    "#);
    insta::assert_snapshot!(faults("[matrix]\n\"generate.search.widht\" = [1, 2]\n"), @r#"
    `grid.toml` has 1 fault

    grid.toml:10:1: expected one of the keys `answer-by`, `finished`, `kind`, `proposals`, `select`, `stop`, `width` in `generate.search`, got `widht`
        |
     10 | "generate.search.widht" = [1, 2]
        | ^^^^^^^^^^^^^^^^^^^^^^^
      hint: did you mean `width`?
    "#);
    insta::assert_snapshot!(faults("[matrix]\n\"generate.search.width\" = [1, \"two\", 0]\n"), @r#"
    `grid.toml` has 2 faults

    grid.toml:10:31: expected a whole number of at least 1 as `generate.search.width`, got the text `"two"`
        |
     10 | "generate.search.width" = [1, "two", 0]
        |                               ^^^^^
      in arm `width-two`

    grid.toml:10:38: expected a whole number of at least 1 as `generate.search.width`, got `0`
        |
     10 | "generate.search.width" = [1, "two", 0]
        |                                      ^
      in arm `width-0`
    "#);
    insta::assert_snapshot!(faults("[matrix]\n\"generate.search.width\" = [1, 1]\n"), @r#"
    `grid.toml` has 1 fault

    grid.toml:10:31: expected each of `matrix.generate.search.width` once, got `1` again
        |
     10 | "generate.search.width" = [1, 1]
        |                               ^
    "#);
    insta::assert_snapshot!(faults("[matrix]\n\"generate.search.width\" = [1]\ngenerate.search.width = [2]\n"), @r#"
    `grid.toml` has 1 fault

    grid.toml:10:1: expected each of `matrix` once, got `generate.search.width` again
        |
     10 | "generate.search.width" = [1]
        | ^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(faults("[matrix]\n\"generate.search.width\" = [1, 2]\n[[arms]]\nname = \"a\"\n[[arms]]\nname = \"a_width-2\"\nmatrix = false\n"), @r#"
    `grid.toml` has 1 fault

    grid.toml:14:8: expected each of `arms` once, got `a_width-2` again
        |
     14 | name = "a_width-2"
        |        ^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(faults("[matrix]\n\"generate.search.width\" = [1, 2]\n[[arms]]\nname = \"a\"\nmatrix = false\n"), @r#"
    `grid.toml` has 1 fault

    grid.toml:9:2: expected an arm that `[matrix]` takes apart, got `matrix = false` in all of them
       |
     9 | [matrix]
       |  ^^^^^^
      hint: remove it from one, or remove `[matrix]`
    "#);
    insta::assert_snapshot!(faults("[matrix]\n[[arms]]\nname = \"a\"\nmatrix = 3\n"), @r#"
    `grid.toml` has 2 faults

    grid.toml:9:2: expected a table of at least one list as `matrix`, got `{}`
       |
     9 | [matrix]
       |  ^^^^^^

    grid.toml:12:10: expected `true` or `false` as `arms.matrix`, got the whole number `3`
        |
     12 | matrix = 3
        |          ^
    "#);
    let many: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
    let many = many.join(", ");
    insta::assert_snapshot!(faults(&format!("[matrix]\n\"generate.search.width\" = [{many}]\n\"generate.search.proposals\" = [{many}]\n")), @r#"
    `grid.toml` has 1 fault

    grid.toml:9:2: expected a grid of at most 256 arms as `matrix`, got `1 × 20 × 20 = 400`
       |
     9 | [matrix]
       |  ^^^^^^
    "#);
}
