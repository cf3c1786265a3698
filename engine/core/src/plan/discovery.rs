//! How hosts are found before their ports are asked: `auto`, `none`, or a list.

use super::{DiscoveryProbe, PlanError};
use crate::observation::Proto;
use crate::ports::Ports;
use crate::target::decimal;

/// What `auto` asks of hosts behind a gateway: most hosts that answer anything answer one of these.
const AUTO: [DiscoveryProbe; 3] = [
    DiscoveryProbe::Echo,
    DiscoveryProbe::Tcp(443),
    DiscoveryProbe::Tcp(80),
];
/// What `auto` asks when the kernel sends, which needs privileges to send an echo.
const AUTO_KERNEL: [DiscoveryProbe; 3] = [
    DiscoveryProbe::Tcp(443),
    DiscoveryProbe::Tcp(80),
    DiscoveryProbe::Tcp(22),
];

/// The probes of a `discovery` text, each once, in the order written; `None` when every target
/// counts as up. ARP and NDP are not in the list: hosts on link are always found by them.
///
/// # Errors
///
/// [`PlanError::Discovery`], naming the piece at fault.
pub(super) fn parse(
    text: &str,
    kernel_routes: bool,
    never: &Ports,
) -> Result<Option<Vec<DiscoveryProbe>>, PlanError> {
    let probes = match text.trim() {
        "none" => return Ok(None),
        "auto" if kernel_routes => AUTO_KERNEL.to_vec(),
        "auto" => AUTO.to_vec(),
        list => parse_list(list).map_err(|piece| PlanError::Discovery {
            text: text.to_owned(),
            piece: piece.to_owned(),
        })?,
    };
    let mut kept: Vec<DiscoveryProbe> = Vec::with_capacity(probes.len());
    for probe in probes {
        if !excluded(probe, never) && !kept.contains(&probe) {
            kept.push(probe);
        }
    }
    Ok(Some(kept))
}

fn excluded(probe: DiscoveryProbe, never: &Ports) -> bool {
    match probe {
        DiscoveryProbe::Echo => false,
        DiscoveryProbe::Tcp(port) => never.index(Proto::Tcp, port).is_some(),
        DiscoveryProbe::Udp(port) => never.index(Proto::Udp, port).is_some(),
    }
}

/// A list; the piece at fault otherwise. A bare number belongs to the protocol named before it.
fn parse_list(list: &str) -> Result<Vec<DiscoveryProbe>, &str> {
    let mut probes = Vec::new();
    let mut proto: Option<fn(u16) -> DiscoveryProbe> = None;
    for piece in list.split(',').map(str::trim) {
        let port = match piece {
            "arp" | "ndp" => None,
            "echo" => {
                probes.push(DiscoveryProbe::Echo);
                None
            }
            _ => {
                let port = piece.split_once(':').map_or(piece, |(name, port)| {
                    proto = match name {
                        "tcp" => Some(DiscoveryProbe::Tcp),
                        "udp" => Some(DiscoveryProbe::Udp),
                        _ => None,
                    };
                    port
                });
                Some(port)
            }
        };
        match (port, proto) {
            (None, _) => proto = None,
            (Some(_), None) => return Err(piece),
            (Some(port), Some(probe)) => {
                let port = decimal(port)
                    .and_then(|n| u16::try_from(n).ok())
                    .filter(|p| *p != 0);
                probes.push(probe(port.ok_or(piece)?));
            }
        }
    }
    Ok(probes)
}

#[cfg(test)]
mod tests {
    use super::DiscoveryProbe::{Echo, Tcp, Udp};
    use super::*;

    fn probes(text: &str) -> Option<Vec<DiscoveryProbe>> {
        parse(text, false, &"443".parse().unwrap()).unwrap()
    }

    #[test]
    fn lists_carry_a_protocol_on_and_drop_excluded_ports() {
        assert_eq!(probes("none"), None);
        assert_eq!(probes("auto"), Some(vec![Echo, Tcp(80)]));
        assert_eq!(
            probes("arp,ndp,echo,tcp:80,443, 22,udp:161,echo,tcp:80"),
            Some(vec![Echo, Tcp(80), Tcp(22), Udp(161)])
        );
        assert_eq!(probes("arp"), Some(vec![]));
        let kernel = parse("auto", true, &Ports::default()).unwrap().unwrap();
        assert!(!kernel.contains(&Echo) && !kernel.is_empty());
    }

    #[test]
    fn the_piece_at_fault_is_named() {
        for (text, at) in [
            ("", ""),
            ("ping", "ping"),
            ("80", "80"),
            ("tcp:0", "tcp:0"),
            ("tcp:80,99999", "99999"),
            ("tcp:80,echo,443", "443"),
            ("sctp:80", "sctp:80"),
        ] {
            let error = parse(text, false, &Ports::default()).unwrap_err();
            assert!(
                matches!(&error, PlanError::Discovery { piece, .. } if piece == at),
                "{error}"
            );
        }
    }
}
