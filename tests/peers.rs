//! Against servers this project did not write (nginx, OpenSSH, dnsmasq), judged by a scanner it did not
//! write: `sonde scan` and nmap name the same open ports.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{
    Running, in_namespace, installed, ip, json_lines, serve, sonde, succeed, wait_for,
};

/// Open ports, by address and port.
type Open = BTreeSet<(IpAddr, u16)>;

const PROGRAMS: [&str; 6] = ["nmap", "nginx", "sshd", "ssh-keygen", "dnsmasq", "nsenter"];
/// The servers' listening addresses, where nmap and sonde have to find them.
const NGINX: [&str; 6] = [
    "10.77.0.10:80",
    "10.77.0.10:443",
    "10.77.0.10:8080",
    "10.77.0.130:65535",
    "[fd77::10]:80",
    "[fd77::130]:8080",
];
const SSHD: [&str; 5] = [
    "10.77.0.11:22",
    "10.77.0.200:22",
    "10.77.0.200:2222",
    "[fd77::11]:22",
    "[fd77::130]:2222",
];
const DNSMASQ: [&str; 2] = ["10.77.0.53:53", "[fd77::53]:53"];
/// A host without any server.
const BARE: [&str; 2] = ["10.77.0.254", "fd77::fe"];
const IPV6: [&str; 5] = ["fd77::10", "fd77::11", "fd77::53", "fd77::130", "fd77::fe"];

#[test]
fn sonde_and_nmap_agree_on_every_port_of_a_24() {
    let test = "peers::sonde_and_nmap_agree_on_every_port_of_a_24";
    if !installed(test, &PROGRAMS) {
        return;
    }
    in_namespace(test, || {
        let folder = tempfile::tempdir().unwrap();
        let _servers = servers(folder.path());
        let nmap = nmap(&["-sS", "-p-", "10.77.0.0/24"]);
        let ours = scan(&["-i", "s0", "-p", "-", "--rate", "50k", "10.77.0.0/24"]);
        assert_eq!(
            nmap,
            expected(|ip| ip.is_ipv4()),
            "nmap finds what was started"
        );
        assert_eq!(ours, nmap);
    });
}

#[test]
fn sonde_and_nmap_agree_on_every_port_of_a_list_of_ipv6_hosts() {
    let test = "peers::sonde_and_nmap_agree_on_every_port_of_a_list_of_ipv6_hosts";
    if !installed(test, &PROGRAMS) {
        return;
    }
    in_namespace(test, || {
        let folder = tempfile::tempdir().unwrap();
        let _servers = servers(folder.path());
        let nmap = nmap(&[&["-6", "-sS", "-p-"][..], &IPV6].concat());
        let ours = scan(&[&["-i", "s0", "-p", "-", "--rate", "50k"][..], &IPV6].concat());
        assert_eq!(
            nmap,
            expected(|ip| ip.is_ipv6()),
            "nmap finds what was started"
        );
        assert_eq!(ours, nmap);
    });
}

#[test]
fn sonde_and_nmap_agree_on_a_name_server() {
    let test = "peers::sonde_and_nmap_agree_on_a_name_server";
    if !installed(test, &PROGRAMS) {
        return;
    }
    in_namespace(test, || {
        let folder = tempfile::tempdir().unwrap();
        let _servers = servers(folder.path());
        let hosts = ["10.77.0.10", "10.77.0.53", "10.77.0.254"];
        let nmap = nmap(&[&["-sU", "-p", "53,123"][..], &hosts].concat());
        let ours = scan(&[&["-i", "s0", "-p", "U:53,U:123"][..], &hosts].concat());
        assert_eq!(nmap, Open::from([("10.77.0.53".parse().unwrap(), 53)]));
        assert_eq!(ours, nmap);
    });
}

/// The kernel's own sockets, without any privilege, on loopback and across the link.
#[test]
fn connect_link_and_nmap_agree() {
    let test = "peers::connect_link_and_nmap_agree";
    if !installed(test, &PROGRAMS) {
        return;
    }
    in_namespace(test, || {
        let folder = tempfile::tempdir().unwrap();
        let _servers = servers(folder.path());
        let local = folder.path().join("local");
        fs::create_dir(&local).unwrap();
        let at = ["127.0.0.1:80", "127.0.0.5:8080", "[::1]:8081"];
        let _nginx = serve(&mut nginx(&local, &at));
        wait_until_open(at.iter().copied());
        for targets in [
            &["127.0.0.0/28"][..],
            &["10.77.0.10", "10.77.0.11", "10.77.0.254"],
        ] {
            let nmap = nmap(&[&["-sT", "-p", "1-10000"][..], targets].concat());
            let ours = scan(
                &[
                    &["--link", "connect", "--rate", "max", "-p", "1-10000"][..],
                    targets,
                ]
                .concat(),
            );
            assert!(!nmap.is_empty());
            assert_eq!(ours, nmap);
        }
        let nmap = nmap(&["-6", "-sT", "-p", "1-10000", "::1"]);
        let ours = scan(&["--link", "connect", "--rate", "max", "-p", "1-10000", "::1"]);
        assert_eq!(nmap, Open::from([("::1".parse().unwrap(), 8081)]));
        assert_eq!(ours, nmap);
    });
}

/// A link `s0` to a namespace `peers` with all servers running.
fn servers(folder: &Path) -> Vec<Running> {
    ip("netns add peers");
    ip("link add s0 type veth peer name p0 netns peers");
    ip("addr add 10.77.0.1/24 dev s0");
    ip("addr add fd77::1/64 dev s0 nodad");
    ip("link set s0 up");
    ip("-n peers link set lo up");
    ip("-n peers link set p0 up");
    let mut addresses: BTreeSet<IpAddr> = BARE.iter().map(|ip| ip.parse().unwrap()).collect();
    addresses.extend(listening().map(|(ip, _)| ip));
    for address in addresses {
        match address {
            IpAddr::V4(address) => ip(&format!("-n peers addr add {address}/24 dev p0")),
            IpAddr::V6(address) => ip(&format!("-n peers addr add {address}/64 dev p0 nodad")),
        }
    }
    let servers = vec![
        serve(&mut in_peers(&nginx(folder, &NGINX))),
        serve(&mut in_peers(&sshd(folder, &SSHD))),
        serve(&mut in_peers(&dnsmasq(&DNSMASQ))),
    ];
    wait_until_open(NGINX.into_iter().chain(SSHD).chain(DNSMASQ));
    servers
}

fn listening() -> impl Iterator<Item = (IpAddr, u16)> {
    let all = NGINX.into_iter().chain(SSHD).chain(DNSMASQ);
    all.map(|at| at.parse::<std::net::SocketAddr>().unwrap())
        .map(|at| (at.ip(), at.port()))
}

fn expected(family: fn(&IpAddr) -> bool) -> Open {
    listening().filter(|(ip, _)| family(ip)).collect()
}

fn wait_until_open<'a>(all: impl Iterator<Item = &'a str>) {
    for at in all {
        wait_for(
            &format!("a server at {at}"),
            Duration::from_secs(10),
            || TcpStream::connect(at).ok(),
        );
    }
}

fn in_peers(command: &Command) -> Command {
    let mut inside = Command::new("nsenter");
    inside
        .arg("--net=/run/netns/peers")
        .arg(command.get_program())
        .args(command.get_args());
    inside
}

fn nginx(folder: &Path, at: &[&str]) -> Command {
    let listen: String = at.iter().map(|at| format!("listen {at};\n")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()))
        .concat();
    // One process: as root of a user namespace of one user it could not become another user.
    let text = format!(
        "daemon off; master_process off; user root root; pid {}/nginx.pid; events {{}}\n\
         http {{ access_log off;\n{temporary} server {{ {listen} return 204; }} }}",
        folder.display()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", "stderr", "-c"]).arg(file);
    command
}

fn sshd(folder: &Path, at: &[&str]) -> Command {
    // sshd's privilege separation wants it; `/run` is this test's own.
    fs::create_dir_all("/run/sshd").unwrap();
    let key = folder.join("host_key");
    succeed(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key),
    );
    let listen: String = at
        .iter()
        .map(|at| format!("ListenAddress {at}\n"))
        .collect();
    let file = folder.join("sshd_config");
    fs::write(
        &file,
        format!(
            "{listen}HostKey {}\nPidFile none\nUsePAM no\n",
            key.display()
        ),
    )
    .unwrap();
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(file);
    command
}

fn dnsmasq(at: &[&str]) -> Command {
    let mut command = Command::new("dnsmasq");
    command.args([
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
    ]);
    command.args(["--pid-file=", "--bind-interfaces"]);
    for at in at {
        let at: std::net::SocketAddr = at.parse().unwrap();
        command.arg(format!("--listen-address={}", at.ip()));
    }
    command
}

/// What nmap reports as open, read from its greppable output.
fn nmap(arguments: &[&str]) -> Open {
    let mut command = Command::new("nmap");
    command
        .args(["-n", "-T4", "--privileged", "-oG", "-"])
        .args(arguments);
    let text = succeed(&mut command);
    let mut open = Open::new();
    for line in text.lines() {
        let Some((host, ports)) = line
            .strip_prefix("Host: ")
            .and_then(|line| line.split_once("\tPorts: "))
        else {
            continue;
        };
        let address: IpAddr = host.split(' ').next().unwrap().parse().unwrap();
        for port in ports.split('\t').next().unwrap().split(", ") {
            // A host with no open port has an empty list.
            let fields: Vec<&str> = port.split('/').collect();
            if let [number, "open", ..] = fields[..] {
                open.insert((address, number.trim().parse().unwrap()));
            }
        }
    }
    open
}

/// What `sonde scan` reports as open; one reported twice fails the test.
fn scan(arguments: &[&str]) -> Open {
    let text = succeed(sonde(["scan", "-o", "-", "--no-progress"]).args(arguments));
    let mut open = Open::new();
    for line in json_lines(&text) {
        if line["type"] == "port" && line["state"] == "open" {
            let address = line["ip"].as_str().unwrap().parse().unwrap();
            let port = u16::try_from(line["port"].as_u64().unwrap()).unwrap();
            assert!(
                open.insert((address, port)),
                "{address} {port} reported twice"
            );
        }
    }
    open
}
