//! A block's arithmetic outside of its matrix products, on the CPU, over plain slices.
//!
//! Every value is computed in an order that depends on nothing but its own row: not on the batch, on how a context is cut into
//! segments, on the number of threads, or on the processor's vector width. Sums run over sixteen lanes and
//! products are fused into them (`mul_add`) everywhere, so that AVX2, AVX-512 and NEON give the same bits.

#![expect(clippy::inline_always, reason = "what is not inlined is compiled for every processor, without its vectors")]

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

/// Values that are computed side by side.
pub(crate) const LANES: usize = 16;

/// Queries that share a reading of keys and values, at most.
const BLOCK: usize = 8;

/// A length with room for whole lanes.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(LANES)
}

/// Root-mean-square normalisation (Zhang and Sennrich 2019): `x / sqrt(mean(x²) + eps) * weight`.
///
/// # Shapes
/// - `x` and output: `[rows, hidden]`, `weight`: `[hidden]`
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f64) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    Arch::new().dispatch(RmsNorm { x, weight, eps: eps as f32, out: &mut out });
    out
}

// Structs and not closures: a closure is called through a function that is compiled for every processor.
struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.weight.len();
        for (row, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let mean = sum_of(row, |x| x * x) / width as f32;
            let scale = 1.0 / (mean + self.eps).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(row).zip(self.weight) {
                *out = x * scale * weight;
            }
        }
    }
}

/// The gated activation (Shazeer 2020): `silu(gate) * up`, written over `gate`.
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    Arch::new().dispatch(SwiGlu { gate, up });
}

struct SwiGlu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

/// Gemma's gated activation: `gelu_tanh(gate) * up`, written over `gate`.
pub(crate) fn geglu(gate: &mut [f32], up: &[f32]) {
    Arch::new().dispatch(GeGlu { gate, up });
}

struct GeGlu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for GeGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const SLOPE: f32 = 0.797_884_6; // sqrt(2 / pi)
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            let x = *gate;
            let inner = SLOPE * (x + 0.044_715 * x * x * x);
            // 1 + tanh(y) is 2 / (1 + exp(-2 y)).
            *gate = x / (1.0 + exp(-2.0 * inner)) * up;
        }
    }
}

/// Adds `y` to `x`.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Rotates the two halves of the first `2 * half` of every head's dimensions (Su et al. 2021), in place, and scales the result.
///
/// # Shapes
/// - `x`: `[heads, dim]` of one token; `cos`, `sin`: `[half]`
pub(crate) fn rotate(x: &mut [f32], dim: usize, cos: &[f32], sin: &[f32], scale: f32) {
    for head in x.chunks_exact_mut(dim) {
        let (turned, rest) = head.split_at_mut(2 * cos.len());
        let (low, high) = turned.split_at_mut(cos.len());
        for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*low, *high) = ((*low * cos - *high * sin) * scale, (*high * cos + *low * sin) * scale);
        }
        for x in rest {
            *x *= scale;
        }
    }
}

/// Some columns of a head's keys and values.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// `[head_dim, stride]`, transposed; from the first of the columns on, with at least [`LANES`] values behind the last one.
    pub(crate) keys: &'a [f32],
    /// Values from one dimension's keys to the next's.
    pub(crate) stride: usize,
    /// `[columns, padded(head_dim)]`, from the first of the columns on.
    pub(crate) values: &'a [f32],
    /// How many columns.
    pub(crate) count: usize,
}

/// Causal attention of queries over the columns of one key head: `softmax(q kᵀ) v`. The queries are scaled already.
///
/// # Shapes
/// - `queries`: `visible.len()` slices of `[head_dim]`; the columns `visible[i]`, at least one, are seen by query `i`
/// - output: `[queries, head_dim]`
pub(crate) fn attention(queries: &[&[f32]], visible: &[Range<usize>], context: &[Columns<'_>]) -> Vec<f32> {
    let dim = queries.first().map_or(0, |query| query.len());
    let mut out = vec![0.0; queries.len() * dim];
    let most = visible.iter().map(|columns| columns.end).max().unwrap_or(0);
    let mut scores = vec![0.0; BLOCK * (padded(most) + LANES)];
    Arch::new().dispatch(Attention { queries, visible, context, scores: &mut scores, out: &mut out });
    out
}

struct Attention<'a> {
    queries: &'a [&'a [f32]],
    visible: &'a [Range<usize>],
    context: &'a [Columns<'a>],
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, visible, context, scores, out } = self;
        let dim = queries.first().map_or(1, |query| query.len());
        // As many sums as hide the time that one takes, and no more than there are registers for.
        let most = if S::F32_LANES == LANES { BLOCK } else { BLOCK / 2 };
        let mut rest = (queries, visible, out);
        while !rest.0.is_empty() {
            let count = match rest.0.len() {
                left if left >= most => most,
                left => left.min(4),
            };
            let (queries, later_queries) = rest.0.split_at(count);
            let (visible, later_visible) = rest.1.split_at(count);
            let (out, later_out) = rest.2.split_at_mut(count * dim);
            match count {
                1 => block::<S, 1, 4>(simd, queries, visible, context, scores, out),
                2 => block::<S, 2, 4>(simd, queries, visible, context, scores, out),
                3 => block::<S, 3, 2>(simd, queries, visible, context, scores, out),
                4 => block::<S, 4, 2>(simd, queries, visible, context, scores, out),
                _ => block::<S, BLOCK, 1>(simd, queries, visible, context, scores, out),
            }
            rest = (later_queries, later_visible, later_out);
        }
    }
}

/// Attention of `Q` queries at once, to `N` registers of columns at a time. `scores` holds `Q` rows with room for every visible column and a
/// chunk more.
#[inline(always)]
fn block<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    queries: &[&[f32]],
    visible: &[Range<usize>],
    context: &[Columns<'_>],
    scores: &mut [f32],
    out: &mut [f32],
) {
    let dim = queries[0].len();
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &queries[q][..dim]);
    let visible: [Range<usize>; Q] = std::array::from_fn(|q| visible[q].clone());
    let most = visible.iter().map(|columns| columns.end).max().unwrap_or(0);
    // Nobody sees what stands before.
    let least = visible.iter().map(|columns| columns.start).min().unwrap_or(0);
    let width = scores.len() / Q;

    let mut before = 0;
    for columns in context {
        let count = columns.count.min(most - before);
        // The last register may reach past the segment: the next segment, or nobody, reads what it leaves there.
        let mut first = least.saturating_sub(before).min(count);
        while first < count {
            let (keys, scores) = (&columns.keys[first..], &mut scores[before + first..]);
            // `N` registers that reach past the segment by less than one chunk.
            if first + N * S::F32_LANES < count + S::F32_LANES {
                dot::<S, Q, N>(simd, &queries, keys, columns.stride, scores, width);
                first += N * S::F32_LANES;
            } else {
                dot::<S, Q, 1>(simd, &queries, keys, columns.stride, scores, width);
                first += S::F32_LANES;
            }
        }
        before += count;
    }

    let mut scale = [0f32; Q];
    for q in 0..Q {
        scale[q] = 1.0 / softmax(&mut scores[q * width..][..width], &visible[q], most);
    }

    // Two registers of dimensions where there are sums to spare.
    let (mut first, scores) = (0, &*scores);
    while first < dim {
        let out = &mut out[first..];
        if Q <= 4 && first + S::F32_LANES < dim {
            weigh::<S, Q, 2>(simd, scores, context, least..most, &scale, first, dim, out);
            first += 2 * S::F32_LANES;
        } else {
            weigh::<S, Q, 1>(simd, scores, context, least..most, &scale, first, dim, out);
            first += S::F32_LANES;
        }
    }
}

/// The products of `Q` queries with the keys of `N` registers of columns, written to the beginnings of rows of `width` scores.
#[inline(always)]
fn dot<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    queries: &[&[f32]; Q],
    keys: &[f32],
    stride: usize,
    scores: &mut [f32],
    width: usize,
) {
    let dim = queries[0].len();
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &queries[q][..dim]);
    let mut sums = [[simd.splat_f32s(0.0); N]; Q];
    for j in 0..dim {
        let (line, _) = S::as_simd_f32s(&keys[j * stride..][..N * S::F32_LANES]);
        let line: &[S::f32s; N] = line.try_into().expect("so many registers");
        for q in 0..Q {
            let query = simd.splat_f32s(queries[q][j]);
            for n in 0..N {
                sums[q][n] = simd.mul_add_f32s(query, line[n], sums[q][n]);
            }
        }
    }
    for (q, sums) in sums.iter().enumerate() {
        let (line, _) = S::as_mut_simd_f32s(&mut scores[q * width..][..N * S::F32_LANES]);
        line.copy_from_slice(sums);
    }
}

/// Makes the scores of the `visible` columns exponentials less their largest, those of all others up to `most` 0, and gives
/// the sum.
#[inline(always)]
fn softmax(row: &mut [f32], visible: &Range<usize>, most: usize) -> f32 {
    row[..visible.start].fill(0.0);
    // What the last chunk has beyond its end takes part as nothing: whole chunks are much faster than single values.
    let (seen, row) = (visible.len(), &mut row[visible.start..]);
    let whole = padded(seen);
    row[seen..whole].fill(f32::NEG_INFINITY);
    let largest = largest_of(&row[..whole]);
    for chunk in row[..whole].as_chunks_mut::<LANES>().0 {
        for score in chunk {
            *score = exp(*score - largest);
        }
    }
    row[seen..whole.max(most - visible.start)].fill(0.0);
    sum_of(&row[..whole], |x| x)
}

/// The values of the columns `seen` in `C` registers of dimensions from `first` on, weighed by `Q` rows of scores and scaled.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one loop of the function above, for two shapes")]
#[expect(clippy::needless_range_loop, reason = "over chunks of the values a fifth slower")]
fn weigh<S: Simd, const Q: usize, const C: usize>(
    simd: S,
    scores: &[f32],
    context: &[Columns<'_>],
    seen: Range<usize>,
    scale: &[f32; Q],
    first: usize,
    dim: usize,
    out: &mut [f32],
) {
    let (wide, width) = (padded(dim), scores.len() / Q);
    let mut sums = [[simd.splat_f32s(0.0); C]; Q];
    let mut before = 0;
    for columns in context {
        let end = columns.count.min(seen.end - before);
        let skipped = seen.start.saturating_sub(before).min(end);
        let count = end - skipped;
        let rows: [&[f32]; Q] = std::array::from_fn(|q| &scores[q * width + before + skipped..][..count]);
        for column in 0..count {
            let line = &columns.values[(skipped + column) * wide + first..][..C * S::F32_LANES];
            let line: &[S::f32s; C] = S::as_simd_f32s(line).0.try_into().expect("so many registers");
            for q in 0..Q {
                let weight = simd.splat_f32s(rows[q][column]);
                for c in 0..C {
                    sums[q][c] = simd.mul_add_f32s(weight, line[c], sums[q][c]);
                }
            }
        }
        before += end;
    }
    for (q, sums) in sums.iter().enumerate() {
        let end = dim.min(first + C * S::F32_LANES);
        let out = &mut out[q * dim..][..end - first];
        for (out, sum) in out.iter_mut().zip(pulp::bytemuck::cast_slice::<_, f32>(sums)) {
            *out = sum * scale[q];
        }
    }
}

/// A sum over lanes by position, folded in order.
#[inline(always)]
pub(crate) fn sum_of(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += of(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += of(*x);
    }
    lanes.iter().sum()
}

#[inline(always)]
pub(crate) fn largest_of(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    // Halves, and halves of them: sixteen in a row would wait for each other.
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = larger(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    rest.iter().fold(lanes[0], |a, b| larger(a, *b))
}

/// The exponential, within three units in the last place between -87 and 88, constant beyond; not a number stays so.
///
/// Not the system's: that one is scalar, and half of the time of a softmax. Cody and Waite's reduction to `|r| <= ln 2 / 2`, then
/// the Taylor series to the sixth power: the next term is at most 1.2e-7, a unit in the last place.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut sum = 1.0 / 720.0;
    for term in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = r.mul_add(sum, term);
    }
    // The integer's low bits become the exponent's.
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    sum * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::Seed;

    #[test]
    fn the_exponential_is_within_three_units_in_the_last_place() {
        let mut worst = 0;
        for step in -870_000..=880_000 {
            let x = step as f32 / 10_000.0;
            let (given, expected) = (exp(x), f64::from(x).exp() as f32);
            worst = worst.max(given.to_bits().abs_diff(expected.to_bits()));
        }
        assert!(worst <= 3, "{worst} units in the last place");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    }

    /// Attention as it is written in papers, in f64, over keys and values of `[columns, dim]`.
    fn reference(query: &[f32], keys: &[f32], values: &[f32], visible: &Range<usize>) -> Vec<f64> {
        let dim = query.len();
        let dot = |row: &[f32]| query.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let weights: Vec<f64> =
            keys.chunks(dim).take(visible.end).skip(visible.start).map(|row| dot(row).exp()).collect();
        let total: f64 = weights.iter().sum();
        let column = |j: usize| values.iter().skip(j + visible.start * dim).step_by(dim).map(|v| f64::from(*v));
        (0..dim).map(|j| weights.iter().zip(column(j)).map(|(w, v)| w * v).sum::<f64>() / total).collect()
    }

    /// Lays keys and values of `[columns, dim]` out as a segment does, with spare columns.
    fn lay_out(keys: &[f32], values: &[f32], dim: usize) -> (Vec<f32>, usize, Vec<f32>) {
        let count = keys.len() / dim;
        let stride = padded(count) + LANES;
        let (mut k, mut v) = (vec![f32::NAN; dim * stride + LANES], vec![f32::NAN; count * padded(dim)]);
        for column in 0..count {
            for j in 0..dim {
                k[j * stride + column] = keys[column * dim + j];
                v[column * padded(dim) + j] = values[column * dim + j];
            }
        }
        (k, stride, v)
    }

    #[test]
    fn attention_is_that_of_the_definition_and_does_not_depend_on_how_its_context_is_cut() {
        let mut stream = Seed::root(3).stream();
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        for (dim, columns, window, cuts) in [
            (28, 50, 50, vec![0, 50]),
            (28, 50, 9, vec![0, 50]),
            (28, 50, 50, vec![0, 1, 17, 33, 50]),
            (28, 50, 20, vec![0, 1, 17, 33, 50]),
            (16, 1, 1, vec![0, 1]),
            (64, 129, 129, vec![0, 100, 129]),
            (64, 129, 17, vec![0, 100, 129]),
            (12, 40, 40, vec![0, 16, 32, 40]),
            (12, 40, 1, vec![0, 16, 32, 40]),
        ] {
            let (keys, values) = (draw(columns * dim), draw(columns * dim));
            // More than one block, whatever the processor.
            let queries = draw(11 * dim);
            let queries: Vec<&[f32]> = queries.chunks(dim).collect();
            let ends = (0..11).map(|q| columns.saturating_sub(10 - q).max(1));
            let visible: Vec<Range<usize>> = ends.map(|end| end.saturating_sub(window)..end).collect();
            let run = |cuts: &[usize], only: Range<usize>| {
                let laid: Vec<_> = cuts
                    .windows(2)
                    .map(|cut| {
                        (
                            lay_out(&keys[cut[0] * dim..cut[1] * dim], &values[cut[0] * dim..cut[1] * dim], dim),
                            cut[1] - cut[0],
                        )
                    })
                    .collect();
                let context: Vec<Columns<'_>> = laid
                    .iter()
                    .map(|((keys, stride, values), count)| Columns { keys, stride: *stride, values, count: *count })
                    .collect();
                attention(&queries[only.clone()], &visible[only], &context)
            };
            let given = run(&cuts, 0..11);
            assert!(given == run(&[0, columns], 0..11), "{dim} {columns} {window} {cuts:?}: the cuts show");
            for q in 0..11 {
                assert!(given[q * dim..(q + 1) * dim] == run(&cuts, q..q + 1), "query {q} depends on its neighbours");
                for (g, e) in given[q * dim..].iter().zip(reference(queries[q], &keys, &values, &visible[q])) {
                    assert!((f64::from(*g) - e).abs() < 2e-6 * (1.0 + e.abs()) * 8.0, "query {q}: {g} {e}");
                }
            }
        }
    }

    #[test]
    fn norm_and_activation_are_those_of_their_definitions() {
        let mut stream = Seed::root(4).stream();
        let x: Vec<f32> = (0..2 * 37).map(|_| stream.normal() as f32 * 3.0).collect();
        let weight: Vec<f32> = (0..37).map(|_| stream.normal() as f32).collect();
        let given = rms_norm(&x, &weight, 1e-6);
        for (row, given) in x.chunks(37).zip(given.chunks(37)) {
            let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 37.0;
            for ((x, w), g) in row.iter().zip(&weight).zip(given) {
                let expected = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(*w);
                assert!((expected - f64::from(*g)).abs() < 1e-5, "{expected} {g}");
            }
        }
        let (mut gate, up) = (x[..37].to_vec(), x[37..].to_vec());
        geglu(&mut gate, &up);
        for ((x, up), g) in x.iter().zip(&up).zip(&gate) {
            let x = f64::from(*x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            let expected = 0.5 * x * (1.0 + inner.tanh()) * f64::from(*up);
            assert!((expected - f64::from(*g)).abs() < 1e-5, "{expected} {g}");
        }
        let (mut gate, up) = (x[..37].to_vec(), x[37..].to_vec());
        swiglu(&mut gate, &up);
        for ((x, up), g) in x.iter().zip(&up).zip(&gate) {
            let expected = f64::from(*x) / (1.0 + (-f64::from(*x)).exp()) * f64::from(*up);
            assert!((expected - f64::from(*g)).abs() < 1e-5, "{expected} {g}");
        }
    }
}
