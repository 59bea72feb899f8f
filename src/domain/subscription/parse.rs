//! From a record's value to a subscription, or to all that is wrong with it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use super::auth::{self, Auth};
use super::headers;
use super::lock::Lock;
use super::rate_limit;
use super::reader::{Field, Object, Problem, Problems, each};
use super::signing::{keys, schemes};
use super::{Activity, HttpUrls, Payload, Rules, Subscription, SubscriptionHash, SubscriptionId};
use crate::domain::expression::Expression;
use crate::domain::pattern::EventPattern;
use crate::domain::record::Offset;
use crate::domain::retry::Schedule;
use crate::domain::secret::Secret;
use crate::domain::signature::Signing;

/// The longest URL in bytes, as it is sent.
const URL_MAX: usize = 2048;

/// The first delay of exponential retries that don't give one.
const INITIAL: Duration = Duration::from_secs(5);
/// How delays grow where it isn't given.
const FACTOR: f64 = 2.0;
/// The longest delay where it isn't given.
const MAX: Duration = Duration::from_secs(12 * 60 * 60);

impl Subscription {
    /// Reads and checks a definition.
    ///
    /// # Errors
    /// All problems at once, 50 at most. They repeat nothing that may be a secret, so that they may be shown.
    pub fn parse(
        id: SubscriptionId,
        value: &[u8],
        definition_offset: Offset,
        rules: &Rules,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let document = Field::of_document(value, &mut problems);
        let object = document.and_then(|document| document.object(&mut problems));
        let subscription =
            object.and_then(|object| read(object, id, definition_offset, rules, &mut problems));
        match (subscription, problems.0) {
            (Some(subscription), problems) if problems.is_empty() => Ok(subscription),
            (_, problems) => {
                assert!(!problems.is_empty(), "a definition is refused with a reason");
                Err(problems)
            }
        }
    }
}

/// Reads every field, also behind a wrong one. What comes out counts only if no problem was noted.
fn read(
    mut object: Object,
    id: SubscriptionId,
    definition_offset: Offset,
    rules: &Rules,
    problems: &mut Problems,
) -> Option<Subscription> {
    let p = problems;
    let url = object.required("url", p).and_then(|field| url(field, rules, p));
    let events = object.required("events", p).and_then(|field| each(field, 1, 100, p, pattern));
    let lock = Lock { id: &id, encryption: &rules.encryption };
    let keys = keys(&mut object, &lock, p);
    let schemes = schemes(&mut object, keys.as_deref(), p);
    let written = schemes.as_deref().unwrap_or_default();
    let headers = object.take("headers").and_then(|field| headers::read(field, written, p));
    let auth = object.take("auth").and_then(|field| auth::read(field, written, rules, &lock, p));
    let auth = auth.map(Box::new);
    let origin = object.take("abuseProtection").and_then(|field| abuse_protection(field, p));
    clashes(auth.as_deref(), url.as_ref(), headers.as_deref(), p);
    let topics = object.take("topics").and_then(|field| each(field, 0, 100, p, topic));
    let tenant = object.take("tenant").and_then(|field| short_text(field, 1, 256, p));
    let filter = object.take("filter").and_then(|field| expression(field, p));
    let active = object.take("active").and_then(|field| field.bool(p));
    let payload = object.take("payload").and_then(|field| payload(field, p));
    let transform = object.take("transform").and_then(|field| expression(field, p));
    let timeout = object.take("timeout").and_then(|field| field.duration("100ms", "5m", p));
    let retry = object.take("retry").and_then(|field| retry(field, p));
    let statuses = object.take("noRetryOn").and_then(|field| each(field, 0, 500, p, status));
    let in_flight = object.take("maxInFlight").and_then(|field| field.integer(1, 65_536, p));
    let rate_limit = object.take("rateLimit").and_then(|field| rate_limit::read(field, p));
    let description = object.take("description").and_then(|field| short_text(field, 0, 1024, p));
    object.close(p);
    let mut no_retry_on = statuses.unwrap_or_default();
    no_retry_on.sort_unstable();
    no_retry_on.dedup();
    let url = url?;
    Some(Subscription {
        hash: SubscriptionHash::of(&id),
        id,
        definition_offset,
        defined_at: Timestamp::MIN,
        audit_url: audit_url(&url),
        url,
        events: events?,
        topics: topics.unwrap_or_default(),
        tenant: tenant.map(Into::into),
        filter,
        state: if active.unwrap_or(true) { Activity::Active } else { Activity::Inactive },
        signing: Signing::new(keys?, schemes?),
        headers: headers.unwrap_or_default(),
        auth,
        origin,
        // What a transform makes stands in the place of the payload, whatever that says.
        payload: payload.filter(|_| transform.is_none()).unwrap_or(Payload::Envelope),
        transform,
        timeout,
        retry,
        no_retry_on,
        max_in_flight: in_flight.and_then(NonZeroU32::new),
        rate_limit,
        description: description.map(Into::into),
    })
}

/// Notes credentials that would stand where others do.
fn clashes(
    auth: Option<&Auth>,
    url: Option<&Url>,
    headers: Option<&[(Box<str>, Secret)]>,
    p: &mut Problems,
) {
    let Some(header) = auth.and_then(Auth::header) else { return };
    if headers.unwrap_or_default().iter().any(|(name, _)| **name == *header) {
        p.add("auth", format!("sends the header {header}, which stands in `headers` too"));
    }
    let has_user = url.is_some_and(|url| !url.username().is_empty() || url.password().is_some());
    if header == "authorization" && has_user {
        p.add("auth", "must not stand beside a user in `url`");
    }
}

pub(super) fn url(field: Field, rules: &Rules, p: &mut Problems) -> Option<Url> {
    let (path, text) = field.text(p)?;
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(error) => {
            p.add(&path, format!("must be an absolute URL: {error}"));
            return None;
        }
    };
    let problem = match url.scheme() {
        _ if text.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) => {
            "has a space or a control character"
        }
        "http" if rules.http == HttpUrls::Refused => "http is refused (egress.allow_http is false)",
        "http" | "https" if !url.has_host() => "has no host",
        "http" | "https" if url.as_str().len() > URL_MAX => "is longer than 2048 bytes",
        "http" | "https" => match rules.egress.judge_url(&url) {
            Ok(()) => return Some(url),
            Err(refused) => {
                p.add(&path, format!("is refused: {refused}"));
                return None;
            }
        },
        _ => "must start with https: or http:",
    };
    p.add(&path, problem);
    None
}

/// Returns the URL without userinfo, query and fragment; `None` if it has none of them.
fn audit_url(url: &Url) -> Option<Box<str>> {
    let mut shown = url.clone();
    shown.set_username("").and_then(|()| shown.set_password(None)).expect("the URL has a host");
    shown.set_query(None);
    shown.set_fragment(None);
    (shown != *url).then(|| String::from(shown).into())
}

fn pattern(field: Field, p: &mut Problems) -> Option<EventPattern> {
    let (path, text) = field.text(p)?;
    EventPattern::parse(&text).map_err(|problem| p.add(&path, problem.to_string())).ok()
}

/// A topic name as Kafka allows it.
fn topic(field: Field, p: &mut Problems) -> Option<Arc<str>> {
    let (path, text) = field.text(p)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=249).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".." {
        return Some(text.into());
    }
    p.add(&path, "must be a topic name: 1 to 249 of the characters A-Z a-z 0-9 . _ -");
    None
}

fn short_text(field: Field, least: usize, most: usize, p: &mut Problems) -> Option<String> {
    let (path, text) = field.text(p)?;
    if (least..=most).contains(&text.len()) {
        return Some(text);
    }
    p.add(&path, format!("must have {least} to {most} bytes"));
    None
}

/// Reads an expression and compiles it.
fn expression(field: Field, p: &mut Problems) -> Option<Box<Expression>> {
    let (path, text) = field.text(p)?;
    Expression::compile(&text)
        .map(Box::new)
        .map_err(|problem| p.add(&path, problem.to_string()))
        .ok()
}

fn payload(field: Field, p: &mut Problems) -> Option<Payload> {
    let (path, text) = field.text(p)?;
    match text.as_str() {
        "envelope" => return Some(Payload::Envelope),
        "raw" => return Some(Payload::Raw),
        "cloudevents" => return Some(Payload::CloudEvents),
        "cloudevents-binary" => return Some(Payload::CloudEventsBinary),
        _ => p.add(&path, "must be envelope, raw, cloudevents or cloudevents-binary"),
    }
    None
}

/// Reads the origin of CloudEvents' abuse protection: the name of a host.
fn abuse_protection(field: Field, p: &mut Problems) -> Option<Box<str>> {
    let mut object = field.object(p)?;
    let origin = object.required("origin", p).and_then(|field| {
        let (path, text) = field.text(p)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        if (1..=253).contains(&text.len()) && text.bytes().all(allowed) {
            return Some(text.into());
        }
        p.add(&path, "must be the name of a host, such as hooks.example.com");
        None
    });
    object.close(p);
    origin
}

fn status(field: Field, p: &mut Problems) -> Option<u16> {
    let status = field.integer(100, 599, p)?;
    Some(u16::try_from(status).expect("it is at most 599"))
}

fn retry(field: Field, p: &mut Problems) -> Option<Schedule> {
    let mut object = field.object(p)?;
    let schedule = match object.take("schedule") {
        None => exponential(&mut object, p),
        Some(list) => {
            let beside = ["attempts", "initial", "factor", "max"];
            for field in beside.into_iter().filter_map(|name| object.take(name)) {
                p.add(field.path(), "must not stand beside `schedule`");
            }
            each(list, 0, 50, p, |delay, p| delay.duration("0s", "30d", p)).map(Schedule::new)
        }
    };
    object.close(p);
    schedule
}

fn exponential(object: &mut Object, p: &mut Problems) -> Option<Schedule> {
    let attempts = match object.take("attempts") {
        Some(field) => field.integer(1, 50, p),
        None => {
            p.add(object.path(), "must have `schedule` or `attempts`");
            None
        }
    };
    let initial = object.read_or("initial", INITIAL, p, |field, p| field.duration("1ms", "30d", p));
    let factor = object.read_or("factor", FACTOR, p, |field, p| field.number(1.0, 100.0, p));
    let max = object.read_or("max", None, p, |field, p| field.duration("1ms", "30d", p).map(Some));
    let initial = initial?;
    let max = max?.unwrap_or(MAX.max(initial));
    if max < initial {
        p.add(&object.path_to("max"), "must not be less than `initial`");
        return None;
    }
    let attempts = NonZeroU32::new(attempts?)?;
    Some(Schedule::exponential(attempts, initial, factor?, max))
}
