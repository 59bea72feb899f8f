//! The part of a definition that says how its requests are signed.

use std::borrow::Cow;

use jiff::Timestamp;

use super::headers::signature_header;
use super::lock::Lock;
use super::reader::{Field, Object, Problems, each};
use crate::domain::signature::{LiveKey, Scheme, SchemeKind, SigningKey};

/// Reads `secret` or `secrets`, of which one must be there.
pub(super) fn keys(object: &mut Object, lock: &Lock, p: &mut Problems) -> Option<Vec<LiveKey>> {
    match (object.take("secret"), object.take("secrets")) {
        (Some(secret), None) => {
            Some(vec![LiveKey { key: key(secret, lock, p)?, expires_at: None }])
        }
        (None, Some(list)) => each(list, 1, 10, p, |field, p| live_key(field, lock, p)),
        (Some(_), Some(list)) => {
            p.add(list.path(), "must not stand beside `secret`");
            None
        }
        (None, None) => {
            p.add("secret", "is missing, and so is `secrets`");
            None
        }
    }
}

fn live_key(field: Field, lock: &Lock, p: &mut Problems) -> Option<LiveKey> {
    let mut object = field.object(p)?;
    let key = object.required("key", p).and_then(|field| key(field, lock, p));
    let expires_at = object.read_or("expiresAt", None, p, |field, p| time(field, p).map(Some));
    object.close(p);
    Some(LiveKey { key: key?, expires_at: expires_at? })
}

fn key(field: Field, lock: &Lock, p: &mut Problems) -> Option<SigningKey> {
    let (path, text) = lock.open(field, p)?;
    SigningKey::parse(text.reveal()).map_err(|problem| p.add(&path, problem.to_string())).ok()
}

fn time(field: Field, p: &mut Problems) -> Option<Timestamp> {
    let (path, text) = field.text(p)?;
    text.parse().map_err(|_| p.add(&path, "must be a time in RFC 3339")).ok()
}

/// Reads the schemes. Without any given they are the usual two, as far as the keys can sign them.
pub(super) fn schemes(
    object: &mut Object,
    keys: Option<&[LiveKey]>,
    p: &mut Problems,
) -> Option<Cow<'static, [Scheme]>> {
    let has_hmac = |key: &LiveKey| matches!(key.key, SigningKey::Hmac(_));
    let can_sign = |kind: SchemeKind| {
        kind.takes_ed25519() || keys.is_none_or(|keys| keys.iter().any(has_hmac))
    };
    let Some(field) = object.take("signatures") else {
        let usual = Scheme::USUAL.iter().take_while(|scheme| can_sign(scheme.kind())).count();
        return Some(Scheme::USUAL[..usual].into());
    };
    let path = field.path().to_owned();
    let schemes = each(field, 1, 8, p, scheme)?;
    for (at, scheme) in schemes.iter().enumerate() {
        let path = format!("{path}[{at}]");
        if !can_sign(scheme.kind()) {
            p.add(&path, "needs a secret for HMAC, and all secrets are for Ed25519");
        }
        let others = schemes[..at].iter().flat_map(Scheme::headers);
        if others.into_iter().any(|other| scheme.headers().any(|own| own == other)) {
            p.add(&path, "writes a header that an entry before it writes");
        }
    }
    Some(schemes.into())
}

fn scheme(field: Field, p: &mut Problems) -> Option<Scheme> {
    if field.is_text() {
        return Some(Scheme::new(kind(field, p)?));
    }
    let mut object = field.object(p)?;
    let kind = object.required("scheme", p).and_then(|field| kind(field, p));
    let header = object.read_or("header", None, p, |field, p| signature_header(field, p).map(Some));
    object.close(p);
    Some(match header? {
        None => Scheme::new(kind?),
        Some(header) => Scheme::with_header(kind?, header),
    })
}

fn kind(field: Field, p: &mut Problems) -> Option<SchemeKind> {
    let (path, text) = field.text(p)?;
    let kind = SchemeKind::named(&text);
    if kind.is_none() {
        p.add(&path, format!("must be one of {}", SchemeKind::NAMES));
    }
    kind
}
