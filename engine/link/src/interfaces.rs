//! The interfaces and routes of the calling thread's network namespace, as the kernel has them.
//!
//! Only looks, changes nothing. Interfaces come from `getifaddrs` (through pnet), routes from the kernel's main
//! tables as text; rules that choose between tables (`ip rule`) are not followed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_wire::MacAddr;

use crate::ifreq::Interrogator;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's number of it.
    pub index: u32,
    /// Its Ethernet address; `None` where frames have none (tunnels).
    pub mac: Option<MacAddr>,
    /// Its addresses, each with the length of its prefix in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest packet in bytes, Ethernet header not counted; `None` if it is gone by now.
    pub mtu: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// Up with a carrier: frames can pass.
    pub running: bool,
    /// The loopback interface.
    pub loopback: bool,
}

/// A route of the kernel's main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network it leads to.
    pub destination: IpAddr,
    /// Length of the network's prefix in bits; 0 for a default route.
    pub prefix: u8,
    /// Next hop; `None` when the network is on the link.
    pub gateway: Option<IpAddr>,
    /// Interface that packets leave by.
    pub interface: String,
    /// Among routes to the same network the lowest wins.
    pub metric: u32,
}

/// All interfaces, in the kernel's order.
pub fn interfaces() -> Vec<Interface> {
    let ask = Interrogator::new().ok();
    let describe = |found: pnet::datalink::NetworkInterface| Interface {
        index: found.index,
        mac: ethernet_address(ask.as_ref(), &found),
        addresses: found
            .ips
            .iter()
            .map(|network| (network.ip(), network.prefix()))
            .collect(),
        mtu: ask.as_ref().and_then(|ask| ask.mtu(&found.name).ok()),
        up: found.is_up(),
        running: found.is_running(),
        loopback: found.is_loopback(),
        name: found.name,
    };
    pnet::datalink::interfaces()
        .into_iter()
        .map(describe)
        .collect()
}

/// The routes of both families; unreachable and prohibited networks left out.
///
/// # Errors
/// When `/proc` is not there.
pub fn routes() -> io::Result<Vec<Route>> {
    // Of the thread, not the process: namespaces are a thread's.
    let mut found = parse_ipv4_routes(&std::fs::read_to_string("/proc/thread-self/net/route")?);
    // Absent when the kernel was started without IPv6.
    match std::fs::read_to_string("/proc/thread-self/net/ipv6_route") {
        Ok(text) => found.extend(parse_ipv6_routes(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// The route that packets to `address` take: the longest prefix, of those the lowest metric.
pub fn route_to(routes: &[Route], address: IpAddr) -> Option<&Route> {
    routes
        .iter()
        .filter(|route| route.contains(address))
        .min_by_key(|route| (std::cmp::Reverse(route.prefix), route.metric))
}

impl Route {
    /// True if `address` is in the network that the route leads to.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.destination, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let ignored = 32 - u32::from(self.prefix.min(32));
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(ignored).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let ignored = 128 - u32::from(self.prefix.min(128));
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(ignored).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

// Flags of linux/route.h.
const RTF_UP: u32 = 0x1;
const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x200;
/// The kernel's own addresses, which it lists among IPv6 routes (linux/ipv6_route.h).
const RTF_LOCAL: u32 = 0x8000_0000;

/// Reads `/proc/net/route`; lines of another shape are left out.
fn parse_ipv4_routes(text: &str) -> Vec<Route> {
    text.lines().skip(1).filter_map(ipv4_route).collect()
}

/// Interface, destination, gateway, flags, two counts, metric, mask: numbers in hexadecimal but for the counts and
/// the metric, addresses as the machine's integers.
fn ipv4_route(line: &str) -> Option<Route> {
    let mut fields = line.split_ascii_whitespace();
    let interface = fields.next()?.to_owned();
    let mut address = || {
        let number = u32::from_str_radix(fields.next()?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    let destination = address()?;
    let gateway = address()?;
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let metric = fields.nth(2)?.parse().ok()?;
    let mask = u32::from_str_radix(fields.next()?, 16).ok()?;
    usable(flags).then(|| Route {
        destination: destination.into(),
        prefix: mask.count_ones() as u8,
        gateway: (flags & RTF_GATEWAY != 0).then_some(gateway.into()),
        interface,
        metric,
    })
}

/// Reads `/proc/net/ipv6_route`; lines of another shape are left out.
fn parse_ipv6_routes(text: &str) -> Vec<Route> {
    text.lines().filter_map(ipv6_route).collect()
}

/// Destination, its prefix, source, its prefix, next hop, metric, two counts, flags, interface: all numbers
/// in hexadecimal, addresses in network order.
fn ipv6_route(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [
        destination,
        prefix,
        _,
        _,
        gateway,
        metric,
        _,
        _,
        flags,
        interface,
    ] = fields[..]
    else {
        return None;
    };
    let address = |field: &str| Some(Ipv6Addr::from(u128::from_str_radix(field, 16).ok()?));
    let destination = address(destination)?;
    let gateway = address(gateway)?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let prefix = u8::from_str_radix(prefix, 16).ok()?;
    let multicast = destination.is_multicast() && prefix >= 8;
    (usable(flags) && flags & RTF_LOCAL == 0 && !multicast).then_some(Route {
        destination: destination.into(),
        prefix,
        gateway: (flags & RTF_GATEWAY != 0).then_some(gateway.into()),
        interface: interface.to_owned(),
        metric: u32::from_str_radix(metric, 16).ok()?,
    })
}

fn usable(flags: u32) -> bool {
    flags & RTF_UP != 0 && flags & RTF_REJECT == 0
}

/// pnet gives every link-layer address as a MAC address; only Ethernet's is one.
fn ethernet_address(
    ask: Option<&Interrogator>,
    found: &pnet::datalink::NetworkInterface,
) -> Option<MacAddr> {
    let address = ask?.hardware_address(&found.name).ok()?;
    address.is_ethernet().then_some(address.mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t00000000\t016433C6\t0003\t0\t0\t200\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth1\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0000000A\t00000000\t0201\t0\t0\t0\t000000FF\t0\t0\t0
eth0\tnonsense
";

    const IPV6: &str = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
20010db8000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     eth0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
short line
";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // The text is as a little-endian kernel writes it; on a big-endian machine it would be other text.
    #[cfg(target_endian = "little")]
    #[test]
    fn ipv4_routes_are_read() {
        let routes = parse_ipv4_routes(IPV4);
        assert_eq!(routes.len(), 4, "{routes:?}");
        assert_eq!(
            routes[0],
            Route {
                destination: ip("0.0.0.0"),
                prefix: 0,
                gateway: Some(ip("192.0.2.1")),
                interface: "eth0".into(),
                metric: 100,
            }
        );
        let to = |text: &str| route_to(&routes, ip(text)).unwrap();
        assert_eq!(to("192.0.2.9").gateway, None);
        assert_eq!(to("198.51.100.255").interface, "eth1");
        assert_eq!(
            to("203.0.113.1").gateway,
            Some(ip("192.0.2.1")),
            "the lower metric"
        );
        assert_eq!(route_to(&routes, ip("2001:db8::1")), None, "another family");
    }

    #[test]
    fn ipv6_routes_are_read_without_addresses_multicast_and_rejects() {
        let routes = parse_ipv6_routes(IPV6);
        assert_eq!(routes.len(), 3, "{routes:?}");
        let to = |text: &str| route_to(&routes, ip(text)).unwrap();
        assert_eq!(to("2001:db8::9").gateway, None);
        assert_eq!(to("2001:db8:1::9").gateway, Some(ip("fe80::1")));
        assert_eq!(
            (to("2001:db8::9").prefix, to("2001:db8::9").metric),
            (64, 256)
        );
    }

    #[test]
    fn every_prefix_holds_its_ends_and_no_neighbour() {
        let base = Ipv4Addr::new(10, 0, 0, 0).to_bits();
        for prefix in 1..=32 {
            let size = 1_u64 << (32 - prefix);
            let first = base & (u32::MAX << (32 - prefix));
            let route = Route {
                destination: Ipv4Addr::from_bits(first).into(),
                prefix: prefix as u8,
                gateway: None,
                interface: "eth0".into(),
                metric: 0,
            };
            let holds = |address: u32| route.contains(Ipv4Addr::from_bits(address).into());
            assert!(holds(first) && holds((u64::from(first) + size - 1) as u32));
            assert!(!holds((u64::from(first) + size) as u32), "/{prefix}");
            assert!(!holds(first.wrapping_sub(1)), "/{prefix}");
        }
    }

    #[test]
    fn the_machine_has_a_loopback_interface() {
        let all = interfaces();
        let lo = all
            .iter()
            .find(|interface| interface.loopback)
            .expect("every namespace has lo");
        assert!(lo.index > 0 && lo.mtu.is_some());
        routes().expect("/proc is mounted wherever tests run");
    }
}
