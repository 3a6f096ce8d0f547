//! Values of Arrow columns, whichever of the types that mean the same they have.

use std::io;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, new_null_array};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use serde_json::Value;

use crate::error::InputError;

/// A column has values of another type than they are wanted for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    /// They shall be texts or whole numbers.
    #[error("values of the type {0} are no texts")]
    NoTexts(DataType),
    /// They shall be bytes.
    #[error("values of the type {0} are no files")]
    NoFiles(DataType),
}

/// A column of structs.
pub(crate) struct Values<'a>(Option<&'a StructArray>);

impl<'a> Values<'a> {
    pub(crate) fn of(column: &'a ArrayRef) -> Self {
        Self(column.as_struct_opt())
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'a ArrayRef> {
        self.0?.column_by_name(name)
    }
}

/// All columns of several schemas, each once, in the order in which they come.
///
/// # Errors
///
/// When a name stands for different types.
pub(crate) fn union<'a>(
    schemas: impl Iterator<Item = &'a SchemaRef>,
) -> Result<SchemaRef, InputError> {
    let mut all: Vec<FieldRef> = Vec::new();
    for field in schemas.flat_map(|schema| schema.fields()) {
        match all.iter().find(|it| it.name() == field.name()) {
            None => all.push(Arc::clone(field)),
            Some(same) if same.data_type() == field.data_type() => {}
            Some(other) => {
                return Err(format!(
                    "the column {} of the inputs is of the type {} and of the type {}, which do not \
                     go into one file: name a folder, or the other columns with --columns",
                    field.name(),
                    other.data_type(),
                    field.data_type()
                )
                .into());
            }
        }
    }
    Ok(Arc::new(Schema::new(all)))
}

/// The columns of a wider schema: those that rows do not have are null.
pub(crate) fn conform(rows: &RecordBatch, schema: &SchemaRef) -> io::Result<RecordBatch> {
    let arrays = schema.fields().iter().map(|field| {
        let column = rows.column_by_name(field.name());
        column.map_or_else(
            || new_null_array(field.data_type(), rows.num_rows()),
            Arc::clone,
        )
    });
    RecordBatch::try_new(Arc::clone(schema), arrays.collect()).map_err(io::Error::other)
}

/// Texts; whole numbers as they are written.
pub(crate) fn texts(column: &ArrayRef) -> Result<Vec<Option<String>>, ColumnError> {
    macro_rules! numbers {
        ($kind:ty) => {
            column
                .as_primitive::<$kind>()
                .iter()
                .map(|value| value.map(|value| value.to_string()))
                .collect()
        };
    }
    macro_rules! strings {
        ($strings:expr) => {
            $strings
                .iter()
                .map(|value| value.map(str::to_owned))
                .collect()
        };
    }
    Ok(match column.data_type() {
        DataType::Utf8 => strings!(column.as_string::<i32>()),
        DataType::LargeUtf8 => strings!(column.as_string::<i64>()),
        DataType::Utf8View => strings!(column.as_string_view()),
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt8 => numbers!(UInt8Type),
        DataType::UInt16 => numbers!(UInt16Type),
        DataType::UInt32 => numbers!(UInt32Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_any_dictionary();
            let values = texts(dictionary.values())?;
            if values.is_empty() {
                return Ok(vec![None; column.len()]);
            }
            let keys = dictionary.normalized_keys();
            let value = |(row, key): (usize, &usize)| {
                if column.is_null(row) {
                    return None;
                }
                values.get(*key).cloned().flatten()
            };
            keys.iter().enumerate().map(value).collect()
        }
        other => return Err(ColumnError::NoTexts(other.clone())),
    })
}

/// Bytes. Those of a column that has them one behind the other are shared, not copied.
pub(crate) fn bytes(column: &ArrayRef) -> Result<Vec<Option<Bytes>>, ColumnError> {
    macro_rules! shared {
        ($values:expr) => {{
            let values = $values;
            let all = Bytes::from_owner(values.values().clone());
            let ends = values.value_offsets().windows(2).enumerate();
            ends.map(|(row, ends)| {
                let [start, end] = [ends[0], ends[1]].map(|it| it as usize);
                values.is_valid(row).then(|| all.slice(start..end))
            })
            .collect()
        }};
    }
    Ok(match column.data_type() {
        DataType::Binary => shared!(column.as_binary::<i32>()),
        DataType::LargeBinary => shared!(column.as_binary::<i64>()),
        // These point into the pages of the table, which are not to be kept.
        DataType::BinaryView => {
            let values = column.as_binary_view().iter();
            values
                .map(|value| value.map(Bytes::copy_from_slice))
                .collect()
        }
        other => return Err(ColumnError::NoFiles(other.clone())),
    })
}

/// Whether JSON has what a column of this type holds: not lists and the like, and not bytes.
pub(crate) fn is_told(kind: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    !kind.is_nested() && !matches!(kind, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

/// The values of a column, or the type that JSON does not have.
pub(crate) fn json(column: &ArrayRef) -> Result<Vec<Value>, DataType> {
    macro_rules! floats {
        ($kind:ty) => {
            column
                .as_primitive::<$kind>()
                .iter()
                .map(|value| value.map_or(Value::Null, |value| Value::from(f64::from(value))))
                .collect()
        };
    }
    let kind = column.data_type();
    Ok(match kind {
        DataType::Null => vec![Value::Null; column.len()],
        DataType::Boolean => column.as_boolean().iter().map(Value::from).collect(),
        DataType::Float16 => floats!(Float16Type),
        DataType::Float32 => floats!(Float32Type),
        DataType::Float64 => floats!(Float64Type),
        _ => {
            let values = texts(column).map_err(|_| kind.clone())?.into_iter();
            // Whole numbers are numbers again.
            let number = |text: String| match text.parse::<serde_json::Number>() {
                Ok(number) if kind.is_integer() => Value::Number(number),
                _ => Value::String(text),
            };
            values
                .map(|value| value.map_or(Value::Null, number))
                .collect()
        }
    })
}
