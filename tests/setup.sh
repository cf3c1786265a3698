#!/usr/bin/env bash
# Installs what the end-to-end tests run against: servers and tools that this project did not write.
# Debian or Ubuntu. Installs only what is missing; started as an ordinary user it says what to install.
set -euo pipefail

# program:package
wanted="
LCDd:lcdproc
busybox:busybox-static
clang:clang
dnsmasq:dnsmasq-base
ip:iproute2
linux.uml:user-mode-linux
llvm-strip:llvm
masscan:masscan
nginx:nginx-light
nmap:nmap
python3:python3
setpriv:util-linux
sshd:openssh-server
ssh-keygen:openssh-client
tcpdump:tcpdump
unshare:util-linux
zmap:zmap
"
PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done

# What BPF programs are compiled with (.ci/bpf); building Sonde needs none of it.
[ -e /usr/include/bpf/bpf_helpers.h ] || missing+=(libbpf-dev)

if [ "${#missing[@]}" -gt 0 ]; then
    install=(apt-get install -y --no-install-recommends "${missing[@]}")
    if [ "$(id -u)" -ne 0 ]; then
        echo "tests/setup.sh: run this as root: ${install[*]}" >&2
        exit 1
    fi
    # The packages must not start their servers on this machine: the tests start their own, in
    # namespaces. This file is how Debian asks (invoke-rc.d(8)).
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    "${install[@]}"
fi

# Where udev runs, anybody may open this device (50-udev-default.rules) and make taps in namespaces
# of their own. In a container without udev it may be for root only.
if [ -c /dev/net/tun ] && [ "$(stat -c %a /dev/net/tun)" != 666 ]; then
    if [ "$(id -u)" -eq 0 ]; then
        chmod 666 /dev/net/tun
    else
        echo "tests/setup.sh: run this as root: chmod 666 /dev/net/tun" >&2
        exit 1
    fi
fi
