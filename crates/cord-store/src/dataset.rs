//! Data sets for others to train on: Parquet with the nested columns that trainers read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, UInt64Array};
use arrow_buffer::OffsetBuffer;
use arrow_schema::Field;
use cord_core::Message;

use crate::columns::Columns;
use crate::{StoreError, durable};

const TABLE: &str = "data set";

/// A column of a data set, one value for each row.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetColumn {
    /// Texts.
    Text(Vec<String>),
    /// Whole numbers.
    Count(Vec<u64>),
    /// Finite numbers.
    Number(Vec<f64>),
    /// Conversations: lists of structs of `role` and `content`.
    Conversation(Vec<Vec<Message>>),
    /// Lists of texts.
    Texts(Vec<Vec<String>>),
    /// Lists of yes and no.
    Flags(Vec<Vec<bool>>),
    /// Lists of whole numbers.
    Integers(Vec<Vec<i64>>),
}

impl DatasetColumn {
    fn rows(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Count(values) => values.len(),
            Self::Number(values) => values.len(),
            Self::Conversation(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Flags(values) => values.len(),
            Self::Integers(values) => values.len(),
        }
    }
}

/// Writes rows in the order they have, with these columns in theirs. Sort the rows first: scheduling must not change bytes.
///
/// # Errors
/// Columns of different lengths, and numbers that are none.
pub fn dataset_to_parquet(columns: &[(&str, DatasetColumn)]) -> Result<Vec<u8>, StoreError> {
    let rows = columns.first().map_or(0, |(_, column)| column.rows());
    if let Some((name, other)) = columns.iter().find(|(_, column)| column.rows() != rows) {
        let reason = format!("expected {rows} rows in every column, got {} in `{name}`", other.rows());
        return Err(StoreError::Rows { table: TABLE, reason });
    }
    let mut out = Columns::default();
    for (name, column) in columns {
        match column {
            DatasetColumn::Text(values) => out.text(name, values.iter().map(String::as_str)),
            DatasetColumn::Count(values) => out.add(name, UInt64Array::from(values.clone())),
            DatasetColumn::Number(values) => {
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    let reason = format!("expected finite numbers in `{name}`, got `{value}`");
                    return Err(StoreError::Rows { table: TABLE, reason });
                }
                out.add(name, Float64Array::from(values.clone()));
            }
            DatasetColumn::Conversation(values) => {
                let all = || values.iter().flatten();
                let mut turns = Columns::default();
                turns.words("role", all().map(|message| &message.role));
                turns.text("content", all().map(|message| message.content.as_str()));
                out.add(name, lists(values.iter().map(Vec::len), turns.into_struct()));
            }
            DatasetColumn::Texts(values) => {
                let all = StringArray::from_iter_values(values.iter().flatten());
                out.add(name, lists(values.iter().map(Vec::len), all));
            }
            DatasetColumn::Flags(values) => {
                let all = BooleanArray::from(values.iter().flatten().copied().collect::<Vec<_>>());
                out.add(name, lists(values.iter().map(Vec::len), all));
            }
            DatasetColumn::Integers(values) => {
                let all = Int64Array::from_iter_values(values.iter().flatten().copied());
                out.add(name, lists(values.iter().map(Vec::len), all));
            }
        }
    }
    out.into_parquet(TABLE)
}

fn lists(lengths: impl Iterator<Item = usize>, items: impl Array + 'static) -> ListArray {
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    ListArray::new(field, OffsetBuffer::from_lengths(lengths), Arc::new(items), None)
}

/// Writes a file that is no stage's, whole or not at all, and makes the folders that it needs.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder, "make the folder"))?;
    }
    durable::write(path, bytes)?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    #[test]
    fn nested_columns_are_read_back_as_any_reader_sees_them() {
        let turns = vec![vec![Message::user("q"), Message::assistant("a")], vec![Message::user("r")]];
        let columns = [
            ("id", DatasetColumn::Text(vec!["p/0".into(), "q/0".into()])),
            ("messages", DatasetColumn::Conversation(turns)),
            ("completions", DatasetColumn::Texts(vec![Vec::new(), vec!["s".into(), "t".into()]])),
            ("labels", DatasetColumn::Flags(vec![Vec::new(), vec![true, false]])),
            ("shared", DatasetColumn::Count(vec![3, 4])),
            ("margin", DatasetColumn::Number(vec![0.5, 0.25])),
        ];
        let bytes = dataset_to_parquet(&columns).unwrap();
        assert_eq!(dataset_to_parquet(&columns).unwrap(), bytes, "the same rows give the same bytes");
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let [batch] = batches.as_slice() else { panic!("expected one batch") };
        let messages = batch.column_by_name("messages").unwrap().as_list::<i32>();
        let first = messages.value(0);
        let first = first.as_struct();
        let column = |name: &str| -> Vec<Option<String>> {
            let texts = first.column_by_name(name).unwrap().as_string::<i32>();
            texts.iter().map(|text| text.map(str::to_owned)).collect()
        };
        assert_eq!(column("role"), [Some("user".into()), Some("assistant".into())]);
        assert_eq!(column("content"), [Some("q".into()), Some("a".into())]);
        let labels = batch.column_by_name("labels").unwrap().as_list::<i32>();
        assert_eq!(
            (labels.value(0).len(), labels.value(1).as_boolean().iter().collect::<Vec<_>>()),
            (0, vec![Some(true), Some(false)])
        );
    }

    #[test]
    fn no_rows_are_a_file_with_columns_too() {
        let bytes = dataset_to_parquet(&[("id", DatasetColumn::Text(Vec::new()))]).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        assert_eq!(reader.schema().fields().len(), 1);
    }

    #[test]
    fn what_is_no_column_is_refused() {
        let fault = |columns: &[(&str, DatasetColumn)]| dataset_to_parquet(columns).unwrap_err().to_string();
        let text = || DatasetColumn::Text(vec!["a".into()]);
        insta::assert_snapshot!(fault(&[("id", text()), ("n", DatasetColumn::Count(vec![1, 2]))]), @"`data set`: expected 1 rows in every column, got 2 in `n`");
        insta::assert_snapshot!(fault(&[("id", text()), ("x", DatasetColumn::Number(vec![f64::NAN]))]), @"`data set`: expected finite numbers in `x`, got `NaN`");
    }
}
