//! "Did you mean": the nearest of a few words.

/// The word nearest to `given`, where it is near enough to have been meant.
pub(crate) fn nearest<'a>(given: &str, words: &'a [String]) -> Option<&'a String> {
    // A third of the letters wrong, and at least one: `pth` is `path`, `model` is not `width`.
    let most = (given.chars().count() / 3).max(1);
    let (distance, word) = words.iter().map(|word| (distance(given, word), word)).min_by_key(|pair| pair.0)?;
    (distance <= most).then_some(word)
}

/// The edits (insert, delete, replace, swap two neighbours) between two words: optimal string alignment.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (fold(a), fold(b));
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// `top_p` and `top-p` are one word to whoever wrote it.
fn fold(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words: Vec<String> = ["path", "width", "learning-rate", "top-p"].map(String::from).to_vec();
        let check = |given: &str, expected: Option<&str>| {
            assert_eq!(nearest(given, &words).map(String::as_str), expected, "{given}");
        };
        check("pth", Some("path"));
        check("widht", Some("width"));
        check("learning_rate", Some("learning-rate"));
        check("learningrate", Some("learning-rate"));
        check("top_p", Some("top-p"));
        check("model", None);
        check("", None);
    }
}
