//! Which ports to ask.

use crate::observation::Proto;

/// A sorted set of ports: TCP first, then UDP, each ascending.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ports {
    tcp: Vec<u16>,
    udp: Vec<u16>,
}

impl Ports {
    /// How many ports there are, both protocols.
    pub fn len(&self) -> u32 {
        (self.tcp.len() + self.udp.len()) as u32
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    /// The port of this index, which must be below [`Ports::len`].
    #[inline]
    pub fn at(&self, index: u32) -> (Proto, u16) {
        let index = index as usize;
        match self.tcp.get(index) {
            Some(port) => (Proto::Tcp, *port),
            None => (Proto::Udp, self.udp[index - self.tcp.len()]),
        }
    }

    /// The index of a port, or `None` when it is not in the set.
    #[inline]
    pub fn index(&self, proto: Proto, port: u16) -> Option<u32> {
        let (list, before) = match proto {
            Proto::Tcp => (&self.tcp, 0),
            Proto::Udp => (&self.udp, self.tcp.len()),
        };
        list.binary_search(&port)
            .ok()
            .map(|at| (before + at) as u32)
    }
}
