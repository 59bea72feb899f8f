//! Where requests may go.

use super::*;
use crate::domain::egress::Refused;

#[test]
fn egress_is_read_as_people_write_it() {
    let config = accept(
        r#"
        [egress]
        allow = ["10.1.0.0/16", "*.internal"]
        ports = [8443, "9000-9010"]
        proxy = "socks5://user:hunter2@127.0.0.1:1080"
        "#,
        &[("KAFKA_WEBHOOKS__EGRESS__DENY", "10.1.2.0/24, bad.example")],
        &[],
    );
    let judge = |url: &str| {
        let url = url::Url::parse(url).expect("a URL");
        config.egress.rule.judge_url(&url).map_err(|refused| refused.to_string())
    };
    assert_eq!(judge("https://10.1.1.1:9001/"), Ok(()));
    assert_eq!(judge("https://10.1.2.1:9001/"), Err("egress.deny names the host".into()));
    assert_eq!(judge("https://bad.example:8443/"), Err("egress.deny names the host".into()));
    assert_eq!(judge("https://good.example/"), Err("port 443 is not in egress.ports".into()));
    // The proxy is not for subscriptions.
    assert_eq!(judge("https://127.0.0.1:9001/"), Err("egress.deny names the host".into()));
    let shown = format!("{config:?}");
    assert!(shown.contains("socks5://127.0.0.1") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_proxy_is_not_for_subscriptions_however_its_host_is_written() {
    for (proxy, url) in [
        ("http://[2606:2800:21f::8]:3128", "https://[2606:2800:21f:0::8]/"),
        ("socks5://[2606:2800:21f::8]:1080", "https://[2606:2800:21f:0::8]:1080/"),
        ("https://93.184.215.14:3128", "https://93.184.215.14/"),
        ("socks5h://0x5db8d70e:1080", "https://93.184.215.14/"),
        ("http://proxy.example.:3128", "https://PROXY.example/"),
        ("socks5://Proxy.Example:1080", "https://proxy.example./"),
    ] {
        let config = accept("", &[], &[("egress.proxy", proxy)]);
        let url = url::Url::parse(url).expect("a URL");
        let judged = config.egress.rule.judge_url(&url);
        assert_eq!(judged, Err(Refused::Denied), "{proxy}");
    }
}

#[test]
fn ports_below_1024_are_those_of_the_web() {
    let config = accept("", &[], &[]);
    let judge = |port: u16| {
        let url = url::Url::parse(&format!("https://hooks.example.com:{port}/")).expect("a URL");
        config.egress.rule.judge_url(&url)
    };
    for port in [80, 443, 1024, 8080, 65535] {
        assert_eq!(judge(port), Ok(()), "{port}");
    }
    for port in [0, 1, 22, 25, 79, 81, 442, 444, 1023] {
        assert_eq!(judge(port), Err(Refused::Port(port)));
    }
}

#[test]
fn egress_that_means_nothing_for_sure_is_refused() {
    check(
        r#"
        [egress]
        allow = ["10.0.0.1/8", "https://a"]
        ports = [0, "9-8", "https", 70000]
        proxy = "ftp://user:hunter2@127.0.0.1"
        ca_file = "/none"
        "#,
        r#"
        egress.allow[0]: "10.0.0.1/8" must be a block of addresses such as "10.0.0.0/8" or a host such as "hooks.example.com" or "*.example.com"
        egress.allow[1]: "https://a" must be a block of addresses such as "10.0.0.0/8" or a host such as "hooks.example.com" or "*.example.com"
        egress.ports[0]: must be a port such as 443, or a range such as "1024-65535"
        egress.ports[1]: must be a port such as 443, or a range such as "1024-65535"
        egress.ports[2]: must be a port such as 443, or a range such as "1024-65535"
        egress.ports[3]: must be a port such as 443, or a range such as "1024-65535"
        egress.proxy: must be a URL such as "http://proxy.example.com:3128" or "socks5://127.0.0.1:1080"
        egress.ca_file: "/none" can't be read: No such file or directory (os error 2)
        "#,
    );
    check(
        "[egress]\nallow_http = true\nproxy = \"http://proxy:3128\"\nca_file = \"Cargo.toml\"",
        r#"
        egress.ca_file: "Cargo.toml" holds no certificate in PEM
        "#,
    );
    for proxy in ["socks5://a b:1080", "socks5://a%00b:1080", "socks5://1.2.3.4.5:1080"] {
        check(
            &format!("[egress]\nproxy = {proxy:?}"),
            r#"
            egress.proxy: must be a URL such as "http://proxy.example.com:3128" or "socks5://127.0.0.1:1080"
            "#,
        );
    }
    check(
        "[egress]\nallow_http = true\nproxy = \"http://proxy:3128\"",
        r#"
        egress.proxy: an HTTP proxy takes https: URLs only: set egress.allow_http to false, or use socks5:
        "#,
    );
}
