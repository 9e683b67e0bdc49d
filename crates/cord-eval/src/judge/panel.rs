//! A panel of judges at work: every judge on every item, many at once, none able to end the run.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cord_core::{BoxFuture, ProblemId, Seed};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::rubric::{Mark, Preference, Rubric, Word};
use super::voice::{Question, Unscored, Voice};

/// A response to be judged beside a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The problem.
    pub problem: ProblemId,
    /// Which of the problem's samples it is.
    pub sample: u32,
    /// What was asked.
    pub question: String,
    /// What is right.
    pub reference: String,
    /// What the model said after its reasoning.
    pub response: String,
}

/// Two responses to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairItem {
    /// The problem.
    pub problem: ProblemId,
    /// Which of the problem's samples they are.
    pub sample: u32,
    /// What was asked.
    pub question: String,
    /// What each of the two models said after its reasoning.
    pub responses: [String; 2],
}

/// One judge's word, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vote<W> {
    /// A verdict.
    Said(W),
    /// None.
    Unscored(Unscored),
}

impl<W: Copy> Vote<W> {
    /// The verdict, where there is one.
    pub fn said(&self) -> Option<W> {
        match self {
            Self::Said(word) => Some(*word),
            Self::Unscored(_) => None,
        }
    }
}

impl<W> From<Result<W, Unscored>> for Vote<W> {
    fn from(result: Result<W, Unscored>) -> Self {
        result.map_or_else(Self::Unscored, Self::Said)
    }
}

/// The verdict of more than half of a panel, the silent included: one judge that answers does not speak for three.
pub fn majority_of<W: Copy + Ord>(votes: &[Vote<W>]) -> Vote<W> {
    if let [only] = votes {
        return match only {
            Vote::Said(word) => Vote::Said(*word),
            Vote::Unscored(why) => Vote::Unscored(why.clone()),
        };
    }
    let mut counts: BTreeMap<W, usize> = BTreeMap::new();
    for word in votes.iter().filter_map(Vote::said) {
        *counts.entry(word).or_default() += 1;
    }
    let most = counts.into_iter().find(|(_, count)| 2 * count > votes.len());
    most.map_or(Vote::Unscored(Unscored::NoMajority), |(word, _)| Vote::Said(word))
}

/// What a panel says of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    /// The problem.
    pub problem: ProblemId,
    /// Which of the problem's samples.
    pub sample: u32,
    /// Each judge's word, in the panel's order.
    pub votes: Vec<Vote<Mark>>,
    /// The panel's.
    pub panel: Vote<Mark>,
}

/// What a panel says of two responses, each judge asked in both orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The problem.
    pub problem: ProblemId,
    /// Which of the problem's samples.
    pub sample: u32,
    /// Each judge's words: with the first model's response in the first place, and with the two exchanged. Places are
    /// those of the question, so that a judge without position bias says `first` and then `second`.
    pub orders: Vec<[Vote<Preference>; 2]>,
    /// Each judge's preference between the models: what it says in both orders; a tie where the two contradict each other.
    pub votes: Vec<Vote<Preference>>,
    /// The panel's.
    pub panel: Vote<Preference>,
}

/// Comparisons of two models.
pub type Comparisons = Vec<Comparison>;

/// Judges with one rubric.
pub struct Panel {
    /// The judges.
    pub judges: Vec<Arc<dyn Voice>>,
    /// What they are asked.
    pub rubric: Rubric,
    /// Draws, where judges draw.
    pub seed: Seed,
    /// The most questions under way at once.
    pub concurrency: NonZeroUsize,
}

impl Panel {
    /// Judges responses, in the order of problem and sample. `observe` is called with the number of items that ended. Once
    /// `stop` is set nothing new is begun and what has ended is given back.
    pub async fn judge(
        &self,
        items: &[Item],
        stop: &AtomicBool,
        observe: &(dyn Fn(usize) + Send + Sync),
    ) -> Vec<Judgement> {
        let one = |item: &'_ Item| -> BoxFuture<'_, Judgement> {
            let fields = BTreeMap::from([
                ("question", item.question.clone()),
                ("reference", item.reference.clone()),
                ("response", item.response.clone()),
            ]);
            let (problem, sample) = (item.problem.clone(), item.sample);
            Box::pin(async move {
                let seed = self.seed.named("judge").named(&problem).indexed(u64::from(sample));
                let asked = self.judges.iter().map(|judge| self.ask::<Mark>(judge.as_ref(), &fields, seed));
                let votes: Vec<Vote<Mark>> = futures::future::join_all(asked).await;
                let panel = majority_of(&votes);
                Judgement { problem, sample, votes, panel }
            })
        };
        let mut judged = self.all(items.iter().map(one), stop, observe).await;
        judged.sort_by(|a, b| (&a.problem, a.sample).cmp(&(&b.problem, b.sample)));
        judged
    }

    /// Compares pairs, each judge in both orders; otherwise as [`judge`](Self::judge).
    pub async fn compare(
        &self,
        items: &[PairItem],
        stop: &AtomicBool,
        observe: &(dyn Fn(usize) + Send + Sync),
    ) -> Comparisons {
        let one = |item: &'_ PairItem| -> BoxFuture<'_, Comparison> {
            let fields = |first: usize| {
                BTreeMap::from([
                    ("question", item.question.clone()),
                    ("first", item.responses[first].clone()),
                    ("second", item.responses[1 - first].clone()),
                ])
            };
            let (straight, exchanged) = (fields(0), fields(1));
            let (problem, sample) = (item.problem.clone(), item.sample);
            Box::pin(async move {
                let seed = self.seed.named("compare").named(&problem).indexed(u64::from(sample));
                let asked = self.judges.iter().map(|judge| async {
                    let judge = judge.as_ref();
                    [self.ask(judge, &straight, seed).await, self.ask(judge, &exchanged, seed).await]
                });
                let orders: Vec<[Vote<Preference>; 2]> = futures::future::join_all(asked).await;
                let votes: Vec<Vote<Preference>> = orders.iter().map(both).collect();
                let panel = majority_of(&votes);
                Comparison { problem, sample, orders, votes, panel }
            })
        };
        let mut compared = self.all(items.iter().map(one), stop, observe).await;
        compared.sort_by(|a, b| (&a.problem, a.sample).cmp(&(&b.problem, b.sample)));
        compared
    }

    async fn all<'a, T>(
        &self,
        jobs: impl Iterator<Item = BoxFuture<'a, T>>,
        stop: &AtomicBool,
        observe: &(dyn Fn(usize) + Send + Sync),
    ) -> Vec<T> {
        let mut ended = Vec::new();
        let begun = jobs.take_while(|_| !stop.load(Ordering::Relaxed));
        let mut stream = futures::stream::iter(begun).buffer_unordered(self.concurrency.get());
        while let Some(one) = stream.next().await {
            ended.push(one);
            observe(ended.len());
        }
        ended
    }

    async fn ask<W: Word>(&self, judge: &dyn Voice, fields: &BTreeMap<&'static str, String>, seed: Seed) -> Vote<W> {
        let fields = fields.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let question = Question { rubric: &self.rubric, fields, seed };
        let answer = judge.answer(&question).await;
        answer.and_then(|said| self.rubric.read::<W>(&said)).into()
    }
}

/// A judge's preference between the models, from its words in both orders.
fn both(orders: &[Vote<Preference>; 2]) -> Vote<Preference> {
    match orders {
        [Vote::Unscored(why), _] | [_, Vote::Unscored(why)] => Vote::Unscored(why.clone()),
        [Vote::Said(straight), Vote::Said(exchanged)] => Vote::Said(match (straight, exchanged) {
            (Preference::First, Preference::Second) => Preference::First,
            (Preference::Second, Preference::First) => Preference::Second,
            _ => Preference::Tie,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_of_the_whole_panel() {
        use Mark::{Correct, Incorrect};
        let silent = || Vote::Unscored(Unscored::Truncated);
        let none = Vote::Unscored(Unscored::NoMajority);
        for (votes, expected) in [
            (vec![Vote::Said(Correct)], Vote::Said(Correct)),
            (vec![silent()], silent()),
            (vec![Vote::Said(Correct), Vote::Said(Correct), Vote::Said(Incorrect)], Vote::Said(Correct)),
            (vec![Vote::Said(Correct), Vote::Said(Incorrect)], none.clone()),
            (vec![Vote::Said(Correct), silent(), silent()], none.clone()),
            (vec![Vote::Said(Incorrect), Vote::Said(Incorrect), silent()], Vote::Said(Incorrect)),
        ] {
            assert_eq!(majority_of(&votes), expected, "{votes:?}");
        }
    }

    #[test]
    fn contradicting_orders_are_a_tie() {
        use Preference::{First, Second, Tie};
        for (straight, exchanged, expected) in
            [(First, Second, First), (Second, First, Second), (First, First, Tie), (Tie, Second, Tie), (Tie, Tie, Tie)]
        {
            assert_eq!(both(&[Vote::Said(straight), Vote::Said(exchanged)]), Vote::Said(expected));
        }
        assert_eq!(
            both(&[Vote::Said(First), Vote::Unscored(Unscored::Truncated)]),
            Vote::Unscored(Unscored::Truncated)
        );
    }
}
