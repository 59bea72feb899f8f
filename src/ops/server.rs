//! The ops port: `/` (the status page), `/live`, `/ready`, `/metrics`, `/status`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;

use super::health::Health;
use super::{metrics, page};

/// How often recorded samples are folded, so that they don't pile up when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Ops {
    health: Arc<Health>,
    metrics: PrometheusHandle,
    started: SystemTime,
}

/// A bound ops port that doesn't answer yet.
pub struct Server {
    listener: TcpListener,
    ops: Ops,
}

impl Server {
    /// Binds the port, so that a wrong address is known before any work starts.
    ///
    /// # Errors
    /// The address is in use or not this machine's.
    pub async fn bind(
        listen: SocketAddr,
        health: Arc<Health>,
        metrics: PrometheusHandle,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        Ok(Self { listener, ops: Ops { health, metrics, started: SystemTime::now() } })
    }

    /// Returns the address it is bound to.
    ///
    /// # Errors
    /// The system doesn't tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the runtime ends.
    pub async fn serve(self) {
        let metrics = self.ops.metrics.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                metrics.run_upkeep();
            }
        });
        let router = Router::new()
            .route("/", get(page::page))
            .route("/live", get(live))
            .route("/ready", get(ready))
            .route("/metrics", get(render))
            .route("/status", get(status))
            .layer(map_response(strict))
            .with_state(self.ops);
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "the ops port stopped answering");
        }
    }
}

async fn live(State(ops): State<Ops>) -> Response {
    let report = ops.health.current();
    answer(&report, if report.live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

async fn ready(State(ops): State<Ops>) -> Response {
    let report = ops.health.current();
    answer(&report, if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

async fn status(State(ops): State<Ops>) -> Response {
    answer(&ops.health.overview(), StatusCode::OK)
}

async fn render(State(ops): State<Ops>) -> Response {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    metrics::process(&ops.health.current(), ops.started);
    ([(CONTENT_TYPE, TEXT)], ops.metrics.render()).into_response()
}

async fn strict(mut response: Response) -> Response {
    response.headers_mut().extend(page::STRICT);
    response
}

fn answer(told: &impl Serialize, status: StatusCode) -> Response {
    let json = serde_json::to_string(told).expect("flags, numbers and texts are always JSON");
    (status, [(CONTENT_TYPE, "application/json")], json).into_response()
}
