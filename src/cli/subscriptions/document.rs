//! Definitions as they may be shown: whatever may be a secret is replaced.
//!
//! What is shown is listed; the rest isn't. So a misspelt `secret` stays one.

use std::collections::HashMap;

use clap::ValueEnum;
use serde_json::{Map, Value};
use url::Url;

use crate::domain::status::{State as Told, Status};
use crate::domain::subscription::{Activity, Rules, Subscription, SubscriptionId};
use crate::kafka::table::Row;

/// What stands where a secret was.
pub(super) const REDACTED: &str = "***";

/// Fields that hold no secret.
const SHOWN: [&str; 15] = [
    "abuseProtection",
    "active",
    "description",
    "events",
    "filter",
    "maxInFlight",
    "noRetryOn",
    "payload",
    "rateLimit",
    "retry",
    "signatures",
    "tenant",
    "timeout",
    "topics",
    "transform",
];

/// Fields that hold no secret though what they stand in does: when a key expires, and what kind of credential it is.
const SHOWN_WITHIN: [&str; 2] = ["expiresAt", "type"];

/// A row of the subscriptions topic, and what it says.
pub(in crate::cli) struct Definition<'r> {
    pub id: SubscriptionId,
    pub row: &'r Row,
    /// What it defines, or every rule that it breaks.
    pub parsed: Result<Subscription, Vec<String>>,
    /// What the connector made of this very definition.
    pub status: Option<Status>,
}

/// What a subscription comes to, by its definition and its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Events are sent.
    Active,
    /// Events are sent, and too many deliveries in a row were given up.
    Failing,
    /// The connector has disabled it.
    Disabled,
    /// Its definition switches it off.
    Inactive,
    /// Its definition can't be used.
    Invalid,
}

impl State {
    /// Returns the word that is shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Failing => "failing",
            Self::Disabled => "disabled",
            Self::Inactive => "inactive",
            Self::Invalid => "invalid",
        }
    }
}

impl<'r> Definition<'r> {
    /// Reads a row; `None` if its key is no id.
    pub(super) fn read(
        row: &'r Row,
        rules: &Rules,
        statuses: &HashMap<SubscriptionId, Status>,
    ) -> Option<Self> {
        let id = SubscriptionId::from_key(&row.key)?;
        let parsed = Subscription::parse(id.clone(), &row.value, row.offset, rules);
        let parsed = parsed.map_err(|broken| broken.iter().map(ToString::to_string).collect());
        // A status speaks of one definition only.
        let status = statuses.get(&id).filter(|status| status.definition_offset == row.offset.0);
        Some(Self { status: status.cloned(), id, row, parsed })
    }

    /// Returns what the subscription comes to.
    pub(in crate::cli) fn state(&self) -> State {
        match (&self.parsed, self.status.as_ref().map(|status| status.state)) {
            (Err(_), _) => State::Invalid,
            (Ok(parsed), _) if parsed.state == Activity::Inactive => State::Inactive,
            (Ok(_), Some(Told::Disabled)) => State::Disabled,
            (Ok(_), Some(Told::Failing)) => State::Failing,
            (Ok(_), _) => State::Active,
        }
    }

    /// Returns the definition without its secrets, with the id as a field `id`, its `state`, its `status` if the connector
    /// wrote one, and what is wrong with it, if something is, as a list `invalid`.
    pub(super) fn document(&self) -> Value {
        let mut document = match serde_json::from_slice(&self.row.value) {
            Ok(Value::Object(fields)) => redact(fields),
            Ok(_) | Err(_) => Map::new(),
        };
        document.insert("id".into(), self.id.as_str().into());
        document.insert("state".into(), self.state().as_str().into());
        if let Some(status) = &self.status {
            let status = serde_json::to_value(status).expect("texts and numbers are always JSON");
            document.insert("status".into(), status);
        }
        if let Err(problems) = &self.parsed {
            document.insert("invalid".into(), problems.clone().into());
        }
        Value::Object(document)
    }
}

/// Returns a definition's fields without its secrets.
pub(super) fn redact(fields: Map<String, Value>) -> Map<String, Value> {
    let redacted = fields.into_iter().map(|(name, value)| {
        let value = match name.as_str() {
            "url" => value.as_str().map_or_else(|| REDACTED.into(), |url| shown_url(url).into()),
            shown if SHOWN.contains(&shown) => value,
            _ => hide(value),
        };
        (name, value)
    });
    redacted.collect()
}

/// Replaces everything within a value that may be a secret, and keeps its shape.
fn hide(value: Value) -> Value {
    match value {
        Value::Array(entries) => entries.into_iter().map(hide).collect(),
        Value::Object(fields) => {
            let hidden = fields.into_iter().map(|(name, value)| {
                let is_shown = SHOWN_WITHIN.contains(&name.as_str()) && value.is_string();
                (name, if is_shown { value } else { hide(value) })
            });
            Value::Object(hidden.collect())
        }
        _ => REDACTED.into(),
    }
}

/// Shows a URL without what may be a credential in it: userinfo, query and fragment.
fn shown_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return REDACTED.into() };
    if !url.username().is_empty() || url.password().is_some() {
        // It fails for URLs that can't have a user, and this one has.
        let _ = url.set_username(REDACTED).and_then(|()| url.set_password(None));
    }
    if url.query().is_some() {
        url.set_query(Some(REDACTED));
    }
    url.set_fragment(None);
    url.into()
}

/// Returns the paths in a definition at which stands what [`Definition::document`] put there.
pub(super) fn redacted(definition: &[u8]) -> Vec<String> {
    let mut paths = Vec::new();
    if let Ok(value) = serde_json::from_slice(definition) {
        find_redacted("", &value, &mut paths);
    }
    paths
}

fn find_redacted(path: &str, value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::String(text) if text == REDACTED => paths.push(path.to_owned()),
        // Three asterisks may be part of a path, but hardly of these.
        Value::String(text)
            if path == "url" && (text.contains("***@") || text.ends_with("?***")) =>
        {
            paths.push(path.to_owned());
        }
        Value::Array(entries) => {
            for (at, entry) in entries.iter().enumerate() {
                find_redacted(&format!("{path}[{at}]"), entry, paths);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                find_redacted(&format!("{path}{dot}{name}"), value, paths);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::record::Offset;
    use crate::domain::subscription::HttpUrls;
    use crate::domain::subscription::tests::rules;

    fn check(definition: &Value, expected: &Value) {
        let row = Row {
            key: b"crm".to_vec(),
            value: definition.to_string().into_bytes(),
            offset: Offset(1),
            partition: 0,
            also_in: vec![],
        };
        let rules = rules(HttpUrls::Refused);
        let read = Definition::read(&row, &rules, &HashMap::new());
        let mut shown = read.expect("crm is an id").document();
        let fields = shown.as_object_mut().expect("it is an object");
        fields.remove("invalid");
        fields.remove("state");
        assert_eq!(&shown, expected);
    }

    #[test]
    fn secrets_and_what_may_be_one_are_not_shown() {
        check(
            &json!({
                "url": "https://user:hunter2@example.com/a?token=hunter2#b", "events": ["a.*"],
                "secrets": [{"key": "hunter2", "expiresAt": "2030-01-01T00:00:00Z"}],
                "secert": "hunter2", "auth": {"type": "bearer", "token": "hunter2", "n": 12},
                "headers": {"x-key": "hunter2"}, "timeout": "5s",
            }),
            &json!({
                "id": "crm", "url": "https://***@example.com/a?***", "events": ["a.*"],
                "secrets": [{"key": "***", "expiresAt": "2030-01-01T00:00:00Z"}],
                "secert": "***", "auth": {"type": "bearer", "token": "***", "n": "***"},
                "headers": {"x-key": "***"}, "timeout": "5s",
            }),
        );
        check(&json!({"url": "hunter2"}), &json!({"id": "crm", "url": "***"}));
        check(&json!(["hunter2"]), &json!({"id": "crm"}));
    }

    #[test]
    fn what_was_redacted_is_recognized() {
        let shown = json!({"url": "https://example.com/?***", "secret": "***", "headers": {"a": "***"}, "events": ["*"]});
        let paths = redacted(shown.to_string().as_bytes());
        assert_eq!(paths, ["headers.a", "secret", "url"]);
    }
}
