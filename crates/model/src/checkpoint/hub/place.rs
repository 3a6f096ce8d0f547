//! Where the hub and its cache are, and the token, from settings and the environment, by the
//! rules of huggingface_hub's `constants.py` and `get_token`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::NoCache;

/// The public hub.
const PUBLIC_HUB: &str = "https://huggingface.co";
/// Most of a file of users that is read, in bytes.
const MAX_USERS: u64 = 16 << 20;

/// Where the hub and its cache are.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The cache, or why there is none.
    pub cache: Result<PathBuf, NoCache>,
    /// The hub's address; `None` for the public hub.
    pub endpoint: Option<String>,
    /// The token, for models that require one.
    pub token: Option<String>,
    /// Only look in the cache.
    pub offline: bool,
    /// Ask for every file of the model, and replace those in the cache that are not what the hub
    /// has.
    pub anew: bool,
    /// The delay before a failed request is repeated; it doubles each time.
    pub patience: Duration,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            cache: Err(NoCache::NoHome),
            endpoint: None,
            token: None,
            offline: false,
            anew: false,
            patience: Duration::from_secs(1),
        }
    }
}

impl HubSettings {
    /// The address of the hub, without a slash at its end.
    pub fn endpoint(&self) -> &str {
        let endpoint = self.endpoint.as_deref().unwrap_or(PUBLIC_HUB);
        endpoint.trim_end_matches('/')
    }
}

/// The settings that decide where things are, each as given by a flag or a variable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// `MODEL_CACHE`, what the Python service calls its cache.
    pub model_cache: Option<PathBuf>,
    /// `HF_HUB_CACHE`, and its former name.
    pub hub_cache: [Option<PathBuf>; 2],
    /// `HF_HOME`.
    pub hf_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub xdg_cache_home: Option<PathBuf>,
    /// `HF_TOKEN`, and its former name.
    pub token: [Option<String>; 2],
    /// `HF_TOKEN_PATH`.
    pub token_path: Option<PathBuf>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The file with the home directories of others: `/etc/passwd`.
    pub users: PathBuf,
}

impl Places {
    /// `HF_HOME`: the directory above cache and token.
    fn hf_home(&self) -> Result<PathBuf, NoCache> {
        if let Some(home) = set(&self.hf_home) {
            return self.expanded(home);
        }
        Ok(self.caches()?.join("huggingface"))
    }

    /// The directory of the user's caches.
    pub fn caches(&self) -> Result<PathBuf, NoCache> {
        match set(&self.xdg_cache_home) {
            Some(caches) => self.expanded(caches),
            None => Ok(self.home.as_ref().ok_or(NoCache::NoHome)?.join(".cache")),
        }
    }

    /// The hub cache.
    pub fn cache(&self) -> Result<PathBuf, NoCache> {
        let [new, old] = &self.hub_cache;
        match [&self.model_cache, new, old].into_iter().find_map(set) {
            Some(cache) => self.expanded(&self.expanded(cache)?),
            None => self.expanded(&self.hf_home()?.join("hub")),
        }
    }

    /// The token: as given, or stored by `hf auth login`.
    pub fn token(&self) -> Option<String> {
        let given = self.token.iter().flatten().find_map(|token| clean(token));
        given.or_else(|| {
            let path = match set(&self.token_path) {
                Some(path) => self.expanded(path).ok()?,
                None => self.expanded(&self.hf_home().ok()?.join("token")).ok()?,
            };
            clean(&std::fs::read_to_string(path).ok()?)
        })
    }

    /// A path with `~`, `~USER`, `$NAME` and `${NAME}` replaced, like Python's `expanduser` and
    /// then `expandvars`: a `~` that a variable brings stays as it is. Python does this to the
    /// places of the cache twice, so that there such a `~` is replaced after all.
    ///
    /// Python leaves a user that it does not know as it is too, and makes a directory of that name
    /// wherever it runs. Here it is an error, also because users that only the system's name
    /// service knows are not found.
    fn expanded(&self, path: &Path) -> Result<PathBuf, NoCache> {
        let Some(text) = path.to_str() else {
            return Ok(path.to_owned());
        };
        let mut expanded = text.to_owned();
        if let Some(rest) = text.strip_prefix('~') {
            let (user, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let home = match user {
                "" => self.home.clone().ok_or(NoCache::NoHome)?,
                user => {
                    home_of(user, &self.users).ok_or_else(|| NoCache::NoUser(path.to_owned()))?
                }
            };
            let home = home.to_string_lossy();
            expanded = format!("{}{rest}", home.trim_end_matches('/'));
            if expanded.is_empty() {
                expanded.push('/');
            }
        }
        let expanded = with_variables(&expanded, |name| std::env::var_os(name));
        Ok(expanded.into())
    }
}

/// The home directory of a user, from a file in the form of `/etc/passwd`.
fn home_of(user: &str, users: &Path) -> Option<PathBuf> {
    let mut text = Vec::new();
    File::open(users)
        .and_then(|file| file.take(MAX_USERS).read_to_end(&mut text))
        .ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        // Name, password, number, group, comment, home, shell.
        let mut fields = line.split(':');
        let home = fields
            .next()
            .filter(|&name| name == user)
            .and(fields.nth(4))?;
        Some(home.into())
    })
}

/// The value, unless it is empty, which counts as unset.
fn set(value: &Option<PathBuf>) -> Option<&Path> {
    value
        .as_deref()
        .filter(|path| !path.as_os_str().to_string_lossy().trim().is_empty())
}

/// A token without surrounding white space, which files and shells leave there.
fn clean(token: &str) -> Option<String> {
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Replaces `$NAME` and `${NAME}`; unknown names are left as they are.
fn with_variables(text: &str, value: impl Fn(&str) -> Option<OsString>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, behind) = rest.split_at(at);
        out += before;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, length) = match behind[1..].strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(end) => (&braced[..end], end + 3),
                None => ("", 1),
            },
            None => {
                let end = behind[1..].find(|c| !word(c)).unwrap_or(behind.len() - 1);
                (&behind[1..=end], end + 1)
            }
        };
        let known = (!name.is_empty()).then(|| value(name)).flatten();
        match known.as_ref().and_then(|known| known.to_str()) {
            Some(known) => out += known,
            None => out += &behind[..length],
        }
        rest = &behind[length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<PathBuf> {
        Some(text.into())
    }

    fn found(text: &str) -> Result<PathBuf, NoCache> {
        Ok(text.into())
    }

    /// The order of huggingface_hub 2.4, preceded by the cache of the Python service.
    #[test]
    fn the_first_place_that_is_set_is_taken() {
        let mut places = Places {
            home: path("/home/me"),
            ..Places::default()
        };
        assert_eq!(places.cache(), found("/home/me/.cache/huggingface/hub"));
        places.xdg_cache_home = path("/xdg");
        assert_eq!(places.cache(), found("/xdg/huggingface/hub"));
        places.hf_home = path("~/models");
        assert_eq!(places.cache(), found("/home/me/models/hub"));
        places.hub_cache[1] = path("/old");
        assert_eq!(places.cache(), found("/old"));
        places.hub_cache[0] = path("~");
        assert_eq!(places.cache(), found("/home/me"));
        places.model_cache = path("./models");
        assert_eq!(places.cache(), found("./models"));
        places.model_cache = path("  ");
        assert_eq!(places.cache(), found("/home/me"));
    }

    #[test]
    fn without_a_home_there_is_no_cache_unless_it_is_named() {
        let mut places = Places::default();
        assert_eq!(places.cache(), Err(NoCache::NoHome));
        places.hf_home = path("~/models");
        assert_eq!(places.cache(), Err(NoCache::NoHome));
        places.hf_home = path("/models");
        assert_eq!(places.cache(), found("/models/hub"));
    }

    #[test]
    fn a_user_may_be_named() {
        let directory = tempfile::tempdir().unwrap();
        let users = directory.path().join("passwd");
        let text = "# comment\nroot:x:0:0:root:/:/bin/sh\nbroken:x\nann:x:1:1:Ann,,,:/home/ann/:\n";
        std::fs::write(&users, text).unwrap();
        let mut places = Places {
            home: path("/home/me/"),
            users,
            ..Places::default()
        };
        for (given, expected) in [
            ("~ann/models", "/home/ann/models"),
            ("~ann", "/home/ann"),
            ("~root/models", "/models"),
            ("~root", "/"),
            ("~/models", "/home/me/models"),
            ("/a/~ann", "/a/~ann"),
            (" ~ann", " ~ann"),
        ] {
            places.model_cache = path(given);
            assert_eq!(places.cache(), found(expected), "{given}");
        }
        for given in ["~an/models", "~broken", "~Ann", "~ann:x/models"] {
            places.model_cache = path(given);
            assert_eq!(places.cache(), Err(NoCache::NoUser(given.into())));
        }
        let said = places.cache().unwrap_err().to_string();
        assert!(
            said.contains("~ann:x/models") && said.contains("HF_HOME"),
            "{said}"
        );
    }

    #[test]
    fn tokens_lose_the_white_space_around_them() {
        let home = tempfile::tempdir().unwrap();
        let mut places = Places {
            hf_home: Some(home.path().to_owned()),
            ..Places::default()
        };
        assert_eq!(places.token(), None);
        std::fs::write(home.path().join("token"), "hf_stored\n").unwrap();
        assert_eq!(places.token().as_deref(), Some("hf_stored"));
        std::fs::write(home.path().join("other"), " hf_other\r\n").unwrap();
        places.token_path = Some(home.path().join("other"));
        assert_eq!(places.token().as_deref(), Some("hf_other"));
        places.token[1] = Some("hf_old ".into());
        assert_eq!(places.token().as_deref(), Some("hf_old"));
        places.token[0] = Some("\thf_new\n".into());
        assert_eq!(places.token().as_deref(), Some("hf_new"));
        places.token[0] = Some("  ".into());
        assert_eq!(places.token().as_deref(), Some("hf_old"));
    }

    #[test]
    fn variables_are_replaced_where_they_are_known() {
        let value = |name: &str| (name == "A_1").then(|| OsString::from("x"));
        for (text, expected) in [
            ("/$A_1/b", "/x/b"),
            ("${A_1}b", "xb"),
            ("$A_1", "x"),
            ("$B/$", "$B/$"),
            ("${B}${A_1", "${B}${A_1"),
            ("$$A_1", "$x"),
        ] {
            assert_eq!(with_variables(text, value), expected, "{text}");
        }
    }
}
