//! A VLAN switch's decisions, without I/O: which ports a frame leaves by, and whether tagged.
//!
//! Every frame belongs to exactly one segment from the port it came in by to the ports it leaves by; a
//! frame never changes its segment. Addresses are learnt per segment, so one address may live in two
//! (IEEE 802.1Q-2022 §8.6, §8.7).

use std::collections::{BTreeSet, HashMap};

use sonde_wire::{MacAddr, VlanId};

/// One broadcast domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Untagged on the trunk.
    Untagged,
    /// A VLAN of the trunk.
    Vlan(VlanId),
    /// Not on the trunk.
    Inner(u16),
}

/// Index of a port, in the order given to [`Switch::new`].
pub type PortId = usize;

/// What a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// Untagged, in one segment.
    Access(Segment),
    /// Tagged: these VLANs, and the untagged LAN if told so.
    Trunk {
        /// Whether it carries [`Segment::Untagged`].
        untagged: bool,
        /// The VLANs it carries.
        vlans: BTreeSet<VlanId>,
    },
}

impl Port {
    fn carries(&self, segment: Segment) -> bool {
        match (self, segment) {
            (Self::Access(own), _) => *own == segment,
            (Self::Trunk { untagged, .. }, Segment::Untagged) => *untagged,
            (Self::Trunk { vlans, .. }, Segment::Vlan(vlan)) => vlans.contains(&vlan),
            (Self::Trunk { .. }, Segment::Inner(_)) => false,
        }
    }
}

/// A port that a frame leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The port.
    pub port: PortId,
    /// The tag it leaves with.
    pub tag: Option<VlanId>,
}

/// Why a frame is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchDrop {
    /// Shorter than an Ethernet header.
    Short,
    /// A tag on an access port.
    TaggedOnAccess,
    /// A VLAN that the port does not carry, or untagged on a port without an untagged LAN.
    UnknownVlan,
    /// A second tag under the first, or a service tag: no VLAN here is named by those.
    ForeignTag,
    /// From a group address, which no station has.
    GroupSource,
    /// To an address that bridges keep to themselves, 01-80-c2-00-00-0X (IEEE 802.1Q-2022 §8.6.3).
    Reserved,
    /// For a station behind the port it came in by.
    SamePort,
}

impl SwitchDrop {
    /// Every reason, in the order of [`SwitchCounters::dropped`].
    pub const ALL: [Self; 7] = [
        Self::Short,
        Self::TaggedOnAccess,
        Self::UnknownVlan,
        Self::ForeignTag,
        Self::GroupSource,
        Self::Reserved,
        Self::SamePort,
    ];
}

/// What a switch counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchCounters {
    /// Frames passed to one port, where their destination was learnt.
    pub forwarded: u64,
    /// Frames passed to all other ports of their segment.
    pub flooded: u64,
    /// Frames not passed on, by the index of their reason in [`SwitchDrop::ALL`].
    pub dropped: [u64; SwitchDrop::ALL.len()],
    /// Times the address table was full and started anew.
    pub table_flushed: u64,
}

/// The switch: ports, their segments, learnt addresses.
#[derive(Debug)]
pub struct Switch {
    ports: Vec<Port>,
    members: HashMap<Segment, Vec<Exit>>,
    table: HashMap<(Segment, MacAddr), PortId>,
    counters: SwitchCounters,
}

/// Addresses a switch learns. When one more comes the table starts anew: frames are flooded for a
/// moment, none is lost.
pub const TABLE_MAX: usize = 4096;

/// Octets of an Ethernet header.
const HEADER: usize = 14;

/// Tag protocol identifiers: customer and service tag (IEEE 802.1Q-2022 §9.4).
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

impl Switch {
    /// A switch of these ports that has learnt nothing.
    pub fn new(ports: Vec<Port>) -> Self {
        let mut members: HashMap<Segment, Vec<Exit>> = HashMap::new();
        for (id, port) in ports.iter().enumerate() {
            let segments: Vec<Segment> = match port {
                Port::Access(segment) => vec![*segment],
                Port::Trunk { untagged, vlans } => {
                    let tagged = vlans.iter().map(|&vlan| Segment::Vlan(vlan));
                    untagged
                        .then_some(Segment::Untagged)
                        .into_iter()
                        .chain(tagged)
                        .collect()
                }
            };
            for segment in segments {
                let exit = Exit {
                    port: id,
                    tag: tag_at(port, segment),
                };
                members.entry(segment).or_default().push(exit);
            }
        }
        let (table, counters) = (HashMap::new(), SwitchCounters::default());
        Self {
            ports,
            members,
            table,
            counters,
        }
    }

    /// Decides where a frame that came in by `port` leaves; replaces what is in `exits`.
    ///
    /// `tag` is the outer tag it came with, `frame` its bytes without that tag.
    ///
    /// # Errors
    /// The reason it is passed nowhere; `exits` is empty then.
    ///
    /// # Panics
    /// If there is no such port.
    pub fn forward(
        &mut self,
        port: PortId,
        tag: Option<VlanId>,
        frame: &[u8],
        exits: &mut Vec<Exit>,
    ) -> Result<Segment, SwitchDrop> {
        exits.clear();
        let decided = self.decide(port, tag, frame, exits);
        if let Err(reason) = decided {
            self.counters.dropped[reason as usize] += 1;
        }
        decided
    }

    /// What was counted so far.
    pub const fn counters(&self) -> SwitchCounters {
        self.counters
    }

    fn decide(
        &mut self,
        port: PortId,
        tag: Option<VlanId>,
        frame: &[u8],
        exits: &mut Vec<Exit>,
    ) -> Result<Segment, SwitchDrop> {
        let header = frame.first_chunk::<HEADER>().ok_or(SwitchDrop::Short)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        let to = MacAddr([d0, d1, d2, d3, d4, d5]);
        let from = MacAddr([s0, s1, s2, s3, s4, s5]);
        let segment = self.segment(port, tag)?;
        if TAGS.contains(&[t0, t1]) {
            return Err(SwitchDrop::ForeignTag);
        }
        if from.is_group() {
            return Err(SwitchDrop::GroupSource);
        }
        if matches!(to.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f]) {
            return Err(SwitchDrop::Reserved);
        }
        self.learn(segment, from, port);
        let members = self.members.get(&segment).map_or(&[][..], Vec::as_slice);
        match self.table.get(&(segment, to)) {
            Some(&exit) if exit == port => return Err(SwitchDrop::SamePort),
            Some(&exit) => {
                exits.extend(members.iter().filter(|member| member.port == exit));
                self.counters.forwarded += 1;
            }
            None => {
                exits.extend(members.iter().filter(|member| member.port != port));
                self.counters.flooded += 1;
            }
        }
        Ok(segment)
    }

    /// The segment of a frame that came in by `port` with `tag`.
    fn segment(&self, port: PortId, tag: Option<VlanId>) -> Result<Segment, SwitchDrop> {
        let entered = &self.ports[port];
        let segment = match (entered, tag) {
            (Port::Access(segment), None) => *segment,
            (Port::Access(_), Some(_)) => return Err(SwitchDrop::TaggedOnAccess),
            (Port::Trunk { .. }, None) => Segment::Untagged,
            (Port::Trunk { .. }, Some(vlan)) => Segment::Vlan(vlan),
        };
        if entered.carries(segment) {
            Ok(segment)
        } else {
            Err(SwitchDrop::UnknownVlan)
        }
    }

    fn learn(&mut self, segment: Segment, from: MacAddr, port: PortId) {
        if self.table.len() >= TABLE_MAX && !self.table.contains_key(&(segment, from)) {
            self.table.clear();
            self.counters.table_flushed += 1;
        }
        self.table.insert((segment, from), port);
    }
}

fn tag_at(port: &Port, segment: Segment) -> Option<VlanId> {
    match (port, segment) {
        (Port::Trunk { .. }, Segment::Vlan(vlan)) => Some(vlan),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRUNK: PortId = 0;

    fn vlan(id: u16) -> VlanId {
        VlanId::new(id).unwrap()
    }

    /// Port 0 the trunk (untagged, 100, 200), then two ports each in the LAN, 100, 200, and inner 0.
    fn switch() -> Switch {
        let vlans = BTreeSet::from([vlan(100), vlan(200)]);
        let mut ports = vec![Port::Trunk {
            untagged: true,
            vlans,
        }];
        let tagged = [100, 200].map(|id| Segment::Vlan(vlan(id)));
        for segment in [Segment::Untagged, tagged[0], tagged[1], Segment::Inner(0)] {
            ports.extend([Port::Access(segment), Port::Access(segment)]);
        }
        Switch::new(ports)
    }

    fn frame(to: u8, from: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x08, 0x00];
        frame.resize(60, 0);
        frame
    }

    fn exits(
        switch: &mut Switch,
        port: PortId,
        tag: Option<u16>,
        frame: &[u8],
    ) -> Vec<(usize, Option<u16>)> {
        let mut exits = Vec::new();
        switch
            .forward(port, tag.map(vlan), frame, &mut exits)
            .unwrap();
        exits
            .iter()
            .map(|exit| (exit.port, exit.tag.map(VlanId::id)))
            .collect()
    }

    #[test]
    fn tags_are_put_on_and_taken_off_at_the_trunk() {
        let mut switch = switch();
        assert_eq!(
            exits(&mut switch, 3, None, &frame(9, 3)),
            [(TRUNK, Some(100)), (4, None)]
        );
        assert_eq!(
            exits(&mut switch, TRUNK, Some(100), &frame(8, 1)),
            [(3, None), (4, None)]
        );
        assert_eq!(
            exits(&mut switch, 1, None, &frame(9, 1)),
            [(TRUNK, None), (2, None)]
        );
        assert_eq!(exits(&mut switch, 7, None, &frame(9, 7)), [(8, None)]);
    }

    #[test]
    fn learnt_addresses_get_one_copy_and_only_in_their_segment() {
        let mut switch = switch();
        exits(&mut switch, 3, None, &frame(9, 3));
        assert_eq!(
            exits(&mut switch, TRUNK, Some(100), &frame(3, 1)),
            [(3, None)]
        );
        // The same address is unknown in VLAN 200: flooded there, nowhere else.
        assert_eq!(
            exits(&mut switch, TRUNK, Some(200), &frame(3, 1)),
            [(5, None), (6, None)]
        );
        // It moves to another port.
        exits(&mut switch, 4, None, &frame(9, 3));
        assert_eq!(
            exits(&mut switch, TRUNK, Some(100), &frame(3, 1)),
            [(4, None)]
        );
        let counters = switch.counters();
        assert_eq!((counters.forwarded, counters.flooded), (2, 3));
    }

    #[test]
    fn every_reason_to_drop_is_reached_and_counted() {
        let mut switch = switch();
        exits(&mut switch, 3, None, &frame(9, 3));
        let mut tagged = frame(9, 3);
        tagged[12..14].copy_from_slice(&TAGS[0]);
        let mut group = frame(9, 3);
        group[6] |= 1;
        let mut reserved = frame(9, 3);
        reserved[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, 0x0e]);
        let cases: [(PortId, Option<u16>, Vec<u8>); 7] = [
            (TRUNK, None, vec![0; HEADER - 1]),
            (3, Some(100), frame(9, 3)),
            (TRUNK, Some(300), frame(9, 3)),
            (TRUNK, Some(100), tagged),
            (3, None, group),
            (3, None, reserved),
            (3, None, frame(3, 4)),
        ];
        for (reason, (port, tag, frame)) in SwitchDrop::ALL.into_iter().zip(cases) {
            let mut exits = vec![Exit { port: 0, tag: None }];
            assert_eq!(
                switch.forward(port, tag.map(vlan), &frame, &mut exits),
                Err(reason)
            );
            assert_eq!(exits, []);
        }
        assert_eq!(switch.counters().dropped, [1; SwitchDrop::ALL.len()]);
    }

    #[test]
    fn a_trunk_without_untagged_lan_drops_untagged_frames() {
        let vlans = BTreeSet::from([vlan(100)]);
        let mut switch = Switch::new(vec![Port::Trunk {
            untagged: false,
            vlans,
        }]);
        let decided = switch.forward(TRUNK, None, &frame(1, 2), &mut Vec::new());
        assert_eq!(decided, Err(SwitchDrop::UnknownVlan));
    }

    #[test]
    fn the_table_is_bounded_and_starts_anew() {
        let mut switch = switch();
        for station in 0..=TABLE_MAX as u16 {
            let mut frame = frame(0, 0);
            frame[..6].copy_from_slice(&MacAddr::BROADCAST.0);
            frame[10..12].copy_from_slice(&station.to_be_bytes());
            switch.forward(3, None, &frame, &mut Vec::new()).unwrap();
            assert!(switch.table.len() <= TABLE_MAX);
        }
        assert_eq!(
            (switch.table.len(), switch.counters().table_flushed),
            (1, 1)
        );
    }

    proptest! {
        /// Whatever comes in, wherever: it leaves only by ports of its own segment, never by the one it
        /// came in by, and is tagged on the trunk alone, with its own VLAN.
        #[test]
        fn no_frame_crosses_segments(
            frames in prop::collection::vec(
                (0..9usize, prop::option::of(prop::sample::select(vec![1u16, 100, 200, 4094])), 0..12u8, 0..12u8, any::<bool>()),
                1..200,
            )
        ) {
            let mut switch = switch();
            for (port, tag, to, from, broadcast) in frames {
                let mut bytes = frame(to, from);
                if broadcast {
                    bytes[..6].copy_from_slice(&MacAddr::BROADCAST.0);
                }
                let mut exits = Vec::new();
                let Ok(segment) = switch.forward(port, tag.map(vlan), &bytes, &mut exits) else {
                    prop_assert!(exits.is_empty());
                    continue;
                };
                let expected = match (port, tag) {
                    (TRUNK, None) => Segment::Untagged,
                    (TRUNK, Some(id)) => Segment::Vlan(vlan(id)),
                    (1 | 2, None) => Segment::Untagged,
                    (3 | 4, None) => Segment::Vlan(vlan(100)),
                    (5 | 6, None) => Segment::Vlan(vlan(200)),
                    _ => Segment::Inner(0),
                };
                prop_assert_eq!(segment, expected);
                for exit in exits {
                    prop_assert!(exit.port != port);
                    match (exit.port, segment) {
                        (TRUNK, Segment::Untagged) => prop_assert_eq!(exit.tag, None),
                        (TRUNK, Segment::Vlan(vlan)) => prop_assert_eq!(exit.tag, Some(vlan)),
                        (1 | 2, Segment::Untagged) | (7 | 8, Segment::Inner(0)) => prop_assert_eq!(exit.tag, None),
                        (3 | 4, Segment::Vlan(v)) if v.id() == 100 => prop_assert_eq!(exit.tag, None),
                        (5 | 6, Segment::Vlan(v)) if v.id() == 200 => prop_assert_eq!(exit.tag, None),
                        other => prop_assert!(false, "left its segment: {other:?}"),
                    }
                }
            }
        }
    }
}
