//! What every frame link promises, asked of each through the same code.
//!
//! A link is added by a test of its own that says how it is opened; what it must do is in [`suite`], what it must leave
//! alone on a kernel's interface in [`interface`].

mod interface;
mod suite;

use std::net::IpAddr;

use sonde_link::{
    Expected, ExpectedSource, Faults, FaultyLink, FrameLink, PacketLink, PacketOptions, XdpLink,
    XskLink, XskOptions, memory_pair, offload,
};
use sonde_wire::VlanId;

use crate::frames::{OUR_IPV4, OUR_IPV6, PORT};
use crate::namespace::in_namespace;

pub(crate) use interface::wait_until_free;

/// A link, whichever.
type AnyLink = Box<dyn FrameLink + Send>;

#[test]
fn memory() {
    suite::conforms(&|| {
        let (near, far) = memory_pair(64);
        (Box::new(near), Box::new(far))
    });
}

#[test]
fn faults_none() {
    suite::conforms(&|| {
        let (near, far) = memory_pair(64);
        let perfect = Faults::default();
        let near = FaultyLink::new(near, perfect);
        (Box::new(near), Box::new(FaultyLink::new(far, perfect)))
    });
}

#[test]
fn packet() {
    in_namespace("conformance::packet", || {
        interface::conforms(&|name| {
            Ok(Box::new(PacketLink::open(name, PacketOptions::default())?))
        });
    });
}

#[test]
fn xsk_native() {
    for_root("conformance::xsk_native", || {
        interface::conforms_and_leaves_no_program("conformance::xsk_native", &|name| {
            Ok(Box::new(XskLink::open(name, XskOptions::default())?))
        });
    });
}

#[test]
fn xsk_generic() {
    for_root("conformance::xsk_generic", || {
        interface::conforms_and_leaves_no_program("conformance::xsk_generic", &|name| {
            let options = XskOptions {
                native: false,
                ..XskOptions::default()
            };
            Ok(Box::new(XskLink::open(name, options)?))
        });
    });
}

#[test]
fn xdp() {
    for_root("conformance::xdp", || {
        interface::conforms_and_leaves_no_program("conformance::xdp", &|name| {
            // What makes the far end of a veth take frames of programs.
            let _ = offload::turn_on_receive_coalescing("far");
            Ok(Box::new(XdpLink::open(name, false)?))
        });
    });
}

/// Runs `body` in a network namespace if the kernel lets us bring programs into it. Root of a user namespace it does
/// not: such tests are root's, and an ordinary user has no part in them.
pub(crate) fn for_root(test: &str, body: impl FnOnce() + Send) {
    let everybody = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    if std::env::var_os(interface::HOLD).is_some() {
        body();
    } else if rustix::process::geteuid().is_root() && everybody {
        in_namespace(test, body);
    } else {
        eprintln!("{test} is for root: the kernel takes programs from nobody else");
    }
}

/// Says to `link` what the tests' answers look like: to us in every VLAN.
pub(crate) fn expect_answers(link: &mut (impl FrameLink + ?Sized)) {
    let vlans = (0..=VlanId::MAX).map(VlanId::new);
    let addresses = [IpAddr::from(OUR_IPV4), IpAddr::from(OUR_IPV6)];
    let sources: Vec<ExpectedSource> = vlans
        .flat_map(|vlan| {
            addresses.map(|ip| ExpectedSource {
                vlan,
                ip,
                kernel_owned: false,
            })
        })
        .collect();
    let expected = Expected {
        port: PORT,
        sources: &sources,
        proof: None,
    };
    let judges = link.expect(&expected).expect("the kernel takes it");
    assert!(!judges, "there is nothing to judge by");
}
