//! Which waiting requests make the next batch. Nothing here changes a result; it decides who waits.

use std::collections::VecDeque;

/// The most tokens for which requests wait while others are generated.
const PATIENCE: usize = 4;

/// When those who wait have their turn, between two tokens of those that are being generated.
///
/// A turn takes passes of its own. To a wide model, which reads all of its weights for every token, they cost little beside what fuller batches
/// save; to a narrow one with many rows they cost more. So a few wait for others, a little.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    /// For how many tokens somebody has waited.
    waited: usize,
}

impl Wait {
    /// Have `waiting` requests their turn now, while `running` are being generated? Asked once a token.
    pub(crate) fn is_due(&mut self, waiting: usize, running: usize) -> bool {
        let due = waiting > 0 && (waiting * 8 >= running || self.waited >= PATIENCE);
        self.waited = if waiting == 0 || due { 0 } else { self.waited + 1 };
        due
    }
}

/// What is under way already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) tokens: usize,
}

/// Takes a batch of requests of like length from the head of a queue that is not empty, to join what is under way.
///
/// The oldest request is always in it, so none waits for ever; the others are those nearest to it in length, since a
/// row may be padded to the longest. At most `max_batch` requests and at most `max_tokens` tokens with padding, those under way included. A
/// request that has more alone goes alone; where it would join others, nobody is taken until they are done.
pub(crate) fn take<T>(
    queue: &mut VecDeque<T>,
    length: impl Fn(&T) -> usize,
    max_batch: usize,
    max_tokens: usize,
    under_way: Load,
) -> Vec<T> {
    let mut jobs: Vec<(usize, T)> = queue.drain(..).enumerate().collect();
    let anchor = length(&jobs[0].1);
    jobs.sort_by_key(|(index, job)| (length(job).abs_diff(anchor), *index));
    let (mut count, mut longest) = (0, 0);
    for (_, job) in jobs.iter().take(max_batch.max(1).saturating_sub(under_way.requests)) {
        longest = longest.max(length(job));
        if count + under_way.requests > 0 && longest * (count + 1) + under_way.tokens > max_tokens {
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
            loads in prop::collection::vec((0usize..6, 0usize..200), 1..6),
        ) {
            let mut queue: VecDeque<(usize, usize)> = VecDeque::new();
            let (mut next, mut served) = (0, Vec::new());
            let mut arrivals = arrivals.into_iter();
            // What was under way is done at times: then the oldest goes, whatever it is.
            let loads = loads.into_iter().map(|(requests, tokens)| Load { requests, tokens });
            let mut loads = loads.chain([Load::default()]).collect::<Vec<_>>().into_iter().cycle();
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
                let load = loads.next().unwrap();
                let batch = take(&mut queue, |(_, length)| *length, max_batch, max_tokens, load);
                prop_assert!(queue.iter().is_sorted(), "who stays keeps the order");
                if batch.is_empty() {
                    let crowded = load.requests >= max_batch.max(1) || load.tokens + oldest.1 > max_tokens;
                    prop_assert!(load.requests > 0 && crowded, "{oldest:?} waits for nothing, beside {load:?}");
                    continue;
                }
                prop_assert!(batch.contains(&oldest), "the oldest request {oldest:?} is not in {batch:?}");
                prop_assert_eq!(batch.len() + queue.len(), before);
                prop_assert!(batch.len() + load.requests <= max_batch.max(1));
                let padded = batch.len() * batch.iter().map(|(_, length)| *length).max().unwrap() + load.tokens;
                prop_assert!(batch.len() + load.requests == 1 || padded <= max_tokens, "{padded} tokens");
                served.extend(batch.into_iter().map(|(number, _)| number));
            }
            served.sort_unstable();
            prop_assert_eq!(served, (0..next).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_eighth_as_many_need_not_wait_and_nobody_waits_for_more_than_four_tokens() {
        let mut wait = Wait::default();
        assert!(wait.is_due(1, 0) && wait.is_due(1, 8) && wait.is_due(13, 100));
        let due: Vec<bool> = (0..11).map(|_| wait.is_due(12, 100)).collect();
        let expected = [false, false, false, false, true, false, false, false, false, true, false];
        assert_eq!(due, expected);
        assert!(!wait.is_due(0, 0) && !wait.is_due(12, 100), "who comes later waits anew");
    }
}
