//! What the LAN interface looks like now.

use std::net::{IpAddr, Ipv4Addr};
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
            && lan.address.is_none()
            && !v6.ip().is_unicast_link_local()
        {
            lan.address = Some(v6.ip().into());
        }
    }
    found.then_some(lan)
}

fn default_interface() -> Option<String> {
    let routed = std::fs::read_to_string("/proc/net/route")
        .ok()
        .and_then(|table| default_route(&table));
    routed.or_else(|| {
        let names = getifaddrs().ok()?.map(|entry| entry.interface_name);
        names.into_iter().find(|name| name != "lo")
    })
}

/// The interface of the default route with the lowest metric in `/proc/net/route`.
fn default_route(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, to, _gateway, _flags, _refs, _use, metric, mask, ..] = fields[..] else {
            return None;
        };
        let to_all = [to, mask]
            .iter()
            .all(|field| u32::from_str_radix(field, 16) == Ok(Ipv4Addr::UNSPECIFIED.to_bits()));
        to_all
            .then(|| Some((metric.parse::<u64>().ok()?, name.to_owned())))
            .flatten()
    });
    routes.min().map(|(_, name)| name)
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
        assert_eq!(default_route(&table).as_deref(), Some("eth2"));
        assert_eq!(default_route(HEAD), None);
        assert_eq!(default_route("x\ny"), None);
    }

    #[test]
    fn the_loopback_is_seen_as_it_is() {
        let lan = observe(Some("lo")).unwrap();
        assert_eq!(lan.interface, "lo");
        assert_eq!(lan.mac.as_deref(), Some("00:00:00:00:00:00"));
        assert_eq!(observe(Some("nosuch0")), None);
    }
}
