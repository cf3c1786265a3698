//! What the sweep says, as lines of a result.

use std::time::Duration;

use sonde_core::observation::{
    HostObservation, HostState, LeakObservation, Observation, PortObservation, Progress, Summary,
};
use sonde_core::sweep::{Event, Sweep};
use time::OffsetDateTime;

/// The line an event of this wall-clock time is reported by; `None` for what is no result.
pub(crate) fn observation(time: OffsetDateTime, event: Event) -> Option<Observation> {
    Some(match event {
        Event::Host {
            vlan,
            ip,
            reason,
            mac,
            rtt,
            ttl,
        } => Observation::Host(HostObservation {
            vlan,
            ip,
            state: HostState::Up,
            reason,
            mac,
            vendor: None,
            rtt_us: rtt.map(micros),
            ttl,
            time,
        }),
        Event::Port {
            vlan,
            ip,
            proto,
            port,
            state,
            reason,
            ttl,
            rtt,
        } => {
            let rtt_us = rtt.map(micros);
            Observation::Port(PortObservation {
                vlan,
                ip,
                proto,
                port,
                state,
                reason,
                ttl,
                rtt_us,
                time,
            })
        }
        Event::Leak {
            vlan,
            seen_vlan,
            ip,
            mac,
        } => Observation::Leak(LeakObservation {
            vlan,
            seen_vlan,
            ip,
            mac,
            time,
        }),
        Event::NextHop { .. } => return None,
    })
}

/// Where the sweep is, rates left out.
pub(crate) fn progress(sweep: &Sweep) -> Progress {
    let counters = sweep.counters();
    Progress {
        sent: counters.sent(),
        received: counters.received,
        fraction: counters.fraction(),
        hosts_up: counters.hosts_up,
        open: counters.open,
        loss: counters.loss(),
        ..Progress::default()
    }
}

/// How the sweep ended.
pub(crate) fn summary(sweep: &Sweep, complete: bool, duration: Duration) -> Summary {
    let counters = sweep.counters();
    Summary {
        complete,
        sent: counters.sent(),
        received: counters.received,
        hosts_up: counters.hosts_up,
        open: counters.open,
        drops: sweep.drops().by_name(),
        passes: counters.passes,
        unreachable: counters.unreachable,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    }
}

fn micros(rtt: Duration) -> u64 {
    u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)
}
