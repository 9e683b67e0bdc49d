//! What a model has read, in this program's own memory: keys and values in segments that contexts share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::LmConfig;
use crate::kernels::{Columns, LANES, padded};

/// Bytes of all segments that are alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Arc<AtomicUsize>);

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The keys and values of a run of tokens, in every layer.
#[derive(Debug)]
pub(crate) struct Segment {
    shape: Shape,
    /// `[layers, kv_heads, head_dim, columns]`, and some lanes that are read but not used.
    keys: Vec<f32>,
    /// `[layers, kv_heads, columns, padded(head_dim)]`
    values: Vec<f32>,
    columns: usize,
    length: usize,
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    layers: usize,
    heads: usize,
    dim: usize,
}

impl Segment {
    fn empty(config: &LmConfig, held: &Held) -> Self {
        let shape = Shape { layers: config.layers, heads: config.kv_heads, dim: config.head_dim };
        Self { shape, keys: Vec::new(), values: Vec::new(), columns: 0, length: 0, held: held.clone() }
    }

    fn bytes(&self) -> usize {
        (self.keys.len() + self.values.len()) * size_of::<f32>()
    }

    /// Makes room for `more` columns behind those in use.
    fn reserve(&mut self, more: usize) {
        let needed = self.length + more;
        if needed <= self.columns {
            return;
        }
        // What is read whole has the room that it needs; what grows has more each time.
        let columns = padded(needed.max(self.columns * 2));
        self.set_room(self.length, columns);
    }

    /// Gives it room for so many columns; the first `length` of those that it has are kept.
    fn set_room(&mut self, length: usize, columns: usize) {
        let Shape { layers, heads, dim } = self.shape;
        let (before, heads, wide) = (self.bytes(), layers * heads, padded(dim));
        let mut keys = vec![0.0; heads * dim * columns + LANES];
        let mut values = vec![0.0; heads * columns * wide];
        for line in 0..heads * dim {
            let from = &self.keys[line * self.columns..][..length];
            keys[line * columns..][..length].copy_from_slice(from);
        }
        for head in 0..heads {
            let from = &self.values[head * self.columns * wide..][..length * wide];
            values[head * columns * wide..][..length * wide].copy_from_slice(from);
        }
        (self.keys, self.values, self.columns, self.length) = (keys, values, columns, length);
        self.held.0.fetch_add(self.bytes(), Ordering::Relaxed);
        self.held.0.fetch_sub(before, Ordering::Relaxed);
    }

    /// Writes the keys and values, `[kv_heads, head_dim]` each, of one token in one layer, `offset` columns behind those in use.
    fn write(&mut self, layer: usize, offset: usize, keys: &[f32], values: &[f32]) {
        let Shape { heads, dim, .. } = self.shape;
        let (column, wide) = (self.length + offset, padded(dim));
        for head in 0..heads {
            let place = layer * heads + head;
            for (j, key) in keys[head * dim..][..dim].iter().enumerate() {
                self.keys[(place * dim + j) * self.columns + column] = *key;
            }
            let line = (place * self.columns + column) * wide;
            self.values[line..][..dim].copy_from_slice(&values[head * dim..][..dim]);
        }
    }

    /// Columns of one head in one layer.
    fn part(&self, layer: usize, head: usize, first: usize, count: usize) -> Columns<'_> {
        let Shape { heads, dim, .. } = self.shape;
        let place = layer * heads + head;
        Columns {
            keys: &self.keys[place * dim * self.columns + first..],
            stride: self.columns,
            values: &self.values[(place * self.columns + first) * padded(dim)..],
            count,
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

/// Some columns of a segment that is written no more.
#[derive(Clone, Debug)]
pub(crate) struct View {
    segment: Arc<Segment>,
    first: usize,
    pub(crate) length: usize,
}

impl View {
    /// The part of it between two of its columns.
    pub(crate) fn part(&self, columns: std::ops::Range<usize>) -> Self {
        Self { segment: self.segment.clone(), first: self.first + columns.start, length: columns.len() }
    }
}

/// What one row has read: columns that it shares with others, then its own.
#[derive(Debug)]
pub(crate) struct Context {
    shared: Vec<View>,
    own: Segment,
}

impl Context {
    /// A context that begins with what others read.
    pub(crate) fn behind(shared: Vec<View>, config: &LmConfig, held: &Held) -> Self {
        Self { shared, own: Segment::empty(config, held) }
    }

    /// How many tokens were read.
    pub(crate) fn length(&self) -> usize {
        self.shared.iter().map(|view| view.length).sum::<usize>() + self.own.length
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.own.reserve(more);
    }

    /// As [`Segment::write`].
    pub(crate) fn write(&mut self, layer: usize, offset: usize, keys: &[f32], values: &[f32]) {
        self.own.write(layer, offset, keys, values);
    }

    /// Counts `more` tokens, written in every layer, as read.
    pub(crate) fn advance(&mut self, more: usize) {
        self.own.length += more;
    }

    /// Everything that was read, and `more` columns that were written since, of one head in one layer.
    pub(crate) fn columns(&self, layer: usize, head: usize, more: usize) -> Vec<Columns<'_>> {
        let shared = self.shared.iter().map(|view| view.segment.part(layer, head, view.first, view.length));
        shared.chain([self.own.part(layer, head, 0, self.own.length + more)]).collect()
    }

    /// Ends the row: the first columns of what it read on its own, so that it is `length` tokens long, to be shared.
    pub(crate) fn freeze(mut self, length: usize) -> View {
        let length = length + self.own.length - self.length();
        // What is dropped is kept in memory with the rest, unless it takes half of it.
        if padded(length) * 2 <= self.own.columns {
            self.own.set_room(length, padded(length));
        }
        View { segment: Arc::new(self.own), first: 0, length }
    }
}
