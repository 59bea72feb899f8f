//! The way to a trace collector: what the OTLP exporter sends, by the client that the rest of the program uses.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, redirect};
use tokio::runtime::Handle;

use super::client::SetupError;
use super::failure;
use crate::config::{Authorities, Traces};

/// The bytes of an answer that are read; OTLP's are shorter.
const ANSWER_MAX: usize = 64 << 10;

/// Sends requests of an exporter, whatever thread it runs on.
pub struct Collector {
    client: Client,
    headers: HeaderMap,
    runtime: Handle,
}

impl Collector {
    /// Makes a client whose requests run on this runtime. It trusts `ca` beside the system's authorities.
    ///
    /// # Errors
    /// [`SetupError::Client`] if TLS can't be set up.
    pub fn new(
        traces: &Traces,
        ca: Option<&Authorities>,
        runtime: Handle,
    ) -> Result<Self, SetupError> {
        let failed = |error| SetupError::Client(failure::text(&error));
        let mut client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
        if let Some(ca) = ca {
            client =
                client.tls_certs_merge(Certificate::from_pem_bundle(ca.pem()).map_err(failed)?);
        }
        let client = client.timeout(traces.timeout).build().map_err(failed)?;
        let headers = traces.headers.clone();
        Ok(Self { client, headers, runtime })
    }
}

/// Shows no header.
impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

/// What a request of an exporter comes to.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'s, 'f>(&'s self, mut request: Request<Bytes>) -> Answering<'f>
    where
        's: 'f,
        Self: 'f,
    {
        request.headers_mut().extend(self.headers.clone());
        let sent = self.runtime.spawn(send(self.client.clone(), request));
        Box::pin(async move { sent.await? })
    }
}

async fn send(client: Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut response = client.execute(request.try_into()?).await?;
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err("the answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    *answer.body_mut() = body.freeze();
    Ok(answer)
}
