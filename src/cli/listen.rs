//! `listen`: a local endpoint that takes webhooks, verifies them and tells of each.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::Failure;
use crate::receiver::{self, Received, Signature};

/// What the endpoint is like.
#[derive(Args)]
pub struct Listen {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    address: SocketAddr,
    /// The secret to verify signatures with; without it none is verified
    #[arg(long, env = "KAFKA_WEBHOOKS_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// The status that it answers
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
}

/// Listens until the process ends.
///
/// # Errors
/// The address can't be had.
pub fn run(listen: &Listen) -> Result<(), Failure> {
    let status = StatusCode::from_u16(listen.status).expect("clap keeps it from 200 to 599");
    let runtime = Runtime::new().map_err(|error| Failure::of(format!("no runtime: {error}")))?;
    let failed = |error| Failure::of(format!("can't listen on {}: {error}", listen.address));
    let listener = runtime.block_on(TcpListener::bind(listen.address)).map_err(failed)?;
    println!("listening on http://{}", listener.local_addr().map_err(failed)?);
    let answer = move |received: &Received| {
        println!("{}", line(received, status));
        status
    };
    let secret = listen.secret.clone();
    runtime.block_on(receiver::serve(listener, secret, Arc::new(answer))).map_err(failed)
}

fn line(received: &Received, status: StatusCode) -> String {
    let Received { path, id, event_type, attempt, signature, body } = received;
    let (signature, status) = match signature {
        Signature::Verified => ("verified".to_owned(), status),
        Signature::Unchecked => ("not checked".to_owned(), status),
        Signature::Rejected(why) => (format!("rejected ({why})"), StatusCode::UNAUTHORIZED),
    };
    let size = body.len();
    let status = status.as_u16();
    format!(
        "{path} {id} {event_type} attempt {attempt}, {size} bytes, signature {signature} -> {status}"
    )
}
