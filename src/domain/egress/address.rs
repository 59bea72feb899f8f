//! Addresses that are no receiver's: the IANA special-purpose registries for IPv4 and IPv6, multicast, and what is
//! reserved. What stands in the registries is refused also where they call it globally reachable: it is infrastructure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4: first address, bits of the prefix, what it is.
const V4: [(Ipv4Addr, u32, &str); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by carriers (CGNAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "for protocols"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Blocks of IPv6, in the order in which they are asked: the first that holds an address says what it is.
const V6: [(Ipv6Addr, u32, &str); 18] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (COMPATIBLE, 96, "IPv4-compatible"),
    (MAPPED, 96, "IPv4-mapped"),
    (TRANSLATED, 96, "IPv4-translated"),
    (NAT64, 96, "NAT64"),
    (NAT64_LOCAL, 48, "NAT64"),
    (v6(0x100, 0, 0), 64, "discarded"),
    (TEREDO, 32, "Teredo"),
    (v6(0x2001, 0, 0), 23, "for protocols"),
    (v6(0x2001, 0xdb8, 0), 32, "documentation"),
    (SIX_TO_FOUR, 16, "6to4"),
    (v6(0x2620, 0x4f, 0x8000), 48, "for protocols"),
    (v6(0x3fff, 0, 0), 20, "documentation"),
    (v6(0xfc00, 0, 0), 7, "private"),
    (v6(0xfe80, 0, 0), 10, "link-local"),
    (v6(0xfec0, 0, 0), 10, "site-local"),
    (v6(0xff00, 0, 0), 8, "multicast"),
];

/// RFC 4291, section 2.5.5.1.
const COMPATIBLE: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
/// RFC 4291, section 2.5.5.2.
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
/// RFC 2765, section 2.1.
const TRANSLATED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0);
/// RFC 6052, section 2.1.
const NAT64: Ipv6Addr = v6(0x64, 0xff9b, 0);
/// RFC 8215; read as a prefix of 96 bits, as deployments use it.
const NAT64_LOCAL: Ipv6Addr = v6(0x64, 0xff9b, 1);
/// RFC 4380, section 4.
const TEREDO: Ipv6Addr = v6(0x2001, 0, 0);
/// RFC 3056, section 2.
const SIX_TO_FOUR: Ipv6Addr = v6(0x2002, 0, 0);

/// All that is allocated for unicast; the rest of IPv6 is reserved.
const GLOBAL_UNICAST: Ipv6Addr = v6(0x2000, 0, 0);

const fn v6(first: u16, second: u16, third: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0)
}

/// Returns what an address is if it is no ordinary one.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let block = V4.iter().find(|(base, bits, _)| holds_v4(*base, *bits, address));
            block.map(|(_, _, kind)| *kind)
        }
        IpAddr::V6(address) => {
            let block = V6.iter().find(|(base, bits, _)| holds_v6(*base, *bits, address));
            let rest = || (!holds_v6(GLOBAL_UNICAST, 3, address)).then_some("reserved");
            block
                .map(|(_, _, kind)| *kind)
                .or_else(rest)
                .or_else(|| is_isatap(address).then_some("ISATAP"))
        }
    }
}

/// Returns the addresses of IPv4 that one of IPv6 carries: to call it may be to call them.
pub(super) fn carried(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let found = match address {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(address) => carried_v6(address),
    };
    found.into_iter().flatten().map(IpAddr::V4)
}

fn carried_v6(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bytes = address.octets();
    let at = |from: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|next| bytes[from + next]);
        Ipv4Addr::new(a, b, c, d)
    };
    let is_in = |base, bits| holds_v6(base, bits, address);
    if address == Ipv6Addr::UNSPECIFIED || address == Ipv6Addr::LOCALHOST {
        [None, None]
    } else if [COMPATIBLE, MAPPED, TRANSLATED, NAT64].into_iter().any(|base| is_in(base, 96))
        || is_in(NAT64_LOCAL, 48)
        || is_isatap(address)
    {
        [Some(at(12)), None]
    } else if is_in(SIX_TO_FOUR, 16) {
        [Some(at(2)), None]
    } else if is_in(TEREDO, 32) {
        // The server, and the client with all bits turned.
        [Some(at(4)), Some(Ipv4Addr::from_bits(!at(12).to_bits()))]
    } else {
        [None, None]
    }
}

/// RFC 5214, section 6.1.
fn is_isatap(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, _, _])
}

fn holds_v4(base: Ipv4Addr, bits: u32, address: Ipv4Addr) -> bool {
    (base.to_bits() ^ address.to_bits()).leading_zeros() >= bits
}

fn holds_v6(base: Ipv6Addr, bits: u32, address: Ipv6Addr) -> bool {
    (base.to_bits() ^ address.to_bits()).leading_zeros() >= bits
}
