//! Credentials and secrets of a subscription: which there are, encrypted or not, and that none is shown.

use super::*;

fn check_auth(auth: Value, expect: &[&str]) {
    check(json!({ "auth": auth }), expect);
}

#[test]
fn credentials_become_a_header_where_one_is_enough() {
    let header = |auth: Value| match subscription("crm", &json!({ "auth": auth })).auth.as_deref() {
        Some(Auth::Header { name, value }) => format!("{name}: {}", value.reveal()),
        other => panic!("{other:?}"),
    };
    // RFC 7617, section 2.
    let basic = json!({"type": "basic", "username": "Aladdin", "password": "open sesame"});
    assert_eq!(header(basic), "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(header(json!({"type": "bearer", "token": "abc"})), "authorization: Bearer abc");
    let own = json!({"type": "header", "name": "X-Api-Key", "value": "k"});
    assert_eq!(header(own), "x-api-key: k");
}

#[test]
fn credentials_that_cannot_work_are_refused() {
    check_auth(json!("x"), &["auth: must be an object"]);
    check_auth(json!({}), &["auth.type: is missing"]);
    let kinds = "auth.type: must be one of basic, bearer, header, oauth2, mtls";
    check_auth(json!({"type": "digest"}), &[kinds]);
    let both = [
        "auth.username: is missing",
        "auth.password: is missing",
        "auth.token: is not a known field",
    ];
    check_auth(json!({"type": "basic", "token": "x"}), &both);
    let colon = json!({"type": "basic", "username": "a:b", "password": "p"});
    check_auth(colon, &["auth.username: must not have a colon"]);
    let broken = json!({"type": "bearer", "token": "a\r\nb: c"});
    check_auth(broken, &["auth.token: has a control character"]);
    let encrypted = json!({"type": "bearer", "token": "enc:v1:a:b"});
    check_auth(
        encrypted,
        &["auth.token: is encrypted with the key a, which is not in encryption.keys"],
    );
    let own = json!({"type": "header", "name": "webhook-id", "value": "x"});
    check_auth(own, &["auth.name: is a header of the connector's own"]);
    let oauth2 = json!({"type": "oauth2", "tokenUrl": "https://10.0.0.1/", "clientId": "", "clientAuthentication": "x"});
    check_auth(
        oauth2,
        &[
            "auth.tokenUrl: is refused: the address is private and not in egress.allow",
            "auth.clientId: must have 1 to 1024 bytes",
            "auth.clientSecret: is missing",
            "auth.clientAuthentication: must be basic or body",
        ],
    );
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
    let mtls = |certificate, key| json!({"type": "mtls", "certificate": certificate, "key": key});
    check_auth(mtls("x", pem), &["auth.certificate: must be a chain of certificates in PEM"]);
    check_auth(mtls(pem, pem), &["auth.key: must be a private key in PEM, and not encrypted"]);
}

#[test]
fn credentials_that_would_stand_where_others_do_are_refused() {
    let bearer = json!({"type": "bearer", "token": "t"});
    check(
        json!({"auth": bearer, "url": "https://u:p@example.com", "headers": {"Authorization": "x"}}),
        &[
            "auth: sends the header authorization, which stands in `headers` too",
            "auth: must not stand beside a user in `url`",
        ],
    );
    let own = json!({"type": "header", "name": "x-key", "value": "t"});
    check(json!({"auth": own, "url": "https://u:p@example.com"}), &[]);
}

#[test]
fn credentials_are_never_shown() {
    let oauth2 = json!({"type": "oauth2", "tokenUrl": "https://example.com/?key=hunter2", "clientId": "id", "clientSecret": "hunter2"});
    for auth in [oauth2, json!({"type": "bearer", "token": "hunter2"})] {
        let found = subscription("crm", &json!({ "auth": auth }));
        let shown = format!("{found:?} {:?}", found.auth);
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    }
}

#[test]
fn encrypted_secrets_are_opened_where_they_belong() {
    let rules = |encryption| Rules { encryption, ..rules(HttpUrls::Refused) };
    let seal = |keys: &[&str], field: &str| {
        let sealed = self::keys(keys).seal(&id("crm"), field, "hunter2", [1; 24]);
        sealed.expect("there is a key")
    };
    let check = |changes: Value, encryption, expect: &[&str]| {
        let found = problems(&definition(&changes).to_string(), &rules(encryption));
        assert_eq!(found, expect, "{changes}");
    };
    let secret = json!({"secret": seal(&["old"], "secret")});
    check(secret.clone(), keys(&["new", "old"]), &[]);
    check(
        secret.clone(),
        keys(&["new"]),
        &["secret: is encrypted with the key old, which is not in encryption.keys"],
    );
    let list =
        |field| json!({"secret": null, "secrets": [{"key": "x"}, {"key": seal(&["old"], field)}]});
    check(list("secrets.key"), keys(&["old"]), &[]);
    check(
        list("secret"),
        keys(&["old"]),
        &[
            "secrets[1].key: can't be decrypted: it was changed, or encrypted for another subscription or field, or with another key of that id",
        ],
    );
    let mut required = keys(&["old"]);
    required.plain = Plain::Refused;
    check(secret, required.clone(), &[]);
    check(json!({}), required, &["secret: must be encrypted (encryption.required is true)"]);
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----";

/// Returns the field of [`definition`] that has this name in the associated data, with a text in it, and the path to it.
fn with_secret(field: &str, text: &str) -> (Value, &'static str) {
    match field {
        "secret" => (json!({ "secret": text }), "secret"),
        "secrets.key" => {
            (json!({"secret": null, "secrets": [{"key": "x"}, {"key": text}]}), "secrets[1].key")
        }
        "auth.clientSecret" => {
            let oauth2 = json!({"type": "oauth2", "tokenUrl": "https://example.com", "clientId": "c", "clientSecret": text});
            (json!({ "auth": oauth2 }), "auth.clientSecret")
        }
        "auth.key" => {
            (json!({"auth": {"type": "mtls", "certificate": CERTIFICATE, "key": text}}), "auth.key")
        }
        "auth.password" => {
            (json!({"auth": {"type": "basic", "username": "u", "password": text}}), "auth.password")
        }
        "auth.token" => (json!({"auth": {"type": "bearer", "token": text}}), "auth.token"),
        "auth.value" => {
            (json!({"auth": {"type": "header", "name": "x-key", "value": text}}), "auth.value")
        }
        other => panic!("{other} has no place here"),
    }
}

#[test]
fn every_field_that_may_be_encrypted_is_opened_in_its_own_place_only() {
    let rules = Rules { encryption: keys(&["k"]), ..rules(HttpUrls::Refused) };
    let refused = "can't be decrypted: it was changed, or encrypted for another subscription or field, or with another key of that id";
    for (place, sealed_for) in
        encryption::FIELDS.iter().flat_map(|a| encryption::FIELDS.iter().map(move |b| (a, b)))
    {
        let text = if *place == "auth.key" { PRIVATE_KEY } else { "hunter2" };
        let sealed = keys(&["k"]).seal(&id("crm"), sealed_for, text, [1; 24]).expect("a key");
        let (changes, path) = with_secret(place, &sealed);
        let found = problems(&definition(&changes).to_string(), &rules);
        match place == sealed_for {
            true => assert_eq!(found, [""; 0], "{place}"),
            false => assert_eq!(found, [format!("{path}: {refused}")], "{sealed_for} at {place}"),
        }
    }
}

#[test]
fn every_field_that_may_be_encrypted_must_be_if_plain_secrets_are_refused() {
    let mut required = keys(&["k"]);
    required.plain = Plain::Refused;
    let rules = Rules { encryption: required.clone(), ..rules(HttpUrls::Refused) };
    for field in encryption::FIELDS {
        let (changes, path) = with_secret(field, PRIVATE_KEY);
        let mut definition = definition(&changes);
        if let Some(Value::String(secret)) =
            definition.get_mut("secret").filter(|_| path != "secret")
        {
            *secret = required.seal(&id("crm"), "secret", secret, [1; 24]).expect("a key");
        }
        let found = problems(&definition.to_string(), &rules);
        let expected = format!("{path}: must be encrypted (encryption.required is true)");
        assert!(found.contains(&expected), "{field}: {found:?}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let found = subscription(
        "crm",
        &json!({
            "url": "https://hunter2:hunter2@a/b?hunter2", "secret": "hunter2", "headers": {"x-env": "hunter2"},
            "description": "hunter2",
        }),
    );
    let shown = format!("{found:?}");
    assert!(shown.contains("https://a/b") && shown.contains("x-env"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
