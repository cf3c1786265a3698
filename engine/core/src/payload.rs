//! What a UDP probe says to the port it asks: the shortest question its usual service answers.
//!
//! Where the protocol has a transaction id, 16 bits of the cookie go into it and prove the answer. Other
//! services, and ports without a payload of their own (an empty datagram), are proven by the table of outstanding
//! probes. The questions are our own, written from the specification named at each.

/// What is asked of one port.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// The datagram's payload; the transaction id in it is zero.
    pub bytes: &'static [u8],
    /// Where the transaction id is, two octets; `None` without one.
    pub id_at: Option<usize>,
    answer: AnswerId,
}

/// Where the answer repeats the id.
#[derive(Clone, Copy, Debug)]
enum AnswerId {
    None,
    At(usize),
    /// The low half of the request id, behind lengths that vary.
    Snmp,
}

/// The number of different payloads: [`index`] is below it.
pub const COUNT: usize = PAYLOADS.len();

/// Which payload `port` gets; 0 is the empty one.
#[inline]
pub const fn index(port: u16) -> usize {
    match port {
        53 => 1,
        69 => 2,
        111 => 3,
        123 => 4,
        137 => 5,
        161 => 6,
        500 => 7,
        623 => 8,
        1434 => 9,
        1900 => 10,
        3478 => 11,
        5060 => 12,
        5353 => 13,
        5683 => 14,
        11211 => 15,
        _ => 0,
    }
}

/// The payload of this [`index`].
#[inline]
pub const fn at(index: usize) -> &'static Payload {
    &PAYLOADS[index]
}

/// Whether nothing in an answer from `port` would prove it.
#[inline]
pub const fn is_without_id(port: u16) -> bool {
    PAYLOADS[index(port)].id_at.is_none()
}

/// The transaction id in what came back from `port`. `None`: this service has none, ask the table of
/// outstanding probes. `Some(None)`: it has, and the answer does not repeat one.
pub fn answer_id(port: u16, answer: &[u8]) -> Option<Option<u16>> {
    match PAYLOADS[index(port)].answer {
        AnswerId::None => None,
        AnswerId::At(at) => Some(id_at(answer, at)),
        AnswerId::Snmp => Some(snmp_request_id(answer)),
    }
}

/// The transaction id in a quoted probe of ours to `port`, if the service has one and the quote
/// reaches it.
pub fn quoted_id(port: u16, quoted: &[u8]) -> Option<u16> {
    id_at(quoted, PAYLOADS[index(port)].id_at?)
}

/// Whether a datagram from a port never asked may be a TFTP server's: it answers from a new port
/// (RFC 1350 §4), with data or an error.
pub fn is_tftp_answer(answer: &[u8]) -> bool {
    matches!(answer, [0, 3 | 5, _, _, ..])
}

fn id_at(bytes: &[u8], at: usize) -> Option<u16> {
    let id = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([id[0], id[1]]))
}

/// Message, version, community, PDU, request id (RFC 1157 §4), with lengths of one to three octets.
fn snmp_request_id(mut bytes: &[u8]) -> Option<u16> {
    fn enter<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
        let (&[found, length], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81 => (usize::from(*rest.first()?), &rest[1..]),
            0x82 => (usize::from(id_at(rest, 0)?), &rest[2..]),
            _ => return None,
        };
        let (inside, after) = rest.split_at_checked(length)?;
        *bytes = after;
        (found == tag).then_some(inside)
    }
    let mut message = enter(&mut bytes, 0x30)?;
    enter(&mut message, 0x02)?;
    enter(&mut message, 0x04)?;
    let mut response = enter(&mut message, 0xa2)?;
    match enter(&mut response, 0x02)? {
        [0x40, 0, high, low] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

const fn without_id(bytes: &'static [u8]) -> Payload {
    Payload {
        bytes,
        id_at: None,
        answer: AnswerId::None,
    }
}

/// The id is at `asked` in the question and at `answered` in the answer.
const fn with_id(bytes: &'static [u8], asked: usize, answered: usize) -> Payload {
    Payload {
        bytes,
        id_at: Some(asked),
        answer: AnswerId::At(answered),
    }
}

const PAYLOADS: [Payload; 16] = [
    without_id(b""),
    // DNS (RFC 1035 §4): who serves the root? Even a server that refuses says so.
    with_id(b"\0\0\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01", 0, 0),
    // TFTP (RFC 1350 §5): read a file that is not there.
    without_id(b"\0\x01sonde\0octet\0"),
    // ONC RPC (RFC 5531 §9): call program 100000 (portmapper), version 2, procedure 0, without credentials.
    with_id(
        b"\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\x86\xa0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        2,
        2,
    ),
    // NTP (RFC 5905 §7.3): client, version 4; our transmit time comes back as the originate time.
    with_id(
        b"\xe3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
          \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        40,
        24,
    ),
    // NetBIOS name service (RFC 1002 §4.2.17): node status of any name.
    with_id(
        b"\0\0\0\0\0\x01\0\0\0\0\0\0\x20CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\0\0\x21\0\x01",
        0,
        0,
    ),
    // SNMP (RFC 1157 §4): version 1, which agents of version 2c answer too; community public; get sysDescr.0.
    Payload {
        bytes: b"\x30\x29\x02\x01\0\x04\x06public\xa0\x1c\x02\x04\x40\0\0\0\x02\x01\0\x02\x01\0\
                 \x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\0\x05\0",
        id_at: Some(19),
        answer: AnswerId::Snmp,
    },
    // IKE (RFC 2409 §5): main mode, one proposal of AES-128, SHA-1, pre-shared key, group 14. The initiator's
    // cookie comes back, whatever the answer.
    with_id(
        b"\0\0sonde1\0\0\0\0\0\0\0\0\x01\x10\x02\0\0\0\0\0\0\0\0\x54\
          \0\0\0\x38\0\0\0\x01\0\0\0\x01\0\0\0\x2c\x01\x01\0\x01\0\0\0\x24\x01\x01\0\0\
          \x80\x01\0\x07\x80\x0e\0\x80\x80\x02\0\x02\x80\x03\0\x01\x80\x04\0\x0e\x80\x0b\0\x01\
          \x80\x0c\x0e\x10",
        0,
        0,
    ),
    // RMCP (DMTF DSP0136 §3.2): presence ping.
    without_id(b"\x06\0\xff\x06\0\0\x11\xbe\x80\0\0\0"),
    // SQL Server resolution ([MC-SQLR] §2.2.2): all instances.
    without_id(b"\x03"),
    // SSDP (UPnP Device Architecture §1.3.2): search for root devices.
    without_id(
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
          ST: upnp:rootdevice\r\n\r\n",
    ),
    // STUN (RFC 8489 §5): binding request.
    with_id(b"\0\x01\0\0\x21\x12\xa4\x42\0\0sondesonde", 8, 8),
    // SIP (RFC 3261 §11): what can you do?
    without_id(
        b"OPTIONS sip:sonde@sonde.invalid SIP/2.0\r\n\
          Via: SIP/2.0/UDP sonde.invalid;branch=z9hG4bKsonde;rport\r\nMax-Forwards: 70\r\n\
          From: <sip:sonde@sonde.invalid>;tag=sonde\r\nTo: <sip:sonde@sonde.invalid>\r\n\
          Call-ID: sonde\r\nCSeq: 1 OPTIONS\r\nContact: <sip:sonde@sonde.invalid>\r\n\
          Content-Length: 0\r\n\r\n",
    ),
    // mDNS (RFC 6762 §5.5, §6.7; RFC 6763 §9): which services are there, answered by unicast.
    with_id(
        b"\0\0\0\0\0\x01\0\0\0\0\0\0\x09_services\x07_dns-sd\x04_udp\x05local\0\0\x0c\x80\x01",
        0,
        0,
    ),
    // CoAP (RFC 7252 §3; RFC 6690 §4): get /.well-known/core, confirmable.
    with_id(b"\x40\x01\0\0\xbb.well-known\x04core", 2, 2),
    // memcached (its protocol.txt, "UDP protocol"): version.
    with_id(b"\0\0\0\0\0\x01\0\0version\r\n", 0, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|port| index(*port) != 0)
    }

    #[test]
    fn every_payload_has_one_port_and_room_for_its_id() {
        let mut of_ports: Vec<_> = ports().map(index).collect();
        of_ports.sort_unstable();
        assert_eq!(of_ports, (1..COUNT).collect::<Vec<_>>());
        for port in ports() {
            let payload = at(index(port));
            assert!(
                !payload.bytes.is_empty() && payload.bytes.len() <= 400,
                "port {port}"
            );
            if let Some(id_at) = payload.id_at {
                assert_eq!(payload.bytes[id_at..id_at + 2], [0, 0], "port {port}");
                let mut quoted = payload.bytes.to_vec();
                quoted[id_at..id_at + 2].copy_from_slice(&[0xab, 0xcd]);
                assert_eq!(quoted_id(port, &quoted), Some(0xabcd));
                assert_eq!(quoted_id(port, &quoted[..id_at + 1]), None);
            }
            assert_eq!(answer_id(port, b"").is_some(), payload.id_at.is_some());
        }
    }

    #[test]
    fn lengths_inside_are_right() {
        assert_eq!(at(index(500)).bytes.len(), 84); // IKE's own length field
        assert_eq!(at(index(161)).bytes.len(), 0x29 + 2);
        assert_eq!(at(index(111)).bytes.len(), 40);
        assert_eq!(at(index(123)).bytes.len(), 48);
        assert_eq!(at(index(137)).bytes.len(), 50);
        assert_eq!(at(index(3478)).bytes.len(), 20);
    }

    #[test]
    fn snmp_answers_are_read_behind_lengths_of_any_form() {
        let pdu = b"\x02\x04\x40\0\xab\xcd\x02\x01\0\x02\x01\0\x30\0";
        let long =
            |tag: u8, inside: &[u8]| [&[tag, 0x82, 0, inside.len() as u8][..], inside].concat();
        let head = b"\x02\x01\0\x04\x06public";
        let short = [&[0x30, 11 + 2 + 14][..], head, &[0xa2, 14], pdu].concat();
        let answer = long(0x30, &[&head[..], &long(0xa2, pdu)].concat());
        for answer in [&short, &answer] {
            assert_eq!(answer_id(161, answer), Some(Some(0xabcd)));
            for cut in 0..answer.len() {
                assert_eq!(answer_id(161, &answer[..cut]), Some(None));
            }
        }
    }

    #[test]
    fn a_tftp_error_is_known_by_its_opcode() {
        assert!(is_tftp_answer(b"\0\x05\0\x01no\0"));
        assert!(!is_tftp_answer(b"\0\x01sonde\0octet\0"));
        assert!(!is_tftp_answer(b"\0\x05"));
    }
}
