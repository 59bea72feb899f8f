//! Credentials of a subscription's requests: the field `auth`.

use std::fmt;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use url::Url;

use super::Rules;
use super::headers::{credential_header, value_problem};
use super::lock::Lock;
use super::parse::url;
use super::reader::{Field, Object, Problems};
use crate::domain::secret::Secret;
use crate::domain::signature::Scheme;

/// The longest text of a credential in bytes: room for a chain of certificates.
const CREDENTIAL_MAX: usize = 64 << 10;

/// The kinds of credentials, for messages.
const KINDS: &str = "basic, bearer, header, oauth2, mtls";

/// How requests prove who sends them, beside their signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A header that stands in every request.
    Header {
        /// Its name, in lower case.
        name: Box<str>,
        /// Its value.
        value: Secret,
    },
    /// A token that is fetched: OAuth 2.0 (RFC 6749), section 4.4.
    OAuth2(ClientCredentials),
    /// A certificate for TLS: chain and key, in PEM.
    Mtls(Secret),
}

/// What a token is fetched with.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub token_url: Url,
    /// The client's id.
    pub client_id: Box<str>,
    /// The client's secret.
    pub client_secret: Secret,
    /// What the token is to be good for: names with spaces between.
    pub scope: Option<Box<str>>,
    /// Whom the token is to be good for; beside the standard, and asked for by several providers.
    pub audience: Option<Box<str>>,
    /// Where id and secret stand.
    pub authentication: ClientAuthentication,
}

/// Shows nothing that may be a secret; the URL may hold one as well.
impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.authentication;
        f.debug_struct("ClientCredentials").field("authentication", place).finish_non_exhaustive()
    }
}

/// Where a client's id and secret stand in the request for a token: RFC 6749, section 2.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// In the header `authorization`, as every provider must take them.
    Basic,
    /// In the body.
    Body,
}

impl Auth {
    /// Returns the name of the header that it sends.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::OAuth2(_) => Some("authorization"),
            Self::Mtls(_) => None,
        }
    }
}

/// Reads the object `auth`.
pub(super) fn read(
    field: Field,
    schemes: &[Scheme],
    rules: &Rules,
    lock: &Lock,
    p: &mut Problems,
) -> Option<Auth> {
    let mut object = field.object(p)?;
    let (path, kind) = object.required("type", p)?.text(p)?;
    let auth = match kind.as_str() {
        "basic" => basic(&mut object, lock, p),
        "bearer" => bearer(&mut object, lock, p),
        "header" => header(&mut object, schemes, lock, p),
        "oauth2" => oauth2(&mut object, rules, lock, p),
        "mtls" => mtls(&mut object, lock, p),
        _ => {
            p.add(&path, format!("must be one of {KINDS}"));
            return None;
        }
    };
    object.close(p);
    auth
}

/// RFC 7617.
fn basic(object: &mut Object, lock: &Lock, p: &mut Problems) -> Option<Auth> {
    let username = object.required("username", p).and_then(|field| public(field, p));
    let password = object.required("password", p).and_then(|field| secret(field, lock, p));
    let (username, password) = (username?, password?);
    if username.reveal().contains(':') {
        p.add(&object.path_to("username"), "must not have a colon");
        return None;
    }
    Some(authorization(Secret::basic(username.reveal(), password.reveal())))
}

/// RFC 6750, section 2.1.
fn bearer(object: &mut Object, lock: &Lock, p: &mut Problems) -> Option<Auth> {
    let token = object.required("token", p)?;
    let path = token.path().to_owned();
    let token = secret(token, lock, p)?;
    header_value(&path, &token, p)?;
    Some(authorization(Secret::of_parts(&["Bearer ", token.reveal()])))
}

fn authorization(value: Secret) -> Auth {
    Auth::Header { name: "authorization".into(), value }
}

fn header(object: &mut Object, schemes: &[Scheme], lock: &Lock, p: &mut Problems) -> Option<Auth> {
    let name = object.required("name", p).and_then(|field| credential_header(field, schemes, p));
    let value = object.required("value", p).and_then(|field| {
        let path = field.path().to_owned();
        let value = secret(field, lock, p)?;
        header_value(&path, &value, p).map(|()| value)
    });
    Some(Auth::Header { name: name?.into(), value: value? })
}

fn oauth2(object: &mut Object, rules: &Rules, lock: &Lock, p: &mut Problems) -> Option<Auth> {
    let token_url = object.required("tokenUrl", p).and_then(|field| url(field, rules, p));
    let client_id = object.required("clientId", p).and_then(|field| text(field, p));
    let client_secret = object.required("clientSecret", p).and_then(|field| secret(field, lock, p));
    let scope = object.read_or("scope", None, p, |field, p| text(field, p).map(Some));
    let audience = object.read_or("audience", None, p, |field, p| text(field, p).map(Some));
    let usual = ClientAuthentication::Basic;
    let authentication = object.read_or("clientAuthentication", usual, p, |field, p| {
        let (path, text) = field.text(p)?;
        match text.as_str() {
            "basic" => return Some(ClientAuthentication::Basic),
            "body" => return Some(ClientAuthentication::Body),
            _ => p.add(&path, "must be basic or body"),
        }
        None
    });
    Some(Auth::OAuth2(ClientCredentials {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: scope?,
        audience: audience?,
        authentication: authentication?,
    }))
}

fn mtls(object: &mut Object, lock: &Lock, p: &mut Problems) -> Option<Auth> {
    let (certificate_path, key_path) = (object.path_to("certificate"), object.path_to("key"));
    let certificate = object.required("certificate", p).and_then(|field| public(field, p));
    let key = object.required("key", p).and_then(|field| secret(field, lock, p));
    let (certificate, key) = (certificate?, key?);
    let mut chain = CertificateDer::pem_slice_iter(certificate.reveal().as_bytes()).peekable();
    if chain.peek().is_none() || chain.any(|found| found.is_err()) {
        p.add(&certificate_path, "must be a chain of certificates in PEM");
        return None;
    }
    if PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).is_err() {
        p.add(&key_path, "must be a private key in PEM, and not encrypted");
        return None;
    }
    Some(Auth::Mtls(Secret::of_parts(&[certificate.reveal(), "\n", key.reveal(), "\n"])))
}

/// Reads the secret part of a credential, which may stand encrypted.
fn secret(field: Field, lock: &Lock, p: &mut Problems) -> Option<Secret> {
    let (path, text) = lock.open(field, p)?;
    bounded(&path, text, p)
}

/// Reads the part of a credential that others may know.
fn public(field: Field, p: &mut Problems) -> Option<Secret> {
    let (path, text) = field.text(p)?;
    bounded(&path, Secret::new(text), p)
}

fn bounded(path: &str, text: Secret, p: &mut Problems) -> Option<Secret> {
    if (1..=CREDENTIAL_MAX).contains(&text.reveal().len()) {
        return Some(text);
    }
    p.add(path, "must have 1 to 65536 bytes");
    None
}

fn header_value(path: &str, value: &Secret, p: &mut Problems) -> Option<()> {
    match value_problem(value.reveal()) {
        None => Some(()),
        Some(problem) => {
            p.add(path, problem);
            None
        }
    }
}

fn text(field: Field, p: &mut Problems) -> Option<Box<str>> {
    let (path, text) = field.text(p)?;
    if (1..=1024).contains(&text.len()) {
        return Some(text.into());
    }
    p.add(&path, "must have 1 to 1024 bytes");
    None
}
