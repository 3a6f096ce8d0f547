//! Old-style JPEG whose samples of a kind are by themselves: the frame is of all three, and each has a scan
//! of its own, behind the one before.
//!
//! libtiff takes it where no colour is subsampled, and looks for the header of each scan but the first
//! byte by byte. There the strips of a plane begin.

use super::{COMPONENTS, Coded, Cursor, Stream, Tables};
use crate::ImageError;
use crate::jpeg;
use crate::work::Stop;

/// Marker of the header of a scan.
const SCAN: u8 = 0xda;

/// A JPEG of one component for each plane. `cursor` is where the data of the first begin.
pub(super) fn streams<'a>(
    mut tables: Tables,
    mut cursor: Cursor<'a>,
    restart: u16,
) -> Result<Vec<Stream<'a>>, ImageError> {
    let frame = tables.frame.take().ok_or_else(super::no_frame)?;
    let mut streams = Vec::with_capacity(COMPONENTS);
    for plane in 0..COMPONENTS {
        if plane > 0 {
            find_scan(&mut cursor)?;
            tables.frame = Some(frame);
            tables.scan(&mut cursor, plane..plane + 1)?;
        }
        streams.push(Stream {
            header: tables.header(&frame, restart, plane..plane + 1),
            cursor,
        });
    }
    Ok(streams)
}

/// Goes behind the next marker of a scan.
fn find_scan(cursor: &mut Cursor<'_>) -> Result<(), ImageError> {
    loop {
        if cursor.byte()? != 0xff {
            continue;
        }
        let mut marker = cursor.byte()?;
        while marker == 0xff {
            marker = cursor.byte()?;
        }
        if marker == SCAN {
            return Ok(());
        }
    }
}

/// Bytes of the planes that wait for the last.
pub(super) fn held(streams: usize, (width, height): (usize, usize)) -> u64 {
    (streams.saturating_sub(1) as u64) * width as u64 * height as u64
}

/// Gives the rows of all planes to `take`: each is a JPEG, of which all but the last are decoded first.
pub(super) fn read<'a>(
    readers: impl Iterator<Item = Coded<'a>>,
    (width, height): (usize, usize),
    stop: &Stop<'_>,
    mut take: impl FnMut(usize, &[Vec<u8>]),
) -> Result<(), ImageError> {
    let mut readers: Vec<_> = readers.collect();
    let Some(last) = readers.pop() else {
        return Err(super::no_frame());
    };
    let mut before = Vec::with_capacity(readers.len());
    for reader in readers {
        let mut plane = vec![0; width * height];
        jpeg::read_rows(reader, (width, height), stop, |y, row| {
            if let (Some(to), [from, ..]) = (plane.get_mut(y * width..(y + 1) * width), row) {
                to.copy_from_slice(from);
            }
        })?;
        before.push(plane);
    }
    let mut rows = vec![vec![0; width]; before.len() + 1];
    jpeg::read_rows(last, (width, height), stop, |y, row| {
        let planes = before
            .iter()
            .map(|plane| plane.get(y * width..(y + 1) * width));
        let planes = planes.chain([row.first().map(Vec::as_slice)]);
        for (to, from) in rows.iter_mut().zip(planes) {
            if let Some(from) = from {
                to.copy_from_slice(from);
            }
        }
        take(y, &rows);
    })
}
