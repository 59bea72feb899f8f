//! `[registry]`: where the schemas of events are, and how patiently it is asked for them.

use std::fmt;
use std::time::Duration;

use config::{Value, ValueKind};
use url::Url;

use super::reader::Section;
use super::units::show_text;
use super::values::{duration, list, text, whole};
use crate::domain::source::{Format, Sources};

/// The most addresses of one registry.
const URLS_MAX: usize = 16;

/// The schema registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// Base addresses that are asked in order until one answers; empty only if no source needs a schema.
    pub urls: Vec<String>,
    /// How the connector says who it is.
    pub credentials: Credentials,
    /// PEM certificates of the authorities to trust, and no others; `None` trusts those of the system.
    pub ca: Option<Vec<u8>>,
    /// Schemas held in memory, 1..=100000.
    pub cache_max: usize,
    /// The deadline of one request, 100 ms..=5 min.
    pub timeout: Duration,
    /// How often an id that the registry doesn't know is asked for again, 0..=100.
    pub unknown_retries: u32,
    /// The wait before the registry is asked again, 10 ms..=1 min.
    pub retry_wait: Duration,
}

/// How the connector says who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// It doesn't.
    None,
    /// HTTP basic authentication.
    Basic {
        /// Who.
        username: String,
        /// The secret.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

/// Shows which way it is, and no secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// Shows what a log may: no password, no token.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("urls", &self.urls)
            .field("credentials", &self.credentials)
            .field("cache_max", &self.cache_max)
            .field("timeout", &self.timeout)
            .field("unknown_retries", &self.unknown_retries)
            .field("retry_wait", &self.retry_wait)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Reads `[registry]`; one is needed if any of the sources needs schemas.
    pub(super) fn read(registry: &mut Section<'_>, sources: Option<&Sources>) -> Option<Self> {
        let urls = registry.required("url", urls);
        let credentials = credentials(registry);
        let ca = registry.required("ca_file", certificates);
        let cache_max = registry.required("cache_max", whole(1..=100_000));
        let timeout = registry
            .required("timeout", duration(Duration::from_millis(100)..=Duration::from_secs(300)));
        let unknown_retries = registry.required("unknown_retries", whole(0..=100));
        let retry_wait = registry
            .required("retry_wait", duration(Duration::from_millis(10)..=Duration::from_secs(60)));
        let mut all = sources.into_iter().flat_map(Sources::all);
        let is_needed = all.any(|source| source.format == Format::Registry);
        if is_needed && urls.as_ref().is_some_and(Vec::is_empty) {
            registry.problem("url", "is needed: a source has the format registry");
        }
        Some(Self {
            urls: urls?,
            credentials: credentials?,
            ca: ca?,
            cache_max: cache_max?,
            timeout: timeout?,
            unknown_retries: unknown_retries?,
            retry_wait: retry_wait?,
        })
    }
}

fn credentials(registry: &mut Section<'_>) -> Option<Credentials> {
    let username = registry.required("username", secret);
    let password = registry.required("password", secret);
    let token = registry.required("token", secret);
    let (username, password, token) = (username?, password?, token?);
    if !token.is_empty() && !username.is_empty() {
        registry.problem("token", "must not stand beside a username: one of them is sent");
    }
    if username.is_empty() && !password.is_empty() {
        registry.problem("password", "is of no use without a username");
    }
    Some(match (username.is_empty(), token.is_empty()) {
        (true, true) => Credentials::None,
        (true, false) => Credentials::Bearer(token),
        (false, _) => Credentials::Basic { username, password },
    })
}

/// Takes text that can stand in a header, the empty one too. What is wrong with it is not shown.
fn secret(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    match text.chars().any(char::is_control) {
        true => Err("must not hold control characters".into()),
        false => Ok(text),
    }
}

/// Takes the path of a file and reads it; the empty path is no file.
fn certificates(value: &Value) -> Result<Option<Vec<u8>>, String> {
    let path = text(value)?;
    if path.is_empty() {
        return Ok(None);
    }
    let read = std::fs::read(&path);
    read.map(Some).map_err(|error| format!("{} can't be read: {error}", show_text(&path)))
}

/// Takes one address, several with commas between, or a list of them.
fn urls(value: &Value) -> Result<Vec<String>, String> {
    let texts: Vec<String> = match &value.kind {
        ValueKind::String(text) if value.origin().is_none() => {
            text.split(',').map(|url| url.trim().to_owned()).collect()
        }
        _ => list(value.clone())?.iter().map(text).collect::<Result<_, _>>()?,
    };
    let urls = texts.iter().filter(|text| !text.is_empty()).map(|text| base(text));
    let urls = urls.collect::<Result<Vec<_>, _>>()?;
    match urls.len() {
        0..=URLS_MAX => Ok(urls),
        more => Err(format!("{more} addresses, must be at most {URLS_MAX}")),
    }
}

/// Judges one base address. Paths are put behind it, so it ends without a slash.
fn base(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        return Err(format!("{} is no http: or https: URL", show_text(text)));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold credentials: registry.username and password are for them".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{} must end with its path", show_text(text)));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
