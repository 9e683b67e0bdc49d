//! Which samples share a part: best fit, longest first (Johnson 1973), which leaves little room unused, or neighbours by length.

/// Packs a batch's items into parts of at most `part_tokens` tokens; a longer item has a part of its own. Ties go to the earlier part.
pub(crate) fn pack<T: Copy>(batch: &[T], tokens: impl Fn(&T) -> usize, part_tokens: usize) -> Vec<Vec<T>> {
    let mut rows: Vec<T> = batch.to_vec();
    rows.sort_by_key(|item| std::cmp::Reverse(tokens(item)));
    let mut parts: Vec<(usize, Vec<T>)> = Vec::new();
    for row in rows {
        let count = tokens(&row);
        let best = parts.iter_mut().filter(|(room, _)| *room >= count).min_by_key(|(room, _)| *room);
        match best {
            Some((room, part)) => {
                *room -= count;
                part.push(row);
            }
            None => parts.push((part_tokens.saturating_sub(count), vec![row])),
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Cuts a batch, sorted by length, into runs of at most `part_tokens` tokens; at least one item each.
pub(crate) fn cut<T: Copy>(batch: &[T], tokens: impl Fn(&T) -> usize, part_tokens: usize) -> Vec<Vec<T>> {
    let mut rows: Vec<T> = batch.to_vec();
    rows.sort_by_key(&tokens);
    let mut parts: Vec<(usize, Vec<T>)> = Vec::new();
    for row in rows {
        let count = tokens(&row);
        match parts.last_mut() {
            Some((sum, part)) if *sum + count <= part_tokens => {
                *sum += count;
                part.push(row);
            }
            _ => parts.push((count, vec![row])),
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_go_where_they_leave_the_least_room() {
        let batch = [3, 9, 4, 6, 2, 12, 5];
        let packed = |part_tokens| pack(&batch, |count| *count, part_tokens);
        assert_eq!(packed(10), [vec![12], vec![9], vec![6, 4], vec![5, 3, 2]]);
        assert_eq!(packed(0).len(), 7);
        assert_eq!(packed(usize::MAX), [vec![12, 9, 6, 5, 4, 3, 2]]);
    }

    #[test]
    fn a_cut_batch_is_in_runs_of_like_length() {
        assert_eq!(
            cut(&[3, 9, 4, 6, 2, 12, 5], |count| *count, 10),
            [vec![2, 3, 4], vec![5], vec![6], vec![9], vec![12]]
        );
    }
}
