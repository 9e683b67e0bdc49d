//! Judging as a stage of a recipe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use cord_core::{ProblemId, Sampling, Seed};
use cord_eval::judge::report::Known;
use cord_eval::judge::{LanguageVoice, Mark, Panel, Unscored, Voice, Vote};
use cord_recipe::{JudgeStage, StageKind, StageSpec};
use cord_store::{Journal, Journaled, StageWriter, read_jsonl, to_jsonl};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{REPORT, distinct, judged, rubric, speaks};
use crate::eval::{SAMPLES, SampleLine};
use crate::progress::StageProgress;
use crate::stages::{Bench, Failure};

/// What judges say of each response, a line each.
pub(crate) const JUDGEMENTS: &str = "judgements.jsonl";

/// What judges say of one response.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) problem: ProblemId,
    pub(crate) sample: u32,
    /// The panel's word.
    pub(crate) judge: Vote<Mark>,
    /// Each judge's.
    pub(crate) votes: BTreeMap<String, Vote<Mark>>,
    pub(crate) verifier: Option<bool>,
    pub(crate) people: Option<Mark>,
}

impl Row {
    /// Why a judge could not be asked, where that is why there is no verdict.
    fn failure(&self) -> Option<&str> {
        let mut silent = self.votes.values().filter(|_| self.judge.said().is_none());
        silent.find_map(|vote| match vote {
            Vote::Unscored(Unscored::Failed { reason }) => Some(reason.as_str()),
            Vote::Unscored(_) | Vote::Said(_) => None,
        })
    }
}

/// Has the responses of an evaluation judged: `judgements.jsonl` and `judge-report.json`. What says nothing is not shown to
/// judges. Gives the stage's summary, and the responses that no judge could be asked about.
pub(crate) fn stage(
    bench: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &JudgeStage,
    progress: &StageProgress,
) -> Result<(Value, Vec<Failure>)> {
    let samples = bench.input(StageKind::Eval, stage.input(StageKind::Eval).context("judges read an evaluation")?)?;
    let mut lines: Vec<SampleLine> = read_jsonl(&samples.read_bytes(SAMPLES)?, &samples.file(SAMPLES))?;
    let all = lines.len();
    lines.retain(speaks);
    progress.of(lines.len() as u64);

    let journal = Arc::new(Journal::open(&writer.journal_path())?);
    // The likeliest tokens: a verdict is no matter of luck.
    let sampling = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 };
    let mut judges: Vec<Arc<dyn Voice>> = Vec::new();
    for named in &settings.models {
        let opened = bench.models.open(&named.source, &named.name)?;
        let model = Arc::new(Journaled::new(opened.model(), journal.clone()));
        judges.push(Arc::new(LanguageVoice::new(model, sampling, settings.max_tokens, settings.opening)));
    }
    let names = distinct(settings.models.iter().map(|named| named.name.clone()).collect());
    let panel = Panel {
        judges,
        rubric: rubric(settings.rubric.split('/').next(), false)?,
        seed: Seed::root(stage.seed.context("a judgement has its evaluation's seed")?).named("judge"),
        concurrency: bench.requests(settings.models.iter().map(|named| &named.source)),
    };
    let observe = |ended: usize| progress.at(ended as u64, String::new());
    let found = judged(&panel, settings.rubric, &names, &lines, &Known::new(), &observe);
    journal.sync()?;
    if bench.interrupted.load(Ordering::Relaxed) {
        bail!(
            "{} of {} responses are judged, and every answer is journaled; run again to go on from there",
            found.rows.len(),
            lines.len()
        );
    }
    let failures: Vec<Failure> =
        found.rows.iter().filter_map(|row| Some((row.problem.clone(), row.failure()?.to_owned()))).collect();
    if let (Some((problem, reason)), true) = (failures.first(), failures.len() == lines.len()) {
        bail!("no judge answered about any of {} responses; the first, of `{problem}`: {reason}", lines.len());
    }
    let path = writer.path().join(JUDGEMENTS);
    writer.write_bytes(JUDGEMENTS, &to_jsonl(&found.rows, &path)?)?;
    writer.write_json(REPORT, &found.report)?;
    let said = |mark: Option<Mark>| found.rows.iter().filter(|row| row.judge.said() == mark).count();
    let summary = json!({
        "responses": all,
        "silent": all - lines.len(),
        "correct": said(Some(Mark::Correct)),
        "incorrect": said(Some(Mark::Incorrect)),
        "not-attempted": said(Some(Mark::NotAttempted)),
        "unscored": said(None),
        "failed": failures,
    });
    Ok((summary, failures))
}
