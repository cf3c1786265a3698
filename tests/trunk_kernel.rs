//! Against a kernel with its own 802.1Q, which this project did not write either: a user-mode-linux guest
//! whose VLAN interfaces answer on a trunk, a tap in the test's namespace.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{
    Running, in_namespace, installed, ip, json_lines, serve, skip, sonde, succeed, wait_for,
};

/// The guest's VLANs: the first, two in the middle, the last there is.
const VLANS: [u16; 4] = [1, 100, 200, 4094];
/// Modules of the guest's kernel in the order in which they depend on each other.
const MODULES: [&str; 7] = [
    "lib/crc-ccitt",
    "net/ipv6/ipv6",
    "net/llc/llc",
    "net/802/stp",
    "net/802/garp",
    "net/802/mrp",
    "net/8021q/8021q",
];
/// glibc must not use registers beyond SSE in the guest: see `uml-launch.py`.
const SSE_ONLY: &str =
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-BMI2";
/// Said by the guest when its servers listen.
const READY: &str = "GUEST READY";

#[test]
fn every_tagged_host_and_port_of_a_kernel_with_vlans_is_found() {
    let test = "trunk_kernel::every_tagged_host_and_port_of_a_kernel_with_vlans_is_found";
    if !installed(test, &["linux.uml", "busybox", "python3"]) {
        return;
    }
    if fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_err()
    {
        return skip(
            test,
            "/dev/net/tun can not be opened; tests/setup.sh changes that",
        );
    }
    in_namespace(test, || {
        let folder = tempfile::tempdir().unwrap();
        ip("tuntap add um0 mode tap");
        ip("link set um0 up");
        let _guest = guest(folder.path());
        let trunk = folder.path().join("trunk.toml");
        fs::write(&trunk, trunk_file()).unwrap();

        let mut command = sonde([
            "scan",
            "-i",
            "um0",
            "-o",
            "-",
            "--no-progress",
            "--rate",
            "2k",
        ]);
        command
            .args(["-p", "1-100,8000-8100", "--trunk"])
            .arg(&trunk);
        for vlan in VLANS {
            command
                .arg(format!("{}0/28@{vlan}", v4(vlan)))
                .arg(format!("{}0/124@{vlan}", v6(vlan)));
        }
        let text = succeed(&mut command);

        let mut hosts = BTreeSet::new();
        let mut open = BTreeSet::new();
        for line in json_lines(&text) {
            let key = || {
                let address: IpAddr = line["ip"].as_str().unwrap().parse().unwrap();
                (line["vlan"].as_u64(), address)
            };
            match line["type"].as_str() {
                Some("host") => assert!(hosts.insert(key()), "twice: {line}"),
                Some("port") if line["state"] == "open" => {
                    let port = u16::try_from(line["port"].as_u64().unwrap()).unwrap();
                    assert!(open.insert((key(), port)), "twice: {line}");
                }
                _ => {}
            }
        }
        let expected: BTreeSet<_> = servers()
            .map(|(vlan, at)| ((Some(u64::from(vlan)), at.ip()), at.port()))
            .collect();
        assert_eq!(open, expected);
        assert_eq!(hosts, expected.iter().map(|(host, _)| *host).collect());
    });
}

/// The first three bytes of a VLAN's IPv4 network, with the dot behind them.
fn v4(vlan: u16) -> String {
    format!("10.{}.{}.", vlan / 100, vlan % 100)
}

/// The first 120 bits of a VLAN's IPv6 network as text, up to the last group.
fn v6(vlan: u16) -> String {
    format!("fd00:{vlan}::")
}

/// Every server of the guest: in each VLAN three hosts, each in both families, with two ports that
/// differ from VLAN to VLAN, so that an answer taken for another VLAN's shows.
fn servers() -> impl Iterator<Item = (u16, SocketAddr)> {
    VLANS.into_iter().zip(0u16..).flat_map(|(vlan, at)| {
        (9..12).flat_map(move |host| {
            let v4: IpAddr = format!("{}{host}", v4(vlan)).parse().unwrap();
            let v6: IpAddr = format!("{}{}", v6(vlan), host - 8).parse().unwrap();
            [v4, v6].into_iter().flat_map(move |ip| {
                [80 - at, 8000 + 10 * at + host].map(|port| (vlan, SocketAddr::new(ip, port)))
            })
        })
    })
}

fn trunk_file() -> String {
    let vlan = |vlan: u16| {
        format!(
            "[[vlan]]\nid = {vlan}\nipv4 = \"{}14/24\"\nipv6 = \"{}e/64\"\n",
            v4(vlan),
            v6(vlan)
        )
    };
    VLANS.map(vlan).concat()
}

/// Boots of the guest that are tried. Beside other work one in a dozen ends in init's first fork, which the
/// guest's kernel refuses (EAGAIN); it says so and panics.
const BOOTS: usize = 4;

/// Boots the guest and waits until its servers listen.
fn guest(folder: &Path) -> Running {
    let root = folder.join("root");
    root_filesystem(&root);
    let launch = folder.join("uml-launch.py");
    fs::write(&launch, include_str!("harness/uml-launch.py")).unwrap();
    let mut said = String::new();
    for boot in 0..BOOTS {
        let console = folder.join(format!("console-{boot}.txt"));
        let output = fs::File::create(&console).unwrap();
        let mut command = Command::new("python3");
        command.arg(&launch).arg("linux.uml");
        command.args(["mem=64M", "root=/dev/root", "rootfstype=hostfs", "ro"]);
        command.arg(format!("rootflags={}", root.display()));
        command.args([
            "init=/init",
            "con=null",
            "con0=null,fd:1",
            "quiet",
            SSE_ONLY,
        ]);
        command.arg(format!("uml_dir={}/uml-{boot}", folder.display()));
        command.args(["umid=guest", "vec0:transport=tap,ifname=um0,depth=64,gro=0"]);
        command.stderr(output.try_clone().unwrap()).stdout(output);
        let mut guest = serve(&mut command);
        let ready = wait_for("the guest's start", Duration::from_secs(40), || {
            let runs = guest.runs();
            said = fs::read_to_string(&console).unwrap();
            (said.contains(READY) || !runs).then_some(runs)
        });
        if ready {
            return guest;
        }
    }
    panic!("{BOOTS} guests ended before they were ready, the last one with: {said}");
}

/// A root that the guest only reads: busybox, the modules, and an init that makes the VLANs.
fn root_filesystem(root: &Path) {
    for folder in ["bin", "dev", "modules", "proc", "sys", "www"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    let modules = fs::read_dir("/usr/lib/uml/modules")
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for module in MODULES {
        let name = Path::new(module).file_name().unwrap().to_str().unwrap();
        fs::copy(
            modules.join(format!("kernel/{module}.ko")),
            root.join(format!("modules/{name}.ko")),
        )
        .unwrap();
    }
    let init = root.join("init");
    fs::write(&init, init_script()).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
}

fn busybox() -> PathBuf {
    let places = ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from);
    places
        .into_iter()
        .find(|place| place.exists())
        .expect("the test looked for busybox")
}

fn init_script() -> String {
    let mut script = String::from("#!/bin/busybox sh\n");
    let mut add = |line: String| {
        script.push_str(&line);
        script.push('\n');
    };
    for line in ["mount -t proc proc /proc", "mount -t sysfs sys /sys"] {
        add(format!("/bin/busybox {line}"));
    }
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap();
        add(format!("/bin/busybox insmod /modules/{name}.ko"));
    }
    // Addresses must be there at once, not after a second of looking for duplicates.
    add("echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad".to_owned());
    add("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad".to_owned());
    add("/bin/busybox ip link set vec0 up".to_owned());
    for vlan in VLANS {
        add(format!(
            "/bin/busybox ip link add link vec0 name v{vlan} type vlan id {vlan}"
        ));
        add(format!("/bin/busybox ip link set v{vlan} up"));
    }
    let addresses: BTreeSet<_> = servers().map(|(vlan, at)| (vlan, at.ip())).collect();
    for (vlan, address) in addresses {
        let length = if address.is_ipv4() { 24 } else { 64 };
        add(format!(
            "/bin/busybox ip addr add {address}/{length} dev v{vlan}"
        ));
    }
    for (_, at) in servers() {
        add(format!("/bin/busybox httpd -p {at} -h /www"));
    }
    add(format!("echo {READY}"));
    add("while /bin/busybox sleep 1000; do :; done".to_owned());
    script
}
