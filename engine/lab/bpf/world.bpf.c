// SPDX-License-Identifier: MIT OR Apache-2.0
// A simulated network in XDP: answers what a stated function says is there, on the frame it was asked with.
//
// src/world/truth.rs computes the same functions; tests hold the two together. Loaded by src/world/xdp.rs, which
// fills in `config` before the kernel sees the program: what a world does not have costs nothing, because the
// verifier takes the branches of constants out.
//
// Built in the folder above this one by
//   clang -O2 -g -target bpf -mcpu=v3 -I/usr/include/x86_64-linux-gnu -c bpf/world.bpf.c -o bpf/world.bpf.o
//   llvm-strip -g bpf/world.bpf.o

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
// Of whatever lies there, to be summed up.
typedef u32 __attribute__((may_alias)) word;

#define INLINE static __always_inline

// ---- what the loader says: the words of `Config` in src/world/config.rs, in this order ----

#define NETWORKS 4

struct network4 {
	u64 first; // address of the untagged LAN's network
	u64 host_bits; // 0-32
	u64 step; // 1: the network of VLAN v is v networks further up; 0: the same in every VLAN
};

struct network6 {
	u64 first; // high 64 bits of the untagged LAN's network; always a /64
	u64 hosts; // interface identifiers 1 to this one exist
	u64 step; // as above
};

struct config {
	u64 key;
	// Shares are of 2^32.
	u64 hosts_up;
	u64 answers_all;
	u64 open;
	u64 closed;
	u64 loss_in;
	u64 loss_out;
	// Times are in 1/1024 ns. An interval of 0 means no limit for the policer, and never for ICMP.
	u64 policer_interval;
	u64 policer_depth;
	u64 unreachable_interval;
	u64 unreachable_depth;
	u64 has_link4;
	u64 has_link6;
	struct network4 link4;
	struct network6 link6;
	u64 behind4_count;
	u64 behind6_count;
	struct network4 behind4[NETWORKS];
	struct network6 behind6[NETWORKS];
	u64 vlans[64]; // a bit a VLAN; bit 0 is the untagged LAN
	u64 tcp[1024]; // a bit a port that is open on every host
	u64 udp[1024];
};

const volatile struct config config = {};

// ---- what is counted: the names of `COUNTERS` in src/world/counters.rs, in this order ----

enum counter {
	RECEIVED,
	RECEIVED_ARP,
	RECEIVED_NDP,
	RECEIVED_ECHO,
	RECEIVED_SYN,
	RECEIVED_UDP,
	LET_THROUGH,
	ANSWERED_ARP,
	ANSWERED_NDP,
	ANSWERED_ECHO,
	ANSWERED_SYN_ACK,
	ANSWERED_RST,
	ANSWERED_UDP,
	ANSWERED_UNREACHABLE,
	SILENT,
	LOST_IN,
	LOST_OUT,
	POLICED,
	UNREACHABLE_LIMITED,
	STRAY_TCP,
	MISDIRECTED,
	FOREIGN,
	COUNTERS,
};

struct counts {
	u64 of[COUNTERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counts);
} counters SEC(".maps");

INLINE int drop(struct counts *counts, enum counter why)
{
	counts->of[why]++;
	return XDP_DROP;
}

// Sends the frame back out of the interface it came in by. Not by XDP_TX: veth wakes its peer after that only
// if the peer runs a program itself, and scanners of other makes do not (drivers/net/veth.c, `veth_xdp_flush`).
INLINE int answer(struct xdp_md *ctx, struct counts *counts, enum counter kind)
{
	if (config.loss_out && bpf_get_prandom_u32() < config.loss_out)
		return drop(counts, LOST_OUT);
	counts->of[kind]++;
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

// ---- token buckets, as the time at which the next token is due (ATM Forum TM 4.1 §4.4.2, "GCRA") ----

struct buckets {
	u64 policer;
	u64 unreachable;
};

struct buckets buckets = {};

// Takes a token, one every `interval`, if at most `depth` are owed. Several CPUs may ask at once; one that loses
// the race again and again gets none, which is what a full bucket would say.
INLINE int take(u64 *due, u64 interval, u64 depth)
{
	u64 now = bpf_ktime_get_ns() << 10;

	for (int i = 0; i < 8; i++) {
		u64 seen = *(volatile u64 *)due;
		u64 from = seen > now ? seen : now;

		if (from - now > depth)
			return 0;
		if (__sync_val_compare_and_swap(due, seen, from + interval) == seen)
			return 1;
	}
	return 0;
}

// ---- headers; none is packed: all fields lie on their own boundary from where the header begins ----

struct eth {
	u16 dst[3];
	u16 src[3];
	u16 type;
};

struct tag {
	u16 control;
	u16 type;
};

struct arp {
	u16 hardware, protocol, lengths, operation;
	u16 sender_mac[3], sender_ip[2];
	u16 target_mac[3], target_ip[2];
};

struct ip4 {
	u8 version_length, service;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 src, dst;
};

struct ip6 {
	u32 version;
	u16 length;
	u8 next, hops;
	u64 src[2], dst[2];
};

struct tcp {
	u16 src, dst;
	u32 seq, ack;
	u8 offset, flags;
	u16 window, checksum, urgent;
};

struct udp {
	u16 src, dst, length, checksum;
};

struct icmp {
	u8 type, code;
	u16 checksum;
	u16 rest[2];
};

struct ndp {
	struct icmp icmp;
	u64 target[2];
	u8 option, option_length;
	u16 mac[3];
};

#define ETH_ARP bpf_htons(0x0806)
#define ETH_IP4 bpf_htons(0x0800)
#define ETH_IP6 bpf_htons(0x86dd)
#define ETH_TAG bpf_htons(0x8100)
#define IP_ICMP 1
#define IP_TCP 6
#define IP_UDP 17
#define IP_ICMP6 58
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct frame {
	struct eth *eth;
	void *body; // behind EtherType and tag
	void *end;
	u32 vlan; // 0 is the untagged LAN
};

INLINE void copy_mac(u16 *to, const u16 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
}

INLINE void swap_macs(struct eth *eth)
{
	u16 dst[3] = { eth->dst[0], eth->dst[1], eth->dst[2] };

	copy_mac(eth->dst, eth->src);
	copy_mac(eth->src, dst);
}

// The MAC address of whatever is at an address: `mac_of` in src/world/mod.rs, as a number of 48 bits.
INLINE u64 mac_of(u32 vlan, u64 is_ip6, u32 ip)
{
	return 2ULL << 40 | is_ip6 << 36 | (u64)vlan << 24 | (ip & 0xffffff);
}

INLINE u64 mac_number(const u16 *mac)
{
	return (u64)bpf_ntohs(mac[0]) << 32 | (u64)bpf_ntohs(mac[1]) << 16 | bpf_ntohs(mac[2]);
}

INLINE void write_mac(u16 *to, u64 mac)
{
	to[0] = bpf_htons(mac >> 32);
	to[1] = bpf_htons(mac >> 16);
	to[2] = bpf_htons(mac);
}

// The one's complement of a sum of words (RFC 1071); the words are as they lie in memory.
INLINE u16 folded(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// ---- what is there: src/world/truth.rs ----

// The finalizer of MurmurHash3's 128-bit variant (Austin Appleby, public domain).
INLINE u64 mix(u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	x ^= x >> 33;
	return x;
}

enum place {
	NOWHERE,
	GATEWAY,
	ON_LINK,
	BEHIND,
};

#define GATEWAY_ID 1
#define SCANNER_ID 2

// How far an address is above the first of a network in a VLAN.
INLINE u32 offset4(const volatile struct network4 *net, u32 vlan, u32 ip)
{
	return ip - (u32)(net->first + ((u64)vlan << net->host_bits) * net->step);
}

INLINE enum place on_link4(u32 vlan, u32 ip)
{
	u32 offset = offset4(&config.link4, vlan, ip);

	if (!config.has_link4 || (u64)offset + 1 >= 1ULL << config.link4.host_bits)
		return NOWHERE;
	if (offset == GATEWAY_ID)
		return GATEWAY;
	return offset > SCANNER_ID ? ON_LINK : NOWHERE;
}

INLINE enum place place4(u32 vlan, u32 ip)
{
	for (int i = 0; i < NETWORKS; i++) {
		const volatile struct network4 *net = &config.behind4[i];

		if (i < config.behind4_count && offset4(net, vlan, ip) >> net->host_bits == 0)
			return BEHIND;
	}
	return on_link4(vlan, ip);
}

INLINE enum place on_link6(u32 vlan, u64 high, u64 low)
{
	if (!config.has_link6)
		return NOWHERE;
	if (high == 0xfe80ULL << 48)
		return low == GATEWAY_ID ? GATEWAY : NOWHERE;
	if (high != config.link6.first + vlan * config.link6.step)
		return NOWHERE;
	if (low == GATEWAY_ID)
		return GATEWAY;
	return low > SCANNER_ID && low <= config.link6.hosts ? ON_LINK : NOWHERE;
}

INLINE enum place place6(u32 vlan, u64 high, u64 low)
{
	for (int i = 0; i < NETWORKS; i++) {
		const volatile struct network6 *net = &config.behind6[i];

		if (i < config.behind6_count && high == net->first + vlan * net->step)
			return low - 1 < net->hosts ? BEHIND : NOWHERE;
	}
	return on_link6(vlan, high, low);
}

INLINE u64 hash4(u32 vlan, u32 ip)
{
	return mix(config.key ^ ((u64)vlan << 32 | ip));
}

INLINE u64 hash6(u32 vlan, u64 high, u64 low)
{
	return mix(mix(config.key ^ high ^ (u64)vlan << 48) ^ low);
}

INLINE int is_up(enum place place, u64 hash)
{
	return place == GATEWAY || (place != NOWHERE && hash >> 32 < config.hosts_up);
}

enum reply {
	REPLY_SILENT,
	REPLY_OPEN,
	REPLY_CLOSED,
};

INLINE enum reply by_chance(u64 hash, u32 protocol, u16 port)
{
	u64 chance;

	if (!config.open && config.closed >> 32)
		return REPLY_CLOSED;
	chance = mix(hash ^ (protocol << 16 | port));
	if (chance >> 32 < config.open)
		return REPLY_OPEN;
	return (chance & 0xffffffff) < config.closed ? REPLY_CLOSED : REPLY_SILENT;
}

INLINE enum reply tcp_reply(u64 hash, u16 port)
{
	if (config.tcp[port >> 6] >> (port & 63) & 1)
		return REPLY_OPEN;
	if (config.answers_all && (hash & 0xffffffff) < config.answers_all)
		return REPLY_OPEN;
	return by_chance(hash, IP_TCP, port);
}

INLINE enum reply udp_reply(u64 hash, u16 port)
{
	if (config.udp[port >> 6] >> (port & 63) & 1)
		return REPLY_OPEN;
	return by_chance(hash, IP_UDP, port);
}

// ---- one answer after the other ----

INLINE int handle_arp(struct xdp_md *ctx, struct counts *counts, struct frame *frame)
{
	struct arp *arp = frame->body;
	u64 mac;
	u32 ip;

	if ((void *)(arp + 1) > frame->end || arp->operation != bpf_htons(1))
		return drop(counts, FOREIGN);
	counts->of[RECEIVED_ARP]++;
	ip = (u32)bpf_ntohs(arp->target_ip[0]) << 16 | bpf_ntohs(arp->target_ip[1]);
	if (!is_up(on_link4(frame->vlan, ip), hash4(frame->vlan, ip)))
		return drop(counts, SILENT);
	mac = mac_of(frame->vlan, 0, ip);
	copy_mac(frame->eth->dst, frame->eth->src);
	write_mac(frame->eth->src, mac);
	u16 asked[2] = { arp->target_ip[0], arp->target_ip[1] };
	arp->operation = bpf_htons(2);
	copy_mac(arp->target_mac, arp->sender_mac);
	arp->target_ip[0] = arp->sender_ip[0];
	arp->target_ip[1] = arp->sender_ip[1];
	write_mac(arp->sender_mac, mac);
	arp->sender_ip[0] = asked[0];
	arp->sender_ip[1] = asked[1];
	return answer(ctx, counts, ANSWERED_ARP);
}

// Turns a SYN into its answer, behind an IP header that is already turned around. The answer has no options;
// what is left of the question's lies behind the packet, as padding. Numbers are those of src/world/mod.rs.
INLINE void turn_segment(struct tcp *tcp, u64 pseudo, enum reply reply)
{
	u32 seq = tcp->seq;
	u16 src = tcp->src;

	tcp->src = tcp->dst;
	tcp->dst = src;
	tcp->seq = seq << 16 | seq >> 16;
	tcp->ack = bpf_htonl(bpf_ntohl(seq) + 1);
	tcp->offset = sizeof(struct tcp) / 4 << 4;
	tcp->flags = reply == REPLY_OPEN ? TCP_SYN | TCP_ACK : TCP_RST | TCP_ACK;
	tcp->window = reply == REPLY_OPEN ? 0xffff : 0;
	tcp->checksum = 0;
	tcp->urgent = 0;
	const word *words = (const word *)tcp;
	tcp->checksum = folded(pseudo + words[0] + words[1] + words[2] + words[3]);
}

INLINE void turn_ip4(struct ip4 *ip, u16 length)
{
	u32 src = ip->src;

	ip->version_length = 0x45;
	ip->service = 0;
	ip->length = bpf_htons(length);
	ip->id = 0;
	ip->fragment = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->checksum = 0;
	ip->src = ip->dst;
	ip->dst = src;
	const word *words = (const word *)ip;
	ip->checksum = folded((u64)words[0] + words[1] + words[2] + words[3] + words[4]);
}

INLINE void turn_ip6(struct ip6 *ip, u16 length)
{
	u64 src[2] = { ip->src[0], ip->src[1] };

	ip->version = bpf_htonl(6 << 28);
	ip->length = bpf_htons(length);
	ip->hops = 64;
	ip->src[0] = ip->dst[0];
	ip->src[1] = ip->dst[1];
	ip->dst[0] = src[0];
	ip->dst[1] = src[1];
}

INLINE u64 halves(u64 word)
{
	return (word & 0xffffffff) + (word >> 32);
}

INLINE u64 pseudo6(const struct ip6 *ip, u32 length, u8 next)
{
	return halves(ip->src[0]) + halves(ip->src[1]) + halves(ip->dst[0]) + halves(ip->dst[1]) +
	       bpf_htons(length) + bpf_htons(next);
}

// RFC 1624 for one word.
INLINE u16 updated(u16 checksum, u16 old, u16 new)
{
	return folded((u64)(u16)~checksum + (u16)~old + new);
}

// Port unreachable (RFC 792; RFC 4443 §3.1), quoting the datagram's IP and UDP headers. Makes room in front for
// the new headers; the datagram's payload stays behind the packet, as padding.
INLINE int refuse4(struct xdp_md *ctx, struct counts *counts, struct frame *frame)
{
	struct quoted {
		struct ip4 ip;
		struct icmp icmp;
		struct ip4 was;
		struct udp udp;
	} *packet;
	const int room = sizeof(struct ip4) + sizeof(struct icmp);
	struct eth eth = *frame->eth;
	u32 vlan = frame->vlan;
	struct tag tag = { bpf_htons(vlan), ETH_IP4 };
	void *data, *end;
	word *words;
	u64 sum = 0;

	if (bpf_xdp_adjust_head(ctx, -room))
		return drop(counts, FOREIGN);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(eth) + sizeof(tag) > end)
		return drop(counts, FOREIGN);
	*(struct eth *)data = eth;
	swap_macs(data);
	packet = data + sizeof(eth);
	if (vlan) {
		*(struct tag *)packet = tag;
		packet = data + sizeof(eth) + sizeof(tag);
	}
	if ((void *)(packet + 1) > end)
		return drop(counts, FOREIGN);
	packet->ip.src = packet->was.src;
	packet->ip.dst = packet->was.dst;
	packet->ip.protocol = IP_ICMP;
	turn_ip4(&packet->ip, sizeof(*packet));
	packet->icmp = (struct icmp){ .type = 3, .code = 3 };
	words = (word *)&packet->icmp;
#pragma unroll
	for (int i = 0; i < 9; i++)
		sum += words[i];
	packet->icmp.checksum = folded(sum);
	return answer(ctx, counts, ANSWERED_UNREACHABLE);
}

INLINE int refuse6(struct xdp_md *ctx, struct counts *counts, struct frame *frame)
{
	struct quoted {
		struct ip6 ip;
		struct icmp icmp;
		struct ip6 was;
		struct udp udp;
	} *packet;
	const int room = sizeof(struct ip6) + sizeof(struct icmp);
	const u16 length = sizeof(struct quoted) - sizeof(struct ip6);
	struct eth eth = *frame->eth;
	u32 vlan = frame->vlan;
	struct tag tag = { bpf_htons(vlan), ETH_IP6 };
	void *data, *end;
	word *words;
	u64 sum;

	if (bpf_xdp_adjust_head(ctx, -room))
		return drop(counts, FOREIGN);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(eth) + sizeof(tag) > end)
		return drop(counts, FOREIGN);
	*(struct eth *)data = eth;
	swap_macs(data);
	packet = data + sizeof(eth);
	if (vlan) {
		*(struct tag *)packet = tag;
		packet = data + sizeof(eth) + sizeof(tag);
	}
	if ((void *)(packet + 1) > end)
		return drop(counts, FOREIGN);
	packet->ip = packet->was;
	packet->ip.next = IP_ICMP6;
	turn_ip6(&packet->ip, length);
	packet->icmp = (struct icmp){ .type = 1, .code = 4 };
	sum = pseudo6(&packet->ip, length, IP_ICMP6);
	words = (word *)&packet->icmp;
#pragma unroll
	for (int i = 0; i < 14; i++)
		sum += words[i];
	packet->icmp.checksum = folded(sum);
	return answer(ctx, counts, ANSWERED_UNREACHABLE);
}

// A closed UDP port: says so as far as the limit allows.
INLINE int may_refuse(void)
{
	return take(&buckets.unreachable, config.unreachable_interval, config.unreachable_depth);
}

INLINE int police(struct counts *counts)
{
	if (config.policer_interval &&
	    !take(&buckets.policer, config.policer_interval, config.policer_depth))
		return 0;
	counts->of[LET_THROUGH]++;
	return 1;
}

// Whether a segment is a SYN to which there is an answer, and which; if not, that is counted.
INLINE int answers_syn(struct counts *counts, struct frame *frame, struct tcp *tcp, enum place place,
			u64 hash, enum reply *reply)
{
	enum counter why = SILENT;

	if ((void *)(tcp + 1) > frame->end)
		why = FOREIGN;
	else if ((tcp->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		why = STRAY_TCP;
	else {
		counts->of[RECEIVED_SYN]++;
		*reply = is_up(place, hash) ? tcp_reply(hash, bpf_ntohs(tcp->dst)) : REPLY_SILENT;
		if (*reply != REPLY_SILENT)
			return 1;
	}
	drop(counts, why);
	return 0;
}

// The same of a datagram; a closed port answers if the host may refuse now.
INLINE int answers_datagram(struct counts *counts, struct frame *frame, struct udp *udp, enum place place,
			     u64 hash, enum reply *reply)
{
	enum counter why = SILENT;

	if ((void *)(udp + 1) > frame->end)
		why = FOREIGN;
	else {
		counts->of[RECEIVED_UDP]++;
		*reply = is_up(place, hash) ? udp_reply(hash, bpf_ntohs(udp->dst)) : REPLY_SILENT;
		if (*reply == REPLY_CLOSED && !config.unreachable_interval)
			*reply = REPLY_SILENT;
		if (*reply == REPLY_OPEN || (*reply == REPLY_CLOSED && may_refuse()))
			return 1;
		if (*reply == REPLY_CLOSED)
			why = UNREACHABLE_LIMITED;
	}
	drop(counts, why);
	return 0;
}

// The same of an echo request, of this type in its family.
INLINE int answers_echo(struct counts *counts, struct frame *frame, struct icmp *icmp, u8 type,
			 enum place place, u64 hash)
{
	enum counter why = SILENT;

	if ((void *)(icmp + 1) > frame->end || icmp->type != type || icmp->code)
		why = FOREIGN;
	else {
		counts->of[RECEIVED_ECHO]++;
		if (is_up(place, hash))
			return 1;
	}
	drop(counts, why);
	return 0;
}

INLINE void swap_ports(struct udp *udp)
{
	u16 src = udp->src;

	udp->src = udp->dst;
	udp->dst = src;
}

INLINE int handle_ip4(struct xdp_md *ctx, struct counts *counts, struct frame *frame)
{
	struct ip4 *ip = frame->body;
	void *body = ip + 1;
	enum place place;
	u32 vlan = frame->vlan, dst, hop;
	u64 hash;

	if (body > frame->end || ip->version_length != 0x45 || ip->fragment & bpf_htons(0x3fff))
		return drop(counts, FOREIGN);
	if (!police(counts))
		return drop(counts, POLICED);
	dst = bpf_ntohl(ip->dst);
	place = place4(vlan, dst);
	if (place == NOWHERE)
		return drop(counts, FOREIGN);
	hop = place == BEHIND ? (u32)(config.link4.first + GATEWAY_ID +
				      ((u64)vlan << config.link4.host_bits) * config.link4.step)
			      : dst;
	if (mac_number(frame->eth->dst) != mac_of(vlan, 0, hop))
		return drop(counts, MISDIRECTED);
	hash = hash4(vlan, dst);
	if (ip->protocol == IP_TCP) {
		struct tcp *tcp = body;
		enum reply reply = REPLY_SILENT;

		if (!answers_syn(counts, frame, tcp, place, hash, &reply))
			return XDP_DROP;
		swap_macs(frame->eth);
		turn_ip4(ip, sizeof(*ip) + sizeof(*tcp));
		turn_segment(tcp,
			     (u64)ip->src + ip->dst + bpf_htons(IP_TCP) +
				     bpf_htons(sizeof(*tcp)),
			     reply);
		return answer(ctx, counts, reply == REPLY_OPEN ? ANSWERED_SYN_ACK : ANSWERED_RST);
	}
	if (ip->protocol == IP_UDP) {
		struct udp *udp = body;
		enum reply reply = REPLY_SILENT;

		if (!answers_datagram(counts, frame, udp, place, hash, &reply))
			return XDP_DROP;
		if (reply == REPLY_CLOSED)
			return refuse4(ctx, counts, frame);
		// Sums do not change when ends are swapped.
		swap_macs(frame->eth);
		turn_ip4(ip, bpf_ntohs(ip->length));
		swap_ports(udp);
		return answer(ctx, counts, ANSWERED_UDP);
	}
	if (ip->protocol == IP_ICMP) {
		struct icmp *icmp = body;

		if (!answers_echo(counts, frame, icmp, 8, place, hash))
			return XDP_DROP;
		swap_macs(frame->eth);
		turn_ip4(ip, bpf_ntohs(ip->length));
		icmp->type = 0;
		icmp->checksum = updated(icmp->checksum, bpf_htons(0x0800), 0);
		return answer(ctx, counts, ANSWERED_ECHO);
	}
	return drop(counts, FOREIGN);
}

// A neighbor solicitation becomes an advertisement (RFC 4861 §4.4). Both have one option: an Ethernet address.
INLINE int handle_solicitation(struct xdp_md *ctx, struct counts *counts, struct frame *frame)
{
	struct ip6 *ip = frame->body;
	struct ndp *ndp = (void *)(ip + 1);
	u64 high, low, mac, sum;
	word *words;

	if ((void *)(ndp + 1) > frame->end || ip->hops != 255 || ip->length != bpf_htons(sizeof(*ndp)))
		return drop(counts, FOREIGN);
	// From nowhere: somebody makes sure that an address is free (RFC 4862 §5.4). It is.
	if (!(ip->src[0] | ip->src[1]) || ndp->option_length != 1)
		return drop(counts, FOREIGN);
	counts->of[RECEIVED_NDP]++;
	high = bpf_be64_to_cpu(ndp->target[0]);
	low = bpf_be64_to_cpu(ndp->target[1]);
	if (!is_up(on_link6(frame->vlan, high, low), hash6(frame->vlan, high, low)))
		return drop(counts, SILENT);
	mac = mac_of(frame->vlan, 1, low);
	copy_mac(frame->eth->dst, frame->eth->src);
	write_mac(frame->eth->src, mac);
	ip->dst[0] = ndp->target[0];
	ip->dst[1] = ndp->target[1];
	turn_ip6(ip, sizeof(*ndp));
	ip->hops = 255;
	ndp->icmp = (struct icmp){ .type = 136, .rest = { bpf_htons(0x6000) } };
	ndp->option = 2;
	write_mac(ndp->mac, mac);
	sum = pseudo6(ip, sizeof(*ndp), IP_ICMP6);
	words = (word *)ndp;
#pragma unroll
	for (int i = 0; i < sizeof(*ndp) / 4; i++)
		sum += words[i];
	ndp->icmp.checksum = folded(sum);
	return answer(ctx, counts, ANSWERED_NDP);
}

INLINE int handle_ip6(struct xdp_md *ctx, struct counts *counts, struct frame *frame)
{
	struct ip6 *ip = frame->body;
	void *body = ip + 1;
	enum place place;
	u32 vlan = frame->vlan;
	u64 high, low, hash;

	if (body > frame->end || (ip->version & bpf_htonl(0xf << 28)) != bpf_htonl(6 << 28))
		return drop(counts, FOREIGN);
	if (ip->next == IP_ICMP6) {
		struct icmp *icmp = body;

		if ((void *)(icmp + 1) > frame->end)
			return drop(counts, FOREIGN);
		if (icmp->type == 135)
			return handle_solicitation(ctx, counts, frame);
	}
	if (!police(counts))
		return drop(counts, POLICED);
	high = bpf_be64_to_cpu(ip->dst[0]);
	low = bpf_be64_to_cpu(ip->dst[1]);
	place = place6(vlan, high, low);
	if (place == NOWHERE)
		return drop(counts, FOREIGN);
	if (mac_number(frame->eth->dst) != mac_of(vlan, 1, place == BEHIND ? GATEWAY_ID : low))
		return drop(counts, MISDIRECTED);
	hash = hash6(vlan, high, low);
	if (ip->next == IP_TCP) {
		struct tcp *tcp = body;
		enum reply reply = REPLY_SILENT;

		if (!answers_syn(counts, frame, tcp, place, hash, &reply))
			return XDP_DROP;
		swap_macs(frame->eth);
		turn_ip6(ip, sizeof(*tcp));
		turn_segment(tcp, pseudo6(ip, sizeof(*tcp), IP_TCP), reply);
		return answer(ctx, counts, reply == REPLY_OPEN ? ANSWERED_SYN_ACK : ANSWERED_RST);
	}
	if (ip->next == IP_UDP) {
		struct udp *udp = body;
		enum reply reply = REPLY_SILENT;

		if (!answers_datagram(counts, frame, udp, place, hash, &reply))
			return XDP_DROP;
		if (reply == REPLY_CLOSED)
			return refuse6(ctx, counts, frame);
		swap_macs(frame->eth);
		turn_ip6(ip, bpf_ntohs(ip->length));
		swap_ports(udp);
		return answer(ctx, counts, ANSWERED_UDP);
	}
	if (ip->next == IP_ICMP6) {
		struct icmp *icmp = body;

		if (!answers_echo(counts, frame, icmp, 128, place, hash))
			return XDP_DROP;
		swap_macs(frame->eth);
		turn_ip6(ip, bpf_ntohs(ip->length));
		icmp->type = 129;
		icmp->checksum = updated(icmp->checksum, bpf_htons(0x8000), bpf_htons(0x8100));
		return answer(ctx, counts, ANSWERED_ECHO);
	}
	return drop(counts, FOREIGN);
}

SEC("xdp")
int world(struct xdp_md *ctx)
{
	u32 only = 0;
	struct counts *counts = bpf_map_lookup_elem(&counters, &only);
	void *data = (void *)(long)ctx->data;
	struct frame frame = { .eth = data, .end = (void *)(long)ctx->data_end };
	u16 type;

	if (!counts)
		return XDP_DROP;
	counts->of[RECEIVED]++;
	// The shortest frame on Ethernet is longer than these headers.
	if (data + sizeof(struct eth) + sizeof(struct tag) > frame.end)
		return drop(counts, FOREIGN);
	if (config.loss_in && bpf_get_prandom_u32() < config.loss_in)
		return drop(counts, LOST_IN);
	type = frame.eth->type;
	frame.body = data + sizeof(struct eth);
	if (type == ETH_TAG) {
		struct tag *tag = frame.body;

		frame.vlan = bpf_ntohs(tag->control) & 0xfff;
		type = tag->type;
		frame.body = tag + 1;
		// VLAN 0 is no VLAN (IEEE 802.1Q-2022 §9.6), and no LAN of ours either.
		if (!frame.vlan)
			return drop(counts, FOREIGN);
	}
	if (!(config.vlans[frame.vlan >> 6 & 63] >> (frame.vlan & 63) & 1))
		return drop(counts, FOREIGN);
	if (type == ETH_IP4)
		return handle_ip4(ctx, counts, &frame);
	if (type == ETH_ARP)
		return handle_arp(ctx, counts, &frame);
	if (type == ETH_IP6)
		return handle_ip6(ctx, counts, &frame);
	return drop(counts, FOREIGN);
}

char _license[] SEC("license") = "Dual MIT/GPL";
