//! Numbers of four digits, each chosen by itself; a port has room for a fifth.

use std::num::NonZeroU16;

use sonde_protocol::settings::VlanId;

use super::{Complaint, Input, Shown};
use crate::event::{BACKSPACE, Key};
use crate::texts;

/// Digits every such field starts with.
const DIGITS: usize = 4;
const PORT_DEFAULT: u16 = 443;

/// A number being entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DigitsField {
    /// `None` is the fifth digit of a port that has four.
    digits: Vec<Option<u8>>,
    at: usize,
    /// Shown beside the number.
    beside: String,
}

impl DigitsField {
    /// `0000`, with the tag in use beside it.
    pub(crate) fn vlan(current: Option<VlanId>) -> DigitsField {
        DigitsField {
            digits: vec![Some(0); DIGITS],
            at: 0,
            beside: current.map_or(String::new(), |vlan| format!("    NOW {:04}", vlan.id())),
        }
    }

    /// The port in use, or that of HTTPS.
    pub(crate) fn port(current: Option<NonZeroU16>) -> DigitsField {
        let text = format!("{:04}", current.map_or(PORT_DEFAULT, NonZeroU16::get));
        let mut digits: Vec<Option<u8>> = text.bytes().map(|b| Some(b - b'0')).collect();
        digits.resize(DIGITS + 1, None);
        DigitsField {
            digits,
            at: 0,
            beside: String::new(),
        }
    }

    /// Takes a key or character; false if LEFT had nowhere to go.
    pub(crate) fn handle_input(&mut self, input: Input) -> bool {
        let last = self.digits.len() - 1;
        match input {
            Input::Key(Key::Left) if self.at == 0 => return false,
            Input::Key(Key::Left) => self.at -= 1,
            Input::Key(Key::Right) => self.at = (self.at + 1).min(last),
            Input::Key(Key::Up) => self.turn(true),
            Input::Key(Key::Down) => self.turn(false),
            Input::Typed(c @ '0'..='9') => {
                self.digits[self.at] = Some(c as u8 - b'0');
                self.at = (self.at + 1).min(last);
            }
            Input::Typed(' ') if self.at == DIGITS => self.digits[self.at] = None,
            Input::Typed(BACKSPACE) => {
                if self.at == DIGITS {
                    self.digits[self.at] = None;
                }
                self.at = self.at.saturating_sub(1);
            }
            _ => {}
        }
        true
    }

    fn turn(&mut self, up: bool) {
        let fifth = self.at == DIGITS;
        let digit = &mut self.digits[self.at];
        *digit = match (*digit, up) {
            (None, true) => Some(0),
            (None, false) => Some(9),
            (Some(9), true) if fifth => None,
            (Some(0), false) if fifth => None,
            (Some(digit), true) => Some((digit + 1) % 10),
            (Some(digit), false) => Some((digit + 9) % 10),
        };
    }

    fn number(&self) -> u32 {
        self.digits
            .iter()
            .flatten()
            .fold(0, |sum, digit| sum * 10 + u32::from(*digit))
    }

    /// The tag; zero is none.
    pub(crate) fn vlan_value(&self) -> Result<Option<VlanId>, Complaint> {
        match u16::try_from(self.number()) {
            Ok(0) => Ok(None),
            Ok(number) => VlanId::new(number).map(Some).ok_or(texts::VLAN_TOO_BIG),
            Err(_) => Err(texts::VLAN_TOO_BIG),
        }
    }

    /// The port.
    pub(crate) fn port_value(&self) -> Result<NonZeroU16, Complaint> {
        let port = u16::try_from(self.number()).ok().and_then(NonZeroU16::new);
        port.ok_or(texts::NO_PORT)
    }

    pub(crate) fn shown(&self) -> Shown {
        let digits = self
            .digits
            .iter()
            .map(|d| d.map_or(' ', |d| char::from(b'0' + d)));
        Shown {
            text: digits.chain(self.beside.chars()).collect(),
            cursor: Some(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(mut field: DigitsField, text: &str) -> DigitsField {
        for c in text.chars() {
            field.handle_input(Input::Typed(c));
        }
        field
    }

    #[test]
    fn tags_end_at_4094_and_zero_is_none() {
        let tag = |text| entered(DigitsField::vlan(None), text).vlan_value();
        assert_eq!(tag("0000"), Ok(None));
        assert_eq!(tag("0100"), Ok(VlanId::new(100)));
        assert_eq!(tag("4094"), Ok(VlanId::new(4094)));
        assert_eq!(tag("4095"), Err(texts::VLAN_TOO_BIG));
        let changing = DigitsField::vlan(VlanId::new(7));
        assert_eq!(changing.shown().text, "0000    NOW 0007");
    }

    #[test]
    fn a_port_has_four_digits_and_room_for_a_fifth() {
        let field = DigitsField::port(None);
        assert_eq!(field.shown().text, "0443 ");
        assert_eq!(
            entered(field.clone(), "8080").port_value().unwrap().get(),
            8080
        );
        assert_eq!(
            entered(field.clone(), "65535").port_value().unwrap().get(),
            65535
        );
        assert_eq!(
            entered(field.clone(), "65536").port_value(),
            Err(texts::NO_PORT)
        );
        assert_eq!(entered(field, "0000").port_value(), Err(texts::NO_PORT));
        let high = DigitsField::port(NonZeroU16::new(50000));
        assert_eq!(high.shown().text, "50000");
    }

    #[test]
    fn the_fifth_digit_goes_away_again() {
        let mut field = entered(DigitsField::port(None), "8080");
        field.handle_input(Input::Key(Key::Down));
        assert_eq!(field.shown().text, "80809");
        field.handle_input(Input::Key(Key::Up));
        assert_eq!(field.shown().text, "8080 ");
    }
}
