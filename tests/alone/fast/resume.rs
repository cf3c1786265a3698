//! kill -9 of a scan by a program in the kernel, again and again: nothing stays there, and the scan goes on.

use std::fs;
use std::time::Duration;

use sonde_lab::world::PortAnswer;

use super::{Front, check, for_root, found, sweep};
use crate::harness::{serve, sonde, wait_for};

const KILLS: u64 = 10;
/// Probes a second while it is killed.
const RATE: u64 = 4_000;
/// For what takes a second at most.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn kill_9_ten_times() {
    for_root("fast::resume::kill_9_ten_times", || {
        let front = Front::start(sweep());
        let (output, checkpoint) = (front.file("found.jsonl"), front.file("scan.checkpoint"));
        let checkpointed = || fs::read(&checkpoint).ok();
        let mut scan = front.scan("xdp", &output, &front.spec.targets());
        scan.args(["-p", "80", "--discovery", "none", "--rate"]);
        scan.arg(RATE.to_string());
        scan.arg("--checkpoint").arg(&checkpoint);
        for kill in 0..KILLS {
            let before = checkpointed();
            let mut running = front.visit(|| serve(&mut scan));
            wait_for("a checkpoint", PATIENCE, || {
                assert!(running.runs(), "kill {kill}: the scan ended by itself");
                (checkpointed() != before).then_some(())
            });
            let sent = front.counters().received_syn;
            assert!(front.program().is_some(), "kill {kill}");
            // When the next one is nearly due, and the most has to be sent again.
            let sent = sent + RATE * 9 / 10;
            wait_for("the moment", PATIENCE, || {
                (front.counters().received_syn >= sent).then_some(())
            });
            assert!(running.runs(), "kill {kill}: the scan ended by itself");
            drop(running);
            wait_for("an interface without a program", PATIENCE, || {
                front.program().is_none().then_some(())
            });
            scan = sonde(["scan", "--resume"]);
            scan.arg(&checkpoint);
        }
        scan.args(["--rate", "200k", "--max-time", "2m"]);
        front.succeed(&mut scan);
        let sent = front.counters().received_syn;
        let repeated = sent.saturating_sub(due(&front));
        eprintln!("{sent} probes, {repeated} of them again after {KILLS} kills at {RATE} a second");
        check(&found(&output), &front.truth_behind(&[80]));
        assert!(
            repeated < KILLS * RATE,
            "{repeated} probes again after {KILLS} kills"
        );
    });
}

/// Probes of a scan that nobody interrupts: three for what says nothing.
fn due(front: &Front) -> u64 {
    let addresses = front.spec.addresses_behind(None);
    let probes = addresses.map(|ip| match front.spec.tcp(None, ip, 80) {
        PortAnswer::Silent => 3,
        PortAnswer::Open | PortAnswer::Closed => 1,
    });
    probes.sum()
}
