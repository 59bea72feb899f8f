//! `subscriptions create`.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{find, id_of, problems, put, read, sealing};
use crate::cli::Failure;
use crate::kafka::Connection;
use crate::kafka::writer::Writer;

/// A subscription to be created.
#[derive(Args)]
#[command(after_help = "\
Example:
  kafka-webhooks subscriptions create crm --url https://example.com/hooks --event 'order.*' --event payment.failed")]
pub struct Create {
    /// The subscription's id: 1 to 64 of A-Z a-z 0-9 _ -
    id: String,
    /// Where its requests go
    #[arg(long)]
    url: String,
    /// An event type it wants, such as order.created or payment.*; may be repeated
    #[arg(long = "event", value_name = "PATTERN", required = true)]
    events: Vec<String>,
    /// The secret that signs, instead of a new one; others may see it in the list of processes
    #[arg(long)]
    secret: Option<String>,
    /// The tenant whose events it is limited to
    #[arg(long)]
    tenant: Option<String>,
    /// A topic it wants events of, instead of all; may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// What must be true of an event, in CEL, such as data.amount > 100.0
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,
    /// What people call it
    #[arg(long)]
    description: Option<String>,
    /// What the bodies hold: envelope or raw
    #[arg(long)]
    payload: Option<String>,
    /// A signature scheme, instead of standard and x-webhook; may be repeated
    #[arg(long = "signature", value_name = "SCHEME")]
    signatures: Vec<String>,
    /// A header to add to each request; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The deadline of one attempt, such as 10s
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// The waits before further attempts, such as 5s,2m; empty for one attempt
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',')]
    schedule: Option<Vec<String>>,
    /// Statuses after which no attempt follows, such as 400,422
    #[arg(long, value_name = "STATUSES", value_delimiter = ',')]
    no_retry_on: Vec<u16>,
    /// How many of its requests may be in flight at once
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<u32>,
    /// Create it switched off
    #[arg(long)]
    inactive: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Creates a subscription and prints the secret if it was made here; that is the only time it is shown.
pub(super) fn create(
    create: &Create,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let id = id_of(&create.id)?;
    let rules = connection.config().subscription_rules();
    let secret = create.secret.clone().unwrap_or_else(|| new_secret("whsec_"));
    let definition = definition(create, &secret).to_string();
    let definition = sealing::sealed(&id, definition.as_bytes(), &rules.encryption);
    let problems = problems(&id, &definition, &rules);
    if !problems.is_empty() {
        return Err(Failure::Failed(problems));
    }
    if find(&read(connection)?, &id).is_some() {
        return Err(Failure::of(format!(
            "the subscription {id} exists already: change it with `kafka-webhooks subscriptions apply`"
        )));
    }
    put(&Writer::new(connection)?, connection, &id, &definition, None)?;
    writeln!(out, "created {id}")?;
    if create.secret.is_none() {
        writeln!(out, "secret {secret}")?;
        eprintln!("give the secret to the receiver now: it is not shown again");
    }
    Ok(())
}

/// Makes a secret of 32 random bytes: a key for HMAC (`whsec_`), or the seed of one for Ed25519 (`whsk_`).
pub(super) fn new_secret(prefix: &str) -> String {
    // The generator of threads is a cryptographic one, seeded by the system.
    let bytes: [u8; 32] = rand::random();
    format!("{prefix}{}", BASE64_STANDARD.encode(bytes))
}

fn definition(create: &Create, secret: &str) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("url", create.url.as_str().into());
    set("events", create.events.clone().into());
    set("secret", secret.into());
    let texts = [
        ("tenant", &create.tenant),
        ("filter", &create.filter),
        ("description", &create.description),
        ("payload", &create.payload),
        ("timeout", &create.timeout),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            set(name, text.as_str().into());
        }
    }
    for (name, list) in [("topics", &create.topics), ("signatures", &create.signatures)] {
        if !list.is_empty() {
            set(name, list.clone().into());
        }
    }
    if !create.headers.is_empty() {
        let headers = create.headers.iter().cloned().map(|(name, value)| (name, value.into()));
        set("headers", Value::Object(headers.collect()));
    }
    if let Some(schedule) = &create.schedule {
        let waits: Vec<_> = schedule.iter().filter(|wait| !wait.is_empty()).collect();
        set("retry", json!({ "schedule": waits }));
    }
    if !create.no_retry_on.is_empty() {
        set("noRetryOn", create.no_retry_on.clone().into());
    }
    if let Some(count) = create.max_in_flight {
        set("maxInFlight", count.into());
    }
    if create.inactive {
        set("active", false.into());
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signature::SigningKey;

    #[test]
    fn a_new_secret_is_a_good_one_and_new() {
        let (one, other) = (new_secret("whsec_"), new_secret("whsec_"));
        assert!(matches!(SigningKey::parse(&new_secret("whsk_")), Ok(SigningKey::Ed25519(_))));
        assert!(matches!(SigningKey::parse(&one), Ok(SigningKey::Hmac(_))));
        assert_eq!(one.len(), "whsec_".len() + 44);
        assert_ne!(one, other);
    }
}
