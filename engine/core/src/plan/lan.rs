//! The trunk of a request: what is written of it, the untagged LAN completed from the options and
//! the interface.

use std::net::IpAddr;

use super::{Environment, PlanError};
use crate::request::ScanRequest;
use crate::trunk::{Family, Trunk, TrunkConfig};

/// The checked trunk. Where the kernel routes it is the interface's own LAN, used only to know our
/// addresses.
pub(super) fn trunk(request: &ScanRequest, env: &Environment) -> Result<Trunk, PlanError> {
    let trunk = |config: &TrunkConfig| Trunk::new(config, &env.lan).map_err(PlanError::Trunk);
    if env.kernel_routes {
        refuse_what_the_kernel_decides(request)?;
        return trunk(&TrunkConfig::default());
    }
    let mut config = request.trunk.clone().unwrap_or_default();
    let mut lan = config.lan.take().unwrap_or_default();
    if let Some(ip) = request.source_ip {
        let (written, text) = match ip {
            IpAddr::V4(ip) => (&mut lan.ipv4, source::<u32>(ip.to_bits(), env)?),
            IpAddr::V6(ip) => (&mut lan.ipv6, source::<u128>(ip.to_bits(), env)?),
        };
        if let Some(trunk) = written.replace(text) {
            return Err(PlanError::LanTwice {
                key: "source_ip",
                written: ip,
                trunk,
            });
        }
    }
    if let Some(gateway) = request.gateway {
        let (slot, address, known) = match gateway {
            IpAddr::V4(_) => (&mut lan.gateway, &lan.ipv4, env.lan.ipv4.is_some()),
            IpAddr::V6(_) => (&mut lan.gateway6, &lan.ipv6, env.lan.ipv6.is_some()),
        };
        if address.is_none() && !known {
            return Err(PlanError::GatewayAlone { gateway });
        }
        if let Some(trunk) = slot.replace(gateway) {
            let trunk = trunk.to_string();
            return Err(PlanError::LanTwice {
                key: "gateway",
                written: gateway,
                trunk,
            });
        }
    }
    config.lan = (request.trunk.as_ref().is_some_and(|t| t.lan.is_some())
        || lan != Default::default())
    .then_some(lan);
    trunk(&config)
}

pub(super) fn refuse_what_the_kernel_decides(request: &ScanRequest) -> Result<(), PlanError> {
    if request
        .trunk
        .as_ref()
        .is_some_and(|config| *config != TrunkConfig::default())
    {
        return Err(PlanError::TrunkOverConnect);
    }
    let given = [
        ("source_ip", request.source_ip.is_some()),
        ("source_mac", request.source_mac.is_some()),
        ("gateway", request.gateway.is_some()),
        ("gateway_mac", request.gateway_mac.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((what, _)) => Err(PlanError::OptionOverConnect { what }),
        None => Ok(()),
    }
}

/// A source address with the prefix length of the interface's network, which must hold it.
fn source<P: Family>(address: P, env: &Environment) -> Result<String, PlanError> {
    let ip = address.ip();
    let Some((own, prefix)) = P::lan(&env.lan).0 else {
        return Err(PlanError::SourceOffLink { ip, on_link: None });
    };
    if !own.prefix(prefix).contains(address) {
        let on_link = Some(format!("{}/{prefix}", own.prefix(prefix).first.ip()));
        return Err(PlanError::SourceOffLink { ip, on_link });
    }
    Ok(format!("{ip}/{prefix}"))
}
