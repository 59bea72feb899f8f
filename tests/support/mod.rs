//! What the flow tests stand on: a real broker, a real receiver, and the built connector as a process of its own.
//!
//! Nothing here knows what the connector decides; it starts things, watches them, and ends them whatever happens to
//! the test process. It never sleeps to let something happen: every wait is for a state, has a deadline, and says
//! what it awaited and what it saw.
#![allow(dead_code, reason = "each test binary that includes this module uses a part of it")]

pub mod breakable;
pub mod broker;
pub mod browser;
pub mod connector;
pub mod exchange;
pub mod gate;
pub mod java;
pub mod ledger;
pub mod libraries;
pub mod process;
pub mod producer;
pub mod reader;
pub mod receiver;
pub mod record;
pub mod registry;
pub mod scope;
pub mod third_party;

use std::net::TcpListener;

/// Finds a port of 127.0.0.1 that nothing listens on.
///
/// It lies below the range from which the system picks the ports of outgoing connections, so that a server can be
/// stopped and started again on it without a client having taken it meanwhile.
pub fn free_port() -> u16 {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 after {TRIES} tries in 20000..32000");
}
