//! `demo`: the whole product in one process, on an embedded broker, told as it happens.
//!
//! It is the connector that runs elsewhere; only the broker and the receiver are its own.

mod script;
mod story;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use self::script::{EVENTS, SECRET, SUBSCRIPTIONS};
use self::story::Story;
use super::Failure;
use crate::config::Config;
use crate::domain::record::Headers;
use crate::http::Settings;
use crate::kafka::cluster::ClusterError;
use crate::kafka::embedded::Embedded;
use crate::kafka::tail::{From, Tail};
use crate::kafka::writer::{Target, Writer};
use crate::kafka::{Connection, KafkaError};
use crate::ops::health::{Health, Instance};
use crate::pipeline::{self, Couriers, Stopped, Stopper};
use crate::receiver::{self, Received, Reply, Verifier};
use crate::schema::Translator;

/// The longest that the demo may take.
const DEADLINE: Duration = Duration::from_secs(40);

/// Between two events, so that a person can follow.
const PACE: Duration = Duration::from_millis(250);

/// Runs the demo and tells of it.
///
/// # Errors
/// An expectation didn't hold, or a part could not start.
pub fn run(out: &mut impl Write) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(|error| Failure::of(format!("no runtime: {error}")))?;
    let story = Arc::new(Story::begin());
    let receiver = start_receiver(&runtime, &story)?;
    let topics = script::topics();
    let broker = Embedded::start(topics.iter().map(String::as_str)).map_err(broker_failed)?;
    let config = settings(&broker.bootstrap_servers())?;
    let connection = Connection::new(&config);
    writeln!(out, "{}", script::introduction(&receiver))?;
    let writer = Writer::new(&connection)?;
    for (id, definition) in SUBSCRIPTIONS {
        let definition = definition.replace("{receiver}", &receiver).replace("{secret}", SECRET);
        let topic = &config.topics.subscriptions;
        let value = Some(definition.as_bytes());
        writer.write(topic, Target::ByKey, id.as_bytes(), value, &Headers::default())?;
    }
    let couriers = Couriers::start(&Settings::from(&config), None);
    let couriers = couriers.map_err(|error| Failure::of(error.to_string()))?;
    let translator = Translator::new(&config, runtime.handle().clone())
        .map_err(|error| Failure::of(format!("no client for a registry: {error}")))?;
    let stopper = Stopper::default();
    let health = Arc::new(Health::new(Instance::starting(&config.kafka), config.ops.stall_after));
    std::thread::scope(|scope| {
        let connector = scope.spawn(|| {
            let (health, stopper) = (health.clone(), stopper.clone());
            pipeline::run(&config, BATCH_SIZE, couriers, translator, health, stopper)
        });
        let tail = Tail::start(&connection, topics.iter().map(String::as_str), From::First);
        let told =
            tail.map_err(broker_failed).and_then(|tail| tell(out, &tail, &writer, &story, &health));
        stopper.stop();
        let stopped = connector.join();
        told?;
        match stopped {
            Ok(Stopped::Asked) => Ok(()),
            Ok(Stopped::Failed(reason)) => Err(Failure::of(reason)),
            Err(_) => Err(Failure::of("the connector panicked")),
        }
    })?;
    conclude(out, &story)
}

/// Bytes of the ledger's batches; the embedded broker takes any.
const BATCH_SIZE: usize = 1_000_000;

/// Writes the events one by one and tells what comes of them, until all has come or the time is over.
fn tell(
    out: &mut impl Write,
    tail: &Tail,
    writer: &Writer,
    story: &Story,
    health: &Health,
) -> Result<(), Failure> {
    let deadline = Instant::now() + DEADLINE;
    let mut events = EVENTS.iter();
    let mut next_event = Instant::now();
    while !story.is_complete() && Instant::now() < deadline {
        if health.current().ready
            && next_event <= Instant::now()
            && let Some((topic, key, value)) = events.next()
        {
            let (key, value) = (key.as_bytes(), Some(value.as_bytes()));
            writer.write(topic, Target::ByKey, key, value, &Headers::default())?;
            next_event = Instant::now() + PACE;
        }
        if let Some(record) = tail.next(Duration::from_millis(10)) {
            story.record(&record);
        }
        for line in story.take_lines() {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
    Ok(())
}

fn conclude(out: &mut impl Write, story: &Story) -> Result<(), Failure> {
    writeln!(out, "\n{}", story.topics())?;
    let expectations = story.expectations();
    for (expectation, holds) in &expectations {
        writeln!(out, "  {} {expectation}", if *holds { "ok    " } else { "FAILED" })?;
    }
    if expectations.iter().all(|(_, holds)| *holds) {
        writeln!(out, "\n{}", script::FAREWELL)?;
        return Ok(());
    }
    Err(Failure::of("the demo did not come out as it should: see the lines marked FAILED"))
}

/// Starts the receiver and returns its address.
fn start_receiver(runtime: &Runtime, story: &Arc<Story>) -> Result<String, Failure> {
    let failed = |error| Failure::of(format!("the demo's receiver can't listen: {error}"));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(failed)?;
    let address = format!("http://{}", listener.local_addr().map_err(failed)?);
    let story = story.clone();
    let answer = move |received: &Received| -> Reply {
        let status = script::answer(received);
        story.request(received, status);
        status.into()
    };
    let verifier = Verifier { secrets: vec![SECRET.to_owned()], schemes: Vec::new() };
    runtime.spawn(receiver::serve(listener, verifier, Arc::new(answer)));
    Ok(address)
}

fn settings(bootstrap_servers: &str) -> Result<Config, Failure> {
    let flags = [
        ("kafka.bootstrap_servers", bootstrap_servers),
        ("kafka.instance_id", "demo"),
        // The embedded broker lets an empty fetch wait its whole time, and a member that missed a turn its whole session.
        (
            "kafka.properties",
            r#"{ "fetch.wait.max.ms" = 5, "session.timeout.ms" = 6000, "heartbeat.interval.ms" = 500 }"#,
        ),
        ("sources", r#"[{ topics = ["orders", "payments"], format = "envelope" }]"#),
        ("egress.allow_http", "true"),
        ("egress.allow", "127.0.0.1"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Config::load(None, [], flags).map_err(Failure::Settings)
}

fn broker_failed(error: KafkaError) -> Failure {
    Failure::of(format!("the embedded broker failed: {}", ClusterError::from(error)))
}
