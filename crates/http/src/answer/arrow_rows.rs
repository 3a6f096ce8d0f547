//! Rows as a stream of Arrow's messages, which pyarrow, polars, DuckDB and others read without a
//! loop over numbers.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float16Array, Float32Array, Int8Array, RecordBatch, UInt8Array,
};
use arrow_buffer::NullBuffer;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use half::f16;

use super::problem::Problem;
use super::quantized::{bits, int8, int8_scale};
use super::row_bytes::Dtype;
use siglip2_service::Embeddings;

/// A schema and one batch: `embedding`, a list of fixed size for each row, null where there is no
/// row; of int8 also `scale`, by which its numbers are multiplied to get the floats back. The
/// schema's metadata has the model and the type.
pub(crate) fn stream(rows: &Embeddings, dtype: Dtype, model: &str) -> Result<Vec<u8>, Problem> {
    written(rows, dtype, model)
        .map_err(|error| Problem::Internal(format!("rows could not be written as Arrow: {error}")))
}

fn written(rows: &Embeddings, dtype: Dtype, model: &str) -> Result<Vec<u8>, ArrowError> {
    let width = dtype.width(rows.dimensions());
    let size = i32::try_from(width)
        .map_err(|_| ArrowError::InvalidArgumentError(format!("a row of {width} numbers")))?;
    let item = Arc::new(Field::new("item", item_type(dtype), false));
    let is_here = || rows.rows().map(|row| !row.is_empty());
    let nulls = is_here()
        .any(|here| !here)
        .then(|| NullBuffer::from_iter(is_here()));
    let list =
        FixedSizeListArray::try_new(Arc::clone(&item), size, values(rows, dtype, width), nulls)?;
    let mut fields = vec![Field::new(
        "embedding",
        DataType::FixedSizeList(item, size),
        true,
    )];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(list)];
    if dtype == Dtype::Int8 {
        let scales = rows
            .rows()
            .map(|row| (!row.is_empty()).then(|| int8_scale(row)));
        columns.push(Arc::new(Float32Array::from_iter(scales)));
        fields.push(Field::new("scale", DataType::Float32, true));
    }
    let told = [("model", model), ("dtype", dtype.name())];
    let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let schema = Arc::new(Schema::new_with_metadata(fields, HashMap::from(told)));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let bytes = 2048 + batch.get_array_memory_size();
    let mut writer = StreamWriter::try_new(Vec::with_capacity(bytes), &schema)?;
    writer.write(&batch)?;
    writer.finish()?;
    writer.into_inner()
}

fn item_type(dtype: Dtype) -> DataType {
    match dtype {
        Dtype::Float32 => DataType::Float32,
        Dtype::Float16 => DataType::Float16,
        Dtype::Int8 => DataType::Int8,
        Dtype::Binary => DataType::UInt8,
    }
}

/// The numbers of all rows, one behind the other; of a row that there is not, zeros.
fn values(rows: &Embeddings, dtype: Dtype, width: usize) -> ArrayRef {
    match dtype {
        Dtype::Float32 => Arc::new(Float32Array::from(all(rows, width, |row, all| {
            all.extend_from_slice(row);
        }))),
        Dtype::Float16 => Arc::new(Float16Array::from(all(rows, width, |row, all| {
            all.extend(row.iter().map(|&x| f16::from_f32(x)));
        }))),
        Dtype::Int8 => Arc::new(Int8Array::from(all(rows, width, |row, all| {
            all.extend(int8(row));
        }))),
        Dtype::Binary => Arc::new(UInt8Array::from(all(rows, width, |row, all| {
            all.extend(bits(row));
        }))),
    }
}

fn all<T: Clone + Default>(
    rows: &Embeddings,
    width: usize,
    add: impl Fn(&[f32], &mut Vec<T>),
) -> Vec<T> {
    let mut numbers = Vec::with_capacity(rows.len() * width);
    for row in rows.rows() {
        let end = numbers.len() + width;
        add(row, &mut numbers);
        numbers.resize(end, T::default());
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array as _;
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::{Float32Type, Int8Type};
    use arrow_ipc::reader::StreamReader;

    fn read(bytes: &[u8]) -> RecordBatch {
        let mut reader = StreamReader::try_new(bytes, None).unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert!(reader.next().is_none());
        batch
    }

    #[test]
    fn rows_are_read_back() {
        let rows = Embeddings::given(2, vec![vec![3.0, 4.0], vec![], vec![0.0, -1.0]]);
        let batch = read(&stream(&rows, Dtype::Float32, "demo").unwrap());
        assert_eq!(batch.schema().metadata()["model"], "demo");
        let list = batch["embedding"].as_fixed_size_list();
        assert_eq!((list.len(), list.null_count()), (3, 1));
        assert!(list.is_null(1));
        let numbers = list.value(0);
        assert_eq!(numbers.as_primitive::<Float32Type>().values(), &[0.6, 0.8]);

        let batch = read(&stream(&rows, Dtype::Int8, "demo").unwrap());
        let numbers = batch["embedding"].as_fixed_size_list().value(2);
        assert_eq!(numbers.as_primitive::<Int8Type>().values(), &[0, -127]);
        let scales = batch["scale"].as_primitive::<Float32Type>();
        assert!((scales.value(0) * 127.0 - 0.8).abs() < 1e-6 && scales.is_null(1));

        for dtype in [Dtype::Float16, Dtype::Binary] {
            let batch = read(&stream(&rows, dtype, "demo").unwrap());
            let list = batch["embedding"].as_fixed_size_list();
            assert_eq!(list.value_length() as usize, dtype.width(2));
        }
        let none = Embeddings::given(2, Vec::new());
        assert_eq!(
            read(&stream(&none, Dtype::Float32, "demo").unwrap()).num_rows(),
            0
        );
    }
}
