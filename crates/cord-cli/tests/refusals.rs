//! Exit statuses and what is said where nothing can be done: 1 could not run, 2 wrong usage.

mod world;

use std::fs;

use world::Desk;

#[test]
fn every_fault_of_a_recipe_is_reported_at_once_with_its_place() {
    let desk = Desk::bare();
    desk.write(
        "recipes/faults.toml",
        r#"name = "faults"
seed = 1
[problems]
dataset = "tiny/nowhere"
[models.left]
path = "models/left"
[generate]
teachers = ["left", "rihgt"]
serch = 1
search = { kind = "beam", width = "four" }
scorer = { kind = "predictive-perplexity", model = "left" }
[run]
device = "gpu"
"#,
    );
    let faults = desk.cord(&["run", "recipes/faults.toml", "--set", "generate.search.proposals=0"]).expect(1);
    assert_eq!(faults.stdout, "");
    insta::assert_snapshot!(faults.stderr, @r#"
    error: `recipes/faults.toml` has 7 faults

    recipes/faults.toml:4:11: expected a file or folder as `problems.dataset`, got `datasets/tiny/nowhere.toml`, which does not exist
       |
     4 | dataset = "tiny/nowhere"
       |           ^^^^^^^^^^^^^^
      hint: paths are relative to the folder in which the command is run

    recipes/faults.toml:6:8: expected a file or folder as `models.left.path`, got `models/left`, which does not exist
       |
     6 | path = "models/left"
       |        ^^^^^^^^^^^^^
      hint: paths are relative to the folder in which the command is run

    recipes/faults.toml:8:21: expected a model that `[models]` defines as `generate.teachers`, got `rihgt`
       |
     8 | teachers = ["left", "rihgt"]
       |                     ^^^^^^^
      hint: defined are `left`

    recipes/faults.toml:9:1: expected one of the keys `adaptive`, `budget`, `closing`, `deadline`, `draws`, `keep`, `measure`, `prompt`, `scorer`, `search`, `segmenter`, `teachers` in `generate`, got `serch`
       |
     9 | serch = 1
       | ^^^^^
      hint: did you mean `search`?

    recipes/faults.toml:10:35: expected a whole number of at least 1 as `generate.search.width`, got the text `"four"`
        |
     10 | search = { kind = "beam", width = "four" }
        |                                   ^^^^^^

    recipes/faults.toml:13:10: expected `cpu`, `cuda` or `cuda:<number>` as `run.device`, got `gpu`
        |
     13 | device = "gpu"
        |          ^^^^^

    --set generate.search.proposals=0: expected a whole number of at least 1 as `generate.search.proposals`, got `0`
    "#);
    assert!(!desk.path("runs").exists(), "a recipe with faults makes no folder");
    // The other verbs read recipes in the same way.
    for verb in ["plan", "table"] {
        let said = desk.cord(&[verb, "recipes/faults.toml", "--set", "generate.search.proposals=0"]).expect(1);
        assert_eq!(said.stderr, faults.stderr, "{verb}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let desk = Desk::with_models();
    let said = |arguments: &[&str]| desk.cord(arguments).expect(1).stderr;
    insta::assert_snapshot!(said(&["run", "recipes/none.toml"]), @"error: can't read the recipe `recipes/none.toml`: No such file or directory (os error 2)");
    fs::write(desk.path("recipes/bytes.toml"), [0xff, 0xfe]).unwrap();
    insta::assert_snapshot!(said(&["run", "recipes/bytes.toml"]), @"error: can't read the recipe `recipes/bytes.toml`: stream did not contain valid UTF-8");
    fs::create_dir(desk.path("models/empty")).unwrap();
    insta::assert_snapshot!(said(&["run", "recipes/distil.toml", "--set", "models.left.path=models/empty"]), @"error: `models/empty`: expected a checkpoint (config.json, model.safetensors, tokenizer.json), got an empty folder");
    desk.write("datasets/tiny/train.toml", "name = \"tiny/train\"\ngenerator = \"dice\"\n");
    // Other stages may be under way beside it.
    let dice = said(&["run", "recipes/distil.toml"]);
    insta::assert_snapshot!(dice.lines().last().unwrap(), @"error: `datasets/tiny/train.toml`: `generator`: expected `mini`, got `dice`");
}

#[test]
fn a_checkpoint_that_does_not_fit_its_config_names_the_tensors() {
    let desk = Desk::with_models();
    let config = desk.path("models/right/config.json");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\"intermediate_size\": 32"));
    fs::write(&config, text.replace("\"intermediate_size\": 32", "\"intermediate_size\": 40")).unwrap();
    let ran = desk.cord(&["run", "recipes/distil.toml"]).expect(1);
    insta::assert_snapshot!(ran.stderr.lines().last().unwrap(), @"error: generate cord, seed 1: `models/right/model.safetensors`: `model.layers.0.mlp.gate_proj.weight`: expected the shape [40, 24], got [32, 24]; `model.layers.0.mlp.up_proj.weight`: expected the shape [40, 24], got [32, 24]; `model.layers.0.mlp.down_proj.weight`: expected the shape [24, 40], got [24, 32]");
    // Repaired, the run goes on.
    fs::write(&config, text).unwrap();
    desk.cord(&["run", "recipes/distil.toml"]).expect(0);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_in_a_build_without_cuda_is_a_clear_error() {
    let desk = Desk::bare();
    for asked in [["--device", "cuda:0"], ["--set", "run.device=cuda:0"], ["--device", "cuda"]] {
        let ran = desk.cord(&[&["run", "recipes/scratch.toml"], &asked[..]].concat()).expect(1);
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.stderr, @"error: can't use the device `cuda:0`: this program was built without CUDA; build it with `--features cuda`, or use `--device cpu`");
        }
        // What it would do can be planned on any machine.
        desk.cord(&[&["plan", "recipes/scratch.toml"], &asked[..]].concat()).expect(0);
    }
    let ran = desk.cord(&["run", "recipes/scratch.toml", "--device", "tpu"]).expect(1);
    assert!(
        ran.stderr.contains("expected `cpu`, `cuda` or `cuda:<number>` as `run.device`, got `tpu`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn wrong_usage_is_status_two_and_asking_for_help_is_not() {
    let desk = Desk::bare();
    let check = |arguments: &[&str], code: i32, said: &str| {
        let ran = desk.cord(arguments).expect(code);
        assert!(ran.stderr.contains(said) || (code == 0 && ran.stdout.contains(said)), "{arguments:?}: {}", ran.stderr);
    };
    check(&[], 2, "Usage: cord <COMMAND>");
    check(&["rnu", "recipes/scratch.toml"], 2, "unrecognized subcommand 'rnu'");
    check(&["run"], 2, "<RECIPE>");
    check(&["run", "recipes/scratch.toml", "--sets", "a=1"], 2, "unexpected argument '--sets'");
    check(&["run", "recipes/scratch.toml", "recipes/distil.toml"], 2, "unexpected argument");
    check(&["--help"], 0, "Exit status: 0 all done; 1 could not run; 2 wrong usage; 3 done, but some problems failed");
    check(&["run", "--help"], 0, "--set <KEY=VALUE>");
    check(&["--version"], 0, "cord ");
}

#[test]
fn results_go_where_they_are_told_to() {
    let desk = Desk::bare();
    let ran = desk.cord(&["run", "recipes/scratch.toml", "--set", "train.steps=2", "--out", "else where"]).expect(0);
    assert!(ran.stdout.contains("else where/scratch"), "{}", ran.stdout);
    assert!(desk.path("else where/scratch/table.json").exists() && !desk.path("runs").exists());
}
