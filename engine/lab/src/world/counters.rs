//! What a world counts: `enum counter` in `bpf/world.bpf.c`, in its order.

use std::fmt;

/// Defines the counters once: their number, their names, and how they are read from the program's words.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a world counted, summed over the CPUs.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WorldCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// How many there are.
        pub(super) const COUNTERS: usize = [$(stringify!($name)),+].len();

        impl WorldCounters {
            pub(super) fn from_words(words: [u64; COUNTERS]) -> Self {
                let [$($name),+] = words;
                Self { $($name),+ }
            }

            /// Name and value of each, in the order of the fields.
            pub fn named(&self) -> [(&'static str, u64); COUNTERS] {
                [$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counters! {
    /// All frames that came in.
    received,
    /// Of these, ARP requests.
    received_arp,
    /// Neighbor solicitations.
    received_ndp,
    /// Echo requests of both families, for addresses of the world.
    received_echo,
    /// TCP segments with SYN alone, for addresses of the world.
    received_syn,
    /// UDP datagrams, for addresses of the world.
    received_udp,
    /// IP packets that the policer let through, all of them where there is none.
    let_through,
    /// ARP replies sent.
    answered_arp,
    /// Neighbor advertisements sent.
    answered_ndp,
    /// Echo replies sent.
    answered_echo,
    /// SYN-ACKs sent.
    answered_syn_ack,
    /// Resets sent.
    answered_rst,
    /// Datagrams sent back.
    answered_udp,
    /// Port unreachable messages sent.
    answered_unreachable,
    /// Questions to hosts that are not up, and to ports that say nothing.
    silent,
    /// Frames lost on their way in.
    lost_in,
    /// Answers lost on their way out.
    lost_out,
    /// IP packets above the policer's rate.
    policed,
    /// Port unreachable messages above their rate.
    unreachable_limited,
    /// Resets and other TCP segments that are no SYN.
    stray_tcp,
    /// IP packets sent to the MAC address of somebody else than their next hop.
    misdirected,
    /// Everything else: other protocols, VLANs and networks.
    foreign,
}

impl WorldCounters {
    /// Answers sent.
    pub const fn answered(&self) -> u64 {
        self.answered_arp
            + self.answered_ndp
            + self.answered_echo
            + self.answered_syn_ack
            + self.answered_rst
            + self.answered_udp
            + self.answered_unreachable
    }

    /// Every frame that came in, by what became of it: equals [`WorldCounters::received`] when nothing is
    /// on its way.
    pub const fn accounted(&self) -> u64 {
        self.answered()
            + self.silent
            + self.lost_in
            + self.lost_out
            + self.policed
            + self.unreachable_limited
            + self.stray_tcp
            + self.misdirected
            + self.foreign
    }
}

impl fmt::Display for WorldCounters {
    /// One line: those that are not 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.named().into_iter().filter(|(_, value)| *value > 0);
        let texts: Vec<String> = counted
            .map(|(name, value)| format!("{} {value}", name.replace('_', " ")))
            .collect();
        f.write_str(&texts.join(", "))
    }
}
