//! The menus: which entries there are, when each is shown, and what it opens.

use std::time::Duration;

use sonde_protocol::local::Command;
use sonde_protocol::settings::{Change, Lan, Mode, Port, Settings, Wan};

use crate::draw::draw_text;
use crate::event::Key;
use crate::field::Input;
use crate::form::{Kind, opening};
use crate::port_link::PortLink;
use crate::prompt::{Prompt, Question};
use crate::screen::{Glyph, Screen};
use crate::texts;
use crate::view::{Ask, Context, Step, View};

/// Which menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Main,
    Network,
    Wan,
}

/// An entry: its text, when it is there, and what ENTER does.
struct Entry {
    text: &'static str,
    shown: fn(&Settings) -> bool,
    place: Place,
}

/// Where an entry leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Menu(List),
    Exit,
    Fill(Kind),
    Question(Question, Confirmed),
    AtOnce(Confirmed),
    WanOn,
    Ports,
    Reset,
}

/// What is done without fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    Reboot,
    Shutdown,
    RenewDhcp(Port),
    LanDhcp,
    WanDhcp,
    ProxyOff,
}

const MAIN: [Entry; 4] = [
    always(texts::SETUP_NETWORK, Place::Menu(List::Network)),
    always(
        texts::SYSTEM_SHUTDOWN,
        Place::Question(Question::once(texts::REALLY_SHUTDOWN), Confirmed::Shutdown),
    ),
    always(
        texts::SYSTEM_REBOOT,
        Place::Question(Question::once(texts::REALLY_REBOOT), Confirmed::Reboot),
    ),
    always(texts::EXIT_THIS_MENU, Place::Exit),
];

/// `SETUP NETWORK` in both modes, in menu order.
const NETWORK: [Entry; 16] = [
    entry(
        texts::RENEW_DHCP_LAN,
        lan_dhcp,
        Place::AtOnce(Confirmed::RenewDhcp(Port::Lan)),
    ),
    entry(
        texts::ENABLE_DHCP_LAN,
        |s| lan_static(s) && s.vlan.is_none(),
        Place::Question(Question::once(texts::REALLY_DHCP_LAN), Confirmed::LanDhcp),
    ),
    entry(
        texts::RENEW_AUTO_IPV6,
        ipv6_only,
        Place::Fill(Kind::AutoIpv6),
    ),
    entry(
        texts::ENABLE_STATIC_IPV6,
        ipv6_only,
        Place::Fill(Kind::StaticIpv6),
    ),
    entry(
        texts::ENABLE_VLAN,
        |s| s.vlan.is_none(),
        Place::Fill(Kind::Vlan),
    ),
    entry(
        texts::CHANGE_VLAN,
        |s| s.vlan.is_some(),
        Place::Fill(Kind::Vlan),
    ),
    entry(
        texts::ENABLE_STATIC_LAN,
        lan_dhcp,
        Place::Fill(Kind::LanStatic),
    ),
    entry(
        texts::CHANGE_STATIC_LAN,
        lan_static,
        Place::Fill(Kind::LanStatic),
    ),
    entry(
        texts::ENABLE_WAN,
        |s| !ipv6_only(s) && s.wan == Wan::Off,
        Place::Menu(List::Wan),
    ),
    entry(
        texts::DISABLE_WAN,
        |s| !ipv6_only(s) && s.wan != Wan::Off,
        Place::WanOn,
    ),
    entry(
        texts::ENABLE_PROXY,
        |s| s.proxy.is_none(),
        Place::Fill(Kind::Proxy),
    ),
    entry(
        texts::CHANGE_PROXY,
        |s| s.proxy.is_some(),
        Place::Fill(Kind::Proxy),
    ),
    entry(
        texts::DISABLE_PROXY,
        |s| s.proxy.is_some(),
        Place::Question(
            Question::twice(texts::REALLY_DISABLE_PROXY),
            Confirmed::ProxyOff,
        ),
    ),
    always(texts::ETHERNET_PORTS, Place::Ports),
    always(texts::RESET_NETWORK, Place::Reset),
    always(texts::EXIT_THIS_MENU, Place::Exit),
];

/// `ENABLE WAN INTERFACE`, and what follows the question once there is a WAN.
const WAN: [Entry; 4] = [
    entry(
        texts::ENABLE_DHCP_WAN,
        |s| s.wan != Wan::Dhcp,
        Place::Question(Question::twice(texts::REALLY_DHCP_WAN), Confirmed::WanDhcp),
    ),
    entry(
        texts::RENEW_DHCP_WAN,
        |s| s.wan == Wan::Dhcp,
        Place::AtOnce(Confirmed::RenewDhcp(Port::Wan)),
    ),
    entry(
        texts::ENABLE_STATIC_WAN,
        |s| !matches!(s.wan, Wan::Static(_)),
        Place::Fill(Kind::WanStatic),
    ),
    entry(
        texts::CHANGE_STATIC_WAN,
        |s| matches!(s.wan, Wan::Static(_)),
        Place::Fill(Kind::WanStatic),
    ),
];

const fn entry(text: &'static str, shown: fn(&Settings) -> bool, place: Place) -> Entry {
    Entry { text, shown, place }
}

const fn always(text: &'static str, place: Place) -> Entry {
    entry(text, |_| true, place)
}

fn ipv6_only(settings: &Settings) -> bool {
    settings.mode == Mode::Ipv6Only
}

fn lan_dhcp(settings: &Settings) -> bool {
    !ipv6_only(settings) && settings.lan == Lan::Dhcp
}

fn lan_static(settings: &Settings) -> bool {
    !ipv6_only(settings) && settings.lan != Lan::Dhcp
}

impl List {
    fn entries(self, settings: &Settings) -> Vec<&'static Entry> {
        let all: &'static [Entry] = match self {
            List::Main => &MAIN,
            List::Network => &NETWORK,
            List::Wan => &WAN,
        };
        all.iter().filter(|entry| (entry.shown)(settings)).collect()
    }
}

impl Place {
    /// What ENTER on an entry that leads here does.
    pub(crate) fn enter(self, context: &Context<'_>) -> Step {
        let settings = &context.setup.settings;
        Step::Open(match self {
            Place::Exit => return Step::Close,
            Place::AtOnce(confirmed) => return Step::Ask(confirmed.ask()),
            Place::Menu(list) => View::Menu(Menu::new(list)),
            Place::Fill(kind) => opening(kind, context),
            Place::Question(question, confirmed) => {
                View::Prompt(Prompt::question(question, confirmed.ask()))
            }
            Place::WanOn => {
                let off = (texts::REALLY_DISABLE_WAN, Ask::Apply(Change::WanOff));
                let others = List::Wan.entries(settings);
                let others = others.iter().map(|entry| (entry.text, entry.place));
                View::Prompt(Prompt::list(vec![off], others.collect()))
            }
            Place::Ports => View::PortLink(PortLink::new(settings)),
            Place::Reset => {
                let (text, other) = match settings.mode {
                    Mode::Ipv4Ipv6 => (texts::RESET_TO_IPV6_ONLY, Mode::Ipv6Only),
                    Mode::Ipv6Only => (texts::RESET_TO_IPV4_IPV6, Mode::Ipv4Ipv6),
                };
                let reset = |mode| Ask::Apply(Change::Reset(mode));
                let asks = vec![
                    (texts::REALLY_RESET, reset(settings.mode)),
                    (text, reset(other)),
                ];
                View::Prompt(Prompt::list(asks, Vec::new()))
            }
        })
    }
}

impl Confirmed {
    fn ask(self) -> Ask {
        match self {
            Confirmed::Reboot => Ask::Run(Command::Reboot),
            Confirmed::Shutdown => Ask::Run(Command::Shutdown),
            Confirmed::RenewDhcp(port) => Ask::Run(Command::RenewDhcp(port)),
            Confirmed::LanDhcp => Ask::Apply(Change::LanDhcp),
            Confirmed::WanDhcp => Ask::Apply(Change::WanDhcp),
            Confirmed::ProxyOff => Ask::Apply(Change::ProxyOff),
        }
    }
}

/// A menu and the entry it shows.
#[derive(Clone, Debug)]
pub(crate) struct Menu {
    list: List,
    at: usize,
}

impl Menu {
    pub(crate) fn new(list: List) -> Menu {
        Menu { list, at: 0 }
    }

    /// Where procedures end: not in a list of a procedure's own.
    pub(crate) fn is_home(&self) -> bool {
        self.list != List::Wan
    }

    pub(crate) fn handle_input(&mut self, input: Input, context: &Context<'_>) -> Step {
        let entries = self.list.entries(&context.setup.settings);
        let length = entries.len();
        // Another door may have changed the settings, and with them the entries.
        self.at = self.at.min(length - 1);
        match input {
            Input::Key(Key::Enter) => return entries[self.at].place.enter(context),
            Input::Key(Key::Down) => self.at = (self.at + 1) % length,
            Input::Key(Key::Up) => self.at = (self.at + length - 1) % length,
            _ => {}
        }
        Step::Stay
    }

    pub(crate) fn draw(&self, context: &Context<'_>, screen: &mut Screen) {
        let entries = self.list.entries(&context.setup.settings);
        let entry = entries[self.at.min(entries.len() - 1)];
        draw_text(
            screen,
            entry.text,
            &[Glyph::Enter, Glyph::Down],
            Duration::ZERO,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_settings_leave_a_menu_empty_and_exit_is_always_last() {
        let vlan = sonde_protocol::settings::VlanId::new(5);
        for mode in [Mode::Ipv4Ipv6, Mode::Ipv6Only] {
            for (wan, vlan) in [(Wan::Off, None), (Wan::Dhcp, vlan)] {
                let settings = Settings {
                    wan,
                    vlan,
                    ..Settings::factory(mode)
                };
                let texts = |list: List| -> Vec<_> {
                    list.entries(&settings)
                        .iter()
                        .map(|entry| entry.text)
                        .collect()
                };
                assert_eq!(texts(List::Main).last(), Some(&texts::EXIT_THIS_MENU));
                assert_eq!(texts(List::Network).last(), Some(&texts::EXIT_THIS_MENU));
                assert_eq!(texts(List::Wan).len(), 2);
            }
        }
    }
}
