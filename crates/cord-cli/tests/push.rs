//! `cord push`: what a run made, sent to a hub and fetched from it again.

mod world;

use std::fs;

use cord_store::{Hub, HubFiles, download};
use cord_testkit::{HubServer, HubWorld};
use world::{Desk, Ran};

const DISTIL: &str = "recipes/distil.toml";
const TOKEN: &str = "hf_SECRETsecret";

fn hub() -> HubServer {
    HubServer::start(HubWorld { is_missing: true, token: Some(TOKEN.to_owned()), ..HubWorld::default() })
}

/// Runs `cord push` with a token, which must be in nothing that it says.
fn push(desk: &Desk, server: &HubServer, arguments: &[&str]) -> Ran {
    let variables = [("HF_ENDPOINT", server.endpoint()), ("HF_TOKEN", TOKEN), ("HF_HUB_OFFLINE", "")];
    let ran = desk.cord_with(&[&["push"], arguments].concat(), &variables);
    assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "{}{}", ran.stdout, ran.stderr);
    ran
}

#[test]
fn a_student_is_pushed_with_a_card_and_fetched_again() {
    let desk = Desk::with_models();
    desk.cord(&["run", DISTIL, "--set", "seeds=[1]"]).expect(0);
    let stage = desk.stage_of(&[DISTIL, "--set", "seeds=[1]"], "train cord, seed 1");
    let folder = stage.join("model").display().to_string();
    let server = hub();
    let name = HubServer::NAME;

    let refused = push(&desk, &server, &[&folder, name]).expect(1);
    assert!(refused.stderr.contains("expected `--license`"), "{}", refused.stderr);
    let dry = push(&desk, &server, &[&folder, name, "--license", "mit", "--private"]).expect(0);
    assert!(server.world().asked.is_empty(), "a dry run asks nobody");
    for part in [
        "branch      main\n",
        &format!("repository  {}/{name}: a private model, made if it is not there\n", server.endpoint()),
        "  model.safetensors  through LFS\n",
        "  6 files, 1 through LFS (the hub decides)\n",
        "card        written for it, begins with\n  ---\n  license: \"mit\"\n",
        "  # distil, cord, seed 1",
    ] {
        assert!(dry.stdout.contains(part), "no `{part}` in:\n{}", dry.stdout);
    }

    let sent = push(&desk, &server, &[&folder, name, "--license", "mit", "--private", "--yes"]).expect(0);
    assert!(sent.stdout.contains("sent 6 files; 0 were there already"), "{}", sent.stdout);
    assert!(!stage.join("model/README.md").exists(), "a finished stage stays as it is");
    let card = String::from_utf8(server.world().files["README.md"].clone()).unwrap();
    for part in [
        "# distil, cord, seed 1\n",
        "| base model | `left`, `models/left` |",
        "| data | the arm's own trajectories (`keep = \"all\"`) |",
        "| recipe digest | `",
        "| steps | 10 |",
        "| cord |",
        "tiny/test pass@1",
    ] {
        assert!(card.contains(part), "no `{part}` in:\n{card}");
    }
    assert!(!card.contains("| curation |"), "only its own row:\n{card}");
    let own = Hub {
        endpoint: server.endpoint().to_owned(),
        cache: desk.path("cache"),
        token: Some(TOKEN.to_owned()),
        offline: false,
    };
    let fetched = own.fetch(name, HubServer::COMMIT, HubFiles::Model, &mut |_, _, _| {}).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(fs::read(fetched.join(file)).unwrap() == fs::read(stage.join("model").join(file)).unwrap(), "{file}");
    }

    let commits = server.world().commits.len();
    let again = push(&desk, &server, &[&folder, name, "--license", "mit", "--yes"]).expect(0);
    assert!(again.stdout.ends_with("has all 6 files already; nothing was sent\n"), "{}", again.stdout);
    assert_eq!(server.world().commits.len(), commits);
}

#[test]
fn an_export_is_pushed_as_a_data_set() {
    let desk = Desk::with_models();
    desk.cord(&["run", DISTIL, "--set", "seeds=[1]"]).expect(0);
    let export = ["export", DISTIL, "--set", "seeds=[1]", "--arm", "cord", "--to", "set", "--license", "mit"];
    desk.cord(&export).expect(0);
    let server = hub();
    let dry = push(&desk, &server, &["set", HubServer::NAME]).expect(0);
    assert!(dry.stdout.contains("a data set, made if it is not there"), "{}", dry.stdout);
    assert!(server.world().asked.is_empty());
    push(&desk, &server, &["set", HubServer::NAME, "--yes", "--message", "Rows of a run"]).expect(0);
    assert_eq!(server.world().commits, ["Rows of a run"]);
    let rows = fs::read(desk.path("set/sft/train.parquet")).unwrap();
    let url =
        format!("{}/datasets/{}/resolve/{}/sft/train.parquet", server.endpoint(), HubServer::NAME, HubServer::COMMIT);
    download(&url, None, Some(&HubServer::sha256(&rows)), &desk.path("fetched.parquet"), &mut |_, _| {}).unwrap();
    assert_eq!(fs::read(desk.path("fetched.parquet")).unwrap(), rows);
}

#[test]
fn what_is_no_data_set_and_no_model_is_refused() {
    let desk = Desk::with_models();
    let server = hub();
    fs::create_dir_all(desk.path("mixed/model")).unwrap();
    let check = |arguments: &[&str], expected: &str| {
        let ran = push(&desk, &server, arguments).expect(1);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    };
    check(&["mixed", "a/b"], "expected a model (with `config.json`) or a data set");
    check(&["mixed", "a/b", "--kind", "dataset"], "expected files in `mixed`, got none");
    fs::write(desk.path("mixed/model/config.json"), "{}").unwrap();
    check(&["mixed", "a/b"], "push its folder `mixed/model`");
    check(&["mixed", "a/b", "--kind", "dataset"], "expected the card `mixed/README.md`, got none");
    check(&["nowhere", "a/b", "--kind", "model"], "can't read the folder `nowhere`");
    let ran = desk.cord_with(
        &["push", "models/left", "a/b", "--license", "mit", "--yes"],
        &[("HF_ENDPOINT", server.endpoint()), ("HF_TOKEN", "")],
    );
    assert!(ran.expect(1).stderr.contains("expected a token in `HF_TOKEN`, got none"));
    assert!(server.world().asked.is_empty());
}
