//! `nnn.nnn.nnn.nnn`: twelve digits, each chosen by itself; the cursor skips the dots.

use std::net::{IpAddr, Ipv4Addr};

use sonde_protocol::settings::is_host;

use super::{Complaint, Input, Shown};
use crate::event::{BACKSPACE, Key};
use crate::texts;

const DIGITS: usize = 12;

/// An IPv4 address being entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ipv4Field {
    digits: [u8; DIGITS],
    /// Digit under the cursor.
    at: usize,
    /// All zeros mean that there is none.
    optional: bool,
}

impl Ipv4Field {
    pub(crate) fn new(address: Option<Ipv4Addr>, optional: bool) -> Ipv4Field {
        let mut digits = [0; DIGITS];
        if let Some(address) = address {
            for (octet, place) in address.octets().into_iter().zip(digits.chunks_exact_mut(3)) {
                place.copy_from_slice(&[octet / 100, octet / 10 % 10, octet % 10]);
            }
        }
        Ipv4Field {
            digits,
            at: 0,
            optional,
        }
    }

    /// Takes a key or character; false if LEFT had nowhere to go.
    pub(crate) fn handle_input(&mut self, input: Input) -> bool {
        match input {
            Input::Key(Key::Left) if self.at == 0 => return false,
            Input::Key(Key::Left) | Input::Typed(BACKSPACE) => self.at = self.at.saturating_sub(1),
            Input::Key(Key::Right) => self.at = (self.at + 1).min(DIGITS - 1),
            Input::Key(Key::Up) => self.digits[self.at] = (self.digits[self.at] + 1) % 10,
            Input::Key(Key::Down) => self.digits[self.at] = (self.digits[self.at] + 9) % 10,
            // To the next octet; at an octet's start one is there already.
            Input::Typed('.') if !self.at.is_multiple_of(3) => {
                self.at = (self.at.next_multiple_of(3)).min(DIGITS - 1);
            }
            Input::Typed(c @ '0'..='9') => {
                self.digits[self.at] = c as u8 - b'0';
                self.at = (self.at + 1).min(DIGITS - 1);
            }
            _ => {}
        }
        true
    }

    /// The address; `None` if there is to be none.
    ///
    /// An octet over 255 is complained about with the cursor on it.
    pub(crate) fn value(&mut self) -> Result<Option<Ipv4Addr>, Complaint> {
        let mut octets = [0; 4];
        for (index, (octet, digits)) in octets
            .iter_mut()
            .zip(self.digits.chunks_exact(3))
            .enumerate()
        {
            let number = digits
                .iter()
                .fold(0u16, |sum, digit| sum * 10 + u16::from(*digit));
            match u8::try_from(number) {
                Ok(number) => *octet = number,
                Err(_) => {
                    self.at = index * 3;
                    return Err(texts::OCTET_TOO_BIG);
                }
            }
        }
        let address = Ipv4Addr::from(octets);
        match address {
            _ if is_host(IpAddr::V4(address)) => Ok(Some(address)),
            _ if address.is_unspecified() && self.optional => Ok(None),
            _ => Err(texts::NO_HOST_ADDRESS),
        }
    }

    pub(crate) fn shown(&self) -> Shown {
        let octets: Vec<String> = self
            .digits
            .chunks_exact(3)
            .map(|digits| digits.iter().map(|d| char::from(b'0' + d)).collect())
            .collect();
        Shown {
            text: octets.join("."),
            cursor: Some(self.at + self.at / 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(field: &mut Ipv4Field, text: &str) {
        for c in text.chars() {
            field.handle_input(Input::Typed(c));
        }
    }

    #[test]
    fn twelve_digits_and_the_dots_are_skipped() {
        let mut field = Ipv4Field::new(None, false);
        assert_eq!(field.shown().text, "000.000.000.000");
        for _ in 0..3 {
            field.handle_input(Input::Key(Key::Right));
        }
        assert_eq!(field.shown().cursor, Some(4));
        field.handle_input(Input::Key(Key::Down));
        assert_eq!(field.shown().text, "000.900.000.000");
        for _ in 0..20 {
            field.handle_input(Input::Key(Key::Right));
        }
        assert_eq!(field.shown().cursor, Some(14));
        field.handle_input(Input::Key(Key::Up));
        assert_eq!(field.shown().text, "000.900.000.001");
    }

    #[test]
    fn typing_fills_digit_by_digit_and_a_dot_changes_nothing_at_an_octets_start() {
        let mut field = Ipv4Field::new(None, false);
        typed(&mut field, "194.055.176.002");
        assert_eq!(field.value(), Ok(Some([194, 55, 176, 2].into())));
        let mut prefilled = Ipv4Field::new(Some([10, 20, 30, 40].into()), false);
        typed(&mut prefilled, "0x1y.");
        assert_eq!(prefilled.shown().text, "010.020.030.040");
        assert_eq!(prefilled.shown().cursor, Some(4));
    }

    #[test]
    fn an_octet_over_255_is_refused_and_nothing_is_lost() {
        let mut field = Ipv4Field::new(None, false);
        typed(&mut field, "010000256001");
        assert_eq!(field.value(), Err(texts::OCTET_TOO_BIG));
        assert_eq!(field.shown().text, "010.000.256.001");
        assert_eq!(field.shown().cursor, Some(8));
    }

    #[test]
    fn zeros_are_an_address_only_where_there_may_be_none() {
        assert_eq!(Ipv4Field::new(None, true).value(), Ok(None));
        assert_eq!(
            Ipv4Field::new(None, false).value(),
            Err(texts::NO_HOST_ADDRESS)
        );
        let loopback = Some(Ipv4Addr::LOCALHOST);
        assert_eq!(
            Ipv4Field::new(loopback, true).value(),
            Err(texts::NO_HOST_ADDRESS)
        );
    }
}
