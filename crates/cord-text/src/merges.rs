//! Byte-pair merges, learnt with every tie broken on purpose.
//!
//! The tokenizers library has a trainer of its own, but it walks hash maps in an order that changes from process to process
//! and queues a pair once for each time that it reappears, so equal counts may be merged in another order on another day. A
//! committed checkpoint must be remade byte for byte, hence this one: the most frequent pair first, then the pair whose
//! parts were made earliest.

use std::collections::{BTreeMap, BTreeSet};

type Pair = (u32, u32);

/// A vocabulary in id order and the merges that build its longer tokens, in rank order.
pub(crate) struct Merged {
    pub(crate) tokens: Vec<String>,
    pub(crate) merges: Vec<(String, String)>,
}

/// Learns merges over counted words until the vocabulary has `target` tokens or no pair occurs twice.
///
/// `tokens` is the vocabulary to start from, in id order; every character of every word is among them.
pub(crate) fn learn(tokens: Vec<String>, words: &BTreeMap<String, u64>, target: usize) -> Merged {
    let mut ids: BTreeMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
    let mut tokens = tokens;
    let mut merges = Vec::new();
    let counts: Vec<u64> = words.values().copied().collect();
    let mut spelt: Vec<Vec<u32>> = words
        .keys()
        .map(|word| word.chars().map(|character| ids[character.encode_utf8(&mut [0; 4]) as &str]).collect())
        .collect();

    let mut pairs = Pairs::default();
    for (place, word) in spelt.iter().enumerate() {
        pairs.add(word, place, counts[place]);
    }
    while tokens.len() < target {
        let Some(pair) = pairs.most_frequent() else { break };
        let (left, right) = (tokens[pair.0 as usize].clone(), tokens[pair.1 as usize].clone());
        let merged = format!("{left}{right}");
        // Two ways to build one token share its id.
        let id = *ids.entry(merged.clone()).or_insert_with(|| {
            tokens.push(merged);
            tokens.len() as u32 - 1
        });
        merges.push((left, right));
        for place in pairs.words_with(pair) {
            pairs.remove(&spelt[place], place, counts[place]);
            spelt[place] = replace(&spelt[place], pair, id);
            pairs.add(&spelt[place], place, counts[place]);
        }
    }
    Merged { tokens, merges }
}

/// How often each pair occurs, and in which words.
#[derive(Default)]
struct Pairs {
    counts: BTreeMap<Pair, u64>,
    places: BTreeMap<Pair, BTreeSet<usize>>,
}

impl Pairs {
    fn add(&mut self, word: &[u32], place: usize, count: u64) {
        for pair in word.windows(2).map(|pair| (pair[0], pair[1])) {
            *self.counts.entry(pair).or_default() += count;
            self.places.entry(pair).or_default().insert(place);
        }
    }

    fn remove(&mut self, word: &[u32], place: usize, count: u64) {
        for pair in word.windows(2).map(|pair| (pair[0], pair[1])) {
            *self.counts.get_mut(&pair).expect("a pair of a word is counted") -= count;
            self.places.get_mut(&pair).expect("a pair of a word has a place").remove(&place);
        }
    }

    fn most_frequent(&self) -> Option<Pair> {
        let (pair, count) = self.counts.iter().max_by(|(a, m), (b, n)| m.cmp(n).then(b.cmp(a)))?;
        (*count >= 2).then_some(*pair)
    }

    fn words_with(&self, pair: Pair) -> Vec<usize> {
        self.places.get(&pair).into_iter().flatten().copied().collect()
    }
}

fn replace(word: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(word.len());
    let mut place = 0;
    while place < word.len() {
        if word[place] == pair.0 && word.get(place + 1) == Some(&pair.1) {
            out.push(id);
            place += 2;
        } else {
            out.push(word[place]);
            place += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[(&str, u64)], target: usize, expected: &[(&str, &str)]) {
        let words: BTreeMap<String, u64> = words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        let alphabet: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
        let merged = learn(alphabet.into_iter().map(String::from).collect(), &words, target);
        let got: Vec<(&str, &str)> = merged.merges.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(got, expected, "merges of {words:?}");
        let unique: BTreeSet<&String> = merged.tokens.iter().collect();
        assert_eq!(unique.len(), merged.tokens.len(), "no token is made twice");
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first_and_ties_go_to_the_earliest_parts() {
        check(&[("abc", 3), ("bc", 2)], 99, &[("b", "c"), ("a", "bc")]);
        check(&[("cd", 2), ("ab", 2)], 99, &[("a", "b"), ("c", "d")]);
        check(&[("aaaa", 2)], 99, &[("a", "a"), ("aa", "aa")]);
        // A pair that occurs once teaches nothing.
        check(&[("xy", 1)], 99, &[]);
        // The vocabulary's size is a bound.
        check(&[("abc", 3), ("bc", 2)], 4, &[("b", "c")]);
    }
}
