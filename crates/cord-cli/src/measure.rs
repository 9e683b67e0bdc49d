//! Measuring finished trajectories by a scorer that need not be the one that chose them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use cord_core::{LanguageModel, Problem, ProblemId, Seed};
use cord_generate::{PromptTemplate, Scorer, ScorerSettings};
use cord_recipe::{MeasureStage, NamedModel, ScorerModel, StageKind, StageSpec};
use cord_store::{Journal, Journaled, StageFolder, StageWriter, read_jsonl, to_jsonl};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::progress::StageProgress;
use crate::stages::{Bench, Failure};

/// The stage's file.
const FILE: &str = "measures.jsonl";

/// What one trajectory is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) problem: ProblemId,
    pub(crate) index: u32,
    /// Absent where the scorer had no opinion.
    pub(crate) value: Option<f64>,
}

/// The scorer of a stage, with each model opened by `open`.
pub(crate) fn scorer(
    settings: &ScorerModel,
    prompt: &PromptTemplate,
    seed: Seed,
    open: &mut dyn FnMut(&NamedModel) -> Result<Arc<dyn LanguageModel>>,
) -> Result<Arc<dyn Scorer>> {
    // The two crates write the same words.
    let named: ScorerSettings = serde_json::from_value(json!(settings.map(&|judge| judge.name.clone())))?;
    named.scorer(prompt, seed, &mut |name: &str| {
        open(settings.models().into_iter().find(|judge| judge.name == name).expect("a scorer names its own models"))
    })
}

/// Measures every trajectory of a generation.
pub(crate) fn measure(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &MeasureStage,
    progress: &StageProgress,
) -> Result<(serde_json::Value, Vec<Failure>)> {
    let problems = context.problems(stage.input(StageKind::Problems).context("trajectories are for problems")?)?;
    let trajectories =
        context.trajectories(stage.input(StageKind::Generate).context("measuring follows generation")?)?;
    let by_id: BTreeMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    progress.of(trajectories.len() as u64);
    let journal = Arc::new(Journal::open(&writer.journal_path())?);
    let prompt = PromptTemplate::new(settings.prompt.clone())?;
    let seed = Seed::root(stage.seed.context("a measure has its generation's seed")?).named("measure");
    let scorer = scorer(&settings.scorer, &prompt, seed, &mut |model| {
        let opened = context.models.open(&model.source, &model.name)?;
        Ok(Arc::new(Journaled::new(opened.model(), journal.clone())))
    })?;
    let asked = trajectories.iter().map(|trajectory| {
        let (problem, scorer) = (by_id[trajectory.problem.as_str()], &scorer);
        async move { (trajectory, cord_generate::measure(problem, trajectory, scorer.as_ref()).await) }
    });
    let at_once = context.requests(settings.scorer.models().into_iter().map(|model| &model.source));
    let (mut measures, mut failures, mut scored) = (Vec::new(), Vec::new(), 0);
    let measuring = async {
        let mut replies = futures::stream::iter(asked).buffered(at_once.get());
        while let Some((trajectory, score)) = replies.next().await {
            match score {
                Ok(score) => {
                    scored += score.usage.scored_tokens;
                    let problem = trajectory.problem.clone();
                    measures.push(Measure { problem, index: trajectory.index, value: score.value });
                }
                Err(error) => failures.push((trajectory.problem.clone(), error.reason())),
            }
            progress.at((measures.len() + failures.len()) as u64, format!("{scored} tokens scored"));
            if context.interrupted.load(Ordering::Relaxed) {
                bail!("stopped; every reply is journaled: run again to go on from there");
            }
        }
        anyhow::Ok(())
    };
    futures::executor::block_on(measuring)?;
    journal.sync()?;
    let path = writer.path().join(FILE);
    writer.write_bytes(FILE, &to_jsonl(&measures, &path)?)?;
    let summary = json!({"measures": measures.len(), "scored-tokens": scored, "failed": failures});
    Ok((summary, failures))
}

/// The measures of a finished stage.
pub(crate) fn read(folder: &StageFolder) -> Result<Vec<Measure>> {
    Ok(read_jsonl(&folder.read_bytes(FILE)?, &folder.file(FILE))?)
}
