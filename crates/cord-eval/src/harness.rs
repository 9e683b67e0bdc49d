//! Results and samples in the file layout of lm-evaluation-harness, so that its viewers open them.
//!
//! A task is a benchmark; a document is a problem with all its samples as repeats. Covered: the keys of `results_<time>.json`
//! and `samples_<task>_<time>.jsonl` that are read by name (`results`, `configs`, `versions`, `n-shot`, `n-samples`,
//! `higher_is_better`, `doc`, `target`, `arguments`, `resps`, `filtered_resps`, hashes, metrics). Not covered: what belongs
//! to the harness itself (its environment report, its groups).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use cord_core::Problem;
use serde_json::{Value, json};

use crate::benchmark::Benchmark;
use crate::evaluate::EvalSettings;
use crate::power::independent_variance;
use crate::report::BenchmarkReport;
use crate::scores::Scores;

/// The metric's name there.
const METRIC: &str = "exact_match";
/// The filter's: answers are pulled out before they come here.
const FILTER: &str = "none";

/// A response: problem, sample, text, the answer that was found in it, whether it is right.
pub type Response = (String, u32, String, Option<String>, bool);

/// One benchmark's evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The benchmark.
    pub benchmark: Benchmark,
    /// How samples were drawn.
    pub settings: EvalSettings,
    /// The problems.
    pub problems: Vec<Problem>,
    /// Every response.
    pub responses: Vec<Response>,
    /// The report.
    pub report: BenchmarkReport,
}

/// A time as it stands in file names: `2026-01-31T13-59-07.000042`, in UTC.
pub fn file_time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{:06}", since.subsec_micros())
}

/// The date of a day since 1970-01-01 in the Gregorian calendar, counted in eras of 400 years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The SHA-256 of a text in hexadecimal digits, which this crate leaves to its caller.
pub type Hash<'a> = &'a dyn Fn(&str) -> String;

impl Task {
    fn name(&self) -> String {
        self.benchmark.name.replace('/', "_")
    }

    fn draws(&self) -> Value {
        let sampling = self.settings.sampling;
        json!({
            "until": [], "do_sample": sampling.temperature > 0.0, "temperature": sampling.temperature,
            "top_p": sampling.top_p, "top_k": sampling.top_k, "max_gen_toks": self.settings.max_tokens,
        })
    }

    /// The lines of the samples' file, in the problems' order.
    pub fn sample_lines(&self, hash: Hash<'_>) -> Vec<Value> {
        let mut by_problem: BTreeMap<&str, Vec<&Response>> = BTreeMap::new();
        for response in &self.responses {
            by_problem.entry(&response.0).or_default().push(response);
        }
        let lines = self.problems.iter().enumerate().filter_map(|(place, problem)| {
            let responses = by_problem.get(problem.id.as_str())?;
            let doc = json!(problem);
            let prompt = self.settings.prompt.render(problem, self.settings.opening);
            let prompt = serde_json::to_string(&prompt.messages).unwrap_or_default();
            let right = responses.iter().filter(|response| response.4).count() as f64 / responses.len() as f64;
            Some(json!({
                "doc_id": place,
                "doc_hash": hash(&serde_json::to_string_pretty(&doc).unwrap_or_default()),
                "prompt_hash": hash(&prompt),
                "target_hash": hash(&problem.answer),
                "doc": doc,
                "target": problem.answer,
                "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": self.draws()}},
                "resps": [responses.iter().map(|response| &response.2).collect::<Vec<_>>()],
                "filtered_resps": [responses.iter().map(|response| response.3.as_deref().unwrap_or("[invalid]")).collect::<Vec<_>>()],
                "filter": FILTER,
                "metrics": [METRIC],
                METRIC: right,
            }))
        });
        lines.collect()
    }

    fn standard_error(&self) -> Option<f64> {
        let scores: Scores =
            self.responses.iter().map(|response| (response.0.as_str(), f64::from(u8::from(response.4)))).collect();
        // Half of it is the variance of one model's problems.
        let variance = independent_variance(&scores).ok()? / 2.0;
        Some((variance / scores.problems() as f64).sqrt())
    }
}

/// The results' file.
pub fn results(model: &str, tasks: &[Task], hash: Hash<'_>) -> Value {
    let each = |value: &dyn Fn(&Task) -> Value| -> Value {
        Value::Object(tasks.iter().map(|task| (task.name(), value(task))).collect())
    };
    let scores = |task: &Task| {
        let mut scores = json!({"alias": task.name(), "sample_len": task.report.problems});
        scores[format!("{METRIC},{FILTER}")] = json!(task.report.accuracy.map(|accuracy| accuracy.value));
        scores[format!("{METRIC}_stderr,{FILTER}")] = json!(task.standard_error());
        for (name, estimate) in &task.report.marks {
            scores[format!("{name},{FILTER}")] = json!(estimate.value);
        }
        scores
    };
    let configs = |task: &Task| {
        json!({
            "task": task.name(), "dataset_path": task.benchmark.dataset, "output_type": "generate_until",
            "num_fewshot": 0, "repeats": task.settings.samples, "generation_kwargs": task.draws(),
            "metric_list": [{"metric": METRIC, "aggregation": "mean", "higher_is_better": true}],
            "metadata": {"version": task.benchmark.version, "benchmark": task.benchmark},
        })
    };
    let hashes = |task: &Task| {
        let part = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let all = task.sample_lines(hash);
        let all =
            all.iter().map(|line| ["doc_hash", "prompt_hash", "target_hash"].map(|name| part(line, name)).concat());
        json!(hash(&all.collect::<String>()))
    };
    let counts = |task: &Task| json!({"original": task.problems.len(), "effective": task.report.problems});
    json!({
        "results": each(&scores),
        "group_subtasks": each(&|_| json!([])),
        "configs": each(&configs),
        "versions": each(&|task| json!(task.benchmark.version)),
        "n-shot": each(&|_| json!(0)),
        "higher_is_better": each(&|_| json!({METRIC: true})),
        "n-samples": each(&counts),
        "config": {"model": "cord", "model_args": format!("model={model}")},
        "task_hashes": each(&hashes),
        "model_source": "cord",
        "model_name": model,
        "model_name_sanitized": model.replace('/', "__"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00-00-00.000000"),
            (951_782_400, "2000-02-29T00-00-00.000000"),
            (1_767_225_599, "2025-12-31T23-59-59.000000"),
            (4_107_542_400, "2100-03-01T00-00-00.000000"),
        ] {
            assert_eq!(file_time(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
