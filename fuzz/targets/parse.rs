//! Any bytes through the frame parser: no panic, no overflow, and what is read lies in what was given.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_wire::{Body, Checksums, parse};

fuzz_target!(|bytes: &[u8]| {
    for checksums in [Checksums::Verify, Checksums::Trust] {
        match parse(bytes, checksums) {
            Ok(packet) => match packet.body {
                Body::Tcp(segment) => {
                    assert!(segment.options.len() + segment.payload.len() < bytes.len())
                }
                Body::Udp(datagram) => assert!(datagram.payload.len() < bytes.len()),
                Body::RouterAdvertisement(router) => {
                    assert!(router.prefixes().count() < bytes.len())
                }
                _ => {}
            },
            Err(reason) => assert!(reason.is_of_parser()),
        }
    }
});
