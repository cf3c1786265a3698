//! What a sweep counts.

use serde::{Deserialize, Serialize};

use crate::probe::ProbeKind;

/// Passes told apart in [`Counters::answered_in_pass`]; later ones count with the last.
pub const PASSES: usize = 8;

/// Counters of one sweep. They go on across a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// ARP requests and neighbor solicitations, gateways' included.
    pub sent_link: u64,
    /// Echo requests.
    pub sent_echo: u64,
    /// TCP SYNs.
    pub sent_tcp: u64,
    /// UDP datagrams.
    pub sent_udp: u64,
    /// Resets of connections that were accepted; not probes.
    pub sent_rst: u64,
    /// Answers to others' ARP, neighbor and echo requests; not probes.
    pub sent_answers: u64,
    /// Answers believed.
    pub received: u64,
    /// Hosts up.
    pub hosts_up: u64,
    /// Open ports.
    pub open: u64,
    /// Answers of ours that came in on another VLAN.
    pub leaks: u64,
    /// Passes begun.
    pub passes: u32,
    /// Hosts never asked because their gateway did not answer.
    pub unreachable: u64,
    /// First answers, by the pass they came in.
    pub answered_in_pass: [u64; PASSES],
    /// Probes done, those saved by an answer included.
    pub probes_done: u64,
    /// Probes to do as far as is known: grows with each host found.
    pub probes_due: u64,
    /// Frames withheld by the last guard: their destination is excluded. Anything but 0 is a defect elsewhere.
    pub suppressed: u64,
    /// Resets not sent because too many were waiting.
    pub resets_dropped: u64,
    /// Hosts without a `Host` event: with `discovery = none`, beyond those that are remembered.
    pub hosts_unlisted: u64,
    /// Passes over a window, or over a host's ports, beyond those asked for, because of loss or a path that was full.
    pub extra_passes: u64,
}

impl Counters {
    /// Frames sent, all kinds.
    pub fn sent(&self) -> u64 {
        self.probes() + self.sent_rst + self.sent_answers
    }

    /// Probes sent.
    pub fn probes(&self) -> u64 {
        self.sent_link + self.sent_echo + self.sent_tcp + self.sent_udp
    }

    /// Share of the scan done, 0 to 1, of what is known to be due.
    pub fn fraction(&self) -> f64 {
        match self.probes_due {
            0 => 0.0,
            due => (self.probes_done as f64 / due as f64).min(1.0),
        }
    }

    /// Share of first answers that only came in a later pass; `None` before any came or with one pass.
    pub fn loss(&self) -> Option<f64> {
        let all: u64 = self.answered_in_pass.iter().sum();
        let later = all - self.answered_in_pass[0];
        (self.passes > 1 && all > 0).then(|| later as f64 / all as f64)
    }

    /// The counters read back from a checkpoint: none so high that counting on, or a sum of them, could overflow.
    #[must_use]
    pub(super) fn within_reason(mut self) -> Self {
        const MOST: u64 = 1 << 56;
        for counter in [
            &mut self.sent_link,
            &mut self.sent_echo,
            &mut self.sent_tcp,
            &mut self.sent_udp,
            &mut self.sent_rst,
            &mut self.sent_answers,
            &mut self.received,
            &mut self.hosts_up,
            &mut self.open,
            &mut self.leaks,
            &mut self.unreachable,
            &mut self.probes_done,
            &mut self.probes_due,
            &mut self.suppressed,
            &mut self.resets_dropped,
            &mut self.hosts_unlisted,
            &mut self.extra_passes,
        ]
        .into_iter()
        .chain(&mut self.answered_in_pass)
        {
            *counter = (*counter).min(MOST);
        }
        self
    }

    #[inline]
    pub(super) fn count_sent(&mut self, kind: ProbeKind) {
        *match kind {
            ProbeKind::Arp | ProbeKind::Ndp => &mut self.sent_link,
            ProbeKind::Echo => &mut self.sent_echo,
            ProbeKind::TcpSyn { .. } => &mut self.sent_tcp,
            ProbeKind::TcpRst { .. } => &mut self.sent_rst,
            ProbeKind::Udp { .. } => &mut self.sent_udp,
        } += 1;
    }

    pub(super) fn count_answered(&mut self, pass: u32) {
        self.answered_in_pass[(pass as usize).min(PASSES - 1)] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_counter_of_a_checkpoint_makes_counting_on_overflow() {
        let most = u64::MAX;
        let text = format!(
            "{{\"sent_link\":{most},\"sent_tcp\":{most},\"sent_rst\":{most},\"passes\":2,\
             \"answered_in_pass\":[{most},{most},{most},{most},{most},{most},{most},{most}]}}"
        );
        let read: Counters = serde_json::from_str(&text).unwrap();
        let mut counters = read.within_reason();
        counters.count_sent(ProbeKind::Arp);
        counters.count_answered(0);
        assert!(counters.sent() > counters.probes());
        assert!(counters.loss().is_some_and(|loss| loss > 0.8));
    }
}
