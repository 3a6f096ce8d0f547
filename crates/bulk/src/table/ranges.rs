//! Rows of a table as ranges of their numbers, in order.

use std::ops::Range;

use parquet::file::metadata::RowGroupMetaData;

/// The row groups that rows are in, and the rows as they are counted in these groups alone. The
/// rows are in order.
pub(super) fn inside(
    all: &[RowGroupMetaData],
    rows: &[Range<u64>],
) -> (Vec<usize>, Vec<Range<u64>>) {
    let sizes = all
        .iter()
        .map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
    let (mut groups, mut ranges) = (Vec::new(), Vec::new());
    let (mut start, mut before) = (0_u64, 0_u64);
    for (index, size) in sizes.enumerate() {
        let end = start.saturating_add(size);
        let first = rows.partition_point(|range| range.end <= start);
        let parts = rows[first..].iter().take_while(|range| range.start < end);
        let parts = parts.map(|range| range.start.max(start)..range.end.min(end));
        let known = ranges.len();
        ranges.extend(
            parts
                .filter(|range| !range.is_empty())
                .map(|range| before + (range.start - start)..before + (range.end - start)),
        );
        if ranges.len() > known {
            groups.push(index);
            before = before.saturating_add(end - start);
        }
        start = end;
    }
    (groups, ranges)
}

/// Rows from the first to the last of any `at_once` rows that are read one after the other, and at
/// least as many: where they lie close, the reader decodes those between them, too.
pub(super) fn span(ranges: &[Range<u64>], at_once: usize) -> u64 {
    let at_once = (at_once as u64).max(1);
    let mut widest = at_once;
    // Behind the last row of range `first` come the ranges up to `end`, with so many rows.
    let (mut end, mut behind) = (0, 0_u64);
    for (first, range) in ranges.iter().enumerate() {
        if end <= first {
            (end, behind) = (first + 1, 0);
        }
        while behind < at_once - 1
            && let Some(next) = ranges.get(end)
        {
            behind += next.end - next.start;
            end += 1;
        }
        let too_many = behind.saturating_sub(at_once - 1);
        let last = ranges[end - 1].end - too_many;
        widest = widest.max(last.saturating_sub(range.end.saturating_sub(1)));
        if let Some(next) = ranges.get(first + 1).filter(|_| end > first + 1) {
            behind -= next.end - next.start;
        }
    }
    widest
}

/// Drops the first rows of ranges.
pub(super) fn pass(ranges: &mut Vec<Range<u64>>, mut rows: u64) {
    let mut whole = 0;
    for range in ranges.iter_mut() {
        let length = range.end - range.start;
        if length > rows {
            range.start += rows;
            break;
        }
        rows -= length;
        whole += 1;
    }
    ranges.drain(..whole);
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is meant"
)]
mod tests {
    use std::sync::Arc;

    use parquet::file::metadata::ColumnChunkMetaData;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// Row groups of these sizes.
    fn groups(sizes: &[i64]) -> Vec<RowGroupMetaData> {
        let schema = parse_message_type("message table { required int32 a; }").unwrap();
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
        let group = |rows: &i64| {
            let column = ColumnChunkMetaData::builder(schema.column(0))
                .build()
                .unwrap();
            let group = RowGroupMetaData::builder(Arc::clone(&schema)).set_num_rows(*rows);
            group.set_column_metadata(vec![column]).build().unwrap()
        };
        sizes.iter().map(group).collect()
    }

    #[test]
    fn rows_between_those_that_are_read_count() {
        assert_eq!(span(&[0..1000], 16), 16);
        assert_eq!(span(&[5..6], 16), 16);
        assert_eq!(span(&[], 16), 16);
        assert_eq!(span(&[0..1, 50_000..50_001], 16), 50_001);
        assert_eq!(span(&[0..1, 50_000..50_001], 1), 1);
        assert_eq!(span(&[0..1, 2..3, 4..5, 6..7], 2), 3);
        assert_eq!(span(&[0..1, 2..3, 4..5, 100..101], 3), 99);
        // Fifteen rows of the second range with the last of the first.
        assert_eq!(span(&[0..100, 1000..1100], 16), 916);
        let every_other: Vec<Range<u64>> = (0..1001).map(|at| 2 * at..2 * at + 1).collect();
        assert_eq!(span(&every_other, 16), 31);
        let and_one = [&every_other[..], &[50_000..50_001]].concat();
        assert_eq!(span(&and_one, 16), 50_001 - 2 * 986);
    }

    #[test]
    fn rows_are_counted_in_the_groups_that_they_are_in() {
        let all = groups(&[10, 0, 10, 10, -5, 10]);
        assert_eq!(inside(&all, &[3..5]), (vec![0], vec![3..5]));
        assert_eq!(
            inside(&all, &[12..13, 19..20]),
            (vec![2], vec![2..3, 9..10])
        );
        // Over the ends of groups, and with one left out in between.
        assert_eq!(
            inside(&all, &[8..12, 35..36]),
            (vec![0, 2, 5], vec![8..10, 10..12, 25..26])
        );
        // What is not there is missing, and nothing has no groups.
        assert_eq!(inside(&all, &[38..50]), (vec![5], vec![8..10]));
        assert_eq!(inside(&all, &[5..5, 50..60]), (vec![], vec![]));
    }

    #[test]
    fn rows_that_were_read_are_dropped_from_the_ranges() {
        let mut ranges = vec![2..5, 7..8, 9..20];
        pass(&mut ranges, 0);
        assert_eq!(ranges, [2..5, 7..8, 9..20]);
        pass(&mut ranges, 2);
        assert_eq!(ranges, [4..5, 7..8, 9..20]);
        pass(&mut ranges, 3);
        assert_eq!(ranges, [10..20]);
        pass(&mut ranges, 10);
        assert_eq!(ranges, []);
    }
}
