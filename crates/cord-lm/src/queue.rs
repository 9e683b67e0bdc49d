//! Which waiting requests make the next batch. Nothing here changes a result; it decides who waits.

use std::collections::VecDeque;

/// How often in a row the shorter queue may be passed over.
const PATIENCE: usize = 4;

/// What a request asks for: a batch holds one kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Generate,
    Score,
}

/// Whose turn it is of two queues.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// How often in a row one queue was served while the other waited.
    passed_over: usize,
    last: Option<Kind>,
}

impl Turns {
    /// The queue to serve next, of two that are not both empty.
    ///
    /// The longer one, since its batch is the fuller; but a queue that was passed over four times in a row goes next,
    /// or a stream of requests of one kind could keep the other waiting for ever.
    pub(crate) fn next(&mut self, generate: usize, scores: usize) -> Kind {
        let longer = if generate >= scores { Kind::Generate } else { Kind::Score };
        if generate == 0 || scores == 0 {
            *self = Self { passed_over: 0, last: Some(longer) };
            return longer;
        }
        let turn = match self.last {
            Some(last) if last == longer && self.passed_over >= PATIENCE => last.other(),
            _ => longer,
        };
        self.passed_over = if self.last == Some(turn) { self.passed_over + 1 } else { 1 };
        self.last = Some(turn);
        turn
    }
}

impl Kind {
    fn other(self) -> Self {
        match self {
            Self::Generate => Self::Score,
            Self::Score => Self::Generate,
        }
    }
}

/// Takes a batch of requests of like length from the head of a queue that is not empty.
///
/// The oldest request is always in it, so none waits for ever; the others are those nearest to it in length, since a
/// row is padded to the longest. At most `max_batch` requests; at most `max_tokens` tokens with padding, unless the
/// oldest alone has more.
pub(crate) fn take<T>(
    queue: &mut VecDeque<T>,
    length: impl Fn(&T) -> usize,
    max_batch: usize,
    max_tokens: usize,
) -> Vec<T> {
    let mut jobs: Vec<(usize, T)> = queue.drain(..).enumerate().collect();
    let anchor = length(&jobs[0].1);
    jobs.sort_by_key(|(index, job)| (length(job).abs_diff(anchor), *index));
    let (mut count, mut longest) = (0, 0);
    for (_, job) in jobs.iter().take(max_batch.max(1)) {
        longest = longest.max(length(job));
        if count > 0 && longest * (count + 1) > max_tokens {
            break;
        }
        count += 1;
    }
    let mut rest = jobs.split_off(count);
    rest.sort_by_key(|(index, _)| *index);
    queue.extend(rest.into_iter().map(|(_, job)| job));
    jobs.into_iter().map(|(_, job)| job).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Requests keep coming while batches are taken. A request is its number and its length.
        #[test]
        fn the_oldest_is_always_served_and_everyone_once(
            arrivals in prop::collection::vec(prop::collection::vec(0usize..60, 0..12), 1..12),
            max_batch in 0usize..6,
            max_tokens in 0usize..200,
        ) {
            let mut queue: VecDeque<(usize, usize)> = VecDeque::new();
            let (mut next, mut served) = (0, Vec::new());
            let mut arrivals = arrivals.into_iter();
            loop {
                for length in arrivals.next().unwrap_or_default() {
                    queue.push_back((next, length));
                    next += 1;
                }
                let Some(oldest) = queue.front().copied() else {
                    if arrivals.len() == 0 { break }
                    continue;
                };
                let before = queue.len();
                let batch = take(&mut queue, |(_, length)| *length, max_batch, max_tokens);
                prop_assert!(batch.contains(&oldest), "the oldest request {oldest:?} is not in {batch:?}");
                prop_assert_eq!(batch.len() + queue.len(), before);
                prop_assert!(batch.len() <= max_batch.max(1));
                let padded = batch.len() * batch.iter().map(|(_, length)| *length).max().unwrap();
                prop_assert!(batch.len() == 1 || padded <= max_tokens, "{padded} tokens");
                prop_assert!(queue.iter().is_sorted(), "who stays keeps the order");
                served.extend(batch.into_iter().map(|(number, _)| number));
            }
            served.sort_unstable();
            prop_assert_eq!(served, (0..next).collect::<Vec<_>>());
        }

        #[test]
        fn no_queue_is_passed_over_more_than_four_times(
            lengths in prop::collection::vec((0usize..9, 0usize..9), 1..60),
        ) {
            let mut turns = Turns::default();
            let (mut generate, mut score) = (0, 0);
            for (waiting, scores) in lengths {
                if waiting + scores == 0 { continue }
                let turn = turns.next(waiting, scores);
                prop_assert!(if turn == Kind::Generate { waiting > 0 } else { scores > 0 }, "an empty queue was served");
                generate = if turn == Kind::Generate || waiting == 0 { 0 } else { generate + 1 };
                score = if turn == Kind::Score || scores == 0 { 0 } else { score + 1 };
                prop_assert!(generate <= PATIENCE && score <= PATIENCE, "{generate} {score}");
            }
        }
    }

    #[test]
    fn the_longer_queue_goes_first_until_the_other_was_passed_over_four_times() {
        let mut turns = Turns::default();
        let kinds: Vec<Kind> = (0..11).map(|_| turns.next(100, 3)).collect();
        let scores: Vec<usize> = (0..11).filter(|turn| kinds[*turn] == Kind::Score).collect();
        assert_eq!(scores, [4, 9]);
    }
}
