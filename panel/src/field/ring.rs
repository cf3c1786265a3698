//! The order in which UP and DOWN walk through the characters of a field.

/// Special characters, ascending; `_` stands in front of them in the ring itself.
const SPECIAL: &str = "_-\\/|~!?@#$%^&*+=(){}[]<>;\"`,.";

/// Which characters a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letters {
    /// Upper case, digits, `.` and `-`.
    Host,
    /// The same and `:`, for IPv6 addresses.
    HostIpv6,
    /// Upper case, digits, `_` and `.`.
    Domain,
    /// Letters, digits, `_ - \ . @`.
    User,
    /// Letters, digits, every special character; `:` may be typed.
    Password,
    /// Lower-case hexadecimal digits and `:`.
    Ipv6,
}

impl Letters {
    /// Characters in ascending order from the space a field starts with, as one ring.
    pub(crate) fn ring(self) -> Vec<char> {
        let all = std::iter::once(' ')
            .chain('a'..='z')
            .chain(std::iter::once(' '))
            .chain('0'..='9')
            .chain(SPECIAL.chars())
            .chain(matches!(self, Letters::HostIpv6 | Letters::Ipv6).then_some(':'))
            .chain('A'..='Z');
        let mut ring: Vec<char> = all.filter(|&c| c == ' ' || self.scrolls(c)).collect();
        ring.dedup();
        ring
    }

    /// What a typed character becomes in this field; `None` if it has no place there.
    pub(crate) fn typed(self, c: char) -> Option<char> {
        let c = match self {
            Letters::Host | Letters::HostIpv6 | Letters::Domain => c.to_ascii_uppercase(),
            Letters::Ipv6 => c.to_ascii_lowercase(),
            Letters::User | Letters::Password => c,
        };
        let extra = self == Letters::Password && c == ':';
        (c == ' ' || extra || self.scrolls(c)).then_some(c)
    }

    fn scrolls(self, c: char) -> bool {
        match self {
            Letters::Host => matches!(c, 'A'..='Z' | '0'..='9' | '.' | '-'),
            Letters::HostIpv6 => matches!(c, 'A'..='Z' | '0'..='9' | '.' | '-' | ':'),
            Letters::Domain => matches!(c, 'A'..='Z' | '0'..='9' | '_' | '.'),
            Letters::User => c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\\' | '.' | '@'),
            Letters::Password => c.is_ascii_alphanumeric() || SPECIAL.contains(c),
            Letters::Ipv6 => matches!(c, 'a'..='f' | '0'..='9' | ':'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(letters: Letters) -> String {
        letters.ring().into_iter().collect()
    }

    #[test]
    fn every_field_has_its_ring() {
        assert_eq!(
            ring(Letters::Password),
            " abcdefghijklmnopqrstuvwxyz 0123456789_-\\/|~!?@#$%^&*+=(){}[]<>;\"`,.\
             ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        );
        assert_eq!(
            ring(Letters::User),
            " abcdefghijklmnopqrstuvwxyz 0123456789_-\\@.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        );
        assert_eq!(
            ring(Letters::Domain),
            " 0123456789_.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        );
        assert_eq!(
            ring(Letters::Host),
            " 0123456789-.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        );
        assert_eq!(
            ring(Letters::HostIpv6),
            " 0123456789-.:ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        );
        assert_eq!(ring(Letters::Ipv6), " abcdef 0123456789:");
        assert_eq!(SPECIAL.len(), 30);
    }

    #[test]
    fn a_typed_character_is_what_the_field_can_hold() {
        assert_eq!(Letters::Host.typed('p'), Some('P'));
        assert_eq!(Letters::Host.typed('_'), None);
        assert_eq!(Letters::Ipv6.typed('F'), Some('f'));
        assert_eq!(Letters::Password.typed(':'), Some(':'));
        assert_eq!(Letters::Password.typed('é'), None);
        assert_eq!(Letters::User.typed('\u{8}'), None);
    }
}
