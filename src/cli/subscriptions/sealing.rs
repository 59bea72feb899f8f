//! Secrets on their way into the topic and out of it: encrypted when there is a key.

use serde_json::Value;

use super::document::REDACTED;
use crate::domain::encryption::{Encryption, FIELDS, Unopened, is_sealed};
use crate::domain::subscription::SubscriptionId;

/// Visits every secret of a definition, with the name that its field has in the associated data.
fn each_secret(document: &mut Value, mut visit: impl FnMut(&str, &mut String)) {
    for field in FIELDS {
        let mut places = vec![&mut *document];
        for name in field.split('.') {
            let inner = places.into_iter().flat_map(entries);
            places = inner.filter_map(|place| place.get_mut(name)).collect();
        }
        for place in places {
            if let Value::String(text) = place {
                visit(field, text);
            }
        }
    }
}

/// Returns a list's entries, or whatever else it is.
fn entries(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Array(entries) => entries.iter_mut().collect(),
        value => vec![value],
    }
}

/// Returns a definition as it is to be written: with its plain secrets encrypted, if there is a key. Without one, and if
/// it is no JSON, it stays as it is, byte for byte.
pub(super) fn sealed(id: &SubscriptionId, definition: &[u8], encryption: &Encryption) -> Vec<u8> {
    match serde_json::from_slice(definition) {
        Ok(mut document) if encryption.can_seal() => {
            seal(id, &mut document, encryption);
            document.to_string().into_bytes()
        }
        _ => definition.to_vec(),
    }
}

/// Encrypts the plain secrets of a definition, if there is a key.
pub(super) fn seal(id: &SubscriptionId, document: &mut Value, encryption: &Encryption) {
    each_secret(document, |field, text| {
        // What is shown instead of a secret is refused later, and must be known again.
        if !is_sealed(text)
            && text != REDACTED
            && let Some(sealed) = encryption.seal(id, field, text, rand::random())
        {
            *text = sealed;
        }
    });
}

/// Decrypts the encrypted secrets of a definition.
///
/// # Errors
/// The first that can't be; the others are decrypted.
pub(super) fn open(
    id: &SubscriptionId,
    document: &mut Value,
    encryption: &Encryption,
) -> Result<(), Unopened> {
    let mut problem = None;
    each_secret(document, |field, text| {
        if is_sealed(text) {
            match encryption.open(id, field, text) {
                Ok(plain) => *text = plain.reveal().to_owned(),
                Err(unopened) => problem = problem.take().or(Some(unopened)),
            }
        }
    });
    problem.map_or(Ok(()), Err)
}

/// Tells whether every secret of a definition is encrypted with the key that encrypts now.
pub(super) fn is_current(document: &Value, encryption: &Encryption) -> bool {
    let mut all = true;
    each_secret(&mut document.clone(), |_, text| all &= encryption.is_current(text));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::encryption::tests::keys;
    use crate::domain::subscription::tests::id;

    #[test]
    fn every_secret_is_sealed_and_opens_again() {
        let plain = json!({
            "url": "https://example.com", "secret": "s0", "secrets": [{"key": "s1"}, {"key": "s2"}],
            "auth": {"clientId": "c", "clientSecret": "s3", "key": "s4", "password": "s5", "token": "s6", "value": "s7"},
        });
        let keys = keys(&["k"]);
        let mut document = plain.clone();
        seal(&id("crm"), &mut document, &keys);
        let text = document.to_string();
        assert!((0..8).all(|n| !text.contains(&format!("\"s{n}\""))), "{text}");
        assert!(is_current(&document, &keys) && !is_current(&plain, &keys));
        assert_eq!(document["auth"]["clientId"], "c");
        assert_eq!(open(&id("crm"), &mut document, &keys), Ok(()));
        assert_eq!(document, plain);
    }

    #[test]
    fn what_is_shown_instead_of_a_secret_is_not_sealed() {
        let mut document = json!({"secret": REDACTED});
        seal(&id("crm"), &mut document, &keys(&["k"]));
        assert_eq!(document, json!({"secret": REDACTED}));
    }

    #[test]
    fn without_a_key_nothing_changes() {
        let text = br#"{"b":1, "secret":"s"}"#;
        assert_eq!(sealed(&id("crm"), text, &Encryption::NONE), text);
    }
}
