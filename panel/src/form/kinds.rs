//! The forms of the box: their fields in order, and what becomes of the values.

use std::net::{Ipv4Addr, Ipv6Addr};

use sonde_protocol::settings::{
    Change, HOST_MAX, Ipv4, Lan, LanIpv6, LanIpv6Auto, LanIpv6Static, LanStatic, Mode, NAME_MAX,
    NewPassword, PASSWORD_MAX, ProxyChange, Secret, Settings, Wan,
};

use super::Row;
use crate::field::{
    DigitsField, Field, Ipv4Field, Letters, Reading, ScrollField, TextField, Value,
};
use crate::prompt::Question;
use crate::texts;
use crate::view::Context;

/// Longest text of an IPv6 address.
const IPV6_MAX: usize = 39;

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Vlan,
    LanStatic,
    WanStatic,
    Proxy,
    AutoIpv6,
    StaticIpv6,
}

impl Kind {
    /// What is asked before the first field.
    pub(crate) fn opening(self) -> Option<Question> {
        match self {
            Kind::LanStatic => Some(Question::once(texts::CFG_LAN)),
            Kind::WanStatic => Some(Question::once(texts::CFG_WAN)),
            Kind::Proxy => Some(Question::twice(texts::CONFIG_PROXY)),
            Kind::Vlan | Kind::AutoIpv6 | Kind::StaticIpv6 => None,
        }
    }

    /// What is asked after the last field. A tag is confirmed by its own ENTER.
    pub(crate) fn question(self) -> Option<Question> {
        match self {
            Kind::Vlan => None,
            Kind::LanStatic => Some(Question::once(texts::REALLY_STATIC_LAN)),
            Kind::WanStatic => Some(Question::once(texts::REALLY_STATIC_WAN)),
            Kind::Proxy => Some(Question::twice(texts::REALLY_ENABLE_PROXY)),
            Kind::AutoIpv6 => Some(Question::once(texts::REALLY_AUTO_IPV6)),
            Kind::StaticIpv6 => Some(Question::once(texts::REALLY_STATIC_IPV6)),
        }
    }

    /// The fields, filled with what is set.
    pub(crate) fn rows(self, context: &Context<'_>) -> Vec<Row> {
        let settings = &context.setup.settings;
        match self {
            Kind::Vlan => vec![row(
                "VLAN 0-4094",
                Field::Digits(DigitsField::vlan(settings.vlan)),
            )],
            Kind::LanStatic => {
                let set = match &settings.lan {
                    Lan::Static(lan) => Some(lan),
                    Lan::Dhcp => None,
                };
                let wins = |at: usize| set.and_then(|lan| lan.wins.get(at).copied());
                let domain = set.and_then(|lan| lan.domain.as_deref()).unwrap_or("");
                let titles = [
                    "LAN IP ADDR",
                    "LAN NETMASK",
                    "LAN GATEWAY",
                    "LAN DNS1",
                    "LAN DNS2",
                ];
                let mut rows = ipv4_rows(titles, set.map(|lan| &lan.ipv4));
                rows.push(row("LAN WINS1", ipv4(wins(0), true)));
                rows.push(row("LAN WINS2", ipv4(wins(1), true)));
                let domain = TextField::new(Letters::Domain, NAME_MAX, domain);
                rows.push(row("DOMAIN NAME", Field::Text(domain)));
                rows
            }
            Kind::WanStatic => {
                let set = match &settings.wan {
                    Wan::Static(ipv4) => Some(ipv4),
                    Wan::Off | Wan::Dhcp => None,
                };
                let titles = [
                    "WAN IP ADDR",
                    "WAN NETMASK",
                    "WAN GATEWAY",
                    "WAN DNS1",
                    "WAN DNS2",
                ];
                ipv4_rows(titles, set)
            }
            Kind::Proxy => proxy_rows(context),
            Kind::AutoIpv6 => auto_rows(context),
            Kind::StaticIpv6 => static_ipv6_rows(settings),
        }
    }

    /// What the values make; `None` if they are not this form's. `kept`: the password stays.
    /// The router that advertised itself is no gateway set by hand: left standing, it may change.
    pub(crate) fn change(
        self,
        values: &[Value],
        kept: bool,
        context: &Context<'_>,
    ) -> Option<Change> {
        use Value::{Ipv4 as V4, Ipv6 as V6, Length, Nothing, Port, Text, Vlan};
        Some(match (self, values) {
            (Kind::Vlan, [Vlan(vlan)]) => Change::Vlan(*vlan),
            (
                Kind::LanStatic,
                [
                    V4(Some(address)),
                    Length(prefix_len),
                    V4(Some(gateway)),
                    V4(Some(dns1)),
                    V4(dns2),
                    V4(wins1),
                    V4(wins2),
                    Text(domain),
                ],
            ) => Change::LanStatic(LanStatic {
                ipv4: settled(*address, *prefix_len, *gateway, *dns1, *dns2),
                wins: wins1.iter().chain(wins2).copied().collect(),
                domain: filled(domain),
            }),
            (
                Kind::WanStatic,
                [
                    V4(Some(address)),
                    Length(prefix_len),
                    V4(Some(gateway)),
                    V4(Some(dns1)),
                    V4(dns2),
                ],
            ) => Change::WanStatic(settled(*address, *prefix_len, *gateway, *dns1, *dns2)),
            (Kind::Proxy, [Text(host), Port(port), Text(user), Text(password)]) => {
                Change::Proxy(ProxyChange {
                    host: host.clone(),
                    port: *port,
                    user: filled(user),
                    password: match filled(password) {
                        Some(password) => NewPassword::Set(Secret::new(password)),
                        None if kept => NewPassword::Keep,
                        None => NewPassword::Clear,
                    },
                })
            }
            (Kind::AutoIpv6, [Nothing, Nothing, V6(gateway), V6(dns1), V6(dns2)]) => {
                Change::LanIpv6Auto(LanIpv6Auto {
                    gateway: gateway.filter(|gateway| Some(*gateway) != advertised(context)),
                    dns: dns1.iter().chain(dns2).copied().collect(),
                })
            }
            (
                Kind::StaticIpv6,
                [
                    V6(Some(address)),
                    Length(prefix_len),
                    V6(Some(gateway)),
                    V6(Some(dns1)),
                    V6(dns2),
                ],
            ) => Change::LanIpv6Static(LanIpv6Static {
                address: *address,
                prefix_len: *prefix_len,
                gateway: *gateway,
                dns: std::iter::once(dns1).chain(dns2).copied().collect(),
            }),
            _ => return None,
        })
    }
}

fn row(title: &'static str, field: Field) -> Row {
    Row { title, field }
}

fn ipv4(address: Option<Ipv4Addr>, optional: bool) -> Field {
    Field::Ipv4(Ipv4Field::new(address, optional))
}

fn ipv6_text(address: Option<Ipv6Addr>) -> TextField {
    let text = address.map_or(String::new(), |address| address.to_string());
    TextField::new(Letters::Ipv6, IPV6_MAX, &text)
}

fn ipv6(address: Option<Ipv6Addr>, optional: bool) -> Field {
    Field::Ipv6 {
        text: ipv6_text(address),
        optional,
    }
}

/// Address, netmask, gateway and two name servers, the second of them optional.
fn ipv4_rows(titles: [&'static str; 5], set: Option<&Ipv4>) -> Vec<Row> {
    let dns = |at: usize| set.and_then(|ipv4| ipv4.dns.get(at).copied());
    let netmask = ScrollField::netmask(set.map(|ipv4| ipv4.prefix_len));
    let fields = [
        ipv4(set.map(|ipv4| ipv4.address), false),
        Field::Scroll(netmask),
        ipv4(set.map(|ipv4| ipv4.gateway), false),
        ipv4(dns(0), false),
        ipv4(dns(1), true),
    ];
    titles
        .into_iter()
        .zip(fields)
        .map(|(title, field)| row(title, field))
        .collect()
}

fn settled(
    address: Ipv4Addr,
    prefix_len: u8,
    gateway: Ipv4Addr,
    dns1: Ipv4Addr,
    dns2: Option<Ipv4Addr>,
) -> Ipv4 {
    Ipv4 {
        address,
        prefix_len,
        gateway,
        dns: std::iter::once(dns1).chain(dns2).collect(),
    }
}

/// A proxy's host starts with the gateway's address: many a gateway is the proxy.
fn proxy_rows(context: &Context<'_>) -> Vec<Row> {
    let settings = &context.setup.settings;
    let set = settings.proxy.as_ref();
    let ipv6_only = settings.mode == Mode::Ipv6Only;
    let host = set.map_or_else(|| gateway(context), |proxy| proxy.host.clone());
    let letters = if ipv6_only {
        Letters::HostIpv6
    } else {
        Letters::Host
    };
    let user = set.and_then(|proxy| proxy.user.as_deref()).unwrap_or("");
    let stored = set.is_some_and(|proxy| proxy.password.is_some());
    vec![
        row(
            "PROXY HOST",
            Field::Host {
                text: TextField::new(letters, HOST_MAX, &host),
                ipv6_only,
            },
        ),
        row(
            "PROXY PORT:",
            Field::Digits(DigitsField::port(set.map(|proxy| proxy.port))),
        ),
        row(
            "PROXY USER:",
            Field::Text(TextField::new(Letters::User, NAME_MAX, user)),
        ),
        row(
            "PROXY PASSW",
            Field::Text(TextField::password(PASSWORD_MAX, stored)),
        ),
    ]
}

fn gateway(context: &Context<'_>) -> String {
    let settings = &context.setup.settings;
    let set = match (&settings.mode, &settings.lan, &settings.lan_ipv6) {
        (Mode::Ipv4Ipv6, Lan::Static(lan), _) => Some(lan.ipv4.gateway.into()),
        (Mode::Ipv6Only, _, LanIpv6::Static(hand)) => Some(hand.gateway.into()),
        (Mode::Ipv6Only, _, LanIpv6::Auto(auto)) => auto.gateway.map(Into::into),
        (Mode::Ipv4Ipv6, Lan::Dhcp, _) => None,
    };
    let in_effect = context.setup.in_effect.lan_gateway;
    set.or(in_effect)
        .map_or(String::new(), |gateway: std::net::IpAddr| {
            gateway.to_string()
        })
}

fn advertised(context: &Context<'_>) -> Option<Ipv6Addr> {
    let given = context.setup.in_effect.auto_ipv6.as_ref();
    given.and_then(|given| given.gateway)
}

fn auto_rows(context: &Context<'_>) -> Vec<Row> {
    let auto = match &context.setup.settings.lan_ipv6 {
        LanIpv6::Auto(auto) => auto.clone(),
        LanIpv6::Static(_) => LanIpv6Auto::default(),
    };
    let given = context.setup.in_effect.auto_ipv6.as_ref();
    let reading = |text: Option<String>| {
        Field::Reading(Reading::new(text.unwrap_or_default(), context.columns))
    };
    let gateway = auto.gateway.or(advertised(context));
    let dns1 = ipv6_text(auto.dns.first().copied()).up_quits();
    vec![
        row(
            "Auto v6 ADDR",
            reading(given.map(|given| given.address.to_string())),
        ),
        row(
            "Auto PREFLEN",
            reading(given.map(|given| given.prefix_len.to_string())),
        ),
        row("Auto GATEWAY", ipv6(gateway, true)),
        row(
            "Manual DNS1",
            Field::Ipv6 {
                text: dns1,
                optional: true,
            },
        ),
        row("Manual DNS2", ipv6(auto.dns.get(1).copied(), true)),
    ]
}

fn static_ipv6_rows(settings: &Settings) -> Vec<Row> {
    let set = match &settings.lan_ipv6 {
        LanIpv6::Static(hand) => Some(hand),
        LanIpv6::Auto(_) => None,
    };
    let dns = |at: usize| set.and_then(|hand| hand.dns.get(at).copied());
    let length = ScrollField::prefix_length(set.map(|hand| hand.prefix_len));
    vec![
        row("IPv6 ADDR", ipv6(set.map(|hand| hand.address), false)),
        row("IPv6 PREFLEN", Field::Scroll(length)),
        row("IPv6 GW", ipv6(set.map(|hand| hand.gateway), false)),
        row("IPv6 DNS1", ipv6(dns(0), false)),
        row("IPv6 DNS2", ipv6(dns(1), true)),
    ]
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
