//! `listen`: a local endpoint that takes webhooks, verifies them, tells of each, and answers as it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use url::form_urlencoded;

use super::Failure;
use crate::config::parse_duration;
use crate::domain::signature::{Scheme, SchemeKind};
use crate::receiver::{self, Received, Reply, Signature, Verifier};

/// What the endpoint is like.
#[derive(Args)]
#[command(after_help = "\
A request says by its query how it is answered, over the flags: ?status=503, ?fail=2, ?delay=3s, ?hang, ?redirect=URL,
?retry-after=5.

Example:
  kafka-webhooks listen --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw --bodies --fail 2")]
pub struct Listen {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    address: SocketAddr,
    /// A secret to verify signatures with, or the public key; may be repeated. Without it none is verified
    #[arg(
        long = "secret",
        env = "KAFKA_WEBHOOKS_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    secrets: Vec<String>,
    /// The header that a scheme's signature stands in if the sender gives it a name of its own, such as
    /// stripe=acme-signature; may be repeated. The schemes are standard, x-webhook, github and stripe
    #[arg(long = "signature-header", value_name = "SCHEME=NAME", value_parser = scheme)]
    schemes: Vec<Scheme>,
    /// Print bodies as well
    #[arg(long)]
    bodies: bool,
    #[command(flatten)]
    manners: Manners,
}

/// How the endpoint answers.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
struct Manners {
    /// The status that it answers, such as 410 or 429
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
    /// How many attempts of each delivery are answered 503 first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    fail: u32,
    /// How long it waits before it answers
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    delay: Duration,
    /// Never answer
    #[arg(long)]
    hang: bool,
    /// Answer 307, and this URL as the place to go
    #[arg(long, value_name = "URL", value_parser = location)]
    redirect: Option<HeaderValue>,
    /// How many seconds it asks to be left alone
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
}

fn location(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "can't stand in a header".to_owned())
}

/// Reads a scheme and the name of its header.
fn scheme(text: &str) -> Result<Scheme, String> {
    let (kind, name) = text.split_once('=').unwrap_or((text, ""));
    let kind = SchemeKind::named(kind)
        .ok_or_else(|| format!("must begin with one of {} and `=`", SchemeKind::NAMES))?;
    let name = name.parse::<HeaderName>().map_err(|_| "must have a header's name behind `=`")?;
    Ok(Scheme::with_header(kind, name.as_str().to_owned()))
}

/// Listens until the process ends.
///
/// # Errors
/// The address can't be had.
pub fn run(listen: &Listen) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(|error| Failure::of(format!("no runtime: {error}")))?;
    let failed = |error| Failure::of(format!("can't listen on {}: {error}", listen.address));
    let listener = runtime.block_on(TcpListener::bind(listen.address)).map_err(failed)?;
    println!("listening on http://{}", listener.local_addr().map_err(failed)?);
    let (manners, bodies) = (listen.manners.clone(), listen.bodies);
    let answer = move |received: &Received| {
        let reply = manners.adjusted(&received.query).reply(received.attempt);
        println!("{}", line(received, &reply));
        if bodies {
            println!("{}", String::from_utf8_lossy(&received.body));
        }
        reply
    };
    let verifier = listen.verifier();
    runtime.block_on(receiver::serve(listener, verifier, Arc::new(answer))).map_err(failed)
}

impl Listen {
    fn verifier(&self) -> Verifier {
        Verifier { secrets: self.secrets.clone(), schemes: self.schemes.clone() }
    }
}

impl Manners {
    /// Returns the manners that a request asks for by its query; what can't be read there asks for nothing.
    fn adjusted(&self, query: &str) -> Self {
        let mut manners = self.clone();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "status" => {
                    let status = value.parse().ok().filter(|status| (200..600).contains(status));
                    manners.status = status.unwrap_or(manners.status);
                }
                "fail" => manners.fail = value.parse().unwrap_or(manners.fail),
                "delay" => manners.delay = parse_duration(&value).unwrap_or(manners.delay),
                "hang" => manners.hang = value != "false",
                "redirect" => manners.redirect = location(&value).ok().or(manners.redirect),
                "retry-after" => manners.retry_after = value.parse().ok().or(manners.retry_after),
                _ => {}
            }
        }
        manners
    }

    /// Returns the answer to an attempt.
    fn reply(&self, attempt: u32) -> Reply {
        let mut headers = Vec::new();
        headers.extend(self.redirect.clone().map(|place| (LOCATION, place)));
        headers.extend(self.retry_after.map(|seconds| (RETRY_AFTER, seconds.into())));
        let status = match () {
            () if attempt <= self.fail && self.fail > 0 => StatusCode::SERVICE_UNAVAILABLE,
            () if self.redirect.is_some() => StatusCode::TEMPORARY_REDIRECT,
            () => StatusCode::from_u16(self.status).expect("it is kept from 200 to 599"),
        };
        Reply { status, after: (!self.hang).then_some(self.delay), headers }
    }
}

fn line(received: &Received, reply: &Reply) -> String {
    let Received { path, id, event_type, attempt, signature, body, .. } = received;
    let told = match reply.after {
        None => "nothing".to_owned(),
        Some(_) => reply.status.as_u16().to_string(),
    };
    let (signature, told) = match signature {
        Signature::Verified => ("verified".to_owned(), told),
        Signature::Unchecked => ("not checked".to_owned(), told),
        Signature::Rejected(why) => (format!("rejected ({why})"), "401".to_owned()),
    };
    let size = body.len();
    format!(
        "{path} {id} {event_type} attempt {attempt}, {size} bytes, signature {signature} -> {told}"
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use clap::Parser;
    use jiff::Timestamp;

    use super::*;
    use crate::domain::event::EventId;
    use crate::domain::signature::{LiveKey, Signing, SigningKey};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        listen: Listen,
    }

    fn check(flags: &[&str], query: &str, attempt: u32, expect: &str) {
        let line = Line::try_parse_from([&["listen"], flags].concat()).expect("the usage is right");
        let reply = line.listen.manners.adjusted(query).reply(attempt);
        let headers = reply.headers.iter().map(|(name, value)| format!(" {name}: {value:?}"));
        let found =
            format!("{} {:?}{}", reply.status.as_u16(), reply.after, headers.collect::<String>());
        assert_eq!(found, expect, "{flags:?} {query}");
    }

    #[test]
    fn it_answers_as_flags_and_queries_say() {
        check(&[], "", 1, "200 Some(0ns)");
        check(&["--status", "410"], "", 1, "410 Some(0ns)");
        check(&["--status", "410", "--delay", "2s"], "status=204", 1, "204 Some(2s)");
        check(&["--fail", "2"], "", 2, "503 Some(0ns)");
        check(&["--fail", "2"], "", 3, "200 Some(0ns)");
        check(&[], "fail=1&retry-after=7", 1, "503 Some(0ns) retry-after: \"7\"");
        check(&["--hang"], "", 1, "200 None");
        check(&["--hang"], "hang=false", 1, "200 Some(0ns)");
        check(&[], "hang", 1, "200 None");
        check(&[], "redirect=http://a/", 1, "307 Some(0ns) location: \"http://a/\"");
        check(&[], "status=99&delay=soon&retry-after=x&other=1", 1, "200 Some(0ns)");
    }

    /// Checks what is said of a request that is signed in these schemes, by an endpoint with these flags.
    fn check_signature(schemes: &[Scheme], flags: &[&str], expect: &str) {
        let flags = [&["listen", "--secret", "hunter2"], flags].concat();
        let line = Line::try_parse_from(flags).expect("the usage is right");
        let key = SigningKey::parse("hunter2").expect("a secret");
        let signing =
            Signing::new(vec![LiveKey { key, expires_at: None }], schemes.to_vec().into());
        let now = Timestamp::constant(1_736_937_000, 0);
        let signed = signing.sign(&EventId::new("evt_1"), now, b"{}").expect("a live key");
        let headers: HeaderMap = signed
            .into_iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect::<Vec<(HeaderName, HeaderValue)>>()
            .into_iter()
            .collect();
        let said = match line.listen.verifier().verify(&headers, b"{}", now) {
            Signature::Verified => "verified".to_owned(),
            Signature::Unchecked => "not checked".to_owned(),
            Signature::Rejected(why) => why.to_string(),
        };
        assert_eq!(said, expect, "{schemes:?}");
    }

    #[test]
    fn it_finds_signatures_in_headers_of_the_senders_own() {
        for kind in SchemeKind::ALL {
            check_signature(&[Scheme::new(kind)], &[], "verified");
            let own = Scheme::with_header(kind, "acme-signature".to_owned());
            check_signature(std::slice::from_ref(&own), &[], "no signature matches");
            let named = SCHEMES.iter().find(|(known, _)| *known == kind).expect("all are there").1;
            let flags = ["--signature-header", "github=other", "--signature-header", named];
            check_signature(std::slice::from_ref(&own), &flags, "verified");
            // The usual headers are still looked for.
            check_signature(&[Scheme::new(kind)], &flags, "verified");
        }
    }

    const SCHEMES: [(SchemeKind, &str); 4] = [
        (SchemeKind::Standard, "standard=acme-signature"),
        (SchemeKind::XWebhook, "x-webhook=Acme-Signature"),
        (SchemeKind::Github, "github=acme-signature"),
        (SchemeKind::Stripe, "stripe=ACME-SIGNATURE"),
    ];

    #[test]
    fn a_signature_header_without_scheme_or_name_is_refused() {
        for text in ["acme-signature", "paypal=acme-signature", "stripe", "stripe=", "stripe=a b"] {
            let parsed = Line::try_parse_from(["listen", "--signature-header", text]);
            assert!(parsed.is_err(), "{text}");
        }
    }
}
