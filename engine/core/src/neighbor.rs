//! Who the gateways are: their MAC addresses, asked for in every VLAN at once and again now and then.
//!
//! A gateway that does not answer takes the units behind it out of the scan; it is asked again once a
//! round, so one that comes back late is only late. Hosts on link need no entry here: their discovery is this very
//! question.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use sonde_wire::{MacAddr, VlanId, ndisc};

use crate::plan::{Hop, Route};
use crate::probe::ProbeKind;
use crate::time::Instant;

/// How often a gateway is asked before it counts as absent.
pub const TRIES: u32 = 3;
/// How long an answer is believed before it is asked for again, as Linux's `gc_stale_time`.
pub const AGE_MAX: Duration = Duration::from_secs(60);

/// Where the first frame to `ip` goes when its MAC address is not known: broadcast for IPv4, the solicited-node
/// group for IPv6.
#[inline]
pub fn group_mac(ip: IpAddr) -> MacAddr {
    match ip {
        IpAddr::V4(_) => MacAddr::BROADCAST,
        IpAddr::V6(ip) => ndisc::multicast_mac(ndisc::solicited_node(ip)),
    }
}

/// The question for the MAC address of `ip`.
#[inline]
pub fn question(ip: IpAddr) -> ProbeKind {
    match ip {
        IpAddr::V4(_) => ProbeKind::Arp,
        IpAddr::V6(_) => ProbeKind::Ndp,
    }
}

/// A gateway to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// A route that leads through it.
    pub route: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Where the question goes: to it, to check, or to a group address, to find it.
    pub to: MacAddr,
}

/// A gateway that says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was not known until now.
    Found,
    /// It was.
    Again,
}

/// The gateways of a plan.
#[derive(Clone, Debug, Default)]
pub struct Neighbors {
    gateways: Vec<Gateway>,
    /// By route; `None` where no gateway is needed.
    by_route: Vec<Option<u32>>,
    by_address: HashMap<(Option<VlanId>, IpAddr), u32>,
    due: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Gateways neither found nor given up for the first time.
    unsettled: usize,
}

#[derive(Clone, Debug)]
struct Gateway {
    route: u32,
    vlan: Option<VlanId>,
    ip: IpAddr,
    mac: Option<MacAddr>,
    tries: u32,
    next_at: Instant,
    settled: bool,
    /// Not in `due`: given up until the next round.
    resting: bool,
    /// Said to be gone, and not been found since.
    gone: bool,
}

impl Neighbors {
    /// The gateways of `routes`, all to be asked at `now` but those whose MAC address is given.
    pub fn new(routes: &[Route], now: Instant) -> Self {
        let mut neighbors = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let (Hop::Gateway(ip), None) = (route.hop, route.hop_mac) else {
                neighbors.by_route.push(None);
                continue;
            };
            let next = neighbors.gateways.len() as u32;
            let known = neighbors.by_address.entry((route.vlan, ip));
            let gateway = *known.or_insert(next);
            neighbors.by_route.push(Some(gateway));
            if gateway == next {
                neighbors.due.push(Reverse((now, next)));
                neighbors.gateways.push(Gateway {
                    route: index as u32,
                    vlan: route.vlan,
                    ip,
                    mac: None,
                    tries: 0,
                    next_at: now,
                    settled: false,
                    resting: false,
                    gone: false,
                });
            }
        }
        neighbors.unsettled = neighbors.gateways.len();
        neighbors
    }

    /// True once every gateway was found or given up: before that nothing is sent through any.
    pub fn settled(&self) -> bool {
        self.unsettled == 0
    }

    /// Where a frame for `ip` goes on this route: to the gateway, if it is known where that is.
    ///
    /// For a route on link this is nowhere: the host's own answer tells.
    #[inline]
    pub fn next_hop(&self, index: u32, route: &Route) -> Option<MacAddr> {
        match (route.hop, self.by_route[index as usize]) {
            (Hop::Kernel, _) => Some(MacAddr::default()),
            (_, Some(gateway)) => self.gateways[gateway as usize].mac,
            _ => route.hop_mac,
        }
    }

    /// The next gateway to ask at `now`, if one is due. [`Neighbors::asked`] must follow if it was. `gone` is told of
    /// each gateway that has not answered, once.
    pub fn poll(
        &mut self,
        now: Instant,
        mut gone: impl FnMut(Option<VlanId>, IpAddr),
    ) -> Option<Ask> {
        while let Some(Reverse((at, index))) = self.due.peek().copied()
            && at <= now
        {
            let gateway = &mut self.gateways[index as usize];
            if gateway.next_at > at {
                let next_at = gateway.next_at;
                self.reschedule(next_at, index);
                continue;
            }
            // One that was found is first asked where it was, then looked for.
            let tries = if gateway.mac.is_some() {
                2 * TRIES
            } else {
                TRIES
            };
            if gateway.tries < tries {
                let known = gateway.mac.filter(|_| gateway.tries < TRIES);
                return Some(Ask {
                    route: gateway.route,
                    ip: gateway.ip,
                    to: known.unwrap_or(group_mac(gateway.ip)),
                });
            }
            gateway.mac = None;
            gateway.resting = true;
            self.unsettled -= usize::from(!gateway.settled);
            gateway.settled = true;
            if !std::mem::replace(&mut gateway.gone, true) {
                gone(gateway.vlan, gateway.ip);
            }
            self.due.pop();
        }
        None
    }

    /// What [`Neighbors::poll`] said was sent; an answer may take `timeout`.
    pub fn asked(&mut self, now: Instant, timeout: Duration) {
        if let Some(Reverse((_, index))) = self.due.peek().copied() {
            let gateway = &mut self.gateways[index as usize];
            gateway.tries += 1;
            gateway.next_at = now + timeout;
            let next_at = gateway.next_at;
            self.reschedule(next_at, index);
        }
    }

    /// `ip` says where it is. `None` if it is no gateway.
    pub fn handle(
        &mut self,
        now: Instant,
        vlan: Option<VlanId>,
        ip: IpAddr,
        mac: MacAddr,
    ) -> Option<Known> {
        let index = *self.by_address.get(&(vlan, ip))?;
        let gateway = &mut self.gateways[index as usize];
        let known = match gateway.mac {
            None => Known::Found,
            Some(_) => Known::Again,
        };
        gateway.mac = Some(mac);
        gateway.gone = false;
        gateway.tries = 0;
        gateway.next_at = now + AGE_MAX;
        self.unsettled -= usize::from(!gateway.settled);
        gateway.settled = true;
        if std::mem::take(&mut gateway.resting) {
            let next_at = gateway.next_at;
            self.due.push(Reverse((next_at, index)));
        }
        Some(known)
    }

    /// A round begins: gateways given up are asked once more.
    pub fn retry(&mut self, now: Instant) {
        for (index, gateway) in self.gateways.iter_mut().enumerate() {
            if std::mem::take(&mut gateway.resting) {
                gateway.tries = TRIES - 1;
                gateway.next_at = now;
                self.due.push(Reverse((now, index as u32)));
            }
        }
    }

    /// When a gateway is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    fn reschedule(&mut self, at: Instant, index: u32) {
        self.due.pop();
        self.due.push(Reverse((at, index)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    const RTO: Duration = Duration::from_secs(1);

    fn route(vlan: u16, gateway: &str) -> Route {
        Route {
            vlan: VlanId::new(vlan),
            source: "10.0.0.1".parse().unwrap(),
            source_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            hop: Hop::Gateway(gateway.parse().unwrap()),
            hop_mac: None,
            kernel_owned: false,
        }
    }

    /// Asks whatever is due at `second`; the destinations, and how many were given up.
    fn ask(neighbors: &mut Neighbors, second: u64) -> (Vec<MacAddr>, usize) {
        let now = Instant::ZERO + Duration::from_secs(second);
        let (mut asked, mut gone) = (Vec::new(), 0);
        while let Some(ask) = neighbors.poll(now, |_, _| gone += 1) {
            asked.push(ask.to);
            neighbors.asked(now, RTO);
        }
        (asked, gone)
    }

    #[test]
    fn gateways_are_asked_in_all_vlans_at_once_and_one_only_once() {
        let routes = [
            route(1, "10.0.0.254"),
            route(2, "10.0.0.254"),
            route(2, "10.0.0.254"),
            Route {
                hop: Hop::OnLink,
                ..route(3, "::")
            },
            Route {
                hop_mac: Some(MAC),
                ..route(4, "10.0.0.254")
            },
        ];
        let mut neighbors = Neighbors::new(&routes, Instant::ZERO);
        assert_eq!(ask(&mut neighbors, 0), (vec![MacAddr::BROADCAST; 2], 0));
        assert!(!neighbors.settled());
        let gateway = "10.0.0.254".parse().unwrap();
        for (vlan, known) in [(2, Some(Known::Found)), (2, Some(Known::Again)), (9, None)] {
            let handled = neighbors.handle(Instant::ZERO, VlanId::new(vlan), gateway, MAC);
            assert_eq!(handled, known);
        }
        assert_eq!(ask(&mut neighbors, 1).0.len(), 1);
        assert_eq!(ask(&mut neighbors, 2).0.len(), 1);
        assert_eq!(ask(&mut neighbors, 3), (vec![], 1));
        assert!(neighbors.settled());
        let hop = |n: u32| neighbors.next_hop(n, &routes[n as usize]);
        assert_eq!(
            [0, 1, 2, 3, 4].map(hop),
            [None, Some(MAC), Some(MAC), None, Some(MAC)]
        );
    }

    #[test]
    fn an_absent_gateway_is_asked_once_a_round_and_may_come_back() {
        let routes = [route(1, "fe80::1")];
        let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
        let mut neighbors = Neighbors::new(&routes, Instant::ZERO);
        for second in 0..3 {
            assert_eq!(ask(&mut neighbors, second).0, [group]);
        }
        assert_eq!(ask(&mut neighbors, 3), (vec![], 1));
        assert_eq!(neighbors.next_at(), None);
        let at = Instant::ZERO + Duration::from_secs(10);
        neighbors.retry(at);
        assert_eq!(ask(&mut neighbors, 10).0, [group]);
        assert_eq!(ask(&mut neighbors, 11), (vec![], 0));
        let found = neighbors.handle(at, VlanId::new(1), "fe80::1".parse().unwrap(), MAC);
        assert_eq!(found, Some(Known::Found));
        assert_eq!(neighbors.next_hop(0, &routes[0]), Some(MAC));
        assert_eq!(neighbors.next_at(), Some(at + AGE_MAX));
    }

    #[test]
    fn an_aged_gateway_is_checked_where_it_was_then_looked_for_then_given_up() {
        let routes = [route(1, "10.0.0.254")];
        let mut neighbors = Neighbors::new(&routes, Instant::ZERO);
        let gateway = "10.0.0.254".parse().unwrap();
        ask(&mut neighbors, 0);
        neighbors.handle(Instant::ZERO, VlanId::new(1), gateway, MAC);
        assert_eq!(ask(&mut neighbors, 59).0, []);
        for second in 60..63 {
            assert_eq!(ask(&mut neighbors, second).0, [MAC]);
        }
        assert_eq!(neighbors.next_hop(0, &routes[0]), Some(MAC));
        for second in 63..66 {
            assert_eq!(ask(&mut neighbors, second).0, [MacAddr::BROADCAST]);
        }
        assert_eq!(ask(&mut neighbors, 66), (vec![], 1));
        assert_eq!(neighbors.next_hop(0, &routes[0]), None);
    }
}
