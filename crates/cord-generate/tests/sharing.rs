//! Draws by prefix: what a teacher replies does not depend on who else takes part, and what several searches ask together
//! can be counted from their ledgers.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use cord_core::{
    BoxFuture, Capabilities, Digest, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, ScoreRequest,
    TokenLogprob, Usage,
};
use cord_generate::{
    BeamSettings, BestFirstSettings, Budget, CurationSettings, Draws, GenerateSettings, Generator, MctsSettings,
    SearchResult, SearchSettings, Segmenter, Sharing, Teacher,
};
use world::{World, beam, settings, solve};

/// What was asked for: each request once, with what its reply cost.
type Asked = Arc<Mutex<BTreeMap<Digest, Usage>>>;

/// A model that notes what it is asked.
struct Noted {
    model: Arc<dyn LanguageModel>,
    asked: Asked,
}

impl LanguageModel for Noted {
    fn identity(&self) -> &ModelId {
        self.model.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let key = Digest::of_json(&(self.identity().digest(), &request));
            let reply = self.model.generate(request).await?;
            self.asked.lock().unwrap().insert(key, reply.usage);
            Ok(reply)
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            let key = Digest::of_json(&(self.identity().digest(), &request));
            let reply = self.model.loglikelihood(request).await?;
            let usage = Usage { scored_tokens: reply.len() as u64, ..Usage::default() };
            self.asked.lock().unwrap().insert(key, usage);
            Ok(reply)
        })
    }
}

/// Searches with some of the teachers; notes what they are asked.
fn search(world: &World, names: &[&str], settings: GenerateSettings, asked: &Asked) -> SearchResult {
    let noted = |model| Arc::new(Noted { model: Arc::new(model), asked: Arc::clone(asked) });
    let teachers = names.iter().map(|name| Teacher {
        name: (*name).to_owned(),
        model: noted(world.teacher(name)),
        sampling: cord_core::Sampling::default(),
    });
    let prompt = cord_generate::PromptTemplate::new("{question}").unwrap();
    let prover =
        cord_generate::PredictivePerplexity::new(noted(world.prover()), cord_generate::DEFAULT_CUE, prompt).unwrap();
    solve(&Generator::new(settings, teachers.collect(), Arc::new(prover)).unwrap()).unwrap()
}

fn drawn(search: SearchSettings, draws: Draws) -> GenerateSettings {
    // Budgets that bind: what room is left is a part of a question.
    let budget = Budget { reasoning: 60, answer: 30, step: 25, steps: 5 };
    GenerateSettings { draws, budget, ..settings(search) }
}

/// Every subset of the teachers but the empty one, the smaller ones first.
fn subsets<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut masks: Vec<u32> = (1..1 << names.len()).collect();
    masks.sort_by_key(|mask| mask.count_ones());
    let of =
        |mask: u32| names.iter().enumerate().filter(move |(place, _)| mask >> place & 1 == 1).map(|(_, name)| *name);
    masks.into_iter().map(|mask| of(mask).collect()).collect()
}

/// Counts of the requests of all subsets' searches: apart, together as the models saw them, and together by the ledgers.
fn counted(world: &World, search_settings: &SearchSettings, draws: Draws) -> (Usage, Usage, Usage) {
    let settings = drawn(search_settings.clone(), draws);
    let (mut apart, mut by_ledger) = (Usage::default(), Usage::default());
    let together = Asked::default();
    let mut sharing = Sharing::new(Segmenter::default(), settings.budget);
    for names in subsets(&["a", "b", "c"]) {
        let result = search(world, &names, settings.clone(), &together);
        apart += result.usage;
        by_ledger += sharing.add(1, &result.problem, &result.candidates);
    }
    let mut by_model = Usage::default();
    for usage in together.lock().unwrap().values() {
        by_model += *usage;
    }
    (apart, by_model, by_ledger)
}

#[test]
fn subsets_ask_in_common_what_ledgers_say() {
    let searches = [
        beam(2),
        SearchSettings::Beam(BeamSettings { width: 3, proposals: 2, select: 2, ..BeamSettings::default() }),
        SearchSettings::Curation(CurationSettings { trajectories: 6, ..CurationSettings::default() }),
        SearchSettings::Mcts(MctsSettings { iterations: 8, ..MctsSettings::default() }),
        SearchSettings::BestFirst(BestFirstSettings::default()),
    ];
    for key in 0..6 {
        let world = World { random: true, words: 2 + key as usize % 2, ..World::new(key) };
        for search in &searches {
            let (apart, by_model, by_ledger) = counted(&world, search, Draws::ByPrefix);
            let of = format!("world {key}, {search:?}: {by_ledger:?} {by_model:?}");
            assert_eq!(by_ledger.generated_tokens, by_model.generated_tokens, "{of}");
            assert!(by_ledger.generated_tokens < apart.generated_tokens, "{of}");
            // A prover is asked the same about a step whether it closes the reasoning or not.
            assert!(by_model.scored_tokens <= by_ledger.scored_tokens, "{of}");
            assert!(by_ledger.scored_tokens < apart.scored_tokens, "{of}");
        }
    }
}

#[test]
fn draws_by_place_share_less() {
    let (mut by_place, mut by_prefix) = (0, 0);
    for key in 0..6 {
        let world = World { random: true, ..World::new(key) };
        by_place += counted(&world, &beam(3), Draws::ByPlace).1.generated_tokens;
        by_prefix += counted(&world, &beam(3), Draws::ByPrefix).1.generated_tokens;
    }
    assert!(by_prefix < by_place, "{by_prefix} tokens by prefix, {by_place} by place");
}

#[test]
fn a_teacher_replies_the_same_to_the_same_text_in_every_pool() {
    let world = World { random: true, words: 9, ..World::new(3) };
    let settings = drawn(beam(3), Draws::ByPrefix);
    // What each teacher wrote after each text, over all pools.
    let mut replies: BTreeMap<(String, String, u32), BTreeSet<String>> = BTreeMap::new();
    let mut met = 0;
    for names in subsets(&["a", "b", "c"]) {
        let result = search(&world, &names, settings.clone(), &Asked::default());
        for one in result.candidates.iter().filter(|one| one.kind == cord_core::StepKind::Reasoning) {
            let prefix = one.parent.map_or(String::new(), |parent| world::full_text(&result.candidates, parent));
            let known = replies.entry((prefix, one.teacher.clone(), one.sample)).or_default();
            met += usize::from(!known.insert(one.text.clone()));
        }
    }
    let torn: Vec<_> = replies.iter().filter(|(_, texts)| texts.len() > 1).collect();
    assert!(torn.is_empty(), "{torn:#?}");
    assert!(met > 20, "questions that pools have in common: {met}");
}

#[test]
fn another_seed_asks_anew_and_scores_no_text_twice() {
    let world = World { random: false, ..World::new(1) };
    let result = search(&world, &["a", "b"], drawn(beam(2), Draws::ByPrefix), &Asked::default());
    let mut sharing = Sharing::new(Segmenter::default(), Budget::default());
    let first = sharing.add(1, &result.problem, &result.candidates);
    assert_eq!(
        (first.generated_tokens, first.scored_tokens),
        (result.usage.generated_tokens, result.usage.scored_tokens)
    );
    assert_eq!(sharing.add(1, &result.problem, &result.candidates), Usage::default());
    let other = sharing.add(2, &result.problem, &result.candidates);
    assert_eq!((other.generated_tokens, other.scored_tokens), (result.usage.generated_tokens, 0));
    assert_ne!(sharing.add(1, "another", &result.candidates), Usage::default());
}
