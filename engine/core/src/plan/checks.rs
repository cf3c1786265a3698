//! What can be said of a request before its addresses are looked at.

use super::PlanError;
use crate::exclusion::{Names, Scope};
use crate::policy::Policy;
use crate::ports::Ports;
use crate::request::{REQUEST_VERSION, ScanRequest};

/// The request with the policy's ceiling in it, its plain numbers checked.
pub(super) fn effective(request: &ScanRequest, policy: &Policy) -> Result<ScanRequest, PlanError> {
    let mut request = request.clone();
    if request.version != REQUEST_VERSION {
        return Err(PlanError::Version(request.version));
    }
    if request.seed.is_none() {
        return Err(PlanError::SeedMissing);
    }
    if request.targets.is_empty() {
        return Err(PlanError::NoTargets);
    }
    if request.services {
        return Err(PlanError::Services);
    }
    if request.passes == 0 {
        return Err(PlanError::Passes);
    }
    for (what, value) in [
        ("rate_pps", request.rate_pps),
        ("bandwidth_bps", request.bandwidth_bps),
    ] {
        if value == Some(0) {
            return Err(PlanError::RateZero { what });
        }
    }
    for (what, mac) in [
        ("source_mac", request.source_mac),
        ("gateway_mac", request.gateway_mac),
    ] {
        if let Some(mac) = mac.filter(|mac| mac.is_group()) {
            return Err(PlanError::GroupMac { what, mac });
        }
    }
    let (index, count) = (request.shard.index, request.shard.count);
    if index == 0 || index > count {
        return Err(PlanError::Shard { index, count });
    }
    if let Some(ceiling) = policy.rate_ceiling_pps {
        let asked = request.rate_pps.unwrap_or(ceiling);
        if ceiling == 0 {
            return Err(PlanError::RateZero {
                what: "the local policy's rate_ceiling_pps",
            });
        }
        if asked > ceiling {
            return Err(PlanError::RateAbovePolicy { asked, ceiling });
        }
        request.rate_pps = Some(asked);
    }
    Ok(request)
}

/// A target is hosts, in VLANs or not: VLANs alone, which `hostless` says there are, would be all of IPv4 and IPv6.
pub(super) fn refuse_targets_without_hosts(
    request: &ScanRequest,
    hostless: bool,
) -> Result<(), PlanError> {
    if !hostless {
        return Ok(());
    }
    let hostless = request
        .targets
        .iter()
        .position(|text| text.trim().starts_with('@'));
    let index = hostless.unwrap_or_default();
    let text = request.targets[index].trim().to_owned();
    Err(PlanError::TargetWithoutHosts { index, text })
}

/// One of the policy's lists; host names are refused there.
pub(super) fn policy_scope(rule: &'static str, texts: &[String]) -> Result<Scope, PlanError> {
    Scope::parse(texts, Names::Refused).map_err(|error| PlanError::Policy { rule, error })
}

/// The ports to ask, and those never to.
pub(super) fn ports(request: &ScanRequest) -> Result<(Ports, Ports), PlanError> {
    let asked: Ports = request
        .ports
        .parse()
        .map_err(|error| PlanError::Ports { error })?;
    let never: Ports = match &request.exclude_ports {
        Some(text) => text
            .parse()
            .map_err(|error| PlanError::ExcludePorts { error })?,
        None => Ports::default(),
    };
    let ports = asked.subtract(&never);
    if ports.is_empty() {
        return Err(PlanError::NoPorts {
            ports: request.ports.clone(),
            excluded: request.exclude_ports.clone().unwrap_or_default(),
        });
    }
    Ok((ports, never))
}
