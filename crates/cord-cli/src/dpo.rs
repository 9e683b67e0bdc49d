//! The stage of direct preference optimisation: pairs of a generation's candidates to a student that prefers what was kept.

use anyhow::{Context, Result, bail};
use cord_core::{Opening, Prompt};
use cord_generate::{Decontamination, Ledgers, PairSettings, PreferenceRow, PromptTemplate, Winners, preference_pairs};
use cord_recipe::{DpoStage, EvaluatedModel, ModelSource, StageKind, StageSpec};
use cord_store::{StageWriter, candidates_from_parquet, to_jsonl};
use cord_text::Renderer;
use cord_train::{Pair, Pairs, Preference, Rewards, audit, train_on_pairs};
use serde_json::json;

use crate::datasets::data_folder;
use crate::learning::{self, Hold, Learning};
use crate::progress::StageProgress;
use crate::stages::{Bench, decontamination};

/// What a turn begins with in the rows, and what [`Opening::Think`] writes in the student's own way.
const OPENED: &str = "<think>\n";

/// Teaches a student which candidates were kept.
pub(crate) fn stage(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &DpoStage,
    threads: usize,
    progress: &StageProgress,
) -> Result<serde_json::Value> {
    let learning = Learning::new("dpo", stage, &settings.learning);
    let (rows, found) = rows(context, writer, stage, settings)?;
    let (source, base) = match &settings.student {
        EvaluatedModel::Given(model) => (model.source.clone(), model.name.clone()),
        EvaluatedModel::Trained => {
            let key = stage.input(StageKind::Train).context("preferences follow training")?;
            let folder = context.student(StageKind::Train, key)?;
            (ModelSource::Path(folder), format!("student of {}", stage.arms.join(", ")))
        }
    };
    let (model, renderer) = context.models.trainable(&source, learning.seed, &Vec::new)?;
    let mut pairs = rows
        .iter()
        .map(|row| rendered(row, &renderer).with_context(|| format!("the pair `{}`", row.id)))
        .collect::<Result<Vec<Pair>>>()?;
    let given = pairs.len();
    // Two texts of the same ids in this vocabulary say nothing of each other.
    pairs.retain(|pair| pair.chosen != pair.rejected);
    let same = given - pairs.len();
    let validation = learning.hold_out(&mut pairs)?;
    learning.plan_memory(context, model.config(), &pairs, threads, progress)?;
    let flops = learning.flops(model.config(), &pairs);
    let text = |ids: &[u32]| learning::text_of(&renderer, ids);
    let both = pairs.first().map(Pair::sequences).into_iter().flatten();
    let notes: String = both.map(|one| audit(&one, &text, renderer.eos_ids())).collect();
    writer.write_bytes("audit.txt", notes.as_bytes())?;
    let preference = Preference { beta: settings.beta, sft_weight: settings.sft_weight };
    let data = Pairs { training: &pairs, validation: &validation, preference };
    let train_settings = learning.settings();
    let (model, report) =
        learning.run(context, writer, stage, progress, flops, |Hold { checkpoints, interrupt, observe }| {
            train_on_pairs(model, &data, &train_settings, checkpoints, threads, interrupt, observe)
        })?;
    learning::write(writer, &model, &renderer, &base)?;
    let last = |of: fn(&Rewards) -> f64| learning::last(report.rewards.iter().map(of));
    let summary = json!({
        "steps": report.steps, "pairs": report.examples, "same": same, "too-long": report.too_long,
        "truncated": report.truncated, "unsupervised": report.unsupervised,
        "parameters": model.config().parameters(),
        "last-loss": learning::last(report.losses.iter().copied()),
        "last-accuracy": last(|one| one.accuracy), "last-margin": last(Rewards::margin),
        "decontamination": found,
    });
    writer.write_json("report.json", &report)?;
    Ok(summary)
}

/// The pairs of the generation's candidates, without problems of the benchmarks.
fn rows(
    context: &Bench<'_>,
    writer: &mut StageWriter,
    stage: &StageSpec,
    settings: &DpoStage,
) -> Result<(Vec<PreferenceRow>, Option<Decontamination>)> {
    let problems = context.problems(stage.input(StageKind::Problems).context("candidates are for problems")?)?;
    let key = stage.input(StageKind::Generate).context("preferences follow generation")?;
    let generated = context.input(StageKind::Generate, key)?;
    let mut ledgers = Ledgers::new();
    for row in candidates_from_parquet(generated.read_bytes("candidates.parquet")?)? {
        ledgers.entry(row.problem).or_default().push(row.candidate);
    }
    let data = data_folder(context.run);
    let found = settings.decontaminate.map(|rule| decontamination(&problems, rule, &settings.benchmarks, &data));
    let found = found.transpose()?;
    let contaminated = found.as_ref().map(Decontamination::contaminated).unwrap_or_default();
    ledgers.retain(|problem, _| !contaminated.contains(problem.as_str()));
    let pair_settings = PairSettings {
        winners: match settings.pairs.winners {
            cord_recipe::Winners::Kept => Winners::Kept,
            cord_recipe::Winners::Chosen => Winners::Chosen,
        },
        margin: settings.pairs.margin,
        per_problem: settings.pairs.pairs_per_problem,
    };
    let rows =
        preference_pairs(&problems, &ledgers, &PromptTemplate::new(settings.learning.prompt.clone())?, pair_settings);
    if rows.is_empty() {
        let candidates: usize = ledgers.values().map(Vec::len).sum();
        bail!(
            "expected at least one pair to learn from, got none of {candidates} candidates: pairs are of siblings that were \
             scored, one kept and one dropped, and differ by `dpo.margin` = {} or more",
            settings.pairs.margin
        );
    }
    let path = writer.path().join("pairs.jsonl");
    writer.write_bytes("pairs.jsonl", &to_jsonl(&rows, &path)?)?;
    Ok((rows, found))
}

/// A pair as the student reads it.
///
/// What is shared and what follows it are encoded apart, as they are where a model continues a prefix: encoded as one text, a token
/// could span the seam, and the two sequences would differ before it. No end of turn is added: a step ends none, and of a whole
/// response both sides would learn the same one.
fn rendered(row: &PreferenceRow, renderer: &Renderer) -> Result<Pair> {
    let turn = |messages: &[cord_core::Message]| -> Result<(String, String)> {
        let [turn] = messages else { bail!("expected one turn of the assistant, got {}", messages.len()) };
        let seam = turn.content.char_indices().nth(row.shared).map_or(turn.content.len(), |(place, _)| place);
        let (shared, own) = turn.content.split_at(seam);
        Ok((shared.to_owned(), own.to_owned()))
    };
    let ((shared, chosen), (_, rejected)) = (turn(&row.chosen)?, turn(&row.rejected)?);
    let prefix =
        shared.strip_prefix(OPENED).with_context(|| format!("expected `<think>` and a line break, got `{shared}`"))?;
    let prompt = Prompt { messages: row.prompt.clone(), opening: Opening::Think, prefix: prefix.to_owned() };
    Ok(Pair {
        id: row.id.clone(),
        prompt: renderer.prompt_ids(&prompt)?,
        chosen: renderer.continuation_ids(&chosen)?,
        rejected: renderer.continuation_ids(&rejected)?,
    })
}
