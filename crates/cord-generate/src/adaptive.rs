//! Which teachers to ask, and about which beams: a bandit over teachers, phases of a trajectory and ranks, which asks less
//! often for proposals that seldom survive. Beyond the paper, and off unless a recipe asks for it.
//!
//! Results must not depend on which problem ends first, so the bandit learns once. A warm-up set, drawn by the seed
//! and of a fixed size, is searched with all teachers; from its ledgers a [`Policy`] is learnt; under it, frozen, all other
//! problems are searched. That is the one barrier between problems. The warm-up's own results are kept: they are dearer
//! than the others, not worse.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::pin::pin;

use cord_core::{Candidate, Fate, Outcome, Problem, Seed, StepKind};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::reselect::with_prefixes;
use crate::{Drive, GenerateError, Generator, Interrupted, SearchResult, SettingsFault, Solved};

/// Settings of the choice of teachers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AdaptiveSettings {
    /// How many problems are searched with all teachers first.
    pub warm_up: u32,
    /// Into how many phases a trajectory is divided: teachers that are good at the start need not be at the end.
    pub phases: u32,
    /// How many teachers a beam asks at each step after the warm-up, on average: those of a step share their questions.
    pub ask: u32,
    /// The exploration floor: the least share of the questions that a teacher is asked, at most 1/K.
    pub floor: f64,
    /// A step goes on asking, `ask` questions for each beam at a time, until so many different proposals score no less than
    /// the text that they continue, or everybody has been asked about every beam. Where absent, it asks once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<u32>,
}

impl Default for AdaptiveSettings {
    /// 32 problems, thirds of a trajectory, two teachers a beam, no teacher asked less than one question in ten.
    fn default() -> Self {
        Self { warm_up: 32, phases: 3, ask: 2, floor: 0.1, settle: None }
    }
}

impl AdaptiveSettings {
    /// All faults of the settings when used with so many teachers, in the order of the settings.
    pub fn faults(&self, teachers: usize) -> Vec<SettingsFault> {
        let mut faults = Vec::new();
        let mut within = |key, given: u32, most: Option<usize>| {
            if given == 0 || most.is_some_and(|most| given as usize > most) {
                let expected = most.map_or("at least 1".to_owned(), |most| format!("1 to {most} (`teachers`)"));
                faults.push(SettingsFault::OutOfRange { key, expected, given: u64::from(given) });
            }
        };
        within("adaptive.warm-up", self.warm_up, None);
        within("adaptive.phases", self.phases, None);
        within("adaptive.ask", self.ask, Some(teachers));
        if let Some(settle) = self.settle {
            within("adaptive.settle", settle, None);
        }
        let even = 1.0 / teachers.max(1) as f64;
        if !(0.0..=even).contains(&self.floor) {
            let expected = format!("a number from 0 to 1/{teachers}, the teachers' even share");
            faults.push(SettingsFault::NotWithin { key: "adaptive.floor", expected, given: self.floor.to_string() });
        }
        faults
    }
}

/// What became of a teacher's proposals in one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Survival {
    /// How many were asked for, blank ones too.
    pub proposed: u64,
    /// How many were kept when they were ranked, or said the same as one that was.
    pub survived: u64,
}

impl Survival {
    fn add(&mut self, survived: u64) {
        self.proposed += 1;
        self.survived += survived;
    }

    /// The expected rate of survival, under a uniform prior.
    fn rate(self) -> f64 {
        (self.survived + 1) as f64 / (self.proposed + 2) as f64
    }
}

/// How often each teacher is asked in each phase of a trajectory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policy {
    /// The teachers, in the recipe's order.
    pub teachers: Vec<String>,
    /// How many teachers a beam asks, on average; each time where a step may ask again.
    pub ask: u32,
    /// As in [`AdaptiveSettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<u32>,
    /// The number of steps that a trajectory is expected to have: a step's phase is its depth as a share of it.
    pub steps: f64,
    /// What was learnt from, for each phase and teacher.
    pub survival: Vec<Vec<Survival>>,
    /// The same for each rank of the beam that was continued, the best first, over all phases and teachers.
    pub ranks: Vec<Survival>,
    /// For each phase, each teacher's share of the questions; they sum to 1.
    pub shares: Vec<Vec<f64>>,
}

impl Policy {
    /// Learns from the results of finished problems, given in any order.
    pub fn learn<'a>(
        settings: &AdaptiveSettings,
        teachers: &[String],
        results: impl IntoIterator<Item = &'a SearchResult>,
    ) -> Self {
        let results: Vec<&SearchResult> = results.into_iter().collect();
        let reasoning = |kind: StepKind| kind == StepKind::Reasoning;
        let lengths = results.iter().flat_map(|result| &result.trajectories);
        let lengths: Vec<usize> =
            lengths.map(|one| one.steps.iter().filter(|step| reasoning(step.kind)).count()).collect();
        // A sum of whole numbers: the order of the results can't show in it.
        let steps = (lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64).max(1.0);
        let phases = settings.phases.max(1) as usize;
        let mut survival = vec![vec![Survival::default(); teachers.len()]; phases];
        let mut ranks: Vec<Survival> = Vec::new();
        let place: BTreeMap<&str, usize> =
            teachers.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        for result in results {
            let texts: Vec<(String, &Candidate)> = (with_prefixes(&result.candidates).into_iter())
                .filter(|(_, one)| reasoning(one.kind))
                .map(|(prefix, one)| (prefix + &one.text, one))
                .collect();
            let kept = |one: &Candidate| matches!(one.fate, Fate::Kept | Fate::Chosen);
            let survivors: BTreeSet<&str> =
                texts.iter().filter(|(_, one)| kept(one)).map(|(text, _)| text.as_str()).collect();
            // Of the parents that were kept; their ranks are among them alone.
            let mut parents: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
            for (_, one) in texts.iter().filter(|(_, one)| kept(one)) {
                parents.entry(one.depth).or_default().extend(one.rank.map(|rank| (rank, one.id)));
            }
            for kept in parents.values_mut() {
                kept.sort_unstable();
            }
            let rank_of = |one: &Candidate| {
                let kept = parents.get(&one.depth.checked_sub(1)?)?;
                kept.iter().position(|(_, id)| Some(*id) == one.parent)
            };
            for (text, one) in &texts {
                let Some(teacher) = place.get(one.teacher.as_str()) else { continue };
                // What says the same as a survivor would have survived without it: only the teachers' order told them apart.
                let repeats = one.fate == Fate::Duplicate && survivors.contains(text.as_str());
                let survived = u64::from(kept(one) || repeats);
                survival[phase(phases, steps, one.depth)][*teacher].add(survived);
                if let Some(rank) = rank_of(one) {
                    ranks.resize(ranks.len().max(rank + 1), Survival::default());
                    ranks[rank].add(survived);
                }
            }
        }
        let shares = survival.iter().map(|row| shares(row, settings.floor)).collect();
        let (ask, settle) = (settings.ask, settings.settle);
        Self { teachers: teachers.to_vec(), ask, settle, steps, survival, ranks, shares }
    }

    /// For each of a step's open beams, the teachers that it asks, by place and in order; `seed` is the step's own.
    ///
    /// `ranks` are the beams' places, the best first. The beams of a step share their questions, `ask` for each of them: a
    /// question is put the more often the likelier its answer survives, by the teacher's share and by the beam's rank. With as
    /// many questions for each beam a step would rank hardly more candidates than it has places for, and a search that
    /// drops nothing finds nothing; so a beam that never keeps its place is asked about last, and one that is not asked about
    /// leaves. The empty prefix stands for all places of a beam of this width: its questions are as many as theirs, as far as
    /// there are teachers.
    ///
    /// Where `before` is not empty, each beam's teachers in it have been asked, and this is the next time.
    pub(crate) fn asked(
        &self,
        depth: u32,
        ranks: &[u32],
        width: u32,
        before: &[Vec<usize>],
        seed: Seed,
    ) -> Vec<Vec<usize>> {
        let shares = &self.shares[phase(self.shares.len(), self.steps, depth)];
        let places = if depth == 0 { width as usize } else { ranks.len() };
        let rate =
            |rank: &u32| self.ranks.get(*rank as usize).or(self.ranks.last()).copied().unwrap_or_default().rate();
        let is_new = |beam: usize, teacher: usize| before.get(beam).is_none_or(|asked| !asked.contains(&teacher));
        let left: Vec<(usize, usize, f64)> = (ranks.iter().enumerate())
            .flat_map(|(beam, rank)| {
                shares.iter().enumerate().map(move |(teacher, share)| (beam, teacher, share * rate(rank)))
            })
            .filter(|(beam, teacher, _)| is_new(*beam, *teacher))
            .collect();
        let weights: Vec<f64> = left.iter().map(|(_, _, weight)| *weight).collect();
        let questions = (self.ask as usize * places).min(left.len());
        let drawn = drawn_of(questions, &weights, seed.stream().uniform());
        let mut asked = vec![Vec::new(); ranks.len()];
        for ((beam, teacher, _), _) in left.into_iter().zip(drawn).filter(|(_, is_drawn)| *is_drawn) {
            asked[beam].push(teacher);
        }
        asked
    }

    /// What is wrong with the policy for these teachers.
    pub(crate) fn faults(&self, teachers: &[String]) -> Vec<SettingsFault> {
        let mut faults = Vec::new();
        if self.teachers != teachers {
            let of = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let (expected, given) = (format!("a policy for the teachers {}", of(teachers)), of(&self.teachers));
            faults.push(SettingsFault::NotWithin { key: "adaptive", expected, given });
        }
        faults
    }
}

/// The phase of the step at a depth; what goes on for longer than expected is in the last one.
fn phase(phases: usize, steps: f64, depth: u32) -> usize {
    ((f64::from(depth) / steps * phases as f64) as usize).min(phases - 1)
}

/// Shares in proportion to the rates of survival, above a floor.
fn shares(row: &[Survival], floor: f64) -> Vec<f64> {
    let total: f64 = row.iter().map(|seen| seen.rate()).sum();
    let free = 1.0 - floor * row.len() as f64;
    row.iter().map(|seen| floor + free * seen.rate() / total).collect()
}

/// Draws `count` places, at most all, each once and in proportion to its weight as far as that goes, by systematic sampling:
/// what must be drawn with certainty is, and a run of neighbours holds its expectation rounded up or down. `drawn` is
/// uniform in [0, 1).
fn drawn_of(count: usize, weights: &[f64], drawn: f64) -> Vec<bool> {
    let mut expected = vec![0.0; weights.len()];
    let (mut left, mut open) = (count as f64, (0..weights.len()).collect::<Vec<usize>>());
    // What one place can't take is the others'.
    loop {
        let total: f64 = open.iter().map(|one| weights[*one]).sum();
        let even = 1.0 / open.len().max(1) as f64;
        let part = |one: usize| left * if total > 0.0 { weights[one] / total } else { even };
        let full: Vec<usize> = open.iter().copied().filter(|one| part(*one) >= 1.0).collect();
        if full.is_empty() {
            for one in &open {
                expected[*one] = part(*one);
            }
            break;
        }
        left -= full.len() as f64;
        for one in &full {
            expected[*one] = 1.0;
        }
        open.retain(|one| !full.contains(one));
    }
    let (mut sum, mut before) = (0.0f64, 0.0);
    let mut is_drawn = |one: f64| {
        sum += one;
        // A sum that should be whole is.
        let exact = if (sum - sum.round()).abs() < 1e-9 { sum.round() } else { sum };
        let reached = (exact + drawn).floor();
        let is_drawn = reached > before;
        before = reached;
        is_drawn
    };
    expected.into_iter().map(&mut is_drawn).collect()
}

/// The problems of the warm-up and all others, each in the given order. The draw depends on the seed and the problems'
/// names alone.
pub fn warm_up(problems: &[Problem], count: u32, seed: Seed) -> (Vec<Problem>, Vec<Problem>) {
    let mut drawn: Vec<(u64, &str)> = problems
        .iter()
        .map(|one| (seed.named("warm-up").named(&one.id).stream().below(u64::MAX), one.id.as_str()))
        .collect();
    drawn.sort_unstable();
    let drawn: BTreeSet<&str> = drawn.into_iter().take(count as usize).map(|(_, id)| id).collect();
    problems.iter().cloned().partition(|one| drawn.contains(one.id.as_str()))
}

/// What a generator is made by, under a policy or with all teachers.
pub type MakeGenerator<'a> = &'a (dyn Fn(Option<Policy>) -> Result<Generator, GenerateError> + Sync);

/// Searches for the trajectories of all problems, the warm-up first, hands over the outcomes as they come, and gives the
/// policy that was learnt. The rest is as in [`Generator::drive`].
///
/// # Errors
/// The generator's, those of a run that was told to stop, and `ended`'s own, which end the run at once.
pub async fn drive_adaptively<E: From<GenerateError> + From<Interrupted>>(
    settings: &AdaptiveSettings,
    generator: MakeGenerator<'_>,
    problems: &[Problem],
    seed: Seed,
    drive: Drive<'_>,
    ended: &mut (dyn FnMut(Solved) -> Result<(), E> + Send),
) -> Result<Policy, E> {
    let (first, others) = warm_up(problems, settings.warm_up, seed);
    let all_teachers = generator(None)?;
    let names = all_teachers.plan().teachers().to_vec();
    // What is wrong with the settings is said before the warm-up and not after it.
    let faults = settings.faults(names.len());
    if !faults.is_empty() {
        return Err(GenerateError::Settings(faults).into());
    }
    generator(Some(Policy::learn(settings, &names, [])))?;
    let mut learnt = Vec::new();
    {
        let mut solved = pin!(all_teachers.drive(first, seed, drive.clone()));
        while let Some(one) = solved.next().await.transpose()? {
            if let Outcome::Done(result) = &one.outcome {
                learnt.push(result.clone());
            }
            ended(one)?;
        }
    }
    let policy = Policy::learn(settings, &names, &learnt);
    let chosen = generator(Some(policy.clone()))?;
    let mut solved = pin!(chosen.drive(others, seed, drive));
    while let Some(one) = solved.next().await.transpose()? {
        ended(one)?;
    }
    Ok(policy)
}

/// As [`drive_adaptively`], with the outcomes sorted by problem at the end, as [`Generator::run`] gives them.
pub async fn run_adaptively(
    settings: &AdaptiveSettings,
    generator: MakeGenerator<'_>,
    problems: &[Problem],
    seed: Seed,
    at_once: NonZeroUsize,
) -> Result<(Vec<Outcome<SearchResult>>, Policy), GenerateError> {
    let mut solved = Vec::new();
    let mut ended = |one: Solved| {
        solved.push(one);
        Ok::<(), Stopped>(())
    };
    let run = drive_adaptively(settings, generator, problems, seed, Drive::at_once(at_once), &mut ended);
    let policy = run.await.map_err(|Stopped(error)| error)?;
    solved.sort_by(|a, b| a.problem.id.cmp(&b.problem.id));
    Ok((solved.into_iter().map(|one| one.outcome).collect(), policy))
}

/// Why a run ended that nobody can interrupt.
struct Stopped(GenerateError);

impl From<GenerateError> for Stopped {
    fn from(error: GenerateError) -> Self {
        Self(error)
    }
}

impl From<Interrupted> for Stopped {
    fn from(_: Interrupted) -> Self {
        unreachable!("a run without `stop` is not interrupted")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(shares: Vec<Vec<f64>>, ask: u32) -> Policy {
        let teachers = (0..shares[0].len()).map(|n| n.to_string()).collect();
        Policy { teachers, ask, settle: None, steps: 4.0, survival: Vec::new(), ranks: Vec::new(), shares }
    }

    #[test]
    fn phases_divide_a_trajectory_by_its_expected_length() {
        let of = |phases, steps| (0..7).map(|depth| phase(phases, steps, depth)).collect::<Vec<_>>();
        assert_eq!(of(3, 6.0), [0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(of(2, 3.0), [0, 0, 1, 1, 1, 1, 1]);
        assert_eq!(of(1, 2.5), [0; 7]);
        assert_eq!(of(4, 1.0), [0, 3, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn shares_follow_survival_above_the_floor() {
        let seen = |proposed, survived| Survival { proposed, survived };
        let check = |row: &[Survival], floor: f64, expected: &[f64]| {
            let given = shares(row, floor);
            assert!((given.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(given.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{row:?} {floor}: {given:?}");
        };
        check(&[seen(0, 0), seen(0, 0)], 0.1, &[0.5, 0.5]);
        check(&[seen(8, 5), seen(8, 1)], 0.0, &[0.75, 0.25]);
        check(&[seen(8, 5), seen(8, 1)], 0.1, &[0.1 + 0.8 * 0.75, 0.1 + 0.8 * 0.25]);
        check(&[seen(8, 5), seen(8, 1)], 0.5, &[0.5, 0.5]);
    }

    #[test]
    fn teachers_are_asked_as_often_as_their_share() {
        let count = |policy: &Policy, depth: u32| {
            let mut counts = vec![0u32; policy.teachers.len()];
            for n in 0..20_000 {
                let asked = policy.asked(depth, &[0], 1, &[], Seed::root(1).indexed(n)).remove(0);
                assert_eq!(asked.len(), policy.ask as usize);
                assert!(asked.is_sorted_by(|a, b| a < b), "each teacher once and in order: {asked:?}");
                for teacher in asked {
                    counts[teacher] += 1;
                }
            }
            counts.into_iter().map(|count| f64::from(count) / 20_000.0).collect::<Vec<_>>()
        };
        let near = |given: &[f64], expected: &[f64]| given.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.015);
        let one = policy(vec![vec![0.7, 0.2, 0.1], vec![0.1, 0.1, 0.8]], 1);
        for (depth, expected) in
            [(0, [0.7, 0.2, 0.1]), (1, [0.7, 0.2, 0.1]), (2, [0.1, 0.1, 0.8]), (9, [0.1, 0.1, 0.8])]
        {
            let given = count(&one, depth);
            assert!(near(&given, &expected), "{depth}: {given:?}");
        }
        // Two questions of 0.7 are more than one beam can put to the first: the rest is the others'.
        let two = count(&policy(vec![vec![0.7, 0.2, 0.1]], 2), 0);
        assert!(near(&two, &[1.0, 2.0 / 3.0, 1.0 / 3.0]), "{two:?}");
        assert_eq!(count(&policy(vec![vec![0.7, 0.2, 0.1]], 3), 0), [1.0; 3]);
    }

    #[test]
    fn the_beams_of_a_step_share_their_questions() {
        let seen = |survived| Survival { proposed: 98, survived };
        let shares = vec![vec![0.5, 0.3, 0.2]];
        let mean = |ask: u32, ranks: Vec<Survival>| {
            let policy = Policy { ranks, ..policy(shares.clone(), ask) };
            let mut counts = [0u32; 4];
            for n in 0..2_000 {
                let asked = policy.asked(1, &[0, 1, 2, 3], 4, &[], Seed::root(2).indexed(n));
                assert_eq!(asked.iter().map(Vec::len).sum::<usize>(), 4 * ask as usize, "{asked:?}");
                assert!(asked.iter().all(|beam| beam.is_sorted_by(|a, b| a < b)), "each once and in order: {asked:?}");
                asked.iter().zip(&mut counts).for_each(|(beam, count)| *count += beam.len() as u32);
            }
            counts.map(|count| f64::from(count) / 2_000.0)
        };
        // Beams that do as well are asked about as often.
        assert_eq!(mean(1, vec![seen(49); 4]), [1.0; 4]);
        assert_eq!(mean(2, Vec::new()), [2.0; 4]);
        assert_eq!(mean(3, vec![seen(97), seen(0)]), [3.0; 4]);
        // Better ones more often, up to all teachers; of what is left the next.
        let uneven = mean(2, vec![seen(89), seen(59), seen(9), seen(0)]);
        assert!(uneven[0] == 3.0 && uneven[1] > 2.9 && uneven.is_sorted_by(|a, b| a >= b), "{uneven:?}");
        assert!(uneven[3] < 0.5, "{uneven:?}");
        // The empty prefix stands for all places.
        let asked = |width| policy(shares.clone(), 1).asked(0, &[0], width, &[], Seed::root(1));
        assert_eq!((asked(4), asked(2)[0].len(), asked(1)[0].len()), (vec![vec![0, 1, 2]], 2, 1));
    }

    #[test]
    fn nobody_is_asked_twice_about_a_beam() {
        let policy = policy(vec![vec![0.6, 0.3, 0.1]], 1);
        let mut before = vec![Vec::new(); 4];
        for round in 0..3 {
            let asked = policy.asked(1, &[0, 1, 2, 3], 4, &before, Seed::root(4).indexed(round));
            assert_eq!(asked.iter().map(Vec::len).sum::<usize>(), 4, "{asked:?}");
            for (before, asked) in before.iter_mut().zip(asked) {
                assert!(asked.iter().all(|teacher| !before.contains(teacher)), "{before:?}, then {asked:?}");
                before.extend(asked);
            }
        }
        assert!(before.iter().all(|beam| beam.len() == 3), "{before:?}");
        let asked = policy.asked(1, &[0, 1, 2, 3], 4, &before, Seed::root(5));
        assert_eq!(asked, vec![Vec::<usize>::new(); 4], "nobody is left");
    }

    proptest! {
        #[test]
        fn as_many_are_drawn_as_are_asked_for(
            weights in proptest::collection::vec(0.0..1.0f64, 1..16),
            filled in 0.0..=1.0f64,
            drawn in 0.0..1.0f64,
        ) {
            let count = (filled * weights.len() as f64) as usize;
            let places = drawn_of(count, &weights, drawn);
            prop_assert_eq!(places.iter().filter(|is_drawn| **is_drawn).count(), count, "{:?}", places);
        }
    }

    #[test]
    fn a_warm_up_is_drawn_by_name() {
        let problem = |n: u32| Problem {
            id: format!("p{n}"),
            question: "q".into(),
            answer: "1".into(),
            metadata: BTreeMap::new(),
        };
        let problems: Vec<Problem> = (0..20).map(problem).collect();
        let ids = |problems: &[Problem]| {
            let mut ids: Vec<String> = problems.iter().map(|one| one.id.clone()).collect();
            ids.sort();
            ids
        };
        let (first, others) = warm_up(&problems, 5, Seed::root(1));
        assert_eq!((first.len(), others.len()), (5, 15));
        let mut backwards = problems.clone();
        backwards.reverse();
        assert_eq!(ids(&warm_up(&backwards, 5, Seed::root(1)).0), ids(&first));
        assert_ne!(ids(&warm_up(&problems, 5, Seed::root(2)).0), ids(&first));
        assert_eq!(warm_up(&problems, 99, Seed::root(1)).1, []);
    }
}
