//! Rows of someone else's files as JSON objects: JSON Lines, JSON, CSV, TSV and Parquet.
//!
//! Nothing is guessed: a file's form is that of its name. Every fault of a text file is listed with its line, or row; a
//! Parquet file is whole or it is not.

use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Number, Value};

use crate::StoreError;

/// A row: its columns by name.
pub type Record = Map<String, Value>;

/// The most faults that are listed of one file.
const SHOWN: usize = 10;

/// Reads a file's rows; `path` names it in errors and by its ending says what it is: `.jsonl`, `.json` (a list of objects,
/// or one object), `.csv`, `.tsv`, `.parquet`.
///
/// `header` names the columns of a CSV or TSV file without a first line of names; texts stay texts there. Columns of a
/// Parquet file keep their names; numbers, texts, lists and structs become JSON's.
pub fn read_records(bytes: Vec<u8>, path: &Path, header: &[String]) -> Result<Vec<Record>, StoreError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    match ending.as_str() {
        "jsonl" | "ndjson" => lines(&bytes, path),
        "json" => json(&bytes, path),
        "csv" => separated(&bytes, path, ',', header),
        "tsv" => separated(&bytes, path, '\t', header),
        "parquet" => parquet(bytes, path),
        _ => Err(faulty(
            path,
            vec![format!("expected a file `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet`, got `.{ending}`")],
        )),
    }
}

fn faulty(path: &Path, mut faults: Vec<String>) -> StoreError {
    let more = faults.len().saturating_sub(SHOWN);
    faults.truncate(SHOWN);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    StoreError::Records { path: path.to_path_buf(), faults }
}

fn lines(bytes: &[u8], path: &Path) -> Result<Vec<Record>, StoreError> {
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for (place, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(row)) => rows.push(row),
            Ok(other) => faults.push(format!("line {}: expected an object, got {}", place + 1, kind(&other))),
            Err(error) => faults.push(format!("line {}: expected JSON, got: {error}", place + 1)),
        }
    }
    if faults.is_empty() { Ok(rows) } else { Err(faulty(path, faults)) }
}

fn json(bytes: &[u8], path: &Path) -> Result<Vec<Record>, StoreError> {
    match serde_json::from_slice(bytes).map_err(StoreError::json(path))? {
        Value::Object(row) => Ok(vec![row]),
        Value::Array(items) => {
            let (mut rows, mut faults) = (Vec::new(), Vec::new());
            for (place, item) in items.into_iter().enumerate() {
                match item {
                    Value::Object(row) => rows.push(row),
                    other => faults.push(format!("row {}: expected an object, got {}", place + 1, kind(&other))),
                }
            }
            if faults.is_empty() { Ok(rows) } else { Err(faulty(path, faults)) }
        }
        other => Err(faulty(path, vec![format!("expected a list of objects or an object, got {}", kind(&other))])),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A record, and the line that it begins on.
type Fields = (u64, Vec<String>);

fn separated(bytes: &[u8], path: &Path, separator: char, header: &[String]) -> Result<Vec<Record>, StoreError> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| faulty(path, vec![format!("expected UTF-8, got: {error}")]))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut names: Vec<String> = header.to_vec();
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for (line, fields) in records(text, separator).map_err(|fault| faulty(path, vec![fault]))? {
        if names.is_empty() {
            names = fields.iter().map(|name| name.trim().to_owned()).collect();
            continue;
        }
        if fields.len() != names.len() {
            faults.push(format!("line {line}: expected {} columns, got {}", names.len(), fields.len()));
            continue;
        }
        rows.push(names.iter().cloned().zip(fields.into_iter().map(Value::String)).collect());
    }
    if faults.is_empty() { Ok(rows) } else { Err(faulty(path, faults)) }
}

/// The records of RFC 4180: a field in quotes may hold separators, line breaks and doubled quotes. Quotes are text in a file
/// that is separated by tabs, as the IANA's definition of those has it. Blank lines are passed over.
fn records(text: &str, separator: char) -> Result<Vec<Fields>, String> {
    let quoting = separator == ',';
    let (mut found, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begun) = (1u64, 1u64);
    // Where a field in quotes began; and whether the field has been in quotes, so that an empty one is one.
    let (mut quoted, mut was_quoted) = (None, false);
    let mut chars = text.chars().peekable();
    loop {
        let next = chars.next();
        match next {
            Some('"') if quoted.is_some() => {
                if chars.next_if_eq(&'"').is_some() {
                    field.push('"');
                } else {
                    quoted = None;
                }
            }
            Some(c) if quoted.is_some() => {
                line += u64::from(c == '\n');
                field.push(c);
            }
            Some('"') if quoting && field.is_empty() => (quoted, was_quoted) = (Some(line), true),
            Some('\r') if chars.peek() == Some(&'\n') => {}
            Some(c) if c == separator => fields.push(std::mem::take(&mut field)),
            Some('\n') | None => {
                if let Some(line) = quoted {
                    return Err(format!("line {line}: expected the field's closing quote, got the end of the file"));
                }
                if !(fields.is_empty() && field.is_empty() && !was_quoted) {
                    fields.push(std::mem::take(&mut field));
                    found.push((begun, std::mem::take(&mut fields)));
                }
                was_quoted = false;
                line += 1;
                begun = line;
                if next.is_none() {
                    return Ok(found);
                }
            }
            Some(c) => field.push(c),
        }
    }
}

fn parquet(bytes: Vec<u8>, path: &Path) -> Result<Vec<Record>, StoreError> {
    let fault = |error: parquet::errors::ParquetError| faulty(path, vec![format!("expected Parquet, got: {error}")]);
    let reader = SerializedFileReader::new(Bytes::from(bytes)).map_err(fault)?;
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None).map_err(fault)? {
        let row = row.map_err(fault)?;
        rows.push(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect());
    }
    Ok(rows)
}

fn value(field: &Field) -> Value {
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(yes) => (*yes).into(),
        Field::Byte(n) => (*n).into(),
        Field::Short(n) => (*n).into(),
        Field::Int(n) | Field::Date(n) | Field::TimeMillis(n) => (*n).into(),
        Field::Long(n) | Field::TimestampMillis(n) | Field::TimestampMicros(n) | Field::TimeMicros(n) => (*n).into(),
        Field::UByte(n) => (*n).into(),
        Field::UShort(n) => (*n).into(),
        Field::UInt(n) => (*n).into(),
        Field::ULong(n) => (*n).into(),
        Field::Float16(n) => float(f64::from(*n)),
        // By way of its digits: `0.1` stays `0.1`.
        Field::Float(n) => float(n.to_string().parse().unwrap_or_else(|_| f64::from(*n))),
        Field::Double(n) => float(*n),
        Field::Str(text) => text.clone().into(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned().into(),
        Field::Group(row) => {
            Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
        }
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let key = |field: &Field| value(field).as_str().map_or_else(|| field.to_string(), str::to_owned);
            Value::Object(map.entries().iter().map(|(name, field)| (key(name), value(field))).collect())
        }
        Field::Decimal(_) => field.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(name: &str, text: &str, header: &[&str], expected: &Value) {
        let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
        let rows = read_records(text.as_bytes().to_vec(), Path::new(name), &header).unwrap();
        assert_eq!(&json!(rows), expected, "{name}");
    }

    #[test]
    fn every_text_form_becomes_rows() {
        check("a.jsonl", "{\"a\": 1}\n\n{\"a\": \"x\"}", &[], &json!([{"a": 1}, {"a": "x"}]));
        check("a.json", "[{\"a\": [1]}]", &[], &json!([{"a": [1]}]));
        check("a.json", "{\"k\": {\"a\": 1}}", &[], &json!([{"k": {"a": 1}}]));
        check("a.csv", "\u{feff}a,b\n\"x, \"\"y\"\"\nz\",2\n", &[], &json!([{"a": "x, \"y\"\nz", "b": "2"}]));
        check(
            "a.tsv",
            "He said \"hi\t18\nx\t2\n",
            &["q", "a"],
            &json!([{"q": "He said \"hi", "a": "18"}, {"q": "x", "a": "2"}]),
        );
    }

    #[test]
    fn every_fault_is_listed_with_its_line() {
        let fault = |name: &str, text: &str| {
            read_records(text.as_bytes().to_vec(), Path::new(name), &[]).unwrap_err().to_string()
        };
        let text = fault("a.jsonl", "{}\n[]\nx\n");
        assert!(text.contains("`a.jsonl`") && text.contains("line 2: expected an object, got a list"), "{text}");
        assert!(text.contains("line 3: expected JSON"), "{text}");
        let text = fault("a.csv", "a,b\n1\n1,2\n1,2,3\n");
        assert!(text.contains("line 2: expected 2 columns, got 1; line 4: expected 2 columns, got 3"), "{text}");
        let text = fault("a.csv", "a,b\n1,\"2\n3\n");
        assert!(text.contains("line 2: expected the field's closing quote"), "{text}");
        assert!(fault("a.xlsx", "").contains("got `.xlsx`"));
        assert!(fault("a.parquet", "PAR0").contains("expected Parquet"));
        let many = "1\n".repeat(30);
        assert!(fault("a.jsonl", &many).contains("and 20 more"));
    }

    #[test]
    fn a_parquet_file_becomes_rows() {
        let row = crate::SampleRow {
            problem: "p".into(),
            sample: 3,
            response: "r".into(),
            finish: cord_core::Finish::Eos,
            verdict: "correct".into(),
            reason: None,
            extracted: Some("7".into()),
            correct: true,
            marks: std::collections::BTreeMap::default(),
            usage: cord_core::Usage::default(),
        };
        let bytes = crate::samples_to_parquet(&[row]).unwrap();
        let rows = read_records(bytes, Path::new("samples.parquet"), &[]).unwrap();
        assert_eq!(rows.len(), 1);
        let got = |name: &str| rows[0][name].clone();
        assert_eq!(
            [got("problem"), got("sample"), got("reason"), got("correct")],
            [json!("p"), json!(3), json!(null), json!(true)]
        );
    }
}
