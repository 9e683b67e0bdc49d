//! Reading many rows whose beginnings are shared: each shared prefix once, then what is left of every row.
//!
//! The beams of a problem share its question and most of their steps, and the candidates of a beam share all but the
//! last one. Reading is where a step-level search spends its time, so what is shared is read once.

use burn::tensor::{Int, Tensor, TensorData};

use crate::ops::{AttentionMask, Span};
use crate::{Cache, Transformer};

/// Rows whose prefix is read once.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// Tokens of the shared prefix.
    shared: usize,
    /// Indices of the rows.
    members: Vec<usize>,
}

/// What reading leaves behind, with rows in the order in which they were given.
pub(crate) struct Read {
    /// The keys and values of every row; all rows end in its last column.
    pub(crate) cache: Cache,
    /// Which columns of the cache are a row's own.
    pub(crate) spans: Vec<Span>,
    /// `[rows * width, hidden]`: the hidden states of the last `width` columns.
    pub(crate) hidden: Tensor<2>,
    /// Columns of the second reading.
    pub(crate) width: usize,
}

impl Read {
    /// Where in [`Read::hidden`] the state of a row's token is, counted back from its last one.
    pub(crate) fn place(&self, row: usize, from_end: usize) -> i64 {
        (row * self.width + self.width - 1 - from_end) as i64
    }
}

/// Reads rows of at least one token. The last `own[i] >= 1` tokens of row `i` are never shared, so that their hidden states
/// are among the result's. `room` columns are left free behind the last one.
pub(crate) fn read(model: &Transformer, rows: &[&[u32]], own: &[usize], room: usize) -> Read {
    let groups = group(rows, own);
    let prefixes: Vec<&[u32]> = groups.iter().map(|g| &rows[g.members[0]][..g.shared]).collect();
    // At least two columns: the CPU's product with a single column sums in another order.
    let before = prefixes.iter().map(|p| p.len()).max().unwrap_or(0).max(2);
    let spans: Vec<Span> = prefixes.iter().map(|p| Span { start: before - p.len(), hole: before..before }).collect();
    let mut shared = model.cache(groups.len(), before);
    // Only the keys and values of the prefixes are wanted.
    let _ = feed(model, &prefixes, &vec![0; prefixes.len()], &spans, before, &mut shared);

    let mut sources = vec![0; rows.len()];
    for (index, group) in groups.iter().enumerate() {
        group.members.iter().for_each(|member| sources[*member] = index);
    }
    let rest: Vec<&[u32]> = rows.iter().zip(&sources).map(|(row, source)| &row[groups[*source].shared..]).collect();
    let width = rest.iter().map(|row| row.len()).max().unwrap_or(0);
    let positions: Vec<usize> = sources.iter().map(|source| groups[*source].shared).collect();
    let spans: Vec<Span> = rest
        .iter()
        .zip(&positions)
        .map(|(row, shared)| Span { start: before - shared, hole: before..before + width - row.len() })
        .collect();
    let mut cache = shared.select(&sources, before + width + room);
    let hidden = feed(model, &rest, &positions, &spans, width, &mut cache);
    Read { cache, spans, hidden, width }
}

/// Feeds rows, padded on the left to `width`, behind what the cache holds.
///
/// # Shapes
/// - output: `[rows * width, hidden]`
fn feed(
    model: &Transformer,
    rows: &[&[u32]],
    first_positions: &[usize],
    spans: &[Span],
    width: usize,
    cache: &mut Cache,
) -> Tensor<2> {
    let device = model.device();
    let (mut tokens, mut positions) = (vec![0i64; rows.len() * width], vec![0; rows.len() * width]);
    for (line, (row, first)) in rows.iter().zip(first_positions).enumerate() {
        let begin = line * width + width - row.len();
        for (offset, token) in row.iter().enumerate() {
            tokens[begin + offset] = i64::from(*token);
            positions[begin + offset] = first + offset;
        }
    }
    let shape = [rows.len(), width];
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, shape), &device);
    let mask = AttentionMask::causal(spans, cache.length(), width, model.config().architecture.window, &device);
    model.hidden(tokens, &positions, &mask, Some(cache))
}

/// Groups rows so that the tokens read in all are few: in the order of their tokens, a row joins the group before it when
/// that reads fewer tokens than standing alone.
fn group(rows: &[&[u32]], own: &[usize]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| rows[*a].cmp(rows[*b]).then(a.cmp(b)));
    let most = |row: usize| rows[row].len() - own[row];
    let mut groups: Vec<Group> = Vec::new();
    for row in order {
        if let Some(group) = groups.last_mut() {
            let first = rows[group.members[0]];
            let common = first.iter().zip(rows[row]).take_while(|(a, b)| a == b).count();
            let shared = group.shared.min(common).min(most(row));
            // Sharing less costs every member the difference and saves the newcomer what it shares.
            if shared > (group.shared - shared) * (group.members.len() - 1) {
                group.shared = shared;
                group.members.push(row);
                continue;
            }
        }
        groups.push(Group { shared: most(row), members: vec![row] });
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_share_their_prefix_and_strangers_do_not() {
        let rows: [&[u32]; 4] = [&[1, 2, 3, 4, 9], &[5, 6, 7, 8], &[1, 2, 3, 4, 8, 7], &[1, 2, 3, 4, 8, 7]];
        let groups = group(&rows, &[1, 1, 2, 2]);
        let expected = [Group { shared: 4, members: vec![2, 3, 0] }, Group { shared: 3, members: vec![1] }];
        assert_eq!(groups, expected);
    }

    #[test]
    fn a_newcomer_that_shares_little_does_not_cost_the_others_their_prefix() {
        let long: Vec<u32> = (0..50).collect();
        let other: Vec<u32> = (0..5).chain(100..140).collect();
        let rows: [&[u32]; 4] = [&long, &long, &long, &other];
        let groups = group(&rows, &[1; 4]);
        assert_eq!(groups.iter().map(|g| g.shared).collect::<Vec<_>>(), [49, 44]);
    }
}
