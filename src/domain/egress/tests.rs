use std::collections::BTreeSet;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

const PUBLIC: [&str; 2] = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"];

fn entries(texts: &[&str]) -> Vec<Entry> {
    texts.iter().map(|text| text.parse().expect("an entry")).collect()
}

fn rule(allow: &[&str], deny: &[&str]) -> Egress {
    Egress::new(entries(allow), entries(deny), vec![80..=80, 443..=443, 1024..=u16::MAX])
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn judge(rule: &Egress, url: &str) -> Result<(), String> {
    let url = Url::parse(url).expect("a URL");
    rule.judge_url(&url).map_err(|refused| refused.to_string())
}

fn check_refused(url: &str, words: &str) {
    let judged = judge(&rule(&[], &[]), url);
    assert!(judged.as_ref().is_err_and(|refused| refused.contains(words)), "{url}: {judged:?}");
}

fn check_address(allow: &[&str], deny: &[&str], text: &str, expect: Result<(), Refused>) {
    let judged = rule(allow, deny).judge_answers("example.com", [address(text)]);
    assert_eq!(judged, expect, "{text}, allowed {allow:?}, denied {deny:?}");
}

#[test]
fn ipv4_is_refused_in_every_spelling() {
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.01",
        "0x7F.0x0.0x0.0x1",
        "%31%32%37.0.0.1",
        "１２７。０。０。１",
        "①②⑦.0.0.1",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
    ] {
        check_refused(&format!("https://{host}/"), "loopback");
    }
    check_refused("https://10.0.0.1/", "private");
    check_refused("https://169.254.169.254/latest", "link-local");
    check_refused("https://0/", "this network");
}

#[test]
fn ipv4_in_ipv6_is_refused_in_every_form() {
    for (host, kind) in [
        ("::ffff:93.184.215.14", "IPv4-mapped"),
        ("::ffff:7f00:1", "IPv4-mapped"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::ffff:0:127.0.0.1", "IPv4-translated"),
        ("64:ff9b::7f00:1", "NAT64"),
        ("64:ff9b:1::a00:1", "NAT64"),
        ("2002:7f00:1::", "6to4"),
        ("2001:0:7f00:1::", "Teredo"),
        ("2606:4700::5efe:7f00:1", "ISATAP"),
        ("2606:4700::200:5efe:a00:1", "ISATAP"),
        ("::1", "loopback"),
        ("::", "unspecified"),
        ("fe80::1", "link-local"),
        ("fd00::1", "private"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
    ] {
        check_refused(&format!("https://[{host}]/"), kind);
    }
}

#[test]
fn zone_ids_are_no_urls() {
    for url in ["https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1%251]/"] {
        assert!(Url::parse(url).is_err(), "{url}");
    }
}

#[test]
fn what_is_public_passes() {
    for host in
        ["example.com", "bücher.example", "93.184.215.14", "[2606:4700::1111]", "localhost.example"]
    {
        assert_eq!(judge(&rule(&[], &[]), &format!("https://{host}/")), Ok(()), "{host}");
    }
}

#[test]
fn ports_are_limited() {
    for (port, passes) in [
        (80, true),
        (443, true),
        (1024, true),
        (65535, true),
        (22, false),
        (25, false),
        (1023, false),
        (0, false),
    ] {
        let judged = judge(&rule(&[], &[]), &format!("https://example.com:{port}/"));
        assert_eq!(judged.is_ok(), passes, "{port}: {judged:?}");
    }
    check_refused("https://example.com:6/", "port 6 is not in egress.ports");
}

#[test]
fn every_address_of_a_name_must_pass() {
    let judge = |addresses: &[&str]| {
        rule(&[], &[]).judge_answers("example.com", addresses.iter().map(|text| address(text)))
    };
    assert_eq!(judge(&PUBLIC), Ok(()));
    assert_eq!(judge(&[PUBLIC[0], PUBLIC[1], "10.0.0.1"]), Err(Refused::Special("private")));
    assert_eq!(judge(&["127.0.0.1", PUBLIC[0]]), Err(Refused::Special("loopback")));
    assert_eq!(judge(&[]), Err(Refused::NoAddress));
}

#[test]
fn what_is_allowed_passes_and_nothing_beside_it() {
    check_address(&["10.1.0.0/16"], &[], "10.1.2.3", Ok(()));
    check_address(&["10.1.0.0/16"], &[], "10.2.2.3", Err(Refused::Special("private")));
    check_address(&["127.0.0.1"], &[], "127.0.0.1", Ok(()));
    check_address(&["127.0.0.1"], &[], "::ffff:127.0.0.1", Err(Refused::Special("IPv4-mapped")));
    check_address(&["::1/128"], &[], "::1", Ok(()));
    check_address(&["fd00:1::/32"], &[], "fd00:1::9", Ok(()));
    check_address(&["example.com"], &[], "10.2.2.3", Ok(()));
    check_address(&["*.example.com"], &[], "10.2.2.3", Err(Refused::Special("private")));
    let below = rule(&["*.Bücher.example"], &[]);
    assert_eq!(below.judge_answers("a.b.xn--bcher-kva.example.", [address("10.0.0.1")]), Ok(()));
    assert!(below.judge_answers("evilxn--bcher-kva.example", [address("10.0.0.1")]).is_err());
}

#[test]
fn an_allowed_translator_leads_to_public_addresses_only() {
    check_address(&["64:ff9b::/96"], &[], "64:ff9b::5db8:d70e", Ok(()));
    check_address(&["64:ff9b::/96"], &[], "64:ff9b::a00:1", Err(Refused::Special("private")));
    check_address(&["64:ff9b::/96", "10.0.0.0/8"], &[], "64:ff9b::a00:1", Ok(()));
    check_address(&["2002::/16"], &[], "2002:a00:1::", Err(Refused::Special("private")));
    check_address(
        &["2001::/32"],
        &[],
        "2001:0:5db8:d70e::f5ff:fffe",
        Err(Refused::Special("private")),
    );
}

#[test]
fn what_is_denied_is_refused_in_every_form_whatever_is_allowed() {
    let denied = Err(Refused::Denied);
    let everything = ["0.0.0.0/0", "::/0", "example.com"];
    for text in ["93.184.215.14", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e", "2002:5db8:d70e::1"]
    {
        check_address(&everything, &["93.184.0.0/16"], text, denied);
    }
    check_address(&everything, &["93.184.0.0/16"], "93.185.215.14", Ok(()));
    check_address(&everything, &["Example.com."], PUBLIC[0], denied);
    assert!(judge(&rule(&[], &["*.example.com"]), "https://a.example.com./").is_err());
    assert!(judge(&rule(&[], &["93.184.0.0/16"]), "https://93.184.0.1/").is_err());
}

#[test]
fn entries_that_name_nothing_for_sure_are_refused() {
    for text in [
        "",
        "*",
        "*.",
        "*.*.com",
        "a.*.com",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0",
        "0x7f.1",
        "a b",
        "https://a",
        "a:80",
        "user@a",
        "a/b",
        ".",
        "[::1]",
    ] {
        assert_eq!(text.parse::<Entry>(), Err(BadEntry), "{text:?}");
    }
}

/// The blocks of a registry, as its first column names them.
fn registry(table: &str) -> Vec<IpNet> {
    let rows = table.lines().skip(1);
    let blocks = rows.map(|row| row.split(',').next().expect("a column").parse());
    blocks.map(|block| block.expect("a block")).collect()
}

fn registries() -> [Vec<IpNet>; 2] {
    [
        registry(include_str!("../../../tests/vectors/iana-ipv4-special.csv")),
        registry(include_str!("../../../tests/vectors/iana-ipv6-special.csv")),
    ]
}

/// Says by the registries, and nothing of this module's, whether an address is an ordinary one.
fn is_ordinary(address: IpAddr, registries: &[Vec<IpNet>; 2]) -> bool {
    let is_registered = registries.iter().flatten().any(|block| block.contains(&address));
    let is_unicast = match address {
        IpAddr::V4(address) => !address.is_multicast(),
        IpAddr::V6(address) => {
            let identifier = (address.to_bits() >> 32) & 0xfdff_ffff;
            address.segments()[0] >> 13 == 1 && identifier != 0x5efe
        }
    };
    !is_registered && is_unicast
}

fn check_by_registries(address: IpAddr, registries: &[Vec<IpNet>; 2]) {
    let passes = rule(&[], &[]).judge_answers("example.com", [address]).is_ok();
    assert_eq!(passes, is_ordinary(address, registries), "{address}");
}

#[test]
fn the_edges_of_every_registered_block_are_judged_as_registered() {
    let registries = registries();
    assert_eq!(registries.each_ref().map(Vec::len), [26, 25]);
    let mut kinds = BTreeSet::new();
    for block in registries.iter().flatten() {
        let (first, last) = (block.network(), block.broadcast());
        let beside: [Option<IpAddr>; 2] = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => [
                first.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
                last.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
            ],
            (IpAddr::V6(first), IpAddr::V6(last)) => [
                first.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
                last.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
            ],
            _ => unreachable!("a block is of one family"),
        };
        for address in [first, last].into_iter().chain(beside.into_iter().flatten()) {
            check_by_registries(address, &registries);
        }
        kinds.insert(special(first).expect("registered"));
    }
    assert!(kinds.len() > 12, "{kinds:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn all_of_ipv4_is_judged_as_registered(bits: u32) {
        check_by_registries(Ipv4Addr::from_bits(bits).into(), &registries());
    }

    #[test]
    fn all_of_ipv6_is_judged_as_registered(bits: u128) {
        check_by_registries(Ipv6Addr::from_bits(bits).into(), &registries());
        // Half of all that is random would be reserved: global unicast, too.
        let global = (bits >> 3) | (1 << 125);
        check_by_registries(Ipv6Addr::from_bits(global).into(), &registries());
    }

    #[test]
    fn whatever_carries_a_refused_address_is_refused(bits: u32, at in 0_usize..26) {
        let block = registries()[0][at];
        let IpNet::V4(block) = block else { unreachable!("a block of IPv4") };
        let inner = (bits & u32::from(block.hostmask())) | u32::from(block.network());
        let inner = u128::from(inner);
        let translators = ["::/96", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2001::/32"];
        let rule = rule(&translators, &[]);
        let forms = [
            inner, 0xffff << 32 | inner, 0x64_ff9b << 96 | inner, 0x2002 << 112 | inner << 80,
            0x2001 << 112 | inner << 64, 0x2001 << 112 | (0x5db8_d70e << 64) | (inner ^ 0xffff_ffff),
        ];
        for form in forms.into_iter().filter(|form| *form > 1) {
            let address = IpAddr::V6(Ipv6Addr::from_bits(form));
            prop_assert!(rule.judge_answers("example.com", [address]).is_err(), "{}", address);
        }
    }
}
