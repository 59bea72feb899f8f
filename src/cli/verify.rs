//! `verify`: whether a request that was received is the sender's, for receivers who look for what is wrong.

use std::io::{Read, Write};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::Failure;
use crate::config::parse_duration;
use crate::domain::signature::{
    Rejected, verify_github, verify_standard, verify_stripe, verify_x_webhook,
};

/// The largest body that is read, in bytes.
const BODY_MAX: u64 = 64 << 20;

/// What was received.
#[derive(Args)]
#[command(after_help = "\
Example:
  kafka-webhooks verify --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw --id evt_1 --timestamp 1736937001 --signature v1,u/jMvEjElnVnk62IqzlV3HmLZGCv2C/KbChLy1lJCHY= < body.json")]
pub struct Verify {
    /// The secret, or one of the secrets, that the sender may have signed with; may be repeated
    #[arg(
        long = "secret",
        env = "KAFKA_WEBHOOKS_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        required = true
    )]
    secrets: Vec<String>,
    /// How the request was signed [default: standard]
    #[arg(long, value_enum)]
    scheme: Option<Scheme>,
    /// The header webhook-id
    #[arg(long, required_unless_present = "scheme", required_if_eq("scheme", "standard"))]
    id: Option<String>,
    /// The header webhook-timestamp
    #[arg(long, required_unless_present = "scheme", required_if_eq("scheme", "standard"))]
    timestamp: Option<String>,
    /// The header of the signature: webhook-signature, x-webhook-signature, x-hub-signature-256, stripe-signature, or
    /// whatever name the sender gives it
    #[arg(long)]
    signature: String,
    /// How old or new the timestamp may be
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    tolerance: Duration,
}

/// How a request was signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Scheme {
    /// Standard Webhooks
    #[default]
    Standard,
    /// Hex HMAC-SHA256 of the body
    XWebhook,
    /// GitHub's
    Github,
    /// Stripe's
    Stripe,
}

/// Reads the body, byte for byte as it was received, and says whether the signature is good.
///
/// # Errors
/// It isn't: the text says why. The process ends with 1.
pub fn run(verify: &Verify, body: &mut impl Read, out: &mut impl Write) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let read = body.take(BODY_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::of(format!("the body can't be read: {error}")))?;
    if bytes.len() as u64 > BODY_MAX {
        return Err(Failure::of("the body is larger than 64 MiB"));
    }
    let now = Timestamp::now();
    let judged = verify.secrets.iter().map(|secret| verify.judge(secret, &bytes, now));
    match judged.reduce(Result::or).expect("clap wants a secret") {
        Ok(()) => Ok(writeln!(out, "verified")?),
        Err(rejected) => Err(Failure::of(format!("rejected: {rejected}"))),
    }
}

impl Verify {
    fn judge(&self, secret: &str, body: &[u8], now: Timestamp) -> Result<(), Rejected> {
        let signature = &self.signature;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        match self.scheme.unwrap_or_default() {
            Scheme::Standard => {
                let (id, timestamp) = (text(&self.id), text(&self.timestamp));
                verify_standard(secret, &id, &timestamp, signature, body, now, self.tolerance)
            }
            Scheme::XWebhook => verify_x_webhook(secret, signature, body),
            Scheme::Github => verify_github(secret, signature, body),
            Scheme::Stripe => verify_stripe(secret, signature, body, now, self.tolerance),
        }
    }
}
