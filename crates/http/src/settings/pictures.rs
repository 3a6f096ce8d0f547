//! What is fetched where a request names a picture by its URL, and within which bounds.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use siglip2_flags::{as_seconds, count, path, seconds, some_bytes};

use super::networks::Networks;
use super::picture_url::PictureHosts;

/// Which pictures are fetched where a request names one by its URL, and within which bounds.
#[derive(Args, Clone, Debug, Serialize)]
pub struct PictureUrlSettings {
    /// Hosts that pictures are fetched from, with commas between: images.example, *.cdn.example
    /// for all names below, a.example:8443 for another port than 80 and 443, * for all hosts.
    /// With it a JSON body may name a picture by its URL. By default none is fetched.
    #[arg(long, env = "PICTURE_URL_HOSTS", value_parser = PictureHosts::parse)]
    #[serde(skip)]
    pub picture_url_hosts: Option<PictureHosts>,

    /// Networks that those hosts may be in though they are not public, with commas between:
    /// 10.0.0.0/8,fd00::/8. By default no private, local or otherwise special address is
    /// connected to.
    #[arg(long, env = "PICTURE_URL_NETWORKS", value_parser = Networks::parse)]
    #[serde(skip)]
    pub picture_url_networks: Option<Networks>,

    /// A file with certificates of authorities, in PEM, that are trusted beside those that the
    /// web trusts when a picture is fetched.
    #[arg(long, env = "PICTURE_URL_CA", value_parser = path)]
    #[serde(skip)]
    pub picture_url_ca: Option<PathBuf>,

    /// Pictures that one request may name by their URLs.
    #[arg(long, env = "MAX_PICTURE_URLS_PER_REQUEST", default_value = "16", value_parser = count)]
    pub max_picture_urls_per_request: usize,

    /// Bytes that a fetched picture may have.
    #[arg(long, env = "MAX_PICTURE_URL_BYTES", default_value = "32MiB", value_parser = some_bytes::<u64>)]
    pub max_picture_url_bytes: u64,

    /// Pictures that are fetched at the same time, for all requests together. While others wait, a
    /// client that has more of them than they gives up those that do not come.
    #[arg(long, env = "MAX_PICTURE_FETCHES", default_value = "32", value_parser = count)]
    pub max_picture_fetches: usize,

    /// Seconds that fetching one picture may take, with its redirects.
    #[arg(long, env = "PICTURE_URL_TIMEOUT", default_value = "10", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub picture_url_timeout: Duration,
}
