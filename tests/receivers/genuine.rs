use axum::http::HeaderMap;
use standardwebhooks::Webhook;

/// Tells whether a request is the sender's; `body` is as it came, byte for byte.
pub fn is_genuine(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    Webhook::new(secret).is_ok_and(|webhook| webhook.verify(body, headers).is_ok())
}
