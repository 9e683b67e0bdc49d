//! Tables that are sorted by problem, read one problem at a time.
//!
//! A ledger of long searches does not fit in memory. Opening one of these reads the file's metadata and its column of
//! problems; the rows of a problem are then read alone, from the pages that hold them.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cord_core::{ProblemId, Trajectory};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::metadata::PageIndexPolicy;

use crate::columns::Rows;
use crate::{LedgerRow, SampleRow, StoreError, ledger, samples, trajectories};

/// Rows in memory at once while a whole table is walked through: a response may be of a hundred kilobytes.
const BATCH: usize = 64;

/// A table of one row type, sorted by problem.
#[derive(Debug)]
pub struct ByProblem<T> {
    path: PathBuf,
    table: &'static str,
    metadata: ArrowReaderMetadata,
    /// The rows of each problem, counted from the file's first.
    places: BTreeMap<ProblemId, Range<usize>>,
    read: fn(&Rows) -> Result<Vec<T>, StoreError>,
}

impl ByProblem<LedgerRow> {
    /// Opens a `candidates.parquet`.
    pub fn candidates(path: &Path) -> Result<Self, StoreError> {
        Self::open(path, ledger::TABLE, ledger::read_rows)
    }
}

impl ByProblem<Trajectory> {
    /// Opens a `trajectories.parquet`.
    pub fn trajectories(path: &Path) -> Result<Self, StoreError> {
        Self::open(path, trajectories::TABLE, trajectories::read_rows)
    }
}

impl ByProblem<SampleRow> {
    /// Opens a `samples.parquet`.
    pub fn samples(path: &Path) -> Result<Self, StoreError> {
        Self::open(path, samples::TABLE, samples::read_rows)
    }
}

impl<T> ByProblem<T> {
    fn open(
        path: &Path,
        table: &'static str,
        read: fn(&Rows) -> Result<Vec<T>, StoreError>,
    ) -> Result<Self, StoreError> {
        let fault = |source| StoreError::Parquet { table, source };
        let file = File::open(path).map_err(StoreError::io(path, "open the file"))?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(fault)?;
        let mut places: BTreeMap<ProblemId, Range<usize>> = BTreeMap::new();
        let mut row = 0;
        let problems = ProjectionMask::columns(metadata.parquet_schema(), ["problem"]);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_projection(problems)
            .build()
            .map_err(fault)?;
        for batch in reader {
            let batch = batch.map_err(|source| StoreError::Arrow { table, source })?;
            for problem in Rows::new(table, batch).text("problem")? {
                let place = places.entry(problem).or_insert(row..row);
                if place.end != row {
                    return Err(StoreError::Table {
                        table,
                        expected: "rows sorted by problem".to_owned(),
                        given: format!("row {row}, of a problem whose rows ended at row {}", place.end),
                    });
                }
                row += 1;
                place.end = row;
            }
        }
        Ok(Self { path: path.to_path_buf(), table, metadata, places, read })
    }

    /// The problems and how many rows each has, in the order of their names.
    pub fn problems(&self) -> impl Iterator<Item = (&str, usize)> {
        self.places.iter().map(|(problem, place)| (problem.as_str(), place.len()))
    }

    /// How many rows a problem has.
    pub fn count(&self, problem: &str) -> usize {
        self.places.get(problem).map_or(0, Range::len)
    }

    /// Reads the rows of a problem; none where it has none.
    pub fn rows(&self, problem: &str) -> Result<Vec<T>, StoreError> {
        let Some(place) = self.places.get(problem) else { return Ok(Vec::new()) };
        // Only the row groups that hold the problem, and in them only its rows.
        let (mut groups, mut before, mut within, mut begin) = (Vec::new(), 0, 0, 0);
        for (index, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let end = begin + group.num_rows() as usize;
            if begin < place.end && place.start < end {
                if groups.is_empty() {
                    before = begin;
                }
                groups.push(index);
                within += end - begin;
            }
            begin = end;
        }
        let wanted = place.start - before..place.end - before;
        let selection = RowSelection::from_consecutive_ranges(std::iter::once(wanted), within);
        let mut rows = Vec::with_capacity(place.len());
        let reader = self.reader()?.with_row_groups(groups).with_row_selection(selection);
        self.walk::<StoreError>(reader, &mut |batch| {
            rows.extend(batch);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Hands all rows to `visit`, in order and a few at a time.
    ///
    /// # Errors
    /// What reading brings, and what `visit` returns.
    pub fn each<E: From<StoreError>>(&self, visit: &mut dyn FnMut(Vec<T>) -> Result<(), E>) -> Result<(), E> {
        let reader = self.reader()?;
        self.walk(reader, visit)
    }

    fn reader(&self) -> Result<ParquetRecordBatchReaderBuilder<File>, StoreError> {
        let file = File::open(&self.path).map_err(StoreError::io(&self.path, "open the file"))?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone()).with_batch_size(BATCH))
    }

    fn walk<E: From<StoreError>>(
        &self,
        reader: ParquetRecordBatchReaderBuilder<File>,
        visit: &mut dyn FnMut(Vec<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let table = self.table;
        for batch in reader.build().map_err(|source| StoreError::Parquet { table, source })? {
            let batch = batch.map_err(|source| StoreError::Arrow { table, source })?;
            visit((self.read)(&Rows::new(table, batch))?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cord_core::{Finish, Usage};

    use super::*;

    fn row(problem: usize, sample: u32) -> SampleRow {
        SampleRow {
            problem: format!("p{problem:05}"),
            sample,
            response: format!("{problem}/{sample} {}", "x".repeat(problem % 50)),
            finish: Finish::Eos,
            verdict: "correct".into(),
            reason: None,
            extracted: None,
            correct: true,
            marks: BTreeMap::new(),
            usage: Usage::default(),
        }
    }

    #[test]
    fn a_problem_is_read_alone_wherever_its_rows_lie() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.parquet");
        // More than two row groups; rows of the problems at their borders lie in both.
        let rows: Vec<SampleRow> =
            (0..7_000).flat_map(|problem| (0..5).map(move |sample| row(problem, sample))).collect();
        std::fs::write(&path, crate::samples_to_parquet(&rows).unwrap()).unwrap();
        let table = ByProblem::samples(&path).unwrap();
        assert!(table.metadata.metadata().num_row_groups() > 2);
        for problem in [0, 1, 3_275, 3_276, 3_277, 6_552, 6_553, 6_554, 6_999] {
            let expected: Vec<SampleRow> = (0..5).map(|sample| row(problem, sample)).collect();
            assert_eq!(table.rows(&format!("p{problem:05}")).unwrap(), expected, "problem {problem}");
        }
        assert_eq!((table.rows("nobody").unwrap(), table.count("nobody"), table.count("p00000")), (Vec::new(), 0, 5));
        let mut all = Vec::new();
        table
            .each::<StoreError>(&mut |some| {
                assert!(some.len() <= BATCH);
                all.extend(some);
                Ok(())
            })
            .unwrap();
        assert_eq!(all, rows);
        assert_eq!(table.problems().count(), 7_000);
    }
}
