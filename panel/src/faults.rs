//! The catalogue of errors: what a display can say about what is wrong.

/// One entry of the error catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the display says.
    pub text: &'static str,
    /// The short form of the same check that older boxes showed, if they had one.
    pub code: Option<&'static str>,
}

/// The catalogue's entry with this text.
pub fn fault(text: &str) -> Option<&'static Fault> {
    CATALOGUE.iter().find(|fault| fault.text == text)
}

const fn fault_of(text: &'static str, code: &'static str) -> Fault {
    Fault {
        text,
        code: Some(code),
    }
}

const fn new_fault(text: &'static str) -> Fault {
    Fault { text, code: None }
}

/// Every error a display can show, in the order in which they are looked for. A short code stands
/// where an older check asked the same: E02 proxy, E03 its settings, E05 names, E06 HTTPS to the
/// cloud, E07 and E08 address or gateway of LAN and WAN, E10 and E12 the interfaces themselves, E13 the
/// way to those who know names.
pub const CATALOGUE: [Fault; 36] = [
    fault_of("no CARRIER on LAN interface", "E10"),
    fault_of("no CARRIER on WAN interface", "E12"),
    fault_of("LAN has no IPv4 address", "E10"),
    fault_of("WAN has no IPv4 address", "E12"),
    fault_of("LAN has no DNS servers", "E05"),
    fault_of("WAN has no DNS servers", "E05"),
    fault_of("LAN DNS can't resolve cloud URL", "E05"),
    fault_of("WAN DNS can't resolve cloud URL", "E05"),
    fault_of("Invalid LAN IP configuration", "E07"),
    fault_of("Invalid WAN IP configuration", "E08"),
    fault_of("LAN DNS can't resolve proxy", "E03"),
    fault_of("WAN DNS can't resolve proxy", "E03"),
    fault_of("LAN DHCP lease has no gateway", "E07"),
    fault_of("WAN DHCP lease has no gateway", "E08"),
    fault_of("LAN DNS server not reachable", "E13"),
    fault_of("WAN DNS server not reachable", "E13"),
    new_fault("Duplicate LAN and WAN config"),
    new_fault("LAN and WAN same gateway"),
    new_fault("Duplicate IP detected"),
    fault_of("Invalid proxy IP", "E03"),
    fault_of("Invalid proxy auth config", "E03"),
    fault_of("unexpected proxy HTTP/403", "E02"),
    fault_of("unexpected proxy HTTP/407", "E02"),
    fault_of("unexpected proxy HTTP/503", "E02"),
    fault_of("Error connect to server (07)", "E06"),
    fault_of("Timeout was reached (28)", "E06"),
    fault_of("Failed sending peer data (55)", "E06"),
    fault_of("Failed receiving peer data (56)", "E06"),
    fault_of("SSL peer cert was not OK", "E06"),
    new_fault("Unexpected cloud HTTP/401"),
    new_fault("Unexpected cloud HTTP/500"),
    new_fault("This scan_id does not exist"),
    new_fault("This Scanner is disabled"),
    new_fault("Account expired"),
    new_fault("fsck fatal errors"),
    new_fault("mount fatal error"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::screen::INDICATORS_MAX;
    use crate::wrap::wrap;

    /// Rows of a 16-column display that `text` takes beside `indicators` indicators.
    fn rows(text: &str, indicators: usize) -> usize {
        wrap(text, 16 - indicators, 16).len()
    }

    /// `resolve cloud URL` alone is 17 letters long: these two can not fit, whatever stands beside.
    const THREE_ROWS: [&str; 2] = [
        "LAN DNS can't resolve cloud URL",
        "WAN DNS can't resolve cloud URL",
    ];
    /// It fits two rows only without indicators, and that is how it is shown.
    const NO_INDICATOR: [&str; 1] = ["Failed receiving peer data (56)"];

    #[test]
    fn every_text_fits_two_rows_of_sixteen_beside_two_indicators() {
        for text in CATALOGUE.iter().map(|fault| fault.text) {
            let fits = [0, INDICATORS_MAX].map(|indicators| rows(text, indicators) <= 2);
            let expected = [
                !THREE_ROWS.contains(&text),
                !THREE_ROWS.contains(&text) && !NO_INDICATOR.contains(&text),
            ];
            assert_eq!(fits, expected, "{text}");
        }
    }

    #[test]
    fn every_text_is_there_once_and_printable() {
        let texts: HashSet<&str> = CATALOGUE.iter().map(|fault| fault.text).collect();
        assert_eq!(texts.len(), CATALOGUE.len());
        assert!(
            texts
                .iter()
                .all(|text| text.chars().all(|c| matches!(c, ' '..='~')))
        );
    }

    #[test]
    fn both_interfaces_are_told_apart() {
        let of = |name: &str| {
            let texts = CATALOGUE.iter().map(|fault| fault.text);
            texts
                .filter(|t| t.contains(name) && !t.contains("LAN and WAN"))
                .count()
        };
        assert_eq!(of("LAN"), 8);
        assert_eq!(of("WAN"), 8);
    }

    #[test]
    fn a_fault_is_found_by_its_text() {
        assert_eq!(fault("SSL peer cert was not OK").unwrap().code, Some("E06"));
        assert_eq!(fault("Account expired").unwrap().code, None);
        assert_eq!(fault("anything else"), None);
    }
}
