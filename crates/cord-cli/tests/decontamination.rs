//! The default rule of decontamination on the mini world, whose problems all follow one template.

use std::collections::BTreeMap;
use std::path::Path;

use cord_core::Problem;
use cord_generate::{Decontamination, OverlapRule};
use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    problems: cord_mini::ProblemSet,
}

fn problems(name: &str) -> Vec<Problem> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../datasets/mini/{name}.toml"));
    let manifest: Manifest = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    cord_mini::problems(&manifest.problems).unwrap()
}

#[test]
fn a_template_is_no_leak_and_a_copy_is_one() {
    let benchmarks: BTreeMap<String, Vec<Problem>> =
        ["test", "hard"].map(|name| (format!("mini/{name}"), problems(name))).into();
    let mut training = problems("train");
    training.truncate(1_000);
    let found = Decontamination::of(&training, &benchmarks, OverlapRule::default());
    assert_eq!(found.overlaps, []);
    // Not for want of shared runs: by the stricter rule nearly all of the disjoint problems would be leaks.
    let strict = Decontamination::of(&training, &benchmarks, OverlapRule { share: 0.0, ..OverlapRule::default() });
    let shared = strict.contaminated().len() as f64 / training.len() as f64;
    assert!(shared > 0.9, "{shared}");
    // A problem of the benchmark among them is found, whatever is written around it.
    let mut copy = benchmarks["mini/test"][7].clone();
    copy.id = "copy".into();
    copy.question = format!("Here is one more. {} Show your work.", copy.question);
    training.push(copy);
    let found = Decontamination::of(&training, &benchmarks, OverlapRule::default());
    assert_eq!(found.contaminated().into_iter().collect::<Vec<_>>(), ["copy"]);
    assert_eq!(found.overlaps[0].against, benchmarks["mini/test"][7].id);
}
