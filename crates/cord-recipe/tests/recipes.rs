//! Recipes as people write them: what they resolve to, and what overriding does.

use std::path::Path;

use cord_core::Sampling;
use cord_recipe::{
    Column, DataSource, Device, EvalMetric, GpuPrice, Method, Precision, Price, Recipe, RecipeError, Schedule, Search,
    StageKind, TokenPrice, TooLong, TrainData, TrainLength, Validation, default_prompt,
};

const MINI: &str = include_str!("recipes/mini-cord.toml");
const TEACHERS: &str = include_str!("recipes/teachers.toml");

fn read(text: &str, overrides: &[&str]) -> Result<Recipe, RecipeError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::read(text, Path::new("recipe.toml"), &overrides, &|_| true)
}

#[track_caller]
fn mini(overrides: &[&str]) -> Recipe {
    read(MINI, overrides).unwrap_or_else(|error| panic!("{error}"))
}

fn width(recipe: &Recipe, arm: &str) -> Option<u32> {
    match recipe.arm(arm)?.generate.as_ref()?.search {
        Search::Beam { width, .. } => Some(width),
        _ => None,
    }
}

#[test]
fn arms_are_resolved() {
    use StageKind::{Eval, Generate, Train};
    let recipe = mini(&[]);
    let check = |arm: &str, stages: &[StageKind]| {
        assert_eq!(recipe.arm(arm).unwrap().stages(), stages, "{arm}");
    };
    check("cord", &[Generate, Train, Eval]);
    check("curation", &[Generate, Train, Eval]);
    check("best-single", &[Generate, Train, Eval]);
    check("teacher", &[Eval]);
    check("base", &[Eval]);

    let cord = recipe.arm("cord").unwrap();
    let train = cord.train.as_ref().unwrap();
    assert_eq!(train.learning.length, TrainLength::Steps(500));
    assert_eq!((train.learning.optimiser.learning_rate, train.learning.optimiser.schedule), (5e-4, Schedule::Cosine));
    assert_eq!(train.data, TrainData::Generated);
    assert_eq!(train.learning.prompt, "{question}", "the generator's prompt is the student's");
    assert_eq!(cord.eval.as_ref().unwrap().plain_prompt, "{question}");
    assert_eq!(cord.problems.as_ref().unwrap().source, DataSource::Dataset("mini/train".into()));
    assert_eq!(cord.models["multiplier"].sampling, Sampling { temperature: 0.7, ..Sampling::default() });
    assert_eq!(recipe.seeds, [17, 18]);
    assert_eq!(recipe.run.device, Device::Cpu);
    let truncated = Column::Eval { benchmark: "mini/test".into(), metric: EvalMetric::Truncated };
    assert_eq!(recipe.table.columns[4], truncated);
    // A table that gives its `kind` replaces: nothing of the beam is left in the curation arm.
    let search = &recipe.arm("curation").unwrap().generate.as_ref().unwrap().search;
    assert_eq!(*search, Search::Curation { trajectories: 4, select: 1, compute: None });
}

#[test]
fn some_arms_alone_are_the_recipe_without_the_others() {
    let orders = "table.order = [{ metric = \"accuracy\", order = [\"cord\", \"curation\", \"best-single\"] }]";
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let only = |given: &[&str]| mini(&[orders]).only(&names(given));
    let two = only(&["best-single", "cord"]).unwrap();
    assert_eq!(two.arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(), ["cord", "best-single"]);
    assert_eq!(two.arm("cord"), mini(&[]).arm("cord"));
    assert_eq!(two.table.orders[0].order, ["cord", "best-single"]);
    assert_eq!(only(&["cord"]).unwrap().table.orders, []);
    assert_eq!(only(&["cord", "chord", "dord"]), Err(names(&["chord", "dord"])));
}

#[test]
fn a_recipe_without_arms_is_its_own_arm() {
    let text = "name = \"one\"\nseed = 3\nmodels.m.path = \"m\"\neval = { benchmarks = [\"b\"], model = \"m\" }";
    let recipe = read(text, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(recipe.arms.len(), 1);
    assert_eq!(recipe.arms[0].name, "one");
    assert_eq!(recipe.arms[0].eval.as_ref().unwrap().plain_prompt, default_prompt());
    let columns: Vec<String> = recipe.table.columns.iter().map(ToString::to_string).collect();
    assert_eq!(columns, ["eval.b", "seconds"]);
}

#[test]
fn teachers_are_trained_from_scratch_on_rows() {
    let recipe = read(TEACHERS, &[]).unwrap_or_else(|error| panic!("{error}"));
    let adder = recipe.arm("adder").unwrap();
    assert_eq!(adder.stages(), [StageKind::Train, StageKind::Eval]);
    assert_eq!(recipe.arm("closer").unwrap().stages(), [StageKind::Train]);
    let rows = DataSource::Dataset("mini/corpus-adder".into());
    assert_eq!(adder.train.as_ref().unwrap().data, TrainData::Rows { source: rows, limit: None });
    let cord_recipe::ModelSource::Scratch(shape) = &adder.models["closer"].source else { panic!("made from scratch") };
    assert_eq!((shape.kv_heads, shape.tie_embeddings), (4, false));
    assert_eq!(shape.tokenizer, serde_json::json!({ "kind": "word" }));
}

#[test]
fn overrides_reach_where_they_point() {
    assert_eq!(width(&mini(&[]), "cord"), Some(4));
    assert_eq!(width(&mini(&["generate.search.width=1"]), "cord"), Some(1));
    assert_eq!(width(&mini(&["arms.cord.generate.search.width = 2"]), "cord"), Some(2));
    assert_eq!(mini(&["run.device=cuda:1"]).run.device, Device::Cuda(1));
    assert_eq!(mini(&["run.device=\"cuda\""]).run.device, Device::Cuda(0));
    assert_eq!(mini(&["seed=5"]).seeds, [5], "`seed` takes the place of `seeds`");
    let epochs = mini(&["train.epochs=3"]);
    assert_eq!(epochs.arm("cord").unwrap().train.as_ref().unwrap().learning.length, TrainLength::Epochs(3));
    let prompt = mini(&["generate.prompt=Solve: {question}"]);
    assert_eq!(prompt.arm("cord").unwrap().eval.as_ref().unwrap().plain_prompt, "Solve: {question}");
    let twice = mini(&["eval.samples=2", "eval.samples=3"]);
    assert_eq!(twice.arm("base").unwrap().eval.as_ref().unwrap().samples, Some(3), "the last one counts");
    let sampling = mini(&["models.closer.sampling.temperature=0"]);
    let expected = Sampling { temperature: 0.0, ..Sampling::default() };
    assert_eq!(sampling.arm("cord").unwrap().models["closer"].sampling, expected);
}

#[test]
fn the_digest_is_that_of_the_experiment() {
    let digest = |text: &str, overrides: &[&str]| read(text, overrides).unwrap().digest();
    let mini = |overrides: &[&str]| digest(MINI, overrides);
    assert_eq!(mini(&[]), mini(&["name=other", "description=other"]));
    assert_eq!(mini(&[]), mini(&["run.device=cuda:0", "run.threads=3", "run.out=elsewhere"]));
    assert_eq!(mini(&[]), mini(&["train.weight-decay=0.0"]), "a default that is spelt out changes nothing");
    assert_ne!(mini(&[]), mini(&["eval.samples=5"]));
    assert_ne!(mini(&[]), mini(&["seed=17"]));
    assert_ne!(mini(&[]), mini(&["table.columns=[\"accuracy\"]"]));
    let shuffled = "seeds = [17, 18]\nmodels.m = { path = \"m\" }\nname = \"a\"\n[eval]\nsamples = 2\nmodel = \"m\"\n\
                    benchmarks = [\"b\"]";
    let sorted = "name = \"a\"\nseeds = [17, 18]\n# why\n[models]\nm.path = \"m\"\n[eval]\nbenchmarks = [\"b\"]\n\
                  model = \"m\"\nsamples = 2";
    assert_eq!(digest(shuffled, &[]), digest(sorted, &[]));
}

#[test]
fn settings_are_written_as_they_are_read() {
    let recipe = mini(&[]);
    let arm = serde_json::to_value(recipe.arm("cord").unwrap()).unwrap();
    assert_eq!(arm["generate"]["segmenter"], "prompt-guided");
    assert_eq!(
        arm["generate"]["search"],
        serde_json::json!({
            "kind": "beam", "width": 4, "proposals": 1, "finished": "compete", "answer-by": "last-writer", "select": 1
        })
    );
    assert_eq!(arm["generate"]["scorer"]["kind"], "predictive-perplexity");
    assert_eq!(arm["train"]["optimiser"]["learning-rate"], 5e-4);
    assert_eq!(arm["models"]["multiplier"]["sampling"]["top-p"], 0.95);
    assert_eq!(serde_json::to_value(&recipe.run).unwrap()["device"], "cpu");
    assert_eq!(serde_json::to_value(&recipe.table).unwrap()["columns"][2], "eval.mini/test");
}

#[test]
fn training_has_its_means() {
    let method = |overrides: &[&str]| mini(overrides).arm("cord").unwrap().train.clone().unwrap().learning.method;
    assert_eq!(method(&[]), Method::default());
    let all = method(&[
        "train.packing=true",
        "train.recompute=true",
        "train.precision=bf16",
        "train.too-long=error",
        "train.part-tokens=2048",
        "train.lora={ rank = 8, alpha = 16, targets = [\"q_proj\", \"v_proj\"] }",
        "train.validation={ rows = 8, every = 5, patience = 2, best = true }",
    ]);
    assert!(all.packing && all.recompute);
    assert_eq!((all.precision, all.too_long, all.part_tokens), (Precision::Bf16, TooLong::Error, 2048));
    let lora = all.lora.unwrap();
    assert_eq!((lora.rank, lora.alpha, lora.targets), (8, 16.0, vec!["q_proj".to_owned(), "v_proj".to_owned()]));
    assert_eq!(all.validation, Some(Validation { rows: 8, every: 5, patience: Some(2), best: true }));
    let error = read(MINI, &["train.lora={ rank = 0, ranks = 1 }", "train.too-long=cut"]).unwrap_err().to_string();
    for part in ["`train.lora.rank`", "got `ranks`", "`train.too-long`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_price_is_by_token_or_by_gpu() {
    let price = |overrides: &[&str]| read(MINI, overrides).unwrap().run.prices["adder"];
    let tokens = TokenPrice { prompt: Some(0.5), cached: None, generated: Some(2.0), scored: None };
    let by_token = ["run.prices.adder.prompt=0.5", "run.prices.adder.generated=2"];
    assert_eq!(price(&by_token), Price::Tokens(tokens));
    let by_gpu = ["run.prices.adder.gpu-hour=2.5", "run.prices.adder.gpus=8"];
    assert_eq!(price(&by_gpu), Price::Gpus(GpuPrice { gpu_hour: 2.5, gpus: 8 }));
    assert_eq!(price(&by_gpu[..1]), Price::Gpus(GpuPrice { gpu_hour: 2.5, gpus: 1 }));
    let refused = |overrides: &[&str]| read(MINI, overrides).unwrap_err().to_string();
    insta::assert_snapshot!(refused(&["run.prices.addr.generated=1"]), @r"
    `recipe.toml` has 1 fault

    --set run.prices.addr.generated=1: expected a model that `[models]` defines as `run.prices.addr`, got `addr`
      hint: did you mean `adder`?
    ");
    insta::assert_snapshot!(refused(&["run.prices.adder.generated=1", "run.prices.adder.gpu-hour=1"]), @r"
    `recipe.toml` has 1 fault

    --set run.prices.adder.generated=1: expected prices of tokens or of GPUs, got both
      hint: remove `run.prices.adder.gpu-hour` or the prices of tokens
    ");
    insta::assert_snapshot!(refused(&["run.prices.adder.gpus=2"]), @r"
    `recipe.toml` has 1 fault

    --set run.prices.adder.gpus=2: expected a price of tokens (or of GPUs as `gpu-hour`) as `run.prices.adder.generated`, got nothing
    ");
    insta::assert_snapshot!(refused(&["run.prices.adder.generated=-1", "run.remote=bucket"]), @r"
    `recipe.toml` has 2 faults

    --set run.prices.adder.generated=-1: expected a number of at least 0 as `run.prices.adder.generated`, got `-1`

    --set run.remote=bucket: expected `s3://<bucket>/<folder>` or `file:///<folder>` as `run.remote`, got `bucket`
    ");
}
