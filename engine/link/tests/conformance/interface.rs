//! What a link on a kernel's interface does when that goes down, and what it leaves there.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aya::programs::{Xdp, XdpMode};
use aya::{EbpfLoader, VerifierLogLevel};
use sonde_link::{FrameBatch, FrameLink, PacketLink, PacketOptions, RxBatch};

use super::{AnyLink, expect_answers, suite};
use crate::frames::{PATIENCE, carry, write_frame};
use crate::namespace::{ip, ip_says, veth_pair};

/// Opens the link under test on the interface named.
pub(super) type Open<'a> = &'a dyn Fn(&str) -> Result<AnyLink, Box<dyn Error>>;

/// Set in a child that only holds the link open, in the namespace of the test that started it.
pub(super) const HOLD: &str = "SONDE_LINK_TEST_HOLD";
/// Said by the child once it does.
const HOLDING: &str = "the link is open";

/// Everything a link on an interface promises; the far end is a packet link.
pub(super) fn conforms(open: Open<'_>) {
    veth_pair();
    suite::conforms(&|| {
        wait_until_free("near");
        let near = open("near").expect("a namespace of our own");
        let far = PacketLink::open("far", PacketOptions::default()).expect("the same namespace");
        (near, Box::new(far))
    });
    wait_until_free("near");
    going_down_is_an_error_and_coming_back_is_not(open);
    going_away_is_an_error(open);
}

/// The same of a link that puts a program on the interface. `test` is the path of the calling test.
pub(super) fn conforms_and_leaves_no_program(test: &str, open: Open<'_>) {
    if std::env::var_os(HOLD).is_some() {
        return hold(open);
    }
    conforms(open);
    veth_pair();
    an_interface_that_runs_a_program_is_refused_by_its_name(open);
    nothing_is_left_by_a_killed_process(test);
}

fn going_down_is_an_error_and_coming_back_is_not(open: Open<'_>) {
    let mut near = open("near").expect("a namespace of our own");
    let mut far = PacketLink::open("far", PacketOptions::default()).expect("the same namespace");
    expect_answers(&mut *near);
    let mut out = FrameBatch::new(1);
    assert!(out.push_with(|slot| write_frame(slot, None, 1, 60)));
    ip("link set near down");
    let mut got = RxBatch::new(4);
    let begun = Instant::now();
    let told = near.receive(&mut got, PATIENCE).expect_err("down");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert_eq!(told.kind(), std::io::ErrorKind::NetworkDown);
    near.transmit(&out, 0).expect_err("down");
    ip("link set near up");
    // The far end was without carrier meanwhile, and may say so once.
    let _ = far.receive(&mut got, Duration::ZERO);
    carry(&mut *near, &mut far, &out, |_, bytes| {
        assert_eq!(bytes, out.frame(0));
    });
}

fn going_away_is_an_error(open: Open<'_>) {
    wait_until_free("near");
    let mut near = open("near").expect("a namespace of our own");
    ip("link del near");
    let mut got = RxBatch::new(4);
    let begun = Instant::now();
    near.receive(&mut got, PATIENCE).expect_err("gone");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    let mut out = FrameBatch::new(1);
    assert!(out.push_with(|slot| write_frame(slot, None, 0, 60)));
    near.transmit(&out, 0).expect_err("gone");
}

/// Whoever was first stays, in either mode.
fn an_interface_that_runs_a_program_is_refused_by_its_name(open: Open<'_>) {
    let mut object = EbpfLoader::new()
        .btf(None)
        .verifier_log_level(VerifierLogLevel::DISABLE)
        .load_file(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/redirect.bpf.o"))
        .expect("root may");
    let program: &mut Xdp = object
        .program_mut("sonde_redirect")
        .expect("it is in there")
        .try_into()
        .expect("it is of that type");
    program.load().expect("root may");
    let id = program.info().expect("it is loaded").id();
    for mode in [XdpMode::Driver, XdpMode::Skb] {
        let attached = program.attach("near", mode).expect("nothing is there");
        assert_eq!(program_on("near"), Some(id));
        let said = open("near").err().expect("it is taken").to_string();
        for named in ["`near`", &format!("program {id} "), "sonde_redirect"] {
            assert!(said.contains(named), "{named} is not in: {said}");
        }
        assert_eq!(program_on("near"), Some(id), "{said}");
        program.detach(attached).expect("it was attached");
        wait_until_free("near");
    }
    drop(open("near").expect("it is free again"));
    wait_until_free("near");
}

fn nothing_is_left_by_a_killed_process(test: &str) {
    let this = std::env::current_exe().expect("a test knows its executable");
    for _ in 0..10 {
        let mut child = Command::new(&this)
            .args(["--exact", test, "--nocapture"])
            .env(HOLD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a test can be started");
        let said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let holding = said
            .map_while(Result::ok)
            .any(|line| line.contains(HOLDING));
        assert!(holding, "the child could not open the link");
        assert!(program_on("near").is_some());
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        wait_until_free("near");
    }
}

/// In the child: opens the link and holds it until killed, or until the parent is gone.
fn hold(open: Open<'_>) {
    let mut link = open("near").expect("the parent's namespace");
    expect_answers(&mut *link);
    println!("{HOLDING}");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Fails if a program stays. It may for a moment: until a dead process is cleaned up, or because another test has just
/// forked, and its child, which has not become a program of its own yet, has our files open as well.
pub(crate) fn wait_until_free(interface: &str) {
    let begun = Instant::now();
    while let Some(id) = program_on(interface) {
        assert!(begun.elapsed() < PATIENCE, "program {id} is left");
    }
}

/// The number of the program that runs on the interface, by the word of `ip`.
pub(super) fn program_on(interface: &str) -> Option<u32> {
    let said = ip_says(&format!("link show dev {interface}"));
    let (_, rest) = said.split_once("prog/xdp id ")?;
    let digits = rest.split(|byte: char| !byte.is_ascii_digit()).next()?;
    Some(digits.parse().expect("a number"))
}
