//! Judges whose faults are known: what they have must be found, and what they fail to say must count as nothing.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cord_core::{BoxFuture, ChatFinish, ChatModel, ChatReply, ChatRequest, ModelError, Sampling, Seed, Usage};
use cord_eval::judge::{
    ChatVoice, Comparison, Item, Judgement, Mark, PairItem, Panel, Preference, Rubric, Unscored, Vote, agreement, bias,
};
use futures::executor::block_on;

/// What a scripted judge does wrong.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// How often it takes the first place without looking.
    first: f64,
    /// How often it takes the longer response, or accepts the longer half, without looking.
    longer: f64,
    /// How often a call fails, and how often it answers without a verdict.
    fails: f64,
    rambles: f64,
}

/// Knows the truth: right responses hold the word `right`. Draws its faults from the question, so that it repeats itself.
struct Scripted {
    faults: Faults,
    calls: AtomicUsize,
}

fn part<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0.trim()
}

impl ChatModel for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatReply, ModelError>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let text = &request.messages.last().unwrap().content;
        let mut stream = Seed::root(9).named(text).stream();
        let faults = self.faults;
        if stream.uniform() < faults.fails {
            let error = ModelError::Gone { model: "scripted".into(), reason: "incorrect gateway".into() };
            return Box::pin(async { Err(error) });
        }
        let reply = if stream.uniform() < faults.rambles {
            "It is hard to say whether this is correct or incorrect.".to_owned()
        } else if text.contains("Response A:") {
            let a = part(text, "Response A:", "Response B:");
            let b = part(text, "Response B:", "Which response");
            let word = match stream.uniform() {
                u if u < faults.first => "A",
                u if u < faults.first + faults.longer => {
                    if a.len() > b.len() {
                        "A"
                    } else {
                        "B"
                    }
                }
                _ => match (a.contains("right"), b.contains("right")) {
                    (true, false) => "A",
                    (false, true) => "B",
                    _ => ["A", "B"][stream.below(2) as usize],
                },
            };
            format!("I looked.\nVERDICT: {word}")
        } else {
            let response = part(text, "Response:\n", "Does the response");
            let accepts =
                if stream.uniform() < faults.longer { response.len() > 150 } else { response.contains("right") };
            // An honest slip now and then, without regard to length: without any there is nothing to compare.
            let accepts = if stream.uniform() < 0.1 { !accepts } else { accepts };
            format!("I looked.\nVERDICT: {}", if accepts { "CORRECT" } else { "INCORRECT" })
        };
        let reply = ChatReply { text: reply, finish: ChatFinish::Stop, usage: Usage::default() };
        Box::pin(async move { Ok(reply) })
    }
}

fn rubric(name: &str) -> Rubric {
    let text = Rubric::BUILT_IN.iter().find(|(known, _)| *known == name).unwrap().1;
    toml::from_str::<Rubric>(text).unwrap().checked().unwrap()
}

fn panel(name: &str, judges: &[Faults]) -> Panel {
    let voice = |faults: &Faults| -> Arc<dyn cord_eval::judge::Voice> {
        let model = Arc::new(Scripted { faults: *faults, calls: AtomicUsize::new(0) });
        Arc::new(ChatVoice::new(model, Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 }, 64))
    };
    Panel {
        judges: judges.iter().map(voice).collect(),
        rubric: rubric(name),
        seed: Seed::root(1),
        concurrency: NonZeroUsize::new(8).unwrap(),
    }
}

/// A response of some length, right or wrong by its number.
fn response(stream: &mut cord_core::SeedStream, right: bool) -> String {
    let words = stream.below(60) as usize;
    format!("{} {}", if right { "right" } else { "wrong" }, "word ".repeat(words).trim())
}

fn pairs(n: u32) -> Vec<PairItem> {
    let mut stream = Seed::root(3).stream();
    let mut pair = |problem: u32| PairItem {
        problem: format!("p{problem:03}"),
        sample: 0,
        question: format!("Question {problem}?"),
        responses: [response(&mut stream, problem.is_multiple_of(2)), response(&mut stream, problem.is_multiple_of(3))],
    };
    (0..n).map(&mut pair).collect()
}

fn compared(faults: Faults, n: u32) -> (Vec<PairItem>, Vec<Comparison>) {
    let items = pairs(n);
    let found = block_on(panel("pairwise", &[faults]).compare(&items, &AtomicBool::new(false), &|_| {}));
    assert_eq!(found.len(), items.len());
    (items, found)
}

fn length_bias(items: &[PairItem], found: &[Comparison]) -> bias::Bias {
    let by_id: BTreeMap<&str, &PairItem> = items.iter().map(|item| (item.problem.as_str(), item)).collect();
    let lengths = |problem: &str, _| by_id.get(problem).map(|item| item.responses.each_ref().map(String::len));
    let alike = |problem: &str, _| {
        by_id.get(problem).map(|item| item.responses[0].contains("right") == item.responses[1].contains("right"))
    };
    bias::pair_length(found, 0, &lengths, &alike).unwrap()
}

#[test]
fn position_and_length_bias_of_pairs_are_found() {
    let (items, fair) = compared(Faults::default(), 200);
    let position = bias::position(&fair, 0).unwrap();
    let length = length_bias(&items, &fair);
    assert!(!position.found && !length.found, "{position:?} {length:?}");
    let (items, biased) = compared(Faults { first: 0.3, longer: 0.4, ..Faults::default() }, 200);
    let position = bias::position(&biased, 0).unwrap();
    let length = length_bias(&items, &biased);
    // A third of the answers take the first place unseen, and four tenths the longer response.
    assert!(position.found && (position.share.value - 0.65).abs() < 0.06, "{position:?}");
    assert!(length.found && length.share.low > 0.5, "{length:?}");
    // What a swap contradicts is a tie, never a win.
    let contradicted = |c: &&Comparison| matches!(c.orders[0], [Vote::Said(a), Vote::Said(b)] if a == b);
    assert!(biased.iter().filter(contradicted).count() > 20);
    assert!(biased.iter().filter(contradicted).all(|c| c.panel == Vote::Said(Preference::Tie)));
}

fn items(n: u32) -> Vec<Item> {
    let mut stream = Seed::root(4).stream();
    let mut item = |number: u32| Item {
        problem: format!("p{:03}", number / 2),
        sample: number % 2,
        question: format!("Question {}?", number / 2),
        reference: "right".into(),
        response: response(&mut stream, number.is_multiple_of(3)),
    };
    (0..n).map(&mut item).collect()
}

fn judged(faults: &[Faults], n: u32) -> (Vec<Item>, Vec<Judgement>) {
    let items = items(n);
    let found = block_on(panel("reference", faults).judge(&items, &AtomicBool::new(false), &|_| {}));
    assert_eq!(found.len(), items.len());
    (items, found)
}

#[test]
fn length_bias_beside_a_reference_is_found() {
    let measured = |faults: Faults| {
        let (items, found) = judged(&[faults], 400);
        let rows: Vec<bias::Measured> = items
            .iter()
            .zip(&found)
            .map(|(item, judgement)| bias::Measured {
                problem: item.problem.clone(),
                length: item.response.len(),
                verified: Some(item.response.contains("right")),
                vote: judgement.votes[0].clone(),
            })
            .collect();
        bias::reference_length(&rows, Seed::root(2)).unwrap()
    };
    let fair = measured(Faults::default());
    assert!(!fair.found, "{fair:?}");
    let biased = measured(Faults { longer: 0.3, ..Faults::default() });
    assert!(biased.found && biased.share.low > 0.5, "{biased:?}");
}

#[test]
fn a_failed_call_is_unscored_and_never_wrong() {
    let (items, found) = judged(&[Faults { fails: 0.1, rambles: 0.05, ..Faults::default() }], 400);
    let (_, sound) = judged(&[Faults::default()], 400);
    let count = |why: &dyn Fn(&Unscored) -> bool| {
        found.iter().filter(|j| matches!(&j.votes[0], Vote::Unscored(reason) if why(reason))).count()
    };
    let failed = count(&|why| matches!(why, Unscored::Failed { reason } if reason.contains("incorrect gateway")));
    let unreadable = count(&|why| matches!(why, Unscored::Unreadable { .. }));
    assert!((20..=60).contains(&failed) && (8..=35).contains(&unreadable), "{failed} {unreadable}");
    for ((item, judgement), sound) in items.iter().zip(&found).zip(&sound) {
        // The judge draws its slips before it speaks: what it says elsewhere is its usual share of truth.
        assert_eq!((&judgement.problem, judgement.sample), (&item.problem, item.sample));
        assert_eq!((&sound.problem, sound.sample), (&item.problem, item.sample));
        if let Vote::Unscored(_) = judgement.votes[0] {
            assert!(matches!(judgement.panel, Vote::Unscored(_)), "{judgement:?}");
        }
    }
    // Of the scored ones nine tenths are true, as of a judge that never fails: no failure was taken for a verdict.
    let true_share = |found: &[Judgement]| {
        let scored: Vec<bool> = items
            .iter()
            .zip(found)
            .filter_map(|(item, j)| Some((j.votes[0].said()? == Mark::Correct) == item.response.contains("right")))
            .collect();
        scored.iter().filter(|hit| **hit).count() as f64 / scored.len() as f64
    };
    assert!((true_share(&found) - 0.9).abs() < 0.04, "{}", true_share(&found));
    assert!((true_share(&sound) - 0.9).abs() < 0.04, "{}", true_share(&sound));
}

#[test]
fn a_panel_outvotes_a_judge_and_agreement_is_measured() {
    let lazy = Faults { longer: 0.9, ..Faults::default() };
    let failing = Faults { fails: 0.2, ..Faults::default() };
    let (_, found) = judged(&[Faults::default(), failing, lazy], 300);
    let labels: Vec<Vec<Option<Mark>>> = found.iter().map(|j| j.votes.iter().map(Vote::said).collect()).collect();
    let pair = |a: usize, b: usize| {
        let both: Vec<(Mark, Mark)> = labels.iter().filter_map(|row| Some((row[a]?, row[b]?))).collect();
        agreement::cohen_kappa(&both).unwrap()
    };
    assert!(pair(0, 1) > 0.5 && pair(0, 2) < 0.5, "{} {}", pair(0, 1), pair(0, 2));
    let alpha = agreement::krippendorff_alpha(&labels).unwrap();
    let fleiss = agreement::fleiss_kappa(&labels).unwrap();
    assert!((alpha - fleiss).abs() < 0.1 && alpha > 0.1, "{alpha} {fleiss}");
    assert!(
        found
            .iter()
            .filter(|j| matches!(j.panel, Vote::Unscored(_)))
            .all(|j| j.votes.iter().any(|v| v.said().is_none()))
    );
    assert!(found.iter().filter(|j| j.panel.said().is_some()).count() > 250);
}

#[test]
fn a_stopped_panel_gives_back_what_it_has() {
    let items = items(50);
    let stop = AtomicBool::new(false);
    let ended = |count: usize| {
        if count == 5 {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let found = block_on(panel("reference", &[Faults::default()]).judge(&items, &stop, &ended));
    assert!((5..20).contains(&found.len()), "{}", found.len());
}
