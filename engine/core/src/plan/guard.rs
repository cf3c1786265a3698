//! The last word on who may get a frame.

use std::borrow::Cow;
use std::net::IpAddr;

use sonde_wire::VlanId;

use crate::exclusion::Scope;
use crate::interval::{Interval, IntervalSet};
use crate::trunk::Family;

/// Exclusions, the policy's never-scan list, and the addresses that no host can have.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// What the request excludes.
    pub(super) exclude: Scope,
    /// What the local policy never scans.
    pub(super) never_scan: Scope,
    /// True when loopback may be scanned, as the kernel does it.
    pub(super) loopback: bool,
}

impl Guard {
    /// True when no frame may go to `ip` in `vlan`.
    pub(super) fn forbids(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        let impossible = match ip {
            IpAddr::V4(ip) => ip.to_bits().never_a_host(),
            IpAddr::V6(ip) => ip.to_bits().never_a_host(),
        };
        (impossible && !(self.loopback && ip.is_loopback()))
            || self.exclude.contains(vlan, ip)
            || self.never_scan.contains(vlan, ip)
    }

    /// True when no frame may go into `vlan` at all.
    pub(super) fn forbids_whole(&self, vlan: Option<VlanId>) -> bool {
        self.exclude.holds_whole(vlan) || self.never_scan.holds_whole(vlan)
    }

    /// What of `set` may be probed in `vlan`, by what is written; what no host can have is taken
    /// out too.
    pub(super) fn allowed<P: Family>(
        &self,
        vlan: Option<VlanId>,
        set: &IntervalSet<P>,
    ) -> IntervalSet<P> {
        if self.forbids_whole(vlan) {
            return IntervalSet::default();
        }
        let cut = |from: &IntervalSet<P>, what: Cow<'_, IntervalSet<P>>| from.subtract(&what);
        let left = cut(set, self.exclude.in_vlan(vlan));
        cut(
            &cut(&left, self.never_scan.in_vlan(vlan)),
            Cow::Owned(self.impossible()),
        )
    }

    /// What of `set` may be probed in some VLAN: takes out only what is excluded everywhere.
    pub(super) fn allowed_somewhere<P: Family>(&self, set: &IntervalSet<P>) -> IntervalSet<P> {
        set.subtract(P::of(self.exclude.anywhere()))
            .subtract(P::of(self.never_scan.anywhere()))
            .subtract(&self.impossible())
    }

    fn impossible<P: Family>(&self) -> IntervalSet<P> {
        let kept = |interval: &&Interval<P>| !(self.loopback && interval.first.ip().is_loopback());
        P::NEVER_A_HOST.iter().filter(kept).copied().collect()
    }
}
