//! Which teachers to ask: a bandit over teachers and phases of a trajectory, which asks less often for proposals that
//! seldom survive. Beyond the paper, and off unless a recipe asks for it.
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
    /// How many teachers each beam asks at each step after the warm-up.
    pub ask: u32,
    /// The exploration floor: the least share of the questions that a teacher is asked, at most 1/K.
    pub floor: f64,
}

impl Default for AdaptiveSettings {
    /// 32 problems, thirds of a trajectory, two teachers a beam, no teacher asked less than one question in ten.
    fn default() -> Self {
        Self { warm_up: 32, phases: 3, ask: 2, floor: 0.1 }
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
    /// How many teachers a beam asks.
    pub ask: u32,
    /// The number of steps that a trajectory is expected to have: a step's phase is its depth as a share of it.
    pub steps: f64,
    /// What was learnt from, for each phase and teacher.
    pub survival: Vec<Vec<Survival>>,
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
            for (text, one) in &texts {
                let Some(teacher) = place.get(one.teacher.as_str()) else { continue };
                let seen = &mut survival[phase(phases, steps, one.depth)][*teacher];
                seen.proposed += 1;
                // What says the same as a survivor would have survived without it: only the teachers' order told them apart.
                let repeats = one.fate == Fate::Duplicate && survivors.contains(text.as_str());
                seen.survived += u64::from(kept(one) || repeats);
            }
        }
        let shares = survival.iter().map(|row| shares(row, settings.floor)).collect();
        Self { teachers: teachers.to_vec(), ask: settings.ask, steps, survival, shares }
    }

    /// The teachers, by place and in order, that a beam asks for the step of a depth; `seed` is the beam's own.
    pub(crate) fn asked(&self, depth: u32, seed: Seed) -> Vec<usize> {
        let shares = &self.shares[phase(self.shares.len(), self.steps, depth)];
        let mut left: Vec<usize> = (0..shares.len()).collect();
        let mut asked = Vec::new();
        let mut stream = seed.stream();
        while !left.is_empty() && asked.len() < self.ask as usize {
            let total: f64 = left.iter().map(|teacher| shares[*teacher]).sum();
            let mut drawn = stream.uniform() * total;
            let place = left.iter().position(|teacher| {
                drawn -= shares[*teacher];
                drawn < 0.0
            });
            // Rounding may leave a rest: it is the last one's.
            asked.push(left.remove(place.unwrap_or(left.len() - 1)));
        }
        asked.sort_unstable();
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
    use super::*;

    fn policy(shares: Vec<Vec<f64>>, ask: u32) -> Policy {
        let teachers = (0..shares[0].len()).map(|n| n.to_string()).collect();
        Policy { teachers, ask, steps: 4.0, survival: Vec::new(), shares }
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
                let asked = policy.asked(depth, Seed::root(1).indexed(n));
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
        // Two draws without putting back: 0.7 + 0.2·0.7/0.8 + 0.1·0.7/0.9 and so on.
        let two = count(&policy(vec![vec![0.7, 0.2, 0.1]], 2), 0);
        assert!(near(&two, &[0.9528, 0.6889, 0.3583]), "{two:?}");
        assert_eq!(count(&policy(vec![vec![0.7, 0.2, 0.1]], 3), 0), [1.0; 3]);
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
