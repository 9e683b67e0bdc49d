//! Models behind servers: what is read, what is a fault, and what of it has a part in keys.

use std::path::Path;
use std::time::Duration;

use cord_core::Digest;
use cord_recipe::{Identities, ModelSource, Recipe, RecipeError, ServerDialect, ServerHedgeScope, TokenizerSource};

fn recipe(models: &str) -> String {
    format!(
        r#"name = "served"
seed = 1
[problems]
dataset = "mini/train"
[generate]
teachers = ["qwq"]
segmenter = "prompt-guided"
scorer = {{ kind = "predictive-perplexity", model = "qwq" }}
search = {{ kind = "beam", width = 2, proposals = 1 }}
[models.qwq]
{models}
"#
    )
}

fn read(models: &str) -> Result<Recipe, RecipeError> {
    let there = |path: &Path| !path.to_string_lossy().contains("nowhere");
    Recipe::read(&recipe(models), Path::new("cord.toml"), &[], &there)
}

fn source(models: &str) -> ModelSource {
    let recipe = read(models).unwrap_or_else(|error| panic!("{error}"));
    recipe.arms[0].models["qwq"].source.clone()
}

#[test]
fn a_server_is_read_with_its_defaults() {
    let plain = source("path = \"tokenizers/qwq\"\nserver = { endpoints = [\"http://gpu1:8000\"] }");
    let ModelSource::Served { server, tokenizer } = plain else { panic!("expected a served model") };
    assert_eq!(tokenizer, TokenizerSource::Path("tokenizers/qwq".into()));
    assert_eq!((server.model, server.dialect, server.api_key_env, server.context), (None, None, None, None));
    assert_eq!((server.concurrency, server.timeout, server.retries), (32, Duration::from_mins(10), 5));
    assert_eq!(server.hedge, None);

    let full = source(
        r#"hub = "Qwen/QwQ-32B"
revision = "976055f8c83f394f35dbd3ab09a285a984907bd0"
[models.qwq.server]
endpoints = ["http://gpu1:8000/v1", "https://gpu2.example.com"]
dialect = "llama-cpp"
api-key-env = "QWQ_KEY"
model = "Qwen/QwQ-32B"
context = 32768
concurrency = 64
timeout = "30m"
retries = 9
hedge = { percentile = 0.9, least = "250ms", scope = "everything" }"#,
    );
    let ModelSource::Served { server, tokenizer } = full else { panic!("expected a served model") };
    assert!(matches!(tokenizer, TokenizerSource::Hub { .. }));
    assert_eq!(server.dialect, Some(ServerDialect::LlamaCpp));
    assert_eq!(server.api_key_env.as_deref(), Some("QWQ_KEY"));
    assert_eq!((server.timeout, server.retries, server.context), (Duration::from_mins(30), 9, Some(32768)));
    let hedge = server.hedge.unwrap();
    assert_eq!((hedge.percentile, hedge.least), (0.9, Duration::from_millis(250)));
    assert_eq!(hedge.scope, ServerHedgeScope::Everything);
}

#[test]
fn all_faults_of_a_server_are_told_at_once() {
    let check = |models: &str, told: &[&str]| {
        let report = read(models).unwrap_err().to_string();
        for words in told {
            assert!(report.contains(words), "expected {words:?} in:\n{report}");
        }
    };
    check(
        r#"server = { endpoints = ["gpu1:8000", "http://me:word@gpu2", "http://a"], dialect = "vlm", api-key-env = "sk-1", timeout = "10", hedge = { percentile = 1 }, concurency = 3, concurrency = 0 }"#,
        &[
            "has 9 faults",
            "the folder of the served model's tokenizer",
            "got `gpu1:8000`",
            "got `http://me:word@gpu2`",
            "did you mean `vllm`?",
            "the name of an environment variable (never the key itself)",
            "a time above 0 such as `250ms`",
            "a number above 0 and below 1",
            "did you mean `concurrency`?",
            "at least 1",
        ],
    );
    check("path = \"t\"\nserver = { endpoints = [\"http://a\", \"http://a\"] }", &["got `http://a` again"]);
    check(
        "server = { endpoints = [] }\nscratch = { layers = 2, hidden = 32, heads = 4, ffn = 64, context = 64, tokenizer = {} }",
        &["a list of at least one address", "a model made from scratch has no server"],
    );
    // The tokenizer's folder is looked for when the model is opened: a plan needs none.
    check("path = \"nowhere\"\nserver = { dialect = \"vllm\" }", &["`models.qwq.server.endpoints`"]);
}

#[test]
fn a_run_may_move_to_other_machines() {
    let keys = |server: &str, states: &[u8]| {
        let recipe = read(&format!("path = \"tokenizers/qwq\"\nserver = {{ {server} }}")).unwrap();
        let needs = recipe.needs();
        // The server states the same wherever it stands.
        let of = |label: &String| (label.clone(), Digest::of_bytes(states));
        let known = Identities {
            models: needs.models.keys().map(of).collect(),
            datasets: needs.datasets.keys().map(of).collect(),
        };
        let plan = recipe.plan(&known).unwrap();
        (plan.digest, plan.stages.iter().map(|stage| stage.key).collect::<Vec<_>>())
    };
    let before = keys(r#"endpoints = ["http://gpu1:8000"], model = "qwq""#, b"qwq");
    for how in [
        r#"endpoints = ["http://gpu7:9000", "https://gpu8"]"#,
        r#"endpoints = ["http://gpu1:8000"], concurrency = 7, timeout = "1s", retries = 0, dialect = "sglang""#,
        r#"endpoints = ["http://gpu1:8000"], api-key-env = "KEY", context = 9, hedge = { percentile = 0.5 }"#,
    ] {
        assert_eq!(keys(&format!("{how}, model = \"qwq\""), b"qwq"), before, "{how}");
    }
    let other = keys(r#"endpoints = ["http://gpu1:8000"], model = "r1""#, b"r1");
    assert!(other.0 != before.0 && other.1 != before.1);
}

#[test]
fn two_servers_are_two_models_even_without_a_name() {
    let label =
        |endpoint: &str| source(&format!("path = \"t\"\nserver = {{ endpoints = [\"{endpoint}\"] }}")).label().unwrap();
    assert_ne!(label("http://gpu1"), label("http://gpu2"));
}
