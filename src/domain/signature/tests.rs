use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "hunter2 hunter2";
const PAIR: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const BODY: &[u8] = b"{\"test\": 2432232314}";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn key(secret: &str, expires_at: Option<i64>) -> LiveKey {
    let key = SigningKey::parse(secret).expect("a secret");
    LiveKey { key, expires_at: expires_at.map(at) }
}

fn signing(keys: &[LiveKey], kinds: &[SchemeKind]) -> Signing {
    Signing::new(keys.to_vec(), kinds.iter().copied().map(Scheme::new).collect())
}

fn sign(signing: &Signing, second: i64) -> Vec<(&str, String)> {
    signing.sign(&EventId::new("evt_1"), at(second), BODY).expect("a live key")
}

fn field<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().expect("a text")
}

#[test]
fn published_vectors_are_signed_and_verified() {
    let vectors = include_str!("../../../tests/vectors/signatures.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).expect("JSON");
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let (kind, id) = match field(&vector, "scheme") {
            "github" => (SchemeKind::Github, "evt_1"),
            _ => (SchemeKind::Standard, field(&vector, "id")),
        };
        let (secret, body) = (field(&vector, "secret"), field(&vector, "body"));
        let signing = signing(&[key(secret, None)], &[kind]);
        let second = vector["timestamp"].as_i64().unwrap_or(0);
        let headers = signing.sign(&EventId::new(id), at(second), body.as_bytes());
        let headers = headers.expect("a live key");
        assert_eq!(headers.last().expect("a signature").1, field(&vector, "signature"));
        if kind == SchemeKind::Standard {
            assert_eq!(headers[0], ("webhook-id", id.to_owned()));
            assert_eq!(headers[1], ("webhook-timestamp", second.to_string()));
            for secret in [Some(secret), vector["public"].as_str()].into_iter().flatten() {
                let tolerance = Duration::from_secs(300);
                let (timestamp, list) = (&headers[1].1, field(&vector, "signature"));
                let verified = verify_standard(
                    secret,
                    id,
                    timestamp,
                    list,
                    body.as_bytes(),
                    at(second),
                    tolerance,
                );
                assert_eq!(verified, Ok(()));
            }
        }
    }
}

#[test]
fn every_scheme_writes_its_headers() {
    use SchemeKind::*;
    let signing = signing(&[key(SECRET, None)], &[Standard, XWebhook, Github, Stripe]);
    // Python: hmac.new(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), message, hashlib.sha256)
    let hex = "e2cb4f5251572539d458bfb8a7adb533b08801e6a794467e06f771debbb0818b";
    let expect = [
        ("webhook-id", "evt_1".to_owned()),
        ("webhook-timestamp", "1614265330".to_owned()),
        ("webhook-signature", "v1,VNglSzKmVW9dKxlQPjFTUQAbkWyUaapxKjRuogun9sw=".to_owned()),
        ("x-webhook-signature", hex.to_owned()),
        ("x-hub-signature-256", format!("sha256={hex}")),
        (
            "stripe-signature",
            "t=1614265330,v1=e96203c6de850e7dc1fde7489ef6140b402d3a5a64fe250cd2eef9830fac1cef"
                .to_owned(),
        ),
    ];
    assert_eq!(sign(&signing, 1_614_265_330), expect);
}

#[test]
fn a_scheme_can_write_another_header() {
    let schemes = vec![
        Scheme::with_header(SchemeKind::Standard, "acme-signature".to_owned()),
        Scheme::with_header(SchemeKind::Github, "acme-hash".to_owned()),
    ];
    let written: Vec<_> = schemes.iter().flat_map(Scheme::headers).map(str::to_owned).collect();
    let signing = Signing::new(vec![key(SECRET, None)], schemes.into());
    let signed = sign(&signing, 0);
    let signed: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
    assert_eq!(signed, ["webhook-id", "webhook-timestamp", "acme-signature", "acme-hash"]);
    assert_eq!(written, signed);
}

#[test]
fn every_live_key_signs_newest_first() {
    use SchemeKind::*;
    let keys = [key(PAIR, None), key(OTHER, Some(20)), key(SECRET, Some(10))];
    let both = signing(&keys, &[Standard, XWebhook, Stripe]);
    let alone = |secret, kind| {
        let signing = signing(&[key(secret, None)], &[kind]);
        sign(&signing, 9).pop().expect("a signature").1
    };
    let [pair, other, old] = [PAIR, OTHER, SECRET].map(|secret| alone(secret, Standard));
    let signed = sign(&both, 9);
    assert_eq!(signed[2].1, format!("{pair} {other} {old}"));
    assert_eq!(signed[3].1, alone(OTHER, XWebhook));
    let [newer, older] = [OTHER, SECRET].map(|secret| alone(secret, Stripe));
    assert_eq!(signed[4].1, format!("{newer},{}", older.trim_start_matches("t=9,")));
    assert_eq!(sign(&both, 10)[2].1.split(' ').count(), 2, "a key expires at its time");
}

#[test]
fn a_scheme_without_a_live_key_is_left_out_and_nothing_goes_unsigned() {
    use SchemeKind::*;
    let keys = [key(PAIR, Some(20)), key(SECRET, Some(10))];
    let both = signing(&keys, &[Standard, XWebhook, Github, Stripe]);
    assert_eq!(sign(&both, 9).len(), 6);
    assert_eq!(sign(&both, 10).len(), 3);
    assert_eq!(both.sign(&EventId::new("evt_1"), at(20), BODY), Err(NoLiveKey));
    let hex = signing(&keys, &[XWebhook]);
    assert_eq!(hex.sign(&EventId::new("evt_1"), at(10), BODY), Err(NoLiveKey));
}

#[test]
fn secrets_that_break_their_promise_are_refused_and_not_repeated() {
    let check = |secret: &str, expect: &str| {
        let problem = SigningKey::parse(secret).expect_err("no secret").to_string();
        assert!(problem.contains(expect), "{problem}");
        assert!(secret.len() < 7 || !problem.contains(&secret[6..]), "{problem}");
    };
    check("", "must have 1 to 4096 bytes");
    check(&"x".repeat(4097), "must have 1 to 4096 bytes");
    let (whsec, whsk) = ("base64 of 24 to 64 bytes", "base64 of an Ed25519 seed");
    check("whsec_", whsec);
    check("whsec_hunter2!", whsec);
    check(&format!("whsec_{}", BASE64.encode([7; 23])), whsec);
    check(&format!("whsec_{}", BASE64.encode([7; 65])), whsec);
    check(&format!("whsk_{}", BASE64.encode([7; 31])), whsk);
    check(&format!("whsk_{}", BASE64.encode([7; 64])), whsk);
}

#[test]
fn secrets_may_come_without_padding_and_as_a_seed() {
    use SchemeKind::Standard;
    let signature = |secret: &str| {
        let signing = signing(&[key(secret, None)], &[Standard]);
        sign(&signing, 0).pop().expect("a signature").1
    };
    let whsec = format!("whsec_{}", BASE64.encode([7; 25]));
    assert_eq!(signature(&whsec), signature(whsec.trim_end_matches('=')));
    let seed = BASE64.decode(&PAIR[5..]).expect("base64");
    assert_eq!(signature(PAIR), signature(&format!("whsk_{}", BASE64.encode(&seed[..32]))));
}

#[test]
fn debug_output_shows_no_key() {
    let shown =
        format!("{:?}", signing(&[key(SECRET, None), key(PAIR, None)], &[SchemeKind::Standard]));
    assert!(shown.contains("Hmac(…)") && shown.contains("Ed25519(…)"), "{shown}");
}

fn check_rejected(change: fn(&mut [String; 4]), now: i64, expect: Rejected) {
    let signing = signing(&[key(SECRET, None)], &[SchemeKind::Standard]);
    let signed = sign(&signing, 1000);
    let mut parts = [SECRET, &signed[0].1, &signed[1].1, &signed[2].1].map(str::to_owned);
    change(&mut parts);
    let [secret, id, timestamp, list] = &parts;
    let tolerance = Duration::from_secs(300);
    let verified = verify_standard(secret, id, timestamp, list, BODY, at(now), tolerance);
    assert_eq!(verified, Err(expect));
}

#[test]
fn requests_that_were_changed_or_kept_are_rejected() {
    check_rejected(|[secret, ..]| *secret = OTHER.to_owned(), 1000, Rejected::Signature);
    check_rejected(|[secret, ..]| *secret = PUBLIC.to_owned(), 1000, Rejected::Signature);
    check_rejected(|[_, id, ..]| id.push('x'), 1000, Rejected::Signature);
    check_rejected(
        |[_, _, timestamp, _]| *timestamp = "1001".to_owned(),
        1000,
        Rejected::Signature,
    );
    check_rejected(
        |[_, _, timestamp, _]| *timestamp = "noon".to_owned(),
        1000,
        Rejected::Timestamp,
    );
    check_rejected(|[.., list]| *list = list.replace("v1,", "v2,"), 1000, Rejected::Signature);
    check_rejected(|[.., list]| *list = list.replace("v1,", "v1a,"), 1000, Rejected::Signature);
    check_rejected(|[.., list]| list.clear(), 1000, Rejected::Signature);
    check_rejected(|_| {}, 1301, Rejected::TooOld);
    check_rejected(|_| {}, 699, Rejected::TooNew);
    let bad = BadSecret("must have 1 to 4096 bytes");
    check_rejected(|[secret, ..]| secret.clear(), 1000, Rejected::Secret(bad));
}

#[test]
fn the_plain_scheme_is_verified() {
    let signing = signing(&[key(SECRET, None)], &[SchemeKind::XWebhook]);
    let hex = sign(&signing, 0).pop().expect("a signature").1;
    assert_eq!(verify_x_webhook(SECRET, &hex, BODY), Ok(()));
    assert_eq!(verify_x_webhook(SECRET, &hex.to_uppercase(), BODY), Ok(()));
    for hex in ["", "0", "zz", &hex[2..], &hex.replace(&hex[..2], "+0")] {
        assert_eq!(verify_x_webhook(SECRET, hex, BODY), Err(Rejected::Signature), "{hex}");
    }
    assert_eq!(verify_x_webhook(OTHER, &hex, BODY), Err(Rejected::Signature));
    assert_eq!(verify_x_webhook(PAIR, &hex, BODY), Err(Rejected::Signature));
}

proptest! {
    #[test]
    fn what_is_signed_is_verified_and_nothing_else(
        secret in "[a-zA-Z0-9]{1,80}", id in "[a-z0-9_]{1,20}", second in 0_i64..4_000_000_000,
        body in prop::collection::vec(any::<u8>(), 1..200), flip in any::<prop::sample::Index>(),
    ) {
        use SchemeKind::*;
        let signing = signing(&[key(PAIR, None), key(&secret, None)], &[Standard, XWebhook]);
        let signed = signing.sign(&EventId::new(&id), at(second), &body).expect("a live key");
        let [.., timestamp, list, hex] = &signed[..] else { panic!("four headers") };
        let mut changed = body.clone();
        *flip.get_mut(&mut changed) ^= 1;
        for secret in [&secret, PAIR, PUBLIC] {
            let verify = |body: &[u8]| {
                let tolerance = Duration::ZERO;
                verify_standard(secret, &id, &timestamp.1, &list.1, body, at(second), tolerance)
            };
            prop_assert_eq!(verify(&body), Ok(()));
            prop_assert_eq!(verify(&changed), Err(Rejected::Signature));
        }
        prop_assert_eq!(verify_x_webhook(&secret, &hex.1, &body), Ok(()));
        prop_assert_eq!(verify_x_webhook(&secret, &hex.1, &changed), Err(Rejected::Signature));
    }
}

#[test]
fn the_schemes_of_github_and_stripe_verify_what_they_sign() {
    let keys = [key(SECRET, None), key(OTHER, None)];
    let signing = signing(&keys, &[SchemeKind::Github, SchemeKind::Stripe]);
    let headers = sign(&signing, 1_000);
    let (github, stripe) = (&headers[0].1, &headers[1].1);
    assert_eq!(verify_github(SECRET, github, BODY), Ok(()));
    assert_eq!(verify_github(OTHER, github, BODY), Err(Rejected::Signature));
    assert_eq!(verify_github(SECRET, &github[7..], BODY), Err(Rejected::Signature));
    let check = |secret, header: &str, second, expect| {
        let tolerance = Duration::from_secs(300);
        assert_eq!(verify_stripe(secret, header, BODY, at(second), tolerance), expect, "{header}");
    };
    check(SECRET, stripe, 1_300, Ok(()));
    check(OTHER, stripe, 700, Ok(()));
    check("another", stripe, 1_000, Err(Rejected::Signature));
    check(SECRET, stripe, 1_301, Err(Rejected::TooOld));
    check(SECRET, stripe, 699, Err(Rejected::TooNew));
    check(SECRET, &stripe.replace("t=", "t=0"), 1_000, Err(Rejected::Signature));
    check(SECRET, &stripe[7..], 1_000, Err(Rejected::Timestamp));
    check(SECRET, "", 1_000, Err(Rejected::Timestamp));
    check(SECRET, "t=1000,v1=zz,v1=0", 1_000, Err(Rejected::Signature));
}
