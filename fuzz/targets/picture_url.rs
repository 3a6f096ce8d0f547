//! URLs of pictures, and where redirects lead. The input is three lines: the hosts that may be asked, a URL,
//! and a redirect. What is fetched is at a host that may be asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use siglip2_embeddings::http::fuzzing::redirected;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(3, '\n');
    let (Some(hosts), Some(url), Some(location)) = (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let Ok(targets) = redirected(hosts, url, location) else {
        return;
    };
    for (host, port, path) in targets {
        assert!(!host.is_empty() && port > 0 && path.starts_with('/'));
        assert!(
            !path.contains(['\r', '\n', ' ']),
            "a request of its own: {path:?}"
        );
        let known = hosts
            .split(',')
            .map(|entry| entry.trim().to_ascii_lowercase());
        let mut known = known.filter(|entry| !entry.is_empty());
        assert!(
            known.any(|entry| {
                let entry = entry.strip_prefix('*').unwrap_or(&entry);
                let name = match entry.strip_prefix('[') {
                    Some(literal) => literal.split(']').next().unwrap_or_default(),
                    None => entry.split(':').next().unwrap_or_default(),
                };
                host.ends_with(name)
            }),
            "{host} is none of {hosts}"
        );
    }
});
