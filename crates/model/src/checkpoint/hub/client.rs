//! Requests to the hub, and to the servers it redirects to.

use std::io::Read;
use std::thread;
use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::HubSettings;
use super::error::{HubFailure, Said};
use super::headers::{Answer, Told, retry_after, text};
use super::names::is_commit;
use super::redirect::{location, origin, resolve};

/// How often a request is tried.
pub(super) const TRIES: u32 = 5;
/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// The longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Timeout for connecting, and for each read of an answer.
const CONNECT: Duration = Duration::from_secs(10);
const PER_READ: Duration = Duration::from_secs(30);

/// Which failures a request is repeated after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Answers that may be better the next time, and servers that cannot be reached.
    Whole,
    /// Answers alone.
    Answers,
}

/// Requests files from the hub.
pub(super) struct Client<'a> {
    agent: Agent,
    settings: &'a HubSettings,
}

/// The outcome of a request that was answered.
pub(super) enum Asked {
    Found(Answer),
    /// There is no such file; with the commit, if the answer names it.
    Absent(Option<String>),
}

/// Why a single try failed: for good, or so that it may be repeated after a delay.
enum Failed {
    ForGood(HubFailure),
    ForNow(HubFailure, Option<Duration>),
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a HubSettings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(PER_READ))
            .timeout_per_write(Some(PER_READ))
            .build();
        Self {
            agent: config.into(),
            settings,
        }
    }

    /// Requests a file from byte `start` on, [`TRIES`] times at most. A server that does not
    /// support ranges answers with the whole file.
    pub fn get(
        &self,
        url: &str,
        revision: &str,
        start: u64,
        patience: Patience,
    ) -> Result<Asked, HubFailure> {
        for attempt in 1.. {
            match self.attempt(url, revision, start, attempt) {
                Ok(asked) => return Ok(asked),
                Err(Failed::ForGood(failure)) => return Err(failure),
                Err(Failed::ForNow(failure, _)) if attempt >= TRIES => return Err(failure),
                Err(Failed::ForNow(failure @ HubFailure::Unreachable { .. }, _))
                    if patience == Patience::Answers =>
                {
                    return Err(failure);
                }
                Err(Failed::ForNow(failure, wait)) => {
                    let wait = wait.unwrap_or_else(|| self.backoff(attempt));
                    tracing::info!(seconds = wait.as_secs_f64(), "asking again: {failure}");
                    thread::sleep(wait);
                }
            }
        }
        Err(HubFailure::Offline)
    }

    /// The delay after failure number `attempt`.
    pub fn backoff(&self, attempt: u32) -> Duration {
        self.settings.patience * 2_u32.saturating_pow(attempt.saturating_sub(1).min(5))
    }

    fn attempt(
        &self,
        url: &str,
        revision: &str,
        start: u64,
        attempt: u32,
    ) -> Result<Asked, Failed> {
        let endpoint = self.settings.endpoint();
        let home = origin(endpoint)
            .ok_or_else(|| Failed::ForGood(HubFailure::Endpoint(endpoint.to_owned())))?;
        let mut url = url.to_owned();
        let mut told = Told::default();
        for _ in 0..=REDIRECTS {
            let here = origin(&url).unwrap_or_default();
            let response = self.send(&url, start, here == home)?;
            let (head, body) = response.into_parts();
            told.hear(&head.headers);
            let host = || here.clone();
            match head.status {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                    return Ok(Asked::Found(told.answer(
                        head.status,
                        &head.headers,
                        Box::new(body.into_reader()),
                    )));
                }
                status if status.is_redirection() && head.headers.contains_key("location") => {
                    let target = head.headers.get("location");
                    let target = target.map_or(String::new(), |it| location(it.as_bytes()));
                    let next = resolve(&url, &target).filter(|next| {
                        // What was requested over https is not followed to plain http.
                        !(here.starts_with("https:") && next.starts_with("http:"))
                    });
                    url = next.ok_or_else(|| {
                        Failed::ForGood(HubFailure::Redirect {
                            host: host(),
                            location: target,
                        })
                    })?;
                }
                // A 404 from a server that the hub redirected to does not mean that the hub
                // lacks the file.
                StatusCode::NOT_FOUND | StatusCode::GONE if here == home => {
                    // The hub says what is missing. If it does not, it is the file.
                    let code = text(&head.headers, "x-error-code");
                    return match code.as_deref() {
                        Some("RepoNotFound" | "RevisionNotFound") => {
                            Err(Failed::ForGood(HubFailure::Unknown {
                                endpoint: endpoint.to_owned(),
                                revision: revision.to_owned(),
                            }))
                        }
                        _ => Ok(Asked::Absent(told.commit)),
                    };
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let failure = match here == home {
                        true => self.refused(head.status, &head.headers),
                        false => HubFailure::Refused {
                            host: here,
                            status: head.status.as_u16(),
                            said: Said::of(&head.headers),
                            hint: "",
                        },
                    };
                    return Err(Failed::ForGood(failure));
                }
                StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                    return Err(Failed::ForGood(HubFailure::Status {
                        host: host(),
                        status: head.status.as_u16(),
                        tries: attempt,
                        said: Said::of(&head.headers),
                    }));
                }
                status => {
                    let seconds = retry_after(&head.headers, SystemTime::now());
                    if let Some(seconds) = seconds
                        && seconds > LONGEST_WAIT.as_secs()
                    {
                        let host = host();
                        return Err(Failed::ForGood(HubFailure::Limited { host, seconds }));
                    }
                    let failure = HubFailure::Status {
                        host: host(),
                        status: status.as_u16(),
                        tries: attempt,
                        said: Said::of(&head.headers),
                    };
                    let again = status.is_server_error()
                        || matches!(
                            status,
                            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                        );
                    return Err(if again {
                        Failed::ForNow(failure, seconds.map(Duration::from_secs))
                    } else {
                        Failed::ForGood(failure)
                    });
                }
            }
        }
        Err(Failed::ForGood(HubFailure::Redirect {
            host: origin(&url).unwrap_or_default(),
            location: url,
        }))
    }

    /// What 401 and 403 from the hub mean: it answers 401 for a model that does not exist, so as
    /// not to say which private ones there are.
    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> HubFailure {
        let endpoint = self.settings.endpoint().to_owned();
        let said = Said::of(headers);
        let token = self.settings.token.is_some();
        let status = status.as_u16();
        let code = text(headers, "x-error-code");
        match code.as_deref() {
            Some("GatedRepo") => HubFailure::Gated { endpoint, said },
            _ if token && status == 401 && said.is_of_token() => {
                HubFailure::TokenRefused { endpoint, said }
            }
            Some("RepoNotFound") => HubFailure::Hidden {
                endpoint,
                status,
                said,
                hint: match token {
                    true => ", which the one that was sent may not, if it is valid",
                    false => "",
                },
            },
            _ if status == 401 && token => HubFailure::TokenRefused { endpoint, said },
            _ if status == 401 => HubFailure::Unauthorized {
                endpoint,
                status,
                said,
            },
            _ => HubFailure::Refused {
                host: endpoint,
                status,
                said,
                hint: match token {
                    true => "; the token that was sent (HF_TOKEN) may lack the right to it",
                    false => "",
                },
            },
        }
    }

    /// Sends one request. The token goes to the hub only, never to a server that it redirects
    /// to.
    fn send(&self, url: &str, start: u64, to_hub: bool) -> Result<Response<ureq::Body>, Failed> {
        let mut request = self
            .agent
            .get(url)
            // Lengths and ranges must be those of the file, not of its compressed form.
            .header("accept-encoding", "identity");
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        if let Some(token) = self.settings.token.as_ref().filter(|_| to_hub) {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failed::ForGood(HubFailure::Token))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        request.call().map_err(|error| {
            let failure = HubFailure::Unreachable {
                host: origin(url).unwrap_or_else(|| url.to_owned()),
                reason: error.to_string(),
            };
            match error {
                ureq::Error::HostNotFound
                | ureq::Error::BadUri(_)
                | ureq::Error::Http(_)
                | ureq::Error::Tls(_)
                | ureq::Error::InvalidProxyUrl => Failed::ForGood(failure),
                _ => Failed::ForNow(failure, None),
            }
        })
    }

    /// The commit of a revision from the hub's API, for servers that do not send it with a
    /// file.
    pub fn commit(&self, name: &str, revision: &str) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Info {
            sha: String,
        }
        let endpoint = self.settings.endpoint();
        let url = format!("{endpoint}/api/models/{name}/revision/{revision}");
        match self.get(&url, revision, 0, Patience::Whole).ok()? {
            Asked::Found(answer) => {
                let body = answer.body.take(16 << 20);
                let info: Info = serde_json::from_reader(body).ok()?;
                Some(info.sha).filter(|sha| is_commit(sha))
            }
            Asked::Absent(_) => None,
        }
    }
}
