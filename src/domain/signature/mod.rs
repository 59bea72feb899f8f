//! Signatures: what stands in the headers of a request so that its receiver can trust it.
//!
//! Signing takes the time as an argument and is a pure function of keys and body. Keys are never shown.

mod keys;
#[cfg(test)]
mod tests;
mod verify;

use std::borrow::Cow;
use std::{fmt, iter};

use base64::Engine as _;
use ed25519_dalek::Signer as _;
use hmac::Mac as _;
use jiff::Timestamp;

use super::event::EventId;
use keys::{BASE64, HmacKey, mac};

pub use keys::{BadSecret, LiveKey, SigningKey};
pub use verify::{Rejected, verify_github, verify_standard, verify_stripe, verify_x_webhook};

/// The header that names the event in the scheme `standard`.
pub const WEBHOOK_ID: &str = "webhook-id";
/// The header that tells the attempt's time, in seconds since 1970, in the scheme `standard`.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";

/// A way to sign a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemeKind {
    /// Standard Webhooks 1.0: every live key signs `id.timestamp.body`.
    Standard,
    /// Hex HMAC-SHA256 of the body with the newest live key.
    XWebhook,
    /// GitHub's: `sha256=` and the same hex.
    Github,
    /// Stripe's: `t=<seconds>`, then `v1=<hex>` of `t.body` for every live key.
    Stripe,
}

impl SchemeKind {
    /// All of them; the one that says most first.
    pub const ALL: [Self; 4] = [Self::Standard, Self::XWebhook, Self::Github, Self::Stripe];

    /// The names of all schemes, for messages.
    pub const NAMES: &str = "standard, x-webhook, github, stripe";

    /// Finds a scheme by its name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "standard" => Self::Standard,
            "x-webhook" => Self::XWebhook,
            "github" => Self::Github,
            "stripe" => Self::Stripe,
            _ => return None,
        })
    }

    /// Tells whether an Ed25519 key can sign in this scheme.
    pub fn takes_ed25519(self) -> bool {
        self == Self::Standard
    }

    /// Returns the header that the signature stands in unless a subscription says otherwise.
    pub const fn default_header(self) -> &'static str {
        match self {
            Self::Standard => "webhook-signature",
            Self::XWebhook => "x-webhook-signature",
            Self::Github => "x-hub-signature-256",
            Self::Stripe => "stripe-signature",
        }
    }
}

/// A scheme and the header that its signature stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    kind: SchemeKind,
    header: Cow<'static, str>,
}

impl Scheme {
    /// Those of a subscription that names none. The first takes any key: it stands alone where none is for HMAC.
    pub const USUAL: &[Self] = &[Self::new(SchemeKind::Standard), Self::new(SchemeKind::XWebhook)];

    /// Makes a scheme that writes its usual header.
    pub const fn new(kind: SchemeKind) -> Self {
        Self { kind, header: Cow::Borrowed(kind.default_header()) }
    }

    /// Makes a scheme that writes its signature into a header of this name, in lower case.
    pub fn with_header(kind: SchemeKind, header: String) -> Self {
        Self { kind, header: header.into() }
    }

    /// Returns how the scheme signs.
    pub fn kind(&self) -> SchemeKind {
        self.kind
    }

    /// Returns the name of the header that the signature stands in.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Returns the names of all headers that the scheme writes.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let beside: &[&str] = match self.kind {
            SchemeKind::Standard => &[WEBHOOK_ID, WEBHOOK_TIMESTAMP],
            _ => &[],
        };
        beside.iter().copied().chain([&*self.header])
    }
}

/// How a subscription's requests are signed: with which keys, in which schemes.
///
/// It is made for many that are used in turn, so that each is out of the cache when its turn comes: the one key that most
/// have stands in it, and the usual schemes are shared.
#[derive(Clone, Debug)]
pub struct Signing {
    newest: LiveKey,
    /// The keys before it, newest first.
    older: Box<[LiveKey]>,
    /// The schemes; no two write the same header.
    schemes: Cow<'static, [Scheme]>,
}

impl Signing {
    /// Puts keys, newest first, and schemes together.
    pub fn new(keys: Vec<LiveKey>, schemes: Cow<'static, [Scheme]>) -> Self {
        let mut keys = keys.into_iter();
        let newest = keys.next().filter(|_| !schemes.is_empty());
        let newest = newest.expect("a request is never sent unsigned");
        Self { newest, older: keys.collect(), schemes }
    }

    fn live(&self, at: Timestamp) -> impl Iterator<Item = &SigningKey> + Clone {
        let keys = iter::once(&self.newest).chain(&self.older);
        keys.filter(move |key| key.is_live(at)).map(|key| &key.key)
    }

    /// Signs a body and returns the headers that say so, names in lower case.
    ///
    /// A scheme that no live key can sign is left out, so that one whose last HMAC key gave way to an Ed25519 key
    /// doesn't stop the others.
    ///
    /// # Errors
    /// [`NoLiveKey`] if nothing can be signed at `at`; the request can't be built then.
    pub fn sign(
        &self,
        id: &EventId,
        at: Timestamp,
        body: &[u8],
    ) -> Result<Vec<(&str, String)>, NoLiveKey> {
        let seconds = at.as_second().to_string();
        let message = Message { id: id.as_str(), seconds: &seconds, body };
        let mut headers = Vec::with_capacity(self.schemes.len() + 2);
        for scheme in &*self.schemes {
            let live = self.live(at);
            let hmac = live.clone().filter_map(SigningKey::hmac);
            let value = match scheme.kind {
                SchemeKind::Standard => message.standard(live),
                SchemeKind::XWebhook => message.hex_of_body(hmac, ""),
                SchemeKind::Github => message.hex_of_body(hmac, "sha256="),
                SchemeKind::Stripe => message.stripe(hmac),
            };
            let Some(value) = value else { continue };
            if scheme.kind == SchemeKind::Standard {
                headers.push((WEBHOOK_ID, id.as_str().to_owned()));
                headers.push((WEBHOOK_TIMESTAMP, seconds.clone()));
            }
            headers.push((&*scheme.header, value));
        }
        if headers.is_empty() { Err(NoLiveKey) } else { Ok(headers) }
    }
}

/// Every key of a subscription that could sign has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLiveKey;

impl fmt::Display for NoLiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("every secret that could sign has expired")
    }
}

impl std::error::Error for NoLiveKey {}

/// What is signed. Each scheme returns `None` if there is no key to sign with.
struct Message<'a> {
    id: &'a str,
    seconds: &'a str,
    body: &'a [u8],
}

impl Message<'_> {
    /// The pieces of `id.timestamp.body`: Standard Webhooks 1.0, "Signature scheme".
    fn standard_pieces(&self) -> [&[u8]; 5] {
        [self.id.as_bytes(), b".", self.seconds.as_bytes(), b".", self.body]
    }

    fn standard<'k>(&self, keys: impl Iterator<Item = &'k SigningKey>) -> Option<String> {
        let mut list = String::with_capacity(47);
        for key in keys {
            if !list.is_empty() {
                list.push(' ');
            }
            match key {
                SigningKey::Hmac(key) => {
                    list.push_str("v1,");
                    let tag = mac(key, &self.standard_pieces()).finalize().into_bytes();
                    BASE64.encode_string(tag, &mut list);
                }
                SigningKey::Ed25519(key) => {
                    list.push_str("v1a,");
                    let signature = key.sign(&self.standard_pieces().concat());
                    BASE64.encode_string(signature.to_bytes(), &mut list);
                }
            }
        }
        Some(list).filter(|list| !list.is_empty())
    }

    fn hex_of_body<'k>(
        &self,
        mut keys: impl Iterator<Item = &'k HmacKey>,
        prefix: &str,
    ) -> Option<String> {
        let tag = mac(keys.next()?, &[self.body]).finalize().into_bytes();
        let mut value = String::with_capacity(prefix.len() + 2 * tag.len());
        value.push_str(prefix);
        push_hex(&mut value, &tag);
        Some(value)
    }

    /// Stripe's documentation, "Verify webhook signatures manually".
    fn stripe<'k>(&self, keys: impl Iterator<Item = &'k HmacKey>) -> Option<String> {
        let mut list = format!("t={}", self.seconds);
        let unsigned = list.len();
        for key in keys {
            let tag = mac(key, &[self.seconds.as_bytes(), b".", self.body]).finalize().into_bytes();
            list.push_str(",v1=");
            push_hex(&mut list, &tag);
        }
        Some(list).filter(|list| list.len() > unsigned)
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
