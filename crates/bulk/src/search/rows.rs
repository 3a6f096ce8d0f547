//! The columns of rows that were found.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowSelection,
};
use serde_json::{Map, Value};

use super::index::{Form, Index};
use super::top::Found;
use crate::columns::json;
use crate::row::{EMBEDDING, ERROR};

/// The columns of these rows, in their order.
pub(super) fn read(index: &Index, found: &[Found]) -> Result<Vec<Map<String, Value>>, String> {
    let mut columns = BTreeMap::new();
    for file in &index.files {
        let mut rows: Vec<u64> = found
            .iter()
            .map(|found| found.row)
            .filter(|row| (file.first..file.first + file.rows).contains(row))
            .map(|row| row - file.first)
            .collect();
        if rows.is_empty() {
            continue;
        }
        rows.sort_unstable();
        let read = match &file.form {
            Form::Parquet(metadata, _) => table(&file.path, metadata, &rows)?,
            Form::Npy(_, Some(metadata), path) => table(path, metadata, &rows)?,
            Form::Npy(_, None, _) => {
                let name = |row| Value::from(format!("{}#{row}", file.path.display()));
                let named = |row| Map::from_iter([(crate::row::ID.to_owned(), name(row))]);
                rows.iter().map(named).collect()
            }
        };
        let numbers = rows.iter().map(|row| row + file.first);
        columns.extend(numbers.zip(read));
    }
    Ok(found
        .iter()
        .map(|found| columns.remove(&found.row).unwrap_or_default())
        .collect())
}

/// Rows of a Parquet file, in order, without vectors and errors.
fn table(
    path: &Path,
    metadata: &ArrowReaderMetadata,
    rows: &[u64],
) -> Result<Vec<Map<String, Value>>, String> {
    let failed = |error: String| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let fields = metadata.schema().fields().iter().enumerate();
    let wanted = fields
        .filter(|(_, field)| ![EMBEDDING, ERROR].contains(&field.name().as_str()))
        .map(|(place, _)| place);
    let mask = ProjectionMask::roots(metadata.parquet_schema(), wanted);
    let ranges = rows.iter().map(|&row| {
        let row = usize::try_from(row).unwrap_or(usize::MAX - 1);
        row..row + 1
    });
    let all = usize::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
    if rows.last().is_some_and(|&row| row >= all as u64) {
        return Err(failed(
            "it has fewer rows than there are vectors".to_owned(),
        ));
    }
    let selection = RowSelection::from_consecutive_ranges(ranges, all);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
        .with_projection(mask)
        .with_row_selection(selection)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let mut read = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| failed(error.to_string()))?;
        let mut maps = vec![Map::new(); batch.num_rows()];
        let schema = batch.schema();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            // What JSON does not have is left out.
            let Ok(values) = json(column) else { continue };
            for (map, value) in maps.iter_mut().zip(values) {
                map.insert(field.name().clone(), value);
            }
        }
        read.extend(maps);
    }
    Ok(read)
}
