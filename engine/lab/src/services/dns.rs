//! A name server's answer (RFC 1035 §4): one question, the lab's names, NXDOMAIN for the rest.

use std::collections::HashMap;
use std::net::IpAddr;

/// Names with their addresses; names are lower case, without a trailing dot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone(pub(crate) HashMap<String, Vec<IpAddr>>);

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

const NOERROR: u8 = 0;
const FORMERR: u8 = 1;
const NXDOMAIN: u8 = 3;
const NOTIMP: u8 = 4;

/// Seconds the lab's addresses may be remembered: they are gone with the lab.
const TTL: u32 = 60;

/// Records in one answer, so that it stays below 512 octets (RFC 1035 §4.2.1).
const ANSWERS_MAX: usize = 8;

/// The answer to a query; none to what is shorter than a header or is an answer itself.
pub(super) fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    if header[2] & 0x78 != 0 {
        return Some(reply(header, NOTIMP, &[], &[]));
    }
    let one_question = header[4..6] == [0, 1];
    let Some(question) = Question::parse(&query[HEADER..]).filter(|_| one_question) else {
        return Some(reply(header, FORMERR, &[], &[]));
    };
    let asked = &query[HEADER..HEADER + question.length];
    let Some(addresses) = zone.0.get(&question.name) else {
        return Some(reply(header, NXDOMAIN, asked, &[]));
    };
    let fits = |address: &&IpAddr| {
        let of_type = if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        question.class == CLASS_IN && question.kind == of_type
    };
    let addresses: Vec<IpAddr> = addresses
        .iter()
        .filter(fits)
        .copied()
        .take(ANSWERS_MAX)
        .collect();
    Some(reply(header, NOERROR, asked, &addresses))
}

struct Question {
    name: String,
    kind: u16,
    class: u16,
    /// Octets of the whole question.
    length: usize,
}

impl Question {
    /// Reads labels up to the root, then type and class. A question has nothing before it to be
    /// compressed against, so a pointer is no label here.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut name = String::new();
        let mut at = 0;
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = bytes
                .get(at..at + length)
                .filter(|_| length <= 63 && at + length <= 255)?;
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(
                label
                    .iter()
                    .map(|&octet| char::from(octet.to_ascii_lowercase())),
            );
            at += length;
        }
        let rest = bytes.get(at..at + 4)?;
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        let class = u16::from_be_bytes([rest[2], rest[3]]);
        Some(Self {
            name,
            kind,
            class,
            length: at + 4,
        })
    }
}

fn reply(header: &[u8], code: u8, question: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + question.len() + addresses.len() * 28);
    bytes.extend_from_slice(&header[..2]);
    // An answer, with authority, to the operation asked; "recursion desired" comes back as sent.
    bytes.push(0x84 | header[2] & 0x79);
    bytes.push(code);
    let questions = u16::from(!question.is_empty());
    for count in [questions, addresses.len() as u16, 0, 0] {
        bytes.extend_from_slice(&count.to_be_bytes());
    }
    bytes.extend_from_slice(question);
    for address in addresses {
        // A pointer to the question's name, which follows the header.
        bytes.extend_from_slice(&[0xc0, HEADER as u8]);
        let (kind, data) = match address {
            IpAddr::V4(v4) => (TYPE_A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (TYPE_AAAA, v6.octets().to_vec()),
        };
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        bytes.extend_from_slice(&TTL.to_be_bytes());
        bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&data);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone() -> Zone {
        let addresses = vec![
            "10.1.0.9".parse().unwrap(),
            "2001:db8:100::9".parse().unwrap(),
        ];
        Zone(HashMap::from([("web.lab".to_owned(), addresses)]))
    }

    fn query(labels: &[&str], kind: u16) -> Vec<u8> {
        let mut bytes = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in labels {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes
    }

    #[test]
    fn a_known_name_is_answered_byte_for_byte() {
        let golden = b"\x12\x34\x85\0\0\x01\0\x01\0\0\0\0\x03WEB\x03lab\0\0\x01\0\x01\
                       \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x01\0\x09";
        assert_eq!(
            answer(&query(&["WEB", "lab"], TYPE_A), &zone()).unwrap(),
            golden
        );
        let v6 = answer(&query(&["web", "lab"], TYPE_AAAA), &zone()).unwrap();
        assert_eq!(
            v6[v6.len() - 16..],
            [0x20, 1, 0xd, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]
        );
    }

    #[test]
    fn the_rest_is_answered_with_its_reason() {
        let code = |query: &[u8]| answer(query, &zone()).unwrap()[3];
        assert_eq!(code(&query(&["nobody", "lab"], TYPE_A)), NXDOMAIN);
        assert_eq!(code(&query(&[], TYPE_A)), NXDOMAIN);
        let no_data = answer(&query(&["web", "lab"], 16), &zone()).unwrap();
        assert_eq!((no_data[3], &no_data[6..8]), (NOERROR, &[0, 0][..]));
        let mut status = query(&["web", "lab"], TYPE_A);
        status[2] |= 2 << 3;
        assert_eq!(code(&status), NOTIMP);
        let cut = query(&["web", "lab"], TYPE_A);
        assert_eq!(code(&cut[..cut.len() - 1]), FORMERR);
        let mut reply = query(&["web", "lab"], TYPE_A);
        reply[2] |= 0x80;
        assert_eq!(answer(&reply, &zone()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_bounded_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(answer) = answer(&bytes, &zone()) {
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert!(answer.len() <= 512);
            }
        }
    }
}
