//! Plain JPEGs, decoded bit for bit as libjpeg-turbo decodes them, in less time.
//!
//! What cameras, phones and encoders write when nothing is asked of them is plain: one scan or progressive, YCbCr
//! in 4:4:4, 4:2:2 or 4:2:0, or brightness alone. [`Plain::read`] says whether a file is, and [`Plain::decode`]
//! decodes it: the accurate inverse transform, interpolated colours, and conversion to RGB, each with the
//! arithmetic of libjpeg-turbo, to its overflows. It gains on libjpeg by finding a code together with the value behind it, and
//! by not transforming what is flat; and it needs no assembler.
//!
//! Where the data of a scan is damaged, decoders have habits of their own. So as soon as anything is wrong, this one
//! stops ([`Failed::Unusual`]), and the caller has libjpeg decode the file: the rows that were given until
//! then are the same.
//!
//! ```
//! use siglip2_jpeg::{Failed, Plain, RowSink, Vectors};
//!
//! /// Counts rows of a picture 640 pixels wide.
//! struct Count([u8; 640 * 3], usize);
//!
//! impl RowSink for Count {
//!     type Error = std::convert::Infallible;
//!
//!     fn row(&mut self) -> Result<&mut [u8], Self::Error> {
//!         self.1 += 1;
//!         Ok(&mut self.0)
//!     }
//! }
//!
//! // Not a JPEG at all.
//! assert!(Plain::read(b"GIF89a").is_none());
//!
//! fn decode(file: &[u8]) -> usize {
//!     let mut rows = Count([0; 640 * 3], 0);
//!     match Plain::read(file).map(|plain| plain.decode(Vectors::Detected, &mut rows)) {
//!         Some(Ok(())) => rows.1,
//!         Some(Err(Failed::Unusual { rows })) => panic!("damaged behind row {rows}"),
//!         Some(Err(Failed::Sink(never))) => match never {},
//!         None => panic!("for libjpeg"),
//!     }
//! }
//! ```

mod bits;
mod codes;
mod colour;
mod header;
mod kernel;
mod planes;
mod progressive;
mod rows;
mod scan;
mod tables;
pub mod transform;
mod upsample;
mod vectors;

pub use header::Plain;
pub use vectors::{Vectors, has_avx2};

/// Where rows of RGB go, from top to bottom.
pub trait RowSink {
    /// Why there is no further row.
    type Error;

    /// The next row: three bytes for each pixel, all of which are written.
    ///
    /// # Errors
    ///
    /// Whatever ends decoding.
    fn row(&mut self) -> Result<&mut [u8], Self::Error>;

    /// Called as blocks are read that make no rows yet: all of a progressive file is read before its first row.
    ///
    /// # Errors
    ///
    /// Whatever ends decoding.
    fn worked(&mut self, blocks: usize) -> Result<(), Self::Error> {
        let _ = blocks;
        Ok(())
    }
}

/// Why a file was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed<E> {
    /// Something is wrong in the data of a scan, or behind it.
    Unusual {
        /// How many rows were given before; they are as they should be.
        rows: usize,
    },
    /// The sink ended it.
    Sink(E),
}

impl Plain<'_> {
    /// Decodes into `sink`, which is asked for as many rows as the picture has.
    ///
    /// # Errors
    ///
    /// See [`Failed`].
    pub fn decode<S: RowSink>(
        &self,
        vectors: Vectors,
        sink: &mut S,
    ) -> Result<(), Failed<S::Error>> {
        let mut counted = Counted {
            sink,
            rows: 0,
            error: None,
        };
        match vectors::decode(self, vectors, &mut counted) {
            Some(()) => Ok(()),
            None => Err(match counted.error {
                Some(error) => Failed::Sink(error),
                None => Failed::Unusual { rows: counted.rows },
            }),
        }
    }

    /// Walks through the scan, code by code: how many bytes it has, with the end marker, or `None` if
    /// anything is wrong in it. Takes a small part of the time of decoding.
    pub fn walk(&self) -> Option<usize> {
        scan::walk(self)
    }
}

/// A sink, how many rows it gave, and why it gives no more.
struct Counted<'a, S: RowSink> {
    sink: &'a mut S,
    rows: usize,
    error: Option<S::Error>,
}

impl<S: RowSink> rows::NextRow for Counted<'_, S> {
    fn row(&mut self) -> Option<&mut [u8]> {
        match self.sink.row() {
            Ok(row) => {
                self.rows += 1;
                Some(row)
            }
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }

    fn worked(&mut self, blocks: usize) -> Option<()> {
        self.sink
            .worked(blocks)
            .map_err(|error| self.error = Some(error))
            .ok()
    }
}
