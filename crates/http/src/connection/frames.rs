//! The frames of an HTTP/2 connection as they come in: what a client may not do by the thousand.
//!
//! h2 bounds what is *held* for a connection: streams, windows, header lists, streams that were
//! reset and not yet accepted. It does not bound how often a client may ask and take it back, or
//! say things that ask for nothing, and has no timer for a head that does not end. Only the heads
//! of frames are looked at; whether they are right is h2's to say.

use super::opening::PREFACE;

/// Requests that a client may take back without being asked why.
const FREE_RESETS: u64 = 200;

/// Frames that belong to no request, between two heads.
const FREE_CHATTER: u64 = 1000;

/// One more of them for each so many bytes of answers: a client says what it has read.
const BYTES_PER_CHATTER: u64 = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a client does too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abuse {
    /// It asks, and takes back what it asked for before it is answered.
    Resets,
    /// It sends frames that belong to no request: pings, settings, windows, empty data.
    Chatter,
}

impl Abuse {
    /// What is logged of it.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Resets => "the client cancels most of its requests",
            Self::Chatter => "the client sends frames that belong to no request",
        }
    }
}

/// Follows what a client sends.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    /// The head of the frame that is being read, and how much of it is here.
    head: [u8; 9],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
    /// Whether the head of a request has begun and not ended.
    in_block: bool,
    /// Frames that have begun, those that go on with a head aside.
    begun: u64,
    heads: u64,
    resets: u64,
    chatter: u64,
    /// Bytes that had been written when the last head came.
    written: u64,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Self {
            preface: PREFACE.len(),
            head: [0; 9],
            have: 0,
            left: 0,
            in_block: false,
            begun: 0,
            heads: 0,
            resets: 0,
            chatter: 0,
            written: 0,
        }
    }

    /// How many frames have begun; what goes on with a head does not count.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether what comes next is the rest of a request's head, or of a frame that is no data.
    pub(crate) fn awaits_more(&self) -> bool {
        let is_data = self.have == self.head.len() && self.head[3] == DATA;
        self.in_block || (self.have > 0 && !is_data)
    }

    /// Takes in the next bytes, when so many have been written to the client.
    pub(crate) fn observe(&mut self, mut bytes: &[u8], written: u64) -> Result<(), Abuse> {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.have < self.head.len() {
                let more = (self.head.len() - self.have).min(bytes.len());
                self.head[self.have..self.have + more].copy_from_slice(&bytes[..more]);
                self.have += more;
                bytes = &bytes[more..];
                if self.have == self.head.len() {
                    self.begin(written)?;
                }
            } else {
                let more = self.left.min(bytes.len());
                self.left -= more;
                bytes = &bytes[more..];
            }
            if self.have == self.head.len() && self.left == 0 {
                self.have = 0;
            }
        }
        Ok(())
    }

    /// The head of a frame is here.
    fn begin(&mut self, written: u64) -> Result<(), Abuse> {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            HEADERS => {
                self.heads += 1;
                self.chatter = 0;
                self.written = written;
                self.in_block = flags & END_HEADERS == 0;
            }
            // h2 bounds how many of them a head may have.
            CONTINUATION => self.in_block = flags & END_HEADERS == 0,
            DATA if self.left > 0 || flags & END_STREAM != 0 => {}
            _ => self.chatter += 1,
        }
        if kind != CONTINUATION {
            self.begun += 1;
        }
        if kind == RST_STREAM {
            self.resets += 1;
        }
        if self.resets > FREE_RESETS && self.resets > self.heads / 2 {
            return Err(Abuse::Resets);
        }
        let allowed = FREE_CHATTER + (written - self.written) / BYTES_PER_CHATTER;
        if self.chatter > allowed {
            return Err(Abuse::Chatter);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = (length as u32).to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        frame.resize(9 + length, 0xAA);
        frame
    }

    fn times(frames: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
        let all = frames.len() * count;
        frames.iter().cycle().take(all).cloned().collect()
    }

    /// The verdict on frames, which is the same in whatever pieces they come.
    fn verdict(frames: &[Vec<u8>], written: u64) -> Result<(), Abuse> {
        let bytes = [PREFACE, &frames.concat()].concat();
        let verdict = |size: usize| {
            let mut frames = Frames::new();
            bytes
                .chunks(size)
                .try_for_each(|piece| frames.observe(piece, written))
        };
        let whole = verdict(bytes.len());
        for size in [1, 5, 64] {
            assert_eq!(verdict(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn who_asks_and_is_answered_may_do_so_for_ever() {
        let request = [
            frame(HEADERS, END_HEADERS, 30),
            frame(DATA, 0, 100),
            frame(DATA, END_STREAM, 0),
        ];
        assert_eq!(verdict(&times(&request, 5000), 0), Ok(()));
        // A browser whose page is left takes a few back.
        let taken_back = [request[0].clone(), frame(RST_STREAM, 0, 4)];
        let some = [times(&request, 1000).as_slice(), &times(&taken_back, 200)].concat();
        assert_eq!(verdict(&some, 0), Ok(()));
    }

    #[test]
    fn who_takes_back_what_it_asks_for_is_turned_away() {
        let taken_back = [frame(HEADERS, END_HEADERS, 30), frame(RST_STREAM, 0, 4)];
        assert_eq!(verdict(&times(&taken_back, 200), 0), Ok(()));
        assert_eq!(verdict(&times(&taken_back, 201), 0), Err(Abuse::Resets));
    }

    #[test]
    fn who_only_talks_is_turned_away() {
        for frame in [
            frame(PING, 0, 8),
            frame(4, 0, 0),
            frame(DATA, 0, 0),
            frame(WINDOW_UPDATE, 0, 4),
            frame(99, 0, 3),
        ] {
            assert_eq!(verdict(&vec![frame.clone(); 1000], 0), Ok(()));
            assert_eq!(verdict(&vec![frame; 1001], 0), Err(Abuse::Chatter));
        }
        // Who reads has something to say.
        let windows = vec![frame(WINDOW_UPDATE, 0, 4); 5000];
        assert_eq!(verdict(&windows, 5000 * BYTES_PER_CHATTER), Ok(()));
    }

    #[test]
    fn a_head_that_has_begun_is_awaited() {
        let awaits = |frames: &[Vec<u8>], cut: usize| {
            let bytes = [PREFACE, &frames.concat()].concat();
            let mut frames = Frames::new();
            frames.observe(&bytes[..bytes.len() - cut], 0).unwrap();
            frames.awaits_more()
        };
        assert!(!awaits(&[], 0));
        assert!(awaits(&[frame(HEADERS, 0, 30)], 0));
        assert!(awaits(&[frame(HEADERS, END_HEADERS, 30)], 1));
        assert!(!awaits(&[frame(HEADERS, END_HEADERS, 30)], 0));
        let continued = [frame(HEADERS, 0, 30), frame(CONTINUATION, END_HEADERS, 3)];
        assert!(!awaits(&continued, 0));
        // Data has its own timers.
        assert!(!awaits(&[frame(DATA, 0, 30)], 1));
    }
}
