//! What a frame costs on its way out and back, and what a record costs on its way to the disk.
//!
//! `cargo bench --bench engine`, then `cargo bench --bench check` holds the figures against
//! `baseline.toml`.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::{PacketBuilder, TcpOptionElement};
use sonde_agent::spool::entry::Kind;
use sonde_agent::spool::{Key, Spool, disk};
use sonde_core::cookie::{Cookies, Question};
use sonde_core::judge::{Answer, Reply};
use sonde_core::order::Order;
use sonde_core::plan::{Environment, Lan, Plan};
use sonde_core::policy::Policy;
use sonde_core::probe::{Probe, ProbeKind, Transmit};
use sonde_core::request::ScanRequest;
use sonde_core::sweep::{Sweep, SweepConfig};
use sonde_core::template::{FRAME_MAX, Templates};
use sonde_core::time::Instant as Clock;
use sonde_core::trunk::TrunkConfig;
use sonde_protocol::ids::JobId;
use sonde_wire::{Checksums, MacAddr, VlanId};

criterion_group!(benches, plan, order, cookie, sweep, template, parse, spool);
criterion_main!(benches);

/// A request for every port of every IPv4 address, on its way to being a plan.
fn plan(criterion: &mut Criterion) {
    let request = ScanRequest {
        targets: vec!["0.0.0.0/0".into()],
        ports: "-".into(),
        seed: Some(7),
        ..ScanRequest::default()
    };
    let environment = Environment {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        lan: Lan {
            ipv4: Some((Ipv4Addr::new(192, 0, 2, 2), 24)),
            gateway4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ..Lan::default()
        },
        ..Environment::default()
    };
    let policy = Policy::default();
    criterion
        .benchmark_group("plan")
        .bench_function("internet", |bencher| {
            bencher.iter(|| Plan::new(black_box(&request), &environment, &policy).is_ok());
        });
    assert!(Plan::new(&request, &environment, &policy).is_ok());
}

/// Every port of every IPv4 address: one position to the unit that stands there.
fn order(criterion: &mut Criterion) {
    let order = Order::new(1 << 48, 7);
    let mut position = 0;
    criterion
        .benchmark_group("order")
        .bench_function("at", |bencher| {
            bencher.iter(|| {
                position = (position + 1) & ((1 << 48) - 1);
                order.at(black_box(position))
            });
        });
}

/// What a SYN to one port of one host in one VLAN carries.
fn cookie(criterion: &mut Criterion) {
    let vlans = (1..=4094).map(VlanId::new);
    let cookies = Cookies::new([7; 16], vlans);
    let vlan = VlanId::new(100);
    let mut group = criterion.benchmark_group("cookie");
    let mut host = 0u32;
    group.bench_function("ipv4", |bencher| {
        bencher.iter(|| {
            host = host.wrapping_add(1);
            let ip = IpAddr::V4(Ipv4Addr::from_bits(host));
            let hash = cookies.hash(black_box(ip), Question::Tcp(443));
            cookies.cookie(vlan, hash)
        });
    });
    group.bench_function("ipv6", |bencher| {
        bencher.iter(|| {
            host = host.wrapping_add(1);
            let ip = IpAddr::V6(Ipv6Addr::from_bits(u128::from(host)));
            let hash = cookies.hash(black_box(ip), Question::Tcp(443));
            cookies.cookie(vlan, hash)
        });
    });
}

/// What to send next and what an answer means, everybody answering 0.3 ms after its probe left: with answers, as the books
/// of both are kept in the same places.
fn sweep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sweep");
    // One port of every host behind a gateway, open, and all ports of the hosts of a network, closed.
    for (name, target, ports, open) in [
        ("wide", "10.0.0.0/12", "80", true),
        ("deep", "192.0.2.0/24@lan", "1-65535", false),
    ] {
        group.bench_function(format!("probe/{name}"), |bencher| {
            bencher.iter_custom(|probes| swept(target, ports, open, probes).0);
        });
        group.bench_function(format!("answer/{name}"), |bencher| {
            bencher.iter_custom(|probes| swept(target, ports, open, probes).1);
        });
    }
}

/// How long sending so many probes takes, and hearing as many answers.
fn swept(target: &str, ports: &str, open: bool, probes: u64) -> (Duration, Duration) {
    const BATCH: usize = 256;
    let request = ScanRequest {
        targets: vec![target.into()],
        ports: ports.into(),
        discovery: "none".into(),
        rate_pps: None,
        seed: Some(7),
        ..ScanRequest::default()
    };
    let environment = Environment {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        lan: Lan {
            ipv4: Some((Ipv4Addr::new(192, 0, 2, 250), 24)),
            gateway4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ..Lan::default()
        },
        ..Environment::default()
    };
    let plan = Plan::new(&request, &environment, &Policy::default()).expect("a plan of the LAN");
    let plan = Arc::new(plan);
    let config = SweepConfig {
        key: [7; 16],
        source_port: 40_000,
        host_pps: 1_000_000_000,
        broadcast_pps: 1_000_000_000,
        ..SweepConfig::default()
    };
    let mut sweep = Sweep::new(plan.clone(), config, Clock::ZERO);
    let (mut out, mut replies) = (Vec::with_capacity(BATCH), VecDeque::new());
    let (mut now, mut sent, mut heard) = (0, 0, 0);
    let (mut sending, mut hearing) = (Duration::ZERO, Duration::ZERO);
    while sent < probes || heard < probes {
        let start = Instant::now();
        sweep.poll_transmit(Clock::from_nanos(now), BATCH, &mut out);
        now += 250 * out.len() as u64;
        sweep.handle_transmitted(Clock::from_nanos(now), out.len());
        sending += start.elapsed();
        sent += out.len() as u64;
        let left = out.iter().filter_map(|transmit| match transmit {
            Transmit::Probe(probe) => Some((now + 300_000, answer(probe, open)?)),
            Transmit::Frame(_) => None,
        });
        replies.extend(left);
        let arrived = replies.partition_point(|(at, _)| *at <= now);
        let start = Instant::now();
        for (_, reply) in replies.drain(..arrived) {
            sweep.handle_reply(Clock::from_nanos(now), reply);
            while let Some(event) = sweep.poll_event() {
                black_box(event);
            }
        }
        hearing += start.elapsed();
        heard += arrived as u64;
        if sweep.is_done() {
            sweep = Sweep::new(plan.clone(), config, Clock::from_nanos(now));
            replies.clear();
        } else if out.is_empty() {
            let due = sweep.poll_timeout().map_or(now, Clock::as_nanos);
            let arrives = replies.front().map_or(due, |(at, _)| *at);
            now = now.max(due.min(arrives));
        }
    }
    let of = |all: Duration, count: u64| all.mul_f64(probes as f64 / count as f64);
    (of(sending, sent), of(hearing, heard))
}

/// What comes back to a probe.
fn answer(probe: &Probe, open: bool) -> Option<Reply> {
    let answer = match probe.kind {
        ProbeKind::Arp => Answer::Link,
        ProbeKind::TcpSyn { port } if open => Answer::TcpOpen(port),
        ProbeKind::TcpSyn { port } => Answer::TcpClosed(port),
        _ => return None,
    };
    Some(Reply {
        vlan: None,
        ip: probe.dst,
        answer,
        mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
        ttl: Some(64),
        rtt: None,
    })
}

/// A SYN's frame, tag in, from the prepared one.
fn template(criterion: &mut Criterion) {
    let plan = dual_stack_plan();
    let templates = Templates::new(&plan, 40_000);
    let route = |v4: bool| {
        let position = plan
            .routes()
            .iter()
            .position(|route| route.source.is_ipv4() == v4);
        u32::try_from(position.expect("the plan has both families")).expect("few routes")
    };
    let mut frame = [0; FRAME_MAX];
    let mut group = criterion.benchmark_group("template");
    for (name, route, network) in [
        ("ipv4", route(true), IpAddr::V4(Ipv4Addr::new(10, 1, 0, 9))),
        (
            "ipv6",
            route(false),
            IpAddr::V6("2001:db8:100::9".parse().expect("an address")),
        ),
    ] {
        let mut probe = Probe {
            route,
            dst: network,
            next_hop: MacAddr([2, 0, 0, 0, 0, 9]),
            kind: ProbeKind::TcpSyn { port: 443 },
            cookie: 1,
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                probe.cookie = probe.cookie.wrapping_add(0x9e37_79b9);
                templates.fill(black_box(&probe), &mut frame)
            });
        });
    }
}

/// A SYN-ACK of a tagged network as a link hands it up: the tag beside the bytes.
fn parse(criterion: &mut Criterion) {
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1]);
    let options = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(7, 8),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    let mut frames = [("ipv4", Vec::new()), ("ipv6", Vec::new())];
    for (name, frame) in &mut frames {
        let network = match *name {
            "ipv4" => ethernet().ipv4([10, 1, 0, 9], [10, 1, 0, 2], 64),
            _ => ethernet().ipv6([0x20; 16], [0x21; 16], 64),
        };
        let packet = network
            .tcp(443, 40_000, 5, 64_240)
            .syn()
            .ack(6)
            .options(&options);
        packet
            .expect("the options fit")
            .write(frame, &[])
            .expect("a Vec takes it all");
    }
    let mut group = criterion.benchmark_group("parse");
    for (name, frame) in &frames {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let packet = sonde_wire::parse(black_box(frame), Checksums::Verify);
                black_box(packet).is_ok()
            });
        });
    }
}

/// Records on their way to the disk: appended by one producer, and durable before the clock stops.
/// Batches are cut by size or after a second, as on the appliance.
fn spool(criterion: &mut Criterion) {
    const RECORDS: u64 = 500_000;
    let record = r#"{"type":"port","vlan":100,"ip":"10.1.0.9","proto":"tcp","port":443,"state":"open","reason":"syn-ack","ttl":64,"rtt_us":230,"time":"2026-01-01T00:00:00.000000Z"}"#;
    let mut group = criterion.benchmark_group("spool");
    group.throughput(Throughput::Elements(RECORDS));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    group.bench_function("durable", |bencher| {
        bencher.iter_custom(|rounds| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let spool =
                Spool::open(folder.path(), 64 << 30, || disk::best().0).expect("a spool opens");
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let key = Key {
                    job: JobId::generate(),
                    attempt: 1,
                };
                let stream = spool.stream(key).expect("a stream opens");
                let start = Instant::now();
                for _ in 0..RECORDS {
                    stream
                        .append(Kind::Record, record.as_bytes(), false)
                        .expect("the spool is open");
                }
                stream.sync().expect("the spool is open");
                took += start.elapsed();
                stream.close();
                spool.remove(key).expect("a stream goes");
            }
            took
        });
    });
}

/// One VLAN with both families.
fn dual_stack_plan() -> Plan {
    let trunk: TrunkConfig =
        toml::from_str("[[vlan]]\nid = 100\nipv4 = \"10.1.0.2/24\"\nipv6 = \"2001:db8:100::2/64\"")
            .expect("a trunk of one VLAN");
    let request = ScanRequest {
        targets: vec!["10.1.0.0/24@100".into(), "2001:db8:100::/120@100".into()],
        ports: "443".into(),
        trunk: Some(trunk),
        seed: Some(7),
        ..ScanRequest::default()
    };
    let environment = Environment {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        ..Environment::default()
    };
    Plan::new(&request, &environment, &Policy::default()).expect("a plan of one VLAN")
}
