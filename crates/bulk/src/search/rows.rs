//! The columns of rows that were found.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::SearchError;
use super::index::{Form, Index, Table};
use super::top::Found;
use crate::columns::{is_told, json};
use crate::row::{EMBEDDING, ERROR, ID};
use crate::table::{MOST, Rows, Stopped, TableError};

/// Rows whose columns are decoded at a time: a caption or JSON may have megabytes.
const DECODED: usize = 16;

/// What is done with the columns of a row: the row's place among those that were found comes
/// first. Its error ends the reading.
pub(super) type Take<'a> = &'a mut dyn FnMut(usize, Map<String, Value>) -> Result<(), SearchError>;

/// Hands over those columns of these rows that are wanted by their names, in the order of the
/// index.
pub(super) fn read(
    index: &Index,
    found: &[Found],
    wanted: &dyn Fn(&str) -> bool,
    take: Take<'_>,
) -> Result<(), SearchError> {
    // By the number of the row in the index: its place among those that were found.
    let places: BTreeMap<u64, usize> = found
        .iter()
        .enumerate()
        .map(|(place, found)| (found.row, place))
        .collect();
    for file in &index.files {
        let inside = places.range(file.first..file.first + file.rows);
        let (rows, places): (Vec<u64>, Vec<usize>) = inside
            .map(|(row, place)| (row - file.first, *place))
            .unzip();
        if rows.is_empty() {
            continue;
        }
        match &file.form {
            Form::Parquet(table, ..) | Form::Npy(_, Some(table)) => {
                let mut places = places.into_iter();
                self::table(table, &rows, wanted, &mut |columns| match places.next() {
                    Some(place) => take(place, columns),
                    None => Ok(()),
                })?;
            }
            Form::Npy(_, None) => {
                for (row, place) in rows.iter().zip(places) {
                    let name = Value::from(format!("{}#{row}", file.path.display()));
                    take(place, Map::from_iter([(ID.to_owned(), name)]))?;
                }
            }
        }
    }
    Ok(())
}

/// Rows of a Parquet file, in order, without vectors and errors.
fn table(
    file: &Table,
    rows: &[u64],
    wanted: &dyn Fn(&str) -> bool,
    take: &mut dyn FnMut(Map<String, Value>) -> Result<(), SearchError>,
) -> Result<(), SearchError> {
    let table = &file.table;
    let fields = table.metadata().schema().fields().iter().enumerate();
    let columns = fields
        .filter(|(_, field)| {
            let name = field.name().as_str();
            // Not even read is what is not told: its pages would count.
            ![EMBEDDING, ERROR].contains(&name) && wanted(name) && is_told(field.data_type())
        })
        .map(|(place, _)| place);
    let rows = Rows {
        columns: columns.collect(),
        ranges: rows.iter().map(|&row| row..row.saturating_add(1)).collect(),
        at_once: DECODED,
    };
    let read = table.read(rows, MOST, &mut |batch| {
        let mut maps = vec![Map::new(); batch.num_rows()];
        let schema = batch.schema();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            // What JSON does not have is left out.
            let Ok(values) = json(column) else { continue };
            for (map, value) in maps.iter_mut().zip(values) {
                map.insert(field.name().clone(), value);
            }
        }
        for map in maps {
            take(map).map_err(Stopped::Taker)?;
        }
        Ok(true)
    });
    read.map_err(|stopped| match stopped {
        Stopped::Table(TableError::FewerRows) => {
            SearchError::unreadable(&file.path, "it has fewer rows than there are vectors")
        }
        Stopped::Table(error) => SearchError::unreadable(&file.path, error),
        Stopped::Taker(error) => error,
    })
}
