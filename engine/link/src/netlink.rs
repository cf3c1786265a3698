//! One question to the kernel over netlink(7), one answer: no more of it is needed here.
//!
//! The kernel answers inside the send, so nothing ever waits. What is asked speaks of the network namespace
//! of the calling thread.

use std::io;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with,
};

/// Interfaces, addresses, routes: protocol 0, which rustix spells so.
pub(crate) const ROUTE: Option<Protocol> = None;
/// Families found by name.
const GENERIC: Option<Protocol> = Some(netlink::GENERIC);

/// Length, type, flags, sequence number, port: `struct nlmsghdr`.
const HEADER: usize = 16;
/// Kind and length before the value: `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// The kernel's answers fit a page or two; an interface with hundreds of virtual functions needs more.
const ANSWER_MAX: usize = 64 * 1024;

/// Sends `payload` as a request of type `kind` and returns the payload of the first answer.
///
/// # Errors
/// What the kernel said; `InvalidData` for an answer that is none.
fn ask(protocol: Option<Protocol>, kind: u16, payload: &[u8]) -> io::Result<Vec<u8>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    send(&socket, &message(kind, payload), SendFlags::empty())?;
    let mut answer = vec![0; ANSWER_MAX];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    answer.truncate(length);
    payload_of(&answer).map(<[u8]>::to_vec)
}

/// The attributes of the interface numbered `ifindex`, whose kinds are `IFLA_*`.
///
/// # Errors
/// `ENODEV` without such an interface.
pub(crate) fn interface_attributes(ifindex: u32) -> io::Result<Vec<u8>> {
    const IFINFOMSG: usize = 16;
    let mut request = [0; IFINFOMSG];
    request[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let mut answer = ask(ROUTE, libc::RTM_GETLINK, &request)?;
    answer.drain(..IFINFOMSG.min(answer.len()));
    Ok(answer)
}

/// Asks the generic family named for `command` with `attributes`; `None` when the kernel has no such family.
///
/// # Errors
/// What the kernel said.
pub(crate) fn ask_family(
    name: &str,
    command: u8,
    attributes: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    let Some(family) = family(name)? else {
        return Ok(None);
    };
    ask_generic(family, command, attributes).map(Some)
}

/// Receive queues that the interface numbered `ifindex` uses, or was made with where its driver does not say.
///
/// # Errors
/// `ENODEV` without such an interface.
pub(crate) fn receive_queues(ifindex: u32) -> io::Result<u32> {
    let attributes = interface_attributes(ifindex)?;
    let made_with = attribute_u32(&attributes, libc::IFLA_NUM_RX_QUEUES).unwrap_or(1);
    Ok(match channels(ifindex) {
        Ok(Some(used)) if used > 0 => used.min(made_with),
        _ => made_with,
    })
}

/// Queues in use that receive, by the word of the driver (`include/uapi/linux/ethtool_netlink.h`).
fn channels(ifindex: u32) -> io::Result<Option<u32>> {
    /// `ETHTOOL_MSG_CHANNELS_GET`; `ETHTOOL_A_CHANNELS_HEADER`, `_RX_COUNT` and `_COMBINED_COUNT`;
    /// `ETHTOOL_A_HEADER_DEV_INDEX`.
    const GET: u8 = 17;
    const WHOSE: u16 = 1;
    const RECEIVING: u16 = 6;
    const COMBINED: u16 = 9;
    const DEV_INDEX: u16 = 1;
    let (mut whose, mut request) = (Vec::new(), Vec::new());
    push_attribute(&mut whose, DEV_INDEX, &ifindex.to_ne_bytes());
    push_attribute(&mut request, WHOSE | libc::NLA_F_NESTED as u16, &whose);
    let answer = ask_family("ethtool", GET, &request)?;
    Ok(answer.map(|attributes| {
        let count = |kind| attribute_u32(&attributes, kind).unwrap_or(0);
        count(RECEIVING).saturating_add(count(COMBINED))
    }))
}

/// The number under which the kernel has a family; `None` when it has not (`include/uapi/linux/genetlink.h`).
fn family(name: &str) -> io::Result<Option<u16>> {
    /// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`.
    const CONTROLLER: u16 = 16;
    const GET: u8 = 3;
    const ID: u16 = 1;
    const NAME: u16 = 2;
    let mut request = Vec::new();
    push_attribute(&mut request, NAME, &[name.as_bytes(), &[0]].concat());
    match ask_generic(CONTROLLER, GET, &request) {
        Ok(answer) => {
            let id = attribute(&answer, ID).and_then(|value| value.try_into().ok());
            id.map(|id| Some(u16::from_ne_bytes(id)))
                .ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Behind `struct genlmsghdr`: command, version and a reserved word.
fn ask_generic(family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = vec![command, 1, 0, 0];
    let header = request.len();
    request.extend(attributes);
    let mut answer = ask(GENERIC, family, &request)?;
    answer.drain(..header.min(answer.len()));
    Ok(answer)
}

/// Adds an attribute, padded to four bytes.
pub(crate) fn push_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (ATTRIBUTE_HEADER + value.len()) as u16;
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// The value of the first attribute of this kind among `attributes`.
pub(crate) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    /// Marks of a nested attribute and of network byte order, beside the kind.
    const KIND_MASK: u16 = 0x3fff;
    let mut rest = attributes;
    while let Some((length, found)) = pair_of_u16(rest) {
        let length = usize::from(length);
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        if found & KIND_MASK == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// A 32-bit attribute.
pub(crate) fn attribute_u32(attributes: &[u8], kind: u16) -> Option<u32> {
    let value = attribute(attributes, kind)?;
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(((HEADER + payload.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and port: one question a socket, and the kernel knows whom it answers.
    message.extend([0; 8]);
    message.extend(payload);
    message
}

fn payload_of(answer: &[u8]) -> io::Result<&[u8]> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let header = answer.get(..HEADER).ok_or_else(broken)?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let payload = answer.get(HEADER..length).ok_or_else(broken)?;
    if i32::from(kind) != libc::NLMSG_ERROR {
        return Ok(payload);
    }
    let code = payload.get(..4).ok_or_else(broken)?;
    match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
        0 => Ok(&[]),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

fn pair_of_u16(bytes: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d, ..] = bytes else {
        return None;
    };
    Some((u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_and_none_is_invented() {
        let mut message = Vec::new();
        push_attribute(&mut message, 3, b"abc");
        push_attribute(&mut message, 0x8000 | 7, &9_u32.to_ne_bytes());
        assert_eq!(message.len(), 16);
        assert_eq!(attribute(&message, 3), Some(&b"abc"[..]));
        assert_eq!(attribute_u32(&message, 7), Some(9));
        assert_eq!(
            (attribute(&message, 4), attribute_u32(&message, 3)),
            (None, None)
        );
        // Cut anywhere, and with every length a header can claim: found or not, never a panic.
        for cut in 0..message.len() {
            assert_eq!(attribute_u32(&message[..cut], 7), None, "{cut}");
        }
        for length in 0..=u16::MAX {
            message[..2].copy_from_slice(&length.to_ne_bytes());
            let _ = attribute(&message, 7);
        }
    }

    #[test]
    fn a_family_nobody_has_is_none() {
        assert_eq!(family("sonde-no-such").unwrap(), None);
    }

    #[test]
    fn loopback_receives_by_one_queue_and_a_missing_interface_is_told() {
        let index = crate::ifreq::Interrogator::new()
            .and_then(|ask| ask.index("lo"))
            .unwrap();
        assert_eq!(receive_queues(index).unwrap(), 1);
        let missing = receive_queues(i32::MAX as u32).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn an_error_is_the_kernels_and_half_an_answer_none() {
        let mut answer = message(libc::NLMSG_ERROR as u16, &(-libc::ENODEV).to_ne_bytes());
        assert_eq!(
            payload_of(&answer).unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
        answer[16..20].fill(0);
        assert_eq!(payload_of(&answer).unwrap(), b"");
        for cut in 0..answer.len() {
            let kind = payload_of(&answer[..cut]).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidData);
        }
    }
}
