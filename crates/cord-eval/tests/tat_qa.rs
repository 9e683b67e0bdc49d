//! TAT-QA's and PubMedQA's metrics on the real files, where they lie beside the workspace.
#![expect(clippy::print_stdout, reason = "a test says when it skips")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use cord_eval::{Gold, Prediction, macro_f1, report_text, tat_qa_score};
use serde_json::Value;

fn read(file: &str) -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(file);
    let path = if path.exists() { path } else { PathBuf::from(std::env::var_os("CORD_DATA")?).join(file) };
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

/// The script's authors give exact match 45.92, F1 58.88 and scale 90.95 for their sample prediction on dev.
#[test]
fn the_sample_prediction_scores_what_its_authors_report() {
    let (Some(dev), Some(predictions)) = (read("tatqa/tatqa_dataset_dev.json"), read("tatqa/sample_prediction.json"))
    else {
        return;
    };
    let (mut sums, mut questions) = ([0.0; 3], 0);
    for report in dev.as_array().unwrap() {
        let text = report_text(&report["table"], &report["paragraphs"]).unwrap();
        assert!(text.starts_with('|'), "{text}");
        for question in report["questions"].as_array().unwrap() {
            let gold = Gold::read(&|name| question.get(name).cloned()).unwrap();
            let given = Prediction::read(&predictions[question["uid"].as_str().unwrap()]).unwrap();
            let score = tat_qa_score(&gold, &given);
            for (sum, value) in sums.iter_mut().zip([score.exact_match, score.f1, score.scale]) {
                *sum += value;
            }
            questions += 1;
            // The gold answer, said as a model would, is right.
            let said = format!("Answer: {}\nScale: {}", gold.spans.join("; "), gold.scale.word());
            let found = tat_qa_score(&gold, &Prediction::find(&said).unwrap());
            let split = gold.spans.iter().any(|span| span.contains(';'));
            assert!(found.exact_match == 1.0 || split, "{said}: {found:?}");
        }
    }
    let percent = sums.map(|sum| format!("{:.2}", 100.0 * sum / f64::from(questions)));
    assert_eq!((questions, percent.each_ref().map(String::as_str)), (1668, ["45.92", "58.88", "90.95"]));
}

/// A guess by the word that the abstract ends with, scored by hand: accuracy and F1 from the confusion counts alone.
#[test]
fn pubmedqa_metrics_equal_the_confusion_counts() {
    let (Some(all), Some(truth)) = (read("pubmedqa/ori_pqal.json"), read("pubmedqa/test_ground_truth.json")) else {
        return;
    };
    let labels = ["yes", "no", "maybe"];
    let truth = truth.as_object().unwrap();
    let guess = |id: &str| {
        let text = all[id]["LONG_ANSWER"].as_str().unwrap().to_lowercase();
        if text.contains("not ") {
            "no"
        } else if text.contains("may ") {
            "maybe"
        } else {
            "yes"
        }
    };
    let answers: Vec<(&str, &str, Option<&str>)> =
        truth.iter().map(|(id, gold)| (id.as_str(), gold.as_str().unwrap(), Some(guess(id)))).collect();
    let mut confusion: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for (_, gold, given) in &answers {
        *confusion.entry((gold, given.unwrap())).or_default() += 1.0;
    }
    let cell = |gold, given| confusion.get(&(gold, given)).copied().unwrap_or(0.0);
    let by_hand = labels.map(|label| {
        let hits = cell(label, label);
        let precision = hits / labels.iter().map(|gold| cell(gold, label)).sum::<f64>();
        let recall = hits / labels.iter().map(|given| cell(label, given)).sum::<f64>();
        2.0 * precision * recall / (precision + recall)
    });
    let expected = by_hand.iter().sum::<f64>() / 3.0;
    let found = macro_f1(answers.iter().copied()).unwrap();
    assert_eq!(answers.len(), 500);
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
}
