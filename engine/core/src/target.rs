//! Target syntax: what a person writes for "these hosts, in these VLANs".
//!
//! | written | meaning |
//! |---|---|
//! | `10.0.0.1`, `2001:db8::1` | an address |
//! | `10.0.0.0/24`, `2001:db8::/120` | a prefix; bits below it do not matter |
//! | `10.0.0.5-10.0.1.20`, `2001:db8::1-2001:db8::ff` | from the first to the last |
//! | `10.0.0-3.1-254` | each octet in its own range |
//! | `host.example.org` | all addresses of a name |
//! | `TARGET@100`, `TARGET@100,200-210`, `TARGET@lan` | the same in these VLANs; `lan`: untagged |
//! | `@100` | a whole VLAN, in exclusions and policies |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rayon::prelude::*;
use sonde_wire::{InvalidVlanId, VlanId};

use crate::interval::{Address, Interval, IntervalSet};
use crate::request::ScanRequest;

/// The most intervals one octet-range target may expand to: a /8 of hosts 1 to 254 fits.
const OCTET_INTERVALS_MAX: u64 = 1 << 16;
/// Below this many texts a second thread costs more than it saves.
const PARALLEL_MIN: usize = 4096;

/// A parsed target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which hosts.
    pub hosts: Hosts,
    /// In which VLANs; `None` when the text does not say.
    pub vlans: Option<VlanSet>,
}

/// The hosts part of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// An IPv4 interval.
    V4(Interval<u32>),
    /// An IPv6 interval.
    V6(Interval<u128>),
    /// IPv4, each octet between two bounds; see [`octet_intervals`].
    Octets([(u8, u8); 4]),
    /// A host name, to be resolved by the driver.
    Name(String),
    /// Whatever is in the VLANs: `@100` alone.
    All,
}

/// A set of VLANs, the untagged LAN among them as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VlanSet {
    /// Identifiers; 0, which no VLAN has, is the untagged LAN.
    ids: IntervalSet<u16>,
}

impl VlanSet {
    /// True when the VLAN (untagged for `None`) is in it.
    pub fn contains(&self, vlan: Option<VlanId>) -> bool {
        self.ids.contains(vlan.map_or(0, VlanId::id))
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            ids: self.ids.union(&other.ids),
        }
    }

    /// Its VLANs, ascending, untagged first.
    pub fn iter(&self) -> impl Iterator<Item = Option<VlanId>> {
        self.ids.points().map(VlanId::new)
    }
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no target: {fault}")]
pub struct TargetError {
    /// What was written.
    pub text: String,
    /// What is wrong with it, and the way out.
    pub fault: TargetFault,
}

/// What is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its variant means")]
pub enum TargetFault {
    #[error("it is empty; write an address, as 10.0.0.1, or a prefix, as 10.0.0.0/24")]
    Empty,
    #[error("a prefix is at most {max}; write {example}")]
    PrefixTooLong { max: u8, example: String },
    #[error("`{0}` is no prefix length; write a number after the slash, as 10.0.0.0/24")]
    Prefix(String),
    #[error("`{0}` is no address; write four numbers from 0 to 255, as 10.0.0.1")]
    V4(String),
    #[error("`{0}` is no IPv6 address; write one as 2001:db8::1")]
    V6(String),
    #[error(
        "addresses with an interface (`%{0}`) are not understood; name the VLAN instead, as fe80::1@100"
    )]
    Zone(String),
    #[error("the range ends before it begins; write {last}-{first}")]
    Reversed { first: String, last: String },
    #[error(
        "it is {0} separate ranges, more than {OCTET_INTERVALS_MAX}; write a prefix and exclude what it has too much"
    )]
    TooManyRanges(u64),
    #[error(
        "`{0}` is neither an address nor a host name; write 10.0.0.0/24, 10.0.0.1-10.0.0.9, 2001:db8::1 or host.example.org"
    )]
    Name(String),
    #[error("nothing follows the @; write the VLANs, as @100, @100,200-210 or @lan")]
    VlansEmpty,
    #[error("`{0}` is no VLAN; write @100, @100,200-210 or @lan")]
    Vlan(String),
    #[error("{0}")]
    VlanId(InvalidVlanId),
    #[error("the name has no address; write the address, or correct the name")]
    NameUnknown,
    #[error("a name could come to mean something else; write its addresses")]
    NameNotAllowed,
}

/// The first of many texts that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct NthTargetError {
    /// Its place in the list, from 0: a file's reader adds the line it came from.
    pub index: usize,
    /// What is wrong.
    pub error: TargetError,
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).map_err(|fault| TargetError {
            text: text.to_owned(),
            fault,
        })
    }
}

/// Parses many targets, on all cores when they are many; the order is kept.
///
/// # Errors
///
/// The first text, in their order, that is no target.
pub fn parse_all(texts: &[String]) -> Result<Vec<Target>, NthTargetError> {
    let nth = |(index, text): (usize, &String)| {
        text.parse::<Target>()
            .map_err(|error| NthTargetError { index, error })
    };
    if texts.len() < PARALLEL_MIN {
        return texts.iter().enumerate().map(nth).collect();
    }
    let parsed: Vec<_> = texts.par_iter().enumerate().map(nth).collect();
    parsed.into_iter().collect()
}

/// The host names in a request's targets and exclusions, sorted, each once: what the driver
/// resolves into [`crate::plan::Environment::names`].
///
/// # Errors
///
/// The first text that is no target.
pub fn names(request: &ScanRequest) -> Result<Vec<String>, NthTargetError> {
    let mut names = Vec::new();
    for list in [&request.targets, &request.exclude] {
        for target in parse_all(list)? {
            if let Hosts::Name(name) = target.hosts {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Splits a list of targets at its commas, but not at those between the VLANs of one target: the
/// list `10.0.0.0/24@100,200-210,10.9.9.9` holds two. Empty pieces are left out.
pub fn split_list(list: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut start = 0;
    for (comma, _) in list.match_indices(',') {
        let next = list[comma + 1..]
            .split(',')
            .next()
            .unwrap_or_default()
            .trim();
        let in_vlans = list[start..comma].contains('@') && is_vlan_piece(next);
        if !in_vlans {
            targets.push(&list[start..comma]);
            start = comma + 1;
        }
    }
    targets.push(&list[start..]);
    targets
        .iter()
        .map(|t| t.trim())
        .filter(|t| !t.is_empty())
        .collect()
}

/// The intervals of an octet-range target, ascending.
pub fn octet_intervals(octets: [(u8, u8); 4]) -> impl Iterator<Item = Interval<u32>> {
    let (fixed, low, high) = octet_split(octets);
    let total = octet_count(octets);
    (0..total).map(move |nth| {
        // `nth` counts through the leading octets, the last of them fastest.
        let mut rest = nth;
        let mut lead = 0_u32;
        for place in (0..fixed).rev() {
            let (from, to) = octets[place];
            let span = u64::from(to - from) + 1;
            lead |= (u32::from(from) + (rest % span) as u32) << (24 - 8 * place);
            rest /= span;
        }
        Interval {
            first: lead | low,
            last: lead | high,
        }
    })
}

/// How many intervals [`octet_intervals`] yields.
fn octet_count(octets: [(u8, u8); 4]) -> u64 {
    let (fixed, ..) = octet_split(octets);
    octets[..fixed]
        .iter()
        .map(|(from, to)| u64::from(to - from) + 1)
        .product()
}

/// How many leading octets are counted through, and the bounds of the rest: all octets after one
/// range are within one interval only if they are full.
fn octet_split(octets: [(u8, u8); 4]) -> (usize, u32, u32) {
    let full = octets.iter().rev().take_while(|o| **o == (0, 255)).count();
    let fixed = 3_usize.saturating_sub(full);
    let bits = |pick: fn(&(u8, u8)) -> u8| {
        octets[fixed..]
            .iter()
            .fold(0_u32, |bits, octet| bits << 8 | u32::from(pick(octet)))
    };
    (fixed, bits(|o| o.0), bits(|o| o.1))
}

fn parse(text: &str) -> Result<Target, TargetFault> {
    let (hosts, vlans) = match text.split_once('@') {
        Some((hosts, vlans)) => (hosts.trim(), Some(parse_vlans(vlans)?)),
        None => (text, None),
    };
    let hosts = match (hosts, &vlans) {
        ("", None) => return Err(TargetFault::Empty),
        ("", Some(_)) => Hosts::All,
        (hosts, _) => parse_hosts(hosts)?,
    };
    Ok(Target { hosts, vlans })
}

fn parse_vlans(text: &str) -> Result<VlanSet, TargetFault> {
    let id = |text: &str| -> Result<u16, TargetFault> {
        let number = decimal(text).ok_or_else(|| TargetFault::Vlan(text.to_owned()))?;
        let id = u16::try_from(number).ok().and_then(VlanId::new);
        id.map(VlanId::id)
            .ok_or(TargetFault::VlanId(InvalidVlanId(number)))
    };
    let mut ids = Vec::new();
    for piece in text.split(',').map(str::trim) {
        ids.push(match piece.split_once('-') {
            _ if text.trim().is_empty() => return Err(TargetFault::VlansEmpty),
            _ if piece.eq_ignore_ascii_case("lan") => Interval::one(0),
            None => Interval::one(id(piece)?),
            Some((first, last)) => match (id(first)?, id(last)?) {
                (first, last) if first <= last => Interval { first, last },
                _ => return Err(reversed(first, last)),
            },
        });
    }
    Ok(VlanSet {
        ids: ids.into_iter().collect(),
    })
}

fn parse_hosts(text: &str) -> Result<Hosts, TargetFault> {
    if text.contains(':') {
        return parse_v6(text).map(Hosts::V6);
    }
    let before_prefix = text.split('/').next().unwrap_or_default();
    if before_prefix
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.' || b == b'-')
    {
        return parse_v4(text);
    }
    is_name(text)
        .then(|| Hosts::Name(text.to_ascii_lowercase()))
        .ok_or_else(|| TargetFault::Name(text.to_owned()))
}

fn parse_v4(text: &str) -> Result<Hosts, TargetFault> {
    let address = |text: &str| {
        text.parse::<Ipv4Addr>()
            .map(Ipv4Addr::to_bits)
            .map_err(|_| TargetFault::V4(text.to_owned()))
    };
    if let Some((base, prefix)) = text.split_once('/') {
        let base = address(base)?;
        let prefix = parse_prefix(prefix, 32, || {
            format!("{}/24", Ipv4Addr::from_bits(base & !0xff))
        })?;
        return Ok(Hosts::V4(base.prefix(prefix)));
    }
    if let Some((first, last)) = text.split_once('-')
        && last.contains('.')
        && (first.split('.').count(), last.split('.').count()) == (4, 4)
    {
        return match (address(first)?, address(last)?) {
            (first, last) if first <= last => Ok(Hosts::V4(Interval { first, last })),
            _ => Err(reversed(first, last)),
        };
    }
    if !text.contains('-') {
        return address(text).map(|bits| Hosts::V4(Interval::one(bits)));
    }
    parse_octets(text)
}

fn parse_octets(text: &str) -> Result<Hosts, TargetFault> {
    let wrong = || TargetFault::V4(text.to_owned());
    let octet = |text: &str| {
        decimal(text)
            .and_then(|n| u8::try_from(n).ok())
            .ok_or_else(wrong)
    };
    let mut octets = [(0, 0); 4];
    let mut parts = text.split('.');
    for bounds in &mut octets {
        let part = parts.next().ok_or_else(wrong)?;
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        *bounds = (octet(first)?, octet(last)?);
        if bounds.0 > bounds.1 {
            return Err(reversed(first, last));
        }
    }
    if parts.next().is_some() {
        return Err(wrong());
    }
    match octet_count(octets) {
        1 => {
            let only = octet_intervals(octets).next().ok_or_else(wrong)?;
            Ok(Hosts::V4(only))
        }
        2..=OCTET_INTERVALS_MAX => Ok(Hosts::Octets(octets)),
        count => Err(TargetFault::TooManyRanges(count)),
    }
}

fn parse_v6(text: &str) -> Result<Interval<u128>, TargetFault> {
    if let Some((_, zone)) = text.split_once('%') {
        return Err(TargetFault::Zone(zone.to_owned()));
    }
    let address = |text: &str| {
        text.parse::<Ipv6Addr>()
            .map(Ipv6Addr::to_bits)
            .map_err(|_| TargetFault::V6(text.to_owned()))
    };
    if let Some((base, prefix)) = text.split_once('/') {
        let base = address(base)?;
        let prefix = parse_prefix(prefix, 128, || {
            format!("{}/120", Ipv6Addr::from_bits(base & !0xff))
        })?;
        return Ok(base.prefix(prefix));
    }
    let Some((first, last)) = text.split_once('-') else {
        return address(text).map(Interval::one);
    };
    match (address(first)?, address(last)?) {
        (first, last) if first <= last => Ok(Interval { first, last }),
        _ => Err(reversed(first, last)),
    }
}

fn parse_prefix(text: &str, max: u8, example: impl Fn() -> String) -> Result<u8, TargetFault> {
    let number = decimal(text).ok_or_else(|| TargetFault::Prefix(text.to_owned()))?;
    match u8::try_from(number) {
        Ok(prefix) if prefix <= max => Ok(prefix),
        _ => Err(TargetFault::PrefixTooLong {
            max,
            example: example(),
        }),
    }
}

/// An address with prefix length (`10.1.0.2/24`), the address kept whole; `None` when it is none.
pub(crate) fn parse_address_with_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let prefix = decimal(prefix)
        .and_then(|p| u8::try_from(p).ok())
        .filter(|p| *p <= max)?;
    Some((address, prefix))
}

/// Decimal digits alone, without sign or blank, up to `u32::MAX`.
pub(crate) fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

fn reversed(first: &str, last: &str) -> TargetFault {
    TargetFault::Reversed {
        first: first.to_owned(),
        last: last.to_owned(),
    }
}

fn is_vlan_piece(text: &str) -> bool {
    let number = |text: &str| decimal(text).is_some();
    text.eq_ignore_ascii_case("lan")
        || number(text)
        || text
            .split_once('-')
            .is_some_and(|(first, last)| number(first) && number(last))
}

/// A host name: labels of letters, digits, hyphens and underscores (RFC 1123 §2.1, and what is in
/// use), the last one not a number, a dot at the end allowed.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && decimal(last).is_none()
}

#[cfg(test)]
mod tests;
