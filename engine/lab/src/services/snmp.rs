//! A management agent's answer (RFC 1157, RFC 3416): `sysDescr.0` to the community `public`.
//!
//! Whatever object is asked for, get or get-next, the answer names this one: enough to be found and
//! recognised, which is all that a scan asks. Read as basic encoding rules (X.690), definite lengths only.

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const GET: u8 = 0xa0;
const GET_NEXT: u8 = 0xa1;
const RESPONSE: u8 = 0xa2;

/// 1.3.6.1.2.1.1.1.0 (RFC 3418).
const SYS_DESCR: [u8; 8] = [0x2b, 6, 1, 2, 1, 1, 1, 0];

/// The answer to a get or get-next of version 1 or 2c from `public`; none to anything else.
pub(super) fn answer(request: &[u8], name: &str) -> Option<Vec<u8>> {
    let (SEQUENCE, message, _) = element(request)? else {
        return None;
    };
    let (INTEGER, version @ ([0] | [1]), rest) = element(message)? else {
        return None;
    };
    let (OCTETS, b"public", rest) = element(rest)? else {
        return None;
    };
    let (GET | GET_NEXT, pdu, _) = element(rest)? else {
        return None;
    };
    let (INTEGER, request_id, _) = element(pdu)? else {
        return None;
    };
    if request_id.is_empty() || request_id.len() > 4 {
        return None;
    }
    let binding = [
        wrap(OBJECT, &SYS_DESCR),
        wrap(OCTETS, format!("{name}, a machine of this lab").as_bytes()),
    ];
    let pdu = [
        wrap(INTEGER, request_id),
        wrap(INTEGER, &[0]), // error status
        wrap(INTEGER, &[0]), // error index
        wrap(SEQUENCE, &wrap(SEQUENCE, &binding.concat())),
    ];
    let message = [
        wrap(INTEGER, version),
        wrap(OCTETS, b"public"),
        wrap(RESPONSE, &pdu.concat()),
    ];
    Some(wrap(SEQUENCE, &message.concat()))
}

/// The first element of `bytes`: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (
            usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])),
            &rest[2..],
        ),
        _ => return None,
    };
    Some((tag, rest.get(..length)?, &rest[length..]))
}

/// An element around `content`.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        length @ 0..=0x7f => bytes.push(length as u8),
        length => {
            bytes.push(0x82);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET_SYS_DESCR: &[u8] =
        b"\x30\x29\x02\x01\x01\x04\x06public\xa0\x1c\x02\x04\x01\x02\x03\x04\
        \x02\x01\0\x02\x01\0\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\0\x05\0";

    #[test]
    fn public_learns_the_machines_name() {
        let golden = b"\x30\x43\x02\x01\x01\x04\x06public\xa2\x36\x02\x04\x01\x02\x03\x04\
            \x02\x01\0\x02\x01\0\x30\x28\x30\x26\x06\x08\x2b\x06\x01\x02\x01\x01\x01\0\
            \x04\x1abox, a machine of this lab";
        assert_eq!(answer(GET_SYS_DESCR, "box").unwrap(), golden);
    }

    #[test]
    fn others_get_no_answer() {
        let mut private = GET_SYS_DESCR.to_vec();
        private[7..13].copy_from_slice(b"secret");
        assert_eq!(answer(&private, "box"), None);
        let mut version3 = GET_SYS_DESCR.to_vec();
        version3[4] = 3;
        assert_eq!(answer(&version3, "box"), None);
        for length in 0..GET_SYS_DESCR.len() {
            assert_eq!(
                answer(&GET_SYS_DESCR[..length], "box"),
                None,
                "cut to {length}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes, "box");
        }

        #[test]
        fn elements_read_back(content in prop::collection::vec(any::<u8>(), 0..1000)) {
            let bytes = wrap(OCTETS, &content);
            prop_assert_eq!(element(&bytes), Some((OCTETS, &content[..], &[][..])));
        }
    }
}
