//! Rows to columns and back, the same bytes for the same rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, ListArray, RecordBatch, StringArray, StructArray, UInt32Array,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use cord_core::{Finish, Usage};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// Small enough that a reader of one problem skips most of a large table.
const ROWS_IN_A_GROUP: usize = 16_384;

/// Columns being made, in their order in the file.
#[derive(Default)]
pub(crate) struct Columns(Vec<(Field, ArrayRef)>);

impl Columns {
    pub(crate) fn add(&mut self, name: &str, array: impl Array + 'static) {
        self.0.push((Field::new(name, array.data_type().clone(), false), Arc::new(array)));
    }

    pub(crate) fn text<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        self.add(name, StringArray::from_iter_values(values));
    }

    pub(crate) fn optional_text<'a>(&mut self, name: &str, values: impl Iterator<Item = Option<&'a str>>) {
        let array: StringArray = values.collect();
        self.0.push((Field::new(name, DataType::Utf8, true), Arc::new(array)));
    }

    /// Values of a closed set, by the words that serde has for them.
    pub(crate) fn words<'a, T: Serialize + 'a>(&mut self, name: &str, values: impl Iterator<Item = &'a T>) {
        self.add(name, StringArray::from_iter_values(values.map(word)));
    }

    pub(crate) fn small(&mut self, name: &str, values: impl Iterator<Item = u32>) {
        self.add(name, UInt32Array::from_iter_values(values));
    }

    pub(crate) fn optional_small(&mut self, name: &str, values: impl Iterator<Item = Option<u32>>) {
        let array: UInt32Array = values.collect();
        self.0.push((Field::new(name, DataType::UInt32, true), Arc::new(array)));
    }

    pub(crate) fn optional_float(&mut self, name: &str, values: impl Iterator<Item = Option<f64>>) {
        let array: Float64Array = values.collect();
        self.0.push((Field::new(name, DataType::Float64, true), Arc::new(array)));
    }

    pub(crate) fn flag(&mut self, name: &str, values: impl Iterator<Item = bool>) {
        self.add(name, BooleanArray::from(values.collect::<Vec<_>>()));
    }

    pub(crate) fn finish<'a>(&mut self, values: impl Iterator<Item = &'a Finish> + Clone) {
        self.text(
            "finish",
            values.clone().map(|finish| match finish {
                Finish::Eos => "eos",
                Finish::Delimiter(_) => "delimiter",
                Finish::Length => "length",
            }),
        );
        self.optional_text(
            "delimiter",
            values.map(|finish| match finish {
                Finish::Delimiter(text) => Some(text.as_str()),
                Finish::Eos | Finish::Length => None,
            }),
        );
    }

    pub(crate) fn usage(&mut self, values: &(impl Iterator<Item = Usage> + Clone)) {
        let mut add = |name, pick: fn(&Usage) -> u64| {
            self.add(name, UInt64Array::from_iter_values(values.clone().map(|usage| pick(&usage))));
        };
        add("prompt_tokens", |usage| usage.prompt_tokens);
        add("generated_tokens", |usage| usage.generated_tokens);
        add("scored_tokens", |usage| usage.scored_tokens);
    }

    /// The columns as one, each row a struct.
    pub(crate) fn into_struct(self) -> StructArray {
        let rows = self.0.first().map_or(0, |(_, array)| array.len());
        let (fields, arrays): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        if arrays.is_empty() {
            return StructArray::new_empty_fields(rows, None);
        }
        StructArray::new(fields.into(), arrays, None)
    }

    /// The Parquet file.
    pub(crate) fn into_parquet(self, table: &'static str) -> Result<Vec<u8>, StoreError> {
        Self::all_to_parquet(table, std::iter::once(Ok(self)))
    }

    /// The Parquet file of many rows. `columns` makes those of one row group: a column of all of a large table's text would not
    /// fit the 2 GiB that an array's offsets reach.
    pub(crate) fn groups_to_parquet<T>(
        table: &'static str,
        rows: &[T],
        columns: impl Fn(&[T]) -> Result<Self, StoreError>,
    ) -> Result<Vec<u8>, StoreError> {
        // A table without rows has its columns all the same.
        let empty = rows.is_empty().then_some(rows);
        Self::all_to_parquet(table, empty.into_iter().chain(rows.chunks(ROWS_IN_A_GROUP)).map(columns))
    }

    /// Columns of the same names and types, one batch after the other.
    fn all_to_parquet(
        table: &'static str,
        batches: impl Iterator<Item = Result<Self, StoreError>>,
    ) -> Result<Vec<u8>, StoreError> {
        let level = ZstdLevel::try_new(3).expect("3 is one of zstd's levels");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(format!("cord-store version {}", env!("CARGO_PKG_VERSION")))
            .set_max_row_group_row_count(Some(ROWS_IN_A_GROUP))
            .build();
        let fault = |source| StoreError::Parquet { table, source };
        let mut writer = None;
        for columns in batches {
            let (fields, arrays): (Vec<_>, Vec<_>) = columns?.0.into_iter().unzip();
            let schema = Arc::new(Schema::new(fields));
            let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)
                .map_err(|source| StoreError::Arrow { table, source })?;
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(ArrowWriter::try_new(Vec::new(), schema, Some(properties.clone())).map_err(fault)?),
            };
            writer.write(&batch).map_err(fault)?;
        }
        writer.expect("a table has at least one batch").into_inner().map_err(fault)
    }
}

/// Columns being read: those of a whole file's batch, or of a struct inside it.
pub(crate) struct Rows {
    table: &'static str,
    columns: StructArray,
}

impl Rows {
    pub(crate) fn new(table: &'static str, batch: RecordBatch) -> Self {
        Self { table, columns: batch.into() }
    }

    /// Reads a Parquet file and hands each of its batches to `read`, in order.
    pub(crate) fn of_parquet<T>(
        table: &'static str,
        bytes: Vec<u8>,
        mut read: impl FnMut(&Self) -> Result<Vec<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes))
            .and_then(ParquetRecordBatchReaderBuilder::build);
        let mut rows = Vec::new();
        for batch in reader.map_err(|source| StoreError::Parquet { table, source })? {
            let batch = batch.map_err(|source| StoreError::Arrow { table, source })?;
            rows.extend(read(&Self::new(table, batch))?);
        }
        Ok(rows)
    }

    fn column(&self, name: &str, kind: &DataType) -> Result<&ArrayRef, StoreError> {
        let fault = |given: String| {
            let expected = format!("a column `{name}` of type `{kind}`");
            StoreError::Table { table: self.table, expected, given }
        };
        let column = self.columns.column_by_name(name).ok_or_else(|| {
            let names: Vec<_> = self.columns.column_names().iter().map(|name| format!("`{name}`")).collect();
            fault(format!("the columns {}", names.join(", ")))
        })?;
        if column.data_type() != kind {
            return Err(fault(format!("one of type `{}`", column.data_type())));
        }
        Ok(column)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.columns.column_by_name(name).is_some()
    }

    fn required<T>(&self, name: &str, values: impl Iterator<Item = Option<T>>) -> Result<Vec<T>, StoreError> {
        let missing = |row: usize| StoreError::Table {
            table: self.table,
            expected: format!("a value for `{name}` in every row"),
            given: format!("none in row {row}"),
        };
        values.enumerate().map(|(row, value)| value.ok_or_else(|| missing(row))).collect()
    }

    pub(crate) fn text(&self, name: &str) -> Result<Vec<String>, StoreError> {
        self.required(name, self.optional_text(name)?.into_iter())
    }

    pub(crate) fn optional_text(&self, name: &str) -> Result<Vec<Option<String>>, StoreError> {
        let column = self.column(name, &DataType::Utf8)?.as_string::<i32>();
        Ok(column.iter().map(|text| text.map(str::to_owned)).collect())
    }

    pub(crate) fn words<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, StoreError> {
        let values = self.text(name)?.into_iter().map(|text| {
            let value = serde_json::from_value(serde_json::Value::String(text.clone()));
            value.map_err(|error| StoreError::Table {
                table: self.table,
                expected: format!("a known word for `{name}` ({error})"),
                given: format!("`{text}`"),
            })
        });
        values.collect()
    }

    pub(crate) fn small(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        self.required(name, self.optional_small(name)?.into_iter())
    }

    pub(crate) fn optional_small(&self, name: &str) -> Result<Vec<Option<u32>>, StoreError> {
        Ok(self.column(name, &DataType::UInt32)?.as_primitive::<UInt32Type>().iter().collect())
    }

    pub(crate) fn large(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        self.required(name, self.column(name, &DataType::UInt64)?.as_primitive::<UInt64Type>().iter())
    }

    pub(crate) fn optional_float(&self, name: &str) -> Result<Vec<Option<f64>>, StoreError> {
        Ok(self.column(name, &DataType::Float64)?.as_primitive::<Float64Type>().iter().collect())
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Vec<bool>, StoreError> {
        self.required(name, self.column(name, &DataType::Boolean)?.as_boolean().iter())
    }

    pub(crate) fn finish(&self) -> Result<Vec<Finish>, StoreError> {
        let pairs = self.text("finish")?.into_iter().zip(self.optional_text("delimiter")?);
        let values = pairs.map(|pair| match (pair.0.as_str(), pair.1) {
            ("eos", None) => Ok(Finish::Eos),
            ("length", None) => Ok(Finish::Length),
            ("delimiter", Some(text)) => Ok(Finish::Delimiter(text)),
            (finish, delimiter) => Err(StoreError::Table {
                table: self.table,
                expected: "`eos`, `length`, or `delimiter` with its text".to_owned(),
                given: format!("`{finish}` with {delimiter:?}"),
            }),
        });
        values.collect()
    }

    pub(crate) fn usage(&self) -> Result<Vec<Usage>, StoreError> {
        let (prompt, generated) = (self.large("prompt_tokens")?, self.large("generated_tokens")?);
        let counts = prompt.into_iter().zip(generated).zip(self.large("scored_tokens")?);
        let usage = counts.map(|((prompt_tokens, generated_tokens), scored_tokens)| Usage {
            prompt_tokens,
            generated_tokens,
            scored_tokens,
        });
        Ok(usage.collect())
    }

    /// A column of lists of structs: for each row, its structs' columns.
    pub(crate) fn lists(&self, name: &str) -> Result<Vec<Self>, StoreError> {
        let fault = |given: String| StoreError::Table {
            table: self.table,
            expected: format!("a column `{name}` of lists of structs"),
            given,
        };
        let column = self.columns.column_by_name(name).ok_or_else(|| fault("no such column".to_owned()))?;
        let kind = column.data_type();
        let lists: &ListArray = column.as_list_opt().ok_or_else(|| fault(format!("one of type `{kind}`")))?;
        let lists = lists.iter().map(|list| {
            let list = list.ok_or_else(|| fault("a row without a list".to_owned()))?;
            let columns = list.as_struct_opt().ok_or_else(|| fault(format!("one of type `{kind}`")))?;
            Ok(Self { table: self.table, columns: columns.clone() })
        });
        lists.collect()
    }
}

/// Refuses a number that is none: NaN and the infinities are never data.
pub(crate) fn finite(table: &'static str, row: &str, value: Option<f64>) -> Result<(), StoreError> {
    match value {
        Some(value) if !value.is_finite() => {
            Err(StoreError::Rows { table, reason: format!("expected a finite score in {row}, got `{value}`") })
        }
        _ => Ok(()),
    }
}

/// Sorts rows by their place and refuses two of one place: which came first would depend on scheduling.
pub(crate) fn sorted<'a, T>(
    table: &'static str,
    rows: &'a [T],
    place: impl Fn(&'a T) -> (&'a str, u32),
) -> Result<Vec<&'a T>, StoreError> {
    let mut sorted: Vec<&T> = rows.iter().collect();
    sorted.sort_by_key(|row| place(row));
    match sorted.windows(2).find(|pair| place(pair[0]) == place(pair[1])) {
        None => Ok(sorted),
        Some(pair) => {
            let (problem, index) = place(pair[0]);
            let reason = format!("expected one row for each place, got two for problem `{problem}`, number {index}");
            Err(StoreError::Rows { table, reason })
        }
    }
}

fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("a closed set is written as words, got {other:?}"),
    }
}
