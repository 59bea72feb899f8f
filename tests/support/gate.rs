//! A port that leads to another one, or to nothing: a service that is away, as its clients see it.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use super::free_port;

/// A closed gate: nothing listens on its port.
pub struct Gate {
    port: u16,
    to: u16,
}

impl Gate {
    /// Makes a closed gate to a port of loopback.
    pub fn closed(to: u16) -> Self {
        Self { port: free_port(), to }
    }

    /// Returns its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens it for as long as the test process lives.
    pub fn open(self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port));
        let listener = listener.expect("the port was free a moment ago");
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                if let Ok(there) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to)) {
                    join(stream, there);
                }
            }
        });
    }
}

/// Carries bytes both ways until either side ends.
fn join(here: TcpStream, there: TcpStream) {
    let both = |stream: &TcpStream| stream.try_clone().expect("a handle can be duplicated");
    for (mut from, mut to) in [(both(&here), both(&there)), (there, here)] {
        thread::spawn(move || {
            // An end in the middle is an end like any other.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
