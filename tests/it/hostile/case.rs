//! A case: what is sent, and what must come back.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::running::HEADER_TIMEOUT;
use crate::common::Answer;
use crate::common::client::{head_end, take_head};

/// Longer than any answer may take here.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often a case is sent whose first bytes came later than a head may.
const TRIES: usize = 5;

/// What is said of such a one.
const LATE: &str = "no answer, and what was sent came too late for one";

pub enum Step {
    Send(Vec<u8>),
    /// So many milliseconds of nothing.
    Pause(u64),
    /// These bytes for ever, one each so many milliseconds, until nobody reads them.
    Drip(u8, u64),
    /// No more will be sent.
    Finish,
}

/// What comes after the answers that are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing is asked of the connection.
    Any,
    /// It is closed, and not a byte comes before.
    Closed,
}

pub struct Case {
    pub name: String,
    /// Where it is to be put right, if the service does not do it yet.
    pub open: Option<&'static str>,
    steps: Vec<Step>,
    /// The statuses allowed for each answer; none at all where HTTP allows silence.
    answers: Vec<Vec<u16>>,
    silence: bool,
    end: End,
    check: Option<Check>,
}

type Check = Box<dyn Fn(&Answer) -> bool + Send + Sync>;

/// One write, one answer with one of these statuses.
pub fn case(name: impl Into<String>, sent: impl AsRef<[u8]>, statuses: &[u16]) -> Case {
    script(name, vec![Step::Send(sent.as_ref().to_vec())], &[statuses])
}

pub fn script(name: impl Into<String>, steps: Vec<Step>, answers: &[&[u16]]) -> Case {
    Case {
        name: name.into(),
        open: None,
        steps,
        answers: answers.iter().map(|statuses| statuses.to_vec()).collect(),
        silence: false,
        end: End::Any,
        check: None,
    }
}

impl Case {
    /// After the answers the connection ends: what was sent behind must not be taken
    /// for a request.
    pub fn closes(mut self) -> Self {
        self.end = End::Closed;
        self
    }

    /// Hanging up without a word is as good.
    pub fn or_silence(mut self) -> Self {
        self.silence = true;
        self
    }

    pub fn checked(mut self, check: impl Fn(&Answer) -> bool + Send + Sync + 'static) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// Wrong as yet, and to be put right there.
    #[allow(dead_code, reason = "nothing is at the moment")]
    pub fn open(mut self, place: &'static str) -> Self {
        self.open = Some(place);
        self
    }

    /// Sends it, and looks at what is answered. A connection whose first byte does not come in time is closed
    /// without a word: on a busy machine that may be our own doing, and then it is sent once more.
    pub fn run(&self, address: SocketAddr) -> Result<(), String> {
        let mut result = self.run_once(address);
        for _ in 1..TRIES {
            if result.as_ref().is_err_and(|why| why == LATE) {
                result = self.run_once(address);
            }
        }
        result
    }

    fn run_once(&self, address: SocketAddr) -> Result<(), String> {
        let connecting = Instant::now();
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).unwrap();
        let writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            // Beside the reading: a server may answer before it has read all.
            let sending = scope.spawn(|| self.send(writer));
            let mut reader = Reader::new(stream);
            let result = self.receive(&mut reader);
            let _ = reader.stream.shutdown(Shutdown::Both);
            let began = sending.join().unwrap();
            let is_late = matches!(self.steps.first(), Some(Step::Send(_)))
                && began.duration_since(connecting) >= HEADER_TIMEOUT;
            match result {
                Err(_) if is_late && reader.received.is_empty() => Err(LATE.to_owned()),
                result => result,
            }
        })
    }

    /// Sends all, and says when it had sent the first.
    fn send(&self, mut stream: TcpStream) -> Instant {
        let mut began = None;
        for step in &self.steps {
            let sent = match step {
                Step::Send(bytes) => stream.write_all(bytes),
                Step::Pause(millis) => {
                    std::thread::sleep(Duration::from_millis(*millis));
                    Ok(())
                }
                Step::Drip(byte, millis) => loop {
                    if let Err(error) = stream.write_all(&[*byte]) {
                        break Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(*millis));
                },
                Step::Finish => stream.shutdown(Shutdown::Write),
            };
            began.get_or_insert_with(Instant::now);
            if sent.is_err() {
                break;
            }
        }
        began.unwrap_or_else(Instant::now)
    }

    fn receive(&self, reader: &mut Reader) -> Result<(), String> {
        for (at, statuses) in self.answers.iter().enumerate() {
            let Some(answer) = reader.answer()? else {
                return if self.silence && at == 0 {
                    Ok(())
                } else {
                    Err(format!("no answer {at}, wanted {statuses:?}"))
                };
            };
            let told = String::from_utf8_lossy(&answer.body);
            let shown: String = told.chars().take(200).collect();
            if !statuses.contains(&answer.status) {
                return Err(format!(
                    "{} instead of {statuses:?}: {shown}",
                    answer.status
                ));
            }
            // The contract: an error is JSON with a detail, always.
            // By the grammar only: a number told back may be beyond any float.
            let json = serde_json::from_slice::<HashMap<String, &RawValue>>(&answer.body);
            if answer.status >= 400 && !json.is_ok_and(|json| json.contains_key("detail")) {
                return Err(format!("{} without a detail: {shown}", answer.status));
            }
            if told.len() > 1 << 20 || (answer.status >= 400 && told.len() > 64 << 10) {
                return Err(format!("an answer of {} bytes", told.len()));
            }
            if self.check.as_ref().is_some_and(|check| !check(&answer)) {
                return Err(format!("not what is wanted: {shown}"));
            }
        }
        if self.end == End::Closed
            && let Some(more) = reader.answer()?
        {
            return Err(format!(
                "{} after the last answer: {}",
                more.status,
                more.text()
            ));
        }
        Ok(())
    }
}

/// Reads answers from a connection.
pub struct Reader {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Reader {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// The next answer, except 100; none where the connection ends instead.
    pub fn answer(&mut self) -> Result<Option<Answer>, String> {
        loop {
            let end = loop {
                if let Some(end) = head_end(&self.received) {
                    break end;
                }
                if !self.more()? {
                    return if self.received.is_empty() {
                        Ok(None)
                    } else {
                        Err(format!("half an answer: {:?}", self.received))
                    };
                }
            };
            let mut answer = take_head(&mut self.received, end)?;
            match answer.status {
                100 => continue,
                204 => return Ok(Some(answer)),
                _ => {}
            }
            let length = answer
                .header("content-length")
                .and_then(|length| length.parse().ok())
                .ok_or_else(|| format!("no length: {answer:?}"))?;
            while self.received.len() < length {
                if !self.more()? {
                    return Err("the body of the answer broke off".into());
                }
            }
            answer.body = self.received.drain(..length).collect();
            return Ok(Some(answer));
        }
    }

    fn more(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.received.extend_from_slice(&buffer[..read]);
                Ok(read > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!("nothing came within {PATIENCE:?}"))
            }
            Err(_) => Ok(false),
        }
    }
}
