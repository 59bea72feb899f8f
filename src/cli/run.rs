//! `run`: the connector, from checked settings to its exit code.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::Failure;
use crate::config::{self, Config};
use crate::http::{Collector, Settings};
use crate::kafka::preflight::{Finding, Severity, preflight};
use crate::kafka::{Connection, admin};
use crate::ops::health::{Health, Instance};
use crate::ops::server::Server;
use crate::ops::traces::Traces;
use crate::ops::{logs, metrics};
use crate::pipeline::{self, Couriers, Stopped, Stopper};
use crate::schema::Translator;

/// How long problems at the start may pass by themselves, and how often is looked.
const SETTLE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long tasks may take to end when everything that counts has ended.
const LEFTOVERS: Duration = Duration::from_millis(100);

/// Runs the connector until it is told to stop.
///
/// # Errors
/// It can't start, or it failed too often in a row.
pub fn run(config: &Config) -> Result<(), Failure> {
    logs::start(&config.log);
    logs::end_on_panic();
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let health = Arc::new(Health::new(Instance::starting(&config.kafka), config.ops.stall_after));
    let metrics = metrics::install();
    let metrics = metrics.map_err(|error| Failure::of(format!("metrics can't start: {error}")))?;
    let listen = config.ops.listen;
    let server = runtime.block_on(Server::bind(listen, health.clone(), metrics));
    let server = server.map_err(|error| {
        Failure::of(format!(
            "the ops port can't listen on {listen} ({error}): set ops.listen to a free address"
        ))
    })?;
    let address = server.address().unwrap_or(listen);
    info!(%address, instance = config.kafka.instance.id(), "starting");
    runtime.spawn(server.serve());
    let stopper = Stopper::default();
    runtime.spawn(stop_on_signal(signals()?, stopper.clone()));
    let connection = Connection::new(config);
    look_ahead(&connection)?;
    let traces = config.traces.as_ref();
    let traces = traces.map(|settings| trace(settings, config, runtime.handle())).transpose()?;
    let couriers = Couriers::start(&Settings::from(config), traces.clone());
    let couriers = couriers.map_err(|error| Failure::of(error.to_string()))?;
    let translator = Translator::new(config, runtime.handle().clone())
        .map_err(|error| Failure::of(format!("the registry's client can't start: {error}")))?;
    let batch_size = admin::batch_size(&connection);
    let stopped = pipeline::run(config, batch_size, couriers, translator, health, stopper);
    if let (Some(traces), Some(settings)) = (traces, &config.traces) {
        traces.stop(settings.timeout);
    }
    drop(_entered);
    runtime.shutdown_timeout(LEFTOVERS);
    match stopped {
        Stopped::Asked => {
            info!("stopped");
            Ok(())
        }
        Stopped::Failed(reason) => Err(Failure::of(format!("the connector gives up: {reason}"))),
    }
}

/// Makes the runtime of what is not the work itself: the ops port and signals.
fn runtime() -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().thread_name("ops").build();
    runtime.map_err(|error| Failure::of(format!("the runtime can't start: {error}")))
}

/// Begins to trace attempts.
fn trace(
    settings: &config::Traces,
    config: &Config,
    runtime: &Handle,
) -> Result<Arc<Traces>, Failure> {
    let failed = |error: &dyn Error| Failure::of(format!("traces can't be sent: {error}"));
    let collector = Collector::new(settings, config.egress.ca.as_ref(), runtime.clone());
    let collector = collector.map_err(|error| failed(&error))?;
    let traces = Traces::start(settings, config.kafka.instance.id(), collector);
    traces.map(Arc::new).map_err(|error| failed(&error))
}

/// Looks at the cluster before anything is started: what is wrong now would only be worse later.
///
/// Topics that were made a moment ago may not be known to every broker: for [`SETTLE`] a problem is looked at again.
fn look_ahead(connection: &Connection) -> Result<(), Failure> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let findings = preflight(connection);
        let is_reached = findings.first().is_some_and(|broker| broker.severity == Severity::Fine);
        let is_bad = |finding: &Finding| finding.severity == Severity::Error;
        let problems: Vec<_> = findings.iter().filter(|finding| is_bad(finding)).collect();
        if !problems.is_empty() && is_reached && Instant::now() < deadline {
            std::thread::sleep(LOOK_AGAIN);
            continue;
        }
        for Finding { subject, found, advice, severity } in &findings {
            if *severity == Severity::Warning {
                warn!(%subject, %advice, "{found}");
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let sentence = |finding: &&Finding| {
            let Finding { subject, found, advice, .. } = finding;
            format!("{subject}: {found}: {advice}")
        };
        return Err(Failure::Failed(problems.iter().map(sentence).collect()));
    }
}

fn signals() -> Result<[Signal; 2], Failure> {
    let signal =
        |kind| signal(kind).map_err(|error| Failure::of(format!("signals can't be had: {error}")));
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
}

/// Stops the connector at the first signal and ends the process at the second.
async fn stop_on_signal([mut terminate, mut interrupt]: [Signal; 2], stopper: Stopper) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let first = next().await;
    info!(signal = first, "asked to stop; a second signal ends at once");
    stopper.stop();
    let second = next().await;
    warn!(signal = second, "ending at once: attempts in flight will be made again");
    std::process::exit(1);
}
