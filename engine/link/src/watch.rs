//! Whether the interface is still there and up, told by the kernel as it changes.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::ifreq::Interrogator;
use crate::netlink::ROUTE;

/// Messages about links (`RTNLGRP_LINK` of include/uapi/linux/rtnetlink.h, as a bit).
const LINKS: u32 = 1;

/// Watches one interface.
pub(crate) struct Watch {
    messages: rustix::fd::OwnedFd,
    ask: Interrogator,
    interface: String,
    is_up: bool,
}

impl Watch {
    pub(crate) fn new(interface: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let messages = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, ROUTE)?;
        bind(&messages, &SocketAddrNetlink::new(0, LINKS))?;
        Ok(Self {
            messages,
            ask: Interrogator::new()?,
            interface: interface.to_owned(),
            is_up: false,
        })
    }

    /// Takes the messages there are and looks, whatever they say.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, `ENODEV` when it is gone.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.is_up = false;
        self.check()
    }

    /// Looks if the kernel has said something, or the interface was not up when last looked at: one system call
    /// else.
    ///
    /// # Errors
    /// As [`Watch::look`].
    pub(crate) fn check(&mut self) -> io::Result<()> {
        // Their content does not matter, nor whether some were lost: what is true now is asked for below.
        let mut message = [MaybeUninit::<u8>::uninit(); 4096];
        while !matches!(
            recv(&self.messages, &mut message, RecvFlags::DONTWAIT),
            Err(Errno::AGAIN)
        ) {
            self.is_up = false;
        }
        if !self.is_up {
            self.is_up = self.ask.is_up(&self.interface)?;
        }
        match self.is_up {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::ENETDOWN)),
        }
    }
}

/// Readable when something has changed.
impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.messages.as_fd()
    }
}
