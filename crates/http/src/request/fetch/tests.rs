//! Names whose addresses change between two look-ups (DNS rebinding), or are not told. The host that may be asked
//! listens at 127.0.0.1, and one that may not at 127.0.0.2, on the same port.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, mpsc};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use siglip2_service::metrics::Metrics;

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const FORBIDDEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Answers for each name the next of its addresses, and the last one from then on.
struct Changing(Mutex<HashMap<&'static str, Vec<Ipv4Addr>>>);

impl Resolve for Changing {
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut names = self.0.lock().unwrap();
        let addresses = names.get_mut(host).ok_or(io::ErrorKind::NotFound)?;
        let address = match addresses.len() {
            1 => addresses[0],
            _ => addresses.remove(0),
        };
        Ok(vec![SocketAddr::from((address, port))])
    }
}

/// A host at an address, and how many have connected to it.
async fn host(address: Ipv4Addr, port: u16, body: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((address, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            // "/to?NAME" leads to NAME, on the same port.
            let answer = match path.strip_prefix("/to?") {
                Some(name) => format!(
                    "HTTP/1.1 302 Found\r\nLocation: http://{name}:{port}/\r\nContent-Length: 0\r\n\r\n"
                ),
                None => format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, connections)
}

/// What `http://NAME:PORT/PATH` gives where names have these addresses, one after the other; and whether
/// the forbidden host was connected to.
async fn fetched(
    names: &[(&'static str, &[Ipv4Addr])],
    name: &str,
    path: &str,
) -> (Result<Bytes, String>, usize) {
    let (port, _) = host(ALLOWED, 0, "allowed").await;
    let (_, forbidden) = host(FORBIDDEN, port, "forbidden").await;
    let settings = PictureUrlSettings {
        picture_url_hosts: Some(PictureHosts::parse(&format!("*:{port}")).unwrap()),
        picture_url_networks: Some(Networks::parse("127.0.0.1").unwrap()),
        ..crate::HttpSettings::default().picture_urls
    };
    let names = names.iter().map(|(name, all)| (*name, all.to_vec()));
    let mut fetcher = Fetcher::new(&settings).unwrap().unwrap();
    fetcher.resolver = Arc::new(Changing(Mutex::new(names.collect())));
    let url = format!("http://{name}:{port}{path}");
    let wanted = Wanted {
        index: 0,
        name: "image".to_owned(),
        target: Target::parse(&url, &fetcher.hosts).unwrap(),
    };
    let memory = MemoryBudget::new(1 << 24, Metrics::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let files = fetcher
        .fetch(CLIENT, vec![wanted], 1 << 20, &memory, deadline, |_, _| {
            false
        })
        .await;
    let file = files.map(|mut files| files.remove(0).1.unwrap());
    let file = file.map_err(|problem| problem.to_string());
    (file, forbidden.load(Ordering::Relaxed))
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    // The next look-up would give the other one.
    let names = [("a.example", &[ALLOWED, FORBIDDEN][..])];
    let (file, forbidden) = fetched(&names, "a.example", "/").await;
    assert_eq!(file.unwrap(), "allowed");
    assert_eq!(forbidden, 0);
    // And the first one counts where it is the forbidden one.
    let names = [("a.example", &[FORBIDDEN, ALLOWED][..])];
    let (file, forbidden) = fetched(&names, "a.example", "/").await;
    let sentence = file.unwrap_err();
    assert!(sentence.contains("not public"), "{sentence}");
    assert_eq!(forbidden, 0);
}

#[tokio::test]
async fn the_name_that_a_redirect_leads_to_is_checked_in_the_same_way() {
    let from = ("a.example", &[ALLOWED][..]);
    let names = [from, ("b.example", &[ALLOWED, FORBIDDEN][..])];
    let (file, forbidden) = fetched(&names, "a.example", "/to?b.example").await;
    assert_eq!(file.unwrap(), "allowed");
    assert_eq!(forbidden, 0);
    let names = [from, ("b.example", &[FORBIDDEN, ALLOWED][..])];
    let (file, forbidden) = fetched(&names, "a.example", "/to?b.example").await;
    assert!(file.unwrap_err().contains("not public"));
    assert_eq!(forbidden, 0);
}

#[tokio::test]
async fn a_redirect_to_the_same_name_looks_it_up_again() {
    let names = [("a.example", &[ALLOWED, FORBIDDEN][..])];
    let (file, forbidden) = fetched(&names, "a.example", "/to?a.example").await;
    assert!(file.unwrap_err().contains("not public"));
    assert_eq!(forbidden, 0);
}

#[tokio::test]
async fn what_is_announced_and_does_not_come_holds_no_memory() {
    let (announced, come) = (1_u64 << 19, 1000_u64);
    let listener = TcpListener::bind((ALLOWED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = PictureUrlSettings {
        picture_url_hosts: Some(PictureHosts::parse(&format!("*:{port}")).unwrap()),
        picture_url_networks: Some(Networks::parse("127.0.0.1").unwrap()),
        ..crate::HttpSettings::default().picture_urls
    };
    let fetcher = Fetcher::new(&settings).unwrap().unwrap();
    let wanted = Wanted {
        index: 0,
        name: "image".to_owned(),
        target: Target::parse(&format!("http://127.0.0.1:{port}/"), &fetcher.hosts).unwrap(),
    };
    let memory = MemoryBudget::new(1 << 24, Metrics::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let fetching = fetcher.fetch(CLIENT, vec![wanted], 1 << 20, &memory, deadline, |_, _| {
        false
    });
    let host = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![0; come as usize]).await.unwrap();
        // Until it was read.
        let held = loop {
            match memory.held(MemoryUse::Bodies) {
                0 => tokio::task::yield_now().await,
                held => break held,
            }
        };
        drop(stream);
        held
    };
    let (files, held) = tokio::join!(fetching, host);
    assert!(held <= come, "{held} bytes are held");
    assert!(files.unwrap_err().to_string().contains("ended after"));
    assert_eq!(memory.held(MemoryUse::Bodies), 0);
}

const HOURS: Duration = Duration::from_secs(36_000);

/// Another client than [`CLIENT`].
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// One with two turns, for hosts at this port, which never gives up by itself.
fn patient(port: u16) -> Fetcher {
    let settings = PictureUrlSettings {
        picture_url_hosts: Some(PictureHosts::parse(&format!("*:{port}")).unwrap()),
        picture_url_networks: Some(Networks::parse("127.0.0.1").unwrap()),
        picture_url_timeout: HOURS,
        max_picture_fetches: 2,
        ..crate::HttpSettings::default().picture_urls
    };
    Fetcher::new(&settings).unwrap().unwrap()
}

/// One picture at a URL, and the memory that it is held in.
async fn fetch_one(
    fetcher: Arc<Fetcher>,
    memory: MemoryBudget,
    client: IpAddr,
    url: String,
) -> Result<Bytes, Problem> {
    let wanted = Wanted {
        index: 0,
        name: "image".to_owned(),
        target: Target::parse(&url, &fetcher.hosts).unwrap(),
    };
    let deadline = Instant::now() + HOURS;
    let files = fetcher.fetch(client, vec![wanted], 1 << 20, &memory, deadline, |_, _| {
        false
    });
    files.await?.remove(0).1
}

/// What comes in the end, which is long before a timer would end it.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let done = timeout(Duration::from_secs(60), future).await;
    done.expect("it comes")
}

/// Knows one name, and waits for a word before it says that there is no other.
struct Stalling {
    word: Mutex<mpsc::Receiver<()>>,
    asked: AtomicUsize,
}

impl Resolve for Stalling {
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if host == "known.example" {
            return Ok(vec![SocketAddr::from((ALLOWED, port))]);
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let _ = self.word.lock().unwrap().recv();
        Err(io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn names_that_are_not_told_keep_no_turn_from_another_client() {
    let (port, _) = host(ALLOWED, 0, "picture").await;
    // Dropped at the end, before the runtime, which waits for its threads.
    let (_word, heard) = mpsc::channel();
    let resolver = Arc::new(Stalling {
        word: Mutex::new(heard),
        asked: AtomicUsize::new(0),
    });
    let mut fetcher = patient(port);
    fetcher.resolver = Arc::clone(&resolver) as Arc<dyn Resolve>;
    let fetcher = Arc::new(fetcher);
    let memory = MemoryBudget::new(1 << 24, Metrics::new());
    let fetch = |client, name: &str| {
        let url = format!("http://{name}:{port}/");
        fetch_one(Arc::clone(&fetcher), memory.clone(), client, url)
    };
    // The second time all turns are free, but the threads of the first time still wait.
    for _ in 0..2 {
        let greedy = [(); 2].map(|()| tokio::spawn(fetch(CLIENT, "stalls.example")));
        while resolver.asked.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        let file = in_time(fetch(OTHER, "known.example")).await;
        assert_eq!(file.unwrap(), "picture");
        for fetch in greedy {
            fetch.abort();
            // One of them made room.
            let _ = fetch.await;
        }
    }
    assert_eq!(resolver.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_picture_of_which_nothing_comes_makes_room_before_one_that_comes() {
    let listener = TcpListener::bind((ALLOWED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fetcher = Arc::new(patient(port));
    let memory = MemoryBudget::new(1 << 24, Metrics::new());
    let fetch = |client| {
        let url = format!("http://127.0.0.1:{port}/");
        tokio::spawn(fetch_one(Arc::clone(&fetcher), memory.clone(), client, url))
    };
    let comes = fetch(CLIENT);
    let (mut sends, _) = listener.accept().await.unwrap();
    let silent = fetch(CLIENT);
    let (_stays, _) = listener.accept().await.unwrap();
    // A minute's worth, of which each piece is read by itself.
    let (piece, pieces) = (vec![0; 4 << 10], 60);
    let whole = piece.len() * (pieces + 1);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n");
    sends.write_all(head.as_bytes()).await.unwrap();
    for count in 1..=pieces {
        sends.write_all(&piece).await.unwrap();
        while memory.held(MemoryUse::Bodies) < (count * piece.len()) as u64 {
            tokio::task::yield_now().await;
        }
    }
    let other = fetch(OTHER);
    let (mut last, _) = in_time(listener.accept()).await.unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture";
    last.write_all(answer).await.unwrap();
    assert_eq!(other.await.unwrap().unwrap(), "picture");
    let sentence = in_time(silent).await.unwrap().unwrap_err().to_string();
    assert!(sentence.contains("did not come"), "{sentence}");
    sends.write_all(&piece).await.unwrap();
    assert_eq!(comes.await.unwrap().unwrap().len(), whole);
}
