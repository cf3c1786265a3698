//! What the LAN interface looks like now.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::ifaddrs::getifaddrs;

/// An interface as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lan {
    /// Its name.
    pub interface: String,
    /// Its first IPv4 address, else its first IPv6 address that is not link-local.
    pub address: Option<IpAddr>,
    /// Its MAC address, `02:00:00:00:00:01`.
    pub mac: Option<String>,
    /// A cable is in, or its like.
    pub carrier: bool,
    /// Where its IPv4 default route leads.
    pub gateway: Option<Ipv4Addr>,
    /// Its first IPv6 address that is not link-local, and the length of its prefix.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Where its IPv6 default route leads.
    pub ipv6_gateway: Option<Ipv6Addr>,
}

/// Looks at `interface`, or, without one, at that of the IPv4 default route, or else at the first that is no
/// loopback. `None` if there is no such interface.
pub fn observe(interface: Option<&str>) -> Option<Lan> {
    let name = match interface {
        Some(name) => name.to_owned(),
        None => default_interface()?,
    };
    let carrier = std::fs::read_to_string(Path::new("/sys/class/net").join(&name).join("carrier"));
    let mut lan = Lan {
        interface: name,
        carrier: carrier.is_ok_and(|text| text.trim() == "1"),
        ..Lan::default()
    };
    let mut found = false;
    for entry in getifaddrs()
        .ok()?
        .filter(|entry| entry.interface_name == lan.interface)
    {
        found = true;
        let Some(address) = entry.address else {
            continue;
        };
        if let Some(link) = address.as_link_addr() {
            lan.mac = link
                .addr()
                .map(|octets| octets.map(|octet| format!("{octet:02x}")).join(":"));
        } else if let Some(v4) = address.as_sockaddr_in() {
            if !lan.address.is_some_and(|address| address.is_ipv4()) {
                lan.address = Some(v4.ip().into());
            }
        } else if let Some(v6) = address.as_sockaddr_in6()
            && !v6.ip().is_unicast_link_local()
        {
            lan.address.get_or_insert(v6.ip().into());
            let mask = entry
                .netmask
                .and_then(|mask| Some(mask.as_sockaddr_in6()?.ip()));
            let ones = mask.map_or(0, |mask| mask.to_bits().leading_ones());
            lan.ipv6
                .get_or_insert((v6.ip(), u8::try_from(ones).unwrap_or(128)));
        }
    }
    if let Ok(table) = std::fs::read_to_string("/proc/net/route") {
        let mut routes = default_routes(&table).filter(|route| route.interface == lan.interface);
        lan.gateway = routes.next().map(|route| route.gateway);
    }
    if let Ok(table) = std::fs::read_to_string("/proc/net/ipv6_route") {
        lan.ipv6_gateway = default_ipv6_gateway(&table, &lan.interface);
    }
    found.then_some(lan)
}

fn default_interface() -> Option<String> {
    let routed = std::fs::read_to_string("/proc/net/route")
        .ok()
        .and_then(|table| Some(default_routes(&table).next()?.interface));
    routed.or_else(|| {
        let names = getifaddrs().ok()?.map(|entry| entry.interface_name);
        names.into_iter().find(|name| name != "lo")
    })
}

/// A default route.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    metric: u64,
    interface: String,
    gateway: Ipv4Addr,
}

/// The default routes in `/proc/net/route`, the lowest metric first.
fn default_routes(table: &str) -> impl Iterator<Item = Route> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, to, gateway, _flags, _refs, _use, metric, mask, ..] = fields[..] else {
            return None;
        };
        // As the kernel has them in memory: network order, printed as one number of this machine.
        let address = |field| u32::from_str_radix(field, 16).map(|bits: u32| bits.to_ne_bytes());
        let to_all = [to, mask]
            .iter()
            .all(|field| address(field) == Ok(Ipv4Addr::UNSPECIFIED.octets()));
        to_all.then_some(())?;
        Some(Route {
            metric: metric.parse().ok()?,
            interface: name.to_owned(),
            gateway: address(gateway).ok()?.into(),
        })
    });
    let mut routes: Vec<Route> = routes.collect();
    routes.sort();
    routes.into_iter()
}

/// Where the IPv6 default route of `interface` in `/proc/net/ipv6_route` leads.
fn default_ipv6_gateway(table: &str, interface: &str) -> Option<Ipv6Addr> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [to, length, _from, _length, gateway, metric, .., name] = fields[..] else {
            return None;
        };
        let number = |field| u128::from_str_radix(field, 16).ok();
        let gateway = Ipv6Addr::from_bits(number(gateway)?);
        let leads_out = number(to)? == 0 && number(length)? == 0 && !gateway.is_unspecified();
        (leads_out && name == interface).then_some((number(metric)?, gateway))
    });
    routes.min().map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_default_route_of_lowest_metric_decides() {
        let table = format!(
            "{HEAD}eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             eth1\t00000000\t0100A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n\
             eth2\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        );
        let first = default_routes(&table).next().unwrap();
        assert_eq!(first.interface, "eth2");
        if cfg!(target_endian = "little") {
            assert_eq!(first.gateway, Ipv4Addr::new(192, 168, 0, 1));
        }
        assert_eq!(default_routes(HEAD).next(), None);
        assert_eq!(default_routes("x\ny").next(), None);
    }

    #[test]
    fn the_ipv6_default_route_is_the_interfaces_own() {
        let zero = "0".repeat(32);
        let route = |to: &str, length, last, metric, name| {
            let gateway = format!("fe80{}{last}", "0".repeat(27));
            format!(
                "{to} {length} {zero} 00 {gateway} {metric} 00000001 00000000 00000003 {name}\n"
            )
        };
        let table = [
            route(&zero, "00", 1, "00000400", "eth0"),
            route(&zero, "00", 2, "00000100", "eth0"),
            route(&zero, "00", 3, "00000001", "eth1"),
            route(
                &format!("2001{}", "0".repeat(28)),
                "40",
                4,
                "00000001",
                "eth0",
            ),
            format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"),
        ]
        .concat();
        let gateway = |name| default_ipv6_gateway(&table, name).map(|gateway| gateway.to_string());
        assert_eq!(gateway("eth0").as_deref(), Some("fe80::2"));
        assert_eq!(gateway("lo"), None);
        assert_eq!(default_ipv6_gateway("x\ny z", "eth0"), None);
    }

    #[test]
    fn the_loopback_is_seen_as_it_is() {
        let lan = observe(Some("lo")).unwrap();
        assert_eq!(lan.interface, "lo");
        assert_eq!(lan.mac.as_deref(), Some("00:00:00:00:00:00"));
        assert_eq!(observe(Some("nosuch0")), None);
    }
}
