//! One value being entered: which keys and characters it takes, what it shows, and what it is in the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use sonde_protocol::settings::{VlanId, is_host};

use crate::event::Key;
use crate::texts;
pub(crate) use digits::DigitsField;
pub(crate) use ipv4::Ipv4Field;
pub(crate) use reading::Reading;
pub(crate) use ring::Letters;
pub(crate) use scroll::ScrollField;
pub(crate) use text::TextField;

mod digits;
mod edit;
mod host;
mod ipv4;
mod reading;
mod ring;
mod scroll;
mod text;

/// What a person did, as views take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A key went down.
    Key(Key),
    /// A key is held down.
    Repeat(Key),
    /// A character was typed.
    Typed(char),
    /// LEFT and RIGHT together.
    Clear,
}

/// What a field wants after input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Stay,
    /// It is confirmed, if it can be.
    Enter,
    /// LEFT had nowhere to go: the way out of every field.
    Leave,
    /// The guide's way out.
    Quit,
}

/// Why a field can not be confirmed: a text for the display.
pub(crate) type Complaint = &'static str;

/// What a field shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    /// Character under the cursor.
    pub(crate) cursor: Option<usize>,
}

/// One value being entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Ipv4(Ipv4Field),
    Scroll(ScrollField),
    Digits(DigitsField),
    Text(TextField),
    Ipv6 { text: TextField, optional: bool },
    Host { text: TextField, ipv6_only: bool },
    Reading(Reading),
}

impl Field {
    pub(crate) fn handle_input(&mut self, input: Input) -> Reply {
        let moved = match self {
            Field::Text(text) | Field::Ipv6 { text, .. } | Field::Host { text, .. } => {
                return text.handle_input(input);
            }
            _ if input == Input::Key(Key::Enter) => return Reply::Enter,
            Field::Ipv4(field) => field.handle_input(input),
            Field::Scroll(field) => field.handle_input(input),
            Field::Digits(field) => field.handle_input(input),
            Field::Reading(field) => field.handle_input(input),
        };
        if moved { Reply::Stay } else { Reply::Leave }
    }

    pub(crate) fn shown(&self) -> Shown {
        match self {
            Field::Ipv4(field) => field.shown(),
            Field::Scroll(field) => Shown {
                text: field.text(),
                cursor: None,
            },
            Field::Digits(field) => field.shown(),
            Field::Text(text) | Field::Ipv6 { text, .. } | Field::Host { text, .. } => text.shown(),
            Field::Reading(reading) => reading.shown(),
        }
    }

    /// The text field inside, if there is one.
    pub(crate) fn text(&self) -> Option<&TextField> {
        match self {
            Field::Text(text) | Field::Ipv6 { text, .. } | Field::Host { text, .. } => Some(text),
            Field::Ipv4(_) | Field::Scroll(_) | Field::Digits(_) | Field::Reading(_) => None,
        }
    }

    /// The value, if the field can be confirmed.
    pub(crate) fn value(&mut self, kind: Wanted) -> Result<Value, Complaint> {
        Ok(match (self, kind) {
            (Field::Ipv4(field), _) => Value::Ipv4(field.value()?),
            (Field::Scroll(field), _) => Value::Length(field.value()),
            (Field::Digits(field), Wanted::Vlan) => Value::Vlan(field.vlan_value()?),
            (Field::Digits(field), _) => Value::Port(field.port_value()?),
            (Field::Text(text), _) => Value::Text(text.value()?),
            (Field::Ipv6 { text, optional }, _) => Value::Ipv6(ipv6(&text.value()?, *optional)?),
            (Field::Host { text, ipv6_only }, _) => {
                Value::Text(host::checked(&text.value()?, *ipv6_only)?)
            }
            (Field::Reading(_), _) => Value::Nothing,
        })
    }
}

/// What a number of digits stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    Vlan,
}

/// What was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Ipv4(Option<Ipv4Addr>),
    Ipv6(Option<Ipv6Addr>),
    Length(u8),
    Vlan(Option<VlanId>),
    Port(NonZeroU16),
    Text(String),
    Nothing,
}

/// An IPv6 address, expanded or compressed.
fn ipv6(entry: &str, optional: bool) -> Result<Option<Ipv6Addr>, Complaint> {
    if entry.is_empty() && optional {
        return Ok(None);
    }
    let address: Ipv6Addr = entry.parse().map_err(|_| texts::NO_IPV6_ADDRESS)?;
    if is_host(IpAddr::V6(address)) {
        Ok(Some(address))
    } else {
        Err(texts::NO_HOST_ADDRESS)
    }
}
