//! Where requests begin and end in the bytes of a connection, by the letter of RFC 9112.
//!
//! hyper is lenient where a proxy before us may read the same bytes in another way: it takes
//! a lone line feed for the end of a line in a head, and for a part of the line behind a last
//! chunk, and drops a Content-Length that stands beside a Transfer-Encoding. A request that two
//! readers cut differently is how one client's request is smuggled into another's, so such
//! bytes never reach hyper. Everything else that can be
//! wrong with a head it refuses by itself: what is not understood here is left to it.

/// The longest head that is looked at; hyper refuses longer ones.
const MAX_HEAD: usize = 64 << 10;

/// The longest line of a chunk's size that is looked at.
const MAX_LINE: usize = 16 << 10;

/// What a request may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A line feed without a carriage return before it (RFC 9112, 2.2).
    BareLineFeed,
    /// Content-Length and Transfer-Encoding together (RFC 9112, 6.1).
    TwoLengths,
    /// A Content-Length that hyper keeps for itself, and answers as if the headers were too
    /// large.
    HugeLength,
}

impl Violation {
    /// What the client is told.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::BareLineFeed => {
                "Every line of a request's head and of its trailer must end with CR LF; one of them ends with LF alone."
            }
            Self::TwoLengths => {
                "A request must not have both a Content-Length and a Transfer-Encoding."
            }
            Self::HugeLength => "The Content-Length is larger than any body can be.",
        }
    }
}

/// Follows a connection's bytes.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// Heads that were complete.
    heads: u64,
}

#[derive(Debug)]
enum State {
    /// In a head; what there is of it.
    Head(Vec<u8>),
    /// In a body of which so many bytes are to come.
    Sized(u64),
    /// In the line of a chunk's size; what there is of it.
    Size(Vec<u8>),
    /// In a chunk of which so many bytes are to come, with its line end.
    Chunk(u64),
    /// Behind the last chunk.
    Trailer {
        /// Whether the line has anything so far.
        is_empty: bool,
        /// Whether its last byte is a carriage return.
        is_ending: bool,
    },
    /// hyper will refuse what comes, or has.
    Unknown,
}

impl State {
    /// Before a line behind the last chunk.
    fn line_of_trailer() -> Self {
        Self::Trailer {
            is_empty: true,
            is_ending: false,
        }
    }
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head(Vec::new()),
            heads: 0,
        }
    }

    /// Requests whose heads were complete.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether all that has come are whole requests.
    pub(crate) fn is_between_requests(&self) -> bool {
        match &self.state {
            State::Head(head) => head.is_empty(),
            State::Sized(more) => *more == 0,
            _ => false,
        }
    }

    /// Whether what comes next belongs to the body of a request.
    pub(crate) fn is_in_body(&self) -> bool {
        matches!(
            self.state,
            State::Sized(_) | State::Size(_) | State::Chunk(_) | State::Trailer { .. }
        )
    }

    /// Takes in the next bytes. An error comes with how many of them stand before the
    /// violation; no more of the connection is to be read then.
    pub(crate) fn observe(&mut self, bytes: &[u8]) -> Result<(), (usize, Violation)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let left = (bytes.len() - at) as u64;
            match &mut self.state {
                State::Unknown => return Ok(()),
                State::Sized(more) | State::Chunk(more) if *more > left => {
                    *more -= left;
                    return Ok(());
                }
                State::Sized(more) => {
                    at += *more as usize;
                    self.state = State::Head(Vec::new());
                    continue;
                }
                State::Chunk(more) => {
                    at += *more as usize;
                    self.state = State::Size(Vec::new());
                    continue;
                }
                State::Head(head) => {
                    if byte == b'\n' && head.last() != Some(&b'\r') {
                        return Err((at, Violation::BareLineFeed));
                    }
                    head.push(byte);
                    if head == b"\r\n" {
                        // An empty line before a request is skipped (RFC 9112, 2.2).
                        head.clear();
                    } else if head.ends_with(b"\r\n\r\n") {
                        self.state = body(head).map_err(|violation| (at, violation))?;
                        self.heads += 1;
                    } else if head.len() > MAX_HEAD {
                        self.state = State::Unknown;
                    }
                }
                State::Size(line) => {
                    line.push(byte);
                    if byte == b'\n' {
                        self.state = chunk(line);
                    } else if line.len() > MAX_LINE {
                        self.state = State::Unknown;
                    }
                }
                State::Trailer {
                    is_empty,
                    is_ending,
                } => match byte {
                    b'\n' if !*is_ending => return Err((at, Violation::BareLineFeed)),
                    b'\n' if *is_empty => self.state = State::Head(Vec::new()),
                    b'\n' => self.state = State::line_of_trailer(),
                    b'\r' => *is_ending = true,
                    _ => (*is_empty, *is_ending) = (false, false),
                },
            }
            at += 1;
        }
        Ok(())
    }
}

/// What follows a head.
fn body(head: &[u8]) -> Result<State, Violation> {
    let mut lines = head.split(|&byte| byte == b'\n');
    let request = lines.next().unwrap_or_default();
    let (mut length, mut coding) = (None, None);
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            // Two that differ are hyper's to refuse.
            length = Some(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            coding = Some(value);
        }
    }
    // What follows CONNECT is no request; `server::app` closes the connection before it is read as one.
    if request.starts_with(b"CONNECT ") {
        return Ok(State::Unknown);
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err(Violation::TwoLengths),
        (None, None) => Ok(State::Head(Vec::new())),
        (Some(length), None) => {
            let digits = length.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(length).ok().filter(|_| digits);
            match length.and_then(|length| length.parse().ok()) {
                Some(length) if length > u64::MAX - 2 => Err(Violation::HugeLength),
                Some(length) => Ok(State::Sized(length)),
                None => Ok(State::Unknown),
            }
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(State::Size(Vec::new()))
        }
        (None, Some(_)) => Ok(State::Unknown),
    }
}

/// What follows the line of a chunk's size.
fn chunk(line: &[u8]) -> State {
    let end = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let size = std::str::from_utf8(&line[..end])
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match size {
        Some(0) => State::line_of_trailer(),
        Some(size) if size < u64::MAX - 2 => State::Chunk(size + 2),
        _ => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on bytes, which is the same in whatever pieces they come.
    fn verdict(bytes: &[u8]) -> Result<(), (usize, Violation)> {
        let whole = Framing::new().observe(bytes);
        for size in [1, 2, 3, 7, 64] {
            let mut framing = Framing::new();
            let mut seen = 0;
            let mut result = Ok(());
            for piece in bytes.chunks(size) {
                if let Err((at, violation)) = framing.observe(piece) {
                    result = Err((seen + at, violation));
                    break;
                }
                seen += piece.len();
            }
            assert_eq!(result, whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn good_requests_pass_one_behind_the_other() {
        let requests: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 7\r\n\r\na\nb\n\nc\n",
            b"POST / HTTP/1.1\r\nContent-Length:0\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\n\n\n\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n\n234567890\r\n0\r\nT: u\r\nV: w\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ];
        for first in requests {
            for second in requests {
                assert_eq!(verdict(&[first, second, requests[0]].concat()), Ok(()));
                // What is wrong behind them is still found.
                let wrong = [first, second, b"GET / HTTP/1.1\n\n"].concat();
                let at = wrong.len() - 2;
                assert_eq!(verdict(&wrong), Err((at, Violation::BareLineFeed)));
            }
        }
    }

    #[test]
    fn whole_requests_are_told_from_halves() {
        let post: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let none: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        let chunked: &[u8] =
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        let get: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        for request in [post, none, chunked, get] {
            for end in 1..=request.len() {
                let mut framing = Framing::new();
                framing.observe(get).unwrap();
                framing.observe(&request[..end]).unwrap();
                let whole = end == request.len();
                assert_eq!(framing.is_between_requests(), whole, "{end}");
                assert!(!whole || framing.heads() == 2);
            }
        }
    }

    #[test]
    fn two_lengths_are_found_before_the_head_is_whole() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: y\r\nCONTENT-LENGTH: 6\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nContent-Length: many\r\n\r\n",
        ] {
            let expected = Err((head.len() - 1, Violation::TwoLengths));
            assert_eq!(verdict(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn lone_line_feeds_behind_a_last_chunk_are_found() {
        let good = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
        for (trailer, at) in [
            // A proxy that takes it for the end would see a request here, and hyper a trailer.
            ("\nGET / HTTP/1.1\r\n\r\n", 0),
            ("A: b\n\nGET / HTTP/1.1\r\n\r\n", 4),
            ("A: b\r\n\nGET / HTTP/1.1\r\n\r\n", 6),
            ("A: b\r\nC: d\n\r\n", 10),
        ] {
            let bytes = [good, trailer.as_bytes()].concat();
            let expected = Err((good.len() + at, Violation::BareLineFeed));
            assert_eq!(verdict(&bytes), expected, "{trailer:?}");
        }
    }

    #[test]
    fn the_lengths_that_hyper_keeps_for_itself_are_refused() {
        for (length, good) in [
            (u64::MAX, false),
            (u64::MAX - 1, false),
            (u64::MAX - 2, true),
        ] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(verdict(head.as_bytes()).is_ok(), good, "{length}");
        }
    }

    #[test]
    fn what_hyper_refuses_is_left_to_it() {
        for bytes in [
            b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n\n\n".as_slice(),
            b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n\n\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\n\n",
            b"CONNECT a:1 HTTP/1.1\r\n\r\n\n\n",
            &[b'a'; MAX_HEAD + 9],
        ] {
            assert_eq!(verdict(bytes), Ok(()));
        }
    }
}
