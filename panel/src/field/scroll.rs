//! Values without a cursor: UP and DOWN walk through a ring of them.

use std::net::Ipv4Addr;

use super::Input;
use crate::event::Key;

/// One value of a ring being chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScrollField {
    kind: Kind,
    value: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// IPv4: /24, /23 … /1, /30 … /25 going down.
    Netmask,
    /// IPv6: /1 … /128 going up.
    PrefixLength,
}

const NETMASK_START: u8 = 24;
const NETMASK_MAX: u8 = 30;
const PREFIX_START: u8 = 64;
const PREFIX_MAX: u8 = 128;

impl ScrollField {
    pub(crate) fn netmask(prefix_len: Option<u8>) -> ScrollField {
        let valid = prefix_len.filter(|value| (1..=NETMASK_MAX).contains(value));
        ScrollField {
            kind: Kind::Netmask,
            value: valid.unwrap_or(NETMASK_START),
        }
    }

    pub(crate) fn prefix_length(prefix_len: Option<u8>) -> ScrollField {
        let valid = prefix_len.filter(|value| (1..=PREFIX_MAX).contains(value));
        ScrollField {
            kind: Kind::PrefixLength,
            value: valid.unwrap_or(PREFIX_START),
        }
    }

    /// Takes a key; false if LEFT had nowhere to go.
    pub(crate) fn handle_input(&mut self, input: Input) -> bool {
        let max = match self.kind {
            Kind::Netmask => NETMASK_MAX,
            Kind::PrefixLength => PREFIX_MAX,
        };
        match input {
            Input::Key(Key::Up) => self.value = if self.value == max { 1 } else { self.value + 1 },
            Input::Key(Key::Down) => {
                self.value = if self.value == 1 { max } else { self.value - 1 }
            }
            Input::Key(Key::Left) => return false,
            _ => {}
        }
        true
    }

    /// The prefix length chosen.
    pub(crate) fn value(&self) -> u8 {
        self.value
    }

    pub(crate) fn text(&self) -> String {
        match self.kind {
            Kind::PrefixLength => self.value.to_string(),
            Kind::Netmask => {
                let mask = Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(self.value)));
                mask.octets().map(|octet| format!("{octet:03}")).join(".")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that `key` walks through, from the start until it is there again.
    fn walk(mut field: ScrollField, key: Key) -> Vec<u8> {
        let start = field.value();
        let mut seen = vec![start];
        loop {
            field.handle_input(Input::Key(key));
            if field.value() == start {
                return seen;
            }
            seen.push(field.value());
        }
    }

    #[test]
    fn thirty_netmasks_in_their_order() {
        let down: Vec<u8> = (1..=24).rev().chain((25..=30).rev()).collect();
        assert_eq!(walk(ScrollField::netmask(None), Key::Down), down);
        let up: Vec<u8> = (24..=30).chain(1..=23).collect();
        assert_eq!(walk(ScrollField::netmask(None), Key::Up), up);
    }

    #[test]
    fn netmasks_are_twelve_digits() {
        assert_eq!(ScrollField::netmask(None).text(), "255.255.255.000");
        assert_eq!(ScrollField::netmask(Some(25)).text(), "255.255.255.128");
        assert_eq!(ScrollField::netmask(Some(1)).text(), "128.000.000.000");
        assert_eq!(ScrollField::netmask(Some(4)).text(), "240.000.000.000");
        assert_eq!(ScrollField::netmask(Some(31)).text(), "255.255.255.000");
    }

    #[test]
    fn every_prefix_length_of_ipv6() {
        assert_eq!(walk(ScrollField::prefix_length(None), Key::Up).len(), 128);
        assert_eq!(ScrollField::prefix_length(Some(0)).text(), "64");
    }
}
