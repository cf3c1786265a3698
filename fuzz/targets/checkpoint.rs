//! Any state to resume from: it is refused, or the scan goes on from it, to an end, within what it may ask.

#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use sonde_core::checkpoint::Checkpoint;
use sonde_core::plan::Plan;
use sonde_core::sweep::{Event, Sweep};
use sonde_core::template::Templates;
use sonde_core::time::Instant;
use sonde_fuzz::choices::Choices;
use sonde_fuzz::network::{PORT, config, is_target, plans, sent};
use sonde_fuzz::reply;
use sonde_wire::Checksums;

/// Steps in which any of the plans ends.
const STEPS_MAX: usize = 20_000;
/// More than any state of these plans has.
const STATE_MAX: usize = 1 << 20;

/// A checkpoint as a sweep made it, with its plan and its state unpacked.
struct Good {
    plan: Arc<Plan>,
    checkpoint: Checkpoint,
    state: Vec<u8>,
}

static GOOD: LazyLock<Vec<Good>> = LazyLock::new(|| {
    let moments = [0, 10, 40, 160, 640];
    let good = |(plan, steps)| good(plan, steps);
    let each = plans()
        .iter()
        .flat_map(|plan| moments.map(|steps| (plan, steps)));
    each.map(good).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let good = choices.of(&GOOD);
    let kind = choices.byte() % 8;
    let config = config(&mut choices);
    let state = match kind {
        0 => String::from_utf8_lossy(choices.rest()).into_owned(),
        1 => STANDARD.encode(choices.rest()),
        2 => pack(choices.rest()),
        _ => {
            let mut state = good.state.clone();
            if kind == 7 {
                boast(&mut state, &mut choices);
            }
            choices.bend(&mut state, 16);
            pack(&state)
        }
    };
    let checkpoint = Checkpoint {
        state,
        ..good.checkpoint.clone()
    };
    let now = Instant::from_nanos(choices.nanos());
    if let Ok(sweep) = Sweep::resume(good.plan.clone(), config, &checkpoint, now) {
        let again = Sweep::resume(good.plan.clone(), config, &sweep.checkpoint(), now);
        assert!(again.is_ok(), "its own checkpoint is refused: {again:?}");
        finish(&good.plan, sweep, now);
    }
});

/// Puts other numbers among those that end a state, which are JSON behind their length.
fn boast(state: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let start = state
        .windows(11)
        .rposition(|bytes| bytes == b"{\"counters\"");
    let start = start.expect("a state ends in its numbers");
    let text = String::from_utf8(state.split_off(start)).expect("numbers are text");
    let mut pieces: Vec<_> = text
        .split_inclusive([':', '[', ','])
        .map(str::to_owned)
        .collect();
    for _ in 0..1 + choices.below(4) {
        let piece = choices.below(pieces.len());
        if let Some(digit) = pieces[piece].find(|c: char| c.is_ascii_digit()) {
            let end = pieces[piece].trim_end_matches([',', ']', '}']).len();
            let number = *choices.of(&[u64::MAX, u64::MAX / 2, u64::from(u32::MAX), 1 << 40, 1]);
            pieces[piece].replace_range(digit..end.max(digit), &number.to_string());
        }
    }
    let text = pieces.concat();
    let length = u32::try_from(text.len()).expect("it is short");
    state.truncate(start - 4);
    state.extend_from_slice(&length.to_le_bytes());
    state.extend_from_slice(text.as_bytes());
}

fn pack(state: &[u8]) -> String {
    STANDARD.encode(zstd::bulk::compress(state, 1).expect("memory in, memory out"))
}

/// A checkpoint of a scan of `plan`, half of whose questions are answered, after `steps`.
fn good(plan: &Arc<Plan>, steps: usize) -> Good {
    let mut none = Choices::new(&[]);
    let mut sweep = Sweep::new(plan.clone(), config(&mut none), Instant::ZERO);
    let templates = Templates::new(plan, PORT);
    let (mut now, mut out) = (Instant::ZERO, Vec::new());
    for step in 0..steps {
        sweep.poll_transmit(now, 4, &mut out);
        sweep.handle_transmitted(now, out.len());
        for sent in out
            .iter()
            .map(|transmit| sent(&templates, transmit))
            .skip(step % 2)
        {
            let answer = reply::to(&sent, &mut none);
            sweep.handle_frame_with(now, sent.vlan, &answer, Checksums::Trust);
        }
        while sweep.poll_event().is_some() {}
        now = sweep.poll_timeout().unwrap_or(now).max(now);
    }
    let checkpoint = sweep.checkpoint();
    let packed = STANDARD.decode(&checkpoint.state).expect("state is base64");
    Good {
        plan: plan.clone(),
        state: zstd::bulk::decompress(&packed, STATE_MAX).expect("state is zstd"),
        checkpoint,
    }
}

/// Drives `sweep` to its end, nobody answering.
fn finish(plan: &Arc<Plan>, mut sweep: Sweep, mut now: Instant) {
    let templates = Templates::new(plan, PORT);
    let mut out = Vec::new();
    for _ in 0..STEPS_MAX {
        if sweep.is_done() {
            return;
        }
        sweep.poll_transmit(now, 64, &mut out);
        for transmit in &out {
            sent(&templates, transmit);
        }
        sweep.handle_transmitted(now, out.len());
        while let Some(event) = sweep.poll_event() {
            if let Event::Host { vlan, ip, .. } | Event::Port { vlan, ip, .. } = event {
                assert!(is_target(vlan, ip), "not part of the scan: {event:?}");
            }
        }
        let counters = sweep.counters();
        assert!((0.0..=1.0).contains(&counters.fraction()));
        let _told = (counters.sent(), counters.loss());
        now = sweep.poll_timeout().unwrap_or(now).max(now);
    }
    panic!("no end: {:?}", sweep.counters());
}
