//! Port syntax: which ports to ask.
//!
//! | written | meaning |
//! |---|---|
//! | `22,80,8000-8100` | TCP ports and ranges |
//! | `T:1-1024,U:53,161` | `T:` and `U:` hold until the next of them |
//! | `-` | all of 1 to 65,535 |
//! | `top:100` | the hundred most worth asking, see [`top_ports`] |

use crate::interval::{Interval, IntervalSet};
use crate::observation::Proto;
use crate::target::decimal;

pub mod top_ports;

/// A sorted set of ports: TCP first, then UDP, each ascending; port 0 is in none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ports {
    tcp: Vec<u16>,
    udp: Vec<u16>,
}

/// A text that is no list of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no list of ports: {fault}")]
pub struct PortsError {
    /// What was written, whole.
    pub text: String,
    /// What is wrong with it, and the way out.
    pub fault: PortsFault,
}

/// What is wrong with a list of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its variant means")]
pub enum PortsFault {
    #[error("a piece of it is empty; write 22,80,8000-8100")]
    Empty,
    #[error("`{0}` is no port; ports are 1 to 65535, as 22,80,8000-8100")]
    Port(String),
    #[error("the range ends before it begins; write {last}-{first}")]
    Reversed { first: u16, last: u16 },
    #[error("`{0}` is no count; write top:N with N from 1 to {max}", max = top_ports::TOP_TCP_MAX)]
    Top(String),
    #[error(
        "top:{wanted} is more than the {max} {proto} ports there are; write top:{max}, or - for all"
    )]
    TopTooMany {
        wanted: u32,
        max: usize,
        proto: &'static str,
    },
    #[error("`{0}:` is no protocol; write T: for TCP or U: for UDP")]
    Proto(String),
}

impl std::str::FromStr for Ports {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|fault| PortsError {
            text: text.to_owned(),
            fault,
        })
    }
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
        // Most lists are one run without a gap.
        let run = usize::from(port.wrapping_sub(*list.first()?));
        if list.get(run) == Some(&port) {
            return Some((before + run) as u32);
        }
        list.binary_search(&port)
            .ok()
            .map(|at| (before + at) as u32)
    }

    /// Every port, by index.
    pub fn iter(&self) -> impl Iterator<Item = (Proto, u16)> {
        (0..self.len()).map(|index| self.at(index))
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let less = |ports: &[u16], cut: &[u16]| {
            ports
                .iter()
                .copied()
                .filter(|p| cut.binary_search(p).is_err())
                .collect()
        };
        Self {
            tcp: less(&self.tcp, &other.tcp),
            udp: less(&self.udp, &other.udp),
        }
    }
}

fn parse(text: &str) -> Result<Ports, PortsFault> {
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    let mut proto = Proto::Tcp;
    for piece in text.split(',').map(str::trim) {
        let mut piece = piece;
        if let Some((prefix, rest)) = piece.split_once(':')
            && !prefix.eq_ignore_ascii_case("top")
        {
            proto = match prefix {
                "T" | "t" => Proto::Tcp,
                "U" | "u" => Proto::Udp,
                other => return Err(PortsFault::Proto(other.to_owned())),
            };
            piece = rest.trim();
        }
        match proto {
            Proto::Tcp => parse_piece(piece, proto, &mut tcp)?,
            Proto::Udp => parse_piece(piece, proto, &mut udp)?,
        }
    }
    let sorted = |ranges: Vec<Interval<u16>>| IntervalSet::new(ranges).points().collect();
    Ok(Ports {
        tcp: sorted(tcp),
        udp: sorted(udp),
    })
}

fn parse_piece(
    piece: &str,
    proto: Proto,
    ranges: &mut Vec<Interval<u16>>,
) -> Result<(), PortsFault> {
    let port = |text: &str| {
        decimal(text)
            .and_then(|n| u16::try_from(n).ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| PortsFault::Port(text.to_owned()))
    };
    match (piece, piece.split_once(':'), piece.split_once('-')) {
        ("", ..) => return Err(PortsFault::Empty),
        ("-", ..) => ranges.push(Interval {
            first: 1,
            last: u16::MAX,
        }),
        (_, Some((_, count)), _) => {
            ranges.extend(top(count, proto)?.into_iter().map(Interval::one));
        }
        (_, None, Some((first, last))) => match (port(first)?, port(last)?) {
            (first, last) if first > last => return Err(PortsFault::Reversed { first, last }),
            (first, last) => ranges.push(Interval { first, last }),
        },
        (_, None, None) => ranges.push(Interval::one(port(piece)?)),
    }
    Ok(())
}

fn top(count: &str, proto: Proto) -> Result<Vec<u16>, PortsFault> {
    let wanted = decimal(count)
        .filter(|n| *n > 0)
        .ok_or_else(|| PortsFault::Top(count.to_owned()))?;
    let ports = match proto {
        Proto::Tcp => top_ports::top_tcp(wanted as usize),
        Proto::Udp => top_ports::top_udp(wanted as usize),
    };
    if ports.len() < wanted as usize {
        let proto = if proto == Proto::Tcp { "TCP" } else { "UDP" };
        return Err(PortsFault::TopTooMany {
            wanted,
            max: ports.len(),
            proto,
        });
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ports(text: &str) -> Ports {
        text.parse().unwrap()
    }

    fn fault(text: &str) -> PortsFault {
        text.parse::<Ports>().unwrap_err().fault
    }

    #[test]
    fn every_form_of_the_syntax() {
        assert_eq!(ports("80,22,8000-8002,22").tcp, [22, 80, 8000, 8001, 8002]);
        let both = ports("T:1-3,U:53,161,T:443");
        assert_eq!((both.tcp, both.udp), (vec![1, 2, 3, 443], vec![53, 161]));
        assert_eq!(ports("-").tcp.len(), 65_535);
        assert_eq!(
            (ports("U:-").udp.len(), ports("U:-").tcp.len()),
            (65_535, 0)
        );
        assert_eq!(ports("top:100").len(), 100);
        assert_eq!(ports("top:1000").len(), 1000);
        let mixed = ports("top:10, 60123, u:top:5");
        assert_eq!((mixed.tcp.len(), mixed.udp.len()), (11, 5));
    }

    #[test]
    fn a_refusal_names_the_text_and_the_way_out() {
        assert_eq!(
            "22,70000".parse::<Ports>().unwrap_err().to_string(),
            "`22,70000` is no list of ports: `70000` is no port; ports are 1 to 65535, as 22,80,8000-8100"
        );
        assert_eq!(fault(""), PortsFault::Empty);
        assert_eq!(fault("22,"), PortsFault::Empty);
        assert_eq!(fault("U:"), PortsFault::Empty);
        assert_eq!(fault("0"), PortsFault::Port("0".to_owned()));
        assert_eq!(fault("1-x"), PortsFault::Port("x".to_owned()));
        assert_eq!(fault("-5"), PortsFault::Port(String::new()));
        assert_eq!(fault("9-3"), PortsFault::Reversed { first: 9, last: 3 });
        assert_eq!(fault("top:0"), PortsFault::Top("0".to_owned()));
        assert_eq!(fault("top:many"), PortsFault::Top("many".to_owned()));
        assert_eq!(
            fault("top:1001"),
            PortsFault::TopTooMany {
                wanted: 1001,
                max: 1000,
                proto: "TCP"
            }
        );
        assert_eq!(fault("S:22"), PortsFault::Proto("S".to_owned()));
    }

    #[test]
    fn exclusion_takes_out_per_protocol() {
        let left = ports("22,80,U:80,U:53").subtract(&ports("80,U:53"));
        assert_eq!(left, ports("22,U:80"));
    }

    proptest! {
        #[test]
        fn index_is_the_inverse_of_at(text in "(U:|T:|)[1-9][0-9]{0,3}(-[1-9][0-9]{4}|)(,U:1-50|)") {
            if let Ok(ports) = text.parse::<Ports>() {
                for index in 0..ports.len() {
                    let (proto, port) = ports.at(index);
                    prop_assert_eq!(ports.index(proto, port), Some(index));
                }
                prop_assert_eq!(ports.iter().filter(|(proto, _)| *proto == Proto::Tcp).count(), ports.tcp.len());
            }
            prop_assert_eq!(Ports::default().index(Proto::Tcp, 1), None);
        }

        #[test]
        fn no_text_panics(text in "[-0-9tTuUop:, ]{0,20}") {
            let _ = text.parse::<Ports>();
        }
    }
}
