//! What a model has read before, by its tokens: a tree of segments, the least recently used of which make room.
//!
//! A step-level search asks a model about texts that share almost all of their tokens: a beam's candidates continue one
//! prefix, the next step continues one of the candidates, and a score reads what generation has read. So each token of a tree of
//! trajectories is read once as long as memory lasts. What is read again gives the same bits, so the cache never shows in
//! a result.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::context::{Context, Held, View};

/// Keys and values of texts that were read, within a bound of memory.
#[derive(Debug)]
pub struct PrefixCache {
    root: Node,
    limit: usize,
    pub(crate) held: Held,
    clock: u64,
    reads: Reads,
    /// What was asked about last, and how many of its last tokens what was asked about before ended with too.
    last: (Vec<u32>, usize),
}

/// Tokens of prompts and continuations, and how many of them a model had to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Tokens that requests asked to be read, each request for itself.
    pub asked: u64,
    /// Tokens that were read in fact.
    pub read: u64,
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<u32, Edge>,
}

#[derive(Debug)]
struct Edge {
    /// At least one.
    tokens: Vec<u32>,
    /// As many columns.
    view: View,
    /// When it was last looked at.
    used: u64,
    node: Node,
}

impl PrefixCache {
    /// An empty cache that keeps at most `limit` bytes between requests. What the requests at hand need comes on top.
    pub fn new(limit: usize) -> Self {
        Self {
            root: Node::default(),
            limit,
            held: Held::default(),
            clock: 0,
            reads: Reads::default(),
            last: (Vec::new(), 0),
        }
    }

    /// How much was asked and read so far.
    pub fn reads(&self) -> Reads {
        self.reads
    }

    /// Bytes of keys and values that are held.
    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }

    pub(crate) fn count(&mut self, asked: usize, read: usize) {
        self.reads.asked += asked as u64;
        self.reads.read += read as u64;
    }

    /// How many of the last tokens of what is asked about are not worth keeping: those that the text asked about before ended with
    /// too. A prover's cue is no part of the reasoning, and nothing will go on from it.
    pub(crate) fn ending(&mut self, tokens: &[u32]) -> usize {
        let (last, ending) = &mut self.last;
        if last != tokens {
            let alike = last.iter().rev().zip(tokens.iter().rev());
            *ending = alike.take_while(|(a, b)| a == b).count();
            *last = tokens.to_vec();
        }
        *ending
    }

    /// The columns of the longest beginning of `tokens` that is known.
    pub(crate) fn find(&mut self, tokens: &[u32]) -> Vec<View> {
        self.clock += 1;
        let (mut views, mut node, mut rest) = (Vec::new(), &mut self.root, tokens);
        while let Some(edge) = rest.first().and_then(|first| node.children.get_mut(first)) {
            edge.used = self.clock;
            let common = common(&edge.tokens, rest);
            views.push(edge.view.part(0..common));
            rest = &rest[common..];
            if common < edge.tokens.len() {
                break;
            }
            node = &mut edge.node;
        }
        views
    }

    /// Keeps what a context of at least `tokens` read on its own of them.
    pub(crate) fn keep(&mut self, tokens: &[u32], context: Context) {
        debug_assert!(tokens.len() <= context.length());
        let own = context.freeze(tokens.len());
        let (mut node, mut rest) = (&mut self.root, tokens);
        while let Some(first) = rest.first().copied() {
            let edge = match node.children.entry(first) {
                Entry::Occupied(edge) => edge.into_mut(),
                Entry::Vacant(place) => {
                    // Where what stands before was dropped meanwhile, there is nothing to hang this on.
                    if rest.len() <= own.length {
                        let view = own.part(own.length - rest.len()..own.length);
                        place.insert(Edge { tokens: rest.to_vec(), view, used: self.clock, node: Node::default() });
                    }
                    return;
                }
            };
            edge.used = self.clock;
            let common = common(&edge.tokens, rest);
            if common < edge.tokens.len() {
                if common == rest.len() {
                    return;
                }
                edge.split(common);
            }
            rest = &rest[common..];
            node = &mut edge.node;
        }
    }

    /// Drops what was not used for the longest time until the bound holds.
    pub(crate) fn make_room(&mut self) {
        while self.held.bytes() > self.limit {
            let mut ages = Vec::new();
            self.root.leaves(&mut ages);
            if ages.is_empty() {
                return;
            }
            ages.sort_unstable();
            // Half of the leaves at a time: looking for them costs a walk through the tree.
            let oldest = ages[(ages.len() - 1) / 2];
            self.root.prune(oldest);
        }
    }
}

impl Edge {
    /// Cuts it in two behind `at` tokens.
    fn split(&mut self, at: usize) {
        let tokens = self.tokens.split_off(at);
        let view = self.view.part(at..self.view.length);
        self.view = self.view.part(0..at);
        let node = std::mem::take(&mut self.node);
        self.node.children.insert(tokens[0], Self { tokens, view, used: self.used, node });
    }
}

impl Node {
    fn leaves(&self, ages: &mut Vec<u64>) {
        for edge in self.children.values() {
            if edge.node.children.is_empty() {
                ages.push(edge.used);
            } else {
                edge.node.leaves(ages);
            }
        }
    }

    /// Drops the leaves that were last used at `oldest` or before.
    fn prune(&mut self, oldest: u64) {
        self.children.retain(|_, edge| {
            if edge.node.children.is_empty() {
                return edge.used > oldest;
            }
            edge.node.prune(oldest);
            true
        });
    }
}

fn common(one: &[u32], two: &[u32]) -> usize {
    one.iter().zip(two).take_while(|(a, b)| a == b).count()
}
