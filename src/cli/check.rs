//! `check`: is everything there that the connector needs?

use std::io::Write;

use super::Failure;
use crate::kafka::Connection;
use crate::kafka::preflight::{Finding, Severity, preflight, resending, transactions};

/// Looks at broker, topics and permissions, and prints a line for each finding. The settings are loaded, so they are good.
///
/// # Errors
/// [`Failure::Told`] when a finding is an error.
pub fn check(connection: &Connection, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "ok       settings: read")?;
    let mut findings = preflight(connection);
    if reaches_broker(&findings) {
        findings.extend([transactions(connection), resending(connection)]);
    }
    for finding in &findings {
        writeln!(out, "{}", line(finding))?;
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    if worst == Some(Severity::Error) { Err(Failure::Told) } else { Ok(()) }
}

fn reaches_broker(findings: &[Finding]) -> bool {
    findings.first().is_some_and(|broker| broker.severity == Severity::Fine)
}

fn line(finding: &Finding) -> String {
    let Finding { severity, subject, found, advice } = finding;
    let mark = match severity {
        Severity::Fine => "ok",
        Severity::Warning => "warning",
        Severity::Error => "problem",
    };
    let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
    format!("{mark:<8} {subject}: {found}{advice}")
}
