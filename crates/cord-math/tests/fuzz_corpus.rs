//! The inputs that fuzzing kept, each of which once reached something new, hold what any text must.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

fn each(target: &str, check: impl Fn(&str)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/{target}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    let inputs: Vec<String> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(inputs.len() > 1_000, "{} inputs", inputs.len());
    for input in &inputs {
        check(input);
    }
}

#[test]
fn equality_ends_on_what_fuzzing_kept() {
    each("equality", checks::equality);
}

#[test]
fn extraction_ends_on_what_fuzzing_kept() {
    each("extraction", checks::extraction);
}

#[test]
fn parsing_ends_on_what_fuzzing_kept() {
    each("parsing", checks::parsing);
}
