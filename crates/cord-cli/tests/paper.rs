//! The repository's recipes: all of them plan on a bare machine; one of the paper's scale, cut down, runs to its table against
//! servers, and one of the mini scale with the models that are there.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cord_testkit::{ByteVocabulary, Kind, Served, TestServer};
use world::{Desk, copy};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

fn recipes() -> Vec<PathBuf> {
    let folders = fs::read_dir(repository().join("recipes")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut found: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    found.sort();
    found
}

#[test]
fn every_recipe_plans_without_a_network_data_or_models() {
    let out = tempfile::tempdir().unwrap();
    let nowhere = out.path().join("nowhere");
    let (mut planned, mut of_paper) = (0, 0);
    for recipe in recipes() {
        let name = recipe.strip_prefix(repository()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cord"));
        command.current_dir(repository()).arg("plan").arg(name).arg("--json").arg("--out").arg(out.path());
        command
            .env("CORD_DATA", &nowhere)
            .env("HF_HOME", &nowhere)
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            .env("HF_HUB_OFFLINE", "1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", name.display());
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let stages = plan["stages"].as_array().unwrap();
        assert!(!stages.is_empty(), "{}", name.display());
        planned += 1;
        if name.starts_with("recipes/paper") {
            of_paper += 1;
            // Every stage has its estimate but those that ask no model, and those of benchmarks that are not here.
            let generations: Vec<_> = stages.iter().filter(|stage| stage["kind"] == "generate").collect();
            assert!(!generations.is_empty(), "{}", name.display());
            for stage in generations {
                let estimate = &stage["estimate"];
                let expected = |span: &serde_json::Value| span["expected"].as_f64().unwrap_or(0.0);
                assert!(expected(&estimate["total"]["generated"]) > 1e6, "{}: {stage:#}", name.display());
                assert!(
                    expected(&estimate["gpu-hours"]) > 1.0 && expected(&estimate["cost"]) > 1.0,
                    "{}: {stage:#}",
                    name.display()
                );
            }
        }
    }
    assert!(of_paper >= 13 && planned > of_paper, "{of_paper} of the paper, {planned} in all");
}

/// Few problems, so that only what is far apart is asserted.
#[test]
fn the_best_trajectory_first_is_as_right_as_the_beam_for_a_third_of_its_tokens() {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cord"));
    command.current_dir(repository()).args(["run", "recipes/mini/adaptive.toml", "--out"]).arg(out.path());
    for arm in ["all", "best-first-sooner", "curation"] {
        command.args(["--arm", arm, "--set", &format!("arms.{arm}.generate.search.select=4")]);
    }
    for setting in
        ["seeds=[17]", "problems.limit=16", "table.columns=[\"accuracy\", \"accuracy-of-all\", \"generated-tokens\"]"]
    {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = fs::read(out.path().join("mini-tables/mini-adaptive.table.json")).unwrap();
    let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
    let rows = table["rows"].as_array().unwrap();
    let value = |arm: &str, metric: &str| {
        let row = rows.iter().find(|row| row["arm"] == arm).unwrap_or_else(|| panic!("no `{arm}` in {table}"));
        row["metrics"][metric]["value"].as_f64().unwrap()
    };
    let (beam, first) = ("all", "best-first-sooner");
    assert!(value(first, "accuracy") >= value(beam, "accuracy") - 0.1, "{table}");
    assert!(value(first, "accuracy") > value("curation", "accuracy") + 0.1, "{table}");
    assert!(value(first, "generated-tokens") < 0.4 * value(beam, "generated-tokens"), "{table}");
    // Four are returned of each problem, and the best is right more often than the others.
    for arm in [beam, first, "curation"] {
        let all = value(arm, "accuracy-of-all");
        assert!(all > 0.0 && all < value(arm, "accuracy"), "{arm}: {table}");
    }
    assert!(value(beam, "accuracy-of-all") > value("curation", "accuracy-of-all") + 0.3, "{table}");
}

/// A desk with the repository's `recipes/paper/table-3.toml` as it is, and data sets and students that are tiny.
struct Table3 {
    desk: Desk,
    servers: Vec<TestServer>,
    overrides: Vec<String>,
}

impl Table3 {
    fn laid() -> Self {
        let desk = Desk::with_models();
        let bytes = desk.path("models/bytes");
        fs::create_dir_all(&bytes).unwrap();
        ByteVocabulary::new().write(&bytes).unwrap();
        fs::create_dir_all(desk.path("recipes/paper")).unwrap();
        fs::copy(repository().join("recipes/paper/table-3.toml"), desk.path("recipes/paper/table-3.toml")).unwrap();
        for benchmark in ["aime24", "aime25"] {
            copy(&repository().join("eval").join(benchmark), &desk.path("eval").join(benchmark));
            Self::stand_in(&desk, "tiny/test", &format!("{benchmark}/test"));
        }
        Self::stand_in(&desk, "tiny/train", "limo/v1");

        let mut overrides: Vec<String> = [
            "problems.limit=2",
            "generate.prompt=\"{question}\"",
            "generate.budget={ reasoning = 64, answer = 16, step = 24, steps = 4 }",
            "generate.search={ kind = \"beam\", width = 2 }",
            "generate.keep=all",
            "train.steps=2",
            "train.max-length=320",
            "eval.limit=2",
            "eval.samples=1",
            "eval.max-tokens=32",
            "eval.prompt=\"{question}\"",
            "models.7b.path=models/left",
            "models.14b.path=models/right",
            "models.32b.path=models/left",
        ]
        .map(str::to_owned)
        .to_vec();
        // The models of one name stand behind one server, as in the recipe.
        let models = [
            ("Qwen/QwQ-32B", &["qwq-32b", "qwq-5", "qwq-6", "qwq-7"][..]),
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", &["r1-qwen-32b"]),
            ("microsoft/Phi-4-reasoning-plus", &["phi-4"]),
            ("deepseek-ai/DeepSeek-V3.2-Exp", &["merger"]),
        ];
        let mut servers = Vec::new();
        for ((name, names), weights) in models.into_iter().zip(7..) {
            let (name, root) = (name.to_owned(), name.to_owned());
            let server = TestServer::start(Served { name, root, weights, ..Served::new(Kind::Vllm) });
            for model in names {
                overrides.push(format!("models.{model}.path=models/bytes"));
                overrides.push(format!("models.{model}.server.endpoints=[\"{}\"]", server.url()));
            }
            servers.push(server);
        }
        Self { desk, servers, overrides }
    }

    /// A data set of ours under the name of one that is not here.
    fn stand_in(desk: &Desk, ours: &str, theirs: &str) {
        let manifest = fs::read_to_string(desk.path(&format!("datasets/{ours}.toml"))).unwrap();
        let path = desk.path(&format!("datasets/{theirs}.toml"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, manifest.replace(ours, theirs)).unwrap();
    }

    fn cord(&self, verb: &str) -> world::Ran {
        let mut arguments = vec![verb, "recipes/paper/table-3.toml"];
        for text in &self.overrides {
            arguments.extend(["--set", text]);
        }
        self.desk.cord(&arguments)
    }
}

#[test]
fn the_papers_table_3_cut_down_runs_to_its_table() {
    let table = Table3::laid();
    let plan = table.cord("plan").expect(0).stdout;
    assert!(table.servers.iter().all(|server| server.counts().connections == 0), "a plan asks nobody");
    assert!(plan.contains("generate cord-heterogeneous_student-7b, cord-heterogeneous_student-14b, cord-heterogeneous_student-32b, seed 17"), "{plan}");
    // Some generations may find nothing to go on with, which is no fault of the recipe.
    let ran = table.cord("run");
    assert!(ran.code == 0 || ran.code == 3, "{}\n{}", ran.stdout, ran.stderr);
    assert!(table.servers.iter().all(|server| server.counts().posts > 4), "every server was asked");
    let made: serde_json::Value =
        serde_json::from_slice(&fs::read(table.desk.path("runs/paper/paper-table-3.table.json")).unwrap()).unwrap();
    let rows = made["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3 + 3 + 6 * 3, "{}", ran.stdout);
    for row in rows {
        for benchmark in ["eval.aime24", "eval.aime25"] {
            assert!(row["metrics"][benchmark]["n"].as_u64().is_some(), "{benchmark} of {row:#}");
            assert!(row["paper"][benchmark].is_number(), "the paper's {benchmark} of {row:#}");
        }
    }
    assert_eq!(made["paper"]["table"], "table-3");
    assert_eq!(table.cord("table").expect(0).stdout, ran.stdout);
}

#[test]
fn a_student_learns_from_the_traces_that_a_set_was_published_with() {
    let desk = Desk::bare();
    fs::create_dir_all(desk.path("datasets/traced")).unwrap();
    fs::create_dir_all(desk.path("data")).unwrap();
    desk.write(
        "datasets/traced/train.toml",
        "name = \"traced/train\"\ncount = 4\n[[files]]\npath = \"rows.jsonl\"\nfrom = \"rows.jsonl\"\n[columns]\nquestion = \"q\"\n\
         answer = { column = \"a\" }\nsolution = { column = \"r\", answer = \"said\" }\n",
    );
    let set = [
        "--set",
        "train.data={ dataset = \"traced/train\" }",
        "--set",
        "train.steps=2",
        "--set",
        "train.prompt=\"Solve: {question}\"",
    ];
    let cord = |verb: &str| desk.cord(&[&[verb, "recipes/scratch.toml"][..], &set].concat());
    // A plan needs no data; a run says what to put where.
    let plan = cord("plan").expect(0).stdout;
    assert!(plan.contains("needs the data set traced/train (not here yet"), "{plan}");
    let missing = cord("run").expect(1).stderr;
    assert!(
        missing.contains("expected `data/rows.jsonl`, got nothing: `cord data pull traced/train` fetches `rows.jsonl`"),
        "{missing}"
    );
    let row = |n: usize| {
        format!(
            "{{\"q\": \"{n} + 1?\", \"a\": \"{}\", \"r\": \" one more than {n} \", \"said\": \"It is {}.\"}}\n",
            n + 1,
            n + 1
        )
    };
    desk.write("data/rows.jsonl", &(0..4).map(row).collect::<String>());
    cord("run").expect(0);
    let folder = desk.stage_of(&[&["recipes/scratch.toml"][..], &set].concat(), "train left, seed 1");
    let audit = fs::read_to_string(folder.join("audit.txt")).unwrap();
    for part in ["Solve: 0 + 1?", "one more than 0", "It is 1."] {
        assert!(audit.contains(part), "no `{part}` in:\n{audit}");
    }
    // A row without its text is told by its place.
    desk.write("data/rows.jsonl", &format!("{}{{\"q\": \"x\", \"a\": \"1\", \"said\": \"1\"}}\n", row(0)));
    let torn = cord("run").expect(1).stderr;
    assert!(torn.contains("row 2: expected a column `r`, got `q`, `a`, `said`"), "{torn}");
}
