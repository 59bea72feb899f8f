//! Changes of a definition that is there: `enable`, `disable`, `rotate-secret`, `re-encrypt`.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::create::new_secret;
use super::document::{Definition, State};
use super::{find, missing, problems, put, read, sealing, statuses};
use crate::cli::Failure;
use crate::domain::event::rfc3339_ms;
use crate::domain::signature::SigningKey;
use crate::domain::subscription::{Activity, SubscriptionId};
use crate::kafka::Connection;
use crate::kafka::writer::Writer;

/// The most secrets of a subscription.
const SECRETS_MAX: usize = 10;

/// Writes a subscription again with `active` as asked for, and so gives it a fresh start: whatever the status topic says
/// of it speaks of the definition before.
pub(super) fn activate(
    id: &SubscriptionId,
    to: Activity,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let missed = match to {
        Activity::Active => missed(id, connection)?,
        Activity::Inactive => None,
    };
    edit(id, connection, |fields| {
        match to {
            Activity::Active => drop(fields.remove("active")),
            Activity::Inactive => drop(fields.insert("active".to_owned(), false.into())),
        }
        Ok(())
    })?;
    let word = match to {
        Activity::Active => "enabled",
        Activity::Inactive => "disabled",
    };
    writeln!(out, "{word} {id}")?;
    if let Some(from) = missed {
        eprintln!(
            "events that came while it was off were not sent: send them with `kafka-webhooks replay --subscription {id} --topic TOPIC --from {from}`"
        );
    }
    Ok(())
}

/// Tells from when on a subscription that is off has missed events: a time, or the word for one that isn't known.
fn missed(id: &SubscriptionId, connection: &Connection) -> Result<Option<String>, Failure> {
    let (rows, statuses) = (read(connection)?, statuses(connection)?);
    let rules = connection.config().subscription_rules();
    let Some(definition) = find(&rows, id).and_then(|row| Definition::read(row, &rules, &statuses))
    else {
        return Ok(None);
    };
    let since = definition.status.as_ref().map(|status| rfc3339_ms(status.since));
    Ok(match definition.state() {
        State::Disabled => since,
        State::Inactive => Some("TIME".to_owned()),
        State::Active | State::Failing | State::Invalid => None,
    })
}

/// Puts a new secret before the ones that are there, which go on signing for `overlap`, and prints it if it was made
/// here; that is the only time it is shown.
pub(super) fn rotate(
    id: &SubscriptionId,
    given: Option<&str>,
    overlap: Duration,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    let until = now + overlap;
    let (secret, others) = edit(id, connection, |fields| {
        let old = live_secrets(fields, now);
        let is_ed25519 = old.first().is_some_and(|newest| {
            newest["key"]
                .as_str()
                .map(SigningKey::parse)
                .is_some_and(|key| matches!(key, Ok(SigningKey::Ed25519(_))))
        });
        let secret = match (given, is_ed25519) {
            (Some(given), _) => given.to_owned(),
            (None, true) => new_secret("whsk_"),
            (None, false) => new_secret("whsec_"),
        };
        let old = old.into_iter().filter(|_| !overlap.is_zero());
        let old: Vec<_> = old.map(|secret| expiring(secret, until)).collect();
        if old.len() >= SECRETS_MAX {
            return Err(Failure::of(format!(
                "{id} has {SECRETS_MAX} secrets that still sign: wait until one expires, or take one out with `apply`"
            )));
        }
        let others = old.len();
        let all: Vec<Value> = [json!({ "key": secret })].into_iter().chain(old).collect();
        fields.remove("secret");
        fields.insert("secrets".to_owned(), all.into());
        Ok((secret, others))
    })?;
    writeln!(out, "rotated {id}")?;
    if given.is_none() {
        writeln!(out, "secret {secret}")?;
        eprintln!("give the secret to the receiver now: it is not shown again");
    }
    if others > 0 {
        eprintln!("the secrets before it sign too until {}", rfc3339_ms(until));
    }
    Ok(())
}

/// Returns the secrets that haven't expired, newest first, each as an object.
fn live_secrets(fields: &Map<String, Value>, now: Timestamp) -> Vec<Value> {
    let secrets = match (fields.get("secret"), fields.get("secrets")) {
        (Some(secret), _) if !secret.is_null() => vec![json!({ "key": secret })],
        (_, Some(Value::Array(secrets))) => secrets.clone(),
        _ => Vec::new(),
    };
    let is_live = |secret: &Value| expiry(secret).is_none_or(|expires| expires > now);
    secrets.into_iter().filter(is_live).collect()
}

fn expiry(secret: &Value) -> Option<Timestamp> {
    secret["expiresAt"].as_str()?.parse().ok()
}

/// Lets a secret expire at a time, unless it does earlier.
fn expiring(mut secret: Value, until: Timestamp) -> Value {
    let earlier = expiry(&secret).filter(|expires| *expires < until);
    secret["expiresAt"] = rfc3339_ms(earlier.unwrap_or(until)).into();
    secret
}

/// Changes a definition, with its secrets decrypted meanwhile, and writes it if it is still good.
fn edit<T>(
    id: &SubscriptionId,
    connection: &Connection,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let rules = connection.config().subscription_rules();
    let rows = read(connection)?;
    let row = find(&rows, id).ok_or_else(|| missing(id))?;
    let mut document: Value = serde_json::from_slice(&row.value)
        .map_err(|_| Failure::of(format!("{id}: the definition is not JSON")))?;
    sealing::open(id, &mut document, &rules.encryption)
        .map_err(|problem| Failure::of(format!("{id}: a secret {problem}")))?;
    let Value::Object(fields) = &mut document else {
        return Err(Failure::of(format!("{id}: the definition is no object")));
    };
    let changed = change(fields)?;
    let definition = sealing::sealed(id, document.to_string().as_bytes(), &rules.encryption);
    let problems = problems(id, &definition, &rules);
    if !problems.is_empty() {
        return Err(Failure::Failed(problems));
    }
    put(&Writer::new(connection)?, connection, id, &definition, Some(row))?;
    Ok(changed)
}

/// Encrypts every secret in the topic with the first of the keys, and prints a line for each subscription that it wrote.
///
/// # Errors
/// Every subscription that can't be decrypted; the others are done.
pub(super) fn re_encrypt(connection: &Connection, out: &mut impl Write) -> Result<(), Failure> {
    let encryption = connection.config().subscription_rules().encryption;
    if !encryption.can_seal() {
        return Err(Failure::of("there is no key to encrypt with: set encryption.keys"));
    }
    let (rows, writer) = (read(connection)?, Writer::new(connection)?);
    let mut problems = Vec::new();
    for row in &rows {
        let id = SubscriptionId::from_key(&row.key);
        let (Some(id), Ok(mut document)) = (id, serde_json::from_slice::<Value>(&row.value)) else {
            continue;
        };
        if sealing::is_current(&document, &encryption) {
            continue;
        }
        if let Err(problem) = sealing::open(&id, &mut document, &encryption) {
            problems.push(format!("{id}: a secret {problem}"));
            continue;
        }
        sealing::seal(&id, &mut document, &encryption);
        put(&writer, connection, &id, document.to_string().as_bytes(), Some(row))?;
        writeln!(out, "re-encrypted {id}")?;
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Failed(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn an_expired_secret_is_no_longer_live_and_an_earlier_end_stays() {
        let fields = json!({"secrets": [
            {"key": "a"},
            {"key": "b", "expiresAt": "2026-01-01T06:00:00Z"},
            {"key": "c", "expiresAt": "2025-01-01T00:00:00Z"},
        ]});
        let live = live_secrets(fields.as_object().expect("an object"), at("2026-01-01T00:00:00Z"));
        assert_eq!(live.len(), 2);
        let until = at("2026-01-02T00:00:00Z");
        let ends: Vec<_> =
            live.into_iter().map(|secret| expiring(secret, until)["expiresAt"].clone()).collect();
        assert_eq!(ends, ["2026-01-02T00:00:00.000Z", "2026-01-01T06:00:00.000Z"]);
    }
}
