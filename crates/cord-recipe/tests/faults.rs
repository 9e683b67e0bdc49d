//! Every fault at once, each with its place, what was expected and given, and a hint.

use std::path::Path;

use cord_recipe::{FaultKind, Recipe, RecipeError};
use proptest::prelude::*;

const MINI: &str = include_str!("recipes/mini-cord.toml");

fn report(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let there = |path: &Path| !path.to_string_lossy().contains("nowhere");
    match Recipe::read(text, Path::new("cord.toml"), &overrides, &there) {
        Ok(_) => "no fault".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn all_faults_are_reported_in_one_go() {
    let text = r#"name = "mini cord"
sead = 17
[problems]
dataset = "mini/nowhere"
limit = 0
[models.adder]
pth = "models/adder"
[models.closer]
path = "models/nowhere"
sampling = { top_p = 0.9, temperature = -1 }
[models.base]
scratch = { layers = 2, hidden = 30, heads = 4, kv-heads = 3, ffn = 64, context = 64, tokenizer = 3 }
[generate]
teachers = ["addr", "closer", "base", "closer"]
segmenter = "prompt_guided"
scorer = { kind = "predictive-perplexity", model = "prover" }
search = { kind = "beam", width = "four", proposals = 0 }
prompt = "solve it"
[train]
student = "base"
epochs = 2
steps = 10
warmup = 1.5
[eval]
benchmarks = []
[tabel]
"#;
    insta::assert_snapshot!(report(text, &[]), @r#"
    `cord.toml` has 25 faults

    cord.toml:1:1: expected a whole number (or a list as `seeds`) as `seed`, got nothing

    cord.toml:1:8: expected a name of letters, digits, `-`, `_` and `.` as `name`, got `mini cord`
       |
     1 | name = "mini cord"
       |        ^^^^^^^^^^^

    cord.toml:2:1: expected one of the keys `arms`, `description`, `dpo`, `eval`, `generate`, `matrix`, `models`, `name`, `problems`, `run`, `seed`, `seeds`, `table`, `train`, got `sead`
       |
     2 | sead = 17
       | ^^^^
      hint: did you mean `seed`?

    cord.toml:4:11: expected a file or folder as `problems.dataset`, got `datasets/mini/nowhere.toml`, which does not exist
       |
     4 | dataset = "mini/nowhere"
       |           ^^^^^^^^^^^^^^
      hint: paths are relative to the folder in which the command is run

    cord.toml:5:9: expected a whole number of at least 1 as `problems.limit`, got `0`
       |
     5 | limit = 0
       |         ^

    cord.toml:6:9: expected a model's folder (or `hub` with `revision`, or `scratch`) as `models.adder.path`, got nothing
       |
     6 | [models.adder]
       |         ^^^^^

    cord.toml:7:1: expected one of the keys `hub`, `path`, `revision`, `sampling`, `scratch`, `server` in `models.adder`, got `pth`
       |
     7 | pth = "models/adder"
       | ^^^
      hint: did you mean `path`?

    cord.toml:9:8: expected a file or folder as `models.closer.path`, got `models/nowhere`, which does not exist
       |
     9 | path = "models/nowhere"
       |        ^^^^^^^^^^^^^^^^
      hint: paths are relative to the folder in which the command is run

    cord.toml:10:14: expected one of the keys `temperature`, `top-k`, `top-p` in `models.closer.sampling`, got `top_p`
        |
     10 | sampling = { top_p = 0.9, temperature = -1 }
        |              ^^^^^
      hint: did you mean `top-p`?

    cord.toml:10:41: expected a number of at least 0 as `models.closer.sampling.temperature`, got `-1`
        |
     10 | sampling = { top_p = 0.9, temperature = -1 }
        |                                         ^^

    cord.toml:12:38: expected `heads` to divide `hidden` = 30 into parts of an even width, got `heads` and `hidden` that do not
        |
     12 | scratch = { layers = 2, hidden = 30, heads = 4, kv-heads = 3, ffn = 64, context = 64, tokenizer = 3 }
        |                                      ^^^^^
      hint: change `models.base.scratch.heads` or `models.base.scratch.hidden`

    cord.toml:12:49: expected `kv-heads` to divide `heads` = 4, got `kv-heads` and `heads` that do not
        |
     12 | scratch = { layers = 2, hidden = 30, heads = 4, kv-heads = 3, ffn = 64, context = 64, tokenizer = 3 }
        |                                                 ^^^^^^^^
      hint: change `models.base.scratch.kv-heads` or `models.base.scratch.heads`

    cord.toml:12:99: expected a table as `models.base.scratch.tokenizer`, got the whole number `3`
        |
     12 | scratch = { layers = 2, hidden = 30, heads = 4, kv-heads = 3, ffn = 64, context = 64, tokenizer = 3 }
        |                                                                                                   ^

    cord.toml:14:13: expected a model that `[models]` defines as `generate.teachers`, got `addr`
        |
     14 | teachers = ["addr", "closer", "base", "closer"]
        |             ^^^^^^
      hint: did you mean `adder`?

    cord.toml:14:31: expected a model that has weights, not one made from `scratch`, as `generate.teachers`, got `base`
        |
     14 | teachers = ["addr", "closer", "base", "closer"]
        |                               ^^^^^^
      hint: defined are `adder`, `closer`

    cord.toml:14:39: expected each of `generate.teachers` once, got `closer` again
        |
     14 | teachers = ["addr", "closer", "base", "closer"]
        |                                       ^^^^^^^^

    cord.toml:15:13: expected one of `prompt-guided`, `line-break`, `prefix`, `fixed-length` as `generate.segmenter`, got `prompt_guided`
        |
     15 | segmenter = "prompt_guided"
        |             ^^^^^^^^^^^^^^^
      hint: did you mean `prompt-guided`?

    cord.toml:16:52: expected a model that `[models]` defines as `generate.scorer.model`, got `prover`
        |
     16 | scorer = { kind = "predictive-perplexity", model = "prover" }
        |                                                    ^^^^^^^^
      hint: defined are `adder`, `closer`

    cord.toml:17:35: expected a whole number of at least 1 as `generate.search.width`, got the text `"four"`
        |
     17 | search = { kind = "beam", width = "four", proposals = 0 }
        |                                   ^^^^^^

    cord.toml:17:55: expected a whole number of at least 1 as `generate.search.proposals`, got `0`
        |
     17 | search = { kind = "beam", width = "four", proposals = 0 }
        |                                                       ^

    cord.toml:18:10: expected a message with `{question}` where the problem goes as `generate.prompt`, got `solve it`
        |
     18 | prompt = "solve it"
        |          ^^^^^^^^^^

    cord.toml:22:1: expected one of `train.epochs` and `train.steps`, got both
        |
     22 | steps = 10
        | ^^^^^
      hint: remove one

    cord.toml:23:10: expected a number from 0 to 1 as `train.warmup`, got `1.5`
        |
     23 | warmup = 1.5
        |          ^^^

    cord.toml:25:14: expected a list of at least one name as `eval.benchmarks`, got `[]`
        |
     25 | benchmarks = []
        |              ^^

    cord.toml:26:2: expected one of the keys `arms`, `description`, `dpo`, `eval`, `generate`, `matrix`, `models`, `name`, `problems`, `run`, `seed`, `seeds`, `table`, `train`, got `tabel`
        |
     26 | [tabel]
        |  ^^^^^
      hint: did you mean `table`?
    "#);
}

#[test]
fn arms_name_themselves() {
    let text = format!(
        "{MINI}\n{}",
        r#"
[[arms]]
name = "cord"
[[arms]]
name = "greedy"
generate.search = { kind = "beam", widht = 1 }
[[arms]]
name = "single"
generate.search = { kind = "single", teacher = "base" }
stages = ["generate", "evaluate"]
[[arms]]
name = "untrained"
stages = ["eval"]
[[arms]]
generate.teachers = []
"#
    );
    insta::assert_snapshot!(report(&text, &[]), @r#"
    `cord.toml` has 7 faults

    cord.toml:75:1: expected each of `arms` once, got `cord` again
        |
     75 | [[arms]]
        | ^^^^^^^^

    cord.toml:79:36: expected one of the keys `answer-by`, `finished`, `kind`, `proposals`, `select`, `stop`, `width` in `generate.search`, got `widht`
        |
     79 | generate.search = { kind = "beam", widht = 1 }
        |                                    ^^^^^
      in arm `greedy`
      hint: did you mean `width`?

    cord.toml:82:48: expected one of the teachers as `generate.search.teacher`, got `base`
        |
     82 | generate.search = { kind = "single", teacher = "base" }
        |                                                ^^^^^^
      in arm `single`
      hint: defined are `adder`, `multiplier`, `closer`

    cord.toml:83:23: expected one of `generate`, `train`, `dpo`, `eval` as `stages`, got `evaluate`
        |
     83 | stages = ["generate", "evaluate"]
        |                       ^^^^^^^^^^
      in arm `single`

    cord.toml:86:1: expected evaluation to follow training or to have `eval.model`, got neither
        |
     86 | stages = ["eval"]
        | ^^^^^^
      in arm `untrained`
      hint: add `[train]`, or name the model as `eval.model`

    cord.toml:87:1: expected the arm's name as `arms.name`, got nothing
        |
     87 | [[arms]]
        | ^^^^^^^^

    cord.toml:88:21: expected a list of at least one name as `generate.teachers`, got `[]`
        |
     88 | generate.teachers = []
        |                     ^^
      in arm `#10`
    "#);
}

#[test]
fn overrides_are_named_as_their_place() {
    let overrides = [
        "generate.serach.width=1",
        "train.learning-rate=fast",
        "eval.samples=[1",
        "train",
        "arms.crod.eval.samples=3",
        "run.device=gpu",
        "eval.model=closer",
        "generate.search.width=0",
    ];
    insta::assert_snapshot!(report(MINI, &overrides), @r#"
    `cord.toml` has 7 faults

    --set generate.serach.width=1: expected one of the keys `adaptive`, `budget`, `closing`, `deadline`, `draws`, `keep`, `measure`, `prompt`, `scorer`, `search`, `segmenter`, `teachers` in `generate`, got `serach`
      hint: did you mean `search`?

    --set train.learning-rate=fast: expected a number above 0 as `train.learning-rate`, got the text `"fast"`

    --set eval.samples=[1: expected TOML: unclosed array, expected `]`

    --set train: expected TOML: a key, `=` and a value, got `train`

    --set arms.crod.eval.samples=3: expected the name of an arm as `arms`, got `crod`
      hint: did you mean `cord`?

    --set run.device=gpu: expected `cpu`, `cuda` or `cuda:<number>` as `run.device`, got `gpu`

    --set generate.search.width=0: expected a whole number of at least 1 as `generate.search.width`, got `0`
      in arms `cord`, `teacher`, `base`
    "#);
}

#[test]
fn an_override_that_every_arm_overrides_is_a_fault() {
    let text = "name = \"a\"\nseed = 1\nmodels.m.path = \"m\"\n[eval]\nbenchmarks = [\"b\"]\nmodel = \"m\"\n\
                [[arms]]\nname = \"x\"\neval.samples = 1\n[[arms]]\nname = \"y\"\neval.samples = 2\n";
    assert_eq!(report(text, &[]), "no fault");
    assert_eq!(report(text, &["arms.y.eval.samples=4"]), "no fault");
    insta::assert_snapshot!(report(text, &["eval.samples=4"]), @r"
    `cord.toml` has 1 fault

    --set eval.samples=4: expected an override of `eval.samples` to change something, got one that every arm overrides in turn
      hint: name the arm: `--set arms.<name>.eval.samples=…`
    ");
}

#[test]
fn broken_toml_is_reported_with_its_places() {
    insta::assert_snapshot!(report("name = \"a\nseed = \n[run\n", &[]), @r#"
    `cord.toml` has 3 faults

    cord.toml:1:10: expected TOML: invalid basic string, expected `"`
       |
     1 | name = "a
       |          ^

    cord.toml:2:8: expected TOML: string values must be quoted, expected literal string
       |
     2 | seed =
       |        ^

    cord.toml:3:5: expected TOML: unclosed table, expected `]`
       |
     3 | [run
       |     ^
    "#);
    insta::assert_snapshot!(report("name = \"a\"\nseed = 1\nseed = 2\n", &[]), @r"
    `cord.toml` has 1 fault

    cord.toml:3:1: expected TOML: duplicate key
       |
     3 | seed = 2
       | ^^^^
    ");
}

#[test]
fn an_empty_recipe_says_what_is_missing() {
    insta::assert_snapshot!(report("", &[]), @r"
    `cord.toml` has 3 faults

    cord.toml:1:1: expected a table `[generate]`, `[train]` or `[eval]` as `generate`, got nothing

    cord.toml:1:1: expected a name of letters, digits, `-`, `_` and `.` as `name`, got nothing

    cord.toml:1:1: expected a whole number (or a list as `seeds`) as `seed`, got nothing
    ");
}

#[test]
fn stages_need_their_tables() {
    let text = "name = \"a\"\nseed = 1\nmodels.m.path = \"m\"\nstages = 3\n[[arms]]\nname = \"x\"\nstages = \
                [\"generate\", \"train\"]\n[[arms]]\nname = \"y\"\n";
    insta::assert_snapshot!(report(text, &[]), @r"
    `cord.toml` has 5 faults

    cord.toml:4:1: expected one of the keys `arms`, `description`, `dpo`, `eval`, `generate`, `matrix`, `models`, `name`, `problems`, `run`, `seed`, `seeds`, `table`, `train`, got `stages`
       |
     4 | stages = 3
       | ^^^^^^

    cord.toml:5:1: expected a table as `problems`, got nothing
       |
     5 | [[arms]]
       | ^^^^^^^^
      in arm `x`

    cord.toml:5:1: expected a table as `generate`, got nothing
       |
     5 | [[arms]]
       | ^^^^^^^^
      in arm `x`

    cord.toml:5:1: expected a table as `train`, got nothing
       |
     5 | [[arms]]
       | ^^^^^^^^
      in arm `x`

    cord.toml:8:1: expected a table `[generate]`, `[train]` or `[eval]` as `generate`, got nothing
       |
     8 | [[arms]]
       | ^^^^^^^^
      in arm `y`
    ");
}

#[test]
fn preferences_have_their_faults() {
    let text = format!(
        "{MINI}\n[[arms]]\nname = \"two-students\"\ndpo = {{ student = \"base\" }}\n[[arms]]\nname = \"no-student\"\nstages = [\"generate\", \"dpo\"]\n\
         dpo = {{}}\n[[arms]]\nname = \"no-pairs\"\nstages = [\"dpo\", \"eval\"]\ndpo = {{ student = \"base\" }}\n[[arms]]\nname = \"wild\"\n\
         dpo = {{ beta = 0, sft-weight = -1, winners = \"all\", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = {{ rank = 0 }} }}\n"
    );
    insta::assert_snapshot!(report(&text, &[]), @r#"
    `cord.toml` has 10 faults

    cord.toml:76:1: expected one student, got both `dpo.student` and the one that is trained
        |
     76 | dpo = { student = "base" }
        | ^^^
      in arm `two-students`
      hint: remove `dpo.student`, or leave `train` out of `stages`

    cord.toml:79:1: expected preference optimisation to follow training or to have `dpo.student`, got neither
        |
     79 | stages = ["generate", "dpo"]
        | ^^^^^^
      in arm `no-student`
      hint: add `[train]`, or name the model as `dpo.student`

    cord.toml:83:1: expected preference optimisation to follow the generation whose candidates it pairs, got none
        |
     83 | stages = ["dpo", "eval"]
        | ^^^^^^
      in arm `no-pairs`
      hint: add `[generate]`

    cord.toml:87:16: expected a number above 0 as `dpo.beta`, got `0`
        |
     87 | dpo = { beta = 0, sft-weight = -1, winners = "all", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = { rank = 0 } }
        |                ^
      in arm `wild`

    cord.toml:87:32: expected a number of at least 0 as `dpo.sft-weight`, got `-1`
        |
     87 | dpo = { beta = 0, sft-weight = -1, winners = "all", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = { rank = 0 } }
        |                                ^^
      in arm `wild`

    cord.toml:87:46: expected one of `kept`, `chosen` as `dpo.winners`, got `all`
        |
     87 | dpo = { beta = 0, sft-weight = -1, winners = "all", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = { rank = 0 } }
        |                                              ^^^^^
      in arm `wild`

    cord.toml:87:73: expected a whole number of at least 1 as `dpo.pairs-per-problem`, got `0`
        |
     87 | dpo = { beta = 0, sft-weight = -1, winners = "all", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = { rank = 0 } }
        |                                                                         ^
      in arm `wild`

    cord.toml:87:88: expected one of `dpo.epochs` and `dpo.steps`, got both
        |
     87 | dpo = { beta = 0, sft-weight = -1, winners = "all", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = { rank = 0 } }
        |                                                                                        ^^^^^
      in arm `wild`
      hint: remove one

    cord.toml:87:99: expected one of the keys `batch`, `beta`, `beta1`, `beta2`, `checkpoint-every`, `clip-norm`, `decontaminate`, `epochs`, `epsilon`, `final-learning-rate-share`, `keep-checkpoints`, `learning-rate`, `lora`, `margin`, `max-length`, `packing`, `pairs-per-problem`, `part-tokens`, `precision`, `prompt`, `recompute`, `schedule`, `sft-weight`, `steps`, `student`, `too-long`, `validation`, `warmup`, `weight-decay`, `winners` in `dpo`, got `learning_rate`
        |
     87 | dpo = { beta = 0, sft-weight = -1, winners = "all", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = { rank = 0 } }
        |                                                                                                   ^^^^^^^^^^^^^
      in arm `wild`
      hint: did you mean `learning-rate`?

    cord.toml:87:134: expected a whole number of at least 1 as `dpo.lora.rank`, got `0`
        |
     87 | dpo = { beta = 0, sft-weight = -1, winners = "all", pairs-per-problem = 0, epochs = 1, steps = 2, learning_rate = 1, lora = { rank = 0 } }
        |                                                                                                                                      ^
      in arm `wild`
    "#);
}

#[test]
fn a_column_of_a_judge_wants_a_judge_of_that_benchmark() {
    let of = |metric: &str| MINI.replace("\"eval.mini/hard\"", &format!("\"eval.mini/hard.{metric}\""));
    let judge = |benchmark: &str| [format!("eval.judge={{ models = [\"closer\"], benchmarks = [\"{benchmark}\"] }}")];
    for metric in ["judge", "unscored"] {
        let expected = format!(
            "expected a column of what is judged (`eval.judge` with `mini/hard` among its benchmarks) as `table.columns`, got `eval.mini/hard.{metric}`"
        );
        assert!(report(&of(metric), &[]).contains(&expected), "{}", report(&of(metric), &[]));
        let other = judge("mini/test");
        assert!(report(&of(metric), &[&other[0]]).contains(&expected));
        let that = judge("mini/hard");
        assert!(!report(&of(metric), &[&that[0]]).contains("eval.judge"), "{}", report(&of(metric), &[&that[0]]));
    }
}

#[test]
fn a_column_must_be_one_that_the_recipe_fills() {
    let text = MINI
        .replace("\"eval.mini/hard\"", "\"eval.mini/hrd\"")
        .replace("[\"cord\", \"curation\", \"base\"]", "[\"base\"]");
    insta::assert_snapshot!(report(&text, &["table.paper=3"]), @r#"
    `cord.toml` has 3 faults

    cord.toml:64:56: expected one of `accuracy`, `accuracy-of-all`, `process-accuracy`, `perplexity`, `kept`, `pairs`, `preferred`, `truncated`, `forced`, `failed`, `generated-tokens`, `scored-tokens`, `tokens-per-trajectory`, `eval.mini/test`, `eval.mini/test.truncated`, `eval.mini/test.unparsed`, `eval.mini/test.generated-tokens`, `eval.mini/test.judge`, `eval.mini/test.unscored`, `eval.mini/test.majority`, `eval.mini/test.macro-f1`, `eval.mini/test.f1`, `eval.mini/hard`, `eval.mini/hard.truncated`, `eval.mini/hard.unparsed`, `eval.mini/hard.generated-tokens`, `eval.mini/hard.judge`, `eval.mini/hard.unscored`, `eval.mini/hard.majority`, `eval.mini/hard.macro-f1`, `eval.mini/hard.f1`, `share.adder`, `share.multiplier`, `share.closer`, `seconds-per-problem`, `seconds`, `cost`, `cost-per-trajectory` as `table.columns`, got `eval.mini/hrd`
        |
     64 | columns = ["accuracy", "perplexity", "eval.mini/test", "eval.mini/hrd", "eval.mini/test.truncated", "seconds"]
        |                                                        ^^^^^^^^^^^^^^^
      hint: did you mean `eval.mini/hard`?

    cord.toml:67:40: expected a list of at least two arms as `table.order.order`, got `1`
        |
     67 |   { metric = "eval.mini/test", order = ["base"] },
        |                                        ^^^^^^^^

    --set table.paper=3: expected a table or figure of the paper such as `table-3` as `table.paper`, got the whole number `3`
    "#);
}

proptest! {
    /// Whatever stands in the file, reading ends, and with at least one fault whose place lies in the text.
    #[test]
    fn any_text_is_a_recipe_or_has_faults(text in "(?s).{0,200}", over in "[a-z.=\"\\[{0-9]{0,20}") {
        if let Err(RecipeError::Faults(faults)) = Recipe::read(&text, Path::new("x"), &[over], &|_| true) {
            prop_assert!(!faults.faults.is_empty());
            for fault in &faults.faults {
                let lines = text.split('\n').count();
                prop_assert!(fault.location.line >= 1 && fault.location.line <= lines.max(1));
            }
            prop_assert!(!faults.to_string().is_empty());
        }
    }

    /// A recipe with one line cut out is a recipe or has faults, and a line that reads `x = 1` is always noticed.
    #[test]
    fn a_stray_key_is_noticed_anywhere(line in 0usize..70) {
        let mut lines: Vec<&str> = MINI.lines().collect();
        let line = line.min(lines.len());
        // Not inside the list of orders, where a key can't stand.
        prop_assume!(lines[..line].iter().filter(|l| l.starts_with("order = [")).count()
            == lines[..line].iter().filter(|l| **l == "]").count());
        lines.insert(line, "stray = 1");
        let error = Recipe::read(&lines.join("\n"), Path::new("x"), &[], &|_| true).unwrap_err();
        let RecipeError::Faults(faults) = error else { panic!("expected faults") };
        let unknown = |kind: &FaultKind| matches!(kind, FaultKind::UnknownKey { key, .. } if key == "stray");
        prop_assert!(faults.faults.iter().any(|f| unknown(&f.kind) && f.location.line == line + 1), "{faults}");
    }
}

#[test]
fn every_setting_of_a_generation_has_its_faults() {
    let check = |settings: &str, expected: &[&str]| {
        let text = format!(
            "name = \"r\"\nseed = 1\nproblems.dataset = \"d\"\nmodels = {{ a.path = \"a\", b.path = \"b\", m.path = \"m\" }}\n\
             generate.teachers = [\"a\", \"b\"]\n{settings}\n"
        );
        let said = report(&text, &[]);
        let faults: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("cord.toml:")?.split_once(": ").map(|(_, fault)| fault))
            .collect();
        assert_eq!(faults, expected, "{settings}\n{said}");
    };
    let random = "generate.scorer.kind = \"random\"";
    let beam = "generate.search.kind = \"beam\"";
    let with = |search: &str| format!("{random}\n{search}");
    let by = |scorer: &str| format!("{beam}\ngenerate.scorer = {scorer}");
    check(&with(beam), &[]);
    check(
        &with("generate.search = { kind = \"integration\", model = \"a\", merged = 2, select = 3 }"),
        &[
            "expected a model that is none of the teachers as `generate.search.model`, got `a`",
            "expected at most `merged` = 2 as `generate.search.select`, got `3`",
        ],
    );
    check(&with("generate.search = { kind = \"integration\", model = \"m\" }"), &[]);
    check(
        &with("generate.search = { kind = \"mcts\", exploration = -1, choose = \"best\", iterations = 0 }"),
        &[
            "expected a number of at least 0 as `generate.search.exploration`, got `-1`",
            "expected one of `most-visited`, `best-scored` as `generate.search.choose`, got `best`",
            "expected a whole number of at least 1 as `generate.search.iterations`, got `0`",
        ],
    );
    check(
        &with("generate.search = { kind = \"best-first\", width = 0, finals = 2, select = 3, bonus = -0.5 }"),
        &[
            "expected a whole number of at least 1 as `generate.search.width`, got `0`",
            "expected at most `finals` = 2 as `generate.search.select`, got `3`",
            "expected a number of at least 0 as `generate.search.bonus`, got `-0.5`",
        ],
    );
    check(
        "generate.search.kind = \"best-first\"\ngenerate.scorer = { kind = \"answer-gain\", model = \"a\" }",
        &[
            "expected a scorer that judges each step on its own beside `generate.search.kind`, got `answer-gain` or `mixture`",
        ],
    );
    check(
        &with("generate.search.kind = \"best-first\"\ngenerate.adaptive = {}"),
        &["expected a beam search beside `generate.adaptive`, got another one"],
    );
    check(
        &with("generate.search = { kind = \"curation\", trajectories = 2, per-teacher = 2, compute = 0 }"),
        &[
            "expected one of `generate.search.trajectories` and `per-teacher`, got both",
            "expected a whole number of at least 1 as `generate.search.compute`, got `0`",
        ],
    );
    check(
        &with(&format!(
            "{beam}\ngenerate.budget.step = 8\ngenerate.segmenter = {{ kind = \"fixed-length\", tokens = 9 }}"
        )),
        &["expected at most `budget.step` = 8 as `generate.segmenter.tokens`, got `9`"],
    );
    check(
        &with(&format!("{beam}\ngenerate.segmenter = {{ kind = \"line-break\", cues = \"cues.v0\" }}")),
        &["expected one of the keys `kind` in `generate.segmenter`, got `cues`"],
    );
    check(
        &with(&format!("{beam}\ngenerate.segmenter = {{ kind = \"prefix\", cues = \"cues.v0\" }}")),
        &["expected one of `cues.v1` as `generate.segmenter.cues`, got `cues.v0`"],
    );
    check(
        &with(&format!("{beam}\ngenerate.adaptive = {{ ask = 3, floor = 0.6 }}")),
        &[
            "expected a whole number from 1 to 2 as `generate.adaptive.ask`, got `3`",
            "expected a number from 0 to 1/2, the teachers' even share, as `generate.adaptive.floor`, got `0.6`",
        ],
    );
    check(
        &with("generate.search.kind = \"curation\"\ngenerate.adaptive = {}"),
        &["expected a beam search beside `generate.adaptive`, got another one"],
    );
    check(
        &by("{ kind = \"ensemble\", models = [\"a\", \"z\"], combine = \"mean\", cap = 0 }"),
        &[
            "expected a model that `[models]` defines as `generate.scorer.models`, got `z`",
            "expected one of `mean-log`, `min`, `agreement` as `generate.scorer.combine`, got `mean`",
            "expected a whole number of at least 1 as `generate.scorer.cap`, got `0`",
        ],
    );
    check(
        &by("{ kind = \"judgment\", prompt = \"gold.v2\" }"),
        &[
            "expected the model that judges as `generate.scorer.model`, got nothing",
            "expected one of `gold.v1`, `blind.v1`, `turns.v1` as `generate.scorer.prompt`, got `gold.v2`",
        ],
    );
    check(
        &by(
            "{ kind = \"mixture\", signals = [{ weight = 0, scorer = { kind = \"mixture\", signals = [{ weight = 1, scorer = { kind = \"random\" } }] } }] }",
        ),
        &[
            "expected a number above 0 as `generate.scorer.signals.weight`, got `0`",
            "expected a signal of one kind as `generate.scorer.signals.scorer`, got a mixture",
        ],
    );
    check(
        &by("{ kind = \"mixture\", signals = [] }"),
        &["expected a list of at least one signal as `generate.scorer.signals`, got `[]`"],
    );
    check(
        &by("{ kind = \"random\", seed = 1 }"),
        &["expected one of the keys `kind` in `generate.scorer`, got `seed`"],
    );
}

#[test]
fn columns_are_those_of_a_file() {
    let of = |problems: &str| {
        let text = format!(
            "name = \"own\"\nseed = 1\n[problems]\n{problems}\n[models.a]\npath = \"models/a\"\n[generate]\nteachers = [\"a\"]\n\
             prompt = \"{{question}}\"\nscorer = {{ kind = \"random\" }}\nsearch = {{ kind = \"beam\", width = 1 }}\n"
        );
        report(&text, &[])
    };
    assert_eq!(of("path = \"mine.csv\"\ncolumns = { question = [\"body\", \"ask\"], answer = \"gold\" }"), "no fault");
    assert_eq!(of("path = \"mine.parquet\""), "no fault");
    insta::assert_snapshot!(of("dataset = \"gsm8k/train\"\ncolumns = { answer = 3, gold = \"x\" }"), @r#"
    `cord.toml` has 3 faults

    cord.toml:5:1: expected `problems.columns` of a file, named by `path`, got a data set, whose manifest has its own
       |
     5 | columns = { answer = 3, gold = "x" }
       | ^^^^^^^
      hint: remove it, or name a file

    cord.toml:5:22: expected a text that is not empty as `problems.columns.answer`, got the whole number `3`
       |
     5 | columns = { answer = 3, gold = "x" }
       |                      ^

    cord.toml:5:25: expected one of the keys `after`, `answer`, `context`, `id`, `question` in `problems.columns`, got `gold`
       |
     5 | columns = { answer = 3, gold = "x" }
       |                         ^^^^
    "#);
}
