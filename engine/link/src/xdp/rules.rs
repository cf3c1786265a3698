//! What the program is told to expect, as its maps have it.

use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use sonde_wire::VlanId;

use crate::expected::{Expected, Proof};

/// `struct config` of bpf/sonde.bpf.c.
const CONFIG: usize = 24;
/// `struct source`.
const SOURCE: usize = 32;

/// The maps that say what to expect.
pub(super) struct Rules {
    config: Array<MapData, [u8; CONFIG]>,
    sources: Array<MapData, [u8; SOURCE]>,
    words: HashMap<MapData, u32, u32>,
    index: u32,
}

impl Rules {
    /// Takes the maps out of `object` and names the interface numbered `index`; nothing is expected yet.
    pub(super) fn new(object: &mut Ebpf, index: u32) -> Result<Self, MapError> {
        let mut rules = Self {
            config: Array::try_from(super::map(object, "config")?)?,
            sources: Array::try_from(super::map(object, "sources")?)?,
            words: HashMap::try_from(super::map(object, "words")?)?,
            index,
        };
        rules.config.set(0, config(index, None), 0)?;
        Ok(rules)
    }

    /// Expects `expected` from now on. Only the first address of each VLAN and family is judged in the kernel:
    /// what goes to others is handed up whole.
    pub(super) fn set(&mut self, expected: &Expected<'_>) -> Result<(), MapError> {
        let mut sources: Box<[Source; 4096]> = Box::new([Source::default(); 4096]);
        for source in expected.sources {
            let slot = &mut sources[slot_of(source.vlan)];
            slot.kernel_owned |= source.kernel_owned;
            match source.ip {
                IpAddr::V4(ip) if slot.ipv4 == [0; 4] => slot.ipv4 = ip.octets(),
                IpAddr::V6(ip) if slot.ipv6 == [0; 16] => slot.ipv6 = ip.octets(),
                _ => {}
            }
        }
        for (vlan, source) in sources.iter().enumerate() {
            let used = *source != Source::default();
            let word = expected.proof.map_or(0, |proof| proof.words[vlan]);
            if used {
                self.sources.set(vlan as u32, source.encode(word), 0)?;
            }
            if used && expected.proof.is_some() {
                self.words.insert(word, vlan as u32, 0)?;
            }
        }
        self.config.set(0, config(self.index, Some(expected)), 0)
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Source {
    ipv4: [u8; 4],
    ipv6: [u8; 16],
    kernel_owned: bool,
}

impl Source {
    fn encode(&self, word: u32) -> [u8; SOURCE] {
        let mut bytes = [0; SOURCE];
        bytes[..4].copy_from_slice(&self.ipv4);
        bytes[4..8].copy_from_slice(&word.to_ne_bytes());
        bytes[8..24].copy_from_slice(&self.ipv6);
        bytes[24] = u8::from(self.kernel_owned);
        bytes
    }
}

fn config(index: u32, expected: Option<&Expected<'_>>) -> [u8; CONFIG] {
    let mut bytes = [0; CONFIG];
    bytes[16..20].copy_from_slice(&index.to_ne_bytes());
    let Some(expected) = expected else {
        return bytes;
    };
    bytes[20..22].copy_from_slice(&expected.port.to_be_bytes());
    bytes[22] = 1;
    if let Some(Proof { key, resets, .. }) = expected.proof {
        // The key's two words are little-endian (SipHash, section 2); the map has integers of this machine.
        for (to, from) in bytes.chunks_exact_mut(8).zip(key.chunks_exact(8)) {
            let word = from.try_into().map_or(0, u64::from_le_bytes);
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[22] = 2;
        bytes[23] = u8::from(resets);
    }
    bytes
}

fn slot_of(vlan: Option<VlanId>) -> usize {
    vlan.map_or(0, |vlan| usize::from(vlan.id()))
}
