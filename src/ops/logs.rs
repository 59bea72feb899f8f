//! Logs: to standard error, for people or as JSON. No payload and no secret is ever handed to them.

use std::io::IsTerminal as _;

use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Starts to log. Once a process; a second call changes nothing.
pub fn start(log: &Log) {
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let filter = tracing_subscriber::filter::LevelFilter::from_level(log.level);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    // An error says that somebody logs already, as tests do.
    let _ = if json {
        registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init()
    } else {
        registry
            .with(lines.with_target(false).with_ansi(std::io::stderr().is_terminal()))
            .try_init()
    };
}

/// Makes a panic in any thread or task the end of the process: what was not committed is read again.
pub fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        tracing::error!(
            "this is a bug: the process ends, and nothing is committed that wasn't done"
        );
        std::process::abort();
    }));
}
