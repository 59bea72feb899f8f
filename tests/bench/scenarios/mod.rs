//! The scenarios: one function each, which prints its figures and whether they reach their bars.

mod backlog;
mod growth;
mod lanes;
mod latency;
mod many;
mod standing;

use crate::Scale;

/// A scenario's name and what plays it.
type Scenario = (&'static str, fn(Scale));

/// All scenarios in the order in which they are played.
pub const SCENARIOS: [Scenario; 20] = [
    ("backlog", backlog::at_once),
    ("slow", backlog::slow),
    ("flaky", backlog::flaky),
    ("latency", latency::steady),
    ("fan-out", many::fan_out),
    ("tenants", many::tenants),
    ("million", many::million),
    ("changes", latency::changes),
    ("memory", standing::memory),
    ("wheel", standing::wheel),
    ("idle", standing::idle),
    ("hanging", lanes::hanging),
    ("crowd", lanes::crowd),
    ("flood", lanes::flood),
    ("recovery", lanes::recovery),
    ("large", lanes::large),
    ("matched", growth::matched),
    ("bodies", growth::bodies),
    ("partitions", growth::partitions),
    ("instances", growth::instances),
];
