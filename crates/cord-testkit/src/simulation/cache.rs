//! A server's prefix cache: blocks of tokens, the least recently used forgotten first.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Tokens of a block. A prefix is found in whole blocks; real servers have blocks of 16 tokens or more.
const BLOCK: usize = 64;

/// Which prefixes a server still knows. A token is a byte, as it is to a scripted model.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    /// The most blocks.
    capacity: usize,
    /// Blocks by the digest of all text up to their end, with the number of their last use.
    blocks: HashMap<u64, u64, BuildHasherDefault<Digested>>,
    /// Every use, the oldest first; only a block's last one counts.
    uses: VecDeque<(u64, u64)>,
    used: u64,
}

impl PrefixCache {
    /// A cache of `capacity` tokens.
    pub(crate) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX) / BLOCK;
        Self { capacity, blocks: HashMap::default(), uses: VecDeque::new(), used: 0 }
    }

    /// How many of a text's tokens are known, from its start.
    pub(crate) fn known(&self, text: &[u64]) -> u64 {
        (text.iter().take_while(|digest| self.blocks.contains_key(digest)).count() * BLOCK) as u64
    }

    /// Notes that a text was computed.
    pub(crate) fn keep(&mut self, text: &[u64]) {
        // From the end: a block without those before it is of no use, so the first ones are forgotten last.
        for digest in text.iter().rev() {
            self.used += 1;
            self.blocks.insert(*digest, self.used);
            self.uses.push_back((*digest, self.used));
        }
        while self.blocks.len() > self.capacity
            && let Some((digest, number)) = self.uses.pop_front()
        {
            if self.blocks.get(&digest) == Some(&number) {
                self.blocks.remove(&digest);
            }
        }
        if self.uses.len() > 2 * self.blocks.len() + BLOCK {
            self.uses.retain(|(digest, number)| self.blocks.get(digest) == Some(number));
        }
    }
}

/// A text's whole blocks, each as the digest of all text up to its end. Small and quick: nobody attacks a simulation.
pub(crate) fn blocks(text: &[u8]) -> Vec<u64> {
    let digests = text.chunks_exact(BLOCK).scan(0xcbf2_9ce4_8422_2325u64, |digest, block| {
        for word in block.chunks_exact(8) {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            *digest = (*digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        Some(*digest)
    });
    digests.collect()
}

/// How many whole blocks a text of so many bytes has.
pub(crate) fn whole_blocks(bytes: usize) -> usize {
    bytes / BLOCK
}

/// A digest needs no hashing.
#[derive(Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are numbers");
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_known_in_whole_blocks_until_it_is_crowded_out() {
        let mut cache = PrefixCache::new(4 * 64);
        let (first, other) = (blocks(&[b'a'; 160]), blocks(&[b'b'; 192]));
        assert_eq!([first.len(), other.len(), whole_blocks(160)], [2, 3, 2]);
        assert_eq!(cache.known(&first), 0);
        cache.keep(&first);
        assert_eq!([cache.known(&first), cache.known(&blocks(&[b'a'; 127])), cache.known(&other)], [128, 64, 0]);
        // Four blocks fit: of the five, the last one of the older text goes.
        cache.keep(&other);
        assert_eq!([cache.known(&first), cache.known(&other)], [64, 192]);
        cache.keep(&first);
        assert_eq!([cache.known(&first), cache.known(&other)], [128, 128]);
    }

    #[test]
    fn the_memory_of_uses_does_not_grow_with_their_number() {
        let mut cache = PrefixCache::new(u64::MAX);
        for n in 0..10_000u32 {
            cache.keep(&blocks(&[(n % 3) as u8; 640]));
        }
        assert!(cache.uses.len() < 200, "{}", cache.uses.len());
        assert_eq!(cache.known(&blocks(&[1; 640])), 640);
    }
}
