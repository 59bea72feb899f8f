//! Header names and values that a subscription may choose: RFC 9110, sections 5.1 and 5.5.

use super::reader::{Field, Problems};
use crate::domain::secret::Secret;
use crate::domain::signature::Scheme;

/// The most headers of a subscription.
const HEADERS_MAX: usize = 32;
/// The longest name in bytes.
const NAME_MAX: usize = 256;
/// The longest value in bytes.
const VALUE_MAX: usize = 4096;

/// What the connector and its HTTP client write, or what would change how the request is framed or read.
const OWNED: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// What the connector writes beside signatures. All names that start like these are its own as well.
const OWNED_WEBHOOK: [&str; 5] =
    ["webhook-id", "webhook-timestamp", "x-webhook-id", "x-webhook-event", "x-webhook-attempt"];

/// Reads the object of headers that are added to each request; names become lower case.
pub(super) fn read(
    field: Field,
    schemes: &[Scheme],
    problems: &mut Problems,
) -> Option<Vec<(Box<str>, Secret)>> {
    let mut object = field.object(problems)?;
    let fields = object.take_all();
    if fields.len() > HEADERS_MAX {
        problems.add(object.path(), format!("must have at most {HEADERS_MAX} headers"));
        return None;
    }
    let mut headers: Vec<(Box<str>, Secret)> = Vec::with_capacity(fields.len());
    for (name, field) in fields {
        let name = name.to_ascii_lowercase();
        let problem = match added_problem(&name, schemes) {
            Some(problem) => Some(problem),
            None if headers.iter().any(|(known, _)| **known == *name) => Some("is given twice"),
            None => None,
        };
        if let Some(problem) = problem {
            problems.add(field.path(), problem);
        }
        let Some((path, value)) = field.text(problems) else { continue };
        let value = Secret::new(value);
        match value_problem(value.reveal()) {
            Some(problem) => problems.add(&path, problem),
            None => headers.push((name.into(), value)),
        }
    }
    Some(headers)
}

/// Reads the name of a header for a signature; it becomes lower case.
pub(super) fn signature_header(field: Field, problems: &mut Problems) -> Option<String> {
    let (path, name) = field.text(problems)?;
    let name = name.to_ascii_lowercase();
    let own = OWNED_WEBHOOK.contains(&&*name).then_some("is a header of the connector's own");
    match name_problem(&name).or(own) {
        Some(problem) => {
            problems.add(&path, problem);
            None
        }
        None => Some(name),
    }
}

/// Reads the name of a header for a credential; it becomes lower case.
pub(super) fn credential_header(
    field: Field,
    schemes: &[Scheme],
    problems: &mut Problems,
) -> Option<String> {
    let (path, name) = field.text(problems)?;
    let name = name.to_ascii_lowercase();
    match added_problem(&name, schemes) {
        Some(problem) => {
            problems.add(&path, problem);
            None
        }
        None => Some(name),
    }
}

/// What is wrong with the name of a header that is added to what the connector writes.
fn added_problem(name: &str, schemes: &[Scheme]) -> Option<&'static str> {
    let signed = schemes.iter().flat_map(Scheme::headers).any(|written| written == name);
    let reserved = ["webhook-", "x-webhook-", "ce-"].iter().any(|own| name.starts_with(own));
    let own = (signed || reserved).then_some("is a header of the connector's own");
    name_problem(name).or(own)
}

fn name_problem(name: &str) -> Option<&'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(is_token) {
        Some("is not a header name of 1 to 256 bytes")
    } else if OWNED.contains(&name) {
        Some("is a header of the connector's own")
    } else {
        None
    }
}

pub(super) fn value_problem(value: &str) -> Option<&'static str> {
    if value.len() > VALUE_MAX {
        Some("is longer than 4096 bytes")
    } else if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
        Some("has a control character")
    } else if value.trim_matches([' ', '\t']).len() != value.len() {
        Some("starts or ends with a space")
    } else {
        None
    }
}
