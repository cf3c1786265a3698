//! A world as the program takes it: the words of `struct config` in `bpf/world.bpf.c`, in its order.

use super::spec::{BEHIND_MAX, Limit, Network4, Network6, WorldSpec, number};

/// Length of `struct config` in words.
pub(super) const WORDS: usize = 7 + 4 + 2 + 3 + 3 + 2 + 6 * BEHIND_MAX + 64 + 1024 + 1024;

/// The words of a world.
pub(super) fn words(spec: &WorldSpec) -> Box<[u64; WORDS]> {
    let written = spec.description();
    let shares = &spec.shares;
    let mut words = Vec::with_capacity(WORDS);
    words.extend([
        u64::from(written.seed),
        shares.hosts_up,
        shares.answers_all,
        shares.open,
        shares.closed,
        shares.loss_in,
        shares.loss_out,
    ]);
    words.extend(bucket(written.policer));
    words.extend(bucket(written.unreachable));
    words.extend([
        u64::from(written.link4.is_some()),
        u64::from(written.link6.is_some()),
    ]);
    words.extend(network4(written.link4.as_ref()));
    words.extend(network6(written.link6.as_ref()));
    words.extend([written.behind4.len() as u64, written.behind6.len() as u64]);
    words.extend((0..BEHIND_MAX).flat_map(|at| network4(written.behind4.get(at))));
    words.extend((0..BEHIND_MAX).flat_map(|at| network6(written.behind6.get(at))));
    let mut vlans = [0_u64; 64];
    for vlan in spec.vlans() {
        let v = number(vlan);
        vlans[(v >> 6) as usize] |= 1 << (v & 63);
    }
    words.extend(vlans);
    words.extend(*spec.tcp);
    words.extend(*spec.udp);
    let words: Box<[u64]> = words.into();
    words
        .try_into()
        .expect("the lengths above are the terms of WORDS")
}

/// Units of time of the program in a second: 1/1024 ns.
const SECOND: u64 = 1_000_000_000 << 10;

/// Time between two tokens, and how far ahead of time a token may be taken.
fn bucket(limit: Option<Limit>) -> [u64; 2] {
    let Some(limit) = limit else {
        return [0, 0];
    };
    let interval = SECOND / u64::from(limit.rate);
    [interval, interval * u64::from(limit.depth - 1)]
}

fn network4(net: Option<&Network4>) -> [u64; 3] {
    net.map_or([0; 3], |net| {
        [
            u64::from(net.first()),
            u64::from(net.host_bits()),
            u64::from(net.per_vlan),
        ]
    })
}

fn network6(net: Option<&Network6>) -> [u64; 3] {
    net.map_or([0; 3], |net| {
        [net.first(), u64::from(net.hosts), u64::from(net.per_vlan)]
    })
}
