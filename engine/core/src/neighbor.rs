//! Who the gateways are: their MAC addresses, asked for in every VLAN at once and again now and then.
//!
//! At the start all are asked at once, as fast as the pace allows, and again at short intervals; whoever has not
//! answered by then is told of as absent and holds up nobody. It is asked again once a round and every few seconds, so
//! one that comes late is only late. Hosts on link need no entry here: their discovery is this very question.

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use sonde_wire::{MacAddr, VlanId, ndisc};

use crate::plan::{Hop, Route};
use crate::probe::ProbeKind;
use crate::schedule::Schedule;
use crate::time::Instant;

/// How often a gateway is asked before it counts as absent.
pub const TRIES: u32 = 3;
/// Between two questions for a gateway that was never found: longer than a router takes that answers at all. RFC 1122
/// §2.3.2.2 and RFC 4861 §10 mean a second, for hosts that ask whenever they have something to send; this is three questions
/// in all, in each VLAN to one address.
pub const ASK_INTERVAL: Duration = Duration::from_millis(80);
/// Between two questions for a gateway that was found before (`RETRANS_TIMER`, RFC 4861 §10).
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions for an absent one.
pub const ABSENT_INTERVAL: Duration = Duration::from_secs(5);
/// How long after the last gateway was first asked nothing is sent through any, unless all are settled before.
pub const START_MAX: Duration = Duration::from_millis(250);
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
    /// Every gateway, always.
    due: Schedule,
    /// Gateways neither found nor given up for the first time.
    unsettled: usize,
    /// Gateways never asked and not found without.
    unasked: usize,
    /// When the last of them was asked first.
    all_asked_at: Instant,
}

#[derive(Clone, Debug)]
struct Gateway {
    route: u32,
    vlan: Option<VlanId>,
    ip: IpAddr,
    mac: Option<MacAddr>,
    tries: u32,
    asked_at: Option<Instant>,
    settled: bool,
    /// Given up: asked now and then.
    absent: bool,
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
                neighbors.gateways.push(Gateway {
                    route: index as u32,
                    vlan: route.vlan,
                    ip,
                    mac: None,
                    tries: 0,
                    asked_at: None,
                    settled: false,
                    absent: false,
                    gone: false,
                });
            }
        }
        let count = neighbors.gateways.len();
        (neighbors.unsettled, neighbors.unasked) = (count, count);
        neighbors.all_asked_at = now;
        neighbors.due = Schedule::new(count);
        (0..count as u32).for_each(|index| neighbors.due.set(index, now));
        neighbors
    }

    /// How many gateways there are; they are numbered from 0.
    pub fn len(&self) -> usize {
        self.gateways.len()
    }

    /// True when no route needs one to be found.
    pub fn is_empty(&self) -> bool {
        self.gateways.is_empty()
    }

    /// True once something may be sent through gateways at `now`: every one was found or given up, or all have had time enough.
    pub fn settled(&self, now: Instant) -> bool {
        self.unsettled == 0 || (self.unasked == 0 && now >= self.all_asked_at + START_MAX)
    }

    /// The gateway of a route that has one to be found.
    pub fn gateway_of(&self, route: u32) -> Option<u32> {
        self.by_route[route as usize]
    }

    /// Whether it is known where this gateway is.
    pub fn is_known(&self, gateway: u32) -> bool {
        self.gateways[gateway as usize].mac.is_some()
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
        while let Some((at, index)) = self.due.first()
            && at <= now
        {
            let gateway = &mut self.gateways[index as usize];
            // One that was found is first asked where it was, then looked for.
            let tries = if gateway.mac.is_some() {
                2 * TRIES
            } else {
                TRIES
            };
            if gateway.absent || gateway.tries < tries {
                let known = gateway.mac.filter(|_| gateway.tries < TRIES);
                return Some(Ask {
                    route: gateway.route,
                    ip: gateway.ip,
                    to: known.unwrap_or(group_mac(gateway.ip)),
                });
            }
            gateway.mac = None;
            gateway.absent = true;
            self.unsettled -= usize::from(!gateway.settled);
            gateway.settled = true;
            if !std::mem::replace(&mut gateway.gone, true) {
                gone(gateway.vlan, gateway.ip);
            }
            self.due.set(index, now + ABSENT_INTERVAL);
        }
        None
    }

    /// What [`Neighbors::poll`] said was sent.
    pub fn asked(&mut self, now: Instant) {
        let Some((_, index)) = self.due.first() else {
            return;
        };
        let gateway = &mut self.gateways[index as usize];
        gateway.tries += 1;
        if gateway.asked_at.replace(now).is_none() && !gateway.settled {
            self.unasked -= 1;
            self.all_asked_at = now;
        }
        let interval = match gateway {
            Gateway { absent: true, .. } => ABSENT_INTERVAL,
            Gateway { settled: true, .. } => CHECK_INTERVAL,
            _ => ASK_INTERVAL,
        };
        self.due.set(index, now + interval);
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
        (gateway.gone, gateway.absent) = (false, false);
        gateway.tries = 0;
        if !std::mem::replace(&mut gateway.settled, true) {
            self.unsettled -= 1;
            self.unasked -= usize::from(gateway.asked_at.is_none());
        }
        self.due.set(index, now + AGE_MAX);
        Some(known)
    }

    /// A round begins: gateways given up are asked once more, those asked just now a little later.
    pub fn retry(&mut self, now: Instant) {
        for (index, gateway) in self.gateways.iter().enumerate() {
            if gateway.absent {
                let asked_at = gateway.asked_at.unwrap_or(Instant::ZERO);
                self.due.set(index as u32, now.max(asked_at + ASK_INTERVAL));
            }
        }
    }

    /// When after `now` a gateway is due, or [`Neighbors::settled`] by time alone.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| at);
        let starts = self.all_asked_at + START_MAX;
        let starts = (!self.settled(now) && self.unasked == 0).then_some(starts);
        due.into_iter().chain(starts).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

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

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// Asks whatever is due at `ms`; the destinations, and how many were given up.
    fn ask(neighbors: &mut Neighbors, ms: u64) -> (Vec<MacAddr>, usize) {
        let now = at(ms);
        let (mut asked, mut gone) = (Vec::new(), 0);
        while let Some(ask) = neighbors.poll(now, |_, _| gone += 1) {
            asked.push(ask.to);
            neighbors.asked(now);
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
        assert!(!neighbors.settled(at(79)));
        let gateway = "10.0.0.254".parse().unwrap();
        for (vlan, known) in [(2, Some(Known::Found)), (2, Some(Known::Again)), (9, None)] {
            let handled = neighbors.handle(Instant::ZERO, VlanId::new(vlan), gateway, MAC);
            assert_eq!(handled, known);
        }
        for ms in [80, 160] {
            assert_eq!(ask(&mut neighbors, ms - 1).0.len(), 0);
            assert_eq!(ask(&mut neighbors, ms).0.len(), 1);
        }
        // Whoever comes late to give it up, the start waits no longer.
        assert_eq!(
            [249, 250].map(|ms| neighbors.settled(at(ms))),
            [false, true]
        );
        assert_eq!(ask(&mut neighbors, 240), (vec![], 1));
        assert!(neighbors.settled(at(240)));
        let hop = |n: u32| neighbors.next_hop(n, &routes[n as usize]);
        assert_eq!(
            [0, 1, 2, 3, 4].map(hop),
            [None, Some(MAC), Some(MAC), None, Some(MAC)]
        );
    }

    #[test]
    fn an_absent_gateway_is_asked_once_a_round_and_now_and_then_and_may_come_back() {
        let routes = [route(1, "fe80::1")];
        let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
        let mut neighbors = Neighbors::new(&routes, Instant::ZERO);
        for ms in [0, 80, 160] {
            assert_eq!(ask(&mut neighbors, ms).0, [group]);
        }
        assert_eq!(ask(&mut neighbors, 240), (vec![], 1));
        // Rounds that end at once ask no faster than ever.
        for ms in [241, 250, 319] {
            neighbors.retry(at(ms));
            let due = if ms == 241 { vec![group] } else { vec![] };
            assert_eq!(ask(&mut neighbors, ms), (due, 0));
        }
        assert_eq!(ask(&mut neighbors, 321).0, [group]);
        assert_eq!(neighbors.next_at(at(321)), Some(at(5_321)));
        assert_eq!(ask(&mut neighbors, 5_321), (vec![group], 0));
        let found = neighbors.handle(at(6_000), VlanId::new(1), "fe80::1".parse().unwrap(), MAC);
        assert_eq!(found, Some(Known::Found));
        assert_eq!(neighbors.next_hop(0, &routes[0]), Some(MAC));
        assert_eq!(neighbors.next_at(at(6_000)), Some(at(6_000) + AGE_MAX));
    }

    #[test]
    fn an_aged_gateway_is_checked_where_it_was_then_looked_for_then_given_up() {
        let routes = [route(1, "10.0.0.254")];
        let mut neighbors = Neighbors::new(&routes, Instant::ZERO);
        let gateway = "10.0.0.254".parse().unwrap();
        ask(&mut neighbors, 0);
        neighbors.handle(Instant::ZERO, VlanId::new(1), gateway, MAC);
        assert_eq!(ask(&mut neighbors, 59_999).0, []);
        for second in 60..63 {
            assert_eq!(ask(&mut neighbors, second * 1_000).0, [MAC]);
        }
        assert_eq!(neighbors.next_hop(0, &routes[0]), Some(MAC));
        for second in 63..66 {
            assert_eq!(ask(&mut neighbors, second * 1_000).0, [MacAddr::BROADCAST]);
        }
        assert_eq!(ask(&mut neighbors, 66_000), (vec![], 1));
        assert_eq!(neighbors.next_hop(0, &routes[0]), None);
    }

    #[test]
    fn the_start_waits_until_all_were_asked_however_slow_the_pace() {
        let routes: Vec<_> = (1..=100).map(|vlan| route(vlan, "10.0.0.254")).collect();
        let mut neighbors = Neighbors::new(&routes, Instant::ZERO);
        // One every 10 ms: each VLAN has its first question before any has its second.
        for n in 0..100 {
            let asked = neighbors.poll(at(10 * n), |_, _| {}).unwrap();
            assert_eq!(u64::from(asked.route), n);
            neighbors.asked(at(10 * n));
            assert!(!neighbors.settled(at(10 * n)));
        }
        assert_eq!(
            [1_239, 1_240].map(|ms| neighbors.settled(at(ms))),
            [false, true]
        );
    }
}
