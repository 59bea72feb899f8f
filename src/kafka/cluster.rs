//! Reaching the cluster on behalf of a command: questions with a bounded wait, and errors that say what to do.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaConfRes;

use super::context;
use crate::config::show_duration;

/// How long a command waits for the cluster before it says that it can't be reached.
pub(super) const REACH: Duration = Duration::from_secs(10);

/// One look for an answer; between two, the client's own words are listened to.
const LOOK: Duration = Duration::from_secs(1);

/// Why the cluster did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterError {
    /// librdkafka refuses a property of the settings.
    Property {
        /// The property's name.
        name: String,
        /// What is wrong; never the value.
        problem: String,
    },
    /// No client can be made from the settings.
    Client(String),
    /// No broker answered in time.
    Unreachable {
        /// The brokers that were to be asked first.
        servers: String,
        /// How long was waited.
        waited: Duration,
        /// The client's last words.
        reason: Option<String>,
    },
    /// A broker doesn't take the credentials.
    Authentication(String),
    /// No TLS connection could be made.
    Tls(String),
    /// A topic doesn't exist.
    NoTopic(String),
    /// A topic was not read to its end.
    Unread {
        /// The topic.
        topic: String,
        /// The partitions whose ends were not reached.
        partitions: Vec<i32>,
        /// How long nothing came.
        waited: Duration,
        /// The client's last words.
        reason: Option<String>,
    },
    /// A record was not written, as far as can be told.
    Unwritten {
        /// The topic.
        topic: String,
        /// Why not.
        reason: String,
    },
    /// Another command has taken over the transactions of this one's name.
    Superseded {
        /// The name.
        name: String,
        /// What the cluster said.
        reason: String,
    },
    /// The cluster answered, and refused.
    Refused {
        /// What it was asked to do.
        request: String,
        /// Its answer.
        reason: String,
    },
}

impl ClusterError {
    /// Returns what happened.
    pub fn found(&self) -> String {
        let because = |reason: &Option<String>| {
            reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"))
        };
        match self {
            Self::Property { name, problem } => format!("kafka.properties.{name:?} {problem}"),
            Self::Client(reason) => format!("no client can be made: {reason}"),
            Self::Unreachable { servers, waited, reason } => {
                let waited = show_duration(*waited);
                format!("no broker of {servers} answered within {waited}{}", because(reason))
            }
            Self::Authentication(reason) => {
                format!("the broker refused the credentials ({reason})")
            }
            Self::Tls(reason) => format!("no TLS connection to the broker ({reason})"),
            Self::NoTopic(topic) => format!("the topic {topic} doesn't exist"),
            Self::Unread { topic, partitions, waited, reason } => format!(
                "the topic {topic} was not read to its end: for {} nothing came of partitions {partitions:?}{}",
                show_duration(*waited),
                because(reason)
            ),
            Self::Unwritten { topic, reason } => {
                format!("the topic {topic} did not acknowledge the record ({reason})")
            }
            Self::Superseded { name, reason } => {
                format!("another command writes as {name} now ({reason})")
            }
            Self::Refused { request, reason } => {
                format!("the broker refused to {request} ({reason})")
            }
        }
    }

    /// Returns what to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Property { .. } => "see [kafka.properties] and librdkafka's CONFIGURATION.md",
            Self::Client(_) => "check the settings in [kafka]",
            Self::Unreachable { .. } => {
                "check kafka.bootstrap_servers, the network, and that a broker runs there"
            }
            Self::Authentication(_) => "check security.protocol and sasl.* in [kafka.properties]",
            Self::Tls(_) => "check security.protocol and ssl.* in [kafka.properties]",
            Self::NoTopic(_) => "create it with `kafka-webhooks topics create`",
            Self::Unread { .. } => {
                "check that the partitions have leaders and reading is permitted"
            }
            Self::Unwritten { .. } => "look at what the topic holds before you try again",
            Self::Superseded { .. } => {
                "what this one has written is whole; let the other end before you try again"
            }
            Self::Refused { .. } => "check the permissions",
        }
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.found(), self.advice())
    }
}

impl std::error::Error for ClusterError {}

impl From<KafkaError> for ClusterError {
    /// Takes an error of making a client. What librdkafka says of a property may repeat its value: that is left out.
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(kind, _, name, _) => {
                let problem = match kind {
                    RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => "is no property of librdkafka",
                    _ => "has a value that librdkafka refuses",
                };
                Self::Property { name, problem: problem.into() }
            }
            KafkaError::ClientCreation(reason) => Self::Client(reason),
            error => Self::Client(error.to_string()),
        }
    }
}

/// The context of a command's clients: it remembers what went wrong, so that the command can say it.
#[derive(Default)]
pub(super) struct Witness {
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// What became of the record that was sent last.
    delivery: Mutex<Option<Result<(), RDKafkaErrorCode>>>,
}

impl Witness {
    /// Returns the client's last words.
    pub(super) fn reason(&self) -> Option<String> {
        self.trouble.lock().expect("no holder panics").as_ref().map(|(_, reason)| reason.clone())
    }

    /// Returns what became of the record that was sent last, once.
    pub(super) fn take_delivery(&self) -> Option<Result<(), RDKafkaErrorCode>> {
        self.delivery.lock().expect("no holder panics").take()
    }

    /// Tells why waiting is of no use, if it is of none.
    pub(super) fn hopeless(&self) -> Option<ClusterError> {
        let trouble = self.trouble.lock().expect("no holder panics");
        match trouble.as_ref()? {
            (RDKafkaErrorCode::Authentication, reason) => {
                Some(ClusterError::Authentication(reason.clone()))
            }
            (RDKafkaErrorCode::SSL, reason) => Some(ClusterError::Tls(reason.clone())),
            _ => None,
        }
    }
}

impl ClientContext for Witness {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut trouble = self.trouble.lock().expect("no holder panics");
        // That all are down says less than why the last one is.
        if trouble.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *trouble = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Witness {}

impl ProducerContext for Witness {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        *self.delivery.lock().expect("no holder panics") = Some(result);
    }
}

/// Asks for the metadata of one topic, or of all; `serve` lets the client say what goes wrong.
///
/// # Errors
/// As [`ask`].
pub(super) fn metadata(
    client: &Client<Witness>,
    serve: impl Fn(),
    servers: &str,
    topic: Option<&str>,
) -> Result<Metadata, ClusterError> {
    ask(client, serve, servers, |within| client.fetch_metadata(topic, within))
}

/// Asks until there is an answer; `serve` lets the client say what goes wrong.
///
/// # Errors
/// No broker answers within [`REACH`], it is clear earlier that none will, or what is asked is not permitted.
pub(super) fn ask<T>(
    client: &Client<Witness>,
    serve: impl Fn(),
    servers: &str,
    question: impl Fn(Duration) -> KafkaResult<T>,
) -> Result<T, ClusterError> {
    let start = Instant::now();
    loop {
        match question(LOOK) {
            Ok(answer) => return Ok(answer),
            Err(error) => refused("answer", &error).map_or(Ok(()), Err)?,
        }
        serve();
        if let Some(error) = client.context().hopeless() {
            return Err(error);
        }
        if start.elapsed() >= REACH {
            return Err(unreachable(servers, client.context().reason()));
        }
    }
}

/// Returns the partitions of a topic.
///
/// # Errors
/// The topic doesn't exist or isn't told of, or as [`ask`].
pub(super) fn partitions(
    consumer: &BaseConsumer<Witness>,
    servers: &str,
    topic: &str,
) -> Result<BTreeSet<i32>, ClusterError> {
    let serve = || drop(consumer.poll(Duration::from_millis(50)));
    let metadata = metadata(consumer.client(), serve, servers, Some(topic))?;
    let found = metadata.topics().first();
    if let Some(error) = found.and_then(|found| found.error()) {
        return Err(match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                ClusterError::NoTopic(topic.to_owned())
            }
            code => ClusterError::Refused {
                request: format!("tell of the topic {topic}"),
                reason: code.to_string(),
            },
        });
    }
    let partitions: BTreeSet<i32> =
        found.iter().flat_map(|found| found.partitions()).map(|p| p.id()).collect();
    if partitions.is_empty() {
        return Err(ClusterError::NoTopic(topic.to_owned()));
    }
    Ok(partitions)
}

/// Returns the error that follows from an error of reading a topic, if waiting is of no use.
pub(super) fn reading_refused(topic: &str, error: &KafkaError) -> Option<ClusterError> {
    refused(&format!("let the topic {topic} be read"), error)
}

/// Returns that a request is not permitted, if that is what an error says.
fn refused(request: &str, error: &KafkaError) -> Option<ClusterError> {
    match error.rdkafka_error_code()? {
        code @ (RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            Some(ClusterError::Refused { request: request.to_owned(), reason: code.to_string() })
        }
        _ => None,
    }
}

fn unreachable(servers: &str, reason: Option<String>) -> ClusterError {
    match reason {
        // To librdkafka, a broker that hangs up on TLS is one that is away; it names the state it was in.
        Some(reason) if reason.contains("SSL_HANDSHAKE") => ClusterError::Tls(reason),
        reason => ClusterError::Unreachable { servers: servers.to_owned(), waited: REACH, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_property_is_named_and_its_value_is_not() {
        let mut client = rdkafka::ClientConfig::new();
        client.set("security.protocol", "hunter2");
        let made = client
            .create_with_context::<_, rdkafka::producer::BaseProducer<Witness>>(Witness::default());
        let error = ClusterError::from(made.err().expect("there is no such protocol"));
        assert_eq!(
            error.found(),
            "kafka.properties.\"security.protocol\" has a value that librdkafka refuses"
        );
    }

    #[test]
    fn what_is_not_permitted_is_not_waited_for() {
        let client: BaseConsumer<Witness> = rdkafka::ClientConfig::new()
            .create_with_context(Witness::default())
            .expect("the defaults are good");
        let code = RDKafkaErrorCode::GroupAuthorizationFailed;
        let start = Instant::now();
        let answer: Result<(), _> =
            ask(client.client(), || {}, "", |_| Err(KafkaError::MetadataFetch(code)));
        let told = answer.expect_err("it is refused").found();
        assert!(told.starts_with("the broker refused to answer ("), "{told}");
        assert!(start.elapsed() < REACH);
    }

    #[test]
    fn the_reason_is_worth_more_than_the_fact_that_all_are_down() {
        let witness = Witness::default();
        witness.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "all down");
        assert_eq!(witness.reason().as_deref(), Some("all down"));
        witness.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "refused");
        witness.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "all down");
        assert_eq!(witness.reason().as_deref(), Some("refused"));
        assert_eq!(witness.hopeless(), None);
        witness.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "bad password");
        assert_eq!(witness.hopeless(), Some(ClusterError::Authentication("bad password".into())));
    }
}
