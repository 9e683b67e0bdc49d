//! `cord init` writes recipes that are read without a fault once their files are there, and says what is missing until then.

mod world;

use std::fs;

use world::Desk;

#[test]
fn a_recipe_for_local_models_plans_at_once() {
    let desk = Desk::with_models();
    fs::create_dir_all(desk.path("eval")).unwrap();
    desk.write("mine.csv", "question,answer\nOne and one?,2\nTwo and two?,4\n");
    let said = desk
        .cord(&[
            "init",
            "mine.toml",
            "--data",
            "mine.csv",
            "--teacher",
            "a=models/left",
            "--teacher",
            "b.2=./models/right",
            "--prover",
            "b.2",
            "--student",
            "models/left",
            "--benchmark",
            "tiny/train",
        ])
        .expect(0)
        .stdout;
    assert!(said.starts_with("wrote `mine.toml`; look it over") && said.contains("cord doctor mine.toml"), "{said}");
    let plan = desk.cord(&["plan", "mine.toml"]).expect(0).stdout;
    for stage in ["generate cord", "generate curation", "train cord", "train curation", "eval base"] {
        assert!(plan.contains(stage), "no `{stage}` in:\n{plan}");
    }
    let text = fs::read_to_string(desk.path("mine.toml")).unwrap();
    assert!(text.contains("model = \"b.2\"") && text.contains("[models.\"b.2\"]"), "{text}");
    // It is no sketch: the file's problems are read, and both arms write trajectories of them.
    let generation = ["--set", "generate.budget={ reasoning = 24, answer = 8, step = 12, steps = 2 }"];
    let stages = ["--set", "arms.cord.stages=[\"generate\"]", "--set", "arms.curation.stages=[\"generate\"]"];
    desk.cord(
        &[
            &["run", "mine.toml"],
            &generation[..],
            &stages[..],
            &["--set", "eval.limit=1", "--set", "eval.max-tokens=16"],
        ]
        .concat(),
    )
    .expect(0);
}

#[test]
fn what_it_can_not_know_is_said_with_its_place() {
    let desk = Desk::bare();
    let said = desk.cord(&["init", "mine.toml"]).expect(0).stdout;
    assert!(said.starts_with("wrote `mine.toml`; what is left to fill in:"), "{said}");
    for missing in ["`mine.jsonl`", "`models/teacher-a`", "`models/teacher-b`"] {
        assert!(said.contains(missing), "no {missing} in:\n{said}");
    }
    assert!(said.contains("mine.toml:"), "{said}");
}

#[test]
fn served_and_hub_models_need_no_files() {
    let desk = Desk::bare();
    desk.write("mine.jsonl", "{\"id\": \"a\", \"question\": \"1+1?\", \"answer\": \"2\"}\n");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let said = desk
        .cord(&[
            "init",
            "mine.toml",
            "--teacher",
            "qwq=http://gpu1:8000",
            "--tokenizer",
            &format!("qwq=Qwen/QwQ-32B@{commit}"),
            "--teacher",
            &format!("phi=microsoft/Phi-4-reasoning-plus@{commit}"),
        ])
        .expect(0)
        .stdout;
    assert!(said.starts_with("wrote `mine.toml`; look it over"), "{said}");
    let text = fs::read_to_string(desk.path("mine.toml")).unwrap();
    assert!(text.contains("endpoints = [\"http://gpu1:8000\"]") && text.contains("hub = \"Qwen/QwQ-32B\""), "{text}");
}

#[test]
fn nothing_is_overwritten_and_names_must_fit() {
    let desk = Desk::bare();
    desk.write("mine.toml", "name = \"mine\"");
    let refused = desk.cord(&["init", "mine.toml"]).expect(1).stderr;
    assert!(refused.contains("is there already") && refused.contains("--force"), "{refused}");
    desk.cord(&["init", "mine.toml", "--force"]).expect(0);
    let refused = desk
        .cord(&["init", "b.toml", "--teacher", "x=a", "--teacher", "x=b", "--prover", "y", "--tokenizer", "z=c"])
        .expect(1)
        .stderr;
    for fault in ["each teacher's name once", "got `y`", "got `z`"] {
        assert!(refused.contains(fault), "no {fault} in:\n{refused}");
    }
    assert!(desk.cord(&["init", "b.toml", "--teacher", "x"]).expect(2).stderr.contains("expected NAME=WHERE"));
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    let desk = Desk::bare();
    let bash = desk.cord(&["completions", "bash"]).expect(0).stdout;
    assert!(bash.contains("_cord()"), "{}", &bash[..200]);
    desk.cord(&["man", "pages"]).expect(0);
    let pages: Vec<String> = fs::read_dir(desk.path("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    for verb in ["run", "plan", "table", "merge", "reselect", "export", "eval", "judge", "doctor", "data", "init"] {
        assert!(bash.contains(&format!("cord__{verb}")) || bash.contains(&format!("cord__subcmd__{verb}")), "{verb}");
        assert!(pages.iter().any(|page| page == &format!("cord-{verb}.1")), "{verb} in {pages:?}");
    }
}
