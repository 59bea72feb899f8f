//! The limit: what reqwest, signing twice, and the receiver allow on this machine when nothing else is done.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kafka_webhooks::domain::event::EventId;
use kafka_webhooks::domain::signature::{LiveKey, Scheme, Signing, SigningKey};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Url, redirect};
use serde::{Deserialize, Serialize};

use crate::event::{self, EVENT_TYPE, SECRET};
use crate::usage;

/// What to post.
#[derive(Serialize, Deserialize)]
pub struct Limit {
    pub url: String,
    pub deliveries: usize,
    pub in_flight: usize,
    /// Bytes of an event's record; the body is as much longer as the connector makes it.
    pub size: usize,
}

/// What it took; the last line that the process prints.
#[derive(Serialize, Deserialize)]
pub struct Used {
    pub cpu: Duration,
    pub peak_kib: u64,
}

impl Limit {
    /// Posts everything, prints what it took, and returns.
    pub fn run(self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let url = self.url.parse().expect("the benchmark makes good URLs");
        let shared = Arc::new(Loop {
            client: client(self.in_flight),
            url,
            signing: signing(),
            next: AtomicUsize::new(0),
            order: self,
        });
        let before = usage::cpu(process::id());
        let runners: Vec<_> = (0..shared.order.in_flight)
            .map(|_| {
                let shared = shared.clone();
                runtime.spawn(async move { shared.post().await })
            })
            .collect();
        for runner in runners {
            runtime.block_on(runner).expect("posting to the receiver works");
        }
        let cpu = usage::cpu(process::id()) - before;
        let used = Used { cpu, peak_kib: usage::peak_kib(process::id()) };
        println!("{}", serde_json::to_string(&used).expect("numbers are JSON"));
    }
}

struct Loop {
    client: Client,
    url: Url,
    signing: Signing,
    next: AtomicUsize,
    order: Limit,
}

impl Loop {
    /// Posts one body after the other until none is left.
    async fn post(&self) {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.order.deliveries {
                return;
            }
            let mut response = self.client.execute(self.request(n)).await.expect("it is answered");
            assert!(response.status().is_success(), "{}", response.status());
            while response.chunk().await.expect("answers are whole").is_some() {}
        }
    }

    fn request(&self, n: usize) -> Request {
        const TEXT: &str = "what is ours can stand in a header";
        let body = event::body(n, self.order.size);
        let id = EventId::new(&format!("evt_{n}"));
        let mut request = Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.reserve(16);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let own = HeaderValue::from_str(id.as_str()).expect(TEXT);
        headers.insert(HeaderName::from_static("x-webhook-id"), own);
        let event = HeaderValue::from_static(EVENT_TYPE);
        headers.insert(HeaderName::from_static("x-webhook-event"), event);
        headers.insert(HeaderName::from_static("x-webhook-attempt"), HeaderValue::from(1));
        self.sign(headers, &id, &body);
        *request.body_mut() = Some(body.into());
        request
    }

    fn sign(&self, headers: &mut HeaderMap, id: &EventId, body: &[u8]) {
        const NAMES: [HeaderName; 4] = [
            HeaderName::from_static("webhook-id"),
            HeaderName::from_static("webhook-timestamp"),
            HeaderName::from_static("webhook-signature"),
            HeaderName::from_static("x-webhook-signature"),
        ];
        let signed = self.signing.sign(id, Timestamp::now(), body).expect("the key is live");
        for (name, value) in signed {
            let known = NAMES.into_iter().find(|known| known.as_str() == name);
            let value = HeaderValue::try_from(value).expect("signatures are ASCII");
            headers.insert(known.expect("two schemes write these four"), value);
        }
    }
}

/// The connector's client: what it sets costs the same here.
pub fn client(in_flight: usize) -> Client {
    Client::builder()
        .user_agent(concat!("kafka-webhooks/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .pool_max_idle_per_host(in_flight)
        .tcp_nodelay(true)
        .build()
        .expect("the client's settings are valid")
}

fn signing() -> Signing {
    let key = SigningKey::parse(SECRET).expect("the secret is one");
    Signing::new(vec![LiveKey { key, expires_at: None }], Scheme::USUAL.into())
}
