//! Once it runs, a scan allocates nothing: not for a probe, not for an answer.

use std::time::Duration;

use allocation_counter::measure;
use sonde_core::probe::Transmit;
use sonde_core::sweep::Sweep;
use sonde_core::template::{FRAME_MAX, Templates};
use sonde_core::time::Instant;

use crate::driver::{PORT, config};
use crate::network::Way;
use crate::world::{Size, World};

#[test]
fn probes_and_answers_allocate_nothing_once_the_scan_runs() {
    let way = Way {
        delay_us: 5_000,
        forged_percent: 20,
        duplicate_percent: 20,
        ..Way::default()
    };
    let size = Size {
        vlans: 6,
        addresses: 100,
        passes: 3,
        rate_pps: None,
        ..Size::default()
    };
    let mut world = World::new(3, size, way);
    world.request.ports = "1-600,8000-8019,U:53,161,9999".to_owned();
    let plan = world.plan();
    let templates = Templates::new(&plan, PORT);
    let mut sweep = Sweep::new(plan, config(1), Instant::ZERO);
    let mut out = Vec::with_capacity(256);
    let mut frame = [0; FRAME_MAX];
    let (mut now, mut probes, mut answers, mut allocations) = (0, 0, 0, 0);
    let mut sent = 0;
    while probes < 300_000 && !sweep.is_done() {
        let at = Instant::from_nanos(now);
        let warm = sent > 5_000;
        let mut frames = Vec::new();
        let sending = measure(|| {
            sweep.poll_transmit(at, 256, &mut out);
            sweep.handle_transmitted(at, out.len());
        });
        let filling = measure(|| {
            for transmit in &out {
                if let Transmit::Probe(probe) = transmit {
                    templates.fill(probe, &mut frame);
                }
            }
        });
        assert_eq!(filling.count_total, 0);
        for transmit in &out {
            match transmit {
                Transmit::Probe(probe) => {
                    let length = templates.fill(probe, &mut frame);
                    frames.push(frame[..length].to_vec());
                }
                Transmit::Frame(_) => panic!("nobody asks for us"),
            }
        }
        frames
            .iter()
            .for_each(|frame| world.network.transmit(now, frame));
        while let Some(arrival) = world.network.arrival(now) {
            let hearing = measure(|| sweep.handle_frame(at, arrival.vlan, &arrival.bytes));
            let telling = measure(|| while sweep.poll_event().is_some() {});
            if warm {
                answers += 1;
                allocations += hearing.count_total + telling.count_total;
            }
        }
        sent += out.len();
        if warm {
            probes += out.len();
            allocations += sending.count_total;
        }
        let idle = sweep.poll_timeout().map_or(now, Instant::as_nanos);
        let next = world.network.next_at().map_or(idle, |at| at.min(idle));
        now = next.max(now + Duration::from_micros(200).as_nanos() as u64);
    }
    assert!(
        probes > 50_000 && answers > 20_000,
        "{probes} probes, {answers} answers"
    );
    assert_eq!(allocations, 0, "{probes} probes, {answers} answers");
}
