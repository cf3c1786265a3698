//! What can be said against a request or a trunk where no machine is at hand: before it is sent to the one that
//! is to scan.
//!
//! What an interface may add (our place on the untagged LAN, the addresses of names) is left for the machine to
//! say. One thing is taken for granted of it: its LAN does not lie within a network that the trunk gives a VLAN.

use std::net::IpAddr;

use super::{PlanError, checks, discovery, lan};
use crate::exclusion::ScopeError;
use crate::policy::Policy;
use crate::request::{LinkKind, ScanRequest};
use crate::target::{Hosts, Target, parse_address_with_prefix, parse_all};
use crate::trunk::{Lookup, Trunk, TrunkConfig, TrunkError};

/// Checks what is written in a request: its numbers, targets, exclusions, ports, discovery and trunk. A seed may
/// be missing.
///
/// # Errors
///
/// What [`super::Plan::new`] says of the first thing that no machine could do.
pub fn check_request(request: &ScanRequest) -> Result<(), PlanError> {
    let seeded = ScanRequest {
        seed: request.seed.or(Some(0)),
        ..request.clone()
    };
    checks::effective(&seeded, &Policy::default())?;
    let targets = parsed(&request.targets).map_err(|error| PlanError::Target { error })?;
    let hostless = targets.iter().any(|target| target.hosts == Hosts::All);
    checks::refuse_targets_without_hosts(request, hostless)?;
    parsed(&request.exclude).map_err(|error| PlanError::Exclude { error })?;
    let (_, never) = checks::ports(request)?;
    let kernel_routes = request.link == LinkKind::Connect;
    discovery::parse(&request.discovery, kernel_routes, &never)?;
    if kernel_routes {
        return lan::refuse_what_the_kernel_decides(request);
    }
    let trunk = request.trunk.as_ref();
    trunk.map_or(Ok(()), check_trunk).map_err(PlanError::Trunk)
}

/// Checks what is written of a trunk.
///
/// # Errors
///
/// What [`Trunk::new`] says of the first thing that could be on no interface.
pub fn check_trunk(config: &TrunkConfig) -> Result<(), TrunkError> {
    let mut config = config.clone();
    let [lan_v4, lan_v6] = config.lan.as_mut().map_or([false; 2], |lan| {
        let written = [lan.ipv4.is_some(), lan.ipv6.is_some()];
        // The interface may have the address to a gateway written without one.
        lan.gateway = lan.gateway.filter(|_| written[0]);
        lan.gateway6 = lan.gateway6.filter(|_| written[1]);
        written
    });
    config.lan = config.lan.filter(|_| lan_v4 || lan_v6);
    let routes = std::mem::take(&mut config.route);
    let networks = Trunk::new(&config, &super::Lan::default())?;
    // A next hop that is on no network written, or on one of several, may be on the interface's.
    let is_decided = |to: &str, via: IpAddr| match parse_address_with_prefix(to) {
        Some((base, _)) if base.is_ipv4() == via.is_ipv4() => {
            let lan_is_written = if via.is_ipv4() { lan_v4 } else { lan_v6 };
            let on_link =
                |lookup| matches!(lookup, Lookup::Found { next_hop, .. } if next_hop == via);
            lan_is_written || on_link(networks.lookup(via))
        }
        _ => true,
    };
    config.route = routes
        .into_iter()
        .filter(|route| is_decided(&route.to, route.via))
        .collect();
    Trunk::new(&config, &super::Lan::default()).map(drop)
}

fn parsed(texts: &[String]) -> Result<Vec<Target>, ScopeError> {
    parse_all(texts).map_err(|error| ScopeError {
        index: error.index,
        error: error.error,
    })
}
