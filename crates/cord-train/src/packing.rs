//! Which samples share a part: best fit, longest first (Johnson 1973), which leaves little room unused.

use crate::Example;

/// Packs a batch's samples into parts of at most `part_tokens` tokens; a longer sample has a part of its own. Ties go to the earlier part.
pub(crate) fn pack<'a>(batch: &[&'a Example], part_tokens: usize) -> Vec<Vec<&'a Example>> {
    let mut rows: Vec<&Example> = batch.to_vec();
    rows.sort_by_key(|e| std::cmp::Reverse(e.ids.len()));
    let mut parts: Vec<(usize, Vec<&Example>)> = Vec::new();
    for row in rows {
        let count = row.ids.len();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_go_where_they_leave_the_least_room() {
        let examples: Vec<Example> = [3, 9, 4, 6, 2, 12, 5]
            .iter()
            .map(|count| Example { id: count.to_string(), ids: vec![0; *count], supervised: vec![true; *count] })
            .collect();
        let batch: Vec<&Example> = examples.iter().collect();
        let lengths = |parts: Vec<Vec<&Example>>| -> Vec<Vec<usize>> {
            parts.iter().map(|part| part.iter().map(|e| e.ids.len()).collect()).collect()
        };
        assert_eq!(lengths(pack(&batch, 10)), [vec![12], vec![9], vec![6, 4], vec![5, 3, 2]]);
        assert_eq!(lengths(pack(&batch, 0)).len(), 7);
        assert_eq!(lengths(pack(&batch, usize::MAX)), [vec![12, 9, 6, 5, 4, 3, 2]]);
    }
}
