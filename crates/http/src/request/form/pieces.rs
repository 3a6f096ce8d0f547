//! The pieces of a form's body as multer is fed with them.
//!
//! multer scans an unterminated part header again with every piece that arrives, so it gets
//! pieces of a decent size, and few of them while it looks for one; and it refuses control
//! characters in headers, which `part_heads` escapes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};

use super::part_heads::HeadEscaper;
use crate::answer::problem::Problem;
use crate::request::body::{Body, MIN_PIECE};

/// What stands between two parts, with the second one's header, may be no longer.
const MAX_PART_HEAD: usize = 16 << 10;

/// How much multer may still be fed while it looks for the next part.
#[derive(Debug, Default)]
pub(crate) struct HeadBudget {
    searching: AtomicBool,
    fed: AtomicUsize,
}

impl HeadBudget {
    /// multer looks for a part from now on.
    pub(crate) fn begin(&self) {
        self.fed.store(0, Ordering::Relaxed);
        self.searching.store(true, Ordering::Relaxed);
    }

    /// It has found one, or the end.
    pub(crate) fn end(&self) {
        self.searching.store(false, Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.searching.load(Ordering::Relaxed) && self.fed.load(Ordering::Relaxed) >= MAX_PART_HEAD
    }
}

/// The pieces of a body as multer is fed with them.
///
/// multer takes from a stream for as long as it gives, and only then looks at what it
/// has. So after every piece this stream has nothing for one poll: multer looks at
/// each piece before the next one, its buffer stays small, and a spent [`HeadBudget`]
/// means that no header was found and not that none was looked for.
pub(crate) struct Pieces<'a> {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Problem>> + Send + 'a>>,
    head: Arc<HeadBudget>,
    pause: bool,
}

impl<'a> Pieces<'a> {
    /// The pieces of a body whose first one is here.
    pub(crate) fn new(
        first: Bytes,
        body: &'a mut Body,
        head: Arc<HeadBudget>,
        escaper: HeadEscaper,
    ) -> Self {
        let begin = (Some(first), body, escaper);
        let pieces = stream::try_unfold(begin, |(first, body, mut escaper)| async move {
            let piece = decent(first, body).await?;
            Ok(piece.map(|piece| (escaper.escape(piece), (None, body, escaper))))
        });
        Self {
            pieces: Box::pin(pieces),
            head,
            pause: false,
        }
    }
}

/// The next piece of at least [`MIN_PIECE`] bytes, or what is left: what is decoded may come in smaller ones.
async fn decent(first: Option<Bytes>, body: &mut Body) -> Result<Option<Bytes>, Problem> {
    let mut first = match first {
        Some(first) => first,
        None => match body.piece().await? {
            Some(first) => first,
            None => return Ok(None),
        },
    };
    let mut joined = BytesMut::new();
    while joined.len().max(first.len()) < MIN_PIECE {
        let Some(piece) = body.piece().await? else {
            break;
        };
        if joined.is_empty() {
            joined.reserve(MIN_PIECE + piece.len());
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&piece);
    }
    if !joined.is_empty() {
        first = joined.freeze();
    }
    Ok(Some(first))
}

impl Stream for Pieces<'_> {
    type Item = Result<Bytes, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.pause {
            self.pause = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.head.is_spent() {
            return Poll::Ready(Some(Err(Problem::BadRequest(
                format!("The body is not a valid multipart form: no part begins within {MAX_PART_HEAD} bytes.").into(),
            ))));
        }
        let piece = std::task::ready!(self.pieces.as_mut().poll_next(context));
        if let Some(Ok(piece)) = &piece {
            self.head.fed.fetch_add(piece.len(), Ordering::Relaxed);
            self.pause = true;
        }
        Poll::Ready(piece)
    }
}
