//! The plain loop: consumes and posts, and nothing else. It signs, records and retries nothing and loses what is in the
//! air when it ends; it is what latency is measured against.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::limit::client;

/// From where to where.
#[derive(Serialize, Deserialize)]
pub struct Plain {
    pub bootstrap: String,
    pub topic: String,
    pub url: String,
    pub in_flight: usize,
}

impl Plain {
    /// Consumes and posts until the process is killed.
    pub fn run(self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", format!("{}-plain", self.topic))
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("the settings of the consumer are valid");
        consumer.subscribe(&[&self.topic]).expect("the topic's name is one");
        let (client, room) = (client(self.in_flight), Arc::new(Semaphore::new(self.in_flight)));
        loop {
            let Some(polled) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = polled.expect("the broker doesn't fail meanwhile");
            let body = Bytes::copy_from_slice(message.payload().unwrap_or_default());
            let permit = runtime.block_on(room.clone().acquire_owned());
            let permit = permit.expect("the semaphore is never closed");
            let (client, url) = (client.clone(), self.url.clone());
            runtime.spawn(async move {
                post(client, url, body).await;
                drop(permit);
            });
        }
    }
}

async fn post(client: Client, url: String, body: Bytes) {
    let json = HeaderValue::from_static("application/json");
    let request = client.post(url).header(CONTENT_TYPE, json).body(body);
    let response = request.send().await.expect("the receiver answers");
    assert!(response.status().is_success(), "{}", response.status());
    response.bytes().await.expect("answers are whole");
}
