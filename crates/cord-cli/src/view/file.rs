//! The page as one file that carries its data.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cord_report::view::{ProblemPage, StaticPage};

use super::library::Library;

/// The most characters of a text that was not chosen, tried one after the other until the file fits. Nothing is cut in the
/// first.
const CUTS: [usize; 5] = [usize::MAX, 4_000, 1_000, 200, 0];

/// How many problems say how large all will be.
const PROBES: usize = 24;

/// What was written.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// What is not in the file, in words.
    pub(super) notes: Vec<String>,
}

/// Writes the page to `to`: a file where that ends in `.html`, otherwise `index.html` in that folder. The data of problems
/// takes about `most` bytes: a cut that was chosen by some of them may turn out a little too mild for all.
pub(super) fn write(mut library: Library, to: &Path, most: u64) -> Result<Written> {
    let path = if to.extension().is_some_and(|ending| ending == "html") { to.into() } else { to.join("index.html") };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("can't make the folder `{}`", folder.display()))?;
    }
    // Whole or not at all.
    let temporary = path.with_extension("html.writing");
    let file = File::create(&temporary).with_context(|| format!("can't write `{}`", temporary.display()))?;
    let pages: Vec<(usize, usize, usize)> = library.pages().collect();
    let cut = choose_cut(&library, &pages, most)?;
    let mut page = StaticPage::begin(BufWriter::new(file), &library.overview.title)?;
    let (begun, end, mut left_out) = (page.written(), most + most / 20, 0);
    for (collection, arm, problem) in pages.iter().copied() {
        if left_out > 0 || page.written() - begun > end {
            left_out += 1;
            continue;
        }
        if let Some(mut found) = library.page(collection, arm, problem)? {
            found.cut_lost_texts(cut);
            page.add(collection, arm, problem, &found)?;
        }
    }
    let mut notes = Vec::new();
    if cut < usize::MAX {
        notes.push(format!(
            "To keep this file small, texts of candidates that were not chosen, and of samples, are cut to {cut} characters. \
             `cord view` of the run's folder shows them whole."
        ));
    }
    if left_out > 0 {
        notes.push(format!(
            "The last {left_out} of {} problems, counted for each arm, are in the list but not in this file. A larger \
             `--limit` takes them in, and `cord view` of the run's folder shows them.",
            pages.len()
        ));
    }
    library.overview.notes.extend(notes.iter().cloned());
    let mut file = page.finish(&library.overview)?;
    file.flush().with_context(|| format!("can't write `{}`", temporary.display()))?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all().with_context(|| format!("can't write `{}`", temporary.display()))?;
    let bytes = file.metadata()?.len();
    std::fs::rename(&temporary, &path).with_context(|| format!("can't write `{}`", path.display()))?;
    Ok(Written { path, bytes, notes })
}

/// The mildest cut with which all problems fit, as far as some of them tell; the hardest where none does.
fn choose_cut(library: &Library, pages: &[(usize, usize, usize)], most: u64) -> Result<usize> {
    let stride = pages.len().div_ceil(PROBES).max(1);
    let mut probes: Vec<ProblemPage> = Vec::new();
    for (collection, arm, problem) in pages.iter().copied().step_by(stride) {
        probes.extend(library.page(collection, arm, problem)?);
    }
    let whole: Vec<u64> = probes.iter().map(ProblemPage::packed_bytes).collect::<std::io::Result<_>>()?;
    let estimate = |sizes: &[u64]| sizes.iter().sum::<u64>() as f64 / sizes.len().max(1) as f64 * pages.len() as f64;
    if estimate(&whole) <= most as f64 {
        return Ok(usize::MAX);
    }
    for cut in CUTS.into_iter().skip(1) {
        for page in &mut probes {
            page.cut_lost_texts(cut);
        }
        let sizes: Vec<u64> = probes.iter().map(ProblemPage::packed_bytes).collect::<std::io::Result<_>>()?;
        if estimate(&sizes) <= most as f64 {
            return Ok(cut);
        }
    }
    Ok(CUTS[CUTS.len() - 1])
}
