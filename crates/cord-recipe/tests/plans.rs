//! Plans: which stages there are, and what their keys depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use StageKind::{Dpo, Eval, Generate, Problems, Table, Train};
use cord_core::Digest;
use cord_recipe::{Identities, Plan, Recipe, RecipeError, StageKind, StageSettings};
use proptest::prelude::*;

const MINI: &str = include_str!("recipes/mini-cord.toml");
const TEACHERS: &str = include_str!("recipes/teachers.toml");

fn read(text: &str, overrides: &[&str]) -> Recipe {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::read(text, Path::new("recipe.toml"), &overrides, &|_| true).unwrap_or_else(|error| panic!("{error}"))
}

/// Every model and data set is known by the digest of its label.
fn identities(recipe: &Recipe) -> Identities {
    let needs = recipe.needs();
    let of = |label: &String| (label.clone(), Digest::of_bytes(label.as_bytes()));
    Identities { models: needs.models.keys().map(of).collect(), datasets: needs.datasets.keys().map(of).collect() }
}

fn plan(text: &str, overrides: &[&str]) -> Plan {
    let recipe = read(text, overrides);
    recipe.plan(&identities(&recipe)).unwrap()
}

/// For each kind, how many keys two plans share, and how many each has.
fn shared(a: &Plan, b: &Plan) -> BTreeMap<StageKind, (usize, usize, usize)> {
    let keys = |plan: &Plan, kind| plan.of_kind(kind).map(|stage| stage.key).collect::<BTreeSet<_>>();
    let kinds = [Problems, Generate, Train, Eval, Table];
    let count = |kind| {
        let (a, b) = (keys(a, kind), keys(b, kind));
        (kind, (a.intersection(&b).count(), a.len(), b.len()))
    };
    kinds.into_iter().map(count).collect()
}

#[track_caller]
fn check_changes(overrides: &[&str], changed: &[StageKind]) {
    let (before, after) = (plan(MINI, &[]), plan(MINI, overrides));
    for (kind, (same, a, b)) in shared(&before, &after) {
        if changed.contains(&kind) {
            assert_ne!(same, a, "{overrides:?} should change {kind}");
        } else {
            assert!(same == a && a == b, "{overrides:?} should not change {kind}: {same} of {a} and {b} are the same");
        }
    }
}

#[test]
fn a_plan_lists_each_stage_once_after_its_inputs() {
    let plan = plan(MINI, &[]);
    let lines: Vec<String> = plan
        .stages
        .iter()
        .map(|stage| {
            let mut inputs: Vec<String> = stage
                .inputs
                .iter()
                .map(|input| {
                    assert_eq!(plan.stage(input.key).unwrap().kind, input.kind);
                    input.kind.to_string()
                })
                .collect();
            inputs.dedup();
            format!("{}: [{}] for {}", stage.label(), inputs.join(", "), stage.arms.join(", "))
        })
        .filter(|line| !line.contains("seed 18"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    problems of mini/train: [] for cord, curation, best-single
    problems of eval/mini/test: [] for cord, curation, best-single, teacher, base
    problems of eval/mini/hard: [] for cord, curation, best-single, teacher, base
    generate cord, seed 17: [problems] for cord
    generate curation, seed 17: [problems] for curation
    generate best-single, seed 17: [problems] for best-single
    train cord, seed 17: [problems, generate] for cord
    train curation, seed 17: [problems, generate] for curation
    train best-single, seed 17: [problems, generate] for best-single
    eval cord on mini/test, seed 17: [problems, train] for cord
    eval cord on mini/hard, seed 17: [problems, train] for cord
    eval curation on mini/test, seed 17: [problems, train] for curation
    eval curation on mini/hard, seed 17: [problems, train] for curation
    eval best-single on mini/test, seed 17: [problems, train] for best-single
    eval best-single on mini/hard, seed 17: [problems, train] for best-single
    eval teacher on mini/test, seed 17: [problems] for teacher
    eval teacher on mini/hard, seed 17: [problems] for teacher
    eval base on mini/test, seed 17: [problems] for base
    eval base on mini/hard, seed 17: [problems] for base
    table: [problems, generate, train, eval] for cord, curation, best-single, teacher, base
    ");

    for (index, stage) in plan.stages.iter().enumerate() {
        for input in &stage.inputs {
            assert!(plan.stages[..index].iter().any(|earlier| earlier.key == input.key), "{}", stage.label());
        }
        assert_eq!(plan.stages.iter().filter(|other| other.key == stage.key).count(), 1);
    }
}

#[test]
fn a_key_changes_with_what_matters_and_with_nothing_else() {
    let check = check_changes;
    check(&["run.device=cuda:0", "run.threads=7", "run.max-batch=3", "run.concurrency=1", "run.out=x"], &[]);
    check(&["run.requests=9", "run.remote=s3://bucket/folder", "run.prices.adder.generated=2"], &[]);
    check(&["name=other", "description=other"], &[]);
    check(&["run.folder=others"], &[]);
    // Which rows are left out depends on the rule and on the benchmarks, and on nothing else of the evaluation.
    check(&["train.decontaminate=false"], &[Train, Eval, Table]);
    check(&["train.decontaminate={ ngram = 13 }"], &[Train, Eval, Table]);
    check(&["train.decontaminate=true"], &[]);
    check(&["table.figure=collaboration"], &[Table]);
    check(&["train.checkpoint-every=7", "train.keep-checkpoints=3"], &[]);
    // Written out, the defaults are the defaults.
    check(&["train.packing=false", "train.precision=f32", "train.too-long=drop", "train.part-tokens=1024"], &[]);
    for setting in [
        "train.packing=true",
        "train.recompute=true",
        "train.precision=bf16",
        "train.too-long=truncate",
        "train.part-tokens=4096",
        "train.lora={ rank = 8 }",
        "train.lora={ targets = [\"q_proj\"] }",
        "train.validation={ rows = 8, every = 5, patience = 2 }",
    ] {
        check(&[setting], &[Train, Eval, Table]);
    }
    check(&["table.title=other"], &[Table]);
    check(&["eval.samples=5"], &[Eval, Table]);
    check(&["eval.limit=5"], &[Problems, Eval, Table]);
    check(&["train.learning-rate=1e-4"], &[Train, Eval, Table]);
    check(&["generate.keep=correct"], &[Train, Eval, Table]);
    check(&["problems.limit=7"], &[Problems, Generate, Train, Eval, Table]);
    check(&["generate.search.width=2"], &[Generate, Train, Eval, Table]);
    // A clock decides what is found within a deadline.
    check(&["generate.deadline=60"], &[Generate, Train, Eval, Table]);
    check(&["generate.budget.answer=9"], &[Generate, Train, Eval, Table]);
    check(&["models.base.sampling.temperature=1"], &[Eval, Table]);
    // The prompt of generation is the default of the other two.
    check(&["generate.prompt=Go: {question}"], &[Generate, Train, Eval, Table]);
    check(&["eval.prompt=Go: {question}"], &[Eval, Table]);
    // What a table's layout says of order matters not.
    let orders = MINI.replace("steps = 500\nbatch = 8\n", "batch = 8\nsteps = 500\n");
    assert_ne!(orders, MINI);
    assert_eq!(plan(&orders, &[]), plan(MINI, &[]));
}

#[test]
fn what_was_not_chosen_by_the_measure_is_measured_after_it() {
    let measure = "generate.measure={ kind = \"predictive-perplexity\", model = \"closer\" }";
    let measured = |overrides: &[&str]| -> Vec<String> {
        let plan = plan(MINI, overrides);
        let stages = plan.of_kind(StageKind::Measure).filter(|stage| stage.seed == Some(17));
        stages.map(|stage| format!("{} after {}", stage.label(), stage.inputs.len())).collect()
    };
    assert_eq!(measured(&[]), [""; 0]);
    // Every arm is scored by the same prover as it is measured by.
    assert_eq!(measured(&[measure]), [""; 0]);
    let random = "arms.curation.generate.scorer={ kind = \"random\" }";
    assert_eq!(measured(&[measure, random]), ["measure curation, seed 17 after 2"]);
    check_changes(&[measure], &[]);
    // The generation itself does not know of it.
    let (without, with) = (plan(MINI, &[random]), plan(MINI, &[measure, random]));
    let (same, a, b) = shared(&without, &with)[&Generate];
    assert!(same == a && a == b);
}

#[test]
fn a_training_is_compared_with_the_benchmarks_of_its_arm() {
    let benchmarks = |overrides: &[&str]| -> Vec<Vec<String>> {
        let plan = plan(MINI, overrides);
        let of = |stage: &cord_recipe::StageSpec| match &stage.settings {
            StageSettings::Train(train) => train.benchmarks.iter().map(cord_recipe::DataSource::name).collect(),
            other => panic!("expected a training, got {other:?}"),
        };
        plan.of_kind(Train).take(1).map(of).collect()
    };
    assert_eq!(benchmarks(&[]), [["mini/test", "mini/hard"]]);
    assert_eq!(benchmarks(&["train.decontaminate=false"]), [[""; 0]]);
    // How many problems are evaluated is no matter: all of a benchmark's are compared.
    check_changes(&["eval.limit=9"], &[Problems, Eval, Table]);
    // Rows that are there already have no problems to compare.
    let given = plan(TEACHERS, &[]);
    let StageSettings::Train(train) = &given.of_kind(Train).next().unwrap().settings else { panic!("a training") };
    assert_eq!((train.decontaminate, train.benchmarks.len()), (None, 0));
}

#[test]
fn a_search_ignores_the_settings_of_others() {
    // A bound on steps is nothing to a search for whole trajectories.
    let (before, after) = (plan(MINI, &[]), plan(MINI, &["generate.budget.steps=13", "generate.budget.step=31"]));
    let keys = |plan: &Plan, arm: &str| -> Vec<Digest> {
        plan.of_kind(Generate).filter(|s| s.arms == [arm]).map(|s| s.key).collect()
    };
    assert_ne!(keys(&before, "cord"), keys(&after, "cord"));
    assert_eq!(keys(&before, "curation"), keys(&after, "curation"));
    // Another teacher's sampling is nothing to a single teacher.
    let after = plan(MINI, &["models.adder.sampling.temperature=0.1"]);
    assert_ne!(keys(&before, "curation"), keys(&after, "curation"));
    assert_eq!(keys(&before, "best-single"), keys(&after, "best-single"));
    // Nor is how a meta-prover would draw.
    let lone = ["generate.teachers=[\"adder\"]", "arms.best-single.generate.search.teacher=adder"];
    let after = plan(MINI, &lone);
    let colder = plan(MINI, &[lone[0], lone[1], "models.closer.sampling.temperature=0.1"]);
    assert_eq!(keys(&after, "cord").len(), 2);
    assert_eq!(keys(&after, "cord"), keys(&colder, "cord"));
}

#[test]
fn models_and_data_are_known_by_content() {
    let recipe = read(MINI, &[]);
    let known = identities(&recipe);
    let before = recipe.plan(&known).unwrap();
    // Another folder, the same content.
    let moved = read(MINI, &["models.adder.path=elsewhere/adder"]);
    let mut same = known.clone();
    same.models.insert("elsewhere/adder".into(), known.models["models/adder"]);
    let after = moved.plan(&same).unwrap();
    let keys = |plan: &Plan| plan.stages.iter().map(|stage| stage.key).collect::<Vec<_>>();
    assert_eq!(keys(&before), keys(&after));
    // The same folder, another content.
    let mut changed = known.clone();
    changed.models.insert("models/closer".into(), Digest::of_bytes(b"trained again"));
    let after = recipe.plan(&changed).unwrap();
    let counts = shared(&before, &after);
    assert_eq!(counts[&Problems].0, counts[&Problems].1);
    assert_eq!(counts[&Generate].0, 0, "the meta-prover judges in every arm");
    assert_eq!(counts[&Eval].0, 4, "the base model on two benchmarks under two seeds");
}

#[test]
fn arms_share_what_is_the_same() {
    let twin = format!("{MINI}\n[[arms]]\nname = \"twin\"\ntrain.weight-decay = 0.1\n");
    let plan = plan(&twin, &[]);
    let generate: Vec<_> = plan.of_kind(Generate).filter(|s| s.arms.contains(&"cord".to_owned())).collect();
    assert_eq!(generate.len(), 2);
    assert!(generate.iter().all(|stage| stage.arms == ["cord", "twin"]));
    assert!(plan.of_kind(Train).all(|stage| stage.arms.len() == 1));
    let table = plan.stages.last().unwrap();
    assert_eq!(table.arms, ["cord", "curation", "best-single", "teacher", "base", "twin"]);
    let StageSettings::Table(rows) = &table.settings else { panic!("the last stage is the table") };
    assert_eq!(rows.rows.len(), 12, "six arms under two seeds");
    let row = |arm: &str, seed| rows.rows.iter().find(|row| row.arm == arm && row.seed == seed).unwrap();
    assert_eq!(row("cord", 17).generate, row("twin", 17).generate);
    assert_ne!(row("cord", 17).train, row("twin", 17).train);
    assert_ne!(row("cord", 17).generate, row("cord", 18).generate);
    assert_eq!((row("base", 17).generate, row("base", 17).train), (None, None));
    assert_eq!(row("base", 17).evals.len(), 2);
}

/// An arm that goes on from another's student with what its ledger says.
const PREFERS: &str = "\n[[arms]]\nname = \"prefers\"\ndpo = { learning-rate = 1e-5 }\n";

#[test]
fn preferences_follow_training_and_are_what_is_tested() {
    let (before, after) = (plan(MINI, &[]), plan(&format!("{MINI}{PREFERS}"), &[]));
    for kind in [Problems, Generate, Train] {
        let (same, a, b) = shared(&before, &after)[&kind];
        assert!(same == a && a == b, "the arm makes no other {kind}");
    }
    let lines: Vec<String> = after
        .stages
        .iter()
        .filter(|stage| stage.arms == ["prefers"])
        .map(|stage| {
            let inputs: Vec<&str> = stage.inputs.iter().map(|input| input.kind.name()).collect();
            format!("{}: {} <- {}", stage.key.short(), stage.label(), inputs.join(", "))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    2d5f1d96e6a4: dpo prefers, seed 17 <- problems, generate, train
    7ed5fd112342: dpo prefers, seed 18 <- problems, generate, train
    17d9df08eb21: eval prefers on mini/test, seed 17 <- problems, dpo
    274c8c2c9aca: eval prefers on mini/hard, seed 17 <- problems, dpo
    23142f7a5b43: eval prefers on mini/test, seed 18 <- problems, dpo
    5ac0437f34dd: eval prefers on mini/hard, seed 18 <- problems, dpo
    ");
    let first = after.of_kind(Dpo).next().unwrap();
    let train = after.stage(first.input(Train).unwrap()).unwrap();
    assert_eq!(train.arms, ["cord", "prefers"]);
    assert_eq!(first.student().map(|input| input.kind), Some(Train));
    let eval = after.of_kind(Eval).find(|stage| stage.arms == ["prefers"] && stage.seed == Some(17)).unwrap();
    assert_eq!(eval.student().map(|input| (input.kind, input.key)), Some((Dpo, first.key)));

    // What is learnt changes the key; what memory it takes and when it is saved do not, the first as in `[train]`.
    let key = |more: &str| {
        let arm = PREFERS.replace("1e-5 }", &format!("1e-5, {more} }}"));
        plan(&format!("{MINI}{arm}"), &[]).of_kind(Dpo).next().unwrap().key
    };
    for more in
        ["beta = 0.2", "sft-weight = 1", "winners = \"chosen\"", "margin = 0", "pairs-per-problem = 2", "steps = 9"]
    {
        assert_ne!(key(more), first.key, "{more}");
    }
    for more in ["beta = 0.1", "checkpoint-every = 3", "epochs = 1", "margin = 0.1"] {
        assert_eq!(key(more), first.key, "{more}");
    }
    let given =
        "\n[[arms]]\nname = \"given\"\nstages = [\"generate\", \"dpo\", \"eval\"]\ndpo = { student = \"base\" }\n";
    let given = plan(&format!("{MINI}{given}"), &[]);
    let stage = given.of_kind(Dpo).next().unwrap();
    let kinds: Vec<StageKind> = stage.inputs.iter().map(|input| input.kind).collect();
    assert_eq!((kinds, stage.student()), (vec![Problems, Generate], None));
}

#[test]
fn a_model_from_scratch_is_known_by_its_shape() {
    let recipe = read(TEACHERS, &[]);
    assert!(recipe.needs().models.is_empty());
    let plan = recipe.plan(&identities(&recipe)).unwrap();
    let kinds: Vec<StageKind> = plan.stages.iter().map(|stage| stage.kind).collect();
    assert_eq!(kinds, [Problems, Train, Train, Eval, Table]);
    assert!(plan.of_kind(Train).all(|stage| stage.inputs.is_empty()));
    let wider = read(&TEACHERS.replace("hidden = 96", "hidden = 104"), &[]);
    let after = wider.plan(&identities(&wider)).unwrap();
    assert_eq!(shared(&plan, &after)[&Train], (1, 2, 2));
}

#[test]
fn missing_identities_are_named_together() {
    let recipe = read(TEACHERS, &[]);
    let error = recipe.plan(&Identities::default()).unwrap_err();
    assert!(matches!(error, RecipeError::Identities { .. }));
    insta::assert_snapshot!(error, @"expected the digests of `data set eval/mini/dev`, `data set mini/corpus-adder`, `data set mini/corpus-closer`, got none");
}

#[test]
fn keys_stay_what_they_were() {
    // A change here makes every finished stage of every user be made again. It needs a line in the changelog.
    let plan = plan(MINI, &[]);
    let first = |kind| plan.of_kind(kind).next().unwrap().key.short();
    insta::assert_snapshot!([Problems, Generate, Train, Eval, Table].map(first).join(" "), @"8b1ec4c9cf79 f0589ef17268 4ff20f7a933e 8fa2e3e6f080 cde60913c1d3");
}

proptest! {
    /// Nothing in `[run]` changes a key.
    #[test]
    fn how_to_run_is_in_no_key(threads in 1u32..64, batch in 1u32..512, micro in 1u32..64, gpu in 0u32..8) {
        let overrides = [
            format!("run.threads={threads}"),
            format!("run.max-batch={batch}"),
            format!("run.micro-batch={micro}"),
            format!("run.device=cuda:{gpu}"),
        ];
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        prop_assert_eq!(plan(MINI, &overrides), plan(MINI, &[]));
    }

    /// Two plans of different settings share no key of the stages that look at them.
    #[test]
    fn different_settings_have_different_keys(a in 1u32..50, b in 1u32..50) {
        let width = |width: u32| plan(MINI, &[&format!("generate.search.width={width}")]);
        let generate = |plan: &Plan| plan.of_kind(Generate).next().unwrap().key;
        prop_assert_eq!(generate(&width(a)) == generate(&width(b)), a == b);
    }
}

#[test]
fn settings_that_were_added_rename_no_stage() {
    let plan = plan(MINI, &[]);
    let keys: Vec<String> = (plan.of_kind(Generate).chain(plan.of_kind(Train)))
        .map(|stage| format!("{} {}", stage.key.short(), stage.label()))
        .collect();
    insta::assert_snapshot!(keys.join("\n"), @r"
        f0589ef17268 generate cord, seed 17
        44c4343b185f generate cord, seed 18
        ea62f4fd1f24 generate curation, seed 17
        ab9a5477a7ec generate curation, seed 18
        b4b6bb71017e generate best-single, seed 17
        5fc93bd19ca2 generate best-single, seed 18
        4ff20f7a933e train cord, seed 17
        3d21fbfe66e3 train cord, seed 18
        dee792459bdf train curation, seed 17
        2e4455922431 train curation, seed 18
        42a77685eb39 train best-single, seed 17
        4a68a537fe34 train best-single, seed 18
        ");
}

#[test]
fn a_generation_is_named_by_its_segmenter_scorer_and_search() {
    let check = |overrides: &[&str]| {
        let first = |overrides: &[&str]| {
            let plan = plan(MINI, overrides);
            plan.of_kind(Generate).find(|stage| stage.arms.contains(&"cord".to_owned())).unwrap().key
        };
        assert_ne!(first(&[]), first(overrides), "{overrides:?}");
        first(overrides)
    };
    let perplexity =
        |more: &str| format!("generate.scorer={{ kind = \"predictive-perplexity\", model = \"closer\"{more} }}");
    let keys = [
        check(&["generate.segmenter=line-break"]),
        check(&["generate.segmenter=prefix"]),
        check(&["generate.segmenter={ kind = \"fixed-length\", tokens = 16 }"]),
        check(&["generate.segmenter={ kind = \"fixed-length\", tokens = 17 }"]),
        check(&["generate.search.finished=set-aside"]),
        check(&["generate.search.stop=best-finished"]),
        check(&["generate.search={ kind = \"mcts\" }"]),
        check(&["generate.search={ kind = \"mcts\", iterations = 9 }"]),
        check(&["generate.search={ kind = \"curation\", compute = 900 }"]),
        check(&["generate.search={ kind = \"integration\", model = \"base\" }", "models.base={ path = \"b\" }"]),
        check(&["arms.cord.generate.adaptive={ ask = 1 }"]),
        check(&["arms.cord.generate.adaptive={ ask = 2 }"]),
        check(&[&perplexity(", cap = 3")]),
        check(&[&perplexity(", normalise = \"sum\"")]),
        check(&[&perplexity(", forms = \"forms\"")]),
        check(&["generate.scorer={ kind = \"answer-gain\", model = \"closer\" }"]),
        check(&["generate.scorer={ kind = \"ensemble\", models = [\"closer\", \"adder\"] }"]),
        check(&["generate.scorer={ kind = \"judgment\", model = \"closer\" }"]),
        check(&["generate.scorer={ kind = \"judgment\", model = \"closer\", prompt = \"blind.v1\" }"]),
        check(&["generate.scorer={ kind = \"judgment\", model = \"adder\" }"]),
        check(&["generate.scorer={ kind = \"process-reward\", model = \"closer\" }"]),
        check(&["generate.scorer={ kind = \"process-reward\", model = \"closer\", prompt = \"plus-minus.v1\" }"]),
        check(&["generate.scorer={ kind = \"random\" }"]),
        check(&["generate.scorer={ kind = \"max-length\" }"]),
        check(&["generate.scorer={ kind = \"self-certainty\" }"]),
    ];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    // What is spelt out at its default is the same.
    let same = plan(MINI, &[&perplexity(", normalise = \"geometric-mean\""), "generate.search.stop=all-finished"]);
    assert_eq!(shared(&plan(MINI, &[]), &same)[&Generate].0, plan(MINI, &[]).of_kind(Generate).count());
}

#[test]
fn every_model_that_judges_or_merges_is_needed() {
    let recipe = read(
        MINI,
        &[
            "models.base={ path = \"b\" }",
            "models.judge={ path = \"j\" }",
            "models.reward={ path = \"r\" }",
            "arms.cord.generate.search={ kind = \"integration\", model = \"base\" }",
            "arms.cord.generate.scorer={ kind = \"mixture\", signals = [{ weight = 1, scorer = { kind = \"judgment\", model = \"judge\" } }, { weight = 2, scorer = { kind = \"process-reward\", model = \"reward\" } }] }",
        ],
    );
    let needs = recipe.needs();
    for path in ["b", "j", "r"] {
        assert!(needs.models.keys().any(|label| label.ends_with(path)), "{path}: {:?}", needs.models.keys());
    }
    let plan = recipe.plan(&identities(&recipe)).unwrap();
    let stage = plan.of_kind(Generate).find(|stage| stage.arms == ["cord"]).unwrap();
    let StageSettings::Generate(settings) = &stage.settings else { panic!("expected a generation") };
    let names: Vec<&str> = settings.teachers.iter().map(|teacher| teacher.model.name.as_str()).collect();
    assert_eq!(names.last(), Some(&"base"), "the model that merges comes last: {names:?}");
}
