//! Rows that wait for a service. Whoever is free takes as many as go into one request.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::embedder::Outcome;

/// What a service embeds.
pub(super) enum Content {
    Picture(Bytes),
    Text(String),
}

impl Content {
    fn is_picture(&self) -> bool {
        matches!(self, Self::Picture(_))
    }

    /// Bytes in a request, at most: a letter of a text takes up to six in JSON.
    fn bytes(&self) -> usize {
        match self {
            Self::Picture(file) => file.len() + 4,
            Self::Text(text) => 6 * text.len() + 3,
        }
    }
}

/// A row on its way.
pub(super) struct Row {
    pub(super) content: Content,
    /// Whether it must be asked for alone: it, or one that was with it, was refused.
    pub(super) alone: bool,
    /// How often a service failed on it while it was alone.
    pub(super) failed: u32,
    /// How often the connection broke on it while it was alone, and the service went on.
    pub(super) broken: u32,
    pub(super) began: Instant,
    pub(super) answer: oneshot::Sender<Outcome>,
}

/// What one request may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) pictures: usize,
    pub(super) picture_bytes: usize,
    pub(super) texts: usize,
    pub(super) text_bytes: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    rows: Mutex<VecDeque<Row>>,
    some: Notify,
}

impl Queue {
    /// A deque cannot be left half changed.
    fn rows(&self) -> MutexGuard<'_, VecDeque<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, row: Row) {
        self.rows().push_back(row);
        self.some.notify_one();
    }

    /// Puts rows back that were taken, before all others.
    pub(super) fn put_back(&self, rows: Vec<Row>) {
        let mut waiting = self.rows();
        for row in rows.into_iter().rev() {
            waiting.push_front(row);
        }
        drop(waiting);
        self.some.notify_one();
    }

    /// Rows of one kind for one request, at least one. Waits until there is one.
    pub(super) async fn take(&self, most: Most) -> Vec<Row> {
        loop {
            let taken = self.take_now(most);
            if !taken.is_empty() {
                return taken;
            }
            self.some.notified().await;
        }
    }

    fn take_now(&self, most: Most) -> Vec<Row> {
        let mut waiting = self.rows();
        let mut taken: Vec<Row> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.pop_front() {
            // Nobody waits for it any more: the run was ended.
            if next.answer.is_closed() {
                continue;
            }
            let (rows, limit) = match next.content {
                Content::Picture(_) => (most.pictures, most.picture_bytes),
                Content::Text(_) => (most.texts, most.text_bytes),
            };
            let fits = match taken.first() {
                None => true,
                Some(first) => {
                    taken.len() < rows
                        && bytes + next.content.bytes() <= limit
                        && !first.alone
                        && !next.alone
                        && first.content.is_picture() == next.content.is_picture()
                }
            };
            if !fits {
                waiting.push_front(next);
                break;
            }
            bytes += next.content.bytes();
            taken.push(next);
        }
        if !waiting.is_empty() {
            self.some.notify_one();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most {
        pictures: 3,
        picture_bytes: 50,
        texts: 2,
        text_bytes: 100,
    };

    fn row(content: Content, alone: bool) -> (Row, oneshot::Receiver<Outcome>) {
        let (answer, told) = oneshot::channel();
        let row = Row {
            content,
            alone,
            failed: 0,
            broken: 0,
            began: Instant::now(),
            answer,
        };
        (row, told)
    }

    #[test]
    fn a_request_has_rows_of_one_kind_within_its_bounds() {
        let queue = Queue::default();
        let picture = |bytes: usize| Content::Picture(vec![0; bytes].into());
        let mut told = Vec::new();
        for (content, alone) in [
            (picture(10), false),
            (picture(10), false),
            (picture(30), false),
            (picture(90), false),
            (picture(1), false),
            (picture(2), true),
            (picture(3), false),
            (Content::Text("a".into()), false),
            (Content::Text("b".into()), false),
            (Content::Text("c".into()), false),
        ] {
            let (row, one) = row(content, alone);
            queue.put(row);
            told.push(one);
        }
        // Its future was dropped: nobody asks for it.
        drop(told.remove(4));
        let mut sizes = Vec::new();
        loop {
            let taken = queue.take_now(MOST);
            if taken.is_empty() {
                break;
            }
            sizes.push(taken.len());
        }
        assert_eq!(sizes, [2, 1, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn rows_that_are_put_back_come_first_and_in_order() {
        let queue = Queue::default();
        let mut told = Vec::new();
        for name in ["a", "b", "c"] {
            let (row, one) = row(Content::Text(name.into()), false);
            queue.put(row);
            told.push(one);
        }
        let taken = queue.take_now(MOST);
        queue.put_back(taken);
        let names: Vec<String> = queue
            .take_now(MOST)
            .into_iter()
            .map(|row| match row.content {
                Content::Text(text) => text,
                Content::Picture(_) => unreachable!(),
            })
            .collect();
        assert_eq!(names, ["a", "b"]);
    }
}
